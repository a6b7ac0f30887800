"""Names of the package's top level beyond those in `functions`: one table, by where they live."""

from __future__ import annotations

from typing import Any

from toolkit._tensor import attributes, autocast, creation, formats, legacy, settings, special

# Functions that are methods.
METHODS = [
    "arccosh",
    "arcsinh",
    "arctan2",
    "arctanh",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "copysign",
    "deg2rad",
    "digamma",
    "erfinv",
    "float_power",
    "fmax",
    "fmin",
    "frexp",
    "gcd",
    "hardshrink",
    "hypot",
    "i0",
    "igamma",
    "igammac",
    "isneginf",
    "isposinf",
    "isreal",
    "lcm",
    "ldexp",
    "lgamma",
    "logaddexp",
    "logaddexp2",
    "mvlgamma",
    "nextafter",
    "positive",
    "rad2deg",
    "signbit",
    "sinc",
    "xlogy",
    *attributes.METHODS,
]

FUNCTIONS: dict[str, Any] = {
    "polygamma": special.polygamma,
    **attributes.FUNCTIONS,
    **creation.FUNCTIONS,
    **legacy.FUNCTIONS,
    **settings.FUNCTIONS,
    **formats.FUNCTIONS,
    **autocast.FUNCTIONS,
}
