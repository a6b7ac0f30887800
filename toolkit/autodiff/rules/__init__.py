"""Gradient rules, one family a module; importing this package registers all of them."""

from toolkit.autodiff.rules import (
    activation,
    composites,
    conv,
    einsum,
    elementwise,
    indexing,
    logical,
    matmul,
    normalization,
    pool,
    random,
    reduction,
    shape,
)

__all__ = [
    "activation",
    "composites",
    "conv",
    "einsum",
    "elementwise",
    "indexing",
    "logical",
    "matmul",
    "normalization",
    "pool",
    "random",
    "reduction",
    "shape",
]
