"""Training: the compiled step, the trainer around it, and the one file that carries both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.train.adapters import load_adapters, lora, merge, save_adapters, unload
    from toolkit.train.artifacts import (
        convert_artifacts,
        load_artifacts,
        save_artifacts_checkpoint,
    )
    from toolkit.train.callbacks import Callback, Checkpoint, EarlyStopping
    from toolkit.train.distillation import Distillation, distill_loss
    from toolkit.train.export import export_training
    from toolkit.train.features import Features, cache_features, load_features
    from toolkit.train.groups import param_groups
    from toolkit.train.imports import import_state
    from toolkit.train.logs import CsvLog, Plot
    from toolkit.train.metrics import class_weights
    from toolkit.train.onefile import export_train_step, load_training, save
    from toolkit.train.options import GradScaler
    from toolkit.train.rewriting import lower_training, strip_training
    from toolkit.train.step import TrainStep
    from toolkit.train.tensorboard import TensorBoard
    from toolkit.train.trainer import History, Trainer

_HOME = {
    "Callback": "callbacks",
    "Checkpoint": "callbacks",
    "CsvLog": "logs",
    "Distillation": "distillation",
    "EarlyStopping": "callbacks",
    "Features": "features",
    "GradScaler": "options",
    "History": "trainer",
    "Plot": "logs",
    "TensorBoard": "tensorboard",
    "TrainStep": "step",
    "Trainer": "trainer",
    "cache_features": "features",
    "class_weights": "metrics",
    "convert_artifacts": "artifacts",
    "distill_loss": "distillation",
    "export_train_step": "onefile",
    "load_adapters": "adapters",
    "load_artifacts": "artifacts",
    "load_features": "features",
    "export_training": "export",
    "import_state": "imports",
    "load_training": "onefile",
    "lora": "adapters",
    "lower_training": "rewriting",
    "merge": "adapters",
    "param_groups": "groups",
    "save": "onefile",
    "save_adapters": "adapters",
    "save_artifacts_checkpoint": "artifacts",
    "strip_training": "rewriting",
    "unload": "adapters",
}
__all__ = [
    "Callback",
    "Checkpoint",
    "CsvLog",
    "Distillation",
    "EarlyStopping",
    "Features",
    "GradScaler",
    "History",
    "Plot",
    "TensorBoard",
    "TrainStep",
    "Trainer",
    "cache_features",
    "class_weights",
    "convert_artifacts",
    "distill_loss",
    "export_train_step",
    "export_training",
    "import_state",
    "load_adapters",
    "load_artifacts",
    "load_features",
    "load_training",
    "lora",
    "lower_training",
    "merge",
    "param_groups",
    "save",
    "save_adapters",
    "save_artifacts_checkpoint",
    "strip_training",
    "unload",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"toolkit.train.{_HOME[name]}"), name)
    raise AttributeError(f"module 'toolkit.train' has no attribute {name!r}")
