"""The worker processes of a `DataLoader`, seen from the parent: given tasks, read in order.

A worker's death closes its connection, so the parent sees it at once; the parent's death closes the
other end, so workers never outlive it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from toolkit.data.dataset import Dataset
from toolkit.data.shared import Reader
from toolkit.data.worker import (
    PARENT_ENDS,
    End,
    Epoch,
    Failure,
    Fetch,
    Task,
    WorkerError,
    WorkerInfo,
    work,
)

_CHECK = 2.0  # Seconds between looks at all workers while one is waited for.
_PATIENCE = 0.5  # Seconds in which workers end by themselves.


class WorkerPool:
    """`num_workers` processes, given tasks in turn and read in the same order."""

    def __init__(
        self,
        dataset: Dataset[Any],
        num_workers: int,
        make_fetch: Callable[[Dataset[Any]], Fetch],
        init_fn: Callable[[int], None] | None,
        context: Any,
        timeout: float,
    ) -> None:
        if context is None and "fork" in multiprocessing.get_all_start_methods():
            context = "fork"  # The dataset is shared, not pickled.
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        self.timeout = timeout
        self.generation = 0
        self.owner = os.getpid()
        self.processes: list[Any] = []
        self.pipes: list[Connection] = []
        self.readers: list[Reader] = []
        try:
            for i in range(num_workers):
                self._start(context, WorkerInfo(i, num_workers, 0, dataset), make_fetch, init_fn)
        except BaseException:
            self.shutdown()
            raise

    def _start(self, context: Any, info: WorkerInfo, make_fetch: Any, init_fn: Any) -> None:
        ours, theirs = context.Pipe()
        reader = Reader(ours)
        PARENT_ENDS.add(reader)
        process = context.Process(
            target=work, args=(theirs, info, make_fetch, init_fn), daemon=True
        )
        try:
            process.start()
        except BaseException:
            reader.close()
            raise
        finally:
            theirs.close()
        self.processes.append(process)
        self.pipes.append(ours)
        self.readers.append(reader)

    def usable(self) -> bool:
        """Whether its processes are there, and are this process' own."""
        return bool(self.processes) and os.getpid() == self.owner

    def begin(self, epoch: int, seed: int) -> None:
        """Begins an iteration: workers forget tasks of others, seed themselves and start anew."""
        self.generation += 1
        for worker in range(len(self.pipes)):
            self._send(worker, Epoch(self.generation, epoch, seed))

    def send(self, worker: int, indices: Any) -> None:
        """Gives a worker its next task."""
        self._send(worker, Task(self.generation, indices, self.readers[worker].freed()))

    def _send(self, worker: int, message: Any) -> None:
        try:
            self.pipes[worker].send(message)
        except (BrokenPipeError, ConnectionResetError):
            self._died(worker)

    def receive(self, worker: int | None = None) -> tuple[int, Any]:
        """The next answer of a worker (None: of any) with the worker; raises what it raised.

        Raises:
            WorkerError: a worker died, or none answered within `timeout` seconds.
        """
        while True:
            ready = self._wait(worker)
            try:
                generation, result = self.readers[ready].receive()
            except (EOFError, ConnectionResetError):
                self._died(ready)
            if generation != self.generation:
                continue  # An answer to an iteration that was given up.
            if isinstance(result, Failure):
                result.reraise(ready)
            return ready, result

    def _wait(self, worker: int | None) -> int:
        pipes = self.pipes if worker is None else [self.pipes[worker]]
        limit = time.monotonic() + self.timeout if self.timeout > 0 else float("inf")
        while True:
            ready = wait(pipes, max(0.0, min(_CHECK, limit - time.monotonic())))
            if ready:
                return self.pipes.index(ready[0])  # type: ignore[arg-type]
            for i, process in enumerate(self.processes):
                if not process.is_alive():
                    self._died(i)
            if time.monotonic() >= limit:
                who = "a worker" if worker is None else f"worker {worker}"
                raise WorkerError(
                    f"DataLoader: an answer of {who} within {self.timeout} seconds is required, "
                    "got none."
                )

    def _died(self, worker: int) -> NoReturn:
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
        if os.getpid() != self.owner:
            return
        for reader in self.readers:
            with contextlib.suppress(OSError):
                reader.close()
        limit = time.monotonic() + _PATIENCE
        for process in self.processes:
            process.join(max(0.0, limit - time.monotonic()))
        for end in ("terminate", "kill"):
            alive = [process for process in self.processes if process.is_alive()]
            for process in alive:  # Busy with a sample.
                getattr(process, end)()
            for process in alive:
                process.join(2)
        self.pipes, self.processes, self.readers = [], [], []

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.shutdown()


def map_batches(
    pool: WorkerPool, batches: Iterator[Any], prefetch: int, in_order: bool = True
) -> Iterator[Any]:
    """The batches of a map-style dataset; `prefetch` tasks wait at each worker."""
    workers = len(pool.processes)
    waiting = [0] * workers
    sent = received = 0

    def receive() -> Any:
        worker, result = pool.receive(received % workers if in_order else None)
        waiting[worker] -= 1
        return result

    for indices in batches:
        if sent - received == workers * prefetch:
            yield receive()
            received += 1
        worker = sent % workers if in_order else waiting.index(min(waiting))
        pool.send(worker, indices)
        waiting[worker] += 1
        sent += 1
    while received < sent:
        yield receive()
        received += 1


def stream_batches(pool: WorkerPool, prefetch: int, in_order: bool = True) -> Iterator[Any]:
    """The batches of an IterableDataset, taken from the workers in turn until all have ended."""
    alive = list(range(len(pool.processes)))
    for worker in alive * prefetch:
        pool.send(worker, None)
    turn = 0
    while alive:
        wanted = alive[turn % len(alive)] if in_order else None
        worker, result = pool.receive(wanted)
        if worker not in alive:
            continue  # Another answer of one that has ended.
        if isinstance(result, End):
            turn = alive.index(worker)
            alive.remove(worker)
        else:
            pool.send(worker, None)
            yield result
            turn = alive.index(worker) + 1
