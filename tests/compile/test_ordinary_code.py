"""Ordinary Python under `tk.compile`: the eager results, graphs counted, breaks with their line."""

from __future__ import annotations

import copy
import threading
import warnings
from collections import namedtuple
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import pytest

import toolkit as tk
from tests.compile.test_compile import counts
from toolkit import nn
from toolkit.errors import DataDependentError, InvalidArgumentError, ToolkitWarning
from toolkit.func.pytree import flatten

ONE = tk.ones(3)


@dataclass
class Batch:
    x: tk.Tensor
    scale: float = 2.0
    extra: dict = field(default_factory=dict)


Pair = namedtuple("Pair", "first second")


class Mode(Enum):
    ADD = 1
    SUBTRACT = 2


class Box:
    def __init__(self, value):
        self.value = value


def while_loop(x):
    while x.sum() < 10:
        x = x * 2
    return x


def keywords(x, *rest, scale=1.0, **more):
    return x * scale + sum(rest) + more.get("y", 0)


def trees(d):
    return {"sum": d["a"] + d["b"][0], "rest": [d["b"][1], (None, "text", 3)]}


def of_dataclass(b):
    return Batch(b.x * b.scale, 3.0, {"more": [b.extra["y"] + 1]})


def of_enum(x, mode):
    return x + 1 if mode is Mode.ADD else x - 1


def raises_and_catches(x, bad):
    try:
        if bad:
            raise KeyError("inner")
        return x + 1
    except KeyError:
        return x * 2
    finally:
        x = None


def of_generator(x, n):
    return sum(x * k for k in (k for k in range(n)))


def recursion(x, n):
    return x if n == 0 else recursion(x * n, n - 1)


def data_dependent_shapes(x):
    return x[x > 0], x.nonzero(), x.unique()


def prints(x):
    print("here")
    return x + 1


def in_an_object(x):
    return Box(x * 2).__dict__ and Box(x * 2)


def asserts(x):
    assert x.shape[0] == 3, "three rows"
    assert (x > 0).all(), "positive"
    return x * 2


def by_item(x):
    return x * x.max().item()


def by_numpy(x):
    return tk.from_numpy(np.sort(x.numpy()))


def fills_a_list(found, x):
    found.append(x * 2)
    return found[0] + found[-1]


# Function, calls, (graphs, retraces, breaks), what a break says.
ROWS = [
    (while_loop, [(ONE,), (ONE * 3,)], (0, 0, 1), r"while x.sum\(\) < 10:"),
    (trees, [({"a": ONE, "b": [ONE, ONE * 2]},)] * 3, (1, 0, 0), None),
    (of_dataclass, [(Batch(ONE * k, extra={"y": ONE}),) for k in range(3)], (1, 0, 0), None),
    (lambda p: Pair(p.second, p.first * 2), [(Pair(ONE, ONE * 3),)] * 2, (1, 0, 0), None),
    (of_enum, [(ONE, m) for m in (*Mode, *Mode)], (2, 1, 0), None),
    (raises_and_catches, [(ONE, True), (ONE, False), (ONE, True)], (2, 1, 0), None),
    (of_generator, [(ONE, 3), (ONE, 3), (ONE, 4)], (2, 1, 0), None),
    (recursion, [(ONE, 4)] * 2, (1, 0, 0), None),
    (data_dependent_shapes, [(tk.tensor(v),) for v in ([1.0, -1.0], [2.0, 2.0])], (1, 0, 0), None),
    (prints, [(ONE,)] * 3, (0, 0, 1), r'got print\(\)[^$]*print\("here"\)'),
    (in_an_object, [(ONE,), (ONE * 2,)], (0, 0, 1), "got one in a Box"),
    (asserts, [(ONE,), (ONE * 2,)], (0, 0, 1), r"assert \(x > 0\).all\(\)"),
    (by_item, [(ONE,), (ONE * 2,)], (0, 0, 1), r"x.max\(\).item\(\)"),
    (by_numpy, [(ONE,), (ONE * 2,)], (0, 0, 1), r"np.sort\(x.numpy\(\)\)"),
    (fills_a_list, [([ONE], ONE)] * 2, (0, 0, 1), "changes no list"),
    (lambda x: (None, 3, "a", x.shape, x.dtype, x), [(ONE,)] * 2, (1, 0, 0), None),
    (lambda xs: sum(xs), [([ONE] * 3,), ([ONE, ONE * 2, ONE],)], (2, 1, 0), None),
    (lambda x: x * 2 + x.shape[0], [(tk.ones(n, dtype=d),) for n in (3, 4, 5)
                                    for d in (tk.float32, tk.int64)], (4, 3, 0), None),
]  # fmt: skip


