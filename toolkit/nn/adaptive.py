"""Adaptive softmax: frequent classes in a head, rare ones in clusters that the head points to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn import functional as F
from toolkit.nn.containers import ModuleList, Sequential
from toolkit.nn.functional.reduction import can_look, may_equal
from toolkit.nn.linear import Linear
from toolkit.nn.module import Module
from toolkit.tensor import Tensor, cat


class _ASMoutput(NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Efficient softmax over many classes, sorted by how often they occur (Grave et al., 2017).

    Args:
        in_features: size of each sample.
        n_classes: number of classes.
        cutoffs: where the clusters begin: classes below the first one are in the head.
        div_value: cluster i projects to in_features / div_value^(i + 1) features.
        head_bias: whether the head has a bias.
        device: as in `Linear`.
        dtype: as in `Linear`.

    Raises:
        InvalidArgumentError: cutoffs are not increasing within [1, n_classes - 1].
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if (
            not cutoffs
            or any(a >= b for a, b in pairwise([0, *cutoffs, n_classes]))
            or any(int(c) != c for c in cutoffs)
        ):
            raise InvalidArgumentError(
                "AdaptiveLogSoftmaxWithLoss: cutoffs should be a sequence of unique, positive "
                "integers sorted in an increasing order, where each value is between 1 and "
                f"n_classes-1, got {cutoffs} for {n_classes} classes."
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = cutoffs[0]
        self.n_clusters = len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        options = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            hidden = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, **options),
                    Linear(hidden, high - low, bias=False, **options),
                )
            )

    def reset_parameters(self) -> None:
        """Draws all weights again."""
        self.head.reset_parameters()
        for projection in self.tail:
            for layer in projection:
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        """The log-probability of each target (N,), and minus their mean."""
        _check(input_, target_)
        single = target_.dim() == 0
        x, y = (input_.unsqueeze(0), target_.unsqueeze(0)) if single else (input_, target_)
        if can_look() and y.numel() and not 0 <= int(y.min()) <= int(y.max()) < self.n_classes:
            raise InvalidArgumentError(
                "AdaptiveLogSoftmaxWithLoss: Target values should be in "
                f"[0, {self.n_classes - 1}], but values in range [{int(y.min())}, {int(y.max())}] "
                "were found."
            )
        at = y.clone()
        output = x.new_zeros(y.shape)
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            inside = (y >= low) & (y < high)
            rows = inside.nonzero().squeeze(1)
            at = at.masked_fill(inside, self.shortlist_size + i)
            if can_look() and not rows.numel():
                continue
            scores = self.tail[i](x.index_select(0, rows))
            own = (y.index_select(0, rows) - low).unsqueeze(1)
            output = output.scatter(0, rows, scores.log_softmax(1).gather(1, own).squeeze(1))
        head = F.log_softmax(self.head(x), dim=1)
        output = output + head.gather(1, at.unsqueeze(1)).squeeze(1)
        return _ASMoutput(output.squeeze(0) if single else output, -output.mean())

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities (N, n_classes) of all classes."""
        return self._all_log_prob(input, self.head(input))

    def _all_log_prob(self, input: Tensor, scores: Tensor) -> Tensor:
        head = F.log_softmax(scores, dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            at = self.shortlist_size + i
            parts.append(F.log_softmax(cluster(input), dim=1) + head[:, at : at + 1])
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row (N, in_features)."""
        scores = self.head(input)
        best = scores.argmax(1)
        rows = (best >= self.shortlist_size).nonzero().squeeze(1)
        if can_look() and not rows.numel():
            return best  # type: ignore[no-any-return]
        full = self._all_log_prob(input.index_select(0, rows), scores.index_select(0, rows))
        return best.scatter(0, rows, full.argmax(1))  # type: ignore[no-any-return]


def _check(input: Tensor, target: Tensor) -> None:
    need = "AdaptiveLogSoftmaxWithLoss: "
    rank = target.dim()
    if rank > 1:
        raise ShapeError(
            f"{need}0D or 1D target tensor expected, multi-target not supported, got {rank}D."
        )
    if input.dim() != rank + 1:
        raise ShapeError(
            f"{need}{rank}D target tensor expects {rank + 1}D input tensors, but found inputs with "
            f"size {list(input.shape)}."
        )
    if rank and not may_equal(input.shape[:1], target.shape):
        raise ShapeError(
            f"{need}Input and target should have the same size in the batch dimension, got "
            f"{list(input.shape)} and {list(target.shape)}."
        )
