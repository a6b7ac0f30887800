"""MultiheadAttention and the transformer layers beside torch's, in all their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.core import FLOATS, Draw, Row, d, module

X, S = d(5, 3, 8), d(6, 3, 8)  # L, N, D.
BAD: dict[str, Any] = {"error": True}
BOTH: dict[str, Any] = {"dtypes": FLOATS}


def called(m: Any, inner: Any, run: Callable[..., Any]) -> Any:
    """A module that calls another in a given way."""

    class Called(m.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *inputs: Any) -> Any:
            return run(self.inner, *inputs)

    return Called()


def attention(
    note: str, *draws: Draw, call: dict[str, Any] | None = None, row: Any = None,
    mode: bool = True, masks: tuple[str, ...] = (), self_only: bool = False, **options: Any,
) -> Row:  # fmt: skip
    """MultiheadAttention on query, key, value and the masks named in `masks`."""
    given = draws or (X, S, S)

    def run(inner: Any, *inputs: Any) -> Any:
        n = len(inputs) - len(masks)
        named = dict(zip(masks, inputs[n:], strict=True))
        qkv = inputs[:1] * 3 if self_only else inputs[:n]
        out = inner(*qkv, **named, **(call or {}))
        return [t for t in out if t is not None]

    def build(m: Any) -> Any:
        return called(m, m.nn.MultiheadAttention(8, 2, **options), run).train(mode)

    return Row(f"nn.MultiheadAttention/{note}", module(build), given, **(row or {}))


_NO = {"need_weights": False}
_BOOL, _FLOAT = d(5, 6, dtype="bool"), d(5, 6)
_ATTENTION = [
    attention("plain", row=BOTH),
    attention("no weights", call=_NO, row=BOTH),
    attention("self", X, self_only=True),
    attention("eval", mode=False),
    attention("batch first", d(3, 5, 8), d(3, 6, 8), d(3, 6, 8), batch_first=True),
    attention("unbatched", d(5, 8), d(6, 8), d(6, 8)),
    attention("unbatched no weights", d(5, 8), d(6, 8), d(6, 8), call=_NO),
    attention("no bias", bias=False),
    attention("kdim vdim", X, d(6, 3, 4), d(6, 3, 5), kdim=4, vdim=5),
    attention("kdim no bias", X, d(6, 3, 4), d(6, 3, 8), kdim=4, bias=False, call=_NO),
    attention("bias_kv", add_bias_kv=True),
    attention("zero attn", add_zero_attn=True),
    attention("bias_kv zero attn", add_bias_kv=True, add_zero_attn=True, call=_NO),
    attention("each head", call={"average_attn_weights": False}),
    attention("bool mask", X, S, S, _BOOL, masks=("attn_mask",)),
    attention("float mask", X, S, S, _FLOAT, masks=("attn_mask",), row=BOTH),
    attention("float mask no weights", X, S, S, _FLOAT, masks=("attn_mask",), call=_NO),
    attention("3-D mask", X, S, S, d(6, 5, 6), masks=("attn_mask",)),
    attention("padding", X, S, S, d(3, 6), masks=("key_padding_mask",)),
    attention("padding unbatched", d(5, 8), d(6, 8), d(6, 8), d(6), masks=("key_padding_mask",)),
    attention("both masks", X, S, S, d(3, 6), _FLOAT, masks=("key_padding_mask", "attn_mask")),
    attention("both masks no weights", X, S, S, d(3, 6), d(6, 5, 6), call=_NO,
              masks=("key_padding_mask", "attn_mask")),
    attention("masks and more keys", X, S, S, d(3, 6), _FLOAT, add_bias_kv=True,
              add_zero_attn=True, masks=("key_padding_mask", "attn_mask")),
    attention("empty batch", d(5, 0, 8), d(6, 0, 8), d(6, 0, 8), row={"grad": False}),
    attention("transposed", d(5, 3, 8, layout="transposed"), S, S),
    attention("width", d(5, 3, 7), S, S, row=BAD),
    attention("dims", d(5, 3, 8), d(6, 8), S, row=BAD),
    attention("mask shape", X, S, S, d(5, 5), masks=("attn_mask",), row=BAD),
    attention("mask rank", X, S, S, d(1, 6, 5, 6), masks=("attn_mask",), row=BAD),
    attention("mask dtype", X, S, S, d(5, 6, dtype="int64"), masks=("attn_mask",), row=BAD),
    attention("padding shape", X, S, S, d(3, 5), masks=("key_padding_mask",), row=BAD),
    attention("causal hint", call={"is_causal": True}, row=BAD),
    Row("nn.MultiheadAttention/heads", lambda m: m.nn.MultiheadAttention(8, 3), error=True),
    Row("nn.MultiheadAttention/causal", lambda m, x: m.nn.MultiheadAttention(8, 2)(
        x, x, x, is_causal=True, need_weights=False,
        attn_mask=m.nn.Transformer.generate_square_subsequent_mask(5))[0] * 0, [X]),
]  # fmt: skip


def forward(m: Any, *inputs: Any, masks: tuple[str, ...] = (), **options: Any) -> Any:
    """F.multi_head_attention_forward: query, key, value, three weights and biases, masks."""
    n = len(inputs) - len(masks)
    q, k, v, w, b, ow, ob = inputs[:n]
    named = dict(zip(masks, inputs[n:], strict=True))
    extra = {"bias_k": None, "bias_v": None, "add_zero_attn": False, "dropout_p": 0.0, **options}
    out = m.nn.functional.multi_head_attention_forward(
        q, k, v, 8, 2, w, b, out_proj_weight=ow, out_proj_bias=ob, **extra, **named
    )
    return [t for t in out if t is not None]


_WEIGHTS = (d(24, 8), d(24), d(8, 8), d(8))
_FORWARD = [
    Row("F.multi_head_attention_forward", forward, [X, S, S, *_WEIGHTS], dtypes=FLOATS,
        tolerance=4, reason="projections of 8 numbers up to 2 make scores of 50"),
    Row("F.multi_head_attention_forward/options", lambda m, *x: forward(
        m, *x, add_zero_attn=True, average_attn_weights=False, training=False,
        masks=("attn_mask",)),
        [X, S, S, *_WEIGHTS, _FLOAT]),
    Row("F.multi_head_attention_forward/static", lambda m, q, k, v, w, b, ow, ob, sk: forward(
        m, q, k, v, w, b, ow, ob, static_k=sk, static_v=sk, need_weights=False),
        [X, S, S, *_WEIGHTS, d(6, 7, 4)]),
    Row("F.multi_head_attention_forward/separate", lambda m, q, k, v, b, ow, ob, a, c: forward(
        m, q, k, v, None, b, ow, ob, use_separate_proj_weight=True, q_proj_weight=ow,
        k_proj_weight=a, v_proj_weight=c),
        [X, d(6, 3, 4), d(6, 3, 5), *_WEIGHTS[1:], d(8, 4), d(8, 5)]),
    Row("F.multi_head_attention_forward/width", forward, [d(5, 3, 7), S, S, *_WEIGHTS], error=True),
]  # fmt: skip


def stack(
    name: str,
    note: str,
    *draws: Draw,
    row: Any = None,
    mode: bool = True,
    call: dict[str, Any] | None = None,
    masks: tuple[str, ...] = (),
    **options: Any,
) -> Row:
    """An encoder or decoder layer, a stack of them, or all of the transformer."""
    how: dict[str, Any] = {"dim_feedforward": 12, "dropout": 0.0, **options}

    def build(m: Any) -> Any:
        kwargs = {k: v(m) if k == "activation" and callable(v) else v for k, v in how.items()}
        if name == "Transformer":
            inner = m.nn.Transformer(8, 2, 2, 1, **kwargs)
        else:
            kind = "Encoder" if "Encoder" in name else "Decoder"
            inner = getattr(m.nn, f"Transformer{kind}Layer")(8, 2, **kwargs)
            if not name.endswith("Layer"):
                inner = getattr(m.nn, name)(inner, 2, norm=m.nn.LayerNorm(8))

        def run(inner: Any, *inputs: Any) -> Any:
            n = len(inputs) - len(masks)
            return inner(*inputs[:n], **dict(zip(masks, inputs[n:], strict=True)), **(call or {}))

        return called(m, inner, run).train(mode)

    return Row(f"nn.{name}/{note}", module(build), draws, **(row or {}))


_E, _D = "TransformerEncoderLayer", "TransformerDecoderLayer"
_STACKS = [
    stack(_E, "plain", X, row=BOTH),
    stack(_E, "norm first", X, norm_first=True),
    stack(_E, "gelu", X, activation="gelu", bias=False),
    stack(_E, "silu", X, activation=lambda m: m.nn.functional.silu),
    stack(_E, "batch first", d(3, 5, 8), batch_first=True, norm_first=True),
    stack(_E, "unbatched", d(5, 8)),
    stack(_E, "masks", X, d(5, 5), d(3, 5), masks=("src_mask", "src_key_padding_mask")),
    stack(_E, "width", d(5, 3, 7), row=BAD),
    Row("nn.TransformerEncoderLayer/activation", lambda m: m.nn.TransformerEncoderLayer(
        8, 2, activation="odd"), error=True),
    stack(_D, "plain", X, S, row=BOTH),
    stack(_D, "norm first", X, S, norm_first=True, activation="gelu"),
    stack(_D, "batch first", d(3, 5, 8), d(3, 6, 8), batch_first=True),
    stack(_D, "unbatched", d(5, 8), d(6, 8)),
    stack(_D, "masks", X, S, d(5, 5), _FLOAT, d(3, 5), d(3, 6), masks=(
        "tgt_mask", "memory_mask", "tgt_key_padding_mask", "memory_key_padding_mask")),
    stack("TransformerEncoder", "plain", X),
    stack("TransformerEncoder", "eval", X, mode=False),
    stack("TransformerEncoder", "masks", X, d(5, 5), d(3, 5), norm_first=True,
          masks=("mask", "src_key_padding_mask")),
    stack("TransformerDecoder", "plain", X, S),
    stack("TransformerDecoder", "masks", X, S, d(5, 5), d(3, 6),
          masks=("tgt_mask", "memory_key_padding_mask")),
    stack("Transformer", "plain", S, X, row=BOTH),
    stack("Transformer", "batch first", d(3, 6, 8), d(3, 5, 8), batch_first=True, norm_first=True),
    stack("Transformer", "unbatched", d(6, 8), d(5, 8)),
    stack("Transformer", "masks", S, X, d(5, 5), d(3, 6), masks=(
        "tgt_mask", "src_key_padding_mask")),
    stack("Transformer", "batches", d(6, 2, 8), X, row=BAD),
    stack("Transformer", "width", d(6, 3, 7), X, row=BAD),
    Row("nn.Transformer/mask", lambda m: m.nn.Transformer.generate_square_subsequent_mask(4)),
]  # fmt: skip

ROWS = [*_ATTENTION, *_FORWARD, *_STACKS]
