"""`tk.compile`: one graph per signature, counted; results and gradients are the eager ones."""

from __future__ import annotations

import functools
import itertools
import warnings

import numpy as np
import pytest

import toolkit as tk
from tests.tolerances import assert_close
from toolkit import nn
from toolkit.errors import DataDependentError, ShapeError, ToolkitWarning


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def close(got, want):
    assert_close(got.detach().numpy(), want.detach().numpy(), scale=4)


def counts(compiled):
    found = tk.compiler.explain(compiled)
    return found.graphs, found.retraces, found.graph_break_count


def gradients(model, x):
    model.zero_grad()
    x.grad = None
    (model(x) ** 2).sum().backward()
    return [x.grad, *(p.grad for p in model.parameters())]


def test_a_loop_traces_once_and_gradients_are_the_eager_ones():
    net = mlp()
    compiled = tk.compile(net, fullgraph=True)
    ticks = itertools.count()
    net[1].register_forward_pre_hook(lambda *_: (next(ticks), None)[1])
    for _ in range(20):
        x = tk.randn(5, 4, requires_grad=True)
        found = gradients(compiled, x)
        for ours, eager in zip(found, gradients(net, x), strict=True):
            close(ours, eager)
    assert next(ticks) == 21  # Python ran in the first compiled call, and in 20 eager ones.
    assert counts(compiled) == (1, 0, 0)


@pytest.mark.parametrize(
    ("dynamic", "sizes", "graphs"),
    [
        (None, [5, 5, 6, 6, 7, 9], 2),  # The second size makes the dimension symbolic.
        (True, [5, 6, 7], 1),
        (False, [5, 6, 5, 7], 3),
        (None, [5, 1, 6, 1], 3),  # A size of 1 has a graph of its own.
    ],
)
def test_graphs_by_shape(dynamic, sizes, graphs):
    net = mlp()
    compiled = tk.compile(net, fullgraph=True, dynamic=dynamic)
    for n in sizes:
        x = tk.randn(n, 4, requires_grad=True)
        for ours, eager in zip(gradients(compiled, x), gradients(net, x), strict=True):
            close(ours, eager)
    assert counts(compiled) == (graphs, graphs - 1, 0)


def test_equal_sizes_share_a_symbol():
    compiled = tk.compile(nn.functional.cross_entropy, fullgraph=True, dynamic=True)
    for n in (4, 7):
        x, y = tk.randn(n, 3), tk.randint(0, 3, (n,))
        close(compiled(x, y), nn.functional.cross_entropy(x, y))
    assert counts(compiled) == (1, 0, 0)


def test_sizes_in_python_are_fixed_where_code_needs_them():
    @tk.compile
    def f(x):
        return sum((x[i] for i in range(x.shape[0])), x.new_zeros(())), x.shape[0] * 2

    for n in (3, 4, 5):
        total, size = f(tk.ones(n))
        assert total.item() == n
        assert size == 2 * n
    assert counts(f) == (3, 2, 0) or counts(f)[2] == 0


def test_symbolic_sizes_come_back_as_ints():
    f = tk.compile(lambda x: (x * 2, x.shape[0] + 1), dynamic=True)
    for n in (3, 5):
        y, size = f(tk.ones(n))
        assert (y.shape, size, type(size)) == ((n,), n + 1, int)
    assert counts(f) == (1, 0, 0)


def test_signature_of_types_constants_modes_and_keywords():
    f = tk.compile(lambda x, k, *, flag=False: x * k if flag else x + k)
    x = tk.ones(3)
    for args, kwargs, expected in [
        ((x, 2), {}, 3.0), ((x, 2.0), {}, 3.0), ((x, 3), {}, 4.0), ((x, 3), {"flag": True}, 3.0),
        ((x.double(), 3), {}, 4.0), ((x, 2), {}, 3.0),
    ]:  # fmt: skip
        assert f(*args, **kwargs).tolist() == [expected] * 3
    assert counts(f)[0] == 5
    with tk.no_grad():
        f(x, 2)
    assert counts(f)[0] == 6


def test_trees_of_arguments_and_results():
    f = tk.compile(lambda d: {"sum": d["a"] + d["b"][0], "rest": (d["b"][1], "text", None)})
    a, b, c = tk.ones(2), tk.ones(2) * 2, tk.ones(3)
    made = f({"a": a, "b": [b, c]})
    assert made["sum"].tolist() == [3, 3]
    assert made["rest"][0].tolist() == [1, 1, 1]
    assert made["rest"][1:] == ("text", None)


def test_parameters_are_read_at_each_call():
    net = nn.Linear(3, 2)
    compiled = tk.compile(net)
    optimizer = tk.optim.SGD(compiled.parameters(), lr=0.1)
    x = tk.randn(4, 3)
    for _ in range(5):
        close(compiled(x), net(x))
        optimizer.zero_grad()
        compiled(x).sum().backward()
        optimizer.step()
    net.load_state_dict({"weight": tk.ones(2, 3), "bias": tk.zeros(2)})
    close(compiled(x), x.sum(1, keepdim=True).expand(4, 2))
    assert counts(compiled) == (1, 0, 0)
    net.weight = nn.Parameter(tk.zeros(2, 3))  # Another object: traced again.
    close(compiled(x), tk.zeros(4, 2))
    assert counts(compiled) == (2, 1, 0)


def test_attributes_closures_and_globals_are_guarded():
    scale = 2.0
    holder = nn.Identity()
    holder.factor = 3

    @tk.compile
    def f(x):
        return x * scale * holder.factor

    assert f(tk.ones(1)).item() == 6
    scale = 5.0
    assert f(tk.ones(1)).item() == 15
    holder.factor = 1
    assert f(tk.ones(1)).item() == 5
    assert counts(f) == (3, 2, 0)


