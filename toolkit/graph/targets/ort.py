"""`ort`: the CPU kernels of onnxruntime 1.32.

`ort_kernels.txt` names each operator that it has a kernel for and, where the kernel takes fewer
element types than the operator, the types by the schema's type variable. onnxruntime itself writes
out operators that have a function body, and computes float16 in float32 where it lacks a kernel.

Rewritten is what lacks a type: narrow types are computed in a wider one, which is exact but for the
roundings of float types. And Pad of chosen axes (`pads.py`), which its optimizer gets wrong.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.graph.functions.registry import base_name
from toolkit.graph.infer import OPSET
from toolkit.graph.inline import body_of
from toolkit.graph.targets.pads import full_pad, names_axes
from toolkit.graph.targets.profile import Profile, Roles, Types
from toolkit.graph.targets.registry import Call

V = Any  # An ir.Value under `arithmetic`.

_WIDER = {
    ir.DataType.BFLOAT16: ("FLOAT",),
    ir.DataType.BOOL: ("UINT8", "INT32", "INT64", "FLOAT"),
    ir.DataType.INT8: ("INT32", "INT64", "FLOAT"),
    ir.DataType.INT16: ("INT32", "INT64", "FLOAT"),
    ir.DataType.UINT8: ("INT32", "INT64", "FLOAT"),
    ir.DataType.UINT16: ("INT32", "INT64", "FLOAT"),
    ir.DataType.INT32: ("INT64", "DOUBLE"),
    ir.DataType.UINT32: ("INT64", "DOUBLE"),
}  # Only types that hold every value of the narrow one.


@functools.cache
def kernels() -> dict[str, dict[str, Types]]:
    """Of each operator with a kernel, the types by type variable where not all are taken."""
    found = {}
    for line in Path(__file__).with_name("ort_kernels.txt").read_text().splitlines():
        op_type, *variables = line.split()
        found[op_type] = {
            name: frozenset(ir.DataType[t.upper()] for t in types.split(",") if t.upper() in _KNOWN)
            for name, _, types in (v.partition(":") for v in variables)
        }
    return found


_KNOWN = {d.name for d in ir.DataType}


class _Ort(Profile):
    def offence(self, node: ir.Node, roles: Roles, to_come: Types = frozenset()) -> str | None:
        """Why onnxruntime cannot run a node; None if it can."""
        if node.domain or node.op_type == "Constant":
            return "a standard operator is required" if node.domain else None
        variables = kernels().get(base_name(node.op_type))
        if variables is None:
            return None if body_of(node) else f"there is no kernel for {node.op_type}"
        if names_axes(node):
            return "pads of all axes are required"
        lacking = _lacking(node)
        if lacking is None:
            return None
        variable, dtype = lacking
        return f"no kernel takes {dtype.name.lower()} as {variable}"


def _variable(node: ir.Node, index: int, outputs: bool = False) -> str:
    """The type variable of an input or output."""
    schema = onnx.defs.get_schema(node.op_type, OPSET)
    formal = schema.outputs if outputs else schema.inputs
    return str(formal[min(index, len(formal) - 1)].type_str)


def _lacking(node: ir.Node) -> tuple[str, ir.DataType] | None:
    """A type variable and the type that no kernel takes for it."""
    taken = kernels()[node.op_type]
    for i, value in enumerate(node.inputs):
        variable = _variable(node, i)
        if value is None or value.dtype is None or variable not in taken:
            continue
        dtype, types = value.dtype, taken[variable]
        narrow = dtype == ir.DataType.FLOAT16 and ir.DataType.FLOAT in types
        if dtype not in types and not narrow:
            return variable, dtype
    return None


def widen(c: Call, *inputs: V) -> Any:
    """The node in a wider type, its results cast back."""
    if c.node.op_type not in kernels():
        return None
    lacking = _lacking(c.node)
    if lacking is None:
        return None
    variable, dtype = lacking
    taken = kernels()[c.node.op_type][variable]
    wider = next((ir.DataType[n] for n in _WIDER.get(dtype, ()) if ir.DataType[n] in taken), None)
    if wider is None:
        return None
    given = [
        c.b.cast(v, wider) if v is not None and _variable(c.node, i) == variable else v
        for i, v in enumerate(inputs)
    ]
    count = len(c.node.outputs)
    results = c.b.call("", c.node.op_type, given, c.attributes, count)
    results = results if count > 1 else (results,)
    return tuple(
        c.b.cast(v, dtype) if _variable(c.node, i, outputs=True) == variable else v
        for i, v in enumerate(results)
    )


def pad(c: Call, *inputs: V) -> Any:
    """Pads of all axes, then of types that there are."""
    full = full_pad(c, *inputs)
    return widen(c, *inputs) if full is None else full


PROFILE = _Ort("ort", rewrites={("", "Pad"): pad, ("", "*"): widen})
