"""Every pointwise, special and in-place function of a traced graph gives what it gives at once."""

from __future__ import annotations

import pytest
from test_tensor_tracing import check

import toolkit as tk
from toolkit._tensor.inplace import NAMES
from toolkit.errors import InvalidArgumentError
from toolkit.tracing import Trace

# Arguments of 0.2 to 0.8 lie in the domain of all of them.
POINTWISE = """
    acos acosh arccos arcsinh arctanh deg2rad digamma erfc erfinv exp2 expm1 fix frac hardshrink i0
    isfinite isneginf isposinf isreal lgamma log10 log1p log2 logit positive rad2deg rsqrt
    signbit sinc trunc
""".split()  # noqa: SIM905
SPECIAL = """
    airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 entr erfcx i0e i1 i1e log_ndtr
    modified_bessel_k0 modified_bessel_k1 ndtr ndtri scaled_modified_bessel_k0
    scaled_modified_bessel_k1 spherical_bessel_j0
""".split()  # noqa: SIM905
BINARY = """
    arctan2 copysign float_power fmax fmin hypot ldexp logaddexp logaddexp2 nextafter xlogy igamma
    igammac
""".split()  # noqa: SIM905
INPLACE = [n for n in NAMES if n in {*POINTWISE, "exp", "sin", "square", "neg", "sigmoid", "tanh"}]


def squash(x):
    """Numbers of [-2, 2] as numbers of [0.2, 0.8]."""
    return x * 0.15 + 0.5


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise(name):
    f = getattr(tk, name)
    check(lambda x: f(squash(x) + (1 if name == "acosh" else 0)).float(), (2, 3))


@pytest.mark.parametrize("name", SPECIAL)
def test_special(name):
    check(lambda x: getattr(tk.special, name)(squash(x)), (2, 3))


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    f = getattr(tk, name)
    check(lambda x, y: f(squash(x), squash(y)).float(), (2, 3), (2, 3))


@pytest.mark.parametrize("name", INPLACE)
def test_inplace(name):
    check(lambda x: getattr(squash(x), name + "_")() * 1.0, (2, 3))


def test_integers_and_polynomials():
    check(lambda x: tk.gcd((x * 9).long(), tk.tensor([6, 4, 10])).float(), (2, 3))
    check(lambda x: tk.special.legendre_polynomial_p(x, 5), (2, 3))
    check(lambda x: tk.special.zeta(squash(x) + 2, squash(x)), (2, 3))
    check(lambda x: tk.polygamma(2, squash(x)) * 0.01, (2, 3))
    check(lambda x: tk.frexp(x)[0], (2, 3))


def test_shapes_changed_in_place():
    check(lambda x: (x * 1).transpose_(0, 1).unsqueeze_(0), (2, 3))
    outside = tk.ones(2, 3)
    with Trace(), pytest.raises(InvalidArgumentError, match="made in this trace"):
        outside.t_()


def test_degrees_of_a_graph_are_not_known():
    with Trace() as t, pytest.raises(InvalidArgumentError, match="symbolic"):
        tk.special.hermite_polynomial_h(tk.ones(3), t.input("n", tk.int64, ("batch",)))


def test_a_view_outlives_no_change_of_shape():
    x = tk.zeros(2, 3)
    row = x[0]
    x.t_()
    with pytest.raises(InvalidArgumentError, match="in-place method"):
        row.add_(1)
