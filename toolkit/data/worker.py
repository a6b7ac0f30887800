"""A worker process of a `DataLoader`: takes tasks from its connection and answers them in order."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from toolkit.data.dataset import Dataset
from toolkit.data.shared import Writer
from toolkit.errors import ToolkitError

Fetch = Callable[[Any], Any]

_GRACE = 2.0  # Seconds that a worker has to finish a sample when its parent is gone.


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


@dataclass(frozen=True)
class Epoch:
    """The beginning of an iteration: tasks of earlier ones are no longer wanted."""

    generation: int
    epoch: int
    seed: int


@dataclass(frozen=True)
class Task:
    """What to fetch, and slots of shared memory that are free again."""

    generation: int
    indices: Any
    freed: list[int]


class _Text(str):
    """A message that KeyError shows as it is: it would show the repr."""

    def __repr__(self) -> str:
        return str(self)


@dataclass
class Failure:
    """An exception of a worker on its way to the parent, which raises it again."""

    type: type[BaseException]
    text: str

    def reraise(self, worker: int) -> None:
        """Raises the same type, with the worker's traceback as message."""
        message = f"Caught {self.type.__name__} in DataLoader worker process {worker}.\n{self.text}"
        try:
            error = self.type(_Text(message) if issubclass(self.type, KeyError) else message)
        except Exception:  # A constructor with other parameters.
            error = RuntimeError(message)
        raise error from None


@dataclass(frozen=True)
class End:
    """A worker's stream of an IterableDataset is at its end."""


def _failure(error: BaseException) -> Failure:
    text = "Original " + "".join(traceback.format_exception(error)).rstrip()
    return Failure(type(error), text)


def seed_everything(seed: int) -> None:
    """Gives this process its own random numbers in Python, numpy and toolkit."""
    import random

    import numpy as np

    import toolkit.random

    random.seed(seed)
    np.random.seed(seed % 2**32)
    toolkit.random.manual_seed(seed)


# A forked process has its parent's ends of all connections; a worker would never see them closed.
PARENT_ENDS: weakref.WeakSet[Any] = weakref.WeakSet()


def _close_parent_ends() -> None:
    for end in list(PARENT_ENDS):
        with contextlib.suppress(OSError):
            end.close()
    PARENT_ENDS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_parent_ends)


class _Worker:
    """The state of a worker: what fetches, and the tasks that wait."""

    def __init__(
        self,
        connection: Connection,
        info: WorkerInfo,
        make_fetch: Callable[[Dataset[Any]], Fetch],
        init_fn: Callable[[int], None] | None,
    ) -> None:
        self.connection, self.info = connection, info
        self.make_fetch, self.init_fn = make_fetch, init_fn
        self.newest = 0  # The generation that the parent wants.
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.fetch: Fetch | None = None
        self.failed: Failure | None = None

    def drain(self) -> None:
        """Takes messages off the connection, so that the parent never waits to send them."""
        try:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    message = self.connection.recv()
                    self.newest = message.generation
                    self.messages.put(message)
        finally:
            self.messages.put(None)
        time.sleep(_GRACE)  # A sample that takes for ever must not outlive the parent.
        os._exit(1)

    def run(self) -> None:
        """Answers until the parent closes its end."""
        writer = Writer(self.connection)
        while (message := self.messages.get()) is not None:
            if isinstance(message, Epoch):
                self._begin(message)
                continue
            writer.give_back(message.freed)
            if message.generation != self.newest:
                continue
            result = self._answer(message)
            try:
                writer.send(message.generation, result)
            except (BrokenPipeError, ConnectionResetError):
                return
            except Exception as error:  # The result or the exception could not be pickled.
                text = result.text if isinstance(result, Failure) else _failure(error).text
                failure = Failure(RuntimeError, text)
                writer.send(message.generation, failure)

    def _begin(self, start: Epoch) -> None:
        first = self.fetch is None
        self.info.seed = start.seed + self.info.id
        try:
            seed_everything(self.info.seed)
            if first and self.init_fn is not None:
                self.init_fn(self.info.id)
            if hasattr(self.info.dataset, "set_epoch"):
                self.info.dataset.set_epoch(start.epoch)
            self.fetch, self.failed = self.make_fetch(self.info.dataset), None
        except Exception as error:
            self.failed = _failure(error)

    def _answer(self, task: Task) -> Any:
        if self.failed is not None:
            return self.failed
        assert self.fetch is not None
        try:
            return self.fetch(task.indices)
        except StopIteration:
            return End()
        except Exception as error:
            return _failure(error)


def work(
    connection: Connection,
    info: WorkerInfo,
    make_fetch: Callable[[Dataset[Any]], Fetch],
    init_fn: Callable[[int], None] | None,
) -> None:
    """The body of a worker process. Ctrl-C is the parent's to handle: it ends its workers."""
    global _info
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from toolkit.runtime import _core

    _core.set_num_threads(1)
    _info = info
    worker = _Worker(connection, info, make_fetch, init_fn)
    threading.Thread(target=worker.drain, daemon=True).start()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        worker.run()
