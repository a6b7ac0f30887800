"""Pooling to a wanted size: adaptive windows, and fractional ones at random places.

Layouts: input (N, C, *spatial), or (C, *spatial) without a batch. Sizes may be symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit import random
from toolkit._tensor.elementwise import where
from toolkit._tensor.symint import SymInt
from toolkit.dtypes import int64
from toolkit.errors import InvalidArgumentError
from toolkit.nn.functional.conv import Ints, _batched, ntuple
from toolkit.nn.functional.pooling import _avg_pool, _max_pool
from toolkit.ops.dispatch import apply1, apply2, handle
from toolkit.tensor import Tensor, arange


def _sizes(where: str, x: Tensor, output_size: Any) -> list[Any]:
    n = x.dim() - 2
    if output_size is None or isinstance(output_size, int):
        output_size = (output_size,) * n
    if len(output_size) != n:
        raise InvalidArgumentError(f"{where}: {n} sizes are required, got {output_size}.")
    wanted = [s if o is None else o for s, o in zip(x.shape[2:], output_size, strict=True)]
    if any(isinstance(o, int) and o < 0 for o in wanted):
        raise InvalidArgumentError(f"{where}: sizes of 0 or more are required, got {output_size}.")
    if any(isinstance(d, int) and d == 0 for d in x.shape[1:]):
        raise InvalidArgumentError(
            f"{where}: Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(x.shape)}."
        )
    return wanted


def _even(x: Tensor, wanted: list[Any]) -> tuple[int, ...] | None:
    """The kernel of equal windows, if the wanted sizes divide the input's."""
    pairs = list(zip(x.shape[2:], wanted, strict=True))
    if all(isinstance(s, int) and isinstance(o, int) and o and s % o == 0 for s, o in pairs):
        return tuple(s // o for s, o in pairs)
    return None


def _bounds(size: Any, out: int) -> tuple[Any, Any]:
    """Start and end (out,) of each window: floor(i size / out), ceil((i + 1) size / out)."""
    size = size.tensor() if isinstance(size, SymInt) else size
    i: Any = arange(out)
    return i * size // out, ((i + 1) * size + (out - 1)) // out


def _adaptive_avg(n: int, input: Tensor, output_size: Any) -> Tensor:
    where = f"adaptive_avg_pool{n}d"
    x, single = _batched(where, n, input)
    wanted = _sizes(where, x, output_size)
    kernel = _even(x, wanted)
    y: Any = x
    if all(isinstance(o, int) and o == 1 for o in wanted):
        y = x.mean(tuple(range(2, n + 2)), keepdim=True)
    elif kernel is not None:
        y = _avg_pool(n, x, kernel, None, 0, False, True)
    else:
        for axis, (size, out) in enumerate(zip(x.shape[2:], wanted, strict=True), 2):
            if size != out:
                y = _mean_along(y, axis, size, out)
    return y.squeeze(0) if single else y  # type: ignore[no-any-return]


def _mean_along(x: Any, axis: int, size: Any, out: int) -> Any:
    """Means of the windows of one axis: a product with the matrix (size, out) of their weights."""
    start, end = _bounds(size, out)
    at = arange(size).unsqueeze(1)
    inside = (at >= start) & (at < end)
    weights = (inside.to(x.dtype) / (end - start).to(x.dtype)).to(x.dtype)
    moved = x if axis == x.dim() - 1 else x.transpose(axis, -1)
    y = apply2(handle("MatMul"), moved, weights)
    return y if axis == x.dim() - 1 else y.transpose(axis, -1)


def _adaptive_max(n: int, input: Tensor, output_size: Any, indices: bool) -> Any:
    where = f"adaptive_max_pool{n}d"
    x, single = _batched(where, n, input)
    wanted = _sizes(where, x, output_size)
    kernel = _even(x, wanted)
    if not indices and all(isinstance(o, int) and o == 1 for o in wanted):
        y: Any = apply1(handle("GlobalMaxPool"), x)
        return y.squeeze(0) if single else y
    if kernel is not None:
        made: Any = _max_pool(n, x, kernel, None, 0, 1, False, True)
    else:
        made = _max_at(x, _adaptive_places(x.shape[2:], wanted), wanted)
    made = tuple(t.squeeze(0) for t in made) if single else made
    return made if indices else made[0]


def _adaptive_places(sizes: Sequence[Any], wanted: list[Any]) -> Tensor:
    """The places of all windows in the plane, (windows, elements); ends repeat in short ones."""
    places: Any = None
    for size, out in zip(sizes, wanted, strict=True):
        start, end = _bounds(size, out)
        longest = (size + out - 1) // out + 1
        reach: Any = arange(longest)
        along = (start.unsqueeze(1) + reach).minimum(end.unsqueeze(1) - 1)
        places = along if places is None else _product(places, along, size)
    return places  # type: ignore[no-any-return]


def _product(places: Any, along: Any, size: Any) -> Any:
    """Places (..., A, J) in a plane and (..., B, K) along one more axis: (..., A B, J K)."""
    size = size.tensor() if isinstance(size, SymInt) else size
    both = (places * size).unsqueeze(-2).unsqueeze(-1) + along.unsqueeze(-3).unsqueeze(-2)
    return both.flatten(-4, -3).flatten(-2, -1)


def _max_at(x: Tensor, places: Tensor, sizes: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The largest element of x (N, C, *spatial) at places (windows, elements), and its place.

    Places may also be (N, C, windows, elements). `sizes` are those of the windows.
    """
    flat: Any = x.flatten(2)
    at: Any = places
    if at.dim() == 2:
        values = apply2(handle("Gather", axis=2), flat.detach(), at)
        at = at.reshape(1, 1, *at.shape).expand(*values.shape)
    else:
        values = flat.detach().gather(2, at.flatten(2)).reshape(*at.shape)
    best = at.gather(3, values.argmax(3, keepdim=True)).squeeze(3)
    shape = (*x.shape[:2], *sizes)
    return flat.gather(2, best).reshape(*shape), best.reshape(*shape)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many windows as `output_size` says, as equal as can be."""
    return _adaptive_avg(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many windows as `output_size` says, as equal as can be; None keeps a size."""
    return _adaptive_avg(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many windows as `output_size` says, as equal as can be; None keeps a size."""
    return _adaptive_avg(3, input, output_size)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many windows as `output_size` says, and where they are if asked."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many windows as `output_size` says, and where they are if asked."""
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many windows as `output_size` says, and where they are if asked."""
    return _adaptive_max(3, input, output_size, return_indices)


def _indices_of_adaptive(n: int) -> Any:
    def function(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return _adaptive_max(n, input, output_size, True)

    function.__name__ = function.__qualname__ = f"adaptive_max_pool{n}d_with_indices"
    function.__doc__ = "Maxima of as many windows as `output_size` says, and where they are."
    return function


adaptive_max_pool1d_with_indices = _indices_of_adaptive(1)
adaptive_max_pool2d_with_indices = _indices_of_adaptive(2)
adaptive_max_pool3d_with_indices = _indices_of_adaptive(3)


def _fractional(
    n: int, input: Tensor, kernel_size: Ints, size: Any, ratio: Any, samples: Any
) -> tuple[Tensor, Tensor]:
    name = f"fractional_max_pool{n}d"
    if size is None and ratio is None:
        raise InvalidArgumentError(
            f"{name} requires specifying either an output_size or an output_ratio"
        )
    x, single = _batched(name, n, input)
    kernel = ntuple(kernel_size, n, f"{name}: kernel_size")
    sizes = tuple(x.shape[2:])
    if size is None:
        ratios = (ratio,) * n if isinstance(ratio, float) else tuple(ratio)
        size = [int(int(s) * r) for s, r in zip(sizes, ratios, strict=True)]
    wanted = ntuple(size, n, f"{name}: output_size")
    for s, k, o in zip(sizes, kernel, wanted, strict=True):
        if o < 1 or o + k - 1 > int(s):
            raise InvalidArgumentError(
                f"{name}: output sizes from 1 to input size - kernel size + 1 are required, got "
                f"{list(wanted)} for an input of {list(sizes)} and a kernel of {list(kernel)}."
            )
    if samples is None:
        samples = random.uniform((*x.shape[:2], n), x.dtype.onnx)
    elif samples.dim() != 3 or samples.shape[2] != n:
        raise InvalidArgumentError(
            f"{name}: Expect _random_samples of shape (N, C, {n}), got {list(samples.shape)}."
        )
    places: Any = None
    for axis in range(n):
        # A plane's first sample is that of the last axis in 2 dimensions (PyTorch's order).
        u = samples.detach().select(2, n - 1 - axis if n == 2 else axis)
        start = _starts(u, int(sizes[axis]), wanted[axis], kernel[axis])
        along = start.unsqueeze(3) + arange(kernel[axis])
        places = along if places is None else _product(places, along, int(sizes[axis]))
    y, at = _max_at(x, places, wanted)
    return (y.squeeze(0), at.squeeze(0)) if single else (y, at)


def _starts(u: Any, size: int, out: int, kernel: int) -> Any:
    """Where windows begin, (N, C, out): floor((i + u) a) - floor(u a), the last at the end."""
    u = u.unsqueeze(2)
    if out == 1:
        return (u * 0).to(int64) + (size - kernel)
    step = (size - kernel) / (out - 1)
    i: Any = arange(out).to(u.dtype)
    start = ((i + u) * step).floor() - (u * step).floor()
    return where(arange(out) == out - 1, size - kernel, start.to(int64))


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`fractional_max_pool2d`, and where the maxima are in their planes."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`fractional_max_pool3d`, and where the maxima are in their planes."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maxima of windows at pseudo-random places (Graham, 2014).

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size: of the windows.
        output_size: how many there are.
        output_ratio: the same as a part of the input's size.
        return_indices: also where the maxima are.
        _random_samples: (N, C, 2) in [0, 1); drawn if None.
    """
    made = _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return made if return_indices else made[0]


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Ints,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """`fractional_max_pool2d` of (N, C, D, H, W) or (C, D, H, W)."""
    made = _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return made if return_indices else made[0]
