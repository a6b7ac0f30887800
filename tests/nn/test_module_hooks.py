"""Hooks of modules and of their state, beside torch's: the same calls, with the same values."""

import copy

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn
from toolkit.errors import InvalidArgumentError, ShapeError, UnsupportedOperatorError
from toolkit.nn import hooks

torch = pytest.importorskip("torch")

from torch.nn.modules import module as torch_hooks  # noqa: E402


def pair():
    """Equal networks of both sides."""
    ours, theirs = (
        m.nn.Sequential(m.nn.Linear(3, 4), m.nn.Tanh(), m.nn.Linear(4, 2)) for m in (tk, torch)
    )
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    return ours, theirs


def both(run, exact=False):
    """What `run(m, net)` gives on both sides is close."""
    ours, theirs = (run(m, net) for m, net in zip((tk, torch), pair(), strict=True))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a, "d"), np.asarray(b, "d"), 1e-5, 1e-6)


def grads(gs):
    return [np.zeros(0) if g is None else g.detach().numpy() for g in gs]


def flat(seen):
    return [np.concatenate([g.ravel() for g in gs]) if gs else np.zeros(0) for gs in seen]


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.filterwarnings("ignore:Full backward hook")  # torch's.
def test_backward_hooks(wanted):
    def run(m, net):
        seen = []
        net[2].register_full_backward_pre_hook(lambda mod, gy: (gy[0] * 2,))
        net[2].register_full_backward_hook(lambda mod, gx, gy: seen.append(grads((*gx, *gy))))
        net[0].register_full_backward_hook(lambda mod, gx, gy: seen.append(grads((*gx, *gy))))
        net[1].register_full_backward_hook(lambda mod, gx, gy: (gx[0] * 3,))
        x = m.ones(2, 3)
        x = x.requires_grad_() if wanted else x
        net(x).sum().backward()
        return [*flat(seen), *(p.grad.numpy() for p in net.parameters())]

    both(run)


def test_removed_backward_hook_is_not_called():
    net = nn.Linear(2, 2)
    handle = net.register_full_backward_hook(lambda *_: 1 / 0)
    handle.remove()
    net(tk.ones(1, 2)).sum().backward()
    net.register_full_backward_hook(lambda m, gx, gy: (1, 2, 3))
    with pytest.raises(RuntimeError, match="invalid number of grad_input"):
        net(tk.ones(1, 2).requires_grad_()).sum().backward()


def test_global_hooks():
    def run(m, net):
        space = hooks if m is tk else torch_hooks
        seen = []
        handles = [
            space.register_module_forward_pre_hook(lambda mod, args: (args[0] + 1,)),
            space.register_module_forward_hook(lambda mod, args, y: y * 2),
            space.register_module_full_backward_hook(
                lambda mod, gx, gy: seen.append(grads((*gx, *gy)))
            ),
        ]
        x = m.ones(2, 3).requires_grad_()
        y = net(x)
        y.sum().backward()
        for h in handles:
            h.remove()
        return [y.detach().numpy(), x.grad.numpy(), *flat(seen), net(x).detach().numpy()]

    both(run)


def test_registration_hooks():
    def run(m, net):
        space = hooks if m is tk else torch_hooks
        names = []
        handles = [
            getattr(space, f"register_module_{kind}_registration_hook")(
                lambda mod, name, value: names.append(len(name))
            )
            for kind in ("parameter", "buffer", "module")
        ]
        m.nn.Sequential(m.nn.BatchNorm1d(3), m.nn.Linear(3, 2, bias=False))
        for h in handles:
            h.remove()
        m.nn.Linear(2, 2)
        return [sorted(names)]

    both(run)


def test_state_hooks():
    def run(m, net):
        seen = []
        net.register_state_dict_pre_hook(lambda mod, prefix, keep: seen.append(len(prefix)))
        net[0].register_state_dict_post_hook(
            lambda mod, state, prefix, meta: state.update({prefix + "more": m.ones(1)})
        )
        state = net.state_dict()
        seen.append(len(state))

        def rename(mod, state, prefix, meta, strict, missing, unexpected, errors):
            state.pop(prefix + "more")
            seen.append(meta["version"])

        net[0].register_load_state_dict_pre_hook(rename)
        net.register_load_state_dict_post_hook(lambda mod, keys: seen.append(len(keys[0])))
        net.load_state_dict(state)
        state.pop("2.weight")
        net.register_load_state_dict_post_hook(lambda mod, keys: keys.missing_keys.clear())
        net.load_state_dict(state)
        return [seen]

    both(run)


def test_overriding_what_is_saved_and_loaded():
    def run(m, net):
        class Kept(m.nn.Module):
            def __init__(self):
                super().__init__()
                self.w = m.nn.Parameter(m.ones(2))

            def _save_to_state_dict(self, destination, prefix, keep_vars):
                destination[prefix + "twice"] = self.w.detach() * 2

            def _load_from_state_dict(self, state, prefix, *rest):
                state[prefix + "w"] = state.pop(prefix + "twice") * 2
                super()._load_from_state_dict(state, prefix, *rest)

        outer = m.nn.Sequential(Kept())
        state = outer.state_dict()
        outer.load_state_dict(state)
        return [list(state) == ["0.twice"], outer[0].w.detach().numpy()]

    both(run)


