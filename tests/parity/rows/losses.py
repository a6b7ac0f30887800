"""Losses between tensors of one shape: values, gradients, options, types, shapes, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.core import FLOATS, Row, d, module, rows

REDUCTIONS = ("mean", "sum", "none")
UNIT = {"low": 0.05, "high": 0.95}


def loss(name: str, **options: Any) -> Callable[..., Any]:
    """A function of nn.functional with options."""
    return lambda m, *inputs: getattr(m.nn.functional, name)(*inputs, **options)


def reduced(name: str, *inputs: Any, key: str = "", **options: Any) -> list[Row]:
    """A row for each reduction."""
    dtypes = options.pop("dtypes", FLOATS)
    return [
        Row(f"{name}{key}/{r}", loss(name, reduction=r, **options), inputs, dtypes=dtypes)
        for r in REDUCTIONS
    ]


def made(name: str, *inputs: Any, key: str = "", dtypes: Any = ("float32",), **options: Any) -> Row:
    """The module, built with options."""
    build = module(lambda m: getattr(m.nn, name)(**options))
    return Row(f"nn.{name}{key}", build, inputs, dtypes=dtypes)


def signs(call: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the last input 1 or -1."""
    return lambda m, *inputs: call(m, *inputs[:-1], (inputs[-1] > 0).to(inputs[0].dtype) * 2 - 1)


PAIR = (d(4, 5), d(4, 5))
TARGET = d(4, 5, **UNIT)
SIGNED = d(4, 5, grad=False)
NAMES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss",
         "hinge_embedding_loss", "kl_div", "poisson_nll_loss")  # fmt: skip


def pos_weight(m: Any, x: Any, y: Any, w: Any) -> Any:
    return m.nn.BCEWithLogitsLoss(pos_weight=w.detach())(x, y)


def weighted_bce(m: Any, x: Any, y: Any, w: Any) -> Any:
    made = m.nn.BCELoss(weight=w.detach(), reduction="sum")
    return [made(x, y), list(made.state_dict())]


