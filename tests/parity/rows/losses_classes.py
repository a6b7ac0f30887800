"""Losses over classes: indices, probabilities, weights, ignored and smoothed labels, more axes."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d, module
from tests.parity.rows.losses import REDUCTIONS, loss, made

SCORES, LABELS = d(6, 5), d(6, low=0, high=4, dtype="int64")
SPATIAL, MAP = d(2, 5, 3, 4), d(2, 3, 4, low=0, high=4, dtype="int64")
WEIGHT = d(5, low=0.1, high=2, grad=False)
OPTIONS: tuple[dict[str, Any], ...] = (
    {}, {"ignore_index": 2}, {"label_smoothing": 0.2},
    {"label_smoothing": 0.2, "ignore_index": 2},
)  # fmt: skip


def title(options: dict[str, Any]) -> str:
    return " ".join(f"{k}={v}" for k, v in options.items())


def weighted(name: str, **options: Any) -> Any:
    """The last input is the classes' weight."""
    return lambda m, x, y, w: getattr(m.nn.functional, name)(x, y, weight=w, **options)


def soft(name: str, **options: Any) -> Any:
    """Probabilities as targets."""
    return lambda m, x, y, *w: getattr(m.nn.functional, name)(
        x, y.softmax(1), *w, **options
    )  # fmt: skip


def cross_entropy() -> list[Row]:
    made: list[Row] = []
    for name in ("cross_entropy", "nll_loss"):
        for options in OPTIONS[: 4 if name == "cross_entropy" else 2]:
            for r in REDUCTIONS:
                key = f"{name}/{title(options)}/{r}"
                made += [
                    Row(key, loss(name, reduction=r, **options), [SCORES, LABELS], dtypes=FLOATS),
                    Row(f"{key}/4-dim", loss(name, reduction=r, **options), [SPATIAL, MAP]),
                    Row(f"{key}/weight", weighted(name, reduction=r, **options),
                        [SCORES, LABELS, WEIGHT]),
                    Row(f"{key}/4-dim weight", weighted(name, reduction=r, **options),
                        [SPATIAL, MAP, WEIGHT]),
                ]  # fmt: skip
    for r in REDUCTIONS:
        for s in (0.0, 0.3):
            key, options = f"cross_entropy/soft/{s}/{r}", {"reduction": r, "label_smoothing": s}
            call = soft("cross_entropy", **options)
            made += [
                Row(key, call, [SCORES, d(6, 5)], dtypes=FLOATS),
                Row(f"{key}/4-dim", call, [SPATIAL, d(2, 5, 3, 4)]),
                Row(f"{key}/weight", call, [SCORES, d(6, 5), WEIGHT]),
            ]
    for name in ("cross_entropy", "nll_loss"):
        made += [
            Row(f"{name}/one sample", loss(name), [d(5), d(low=0, high=4, dtype="int64")]),
            Row(f"{name}/one sample none", loss(name, reduction="none"),
                [d(5), d(low=0, high=4, dtype="int64")]),
            Row(f"{name}/3-dim", loss(name), [d(2, 5, 3), d(2, 3, low=0, high=4, dtype="int64")]),
            Row(f"{name}/uint8", loss(name), [SCORES, d(6, low=0, high=4, dtype="uint8")]),
            Row(f"{name}/transposed", loss(name), [d(6, 5, layout="transposed"), LABELS]),
            Row(f"{name}/empty", loss(name), [d(0, 5), d(0, low=0, dtype="int64")]),
            Row(f"{name}/empty none", loss(name, reduction="none"),
                [d(0, 5), d(0, low=0, dtype="int64")]),
            Row(f"{name}/all ignored", lambda m, x, y, n=name:
                getattr(m.nn.functional, n)(x, y * 0 - 100), [SCORES, LABELS]),
            Row(f"{name}/legacy", loss(name, size_average=False), [SCORES, LABELS]),
            Row(f"{name}/batch", loss(name), [SCORES, d(5, low=0, high=4, dtype="int64")],
                error=True),
            Row(f"{name}/spatial", loss(name), [SPATIAL, d(2, 3, 5, low=0, high=4, dtype="int64")],
                error=True),
            Row(f"{name}/label out of range", lambda m, x, y, n=name:
                getattr(m.nn.functional, n)(x, y + 9), [SCORES, LABELS], error=True),
            Row(f"{name}/bool labels", loss(name), [SCORES, d(6, dtype="bool")], error=True),
            Row(f"{name}/weight shape", weighted(name), [SCORES, LABELS, d(4)], error=True),
            Row(f"{name}/reduction", loss(name, reduction="avg"), [SCORES, LABELS], error=True),
        ]  # fmt: skip
    return made