def messages(run):
    """The texts of the errors of both sides."""
    out = []
    for m, net in zip((tk, torch), pair(), strict=True):
        with pytest.raises(RuntimeError) as info:
            run(m, net)
        out.append(str(info.value).replace("toolkit.", "torch."))
    return out


@pytest.mark.parametrize("change", [
    lambda m, s: s.pop("0.bias"),
    lambda m, s: s.update({"9.w": m.ones(1), "0.more": m.ones(1)}),
    lambda m, s: s.update({"0.bias": m.ones(7)}),
    lambda m, s: (s.pop("2.bias"), s.update({"x": m.ones(1)}), s.update({"0.bias": m.ones(2, 2)})),
])  # fmt: skip
def test_texts_of_load_errors(change):
    def run(m, net):
        state = net.state_dict()
        change(m, state)
        net.load_state_dict(state)

    ours, theirs = messages(run)
    assert ours == theirs


def test_submodules_by_path():
    net = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"a": nn.ReLU()}))
    net.set_submodule("1.a", nn.Tanh())
    net.set_submodule("1.b", nn.ELU())
    assert isinstance(net.get_submodule("1.a"), nn.Tanh) and "b" in net[1]
    with pytest.raises(AttributeError, match="no attribute `c`"):
        net.set_submodule("1.c", nn.ELU(), strict=True)
    with pytest.raises(ValueError, match="is not an nn"):
        net.set_submodule("1.a", 3)


def test_members_of_other_kinds_of_memory():
    net = nn.Linear(3, 2)
    assert net.to_empty(device="cpu") is net and net.weight.requires_grad
    with pytest.raises(UnsupportedOperatorError, match="share_memory"):
        net.share_memory()
    with pytest.raises(InvalidArgumentError, match="'cpu' is required"):
        net.cuda()


def test_lazy_members():
    net = nn.LazyLinear(2)
    assert repr(net.weight) == "<UninitializedParameter>" and net.has_uninitialized_params()
    with pytest.raises(RuntimeError, match="Can't access the shape"):
        _ = net.weight.shape
    with pytest.raises(ValueError, match="uninitialized parameter"):
        net.weight + 1
    other = copy.deepcopy(net).double()
    assert net.state_dict()["weight"] is net.weight
    net(tk.ones(1, 5))
    assert type(net) is nn.Linear and net.weight.shape == (2, 5) and net.weight.requires_grad
    assert other(tk.ones(1, 4, dtype=tk.float64)).dtype == tk.float64
    assert other.weight.shape == (2, 4)
    loaded = nn.LazyLinear(2)
    loaded.load_state_dict(net.state_dict())
    assert (loaded(tk.ones(1, 5)) == net(tk.ones(1, 5))).all() and loaded.in_features == 5
    with pytest.raises((ShapeError, RuntimeError)):
        nn.Linear(5, 2).load_state_dict(nn.LazyLinear(2).state_dict())


def test_lazy_members_are_refused_by_a_graph(tmp_path):
    with pytest.raises(InvalidArgumentError, match="Call the module once before"):
        nn.LazyLinear(2).save(tmp_path / "x.onnx", inputs=tk.ones(1, 5))


@pytest.mark.parametrize("m", [tk, torch])
def test_containers(m):
    net = m.nn.Sequential(m.nn.ReLU()) * 2
    net += m.nn.Sequential(m.nn.Tanh())
    net *= 2
    assert len(net) == 6 and isinstance(net.pop(2), m.nn.Tanh) and list(net._modules)[-1] == "4"
    with pytest.raises(ValueError, match="Non-positive"):
        net * 0
    d = m.nn.ParameterDict({"b": m.ones(1), "a": m.ones(2)})
    assert list(d) == ["a", "b"] and d.get("z") is None and d.popitem()[0] == "b"
    d |= m.nn.ParameterDict({"c": m.ones(3)})
    d["text"] = "x"
    assert len(list(d.parameters())) == 2 and d.setdefault("q", m.ones(1)).shape == (1,)
    assert list(d.copy().keys()) == ["a", "c", "text", "q"] and next(reversed(d)) == "q"
    assert repr(d).startswith("ParameterDict(\n    (a): Parameter containing: [torch.") or m is tk
    d.clear()
    assert not list(d.parameters())
    with pytest.raises(RuntimeError, match="should not be called"):
        d(1)
    p = m.nn.ParameterList([m.ones(1), 3])
    p += [m.ones(2)]
    assert len(p[1:]) == 2 and p[1] == 3 and len(list(p.parameters())) == 2


def test_batch_norms_are_converted():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()))
    weight = net[0].weight
    made = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert type(made[0]) is nn.SyncBatchNorm and made[0].weight is weight
    assert type(made[1][0]) is nn.SyncBatchNorm and type(made[1][1]) is nn.ReLU
    made[0].eval()(tk.ones(1, 3, 2, 2))
