"""Probability distributions, as in `torch.distributions`."""

from toolkit.distributions import (
    constraints,
    kl,
    kl_gamma,  # noqa: F401 - registers its pairs, as the next two do
    kl_matrices,  # noqa: F401
    kl_shares,  # noqa: F401
    transforms,
)
from toolkit.distributions.bounded import (
    ContinuousBernoulli,
    GeneralizedPareto,
)
from toolkit.distributions.circular import VonMises
from toolkit.distributions.constraint_registry import (
    biject_to,
    transform_to,
)
from toolkit.distributions.counts import (
    Binomial,
    Multinomial,
)
from toolkit.distributions.discrete import (
    Bernoulli,
    Categorical,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
)
from toolkit.distributions.distribution import (
    Distribution,
    ExponentialFamily,
)
from toolkit.distributions.extremes import (
    Gumbel,
    Kumaraswamy,
    Pareto,
    Weibull,
)
from toolkit.distributions.gamma import (
    Chi2,
    Gamma,
    InverseGamma,
)
from toolkit.distributions.kl import (
    kl_divergence,
    register_kl,
)
from toolkit.distributions.location_scale import (
    Cauchy,
    Laplace,
    Normal,
    Uniform,
)
from toolkit.distributions.multivariate import (
    LowRankMultivariateNormal,
    MultivariateNormal,
)
from toolkit.distributions.of_normal import (
    HalfCauchy,
    HalfNormal,
    LogisticNormal,
    LogNormal,
)
from toolkit.distributions.positive import (
    Exponential,
    Geometric,
)
from toolkit.distributions.rates import (
    NegativeBinomial,
    Poisson,
)
from toolkit.distributions.ratios import (
    FisherSnedecor,
    StudentT,
)
from toolkit.distributions.relaxed import (
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)
from toolkit.distributions.simplex import (
    Beta,
    Dirichlet,
)
from toolkit.distributions.transformed import (
    Independent,
    MixtureSameFamily,
    TransformedDistribution,
)
from toolkit.distributions.transforms import (
    ComposeTransform,
    IndependentTransform,
    Transform,
    identity_transform,
)
from toolkit.distributions.transforms_matrix import (
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
)
from toolkit.distributions.transforms_pointwise import (
    AbsTransform,
    AffineTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
)
from toolkit.distributions.transforms_shape import (
    CatTransform,
    CumulativeDistributionTransform,
    ReshapeTransform,
    SoftmaxTransform,
    StackTransform,
    StickBreakingTransform,
)
from toolkit.distributions.wishart import (
    LKJCholesky,
    Wishart,
)

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "Bernoulli",
    "Beta",
    "Binomial",
    "CatTransform",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ComposeTransform",
    "ContinuousBernoulli",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "Dirichlet",
    "Distribution",
    "ExpTransform",
    "Exponential",
    "ExponentialFamily",
    "FisherSnedecor",
    "Gamma",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "IndependentTransform",
    "InverseGamma",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "LowRankMultivariateNormal",
    "LowerCholeskyTransform",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "StudentT",
    "TanhTransform",
    "Transform",
    "TransformedDistribution",
    "Uniform",
    "VonMises",
    "Weibull",
    "Wishart",
    "biject_to",
    "constraints",
    "identity_transform",
    "kl",
    "kl_divergence",
    "register_kl",
    "transform_to",
    "transforms",
]
