"""Element types: PyTorch's names over ONNX's numbers and numpy's types."""

from __future__ import annotations

import builtins
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.errors import DTypeError


class DType:
    """One element type. Compare with `is`; there is one object per type."""

    __slots__ = (
        "is_complex",
        "is_floating_point",
        "is_signed",
        "itemsize",
        "name",
        "numpy",
        "onnx",
    )

    def __init__(self, name: str, onnx: builtins.int, numpy: Any, kind: str) -> None:
        self.name = name
        self.onnx = onnx
        self.numpy = np.dtype(numpy)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = kind == "f"
        self.is_complex = kind == "c"
        self.is_signed = kind in "fci"

    def __repr__(self) -> str:
        return f"toolkit.{self.name}"

    def __reduce__(self) -> str:
        return self.name  # Pickled and copied as the module's global of that name.


float32 = float = DType("float32", 1, np.float32, "f")
uint8 = DType("uint8", 2, np.uint8, "u")
int8 = DType("int8", 3, np.int8, "i")
uint16 = DType("uint16", 4, np.uint16, "u")
int16 = short = DType("int16", 5, np.int16, "i")
int32 = int = DType("int32", 6, np.int32, "i")
int64 = long = DType("int64", 7, np.int64, "i")
bool = DType("bool", 9, np.bool_, "b")
float16 = half = DType("float16", 10, np.float16, "f")
float64 = double = DType("float64", 11, np.float64, "f")
uint32 = DType("uint32", 12, np.uint32, "u")
uint64 = DType("uint64", 13, np.uint64, "u")
complex64 = DType("complex64", 14, np.complex64, "c")
complex128 = DType("complex128", 15, np.complex128, "c")
bfloat16 = DType("bfloat16", 16, ml_dtypes.bfloat16, "f")
# Storage types: what computes on them converts them first. One byte an element in memory.
float8_e4m3fn = DType("float8_e4m3fn", 17, ml_dtypes.float8_e4m3fn, "f")
float8_e4m3fnuz = DType("float8_e4m3fnuz", 18, ml_dtypes.float8_e4m3fnuz, "f")
float8_e5m2 = DType("float8_e5m2", 19, ml_dtypes.float8_e5m2, "f")
float8_e5m2fnuz = DType("float8_e5m2fnuz", 20, ml_dtypes.float8_e5m2fnuz, "f")
uint4 = DType("uint4", 21, ml_dtypes.uint4, "u")
int4 = DType("int4", 22, ml_dtypes.int4, "i")
float4_e2m1fn = DType("float4_e2m1fn", 23, ml_dtypes.float4_e2m1fn, "f")
float8_e8m0fnu = DType("float8_e8m0fnu", 24, ml_dtypes.float8_e8m0fnu, "f")
uint2 = DType("uint2", 25, ml_dtypes.uint2, "u")
int2 = DType("int2", 26, ml_dtypes.int2, "i")
float6_e2m3fn = DType("float6_e2m3fn", 27, ml_dtypes.float6_e2m3fn, "f")
float6_e3m2fn = DType("float6_e3m2fn", 28, ml_dtypes.float6_e3m2fn, "f")
string = DType("string", 8, np.object_, "s")  # Only in graphs: no Tensor holds strings.

ALL = (
    float32, uint8, int8, uint16, int16, int32, int64, bool, float16, float64,
    uint32, uint64, complex64, complex128, bfloat16,
)  # fmt: skip
NARROW = (
    float8_e4m3fn, float8_e4m3fnuz, float8_e5m2, float8_e5m2fnuz, float8_e8m0fnu,
    float4_e2m1fn, float6_e2m3fn, float6_e3m2fn, uint4, int4, uint2, int2,
)  # fmt: skip
BY_ONNX = {t.onnx: t for t in (*ALL, *NARROW, string)}
_BY_NUMPY = {t.numpy: t for t in (*ALL, *NARROW)}


def from_numpy(dtype: Any) -> DType:
    """The type of a numpy dtype.

    Raises:
        DTypeError: toolkit has no such element type.
    """
    try:
        return _BY_NUMPY[np.dtype(dtype)]
    except KeyError:
        raise DTypeError(f"dtype: a numeric or bool type is required, got {dtype}.") from None
