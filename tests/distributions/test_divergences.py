"""`kl_divergence` of every pair that torch registers, beside torch's numbers and gradients."""

import numpy as np
import pytest

import toolkit as tk
from tests.distributions.test_distributions import close, positive
from toolkit import distributions as ours
from toolkit.distributions import kl as registry

torch = pytest.importorskip("torch")
theirs = torch.distributions
RNG = np.random.default_rng(0)
LOC, SCALE = RNG.standard_normal((2, 3)), RNG.random((2, 3)) + 0.5
COUNT = np.full((2, 3), 4.0)
# Parameters of p, and of q where they are not those of p turned around and 1.25 times as large.
DISTRIBUTIONS = {
    "Normal": [(LOC, SCALE)], "Laplace": [(LOC, SCALE)], "Cauchy": [(LOC, SCALE)],
    "Gumbel": [(LOC, SCALE)], "LogNormal": [(LOC, SCALE)], "HalfNormal": [(SCALE,)],
    "Exponential": [(SCALE,)], "Uniform": [(SCALE, SCALE + 2), (SCALE - 1, SCALE + 3)],
    "Pareto": [(SCALE, SCALE + 3)], "Gamma": [(SCALE, SCALE + 1)], "Poisson": [(SCALE,)],
    "Bernoulli": [(SCALE / 2,), (SCALE / 3,)], "Geometric": [(SCALE / 2,), (SCALE / 3,)],
    "Categorical": [(SCALE,)], "OneHotCategorical": [(SCALE,)], "Dirichlet": [(SCALE,)],
    "Beta": [(SCALE, SCALE + 0.3)], "Binomial": [(COUNT, SCALE / 2), (COUNT, SCALE / 3)],
    "ContinuousBernoulli": [(SCALE / 2,), (SCALE / 3,)],
    "MultivariateNormal": [(LOC, positive(2)), (LOC[0], positive(seed=1))],
    "LowRankMultivariateNormal": [
        (LOC, positive(2)[..., :2], SCALE), (LOC[1], positive(seed=2)[..., :1], SCALE)],
}  # fmt: skip


def made(module, lib, name, which):
    options = DISTRIBUTIONS[name]
    arrays = options[0]
    if which == "q":
        arrays = options[1] if len(options) > 1 else [np.ascontiguousarray(
            x[:, ::-1]) * 1.25 for x in arrays]  # fmt: skip
    tensors = [lib.tensor(x, requires_grad=x is not COUNT) for x in arrays]
    return getattr(module, name)(*tensors), tensors


def same(p, q):
    """The divergence and its gradients, or that there is none."""
    results = []
    for module, lib in ((theirs, torch), (ours, tk)):
        (a, x), (b, y) = made(module, lib, p, "p"), made(module, lib, q, "q")
        try:
            results.append((module.kl_divergence(a, b), [*x, *y]))
        except NotImplementedError as error:
            results.append((str(error), None))
    (want, inputs), (got, mine) = results
    if inputs is None:
        assert mine is None and "No KL(p || q)" in got
        return False
    assert np.isinf(want.detach().numpy()).all() or tuple(got.shape) == tuple(want.shape)
    if not np.isfinite(want.detach().numpy()).all():
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy())
        return True
    close(got, want, 1e-8, 1e-8)
    got.sum().backward()
    want.sum().backward()
    for x, y in zip(mine, inputs, strict=True):
        if y.grad is not None:
            close(x.grad, y.grad, 1e-6, 1e-7)
    return True


@pytest.mark.parametrize("p", DISTRIBUTIONS)
def test_divergences(p):
    assert sum(same(p, q) for q in DISTRIBUTIONS) >= 1


def test_every_pair_of_torch_is_there():
    from torch.distributions.kl import _KL_REGISTRY

    def names(pairs):
        return {(p.__name__, q.__name__) for p, q in pairs}

    assert names(_KL_REGISTRY) <= names(registry._RULES)
    tried = {(p, q) for p in DISTRIBUTIONS for q in DISTRIBUTIONS}
    others = {"ExponentialFamily", "Independent", "TransformedDistribution"}
    untried = names(_KL_REGISTRY) - tried
    assert {p for p, _ in untried} <= others


