"""Tracing: the same code on symbolic tensors gives a graph that computes the same."""

import numpy as np
import onnx
import pytest
from against import compare, data, torch

import toolkit as tk
from toolkit import ops
from toolkit.graph.io import to_proto
from toolkit.runtime import InferenceSession
from toolkit.tracing import Trace


def trace(f, *shapes, dtypes=None):
    """The model of `f`, with dimension 0 of every input symbolic."""
    with Trace() as t:
        xs = [
            t.input(f"x{i}", (dtypes or {}).get(i, tk.float32), ["batch", *s[1:]])
            for i, s in enumerate(shapes)
        ]
        y = f(*xs)
        return t.finish(y if isinstance(y, (tuple, list)) else [y])


def check(f, *shapes, inputs=None):
    """Eager, our session and onnxruntime agree, at two batch sizes."""
    ort = pytest.importorskip("onnxruntime")
    proto = to_proto(trace(f, *shapes))
    onnx.checker.check_model(proto, full_check=True)
    ours = InferenceSession(proto.SerializeToString())
    theirs = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (shapes[0][0], shapes[0][0] + 3):
        arrays = [data(batch, *s[1:], seed=i) for i, s in enumerate(shapes)]
        eager = f(*map(tk.tensor, arrays))
        eager = eager if isinstance(eager, (tuple, list)) else [eager]
        feed = {
            f"x{i}": a
            for i, a in enumerate(arrays)
            if f"x{i}" in {v.name for v in theirs.get_inputs()}
        }
        for mine, got, other in zip(
            eager, ours.run(None, feed), theirs.run(None, feed), strict=True
        ):
            np.testing.assert_allclose(got, mine.numpy(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(got, other, rtol=1e-4, atol=1e-5)
            assert got.shape == mine.shape
    return proto


W = tk.tensor(data(4, 3, seed=9))
EXPRESSIONS = """
x @ W + 1; x * x - x / 2; x.reshape(x.shape[0], -1); x.view(-1, 2); x.view(x.size(0), 2, 2)
x.flatten(1); x.reshape(x.shape[0], 2, -1).flatten(1); x[:, 1]; x[:, 1:3]; x[0]; x[-1]; x[1:]
x[:, None]; x[..., ::2]; x.t(); x.unsqueeze(1).squeeze(1); x.sum(1); x.mean(); x.mean(0)
x * x.shape[0]; x / x.shape[0]; x.sum() / x.numel(); x.expand(2, -1, -1)
x[:1].expand(x.shape[0], 4); tk.zeros(x.shape[0], 4) + x; tk.ones_like(x) + x
tk.full((x.shape[0], 1), 2.0) * x; tk.arange(x.shape[0]).float().unsqueeze(1) * x; x.var(0)
x.std(); x.softmax(-1); x.max(1); x.argmax(1); x.masked_fill(x > 0, 0.0)
tk.where(x > 0, x, x * 2); tk.cat([x, x], 1); tk.stack([x, x]); tk.cat([x[:, :2], x[:, 2:]], 1)
x.chunk(2, 1); x.split([1, 3], 1); x.unbind(1); x.clamp(-1, 1); x[tk.tensor([1, 0])]
x[:, tk.tensor([0, 0, 3])]; x[x > 0]; x.cumsum(1); x.topk(2, 1); x.sort(1)[0]
x.gather(1, (x > 0).long()); tk.einsum('bi,ij->bj', x, W); tk.einsum('bi,bi->b', x, x)
x.reshape(x.shape[0] * 2, 2); x.repeat(1, 2); x.flip(1); x.roll(1, 1); x.tril(); x ** 2
x.pow(3); x.to(tk.float64).float(); x.detach() * 2; x.long() % 3; -x; x.norm()
x.permute(1, 0).reshape(-1, 2); x.reshape(x.shape); x.view_as(x); x.new_zeros(x.shape) + x
x.transpose(0, 1).contiguous().view(4, -1); x.repeat_interleave(2, 1); x.movedim(0, 1)
x.outer(x[0]) if x.dim() == 1 else x.mm(W); x.log_softmax(1)
"""
CASES = [e.strip() for line in EXPRESSIONS.strip().splitlines() for e in line.split(";")]


@pytest.mark.parametrize("expression", CASES)
def test_expression(expression):
    def f(x):
        return eval(expression, {"x": x, "tk": tk, "W": W})

    check(f, (5, 4))


PROGRAMS = {
    "inplace": "y = x * 1; y += 2; y.mul_(3)",
    "slice write": "y = x * 1; y[:, 1] = 5; y[:, 2:] *= 2",
    "row write": "y = x * 1; y[0] = 1",
    "view write": "y = x * 1; v = y[:, 1]; v += 10",
    "mask write": "y = x * 1; y[y > 0] = 0",
    "state write": "y = tk.zeros(4); y[1] = x.sum(); y = y + x",
    "loop": "y = x\nfor k in range(3): y = (y @ W @ W.t()) * 0.1",
    "positions": "n = x.shape[0]; y = x + tk.arange(n).reshape(n, 1)",
    "heads": "b = x.shape[0]; y = x.view(b, 2, 2).transpose(0, 1).reshape(2, b * 2)",
    "half of batch": "n = x.shape[0] // 2; y = tk.arange(n).float() * x.sum()",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    def f(x):
        scope = {"x": x, "tk": tk, "W": W}
        exec(PROGRAMS[name], scope)
        return scope["y"]

    check(f, (4, 4))


def test_two_inputs_share_their_symbol():
    check(lambda a, b: (a + b, a @ b.t()), (3, 4), (3, 4))


def test_parameters_become_named_initializers():
    w = tk.tensor(data(4, 2), requires_grad=True)
    with Trace() as t:
        t.name_tensor(w, "layer.weight")
        x = t.input("x", tk.float32, ("batch", 4))
        with t.scope("layer"):
            y = x @ w
        model = t.finish({"y": y})
    graph = to_proto(model).graph
    assert [i.name for i in graph.initializer] == ["layer.weight"]
    assert graph.node[0].name == "layer.MatMul"
    assert [o.name for o in graph.output] == ["y"]
    assert [d.dim_param or d.dim_value for d in graph.output[0].type.tensor_type.shape.dim] == [
        "batch",
        2,
    ]
    assert t.value_of(w).name == "layer.weight"
    assert isinstance(w._value, type(tk.ones(1)._value))


def test_writes_to_outside_tensors_are_mutations():
    running = tk.zeros(4)
    count = tk.tensor(0)
    view = running[1:]
    with Trace() as t:
        t.name_tensor(running, "running")
        t.name_tensor(count, "count")
        x = t.input("x", tk.float32, ("batch", 4))
        running.mul_(0.9).add_(x.mean(0) * 0.1)
        count += 1
        y = x + running
    assert running.tolist() == [0.0] * 4 and count.item() == 0 and view.tolist() == [0.0] * 3
    assert {tensor is running for tensor, _ in t.mutations.values()} == {True, False}
    assert y._value.producer().op_type == "Add"
    from toolkit.runtime.lowering import lower

    program = lower(
        [x._value], [y._value],
        states={v: tensor._value for tensor, v in t.initializers()},
        updates={t.value_of(tensor): v for tensor, v in t.mutations.values()},
    )  # fmt: skip
    batch = tk.ones(2, 4)
    program.run([batch._value])
    program.run([batch._value])
    assert count.item() == 2
    np.testing.assert_allclose(running.numpy(), np.full(4, 0.19), rtol=1e-5)
    np.testing.assert_allclose(view.numpy(), np.full(3, 0.19), rtol=1e-5)


def test_random_numbers_of_a_trace_equal_eager_ones():
    from toolkit.random import default_generator, dropout
    from toolkit.runtime.lowering import lower

    def f(x):
        return dropout(x, 0.5)[0] + tk.rand_like(x) + tk.randn(3, 4)

    with Trace() as t:
        t.name_tensor(default_generator.state, "rng")
        x = t.input("x", tk.float32, (3, 4))
        y = f(x)
    program = lower(
        [x._value], [y._value],
        states={v: s._value for s, v in t.initializers()},
        updates={t.value_of(s): v for s, v in t.mutations.values()},
    )  # fmt: skip
    a = tk.tensor(data(3, 4))
    tk.manual_seed(7)
    eager = [f(a).tolist() for _ in range(3)]
    tk.manual_seed(7)
    traced = [program.run([a._value])[0].numpy().tolist() for _ in range(3)]
    assert eager == traced
    assert eager[0] != eager[1]


def test_detach_and_no_grad_stop_gradients():
    from toolkit.autodiff.backward import gradients

    w = tk.tensor(data(4), requires_grad=True)
    with Trace() as t:
        x = t.input("x", tk.float32, (4,))
        with tk.no_grad():
            scale = (w * w).sum()
        y = (w * x * scale + w.detach()).sum()
    b = t.recorder.builder
    (g,) = gradients(t.graph, [y._value], [b.const(np.float32(1))], [t.value_of(w)])
    from toolkit.runtime.lowering import lower

    ones = tk.ones(4)
    (got,) = lower([x._value], [g]).run([ones._value])
    np.testing.assert_allclose(got.numpy(), np.full(4, (w * w).sum().item()), rtol=1e-5)


def test_source_line_in_errors():
    with (
        pytest.raises(tk.errors.ShapeError, match=r"test_tensor_tracing.py:\d+: x @ tk.ones"),
        Trace() as t,
    ):
        x = t.input("x", tk.float32, ("batch", 4))
        x @ tk.ones(5, 2)
    assert tk.ones(2).sum().item() == 2  # The trace has ended.


@pytest.mark.parametrize(
    "program, message",
    [
        ("x.sum().item()", "a value is required, got a symbolic tensor"),
        ("bool(x.sum() > 0)", "a value is required"),
        ("x.numpy()", "a value is required"),
        ("int(x.shape[0])", "dynamic dimension 'batch'"),
        ("x.shape[0] > 3", "dynamic dimension 'batch'"),
        ("x.shape[0] == 3", "comparison with 3.*dynamic dimension 'batch'"),
        ("x.shape != (3, 4)", "comparison with 3.*dynamic dimension 'batch'"),
        ("range(x.shape[0])", "dynamic dimension 'batch'"),
        ("list(x)", "dynamic dimension 'batch'"),
        ("x.sum().backward()", "eager mode is required"),
        ("t.input('x', tk.float32, (1,))", "names must differ"),
        ("Trace().__enter__()", "must not be nested"),
        ("t.finish({'y': 3})", "tensors are required as outputs"),
    ],
)
def test_refused(program, message):
    with pytest.raises((RuntimeError, TypeError), match=message), Trace() as t:
        x = t.input("x", tk.float32, ("batch", 4))
        exec(program, {"x": x, "t": t, "tk": tk, "Trace": Trace})


def test_shape_of_a_symbolic_tensor():
    with Trace() as t:
        x = t.input("x", tk.float32, ("batch", 4))
        assert str(x.shape) == "toolkit.Size([batch, 4])" and x.ndim == 2
        assert x.shape[0] == (x * 2).shape[0]
        assert "symbolic x" in repr(x)


def test_values_of_another_trace_are_refused():
    with Trace() as t:
        old = t.input("x", tk.float32, (2,)) * 2
    with pytest.raises(RuntimeError, match="another one"), Trace() as u:
        u.input("x", tk.float32, (2,)) + old


def test_torch_is_only_the_oracle():
    compare(lambda m: m.ones(2))
    assert torch is not None


def test_random_operators_are_not_computed_ahead():
    with Trace() as trace:
        y = ops.RandomUniform(shape=[3])
        model = trace.finish({"y": y})
    assert [n.op_type for n in model.graph] == ["RandomUniform"]
