"""Drawn networks (`drawn_networks.py`): every pass at once, and any number of threads."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit as tk
from tests.runtime import drawn_networks as drawn
from tests.runtime.plain import assert_equals_plain, run_file

# Of sums in another order, or by Winograd, through some layers.
BOUND = 5e-5
THREADS = (1, 2, 3, 4)


@settings(max_examples=60)
@given(drawn.images())
def test_images(case):
    assert_equals_plain(*case, BOUND)


@settings(max_examples=60)
@given(drawn.sequences())
def test_sequences(case):
    assert_equals_plain(*case, BOUND)


@settings(max_examples=40)
@given(st.one_of(drawn.images(), drawn.sequences()), st.integers(1, 8))
def test_threads_do_not_change_a_bit(case, times):
    """A batch of some times the size, so that loops are shared out."""
    model, feed = case
    x = np.concatenate([feed["x"]] * times)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    file = model.SerializeToString()
    results = set()
    for threads in THREADS:
        tk.set_num_threads(threads)
        results.add(b"".join(y.tobytes() for ys in run_file(file, {"x": x}, 2) for y in ys))
    assert len(results) == 1
