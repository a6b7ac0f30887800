"""Bodies of the error and gamma functions: rational approximations and asymptotic series."""

from __future__ import annotations

import math
from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite
from toolkit.graph.functions.special import INF, NAN, SPECIAL, log1p, polynomial, same_sign

V = Any  # An ir.Value under `arithmetic`.

# erfc(x) exp(x^2) on [1, 8) and from 8 on: quotients of polynomials (Moshier, Cephes; 4e-16).
_P = (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0,
      4.86371970985681366614e1, 1.96520832956077098242e2, 5.26445194995477358631e2,
      9.34528527171957607540e2, 1.02755188689515710272e3, 5.57535335369399327526e2)  # fmt: skip
_Q = (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2,
      9.75708501743205489753e2, 1.82390916687909736289e3, 2.24633760818710981792e3,
      1.65666309194161350182e3, 5.57535340817727675546e2)  # fmt: skip
_R = (5.64189583547755073984e-1, 1.27536670759978104416e0, 5.01905042251180477414e0,
      6.16021097993053585195e0, 7.40974269950448939160e0, 2.97886665372100240670e0)  # fmt: skip
_S = (1.0, 2.26052863220117276590e0, 9.39603524938001434673e0, 1.20489539808096656605e1,
      1.70814450747565897222e1, 9.60896809063285878198e0, 3.36907645100081516050e0)  # fmt: skip
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)  # B2, B4, …


def _scaled(b: Builder, x: V) -> V:
    """exp(x^2) erfc(x) for x >= 1; what is given below that is of no use."""
    near, far = b.Min(x, 8.0), b.Max(x, 8.0)
    inverse = b.Reciprocal(far)  # Powers of a large x would overflow.
    tail = polynomial(inverse, tuple(reversed(_R))) / polynomial(inverse, tuple(reversed(_S)))
    return b.Where(b.Less(x, 8.0), polynomial(near, _P) / polynomial(near, _Q), tail * inverse)


def _gauss(b: Builder, x: V) -> V:
    """exp(-x^2) by x = h + l with an exact h^2, as rounding x^2 would cost its ulp."""
    h = b.Round(b.Min(x, 32.0) * 16.0) * (1 / 16)
    return b.Exp(-(h * h)) * b.Exp((h - x) * (h + x))


@composite(SPECIAL, "Erfc", "x", "y")
def erfc(b: Builder, a: Attributes, x: V) -> V:
    """1 - erf(x) for |x| < 1, else by exp(-x^2) times a quotient of polynomials."""
    size = b.Abs(x)
    large = b.Max(size, 1.0)
    tail = b.Where(b.Greater(large, 28.0), 0.0, _gauss(b, b.Min(large, 28.0)) * _scaled(b, large))
    tail = b.Where(b.Less(x, 0.0), 2.0 - tail, tail)
    return b.Where(b.Less(size, 1.0), 1.0 - b.Erf(x), b.Where(b.IsNaN(x), NAN, tail))


@composite(SPECIAL, "Erfcx", "x", "y")
def erfcx(b: Builder, a: Attributes, x: V) -> V:
    """exp(x^2) erfc(x), without overflow for large x."""
    low = b.Min(x, 1.0)
    below = b.Exp(low * low) * erfc(b, {}, low)
    return b.Where(b.Less(x, 1.0), below, b.Where(b.IsNaN(x), NAN, _scaled(b, b.Max(x, 1.0))))


@composite(SPECIAL, "LogNdtr", "x", "y")
def log_ndtr(b: Builder, a: Attributes, x: V) -> V:
    """ln of the normal distribution function: ln(erfcx(-t) / 2) - t^2, t = x / sqrt 2, below -1."""
    t = x * math.sqrt(0.5)
    low, high = b.Min(t, -1.0), b.Max(t, -1.0)
    below = b.Log(erfcx(b, {}, -low) * 0.5) - low * low
    above = log1p(b, {}, erfc(b, {}, high) * -0.5)
    return b.Where(b.Less(t, -1.0), below, above)


