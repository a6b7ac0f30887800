"""`cond`, `while_loop` and `scan`: eager, compiled, exported; beside torch's."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

import toolkit as tk
from tests.tolerances import assert_close
from toolkit import nn
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError

torch = pytest.importorskip("torch")
hops = pytest.importorskip("torch._higher_order_ops")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4)).astype(np.float32)
W = RNG.standard_normal((4,)).astype(np.float32)


class Ours:
    """The functions under test."""

    lib = tk
    cond, while_loop, scan = map(staticmethod, (tk.cond, tk.while_loop, tk.scan))


class Operators:
    """torch's own, which compile what they are given: values only."""

    lib = torch
    cond, while_loop, scan = map(staticmethod, (torch.cond, hops.while_loop, hops.scan))


class Written:
    """Python on torch's tensors, for gradients."""

    lib = torch

    @staticmethod
    def cond(pred, true_fn, false_fn, operands):
        return (true_fn if pred else false_fn)(*operands)

    @staticmethod
    def while_loop(cond_fn, body_fn, carried):
        while cond_fn(*carried):
            carried = body_fn(*carried)
        return carried

    @staticmethod
    def scan(combine_fn, init, xs, dim=0, reverse=False):
        ys = []
        for x in xs.unbind(dim)[:: -1 if reverse else 1]:
            init, y = combine_fn(init, x)
            ys.append(y)
        ys = ys[:: -1 if reverse else 1]
        if isinstance(ys[0], dict):
            return init, {k: torch.stack([y[k] for y in ys], dim) for k in ys[0]}
        return init, torch.stack(ys, dim)


def branch(b, x, w):
    return b.cond(x.sum() > 0, lambda x: (x * w).sin(), lambda x: x - w.exp(), (x,))


def nested(b, x, w):
    return b.cond(
        x.sum() > 0,
        lambda x: b.cond(x.max() > 1, lambda x: x * 2 * w, lambda x: x * 3, (x,)),
        lambda x: x.cos(),
        (x,),
    )


def doubling(b, x, w):
    return b.while_loop(
        lambda i, x: i < 3, lambda i, x: (i + 1, x * w * 1.5), (b.lib.tensor(0), x)
    )[1]


def until_large(b, x, w):
    return b.while_loop(
        lambda x, y: (x * x).sum() < 500, lambda x, y: (x * 2, y + w), (x, b.lib.zeros(4))
    )


def cumulative(b, x, w):
    return b.scan(lambda c, x: (c * w + x, c * x), b.lib.ones(4), x)


def columns_backwards(b, x, w):
    return b.scan(
        lambda c, x: (c + x, {"y": c.tanh(), "z": c * x}), b.lib.zeros(3), x, dim=1,
        reverse=True,
    )  # fmt: skip


PROGRAMS = [branch, nested, doubling, until_large, cumulative, columns_backwards]


def run(b, program, sign, compiled=False):
    """Results and gradients."""
    x = b.lib.tensor(X * sign).requires_grad_()
    w = b.lib.tensor(W).requires_grad_()
    function = tk.compile(program, fullgraph=True) if compiled else program
    leaves = list(flatten(function(b, x, w)))
    loss = sum((y.float() ** 2).sum() for y in leaves)
    grads = b.lib.autograd.grad(loss, [x, w], allow_unused=True)
    if compiled:
        assert tk.compiler.explain(function)[:3] == (1, 0, 0)
    return [y.detach().numpy() for y in leaves], grads


def flatten(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for t in tree:
            yield from flatten(t)
    else:
        yield tree


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_eager_and_compiled_against_torch(program, sign):
    want, want_grads = run(Written, program, sign)
    for compiled in (False, True):
        got, grads = run(Ours, program, sign, compiled)
        for a, b in zip(got, want, strict=True):
            assert_close(a, b, scale=10)
        for g, t in zip(grads, want_grads, strict=True):
            if t is None:  # A branch that was not taken gives zeros in a graph.
                assert g is None or not g.any()
            else:
                assert_close(g.numpy(), t.numpy(), scale=20)


@pytest.mark.parametrize("program", [branch, doubling, columns_backwards], ids=lambda f: f.__name__)
def test_values_are_those_of_torchs_operators(program):
    with torch.no_grad():
        want = flatten(program(Operators, torch.tensor(X), torch.tensor(W)))
    got = flatten(program(Ours, tk.tensor(X), tk.tensor(W)))
    for a, b in zip(got, want, strict=True):
        assert_close(a.numpy(), b.numpy(), scale=4)


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        y = tk.cond(x.sum() > 0, self.a, lambda x: self.b(x).relu(), (x,))
        _, y = tk.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + x), (tk.tensor(0), y))
        carry, ys = tk.scan(lambda c, r: (c + r, c * r), y[0] * 0, y)
        return y, carry, ys


