"""Samplers: the order in which a loader visits a dataset.

A random order is a function of (seed, epoch). `set_epoch` chooses the epoch; without it each
iteration is the next one.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from toolkit.data.order import Seed, permutation, rng
from toolkit.errors import DTypeError, InvalidArgumentError

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Yields indices (or lists of them); define `__iter__`, and `__len__` where it is known."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__.")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class _SeededSampler(Sampler[int]):
    """Holds the seed and the epoch of a random order."""

    generator: Seed
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`."""
        self.epoch = epoch

    def _order(self, epoch: int) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return iter(self._order(epoch).tolist())


class RandomSampler(_SeededSampler):
    """A random order, without or with replacement.

    Args:
        data_source: what is sampled; only its length is used.
        replacement: draw each index independently.
        num_samples: how many indices an epoch has; the length of `data_source` if None.
        generator: a `toolkit.random.Generator` or a seed; the default generator's seed if None.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Seed = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self.generator = generator
        self._num_samples = num_samples
        if not isinstance(replacement, bool):
            raise DTypeError(
                f"RandomSampler: a bool is required as replacement, got {replacement}."
            )
        _require_count("RandomSampler", self.num_samples)

    @property
    def num_samples(self) -> int:
        """How many indices an epoch has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def _order(self, epoch: int) -> Any:
        random, n, count = rng(self.generator, epoch=epoch), len(self.data_source), self.num_samples
        if n == 0:
            raise InvalidArgumentError("RandomSampler: a dataset with samples is required, got 0.")
        if self.replacement:
            return random.integers(n, size=count)
        rounds = [random.permutation(n) for _ in range(-(-count // n))]
        return np.concatenate(rounds)[:count]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(_SeededSampler):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Seed = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in super().__iter__())

    def _order(self, epoch: int) -> Any:
        return permutation(len(self.indices), self.generator, epoch=epoch)

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(_SeededSampler):
    """Indices drawn with probability proportional to `weights`."""

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Seed = None,
    ) -> None:
        from toolkit.dtypes import float64
        from toolkit.tensor import as_tensor

        _require_count("WeightedRandomSampler", num_samples)
        _require_bool("WeightedRandomSampler: a bool is required as replacement", replacement)
        self.weights = as_tensor(weights, dtype=float64)
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator
        p = self.weights.numpy()
        if p.ndim != 1 or not (np.isfinite(p).all() and (p >= 0).all() and p.sum() > 0):
            raise InvalidArgumentError(
                "WeightedRandomSampler: weights (N,) >= 0 with a sum above 0 are required, got "
                f"shape {p.shape}, sum {p.sum():.6g}."
            )
        if not replacement and num_samples > np.count_nonzero(p):
            raise InvalidArgumentError(
                f"WeightedRandomSampler: {num_samples} weights above 0 are required to draw that "
                f"many without replacement, got {np.count_nonzero(p)}."
            )

    def _order(self, epoch: int) -> Any:
        p = self.weights.numpy()
        random = rng(self.generator, epoch=epoch)
        if self.replacement:
            return random.choice(len(p), self.num_samples, p=p / p.sum())
        # The smallest of exponential numbers by weight, as logarithms (Efraimidis, Spirakis 2006).
        with np.errstate(divide="ignore"):
            keys = np.log(random.exponential(size=len(p))) - np.log(p)
        return np.argsort(keys)[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Groups another sampler's indices into lists of `batch_size`.

    Args:
        sampler: yields indices.
        batch_size: at least 1.
        drop_last: leave out a last list that is shorter.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise InvalidArgumentError(
                f"BatchSampler: batch_size >= 1 is required, got {batch_size!r}."
            )
        _require_bool("BatchSampler: a bool is required as drop_last", drop_last)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        """Passes the epoch on to the sampler."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


class DistributedSampler(Sampler[int]):
    """The share of one of several processes that train together: every `num_replicas`-th index.

    All shares have one length: the order's begin is appended, or with `drop_last` its end left out.
    As in PyTorch, the epoch stays until `set_epoch` is called.

    Args:
        dataset: what is sampled; only its length is used.
        num_replicas: how many processes there are; None: the environment's WORLD_SIZE, or 1.
        rank: this process' number; None: the environment's RANK, or 0.
        shuffle: a random order, the same in all processes.
        seed: of that order.
        drop_last: leave out the end instead of repeating the begin.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = int(os.environ.get("WORLD_SIZE", 1))
        if rank is None:
            rank = int(os.environ.get("RANK", 0))
        if not 0 <= rank < num_replicas:
            raise InvalidArgumentError(
                f"DistributedSampler: a rank in [0, {num_replicas - 1}] is required, got {rank}."
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """The order from now on is that of `epoch`."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = permutation(n, self.seed, epoch=self.epoch) if self.shuffle else np.arange(n)
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples


def _require_count(where: str, num_samples: Any) -> None:
    if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
        raise InvalidArgumentError(f"{where}: num_samples > 0 is required, got {num_samples}.")


def _require_bool(what: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{what}, got {value!r}.")
