"""Transforms, constraints and the registries beside torch's."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import distributions as ours

torch = pytest.importorskip("torch")
theirs = torch.distributions
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3, 2))

SQUARE = RNG.standard_normal((2, 3, 3))  # A batch of matrices.

TRANSFORMS = {
    "exp": lambda t, lib: t.ExpTransform(),
    "power": lambda t, lib: t.ComposeTransform(
        [t.ExpTransform(), t.PowerTransform(lib.tensor(2.5))]
    ),
    "sigmoid": lambda t, lib: t.SigmoidTransform(),
    "softplus": lambda t, lib: t.SoftplusTransform(),
    "tanh": lambda t, lib: t.TanhTransform(),
    "affine": lambda t, lib: t.AffineTransform(lib.tensor(1.5), lib.tensor(-0.5)),
    "affine vector": lambda t, lib: t.AffineTransform(1.5, 2.0, event_dim=1),
    "softmax": lambda t, lib: t.SoftmaxTransform(),
    "stick": lambda t, lib: t.StickBreakingTransform(),
    "reshape": lambda t, lib: t.ReshapeTransform((3, 2), (6,)),
    "independent": lambda t, lib: t.IndependentTransform(t.ExpTransform(), 2),
    "composed": lambda t, lib: t.ComposeTransform(
        [t.AffineTransform(0.5, 2.0), t.TanhTransform(), t.StickBreakingTransform()]
    ),
    "inverse": lambda t, lib: t.ComposeTransform([t.ExpTransform(), t.ExpTransform().inv]),
    "stack": lambda t, lib: t.StackTransform([t.ExpTransform(), t.TanhTransform()], -1),
    "cat": lambda t, lib: t.CatTransform([t.ExpTransform(), t.SigmoidTransform()], -2, [1, 2]),
    "cdf": lambda t, lib: t.CumulativeDistributionTransform(
        (ours if lib is tk else theirs).Normal(lib.tensor(0.5), lib.tensor(2.0))
    ),
}


def close(got, want, rtol=1e-6, atol=1e-8):
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol, atol)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    a, b = TRANSFORMS[name](ours, tk), TRANSFORMS[name](theirs, torch)
    x, z = tk.tensor(X), torch.tensor(X)
    y, w = a(x), b(z)
    close(y, w)
    assert (a.bijective, a.domain.event_dim, a.codomain.event_dim) == (
        b.bijective, b.domain.event_dim, b.codomain.event_dim,
    )  # fmt: skip
    assert tuple(a.forward_shape(x.shape)) == tuple(b.forward_shape(z.shape))
    if name != "softmax":
        close(a.log_abs_det_jacobian(x, y), b.log_abs_det_jacobian(z, w))
    close(a.inv(y), b.inv(w), 1e-5)
    assert a == a and a.inv.inv is a and a != ours.AbsTransform()


@pytest.mark.parametrize("name", ["LowerCholesky", "PositiveDefinite", "CorrCholesky"])
def test_transforms_to_matrices(name):
    a, b = (getattr(m, f"{name}Transform")() for m in (ours, theirs))
    for x in (RNG.standard_normal((2, n)) for n in (1, 3, 6)) if name[0] == "C" else [SQUARE]:
        p, q = tk.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, w = a(p), b(q)
        close(y, w)
        (y**3).sum().backward()
        (w**3).sum().backward()
        close(p.grad, q.grad)
        close(a.inv(y), b.inv(w), 1e-6)
        assert tuple(a.forward_shape(x.shape)) == tuple(w.shape) == tuple(y.shape)
        assert tuple(a.inverse_shape(y.shape)) == tuple(x.shape)
        assert bool(a.codomain.check(y).all())
        assert (a.bijective, a.domain.event_dim) == (b.bijective, b.domain.event_dim)
        if name[0] == "C":
            close(a.log_abs_det_jacobian(p, y), b.log_abs_det_jacobian(q, w))
    assert a == getattr(ours, f"{name}Transform")()


def test_shapes_that_are_no_triangles():
    a = ours.CorrCholeskyTransform()
    for call, message in (
        (lambda: a(tk.zeros(4)), "flattened lower-diagonal"),
        (lambda: a.forward_shape(()), "Too few"),
        (lambda: a.inverse_shape((3,)), "Too few"),
        (lambda: a.inverse_shape((3, 2)), "not square"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_cache_gives_back_what_was_put_in():
    t = ours.SigmoidTransform(cache_size=1)
    x = tk.tensor([40.0, -3.0])
    y = t(x)
    assert t.inv(y) is x and t(x) is y
    assert ours.AffineTransform(1.0, 2.0) == ours.AffineTransform(1.0, 2.0)
    assert ours.AffineTransform(1.0, 2.0) != ours.AffineTransform(1.0, 3.0)


def test_a_transformed_distribution():
    made = []
    for lib, t in ((tk, ours), (torch, theirs)):
        base = t.Normal(lib.tensor(X[0]), lib.tensor(np.exp(X[1])))
        steps = [t.ExpTransform(), t.AffineTransform(lib.tensor(1.0), lib.tensor(-2.0))]
        made.append(t.TransformedDistribution(base, steps))
        made.append(t.TransformedDistribution(base, t.StickBreakingTransform()))
    for a, b in zip(made[:2], made[2:], strict=True):
        torch.manual_seed(0)
        y = b.sample((5,))
        close(a.log_prob(tk.tensor(y.numpy())), b.log_prob(y))
        assert tuple(a.rsample((5,)).shape) == tuple(y.shape)
        assert tuple(a.expand((4, *b.batch_shape)).sample().shape) == (4, 3, y.shape[-1])
        if not b.event_shape:
            close(a.cdf(tk.tensor(y.numpy())), b.cdf(y))
            q = np.random.default_rng(0).random((5, 3, 2))
            close(a.icdf(tk.tensor(q)), b.icdf(torch.tensor(q)))


CONSTRAINTS = {
    "real": lambda c: c.real,
    "positive": lambda c: c.positive,
    "nonnegative": lambda c: c.nonnegative,
    "greater": lambda c: c.greater_than(0.5),
    "less": lambda c: c.less_than(0.5),
    "interval": lambda c: c.interval(-1.0, 0.5),
    "half open": lambda c: c.half_open_interval(-1.0, 0.5),
    "unit": lambda c: c.unit_interval,
    "simplex": lambda c: c.simplex,
    "boolean": lambda c: c.boolean,
    "one hot": lambda c: c.one_hot,
    "integers": lambda c: c.integer_interval(-1, 1),
    "counts": lambda c: c.nonnegative_integer,
    "multinomial": lambda c: c.multinomial(2),
    "vector": lambda c: c.real_vector,
    "independent": lambda c: c.independent(c.positive, 1),
    "triangular": lambda c: c.lower_triangular,
    "cholesky": lambda c: c.lower_cholesky,
    "correlations": lambda c: c.corr_cholesky,
    "square": lambda c: c.square,
    "symmetric": lambda c: c.symmetric,
    "positive definite": lambda c: c.positive_definite,
    "positive semidefinite": lambda c: c.positive_semidefinite,
    "cat": lambda c: c.cat([c.positive, c.real], -1),
    "stack": lambda c: c.stack([c.positive, c.real], -1),
}
VALUES = [
    X[0, :2],
    np.eye(2),
    np.abs(X[0, :2]),
    np.array([[0.25, 0.75], [1.0, 0.0]]),
    np.array([[1.0, 0.0], [0.6, 0.8]]),
    np.array([[np.nan, 2.0], [-1.0, 0.5]]),
    np.array([[1.0, 0.5], [0.5, 2.0]]),
]


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints(name):
    a, b = CONSTRAINTS[name](ours.constraints), CONSTRAINTS[name](theirs.constraints)
    assert (a.is_discrete, a.event_dim) == (b.is_discrete, b.event_dim)
    for value in VALUES:
        got, want = a.check(tk.tensor(value)), b.check(torch.tensor(value))
        np.testing.assert_array_equal(got.numpy(), want.numpy(), err_msg=f"{value}")


@pytest.mark.parametrize("registry", ["biject_to", "transform_to"])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_registries(registry, name):
    make = CONSTRAINTS[name]
    try:
        b = getattr(theirs, registry)(make(theirs.constraints))
    except NotImplementedError:
        with pytest.raises(NotImplementedError, match="Cannot transform"):
            getattr(ours, registry)(make(ours.constraints))
        return
    a = getattr(ours, registry)(make(ours.constraints))
    x = SQUARE if b.domain.event_dim == 2 else X[0, :, :1] if name == "correlations" else X[0]
    close(a(tk.tensor(x)), b(torch.tensor(x)))
