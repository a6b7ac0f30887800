"""Samplers: the order in which a loader visits a dataset.

A random order is a function of (seed, epoch). `set_epoch` chooses the epoch; without it each
iteration is the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

from toolkit.data.order import Seed, rng
from toolkit.errors import InvalidArgumentError

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
        if num_samples is not None and num_samples <= 0:
            raise InvalidArgumentError(
                f"RandomSampler: num_samples > 0 is required, got {num_samples}."
            )
        self.data_source = data_source
        self.replacement = replacement
        self.generator = generator
        self._num_samples = num_samples

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
        import numpy as np

        rounds = [random.permutation(n) for _ in range(-(-count // n))]
        return np.concatenate(rounds)[:count]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(_SeededSampler):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Seed = None) -> None:
        self.indices = indices
        self.generator = generator

    def _order(self, epoch: int) -> Any:
        return rng(self.generator, epoch=epoch).permutation(self.indices)

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
        if num_samples <= 0:
            raise InvalidArgumentError(
                f"WeightedRandomSampler: num_samples > 0 is required, got {num_samples}."
            )
        self.weights = weights
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def _order(self, epoch: int) -> Any:
        import numpy as np

        p = np.asarray(self.weights, np.float64)
        random = rng(self.generator, epoch=epoch)
        return random.choice(len(p), self.num_samples, self.replacement, p / p.sum())

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
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        """Passes the epoch on to the sampler."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
