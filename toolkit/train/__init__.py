"""Training: the compiled step, the trainer around it, and the one file that carries both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.train.artifacts import (
        convert_artifacts,
        load_artifacts,
        save_artifacts_checkpoint,
    )
    from toolkit.train.onefile import export_train_step, load_training, save
    from toolkit.train.options import GradScaler
    from toolkit.train.step import TrainStep
    from toolkit.train.trainer import History, Trainer

_HOME = {
    "GradScaler": "options",
    "History": "trainer",
    "TrainStep": "step",
    "Trainer": "trainer",
    "convert_artifacts": "artifacts",
    "export_train_step": "onefile",
    "load_artifacts": "artifacts",
    "load_training": "onefile",
    "save": "onefile",
    "save_artifacts_checkpoint": "artifacts",
}
__all__ = [
    "GradScaler",
    "History",
    "TrainStep",
    "Trainer",
    "convert_artifacts",
    "export_train_step",
    "load_artifacts",
    "load_training",
    "save",
    "save_artifacts_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"toolkit.train.{_HOME[name]}"), name)
    raise AttributeError(f"module 'toolkit.train' has no attribute {name!r}")
