"""Module: registration, traversal, state, hooks, modes, text; beside torch's where it says how."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn
from toolkit.errors import InvalidArgumentError, ShapeError

torch = pytest.importorskip("torch")


def build(n):
    """The same nested model in both libraries."""

    class Inner(n.Module):
        def __init__(self):
            super().__init__()
            self.lin = n.Linear(3, 3)
            self.norm = n.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(self.lin(x))

    class Outer(n.Module):
        def __init__(self):
            super().__init__()
            self.first = Inner()
            self.seq = n.Sequential(OrderedDict(a=n.ReLU(), b=n.Linear(3, 2, bias=False)))
            self.items = n.ModuleList([n.Linear(2, 2) for _ in range(3)])
            self.table = n.ModuleDict({"x": n.Dropout(0.1), "y": n.Tanh()})
            self.again = self.first.lin
            self.nothing = None

        def forward(self, x):
            x = self.seq(self.first(x))
            for layer in self.items:
                x = layer(x)
            return self.table["y"](x)

    return Outer()


OURS, THEIRS = build(nn), build(torch.nn)


def test_text_keys_and_traversal_are_torchs():
    assert repr(OURS) == repr(THEIRS)
    assert list(OURS.state_dict()) == list(THEIRS.state_dict())
    for name in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        ours, theirs = (list(getattr(m, name)()) for m in (OURS, THEIRS))
        assert [n for n, _ in ours] == [n for n, _ in theirs], name
    for name in ("named_parameters", "named_modules"):
        ours, theirs = ([n for n, _ in getattr(m, name)(remove_duplicate=False)]
                        for m in (OURS, THEIRS))  # fmt: skip
        assert ours == theirs
    assert [n for n, _ in OURS.named_parameters("p", recurse=False)] == []
    assert len(list(OURS.parameters())) == len(list(THEIRS.parameters()))
    assert sum(1 for _ in OURS.modules()) == sum(1 for _ in THEIRS.modules())
    assert sum(1 for _ in OURS.children()) == sum(1 for _ in THEIRS.children())


def test_registration():
    m = nn.Module()
    m.w = nn.Parameter(tk.ones(2))
    m.b = nn.Buffer(tk.zeros(2))
    m.hidden = nn.Buffer(tk.zeros(1), persistent=False)
    m.register_buffer("gone", None)
    m.register_parameter("none", None)
    m.plain = tk.ones(3)
    assert list(m.state_dict()) == ["w", "b"]
    assert m.none is None and m.gone is None and m.plain.shape == (3,)
    m.b = tk.ones(2)
    assert m.state_dict()["b"].tolist() == [1, 1]
    m.none = nn.Parameter(tk.ones(1))
    assert [n for n, _ in m.named_parameters()] == ["w", "none"]
    del m.w
    assert not hasattr(m, "w") and "w" not in m.state_dict()
    m.plain = nn.Parameter(tk.ones(1))
    assert "plain" in m.state_dict() and "plain" not in m.__dict__
    m.plain = None
    assert m.plain is None and "plain" in m._parameters
    assert "b" in dir(m)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda m: setattr(m, "w", tk.ones(2)), TypeError, "as parameter 'w'"),
        (lambda m: setattr(m, "child", 3), TypeError, "as child module 'child'"),
        (lambda m: setattr(m, "buf", 3), TypeError, "as buffer 'buf'"),
        (lambda m: m.register_parameter("a.b", None), KeyError, r"name can.*contain"),
        (lambda m: m.register_parameter("", None), KeyError, "empty string"),
        (lambda m: m.register_parameter("training", None), KeyError, "already exists"),
        (lambda m: m.register_parameter("v", tk.ones(1)), TypeError, "nn.Parameter or None"),
        (lambda m: m.register_parameter("v", m.w * 2), TypeError, "nn.Parameter or None"),
        (lambda m: m.register_buffer("v", 3), TypeError, "Tensor or None"),
        (lambda m: m.add_module("v", 3), TypeError, "not a Module subclass"),
        (lambda m: m.missing, AttributeError, "'Module' object has no attribute 'missing'"),
        (lambda m: m(1), NotImplementedError, 'missing the required "forward"'),
        (lambda m: m.train(1), ValueError, "boolean"),
        (lambda m: nn.Module(3), TypeError, "unexpected"),
        (lambda m: m.get_submodule("child.x"), AttributeError, "no attribute `x`"),
        (lambda m: m.get_submodule("w"), AttributeError, "not an nn.Module"),
        (lambda m: m.get_parameter("buf"), AttributeError, "not an nn.Parameter"),
        (lambda m: m.get_buffer("w"), AttributeError, "not a buffer"),
        (lambda m: m.to(tk.int64), TypeError, "floating point"),
    ],
)
def test_refusals(act, error, message):
    m = nn.Module()
    m.w = nn.Parameter(tk.ones(2))
    m.register_buffer("buf", tk.ones(2))
    m.child = nn.Linear(2, 2)
    with pytest.raises(error, match=message):
        act(m)


def test_assignment_before_init():
    class Early(nn.Module):
        def __init__(self, value):
            self.value = value

    for value in (nn.Parameter(tk.ones(1)), nn.Linear(1, 1), nn.Buffer(tk.ones(1))):
        with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call"):
            Early(value)


def test_get_by_path():
    assert OURS.get_submodule("first.lin") is OURS.first.lin
    assert OURS.get_submodule("") is OURS
    assert OURS.get_parameter("items.1.weight") is OURS.items[1].weight
    assert OURS.get_buffer("first.norm.running_mean") is OURS.first.norm.running_mean


def test_state_dict_shares_and_load_copies():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    state = a.state_dict()
    weight = b.weight
    assert not state["weight"].requires_grad
    b.load_state_dict(state)
    assert b.weight is weight and np.array_equal(b.weight.detach(), a.weight.detach())
    with tk.no_grad():
        b.weight.fill_(7.0)
    assert (a.weight != 7.0).all()
    with tk.no_grad():
        a.weight.fill_(3.0)
    assert (state["weight"] == 3.0).all()
    assert a.state_dict(prefix="p.", keep_vars=True)["p.weight"] is a.weight
    b.load_state_dict({"weight": np.ones((2, 2)), "bias": [1.0, 2.0]})
    assert b.bias.tolist() == [1.0, 2.0] and b.weight.dtype is tk.float32


def test_load_reports_what_does_not_fit():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = model.state_dict()
    del state["0.bias"]
    state["more"] = tk.ones(1)
    result = model.load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["0.bias"], ["more"])
    with pytest.raises(InvalidArgumentError) as caught:
        model.load_state_dict(state)
    text = str(caught.value)
    assert text.startswith("Error(s) in loading state_dict for Sequential:")
    assert 'Missing key(s) in state_dict: "0.bias"' in text
    assert 'Unexpected key(s) in state_dict: "more"' in text
    state["0.weight"] = tk.ones(3, 3)
    with pytest.raises(
        ShapeError, match=r"size mismatch for 0\.weight: copying a param with shape"
    ):
        model.load_state_dict(state, strict=False)
    with pytest.raises(TypeError, match="dict-like"):
        model.load_state_dict([1])
    with pytest.raises(InvalidArgumentError, match="expected a tensor or an array"):
        model.load_state_dict({"0.weight": object()}, strict=False)


def test_load_by_assignment():
    layer = nn.Linear(2, 2)
    weight = tk.ones(2, 2, dtype=tk.float64)
    layer.load_state_dict({"weight": weight, "bias": tk.zeros(2)}, assign=True)
    assert layer.weight.dtype is tk.float64 and isinstance(layer.weight, nn.Parameter)
    assert layer.weight.requires_grad


def test_extra_state():
    class Counter(nn.Module):
        n = 0

        def get_extra_state(self):
            return {"n": self.n}

        def set_extra_state(self, state):
            self.n = state["n"]

    a, b = nn.Sequential(Counter()), nn.Sequential(Counter())
    a[0].n = 5
    assert list(a.state_dict()) == ["0._extra_state"]
    b.load_state_dict(a.state_dict())
    assert b[0].n == 5


def test_modes_and_gradients():
    model = build(nn)
    assert model.training and model.first.norm.training
    assert model.eval() is model and not model.first.norm.training
    model.train()
    model(tk.ones(4, 3)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert not any(p.requires_grad for p in model.requires_grad_(False).parameters())


def test_apply_and_conversions():
    model = build(nn)
    names = []
    model.apply(lambda m: names.append(type(m).__name__))
    assert names[-1] == "Outer" and names[0] == "Linear"
    weight = model.first.lin.weight
    assert model.double() is model and model.first.lin.weight is weight
    assert weight.dtype is tk.float64 and weight.requires_grad and weight.is_leaf
    assert model.first.norm.num_batches_tracked.dtype is tk.int64
    model.to(tk.float32)
    model.to("cpu")
    model.to(tk.ones(1, dtype=tk.float64))
    assert weight.dtype is tk.float64
    weight.grad = tk.ones(3, 3, dtype=tk.float64)
    model.float()
    assert weight.grad.dtype is tk.float32


def test_forward_hooks():
    calls = []
    layer = nn.Linear(2, 2)
    x = tk.ones(1, 2)
    plain = layer(x).detach().numpy()
    pre = layer.register_forward_pre_hook(lambda m, args: calls.append("pre"))
    pre2 = layer.register_forward_pre_hook(lambda m, args: args[0] * 2, prepend=True)
    post = layer.register_forward_hook(lambda m, args, out: calls.append(args[0].tolist()))
    double = layer.register_forward_hook(lambda m, args, out: out * 10)
    result = layer(x)
    assert calls == ["pre", [[2.0, 2.0]]]
    pre2.remove()
    np.testing.assert_allclose(layer(x).detach().numpy(), plain * 10, rtol=1e-6)
    for handle in (pre, post, double, double):
        handle.remove()
    assert np.array_equal(layer(x).detach().numpy(), plain) and result is not None
    with layer.register_forward_hook(lambda m, args, out: 5):
        assert layer(x) == 5
    assert np.array_equal(layer(x).detach().numpy(), plain)


def test_hooks_with_keywords_and_after_errors():
    class Add(nn.Module):
        def forward(self, a, b=0):
            if b is None:
                raise KeyError("b")
            return a + b

    seen = []
    m = Add()
    m.register_forward_pre_hook(lambda m, a, k: (a, {**k, "b": k["b"] + 1}), with_kwargs=True)
    m.register_forward_hook(lambda m, a, k, out: seen.append(k["b"]), with_kwargs=True)
    assert m(1, b=2) == 4 and seen == [3]
    m = Add()
    m.register_forward_hook(lambda m, a, out: seen.append("always"), always_call=True)
    m.register_forward_hook(lambda m, a, out: seen.append("never"))
    with pytest.raises(KeyError):
        m(1, b=None)
    assert seen == [3, "always"]
    m = Add()
    m.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        m(1)


def test_copies_are_independent():
    model = build(nn)
    model(tk.ones(4, 3)).sum().backward()
    for twin in (copy.deepcopy(model), None):
        twin = twin or build(nn)
        twin.load_state_dict(model.state_dict())
        with tk.no_grad():
            twin.first.lin.weight.fill_(0.0)
        assert (model.first.lin.weight != 0).all()
    twin = copy.deepcopy(model)
    assert twin.again is twin.first.lin and twin.first.lin is not model.first.lin
    assert twin.first.lin.weight.grad is not model.first.lin.weight.grad
    assert repr(twin) == repr(model)
    layer = pickle.loads(pickle.dumps(nn.BatchNorm1d(3)))
    assert isinstance(layer.weight, nn.Parameter) and layer.weight.requires_grad


def test_sequential():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(model) == 3 and isinstance(model[-1], nn.Linear)
    assert isinstance(model[:2], nn.Sequential) and model[:2][0] is model[0]
    model[1] = nn.Tanh()
    del model[0]
    assert list(model._modules) == ["0", "1"] and isinstance(model[0], nn.Tanh)
    model.append(nn.ReLU()).insert(0, nn.Identity()).extend([nn.Flatten()])
    assert [type(m).__name__ for m in model] == ["Identity", "Tanh", "Linear", "ReLU", "Flatten"]
    assert type(model.pop(-1)) is nn.Flatten and len(model + model) == 8
    with pytest.raises(IndexError, match="index 9 is out of range"):
        model[9]
    with pytest.raises(TypeError, match="not a Module subclass"):
        nn.Sequential(3)


def test_lists_and_dicts():
    items = nn.ModuleList([nn.ReLU()])
    items += [nn.Tanh()]
    items.append(nn.Sigmoid())
    items.insert(0, nn.Flatten())
    assert [type(m).__name__ for m in items] == ["Flatten", "ReLU", "Tanh", "Sigmoid"]
    assert type(items.pop(1)) is nn.ReLU and len(items[1:]) == 2 and len(items + items) == 6
    items[0] = nn.ReLU()
    with pytest.raises(IndexError):
        items[3]
    table = nn.ModuleDict([("a", nn.ReLU())])
    table.update({"b": nn.Linear(1, 1)})
    assert list(table) == ["a", "b"] and "a" in table and len(table) == 2
    assert type(table.pop("a")) is nn.ReLU and list(table.keys()) == ["b"]
    params = nn.ParameterList([nn.Parameter(tk.ones(2)), tk.zeros(3)])
    assert len(list(params.parameters())) == 2 and params[-1].shape == (3,)
    assert list(params.state_dict()) == ["0", "1"]
    named = nn.ParameterDict({"w": tk.ones(2)})
    assert list(named.state_dict()) == ["w"] and "w" in named
    assert repr(params).replace("toolkit.float32", "torch.float32") == repr(
        torch.nn.ParameterList([torch.ones(2), torch.zeros(3)])
    ).replace("torch.FloatTensor", "torch.float32")


def test_parameter():
    p = nn.Parameter(tk.tensor([1.0, 2.0]))
    assert p.requires_grad and p.is_leaf and isinstance(p, tk.Tensor)
    assert repr(p) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    assert not nn.Parameter(tk.ones(1), requires_grad=False).requires_grad
    assert type(p * 2) is tk.Tensor
    array = np.ones(3, np.float32)
    shared = nn.Parameter(tk.from_numpy(array))
    with tk.no_grad():
        shared.add_(1.0)
    assert array.tolist() == [2, 2, 2]


def test_scopes_name_the_nodes_of_a_trace():
    from toolkit.tracing import Trace

    model = build(nn)
    with Trace() as trace:
        for name, p in (*model.named_parameters(), *model.named_buffers()):
            trace.name_tensor(p, name)
        y = model.eval()(trace.input("x", tk.float32, ["batch", 3]))
    graph = trace.finish({"y": y}).graph
    names = [node.name for node in graph]
    assert any("first.lin" in n for n in names) and any("items.2" in n for n in names)
