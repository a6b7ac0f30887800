"""The functions of the package's top level, `toolkit.exp(x)`: mostly the methods of `Tensor`."""

from __future__ import annotations

import math
from typing import Any

from toolkit import dtypes
from toolkit._tensor import complex as pairs
from toolkit._tensor import (
    counting,
    draws,
    extra,
    factories,
    joins,
    linalg,
    products,
    promote,
    sets,
    spectral,
    symint,
    windows,
)
from toolkit._tensor.autocast import ruled
from toolkit._tensor.base import TensorBase
from toolkit._tensor.einsum import einsum
from toolkit._tensor.elementwise import where
from toolkit._tensor.outputs import write_out
from toolkit._tensor.promote import is_number, result_code
from toolkit.errors import DTypeError

inf, nan, pi, e = math.inf, math.nan, math.pi, math.e

_FACTORIES = [
    "arange",
    "as_tensor",
    "bernoulli",
    "cat",
    "concat",
    "concatenate",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "multinomial",
    "normal",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "stack",
    "tensor",
    "zeros",
    "zeros_like",
]
_METHODS = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "addcdiv",
    "addcmul",
    "all",
    "allclose",
    "amax",
    "amin",
    "any",
    "arccos",
    "arcsin",
    "arctan",
    "argmax",
    "argmin",
    "argsort",
    "argwhere",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "baddbmm",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "bmm",
    "broadcast_to",
    "ceil",
    "chunk",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "clone",
    "cos",
    "cosh",
    "count_nonzero",
    "cumsum",
    "detach",
    "diag",
    "diagonal",
    "div",
    "divide",
    "dot",
    "eq",
    "equal",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "fix",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "floor",
    "floor_divide",
    "fmod",
    "frac",
    "gather",
    "ge",
    "gelu",
    "ger",
    "greater",
    "greater_equal",
    "gt",
    "heaviside",
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_select",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "lerp",
    "less",
    "less_equal",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logit",
    "logsumexp",
    "lt",
    "masked_fill",
    "masked_select",
    "matmul",
    "max",
    "maximum",
    "mean",
    "median",
    "min",
    "minimum",
    "mm",
    "moveaxis",
    "movedim",
    "mul",
    "multiply",
    "mv",
    "nan_to_num",
    "narrow",
    "ne",
    "neg",
    "negative",
    "nonzero",
    "not_equal",
    "numel",
    "outer",
    "permute",
    "pow",
    "prod",
    "ravel",
    "reciprocal",
    "relu",
    "remainder",
    "repeat_interleave",
    "reshape",
    "roll",
    "round",
    "rsqrt",
    "rsub",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "select",
    "sgn",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "std",
    "sub",
    "subtract",
    "sum",
    "swapaxes",
    "swapdims",
    "t",
    "take",
    "take_along_dim",
    "tan",
    "tanh",
    "tensor_split",
    "tile",
    "topk",
    "trace",
    "transpose",
    "tril",
    "triu",
    "true_divide",
    "trunc",
    "unbind",
    "unflatten",
    "unsqueeze",
    "var",
    "relu_",
    "is_floating_point",
]


_METHODS += [
    "aminmax", "as_strided", "as_strided_scatter", "chunk", "corrcoef", "cov", "cummax", "cummin",
    "cumprod", "cumulative_trapezoid", "detach_", "diag_embed", "diagflat", "diagonal_scatter",
    "diff", "dist", "dsplit", "gradient", "hsplit", "index_reduce", "index_select",
    "kthvalue", "logcumsumexp", "masked_scatter", "mode", "msort", "nanmean", "nanmedian",
    "nanquantile", "nansum", "narrow_copy", "nonzero_static", "put", "quantile", "renorm",
    "resize_as_", "rot90", "select_scatter", "slice_scatter", "split_with_sizes", "std_mean",
    "trapezoid", "trapz", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", "var_mean",
    "vsplit",
]  # fmt: skip


