"""`vmap` of every row of the operator table against one call for each example."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from tests import tolerances
from tests.opinfo import OPS, Sample
from toolkit import dtypes, func, ops
from toolkit.autodiff.batching import registry
from toolkit.errors import ToolkitError, UnsupportedOperatorError
from toolkit.func.staging import staged
from toolkit.runtime.values import to_native, to_numpy
from toolkit.tensor import Tensor

EXAMPLES = 3
TOLERANCE = (1e-7, 1e-7)  # In float64: attributes are float32, and bodies read them as decimals.
SAMPLES = 5  # Of a row: the first few, and the last.

NO_KEY = iter(())  # What nothing can look into: the function is traced.

SEQUENCES = {"If", "Loop", "Scan", "SequenceMap"}  # Their attributes are graphs.
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"} | {
    "Bernoulli", "Multinomial", "Dropout", "Uniform", "Normal",
}  # fmt: skip


def samples(op) -> list[Sample]:
    dtype = "float64" if "float64" in op.dtypes else op.dtypes[0]
    found = [s for s in op.samples(op.draw(dtype)) if s.inputs and all(map(_is_plain, s.inputs))]
    found = [s for s in found if not any(isinstance(a, np.ndarray) for a in s.attributes.values())]
    return found if len(found) <= SAMPLES else [*found[: SAMPLES - 1], found[-1]]


def _is_plain(x) -> bool:
    return x is None or (isinstance(x, np.ndarray) and x.dtype.kind in "fiub" and x.size > 0)


def _tensor(x: np.ndarray) -> Tensor:
    return Tensor._from_native(to_native(np.ascontiguousarray(x).reshape(x.shape)))


def _examples(x: np.ndarray) -> list[np.ndarray]:
    """Others of the same shape and set of elements."""
    flat = x.reshape(-1)
    return [np.roll(flat, k).reshape(x.shape) for k in range(EXAMPLES)]


def _call(op, sample, *inputs):
    made = ops.call(op.op_type, inputs, sample.attributes, sample.outputs, op.domain)
    return made if isinstance(made, tuple) else (made,)


def choices(sample: Sample):
    """Which inputs to batch: each alone, and all of them."""
    given = [i for i, x in enumerate(sample.inputs) if x is not None]
    yield from ((i,) for i in given)
    yield from itertools.islice(itertools.combinations(given, 2), 3)
    if len(given) > 2:
        yield tuple(given)


def expected(op, sample, chosen):
    """The stacked results of single calls, or None where examples do not all give one shape."""
    results = []
    for k in range(EXAMPLES):
        inputs = [
            None if x is None else _tensor(_examples(x)[k] if i in chosen else x)
            for i, x in enumerate(sample.inputs)
        ]
        try:
            results.append(staged(functools.partial(_call, op, sample), tuple(inputs), NO_KEY))
        except ToolkitError:
            return None
    columns = list(zip(*results, strict=True))
    if any(t._value.dtype not in dtypes.BY_ONNX for c in columns for t in c):
        return None
    if any(t.dtype == dtypes.string for c in columns for t in c):
        return None
    arrays = [[to_numpy(t._value) for t in c] for c in columns]
    if any(len({a.shape for a in c}) > 1 for c in arrays):
        return None
    return [np.stack(c) for c in arrays]


def vmapped(op, sample, chosen, constants):
    """Results of the mapped call; vectors that all share are inputs or constants of the graph."""
    shared = {
        i: x.tolist()
        for i, x in enumerate(sample.inputs)
        if constants and i not in chosen and _is_vector(x)
    }

    def call(*inputs):
        return _call(op, sample, *(shared.get(i, x) for i, x in enumerate(inputs)))

    inputs = [
        None if x is None else _tensor(np.stack(_examples(x)) if i in chosen else x)
        for i, x in enumerate(sample.inputs)
    ]
    in_dims = tuple(0 if i in chosen else None for i in range(len(inputs)))
    return func.vmap(call, in_dims=in_dims)(*inputs)


def _is_vector(x):
    return x is not None and x.dtype == np.int64 and x.ndim == 1


ROWS = [op for op in OPS if op.op_type not in RANDOM | SEQUENCES and op.domain != "toolkit.optim"]


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_operator(op):
    for sample in samples(op):
        for chosen in choices(sample):
            want = expected(op, sample, chosen)
            if want is None:
                continue
            vectors = any(_is_vector(x) for i, x in enumerate(sample.inputs) if i not in chosen)
            for constants in (False, True)[: 1 + vectors]:
                check(op, sample, chosen, constants, want)


def check(op, sample, chosen, constants, want):
    message = f"{op.name}({sample}), batched {chosen}, constants {constants}"
    try:
        got = vmapped(op, sample, chosen, constants)
    except UnsupportedOperatorError as error:
        assert "sequence or optional" in str(error), message
        return
    except ToolkitError as error:
        raise AssertionError(f"{message}: {error}") from error
    for y, w in zip(got, want, strict=True):
        tolerance = TOLERANCE if w.dtype == np.float64 else None
        tolerances.assert_close(to_numpy(y._value), w, op.tolerance * 10, tolerance, message)


def test_every_rule_has_a_row():
    rows = {(op.domain, op.op_type) for op in OPS}
    own = {("", name) for name in ("GroupNormalization", "BitCast")}
    own.add(("toolkit.linalg", "PinvOf"))  # A body alone, tried in test_export_composites.
    missing = [key for key in registry.operators() if key not in rows | own]
    assert not missing, missing