def margins() -> list[Row]:
    made: list[Row] = []
    lists = d(6, 5, low=-1, high=4, dtype="int64")
    for r in REDUCTIONS:
        options: dict[str, Any] = {"reduction": r}
        made += [
            Row(f"multi_margin_loss/{r}", loss("multi_margin_loss", **options), [SCORES, LABELS],
                dtypes=FLOATS),
            Row(f"multi_margin_loss/p margin/{r}",
                loss("multi_margin_loss", p=2, margin=0.5, **options),
                [SCORES, LABELS]),
            Row(f"multi_margin_loss/weight/{r}", weighted("multi_margin_loss", **options),
                [SCORES, LABELS, WEIGHT]),
            Row(f"multi_margin_loss/one sample/{r}", loss("multi_margin_loss", **options),
                [d(5), d(low=0, high=4, dtype="int64")]),
            Row(f"multilabel_margin_loss/{r}", loss("multilabel_margin_loss", **options),
                [SCORES, lists], dtypes=FLOATS),
            Row(f"multilabel_margin_loss/one sample/{r}", loss("multilabel_margin_loss", **options),
                [d(5), d(5, low=-1, high=4, dtype="int64")]),
            Row(f"multilabel_soft_margin_loss/{r}", loss("multilabel_soft_margin_loss", **options),
                [SCORES, d(6, 5, low=0, high=1)], dtypes=FLOATS),
            Row(f"multilabel_soft_margin_loss/weight/{r}",
                weighted("multilabel_soft_margin_loss", **options),
                [SCORES, d(6, 5, low=0, high=1), WEIGHT]),
        ]  # fmt: skip
    return made


def chunked(m: Any, x: Any, w: Any, y: Any, **options: Any) -> Any:
    settings = m.nn.LinearCrossEntropyOptions(batch_chunk_size=options.pop("size", 2))
    return m.nn.functional.linear_cross_entropy(x, w, y, options=settings, **options)


def linear() -> list[Row]:
    x, w = d(6, 4), d(5, 4)
    name = "linear_cross_entropy"
    made = []
    for r in REDUCTIONS:
        made += [
            Row(f"{name}/{r}", loss(name, reduction=r), [x, w, LABELS], dtypes=FLOATS),
            Row(f"{name}/smooth/{r}", loss(name, reduction=r, label_smoothing=0.1), [x, w, LABELS]),
            Row(f"{name}/chunks/{r}", lambda m, *a, r=r: chunked(m, *a, reduction=r),
                [x, w, LABELS], dtypes=FLOATS),
            Row(f"{name}/chunks ignore weight bias/{r}", lambda m, x, w, y, b, c, r=r: chunked(
                m, x, w, y, size=4, reduction=r, ignore_index=2, linear_bias=b, weight=c.detach()),
                [x, w, LABELS, d(5), WEIGHT]),
            Row(f"{name}/chunks one sample/{r}", lambda m, *a, r=r: chunked(m, *a, reduction=r),
                [d(4), w, d(low=0, high=4, dtype="int64")]),
        ]  # fmt: skip
    return [
        *made,
        Row(f"{name}/auto chunks", lambda m, *a: m.nn.functional.linear_cross_entropy(
            *a, options=m.nn.LinearCrossEntropyOptions()), [x, w, LABELS]),
        Row(f"{name}/probabilities", lambda m, x, w, y: m.nn.functional.linear_cross_entropy(
            x, w, y.softmax(1)), [x, w, SCORES]),
        Row(f"{name}/more axes", loss(name), [d(2, 4), d(5, 3, 4),
            d(2, 3, low=0, high=4, dtype="int64")]),
        Row(f"{name}/in_features", loss(name), [x, d(5, 3), LABELS], error=True),
        Row(f"{name}/input", loss(name), [d(2, 6, 4), w, LABELS], error=True),
        Row(f"{name}/weight", loss(name), [x, d(4), LABELS], error=True),
        Row(f"{name}/bias", lambda m, x, w, y: m.nn.functional.linear_cross_entropy(
            x, w, y, linear_bias=x), [x, w, LABELS], error=True),
        *[Row(f"nn.LinearCrossEntropyOptions/{key}",
              lambda m, key=key, value=value: m.nn.LinearCrossEntropyOptions(**{key: value}),
              error=True)
          for key, value in (("batch_chunk_size", 0), ("chunking_method", "aspect_ratio:0"),
                             ("acc_policy", "exact"))],
        Row("nn.LinearCrossEntropyOptions/disagree", lambda m, x, w, y:
            m.nn.functional.linear_cross_entropy(x, w, y, options=m.nn.LinearCrossEntropyOptions(
                batch_chunk_size=5, chunking_method="aspect_ratio")), [x, w, LABELS], error=True),
    ]  # fmt: skip