ROWS = [
    *reduced("mse_loss", *PAIR),
    *reduced("l1_loss", *PAIR),
    *reduced("smooth_l1_loss", *PAIR),
    *reduced("smooth_l1_loss", *PAIR, key="/beta", beta=0.3, dtypes=("float32",)),
    *reduced("smooth_l1_loss", *PAIR, key="/beta 0", beta=0.0, dtypes=("float32",)),
    *reduced("huber_loss", *PAIR),
    *reduced("huber_loss", *PAIR, key="/delta", delta=0.7, dtypes=("float32",)),
    *reduced("binary_cross_entropy", d(4, 5, **UNIT), TARGET),
    *reduced("binary_cross_entropy_with_logits", d(4, 5), TARGET),
    *reduced("kl_div", d(4, 5), TARGET),
    *reduced("kl_div", *PAIR, key="/log_target", log_target=True),
    Row("kl_div/batchmean", loss("kl_div", reduction="batchmean"), [d(4, 5), TARGET]),
    Row("kl_div/batchmean 0-dim", loss("kl_div", reduction="batchmean"), [d(), d(**UNIT)]),
    Row("kl_div/zeros", lambda m, x, y: m.nn.functional.kl_div(x, y.relu(), reduction="none"),
        [d(4, 5), d(4, 5, grad=False)]),
    *reduced("poisson_nll_loss", d(4, 5), d(4, 5, low=0, high=6)),
    *reduced("poisson_nll_loss", d(4, 5), d(4, 5, low=0, high=6), key="/full", full=True),
    *reduced("poisson_nll_loss", d(4, 5, low=0.1), d(4, 5, low=0, high=6), key="/rates",
             log_input=False, full=True, eps=1e-3, dtypes=("float32",)),
    *reduced("gaussian_nll_loss", *PAIR, d(4, 5, **UNIT)),
    *reduced("gaussian_nll_loss", *PAIR, d(4, 1, low=0.001, high=1), key="/full", full=True,
             eps=0.3, dtypes=("float32",)),
    *reduced("gaussian_nll_loss", *PAIR, d(4, **UNIT), key="/one a row", dtypes=("float32",)),
    Row("gaussian_nll_loss/number", lambda m, x, y: m.nn.functional.gaussian_nll_loss(x, y, 0.5),
        PAIR),
    *[Row(f"hinge_embedding_loss/{r}", signs(loss("hinge_embedding_loss", margin=0.8, reduction=r)),
          [d(4, 5), SIGNED], dtypes=FLOATS) for r in REDUCTIONS],
    Row("hinge_embedding_loss/other targets", loss("hinge_embedding_loss", reduction="none"),
        [d(4, 5), d(4, 5, grad=False)]),
    *[Row(f"soft_margin_loss/{r}", signs(loss("soft_margin_loss", reduction=r)),
          [d(4, 5), SIGNED], dtypes=FLOATS) for r in REDUCTIONS],
    *[Row(f"{n}/weight/{r}",
          lambda m, x, y, w, n=n, r=r: getattr(m.nn.functional, n)(x, y, reduction=r, weight=w),
          [*PAIR, TARGET])
      for n in ("mse_loss", "l1_loss", "huber_loss") for r in REDUCTIONS],
    *[Row(f"{n}/weight/{r}",
          lambda m, x, y, w, n=n, r=r: getattr(m.nn.functional, n)(x, y, w.detach(), reduction=r),
          [d(4, 5, **UNIT), TARGET, d(5, low=0.5)])
      for n in ("binary_cross_entropy", "binary_cross_entropy_with_logits") for r in REDUCTIONS],
    Row("binary_cross_entropy/edges",
        lambda m, x, y: m.nn.functional.binary_cross_entropy(x.clamp(0, 1), y, reduction="none"),
        [d(4, 9, low=-1, high=2), d(4, 9, **UNIT, grad=False)], dtypes=FLOATS),
    Row("nn.BCEWithLogitsLoss/pos_weight", pos_weight, [d(4, 5), TARGET, d(5, low=0.5)]),
    Row("nn.BCELoss/weight", weighted_bce, [d(4, 5, **UNIT), TARGET, d(5, low=0.5)]),
    Row("binary_cross_entropy_with_logits/large", lambda m, x, y:
        m.nn.functional.binary_cross_entropy_with_logits(x * 1e3, y), [d(4, 5), TARGET]),
    *[Row(f"soft_margin_loss/{key}", loss("soft_margin_loss"), inputs) for key, inputs in {
        "0-dim": [d(), d(grad=False)], "empty": [d(0, 3), d(0, 3, grad=False)],
        "broadcast": [d(4, 5), d(5, grad=False)],
        "transposed": [d(4, 5, layout="transposed"), SIGNED],
    }.items()],
    # Broadcasting, other types, layouts, and inputs without elements.
    *rows("loss/broadcast", {n: loss(n) for n in NAMES}, d(4, 5), d(5, low=0.5)),
    *rows("loss/0-dim", {n: loss(n) for n in NAMES}, d(), d(low=0.5)),
    *rows("loss/empty", {n: loss(n) for n in NAMES}, d(0, 3), d(0, 3)),
    *rows("loss/empty sum", {n: loss(n, reduction="sum") for n in NAMES}, d(0, 3), d(0, 3)),
    *rows("loss/transposed", {n: loss(n) for n in NAMES}, d(4, 5, layout="transposed"),
          d(4, 5, low=0.5)),
    *rows("loss/strided", {n: loss(n) for n in NAMES}, d(4, 5), d(4, 5, low=0.5, layout="strided")),
    *rows("loss/double target", {n: loss(n) for n in ("mse_loss", "l1_loss", "kl_div")}, d(4, 5),
          d(4, 5, low=0.5, dtype="float64")),
    *rows("loss/half", {n: loss(n) for n in ("mse_loss", "l1_loss", "smooth_l1_loss")}, *PAIR,
          dtypes=("float16", "bfloat16")),
    Row("mse_loss/integer target", loss("mse_loss"), [d(4, 5), d(4, 5, dtype="int64")]),
    Row("l1_loss/integers", loss("l1_loss", reduction="sum"), PAIR, dtypes=("int32", "int64")),
    # The old spelling of the reduction.
    *[Row(f"loss/legacy/{a} {b}", loss("mse_loss", size_average=a, reduce=b), PAIR)
      for a in (None, True, False) for b in (None, True, False)],
    Row("nn.MSELoss/legacy", lambda m, x, y: [c.reduction for c in (
        m.nn.MSELoss(False), m.nn.L1Loss(reduce=False), m.nn.KLDivLoss(True, True),
        m.nn.CrossEntropyLoss(None, False), m.nn.BCELoss(size_average=False, reduce=False))], PAIR),
    # Modules.
    made("MSELoss", *PAIR), made("L1Loss", *PAIR, reduction="sum"),
    made("SmoothL1Loss", *PAIR, beta=0.5), made("HuberLoss", *PAIR, delta=0.5),
    made("KLDivLoss", d(4, 5), TARGET, reduction="batchmean"),
    made("KLDivLoss", *PAIR, key="/log", log_target=True, reduction="sum"),
    made("PoissonNLLLoss", d(4, 5), TARGET), made("BCELoss", d(4, 5, **UNIT), TARGET),
    made("PoissonNLLLoss", d(4, 5, low=0.1), TARGET, key="/rates", log_input=False, full=True),
    made("GaussianNLLLoss", *PAIR, TARGET), made("BCEWithLogitsLoss", d(4, 5), TARGET),
    made("GaussianNLLLoss", *PAIR, TARGET, key="/full", full=True, reduction="none"),
    made("HingeEmbeddingLoss", d(4, 5), SIGNED, margin=0.5),
    made("SoftMarginLoss", d(4, 5), SIGNED),
    # Refusals.
    Row("mse_loss/reduction", loss("mse_loss", reduction="max"), PAIR, error=True),
    Row("mse_loss/weight shape", lambda m, x, y: m.nn.functional.mse_loss(x, y, weight=x[0]), PAIR,
        error=True),
    Row("mse_loss/shapes", loss("mse_loss"), [d(4, 5), d(4, 3)], error=True),
    Row("huber_loss/delta", loss("huber_loss", delta=0.0), PAIR, error=True),
    Row("nn.HuberLoss/delta", lambda m: m.nn.HuberLoss(delta="1"), error=True),
    Row("smooth_l1_loss/beta", loss("smooth_l1_loss", beta=-1.0), PAIR, error=True),
    Row("binary_cross_entropy/range", loss("binary_cross_entropy"), [d(4, 5), TARGET], error=True),
    Row("binary_cross_entropy/shape", loss("binary_cross_entropy"), [d(4, 5), d(5)], error=True),
    Row("binary_cross_entropy_with_logits/shape", loss("binary_cross_entropy_with_logits"),
        [d(4, 5), d(5)], error=True),
    Row("gaussian_nll_loss/negative", loss("gaussian_nll_loss"), [*PAIR, d(4, 5)], error=True),
    Row("gaussian_nll_loss/number below 0",
        lambda m, x, y: m.nn.functional.gaussian_nll_loss(x, y, -1.0), PAIR, error=True),
    Row("gaussian_nll_loss/shape", loss("gaussian_nll_loss"), [*PAIR, d(5, **UNIT)], error=True),
    Row("kl_div/reduction", loss("kl_div", reduction="batch"), PAIR, error=True),
]  # fmt: skip