def test_batch_norm_and_modes():
    net, twin = (nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)) for _ in range(2))
    twin.load_state_dict(net.state_dict())
    compiled = tk.compile(net, fullgraph=True)
    for _ in range(3):
        x = tk.randn(5, 4, requires_grad=True)
        for ours, eager in zip(gradients(compiled, x), gradients(twin, x), strict=True):
            close(ours, eager)
    assert net[1].num_batches_tracked.item() == 3
    close(net[1].running_mean, twin[1].running_mean)
    close(net[1].running_var, twin[1].running_var)
    compiled.eval()
    twin.eval()
    close(compiled(x), twin(x))
    compiled.train()
    compiled(x)
    assert counts(compiled) == (2, 1, 0)


def test_dropout_draws_anew_and_as_eager_does():
    f = tk.compile(lambda x: nn.functional.dropout(x, 0.5))
    x = tk.ones(64, requires_grad=True)
    tk.manual_seed(3)
    first, second = f(x), f(x)
    assert first.tolist() != second.tolist()
    tk.manual_seed(3)
    assert first.tolist() == nn.functional.dropout(x, 0.5).tolist()
    second.sum().backward()
    assert x.grad.tolist() == second.tolist()
    assert counts(f) == (1, 0, 0)


def test_writes_to_arguments_and_buffers():
    @tk.compile
    def f(x, total):
        total += x.sum()
        x.mul_(2)
        return x + 1

    x, total = tk.ones(3), tk.zeros(())
    for k in (1, 2):
        assert f(x, total).tolist() == [2.0**k + 1] * 3
    assert total.item() == 9
    y = tk.ones(3)
    assert tk.compile(lambda a, b: a.add_(1) + b)(y, y).tolist() == [4, 4, 4]


def test_second_derivatives():
    f = tk.compile(lambda x: (x**3).sum())
    x = tk.randn(4, requires_grad=True)
    (first,) = tk.autograd.grad(f(x), x, create_graph=True)
    (second,) = tk.autograd.grad(first.sum(), x)
    close(second, 6 * x)


def positive(x):
    y = x * 2
    if y.sum() > 0:
        return y
    return -y


def test_a_graph_break_is_reported_with_its_line_and_runs_eagerly():
    compiled = tk.compile(positive)
    with pytest.warns(ToolkitWarning, match=r"'positive'[^$]*if y.sum\(\) > 0:"):
        assert compiled(tk.ones(2)).tolist() == [2, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(-tk.ones(2)).tolist() == [2, 2]
    found = tk.compiler.explain(compiled)
    assert found[:3] == (0, 0, 1)
    assert "test_compile.py" in found.break_reasons[0]
    with pytest.raises(DataDependentError, match=r"if y.sum\(\) > 0:"):
        tk.compile(positive, fullgraph=True)(tk.ones(2))


def test_a_value_of_a_tensor_from_outside_is_no_constant():
    factor = tk.ones(())
    compiled = tk.compile(lambda x: x * float(factor))
    with pytest.warns(ToolkitWarning, match=r"float\(factor\)"):
        assert compiled(tk.ones(1)).item() == 1
    factor.fill_(3)
    assert compiled(tk.ones(1)).item() == 3


def test_errors_of_the_user_are_no_graph_breaks():
    for fullgraph in (False, True):
        compiled = tk.compile(lambda a, b: a @ b, fullgraph=fullgraph)
        with pytest.raises((ShapeError, RuntimeError)):
            compiled(tk.ones(2, 3), tk.ones(2, 3))
        assert counts(compiled)[::2] == (0, 0)


def test_recompile_limit():
    compiled = tk.compile(lambda x, k: x * k, recompile_limit=3)
    with pytest.warns(ToolkitWarning, match="recompile limit of 3"):
        for k in range(5):
            assert compiled(tk.ones(1), k).item() == k
    assert counts(compiled) == (3, 2, 2)


def test_options_decorators_methods_and_reset():
    @tk.compile(backend="inductor", mode="max-autotune", options={}, fullgraph=True)
    def f(x):
        return x + 1

    assert f.__name__ == "f"
    assert tk.compile(f) is f
    assert f(tk.ones(1)).item() == 2
    tk.compiler.reset()
    assert counts(f) == (0, 0, 0)

    class Holder:
        @tk.compile
        def add(self, x):
            return x + self.n

    holder = Holder()
    holder.n = 4
    assert holder.add(tk.ones(1)).item() == 5
    assert tk.compile(positive, disable=True) is positive


def test_disable_and_is_compiling():
    inner = tk.compiler.disable(lambda x: x * 3)
    with pytest.warns(ToolkitWarning, match="disable"):
        assert tk.compile(lambda x: inner(x) + 1)(tk.ones(1)).item() == 4
    seen = []
    tk.compile(lambda x: seen.append(tk.compiler.is_compiling()) or x + 1)(tk.ones(1))
    assert seen == [True]
    assert not tk.compiler.is_compiling()


def test_a_compiled_module_is_the_module():
    net = mlp()
    compiled = tk.compile(net)
    assert list(compiled.state_dict()) == [f"_orig_mod.{k}" for k in net.state_dict()]
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in net.parameters()]
    compiled.eval()
    assert not net.training
    partial = tk.compile(functools.partial(nn.functional.softmax, dim=1))
    x = tk.randn(2, 3)
    np.testing.assert_allclose(partial(x).sum(1).numpy(), 1, rtol=1e-6)
