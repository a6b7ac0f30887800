"""A program that was found at once is looked up again when anything that it reads changes."""

import gc
import weakref

import numpy as np
import pytest

import toolkit as tk
from toolkit.compiler.guards import Guard
from toolkit.runtime import _core

SCALE = 2.0


class Net(tk.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = tk.nn.Linear(4, 4)
        self.norm = tk.nn.BatchNorm1d(4)
        self.factors = [1.0, 2.0]
        self.names = {"a"}
        self.table = {"x": 1.0}
        self.shift = 0.5

    def forward(self, x):
        y = self.norm(self.layer(x)) * self.factors[0] + self.table["x"] * SCALE
        return y * len(self.names) + self.shift


def _global(value):
    def change(net):
        globals()["SCALE"] = value

    return change


CHANGES = {
    "attribute": lambda net: setattr(net, "shift", 1.5),
    "list": lambda net: net.factors.__setitem__(0, 3.0),
    "list grows": lambda net: net.factors.insert(0, 5.0),
    "set": lambda net: net.names.add("b"),
    "dict": lambda net: net.table.update(x=4.0),
    "global": _global(3.0),
    "mode": lambda net: net.eval(),
    "weights": lambda net: net.layer.weight.data.mul_(2),
    "parameter": lambda net: setattr(net.layer, "bias", None),
    "submodule": lambda net: setattr(net, "layer", tk.nn.Linear(4, 4, bias=False)),
    "hook": lambda net: net.layer.register_forward_hook(lambda m, args, out: out * 2),
    "frozen": lambda net: net.requires_grad_(False),
    "buffer": lambda net: net.norm.running_mean.fill_(3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name, monkeypatch):
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    tk.manual_seed(0)
    net = Net()
    compiled = tk.compile(net, fullgraph=True)
    x = tk.randn(6, 4)

    def same():
        state = {k: v.clone() for k, v in net.state_dict().items()}
        got = compiled(x)
        net.load_state_dict(state)
        want = net(x)
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-5)
        assert got.requires_grad == want.requires_grad

    for _ in range(3):
        same()
    before = net.training
    CHANGES[name](net)
    for _ in range(3):
        same()
    with tk.no_grad():
        same()
    net.train(before)
    same()


def test_arguments_that_are_one_tensor_or_a_view():
    compiled = tk.compile(lambda a, b: a.mul_(2) + b, fullgraph=True)
    for _ in range(3):
        a, b = tk.ones(3), tk.ones(3)
        assert compiled(a, b).tolist() == [3.0] * 3 and a.tolist() == [2.0] * 3
        assert compiled(a, a).tolist() == [8.0] * 3
    rows = tk.from_numpy(np.zeros((3, 4), np.float32))
    row = rows[1]
    double = tk.compile(lambda v: v * 2 + 1, fullgraph=True)
    for k in range(3):
        rows.numpy()[1] = k
        assert double(row).tolist() == [2.0 * k + 1] * 4
    rows[1] = 5
    assert double(row).tolist() == [11.0] * 4
    assert double(tk.ones(4, dtype=tk.int64)).dtype == tk.int64


def test_the_guard_watches_every_kind_of_container():
    cell = 1.0
    items, table, members = [tk.ones(2)], {"k": 1}, {1, 2}

    def f():
        return items, table, members, cell

    def changed(change):
        guard = Guard()
        guard.look(f)
        assert guard.watch.same() and guard.watch.same()
        change()
        return not guard.watch.same()

    def assign():
        nonlocal cell
        cell = 2.0

    assert changed(lambda: items.append(3))
    assert changed(lambda: items.__setitem__(0, tk.ones(2)))
    assert changed(lambda: setattr(items[0], "data", tk.ones(3)))
    assert changed(lambda: table.update(k=2))
    assert changed(lambda: table.update(other=1))
    assert changed(lambda: members.remove(1))
    assert changed(assign)
    assert not changed(lambda: items[0].add_(1))


def test_nothing_is_kept_of_a_compiled_module_that_is_gone():
    net = Net()
    compiled = tk.compile(net)
    for _ in range(3):
        compiled(tk.ones(2, 4))
    gone = weakref.ref(net.layer)
    del net, compiled
    tk.compiler.reset()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "entry",
    [
        *(1, (9, 1, 2), (0, 1, 2), ("a", 1, 2), (_core.HOLDS_ITEMS, {}, (1,), ())),
        *((_core.HOLDS_CELL, 1, 2), (_core.HOLDS_SET, [], ()), (_core.HAS_FORM, 1, 2, 3)),
    ],
)
def test_an_entry_of_no_kind_is_refused(entry):
    with pytest.raises(TypeError, match="known kinds"):
        _core.unchanged([entry])