def plain(result):
    """Numbers in place of tensors, to compare."""
    result = result.value if isinstance(result, Box) else result
    leaves, spec = flatten(result)
    return [x.tolist() if isinstance(x, tk.Tensor) else x for x in leaves], repr(spec)


@pytest.mark.parametrize(("f", "calls", "expected", "reason"), ROWS)
def test_results_and_counts(f, calls, expected, reason):
    compiled = tk.compile(f)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ToolkitWarning)
        for args in calls:
            mine = copy.copy(args[0]) if isinstance(args[0], list) else args[0]
            want = plain(f(copy.copy(mine) if isinstance(mine, list) else mine, *args[1:]))
            assert plain(compiled(mine, *args[1:])) == want
    assert counts(compiled) == expected
    assert len(caught) == (expected[2] > 0)
    if reason is not None:
        import re

        assert re.search(reason, tk.compiler.explain(compiled).break_reasons[0])
        assert caught[0].filename == __file__
        with pytest.raises(DataDependentError, match=reason):
            tk.compile(f, fullgraph=True)(*calls[0])


def test_keywords_and_defaults():
    f = tk.compile(keywords, fullgraph=True)
    for _ in range(2):
        for args, named in (((ONE,), {}), ((ONE,), {"scale": 2.0}), ((ONE, ONE), {"y": ONE * 3})):
            assert f(*args, **named).tolist() == keywords(*args, **named).tolist()
    assert counts(f) == (3, 2, 0)


def test_closures_and_containers_of_tensors():
    w, state = tk.ones(3), {"w": tk.ones(3), "sizes": [1, 2]}

    @tk.compile(fullgraph=True)
    def f(x):
        return x * w + state["w"] * len(state["sizes"])

    assert f(ONE).tolist() == [3] * 3
    w.mul_(5)
    assert f(ONE).tolist() == [7] * 3 and counts(f) == (1, 0, 0)
    w = tk.zeros(3)
    assert f(ONE).tolist() == [2] * 3
    state["w"] = ONE * 4
    assert f(ONE).tolist() == [8] * 3
    state["sizes"].append(3)
    assert f(ONE).tolist() == [12] * 3 and counts(f) == (4, 3, 0)


def test_attributes_of_modules_and_modes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.drop, self.turns, self.act = (
                nn.Linear(3, 3),
                nn.Dropout(0.5),
                1,
                tk.relu,
            )

        def forward(self, x):
            for _ in range(self.turns):
                x = self.act(self.layer(x))
            return self.drop(x)

    net = Net().eval()
    compiled, x = tk.compile(net, fullgraph=True), tk.randn(2, 3)
    changes = [
        lambda: None,
        lambda: setattr(net, "turns", 3),
        lambda: setattr(net, "act", tk.tanh),
        lambda: setattr(net, "layer", nn.Linear(3, 3).eval()),
        lambda: setattr(compiled, "turns", 2),
        lambda: net.layer.weight.requires_grad_(False),
    ]
    for change in changes:
        change()
        np.testing.assert_allclose(
            compiled(x).detach().numpy(), net(x).detach().numpy(), 1e-5, 1e-6
        )
    compiled(x).sum().backward()
    assert net.layer.weight.grad is None and net.layer.bias.grad is not None
    made = counts(compiled)[0]
    for _ in range(4):  # Once for each mode.
        compiled.train()
        compiled(x)
        compiled.eval()
        compiled(x)
    assert counts(compiled)[0] == made + 1


