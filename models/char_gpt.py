"""A character-level GPT in the style of nanoGPT: pre-norm blocks, causal attention."""

from __future__ import annotations

from toolkit import nn, ops
from toolkit.errors import InvalidArgumentError
from toolkit.nn import functional as F
from toolkit.nn import init
from toolkit.tensor import Tensor, arange


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a position sees itself and those before it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, L, D)."""
        q, k, v = ops.Split(self.qkv(x), axis=-1, num_outputs=3, outputs=3)
        p = self.dropout if self.training else 0.0
        y = F.packed_attention(q, k, v, self.heads, dropout_p=p, is_causal=True)
        return self.proj(y)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a two-layer network, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attention = CausalSelfAttention(width, heads, dropout)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, D) to (N, L, D)."""
        x = x + self.attention(self.ln1(x))
        return x + self.mlp(self.ln2(x))  # type: ignore[no-any-return]


class CharGPT(nn.Module):
    """Token and position embeddings, blocks, a norm, and scores for the next character.

    Args:
        vocab_size: how many characters there are.
        block_size: the longest sequence.
        layers: how many blocks.
        heads: attention heads.
        width: D, a multiple of heads.
        dropout: probability in training.
        tied: let the head use the token embedding's table.
    """

    def __init__(
        self,
        vocab_size: int = 96,
        block_size: int = 128,
        layers: int = 4,
        heads: int = 6,
        width: int = 192,
        dropout: float = 0.0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise InvalidArgumentError(
                f"CharGPT: a width that is a multiple of heads is required, got {width}, {heads}."
            )
        self.block_size = block_size
        self.token = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(block_size, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        if tied:
            self.head.weight = self.token.weight
        self.apply(_small_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Characters int64 (N, L) to scores (N, L, vocab_size)."""
        length = x.shape[1]
        h = self.drop(self.token(x) + self.position(arange(length)))
        return self.head(self.norm(self.blocks(h)))  # type: ignore[no-any-return]


def _small_weights(module: nn.Module) -> None:
    """N(0, 0.02^2) for weights, 0 for biases, as in GPT-2."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        init.zeros_(module.bias)


def token_cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    """The mean cross-entropy of scores (N, L, V) and next characters (N, L)."""
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), target.reshape(-1))
