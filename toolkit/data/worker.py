"""Worker processes of a `DataLoader`: each has one pipe, takes tasks and answers them in order.

A worker's death closes its pipe, so the parent sees it at once; the parent's death closes the
other end, so workers never outlive it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from toolkit.data.dataset import Dataset, IterableDataset
from toolkit.errors import ToolkitError

Fetch = Callable[[Any], Any]


class WorkerError(ToolkitError):
    """A worker process of a `DataLoader` died or did not answer in time."""


@dataclass
class WorkerInfo:
    """What `get_worker_info()` tells a worker about itself."""

    id: int
    num_workers: int
    seed: int
    dataset: Dataset[Any]


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """This worker's number, seed and copy of the dataset; None in the main process."""
    return _info


@dataclass
class Failure:
    """An exception of a worker on its way to the parent, which raises it again."""

    type: type[BaseException]
    text: str

    def reraise(self, worker: int) -> None:
        """Raises the same type, with the worker's traceback as message."""
        message = f"Caught {self.type.__name__} in DataLoader worker process {worker}.\n{self.text}"
        try:
            error = self.type(message)
        except Exception:  # A constructor with other parameters.
            error = RuntimeError(message)
        raise error from None


@dataclass(frozen=True)
class End:
    """A worker's stream of an IterableDataset is at its end."""


def _failure(error: BaseException) -> Failure:
    text = "Original " + "".join(traceback.format_exception(error)).rstrip()
    return Failure(type(error), text)


def _seed_everything(seed: int) -> None:
    """Gives this worker its own random numbers in Python, numpy and toolkit."""
    import random

    import numpy as np

    import toolkit.random
    from toolkit.runtime import _core

    _core.set_num_threads(1)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    toolkit.random.manual_seed(seed)


def _work(
    conn: Connection,
    info: WorkerInfo,
    make_fetch: Callable[[Dataset[Any]], Fetch],
    init_fn: Callable[[int], None] | None,
) -> None:
    """The body of a worker: answers each task with (generation, result)."""
    global _info
    _info = info
    startup: Failure | None = None
    try:
        _seed_everything(info.seed)
        if init_fn is not None:
            init_fn(info.id)
        fetch = make_fetch(info.dataset)
    except Exception as error:
        startup = _failure(error)

    # Tasks are drained by a thread: the parent never blocks on sending while we block on sending.
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def drain() -> None:
        with contextlib.suppress(EOFError, OSError):
            while (task := conn.recv()) is not None:
                tasks.put(task)
        tasks.put(None)

    threading.Thread(target=drain, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        while (task := tasks.get()) is not None:
            generation, indices = task
            try:
                result = startup or fetch(indices)
            except StopIteration:
                result = End()
            except Exception as error:
                result = _failure(error)
            try:
                conn.send((generation, result))
            except (BrokenPipeError, ConnectionResetError):
                return
            except Exception as error:  # The result or the exception could not be pickled.
                failure = _failure(error)
                conn.send((generation, Failure(RuntimeError, failure.text)))


class WorkerPool:
    """`num_workers` processes, given tasks in turn and read in the same order."""

    def __init__(
        self,
        dataset: Dataset[Any],
        num_workers: int,
        make_fetch: Callable[[Dataset[Any]], Fetch],
        seed: int,
        init_fn: Callable[[int], None] | None,
        context: str | None,
        timeout: float,
    ) -> None:
        if context is None and "fork" in multiprocessing.get_all_start_methods():
            context = "fork"  # The dataset is shared, not pickled.
        ctx: Any = multiprocessing.get_context(context)
        self.timeout = timeout
        self.generation = 0
        self.processes: list[Any] = []
        self.pipes: list[Connection] = []
        for i in range(num_workers):
            ours, theirs = ctx.Pipe()
            info = WorkerInfo(i, num_workers, seed + i, dataset)
            process = ctx.Process(
                target=_work, args=(theirs, info, make_fetch, init_fn), daemon=True
            )
            process.start()
            theirs.close()
            self.processes.append(process)
            self.pipes.append(ours)

    def send(self, worker: int, indices: Any) -> None:
        """Gives a worker its next task."""
        try:
            self.pipes[worker].send((self.generation, indices))
        except (BrokenPipeError, ConnectionResetError):
            self._died(worker)

    def receive(self, worker: int) -> Any:
        """Waits for a worker's next answer; raises what it raised.

        Raises:
            WorkerError: the worker died, or did not answer within `timeout` seconds.
        """
        pipe = self.pipes[worker]
        while True:
            try:
                if self.timeout > 0 and not pipe.poll(self.timeout):
                    raise WorkerError(
                        f"DataLoader: an answer of worker {worker} within {self.timeout} seconds "
                        "is required, got none."
                    )
                generation, result = pipe.recv()
            except (EOFError, ConnectionResetError):
                self._died(worker)
            if generation != self.generation:
                continue  # An answer to an iteration that was given up.
            if isinstance(result, Failure):
                result.reraise(worker)
            return result

    def _died(self, worker: int) -> None:
        process = self.processes[worker]
        process.join(5)
        code = process.exitcode
        how = (
            f"was killed by signal {-code}" if code and code < 0 else f"left with exit code {code}"
        )
        self.shutdown()
        raise WorkerError(f"DataLoader: worker {worker} (pid {process.pid}) {how} unexpectedly.")

    def shutdown(self) -> None:
        """Ends the processes; the pool cannot be used afterwards."""
        for pipe in self.pipes:
            with contextlib.suppress(OSError):
                pipe.close()
        for process in self.processes:
            process.join(0.5)
            if process.is_alive():  # Busy with a sample, or blocked on a full pipe.
                process.terminate()
                process.join(5)
        self.pipes, self.processes = [], []

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.shutdown()


def map_batches(pool: WorkerPool, batches: Iterator[Any], prefetch: int) -> Iterator[Any]:
    """The batches of a map-style dataset, in order; `prefetch` tasks wait at each worker."""
    pool.generation += 1
    workers = len(pool.processes)
    sent = received = 0
    for indices in batches:
        if sent - received == workers * prefetch:
            yield pool.receive(received % workers)
            received += 1
        pool.send(sent % workers, indices)
        sent += 1
    while received < sent:
        yield pool.receive(received % workers)
        received += 1


def stream_batches(pool: WorkerPool, prefetch: int) -> Iterator[Any]:
    """The batches of an IterableDataset, taken from the workers in turn until all have ended."""
    pool.generation += 1
    alive = list(range(len(pool.processes)))
    for worker in alive * prefetch:
        pool.send(worker, None)
    while alive:
        for worker in list(alive):
            result = pool.receive(worker)
            if isinstance(result, End):
                alive.remove(worker)
            else:
                pool.send(worker, None)
                yield result


def is_iterable(dataset: Any) -> bool:
    """Whether the dataset is a stream rather than a map."""
    return isinstance(dataset, IterableDataset)
