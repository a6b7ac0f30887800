"""What a reader gives: parts (training, testing) that can be split, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from toolkit.data.dataset import Dataset, TensorDataset
from toolkit.data.order import permutation
from toolkit.data.spec import Spec
from toolkit.errors import InvalidArgumentError, OutOfBoundsError

Array = npt.NDArray[Any]
P = TypeVar("P", bound="Part")

_HELD_OUT_STREAM = 3


class Part(Protocol):
    """Samples that are not yet a dataset."""

    held_out: float  # The share that is held out when nothing is said.

    def __len__(self) -> int: ...

    def split(self: P, share: float, seed: int) -> tuple[P, P]:
        """The rest, and a share that is held out."""

    def labels(self) -> Array | None:
        """The class of each sample, where there are classes."""

    def join(self, test: Any, spec: Spec) -> Joined:
        """Datasets of this part, for training, and of another of its kind, for testing."""


@dataclass
class Joined:
    """Datasets, and the inputs of a sample: names, shapes, numpy types; what was subtracted."""

    train: Dataset[Any]
    test: Dataset[Any]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    target_dtype: str
    names: tuple[str, ...] = ()
    mean: Any = 0.0
    std: Any = 1.0


@dataclass
class Raw:
    """What a reader found.

    Attributes:
        train: samples to train on.
        test: the file's own test part, if it has one.
        task: "classification", "regression" or "language".
        classes: names in the order of the labels; the vocabulary for "language".
        known: what another file of the same kind is read by, so that both mean the same.
    """

    train: Any
    test: Any
    task: str
    classes: tuple[str, ...] = ()
    known: dict[str, Any] = field(default_factory=dict)


@dataclass
class Arrays:
    """Inputs and targets as arrays, one row a sample.

    Attributes:
        inputs: what a model takes, in order.
        target: what the loss compares with.
        names: of the inputs, where the file has some.
        norm: "all" standardises an input by the mean and deviation of all its numbers in the
            training part, "column" by those of each column, "none" leaves it.
        columns: of the first input, those that "column" standardises; None: all.
    """

    inputs: list[Array]
    target: Array
    names: tuple[str, ...] = ()
    norm: str = "all"
    columns: Sequence[int] | None = None
    held_out: float = 0.2

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: Any) -> Arrays:
        """The samples of an index array."""
        inputs = [x[index] for x in self.inputs]
        return Arrays(inputs, self.target[index], self.names, self.norm, self.columns)

    def split(self, share: float, seed: int) -> tuple[Arrays, Arrays]:
        """A random choice by the seed alone."""
        train, test = held_out(len(self), share, seed)
        return self.take(train), self.take(test)

    def labels(self) -> Array | None:
        """Integer targets, one a sample."""
        return self.target if self.target.dtype.kind in "iu" and self.target.ndim == 1 else None

    def check(self, spec: Spec) -> None:
        """Refuses parts whose members differ in length."""
        for x in self.inputs:
            if len(x) != len(self.target):
                raise spec.error(
                    f"one target for each sample is required, got {len(x)} samples and "
                    f"{len(self.target)} targets."
                )

    def join(self, test: Arrays, spec: Spec) -> Joined:
        """Standardised by what the training part says."""
        for part in (self, test):
            part.check(spec)
        ours, theirs = ([x.shape[1:] for x in part.inputs] for part in (self, test))
        if ours != theirs:
            raise spec.error(
                f"samples of one shape are required, got {ours} for training and {theirs} for "
                "testing."
            )
        scales = [self._scale(x) for x in self.inputs]
        train = _dataset(self, scales)
        return Joined(
            train,
            _dataset(test, scales),
            shapes=tuple(x.shape[1:] for x in self.inputs),
            dtypes=tuple(str(t.dtype.name) for t in train.tensors[:-1]),
            target_dtype=str(self.target.dtype),
            names=self.names,
            mean=scales[0][0] if scales else 0.0,
            std=scales[0][1] if scales else 1.0,
        )

    def _scale(self, x: Array) -> tuple[Any, Any]:
        if self.norm == "none" or (self.norm == "column" and x.ndim != 2):
            return 0.0, 1.0
        if self.norm == "all":
            return float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)) or 1.0
        mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        if self.columns is not None:
            others = np.setdiff1d(np.arange(x.shape[1]), self.columns)
            mean[others], std[others] = 0.0, 1.0
        return mean, np.where(std == 0, 1.0, std)


def _dataset(part: Arrays, scales: Sequence[tuple[Any, Any]]) -> TensorDataset:
    from toolkit.tensor import from_numpy

    tensors = []
    for x, (mean, std) in zip(part.inputs, scales, strict=True):
        if part.norm != "none":
            x = x.astype(np.float64 if x.dtype == np.float64 else np.float32)
            x -= np.asarray(mean, x.dtype)
            x /= np.asarray(std, x.dtype)
        tensors.append(from_numpy(np.ascontiguousarray(x)))
    return TensorDataset(*tensors, from_numpy(np.ascontiguousarray(part.target)))


def held_out(samples: int, share: float, seed: int) -> tuple[Array, Array]:
    """Indices of the rest and of a share, chosen by the seed alone."""
    order = permutation(samples, seed, _HELD_OUT_STREAM)
    size = int(samples * share + 1e-9)
    return order[size:], order[:size]


@dataclass
class Tokens:
    """A sequence of ids that is read in windows; what is held out is its end."""

    ids: Array
    block: int
    held_out: float = 0.1

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, share: float, seed: int) -> tuple[Tokens, Tokens]:
        """Begin and end."""
        size = len(self.ids) - int(len(self.ids) * share + 1e-9)
        return Tokens(self.ids[:size], self.block), Tokens(self.ids[size:], self.block)

    def labels(self) -> Array | None:
        """None: each position has a target of its own."""
        return None

    def join(self, test: Tokens, spec: Spec) -> Joined:
        """Windows of both."""
        for part in (self, test):
            if len(part.ids) <= self.block:
                raise spec.error(
                    f"more than {self.block} tokens are required in each part, got "
                    f"{len(part.ids)}. Choose a smaller block."
                )
        return Joined(
            CharDataset(self.ids, self.block),
            CharDataset(test.ids, self.block),
            shapes=((self.block,),),
            dtypes=("int64",),
            target_dtype="int64",
        )


class CharDataset(Dataset[Any]):
    """Windows of a text: the input is `block_size` characters, the target the ones that follow.

    The windows do not overlap, except the last one, which ends with the text. Both are int64 of
    shape (block_size,).
    """

    def __init__(self, ids: Array, block_size: int) -> None:
        if len(ids) <= block_size:
            raise InvalidArgumentError(
                f"CharDataset: a text longer than block_size {block_size} is required, "
                f"got {len(ids)} characters."
            )
        self.ids = ids
        self.block_size = block_size

    def __len__(self) -> int:
        return -(-(len(self.ids) - 1) // self.block_size)

    def _windows(self, indices: Any) -> Array:
        starts = np.minimum(
            np.asarray(indices, np.int64) * self.block_size, len(self.ids) - 1 - self.block_size
        )
        return self.ids[starts[..., None] + np.arange(self.block_size + 1)]

    def __getitem__(self, index: Any) -> Any:
        if not -len(self) <= index < len(self):
            raise OutOfBoundsError(
                f"CharDataset: an index in [-{len(self)}, {len(self)}) is required, got {index}."
            )
        return tuple(t[0] for t in self.get_batch([index % len(self)]))

    def get_batch(self, indices: Any) -> list[Any]:
        """Inputs and targets (N, block_size) of these windows."""
        from toolkit.tensor import from_numpy

        windows = self._windows(indices)
        return [
            from_numpy(np.ascontiguousarray(windows[:, :-1])),
            from_numpy(np.ascontiguousarray(windows[:, 1:])),
        ]
