"""The functions of the domain toolkit.special, all elementwise, by their number of operands."""

from __future__ import annotations

UNARY = frozenset(
    """
    AiryAi BesselJ0 BesselJ1 BesselY0 BesselY1 Digamma Entr Erfc Erfcx ErfInv Exp2 Expm1 I0 I0e I1
    I1e K0 K0e K1 K1e Lgamma Log10 Log1p Log2 LogNdtr Ndtri Sinc Trunc
    """.split()  # noqa: SIM905
)
BINARY = frozenset(
    """
    Atan2 Copysign Gcd Hypot Igamma Igammac LogAddExp LogAddExp2 Nextafter Xlog1py Xlogy Zeta
    """.split()  # noqa: SIM905
)