def test_a_saved_module_runs_in_onnxruntime(tmp_path):
    net = Gate()
    path = tmp_path / "gate.onnx"
    net.save(path, inputs=tk.tensor(X))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {"If", "Loop", "Scan"} <= {n.op_type for n in model.graph.node}
    session = onnxruntime.InferenceSession(str(path))
    for x in (X, -X, np.concatenate([X, X])):
        got = session.run(None, {session.get_inputs()[0].name: x})
        for a, b in zip(got, net(tk.tensor(x)), strict=True):
            assert_close(a, b.detach().numpy(), scale=4)


def test_parameters_in_branches_train():
    net, x = Gate(), tk.tensor(X)
    compiled = tk.compile(net, fullgraph=True)
    for _ in range(2):
        found = []
        for m in (compiled, net):
            net.zero_grad()
            sum((y**2).sum() for y in m(x)).backward()
            found.append([p.grad for p in net.parameters()])
        for ours, eager in zip(*found, strict=True):
            eager = tk.zeros(ours.shape) if eager is None and ours is not None else eager
            assert (ours is None) == (eager is None)
            if ours is not None:
                assert_close(ours.numpy(), eager.numpy(), scale=20)
        with tk.no_grad():
            net.a.weight.mul_(0.5)
    assert tk.compiler.explain(compiled)[:3] == (1, 0, 0)


def test_python_values_choose_at_once():
    f = tk.compile(lambda x, flag: tk.cond(flag, lambda x: x + 1, lambda x: x - 1, (x,)))
    assert [f(tk.zeros(1), flag).item() for flag in (True, False)] == [1, -1]
    assert tk.while_loop(lambda i: i < 4, lambda i: i + 1, (0,)) == (4,)


def bodies():
    x = tk.ones(3)
    t = tk.tensor(0)
    yield (
        lambda p: tk.cond(p, lambda x: x, lambda x: (x, x), (x,)),
        InvalidArgumentError, "structure",
    )  # fmt: skip
    yield (
        lambda p: tk.cond(p, lambda x: x, lambda x: x.double(), (x,)),
        InvalidArgumentError, "types",
    )  # fmt: skip
    yield (
        lambda p: tk.cond(p, lambda x: x.add_(1), lambda x: x, (x,)),
        InvalidArgumentError, "in-place",
    )  # fmt: skip
    yield (
        lambda p: tk.cond(p, lambda: x.add_(1), lambda: x, ()), InvalidArgumentError, "in-place"
    )  # fmt: skip
    yield (
        lambda p: tk.while_loop(lambda i: p, lambda i: x, (t,)), InvalidArgumentError, "must keep"
    )  # fmt: skip
    yield (
        lambda p: tk.while_loop(lambda x: p, lambda x: x + tk.rand(3), (x,)),
        UnsupportedOperatorError, "random",
    )  # fmt: skip
    yield (
        lambda p: tk.scan(lambda c, x: (c.double(), x), t * 1.0, x), InvalidArgumentError, "carry"
    )  # fmt: skip
    yield lambda p: tk.scan(lambda c, x: c, t * 1.0, x), InvalidArgumentError, "carry, y"
    yield lambda p: tk.scan(lambda c, x: (c, x), t, x, dim=1), InvalidArgumentError, "dimension 1"
    yield lambda p: tk.cond(p, lambda x: x, lambda x: x, x), InvalidArgumentError, "tuple or list"


@pytest.mark.parametrize(("body", "error", "text"), list(bodies()), ids=lambda v: str(v)[:12])
def test_refused_under_a_trace(body, error, text):
    with pytest.raises(error, match=text), tk.tracing.Trace() as trace:
        body(trace.input("p", tk.bool, ()))
