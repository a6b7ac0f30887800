"""Settings of the process and questions about types, by PyTorch's names."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from toolkit import dtypes
from toolkit._tensor import printing, promote
from toolkit._tensor.legacy import FUNCTIONS as TYPED
from toolkit._tensor.outputs import can_cast_codes
from toolkit.device import Device
from toolkit.device import device as as_device
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError

_values: dict[str, Any] = {"deterministic": False, "warn_only": False, "always": False,
                           "precision": "highest"}  # fmt: skip


class finfo:
    """The limits of a floating type."""

    def __init__(self, type: dtypes.DType | None = None) -> None:
        dtype = type or dtypes.BY_ONNX[promote.default_code]
        if not dtype.is_floating_point:
            raise DTypeError(f"finfo: a floating type is required, got {dtype.name}. Use iinfo.")
        limits: Any = ml_dtypes.finfo
        found = limits(dtype.numpy)
        self.bits = 8 * dtype.itemsize
        self.eps, self.max, self.min = float(found.eps), float(found.max), float(found.min)
        self.tiny = self.smallest_normal = float(found.smallest_normal)
        self.resolution = 10.0 ** -int(found.nmant * math.log10(2))  # As C's digits10.
        self.dtype = dtype.name

    def __repr__(self) -> str:
        parts = [f"{name}={getattr(self, name):g}" for name in
                 ("resolution", "min", "max", "eps", "smallest_normal", "tiny")]  # fmt: skip
        return f"finfo({', '.join(parts)}, dtype={self.dtype})"


class iinfo:
    """The limits of an integer type."""

    def __init__(self, type: dtypes.DType) -> None:
        if type.numpy.kind not in "iu":
            raise DTypeError(f"iinfo: an integer type is required, got {type.name}. Use finfo.")
        found = np.iinfo(type.numpy)
        self.bits, self.max, self.min = 8 * type.itemsize, int(found.max), int(found.min)
        self.dtype = type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def can_cast(from_: dtypes.DType, to: dtypes.DType) -> bool:
    """Whether results of one type may be written into another: its category is no lower."""
    return can_cast_codes(from_.onnx, to.onnx)


def is_nonzero(input: Any) -> bool:
    """Whether the only element is not zero.

    Raises:
        ShapeError: there is not exactly one.
    """
    if input.numel() != 1:
        count = "no values" if not input.numel() else "more than one value"
        raise ShapeError(f"Boolean value of Tensor with {count} is ambiguous")
    return bool(input)


def is_same_size(input: Any, other: Any) -> bool:
    """Whether two tensors have one shape."""
    return tuple(input.shape) == tuple(other.shape)


def is_signed(input: Any) -> bool:
    """Whether the element type has a sign."""
    return bool(input.dtype.is_signed)


def set_default_device(device: Any) -> None:
    """Where factories put tensors: the CPU."""
    as_device("cpu" if device is None else device)


def get_default_device() -> Device:
    """Where factories put tensors."""
    return as_device("cpu")


def set_default_tensor_type(t: Any, /) -> None:
    """`set_default_dtype`, by a typed class or its name."""
    kind: Any = TYPED.get(t.rpartition(".")[2]) if isinstance(t, str) else t
    if kind not in TYPED.values() or not kind.dtype.is_floating_point:
        raise DTypeError(
            "set_default_tensor_type: only floating-point types are supported as the default type, "
            f"got {t!r}."
        )
    promote.set_default(kind.dtype.onnx)


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Results do not depend on threads or runs here anyway; the setting is only kept."""
    _values.update(deterministic=bool(mode), warn_only=bool(warn_only))


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` set."""
    return bool(_values["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` set."""
    return bool(_values["warn_only"])


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """`use_deterministic_algorithms` as "default", "warn" or "error" (0, 1, 2)."""
    names = ("default", "warn", "error")
    if debug_mode not in (0, 1, 2, *names):
        raise InvalidArgumentError(
            f"set_deterministic_debug_mode: one of {names} or 0, 1, 2 is required, got "
            f"{debug_mode!r}."
        )
    level = names.index(debug_mode) if isinstance(debug_mode, str) else debug_mode
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2: default, warn, error."""
    return 0 if not _values["deterministic"] else 1 if _values["warn_only"] else 2


def set_float32_matmul_precision(precision: str) -> None:
    """Kept only: products of float32 are always computed in float32 here."""
    if precision not in ("highest", "high", "medium"):
        raise InvalidArgumentError(
            "set_float32_matmul_precision: 'highest', 'high' or 'medium' is required, got "
            f"{precision!r}."
        )
    _values["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` set."""
    return str(_values["precision"])


def set_flush_denormal(mode: bool) -> bool:
    """Whether it is so: kernels always flush denormal numbers to zero (NUMERICS.md)."""
    return bool(mode)


def set_warn_always(b: bool, /) -> None:
    """Kept only: no warning is shown once only here."""
    _values["always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` set."""
    return bool(_values["always"])


def get_num_interop_threads() -> int:
    """1: operations run one after the other."""
    return 1


def set_num_interop_threads(n: int, /) -> None:
    """Operations run one after the other, whatever the number."""
    if n < 1:
        raise InvalidArgumentError(
            f"set_num_interop_threads: a positive number is required, got {n}."
        )


FUNCTIONS: dict[str, Any] = {
    f.__name__: f
    for f in (
        finfo, iinfo, can_cast, is_nonzero, is_same_size, is_signed, set_default_device,
        get_default_device, set_default_tensor_type, use_deterministic_algorithms,
        are_deterministic_algorithms_enabled, is_deterministic_algorithms_warn_only_enabled,
        set_deterministic_debug_mode, get_deterministic_debug_mode, set_float32_matmul_precision,
        get_float32_matmul_precision, set_flush_denormal, set_warn_always, is_warn_always_enabled,
        get_num_interop_threads, set_num_interop_threads, printing.set_printoptions,
    )
}  # fmt: skip
