"""Functions of the array API namespace traced: the batch stays symbolic, onnxruntime agrees."""

import pytest
from test_tensor_tracing import check

import toolkit.array_api as xp

EXPRESSIONS = """
add(x, 1.5); multiply(x, x); remainder(x, 1.5); pow(abs(x), 2.0); maximum(x, 0.0)
where(x > 0, x, 1); clip(x, -0.5, 0.5); hypot(x, x); logaddexp(x, 1.0); copysign(x, -1.0)
atan2(x, 2.0); exp(x); sum(x); sum(x, axis=1); mean(x, axis=0, keepdims=True)
var(x, axis=1, correction=1); std(x); max(x, axis=1); min(x); prod(x, axis=1)
count_nonzero(x > 0, axis=1); all(x > -9, axis=1); argmax(x, axis=1)
argmax(x, axis=1, keepdims=True); cumulative_sum(x, axis=1); cumulative_sum(x, axis=0)
diff(x, axis=1); sort(x, axis=1); argsort(x, axis=1, descending=True); expand_dims(x, 1)
flip(x, axis=1); moveaxis(x, 0, 1); permute_dims(x, (1, 0)); roll(x, 1, axis=1)
matrix_transpose(x); concat([x, x], axis=0); stack([x, x]); tile(x, (1, 2)); unstack(x, axis=1)
squeeze(expand_dims(x, 0), 0); broadcast_to(x, (2, x.shape[0], 4)); reshape(x, (-1, 2, 2))
take(x, asarray([0, 2]), axis=1); take_along_axis(x, argsort(x, axis=1), axis=1)
matmul(x, matrix_transpose(x)); vecdot(x, x); tensordot(x, x, axes=((1,), (1,))); zeros_like(x)
full_like(x, 2); astype(x, xp.float64); astype(x > 0, xp.int32); tril(x); triu(x)
searchsorted(asarray([-1.0, 0.0, 1.0]), x); repeat(x, 2, axis=1); linalg.vector_norm(x, axis=1)
linalg.outer(x[:, 0], x[:, 1])
"""
CASES = [e.strip() for line in EXPRESSIONS.strip().splitlines() for e in line.split(";")]


@pytest.mark.parametrize("expression", CASES)
def test_function(expression):
    names = {name: getattr(xp, name) for name in xp.__all__}
    check(lambda x: eval(expression, {**names, "xp": xp, "x": x}), (2, 4))
