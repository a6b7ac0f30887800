"""The generated operator functions, dispatch, and what an operation costs."""

import subprocess
import sys

import numpy as np
import pytest
from against import data, tk

from toolkit import ops


def test_functions_follow_the_schemas():
    x = tk.tensor(data(2, 3))
    np.testing.assert_array_equal(ops.Relu(x).numpy(), np.maximum(data(2, 3), 0))
    assert ops.Add(x, 1).shape == (2, 3) and ops.Mul(2.0, x).dtype is tk.float32
    assert ops.ReduceSum(x, [1], keepdims=0).shape == (2,)
    assert ops.Concat(x, x, axis=1).shape == (2, 6)
    first, second = ops.Split(x, [1, 1], axis=0, outputs=2)
    assert first.shape == second.shape == (1, 3)
    values, indices = ops.TopK(x, [2])
    assert values.shape == indices.shape == (2, 2)
    assert ops.Clip(x, None, 0.5).max().item() <= 0.5
    assert "Conv" in ops.Conv.__name__ and "strides=" in ops.Conv.__doc__
    assert ops.Relu is ops.Relu


def test_gradients_of_functions():
    x = tk.tensor(data(2, 3), requires_grad=True)
    ops.Softplus(ops.Mul(x, 2.0)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 / (1 + np.exp(-2 * data(2, 3))), rtol=1e-5)


@pytest.mark.parametrize(
    "program, message",
    [
        ("ops.NoSuchOperator", "no operator 'NoSuchOperator'"),
        ("ops.lowercase", "no attribute 'lowercase'"),
        ("ops.Relu()", r"Relu: 1 inputs \(X\) are required, got 0"),
        ("ops.Relu(x, x)", "Relu: 1 inputs"),
        ("ops.Relu(x, alpha=1)", "Relu: attributes among .* are required, got 'alpha'"),
        ("ops.Concat(x)", "attribute 'axis' is required"),
        ("ops.Relu('abc')", "Relu: tensors, numbers or arrays are required, got str"),
        ("ops.call('Nothing', [x])", "Nothing"),
        ("ops.MatMul(x, x)", "MatMul"),
        ("x @ tk.ones(5, 5)", "MatMul"),
        ("x + tk.ones(5)", "Add"),
        ("x @ x.double().t()", "same dtype"),
        ("x.mm(x)", r"mat1 and mat2 shapes cannot be multiplied \(2x3 and 2x3\)"),
        ("tk.cat([])", "non-empty list"),
        ("tk.cat([x, tk.ones(2)])", "Concat"),
        ("tk.stack([x, x[0]])", "equal size"),
        ("x.long().mean()", "floating point"),
        ("(x > 0) - (x > 0)", "two bool tensors"),
        ("x & x", "bools or integers"),
        ("x.foo", "has no attribute 'foo'"),
        ("tk.foo", "no attribute 'foo'"),
        ("tk.exp(3)", "must be Tensor, not int"),
        ("tk.zeros(-1)", "negative dimension"),
        ("tk.zeros(10**9, 10**9)", "Unable to allocate|too big|fit"),
        ("tk.zeros(2, device='cuda')", "device: 'cpu' is required"),
        ("tk.einsum('ij,jk', x)", "2 operands, got 1"),
        ("tk.einsum('ijk->i', x)", "do not fit"),
    ],
)
def test_errors(program, message):
    errors = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, MemoryError)
    with pytest.raises(errors, match=message):
        eval(program, {"ops": ops, "tk": tk, "x": tk.tensor(data(2, 3))})


def test_composites_and_bodies_run_without_a_kernel():
    from toolkit.ops.fallback import FallbackOp

    x = tk.tensor(data(2, 3))
    for op_type, domain, attributes in (("Softplus", "", {}), ("HardSwish", "", {})):
        op = FallbackOp(domain, op_type, attributes)
        got = op.call(x._value).numpy()
        np.testing.assert_allclose(got, ops.call(op_type, [x]).numpy(), rtol=1e-5, atol=1e-6)
        assert op.call(x._value) is not None and len(op._programs) == 1
    dy = tk.tensor(data(4, 2, 3))
    shape = tk.tensor([2, 3])
    body = FallbackOp("toolkit.grad", "SumToShape", {})
    np.testing.assert_allclose(
        body.call(dy._value, shape._value).numpy(), data(4, 2, 3).sum(0), rtol=1e-5
    )


def test_handles_and_constants_are_reused():
    from toolkit._tensor import consts
    from toolkit.ops import dispatch

    x = tk.ones(2)
    x * 3.25
    handles, scalars = len(dispatch._handles), len(consts._scalars)
    for _ in range(10):
        x * 3.25 + 3.25
    assert len(dispatch._handles) == handles and len(consts._scalars) == scalars
    assert (x * 0.0).tolist() == [0, 0] and str((x * -0.0).tolist()) == "[-0.0, -0.0]"
    assert dispatch.handle("Cast", to=1) is not dispatch.handle("Cast", to=1.0)
    for i in range(consts._LIMIT + 10):  # Changing scalars do not fill the memory.
        consts.scalar(float(i), 1)
    assert len(consts._scalars) <= consts._LIMIT


def test_python_work_of_an_operation_is_small():
    """Counts calls into Python functions, not time: an operation is two or three."""
    x, y = tk.ones(2), tk.ones(2)
    calls = []

    def profile(frame, event, arg):
        if event == "call":
            calls.append(frame.f_code.co_name)

    x + y
    for expression, limit in (("x + y", 6), ("x * 2.0", 7), ("x.exp()", 2), ("x[0]", 14)):
        code = compile(expression, "test", "eval")
        eval(code)
        calls.clear()
        sys.setprofile(profile)
        try:
            eval(code)
        finally:
            sys.setprofile(None)
        assert len(calls) <= limit + 1, (expression, calls)


def test_import_is_light():
    heavy = ["onnx", "onnx_ir", "google.protobuf", "torch", "onnxruntime", "matplotlib", "rich"]
    code = (
        "import sys, toolkit as tk\n"
        "x = tk.tensor([[1.0, 2.0]]); y = (x @ x.t()).relu().sum(); repr(y[None]); tk.randn(3)\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_encyclopedia_program():
    a = tk.randn(2, 3, device=tk.device("cpu"), dtype=tk.float32)
    b = tk.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    c = a * b
    assert c.shape == (2, 3) and c.sum().ndim == 0
    assert c[1, 2].item() == pytest.approx(a[1, 2].item() * 6, rel=1e-6)
    assert c.max().item() == max(c.flatten().tolist())