@composite(SPECIAL, "ErfInv", "x", "y")
def erf_inv(b: Builder, a: Attributes, x: V) -> V:
    """A rational start, then two steps of Newton's method."""
    size = b.Abs(x)
    z = x * x
    centre = (
        x * polynomial(z, (-0.140543331, 0.914624893, -1.645349621, 0.886226899))
        / polynomial(z, (0.012229801, -0.329097515, 1.442710462, -2.118377725, 1.0))
    )  # fmt: skip
    edge = b.Min(b.Max(size, 0.7), 1.0)
    w = b.Sqrt(-b.Log((1.0 - edge) * 0.5))
    tail = polynomial(w, (1.641345311, 3.429567803, -1.624906493, -1.970840454)) / polynomial(
        w, (1.637067800, 3.543889200, 1.0)
    )
    y = b.Where(b.Greater(size, 0.7), same_sign(b, tail, x), centre)
    for _ in range(2):
        y = y - (b.Erf(y) - x) / (b.Exp(-(y * y)) * (2 / math.sqrt(math.pi)))
    y = b.Where(b.Equal(size, 1.0), same_sign(b, b.const(INF, x.dtype), x), y)
    return b.Where(b.Greater(size, 1.0), NAN, y)


# The normal quantile (Moshier, Cephes): y + y z P0/Q0, z = y^2, within 3/8 of the centre; in the
# tails x - ln(x)/x - P/Q(1/x) / x with x = sqrt(-2 ln p), for x < 8 and above.
_P0 = (-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1,
       1.39312609387279679503e1, -1.23916583867381258016e0)  # fmt: skip
_Q0 = (1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1,
       -2.25462687854119370527e2, 2.00260212380060660359e2, -8.20372256168333339912e1,
       1.59056225126211695515e1, -1.18331621121330003142e0)  # fmt: skip
_P1 = (4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1,
       4.40805073893200834700e1, 1.46849561928858024014e1, 2.18663306850790267539e0,
       -1.40256079171354495875e-1, -3.50424626827848203418e-2,
       -8.57456785154685413611e-4)  # fmt: skip
_Q1 = (1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1,
       1.50425385692907503408e1, 2.50464946208309415979e0, -1.42182922854787788574e-1,
       -3.80806407691578277194e-2, -9.33259480895457427372e-4)  # fmt: skip
_P2 = (3.23774891776946035970e0, 6.91522889068984211695e0, 3.93881025292474443415e0,
       1.33303460815807542389e0, 2.01485389549179081538e-1, 1.23716634817820021358e-2,
       3.01581553508235416007e-4, 2.65806974686737550832e-6, 6.23974539184983293730e-9)  # fmt: skip
_Q2 = (1.0, 6.02427039364742014255e0, 3.67983563856160859403e0, 1.37702099489081330271e0,
       2.16236993594496635890e-1, 1.34204006088543189037e-2, 3.28014464682127739104e-4,
       2.89247864745380683936e-6, 6.79019408009981274425e-9)  # fmt: skip


@composite(SPECIAL, "Ndtri", "p", "x")
def ndtri(b: Builder, a: Attributes, p: V) -> V:
    """The quantile of the normal distribution."""
    upper = b.Greater(p, 1 - math.exp(-2))
    q = b.Where(upper, 1.0 - p, p)
    y = b.Max(q, math.exp(-2)) - 0.5
    z = y * y
    centre = (y + y * z * polynomial(z, _P0) / polynomial(z, _Q0)) * math.sqrt(2 * math.pi)
    low = b.Min(q, math.exp(-2))
    t = b.Sqrt(b.Log(b.Where(b.Greater(low, 0.0), low, 0.5)) * -2.0)
    inverse = b.Reciprocal(t)
    near = polynomial(inverse, _P1) / polynomial(inverse, _Q1)
    far = polynomial(inverse, _P2) / polynomial(inverse, _Q2)
    tail = t - b.Log(t) * inverse - inverse * b.Where(b.Less(t, 8.0), near, far)
    x = b.Where(b.Greater(q, math.exp(-2)), centre, b.Where(upper, tail, -tail))
    x = b.Where(b.Equal(p, 0.0), -INF, b.Where(b.Equal(p, 1.0), INF, x))
    return b.Where(b.Or(b.Less(p, 0.0), b.Greater(p, 1.0)), NAN, x)


