"""`vmap`: a function of one example becomes a function of a batch, by torch.func's rules.

The function is traced once for one example; `toolkit.autodiff.batching` writes its nodes for all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from toolkit._tensor.base import TensorBase, wrap
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError
from toolkit.func.pytree import Spec, broadcast, flatten, unflatten
from toolkit.func.staging import staged

Dims = Any  # int, None, or a tree of them.


def vmap(
    func: Callable[..., Any],
    in_dims: Dims = 0,
    out_dims: Dims = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Maps a function over a dimension of its arguments.

    Args:
        func: takes trees of tensors and returns tensors.
        in_dims: for each argument the dimension to map over, None for none; an int for all of
            them, or a nested tuple like the arguments.
        out_dims: where the dimension stands in the results.
        randomness: what random operations do: "error", "different" numbers for each example, or
            the "same" for all.
        chunk_size: how many examples to compute at once; None: all.

    Raises:
        ValueError: dimensions do not fit arguments or results.
        InvalidArgumentError: a random operation, with randomness "error".
    """
    if randomness not in ("error", "different", "same"):
        raise InvalidArgumentError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        _check_out_dims(func, out_dims)
        mapped = _Mapped(func, in_dims, out_dims, randomness, args, kwargs)
        if chunk_size is None:
            return mapped.call(mapped.leaves)
        return mapped.chunked(chunk_size)

    return wrapped


def name_of(func: Any) -> str:
    """How messages name a function."""
    if isinstance(func, functools.partial):
        return f"functools.partial({name_of(func.func)}, ...)"
    return getattr(func, "__name__", None) or repr(func)


def _check_out_dims(func: Any, out_dims: Dims) -> None:
    for d in flatten(out_dims)[0]:
        if d is not None and not isinstance(d, int):
            raise ValueError(
                f"vmap({name_of(func)}, ..., out_dims={out_dims}): `out_dims` must be an int, None "
                "or a python collection of ints representing where in the outputs the vmapped "
                "dimension should appear."
            )