def names() -> list[str]:
    """All names of functions here."""
    return [*_FACTORIES, *_METHODS, *_OTHERS, *extra.METHODS, *extra.FUNCTIONS]


def find(name: str) -> Any:
    """A function by its name.

    Raises:
        AttributeError: there is none.
    """
    if name in _OTHERS:
        return _OTHERS[name]
    if name in _FACTORIES:
        return getattr(draws if hasattr(draws, name) else factories, name)
    if name in _METHODS or name in extra.METHODS or name.endswith("_"):
        return _method(name)
    if name in extra.FUNCTIONS:
        return extra.FUNCTIONS[name]
    raise AttributeError(f"module 'toolkit' has no attribute {name!r}")


def _method(name: str) -> Any:
    from toolkit.tensor import Tensor

    method = getattr(Tensor, name, None)
    if method is None or name.startswith("_"):
        raise AttributeError(f"module 'toolkit' has no attribute {name!r}")

    def function(input: Any, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if not isinstance(input, TensorBase):
            input = _first(name, input, (*args, *kwargs.values()))
        result = method(input, *args, **kwargs)
        return result if out is None else write_out(result, out, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = method.__doc__
    return function


def _first(name: str, input: Any, args: Any) -> Any:
    """A number in the first place of an operation with a tensor is a 0-dim tensor."""
    if is_number(input) and any(isinstance(a, TensorBase) for a in args):
        tensors = [a for a in args if isinstance(a, TensorBase)]
        return factories.tensor(input, dtype=dtypes.BY_ONNX[result_code(input, *tensors)])
    raise TypeError(
        f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
    )


def _where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """Elements of `input` where the condition holds, else of `other`."""
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    return where(condition, input, other)


def is_tensor(x: Any) -> bool:
    """Whether it is a tensor."""
    return isinstance(x, TensorBase)


def set_default_dtype(dtype: dtypes.DType) -> None:
    """The element type of Python floats and of factories.

    Raises:
        DTypeError: not a floating type.
    """
    if not dtype.is_floating_point:
        raise DTypeError(f"set_default_dtype: a floating type is required, got {dtype.name}.")
    promote.set_default(dtype.onnx)


def get_default_dtype() -> dtypes.DType:
    """The element type of Python floats and of factories."""
    return dtypes.BY_ONNX[promote.default_code]


def result_type(*operands: Any) -> dtypes.DType:
    """The element type that an operation on these would have."""
    return dtypes.BY_ONNX[result_code(*operands)]


def promote_types(a: dtypes.DType, b: dtypes.DType) -> dtypes.DType:
    """The smallest element type that both fit into."""
    return dtypes.BY_ONNX[promote.promote_codes(a.onnx, b.onnx)]


_OTHERS: dict[str, Any] = {
    **counting.FUNCTIONS, **joins.FUNCTIONS,
    "sym_max": symint.sym_max, "sym_min": symint.sym_min,
    "where": _where, "einsum": einsum, "is_tensor": is_tensor,
    "set_default_dtype": set_default_dtype, "get_default_dtype": get_default_dtype,
    "result_type": result_type, "promote_types": promote_types,
    "det": products.det, "unique": sets.unique, "unique_consecutive": sets.unique_consecutive,
    "searchsorted": sets.searchsorted, "bucketize": sets.bucketize,
    "stft": spectral.stft, "istft": spectral.istft,
    "ComplexTensor": pairs.ComplexTensor, "complex": pairs.complex_, "polar": pairs.polar,
    "view_as_real": pairs.view_as_real, "view_as_complex": pairs.view_as_complex,
    "real": pairs.real, "imag": pairs.imag, "angle": pairs.angle, "conj": pairs.conj,
    "is_complex": pairs.is_complex, **linalg.TOP,
    "hann_window": windows.hann_window, "hamming_window": windows.hamming_window,
    "blackman_window": windows.blackman_window, "bartlett_window": windows.bartlett_window,
    "kaiser_window": windows.kaiser_window,
}  # fmt: skip
_OTHERS = {name: ruled(name, function) for name, function in _OTHERS.items()}
