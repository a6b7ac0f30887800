"""Sequences and optionals."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import ALL, OpInfo, S, i64

TYPES = (*ALL, "float16", "string")


def scalar(value: int, dtype: str = "int64") -> np.ndarray:
    return np.array(value, dtype)


def construct_samples(d):
    yield S(d(2, 3))
    yield S(d(2, 3), d(4), d(), d(0, 2))


def insert_samples(d):
    items = [d(2), d(), d(3, 1)]
    yield S(items, d(5))
    for at in (0, 1, 3, -1, -3):
        yield S(items, d(5), scalar(at))
    yield S(items, d(0), scalar(2, "int32"))


def erase_samples(d):
    yield S([d(2), d(), d(3, 1)])
    for at in (0, 2, -1, -3):
        yield S([d(2), d(), d(3, 1)], scalar(at))
    yield S([d(7)], scalar(0))


def at_samples(d):
    for at in (0, 2, -1, -3):
        yield S([d(2), d(), d(3, 1)], scalar(at))
    yield S([d(2), d(2)], scalar(1, "int32"))


def split_samples(d):
    yield S(d(3, 2))
    yield S(d(3, 2), axis=1, keepdims=0)
    yield S(d(3, 5), scalar(2), axis=-1)
    yield S(d(3, 5), scalar(5), axis=1)
    yield S(d(6, 2), i64(1, 3, 2))
    yield S(d(6, 2), i64(6, 0))
    yield S(d(4), scalar(3, "int32"))


def split_reference(sample):
    x, split = (*sample.inputs, None)[:2]
    axis = sample.attributes.get("axis", 0)
    n = x.shape[axis]
    if split is None:
        parts = np.split(x, n, axis)
        keep = sample.attributes.get("keepdims", 1)
        return [[p if keep else p.squeeze(axis) for p in parts]]
    sizes = split if split.ndim else [min(split, n - at) for at in range(0, n, split)]
    return [np.split(x, np.cumsum(sizes)[:-1], axis)]


def concat_samples(d):
    yield S([d(2, 3), d(1, 3), d(0, 3)], axis=0)
    yield S([d(2, 3), d(2, 1)], axis=-1)
    yield S([d(2, 3)], axis=1)
    for axis in (0, 1, 2, -1):
        yield S([d(2, 3), d(2, 3)], axis=axis, new_axis=1)
    yield S([d(), d()], axis=0, new_axis=1)


def concat_reference(sample):
    join = np.stack if sample.attributes.get("new_axis") else np.concatenate
    return [join(sample.inputs[0], axis=sample.attributes["axis"])]


def row(op_type, samples, **changes):
    changes = {"dtypes": TYPES, "typed_by": None, "grad": ()} | changes
    return OpInfo(op_type, samples, **changes)


ROWS = [
    row("SequenceConstruct", construct_samples),
    row("SequenceEmpty", lambda d: [S(), S(dtype=7)], dtypes=("float32",),
        reference=lambda s: [[]], why="it makes no value of a type"),
    row("SequenceInsert", insert_samples, reference=lambda s: [_inserted(*s.inputs)],
        why="it counts negative positions from the other side"),
    row("SequenceErase", erase_samples),
    row("SequenceAt", at_samples),
    row("SequenceLength", lambda d: [S([d(2), d()]), S([d()])]),
    row("SplitToSequence", split_samples, reference=split_reference, why="it keeps squeezed axes"),
    row("ConcatFromSequence", concat_samples, reference=concat_reference, why="no new axis at -1"),
    row("Optional", lambda d: [S(d(2, 3)), S([d(2), d()])], reference=lambda s: [s.inputs[0]],
        why="it gives a sequence"),
    row("OptionalHasElement", lambda d: [S(d(2, 3)), S([d(2)])]),
    row("OptionalGetElement", lambda d: [S(d(2, 3)), S([d(2), d()])]),
]  # fmt: skip


def _inserted(items, x, at=None):
    at = len(items) if at is None else int(at)
    return [*items[:at], x, *items[at:]]
