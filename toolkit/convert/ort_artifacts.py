"""Training artifacts of onnxruntime-training (its last version is 1.19.2) as one graph.

A folder holds training_model.onnx (forward, loss, gradients), eval_model.onnx (forward, loss),
optimizer_model.onnx and a checkpoint with the weights, which are inputs of the models. Here the two
models become one graph over the same weights, as initializers, in standard operators. The optimizer
is read as what it does; `toolkit.train.load_artifacts` writes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from toolkit.convert.ort_checkpoint import Checkpoint, read_checkpoint
from toolkit.errors import InvalidArgumentError, InvalidModelError, UnsupportedOperatorError
from toolkit.graph import contrib
from toolkit.graph.io import load_model

__all__ = ["Artifacts", "Optimizer", "is_artifacts", "read_artifacts"]

TRAIN = "train/"  # Before the names of what only the training graph holds.
_BUFFER, _RESET = ".accumulation.buffer", "lazy_reset_grad"
_FLOAT = onnx.TensorProto.FLOAT
_OF_LOSS = re.compile(r"onnx::.+::\d+")  # Names that onnxruntime gave what it added to a model.


@dataclass(frozen=True)
class Optimizer:
    """What optimizer_model.onnx does: "AdamW" or "SGD", on gradients clipped to `max_norm`."""

    kind: str
    attributes: dict[str, float] = field(default_factory=dict)
    max_norm: float | None = None


@dataclass
class Artifacts:
    """One graph with the roles of its values by name.

    `gradients` and `statistics` go from an initializer to its gradient and to its next value.
    """

    model: ir.Model
    checkpoint: Checkpoint
    optimizer: Optimizer | None
    features: list[str]
    targets: list[str]
    predictions: list[str]
    outputs: list[str]
    loss: str
    eval_loss: str
    gradients: dict[str, str]
    statistics: dict[str, str]


def is_artifacts(path: str | os.PathLike[str], prefix: str = "") -> bool:
    """Whether a path is a folder with a training model."""
    return (Path(path) / f"{prefix}training_model.onnx").is_file()


def read_artifacts(
    folder: str | os.PathLike[str],
    prefix: str = "",
    checkpoint: str | os.PathLike[str] | None = None,
    outputs: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
) -> Artifacts:
    """Reads a folder of artifacts.

    Args:
        folder: what `onnxruntime.training.artifacts.generate_artifacts` wrote.
        prefix: of the files' names.
        checkpoint: a later checkpoint than the folder's own.
        outputs: names of what the model gives without its loss; otherwise the additional outputs of
            the evaluation model, or else what onnxruntime computed the loss of.
        targets: names of the inputs that only the loss takes, if they are not found.

    Raises:
        InvalidModelError: a file is missing, damaged, or does not fit the others.
        UnsupportedOperatorError: the optimizer is none of onnxruntime's, or an operator is unknown.
        InvalidArgumentError: there is no such output or input.
    """
    folder = Path(folder)
    where = f"artifacts '{folder}'"
    training = _read(folder / f"{prefix}training_model.onnx", where)
    evaluation = _read(folder / f"{prefix}eval_model.onnx", where)
    path = folder / f"{prefix}optimizer_model.onnx"
    optimizer = _optimizer(_read(path, where), where) if path.is_file() else None
    weights = read_checkpoint(folder / f"{prefix}checkpoint" if checkpoint is None else checkpoint)
    return _Join(where, training, evaluation, weights, optimizer).run(outputs, targets)


def _read(path: Path, where: str) -> onnx.ModelProto:
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        got = error.strerror or str(error)
        raise InvalidModelError(f"{where}: a file '{path.name}' is required, got {got}.") from None
    except Exception:
        raise InvalidModelError(
            f"{where}: an ONNX model is required, got '{path.name}', which does not parse. "
            "Is it truncated?"
        ) from None
    if not all(isinstance(text, str) for text in _texts(proto)):  # Bytes if not UTF-8.
        raise InvalidModelError(
            f"{where}: names in UTF-8 are required, got others in '{path.name}'. Is it damaged?"
        )
    contrib.adopt(proto)
    return proto


def _texts(proto: onnx.ModelProto) -> Iterator[str]:
    """What names something in a model."""
    graph = proto.graph
    yield from (entry.domain for entry in proto.opset_import)
    for node in contrib.nodes_of(graph):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    yield from (v.name for v in (*graph.input, *graph.output, *graph.value_info))
    yield from (tensor.name for tensor in graph.initializer)


def _optimizer(proto: onnx.ModelProto, where: str) -> Optimizer:
    """AdamWOptimizer or SGDOptimizerV2, with or without InplaceClipGradNorm before."""
    nodes = {node.op_type: node for node in proto.graph.node}
    clip = nodes.pop("InplaceClipGradNorm", None)
    kinds = {"AdamWOptimizer": "AdamW", "SGDOptimizerV2": "SGD"}
    if len(nodes) != 1 or not kinds.keys() & nodes.keys():
        raise UnsupportedOperatorError(
            f"{where}: an optimizer model of one AdamWOptimizer or SGDOptimizerV2 is required, got "
            f"{sorted(nodes)}. Use toolkit.optim on tk.load of the evaluation model."
        )
    (node,) = nodes.values()
    largest = None if clip is None else _numbers(clip).get("max_norm", 1.0)
    return Optimizer(kinds[node.op_type], _numbers(node), largest)


def _numbers(node: onnx.NodeProto) -> dict[str, float]:
    """The attributes of an optimizer's node that are numbers: all that it has."""
    kinds = {onnx.AttributeProto.INT: "i", onnx.AttributeProto.FLOAT: "f"}
    return {a.name: getattr(a, kinds[a.type]) for a in node.attribute if a.type in kinds}


