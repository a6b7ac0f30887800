"""Statistics beyond sum and mean: without NaN, pairs, moments, covariance, distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit import dtypes
from toolkit._tensor import promote, results
from toolkit._tensor.base import BOOL, FLOATS, INT64, TensorBase
from toolkit._tensor.promote import cast
from toolkit._tensor.shapes import _symbolic, normalize_dim
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


class Statistics(TensorBase):
    """Statistics by PyTorch's names; `dim` is an int, a tuple, or None for all."""

    def nansum(
        self: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.DType | None = None
    ) -> Tensor:
        """The sum of the elements that are not NaN."""
        x = self.masked_fill(self.isnan(), 0) if self._value.dtype in FLOATS else self
        return x.sum(dim, keepdim, dtype=dtype)

    def nanmean(
        self: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.DType | None = None
    ) -> Tensor:
        """The mean of the elements that are not NaN.

        Raises:
            DTypeError: integers or bools.
        """
        if self._value.dtype not in FLOATS:
            raise DTypeError(
                "nanmean(): expected input to have floating point or complex dtype but got "
                f"{self.dtype.name}"
            )
        count = cast(~self.isnan(), INT64).sum(dim, keepdim)
        return self.nansum(dim, keepdim, dtype=dtype) / count

    def aminmax(self: Any, *, dim: int | None = None, keepdim: bool = False) -> results.aminmax:
        """The smallest and the largest element, of all or along `dim`."""
        shape = self.shape
        if dim is None and not any(map(_symbolic, shape)) and 0 in shape:
            raise ShapeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the operation has "
                f"no identity, got shape {list(shape)}."
            )
        axis = None if dim is None else normalize_dim(dim, self.dim())
        if axis is not None and self.dim() and not _symbolic(shape[axis]) and shape[axis] == 0:
            raise ShapeError(
                f"aminmax(): Expected reduction dim {axis} to have non-zero size, got shape "
                f"{list(shape)}."
            )
        return results.aminmax(self.amin(axis, keepdim), self.amax(axis, keepdim))

    def var_mean(
        self: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
        correction: Any = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """(variance, mean)."""
        return _with_mean(self, "var", dim, unbiased, keepdim, correction)

    def std_mean(
        self: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
        correction: Any = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """(standard deviation, mean)."""
        return _with_mean(self, "std", dim, unbiased, keepdim, correction)

    def cov(
        self: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None
    ) -> Tensor:
        """Covariances of the rows (variables) over the columns (observations).

        Args:
            correction: what is subtracted from the number of observations.
            fweights: how often each observation occurs, integers.
            aweights: the weight of each observation.
        """
        if self.dim() > 2:
            raise ShapeError(
                f"cov(): expected input to have two or fewer dimensions but got an input with "
                f"{self.dim()} dimensions"
            )
        if self._value.dtype == BOOL:
            raise DTypeError("cov(): bool dtype is not supported for input")
        x: Any = self if self._value.dtype in FLOATS else cast(self, promote.default_code)
        x = x.reshape(1, -1) if x.dim() < 2 else x
        n = x.shape[1]
        w = _weights(n, fweights, aweights)
        if w is None:
            total: Any = n
            average = x.sum(1, True) / n
            norm: Any = n - correction
        else:
            weights = cast(w, x._value.dtype)
            total = weights.sum()
            average = (x * weights).sum(1, True) / total
            if aweights is None or correction == 0:
                norm = total - correction
            else:
                norm = total - correction * (weights * aweights).sum() / total
        centered = x - average
        scaled = centered if w is None else centered * cast(w, x._value.dtype)
        if w is not None:
            norm = norm.clamp(min=0)
        elif not _symbolic(norm):
            norm = max(norm, 0)
        out = (centered @ scaled.transpose(0, 1)) / norm
        return out.reshape(()) if self.dim() < 2 else out

    def corrcoef(self: Any) -> Tensor:
        """Correlation coefficients of the rows over the columns, within [-1, 1]."""
        if self.dim() > 2:
            raise ShapeError(
                "corrcoef(): expected input to have two or fewer dimensions but got an input with "
                f"{self.dim()} dimensions"
            )
        c = self.cov()
        if not c.dim():
            return c / c
        scale = c.diagonal().sqrt()
        return (c / scale.unsqueeze(1) / scale.unsqueeze(0)).clamp(-1, 1)

    def dist(self: Any, other: Any, p: Any = 2) -> Tensor:
        """The p-norm of `self - other`, broadcast."""
        return (self - other).norm(p)

    def renorm(self: Any, p: Any, dim: int, maxnorm: Any) -> Tensor:
        """Slices along `dim` scaled down so that their p-norm is at most `maxnorm`."""
        if self.dim() < 2:
            raise ShapeError(
                f"renorm: input needs at least 2 dimensions, got {self.dim()} dimensions"
            )
        if p <= 0 or maxnorm < 0:
            raise InvalidArgumentError(
                "renorm: a positive p and a maxnorm that is not negative are required, got p = "
                f"{p} and maxnorm = {maxnorm}."
            )
        d = normalize_dim(dim, self.dim())
        others = tuple(i for i in range(self.dim()) if i != d)
        norm = self.norm(p, others, True)
        return self * (maxnorm / (norm + 1e-7)).where(norm > maxnorm, norm * 0 + 1)


def _with_mean(x: Any, name: str, dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if x._value.dtype not in FLOATS:
        raise DTypeError(
            f"{name}_mean only support floating point and complex dtypes, got {x.dtype.name}"
        )
    spread = getattr(x, name)(dim, unbiased, keepdim, correction=correction)
    return spread, x.mean(dim, keepdim)


def _weights(n: Any, fweights: Any, aweights: Any) -> Any:
    """The product of the weights of observations; None without."""
    for name, w, ints in (("fweights", fweights, True), ("aweights", aweights, False)):
        if w is None:
            continue
        if w.dim() > 1:
            raise ShapeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with "
                f"{w.dim()} dimensions"
            )
        if ints != (w._value.dtype not in FLOATS):
            kind = "integral" if ints else "floating point"
            raise DTypeError(f"cov(): expected {name} to have {kind} dtype but got {w.dtype.name}")
        k = w.shape[0] if w.dim() else 1
        if not _symbolic(k) and not _symbolic(n) and k != n:
            raise ShapeError(
                f"cov(): expected {name} to have the same numel as there are observations in the "
                f"input but got {k} != {n}"
            )
    given = [w for w in (fweights, aweights) if w is not None]
    return None if not given else given[0] if len(given) == 1 else given[0] * given[1]
