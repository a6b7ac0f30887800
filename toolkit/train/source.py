"""The file that a step was read from, kept so that it can be written with nothing else changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.graph.training_join import Entry
from toolkit.runtime import _core

_ELEMENTS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data",
             "string_data")  # fmt: skip


class Source:
    """A file without the elements of the states: the step holds those.

    Args:
        proto: the file, external data read in; it is kept and changed.
        entries: its entries of training_info in the joined graph.
        states: the states by their names there.
        roles: what the file's metadata say of values; None: nothing, and nothing is added.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        entries: Sequence[Entry],
        states: Mapping[str, _core.Tensor],
        roles: Mapping[str, Any] | None,
    ) -> None:
        self._proto = proto
        self._roles = roles
        self._renamed = [entry.renamed for entry in entries]
        for name, tensor in self._tensors(proto):
            if name in states:
                for field in _ELEMENTS:
                    tensor.ClearField(field)

    def _tensors(self, proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
        """The initializers with their names in the joined graph."""
        for tensor in proto.graph.initializer:
            yield tensor.name, tensor
        for info, renamed in zip(proto.training_info, self._renamed, strict=True):
            for tensor in info.algorithm.initializer:
                yield renamed.get(tensor.name, tensor.name), tensor

    def with_roles(self, now: Mapping[str, Any]) -> dict[str, Any] | None:
        """The file's roles, with what is set in Python as it is now."""
        if self._roles is None:
            return None
        changed = ("rates", "groups", "schedule", "averaged")
        return {**self._roles, **{key: now[key] for key in changed}}

    def filled(self, states: Mapping[str, _core.Tensor]) -> onnx.ModelProto:
        """The file with the states as they are now."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        for name, tensor in self._tensors(proto):
            if name not in states:
                continue
            array = states[name].numpy()
            if tensor.data_type == onnx.TensorProto.STRING:
                tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(object), tensor.name))
            else:
                tensor.raw_data = ir.tensor(array).tobytes()
        return proto
