"""`KVCache`: the keys and values of one decoding, in memory with room that a step appends to.

A decoder's file takes the past of each layer and gives it back longer by the new tokens. Run as it
stands, each step copies all of it. A cache compiles the session's model so that attention writes
the new rows behind the old ones, if nothing else reads them; else it runs the model as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError, ShapeError, UnsupportedOperatorError
from toolkit.runtime.lowering import CompiledProgram
from toolkit.runtime.passes import Caches
from toolkit.runtime.values import to_native, value_from_native

_LENGTH = "toolkit.past_length"


def pairs_by_name(inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, str]:
    """Pasts and presents as exporters name them: `past_key_values.0.key`, `present.0.key`."""
    presents = {_bare(name): name for name in outputs if "present" in name}
    return {n: presents[_bare(n)] for n in inputs if "past" in n and _bare(n) in presents}


def _bare(name: str) -> str:
    return re.sub(r"past_key_values|past|present_key_values|present", "", name)


class KVCache:
    """The past of one decoding; `InferenceSession.kv_cache` makes it.

    Attributes:
        in_place: whether the model appends in place, so that a step copies nothing.
    """

    def __init__(
        self,
        session: Any,
        pairs: Mapping[str, str] | None,
        capacity: int,
    ) -> None:
        self._session = session
        names = list(session._inputs), list(session._outputs)
        self._pairs = dict(pairs) if pairs is not None else pairs_by_name(*names)
        for kind, known, asked in zip(
            ("an input", "an output"), names, (self._pairs, self._pairs.values()), strict=True
        ):
            for name in asked:
                if name not in known:
                    raise InvalidArgumentError(
                        f"kv_cache: {kind} among {known} is required, got '{name}'."
                    )
        if not self._pairs:
            raise InvalidArgumentError(
                f"kv_cache: pairs of a past and its present are required, got none for inputs "
                f"{names[0]}. Give pairs={{input: output}}."
            )
        if capacity < 1:
            raise InvalidArgumentError(f"kv_cache: a capacity above 0 is required, got {capacity}.")
        self._capacity = capacity
        self._rest = [n for n in names[0] if n not in self._pairs]
        self._outputs = [n for n in names[1] if n not in self._pairs.values()]
        self._programs: dict[tuple[str, ...], tuple[CompiledProgram, Caches]] = {}
        self._memory: dict[
            str, np.ndarray[Any, Any]
        ] = {}  # (B, H, room, D); as it is if not in place.
        self._length = 0
        self.in_place = True
        try:
            self._compile(tuple(self._outputs))
        except UnsupportedOperatorError:
            self.in_place = False

    def _compile(self, outputs: tuple[str, ...]) -> tuple[CompiledProgram, Caches]:
        if outputs not in self._programs:
            self._programs[outputs] = self._session._compile_cached(
                self._rest, self._pairs, outputs, _LENGTH
            )
        return self._programs[outputs]

    @property
    def length(self) -> int:
        """The number of tokens in the past."""
        return self._length

    def reset(self) -> None:
        """Forgets the past; the memory stays."""
        self.truncate(0)

    def truncate(self, length: int) -> None:
        """Keeps the first `length` tokens.

        Raises:
            InvalidArgumentError: there are fewer.
        """
        if not 0 <= length <= self._length:
            raise InvalidArgumentError(
                f"truncate: a length of 0 to {self._length} is required, got {length}."
            )
        if not self.in_place:
            self._memory = {
                n: np.ascontiguousarray(a[:, :, :length]) for n, a in self._memory.items()
            }
        self._length = length

    def load(self, past: Mapping[str, Any]) -> None:
        """Takes over the keys and values of a past, one array (B, H, length, D) for each input.

        Raises:
            InvalidArgumentError: the names are not those of the pasts.
            ShapeError: the arrays do not have one length.
        """
        if set(past) != set(self._pairs):
            raise InvalidArgumentError(f"load: {list(self._pairs)} are required, got {list(past)}.")
        arrays = {n: np.asarray(past[n]) for n in self._pairs}
        lengths = {a.shape[2] if a.ndim == 4 else -1 for a in arrays.values()}
        if len(lengths) != 1 or lengths == {-1}:
            shapes = [a.shape for a in arrays.values()]
            raise ShapeError(
                f"load: arrays (B, H, length, D) of one length are required, got {shapes}."
            )
        self._length = lengths.pop()
        if not self.in_place:
            self._memory = {n: np.ascontiguousarray(a) for n, a in arrays.items()}
            return
        self._memory = {}
        self._grow({n: a.shape[0] for n, a in arrays.items()}, self._length)
        for name, array in arrays.items():
            self._memory[name][:, :, : self._length] = array

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The past by input, (B, H, length, D); views of the memory."""
        return {n: a[:, :, : self._length] for n, a in self._memory.items()}

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Any]:
        """One step: as `InferenceSession.run` without the pasts, which it appends to.

        Args:
            output_names: which outputs, in order, presents excepted; None or empty: all.
            input_feed: an array for each input that is no past.
        """
        outputs = tuple(output_names or self._outputs)
        for name in outputs:
            if name not in self._outputs:
                raise InvalidArgumentError(
                    f"run: an output among {self._outputs} is required, got '{name}'."
                )
        if not self.in_place:
            return self._run_plain(outputs, input_feed)
        program, caches = self._compile(outputs)
        feed = self._session._checked(self._rest, input_feed)
        sizes = self._symbols(feed)
        step = sizes[caches.step] if isinstance(caches.step, str) else int(caches.step or 0)
        self._grow(self._batches(sizes), self._length + step)
        feed |= {n: to_native(a) for n, a in self._memory.items()}
        feed[_LENGTH] = to_native(np.array(self._length, np.int64))
        results = program.run([feed[n] for n in program.input_names])
        self._length += step
        return [value_from_native(t) for t in results]

    def _run_plain(self, outputs: tuple[str, ...], feed: Mapping[str, Any]) -> list[Any]:
        if not self._memory:
            sizes = self._symbols(self._session._checked(self._rest, feed))
            self._memory = {n: self._empty(n, b, 0) for n, b in self._batches(sizes).items()}
        names = [*outputs, *self._pairs.values()]
        results: list[Any] = self._session.run(names, {**feed, **self._memory})
        self._memory = dict(zip(self._pairs, results[len(outputs) :], strict=True))
        self._length = next(iter(self._memory.values())).shape[2]
        return results[: len(outputs)]

    def _symbols(self, feed: Mapping[str, Any]) -> dict[str, int]:
        """Sizes of named dimensions in this call."""
        found = {}
        for name, tensor in feed.items():
            shape = self._session._inputs[name].shape
            for dim, have in zip(shape or (), tensor.shape, strict=False):
                if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                    found[dim.value] = have
        return found

    def _batches(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The first dimension of each past."""
        found = {}
        for name in self._pairs:
            shape = self._session._inputs[name].shape
            batch = shape[0] if shape is not None and len(shape) == 4 else None
            if isinstance(batch, ir.SymbolicDim):
                batch = sizes.get(batch.value or "", 1)
            found[name] = 1 if batch is None else int(batch)
        return found

    def _grow(self, batches: Mapping[str, int], length: int) -> None:
        """Makes room for `length` tokens; twice as much as before where there is none."""
        for name, batch in batches.items():
            old = self._memory.get(name)
            if old is not None and old.shape[0] != batch and self._length:
                raise ShapeError(
                    f"run: a batch of {old.shape[0]} as before is required, got {batch}."
                )
            if old is not None and old.shape[0] == batch and old.shape[2] >= length:
                continue
            room = self._capacity
            while room < length:
                room *= 2
            self._memory[name] = self._empty(name, batch, room)
            if old is not None and self._length:
                self._memory[name][:, :, : self._length] = old[:, :, : self._length]

    def _empty(self, name: str, batch: int, room: int) -> np.ndarray[Any, Any]:
        value = self._session._inputs[name]
        shape, kind = value.shape, value.dtype
        dims = list(shape)[1::2] if shape is not None and len(shape) == 4 else []
        if len(dims) != 2 or not all(isinstance(d, int) for d in dims) or kind is None:
            raise ShapeError(
                f"kv_cache: a past of declared heads and head size is required, got '{name}' of "
                f"shape {shape}. Load the first past with `load`."
            )
        heads, width = dims
        return np.zeros((batch, int(heads), room, int(width)), kind.numpy())
