"""`default_collate`: many samples become one batch; `default_convert`: arrays become tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, TypeAlias

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit.errors import DTypeError, ShapeError

CollateMap: TypeAlias = "dict[type | tuple[type, ...], Callable[..., Any]]"


def default_collate(batch: Sequence[Any]) -> Any:
    """Stacks samples along a new first dimension.

    Tensors and numpy arrays are stacked, numbers become a tensor (float64 or int64, as in
    PyTorch), strings stay as they are; tuples, lists and dictionaries are collated member by
    member. `default_collate_fn_map` holds what is done with each type; more can be added to it.

    Raises:
        ShapeError: tensors of different shapes, or tuples of different lengths.
        DTypeError: a sample of any other type.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> Any:
    """Collates as `default_collate` does, with the functions of a map from types.

    A function takes the samples, and the map as `collate_fn_map`.
    """
    first = batch[0]
    if collate_fn_map is not None:
        function = collate_fn_map.get(type(first))
        if function is None:
            known = collate_fn_map.items()
            function = next((f for kind, f in known if isinstance(first, kind)), None)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)

    def column(members: Sequence[Any]) -> Any:
        return collate(members, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        return _like(first, {key: column([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        lengths = {len(sample) for sample in batch}
        if len(lengths) != 1:
            raise ShapeError(
                "default_collate: samples with equally many members are required (each element in "
                f"list of batch should be of equal size), got {sorted(lengths)}."
            )
        columns = [column(members) for members in zip(*batch, strict=True)]
        return columns if type(first) is tuple else _like(first, columns)
    raise DTypeError(
        "default_collate: tensors, arrays, numbers, strings, or tuples, lists and dictionaries of "
        f"them are required, got {type(first).__name__}. Pass collate_fn for other samples."
    )


def default_convert(data: Any) -> Any:
    """What a loader without batches yields: arrays become tensors, also within collections.

    Tensors, Python's numbers, strings and arrays of texts or objects stay as they are.
    """
    from toolkit.tensor import from_numpy

    if isinstance(data, TensorBase):
        return data
    if isinstance(data, (np.ndarray, np.number, np.bool_)):
        array = np.asarray(data)
        return from_numpy(array) if array.dtype.kind in "biufcV" else data
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        members = [default_convert(member) for member in data]
        return members if type(data) is tuple else _like(data, members)
    return data


def _like(model: Any, members: Any) -> Any:
    """Members in a collection of the model's type where it can be made, else a list or a dict."""
    try:
        if hasattr(model, "_fields"):
            return type(model)(*members)
        if isinstance(model, MutableMapping):
            made: Any = copy.copy(model)
            made.update(members)
            return made
        if isinstance(model, MutableSequence):
            made = copy.copy(model)
            for i, member in enumerate(members):
                made[i] = member
            return made
        return type(model)(members)
    except TypeError:
        return members


def _tensors(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    from toolkit.tensor import stack

    try:
        return stack(batch)
    except ShapeError:
        shapes = [tuple(sample.shape) for sample in batch]
        i = next(i for i, shape in enumerate(shapes) if shape != shapes[0])
        raise _unequal(shapes[0], i, shapes[i]) from None


def _arrays(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    from toolkit.tensor import from_numpy

    first = batch[0]
    if first.dtype.kind not in "biufcV":
        raise DTypeError(
            f"default_collate: arrays of numbers are required, got {first.dtype}. "
            "Pass collate_fn for other samples."
        )
    shape = first.shape
    out = np.empty((len(batch), *shape), np.result_type(*{sample.dtype for sample in batch}))
    for i, sample in enumerate(batch):
        if sample.shape != shape:
            raise _unequal(shape, i, sample.shape)
        out[i] = sample
    return from_numpy(out)


def _unequal(shape: Any, i: int, other: Any) -> ShapeError:
    return ShapeError(
        "default_collate: samples of one shape are required (stack expects each tensor to be equal "
        f"size), got {list(shape)} at entry 0 and {list(other)} at entry {i}. Pass collate_fn to "
        "pad them."
    )


def _scalars(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    from toolkit.tensor import from_numpy

    return from_numpy(np.array(batch))


def _floats(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    from toolkit.tensor import from_numpy

    return from_numpy(np.array(batch, np.float64))


def _ints(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    from toolkit.tensor import from_numpy, tensor

    array = np.array(batch)
    return from_numpy(array) if array.dtype.kind in "bi" else tensor(list(batch))


def _unchanged(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return batch


default_collate_fn_map: CollateMap = {
    TensorBase: _tensors,
    np.ndarray: _arrays,
    (np.bool_, np.number): _scalars,
    float: _floats,
    int: _ints,
    str: _unchanged,
    bytes: _unchanged,
}