class _Mapped:
    """One call of a mapped function."""

    def __init__(
        self, func: Callable[..., Any], in_dims: Dims, out_dims: Dims, randomness: str,
        args: tuple[Any, ...], kwargs: Any,
    ) -> None:  # fmt: skip
        self.func, self.out_dims = func, out_dims
        self.randomness = randomness
        self.kwargs = kwargs
        self.where = f"vmap({name_of(func)}, in_dims={in_dims}, ...)(<inputs>)"
        self.leaves, self.spec, self.dims = self._inputs(in_dims, args)
        sizes = [x.shape[d] for x, d in zip(self.leaves, self.dims, strict=True) if d is not None]
        if not sizes:
            raise ValueError("vmap: Expected at least one Tensor to vmap over")
        if any(s != sizes[0] for s in sizes):
            raise ValueError(
                "vmap: Expected all tensors to have the same size in the mapped dimension, got "
                f"sizes {sizes} for the mapped dimension"
            )
        self.size = sizes[0]

    def _inputs(self, in_dims: Dims, args: tuple[Any, ...]) -> tuple[list[Any], Spec, list[Any]]:
        if not isinstance(in_dims, (int, tuple)):
            raise ValueError(
                f"{self.where}: expected `in_dims` to be int or a (potentially nested) tuple "
                f"matching the structure of inputs, got: {type(in_dims)}."
            )
        if not args:
            raise ValueError(
                f"vmap({name_of(self.func)})(<inputs>): got no inputs. Maybe you forgot to add "
                "inputs, or you are trying to vmap over a function with no inputs. The latter is "
                "unsupported."
            )
        leaves, spec = flatten(args)
        dims = broadcast(in_dims, spec)
        if dims is None:
            raise ValueError(
                f"{self.where}: in_dims is not compatible with the structure of `inputs`. in_dims "
                f"has structure {flatten(in_dims)[1]} but inputs has structure {spec}."
            )
        return leaves, spec, [self._dim(x, d) for x, d in zip(leaves, dims, strict=True)]

    def _dim(self, x: Any, d: Any) -> int | None:
        if d is None:
            return None
        if not isinstance(d, int):
            raise ValueError(
                f"{self.where}: Got in_dim={d} for an input but in_dim must be either an integer "
                "dimension or None."
            )
        if not isinstance(x, TensorBase):
            raise ValueError(
                f"{self.where}: Got in_dim={d} for an input but the input is of type {type(x)}. We "
                "cannot vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        if not -x.dim() <= d < x.dim():
            raise ValueError(
                f"{self.where}: Got in_dim={d} for some input, but that input is a Tensor of "
                f"dimensionality {x.dim()} so expected in_dim to satisfy -{x.dim()} <= in_dim < "
                f"{x.dim()}."
            )
        return d % x.dim()

    def call(self, leaves: Sequence[Any]) -> Any:
        """The results for examples of these arguments."""
        about = (
            _Mapped, self.func, tuple(self.dims), self.spec, self.out_dims, self.randomness,
            self.kwargs,
        )  # fmt: skip
        return staged(lambda *xs: self._traced(xs), tuple(leaves), about)

    def chunked(self, size: int) -> Any:
        """The results of some examples after the other, put together."""
        from toolkit._tensor.functions import find

        if not isinstance(self.size, int):
            raise InvalidArgumentError(
                f"vmap: a known size is required for chunk_size, got {self.size}."
            )
        parts: list[Any] = []
        spec, dims = None, None
        for start in range(0, self.size, size):
            step = min(size, self.size - start)
            leaves = [
                x if d is None else x.narrow(d, start, step)
                for x, d in zip(self.leaves, self.dims, strict=True)
            ]
            made, spec = flatten(self.call(leaves))
            dims = dims or self._out_dims(unflatten(made, spec), spec)
            parts.append(made)
        assert spec is not None and dims is not None
        joined = [
            column[0] if d is None else find("cat")(list(column), d)
            for column, d in zip(zip(*parts, strict=True), dims, strict=True)
        ]
        return unflatten(joined, spec)

    def _out_dims(self, result: Any, spec: Spec) -> list[Any]:
        out_dims = self.out_dims
        if isinstance(result, TensorBase) and isinstance(out_dims, tuple) and len(out_dims) == 1:
            out_dims = out_dims[0]
        found = broadcast(out_dims, spec)
        if found is None:
            raise ValueError(
                f"vmap({name_of(self.func)}, ..., out_dims={self.out_dims})(<inputs>): out_dims is "
                "not compatible with the structure of `outputs`. out_dims has structure "
                f"{flatten(out_dims)[1]} but outputs has structure {spec}."
            )
        return found

    def _traced(self, leaves: Sequence[Any]) -> Any:
        from toolkit.autodiff.batching.walk import batch_graph

        trace = STATE.trace
        size, count = None, None
        inputs: dict[Any, Any] = {}
        given: list[Any] = []
        mapped: list[tuple[Any, Any, int]] = []
        fronts = [
            None if d is None else trace.convert(x.movedim(d, 0) if d else x)
            for x, d in zip(leaves, self.dims, strict=True)
        ]
        with trace.region() as region:
            for x, d, front in zip(leaves, self.dims, fronts, strict=True):
                if d is None or front is None:
                    given.append(x)
                    continue
                example = trace.recorder.formal("example", front.dtype, front.shape.dims[1:])
                inputs[example] = front
                given.append(wrap(example))
                mapped.append((given[-1], x, d))
            result = self.func(*unflatten(given, self.spec), **self.kwargs)
            results, spec = flatten(result)
            dims = self._out_dims(result, spec)
            self._check_results(results, dims)
            outputs = [trace.convert(y) if isinstance(y, TensorBase) else None for y in results]
            written = [t for t in region.written.values() if trace.is_symbolic(t)]
            outputs += [t._value for t in written]
        first = next(iter(inputs.values()))
        b = trace.recorder.builder
        known = first.shape.dims[0]
        size = known if isinstance(known, int) else None
        count = b.ints([size]) if size is not None else b.dim(first, 0)
        wanted = [v for v in outputs if v is not None]
        batched = iter(batch_graph(b, region.graph, inputs, wanted, size, count, self.randomness))
        made = [
            y if v is None else self._placed(next(batched), d, count)
            for y, v, d in zip(results, outputs, dims, strict=False)
        ]
        self._write_back(written, list(batched), mapped)
        return unflatten(made, spec)

    def _check_results(self, results: Sequence[Any], dims: Sequence[Any]) -> None:
        name = name_of(self.func)
        for y, d in zip(results, dims, strict=True):
            if d is not None and not isinstance(y, TensorBase):
                raise ValueError(
                    f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(y)}. "
                    "Did you mean to set out_dims= to None for output?"
                )

    def _placed(self, found: tuple[Any, bool], dim: int | None, count: Any) -> Any:
        """A result with the batch at its dimension."""
        value, batched = found
        if dim is None:
            if batched:
                name = name_of(self.func)
                raise ValueError(
                    f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is "
                    "None"
                )
            return wrap(value)
        if not batched:
            b = STATE.trace.recorder.builder
            rank = len(value.shape)
            ones = b.ints([1] * rank)
            value = b.Expand(b.Unsqueeze(value, [0]), b.Concat(count, ones, axis=0))
        y: Any = wrap(value)
        return y.movedim(0, dim) if dim else y

    def _write_back(
        self, written: Sequence[Any], values: Sequence[tuple[Any, bool]], mapped: Sequence[Any]
    ) -> None:
        """Writes inside the function, made true outside of it."""
        trace = STATE.trace
        own = {id(example): (x, d) for example, x, d in mapped}
        for t, (value, batched) in zip(written, values, strict=True):
            if id(t) in own:
                x, d = own[id(t)]
                x.copy_(self._placed((value, batched), d, None))
            elif not batched:
                t._value = value
            elif t._born is not trace:
                raise InvalidArgumentError(
                    "vmap: inplace arithmetic is not possible where the written tensor has no "
                    "batch dimension and what is written has one. Map over that tensor too, or "
                    "use an out-of-place operation (statistics of BatchNorm: functional_call)."
                )
