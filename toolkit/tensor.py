"""`Tensor`: a value that operations run on at once, with PyTorch's methods and gradients.

Inside a `toolkit.tracing.Trace` the same methods append nodes to an ONNX graph instead.
"""

from __future__ import annotations

from typing import Any

from toolkit import dtypes
from toolkit._tensor import autocast, base, factories
from toolkit._tensor.arithmetic import Arithmetic
from toolkit._tensor.attributes import Attributes
from toolkit._tensor.base import Size, wrap
from toolkit._tensor.conversion import Conversion
from toolkit._tensor.counting import Counting
from toolkit._tensor.diagonals import Diagonals
from toolkit._tensor.draws import (
    bernoulli,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
)
from toolkit._tensor.elementwise import Elementwise
from toolkit._tensor.factories import (
    arange,
    as_tensor,
    cat,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    logspace,
    ones,
    ones_like,
    stack,
    tensor,
    zeros,
    zeros_like,
)
from toolkit._tensor.indexing import Indexing
from toolkit._tensor.inplace import Inplace, complete
from toolkit._tensor.inplace_random import InplaceRandom
from toolkit._tensor.inplace_shape import InplaceShape
from toolkit._tensor.layout import Layout
from toolkit._tensor.linalg import TOP, LinearAlgebra
from toolkit._tensor.order import Order
from toolkit._tensor.parts import Parts
from toolkit._tensor.pointwise import Pointwise
from toolkit._tensor.reductions import Reductions
from toolkit._tensor.running import Running
from toolkit._tensor.scattering import Scattering
from toolkit._tensor.shaping import Shaping
from toolkit._tensor.statistics import Statistics
from toolkit.errors import DTypeError


class Tensor(
    LinearAlgebra, Arithmetic, Elementwise, Pointwise, Reductions, Order, Statistics, Running,
    Counting, Shaping, Parts, Diagonals, Layout, Indexing, Scattering, Inplace, InplaceRandom,
    InplaceShape, Attributes, Conversion,
):  # fmt: skip
    """A dense array with an element type, and optionally a place on the gradient tape.

    Make one by `toolkit.tensor(data)` or a factory such as `toolkit.zeros(2, 3)`.
    """

    __hash__ = Arithmetic.__hash__

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """`Tensor(2, 3)` is uninitialised, `Tensor([1, 2])` copies data, both of float32."""
        if len(args) == 1 and not isinstance(args[0], int):
            source: Any = tensor(args[0], dtype=dtypes.float32)
        else:
            source = empty(*args)
        t = object.__new__(cls)
        t._value = source._value
        return t

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
        inputs: Any = None,
    ) -> None:  # fmt: skip
        """Adds the gradients of this tensor to `.grad` of the leaves it was made from.

        Args:
            gradient: the cotangent; it may be left out for a single element.
            retain_graph: keep the tape for another `backward`.
            create_graph: record the gradient computation itself, for higher derivatives.
            inputs: the leaves to accumulate into; all by default.

        Raises:
            InvalidArgumentError: it needs no gradient, or `gradient` is missing or does not fit.
        """
        from toolkit.autograd import backward

        backward(self, gradient, retain_graph, create_graph, inputs)

    def register_hook(self, hook: Any) -> Any:
        """Calls `hook(grad)` when this tensor's gradient is known; a result replaces it."""
        from toolkit._tensor.hooks import register

        return register(self, hook)

    def register_post_accumulate_grad_hook(self, hook: Any) -> Any:
        """Calls `hook(self)` each time `.grad` of this leaf was accumulated."""
        from toolkit._tensor.hooks import register_after

        return register_after(self, hook)

    def retain_grad(self) -> None:
        """Keeps `.grad` of a tensor that is not a leaf."""
        from toolkit._tensor.hooks import retain

        retain(self)

    # -- factories of the same element type ----------------------------------------------------

    def new_zeros(
        self, *size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None
    ) -> Tensor:
        """Zeros of this element type."""
        return zeros(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_ones(
        self, *size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None
    ) -> Tensor:
        """Ones of this element type."""
        return ones(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_empty(
        self, *size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None
    ) -> Tensor:
        """Undefined content of this element type."""
        return empty(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_full(
        self, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None
    ) -> Tensor:
        """One value, of this element type."""
        return full(size, fill_value, dtype=dtype or self.dtype)

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        """A copy of data, of this element type."""
        return tensor(data, dtype=dtype or self.dtype)

    def bernoulli(self, *, generator: Any = None) -> Tensor:
        """1 with the probability of each element, else 0."""
        return bernoulli(self, generator=generator)

    def multinomial(
        self, num_samples: int, replacement: bool = False, *, generator: Any = None
    ) -> Tensor:
        """Indices drawn with the probabilities of the rows."""
        return multinomial(self, num_samples, replacement, generator=generator)

    # -- matrix products -----------------------------------------------------------------------

    def mm(self, other: Any) -> Tensor:
        """Product of two matrices."""
        return products.mm(self, other)

    def bmm(self, other: Any) -> Tensor:
        """Products of a batch of matrices."""
        return products.bmm(self, other)

    def mv(self, vec: Any) -> Tensor:
        """Matrix times vector."""
        return self.matmul(vec)

    def outer(self, other: Any) -> Tensor:
        """All products of two vectors."""
        return self.unsqueeze(-1) * other

    ger = outer

    def det(self) -> Tensor:
        """Determinants of square matrices."""
        return products.det(self)

    def unique(
        self,
        sorted: bool = True,
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
    ) -> Any:
        """The distinct elements, in ascending order."""
        return sets.unique(self, sorted, return_inverse, return_counts, dim)

    def unique_consecutive(
        self, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
    ) -> Any:
        """The elements that differ from the one before."""
        return sets.unique_consecutive(self, return_inverse, return_counts, dim)

    def stft(self, n_fft: int, *args: Any, **kwargs: Any) -> Any:
        """Transforms of overlapping frames, see `toolkit.stft`."""
        return spectral.stft(self, n_fft, *args, **kwargs)

    def equal(self, other: Any) -> bool:
        """Whether shape and all elements are equal."""
        if self.shape != other.shape:
            return False
        return bool((self == other).all())

    def allclose(
        self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> bool:
        """Whether all elements are close."""
        import numpy as np

        return bool(np.allclose(self._array(), other._array(), rtol, atol, equal_nan))


complete(Tensor)
for _name in {*autocast.FLOAT32, *autocast.APART, *autocast.PROMOTE}:
    if callable(getattr(Tensor, _name, None)) and _name not in TOP:  # Those are marked.
        setattr(Tensor, _name, autocast.ruled(_name, getattr(Tensor, _name)))
base.prime(Tensor)
base.tensor_class = Tensor

from toolkit._tensor import products, sets, spectral  # noqa: E402

__all__ = [
    "DTypeError", "Size", "Tensor", "arange", "as_tensor", "bernoulli", "cat", "empty",
    "empty_like", "eye", "factories", "from_dlpack", "from_numpy", "full", "full_like", "linspace",
    "logspace", "multinomial", "normal", "ones", "ones_like", "rand", "rand_like", "randint",
    "randn", "randn_like", "randperm", "stack", "tensor", "wrap", "zeros", "zeros_like",
]  # fmt: skip
