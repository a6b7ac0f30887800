"""Linear maps y = W x + b as layers and nodes apply them: W itself, or a pair B A in its place.

A is (r, in) and B (out, r) whatever the layout of W; for a convolution A is (r, in, K, ...) and B
(out, r, 1, ...), with `groups` of them A is (groups r, in / groups, K, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit.nn import functional as F
from toolkit.ops.dispatch import call
from toolkit.tensor import Tensor

_TINY = 1e-30  # Filters of pruned networks are zero.


class Projection:
    """One way to apply a weight.

    Attributes:
        out_axis: the dimension of the weight that counts outputs.
        trailing: dimensions of y behind the one that counts outputs.
        groups: of a convolution.
    """

    out_axis = 0
    trailing = 0
    groups = 1

    def base(self, x: Tensor, weight: Tensor) -> Tensor:
        """W x."""
        raise NotImplementedError

    def down(self, x: Tensor, a: Tensor) -> Tensor:
        """A x."""
        return self.base(x, a)

    def up(self, h: Tensor, b: Tensor) -> Tensor:
        """B h."""
        return self.base(h, b)

    def pair_shapes(self, weight: Sequence[int], r: int) -> tuple[list[int], list[int]]:
        """The shapes of A and B for a weight."""
        rest = [d for axis, d in enumerate(weight) if axis != self.out_axis]
        return [r * self.groups, *rest], [weight[self.out_axis], r, *[1] * (len(weight) - 2)]

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """B A in the layout of the weight."""
        out, r, g = b.shape[0], b.shape[1], self.groups
        if g == 1 and a.dim() == 2:
            return (b @ a).transpose(0, 1) if self.out_axis else b @ a
        joined = b.reshape(g, out // g, r) @ a.reshape(g, r, math.prod(a.shape[1:]))
        return joined.reshape(out, *a.shape[1:])

    def norm(self, weight: Tensor) -> Tensor:
        """(out,): the 2-norm of what each output takes; not 0, for it divides."""
        axes = [axis for axis in range(weight.dim()) if axis != self.out_axis]
        return weight.square().sum(axes).sqrt().clamp(min=_TINY)  # type: ignore[no-any-return]

    def rows(self, v: Tensor, weight: Tensor) -> Tensor:
        """A vector (out,) that broadcasts over the weight."""
        shape = [1] * weight.dim()
        shape[self.out_axis] = -1
        return v.reshape(shape)

    def along(self, v: Tensor) -> Tensor:
        """A vector (out,) that broadcasts over y."""
        return v.reshape(-1, *[1] * self.trailing) if self.trailing else v


class Dense(Projection):
    """x W^T: `nn.Linear`."""

    def base(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)


class Lookup(Projection):
    """Row x of W (V, D), as W times a vector with a one at x: A is (r, V), B (D, r)."""

    out_axis = 1

    def __init__(self, padding_idx: int | None = None) -> None:
        self.padding_idx = padding_idx

    def base(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.embedding(x, weight, self.padding_idx)

    def down(self, x: Tensor, a: Tensor) -> Tensor:
        return F.embedding(x, a.transpose(0, 1), self.padding_idx)

    def up(self, h: Tensor, b: Tensor) -> Tensor:
        return call("MatMul", (h, b.transpose(0, 1)))  # type: ignore[no-any-return]


class Convolution(Projection):
    """W (out, in / groups, K, ...) slides over x."""

    def __init__(
        self, convolve: Callable[[Tensor, Tensor], Tensor], spatial: int, groups: int
    ) -> None:
        self.convolve = convolve
        self.trailing = spatial
        self.groups = groups

    def base(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.convolve(x, weight)

    def up(self, h: Tensor, b: Tensor) -> Tensor:
        return call("Conv", (h, b), {"group": self.groups})  # type: ignore[no-any-return]


class Product(Projection):
    """x W, W (in, out): a MatMul whose second operand is the weight."""

    out_axis = 1

    def base(self, x: Tensor, weight: Tensor) -> Tensor:
        return call("MatMul", (x, weight))  # type: ignore[no-any-return]

    def down(self, x: Tensor, a: Tensor) -> Tensor:
        return self.base(x, a.transpose(0, 1))

    def up(self, h: Tensor, b: Tensor) -> Tensor:
        return self.base(h, b.transpose(0, 1))


class LeftProduct(Projection):
    """W x, W (out, in), x (..., in, N): a MatMul whose first operand is the weight."""

    trailing = 1

    def base(self, x: Tensor, weight: Tensor) -> Tensor:
        return call("MatMul", (weight, x))  # type: ignore[no-any-return]


class Gemm(Projection):
    """alpha x W, x and W perhaps transposed: a Gemm whose second operand is the weight."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = {k: v for k, v in attributes.items() if k in ("alpha", "transA")}
        self.out_axis = 0 if attributes.get("transB", 0) else 1

    def base(self, x: Tensor, weight: Tensor) -> Tensor:
        given = {**self.attributes, "transB": 1 - self.out_axis}
        return call("Gemm", (x, weight), given)  # type: ignore[no-any-return]

    def down(self, x: Tensor, a: Tensor) -> Tensor:
        return call("Gemm", (x, a), {**self.attributes, "transB": 1})  # type: ignore[no-any-return]

    def up(self, h: Tensor, b: Tensor) -> Tensor:
        return call("Gemm", (h, b), {"transB": 1})  # type: ignore[no-any-return]
