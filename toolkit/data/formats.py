"""File formats of data: IDX, npz, csv, text. Each function raises one-line errors."""

from __future__ import annotations

import csv
import gzip
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import InvalidArgumentError

Array = npt.NDArray[Any]

# Third byte of the magic number: element type (big-endian). http://yann.lecun.com/exdb/mnist
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path) -> Array:
    """The array of an IDX file, plain or gzip-compressed.

    Raises:
        InvalidArgumentError: a missing, truncated or other file.
    """
    path = Path(path)
    data = _read(path)
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidArgumentError(f"'{path}': whole gzip data is required: {error}.") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise InvalidArgumentError(
            f"'{path}': an IDX file is required, got one that begins with {data[:4].hex()!r}."
        )
    dtype, rank = np.dtype(_IDX_TYPES[data[2]]), data[3]
    header = 4 + 4 * rank
    if len(data) < header:
        raise InvalidArgumentError(
            f"'{path}': {header} bytes of header are required, got {len(data)}."
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", rank, 4))
    need = header + math.prod(shape) * dtype.itemsize
    if len(data) != need:
        raise InvalidArgumentError(
            f"'{path}': {need} bytes are required for shape {shape}, got {len(data)}."
        )
    array = np.frombuffer(data, dtype, offset=header).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def read_idx_pair(spec: str, directory: Path, part: str) -> tuple[Array, Array]:
    """Images (N, H, W) and labels (N,) of a part ("train" or "t10k") of a folder of IDX files."""
    if not directory.is_dir():
        raise InvalidArgumentError(f"data '{spec}': a folder is required, got '{directory}'.")
    arrays = []
    for kind, rank in (("images", 3), ("labels", 1)):
        stems = [f"{part}-{kind}-idx{rank}-ubyte", f"{part}-{kind}.idx{rank}-ubyte"]
        names = [stem + suffix for stem in stems for suffix in ("", ".gz")]
        found = [directory / name for name in names if (directory / name).is_file()]
        if not found:
            raise InvalidArgumentError(
                f"data '{spec}': a file {names[0]} or {names[1]} is required in '{directory}'."
            )
        array = read_idx(found[0])
        if array.ndim != rank:
            raise InvalidArgumentError(
                f"'{found[0]}': {rank} dimensions are required, got shape {array.shape}."
            )
        arrays.append(array)
    return arrays[0], arrays[1]


def read_npz(spec: str, path: Path) -> dict[str, Array]:
    """All arrays of an npz file; pickled objects are refused."""
    _read(path, 1)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: np.asarray(file[key]) for key in file.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError(f"data '{spec}': an npz file is required: {error}") from None
    for key, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise InvalidArgumentError(
                f"data '{spec}': arrays of numbers are required, got {key} of {array.dtype}."
            )
    return arrays


def read_csv(spec: str, path: Path) -> tuple[Array, list[str]]:
    """Feature rows float32 (N, columns - 1) and the last column's texts; a header is skipped."""
    lines = _decode(spec, path).splitlines()
    rows = [(n, row) for n, row in enumerate(csv.reader(lines), 1) if row]
    if rows and not any(_is_number(v) for v in rows[0][1][:-1]):
        rows = rows[1:]
    if len(rows) < 5 or len(rows[0][1]) < 2:
        raise InvalidArgumentError(
            f"data '{spec}': at least 5 rows of 2 columns are required, got {len(rows)} rows."
        )
    columns = len(rows[0][1])
    features = np.empty((len(rows), columns - 1), np.float32)
    for i, (line, row) in enumerate(rows):
        if len(row) != columns:
            raise InvalidArgumentError(
                f"data '{spec}', line {line}: {columns} columns are required, got {len(row)}."
            )
        try:
            features[i] = [float(v) for v in row[:-1]]
        except ValueError as error:
            raise InvalidArgumentError(
                f"data '{spec}', line {line}: numbers are required before the last column: {error}."
            ) from None
    return features, [row[-1].strip() for _, row in rows]


def read_text(spec: str, path: Path) -> str:
    """The text of a UTF-8 file."""
    return _decode(spec, path)


def _decode(spec: str, path: Path) -> str:
    try:
        return _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"data '{spec}': UTF-8 text is required: {error}.") from None


def _read(path: Path, count: int = -1) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise InvalidArgumentError(
            f"data: a readable file is required, got '{path}': {error.strerror}."
        ) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
