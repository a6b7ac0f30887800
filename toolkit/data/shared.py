"""Batches in shared memory: what a worker makes is read by the parent where it lies.

A slot is a nameless file (memfd, or a temporary file that is unlinked at once) which both have
mapped, so nothing of it is left behind whoever dies. The arrays of a result are written into a
slot; what remains is pickled. A slot goes back to its worker when the last array on it is gone.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import tempfile
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

SMALLEST = 16 << 10  # Bytes of arrays from which a slot pays.
# Slots of a worker that a program may keep in use (each has a file descriptor); batches beyond are
# copied out of theirs.
MOST_HELD = 32
_MOST_FREE = 4  # Slots that lie unused, too small, before one is given up for another.
_ALIGN = 64
_BLOCK = 64 << 10
_CAN_SHARE = hasattr(socket, "send_fds") and os.name == "posix"


class _Pickler(ForkingPickler):
    """Tensors as their bytes, without a copy."""

    def reducer_override(self, obj: Any) -> Any:
        from toolkit.tensor import Tensor

        if type(obj) is not Tensor or obj.dtype.is_complex:
            return NotImplemented
        array = np.ascontiguousarray(obj.detach().numpy())
        data = array.reshape(-1).view(np.uint8)
        return _tensor, (data, array.dtype, obj.shape, obj.requires_grad)


def _tensor(data: Any, dtype: Any, shape: Sequence[int], requires_grad: bool) -> Any:
    from toolkit.tensor import from_numpy

    tensor = from_numpy(data.view(dtype).reshape(tuple(shape)))
    return tensor.requires_grad_() if requires_grad else tensor


class Writer:
    """A worker's end: sends results over a connection, their arrays in slots."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._slots: dict[int, mmap.mmap] = {}
        self._free: set[int] = set()
        self._made = 0
        self._socket = None
        if _CAN_SHARE:
            self._socket = socket.socket(fileno=os.dup(connection.fileno()))

    def give_back(self, slots: Sequence[int]) -> None:
        """These slots are no longer read."""
        self._free.update(slots)

    def send(self, generation: int, result: Any) -> None:
        """Sends one result; an error of pickling it is raised before anything is sent."""
        stream = io.BytesIO()
        buffers: list[memoryview] = []

        def keep(buffer: pickle.PickleBuffer) -> bool:
            buffers.append(buffer.raw())
            return False

        _Pickler(stream, 5, True, keep).dump(result)
        spans, total = [], 0
        for b in buffers:
            spans.append((total, total + b.nbytes))
            total += -(-b.nbytes // _ALIGN) * _ALIGN
        if self._socket is None or total < SMALLEST:
            copies = [bytearray(b) for b in buffers]  # Of bytes, arrays would be read-only.
            self._send((generation, stream.getvalue(), copies, None, 0, []))
            return
        slot, fd, retired = self._take(total)
        memory = self._slots[slot]
        for (start, stop), b in zip(spans, buffers, strict=True):
            memory[start:stop] = b
        size = len(memory) if fd is not None else 0
        self._send((generation, stream.getvalue(), spans, slot, size, retired))
        if fd is not None:
            socket.send_fds(self._socket, [b"\0"], [fd])
            os.close(fd)

    def _send(self, message: tuple[Any, ...]) -> None:
        self.connection.send_bytes(pickle.dumps(message, 5))

    def _take(self, size: int) -> tuple[int, int | None, list[int]]:
        """The smallest free slot that holds `size` bytes, or a new one with its file descriptor.

        Third: slots that are given up, since results have grown.
        """
        fits = [s for s in self._free if len(self._slots[s]) >= size]
        if fits:
            slot = min(fits, key=lambda s: len(self._slots[s]))
            self._free.remove(slot)
            return slot, None, []
        retired = []
        if len(self._free) >= _MOST_FREE:
            retired = [min(self._free, key=lambda s: len(self._slots[s]))]
            self._free.remove(retired[0])
            self._slots.pop(retired[0]).close()
        slot, self._made = self._made, self._made + 1
        size = -(-(size + size // 8) // _BLOCK) * _BLOCK
        fd = _nameless_file(size)
        self._slots[slot] = mmap.mmap(fd, size)
        return slot, fd, retired


class Reader:
    """The parent's end: results whose arrays lie in the worker's slots."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._slots: dict[int, mmap.mmap] = {}
        self._in_use: dict[int, Any] = {}
        self._freed: list[int] = []
        self._socket = None
        if _CAN_SHARE:
            self._socket = socket.socket(fileno=os.dup(connection.fileno()))

    def receive(self) -> tuple[int, Any]:
        """The generation and the result of the next message.

        Raises:
            EOFError, ConnectionResetError: the worker has died.
        """
        message = pickle.loads(self.connection.recv_bytes())
        generation, body, parts, slot, size, retired = message
        if slot is None:
            return generation, pickle.loads(body, buffers=parts)
        for old in retired:
            del self._slots[old]
        if size:
            self._slots[slot] = self._map(size)
        memory = np.frombuffer(self._slots[slot], np.uint8)
        if len(self._in_use) >= MOST_HELD:
            copies = [bytearray(memory[start:stop]) for start, stop in parts]
            self._freed.append(slot)
            return generation, pickle.loads(body, buffers=copies)
        # Arrays keep the memoryview, which keeps `memory`: the weak reference sees the last one go.
        self._in_use[slot] = weakref.ref(memory, lambda _: self._gone(slot))
        whole = memoryview(memory)  # type: ignore[arg-type]
        return generation, pickle.loads(body, buffers=[whole[a:b] for a, b in parts])

    def _gone(self, slot: int) -> None:
        self._in_use.pop(slot, None)
        self._freed.append(slot)

    def _map(self, size: int) -> mmap.mmap:
        assert self._socket is not None
        _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        if not descriptors:
            raise EOFError
        try:
            return mmap.mmap(descriptors[0], size)
        finally:
            os.close(descriptors[0])

    def freed(self) -> list[int]:
        """The slots that are no longer read since the last call."""
        found, self._freed = self._freed, []
        return found

    def close(self) -> None:
        """Closes the connection; arrays that were received stay as they are."""
        if self._socket is not None:
            self._socket.close()
        self.connection.close()


def _nameless_file(size: int) -> int:
    """A descriptor of a file of `size` zeros that no folder lists."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("toolkit", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.truncate(fd, size)
    return fd
