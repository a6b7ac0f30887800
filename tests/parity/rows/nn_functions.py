"""`nn.functional` beside torch's: what has no layer, embeddings, attention, options, refusals."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d, module

IDS = d(2, 3, low=0, high=6, dtype="int64")
FLAT = d(9, low=0, high=6, dtype="int64")
W = d(7, 4)
C = (2, 4, 8, 7)


def f(name: str, *draws: Any, note: str = "", row: Any = None, **options: Any) -> Row:
    """One function of `nn.functional` on inputs and options."""
    text = ", ".join(f"{k}={v}" for k, v in options.items())
    draws = tuple(d(*x) if isinstance(x, tuple) else x for x in draws)
    shapes = " ".join(f"{x.shape}{x.layout[:1]}{x.dtype or ''}" for x in draws)

    def call(m: Any, *inputs: Any) -> Any:
        return getattr(m.nn.functional, name)(*inputs, **options)

    return Row(f"F.{name}({text}) {shapes}{note}", call, draws, **(row or {}))


BAD: dict[str, Any] = {"error": True}
BOTH: dict[str, Any] = {"dtypes": FLOATS}


def bag(*given: int, last: bool = False, **options: Any) -> Row:
    """embedding_bag of a flat input with offsets."""
    text = ", ".join(f"{k}={v}" for k, v in options.items())

    def call(m: Any, x: Any, w: Any) -> Any:
        offsets = m.tensor(list(given), dtype=m.int64)
        return m.nn.functional.embedding_bag(x, w, offsets, include_last_offset=last, **options)

    return Row(f"F.embedding_bag({given}, {text}) last={last}", call, [FLAT, W], dtypes=FLOATS)


_EMBEDDINGS = [
    f("embedding", IDS, W, row=BOTH),
    f("embedding", IDS, W, padding_idx=2),
    f("embedding", IDS, W, padding_idx=-1),
    f("embedding", IDS, W, scale_grad_by_freq=True),
    f("embedding", d(2, 3, low=0, high=6, dtype="int32"), W),
    f("embedding", d(0, 3, low=0, high=6, dtype="int64"), W),
    f("embedding", d(2, 3, low=0, high=6, dtype="int64", layout="strided"), W),
    f("embedding", d(low=0, high=6, dtype="int64"), W),
    *(
        Row(f"F.embedding/max_norm {p}", lambda m, x, w, p=p: [
            m.nn.functional.embedding(x, w, max_norm=1.0, norm_type=p), w], [IDS, W], grad=False)
        for p in (1.0, 2.0, 3.0, float("inf"))
    ),
    f("embedding", d(2, 3), W, row=BAD),
    f("embedding", d(2, 3, low=9, high=12, dtype="int64"), W, note=" outside", row=BAD),
    f("embedding", IDS, d(7), row=BAD),
    *(f("embedding_bag", IDS, W, mode=mode, row=BOTH) for mode in ("sum", "mean", "max")),
    *(f("embedding_bag", IDS, W, mode=m_, padding_idx=2) for m_ in ("sum", "mean", "max")),
    *(bag(0, 4, 4, 7, mode=mode) for mode in ("sum", "mean", "max")),
    *(bag(0, 2, 7, padding_idx=3, mode=mode) for mode in ("sum", "mean", "max")),
    *(bag(0, 2, 7, 9, last=True, mode=mode) for mode in ("sum", "mean", "max")),
    f("embedding_bag", d(0, 3, low=0, high=6, dtype="int64"), W),
    Row("F.embedding_bag/weights", lambda m, x, w, p: m.nn.functional.embedding_bag(
        x, w, mode="sum", per_sample_weights=p), [IDS, W, d(2, 3)], dtypes=FLOATS),
    Row("F.embedding_bag/flat weights", lambda m, x, w, p: m.nn.functional.embedding_bag(
        x, w, m.tensor([0, 5]), mode="sum", per_sample_weights=p), [FLAT, W, d(9)]),
    Row("F.embedding_bag/weights of mean", lambda m, x, w, p: m.nn.functional.embedding_bag(
        x, w, per_sample_weights=p), [IDS, W, d(2, 3)], error=True),
    f("embedding_bag", FLAT, W, row=BAD),
    f("embedding_bag", IDS, W, mode="odd", row=BAD),
    f("embedding_bag", IDS, W, mode="max", scale_grad_by_freq=True, row=BAD),
    f("embedding_bag", d(2, 3, 2, low=0, high=6, dtype="int64"), W, row=BAD),
    *(
        Row(f"nn.Embedding/{note}", module(lambda m, o=o: m.nn.Embedding(7, 4, **o)), [IDS])
        for note, o in (
            ("plain", {}), ("padding", {"padding_idx": -2}), ("freq", {"scale_grad_by_freq": True}),
            ("norm", {"max_norm": 0.7, "norm_type": 1.0}),
        )
    ),
    *(
        Row(f"nn.EmbeddingBag/{note}", module(lambda m, o=o: m.nn.EmbeddingBag(7, 4, **o)), [IDS])
        for note, o in (
            ("plain", {}), ("sum", {"mode": "sum"}), ("max", {"mode": "max", "padding_idx": 2}),
            ("norm", {"max_norm": 0.7}),
        )
    ),
    Row("F.one_hot", lambda m, x: m.nn.functional.one_hot(x), [IDS]),
    Row("F.one_hot/classes", lambda m, x: m.nn.functional.one_hot(x, 9), [IDS]),
    Row("F.one_hot/few", lambda m, x: m.nn.functional.one_hot(x, 1), [IDS], error=True),
    Row("F.one_hot/float", lambda m, x: m.nn.functional.one_hot(x), [d(3)], error=True),
]  # fmt: skip

_MASK = d(5, 6, dtype="bool")
_QKV = (d(2, 3, 5, 4), d(2, 3, 6, 4), d(2, 3, 6, 8))
_ATTENTION = [
    f("scaled_dot_product_attention", *_QKV, row=BOTH),
    f("scaled_dot_product_attention", *_QKV, is_causal=True),
    f("scaled_dot_product_attention", *_QKV, scale=0.3),
    f("scaled_dot_product_attention", *_QKV, _MASK),
    f("scaled_dot_product_attention", *_QKV, d(2, 1, 5, 6)),
    f("scaled_dot_product_attention", *_QKV, d(5, 1)),
    f("scaled_dot_product_attention", d(5, 4), d(6, 4), d(6, 8)),
    f("scaled_dot_product_attention", d(3, 5, 4), d(3, 6, 4), d(3, 6, 8), is_causal=True),
    f("scaled_dot_product_attention", d(2, 6, 5, 4), d(2, 3, 6, 4), d(2, 3, 6, 8), enable_gqa=True),
    f("scaled_dot_product_attention", d(2, 3, 5, 4, layout="transposed"), *_QKV[1:]),
    f("scaled_dot_product_attention", d(0, 3, 5, 4), d(0, 3, 6, 4), d(0, 3, 6, 8)),
    f("scaled_dot_product_attention", *_QKV, _MASK, is_causal=True, row=BAD),
    f("scaled_dot_product_attention", d(2, 3, 5, 4), d(2, 3, 6, 5), d(2, 3, 6, 8), row=BAD),
    f("scaled_dot_product_attention", d(2, 5, 5, 4), d(2, 3, 6, 4), d(2, 3, 6, 8),
      enable_gqa=True, row=BAD),
]  # fmt: skip

_VISION = [
    f("pad", (2, 3), pad=(1, 2), value=0.5, row=BOTH),
    f("pad", (2, 3), pad=(1, 2, 0, 1)),
    f("pad", (2, 3), pad=(-1, 2)),
    f("pad", (2, 3, 4), pad=(1, 2), mode="circular"),
    f("pad", (2, 3, 4), pad=(1, 2, 2, 1), mode="reflect"),
    f("pad", d(2, 3, dtype="int64"), pad=(1, 2), value=7, row={"grad": False}),
    f("pad", d(2, 3, dtype="bool"), pad=(1, 2), row={"grad": False}),
    f("pad", (2, 3), pad=(1, 2, 3), row=BAD),
    f("pad", (2, 3), pad=(1,) * 6, row=BAD),
    f("pad", (2, 3), pad=(1, 2), mode="odd", row=BAD),
    f("pad", (2, 3), pad=(-2, -2), row=BAD),
    f("conv_tbc", d(9, 2, 4), d(3, 4, 6), d(6), row=BOTH),
    f("conv_tbc", d(9, 2, 4), d(3, 4, 6), d(6), pad=2),
    f("conv_tbc", d(9, 2, 4), d(3, 5, 6), d(6), row=BAD),
    f("interpolate", C, size=(5, 9), mode="bilinear", antialias=True),
    f("interpolate", C, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
    f("interpolate", C, scale_factor=(0.6, 1.4), mode="nearest"),
    f("interpolate", C, size=(5, 9), mode="bicubic", align_corners=True),
    f("interpolate", C, size=(5, 3), mode="area"),
    f("interpolate", C, scale_factor=0.5, mode="area"),
    f("interpolate", C, row=BAD),
    f("interpolate", C, size=3, scale_factor=2.0, row=BAD),
    f("interpolate", C, size=(1, 2, 3), row=BAD),
    f("interpolate", C, size=3, mode="odd", row=BAD),
    f("interpolate", C, size=3, align_corners=True, row=BAD),
    f("upsample", C, scale_factor=2, mode="bilinear"),
    f("upsample_nearest", C, scale_factor=2),
    f("upsample_bilinear", C, size=(9, 9)),
    f("grid_sample", C, d(2, 3, 5, 2, low=-1.3, high=1.3), align_corners=False, row=BOTH),
    *(
        f("grid_sample", C, d(2, 3, 5, 2, low=-1.3, high=1.3), mode=mode, padding_mode=p,
          align_corners=True)
        for mode in ("bilinear", "nearest", "bicubic") for p in ("border", "reflection")
    ),
    f("grid_sample", C, d(2, 3, 5, 3), row=BAD),
    f("grid_sample", C, d(3, 3, 5, 2), row=BAD),
    Row("F.affine_grid", lambda m, x: m.nn.functional.affine_grid(x, [2, 3, 4, 5]), [d(2, 2, 3)]),
    Row("F.affine_grid/3", lambda m, x: m.nn.functional.affine_grid(
        x, [2, 3, 4, 5, 6], align_corners=True), [d(2, 3, 4)], dtypes=FLOATS),
    Row("F.affine_grid/shape", lambda m, x: m.nn.functional.affine_grid(x, [3, 3, 4, 5]),
        [d(2, 2, 3)], error=True),
    *(
        f(f"max_pool{n}d_with_indices", shape, kernel_size=2)
        for n, shape in ((1, (2, 4, 9)), (2, C), (3, (2, 3, 4, 5, 6)))
    ),
    *(
        f(f"adaptive_max_pool{n}d_with_indices", shape, output_size=3)
        for n, shape in ((1, (2, 4, 9)), (2, C), (3, (2, 3, 4, 5, 6)))
    ),
    *(
        Row(f"F.max_unpool{n}d", lambda m, x, n=n: (lambda F, kw: getattr(F, f"max_unpool{n}d")(
            *getattr(F, f"max_pool{n}d")(x, return_indices=True, **kw), **kw))(
                m.nn.functional, {"kernel_size": 2, "stride": 2}), [d(*shape)], dtypes=FLOATS)
        for n, shape in ((1, (2, 4, 8)), (2, (2, 4, 8, 6)), (3, (2, 3, 4, 4, 6)))
    ),
    Row("nn.MaxUnpool2d", lambda m, x: m.nn.MaxUnpool2d(2, stride=2)(
        *m.nn.MaxPool2d(2, 2, return_indices=True)(x), output_size=x.shape), [d(*C)]),
    *(
        Row(f"F.fractional_max_pool/{n} {o}", lambda m, x, u, n=n, o=o: getattr(
            m.nn.functional, f"fractional_max_pool{n}d")(
                x, _random_samples=u, return_indices=True, **o),
            [d(2, 4, *(9, 8, 7)[:n]), d(2, 4, n, low=0.0, high=1.0, grad=False)], dtypes=FLOATS)
        for n in (2, 3)
        for o in ({"kernel_size": 2, "output_size": 4}, {"kernel_size": 3, "output_size": 1},
                  {"kernel_size": 2, "output_ratio": (0.7, 0.6, 0.5)[:n]})
    ),
    Row("nn.FractionalMaxPool2d", lambda m, x, u: m.nn.FractionalMaxPool2d(
        (2, 3), output_size=(3, 4), _random_samples=u)(x),
        [d(4, 9, 8), d(1, 4, 2, low=0.0, high=1.0, grad=False)]),
]  # fmt: skip

_OTHERS = [
    *(f("normalize", (3, 5), p=p, row=BOTH) for p in (1.0, 2.0, 3.0, float("inf"))),
    f("normalize", (2, 3, 4), dim=(1, 2)),
    f("normalize", (2, 0, 4), dim=1),
    f("glu", (3, 6), dim=0, row=BAD),
    f("glu", (2, 4, 6), dim=1),
    f("softmax", (3, 5), dim=1, dtype=None),
    f("softmax", (3, 5), dim=4, row=BAD),
    Row("F.softmax/dtype", lambda m, x: m.nn.functional.softmax(x, 0, dtype=m.float64), [d(3, 4)]),
    Row("F.log_softmax/int", lambda m, x: m.nn.functional.log_softmax(x, 0, dtype=m.float32),
        [d(3, 4, dtype="int64")]),
    f("threshold", (3, 4), threshold=0.2, value=1.0, row=BOTH),
    f("hardtanh", (3, 4), min_val=0.5, max_val=-0.5, row=BAD),
    f("rrelu", (3, 4), lower=0.1, upper=0.4),
    f("rrelu", (3, 4), lower=0.5, upper=0.4, row=BAD),
    *(
        Row(f"F.{name}", lambda m, x, name=name, o=o: getattr(m.nn.functional, name)(x * 1, *o),
            [d(3, 4)])
        for name, o in (("relu_", ()), ("celu_", (0.7,)), ("elu_", (0.7,)), ("selu_", ()),
                        ("hardtanh_", (-0.5, 0.5)), ("leaky_relu_", (0.2,)), ("rrelu_", ()),
                        ("threshold_", (0.2, 1.0)))
    ),
    Row("F.relu_/leaf", lambda m, x: m.nn.functional.relu_(x), [d(3, 4)], error=True),
    f("linear", (3, 4), d(5, 4), d(5)),
    f("linear", (3, 4), d(4)),
    f("linear", (4,), d(5, 4), d(5)),
    f("linear", (3, 4), d(5, 3), row=BAD),
    f("linear", (3, 4), d(5, 4), d(4), row=BAD),
    f("layer_norm", (3, 4), normalized_shape=(4,), row=BOTH),
    f("layer_norm", (3, 4), normalized_shape=(3,), row=BAD),
    f("batch_norm", (3, 4, 5), d(4, low=0.1, grad=False), d(4, low=0.1, grad=False)),
    f("batch_norm", (3, 4, 5), running_mean=None, running_var=None, training=True),
    f("batch_norm", (3, 4, 5), running_mean=None, running_var=None, row=BAD),
    f("instance_norm", (3, 4, 5), row=BOTH),
    f("group_norm", (3, 4, 5), num_groups=2),
    f("group_norm", (3, 4, 5), num_groups=3, row=BAD),
    f("rms_norm", (3, 4), normalized_shape=(4,), row=BOTH),
    f("local_response_norm", C, size=3, alpha=0.4),
    f("bilinear", (3, 4), d(3, 5), d(2, 4, 5), d(2), row=BOTH),
    f("channel_shuffle", C, groups=2),
    f("native_channel_shuffle", C, groups=2, row={"grad": False}),
    f("lp_pool2d", C, norm_type=2, kernel_size=(2, 3), ceil_mode=True),
    f("dropout", (3, 4), training=False),
    f("alpha_dropout", (3, 4)),
    f("feature_alpha_dropout", (3, 4), training=False),
    f("dropout", (3, 4), p=2.0, row=BAD),
    f("conv2d", C, d(6, 4, 3, 3), d(6), stride=2, padding=1, row=BOTH),
    f("conv2d", C, d(6, 4, 3, 3), d(5), row=BAD),
    f("conv_transpose2d", C, d(4, 3, 3, 2), d(6), groups=2, stride=2),
    f("unfold", C, kernel_size=3, stride=2),
    f("fold", (2, 16, 8), output_size=(5, 5), kernel_size=(2, 2), stride=(2, 1)),
    Row("F.gumbel_softmax/sum", lambda m, x: m.nn.functional.gumbel_softmax(x, 0.7).sum(-1),
        [d(3, 4)], grad=False),
    Row("F.gumbel_softmax/hard", lambda m, x: m.nn.functional.gumbel_softmax(
        x, hard=True, dim=0).sum(0), [d(3, 4)], grad=False),
]  # fmt: skip

ROWS = [*_EMBEDDINGS, *_ATTENTION, *_VISION, *_OTHERS]
