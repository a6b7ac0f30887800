"""`Interrupt`: Ctrl-C and SIGTERM as a flag that is read between batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

from toolkit.data.worker import WorkerError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Takes the signals over while it is entered. The second signal acts as ever.

    Outside the main thread, or where a program has handlers of its own, nothing is taken over.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        self.received = False
        if threading.current_thread() is not threading.main_thread():
            return self
        usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        for number in _SIGNALS:
            if signal.getsignal(number) == usual[number]:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def guard(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches until a signal comes; SIGTERM may also have ended a loader's workers."""
        iterator = iter(batches)
        while not self.received:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except WorkerError:
                if self.received:
                    return
                raise
            yield batch
