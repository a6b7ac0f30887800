"""Distances, similarities, losses of margins between them, and CTC."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d
from tests.parity.rows.losses import REDUCTIONS, loss, made, signs

ROW, ROWS_2 = d(7), (d(4, 7), d(4, 7))
TRIPLE = (d(4, 7), d(4, 7), d(4, 7))
SIGN = d(4, grad=False)
INFINITY = float("inf")


def distances() -> list[Row]:
    name = "pairwise_distance"
    return [
        *[Row(f"{name}/p={p}", loss(name, p=p), ROWS_2, dtypes=FLOATS)
          for p in (1.0, 2.0, 3.0, 0.5, INFINITY, -INFINITY)],
        Row(f"{name}/p=0", loss(name, p=0.0), ROWS_2, dtypes=FLOATS, grad=False),
        Row("pdist/p=0", loss("pdist", p=0.0), [d(5, 3)], dtypes=FLOATS, grad=False),
        Row(f"{name}/keepdim eps", loss(name, keepdim=True, eps=0.1), ROWS_2),
        Row(f"{name}/one", loss(name), [ROW, ROW]),
        Row(f"{name}/broadcast", loss(name), [d(4, 7), ROW]),
        Row(f"{name}/3-dim", loss(name), [d(2, 4, 7), d(2, 1, 7)]),
        Row(f"{name}/empty", loss(name), [d(0, 7), d(0, 7)]),
        Row(f"{name}/transposed", loss(name), [d(4, 7, layout="transposed"), d(4, 7)]),
        Row(f"{name}/shapes", loss(name), [d(4, 7), d(4, 6)], error=True),
        *[Row(f"pdist/p={p}", loss("pdist", p=p), [d(5, 3)], dtypes=FLOATS)
          for p in (1.0, 1.5, 2.0, 3.0, INFINITY)],
        Row("pdist/equal rows", lambda m, x: m.nn.functional.pdist(x * 0), [d(3, 4)]),
        *[Row(f"pdist/{n} rows", loss("pdist"), [d(n, 3)], grad=n == 2) for n in (0, 1, 2)],
        Row("pdist/negative p", loss("pdist", p=-1.0), [d(5, 3)], error=True),
        Row("pdist/rank", loss("pdist"), [d(2, 5, 3)], error=True),
        made("PairwiseDistance", *ROWS_2), made("CosineSimilarity", *ROWS_2),
        made("PairwiseDistance", *ROWS_2, key="/p", p=1.0, keepdim=True),
        made("CosineSimilarity", d(2, 3, 4), d(2, 3, 4), key="/dim", dim=-1, eps=1e-3),
    ]  # fmt: skip


def similarities() -> list[Row]:
    name = "cosine_similarity"
    return [
        *[Row(f"{name}/dim={k}", loss(name, dim=k), [d(2, 3, 4), d(2, 3, 4)], dtypes=FLOATS)
          for k in (0, 1, -1)],
        Row(f"{name}/eps", loss(name, eps=1.5), ROWS_2),
        Row(f"{name}/broadcast", loss(name), [d(4, 7), d(1, 7)]),
        Row(f"{name}/other rank", loss(name), [d(4, 7), d(7)]),
        Row(f"{name}/zeros", lambda m, x, y: m.nn.functional.cosine_similarity(x * 0, y), ROWS_2),
        Row(f"{name}/empty", loss(name), [d(0, 7), d(0, 7)]),
        Row(f"{name}/promotion", loss(name), [d(4, 7), d(4, 7, dtype="float64")]),
        Row(f"{name}/torch", lambda m, x, y: m.cosine_similarity(x, y, dim=0, eps=1e-6), ROWS_2),
        Row(f"{name}/dim", loss(name, dim=3), ROWS_2, error=True),
        Row(f"{name}/shapes", loss(name), [d(4, 7), d(4, 6)], error=True),
        Row(f"{name}/integers", loss(name), ROWS_2, dtypes=("int64",), error=True),
    ]  # fmt: skip


def of_margins() -> list[Row]:
    found: list[Row] = []
    for r in REDUCTIONS:
        options: dict[str, Any] = {"reduction": r}
        found += [
            Row(f"cosine_embedding_loss/{r}", signs(loss("cosine_embedding_loss", **options)),
                [*ROWS_2, SIGN], dtypes=FLOATS),
            Row(f"cosine_embedding_loss/margin/{r}",
                signs(loss("cosine_embedding_loss", margin=-0.3, **options)), [*ROWS_2, SIGN]),
            Row(f"cosine_embedding_loss/one/{r}", signs(loss("cosine_embedding_loss", **options)),
                [ROW, ROW, d(grad=False)]),
            Row(f"margin_ranking_loss/{r}", signs(loss("margin_ranking_loss", **options)),
                [ROW, ROW, d(7, grad=False)], dtypes=FLOATS),
            Row(f"margin_ranking_loss/margin/{r}",
                signs(loss("margin_ranking_loss", margin=0.7, **options)),
                [*ROWS_2, d(4, 7, grad=False)]),
            Row(f"triplet_margin_loss/{r}", loss("triplet_margin_loss", **options), TRIPLE,
                dtypes=FLOATS),
            Row(f"triplet_margin_loss/swap p/{r}",
                loss("triplet_margin_loss", swap=True, p=1.0, margin=2.0, **options), TRIPLE),
            Row(f"triplet_margin_loss/one/{r}", loss("triplet_margin_loss", eps=1e-3, **options),
                [ROW, ROW, ROW]),
            Row(f"triplet_margin_with_distance_loss/{r}",
                loss("triplet_margin_with_distance_loss", margin=0.5, **options), TRIPLE),
            Row(f"triplet_margin_with_distance_loss/own/{r}", lambda m, *x, o=options:
                m.nn.functional.triplet_margin_with_distance_loss(
                    *x, distance_function=lambda a, b: (a - b).abs().amax(-1), swap=True, **o),
                TRIPLE),
        ]  # fmt: skip
    triplet = "triplet_margin_with_distance_loss"
    return [
        *found,
        made("CosineEmbeddingLoss", *ROWS_2, SIGN, margin=0.2),
        made("MarginRankingLoss", *ROWS_2, d(4, 7, grad=False), margin=0.2, reduction="sum"),
        made("TripletMarginLoss", *TRIPLE, margin=0.5, p=3.0, swap=True),
        made("TripletMarginWithDistanceLoss", *TRIPLE, swap=True),
        Row("nn.TripletMarginWithDistanceLoss/own", lambda m, *x:
            m.nn.TripletMarginWithDistanceLoss(distance_function=m.nn.PairwiseDistance(p=1.0))(*x),
            TRIPLE),
        Row("margin_ranking_loss/broadcast", loss("margin_ranking_loss"),
            [d(4, 7), d(4, 1), d(1, 7, grad=False)]),
        Row("margin_ranking_loss/legacy", loss("margin_ranking_loss", reduce=False),
            [ROW, ROW, d(7, grad=False)]),
        Row("margin_ranking_loss/rank", loss("margin_ranking_loss"), [ROW, ROW, d(4, 7)],
            error=True),
        Row("cosine_embedding_loss/target", loss("cosine_embedding_loss"), [*ROWS_2, d(4, 7)],
            error=True),
        Row("cosine_embedding_loss/inputs", loss("cosine_embedding_loss"), [ROW, ROW, d(4)],
            error=True),
        Row("triplet_margin_loss/margin", loss("triplet_margin_loss", margin=0.0), TRIPLE,
            error=True),
        Row("triplet_margin_loss/rank", loss("triplet_margin_loss"), [d(4, 7), d(4, 7), ROW],
            error=True),
        Row("nn.TripletMarginLoss/margin", lambda m: m.nn.TripletMarginLoss(margin=-1.0),
            error=True),
        Row(f"{triplet}/margin", loss(triplet, margin=-1.0), TRIPLE, error=True),
        Row(f"{triplet}/reduction", loss(triplet, reduction="all"), TRIPLE, error=True),
    ]  # fmt: skip


T, N, C, S = 9, 3, 5, 4
X = d(T, N, C)
TARGETS = d(N, S, low=1, high=4, dtype="int64")


def ctc(steps: Any, lengths: Any, as_tensors: bool = False, **options: Any) -> Any:
    """The loss of log_softmax(x), lengths as tuples or tensors."""

    def call(m: Any, x: Any, y: Any) -> Any:
        given = [m.tensor(v) for v in (steps, lengths)] if as_tensors else (steps, lengths)
        return m.nn.functional.ctc_loss(x.log_softmax(-1), y, *given, **options)

    return call


def module_ctc(m: Any, x: Any, y: Any) -> Any:
    made = m.nn.CTCLoss(blank=4, reduction="sum", zero_infinity=True)
    return [repr(made), made(x.log_softmax(2), y, (9, 8, 2), (4, 3, 4))]


def of_ctc() -> list[Row]:
    steps, lengths = (9, 7, 5), (4, 2, 1)
    joined = d(7, low=1, high=4, dtype="int64")
    found = []
    for r in REDUCTIONS:
        found += [
            Row(f"ctc_loss/{r}", ctc(steps, lengths, reduction=r), [X, TARGETS], dtypes=FLOATS),
            Row(f"ctc_loss/joined/{r}", ctc(steps, lengths, True, reduction=r), [X, joined]),
            Row(f"ctc_loss/too long/{r}", ctc((9, 2, 3), (4, 4, 3), reduction=r,
                zero_infinity=True), [X, TARGETS], dtypes=FLOATS),
            Row(f"ctc_loss/one/{r}", ctc((9,), (3,), reduction=r),
                [d(T, C), d(3, low=1, high=4, dtype="int64")]),
        ]  # fmt: skip
    return [
        *found,
        Row("ctc_loss/infinite", ctc((9, 2, 3), (4, 4, 3), reduction="none"), [X, TARGETS],
            grad=False),
        Row("ctc_loss/blank", ctc(steps, lengths, blank=2),
            [X, d(N, S, low=3, high=4, dtype="int64")]),
        Row("ctc_loss/same labels", ctc((9, 8, 9), (4, 4, 4)),
            [X, d(N, S, low=1, high=1, dtype="int64")]),
        Row("ctc_loss/empty targets", ctc(steps, (0, 0, 2), reduction="none"), [X, TARGETS]),
        Row("ctc_loss/no labels", ctc(steps, (0, 0, 0)), [X, d(N, 0, low=0, dtype="int64")],
            grad=False),
        Row("ctc_loss/int32", ctc(steps, lengths, True),
            [X, d(N, S, low=1, high=4, dtype="int32")]),
        Row("ctc_loss/lengths as lists", lambda m, x, y: m.nn.functional.ctc_loss(
            x.log_softmax(2), y, [9, 9, 9], [4, 4, 4]), [X, TARGETS]),
        Row("ctc_loss/0-dim lengths", lambda m, x, y: m.nn.functional.ctc_loss(
            x.log_softmax(1), y, m.tensor(9), m.tensor(3)),
            [d(T, C), d(3, low=1, high=4, dtype="int64")]),
        Row("ctc_loss/batch first", lambda m, x, y: m.nn.functional.ctc_loss(
            x.transpose(0, 1).log_softmax(2), y, steps, lengths), [d(N, T, C), TARGETS]),
        Row("ctc_loss/peaked", lambda m, x, y: m.nn.functional.ctc_loss(
            (x * 300).log_softmax(2), y, steps, lengths), [X, TARGETS],
            dtypes=("float64",)),
        Row("ctc_loss/torch", lambda m, x, y: m.ctc_loss(x.log_softmax(2), y, steps, lengths),
            [X, TARGETS]),
        Row("nn.CTCLoss", module_ctc, [X, d(N, S, low=0, high=3, dtype="int64")]),
        Row("ctc_loss/long", ctc((60, 55), (20, 17)), [d(60, 2, 30),
            d(2, 20, low=1, high=29, dtype="int64")]),
        Row("ctc_loss/blank range", ctc(steps, lengths, blank=5), [X, TARGETS], error=True),
        Row("ctc_loss/negative blank", ctc(steps, lengths, blank=-1), [X, TARGETS], error=True),
        Row("ctc_loss/input_lengths", ctc((9, 10, 5), lengths), [X, TARGETS], error=True),
        Row("ctc_loss/target_lengths", ctc(steps, (4, 5, 1)), [X, TARGETS], error=True),
        Row("ctc_loss/batch", ctc((9, 7), lengths), [X, TARGETS], error=True),
        Row("ctc_loss/joined size", ctc(steps, (4, 2, 2)), [X, joined], error=True),
        Row("ctc_loss/float lengths", ctc((9.0, 7.0, 5.0), lengths, True), [X, TARGETS],
            error=True),
        Row("ctc_loss/rank", ctc(steps, lengths), [d(T, N, C, 1), TARGETS], error=True),
        Row("ctc_loss/reduction", ctc(steps, lengths, reduction="batch"), [X, TARGETS], error=True),
    ]  # fmt: skip


SUM = 2  # torch's number of the reduction "sum".
TORCH = {
    "kl_div": (d(4, 5), d(4, 5, low=0.1)), "poisson_nll_loss": None,
    "hinge_embedding_loss": (d(4, 5), d(4, 5, grad=False)),
    "binary_cross_entropy_with_logits": (d(4, 5), d(4, 5, low=0, high=1)),
    "pairwise_distance": ROWS_2, "pdist": (d(5, 3),),
    "triplet_margin_loss": TRIPLE, "margin_ranking_loss": (*ROWS_2, d(4, 7, grad=False)),
    "cosine_embedding_loss": (*ROWS_2, SIGN),
}  # fmt: skip
ROWS = [
    *distances(),
    *similarities(),
    *of_margins(),
    *of_ctc(),
    *[Row(f"torch.{name}", lambda m, *x, n=name: getattr(m, n)(*x), inputs)
      for name, inputs in TORCH.items() if inputs],
    Row("torch.kl_div/sum", lambda m, x, y: m.kl_div(x, y, SUM, log_target=True), ROWS_2),
    Row("torch.triplet_margin_loss/sum", lambda m, *x: m.triplet_margin_loss(*x, reduction=SUM),
        TRIPLE),
    Row("torch.poisson_nll_loss", lambda m, x, y: m.poisson_nll_loss(x, y, True, False, 1e-8, SUM),
        [d(4, 5), d(4, 5, low=0)]),
]  # fmt: skip
