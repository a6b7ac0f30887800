"""`autograd.Function` in its two forms, `mark_dirty`, `once_differentiable`."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d, rows


def cube(m: Any) -> Any:
    class Cube(m.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(x: Any, scale: float) -> Any:
            return scale * x**3, (x > 0)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, ctx.scale = inputs
            ctx.mark_non_differentiable(output[1])
            ctx.save_for_backward(x)

        @staticmethod
        def backward(ctx: Any, g: Any, _: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * ctx.scale * 3 * x**2, None

    return Cube


def double(m: Any, x: Any) -> Any:
    y = cube(m).apply(x, 2.0)[0]
    (g,) = m.autograd.grad(y.sum(), x, create_graph=True)
    return [y, g, m.autograd.grad(g.sum(), x, retain_graph=True)[0]]


def dirty(m: Any, x: Any, leaf: bool = False) -> Any:
    class Double(m.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    y = x if leaf else x * 1
    out = Double.apply(y)
    return [out is y, out, y * 3]


def once(m: Any, x: Any, twice: bool = False) -> Any:
    class Square(m.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @m.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    y = Square.apply(x)
    (g,) = m.autograd.grad(y.sum(), x, create_graph=twice, retain_graph=True)
    return m.autograd.grad(g.sum(), x) if twice else [y, g]


def said(m: Any, a: Any, b: Any, **options: Any) -> Any:
    """The message, but for the numbers in it."""
    try:
        m.testing.assert_close(a, b, **options)
    except AssertionError as error:
        lines = str(error).replace("torch.", "").replace("toolkit.", "").split("\n")
        return [line for line in lines if "reatest" not in line]
    return None


def lacking(m: Any, x: Any, part: str) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    made = type(
        "Lacking", (m.autograd.Function,), {"forward": staticmethod(forward)} if part else {}
    )
    return made.apply(x).sum().backward()


ROWS: list[Row] = [
    *rows("autograd.Function", {
        "setup_context": lambda m, x: list(cube(m).apply(x, 3.0)), "double backward": double, "mark_dirty": dirty,
        "once_differentiable": once,
    }, d(2, 3), dtypes=FLOATS),
    *rows("autograd.Function refuses", {
        "leaf in place": lambda m, x: dirty(m, x, True), "once twice": lambda m, x: once(m, x, True),
        "no forward": lambda m, x: lacking(m, x, ""), "no backward": lambda m, x: lacking(m, x, "forward"),
    }, d(3), error=True),
    *rows("testing", {
        "equal": lambda m, x: m.testing.assert_close(x, x + 1e-7), "tree": lambda m, x: m.testing.assert_close({"a": [x]}, {"a": [x]}),
        "nan": lambda m, x: m.testing.assert_close(x / 0 * 0, x / 0 * 0, equal_nan=True), "number": lambda m, x: m.testing.assert_close(1.0, 1.0),
        "bool": lambda m, x: m.testing.assert_close(x > 0, x > 0), "half": lambda m, x: m.testing.assert_close(x.bfloat16(), (x * 1.001).bfloat16()),
        "tolerances": lambda m, x: m.testing.assert_close(x, x + 0.1, rtol=0, atol=0.2),
        "make_tensor": lambda m, x: [(t := m.testing.make_tensor(3, 4, dtype=m.float64, device="cpu", low=0, high=1)).dtype, tuple(t.shape), bool((t >= 0).all())],
    }, d(3)),
    *rows("testing refuses", {
        "values": lambda m, x: said(m, x, x + 1), "shape": lambda m, x: said(m, x, x[:2]), "dtype": lambda m, x: said(m, x, x.double()),
        "nan": lambda m, x: said(m, x / 0 * 0, x / 0 * 0), "length": lambda m, x: said(m, [x], [x, x]), "item": lambda m, x: said(m, [x, x], [x, x * 2]),
        "integers": lambda m, x: said(m, x.long(), x.long() + 1), "numbers": lambda m, x: said(m, 1, 3), "message": lambda m, x: said(m, 1.0, 2.0, msg="mine"),
    }, d(3, low=1, high=2)),
    *rows("testing refuses", {"one bound": lambda m, x: m.testing.assert_close(x, x, rtol=1)}, d(3), error=True),
    *rows("device", {
        "of": lambda m, x: [isinstance(x.device, m.device), m.device("cpu") == x.device, m.device("cuda:1").index, m.device("cuda", 0).type,
                            str(m.device("cpu")), repr(m.device("cuda:0"))],
        "backends": lambda m, x: [m.backends.cudnn.deterministic, m.backends.mps.is_available(), m.newaxis is None, m.cfloat is m.complex64],
    }, d(3)),
    *rows("device refuses", {"name": lambda m, x: m.device("toaster"), "move": lambda m, x: x.to("cuda"),
                             "index twice": lambda m, x: m.device("cpu:0", 0)}, d(3), error=True),
]  # fmt: skip
