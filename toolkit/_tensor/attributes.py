"""What PyTorch's tensors can be asked that has one answer here, and small methods."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.shapes import as_shape
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply2, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

# Tensors are dense, on the CPU and not quantized; complex numbers are pairs.
_NEVER = """
    is_ipu is_maia is_meta is_mkldnn is_mps is_mtia is_nested is_quantized is_sparse is_sparse_csr
    is_vulkan is_xla is_xpu
""".split()  # noqa: SIM905


class Attributes(TensorBase):
    """Questions and small methods."""

    is_cpu = True
    names = property(lambda self: (None,) * self.dim(), doc="None for each dimension.")

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on a tensor that is no leaf."""
        node: Any = self.grad_fn
        return bool(node is not None and node.retain and self._out in node.retain)

    def is_nonzero(self) -> bool:
        """Whether the only element is not zero."""
        from toolkit._tensor.settings import is_nonzero

        return is_nonzero(self)

    def is_same_size(self, other: Any) -> bool:
        """Whether two tensors have one shape."""
        return tuple(self.shape) == tuple(other.shape)

    def is_signed(self) -> bool:
        """Whether the element type has a sign."""
        return bool(self.dtype.is_signed)

    def is_set_to(self, tensor: Any) -> bool:
        """Whether it is the same memory under the same shape."""
        a: Any = self
        where = [(t.data_ptr(), t.shape, t.stride()) for t in (a, tensor)]
        return bool(where[0] == where[1])

    def is_conj(self) -> bool:
        """False: conjugates are computed at once."""
        return False

    is_neg = is_distributed = is_pinned = is_coalesced = is_conj

    def is_shared(self) -> bool:
        """False: processes do not share tensors."""
        return False

    def is_inference(self) -> bool:
        """False: a tensor made in inference mode may be used anywhere."""
        return False

    def ndimension(self) -> int:
        """The number of dimensions."""
        return self.dim()

    def dense_dim(self) -> int:
        """The number of dimensions."""
        return self.dim()

    def sparse_dim(self) -> int:
        """0."""
        return 0

    def get_device(self) -> int:
        """-1: on the CPU."""
        return -1

    def const_data_ptr(self) -> int:
        """The address of the first element."""
        return self._concrete("const_data_ptr").data_ptr

    def resolve_conj(self) -> Tensor:
        """Itself."""
        return self  # type: ignore[return-value]

    resolve_neg = to_dense = conj = conj_physical = resolve_conj

    @property
    def real(self) -> Tensor:
        """Itself."""
        return self  # type: ignore[return-value]

    @property
    def imag(self) -> Tensor:
        """Refused, as the tensor is real."""
        raise InvalidArgumentError(
            "imag is not implemented for tensors with non-complex dtypes, got " + self.dtype.name
        )

    def angle(self) -> Tensor:
        """The phase: 0, or pi of negative numbers; NaN stays."""
        x: Any = self if self.dtype.is_floating_point else self.float()  # type: ignore[attr-defined]
        return where(x < 0, math.pi, where(x.isnan(), x, 0.0))

    def adjoint(self) -> Tensor:
        """The last two dimensions swapped: a real matrix is its own conjugate."""
        x: Any = self
        return x.transpose(-2, -1)

    def sum_to_size(self, *size: Any) -> Tensor:
        """Summed over the dimensions by which `size` broadcasts to this shape.

        Raises:
            ShapeError: it does not broadcast.
        """
        x: Any = self
        shape = as_shape(size)
        lead = x.dim() - len(shape)
        pairs = list(zip(shape, x.shape[max(lead, 0) :], strict=False))
        if lead < 0 or any(_differ(n, m) for n, m in pairs if not (type(n) is int and n == 1)):
            raise ShapeError(
                f"size {{{list(shape)}}} is not expandable to size {{{list(x.shape)}}}."
            )
        axes = [*range(lead)]
        axes += [lead + i for i, (n, m) in enumerate(pairs) if n == 1 and m != 1]
        return x.sum(axes, keepdim=True).reshape(shape) if axes else x

    def istft(self, *args: Any, **kwargs: Any) -> Tensor:
        """Of complex tensors only, see `toolkit.istft`."""
        from toolkit._tensor.spectral import istft

        return istft(self, *args, **kwargs)

    def share_memory_(self) -> Tensor:
        """Refused: processes do not share tensors."""
        raise InvalidArgumentError(
            "share_memory_: threads are required, got a wish to share with another process. Data "
            "loaders send arrays by themselves."
        )

    def as_subclass(self, cls: Any) -> Any:
        """The same value as an instance of a subclass."""
        made: Any = object.__new__(cls)
        made.__dict__.update(self.__dict__)
        return made

    def apply_(self, callable: Any) -> Tensor:
        """Each element by a Python function; slow."""
        return self._mapped(callable, self)

    def map_(self, tensor: Any, callable: Any) -> Tensor:
        """`callable(own, other)` of each pair of elements; slow."""
        return self._mapped(callable, self, tensor)

    def map2_(self, x: Any, y: Any, callable: Any) -> Tensor:
        """`callable(own, x, y)` of each three elements; slow."""
        return self._mapped(callable, self, x, y)

    def _mapped(self, f: Any, *tensors: Any) -> Tensor:
        import numpy as np

        from toolkit._tensor.factories import tensor

        if self.requires_grad and STATE.grad:
            raise InvalidArgumentError("apply_, map_: a tensor without gradient is required.")
        arrays = np.broadcast_arrays(*(t._concrete("apply_").numpy() for t in tensors))
        made = [
            f(*(v.item() for v in values)) for values in zip(*(a.flat for a in arrays), strict=True)
        ]
        new = tensor(made, dtype=self.dtype).reshape(tuple(self.shape))
        return self.copy_(new)  # type: ignore[attr-defined]

    def new(self, *args: Any, device: Any = None) -> Tensor:
        """A tensor of this element type: uninitialised of a shape, or of data."""
        if args and not isinstance(args[0], int) and type(args[0]) is not type(self.shape):
            return self.new_tensor(args[0])  # type: ignore[attr-defined]
        return self.new_empty(*args) if args else self.new_empty(0)  # type: ignore[attr-defined]

    def new_empty_strided(
        self, size: Any, stride: Any, *, dtype: Any = None, device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:  # fmt: skip
        """`empty_strided` of this element type."""
        from toolkit._tensor.creation import empty_strided

        return empty_strided(
            size, stride, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad
        )

    def prelu(self, weight: Any) -> Tensor:
        """Itself where positive, else times a weight: one, or one for each channel."""
        count = weight.numel()
        if count != 1 and self.dim() > 1:
            weight = weight.reshape(-1, *(1,) * (self.dim() - 2))
        return apply2(handle("PRelu"), self, weight.reshape(()) if count == 1 else weight)

    def dim_order(self) -> tuple[int, ...]:
        """Dimensions from the outermost to the innermost in memory."""
        strides = self.stride()  # type: ignore[attr-defined]
        return tuple(sorted(range(self.dim()), key=lambda d: -strides[d]))

    def __reversed__(self) -> Tensor:
        x: Any = self
        return x.flip(0) if x.dim() else x

    def __complex__(self) -> complex:
        return complex(self.item())  # type: ignore[attr-defined]

    def __rlshift__(self, other: Any) -> Tensor:
        return other * 2**self  # type: ignore[operator]

    def __rrshift__(self, other: Any) -> Tensor:
        return other // 2**self  # type: ignore[operator]

    def __rmatmul__(self, other: Any) -> Tensor:
        from toolkit._tensor.factories import as_tensor

        return as_tensor(other).matmul(self)


def _differ(m: Any, n: Any) -> bool:
    return type(m) is int and type(n) is int and m != n


for _name in _NEVER:
    setattr(Attributes, _name, False)


def fill(input: Any, value: Any) -> Any:
    """A tensor of the shape and element type of another, with one value everywhere."""
    from toolkit._tensor.factories import full_like

    if isinstance(value, TensorBase):
        return value.to(input.dtype).expand(input.shape).clone()  # type: ignore[attr-defined]
    return full_like(input, value)


def sym_not(a: Any) -> Any:
    """`not a`."""
    return a.logical_not() if isinstance(a, TensorBase) else not a  # type: ignore[attr-defined]


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """`t if b else f`."""
    return t if b else f


FUNCTIONS: dict[str, Any] = {
    "fill": fill, "sym_not": sym_not, "sym_ite": sym_ite,
    "sym_float": float, "sym_sum": lambda args: sum(args), "sym_sqrt": lambda a: float(a) ** 0.5,
    "sym_int": int,
}  # fmt: skip
METHODS = ["get_device", "is_conj", "is_neg", "is_distributed", "is_inference", "resolve_conj",
           "resolve_neg", "prelu", "conj_physical", "adjoint"]  # fmt: skip
