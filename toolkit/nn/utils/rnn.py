"""Sequences of different lengths as one tensor, by `torch.nn.utils.rnn`'s names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from toolkit import dtypes
from toolkit.errors import InvalidArgumentError, ShapeError, ToolkitError
from toolkit.nn import functional as F
from toolkit.tensor import Tensor, arange, as_tensor, stack, tensor

__all__ = [
    "PackedSequence",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence:
    """Sequences without their padding.

    It holds what ONNX's recurrent operators take: `padded` (L, N, ...), the sequences in the order
    they were given, and `sequence_lens` (N,) int32. PyTorch's fields are made when they are asked
    for: `data` holds the steps in order of time, each for the sequences that are long enough,
    longest first; `batch_sizes` how many those are.

    Args:
        data: all steps, as above.
        batch_sizes: sequences a step.
        sorted_indices: the sequence at each place of the order; None if they are in order.
        unsorted_indices: the inverse.
    """

    padded: Any
    sequence_lens: Any
    _sorts: bool
    _data: Any

    def __init__(
        self,
        data: Tensor,
        batch_sizes: Any,
        sorted_indices: Any = None,
        unsorted_indices: Any = None,
    ) -> None:
        sizes = [int(n) for n in _listed(batch_sizes) or ()]
        if not sizes or sum(sizes) != data.shape[0] or sizes != sorted(sizes, reverse=True):
            raise InvalidArgumentError(
                "PackedSequence: batch_sizes that descend and sum to the rows of data are "
                f"required, got {sizes} for {list(data.shape)}."
            )
        order = _listed(sorted_indices)
        if order is None and unsorted_indices is not None:
            order = _inverse(_listed(unsorted_indices) or [])
        order = list(range(sizes[0])) if order is None else order
        lens = [sum(n > place for n in sizes) for place in _inverse(order)]
        place = _inverse(order)
        starts = [sum(sizes[:t]) for t in range(len(sizes))]
        # Steps beyond a sequence's end take a row that its length hides.
        rows = [
            [starts[t] + place[n] if t < lens[n] else 0 for n in range(sizes[0])]
            for t in range(len(sizes))
        ]
        flat = data.index_select(0, tensor([r for row in rows for r in row]))
        self._set(
            flat.reshape(len(sizes), sizes[0], *data.shape[1:]),
            tensor(lens, dtype=dtypes.int32),
            sorted_indices is not None or unsorted_indices is not None,
        )
        self._data = data

    def _set(self, padded: Any, lens: Any, sorts: bool) -> None:
        self.padded, self.sequence_lens, self._sorts = padded, lens, sorts
        self._data = None

    @classmethod
    def of_padded(cls, padded: Any, sequence_lens: Any, sorts: bool) -> PackedSequence:
        """From (L, N, ...) and lengths; `sorts`: the sequences are not in order of length."""
        packed = object.__new__(cls)
        packed._set(padded, sequence_lens, sorts)
        return packed

    def with_padded(self, padded: Any) -> PackedSequence:
        """Other values of the same lengths."""
        return type(self).of_padded(padded, self.sequence_lens, self._sorts)

    def _lens(self) -> list[int]:
        lens: list[int] = self.sequence_lens.tolist()
        return lens

    def _order(self) -> list[int]:
        lens = self._lens()
        return sorted(range(len(lens)), key=lambda n: -lens[n])

    @property
    def data(self) -> Any:
        """All steps in order of time."""
        if self._data is None:
            lens, order = self._lens(), self._order()
            n = len(lens)
            rows = [t * n + i for t in range(max(lens)) for i in order if t < lens[i]]
            self._data = self.padded.flatten(0, 1).index_select(0, tensor(rows))
        return self._data

    @property
    def batch_sizes(self) -> Tensor:
        """How many sequences each step has."""
        lens = self._lens()
        return tensor([sum(n > t for n in lens) for t in range(max(lens))])

    @property
    def sorted_indices(self) -> Tensor | None:
        """The sequence at each place of the order of length, None if they are in order."""
        return tensor(self._order()) if self._sorts else None

    @property
    def unsorted_indices(self) -> Tensor | None:
        """The place of each sequence."""
        return tensor(_inverse(self._order())) if self._sorts else None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices))

    def __getitem__(self, i: Any) -> Any:
        return tuple(self)[i]

    def __len__(self) -> int:
        return 4

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def cpu(self) -> PackedSequence:
        """On the CPU."""
        return self

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With values of another type."""
        return self.with_padded(self.padded.to(*args, **kwargs))

    def __repr__(self) -> str:
        names = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")
        fields = ", ".join(f"{n}={v!r}" for n, v in zip(names, self, strict=True))
        return f"PackedSequence({fields})"


