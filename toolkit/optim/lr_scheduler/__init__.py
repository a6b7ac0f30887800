"""Learning-rate schedules: each changes `lr` in an optimizer's param_groups once a `step()`.

The formulas are those of `torch.optim.lr_scheduler`, in the recursive form that lets schedules be
chained: a new rate is computed from the current one.
"""

from toolkit.optim.lr_scheduler.base import LRScheduler
from toolkit.optim.lr_scheduler.combined import ChainedScheduler, ReduceLROnPlateau, SequentialLR
from toolkit.optim.lr_scheduler.cycle import OneCycleLR
from toolkit.optim.lr_scheduler.cyclic import CyclicLR
from toolkit.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)  # fmt: skip
from toolkit.optim.lr_scheduler.restarts import CosineAnnealingWarmRestarts

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
