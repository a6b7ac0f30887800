"""Random draws lowered to `ortweb`: the words of Philox, to the bit, without its operators."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests import tolerances
from tests.autodiff.helpers import run
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder
from toolkit.graph.io import to_proto
from toolkit.graph.targets import check_target, lower_to

STATES = [(0, 0), (0xDEADBEEF12345678, 2**64 - 1), (2**64 - 1, 2**32 - 1)]


def draw(name: str, first, outputs: int = 1, **attributes) -> ir.Model:
    """A model of one draw: of an array with symbolic dimensions, or in a constant shape."""
    state = ir.Value(name="state", type=ir.TensorType(ir.DataType.UINT64), shape=ir.Shape([2]))
    graph = ir.Graph([state], [], nodes=[], opset_imports={"": 28}, name=name)
    b = Builder(graph)
    if isinstance(first, tuple):
        x = b.ints(first)
    else:
        dims = ir.Shape([f"d{i}" for i in range(first.ndim)])
        x = ir.Value(name="x", type=ir.TensorType(ir.DataType.from_numpy(first.dtype)), shape=dims)
        graph.inputs.append(x)
    results = b.call("toolkit.random", name, [x, state], attributes, outputs)
    for i, value in enumerate(results if outputs > 1 else [results]):
        value.name = f"y{i}"
        graph.outputs.append(value)
    return ir.Model(graph, ir_version=10)


def both(name: str, first, state: tuple[int, int], outputs: int = 1, **attributes):
    """What onnxruntime computes of the body in 64-bit integers, and of the lowered one."""
    plain = to_proto(draw(name, first, outputs, **attributes), 21, inline=True)
    lowered = to_proto(lower_to(draw(name, first, outputs, **attributes), "ortweb"), 21)
    onnx.checker.check_model(lowered, full_check=True)
    assert check_target(lowered, "ortweb") == []
    feeds = {"state": np.array(state, np.uint64)}
    if not isinstance(first, tuple):
        feeds["x"] = first
    return run(plain, feeds), run(lowered, feeds)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (5, 7, 3), (1003,)])
def test_uniforms_are_the_same_bits(shape, state):
    want, got = both("Uniform", shape, state, call=3)
    np.testing.assert_array_equal(got["y0"], want["y0"])
    assert got["y0"].shape == shape


def test_normal_numbers_are_the_same():
    want, got = both("Normal", (99, 11), STATES[1], call=1)
    tolerances.assert_close(got["y0"], want["y0"])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_masks_of_dropout_are_the_same(ratio, dtype):
    x = np.random.default_rng(0).standard_normal((6, 5, 11)).astype(dtype)
    want, got = both("Dropout", x, STATES[1], 2, ratio=ratio, call=2)
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_draws_in_float64_are_refused():
    with pytest.raises(UnsupportedOperatorError, match="random numbers in float32 are required"):
        lower_to(draw("Uniform", (3,), dtype=11), "ortweb")
