"""Exports the training step of a model by name, or of an `.onnx` file: `toolkit export-train`."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from toolkit import nn
from toolkit.errors import InvalidArgumentError
from toolkit.models import create, default_loss, example_input
from toolkit.models.recipe import LOSSES, make_loss, make_optimizer
from toolkit.random import manual_seed
from toolkit.tensor import Tensor, from_numpy
from toolkit.train import TrainStep
from toolkit.train.export import export_training

CLASSES = ("ce", "nll", "token_ce")  # Losses whose target holds classes.


def run_export(
    model: str,
    folder: str,
    loss: str | None = None,
    optim: str = "adamw",
    layout: str = "step",
    target: str = "ort",
    state: str | None = None,
    lr: float | None = None,
    momentum: float = 0.9,
    weight_decay: float | None = None,
    train: Sequence[str] = (),
    freeze: Sequence[str] = (),
    batch_norm: str = "train",
    dropout: float | None = None,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    accumulate: int = 1,
    sizes: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    opset: int | None = None,
) -> dict[str, Any]:
    """Writes the training step of a model for another runtime.

    Args:
        model: the path of an `.onnx` file, or a name of `toolkit.models`; of a name, `model.onnx`
            is written too, the file that `import_state` takes.
        folder: where to.
        loss: a key of `toolkit.models.recipe.LOSSES`; None: what suits the model, else "ce".
        optim: a key of `toolkit.models.recipe.OPTIMIZERS`.
        layout: as in `export_training`.
        target: as in `export_training`.
        state: as in `export_training`.
        lr: the rate to note in the table, where it is an input; None: as `make_optimizer` has it.
        momentum: of sgd.
        weight_decay: None: the optimizer's default.
        train: globs of the parameters that train; all if there are none.
        freeze: globs of parameters that do not.
        batch_norm: of an `.onnx` file, as in `tk.load`.
        dropout: puts Dropout with this probability before the classifier of an `.onnx` file.
        clip_grad_norm: as in `TrainStep`.
        clip_grad_value: as in `TrainStep`.
        accumulate: as in `TrainStep`.
        sizes: of symbolic dimensions other than the batch, by name; 1 where none is given.
        shapes: of inputs of an `.onnx` file, by name; all but the first size are kept.
        seed: of weights and masks.
        opset: of the files.

    Returns:
        The table of `export_training`.

    Raises:
        InvalidArgumentError: an unknown name, or a pattern that matches no parameter.
        UnsupportedOperatorError: the target cannot run the step; the message names the nodes.
    """
    from toolkit.nn.graph_module import load

    manual_seed(seed)
    net: nn.Module
    if model.endswith(".onnx"):
        loaded = load(model, batch_norm=batch_norm)
        if dropout is not None:
            loaded.insert_dropout(dropout)
        net = loaded
        inputs = _examples(model, sizes or {}, shapes or {})
        loss = loss or "ce"
    else:
        if dropout is not None or batch_norm != "train":
            raise InvalidArgumentError(
                f"export-train: an .onnx file is required by --dropout and --batch-norm, got "
                f"'{model}'."
            )
        net = create(model)
        inputs = (example_input(model),)
        loss = loss or default_loss(model)
    loss_fn = make_loss(loss, None, 0.0, None, 0)
    _choose(net, train, freeze)
    goal = _example_target(net, inputs, loss)
    step = TrainStep(
        net,
        loss_fn,
        make_optimizer(optim, net, lr, momentum, weight_decay),
        clip_grad_norm,
        clip_grad_value=clip_grad_value,
        accumulate=accumulate,
    )
    table = export_training(step.prepare(*inputs, goal), folder, layout, target, state, opset)
    if not model.endswith(".onnx"):
        net.save(Path(folder) / "model.onnx", inputs=inputs, opset=opset)
    return table


def _examples(
    path: str, sizes: Mapping[str, int], shapes: Mapping[str, Sequence[int]]
) -> tuple[Tensor, ...]:
    """Random inputs of a file; the batch is 2 where the file does not say."""
    from toolkit.convert.arrays import read_inputs
    from toolkit.runtime import InferenceSession

    args = InferenceSession(path).get_inputs()
    for name in shapes.keys() - {a.name for a in args}:
        raise InvalidArgumentError(
            f"--shape: an input among {[a.name for a in args]} is required, got '{name}'."
        )
    given = [
        SimpleNamespace(name=a.name, type=a.type, shape=list(shapes.get(a.name, a.shape)))
        for a in args
    ]
    found = read_inputs(given, {}, sizes=sizes, batch=2)
    return tuple(from_numpy(a) for a in found.values())


def _choose(net: nn.Module, train: Sequence[str], freeze: Sequence[str]) -> None:
    """Which parameters train."""
    parameters = dict(net.named_parameters())
    chosen = _matching(parameters, train, "--train") if train else set(parameters)
    chosen -= _matching(parameters, freeze, "--freeze")
    if not chosen:
        raise InvalidArgumentError("export-train: a parameter that trains is required, got none.")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in chosen)


def _matching(parameters: Mapping[str, Any], patterns: Sequence[str], option: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(parameters, pattern)
        if not matched:
            raise InvalidArgumentError(
                f"{option}: a pattern that matches parameters is required, got '{pattern}'. "
                f"The model has {list(parameters)[:8]}."
            )
        found.update(matched)
    return found


def _example_target(net: nn.Module, inputs: Sequence[Tensor], loss: str) -> Tensor:
    """Of the first output: classes without its class dimension, else numbers in its shape."""
    net.eval()
    result = net(*inputs)
    first = result[0] if isinstance(result, tuple) else result
    shape = tuple(first.shape)
    if loss not in CLASSES:
        return from_numpy(np.zeros(shape, first.detach().numpy().dtype))
    if len(shape) < 2:
        raise InvalidArgumentError(
            f"--loss {loss}: an output of classes (N, C, ...) is required, got shape {shape}. "
            f"Other losses: {', '.join(n for n in LOSSES if n not in CLASSES)}."
        )
    kept = shape[:-1] if loss == "token_ce" else (shape[0], *shape[2:])
    return from_numpy(np.zeros(kept, np.int64))


def summary(table: Mapping[str, Any], folder: str) -> str:
    """The table as lines to read."""
    lines = [f"Saved {folder}: layout {table['layout']}."]
    for model in table["models"].values():
        if "inputs" not in model:
            return f"Saved {folder}/{model['file']}."
        fed, given = len(model["inputs"]), len(model["outputs"])
        lines.append(f"{model['file']}: {fed} inputs, {given} outputs")
    tensors = table["state"]["tensors"]
    count = sum(math.prod(t["shape"]) for t in tensors)
    where = table["state"]["file"] or "defaults of the inputs"
    lines.append(f"{len(tensors)} states of {count:,} numbers: {where}")
    rates = ", ".join(f"{name} {rate:g}" for name, rate in table["learning_rates"].items())
    lines.append(f"a call takes {', '.join(table['batch'])} and {rates or 'no rate'}")
    return "\n".join(lines)
