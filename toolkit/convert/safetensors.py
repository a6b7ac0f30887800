"""Reads `.safetensors`: a header of JSON, then the tensors' bytes; no pickle.

https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit.errors import InvalidArgumentError

_TYPES = {
    "BOOL": dtypes.bool, "U8": dtypes.uint8, "I8": dtypes.int8, "U16": dtypes.uint16,
    "I16": dtypes.int16, "U32": dtypes.uint32, "I32": dtypes.int32, "U64": dtypes.uint64,
    "I64": dtypes.int64, "F16": dtypes.float16, "BF16": dtypes.bfloat16, "F32": dtypes.float32,
    "F64": dtypes.float64,
}  # fmt: skip


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file by name, memory-mapped.

    Raises:
        InvalidArgumentError: no such file, or one that is not as the format says.
    """
    where = f"read_safetensors '{os.fspath(path)}'"
    try:
        data = np.memmap(Path(path), np.uint8, "r")
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"{where}: a file is required, got {error}.") from None
    size = int.from_bytes(data[:8].tobytes(), "little") if len(data) >= 8 else len(data)
    try:
        header = json.loads(data[8 : 8 + size].tobytes()) if size <= len(data) - 8 else None
        if not isinstance(header, dict):
            raise ValueError(f"no header of {size} bytes")
        header.pop("__metadata__", None)
        return {name: _tensor(name, entry, data[8 + size :]) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidArgumentError(
            f"{where}: a header and the tensors that it lists are required, got {error}."
        ) from None


def _tensor(name: str, entry: Any, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    dtype, shape = _TYPES[entry["dtype"]].numpy, [int(d) for d in entry["shape"]]
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(data) or math.prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"'{name}' of {dtype} {shape} at bytes {begin} to {end} of {len(data)}")
    found: np.ndarray[Any, Any] = data[begin:end].view(dtype).reshape(shape)
    return found
