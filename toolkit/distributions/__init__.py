"""Probability distributions, as in `torch.distributions`."""

from toolkit.distributions import constraints, kl, transforms
from toolkit.distributions.bounded import (
    ContinuousBernoulli,
    GeneralizedPareto,
)
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
from toolkit.distributions.relaxed import (
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
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

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "Bernoulli",
    "Binomial",
    "CatTransform",
    "Categorical",
    "Cauchy",
    "ComposeTransform",
    "ContinuousBernoulli",
    "CumulativeDistributionTransform",
    "Distribution",
    "ExpTransform",
    "Exponential",
    "ExponentialFamily",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "IndependentTransform",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "MixtureSameFamily",
    "Multinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "PowerTransform",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "TransformedDistribution",
    "Uniform",
    "Weibull",
    "biject_to",
    "constraints",
    "identity_transform",
    "kl",
    "kl_divergence",
    "register_kl",
    "transform_to",
    "transforms",
]