@composite(SPECIAL, "Lgamma", "x", "y")
def lgamma(b: Builder, a: Attributes, x: V) -> V:
    """ln |gamma(x)|: Stirling's series at x + 8; below 1/2 by reflection."""
    low = b.Less(x, 0.5)
    z = b.Where(low, 1.0 - x, x)
    product = z
    for k in range(1, 8):
        product = product * (z + float(k))
    s = z + 8.0
    inverse = b.Reciprocal(s)
    square = inverse * inverse
    series = polynomial(
        square, tuple(c / (2 * k * (2 * k - 1)) for k, c in reversed([*enumerate(BERNOULLI, 1)]))
    )
    high = b.Greater(z, 1e4)  # There the product might overflow, and the series is as exact.
    s = b.Where(high, z, s)
    log_s = b.Log(s)
    stirling = (s - 0.5) * (log_s - 1.0) + (0.5 * math.log(2 * math.pi) - 0.5)
    value = stirling + b.Where(high, 0.0, series * inverse - b.Log(b.Where(high, 1.0, product)))
    value = b.Where(b.IsInf(z), INF, value)
    whole = x - b.Floor(x)
    safe = b.Where(b.And(low, b.Greater(whole, 0.0)), whole, 0.5)
    reflected = -b.Log(b.Sin(safe * math.pi) * (1 / math.pi)) - value
    reflected = b.Where(b.Or(b.Equal(whole, 0.0), b.IsInf(x)), INF, reflected)
    return b.Where(low, reflected, value)


@composite(SPECIAL, "Digamma", "x", "y")
def digamma(b: Builder, a: Attributes, x: V) -> V:
    """The derivative of ln gamma: its asymptotic series at x + 10; below 0 by reflection."""
    low = b.Less(x, 0.0)
    z = b.Where(low, 1.0 - x, x)
    zero = b.Equal(z, 0.0)
    z = b.Where(zero, 1.0, z)
    steps = b.Reciprocal(z)
    for k in range(1, 10):
        steps = steps + b.Reciprocal(z + float(k))
    s = z + 10.0
    inverse = b.Reciprocal(s)
    square = inverse * inverse
    series = polynomial(square, tuple(c / (2 * k) for k, c in reversed([*enumerate(BERNOULLI, 1)])))
    value = b.Log(s) - inverse * 0.5 - series * square - steps
    whole = x - b.Floor(x)
    cot = b.Reciprocal(b.Tan(b.Where(b.Equal(whole, 0.0), 0.5, whole) * math.pi))
    reflected = b.Where(b.Equal(whole, 0.0), NAN, value - cot * math.pi)
    infinite = same_sign(b, b.const(INF, x.dtype), -x)
    return b.Where(low, reflected, b.Where(zero, infinite, value))


@composite(SPECIAL, "Zeta", "s q", "y")
def zeta(b: Builder, a: Attributes, s: V, q: V) -> V:
    """Hurwitz' sum of (q + k)^-s: twenty terms, then Euler and Maclaurin's series."""
    terms = b.Pow(q, -s)
    for k in range(1, 20):
        terms = terms + b.Pow(q + float(k), -s)
    w = q + 20.0
    power = b.Pow(w, -s)
    total = terms + power * w / (s - 1.0) + power * 0.5
    factor = s  # s (s + 1) … (s + 2k - 2) / w^(2k - 1)
    inverse = b.Reciprocal(w)
    factor = factor * inverse * power
    for k, number in enumerate(BERNOULLI, 1):
        total = total + factor * (number / math.factorial(2 * k))
        factor = factor * (s + float(2 * k - 1)) * (s + float(2 * k)) * inverse * inverse
    whole = b.Equal(q, b.Floor(q))
    bad = b.Or(b.Less(s, 1.0), b.And(b.Less(q, 0.0), b.Not(b.Equal(s, b.Floor(s)))))
    pole = b.Or(b.Equal(s, 1.0), b.And(b.LessOrEqual(q, 0.0), whole))
    return b.Where(bad, NAN, b.Where(pole, INF, total))
