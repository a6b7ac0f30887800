"""Padding layers: widths (before, after) of the last dimension first."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.errors import ShapeError
from toolkit.nn import functional as F
from toolkit.nn.functional.conv import Ints, ntuple
from toolkit.nn.module import Module
from toolkit.tensor import Tensor


class _Pad(Module):
    """Pads `_n` spatial dimensions by mode `_mode`."""

    _n: int
    _mode: str
    padding: Sequence[int]

    def __init__(self, padding: Ints) -> None:
        super().__init__()
        self.padding = ntuple(padding, 2 * self._n, f"{type(self).__name__}: padding")

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    _mode = "constant"

    def __init__(self, padding: Ints, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Ints) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPad(_Pad):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (self._n + 1, self._n + 2):
            raise ShapeError(
                f"expected {self._n + 1}D or {self._n + 2}D input (got {input.dim()}D input)"
            )
        return super().forward(input)


class ConstantPad1d(_ConstantPad):
    """Puts one value around (N, C, L)."""

    _n = 1


class ConstantPad2d(_ConstantPad):
    """Puts one value around (N, C, H, W)."""

    _n = 2


class ConstantPad3d(_ConstantPad):
    """Puts one value around (N, C, D, H, W)."""

    _n = 3


class ZeroPad1d(_ZeroPad):
    """Puts zeros around (N, C, L)."""

    _n = 1


class ZeroPad2d(_ZeroPad):
    """Puts zeros around (N, C, H, W)."""

    _n = 2


class ZeroPad3d(_ZeroPad):
    """Puts zeros around (N, C, D, H, W)."""

    _n = 3


class ReflectionPad1d(_Pad):
    """Mirrors (N, C, L) at the edges, which are not repeated."""

    _n = 1
    _mode = "reflect"


class ReflectionPad2d(_Pad):
    """Mirrors (N, C, H, W) at the edges, which are not repeated."""

    _n = 2
    _mode = "reflect"


class ReflectionPad3d(_Pad):
    """Mirrors (N, C, D, H, W) at the edges, which are not repeated."""

    _n = 3
    _mode = "reflect"


class ReplicationPad1d(_Pad):
    """Repeats the edges of (N, C, L)."""

    _n = 1
    _mode = "replicate"


class ReplicationPad2d(_Pad):
    """Repeats the edges of (N, C, H, W)."""

    _n = 2
    _mode = "replicate"


class ReplicationPad3d(_Pad):
    """Repeats the edges of (N, C, D, H, W)."""

    _n = 3
    _mode = "replicate"


class CircularPad1d(_CircularPad):
    """Goes on at the other edge of (N, C, L)."""

    _n = 1


class CircularPad2d(_CircularPad):
    """Goes on at the other edge of (N, C, H, W)."""

    _n = 2


class CircularPad3d(_CircularPad):
    """Goes on at the other edge of (N, C, D, H, W)."""

    _n = 3
