"""Densities, moments, samples, gradients and supports beside torch's."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import distributions as ours
from toolkit.distributions.gamma_draws import log_gamma_slope
from toolkit.errors import InvalidArgumentError

torch = pytest.importorskip("torch")
theirs = torch.distributions
# Torch's Wishart says so of every sample that is not.
pytestmark = pytest.mark.filterwarnings("ignore:Singular sample detected")


def both(name, *arrays, dtype=np.float64, **options):
    """A distribution of each, over the same parameters."""
    found = []
    for lib, module in ((tk, ours), (torch, theirs)):
        args = [lib.tensor(np.asarray(a, dtype)) for a in arrays]
        more = {k: lib.tensor(np.asarray(v, dtype)) for k, v in options.items()}
        found.append(getattr(module, name)(*args, **more))
    return found


def simplex(rng, *shape):
    x = rng.random(shape) + 0.1
    return x / x.sum(-1, keepdims=True)


def positive(*batch, n=3, seed=7):
    """Positive definite matrices."""
    x = np.random.default_rng(seed).standard_normal((*batch, n, n + 2))
    return x @ x.swapaxes(-1, -2) / n + 0.3 * np.eye(n)


RNG = np.random.default_rng(0)
LOC, SCALE = RNG.standard_normal((3, 2)), RNG.random((3, 2)) + 0.5
PROBS = RNG.random((3, 2)) * 0.8 + 0.1
ROWS = {
    "Normal": lambda: both("Normal", LOC, SCALE),
    "Laplace": lambda: both("Laplace", LOC, SCALE),
    "Cauchy": lambda: both("Cauchy", LOC, SCALE),
    "Uniform": lambda: both("Uniform", LOC, LOC + SCALE),
    "Exponential": lambda: both("Exponential", SCALE),
    "HalfNormal": lambda: both("HalfNormal", SCALE),
    "HalfCauchy": lambda: both("HalfCauchy", SCALE),
    "LogNormal": lambda: both("LogNormal", LOC, SCALE * 0.5),
    "Gumbel": lambda: both("Gumbel", LOC, SCALE),
    "Pareto": lambda: both("Pareto", SCALE, SCALE + 4),
    "Weibull": lambda: both("Weibull", SCALE, SCALE + 1),
    "Kumaraswamy": lambda: both("Kumaraswamy", SCALE + 1, SCALE + 1.5),
    "Geometric": lambda: both("Geometric", PROBS),
    "Geometric logits": lambda: both("Geometric", logits=LOC),
    "Bernoulli": lambda: both("Bernoulli", PROBS),
    "Bernoulli logits": lambda: both("Bernoulli", logits=LOC),
    "Categorical": lambda: both("Categorical", simplex(RNG, 3, 4)),
    "Categorical logits": lambda: both("Categorical", logits=RNG.standard_normal((3, 4))),
    "OneHotCategorical": lambda: both("OneHotCategorical", simplex(RNG, 3, 4)),
    "OneHotCategoricalStraightThrough": lambda: both(
        "OneHotCategoricalStraightThrough", simplex(RNG, 3, 4)
    ),
    "Binomial": lambda: both("Binomial", np.full((3, 2), 6.0), PROBS),
    "Binomial logits": lambda: both("Binomial", np.full((3, 2), 6.0), logits=LOC),
    "Multinomial": lambda: [
        module.Multinomial(5, lib.tensor(simplex(np.random.default_rng(4), 3, 4)))
        for lib, module in ((tk, ours), (torch, theirs))
    ],
    "ContinuousBernoulli": lambda: both("ContinuousBernoulli", np.append(PROBS.ravel(), 0.5)),
    "ContinuousBernoulli logits": lambda: both("ContinuousBernoulli", logits=LOC),
    "GeneralizedPareto": lambda: both(  # Torch's takes float32 only.
        "GeneralizedPareto", LOC, SCALE, [[-0.4, 0.1], [0.0, 0.2], [0.05, -0.1]], dtype=np.float32
    ),
    "Gamma": lambda: both("Gamma", SCALE * 2, SCALE),
    "Chi2": lambda: both("Chi2", SCALE * 3),
    "InverseGamma": lambda: both("InverseGamma", SCALE + 5, SCALE),
    "Beta": lambda: both("Beta", SCALE + 1, SCALE * 2 + 0.5),
    "Beta at the ends": lambda: both("Beta", PROBS, PROBS[::-1].copy()),
    "Dirichlet": lambda: both("Dirichlet", RNG.random((3, 4)) * 2 + 1),
    "StudentT": lambda: both("StudentT", SCALE * 3 + 5, LOC, SCALE),
    "FisherSnedecor": lambda: both("FisherSnedecor", SCALE + 3, SCALE * 3 + 12),
    "Poisson": lambda: both("Poisson", SCALE * 4),
    "NegativeBinomial": lambda: both("NegativeBinomial", SCALE * 4, PROBS),
    "NegativeBinomial logits": lambda: both("NegativeBinomial", SCALE * 4, logits=LOC),
    "LogisticNormal": lambda: both("LogisticNormal", LOC, SCALE),
    "RelaxedBernoulli": lambda: both("RelaxedBernoulli", 0.7, PROBS),
    "RelaxedOneHotCategorical": lambda: both("RelaxedOneHotCategorical", 0.7, simplex(RNG, 3, 4)),
    "VonMises": lambda: both("VonMises", LOC, SCALE * 4),
    "MultivariateNormal": lambda: both("MultivariateNormal", VECTOR, positive()),
    "MultivariateNormal precision": lambda: both(
        "MultivariateNormal", VECTOR, precision_matrix=positive(4, 1)
    ),
    "MultivariateNormal factor": lambda: both(
        "MultivariateNormal", VECTOR[0], scale_tril=np.linalg.cholesky(positive(2))
    ),
    "LowRankMultivariateNormal": lambda: both(
        "LowRankMultivariateNormal", VECTOR[:, None], positive(4)[..., :2], np.exp(VECTOR[0])
    ),
    "Wishart": lambda: both("Wishart", 4.5, positive(2)),
    "Wishart precision": lambda: both("Wishart", [3.0, 5.0], precision_matrix=positive()),
    "Wishart factor": lambda: both("Wishart", 3.5, scale_tril=np.linalg.cholesky(positive())),
    "LKJCholesky": lambda: [
        module.LKJCholesky(3, lib.tensor(np.array([0.7, 1.0, 4.0])))
        for lib, module in ((tk, ours), (torch, theirs))
    ],
}
VECTOR = np.random.default_rng(5).standard_normal((4, 3))
# Torch's Multinomial takes its count in float32, its VonMises Bessel functions of 7 digits.
LOOSE = {"Multinomial": 1e-6, "VonMises": 1e-6}
# Without a variance, or with one of angles.
EMPTY = {"Categorical", "Categorical logits", "Cauchy", "HalfCauchy", "LKJCholesky", "VonMises"}


def close(got, want, rtol=1e-9, atol=1e-9):
    if want.dtype == torch.float32:
        rtol, atol = 2e-5, 2e-5
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol, atol)


def quantity(a, b, name, rtol=1e-9):
    """A property or method that torch has too."""
    try:
        want = getattr(b, name)
        want = want() if callable(want) else want
    except NotImplementedError:
        with pytest.raises(NotImplementedError):
            getattr(a, name)() if callable(getattr(type(a), name)) else getattr(a, name)
        return
    got = getattr(a, name)
    close(got() if callable(got) else got, want, rtol)


@pytest.mark.parametrize("name", ROWS)
def test_shapes_and_moments(name):
    a, b = ROWS[name]()
    assert tuple(a.batch_shape) == tuple(b.batch_shape)
    assert tuple(a.event_shape) == tuple(b.event_shape)
    assert (a.has_rsample, a.has_enumerate_support) == (b.has_rsample, b.has_enumerate_support)
    # Torch's mode of Kumaraswamy is NaN for a concentration0 above 1, and of Beta with poles at
    # both ends always the upper one: here the densest x.
    if name in ("Kumaraswamy", "Beta at the ends"):
        x = np.linspace(1e-4, 1 - 1e-4, 9999)[:, None, None]
        best = x[a.log_prob(tk.tensor(x)).argmax(0).numpy(), 0, 0]
        np.testing.assert_allclose(a.mode.numpy(), best, atol=2e-4)
    else:
        quantity(a, b, "mode")
    for which in ("mean", "variance", "stddev"):
        quantity(a, b, which, LOOSE.get(name, 1e-9))
    for which in ("entropy", "perplexity"):
        quantity(a, b, which, LOOSE.get(name, 1e-9))


@pytest.mark.parametrize("name", ROWS)
def test_log_prob_and_its_gradient(name):
    a, b = ROWS[name]()
    torch.manual_seed(0)
    y = b.sample((5,))
    x = tk.tensor(y.numpy())
    close(a.log_prob(x), b.log_prob(y), LOOSE.get(name, 1e-8))
    if b.has_rsample and "StraightThrough" not in name and name != "Uniform":
        p, q = tk.tensor(y.numpy(), requires_grad=True), y.clone().requires_grad_()
        a.log_prob(p).sum().backward()
        b.log_prob(q).sum().backward()
        close(p.grad, q.grad, 1e-7, 1e-7)


@pytest.mark.parametrize("name", ROWS)
def test_cdf_and_icdf(name):
    a, b = ROWS[name]()
    torch.manual_seed(0)
    y = b.sample((5,))
    kind = y.dtype if y.is_floating_point() else torch.double
    for which, value in (("cdf", y), ("icdf", torch.rand(5, *b.batch_shape).to(kind))):
        try:
            want = getattr(b, which)(value)
        except NotImplementedError:
            continue
        close(getattr(a, which)(tk.tensor(value.numpy())), want, 1e-7, 1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_samples_have_the_moments(name):
    a, b = ROWS[name]()
    tk.manual_seed(1)
    x = a.sample((40_000,))
    assert tuple(x.shape) == (40_000, *b.batch_shape, *b.event_shape)
    assert bool(b.support.check(torch.tensor(x.numpy())).all())
    if name == "LKJCholesky":
        return  # Torch's rows have other lengths than the onion method's: see test_matrices.py.
    if name in EMPTY or "Relaxed" in name or name == "LogisticNormal":
        torch.manual_seed(1)  # Quantiles of torch's samples in place of moments.
        got, want = (np.quantile(np.asarray(v), [0.2, 0.5, 0.8], axis=0)
                     for v in (x.numpy(), b.sample((40_000,)).numpy()))  # fmt: skip
        np.testing.assert_allclose(got, want, 0.05, 0.05)
        return
    error = b.stddev.numpy() / 200
    assert (np.abs(x.numpy().mean(0) - b.mean.numpy()) < 5 * error + 1e-9).all()
    np.testing.assert_allclose(x.numpy().var(0), b.variance.numpy(), 0.15, 1e-3)


REPARAMETERISED = ["Normal", "Laplace", "Uniform", "Exponential", "LogNormal", "Gumbel", "Weibull"]


@pytest.mark.parametrize("name", REPARAMETERISED)
def test_rsample_gradients(name):
    """The mean gradient of samples is the gradient of the mean."""
    start = [LOC, LOC + SCALE] if name == "Uniform" else [LOC, SCALE]
    if name == "Exponential":
        start = [SCALE]
    elif name == "Weibull":
        start = [SCALE, SCALE + 1]
    p = [tk.tensor(v, requires_grad=True) for v in start]
    q = [torch.tensor(v, requires_grad=True) for v in start]
    tk.manual_seed(3)
    getattr(ours, name)(*p).rsample((20_000,)).mean(0).sum().backward()
    getattr(theirs, name)(*q).mean.sum().backward()
    for x, y in zip(p, q, strict=True):
        want = 0.0 if y.grad is None else y.grad.numpy()
        np.testing.assert_allclose(x.grad.numpy(), want, 0.1, 0.05)


def test_rsample_gradients_of_gamma_ratios():
    """The mean gradient of samples is the gradient of the mean."""
    for name, start in (
        ("Gamma", [SCALE * 2, SCALE]),
        ("Beta", [PROBS, SCALE]),
        ("Chi2", [SCALE]),
        ("InverseGamma", [SCALE + 5, SCALE]),
        ("Dirichlet", [SCALE]),
        ("FisherSnedecor", [SCALE + 3, SCALE * 3 + 12]),
    ):
        p = [tk.tensor(v, requires_grad=True) for v in start]
        q = [torch.tensor(v, requires_grad=True) for v in start]
        tk.manual_seed(3)
        weight = np.array([1.0, 3.0])
        a = getattr(ours, name)(*p).rsample((6000,)).mean(0)
        (a * tk.tensor(weight)).sum().backward()
        (getattr(theirs, name)(*q).mean * torch.tensor(weight)).sum().backward()
        for x, y in zip(p, q, strict=True):
            want = 0.0 if y.grad is None else y.grad.numpy()
            np.testing.assert_allclose(x.grad.numpy(), want, 0.15, 0.05, err_msg=name)


@pytest.mark.parametrize("a", [0.02, 0.3, 1.0, 4.0, 60.0])
def test_the_implicit_gradient_of_gamma_variables(a):
    """-(dP / da) / (x dP / dx) with finite differences of the incomplete gamma function P."""
    x = torch.tensor(np.array([0.02, 0.3, 0.9, 1.2, 2.0]) * a)
    h = 1e-5 * a
    ends = [torch.special.gammainc(torch.full_like(x, a + s * h), x) for s in (1, -1)]
    density = theirs.Gamma(torch.tensor(a, dtype=x.dtype), 1.0).log_prob(x).exp()
    want = -(ends[0] - ends[1]) / (2 * h) / (x * density)
    known = (ends[0] > 1e-7) & (ends[0] < 1 - 1e-7)  # Elsewhere they are rounding.
    got = log_gamma_slope(tk.full((5,), a, dtype=tk.float64), tk.tensor(x.log().numpy()))
    np.testing.assert_allclose(got.numpy()[known], want.numpy()[known], 2e-5)


def test_small_shapes_do_not_underflow():
    tk.manual_seed(0)
    shares = ours.Dirichlet(tk.full((3,), 1e-3)).sample((4000,))
    np.testing.assert_allclose(shares.numpy().mean(0), 1 / 3, atol=0.04)
    np.testing.assert_allclose(shares.numpy().sum(-1), 1, atol=1e-5)


def test_straight_through_passes_the_gradient_of_probabilities():
    probs = tk.tensor(simplex(RNG, 2, 3), requires_grad=True)
    sample = ours.OneHotCategoricalStraightThrough(probs).rsample((4,))
    assert set(np.round(sample.detach().numpy(), 9).ravel()) <= {0.0, 1.0}
    (sample * tk.arange(3, dtype=tk.float64)).sum().backward()
    assert np.abs(probs.grad.numpy()).max() > 0.1


@pytest.mark.parametrize("name", ROWS)
def test_expand(name):
    a, b = ROWS[name]()
    shape = (2, *b.batch_shape)
    wide, other = a.expand(shape), b.expand(shape)
    assert tuple(wide.batch_shape) == tuple(other.batch_shape)
    torch.manual_seed(0)
    y = other.sample()
    close(wide.log_prob(tk.tensor(y.numpy())), other.log_prob(y), LOOSE.get(name, 1e-8))
    assert tuple(wide.sample((3,)).shape) == tuple(other.sample((3,)).shape)


@pytest.mark.parametrize("name", [n for n in ROWS if "Bern" in n or "Categ" in n])
def test_enumerate_support(name):
    a, b = ROWS[name]()
    for expand in (True, False):
        if b.has_enumerate_support:
            close(a.enumerate_support(expand), b.enumerate_support(expand))


def mixtures():
    found = []
    for lib, m in ((tk, ours), (torch, theirs)):
        weights = m.Categorical(lib.tensor(simplex(np.random.default_rng(1), 3, 2)))
        found.append(m.MixtureSameFamily(weights, m.Normal(lib.tensor(LOC), lib.tensor(SCALE))))
        parts = m.Independent(m.Normal(lib.tensor(LOC), lib.tensor(SCALE)), 1)
        weights = m.Categorical(lib.tensor(simplex(np.random.default_rng(2), 3)))
        found.append(m.MixtureSameFamily(weights, parts))
    return [(found[0], found[2]), (found[1], found[3])]


@pytest.mark.parametrize("which", [0, 1])
def test_mixtures(which):
    a, b = mixtures()[which]
    close(a.mean, b.mean)
    close(a.variance, b.variance)
    y = b.sample((5,))
    close(a.log_prob(tk.tensor(y.numpy())), b.log_prob(y))
    if which == 0:
        close(a.cdf(tk.tensor(y.numpy())), b.cdf(y))
    tk.manual_seed(0)
    x = a.sample((20_000,)).numpy()
    np.testing.assert_allclose(x.mean(0), b.mean.numpy(), atol=0.06)
    np.testing.assert_allclose(x.var(0), b.variance.numpy(), rtol=0.1)


def test_independent():
    a = ours.Independent(ours.Normal(tk.tensor(LOC), tk.tensor(SCALE)), 1)
    b = theirs.Independent(theirs.Normal(torch.tensor(LOC), torch.tensor(SCALE)), 1)
    assert tuple(a.batch_shape) == (3,) and tuple(a.event_shape) == (2,)
    close(a.log_prob(tk.tensor(LOC)), b.log_prob(torch.tensor(LOC)))
    close(a.entropy(), b.entropy())
    assert repr(a) == repr(b).replace("torch.", "toolkit.")


def test_numbers_as_parameters_and_words():
    assert repr(ours.Normal(0.0, 1.0)) == repr(theirs.Normal(0.0, 1.0))
    words = repr(theirs.Normal(torch.zeros(2), 1.0)).replace("torch.", "toolkit.")
    assert repr(ours.Normal(tk.zeros(2), 1.0)) == words
    assert ours.Normal(0, 1).sample((2, 3)).dtype == tk.float32
    assert ours.Bernoulli(logits=0.0).probs.item() == 0.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ours.Normal(0.0, -1.0), "Expected parameter scale"),
        (lambda: ours.Uniform(1.0, 0.0), "Expected parameter low"),
        (lambda: ours.Bernoulli(2.0), "constraint Interval"),
        (lambda: ours.Bernoulli(), "Either `probs` or `logits`"),
        (lambda: ours.Categorical(tk.tensor(1.0)), "at least one-dimensional"),
        (lambda: ours.Exponential(1.0).log_prob(tk.tensor(-1.0)), "within the support"),
        (lambda: ours.Normal(tk.zeros(3), 1.0).log_prob(tk.zeros(2)), "not broadcastable"),
        (lambda: ours.Geometric(0.0), "to be positive"),
        (lambda: ours.Normal(tk.zeros(3), tk.ones(2)), "shapes that broadcast"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(InvalidArgumentError, match=message):
        build()


def test_validation_can_be_switched_off():
    assert ours.Normal(0.0, -1.0, validate_args=False).scale.item() == -1
    ours.Distribution.set_default_validate_args(False)
    try:
        ours.Normal(0.0, -1.0)
    finally:
        ours.Distribution.set_default_validate_args(True)
