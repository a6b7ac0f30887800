"""Tolerances per element type, for every test.

A comparison is `|got - want| <= atol + rtol * |want|`. A row of the operator table may scale
both by a factor (its `tolerance`) where an operator sums many terms or cancels.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from toolkit import dtypes

# (rtol, atol): a few ulp of the type, for results of one operator.
FORWARD = {
    "float64": (1e-12, 1e-12),
    "float32": (5e-6, 5e-6),
    "float16": (2e-3, 2e-3),
    "bfloat16": (1.6e-2, 1.6e-2),
    "complex64": (5e-6, 5e-6),
    "complex128": (1e-12, 1e-12),
}
# Two float64 implementations of one gradient (ours and onnxruntime's run of the same graph).
GRADIENT = (1e-9, 1e-9)
GRADIENT_32 = (2e-5, 2e-5)
GRADIENT_16 = (1e-2, 1e-2)  # Float16 and bfloat16, each step rounded or only the last.
# A float64 gradient against central differences: truncation h^2, rounding eps / h.
FINITE_STEP = 1e-5
FINITE = (2e-5, 2e-6)
FINITE_STEP_32 = 1e-2  # Where a peer's float32 stands in for float64.
FINITE_32 = (1e-3, 1e-3)
# Gradients of whole float32 networks beside torch's; absolute to the largest number of each.
NETWORK = (1e-3, 1e-5)
# Losses and weights of float32 networks after 20 steps, beside torch and onnxruntime-training.
ARTIFACTS = (2e-5, 1e-5)
# Second derivatives by differences of a gradient.
FINITE_SECOND = (1e-4, 1e-5)


def of(dtype: np.dtype | str, scale: float = 1.0) -> tuple[float, float]:
    """(rtol, atol) for values of `dtype`; (0, 0) for integers and bool."""
    rtol, atol = FORWARD.get(np.dtype(dtype).name, (0.0, 0.0))
    return rtol * scale, atol * scale


def assert_close(got, want, scale: float = 1.0, tolerance=None, message: str = "") -> None:
    """Same dtype, same shape, values within the type's tolerance; NaN equals NaN."""
    if isinstance(want, list):
        assert isinstance(got, list) and len(got) == len(want), f"{want}, got {got}. {message}"
        for g, w in zip(got, want, strict=True):
            assert_close(g, w, scale, tolerance, message)
        return
    if isinstance(want, dict):
        assert isinstance(got, dict) and set(got) == set(want), f"{want}, got {got}. {message}"
        got, want = [got[k] for k in want], list(want.values())
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype, f"dtype {want.dtype} is required, got {got.dtype}. {message}"
    assert got.shape == want.shape, f"shape {want.shape} is required, got {got.shape}. {message}"
    rtol, atol = tolerance or of(want.dtype, scale)
    if want.dtype in (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)):
        got, want = got.astype(np.float32), want.astype(np.float32)
    if dtypes.from_numpy(want.dtype) in dtypes.NARROW if want.dtype.kind != "O" else False:
        got, want = got.view(np.uint8), want.view(np.uint8)
    if rtol == 0.0:
        np.testing.assert_array_equal(got, want, err_msg=message)
    else:
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=message)
