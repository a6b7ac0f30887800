"""Training: the compiled step, the trainer around it, and the one file that carries both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.train.onefile import export_train_step, load_training, save
    from toolkit.train.options import GradScaler
    from toolkit.train.rewriting import lower_training, strip_training
    from toolkit.train.step import TrainStep
    from toolkit.train.trainer import History, Trainer

_HOME = {
    "GradScaler": "options",
    "History": "trainer",
    "TrainStep": "step",
    "Trainer": "trainer",
    "export_train_step": "onefile",
    "load_training": "onefile",
    "lower_training": "rewriting",
    "save": "onefile",
    "strip_training": "rewriting",
}
__all__ = [
    "GradScaler",
    "History",
    "TrainStep",
    "Trainer",
    "export_train_step",
    "load_training",
    "lower_training",
    "save",
    "strip_training",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"toolkit.train.{_HOME[name]}"), name)
    raise AttributeError(f"module 'toolkit.train' has no attribute {name!r}")
