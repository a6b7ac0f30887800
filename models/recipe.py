"""From the options of `toolkit train` to losses, optimizers, schedules and callbacks."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError
from toolkit.models.char_gpt import token_cross_entropy
from toolkit.models.svm import hinge_loss
from toolkit.train import Callback, class_weights, param_groups

LOSSES: dict[str, Callable[..., Any]] = {
    "ce": nn.CrossEntropyLoss,
    "nll": nn.NLLLoss,
    "mse": nn.MSELoss,
    "l1": nn.L1Loss,
    "huber": nn.HuberLoss,
    "bce": nn.BCEWithLogitsLoss,
    "token_ce": lambda: token_cross_entropy,
    "hinge": lambda: hinge_loss,
}
# By the names of `--optim`. Muon takes matrices only, LBFGS a closure.
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    kind.__name__.lower(): kind
    for kind in (
        optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam, optim.Adamax, optim.Adagrad,
        optim.Adadelta, optim.RMSprop, optim.Rprop, optim.ASGD, optim.Adafactor, optim.Lion,
        optim.LAMB, optim.Muon,
    )
}  # fmt: skip
_RATES = {"sgd": 1e-2, "adam": 1e-3, "adamw": 1e-3}
_WEIGHTED = {"ce": "weight", "nll": "weight", "bce": "pos_weight"}


def pairs(text: str, option: str, flags: Sequence[str] = ()) -> dict[str, str]:
    """`a=1,b=2,flag`, as options have it; a flag is "yes".

    Raises:
        InvalidArgumentError: a part that is neither.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, sign, value = part.partition("=")
        if name in flags and not sign:
            value, sign = "yes", "="
        if not sign or not name or not value or name in found:
            raise InvalidArgumentError(f"{option}: NAME=VALUE,... is required, got '{text}'.")
        found[name] = value
    return found


def number(text: str, option: str) -> float:
    """A number of an option.

    Raises:
        InvalidArgumentError: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise InvalidArgumentError(f"{option}: a number is required, got '{text}'.") from None


def make_loss(
    name: str, weights: str | None, smoothing: float, labels: Any, classes: int
) -> Callable[..., Any]:
    """A loss by name.

    Args:
        name: a key of `LOSSES`.
        weights: of the classes: "balanced", or numbers with commas between; None: all the same.
        smoothing: of labels, for "ce".
        labels: the training samples' classes, for "balanced".
        classes: how many.

    Raises:
        InvalidArgumentError: an unknown loss, or one that takes no weights.
    """
    if name not in LOSSES:
        raise InvalidArgumentError(f"--loss: one of {sorted(LOSSES)} is required, got '{name}'.")
    options: dict[str, Any] = {}
    if weights is not None:
        if name not in _WEIGHTED:
            raise InvalidArgumentError(
                f"--class-weights: --loss {', '.join(_WEIGHTED)} is required, got '{name}'."
            )
        from toolkit.tensor import from_numpy

        options[_WEIGHTED[name]] = from_numpy(_weights(weights, labels, classes))
    if smoothing:
        if name != "ce":
            raise InvalidArgumentError(f"--label-smoothing: --loss ce is required, got '{name}'.")
        options["label_smoothing"] = smoothing
    return LOSSES[name](**options)  # type: ignore[no-any-return]


def _weights(text: str, labels: Any, classes: int) -> np.ndarray[Any, Any]:
    if text == "balanced":
        if labels is None:
            raise InvalidArgumentError(
                "--class-weights: data with one class a sample are required by 'balanced'."
            )
        return class_weights(labels, classes)
    values = [number(part, "--class-weights") for part in text.split(",")]
    if classes and len(values) != classes:
        raise InvalidArgumentError(
            f"--class-weights: {classes} numbers are required, got {len(values)}."
        )
    return np.array(values, np.float32)


def make_optimizer(
    name: str,
    net: nn.Module,
    lr: float | None,
    momentum: float,
    weight_decay: float | None,
    groups: Sequence[str] = (),
) -> optim.Optimizer:
    """An optimizer by name over what trains.

    Args:
        name: a key of `OPTIMIZERS`.
        net: the model.
        lr: the rate; None: 1e-2 for sgd, 1e-3 for adam and adamw, else the optimizer's default.
        momentum: of sgd.
        weight_decay: None: the optimizer's default.
        groups: options of parameters by glob: "backbone.*:lr=1e-4,weight_decay=0".

    Raises:
        InvalidArgumentError: an unknown name, or a group that takes no parameter.
    """
    if name not in OPTIMIZERS:
        raise InvalidArgumentError(
            f"--optim: one of {', '.join(OPTIMIZERS)} is required, got '{name}'."
        )
    kind = OPTIMIZERS[name]
    given: dict[str, Any] = {"lr": _RATES.get(name) if lr is None else lr}
    given |= {"weight_decay": weight_decay, "momentum": momentum if name == "sgd" else None}
    given = {option: value for option, value in given.items() if value is not None}
    if not any(p.requires_grad for p in net.parameters()):
        raise InvalidArgumentError("train: a parameter that trains is required, got none.")
    unknown = given.keys() - inspect.signature(kind).parameters.keys()
    if unknown:
        raise InvalidArgumentError(
            f"--weight-decay: an optimizer that has it is required, got '{name}'."
        )
    return kind(param_groups(net, dict(map(_group, groups))), **given)


def _group(text: str) -> tuple[str, dict[str, float]]:
    pattern, sign, rest = text.rpartition(":")
    if not sign or not pattern:
        raise InvalidArgumentError(
            f"--group: GLOB:NAME=VALUE,... is required, got '{text}'. As in 'backbone.*:lr=1e-4'."
        )
    return pattern, {k: number(v, "--group") for k, v in pairs(rest, "--group").items()}


def make_schedule(name: str, optimizer: optim.Optimizer, epochs: int, batches: int) -> Any:
    """A schedule of the learning rate by name; None for "none"."""
    schedules = optim.lr_scheduler
    if name == "cosine":
        return schedules.CosineAnnealingLR(optimizer, T_max=epochs * batches)
    if name == "step":
        return schedules.StepLR(optimizer, step_size=max(1, epochs // 3))
    if name == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        # Momenta are attributes of a compiled step, so they stay as they are.
        return schedules.OneCycleLR(
            optimizer, max_lr=peaks, total_steps=epochs * batches + 1, cycle_momentum=False
        )
    return None


def make_callback(text: str) -> Callback:
    """`module:name`, importable from where one stands: a class, a function that gives one, or one.

    Raises:
        InvalidArgumentError: there is none.
    """
    module, sign, name = text.partition(":")
    problem = ""
    if sign and module and name:
        before = list(sys.path)
        sys.path.insert(0, os.getcwd())
        try:
            made: Any = getattr(importlib.import_module(module), name)
            made = made if isinstance(made, Callback) else made()
            if isinstance(made, Callback):
                return made
        except (ImportError, AttributeError, TypeError) as error:
            problem = f" {error}."
        finally:
            sys.path[:] = before
    raise InvalidArgumentError(
        f"--callback: MODULE:NAME of a toolkit.train.Callback is required, got '{text}'.{problem}"
    )
