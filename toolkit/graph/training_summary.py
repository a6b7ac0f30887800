"""What a file says of its training: the part of `toolkit info` that tells of it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx

from toolkit.graph.training_info import ROLES

_OPTIMIZERS = ("toolkit.optim", "ai.onnx.preview.training")
_THROUGH = ("Where", "Identity", "Cast")  # What stands between an optimizer and an update.
_SHOWN = 4  # Bindings in the text.

Row = tuple[str, str, list[int | str | None]]


def summarize_training(
    proto: onnx.ModelProto, describe: Callable[[onnx.ValueInfoProto], Row]
) -> dict[str, Any] | None:
    """The training of a file for JSON, None where there is none.

    Args:
        proto: the file.
        describe: name, type and shape of a value.
    """
    if not proto.training_info:
        return None
    roles = _roles(proto)
    entries = [_entry(proto, info, roles, describe) for info in proto.training_info]
    counters = {k: v for entry in entries for k, v in entry["counters"].items()}
    return {
        "nodes": sum(entry["nodes"] for entry in entries),
        "states": sum(len(entry["updates"]) for entry in entries),
        "step": counters.get("optimizer.step", next(iter(counters.values()), None)),
        "rates": _rates(roles),
        "schedule": _schedule(roles),
        "entries": entries,
    }


def training_lines(training: Mapping[str, Any]) -> list[str]:
    """The same for a person."""
    step = "" if training["step"] is None else f", at step {training['step']}"
    nodes, states = training["nodes"], training["states"]
    lines = [f"training: {nodes} nodes a step, {states} states updated{step}"]
    if training["rates"]:
        rates = ", ".join(f"{rate:.6g}" for rate in training["rates"])
        schedule = f" by {training['schedule']}" if training["schedule"] else ""
        lines.append(f"  learning rate {rates}{schedule}")
    for i, entry in enumerate(training["entries"]):
        if len(training["entries"]) > 1:
            lines.append(f"  entry {i}: {entry['nodes']} nodes")
        for name, dtype, shape in entry["inputs"]:
            dims = ", ".join("?" if d is None else str(d) for d in shape)
            lines.append(f"  input   {name}: {dtype} ({dims})")
        if entry["loss"]:
            lines.append(f"  loss    {entry['loss']}")
        if entry["optimizer"]:
            found = ", ".join(f"{name} of {n}" for name, n in entry["optimizer"].items())
            lines.append(f"  optimizer {found} tensors")
        if entry["updates"]:
            lines.append(f"  updates {_bindings(entry['updates'])}")
        if entry["initialization"]:
            lines.append(f"  begins  {_bindings(entry['initialization'])}")
    return lines


def _bindings(bindings: Mapping[str, str]) -> str:
    shown = [f"{key} <- {value}" for key, value in list(bindings.items())[:_SHOWN]]
    more = len(bindings) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _entry(
    proto: onnx.ModelProto,
    info: onnx.TrainingInfoProto,
    roles: Mapping[str, Any],
    describe: Callable[[onnx.ValueInfoProto], Row],
) -> dict[str, Any]:
    algorithm = info.algorithm
    updates = {e.key: e.value for e in info.update_binding}
    own = {t.name: t for t in (*proto.graph.initializer, *algorithm.initializer)}
    known = {*own, *(v.name for v in proto.graph.input)}
    free = [v.name for v in algorithm.output if v.name not in set(updates.values())]
    named = roles.get("loss")
    return {
        "inputs": [describe(v) for v in algorithm.input if v.name not in known],
        "loss": named if named in free else next(iter(free), None),
        "optimizer": _optimizers(algorithm, updates),
        "nodes": len(algorithm.node),
        "counters": _counters([own[k] for k in updates if k in own]),
        "updates": updates,
        "initialization": {e.key: e.value for e in info.initialization_binding},
    }


def _counters(tensors: Iterable[onnx.TensorProto]) -> dict[str, int]:
    found = {}
    for tensor in tensors:
        if tensor.data_type == onnx.TensorProto.INT64 and not tensor.dims:
            with contextlib.suppress(ValueError):  # One without its element.
                found[tensor.name] = int(np.asarray(onnx.numpy_helper.to_array(tensor)))
    return found


def _optimizers(algorithm: onnx.GraphProto, updates: Mapping[str, str]) -> dict[str, int]:
    """Operators that give the next values, with the number of tensors that each updates."""
    producer = {name: node for node in algorithm.node for name in node.output}
    found: dict[str, set[str]] = {}
    for value in updates.values():
        stack, seen = [value], set()
        while stack:
            name = stack.pop()
            node = producer.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.domain in _OPTIMIZERS:
                kind = node.op_type.partition("__")[0]
                outputs = list(node.output)
                if kind in ("Adagrad", "Adam", "Momentum") and node.domain == _OPTIMIZERS[1]:
                    tensors = len(outputs) // (3 if kind == "Adam" else 2)
                    found.setdefault(kind, set()).update(outputs[:tensors])
                elif name == outputs[0]:
                    found.setdefault(kind, set()).add(name)
            elif node.op_type in _THROUGH and not node.domain:
                stack += [n for n in node.input if n]
    return dict(Counter({kind: len(names) for kind, names in found.items()}))


def _roles(proto: onnx.ModelProto) -> dict[str, Any]:
    """What a file that was made here says itself."""
    found: Any = {}
    for entry in proto.metadata_props:
        if entry.key == ROLES:
            try:
                found = json.loads(entry.value)
            except ValueError:
                found = {}
    ok = isinstance(found, dict) and isinstance(found.get("rates"), dict)
    ok = ok and isinstance(found.get("groups", []), list)
    return found if ok else {"rates": {}}


def _rates(roles: Mapping[str, Any]) -> list[float]:
    groups = roles.get("groups")
    found = [g.get("lr") if isinstance(g, dict) else None for g in groups or ()]
    found = found or list(roles["rates"].values())
    return [float(rate) for rate in found if isinstance(rate, (int, float))]


def _schedule(roles: Mapping[str, Any]) -> str | None:
    schedule = roles.get("schedule")
    if not isinstance(schedule, dict):
        return None
    return _schedule_name(schedule.get("scheduler"))


def _schedule_name(found: Any) -> str | None:
    if not isinstance(found, dict):
        return None
    inner = found.get("schedulers")
    names = [_schedule_name(part) or "?" for part in inner] if isinstance(inner, list) else []
    return str(found.get("type")) + (f" ({', '.join(names)})" if names else "")