def test_what_is_kept_in_attributes():
    """A program gives results only, so such code runs eagerly, and once a call."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.last, self.log = 0, None, []

        def forward(self, x):
            self.calls += 1
            self.last = x * 2
            self.log.append(x + 1)
            return x * 3

    net = Net()
    compiled = tk.compile(net)
    with pytest.warns(ToolkitWarning, match="kept as 'last'"):
        for k in range(4):
            assert compiled(tk.tensor([float(k)])).item() == 3 * k
    assert net.calls == 4 and net.last.item() == 6 and [x.item() for x in net.log] == [1, 2, 3, 4]


def test_what_a_failed_trace_did_is_undone():
    norm = nn.BatchNorm1d(2)
    seen = []

    def f(x):
        y = norm(x)
        x.add_(1)
        seen.append(1)
        noise = tk.rand(2)
        return y + noise if y.sum() > 0 else y - noise

    results = []
    for function in (f, tk.compile(f)):
        norm.reset_running_stats()
        seen.clear()
        tk.manual_seed(1)
        x = tk.randn(4, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ToolkitWarning)
            y = function(x)
        found = [y, x, norm.running_mean, norm.num_batches_tracked, tk.rand(1)]
        results.append(([t.tolist() for t in found], list(seen)))
    assert results[0] == results[1]


def test_in_place_writes():
    @tk.compile(fullgraph=True)
    def f(x, y):
        x[0] = 7.0
        x[:, 1] += y
        y.add_(1)
        return x

    x, y = tk.zeros(2, 2), tk.ones(2)
    assert f(x, y) is x  # As eagerly.
    assert x.tolist() == [[7, 8], [0, 1]] and y.tolist() == [2, 2]
    whole = tk.zeros(2, 3)
    assert tk.compile(lambda v: v.add_(1), fullgraph=True)(whole[0]).tolist() == [1, 1, 1]
    assert whole.tolist() == [[1, 1, 1], [0, 0, 0]]


VIEWS = {
    "view": lambda x: x.view(-1), "t": lambda x: x.t(), "row": lambda x: x[0],
    "slice": lambda x: x[:, 1:], "chain": lambda x: x.t()[1:].unsqueeze(0),
    "chunk": lambda x: x.chunk(2, 1)[0], "diagonal": lambda x: x.diagonal(),
    "written": lambda x: x.add_(1)[0], "itself": lambda x: x,
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_arguments_stay_views(name):
    """Writes to a result reach the argument, and gradients go on."""
    f, compiled = VIEWS[name], tk.compile(VIEWS[name], fullgraph=True)
    a, b = (tk.arange(6.0).view(2, 3).clone() for _ in range(2))
    for _ in range(2):
        f(a).mul_(2)
        compiled(b).mul_(2)
        assert a.tolist() == b.tolist()
    assert counts(compiled) == (1, 0, 0)
    if name != "written":
        x, y = (tk.ones(2, 3, requires_grad=True) for _ in range(2))
        (f(x) ** 2).sum().backward()
        (compiled(y) ** 2).sum().backward()
        assert x.grad.tolist() == y.grad.tolist()


def test_arguments_that_share_memory():
    def f(a, b):
        a.add_(1)
        return a + b

    compiled = tk.compile(f)
    assert compiled(tk.zeros(2), tk.zeros(2)).tolist() == [1, 1]
    assert counts(compiled) == (1, 0, 0)
    both = tk.zeros(2)
    with pytest.warns(ToolkitWarning, match="share no memory"):
        assert compiled(both, both[:]).tolist() == [2, 2]
    assert both.tolist() == [1, 1]
    reads = tk.compile(lambda a, b: a + b, fullgraph=True)  # Nothing is written: no matter.
    assert reads(both, both[:]).tolist() == [2, 2]
    held = tk.zeros(4)
    with pytest.warns(ToolkitWarning, match="share no memory"):
        assert tk.compile(lambda v: held.add_(1)[:2] + v)(held[:2]).tolist() == [2, 2]


def test_errors_of_the_user_cost_no_recompilation():
    @tk.compile(recompile_limit=2)
    def f(x, k):
        if k > 2:
            raise KeyError("mine")
        return x / k

    for _ in range(5):
        with pytest.raises(KeyError, match="mine"):
            f(ONE, 3)
    assert [f(ONE, k).tolist()[0] for k in (1, 2)] == [1, 0.5]
    assert counts(f) == (2, 1, 0)


def test_nested_and_recorded_once():
    inner = tk.compile(lambda x: x * 2, fullgraph=True)
    outer = tk.compile(lambda x: inner(x) + inner(x + 1), fullgraph=True)
    assert outer(ONE).tolist() == [6] * 3
    assert counts(outer) == (1, 0, 0) and counts(inner)[0] == 0


def test_threads_share_one_graph():
    f = tk.compile(lambda x: (x @ x.T).relu().sum(), fullgraph=True)
    found = []

    def run():
        found.extend(f(tk.ones(3, 3)).item() for _ in range(10))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [27.0] * 40 and counts(f) == (1, 0, 0)


def test_marked_dimensions():
    f = tk.compile(lambda x: x * 2)
    x = tk.ones(3, 4)
    tk.compiler.mark_dynamic(x, 0)
    for made in (x, tk.ones(7, 4), tk.ones(9, 4)):
        assert f(made).shape == made.shape
    assert counts(f) == (1, 0, 0)
    g = tk.compile(lambda x: x * 2)
    for n in (2, 3, 4):
        y = tk.ones(n, 2)
        tk.compiler.mark_static(y)
        g(y)
    assert counts(g) == (3, 2, 0)
    with pytest.raises(InvalidArgumentError, match="a dimension of 2"):
        tk.compiler.mark_dynamic(x, 2)
    with pytest.raises(InvalidArgumentError, match="a tensor is required"):
        tk.compiler.mark_static(3)
