"""Where toolkit differs from the standard, with the reason. The tests read this table.

A test of each entry fails when the difference is gone.
"""

from __future__ import annotations

# What: (expression in `xp` and `tk`, what the standard wants of it, why it is not so).
EXCEPTIONS: dict[str, tuple[str, str, str]] = {
    "complex types": (
        "hasattr(xp, 'complex64')", "True",
        "ONNX has complex numbers as pairs of floats: `ComplexTensor`, which is no Tensor",
    ),
    "size": (
        "isinstance(xp.asarray([1]).size, int)", "True",
        "PyTorch's method `x.size()` has the name; `x.numel()` is what the standard means",
    ),
    "operators of 0-dim arrays": (
        "(xp.ones((), dtype=xp.float64) + xp.ones(2)).dtype == xp.float64", "True",
        "PyTorch: a 0-dim tensor counts by its category only; `xp.add` promotes by the standard",
    ),
    "operators of uint8 and larger 0-dim": (
        "(xp.ones((), dtype=xp.uint16) + xp.ones(2, dtype=xp.uint8)).dtype == xp.uint16", "True",
        "as above",
    ),
    "the sign of a zero rest": (
        "(xp.asarray([2.0]) % xp.asarray([-1.0])).item()", "-0.0",
        "PyTorch: it is the dividend's; `xp.remainder` gives the divisor's",
    ),
    "negative steps": (
        "raises(lambda: xp.arange(3)[::-1])", "False",
        "PyTorch: slice steps are positive; `xp.flip` reverses",
    ),
    "masks of size 0": (
        "raises(lambda: xp.ones((0, 1))[xp.ones((0, 0), dtype=xp.bool)])", "False",
        "PyTorch: a mask has the sizes of the axes that it indexes",
    ),
    "dimensions": (
        "raises(lambda: xp.reshape(xp.ones(1), (1,) * 17))", "False",
        "`capabilities()['max dimensions']` is 16, that of the core's shapes",
    ),
}  # fmt: skip
