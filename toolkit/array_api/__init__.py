"""The Python array API standard, 2024.12, on the eager `Tensor`: `x.__array_namespace__()`.

Names, arguments and results are the standard's (https://data-apis.org/array-api/2024.12), where
they differ from PyTorch's: 0-dimensional arrays promote like any other, sums of unsigned integers
stay unsigned. Complex element types are deliberately absent: ONNX has complex numbers only as pairs
of floats, which is no Tensor but a `ComplexTensor`; `fft` gives and takes those.
"""

from __future__ import annotations

import math

from toolkit.array_api import fft, linalg
from toolkit.array_api.creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from toolkit.array_api.data_types import astype, can_cast, finfo, iinfo, isdtype, result_type
from toolkit.array_api.elementwise import *  # noqa: F403
from toolkit.array_api.elementwise import __all__ as _ELEMENTWISE
from toolkit.array_api.info import __array_namespace_info__
from toolkit.array_api.manipulation import (
    broadcast_arrays,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    moveaxis,
    permute_dims,
    repeat,
    reshape,
    roll,
    squeeze,
    stack,
    tile,
    unstack,
)
from toolkit.array_api.products import matmul, matrix_transpose, tensordot, vecdot
from toolkit.array_api.searching import (
    argmax,
    argmin,
    argsort,
    count_nonzero,
    nonzero,
    searchsorted,
    sort,
    take,
    take_along_axis,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
    where,
)
from toolkit.array_api.statistical import (
    all,
    any,
    cumulative_prod,
    cumulative_sum,
    diff,
    max,
    mean,
    min,
    prod,
    std,
    sum,
    var,
)
from toolkit.dtypes import (
    bool,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

__array_api_version__ = "2024.12"
e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None


__all__ = [
    "__array_api_version__", "__array_namespace_info__", "all", "any", "arange", "argmax", "argmin",
    "argsort", "asarray", "astype", "bool", "broadcast_arrays", "broadcast_to", "can_cast",
    "concat", "count_nonzero", "cumulative_prod", "cumulative_sum", "diff", "e", "empty",
    "empty_like", "expand_dims", "eye", "fft", "finfo", "flip", "float32", "float64",
    "from_dlpack", "full", "full_like", "iinfo", "inf", "int8", "int16", "int32", "int64",
    "isdtype", "linalg", "linspace", "matmul", "matrix_transpose", "max", "mean", "meshgrid",
    "min", "moveaxis", "nan", "newaxis", "nonzero", "ones", "ones_like", "permute_dims", "pi",
    "prod", "repeat", "reshape", "result_type", "roll", "searchsorted", "sort", "squeeze", "stack",
    "std", "sum", "take", "take_along_axis", "tensordot", "tile", "tril", "triu", "uint8",
    "uint16", "uint32", "uint64", "unique_all", "unique_counts", "unique_inverse", "unique_values",
    "unstack", "var", "vecdot", "where", "zeros", "zeros_like", *_ELEMENTWISE,
]  # fmt: skip
