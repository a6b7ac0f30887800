"""A training step for other runtimes: plain graphs, their initial state, and a table of both.

Nothing of this package is needed where the step runs: a loop feeds the batch, the learning rate and
the states, and feeds back what comes out. `training.json` says which output is which state's next
value; `import_state` brings the trained weights home.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from toolkit.convert.states import write_arrays
from toolkit.errors import InvalidArgumentError
from toolkit.graph.atomic import write_atomically
from toolkit.graph.io import to_proto, write_proto
from toolkit.graph.targets import TARGETS, lower_to
from toolkit.graph.training_join import ancestors
from toolkit.runtime.values import to_numpy
from toolkit.train import schedules
from toolkit.train.onefile import names_of, state_infos, whole_model
from toolkit.train.options import CARRIED
from toolkit.train.pieces import cut
from toolkit.train.step import TrainStep
from toolkit.train.training_graph import TrainingGraph

LAYOUTS = ("step", "artifacts", "training-info")
STATES = ("initializers", "safetensors", "npz", "onnx", "bin")
TABLE = "training.json"
KEY = "toolkit.training_table"  # Of the metadata entry of each model.
_OF_OPTIMIZER = ("optimizer.", schedules.COUNT, *CARRIED)


def export_training(
    step: TrainStep,
    folder: str | os.PathLike[str],
    layout: str = "step",
    target: str = "ort",
    state: str | None = None,
    opset: int | None = None,
) -> dict[str, Any]:
    """Writes a step that has seen a batch for another runtime, in standard operators.

    Layouts:
    - "step": `step.onnx`, one graph from batch, learning rates and states to the loss, the model's
      outputs and each state's next value.
    - "artifacts": `training_model.onnx` gives loss and gradients, `optimizer_model.onnx` takes
      them, `eval_model.onnx` evaluates, `checkpoint` holds the states.
    - "training-info": `training.onnx`, the one file of `tk.save`.

    Args:
        step: the step.
        folder: is made if it is not there.
        layout: one of `LAYOUTS`.
        target: a runtime, one of `toolkit.graph.targets.TARGETS`.
        state: where the initial states are: "initializers" (defaults of the inputs), a file of
            arrays ("safetensors", "npz", "bin"), or "onnx", a model without inputs that gives them.
            None: initializers for a step, unless a browser runs it, which cannot feed an input
            that has a default; else safetensors.
        opset: of the files, 21 when None.

    Returns:
        The table that is written as `training.json`; of "training-info" only its file.

    Raises:
        InvalidArgumentError: an unknown layout, target or state, or a pair that does not go.
        UnsupportedOperatorError: the target cannot run the step; the message names the nodes.
    """
    for name, value, known in (("layout", layout, LAYOUTS), ("target", target, TARGETS)):
        if value not in known:
            raise InvalidArgumentError(
                f"export_training: a {name} among {', '.join(known)} is required, got '{value}'."
            )
    state = state or ("initializers" if (layout, target) == ("step", "ort") else "safetensors")
    _check_state(layout, target, state)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "training-info":
        step.save(folder / "training.onnx", opset=opset)
        return {"layout": layout, "models": {"training": {"file": "training.onnx"}}}
    g = step.graph
    model = whole_model(g)
    model.graph.outputs.extend(v for v in g.gradients.values() if not v.is_graph_output())
    whole = to_proto(model, opset)
    parts = _step(g) if layout == "step" else _artifacts(g)
    models = _models(whole, state_infos(g), parts, state == "initializers")
    models = {name: to_proto(lower_to(m, target), opset) for name, m in models.items()}
    values = {v.name or "": to_numpy(g.states[v]) for v in g.updates}
    weights = ancestors(whole.graph, names_of(g.predictions))
    rates = step.learning_rates() if g.rates else []
    table: dict[str, Any] = {
        "layout": layout,
        "target": target,
        "batch": names_of([*g.features, *g.targets]),
        "learning_rates": dict(zip(names_of(g.rates), rates, strict=True)),
        "loss": g.loss.name,
        "models": _roles(g, models),
        "state": {"file": None, "tensors": _tensors(values, weights)},
    }
    if state != "initializers":
        name = f"{'state' if layout == 'step' else 'checkpoint'}.{state}"
        table["state"]["file"] = name
        _write_state(folder / name, values, opset)
    text = json.dumps(table, indent=1)
    for kind, model in models.items():
        onnx.helper.set_model_props(model, {KEY: text})
        write_proto(model, folder / table["models"][kind]["file"])
    write_atomically(folder / TABLE, text.encode())
    return table


def _check_state(layout: str, target: str, state: str) -> None:
    if state not in STATES:
        raise InvalidArgumentError(
            f"export_training: a state among {', '.join(STATES)} is required, got '{state}'."
        )
    if state == "initializers" and layout == "artifacts":
        raise InvalidArgumentError(
            "export_training: a file of states is required by 'artifacts', whose models share "
            "them, got 'initializers'."
        )
    if layout == "training-info" and target == "ortweb":
        raise InvalidArgumentError(
            "export_training: layout 'step' or 'artifacts' is required by target 'ortweb', which "
            "reads no training_info, got 'training-info'."
        )


Part = tuple[list[str], list[str]]
"""What a model gives, and which values it takes instead of computing them."""


def _step(g: TrainingGraph) -> dict[str, Part]:
    outputs = [g.loss, *g.outputs, *g.updates.values()]
    return {"step": (names_of(outputs), [])}


def _artifacts(g: TrainingGraph) -> dict[str, Part]:
    """Running statistics and random numbers move with the training model, the rest after it."""
    if not g.gradients:
        raise InvalidArgumentError(
            "export_training: a step of a module is required by 'artifacts', got one from a file, "
            "which does not say what its gradients are."
        )
    later = {
        state
        for state in g.updates
        if state in g.gradients or (state.name or "").startswith(_OF_OPTIMIZER)
    }
    now = [value for state, value in g.updates.items() if state not in later]
    parts: dict[str, Part] = {
        "training_model": (names_of([g.loss, *g.outputs, *g.gradients.values(), *now]), []),
        "optimizer_model": (
            names_of([value for state, value in g.updates.items() if state in later]),
            names_of(list(g.gradients.values())),
        ),
    }
    if g.eval_loss is not None:
        parts["eval_model"] = (names_of([g.eval_loss, *g.predictions]), [])
    return parts


def _models(
    whole: onnx.ModelProto,
    states: Sequence[onnx.ValueInfoProto],
    parts: Mapping[str, Part],
    defaults: bool,
) -> dict[str, onnx.ModelProto]:
    known = {v.name: v for v in whole.graph.output}
    found = {}
    for name, (outputs, given) in parts.items():
        fed = {n: known[n] for n in given}
        found[name] = cut(whole, outputs, states, fed, defaults)
        found[name].graph.name = name
    return found


def _roles(g: TrainingGraph, models: Mapping[str, onnx.ModelProto]) -> dict[str, dict[str, Any]]:
    """Inputs and outputs of each model, and of which states its outputs are the next values."""
    following = {value.name: state.name for state, value in g.updates.items()}
    found = {}
    for name, model in models.items():
        outputs = [v.name for v in model.graph.output]
        found[name] = {
            "file": f"{name}.onnx",
            "inputs": [v.name for v in model.graph.input],
            "outputs": outputs,
            "updates": {n: following[n] for n in outputs if n in following},
        }
    return found


def _tensors(values: Mapping[str, Any], weights: Collection[str]) -> list[dict[str, Any]]:
    """Each state, in the order of a .bin file; those that inference reads are weights."""
    return [
        {"name": name, "dtype": str(a.dtype), "shape": list(a.shape), "weight": name in weights}
        for name, a in values.items()
    ]


def _write_state(path: Path, values: Mapping[str, Any], opset: int | None) -> None:
    if path.suffix == ".onnx":
        write_proto(_state_model(values, opset), path)
    else:
        write_arrays(path, values)


def _state_model(values: Mapping[str, Any], opset: int | None) -> onnx.ModelProto:
    """A model without inputs whose outputs are the states: any runtime can read it."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 28}, name="state")
    for name, array in values.items():
        held = f"{name}.initial"
        value = ir.Value(
            name=held,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.tensor(np.asarray(array), name=held),
        )
        graph.register_initializer(value)
        node = ir.Node("", "Identity", [value])
        graph.append(node)
        (output,) = node.outputs
        output.name, output.shape, output.type = name, value.shape, value.type
        graph.outputs.append(output)
    return to_proto(ir.Model(graph, ir_version=10, producer_name="toolkit"), opset)
