"""Named arrays in files that other programs write and read: .npz, .safetensors, .json, .bin.

The state of a training that runs elsewhere travels in them, little-endian. No pickle.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.graph.atomic import write_atomically

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

_SAFE = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16,
    "U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16,
    "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
}  # fmt: skip
_SAFE_NAMES = {np.dtype(kind): name for name, kind in _SAFE.items()}


class Spec(NamedTuple):
    """What is known of an array without its file: the order of a list of them is that of `.bin`."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def write_arrays(path: str | os.PathLike[str], arrays: Arrays) -> None:
    """Writes arrays in the format that the name's ending says; on failure nothing is left there.

    Args:
        path: ends in .npz, .safetensors, .json or .bin (elements back to back, in order).
        arrays: by name.

    Raises:
        InvalidArgumentError: another ending, or a type that the format has not.
    """
    path = Path(path)
    plain = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    write_atomically(path, _format(path, _WRITERS)(plain))


def read_arrays(
    path: str | os.PathLike[str], specs: Sequence[Spec] | None = None
) -> dict[str, Array]:
    """Reads arrays that `write_arrays` or another program wrote.

    Args:
        path: ends as in `write_arrays`.
        specs: what the file holds; required for .bin, and for .json of plain lists of numbers.

    Raises:
        InvalidArgumentError: another ending, or a file that is not what it says.
    """
    path = Path(path)
    read = _format(path, _READERS)
    try:
        found: dict[str, Array] = read(path.read_bytes(), specs)
        return found
    except OSError:
        raise
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"'{path}': {error}") from None
    except Exception as error:  # Whatever a parser says of a broken file.
        raise InvalidArgumentError(
            f"'{path}': a whole {path.suffix} file is required, got one that does not parse "
            f"({type(error).__name__}: {error})."
        ) from None


def _format(path: Path, table: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if path.suffix not in table:
        raise InvalidArgumentError(
            f"states: a name that ends in {', '.join(table)} is required, got '{path.name}'."
        )
    return table[path.suffix]


def _write_npz(arrays: Arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _read_npz(text: bytes, specs: Sequence[Spec] | None) -> dict[str, Array]:
    with np.load(io.BytesIO(text), allow_pickle=False) as found:
        return dict(found)


def _write_safetensors(arrays: Arrays) -> bytes:
    """Eight bytes of the header's length, a JSON header padded with blanks, the elements."""
    header: dict[str, Any] = {}
    end = 0
    for name, a in arrays.items():
        if a.dtype not in _SAFE_NAMES:
            raise InvalidArgumentError(
                f"states: a type of safetensors is required, got {a.dtype} for '{name}'."
            )
        start, end = end, end + a.nbytes
        kind = _SAFE_NAMES[a.dtype]
        header[name] = {"dtype": kind, "shape": list(a.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join(
        [len(text).to_bytes(8, "little"), text, *(a.tobytes() for a in arrays.values())]
    )


def _read_safetensors(text: bytes, specs: Sequence[Spec] | None) -> dict[str, Array]:
    length = int.from_bytes(text[:8], "little")
    header = json.loads(text[8 : 8 + length])
    header.pop("__metadata__", None)
    data = memoryview(text)[8 + length :]
    found = {}
    for name, entry in header.items():
        if entry["dtype"] not in _SAFE:
            raise InvalidArgumentError(f"a known type is required, got {entry['dtype']}.")
        start, end = entry["data_offsets"]
        spec = Spec(name, np.dtype(_SAFE[entry["dtype"]]), tuple(entry["shape"]))
        found[name] = _array(data[start:end], spec)
    return found


def _write_bin(arrays: Arrays) -> bytes:
    return b"".join(a.tobytes() for a in arrays.values())


def _read_bin(text: bytes, specs: Sequence[Spec] | None) -> dict[str, Array]:
    if specs is None:
        raise InvalidArgumentError("a table of what a .bin file holds is required, got none.")
    sizes = [math.prod(s.shape) * s.dtype.itemsize for s in specs]
    if sum(sizes) != len(text):
        raise InvalidArgumentError(f"{sum(sizes)} bytes are required, got {len(text)}.")
    ends = np.cumsum([0, *sizes])
    data = memoryview(text)
    parts = zip(specs, ends[:-1], ends[1:], strict=True)
    return {s.name: _array(data[a:b], s) for s, a, b in parts}


def _write_json(arrays: Arrays) -> bytes:
    """{name: {"dtype", "shape", "data"}}, the elements as one flat list."""
    entries = {
        name: {"dtype": str(a.dtype), "shape": list(a.shape), "data": a.reshape(-1).tolist()}
        for name, a in arrays.items()
    }
    return json.dumps(entries).encode()


def _read_json(text: bytes, specs: Sequence[Spec] | None) -> dict[str, Array]:
    """Also {name: [numbers]} of known arrays; 64-bit integers may be strings, for JavaScript."""
    known = {s.name: s for s in specs or ()}
    found = {}
    for name, entry in json.loads(text).items():
        if isinstance(entry, dict):
            data = entry["data"]
            spec = Spec(name, np.dtype(entry["dtype"]), tuple(entry["shape"]))
        elif name in known:
            data, spec = entry, known[name]
        else:
            raise InvalidArgumentError(
                f"a table that gives '{name}' a shape is required, got none."
            )
        whole = spec.dtype.kind in "iu"
        numbers = [int(x) for x in data] if whole else [float(x) for x in data]
        found[name] = _sized(np.array(numbers, spec.dtype), spec)
    return found


def _array(data: memoryview, spec: Spec) -> Array:
    whole = len(data) // spec.dtype.itemsize * spec.dtype.itemsize
    return _sized(np.frombuffer(data[:whole], spec.dtype), spec)


def _sized(flat: Array, spec: Spec) -> Array:
    if flat.size != math.prod(spec.shape):
        raise InvalidArgumentError(
            f"{math.prod(spec.shape)} elements are required for '{spec.name}', got {flat.size}."
        )
    return flat.reshape(spec.shape)


_WRITERS = {
    ".npz": _write_npz, ".safetensors": _write_safetensors,
    ".json": _write_json, ".bin": _write_bin,
}  # fmt: skip
_READERS = {
    ".npz": _read_npz, ".safetensors": _read_safetensors, ".json": _read_json, ".bin": _read_bin,
}  # fmt: skip
