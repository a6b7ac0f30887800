"""Datasets: indexable collections of samples."""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from toolkit._tensor.base import wrap
from toolkit.data.order import Seed, permutation
from toolkit.errors import InvalidArgumentError, OutOfBoundsError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

T_co = TypeVar("T_co", covariant=True)

_SPLIT_STREAM = 1  # random_split's place among the permutations of one seed.


class Dataset(Generic[T_co]):
    """A map from indices to samples: define `__getitem__`, and `__len__` for the samplers.

    A dataset that can fetch many samples at once also defines `__getitems__(indices)`, a list of
    them. One that can make the whole batch defines `get_batch(indices)`, which returns
    what `default_collate` would make of the samples, or None to have them collated one by one.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__.")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """A stream of samples: define `__iter__`.

    With workers, each worker iterates its own copy; `get_worker_info()` tells it its share.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__.")

    def __add__(self, other: Dataset[Any]) -> ChainDataset[Any]:  # type: ignore[override]
        return ChainDataset([self, other])


class SizeError(InvalidArgumentError, AssertionError):
    """Datasets that do not fit together; PyTorch asserts it."""


class TensorDataset(Dataset["tuple[Tensor, ...]"]):
    """Sample `i` is the tuple of `tensor[i]` of each tensor.

    Raises:
        SizeError: the tensors differ in their first dimension.
    """

    def __init__(self, *tensors: Tensor) -> None:
        lengths = [len(t) for t in tensors]
        if not tensors or len(set(lengths)) != 1:
            raise SizeError(
                f"TensorDataset: tensors of one length are required, got lengths {lengths}."
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def get_batch(self, indices: Sequence[int]) -> list[Tensor]:
        """The batch of these samples: one gather a tensor."""
        from toolkit.tensor import from_numpy

        index = np.asarray(indices, np.int64)
        if any(t.requires_grad or t.dtype.is_complex for t in self.tensors):
            rows = from_numpy(index)
            return [t[rows] for t in self.tensors]
        return [_rows(t, index) for t in self.tensors]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, ...]]:
        """The samples of these indices: rows of one gather a tensor."""
        columns = [_members(batch) for batch in self.get_batch(indices)]
        return list(zip(*columns, strict=True))


