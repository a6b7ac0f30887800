"""Fresh heads of loaded models: finds the classifier, draws its weights anew, or writes another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from toolkit.errors import InvalidArgumentError, ToolkitError
from toolkit.graph.survey import reads, subgraphs
from toolkit.nn.graph_module.file_graph import FileGraph, edited_copy, near
from toolkit.nn.graph_module.splice import splice
from toolkit.nn.parameter import Parameter

if TYPE_CHECKING:
    from toolkit.nn.graph_module.edits import Edits
    from toolkit.nn.module import Module

_PRODUCTS = frozenset({"Gemm", "MatMul", "Conv"})
_PROBABILITIES = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_MOVERS = frozenset({"Transpose", "Identity", "Cast", "DequantizeLinear", "QuantizeLinear"})


@dataclass
class Classifier:
    """The last product with a weight of its own in front of an output.

    Attributes:
        node: a Gemm, MatMul or Conv.
        bias: the Add behind a MatMul and the input of it that is the bias, or None.
        output: the graph output that is computed from it.
    """

    node: onnx.NodeProto
    bias: tuple[onnx.NodeProto, int] | None
    output: str


def classifier(file: FileGraph, output: str | None, where: str) -> Classifier:
    """Finds the classifier of an output, the first without.

    Raises:
        InvalidArgumentError: there is none.
    """
    outputs = file.outputs()
    if output is not None and output not in outputs:
        raise InvalidArgumentError(
            f"{where}: the name of an output is required, got '{output}'. {near(output, outputs)}"
        )
    output = outputs[0] if output is None else output
    for node in reversed(_ancestors(file, output)):
        if node.op_type in _PRODUCTS and not node.domain and _stored(file, node.input[1]):
            return Classifier(node, _bias(file, node), output)
    raise InvalidArgumentError(
        f"{where}: a Gemm, MatMul or Conv with a weight in front of output '{output}' is required, "
        "got a graph without one. Pass cut= and head= to replace_head, or before= or after= to "
        "insert_dropout."
    )


def _ancestors(file: FileGraph, output: str) -> list[onnx.NodeProto]:
    """The nodes of the main graph that an output is computed from, in order."""
    wanted, found = {output}, []
    for node in reversed(file.graph.node):
        if wanted.intersection(node.output):
            wanted |= reads(node)
            found.append(node)
    return found[::-1]


def _stored(file: FileGraph, name: str) -> str | None:
    """The tensor of the file that an operand is, moved or dequantized."""
    while name and file.place(name) is None:
        node = file.producer(name)
        if node is None or node.op_type not in _MOVERS:
            return None
        name = node.input[0]
    return name or None


def _bias(file: FileGraph, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
    """The Add behind a MatMul, and which of its inputs is stored."""
    uses = file.uses(node.output[0]) if node.op_type == "MatMul" else []
    if len(uses) == 1 and uses[0][0].op_type == "Add":
        other = 1 - uses[0][1]
        if _stored(file, uses[0][0].input[other]):
            return uses[0][0], other
    return None


def replace(
    module: Edits,
    classes: int | None,
    cut: str | None,
    head: Module | None,
    output: str | None,
    softmax: str,
    name: str,
) -> None:
    """See `GraphModule.replace_head`."""
    if (classes is None) == (head is None) or (cut is not None and head is None):
        raise InvalidArgumentError(
            "replace_head: classes=, or head= with or without cut=, is required, got "
            f"classes={classes}, head={type(head).__name__}, cut={cut!r}."
        )
    if softmax not in ("drop", "keep"):
        raise InvalidArgumentError(
            f"replace_head: softmax 'drop' or 'keep' is required, got {softmax!r}."
        )
    file = edited_copy(module)
    if head is not None:
        found = None if cut is not None else classifier(file, output, "replace_head")
        start = cut if found is None else found.node.input[0]
        given = splice(module, file, str(start), head, output, name)
        module._edited(file, given)
        return
    assert classes is not None
    if classes < 1:
        raise InvalidArgumentError(f"replace_head: 1 class or more is required, got {classes}.")
    found = classifier(file, output, "replace_head")
    where = found.node.name or found.node.op_type
    drawn, old = _redraw(module, file, found, classes)
    _tail(module, file, found, softmax, old)
    try:
        module._edited(file, drawn, list(drawn))
    except ToolkitError as error:
        raise InvalidArgumentError(
            f"replace_head: nodes that take any number of classes are required behind '{where}', "
            f"got some where: {error} Pass cut= and head=."
        ) from None


def _redraw(
    module: Edits, file: FileGraph, found: Classifier, classes: int
) -> tuple[dict[str, Parameter], int]:
    """New weights, and how many classes there were.

    Uniform up to 1 / sqrt(fan in), as nn.Linear and nn.Conv2d draw them.
    """
    node = found.node
    key = _stored(file, node.input[1])
    assert key is not None
    shape, axis = _layout(module, file, node, key)
    old, shape[axis] = shape[axis], classes
    bound = math.sqrt(classes / math.prod(shape))
    given = dict([_put(module, file, node, 1, shape, bound)])
    bias = (node, 2) if len(node.input) > 2 and node.input[2] else found.bias
    if bias is not None:
        name = _stored(file, bias[0].input[bias[1]])
        dims = list(module.tensor_of(name).shape) if name else []
        if name is None or math.prod(dims) not in (1, old):
            raise InvalidArgumentError(
                f"replace_head: a bias of {old} elements is required behind '{node.name}', got "
                f"'{bias[0].input[bias[1]]}' of shape {tuple(dims)}. Pass cut= and head=."
            )
        dims = [classes if d == old else d for d in dims] if old in dims else [classes]
        given.update([_put(module, file, *bias, dims, bound)])
    return given, old


def _put(
    module: Edits, file: FileGraph, node: onnx.NodeProto, i: int, shape: list[int], bound: float
) -> tuple[str, Parameter]:
    """A drawn weight as an operand of a node, under the old name unless others read that too."""
    from toolkit.nn import init

    name = _stored(file, node.input[i])
    assert name is not None
    old = module.tensor_of(name)
    drawn = Parameter(init.uniform_(old.new_zeros(shape), -bound, bound))
    place = file.place(name)
    if node.input[i] == name and len(file.uses(name)) == 1 and place is not None:
        place.write(drawn.detach().numpy())
        file.forget([name])
        return name, drawn
    if len(file.uses(name)) == 1 and len(file.uses(node.input[i])) == 1:
        file.rename_stored(name, file.fresh(f"{name}_before"))  # It dies: its name is free.
    made = file.fresh(name)
    file.add_initializer(made, drawn.detach().numpy())
    node.input[i] = made
    return made, drawn


def _layout(
    module: Edits, file: FileGraph, node: onnx.NodeProto, key: str
) -> tuple[list[int], int]:
    """The shape that the node wants of its weight, and the axis of the classes."""
    from toolkit.graph.training_info import values_by_name

    value = values_by_name(module._model).get(node.input[1])
    shape = list(module.tensor_of(key).shape)
    if value is not None and value.shape is not None and key != node.input[1]:
        shape = [d if isinstance(d, int) else 0 for d in value.shape]
    attributes = {a.name: a for a in node.attribute}
    if node.op_type == "Conv":
        if "group" in attributes and attributes["group"].i != 1:
            raise InvalidArgumentError(
                f"replace_head: a Conv of one group is required, got '{node.name}' of "
                f"{attributes['group'].i}. Pass cut= and head=."
            )
        return shape, 0
    rows = node.op_type == "Gemm" and "transB" in attributes and attributes["transB"].i
    return shape, 0 if rows else len(shape) - 1


def _tail(module: Edits, file: FileGraph, found: Classifier, softmax: str, old: int) -> None:
    """Puts right what stands between the classifier and the output."""
    start = found.node.output[0]
    behind = {start, *file.downstream(start)}
    nodes = [n for n in _ancestors(file, found.output) if behind.intersection(reads(n))]
    _refuse_sized(module, file, found, nodes, old)
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            file.bypass(node)  # Its scale is of the classes that were.
        elif softmax == "drop" and node.op_type in _PROBABILITIES:
            file.bypass(node)
        elif softmax == "drop" and node.op_type == "Div":
            _drop_written_out(file, node)
    file.forget([start, *file.downstream(start)])


def _refuse_sized(
    module: Edits, file: FileGraph, found: Classifier, nodes: list[onnx.NodeProto], old: int
) -> None:
    """Nothing behind a classifier but its bias was learned, or knows the number of classes."""
    for node in nodes:
        what = ""
        if any(subgraphs(node)):
            what = "graphs inside"
        elif found.bias is None or node.output[0] != found.bias[0].output[0]:
            sized = (name for name in node.input if _is_sized(module, file, node, name, old))
            what = f"'{name}'" if (name := next(sized, "")) else ""
        if what:
            raise InvalidArgumentError(
                f"replace_head: nodes that take any number of classes are required behind "
                f"'{found.node.name or found.node.op_type}', got {node.op_type} "
                f"'{node.name or node.output[0]}' with {what}. Pass cut= and head=."
            )


def _is_sized(module: Edits, file: FileGraph, node: onnx.NodeProto, name: str, old: int) -> bool:
    stored = _stored(file, name)
    place = file.place(stored) if stored else None
    if place is None or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return False
    array = place.read()
    weights = dict(module.named_parameters())
    if array.size > 1 and stored in weights:
        return True
    return old > 1 and old in (array.tolist() if node.op_type == "Reshape" else array.shape)


def _drop_written_out(file: FileGraph, division: onnx.NodeProto) -> None:
    """Softmax as exp(x - max) / sum(exp(x - max)), as some exporters write it."""
    exp, total = (file.producer(name) for name in division.input)
    while total is not None and total.op_type in ("Identity", "Reshape", "Unsqueeze", "Cast"):
        total = file.producer(total.input[0])
    if exp is None or total is None or (exp.op_type, total.op_type) != ("Exp", "ReduceSum"):
        return
    if total.input[0] != exp.output[0]:
        return
    shifted = file.producer(exp.input[0])
    source = shifted.input[0] if shifted is not None and shifted.op_type == "Sub" else exp.input[0]
    division.input[0] = source
    file.bypass(division)
