"""Optimizers and learning-rate schedules, as in `torch.optim`."""

from toolkit.optim import lr_scheduler
from toolkit.optim.adam import Adam, AdamW
from toolkit.optim.optimizer import Optimizer
from toolkit.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
