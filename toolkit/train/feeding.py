"""Which batches a `Trainer` sees: the rest of an epoch, or the same few again and again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from toolkit.errors import InvalidArgumentError


def remaining(train: Any, epoch: int, done: int) -> Iterable[Any]:
    """An epoch's batches without those that an interrupted run had done."""
    if hasattr(train, "batches"):
        batches: Iterable[Any] = train.batches(epoch, done)
        return batches
    return itertools.islice(train, done, None)


class FirstBatches:
    """The first batches of a loader, the same in every epoch: a network should learn them by heart.

    Args:
        loader: gives the batches.
        count: how many of them.
    """

    def __init__(self, loader: Any, count: int) -> None:
        if count < 1:
            raise InvalidArgumentError(f"FirstBatches: a count >= 1 is required, got {count}.")
        self._batches = list(itertools.islice(remaining(loader, 0, 0), count))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)
