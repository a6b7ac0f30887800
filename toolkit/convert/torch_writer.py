"""Writes the `.pt` files of `torch.save`: a zip of a pickle of plain data and of its storages.

Only what `torch.load(weights_only=True)` reads is written: no object that needs code to come back.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor.complex import ComplexTensor
from toolkit.convert.pickle_writer import PickleWriter, Piece, Write, ordered
from toolkit.convert.torch_globals import STORAGES
from toolkit.device import Device
from toolkit.errors import InvalidArgumentError
from toolkit.graph.atomic import write_atomically
from toolkit.nn import Buffer, Module, Parameter
from toolkit.nn.state import State
from toolkit.tensor import Size, Tensor

_ALIGNMENT = 64
_CHUNK = 1 << 24
_FROM_2GB = (1 << 31) - 1  # Where entries of a zip take 64-bit sizes.
_CLASSES = {dtype: name for name, dtype in STORAGES.items() if name != "UntypedStorage"}
_UNTYPED = ("torch.storage", "UntypedStorage")
_WITHOUT_CLASS = (
    "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu",
)  # fmt: skip


def save_pt(value: Any, file: Any) -> None:
    """Writes plain data with tensors in it as `torch.save` does.

    Tensors that share memory share it in the file: a storage is written once, from where it lies.

    Args:
        value: None, numbers, text, bytes, lists, tuples, dicts and sets of them, tensors,
            parameters, sizes, element types and devices.
        file: a path, whose file is replaced in one go, or an object with `write`.

    Raises:
        InvalidArgumentError: it holds anything else; the message says where and what to do.
    """
    storages = _Storages()
    text = PickleWriter(storages.types(), _refusal).dump(value)
    if hasattr(file, "write"):
        storages.write(file, text)
        return
    path = Path(file)
    if not path.parent.is_dir():
        raise InvalidArgumentError(f"save: Parent directory {path.parent} does not exist.")
    if path.is_dir():
        raise InvalidArgumentError(f"save: the name of a file is required, got folder '{path}'.")
    write_atomically(path, lambda stream: storages.write(stream, text))


class _Storages:
    """The memory that the tensors of a file lie in, each once."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}
        self._memory: list[np.ndarray[Any, Any]] = []

    def types(self) -> dict[type, Write]:
        """What writes each type of PyTorch's."""
        return {
            Tensor: self._tensor, Buffer: self._tensor, Parameter: self._parameter,
            ComplexTensor: self._complex, State: ordered, Size: _size, Device: _device,
            dtypes.DType: _dtype,
        }  # fmt: skip

    def write(self, stream: Any, text: bytes) -> None:
        """The archive, its entries in PyTorch's order."""
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            _entry(archive, stream, "data.pkl", text)
            _entry(archive, stream, ".format_version", b"1")
            _entry(archive, stream, ".storage_alignment", str(_ALIGNMENT).encode())
            _entry(archive, stream, "byteorder", sys.byteorder.encode())
            for i, data in enumerate(self._memory):
                _entry(archive, stream, f"data/{i}", data)
            _entry(archive, stream, "version", b"3\n")

    # -- tensors -------------------------------------------------------------------------------

    def _parameter(self, w: PickleWriter, value: Any, path: str) -> None:
        data, hooks = Piece(lambda: self._rebuilt(w, value, False, path)), Piece(lambda: _none(w))
        w.call("torch._utils", "_rebuild_parameter", data, bool(value.requires_grad), hooks)
        w.remember(value)

    def _tensor(self, w: PickleWriter, value: Any, path: str) -> None:
        self._rebuilt(w, value, bool(value.requires_grad), path)
        w.remember(value)

    def _rebuilt(self, w: PickleWriter, value: Any, grad: bool, path: str) -> None:
        value, root = _lying(value)
        shape, strides, offset = tuple(value.shape), value.stride(), value.storage_offset()
        self._call(w, (root, value.dtype), (offset, shape, strides, grad), path)

    def _complex(self, w: PickleWriter, value: Any, path: str) -> None:
        """Its pairs of real and imaginary parts are two elements of a real storage."""
        pairs = value._pairs
        if pairs.dtype not in (dtypes.float32, dtypes.float64):
            pairs = pairs.detach().float()
        pairs, root = _lying(pairs)
        *strides, last = pairs.stride()
        offset = pairs.storage_offset()
        if last != 1 or any(s % 2 for s in (*strides, offset, root.numel())):
            pairs = root = pairs.detach().clone()
            *strides, last = pairs.stride()
            offset = 0
        view = (offset // 2, tuple(value.shape), tuple(s // 2 for s in strides))
        self._call(w, (root, value.dtype), (*view, bool(value.requires_grad)), path)
        w.remember(value)

    def _call(self, w: PickleWriter, of: tuple[Any, Any], view: Any, path: str) -> None:
        """`_rebuild_tensor_v2`, or `_v3` of a type that has no class of storages."""
        root, dtype = of
        storage, hooks = Piece(lambda: self._storage(w, root, dtype)), Piece(lambda: _none(w))
        if dtype in _CLASSES:
            w.call("torch._utils", "_rebuild_tensor_v2", storage, *view, hooks)
        elif dtype.name in _WITHOUT_CLASS:
            kind = Piece(lambda: w.global_("torch", dtype.name))
            w.call("torch._utils", "_rebuild_tensor_v3", storage, *view, hooks, kind)
        else:
            raise InvalidArgumentError(
                f"save: an element type that PyTorch has is required, got {dtype.name} at {path}. "
                "Convert it with to(), or save it as numbers: tolist()."
            )

    def _storage(self, w: PickleWriter, root: Any, dtype: dtypes.DType) -> None:
        memory = root._concrete("save").numpy().reshape(-1).view(np.uint8)
        # Two tensors of the same memory are one storage; one without memory is its own.
        where = (memory.ctypes.data, memory.nbytes) if memory.nbytes else id(root)
        key = self._places.setdefault((where, dtype), len(self._memory))
        if key == len(self._memory):
            self._memory.append(memory)
        kind = ("torch", _CLASSES[dtype]) if dtype in _CLASSES else _UNTYPED
        count = memory.nbytes // (dtype.itemsize if dtype in _CLASSES else 1)
        w.tuple_(("storage", Piece(lambda: w.global_(*kind)), str(key), "cpu", count), "")
        w.put(b"Q")


def _lying(value: Any) -> tuple[Any, Any]:
    """A tensor and the one whose memory it lies in: a copy where that has another element type."""
    root = value._root()
    if root.dtype is value.dtype:
        return value, root
    copied = value.detach().clone()
    return copied, copied


def _none(w: PickleWriter) -> None:
    """The hooks of a tensor: there are none in files."""
    w.call("collections", "OrderedDict")


def _size(w: PickleWriter, value: Any, path: str) -> None:
    w.call("torch", "Size", tuple(value), path=path)
    w.remember(value)


def _device(w: PickleWriter, value: Any, path: str) -> None:
    w.call("torch", "device", value.type, *(() if value.index is None else (value.index,)))


def _dtype(w: PickleWriter, value: Any, path: str) -> None:
    if value not in _CLASSES and value.name not in _WITHOUT_CLASS:
        raise InvalidArgumentError(
            f"save: an element type that PyTorch has is required, got {value.name} at {path}."
        )
    w.global_("torch", value.name)


def _entry(archive: zipfile.ZipFile, stream: Any, name: str, data: Any) -> None:
    """An entry whose bytes begin at a multiple of 64 in the file, so that it can be mapped."""
    content = memoryview(data)
    entry = zipfile.ZipInfo(f"archive/{name}")
    entry.file_size = len(content)
    large = len(content) * 1.05 > _FROM_2GB
    begin = archive.start_dir + 30 + len(entry.filename) + 20 * large
    padding = _ALIGNMENT - (begin + 4) % _ALIGNMENT
    entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    with archive.open(entry, "w", force_zip64=large) as out:
        for at in range(0, len(content), _CHUNK):
            out.write(content[at : at + _CHUNK])
    entry.extra = b""  # The directory at the end needs no padding.


def _refusal(value: Any, path: str) -> InvalidArgumentError:
    """What to do with an object that has no place in a file of weights."""
    kind, hint = type(value).__name__, "Save the numbers and tensors that it is made from."
    if isinstance(value, Module):
        kind = f"a module ({kind})"
        hint = 'Save its state_dict(), or the whole model: model.save("model.onnx", inputs=x).'
    elif hasattr(value, "state_dict"):
        hint = "Save its state_dict()."
    elif isinstance(value, Tensor):
        hint = "Save its detach(), which is a plain Tensor."
    elif callable(value):
        kind = f"a {kind} ({getattr(value, '__qualname__', kind)})"
        hint = "Save its name, and look it up when you load."
    elif isinstance(value, np.ndarray):
        hint = "Save from_numpy(array)."
    elif isinstance(value, Path):
        hint = "Save str(path)."
    elif isinstance(value, dict):
        hint = "Save dict(x)."
    elif isinstance(value, tuple):
        hint = "Save tuple(x), or x._asdict() of a named tuple."
    elif hasattr(value, "value") and hasattr(value, "name"):
        hint = "Save the value of the enumeration's member."
    elif hasattr(value, "__dict__"):
        hint = "Save vars(x), a dict."
    return InvalidArgumentError(
        "save: numbers, text, lists, tuples, dicts, sets and tensors are required, got "
        f"{kind} at {path}. {hint} Files hold data only: nothing is executed when one is read."
    )
