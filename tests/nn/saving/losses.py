"""Cases of losses and distances, as modules and as functions."""

from __future__ import annotations

from typing import Any

from tests.nn.saving.core import Call, Case, Input, call, index, made, unit, x
from toolkit.nn import functional as F

PAIR = (x("N", "L"), x("N", "L"))
SCORES, LABELS = x("N", 5, "H", "W"), index("N", "H", "W")
SIGN = Input(("N", "L"), "sign")
ROWS = (x("N", 6), x("N", 6))
CTC = (x("T", "N", 5), index("N", 4, high=4), Input(("N",), "length"),
       index("N", high=5))  # fmt: skip
# By the names of the module and of the function: inputs, options.
LOSSES: dict[tuple[str, str], tuple[tuple[Input, ...], dict[str, Any]]] = {
    ("MSELoss", "mse_loss"): (PAIR, {}),
    ("L1Loss", "l1_loss"): (PAIR, {}),
    ("SmoothL1Loss", "smooth_l1_loss"): (PAIR, {"beta": 0.5}),
    ("HuberLoss", "huber_loss"): (PAIR, {"delta": 0.5}),
    ("BCELoss", "binary_cross_entropy"): ((unit("N", "L"), unit("N", "L")), {}),
    ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"): ((x("N", "L"), unit("N", "L")), {}),
    ("KLDivLoss", "kl_div"): ((x("N", "L"), unit("N", "L")), {}),
    ("PoissonNLLLoss", "poisson_nll_loss"): ((x("N", "L"), unit("N", "L")), {"full": True}),
    ("GaussianNLLLoss", "gaussian_nll_loss"): ((*PAIR, unit("N", "L")), {"full": True}),
    ("HingeEmbeddingLoss", "hinge_embedding_loss"): ((x("N", "L"), SIGN), {}),
    ("SoftMarginLoss", "soft_margin_loss"): ((x("N", "L"), SIGN), {}),
    ("CrossEntropyLoss", "cross_entropy"): ((SCORES, LABELS), {"label_smoothing": 0.1}),
    ("NLLLoss", "nll_loss"): ((SCORES, LABELS), {"ignore_index": 2}),
    ("MultiMarginLoss", "multi_margin_loss"): ((x("N", 5), index("N")), {"p": 2}),
    ("MultiLabelMarginLoss", "multilabel_margin_loss"): ((x("N", 5), index("N", 5)), {}),
    ("MultiLabelSoftMarginLoss", "multilabel_soft_margin_loss"): ((x("N", 5), unit("N", 5)), {}),
    ("CosineEmbeddingLoss", "cosine_embedding_loss"): ((*ROWS, Input(("N",), "sign")), {}),
    ("MarginRankingLoss", "margin_ranking_loss"): ((*PAIR, SIGN), {"margin": 0.2}),
    ("TripletMarginLoss", "triplet_margin_loss"): ((*ROWS, x("N", 6)), {"swap": True}),
    ("TripletMarginWithDistanceLoss", "triplet_margin_with_distance_loss"):
        ((*ROWS, x("N", 6)), {"margin": 2.0}),
    ("CTCLoss", "ctc_loss"): (CTC, {"zero_infinity": True}),
}  # fmt: skip
OWN_REDUCTIONS = {"KLDivLoss": ("batchmean",)}


def cases() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for (module, function), (inputs, options) in LOSSES.items():
        for r in ("mean", "sum", "none", *OWN_REDUCTIONS.get(module, ())):
            found.setdefault(module, []).append(
                made(module, *inputs, reduction=r, key=r, **options)
            )
            found.setdefault(function, []).append(
                call(function, *inputs, reduction=r, key=r, **options)
            )
    return found


class Adaptive(Call):
    """`log_prob` and `predict` beside the output."""

    def __init__(self) -> None:
        from toolkit import nn

        super().__init__(self.run)
        self.inner = nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0)

    def run(self, x: Any, y: Any) -> Any:
        return *self.inner(x, y), self.inner.log_prob(x), self.inner.predict(x * 4)


def soft_labels(scores: Any, target: Any) -> Any:
    return F.cross_entropy(scores, target.softmax(1), label_smoothing=0.2)


CASES: dict[str, list[Case]] = cases()
CASES["NLLLoss2d"] = [made("NLLLoss", SCORES, LABELS)]
CASES["cross_entropy"] += [Case(lambda: Call(soft_labels), [SCORES, SCORES], key="probabilities")]
CASES["ctc_loss"] += [
    Case(lambda: Call(lambda x, y, t: F.ctc_loss(x, y, t, (2, 1, 4), reduction="none")),
         [x("T", 3, 5), index(7, high=4), Input((3,), "length")], key="joined")
]  # fmt: skip
CASES |= {
    "PairwiseDistance": [made("PairwiseDistance", *ROWS, p=p, key=f"p {p}") for p in (1.0, 2.0)],
    "CosineSimilarity": [made("CosineSimilarity", *ROWS)],
    "pairwise_distance": [call("pairwise_distance", x("N", "L", 6), x("N", 1, 6), keepdim=True)],
    "cosine_similarity": [call("cosine_similarity", *PAIR, dim=d, key=f"dim {d}") for d in (0, 1)],
    "pdist": [call("pdist", x("N", 6), p=p, key=f"p {p}") for p in (1.0, 2.0, float("inf"))],
    "AdaptiveLogSoftmaxWithLoss": [Case(Adaptive, [x("N", 8), index("N", high=20)])],
    "LinearCrossEntropyLoss": [made("LinearCrossEntropyLoss", x("N", 4), index("N"), args=(4, 5))],
    "linear_cross_entropy": [
        call("linear_cross_entropy", x("N", 4), x(5, 4), index("N"), reduction="none"),
        call("linear_cross_entropy", x("N", 4), x(5, 4), index("N"), key="chunks",
             options=F.LinearCrossEntropyOptions()),
    ],
}  # fmt: skip
