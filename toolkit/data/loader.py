"""`DataLoader`: batches of a dataset, in this process or from worker processes."""

from __future__ import annotations

import itertools
import multiprocessing.context
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from toolkit.data.collate import default_collate, default_convert
from toolkit.data.dataset import Dataset, IterableDataset, fetch_samples
from toolkit.data.order import Seed, rng
from toolkit.data.pool import WorkerPool, map_batches, stream_batches
from toolkit.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler
from toolkit.errors import DTypeError, InvalidArgumentError, ToolkitError

T_co = TypeVar("T_co", covariant=True)

_WORKER_STREAM = 2  # The workers' seeds among the random numbers of one seed.


_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class _MapFetch:
    """Makes the batch of a list of indices (or the sample of one index)."""

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], batched: bool) -> None:
        self.dataset, self.collate, self.batched = dataset, collate, batched
        self.get_batch = None
        if batched and collate is default_collate:
            self.get_batch = getattr(dataset, "get_batch", None)

    def __call__(self, indices: Any) -> Any:
        if not self.batched:
            return self.collate(self.dataset[indices])
        if self.get_batch is not None and (batch := self.get_batch(indices)) is not None:
            return batch
        return self.collate(fetch_samples(self.dataset, indices))


class _StreamFetch:
    """Makes the next batch (or sample) of an IterableDataset; StopIteration at its end."""

    def __init__(
        self, dataset: Any, collate: Callable[[Any], Any], batch_size: int | None, drop_last: bool
    ) -> None:
        self.samples = iter(dataset)
        self.collate, self.batch_size, self.drop_last = collate, batch_size, drop_last

    def __call__(self, _: Any) -> Any:
        if self.batch_size is None:
            return self.collate(next(self.samples))
        batch = list(itertools.islice(self.samples, self.batch_size))
        if not batch or (self.drop_last and len(batch) < self.batch_size):
            raise StopIteration
        return self.collate(batch)


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches.

    The order of an epoch is a function of (seed, epoch): `loader.batches(epoch, start)` gives the
    same batches whenever and wherever it is called, which is how a resumed run continues.
    Plain iteration runs through epoch 0, 1, 2, ...

    Args:
        dataset: a map-style `Dataset` (anything with `__getitem__` and `__len__`) or an
            `IterableDataset`.
        batch_size: samples in a batch; None yields single samples.
        shuffle: a random order, new in each epoch.
        sampler: yields indices, instead of `shuffle`.
        batch_sampler: yields lists of indices, instead of `batch_size`, `shuffle`, `sampler` and
            `drop_last`.
        num_workers: processes that make batches; 0 makes them in this process. Arrays come back in
            shared memory.
        collate_fn: makes a batch of a list of samples; `default_collate` if None.
        pin_memory: accepted for compatibility; memory is never pinned.
        drop_last: leave out a last batch that is smaller.
        timeout: seconds to wait for a worker's batch; 0 waits for ever.
        worker_init_fn: called with the worker's number in each worker, after seeding.
        multiprocessing_context: "fork", "spawn", "forkserver" or a context of multiprocessing; fork
            where there is one.
        generator: a `toolkit.random.Generator` or a seed; the default generator's seed if None.
        prefetch_factor: batches that each worker makes in advance; 2 if None.
        persistent_workers: keep the workers from one epoch to the next; they are seeded in each.
        pin_memory_device: accepted for compatibility.
        in_order: False yields batches as they become ready, so a slow one holds up no other.

    Raises:
        InvalidArgumentError: arguments that exclude each other, or out of range.
    """

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Seed = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        def require(condition: bool, what: str) -> None:
            if not condition:
                raise InvalidArgumentError(f"DataLoader: {what}.")

        require(num_workers >= 0, f"num_workers >= 0 is required, got {num_workers}")
        require(timeout >= 0, f"timeout >= 0 is required, got {timeout}")
        require(
            num_workers > 0 or (prefetch_factor is None and not persistent_workers),
            "num_workers > 0 is required by prefetch_factor and persistent_workers, got 0",
        )
        require(
            prefetch_factor is None or prefetch_factor > 0,
            f"prefetch_factor > 0 is required, got {prefetch_factor}",
        )
        stream = isinstance(dataset, IterableDataset)
        require(
            not stream or (not shuffle and sampler is None and batch_sampler is None),
            "an IterableDataset decides its own order: no shuffle, sampler or batch_sampler",
        )
        require(sampler is None or not shuffle, "either sampler or shuffle is required, got both")
        _check_context(multiprocessing_context, num_workers)
        self._given = sampler is not None or batch_sampler is not None
        if batch_sampler is not None:
            require(
                batch_size == 1 and not shuffle and sampler is None and not drop_last,
                "batch_sampler excludes batch_size, shuffle, sampler and drop_last",
            )
            batch_size = None
        elif batch_size is None:
            require(not drop_last, "batch_size=None excludes drop_last")
        else:
            require(
                isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size > 0,
                f"batch_size >= 1 is required, got {batch_size!r}",
            )
        if not stream and sampler is None:
            source: Any = dataset
            sampler = (
                RandomSampler(source, generator=generator) if shuffle else SequentialSampler(source)
            )
        if not stream and batch_sampler is None and batch_size is not None:
            assert sampler is not None
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        batched = batch_sampler is not None or batch_size is not None

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.epoch = 0
        self._batched = batched
        self._stream = stream
        self._pool: WorkerPool | None = None
        self._told = False  # Whether set_epoch was called: given samplers are told then, too.
        self._promised: int | None = None  # The length of a stream, if it was asked for.
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and self.__dict__.get("_made"):
            raise InvalidArgumentError(
                f"DataLoader: {name} as it was given is required, it cannot be set afterwards. "
                "Make another loader."
            )
        super().__setattr__(name, value)

    def __len__(self) -> int:
        """Batches in an epoch.

        Raises:
            TypeError: an IterableDataset without a length.
        """
        if self._stream:
            n = self._promised = len(self.dataset)  # type: ignore[arg-type]
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.batch_sampler if self._batched else self.sampler)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`."""
        self.epoch, self._told = epoch, True

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._epoch(epoch, 0, not self._given or self._told)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of one epoch, without the first `start` of them (which are not loaded)."""
        return self._epoch(epoch, start, True)

    def _epoch(self, epoch: int, start: int, tell: bool) -> Iterator[Any]:
        """`tell`: the sampler is told the epoch; else it is one of its own and counts itself."""
        if hasattr(self.dataset, "set_epoch"):  # What it augments depends on the epoch.
            self.dataset.set_epoch(epoch)
        tasks: Iterator[Any] = itertools.repeat(None)
        if not self._stream:
            source: Any = self.batch_sampler if self._batched else self.sampler
            if tell and hasattr(source, "set_epoch"):
                source.set_epoch(epoch)
            tasks = itertools.islice(iter(source), start, None)
        batches = self._local(tasks) if self.num_workers == 0 else self._remote(tasks, epoch)
        if not self._stream:
            return batches
        return itertools.islice(self._counted(batches), start, None)

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        """A stream's batches, with a warning where there are more than its length promised."""
        limit = None if self._promised is None else len(self)
        for i, batch in enumerate(batches):
            if i == limit:
                warnings.warn(
                    f"Length of IterableDataset {self.dataset} was reported to be {self._promised} "
                    f"(when accessing len(dataloader)), but more than {limit} batches have been "
                    "fetched. With workers, each must yield its share only: see get_worker_info.",
                    stacklevel=2,
                )
            yield batch

    def _local(self, tasks: Iterator[Any]) -> Iterator[Any]:
        fetch = _FetchFactory(self)(self.dataset)
        for task in tasks:
            try:
                batch = fetch(task)
            except StopIteration:
                return
            yield batch

    def _remote(self, tasks: Iterator[Any], epoch: int) -> Iterator[Any]:
        pool, self._pool = self._pool, None
        if pool is None or not pool.usable():
            pool = self._start()
        try:
            pool.begin(epoch, int(rng(self.generator, _WORKER_STREAM, epoch).integers(2**62)))
            assert self.prefetch_factor is not None
            if self._stream:
                yield from stream_batches(pool, self.prefetch_factor, self.in_order)
            else:
                yield from map_batches(pool, tasks, self.prefetch_factor, self.in_order)
        except ToolkitError:
            pool.shutdown()
            raise
        finally:
            if self.persistent_workers and self._pool is None:
                self._pool = pool
            else:
                pool.shutdown()

    def _start(self) -> WorkerPool:
        return WorkerPool(
            self.dataset,
            self.num_workers,
            _FetchFactory(self),
            self.worker_init_fn,
            self.multiprocessing_context,
            self.timeout,
        )


def _check_context(context: Any, num_workers: int) -> None:
    if context is None:
        return
    if num_workers == 0:
        raise InvalidArgumentError(
            "DataLoader: num_workers > 0 is required by multiprocessing_context, got 0."
        )
    known = multiprocessing.get_all_start_methods()
    if isinstance(context, str):
        if context not in known:
            raise InvalidArgumentError(
                f"DataLoader: a start method among {', '.join(known)} is required as "
                f"multiprocessing_context, got {context!r}."
            )
    elif not isinstance(context, multiprocessing.context.BaseContext):
        raise DTypeError(
            "DataLoader: a context or a start method is required as multiprocessing_context, got "
            f"{type(context).__name__}."
        )


class _FetchFactory:
    """The part of a loader that its workers need (it can be pickled without the pool)."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.settings = (
            loader._stream,
            loader.collate_fn,
            loader.batch_size,
            loader.drop_last,
            loader._batched,
        )

    def __call__(self, dataset: Any) -> Callable[[Any], Any]:
        stream, collate, batch_size, drop_last, batched = self.settings
        if stream:
            return _StreamFetch(dataset, collate, batch_size, drop_last)
        return _MapFetch(dataset, collate, batched)
