"""Learning-rate schedules: each changes `lr` in an optimizer's param_groups once a `step()`.

The formulas are those of `torch.optim.lr_scheduler`, in the recursive form that lets schedules be
chained: a new rate is computed from the current one.
"""

from toolkit.optim.lr_scheduler.base import LRScheduler
from toolkit.optim.lr_scheduler.combined import ReduceLROnPlateau, SequentialLR
from toolkit.optim.lr_scheduler.cycle import OneCycleLR
from toolkit.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    StepLR,
)  # fmt: skip

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