class StackDataset(Dataset[T_co]):
    """Sample `i` is the tuple of each dataset's sample `i`; a dictionary, of those by keyword.

    Raises:
        InvalidArgumentError: no dataset, both kinds of arguments, or datasets of several lengths.
    """

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if bool(args) == bool(kwargs):
            raise InvalidArgumentError(
                "StackDataset: datasets either by position or by keyword are required, got "
                f"{'both' if args else 'none'}."
            )
        self.datasets: Any = args or kwargs
        lengths = [len(d) for d in self._members()]
        if len(set(lengths)) != 1:
            raise InvalidArgumentError(
                f"StackDataset: datasets of one length are required, got lengths {lengths}."
            )
        self._length = lengths[0]

    def _members(self) -> list[Any]:
        return list(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def _joined(self, parts: Any) -> Any:
        if isinstance(self.datasets, dict):
            return dict(zip(self.datasets, parts, strict=True))
        return tuple(parts)

    def __getitem__(self, index: Any) -> T_co:
        joined: T_co = self._joined(d[index] for d in self._members())
        return joined

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The samples of these indices; each dataset fetches all of its own at once."""
        columns = [fetch_samples(d, indices) for d in self._members()]
        for column in columns:
            if len(column) != len(indices):
                raise InvalidArgumentError(
                    f"StackDataset: {len(indices)} samples are required of __getitems__, got "
                    f"{len(column)}."
                )
        return [self._joined(parts) for parts in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return self._length


class ChainDataset(IterableDataset[T_co]):
    """The samples of several streams, one stream after the other."""

    def __init__(self, datasets: Iterable[Dataset[T_co]]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[T_co]:
        for dataset in self.datasets:
            yield from self._stream(dataset)

    def _stream(self, dataset: Dataset[T_co]) -> IterableDataset[T_co]:
        if not isinstance(dataset, IterableDataset):
            raise SizeError(
                f"ChainDataset: IterableDatasets are required, got {type(dataset).__name__}."
            )
        return dataset

    def __len__(self) -> int:
        return sum(len(self._stream(d)) for d in self.datasets)  # type: ignore[arg-type, misc]


def fetch_samples(dataset: Any, indices: Sequence[int]) -> Sequence[Any]:
    """The samples of these indices: by `__getitems__` where there is one, else one by one."""
    many = getattr(dataset, "__getitems__", None)
    return many(indices) if callable(many) else [dataset[i] for i in indices]


def _members(batch: Tensor) -> Sequence[Tensor]:
    """What lies at each index of a batch; outside the tape, in its memory."""
    if batch.requires_grad or batch.dtype.is_complex:
        return batch.unbind(0)
    return [wrap(row) for row in batch._get().unbound()]


def _rows(tensor: Tensor, index: Any) -> Tensor:
    """Rows of a tensor, gathered once."""
    from toolkit.tensor import from_numpy

    return from_numpy(np.take(tensor.numpy(), index, axis=0))


class Subset(Dataset[T_co]):
    """The samples of `dataset` at `indices`, in that order."""

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[T_co]:
        """The samples of these indices, fetched at once where the whole dataset can."""
        return fetch_samples(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)

    def get_batch(self, indices: Sequence[int]) -> Any:
        """The whole dataset's batch of the mapped indices, or None if it has no such method."""
        fetch = getattr(self.dataset, "get_batch", None)
        return fetch([self.indices[i] for i in indices]) if fetch else None


class ConcatDataset(Dataset[T_co]):
    """The samples of several datasets, one dataset after the other."""

    def __init__(self, datasets: Iterable[Dataset[T_co]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise SizeError("ConcatDataset: at least one dataset is required, got none.")
        self.cumulative_sizes: list[int] = []
        for d in self.datasets:
            if isinstance(d, IterableDataset):
                raise SizeError(
                    f"ConcatDataset: datasets with a length are required, got {type(d).__name__}."
                )
            before = self.cumulative_sizes[-1] if self.cumulative_sizes else 0
            self.cumulative_sizes.append(before + len(d))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: Any) -> T_co:
        if not -len(self) <= index < len(self):
            refuse = InvalidArgumentError if index < 0 else OutOfBoundsError  # As PyTorch does.
            raise refuse(
                f"ConcatDataset: an index in [-{len(self)}, {len(self)}) is required, got {index}."
            )
        index %= len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


def random_split(
    dataset: Dataset[T_co], lengths: Sequence[int | float], generator: Seed = None
) -> list[Subset[T_co]]:
    """Splits a dataset at random into parts that do not overlap.

    Args:
        dataset: what to split; it needs a length.
        lengths: sizes, or fractions that sum to 1 (what is left over by rounding down goes to the
            first parts, one each).
        generator: a `toolkit.random.Generator` or a seed; the default generator's seed if None.

    Raises:
        InvalidArgumentError: the sizes do not sum to the dataset's length.
    """
    n = len(dataset)  # type: ignore[arg-type]
    sizes = _sizes(n, lengths)
    if sum(sizes) != n or any(size < 0 for size in sizes):
        raise InvalidArgumentError(
            f"random_split: lengths that sum to the dataset's {n} samples are required, "
            f"got {list(lengths)}."
        )
    order = permutation(n, generator, stream=_SPLIT_STREAM).tolist()
    ends = np.cumsum(sizes).tolist()
    return [Subset(dataset, order[e - s : e]) for s, e in zip(sizes, ends, strict=True)]


def _sizes(n: int, lengths: Sequence[int | float]) -> list[int]:
    """Sizes from sizes or fractions; a part that is left empty by its fraction is warned of."""
    total = sum(lengths)
    if not (math.isclose(total, 1) and total <= 1 + 1e-9 and any(lengths)):
        if any(size != int(size) for size in lengths):
            raise InvalidArgumentError(
                f"random_split: whole numbers, or fractions that sum to 1, are required, "
                f"got {list(lengths)}."
            )
        return [int(size) for size in lengths]
    if not all(0 <= f <= 1 for f in lengths):
        raise InvalidArgumentError(
            f"random_split: fractions between 0 and 1 are required, got {list(lengths)}."
        )
    sizes = [math.floor(n * f) for f in lengths]
    for i in range(n - sum(sizes)):
        sizes[i % len(sizes)] += 1
    for i, size in enumerate(sizes):
        if size == 0:
            warnings.warn(
                f"Length of split at index {i} is 0. This might result in an empty dataset.",
                stacklevel=3,
            )
    return sizes
