"""Support vector machines: linear, and of a Gaussian kernel by random Fourier features."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from toolkit import nn, optim
from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.nn import functional as F
from toolkit.tensor import Tensor, as_tensor, cat, rand, randn, tensor
from toolkit.train import TrainStep

KERNELS = ("linear", "rbf")


def hinge_loss(scores: Tensor, target: Tensor) -> Tensor:
    """The mean of max(0, 1 - y s) over samples and classes, y = 1 for the class and -1 for others.

    Args:
        scores: (N, K) floats.
        target: (N,) classes.
    """
    sign = 2 * F.one_hot(target, scores.shape[-1]).to(scores.dtype) - 1
    return F.relu(1 - sign * scores).mean()


class SVM(nn.Module):
    """A hyperplane for two classes, or one against the rest for each of more.

    Args:
        in_features: elements of one sample.
        num_classes: 2 or more. The scores of two are -s and s, s the decision function.
        kernel: "linear", or "rbf": exp(-gamma |x - y|^2), of which the mean of cos(w x + b) terms
            with random w and b is an estimate (Rahimi and Recht, 2007).
        gamma: of "rbf"; None: 1 / in_features, and what `fit` finds in its data.
        components: how many terms; the estimate's error falls as 1 / sqrt(components).
    """

    gamma: Tensor
    frequencies: Tensor
    phases: Tensor

    def __init__(
        self,
        in_features: int = 30,
        num_classes: int = 2,
        kernel: str = "linear",
        gamma: float | None = None,
        components: int = 512,
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise InvalidArgumentError(f"SVM: one of {KERNELS} is required, got '{kernel}'.")
        if num_classes < 2:
            raise InvalidArgumentError(f"SVM: 2 classes or more are required, got {num_classes}.")
        self.kernel = kernel
        self.num_classes = num_classes
        self._scale_gamma = gamma is None
        if kernel == "rbf":
            self.register_buffer("gamma", tensor(float(gamma or 1 / in_features)))
            self.register_buffer("frequencies", randn(in_features, components))
            self.register_buffer("phases", 2 * math.pi * rand(components))
        width = components if kernel == "rbf" else in_features
        self.plane = nn.Linear(width, 1 if num_classes == 2 else num_classes)

    def features(self, x: Tensor) -> Tensor:
        """What the hyperplane is in: x, or sqrt(2 / D) cos(sqrt(2 gamma) x W + b)."""
        x = x.flatten(1)
        if self.kernel == "linear":
            return x
        angle = (2 * self.gamma).sqrt() * (x @ self.frequencies) + self.phases
        return math.sqrt(2 / self.phases.shape[0]) * angle.cos()  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to a score for each class (N, num_classes)."""
        scores = self.plane(self.features(x))
        return cat([-scores, scores], -1) if self.num_classes == 2 else scores

    def decision_function(self, x: Any) -> Tensor:
        """Distances to the hyperplanes in units of the margin: (N,) of two classes, else (N, K)."""
        with no_grad():
            scores = self(as_tensor(x))
        return scores[:, 1] if self.num_classes == 2 else scores  # type: ignore[no-any-return]

    def predict(self, x: Any) -> Tensor:
        """The class of the largest score."""
        with no_grad():
            return self(as_tensor(x)).argmax(-1)  # type: ignore[no-any-return]

    def fit(self, x: Any, y: Any, C: float = 1.0, steps: int = 2000, lr: float = 0.05) -> Self:
        """Minimises |w|^2 / 2 + C sum max(0, 1 - y s) by Adam over all samples, to a rate of 0.

        Args:
            x: (N, ...) floats, best standardised.
            y: (N,) classes.
            C: what a sample on the wrong side costs.
            steps: of the optimizer.
            lr: the rate that it begins with.

        Raises:
            InvalidArgumentError: no samples, or as many classes as were not asked for.
        """
        x, y = np.asarray(x, np.float32), np.asarray(y, np.int64)
        if not len(x) or len(x) != len(y) or C <= 0:
            raise InvalidArgumentError(
                f"SVM.fit: samples, a class for each, and C > 0 are required, got {len(x)} "
                f"samples, {len(y)} classes and C = {C}."
            )
        if y.min() < 0 or y.max() >= self.num_classes:
            raise InvalidArgumentError(
                f"SVM.fit: classes from 0 to {self.num_classes - 1} are required, got {y.min()} to "
                f"{y.max()}."
            )
        if self.kernel == "rbf" and self._scale_gamma:
            self.gamma.fill_(1 / (x[0].size * float(x.var()) or 1.0))  # As scikit-learn's "scale".
        # The mean over K classes divides by K what one against the rest sums.
        outputs = self.plane.weight.shape[0]
        decay = 1 / (C * len(x) * outputs)
        groups = [{"params": [self.plane.weight], "weight_decay": decay},
                  {"params": [self.plane.bias], "weight_decay": 0.0}]  # fmt: skip
        optimizer = optim.Adam(groups, lr=lr)
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        step = TrainStep(self, hinge_loss, optimizer)
        for _ in range(steps):
            step(x, y)
            schedule.step()
        return self


def kernel_svm(**options: Any) -> SVM:
    """An SVM of the Gaussian kernel."""
    return SVM(kernel="rbf", **options)
