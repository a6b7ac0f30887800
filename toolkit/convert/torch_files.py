"""Reads `.pt`, `.pth` and `.bin` files of `torch.save` without running anything they hold.

Both formats: a zip of a pickle and its storages (since 1.6), and pickles followed by storages.
Storages are mapped into memory, and what a file says of sizes is checked before it is used.
"""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from toolkit.convert.pickles import PickleReader
from toolkit.convert.torch_globals import Globals, Storage, StorageType
from toolkit.errors import InvalidArgumentError

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_BROKEN = (
    ValueError, KeyError, IndexError, TypeError, EOFError, AttributeError, OverflowError,
    RecursionError, struct.error, zipfile.BadZipFile, NotImplementedError, AssertionError,
)  # fmt: skip

Bytes = np.ndarray[Any, Any]


def load_pt(path: str | os.PathLike[str] | bytes | BinaryIO) -> Any:
    """What `torch.save` wrote: a state_dict, or plain data with tensors in it.

    Tensors share the mapped file's memory; writes to them stay in this process. Tensors of a GPU
    come to the CPU.

    Args:
        path: a path, an open file, or the file's bytes.

    Raises:
        InvalidArgumentError: no such file, one that is damaged, or one that names anything but
            weights and plain data (the message says what).

    Example:
        model.load_state_dict(tk.convert.load_pt("resnet18.pth"))
    """
    where = "load_pt" if not isinstance(path, (str, os.PathLike)) else f"load_pt '{path}'"
    data = _bytes_of(path, where)
    try:
        if data[:4].tobytes() == b"PK\x03\x04":
            return _read_zip(data)
        return _read_legacy(data)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from None
    except _BROKEN as error:
        raise InvalidArgumentError(
            f"{where}: a whole file of torch.save is required, got one that does not parse "
            f"({type(error).__name__}: {error!s:.200})."
        ) from None


def _bytes_of(path: Any, where: str) -> Bytes:
    """The file's bytes, mapped copy-on-write where it is a path."""
    if isinstance(path, (str, os.PathLike)):
        try:
            return np.asarray(np.memmap(Path(path), np.uint8, "c"))
        except (OSError, ValueError) as error:
            raise InvalidArgumentError(f"{where}: a file is required, got {error}.") from None
    content = path if isinstance(path, (bytes, bytearray)) else path.read()
    return np.frombuffer(bytearray(content), np.uint8)


# -- the zip format ----------------------------------------------------------------------------


class _Archive:
    """The entries of a zip, which are stored, not compressed."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        with zipfile.ZipFile(_Stream(data)) as archive:
            entries = archive.infolist()
        pickles = [e.filename for e in entries if e.filename.split("/", 1)[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise InvalidArgumentError(
                f"one data.pkl in the archive is required, got {len(pickles)}."
            )
        self._root = pickles[0].removesuffix("data.pkl")
        self._entries = {e.filename.removeprefix(self._root): e for e in entries}
        if "constants.pkl" in self._entries or any(n.startswith("code/") for n in self._entries):
            raise InvalidArgumentError(
                "weights are required, got a TorchScript archive, which holds a program. Save its "
                "state_dict() with torch.save."
            )

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> Bytes:
        """An entry's bytes where they lie."""
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise InvalidArgumentError(
                f"plain entries are required, got {name!r}, compressed or encrypted."
            )
        header = self._data[entry.header_offset : entry.header_offset + _LOCAL_HEADER.size]
        signature, names, extra = _LOCAL_HEADER.unpack(header.tobytes())
        begin = entry.header_offset + _LOCAL_HEADER.size + names + extra
        if signature != b"PK\x03\x04" or begin + entry.file_size > len(self._data):
            raise ValueError(f"entry {name!r} of {entry.file_size} bytes at {begin}")
        return self._data[begin : begin + entry.file_size]


class _Stream:
    """A binary file over bytes, so that nothing of them is copied at once."""

    def __init__(self, data: Bytes) -> None:
        self._data, self._at = data, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def read(self, count: int = -1) -> bytes:
        end = len(self._data) if count is None or count < 0 else self._at + count
        found = self._data[self._at : end].tobytes()
        self._at += len(found)
        return found

    def readline(self) -> bytes:
        rest = self._data[self._at : self._at + mmap.PAGESIZE].tobytes()
        return self.read(rest.find(b"\n") + 1 or len(rest))

    def close(self) -> None:
        pass


def _read_zip(data: Bytes) -> Any:
    archive = _Archive(data)
    order = archive.read("byteorder").tobytes() if "byteorder" in archive else b"little"
    if order not in (b"little", b"big"):
        raise ValueError(f"byte order {order!r}")
    found: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        key, dtype, count = _storage_id(pid)
        if key not in found:
            raw = archive.read(f"data/{key}")
            if len(raw) != count * dtype.itemsize:
                raise ValueError(f"{len(raw)} bytes for {count} elements of {dtype.name}")
            found[key] = Storage(dtype, _swapped(raw, dtype) if order == b"big" else raw)
        return Storage(dtype, found[key].data)

    return PickleReader(Globals(len(data)).find, persistent).read(_Stream(archive.read("data.pkl")))  # type: ignore[arg-type]


def _swapped(raw: Bytes, dtype: Any) -> Bytes:
    part = dtype.itemsize // (2 if dtype.is_complex else 1)
    return raw if part == 1 else raw.reshape(-1, part)[:, ::-1].reshape(-1)


def _storage_id(pid: Any) -> tuple[str, Any, int]:
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise ValueError("a storage is the only persistent object")
    _, kind, key, _, count, *view = pid
    if not isinstance(kind, StorageType) or type(count) is not int or count < 0:
        raise ValueError("a storage's type and size are required")
    if not isinstance(key, str) or view not in ([], [None]):
        raise ValueError("a storage's key is required, and no view of another")
    return key, kind.dtype, count


# -- the format before 1.6 ---------------------------------------------------------------------


def _read_legacy(data: Bytes) -> Any:
    stream: Any = _Stream(data)
    plain = PickleReader(_no_global, _storage_id)
    if data[:1].tobytes() != b"\x80" or plain.read(stream) != MAGIC:
        raise InvalidArgumentError(
            "a file of torch.save is required, got neither a zip nor its magic number."
        )
    if plain.read(stream) != _PROTOCOL:
        raise InvalidArgumentError(f"protocol {_PROTOCOL} is required, got another.")
    system = plain.read(stream)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise InvalidArgumentError("little-endian storages are required, got big-endian ones.")
    begin: int = stream.tell()
    kinds: dict[str, Any] = {}

    def look(pid: Any) -> Storage:
        key, dtype, count = _storage_id(pid)
        kinds[key] = (dtype, count)
        return Storage(dtype, None)

    PickleReader(Globals(len(data)).find, look).read(stream)
    storages = {}
    for key in plain.read(stream):
        dtype, count = kinds[key]
        if int.from_bytes(stream.read(8), "little") != count:
            raise ValueError(f"storage {key!r} of another size than {count}")
        at, size = stream.tell(), count * dtype.itemsize
        if at + size > len(data):
            raise ValueError(f"storage {key!r} of {size} bytes at {at} of {len(data)}")
        storages[key] = Storage(dtype, data[at : at + size])
        stream.seek(at + size)
    stream.seek(begin)
    return PickleReader(Globals(len(data)).find, lambda pid: storages[_storage_id(pid)[0]]).read(
        stream
    )


def _no_global(module: str, name: str) -> Any:
    raise InvalidArgumentError(f"plain numbers are required here, got the global {module}.{name}.")