def adaptive(m: Any, x: Any, y: Any) -> Any:
    layer = m.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10, 15], div_value=2.0)
    layer = layer.to(x.dtype)
    from tests.parity.core import fill

    fill(layer)
    out = layer(x, y)
    return [out.output, out.loss, layer.log_prob(x), layer.predict(x.detach() * 3),
            list(layer.state_dict()), repr(layer)]  # fmt: skip


ADAPTIVE = {"in_features": 8, "n_classes": 20, "cutoffs": [4, 10]}
ROWS = [
    *cross_entropy(),
    *margins(),
    *linear(),
    made("CrossEntropyLoss", SCORES, LABELS, label_smoothing=0.1, ignore_index=1),
    made("NLLLoss", SCORES, LABELS, ignore_index=1, reduction="sum"),
    made("NLLLoss2d", SPATIAL, MAP),
    made("MultiMarginLoss", SCORES, LABELS, p=2, margin=0.5),
    made("MultiLabelMarginLoss", SCORES, d(6, 5, low=-1, high=4, dtype="int64")),
    made("MultiLabelSoftMarginLoss", SCORES, d(6, 5, low=0, high=1)),
    made("LinearCrossEntropyLoss", d(6, 4), LABELS, in_features=4, num_classes=5, bias=True,
         ignore_index=3),
    Row("nn.LinearCrossEntropyLoss/chunks", module(lambda m: m.nn.LinearCrossEntropyLoss(
        4, 5, bias=True, options=m.nn.LinearCrossEntropyOptions(batch_chunk_size=2))),
        [d(6, 4), LABELS]),
    made("LinearCrossEntropyLoss", d(2, 4), MAP, key="/axes", in_features=4, num_classes=5,
         out_features=(3, 4)),
    made("AdaptiveLogSoftmaxWithLoss", d(9, 8), d(9, low=0, high=19, dtype="int64"), **ADAPTIVE),
    made("AdaptiveLogSoftmaxWithLoss", d(9, 8), d(9, low=0, high=3, dtype="int64"), key="/head",
         head_bias=True, div_value=2.0, **ADAPTIVE),
    made("AdaptiveLogSoftmaxWithLoss", d(8), d(low=12, high=19, dtype="int64"), key="/one",
         **ADAPTIVE),
    Row("nn.AdaptiveLogSoftmaxWithLoss/methods", adaptive,
        [d(9, 8), d(9, low=0, high=19, dtype="int64")], dtypes=FLOATS),
    *[Row(f"nn.AdaptiveLogSoftmaxWithLoss/cutoffs {cuts}",
          lambda m, cuts=cuts: m.nn.AdaptiveLogSoftmaxWithLoss(8, 20, cuts), error=True)
      for cuts in ([], [3, 2], [0, 3], [5, 20], [3, 3], [2.5])],
    *[Row(f"nn.AdaptiveLogSoftmaxWithLoss/{key}",
          lambda m, x, y: m.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4])(x, y), inputs, error=True)
      for key, inputs in {
          "batch": [d(9, 8), d(8, low=0, dtype="int64")],
          "target rank": [d(9, 8), d(9, 1, low=0, dtype="int64")],
          "input rank": [d(8), d(9, low=0, dtype="int64")],
          "range": [d(2, 8), d(2, low=25, high=30, dtype="int64")],
      }.items()],
    Row("cross_entropy/smoothing", loss("cross_entropy", label_smoothing=1.5), [SCORES, LABELS],
        error=True),
    Row("cross_entropy/soft shape", loss("cross_entropy"), [SCORES, d(6, 4)], error=True),
    Row("multi_margin_loss/p", loss("multi_margin_loss", p=3), [SCORES, LABELS], error=True),
    Row("nn.MultiMarginLoss/p", lambda m: m.nn.MultiMarginLoss(p=3), error=True),
    Row("nn.MultiMarginLoss/weight", lambda m, w: m.nn.MultiMarginLoss(weight=w), [d(2, 5)],
        error=True),
    Row("multi_margin_loss/batch", loss("multi_margin_loss"), [SCORES, d(5, low=0, dtype="int64")],
        error=True),
    Row("multilabel_margin_loss/shape", loss("multilabel_margin_loss"), [SCORES, LABELS],
        error=True),
    Row("multilabel_margin_loss/range", loss("multilabel_margin_loss"),
        [SCORES, d(6, 5, low=5, high=9, dtype="int64")], error=True),
    Row("nn.LinearCrossEntropyLoss/weight", lambda m, w: m.nn.LinearCrossEntropyLoss(
        4, 5, weight=w), [d(4)], error=True),
    Row("nn.LinearCrossEntropyLoss/smoothing", lambda m: m.nn.LinearCrossEntropyLoss(
        4, 5, label_smoothing=-0.1), error=True),
]  # fmt: skip
