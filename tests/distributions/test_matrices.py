"""Distributions of vectors, matrices and angles: errors, gradients of samples, other oracles."""

import numpy as np
import pytest

import toolkit as tk
from tests.distributions.test_distributions import close, positive
from toolkit import distributions as ours
from toolkit.errors import InvalidArgumentError, LinAlgError, ToolkitWarning

torch = pytest.importorskip("torch")
theirs = torch.distributions
RNG = np.random.default_rng(0)
LOC, COVARIANCE = RNG.standard_normal((2, 3)), positive(2)
FACTOR = np.linalg.cholesky(COVARIANCE)
W, D = RNG.standard_normal((2, 3, 2)), np.exp(RNG.standard_normal((2, 3)))


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("MultivariateNormal", {"loc": LOC, "scale_tril": FACTOR}),
        ("MultivariateNormal", {"loc": LOC, "covariance_matrix": COVARIANCE}),
        ("MultivariateNormal", {"loc": LOC, "precision_matrix": COVARIANCE}),
        ("LowRankMultivariateNormal", {"loc": LOC, "cov_factor": W, "cov_diag": D}),
        ("Wishart", {"df": np.array([4.0, 7.0]), "covariance_matrix": COVARIANCE}),
    ],
)
def test_all_quantities_and_their_gradients(name, arrays):
    """Of log_prob and entropy by every parameter; the three matrices agree with torch's."""
    found = []
    for lib, module in ((tk, ours), (torch, theirs)):
        given = {k: lib.tensor(v, requires_grad=True) for k, v in arrays.items()}
        d = getattr(module, name)(**given)
        value = lib.tensor(positive(2, seed=9) if name == "Wishart" else LOC + 1)
        (d.log_prob(value).sum() + d.entropy().sum()).backward()
        matrices = [d.scale_tril, d.covariance_matrix, d.precision_matrix]
        found.append([*matrices, *(g.grad for g in given.values())])
        assert all(not g.grad.isnan().any() for g in given.values())
    for x, y in zip(*found, strict=True):
        close(x, y, 1e-7, 1e-8)


def test_samples_have_the_covariance_and_its_gradient():
    """Weighted moments of samples, and their gradients, beside the exact ones of torch."""
    weight = RNG.standard_normal((2, 3, 3))
    for name, arrays in (
        ("MultivariateNormal", {"loc": LOC, "scale_tril": FACTOR}),
        ("LowRankMultivariateNormal", {"loc": LOC, "cov_factor": W, "cov_diag": D}),
        ("Wishart", {"df": np.array([4.0, 7.0]), "scale_tril": FACTOR}),
    ):
        p = {k: tk.tensor(v, requires_grad=True) for k, v in arrays.items()}
        q = {k: torch.tensor(v, requires_grad=True) for k, v in arrays.items()}
        tk.manual_seed(3)
        a, b = getattr(ours, name)(**p), getattr(theirs, name)(**q)
        x = a.rsample((20_000,))
        if name == "Wishart":
            got, want = x.mean(0), b.mean
        else:
            offset = x - tk.tensor(LOC)
            got = (offset.unsqueeze(-1) * offset.unsqueeze(-2)).mean(0)
            want = b.covariance_matrix
        size = np.abs(want.detach().numpy()).max()
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), 0.05, size / 30)
        (got * tk.tensor(weight)).sum().backward()
        (want * torch.tensor(weight)).sum().backward()
        for key in p:
            if key != "loc":
                size = np.abs(q[key].grad.numpy()).max()
                gradient = np.tril(p[key].grad.numpy()) if key == "scale_tril" else (
                    p[key].grad.numpy())  # fmt: skip
                expected = np.tril(q[key].grad.numpy()) if key == "scale_tril" else (
                    q[key].grad.numpy())  # fmt: skip
                np.testing.assert_allclose(gradient, expected, 0.1, size / 20, err_msg=key)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.7), (3, 1.0), (4, 3.0)])
def test_correlations_of_factors(dim, concentration):
    """Each correlation c has the marginal (1 - c^2)^(concentration + dim / 2 - 2) (their paper)."""
    stats = pytest.importorskip("scipy.stats")
    tk.manual_seed(0)
    factor = ours.LKJCholesky(dim, concentration).sample((20_000,))
    np.testing.assert_allclose((factor**2).sum(-1).numpy(), 1, rtol=1e-5)
    correlations = (factor @ factor.mT).numpy()
    marginal = stats.beta(*[concentration + dim / 2 - 1] * 2)
    for i, j in zip(*np.tril_indices(dim, -1), strict=True):
        got = np.quantile(correlations[:, i, j], [0.1, 0.3, 0.5, 0.8])
        np.testing.assert_allclose(got, 2 * marginal.ppf([0.1, 0.3, 0.5, 0.8]) - 1, atol=0.025)


