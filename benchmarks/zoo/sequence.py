"""Networks for sequences. Each is written once: `lib` is `torch` or `toolkit`."""

from __future__ import annotations

from typing import Any


def bert_base(
    lib: Any, width: int = 768, heads: int = 12, layers: int = 12, vocabulary: int = 30522
) -> Any:
    """BERT-base (Devlin et al., 2019): token ids and an attention mask to hidden states, pooled."""
    nn, F = lib.nn, lib.nn.functional
    longest = 512

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
            self.proj = nn.Linear(width, width)
            self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-12) for _ in range(2))
            self.wide = nn.Linear(width, 4 * width)
            self.narrow = nn.Linear(4 * width, width)

        def forward(self, x: Any, mask: Any) -> Any:
            parts = (self.query(x), self.key(x), self.value(x))
            q, k, v = (_split(part, heads) for part in parts)
            y = _join(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
            x = self.norm1(x + self.proj(y))
            return self.norm2(x + self.narrow(F.gelu(self.wide(x))))

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(vocabulary, width)
            self.position = nn.Embedding(longest, width)
            self.kind = nn.Embedding(2, width)
            self.norm = nn.LayerNorm(width, eps=1e-12)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.pooler = nn.Linear(width, width)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            length = input_ids.shape[1]
            x = self.token(input_ids) + self.position(lib.arange(length)) + self.kind.weight[0]
            x = self.norm(x)
            mask = (attention_mask != 0).unsqueeze(1).unsqueeze(1)
            for block in self.blocks:
                x = block(x, mask)
            return x, lib.tanh(self.pooler(x[:, 0]))

    return Bert()


def gpt2(
    lib: Any,
    vocabulary: int = 50257,
    longest: int = 1024,
    layers: int = 12,
    heads: int = 12,
    width: int = 768,
    cached: bool = True,
) -> Any:
    """GPT-2 (Radford et al., 2019), 124M by default.

    With `cached`, `forward(input_ids, position_ids, *past)` takes the keys and values of the past
    layer by layer (none at the first call) and gives the scores and all keys and values. Without,
    `forward(input_ids)` gives the scores alone.
    """
    nn, F = lib.nn, lib.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.proj = nn.Linear(width, width)
            self.wide = nn.Linear(width, 4 * width)
            self.narrow = nn.Linear(4 * width, width)

        def forward(self, x: Any, past: Any) -> Any:
            q, k, v = (_split(t, heads) for t in self.qkv(self.norm1(x)).chunk(3, -1))
            if past:
                k, v = lib.cat([past[0], k], 2), lib.cat([past[1], v], 2)
            # A step with a past is one token: it sees everything.
            y = F.scaled_dot_product_attention(q, k, v, is_causal=not past)
            x = x + self.proj(_join(y))
            y = F.gelu(self.wide(self.norm2(x)), approximate="tanh")
            return x + self.narrow(y), k, v

    class GPT2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(vocabulary, width)
            self.position = nn.Embedding(longest, width)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.head.weight = self.token.weight

        def _hidden(self, x: Any, past: Any) -> Any:
            present = []
            for i, block in enumerate(self.blocks):
                x, *cache = block(x, past[2 * i : 2 * i + 2])
                present += cache
            return self.head(self.norm(x)), present

        if cached:

            def forward(self, input_ids: Any, position_ids: Any, *past: Any) -> Any:
                x = self.token(input_ids) + self.position(position_ids)
                scores, present = self._hidden(x, past)
                return (scores, *present)

        else:

            def forward(self, input_ids: Any) -> Any:
                length = input_ids.shape[1]
                x = self.token(input_ids) + self.position(lib.arange(length))
                return self._hidden(x, ())[0]

    return GPT2()


def char_gpt(lib: Any) -> Any:
    """A GPT over 96 characters: 4 layers, 6 heads, width 192, at most 128 of them."""
    return gpt2(lib, 96, 128, 4, 6, 192, cached=False)


def lstm(lib: Any) -> Any:
    """Two bidirectional LSTM layers of 256."""
    nn = lib.nn

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.LSTM(256, 256, 2, batch_first=True, bidirectional=True)

        def forward(self, x: Any) -> Any:
            return self.layers(x)[0]

    return Stack()


def lstm_language_model(lib: Any, vocabulary: int = 1000, width: int = 256) -> Any:
    """Embedding, one LSTM layer, scores for the next token."""
    nn = lib.nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(vocabulary, width)
            self.layer = nn.LSTM(width, width, batch_first=True)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, x: Any) -> Any:
            return self.head(self.layer(self.token(x))[0])

    return Model()


def _split(x: Any, heads: int) -> Any:
    """(N, L, D) to (N, heads, L, D / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _join(x: Any) -> Any:
    """(N, heads, L, D / heads) to (N, L, D)."""
    return x.transpose(1, 2).flatten(2)
