"""File formats of data: IDX, npz, npy, csv, parquet, jsonl, text, all with one-line errors."""

from __future__ import annotations

import csv
import gzip
import json
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.data.spec import Spec
from toolkit.errors import InvalidArgumentError

Array = npt.NDArray[Any]

# Third byte of the magic number: element type (big-endian). http://yann.lecun.com/exdb/mnist
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_HEAD = 4 + 4 * 255
_MOST_EXPANDED = 1032  # Bytes that deflate makes of one, at most.


def read_idx(path: str | Path) -> Array:
    """The array of an IDX file, plain or gzip-compressed.

    Raises:
        InvalidArgumentError: a missing, truncated or other file.
    """
    path = Path(path)
    head = _read(path, _IDX_HEAD)
    zipped = head[:2] == b"\x1f\x8b"
    if zipped:
        head = _unzipped(path, _IDX_HEAD)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES:
        raise InvalidArgumentError(
            f"'{path}': an IDX file is required, got one that begins with {head[:4].hex()!r}."
        )
    dtype, rank = np.dtype(_IDX_TYPES[head[2]]), head[3]
    start = 4 + 4 * rank
    if len(head) < start:
        raise InvalidArgumentError(
            f"'{path}': {start} bytes of header are required, got {len(head)}."
        )
    shape = tuple(int(n) for n in np.frombuffer(head, ">u4", rank, 4))
    need, size = start + math.prod(shape) * dtype.itemsize, path.stat().st_size
    data = b""
    if zipped and need <= size * _MOST_EXPANDED:
        data = _unzipped(path, need + 1)
        size = len(data)
    if size != need:
        raise InvalidArgumentError(
            f"'{path}': {need} bytes are required for shape {shape}, got {size}"
            f"{' compressed' if zipped and not data else ''}."
        )
    if zipped:
        array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    elif need == start:
        array = np.zeros(shape, dtype)
    else:
        array = np.asarray(np.memmap(path, dtype, "r", start, shape))
    return array.astype(dtype.newbyteorder("="), copy=False)


def _unzipped(path: Path, count: int) -> bytes:
    """The first `count` bytes of what a gzip file holds."""
    try:
        with gzip.open(path) as file:
            return file.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidArgumentError(f"'{path}': whole gzip data is required: {error}.") from None


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
        _check_npz(path)
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


def _check_npz(path: Path) -> None:
    """Compares what the headers of the arrays say with the sizes of the members."""
    with zipfile.ZipFile(path) as file:
        for member in file.infolist():
            with file.open(member) as part:
                shape, dtype = _npy_header(part)
                need, size = math.prod(shape) * dtype.itemsize, member.file_size - part.tell()
            expanded = member.compress_size * _MOST_EXPANDED + _IDX_HEAD
            if not dtype.hasobject and (need != size or member.file_size > expanded):
                raise ValueError(
                    f"'{member.filename}' of shape {shape} needs {need} bytes, got {size}"
                )


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    if version[0] not in readers:
        raise ValueError(f"version 1 or 2 of the npy format, got {version[0]}")
    shape, _, dtype = readers[version[0]](file)
    return shape, dtype


def read_npy(spec: Spec, path: Path) -> Array:
    """The array of an npy file, mapped into memory; pickled objects are refused."""
    _read(path, 1)
    try:
        with open(path, "rb") as file:
            shape, dtype = _npy_header(file)
            need, size = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
        if need > size and not dtype.hasobject:
            raise ValueError(f"shape {shape} needs {need} bytes, got {size}")
        array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise spec.error(f"an npy file is required: {error}", path) from None
    if array.dtype.kind not in "biuf":
        raise spec.error("an npy file of numbers is required", path)
    return array


@dataclass
class Table:
    """Rows of texts with names of the columns, and the line of the file of each row."""

    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def texts(self, name: str) -> list[str]:
        """A column."""
        i = self.names.index(name)
        return [row[i] for row in self.rows]

    def column(self, spec: Spec, key: str, option: str) -> str:
        """The name of a column, given by its name or its number (from 0, or -1 for the last)."""
        if key in self.names:
            return key
        if key.lstrip("-").isdecimal() and -len(self.names) <= int(key) < len(self.names):
            return self.names[int(key)]
        raise spec.error(
            f"a column among {', '.join(self.names[:10])} is required as {option}, got '{key}'."
        )


_SEPARATORS = {"tab": "\t", "space": " "}


def read_csv(spec: Spec) -> Table:
    """A csv file. Without a header the columns are called 0, 1, 2, ..."""
    sep = spec["sep"] or ("tab" if spec.file.suffix == ".tsv" else ",")
    text = _decode(spec.text, spec.file)
    reader = csv.reader(text.splitlines(), delimiter=_SEPARATORS.get(sep, sep))
    try:
        found = [(reader.line_num, [v.strip() for v in row]) for row in reader if row]
    except csv.Error as error:
        raise spec.error(f"a csv file is required: {error}", f"line {reader.line_num}") from None
    header = spec["header"] == "yes"
    if spec["header"] == "auto" and found:  # Names are no numbers; the last may be a target.
        header = not any(to_number(v) is not None for v in found[0][1][:-1])
    columns = len(found[0][1]) if found else 0
    for line, row in found:
        if len(row) != columns:
            raise spec.error(f"{columns} columns are required, got {len(row)}.", f"line {line}")
    names = found[0][1] if header else [str(i) for i in range(columns)]
    if len(set(names)) != len(names):
        raise spec.error(f"names that differ are required as header, got {', '.join(names)}.")
    kept = found[header:]
    return Table(names, [row for _, row in kept], [line for line, _ in kept])


def read_parquet(spec: Spec) -> Table:
    """A parquet file, as texts; the "line" of an error counts rows from 1."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise spec.error(
            "the package pyarrow is required. Install it: pip install 'toolkit[parquet]'."
        ) from None
    _read(spec.file, 1)
    try:
        columns = parquet.read_table(spec.file).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise spec.error(f"a parquet file is required: {' '.join(str(error).split())}") from None
    texts = {name: list(map(_text_of, values)) for name, values in columns.items()}
    rows = [list(row) for row in zip(*texts.values(), strict=True)]
    return Table(list(texts), rows, list(range(1, len(rows) + 1)))


def read_jsonl(spec: Spec) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON, one a line, with their lines."""
    found = []
    for line, text in enumerate(_decode(spec.text, spec.file).splitlines(), 1):
        if not text.strip():
            continue
        try:
            entry = json.loads(text)
        except ValueError as error:
            raise spec.error(f"a JSON object is required: {error}.", f"line {line}") from None
        if not isinstance(entry, dict):
            raise spec.error(
                f"a JSON object is required, got {type(entry).__name__}.", f"line {line}"
            )
        found.append((line, entry))
    if not found:
        raise spec.error("at least one JSON object is required, got an empty file.")
    return found


def read_jsonl_table(spec: Spec) -> Table:
    """Objects of one level as rows; a key that one lacks is a gap."""
    entries = read_jsonl(spec)
    names = list(dict.fromkeys(name for _, entry in entries for name in entry))
    for line, entry in entries:
        for name, value in entry.items():
            if isinstance(value, (list, dict)):
                raise spec.error(
                    f"numbers or texts are required, got a list or object as '{name}'. "
                    "Lists of tokens are read with tokens=.",
                    f"line {line}",
                )
    rows = [[_text_of(entry.get(name)) for name in names] for _, entry in entries]
    return Table(names, rows, [line for line, _ in entries])


def _text_of(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


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


def to_number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