def test_angles():
    """Against scipy, from nearly uniform to very narrow; float32 samples near the location."""
    stats = pytest.importorskip("scipy.stats")
    angles = np.linspace(-3, 3, 7)
    for k in (1e-3, 0.5, 3.0, 60.0, 5000.0):
        d = ours.VonMises(tk.tensor(0.5, dtype=tk.float64), tk.tensor(k, dtype=tk.float64))
        want = stats.vonmises.logpdf(angles, k, loc=0.5)
        np.testing.assert_allclose(d.log_prob(tk.tensor(angles)).numpy(), want, 1e-9, 1e-8)
        tk.manual_seed(0)
        x = np.sort(d.sample((4000,)).numpy())
        exact = stats.vonmises.cdf(x, k, loc=0.5) - stats.vonmises.cdf(-np.pi, k, loc=0.5)
        assert (
            np.abs(exact - (np.arange(4000) + 0.5) / 4000).max() < 0.03
        )  # 1.9 sigma of Kolmogorov.
        assert -np.pi <= x[0] <= x[-1] < np.pi
    narrow = ours.VonMises(tk.tensor(1.0), tk.tensor(1e6)).sample((1000,))
    np.testing.assert_allclose(narrow.std().item(), 1e-3, rtol=0.1)
    x = tk.tensor(0.3, dtype=tk.float64)
    parameters = [tk.tensor(v, dtype=tk.float64, requires_grad=True) for v in (0.5, 2.0)]
    assert tk.autograd.gradcheck(lambda m, k: ours.VonMises(m, k).log_prob(x), parameters)


def normal(loc, *matrices, **named):
    return ours.MultivariateNormal(tk.tensor(loc), *map(tk.tensor, matrices), **named)


def low_rank(*arrays):
    return ours.LowRankMultivariateNormal(*map(tk.tensor, arrays))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: normal(1.0, [[1.0]]), "at least one-dimensional"),
        (lambda: normal([1.0]), "Exactly one of covariance_matrix"),
        (lambda: normal([1.0], [[1.0]], [[1.0]]), "Exactly one"),
        (lambda: normal([1.0], [1.0]), "at least two-dimensional"),
        (lambda: normal([0.0, 1.0], [[-1.0, 0.0], [0.0, 1.0]]), "Expected parameter cov"),
        (lambda: normal([0.0, 1.0], [[1.0, 0.5], [0.0, 1.0]]), "PositiveDefinite"),
        (lambda: normal([0.0, 1.0], scale_tril=tk.ones(2, 2)), "LowerCholesky"),
        (lambda: normal([0.0], [[1.0]]).log_prob(tk.zeros(3)), "right-most"),
        (lambda: low_rank([0.0, 1.0], [[1.0]], [1.0, 1.0]), "2 x m"),
        (lambda: low_rank([0.0], [[1.0]], [1.0, 1.0]), r"shape \(1,\)"),
        (lambda: low_rank([0.0], [1.0], [1.0]), "at least two-dimensional"),
        (lambda: low_rank(1.0, [[1.0]], [1.0]), "at least one-dimensional"),
        (lambda: low_rank([0.0], [[1.0]], [-1.0]), "cov_diag"),
        (lambda: ours.Wishart(1.0, tk.eye(2)), "greater than ndim - 1 = 1"),
        (lambda: ours.Wishart(3.0), "Exactly one"),
        (lambda: ours.Wishart(3.0, tk.eye(2)).log_prob(-tk.eye(2)), "within the support"),
        (lambda: ours.LKJCholesky(1), "greater than or equal to 2"),
        (lambda: ours.LKJCholesky(2, -1.0), "Expected parameter concentration"),
        (lambda: ours.LKJCholesky(2).log_prob(tk.ones(2, 2)), "CorrCholesky"),
        (lambda: ours.VonMises(0.0, -1.0), "Expected parameter concentration"),
    ],
)  # fmt: skip
def test_refusals(build, message):
    with pytest.raises(InvalidArgumentError, match=message):
        build()


def test_other_errors_and_words():
    with pytest.warns(ToolkitWarning, match="Low df values"):
        ours.Wishart(1.5, tk.eye(2))
    with pytest.raises(LinAlgError):
        ours.MultivariateNormal(tk.zeros(2), -tk.eye(2), validate_args=False)
    with pytest.raises(NotImplementedError):
        ours.LKJCholesky(2).rsample()
    for build in (
        lambda m, lib: m.MultivariateNormal(lib.zeros(2), lib.eye(2)),
        lambda m, lib: m.LowRankMultivariateNormal(lib.zeros(2), lib.ones(2, 1), lib.ones(2)),
        lambda m, lib: m.Wishart(3.0, lib.eye(2)),
        lambda m, lib: m.LKJCholesky(3, 0.5),
        lambda m, lib: m.VonMises(0.0, 2.0),
    ):
        assert repr(build(ours, tk)) == repr(build(theirs, torch)).replace("torch.", "toolkit.")
