"""Exchange of values between numpy and the native core, without a copy where layouts agree."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from toolkit import dtypes
from toolkit.runtime import _core

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def to_native(array: Any) -> _core.Tensor:
    """Wraps an array; shares its memory when it is C-contiguous.

    Raises:
        DTypeError: the array's element type is none of toolkit's.
    """
    array = np.asarray(array)
    kind = dtypes.from_numpy(array.dtype)
    if not array.flags.c_contiguous:
        array = array.copy(order="C")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == _BFLOAT16:
        array = array.view(np.uint16)
    return _core.Tensor.from_array(array, kind.onnx)


def to_numpy(tensor: _core.Tensor) -> np.ndarray[Any, Any]:
    """A numpy array over the tensor's memory."""
    array = tensor.numpy()
    return array.view(_BFLOAT16) if tensor.dtype == dtypes.bfloat16.onnx else array
