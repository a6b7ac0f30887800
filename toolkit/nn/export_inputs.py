"""Example arguments of an export: nested structures as named inputs, and their dynamic sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.tensor import Tensor, as_tensor

Shape = list[int | str]


class Arguments:
    """Arguments of a call, and the tensors in them by name.

    Args:
        args: the positional ones.
        kwargs: those by keyword.
        names: of the positional ones.

    Attributes:
        tensors: by the name of the graph input.
    """

    def __init__(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]
    ) -> None:
        self._args, self._kwargs, self.names = args, kwargs, list(names)
        self._paths = [*zip(names, args, strict=True), *kwargs.items()]
        self.tensors: dict[str, Tensor] = {}
        for name, value in self._paths:
            for leaf, x in _walk(name, value):
                if isinstance(x, Tensor) or hasattr(x, "__array__"):
                    if leaf in self.tensors:
                        raise InvalidArgumentError(
                            f"save: inputs of different names are required, got '{leaf}' twice."
                        )
                    self.tensors[leaf] = as_tensor(x)
        if not self.tensors:
            raise InvalidArgumentError(
                "save: at least one tensor is required among the example inputs, got none."
            )

    def replaced(self, tensors: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with other tensors in their places."""
        args = [_rebuilt(n, x, tensors) for n, x in zip(self.names, self._args, strict=True)]
        return args, {n: _rebuilt(n, x, tensors) for n, x in self._kwargs.items()}

    def items(self) -> Sequence[tuple[str, Any]]:
        """(name, example) of each argument."""
        return self._paths


def _children(value: Any) -> Iterator[tuple[Any, Any]] | None:
    if isinstance(value, Mapping):
        return iter(value.items())
    return iter(enumerate(value)) if isinstance(value, (tuple, list)) else None


def _walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(name, leaf) of a nested structure."""
    inside = _children(value)
    if inside is None:
        yield name, value
        return
    for key, item in inside:
        yield from _walk(f"{name}_{key}", item)


def _rebuilt(name: str, value: Any, tensors: Mapping[str, Any]) -> Any:
    """A structure with the tensors of these names; what is none of them stays."""
    if isinstance(value, Mapping):
        return {k: _rebuilt(f"{name}_{k}", v, tensors) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        made = [_rebuilt(f"{name}_{i}", v, tensors) for i, v in enumerate(value)]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return tensors.get(name, value)


def leaves(name: str, value: Any) -> dict[str, Any]:
    """The results of a call by name: "output", "output_1", ... in order; dicts by their keys."""
    found: dict[str, Any] = {}
    if isinstance(value, Mapping):
        for key, item in value.items():
            found.update((n, x) for n, x in _walk(str(key), item) if x is not None)
    else:
        flat = [x for _, x in _walk(name, value) if x is not None]
        found = {name if i == 0 else f"{name}_{i}": x for i, x in enumerate(flat)}
    return found


def symbolic_shapes(given: Arguments, dynamic: Any) -> dict[str, Shape]:
    """The shape of each input, dynamic dimensions named.

    Raises:
        InvalidArgumentError: `dynamic` names no input or no dimension, or one symbol stands for two
            sizes.
    """
    shapes: dict[str, Shape] = {n: list(x.shape) for n, x in given.tensors.items()}
    if dynamic is None:
        _name_batches(shapes)
        return shapes
    if isinstance(dynamic, (tuple, list)):
        if len(dynamic) != len(given.items()):
            raise InvalidArgumentError(
                f"save: dynamic dimensions for each of {len(given.items())} arguments are "
                f"required, got {len(dynamic)}."
            )
        dynamic = {n: d for (n, _), d in zip(given.items(), dynamic, strict=True) if d is not None}
    structures = dict(given.items())
    sizes: dict[str, tuple[int, str]] = {}
    for name, spec in dynamic.items():
        for leaf, entry in _specs(name, structures.get(name), spec, given.tensors):
            _apply(shapes[leaf], leaf, entry, sizes)
    return shapes


def _name_batches(shapes: Mapping[str, Shape]) -> None:
    first = next((s[0] for s in shapes.values() if s), None)
    for name, shape in shapes.items():
        if shape:
            shape[0] = "batch" if shape[0] == first else f"{name}_0"


def _specs(
    name: str, example: Any, spec: Any, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, Any]]:
    """(input, its dimensions) of an entry that may be nested as its argument is."""
    if name in tensors:
        yield name, spec
        return
    inside = None if example is None else _children(example)
    if inside is None:
        raise InvalidArgumentError(
            f"save: dynamic dimensions of an input among {list(tensors)} are required, got "
            f"'{name}'."
        )
    examples = dict(inside)
    for key, item in _children(spec) or iter(()):
        if item is not None:
            yield from _specs(f"{name}_{key}", examples.get(key), item, tensors)


def _apply(shape: Shape, name: str, spec: Any, sizes: dict[str, tuple[int, str]]) -> None:
    """Names the dimensions of one input."""
    if not isinstance(spec, (Mapping, list, tuple)):
        raise InvalidArgumentError(
            f"save: dimensions of '{name}' as {{0: 'batch'}} or ['batch', None] are required, got "
            f"{spec!r}."
        )
    example = [d for d in shape if isinstance(d, int)]
    for axis, symbol in spec.items() if isinstance(spec, Mapping) else enumerate(spec):
        if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
            raise InvalidArgumentError(
                f"save: a dimension of '{name}' within {tuple(example)} is required, got {axis!r}."
            )
        size = shape[axis]
        symbol = getattr(symbol, "__name__", symbol)  # A Dim has one.
        if isinstance(symbol, str) and symbol and isinstance(size, int):
            known, where = sizes.setdefault(symbol, (size, name))
            if known != size:
                raise InvalidArgumentError(
                    f"save: one size for each symbol is required, got '{symbol}' for {known} of "
                    f"'{where}' and {size} of '{name}'. Give them different names."
                )
            shape[axis] = symbol
        elif not (symbol is None or (isinstance(symbol, int) and symbol == size)):
            raise InvalidArgumentError(
                f"save: a name, None or the size {size} is required for dimension {axis} of "
                f"'{name}', got {symbol!r}."
            )
