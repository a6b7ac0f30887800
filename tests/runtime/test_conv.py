"""Conv, ConvTranspose and the gradients of Conv against torch and onnxruntime."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.runtime.oracle import run, single_node_model
from tests.tolerances import assert_close
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.runtime import _core

CONV = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}
TRANSPOSE = {
    1: torch.nn.functional.conv_transpose1d,
    2: torch.nn.functional.conv_transpose2d,
    3: torch.nn.functional.conv_transpose3d,
}
SPATIAL = [(9,), (130,), (7, 8), (20, 33), (5, 6, 7)]
# (N, group, C and O of a group)
CHANNELS = [(1, 1, 3, 5), (3, 2, 4, 6), (2, 4, 1, 1), (2, 3, 1, 2), (5, 1, 8, 16), (0, 1, 2, 2)]
# (kernel, stride, dilation, pad)
WINDOWS = [(1, 1, 1, 0), (3, 1, 1, 1), (3, 2, 1, 1), (2, 2, 1, 0), (3, 1, 2, 2), (2, 3, 2, 1)]


@pytest.fixture(autouse=True)
def _one_torch_thread():
    torch.set_num_threads(1)


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def grad(op_type: str, inputs: list[np.ndarray], attributes: dict) -> np.ndarray:
    return run(op_type, inputs, attributes, domain="toolkit.grad")[0]


def check_against_torch(rng, dtype, spatial, channels, window) -> None:
    """Forward, both gradients and the transposed convolution of one case."""
    rank, (n, group, c, o), (k, s, d, p) = len(spatial), channels, window
    x, b = draw(rng, (n, group * c, *spatial), dtype), draw(rng, (group * o,), dtype)
    w = draw(rng, (group * o, c, *[k] * rank), dtype)
    attributes = {
        "strides": [s] * rank,
        "dilations": [d] * rank,
        "pads": [p] * 2 * rank,
        "group": group,
    }
    tx, tw = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    ty = CONV[rank](tx, tw, torch.tensor(b), s, p, d, group)
    dy = draw(rng, tuple(ty.shape), dtype)
    tdx, tdw = torch.autograd.grad(ty, (tx, tw), torch.tensor(dy))
    case = f"{spatial} {channels} {window}"
    y = run("Conv", [x, w, b], attributes)[0]
    assert_close(y, ty.detach().numpy(), scale=20, message=case)
    shape = np.array(x.shape)
    dx = grad("ConvGradInput", [dy, w, shape], attributes)
    assert_close(dx, tdx.numpy(), scale=20, message=case)
    shape = np.array(w.shape)
    dw = grad("ConvGradWeight", [x, dy, shape], attributes)
    assert_close(dw, tdw.numpy(), scale=200, message=case)
    if n == 0:
        return
    w = draw(rng, (group * c, o, *[k] * rank), dtype)
    attributes["output_padding"] = [s - 1] * rank
    want = TRANSPOSE[rank](torch.tensor(x), torch.tensor(w), torch.tensor(b), s, p, s - 1, group, d)
    y = run("ConvTranspose", [x, w, b], attributes)[0]
    assert_close(y, want.numpy(), scale=20, message=case)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spatial", SPATIAL)
def test_against_torch(rng, dtype, spatial):
    for channels, window in itertools.product(CHANNELS, WINDOWS):
        check_against_torch(rng, dtype, spatial, channels, window)


def against_onnxruntime(op_type, inputs, attributes) -> None:
    model = single_node_model(op_type, inputs, attributes, opset=21)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    want = session.run(None, {f"x{i}": x for i, x in enumerate(inputs)})[0]
    assert_close(run(op_type, inputs, attributes)[0], want, scale=20, message=str(attributes))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("spatial", [(9,), (11, 8), (7, 5, 6)])
def test_auto_pad_as_onnxruntime(rng, auto_pad, spatial):
    rank = len(spatial)
    x = draw(rng, (2, 4, *spatial), np.float32)
    for k, s, d in itertools.product((1, 2, 3, 4), (1, 2, 3), (1, 2)):
        if d > 1 and auto_pad.startswith("SAME"):
            continue  # onnxruntime ignores dilations there.
        attributes = {"auto_pad": auto_pad, "strides": [s] * rank, "dilations": [d] * rank}
        if all((k - 1) * d + 1 <= n for n in spatial):
            w = draw(rng, (6, 4, *[k] * rank), np.float32)
            against_onnxruntime("Conv", [x, w], attributes)
        w = draw(rng, (4, 3, *[k] * rank), np.float32)
        if not auto_pad.startswith("SAME") or (k - 1) * d + 1 >= s:
            against_onnxruntime("ConvTranspose", [x, w], attributes)


def test_asymmetric_pads_and_output_shape_as_onnxruntime(rng):
    x = draw(rng, (2, 3, 6, 7), np.float32)
    w = draw(rng, (4, 3, 3, 2), np.float32)
    for pads in ([0, 1, 2, 0], [3, 0, 0, 2], [2, 2, 2, 2]):
        against_onnxruntime("Conv", [x, w], {"pads": pads})
        against_onnxruntime("Conv", [x, w], {"pads": pads, "strides": [2, 3], "dilations": [2, 1]})
    w = draw(rng, (3, 4, 3, 2), np.float32)
    for pads in ([0, 1, 1, 0], [1, 0, 0, 1]):
        against_onnxruntime("ConvTranspose", [x, w], {"pads": pads, "strides": [2, 3]})
    for shape, mode in itertools.product(
        ([11, 14], [13, 15], [10, 13]), ("NOTSET", "SAME_UPPER", "SAME_LOWER")
    ):
        attributes = {"output_shape": shape, "strides": [2, 2], "auto_pad": mode}
        against_onnxruntime("ConvTranspose", [x, w], attributes)


@pytest.mark.parametrize("stride", [8, 9, 3000, 2**31])
def test_strides_of_a_transposed_convolution(rng, stride):
    x, w = draw(rng, (2, 3, 1, 2), np.float32), draw(rng, (3, 4, 3, 2), np.float32)
    across = min(stride, 3000)
    got = run("ConvTranspose", [x, w], {"strides": [stride, across]})[0]
    want = np.zeros((2, 4, 3, across + 2), np.float32)
    for column in range(2):
        part = np.einsum("nc,cokl->nokl", x[:, :, 0, column], w)
        want[..., column * across : column * across + 2] += part
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_four_spatial_dimensions(rng):
    """One dimension of extent 1 more changes nothing."""
    x, w = draw(rng, (2, 3, 5, 6, 7), np.float64), draw(rng, (4, 3, 3, 2, 3), np.float64)
    attributes = {"pads": [1, 0, 1] * 2, "strides": [1, 2, 1]}
    want = run("Conv", [x, w], attributes)[0]
    attributes = {"pads": [1, 0, 0, 1] * 2, "strides": [1, 2, 1, 1]}
    got = run("Conv", [x[:, :, :, :, None], w[:, :, :, :, None]], attributes)[0]
    assert np.array_equal(got[:, :, :, :, 0], want)


def test_constant_weights_are_packed_to_the_same_result(rng):
    for group, o in ((1, 40), (3, 6)):
        x, w = draw(rng, (2, 6, 9, 9), np.float32), draw(rng, (o, 6 // group, 3, 3), np.float32)
        program = _core.Program()
        slots = [program.add_input("x"), program.add_constant(_core.Tensor.from_array(w))]
        y = program.add_slot()
        program.add_node("", "Conv", "conv", {"group": group}, slots, [y])
        program.add_output(y)
        program.finalize()
        got = program.run([_core.Tensor.from_array(x)])[0].numpy()
        assert np.array_equal(got, run("Conv", [x, w], {"group": group})[0])


def test_threads_do_not_change_a_bit(rng):
    for n, c, o, group in ((1, 16, 32, 1), (6, 8, 8, 1), (2, 12, 12, 12), (3, 8, 8, 2)):
        x = draw(rng, (n, c, 19, 21), np.float32)
        w = draw(rng, (o, c // group, 3, 3), np.float32)
        attributes = {"pads": [1] * 4, "group": group}
        dy = draw(rng, (n, o, 19, 21), np.float32)
        shapes = np.array(x.shape), np.array(w.shape)
        results = set()
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            results.add(
                run("Conv", [x, w], attributes)[0].tobytes()
                + grad("ConvGradInput", [dy, w, shapes[0]], attributes).tobytes()
                + grad("ConvGradWeight", [x, dy, shapes[1]], attributes).tobytes()
            )  # fmt: skip
        assert len(results) == 1


@pytest.mark.parametrize("isa", ["x86-64-v2", "x86-64-v3"])
def test_other_instruction_sets(isa):
    script = (
        "import numpy as np; from tests.runtime import test_conv as t;"
        "from toolkit.runtime import _core; assert _core.isa() == " + repr(isa) + ";"
        "[t.check_against_torch(np.random.default_rng(0), np.float32, s, c, w)"
        " for s in t.SPATIAL[::2] for c in t.CHANNELS for w in t.WINDOWS]"
    )
    env = os.environ | {"TOOLKIT_ISA": isa, "TOOLKIT_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], env=env, check=True)


X = np.zeros((1, 4, 5, 5), np.float32)
W = np.zeros((6, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "error", "match"),
    [
        ("Conv", [X, W[:, :3]], {}, ShapeError, "group x W's second dimension"),
        ("Conv", [X, W[:5, :2]], {"group": 2}, ShapeError, "multiple of group 2"),
        ("Conv", [X, W], {"group": 0}, InvalidArgumentError, "at least 1, got 0"),
        ("Conv", [X[0, 0], W], {}, ShapeError, "at least one spatial"),
        ("Conv", [X, W[0, 0]], {}, ShapeError, "two channel dimensions"),
        ("Conv", [X, W[:, :, 0]], {}, ShapeError, "kernel must have 2 dimensions"),
        ("Conv", [X, W], {"kernel_shape": [2, 3]}, ShapeError, "must be that of W"),
        ("Conv", [X, W], {"strides": [1]}, ShapeError, "strides must have 2 values"),
        ("Conv", [X, W], {"strides": [0, 1]}, InvalidArgumentError, "strides must be at least 1"),
        ("Conv", [X, W], {"pads": [1, 1]}, ShapeError, "pads must have 4 values"),
        ("Conv", [X, W], {"pads": [-1, 0, 0, 0]}, InvalidArgumentError, "pads must be at least 0"),
        ("Conv", [X, W], {"dilations": [3, 3]}, ShapeError, "must fit into the padded input"),
        ("Conv", [X, W], {"dilations": [2**62, 1]}, InvalidArgumentError, "dilations"),
        ("Conv", [X, W], {"auto_pad": "SAME"}, InvalidArgumentError, "auto_pad must be"),
        ("Conv", [X, W, np.zeros(5, np.float32)], {}, ShapeError, "each of the 6 output channels"),
        ("Conv", [X, W.astype(np.float64)], {}, DTypeError, "W must have X's dtype"),
        ("Conv", [X.astype(np.int32), W.astype(np.int32)], {}, DTypeError, "int32"),
        ("ConvTranspose", [X, W], {}, ShapeError, "W's first dimension"),
        ("ConvTranspose", [X, W[:4]], {"output_padding": [1, 0]}, InvalidArgumentError,
         "smaller than the stride"),
        ("ConvTranspose", [X, W[:4]], {"pads": [9] * 4}, ShapeError, "pads must leave an output"),
        ("ConvTranspose", [X, W[:4]], {"output_shape": [3]}, ShapeError, "output_shape must have"),
        ("ConvGradInput", [X, W, np.array([1, 4, 5, 5])], {}, ShapeError, "Conv's output shape"),
        ("ConvGradInput", [X, W, np.array([1, 4, -5, 5])], {}, ShapeError, "not be negative"),
        ("ConvGradWeight", [X, X, np.array(2.0)], {}, ShapeError, "vector of int64"),
    ],
)  # fmt: skip
def test_errors_name_what_is_required(op_type, inputs, attributes, error, match):
    domain = "toolkit.grad" if "Grad" in op_type else ""
    with pytest.raises(error, match=match):
        run(op_type, inputs, attributes, domain=domain)