@pytest.mark.parametrize(
    ("p", "q", "want"),
    [
        ("Uniform(0.2, 0.9)", "Beta(2.0, 3.0)", None),
        ("Uniform(0.2, 1.5)", "Beta(2.0, 3.0)", None),
        ("Uniform(0.2, 0.9)", "ContinuousBernoulli(0.3)", None),
        ("Uniform(0.0, 1.0)", "Beta(2.0, 3.0)", None),
        ("Uniform(-0.1, 0.9)", "ContinuousBernoulli(0.3)", np.inf),
        # Torch counts the ends of the support as outside.
        ("Uniform(0.0, 1.0)", "ContinuousBernoulli(0.5)", 0.0),
        ("ContinuousBernoulli(0.5)", "Uniform(0.0, 1.0)", 0.0),
        ("ContinuousBernoulli(0.3)", "Uniform(-1.0, 2.0)", None),
        ("ContinuousBernoulli(0.3)", "Uniform(0.5, 2.0)", np.inf),
        ("Beta(2.0, 3.0)", "Uniform(0.0, 1.0)", None),
        ("Beta(2.0, 3.0)", "Uniform(0.1, 1.0)", None),
        ("Uniform(-1.0, 1.0)", "Gamma(2.0, 3.0)", None),
        ("Pareto(1.0, 0.5)", "Gamma(2.0, 3.0)", None),
        ("Uniform(0.0, 2.0)", "Gamma(2.0, 3.0)", None),
        ("Gamma(2.0, 3.0)", "Gumbel(1.0, 2.0)", None),
        ("Poisson(2.0)", "Bernoulli(0.3)", None), ("Binomial(5, 0.3)", "Binomial(3, 0.3)", None),
        ("Binomial(2, 0.3)", "Binomial(3, 0.3)", NotImplementedError),
    ],
)  # fmt: skip
def test_edges(p, q, want):
    """Supports that reach out of others; None: torch's number."""

    def divergence(module):
        return module.kl_divergence(*(eval(t, vars(module)) for t in (p, q)))

    if want is NotImplementedError:
        with pytest.raises(want, match="KL between Binomials"):
            divergence(ours)
        return
    want = divergence(theirs).item() if want is None else want
    np.testing.assert_allclose(divergence(ours).item(), want, 1e-5, 2e-6)


def test_matrices_of_scatter():
    """Torch has the pair by its natural parameters, summed over the batch; both ways here."""
    found = []
    for module, lib in ((ours, tk), (theirs, torch)):
        p = [module.Wishart(df, lib.tensor(positive(seed=3))) for df in (4.5, 6.0)]
        q = module.Wishart(5.0, lib.tensor(positive(seed=4)))
        found.append([module.kl_divergence(x, q).item() for x in p])
    np.testing.assert_allclose(*found, 1e-6)
    batch = ours.Wishart(tk.tensor([4.5, 6.0], dtype=tk.float64), tk.tensor(positive(seed=3)))
    other = ours.Wishart(5.0, tk.tensor(positive(seed=4)))
    np.testing.assert_allclose(ours.kl_divergence(batch, other).numpy(), found[1], 1e-6)


def test_normals_of_other_sizes_are_refused():
    p, q = (ours.MultivariateNormal(tk.zeros(n), tk.eye(n)) for n in (2, 3))
    with pytest.raises(ValueError, match="different event shapes"):
        ours.kl_divergence(p, q)


def test_a_family_by_its_natural_parameters():
    """A subclass with a log normaliser has an entropy and a divergence."""

    def family(module):
        class Mine(module.ExponentialFamily):
            arg_constraints: dict = {}  # noqa: RUF012
            _mean_carrier_measure = 0

            def __init__(self, rate):
                self.rate = rate
                super().__init__(rate.shape, validate_args=False)

            @property
            def _natural_params(self):
                return (-self.rate,)

            def _log_normalizer(self, x):
                return -(-x).log()

        return Mine

    rates = [np.array([0.5, 2.0]), np.array([1.0, 0.3])]
    found = []
    for module, lib in ((ours, tk), (theirs, torch)):
        p, q = (lib.tensor(r, requires_grad=True) for r in rates)
        kind = family(module)
        a, b = kind(p), kind(q)
        divergence = module.kl_divergence(a, b)
        exact = module.kl_divergence(module.Exponential(p), module.Exponential(q))
        close(divergence, exact, 1e-9)
        close(a.entropy(), module.Exponential(p).entropy(), 1e-9)
        found.append(divergence)
    close(*found)
    with pytest.raises(NotImplementedError):
        ours.kl_divergence(family(ours)(tk.ones(1)), ours.Normal(0.0, 1.0))


def test_divergence_of_ones_own():
    class Mine(ours.Normal):
        pass

    p = Mine(0.0, 1.0)
    assert ours.kl_divergence(p, ours.Normal(0.0, 1.0)).item() == 0

    @ours.register_kl(Mine, Mine)
    def rule(p, q):
        return 7.0

    assert ours.kl_divergence(p, p) == 7.0
    wide = ours.Independent(ours.Normal(tk.zeros(3), 1.0), 1)
    assert ours.kl_divergence(wide, wide).shape == ()
    with pytest.raises(TypeError, match="Distribution subclass"):
        ours.register_kl(int, Mine)
