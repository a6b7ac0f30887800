"""Optimizers and learning-rate schedules, as in `torch.optim`."""

from toolkit.optim import lr_scheduler, swa_utils
from toolkit.optim.adam import Adam, AdamW
from toolkit.optim.adam_variants import Adamax, NAdam, RAdam
from toolkit.optim.adaptive import Adadelta, Adagrad, RMSprop
from toolkit.optim.averaged import ASGD, Rprop
from toolkit.optim.large_batch import LAMB, Lion
from toolkit.optim.lbfgs import LBFGS
from toolkit.optim.matrix import Adafactor, Muon
from toolkit.optim.optimizer import Optimizer
from toolkit.optim.sgd import SGD
from toolkit.optim.sparse import SparseAdam

__all__ = [
    "ASGD",
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
    "lr_scheduler",
    "swa_utils",
]