for _name in ("float", "double", "half", "int", "long", "short", "byte", "char"):

    def _cast(self: PackedSequence, _name: str = _name) -> PackedSequence:
        """With values of another type."""
        return self.with_padded(getattr(self.padded, _name)())

    setattr(PackedSequence, _name, _cast)


def _listed(values: Any) -> Any:
    """A list of numbers; None where there are none, or none are known while a graph is traced."""
    if values is None or isinstance(values, list):
        return values
    try:
        return values.tolist() if isinstance(values, Tensor) else list(values)
    except ToolkitError:
        return None


def _inverse(order: Sequence[int]) -> list[int]:
    places = [0] * len(order)
    for place, n in enumerate(order):
        places[n] = place
    return places


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Sequences (L, N, ...), (N, L, ...) with `batch_first`, of the given lengths.

    Raises:
        ShapeError: not one length for each sequence.
        InvalidArgumentError: a length that is no length, or `enforce_sorted` and they do not
            descend.
    """
    x: Any = input.transpose(0, 1) if batch_first else input
    known = _listed(lengths)
    if known is not None:
        if len(known) != x.shape[1] and isinstance(x.shape[1], int):
            raise ShapeError(
                f"pack_padded_sequence: {x.shape[1]} lengths are required, got {len(known)}."
            )
        if not known or min(known) <= 0 or max(known) > x.shape[0]:
            raise InvalidArgumentError(
                "Length of all samples has to be greater than 0 and at most "
                f"{x.shape[0]}, got {known}"
            )
        if enforce_sorted and list(known) != sorted(known, reverse=True):
            raise InvalidArgumentError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
                "You can pass `enforce_sorted=False`."
            )
        x = x.narrow(0, 0, max(known))
    lens = as_tensor(lengths).to(dtypes.int32)
    return PackedSequence.of_padded(x, lens, not enforce_sorted)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sequences padded to the longest (or `total_length`), and their lengths."""
    x: Any = sequence.padded
    steps = x.shape[0]
    # (L, N, 1, ...): which steps are inside.
    time = arange(steps).reshape(steps, *[1] * (x.dim() - 1))
    lens = sequence.sequence_lens.to(dtypes.int64)
    x = x.where(time < lens.reshape(1, -1, *[1] * (x.dim() - 2)), padding_value)
    if total_length is not None:
        if total_length < steps:
            raise InvalidArgumentError(
                "Expected total_length to be at least the length of the longest sequence in "
                f"input, but got total_length={total_length} and max sequence length being {steps}"
            )
        widths = [0] * (2 * x.dim() - 1) + [total_length - steps]
        x = F.pad(x, widths, value=padding_value or None)
    return x.transpose(0, 1) if batch_first else x, lens


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Tensors (L_i, ...) as one (L, N, ...), or (N, L, ...) with `batch_first`."""
    if padding_side not in ("left", "right"):
        raise InvalidArgumentError(
            f"pad_sequence: padding_side 'left' or 'right' is required, got {padding_side!r}."
        )
    parts = list(sequences)
    if not parts:
        raise InvalidArgumentError("pad_sequence: at least one sequence is required, got none.")
    longest = max(p.shape[0] for p in parts)
    padded = []
    for p in parts:
        missing = longest - p.shape[0]
        ends = [missing, 0] if padding_side == "left" else [0, missing]
        widths = [0] * (2 * p.dim() - 2) + ends
        padded.append(F.pad(p, widths, value=padding_value or None) if missing else p)
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded tensor, each of its own length."""
    x: Any = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [x[i].narrow(0, 0, int(n)) for i, n in enumerate(_listed(lengths))]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed one, in the order they were given."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Tensors (L_i, ...) as one packed sequence."""
    parts = list(sequences)
    return pack_padded_sequence(
        pad_sequence(parts), [p.shape[0] for p in parts], enforce_sorted=enforce_sorted
    )