class _Join:
    """Makes one graph of the two models."""

    def __init__(
        self,
        where: str,
        training: onnx.ModelProto,
        evaluation: onnx.ModelProto,
        checkpoint: Checkpoint,
        optimizer: Optimizer | None,
    ) -> None:
        self.where = where
        self.training, self.evaluation = training, evaluation
        self.checkpoint, self.optimizer = checkpoint, optimizer
        self.weights = {**checkpoint.parameters, **checkpoint.frozen}

    def run(self, outputs: Sequence[str] | None, targets: Sequence[str] | None) -> Artifacts:
        inputs = [v for v in self.evaluation.graph.input if v.name not in self.weights]
        self._check_weights()
        rename = self._names()
        gradients = self._take_gradients(rename)
        losses = [m.graph.output[0].name if m.graph.output else "" for m in self._models()]
        if not losses[1] or losses[0] not in rename:
            raise self._fail("models whose first output is the loss are required", f"{losses}")
        features, goals = self._split_inputs([v.name for v in inputs], targets)
        predictions = self._predictions(outputs)
        statistics = self._statistics(rename)
        trained = [rename.get(v, v) for v in predictions]
        # An output of the evaluation alone, such as a softmax behind the logits.
        made = {name for node in self.training.graph.node for name in node.output}
        trained = [new for new, old in zip(trained, predictions, strict=True) if old in made]
        roles = [*predictions, losses[1], rename[losses[0]], *trained]
        model = load_model(
            self._joined(rename, inputs, [*roles, *gradients.values(), *statistics.values()])
        )
        return Artifacts(
            model=model,
            checkpoint=self.checkpoint,
            optimizer=self.optimizer,
            features=features,
            targets=goals,
            predictions=predictions,
            outputs=trained,
            loss=rename[losses[0]],
            eval_loss=losses[1],
            gradients=gradients,
            statistics=statistics,
        )

    def _models(self) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        return self.training, self.evaluation

    def _check_weights(self) -> None:
        """All other inputs of the training model are the user's, which both models have."""
        user = {v.name for v in self.evaluation.graph.input} - self.weights.keys()
        for value in self.training.graph.input:
            name = value.name
            if name in user or name == _RESET or name.endswith(_BUFFER):
                continue
            if name not in self.weights:
                raise self._without(name)
        for model in self._models():
            for value in model.graph.input:
                self._check_shape(value)

    def _check_shape(self, value: onnx.ValueInfoProto) -> None:
        array = self.weights.get(value.name)
        declared = value.type.tensor_type
        if array is None or not declared.HasField("shape"):
            return
        dims = [d.dim_value if d.HasField("dim_value") else None for d in declared.shape.dim]
        fits = len(dims) == array.ndim and all(
            d in (None, n) for d, n in zip(dims, array.shape, strict=True)
        )
        if not fits or declared.elem_type != int(ir.DataType.from_numpy(array.dtype)):
            need = f"the weight '{value.name}' of shape {tuple(dims)} is required"
            raise self._fail(need, f"{array.dtype} of {array.shape} in the checkpoint")

    def _names(self) -> dict[str, str]:
        """New names of what the training model holds, so that they differ from the evaluation's.

        Equal constants are one, running statistics that are no weights among them.
        """
        graph = self.training.graph
        shared = {t.name: t for t in self.evaluation.graph.initializer}
        made = [name for node in contrib.nodes_of(graph) for name in node.output if name]
        made += [t.name for t in graph.initializer if t != shared.get(t.name)]
        return {name: TRAIN + name for name in made}

    def _take_gradients(self, rename: Mapping[str, str]) -> dict[str, str]:
        """Removes the nodes that add gradients up; gives parameter -> its gradient."""
        found, kept = {}, []
        for node in self.training.graph.node:
            if node.op_type != "InPlaceAccumulatorV2":
                kept.append(node)
                continue
            if len(node.input) < 2:
                raise self._fail("a buffer and a gradient are required", f"inputs {node.input}")
            name = node.input[0].removesuffix(f"_grad{_BUFFER}")
            if name not in self.checkpoint.parameters:
                raise self._without(name)
            found[name] = rename.get(node.input[1], node.input[1])
        if not found:
            raise self._fail("a training model with gradients is required", "one without")
        del self.training.graph.node[:]
        self.training.graph.node.extend(kept)
        return found

    def _statistics(self, rename: Mapping[str, str]) -> dict[str, str]:
        """Running statistics, which onnxruntime changes in place."""
        found = {}
        constants = {t.name for t in self.training.graph.initializer} - rename.keys()
        held = self.weights.keys() | constants
        for node in self.training.graph.node:
            if node.op_type not in ("BatchNormInternal", "BatchNormalization"):
                continue
            for name, new in zip(node.input[3:5], node.output[1:3], strict=False):
                if name in held and new:
                    found[name] = rename[new]
        return found

    def _split_inputs(
        self, names: Sequence[str], targets: Sequence[str] | None
    ) -> tuple[list[str], list[str]]:
        """Targets are the inputs that only what onnxruntime added reads."""
        if targets is None:
            nodes = [n for n in self.evaluation.graph.node if not _is_added(n)]
            read = {name for node in nodes for name in node.input}
            targets = [name for name in names if name not in read]
        for name in targets:
            if name not in names:
                raise InvalidArgumentError(
                    f"{self.where}: targets among {list(names)} are required, got '{name}'."
                )
        return [name for name in names if name not in targets], list(targets)

    def _predictions(self, outputs: Sequence[str] | None) -> list[str]:
        graph = self.evaluation.graph
        made = [name for node in graph.node for name in node.output if name]
        if outputs is not None:
            for name in outputs:
                if name not in made:
                    raise InvalidArgumentError(
                        f"{self.where}: outputs among the model's values are required, got "
                        f"'{name}'. It ends with {made[-8:]}."
                    )
            return list(outputs)
        more = [v.name for v in graph.output[1:]]
        if more:
            return more
        base = {name for n in graph.node if not _is_added(n) for name in n.output}
        read = [name for n in graph.node if _is_added(n) for name in n.input if name in base]
        return list(dict.fromkeys(read)) or [graph.output[0].name]

    def _joined(
        self,
        rename: Mapping[str, str],
        inputs: Iterable[onnx.ValueInfoProto],
        wanted: Iterable[str],
    ) -> onnx.ModelProto:
        result = onnx.ModelProto(ir_version=max(m.ir_version for m in self._models()))
        result.producer_name = "onnxruntime-training"
        versions: dict[str, int] = {}
        for model in self._models():
            for entry in model.opset_import:
                domain = "" if entry.domain == "ai.onnx" else entry.domain
                if not domain and versions.get("", entry.version) != entry.version:
                    raise self._fail(
                        "models of one opset are required", f"{versions[''], entry.version}"
                    )
                versions[domain] = max(entry.version, versions.get(domain, 0))
            known = {(f.domain, f.name) for f in result.functions}
            result.functions.extend(f for f in model.functions if (f.domain, f.name) not in known)
        for domain, version in versions.items():
            result.opset_import.add(domain=domain, version=version)
        graph = result.graph
        graph.name = "training"
        graph.input.extend(inputs)
        for name, array in self.weights.items():
            graph.initializer.append(
                onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            )
        graph.initializer.extend(self.evaluation.graph.initializer)
        graph.value_info.extend(self.evaluation.graph.value_info)
        graph.node.extend(self.evaluation.graph.node)
        _extend_renamed(graph, self.training.graph, rename, self.weights)
        typed = {v.name: v for v in graph.value_info}
        typed |= {v.name: v for v in self.evaluation.graph.output}
        typed |= {
            rename.get(v.name, v.name): _renamed(v, rename) for v in self.training.graph.output
        }
        for name in dict.fromkeys(wanted):
            if name in typed:
                graph.output.append(typed[name])
            else:  # What it is follows from the nodes.
                graph.output.append(onnx.helper.make_tensor_value_info(name, _FLOAT, None))
        return result

    def _without(self, name: str) -> InvalidModelError:
        return self._fail("a checkpoint with all weights is required", f"one without '{name}'")

    def _fail(self, need: str, got: str) -> InvalidModelError:
        return InvalidModelError(f"{self.where}: {need}, got {got}.")


