"""Where the tensors of a file lay outside of it, so that it is written again as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from toolkit.graph.atomic import write_atomically
from toolkit.graph.check import all_nodes, external_tensors

_ALIGNED = 4096  # Bytes, of what is added to a data file: onnx-ir's and onnxruntime's choice.


@dataclass
class ExternalLayout:
    """The data files of a model.

    Attributes:
        path: the model's file, None where there was none.
        entries: by the tensor's name its location, offset and length.
    """

    path: str | None = None
    entries: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, proto: onnx.ModelProto, path: str | None) -> ExternalLayout:
        """The layout of a file whose external data was not read in yet."""
        found = cls(path)
        folder = Path(path).parent if path is not None else Path()
        for tensor in filter(lambda t: t.name, external_tensors(proto)):
            entries = {e.key: e.value for e in tensor.external_data}
            offset = int(entries.get("offset", 0))
            rest = (folder / entries["location"]).stat().st_size - offset
            length = int(entries.get("length", rest))
            found.entries[tensor.name] = (entries["location"], offset, length)
        return found

    def write(self, proto: onnx.ModelProto, path: Path) -> None:
        """Moves the data of tensors that lay outside to files beside `path`.

        A data file keeps its name, or takes the one of the new file in place of the old one's, so
        that the files of another model are never written over.
        """
        pieces: dict[str, list[tuple[int, bytes]]] = {}
        moved = [(t, self.entries[t.name]) for t in _tensors(proto) if t.name in self.entries]
        ends = {
            place: max(o + n for p, o, n in self.entries.values() if p == place)
            for place, _, _ in self.entries.values()
        }
        for tensor, (location, offset, length) in moved:
            data = tensor.raw_data
            if len(data) > length:
                offset = -(-ends[location] // _ALIGNED) * _ALIGNED
                ends[location] = offset + len(data)
            pieces.setdefault(location, []).append((offset, data))
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            name = self._name(location, path)
            for key, value in (("location", name), ("offset", offset), ("length", len(data))):
                tensor.external_data.add(key=key, value=str(value))
        for location, parts in pieces.items():
            text = bytearray(max(offset + len(data) for offset, data in parts))
            for offset, data in parts:
                text[offset : offset + len(data)] = data
            write_atomically(path.parent / self._name(location, path), bytes(text))

    def _name(self, location: str, path: Path) -> str:
        old = Path(self.path or "")
        if self.path is not None and os.path.abspath(old) == os.path.abspath(path):
            return location
        if old.name and location.startswith(old.name):
            return path.name + location[len(old.name) :]
        if old.stem and location.startswith(old.stem):
            return path.stem + location[len(old.stem) :]
        if not (path.parent / location).exists():
            return location
        return f"{path.name}.{location.replace('/', '.')}"


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from proto.graph.initializer
    for node in all_nodes(proto.graph.node):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer
