"""`tk.func` beside torch.func: the same functions, the same arguments, nested."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import toolkit as tk
from toolkit import func, ops
from toolkit.errors import ToolkitError
from toolkit.func import pytree

# torch's forward mode loads decompositions by torch.jit.script, which it calls deprecated itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr:UserWarning"),
]

RTOL, ATOL = 1e-9, 1e-10  # In float64.


def rand(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).normal(size=shape)


def to_tk(tree):
    return pytree.tree_map(lambda x: tk.tensor(x) if isinstance(x, np.ndarray) else x, tree)


def to_torch(tree):
    return torch.utils._pytree.tree_map(
        lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else x, tree
    )


def assert_same(got, want, rtol=RTOL, atol=ATOL):
    mine, spec = pytree.flatten(got)
    theirs, _ = torch.utils._pytree.tree_flatten(want)
    assert len(mine) == len(theirs), (spec, want)
    for g, w in zip(mine, theirs, strict=True):
        if isinstance(w, torch.Tensor):
            assert tuple(g.shape) == tuple(w.shape)
            assert g.requires_grad == w.requires_grad
            np.testing.assert_allclose(g.detach().numpy(), w.detach().numpy(), rtol, atol)
        else:
            assert g == w


def both(f, *args, rtol=RTOL, atol=ATOL):
    """`f(lib, F, *args)` with torch, and twice with toolkit: the second time it is cached."""
    want = f(torch, torch.func, *to_torch(args))
    assert_same(f(tk, func, *to_tk(args)), want, rtol, atol)
    misses = func.cache_info().misses
    assert_same(f(tk, func, *to_tk(args)), want, rtol, atol)
    assert func.cache_info().misses == misses, "the second call compiled again"


X, Y, M = rand(4), rand(4, seed=1), rand(3, 4)
B = rand(5, 4)


def curved(x):
    return (x.sin() * x.sum()).exp() + x**3


def energy(x):
    return (curved(x) * x).sum()


TREE = {"a": rand(3), "b": [rand(2, 2), (rand(1),)]}


def tree_energy(t):
    return (t["a"].exp().sum() * t["b"][0] ** 2).sum() + t["b"][1][0].sin().sum()


CASES = {
    "grad": lambda lib, F, x: F.grad(energy)(x),
    "grad argnums": lambda lib, F, x: F.grad(lambda a, b: (a * b.exp()).sum(), 1)(x, x + 1),
    "grad tuple": lambda lib, F, x: F.grad(lambda a, b: (a * b.exp()).sum(), (1, 0))(x, x + 1),
    "grad negative": lambda lib, F, x: F.grad(lambda a, b: (a * b.exp()).sum(), -1)(x, x),
    "grad aux": lambda lib, F, x: F.grad(lambda a: (energy(a), {"y": a * 2}), has_aux=True)(x),
    "grad keywords": lambda lib, F, x: F.grad(lambda a, *, s: (a**2 * s).sum())(x, s=x + 1),
    "grad unused": lambda lib, F, x: F.grad(lambda a, b: (b * b).sum())(x, x),
    "grad of constant": lambda lib, F, x: F.grad(lambda a: lib.ones(3).sum())(x.float()),
    "value": lambda lib, F, x: F.grad_and_value(energy)(x),
    "value aux": lambda lib, F, x: F.grad_and_value(lambda a: (energy(a), a.cos()), has_aux=True)(
        x
    ),
    "grad of grad": lambda lib, F, x: F.grad(lambda a: F.grad(energy)(a).sin().sum())(x),
    "third": lambda lib, F, x: F.grad(F.grad(F.grad(lambda s: s.sin() * s**3)))(x[0]),
    "vjp": lambda lib, F, x: F.vjp(curved, x)[1](x.cos()),
    "vjp value": lambda lib, F, x: F.vjp(curved, x)[0],
    "vjp two": lambda lib, F, x: F.vjp(lambda a, b: {"u": a * b, "v": (b.exp(), a)}, x, x + 1)[1](
        {"u": x, "v": (x * 2, x * 3)}
    ),
    "vjp aux": lambda lib, F, x: F.vjp(lambda a: (curved(a), a * 2), x, has_aux=True)[2],
    "jvp": lambda lib, F, x: F.jvp(curved, (x,), (x.cos(),)),
    "jvp two": lambda lib, F, x: F.jvp(lambda a, b: (a * b.exp(), {"d": a}), (x, x), (x, x * 2)),
    "vjp type": lambda lib, F, x: F.vjp(lambda a: a * 2, x)[1](x.float()),
    "jvp aux": lambda lib, F, x: F.jvp(lambda a: (curved(a), a), (x,), (x,), has_aux=True),
    "jvp of constant": lambda lib, F, x: F.jvp(lambda a: lib.ones(3), (x.float(),), (x.float(),)),
    "jvp of jvp": lambda lib, F, x: F.jvp(lambda a: F.jvp(curved, (a,), (a,))[1], (x,), (x,)),
    "jvp of grad": lambda lib, F, x: F.jvp(F.grad(energy), (x,), (x.sin(),)),
    "grad of jvp": lambda lib, F, x: F.grad(lambda a: F.jvp(curved, (a,), (x,))[1].sum())(x),
    "linearize": lambda lib, F, x: F.linearize(curved, x)[1](x.cos()),
    "jacrev": lambda lib, F, x: F.jacrev(curved)(x),
    "jacfwd": lambda lib, F, x: F.jacfwd(curved)(x),
    "jacrev two": lambda lib, F, x: F.jacrev(
        lambda a, b: (a[:2] * b.sum(), {"z": b.exp() * a[0]}), (0, 1)
    )(x, x + 1),
    "jacfwd two": lambda lib, F, x: F.jacfwd(
        lambda a, b: (a[:2] * b.sum(), {"z": b.exp() * a[0]}), (0, 1)
    )(x, x + 1),
    "jacrev aux": lambda lib, F, x: F.jacrev(lambda a: (curved(a), a * 2), has_aux=True)(x),
    "jacfwd aux": lambda lib, F, x: F.jacfwd(lambda a: (curved(a), a * 2), has_aux=True)(x),
    "jacrev chunks": lambda lib, F, x: F.jacrev(curved, chunk_size=3)(x),
    "jacrev of scalar": lambda lib, F, x: F.jacrev(lambda a: a.exp())(x[0]),
    "hessian": lambda lib, F, x: F.hessian(energy)(x),
    "hessian two": lambda lib, F, x: F.hessian(lambda a, b: (a * b.sin() * a).sum(), (0, 1))(x, x),
    "jacrev of jacrev": lambda lib, F, x: F.jacrev(F.jacrev(energy))(x),
    "jacfwd of jacfwd": lambda lib, F, x: F.jacfwd(F.jacfwd(energy))(x),
    "third order": lambda lib, F, x: F.jacfwd(F.hessian(energy))(x),
    "vmap of vjp": lambda lib, F, x: F.vmap(F.vjp(curved, x)[1])(lib.stack([x, x * 2])),
}


@pytest.mark.parametrize("name", CASES)
def test_transform(name):
    both(lambda lib, F, x: CASES[name](lib, F, x), X)


BATCHED = {
    "vmap": lambda lib, F, b: F.vmap(curved)(b),
    "in 1": lambda lib, F, b: F.vmap(curved, in_dims=1)(b),
    "in -1": lambda lib, F, b: F.vmap(curved, in_dims=-1, out_dims=-1)(b),
    "two": lambda lib, F, b: F.vmap(lambda x, y: x @ y, in_dims=(0, None))(b, b[0]),
    "two dims": lambda lib, F, b: F.vmap(lambda x, y: x * y, in_dims=(1, 0))(b, b.T),
    "nested dims": lambda lib, F, b: F.vmap(
        lambda d, k: d["x"] * d["y"] + k, in_dims=({"x": 0, "y": None}, None)
    )({"x": b, "y": b[0]}, 3.0),
    "tree out": lambda lib, F, b: F.vmap(
        lambda x: {"s": x.sum(), "t": (x, x.exp())}, out_dims={"s": 0, "t": (1, 0)}
    )(b),
    "not batched out": lambda lib, F, b: F.vmap(lambda x: (b.sum(), x))(b),
    "out none": lambda lib, F, b: F.vmap(lambda x: (b.sum(), x), out_dims=(None, 0))(b),
    "chunks": lambda lib, F, b: F.vmap(curved, chunk_size=2)(b),
    "chunks out 1": lambda lib, F, b: F.vmap(curved, out_dims=1, chunk_size=3)(b),
    "vmap of vmap": lambda lib, F, b: F.vmap(F.vmap(lambda s: s.sin() * s))(b),
    "vmap of vmap outer": lambda lib, F, b: F.vmap(
        F.vmap(lambda s, t: s * t.exp(), in_dims=(None, 0)), in_dims=(0, None)
    )(b[:, 0], b[0]),
    "vmap of grad": lambda lib, F, b: F.vmap(F.grad(energy))(b),
    "vmap of value": lambda lib, F, b: F.vmap(F.grad_and_value(energy))(b),
    "vmap of jacrev": lambda lib, F, b: F.vmap(F.jacrev(curved))(b),
    "vmap of jacfwd": lambda lib, F, b: F.vmap(F.jacfwd(curved))(b),
    "vmap of hessian": lambda lib, F, b: F.vmap(F.hessian(energy))(b),
    "vmap of jvp": lambda lib, F, b: F.vmap(lambda x: F.jvp(curved, (x,), (x,)))(b),
    "grad of vmap": lambda lib, F, b: F.grad(lambda a: F.vmap(energy)(a).sin().sum())(b),
    "grad of vmap of grad": lambda lib, F, b: F.grad(
        lambda a: (F.vmap(F.grad(energy))(a) ** 2).sum()
    )(b),
    "jvp of vmap": lambda lib, F, b: F.jvp(F.vmap(curved), (b,), (b.cos(),)),
    "jacrev of vmap": lambda lib, F, b: F.jacrev(F.vmap(energy))(b),
    "hessian of vmap": lambda lib, F, b: F.hessian(lambda a: F.vmap(energy)(a).exp().sum())(b / 9),
    "shapes": lambda lib, F, b: F.vmap(
        lambda x: lib.cat([x.reshape(2, 2).T, x[None, 1:3]]).flatten().unsqueeze(0).expand(3, 6)
    )(b),
    "sizes": lambda lib, F, b: F.vmap(lambda x: x * x.shape[0] + x.numel() + x.mean())(b),
    "reductions": lambda lib, F, b: F.vmap(
        lambda x: (x.max(), x.argmax(), x.softmax(0), x.cumsum(0), x.norm(), x.std(), x.prod())
    )(b),
    "sort": lambda lib, F, b: F.vmap(lambda x: tuple(x.topk(2)))(b),
    "index": lambda lib, F, b: F.vmap(lambda x, i: x[i], in_dims=(None, 0))(
        b, lib.tensor([1, 0, 3])
    ),
    "index both": lambda lib, F, b: F.vmap(lambda x, i: x[i] * 2)(
        b, lib.tensor([[1, 0], [2, 3], [0, 0], [1, 1], [3, 2]])
    ),
    "gather": lambda lib, F, b: F.vmap(lambda x, i: x.gather(0, i))(
        b, lib.tensor([[1, 0], [2, 3], [0, 0], [1, 1], [3, 2]])
    ),
    "where": lambda lib, F, b: F.vmap(lambda x: lib.where(x > 0, x, x.exp()))(b),
    "matmul": lambda lib, F, b: F.vmap(lambda x: b @ x)(b),
    "matmul both": lambda lib, F, b: F.vmap(lambda x: lib.outer(x, x) @ x)(b),
    "einsum": lambda lib, F, b: F.vmap(lambda x: lib.einsum("i,ji->j", x, b))(b),
    "in place": lambda lib, F, b: F.vmap(lambda x: x.clone().mul_(2).add_(1))(b),
}


@pytest.mark.parametrize("name", BATCHED)
def test_vmap(name):
    both(lambda lib, F, b: BATCHED[name](lib, F, b), B)


def test_trees_of_arguments():
    both(lambda lib, F, t: F.grad(tree_energy)(t), TREE)
    both(lambda lib, F, t: F.hessian(tree_energy)(t), TREE)
    both(lambda lib, F, t: F.jacfwd(tree_energy)(t), TREE)


def test_the_third_derivative_of_a_polynomial_is_exact():
    def p(x):
        return 5 * x**4 - 3 * x**3 + x

    third = func.grad(func.grad(func.grad(p)))
    fourth = func.grad(third)
    for x in (-2.0, 0.0, 1.5, 3.0):
        assert third(tk.tensor(x)).item() == 120 * x - 18
        assert fourth(tk.tensor(x)).item() == 120.0
        assert func.jacfwd(func.jacrev(func.jacfwd(p)))(tk.tensor(x)).item() == 120 * x - 18


def test_variables_of_levels_are_not_confused():
    def outer(F, x):
        return F.grad(lambda a: a * F.grad(lambda b: a + b)(a))(x)

    assert outer(func, tk.tensor(3.0)).item() == outer(torch.func, torch.tensor(3.0)).item() == 1.0

    def forward(F, x, one):
        return F.jvp(lambda a: a * F.jvp(lambda b: a + b, (one,), (one,))[1], (x,), (one,))[1]

    assert forward(func, tk.tensor(3.0), tk.tensor(1.0)).item() == 1.0


def test_python_may_look_at_values_under_grad():
    def f(x):
        return (x**2).sum() if x.sum().item() > 0 else (x**3).sum()

    for x in (X, -X):
        assert_same(func.grad(f)(tk.tensor(x)), torch.func.grad(f)(torch.tensor(x)))
        got = func.jvp(f, (tk.tensor(x),), (tk.tensor(Y),))
        assert_same(got, torch.func.jvp(f, (torch.tensor(x),), (torch.tensor(Y),)))


def test_closed_over_tensors_may_change_between_calls():
    scale = [tk.tensor(X)]
    mapped = func.vmap(lambda b: (b * scale[0]).sum())
    first = mapped(tk.tensor(B)).numpy()
    np.testing.assert_allclose(first, B @ X)
    scale[0] = tk.tensor(Y)
    np.testing.assert_allclose(mapped(tk.tensor(B)).numpy(), B @ Y)
    scale[0].mul_(2)
    np.testing.assert_allclose(mapped(tk.tensor(B)).numpy(), B @ Y * 2)


def test_results_are_on_the_tape_of_what_was_closed_over():
    def run(lib, F):
        w = lib.tensor(X, requires_grad=True)
        x = lib.tensor(B, requires_grad=True)
        y = F.vmap(lambda b: (b * w).sin().sum())(x)
        z = F.grad(lambda a: (a * w**2).exp().sum())(lib.tensor(X))
        h = F.jacrev(lambda a: a.sin() * w)(lib.tensor(X))
        (y.exp().sum() + z.sum() + h.sum()).backward()
        return w.grad, x.grad

    assert_same(run(tk, func), run(torch, torch.func))


def test_second_order_through_a_staged_function():
    def run(lib, F):
        x = lib.tensor(X, requires_grad=True)
        y = F.jacrev(curved)(x).sum()
        (g,) = lib.autograd.grad(y, [x], create_graph=True)
        (h,) = lib.autograd.grad((g**2).sum(), [x])
        return h

    assert_same(run(tk, func), run(torch, torch.func), rtol=1e-8)


def test_a_staged_function_does_not_run_twice():
    w = tk.tensor(X, requires_grad=True)

    def f(a):
        return (a * w).cumsum(0).sin().cumsum(0).exp().sum()

    y = func.vmap(f)(tk.tensor(B))
    whole, _ = y.grad_fn.graphed.gradient((True,), (1,))
    whole([*y.grad_fn.inputs, tk.ones(5, dtype=tk.float64)._value])
    parts = y.grad_fn.saving.backward.__self__.num_instructions
    assert parts < whole._program.__self__.num_instructions
    y.sum().backward()
    got, w.grad = w.grad.numpy(), None
    sum(f(tk.tensor(row)) for row in B).backward()
    np.testing.assert_allclose(got, w.grad.numpy())


def test_no_grad_inside_and_outside():
    def run(lib, F):
        x = lib.tensor(X)

        def inner(a):
            with lib.no_grad():
                c = a.exp()
            return (c * a).sum() + a.detach().sum()

        with lib.no_grad():
            g = F.grad(inner)(x)
            v = F.vmap(F.grad(inner))(lib.tensor(B))
        return g, v, F.grad(lambda a: F.vmap(inner)(a).sum())(lib.tensor(B))

    assert_same(run(tk, func), run(torch, torch.func))


def test_draws_under_vmap():
    b = tk.tensor(B)
    with pytest.raises(ToolkitError, match="randomness error mode"):
        func.vmap(lambda x: x + tk.rand(4))(b)
    different = func.vmap(lambda x: tk.rand(4) + x * 0, randomness="different")(b).numpy()
    assert len({tuple(row) for row in different}) == len(B)
    same = func.vmap(lambda x: tk.rand(4) + x * 0, randomness="same")(b).numpy()
    assert (same == same[0]).all()
    alone = func.vmap(lambda x: tk.rand(4), randomness="different")(b).numpy()
    assert alone.shape == B.shape and len({tuple(row) for row in alone}) == len(B)
    assert (alone != different).any()  # The generator moves on from call to call.
    for kind in ("same", "different"):
        ones = tk.ones(64, 100)
        kept = func.vmap(lambda x: tk.nn.functional.dropout(x, 0.5), randomness=kind)(ones).numpy()
        assert ((kept == 0) | (kept == 2)).all() and 0.4 < (kept == 0).mean() < 0.6
        assert (kept == kept[0]).all() == (kind == "same")


@pytest.mark.parametrize(
    ("name", "attributes"),
    [("RandomUniformLike", {}), ("RandomNormalLike", {}), ("Bernoulli", {}),
     ("RandomUniform", {"shape": [50]}), ("RandomNormal", {"shape": [50]})],
)  # fmt: skip
def test_standard_draws_under_vmap(name, attributes):
    half = tk.ones(4, 50) * 0.5

    def draw(x):
        inputs = [] if attributes else [x]
        return ops.call(name, inputs, attributes) + x * 0

    y = func.vmap(draw, randomness="different")(half).numpy()
    assert y.shape == (4, 50) and len({tuple(row) for row in y}) == 4
    assert 0.25 < y.std() < 1.3
    try:
        same = func.vmap(draw, randomness="same")(half).numpy()
    except ToolkitError as error:
        assert "operator that can draw for a whole batch" in str(error)
    else:
        assert (same == same[0]).all()
    with pytest.raises(ToolkitError, match="randomness error mode"):
        func.vmap(draw)(half)


def test_writes_under_vmap():
    x = tk.tensor(B)
    func.vmap(lambda a: a.add_(1))(x)
    np.testing.assert_array_equal(x.numpy(), B + 1)
    total = tk.zeros(4, dtype=tk.float64)
    with pytest.raises(ToolkitError, match="inplace arithmetic is not possible"):
        func.vmap(lambda a: total.add_(a))(x)
    np.testing.assert_array_equal(total.numpy(), 0)


def test_a_value_must_not_leave_its_function():
    kept = []
    func.vmap(lambda a: kept.append(a) or a * 2)(tk.tensor(B))
    with pytest.raises((ToolkitError, RuntimeError)):
        (kept[0] + 1).numpy()
    with pytest.raises(ToolkitError, match="of another one"):
        func.vmap(lambda a: a + kept[0])(tk.tensor(B))


def test_a_pullback_of_a_trace_stays_in_it():
    kept = []
    func.vmap(lambda a: kept.append(func.vjp(curved, a)[1]) or a)(tk.tensor(B))
    with pytest.raises(ToolkitError, match="must be called in it"):
        kept[0](tk.tensor(X))


ERRORS = {
    "scalar": lambda lib, F, x: F.grad(lambda a: a)(x),
    "tensor": lambda lib, F, x: F.grad(lambda a: 3.0)(x),
    "argnums": lambda lib, F, x: F.grad(energy, 2)(x),
    "argnums twice": lambda lib, F, x: F.grad(lambda a, b: a.sum(), (0, 0))(x, x),
    "argnums none": lambda lib, F, x: F.grad(energy, ())(x),
    "aux": lambda lib, F, x: F.grad(energy, has_aux=True)(x),
    "integers": lambda lib, F, x: F.grad(energy)(lib.tensor([1, 2])),
    "number": lambda lib, F, x: F.grad(lambda a: a * x.sum())(2.0),
    "vjp structure": lambda lib, F, x: F.vjp(curved, x)[1]((x, x)),
    "vjp integers": lambda lib, F, x: F.vjp(lambda a: a.argmax(), x),
    "vjp shape": lambda lib, F, x: F.vjp(curved, x)[1](x[:2]),
    "jvp shape": lambda lib, F, x: F.jvp(curved, (x,), (x[:2],)),
    "jvp tuple": lambda lib, F, x: F.jvp(curved, x, x),
    "jvp structure": lambda lib, F, x: F.jvp(curved, (x,), (x, x)),
    "jvp empty": lambda lib, F, x: F.jvp(lambda: x, (), ()),
    "jvp strict": lambda lib, F, x: F.jvp(lambda a: lib.ones(2), (x,), (x,), strict=True),
    "vmap nothing": lambda lib, F, x: F.vmap(lambda: x)(),
    "vmap no tensor": lambda lib, F, x: F.vmap(lambda a: a)(3.0),
    "vmap none": lambda lib, F, x: F.vmap(lambda a: a, in_dims=(None,))(x),
    "vmap sizes": lambda lib, F, x: F.vmap(lambda a, b: a)(x, x[:2]),
    "vmap range": lambda lib, F, x: F.vmap(lambda a: a, in_dims=1)(x),
    "vmap kind": lambda lib, F, x: F.vmap(lambda a: a, in_dims="x")(x),
    "vmap structure": lambda lib, F, x: F.vmap(lambda a: a, in_dims=(0, 0))(x),
    "vmap out": lambda lib, F, x: F.vmap(lambda a: 3)(x),
    "vmap out structure": lambda lib, F, x: F.vmap(lambda a: a, out_dims=(0, 0))(x),
    "vmap out kind": lambda lib, F, x: F.vmap(lambda a: a, out_dims="x")(x),
    "vmap out none": lambda lib, F, x: F.vmap(lambda a: a, out_dims=None)(x),
    "vmap randomness": lambda lib, F, x: F.vmap(lambda a: a, randomness="x")(x),
    "vmap chunk": lambda lib, F, x: F.vmap(lambda a: a, chunk_size=0)(x),
    "vmap item": lambda lib, F, x: F.vmap(lambda a: a if a.item() > 0 else -a)(x),
    "jacrev chunk": lambda lib, F, x: F.jacrev(curved, chunk_size=0)(x),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(name):
    with pytest.raises(Exception) as theirs:
        ERRORS[name](torch, torch.func, torch.tensor(X))
    with pytest.raises((ToolkitError, ValueError)) as mine:
        ERRORS[name](tk, func, tk.tensor(X))
    if isinstance(theirs.value, ValueError):
        assert isinstance(mine.value, ValueError)


def test_names_and_defaults_are_torchs():
    import inspect

    for name in ("grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "vmap",
                 "linearize", "functional_call", "stack_module_state"):  # fmt: skip
        mine = inspect.signature(getattr(func, name)).parameters
        theirs = inspect.signature(getattr(torch.func, name)).parameters
        for key, parameter in theirs.items():
            if key.startswith("_"):
                continue
            assert key in mine, (name, key)
            assert mine[key].default == parameter.default, (name, key)
            assert mine[key].kind == parameter.kind, (name, key)