def _is_added(node: onnx.NodeProto) -> bool:
    """Whether onnxruntime added a node of the evaluation model for the loss."""
    return bool(node.output) and all(_OF_LOSS.fullmatch(name) for name in node.output if name)


def _extend_renamed(
    graph: onnx.GraphProto,
    other: onnx.GraphProto,
    rename: Mapping[str, str],
    weights: Mapping[str, Any],
) -> None:
    """Appends the nodes, constants and types of `other` under their new names."""
    for tensor in other.initializer:
        if tensor.name not in weights and tensor.name in rename:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = rename[tensor.name]
    for info in other.value_info:
        if info.name in rename:
            graph.value_info.append(_renamed(info, rename))
    for node in other.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        _rename_node(copy, lambda name: rename.get(name, name))


def _renamed(info: onnx.ValueInfoProto, rename: Mapping[str, str]) -> onnx.ValueInfoProto:
    result = onnx.ValueInfoProto()
    result.CopyFrom(info)
    result.name = rename.get(info.name, info.name)
    return result


def _rename_node(node: onnx.NodeProto, new: Callable[[str], str]) -> None:
    for names in (node.input, node.output):
        names[:] = [new(name) for name in names]
    if node.name:
        node.name = TRAIN + node.name
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for child in inner.node:
                _rename_node(child, new)
            for value in (*inner.input, *inner.output, *inner.value_info):
                value.name = new(value.name)
            for tensor in inner.initializer:
                tensor.name = new(tensor.name)
