"""`default_collate`: many samples become one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import DTypeError, ShapeError


def default_collate(batch: Sequence[Any]) -> Any:
    """Stacks samples along a new first dimension.

    Tensors and numpy arrays are stacked, numbers become a tensor (float64 or int64, as in
    PyTorch), strings stay a list; tuples, lists and dictionaries are collated member by member.

    Raises:
        ShapeError: tensors of different shapes, or tuples of different lengths.
        DTypeError: a sample of any other type.
    """
    from toolkit.tensor import Tensor, from_numpy

    first = batch[0]
    if isinstance(first, Tensor):
        return from_numpy(_stack([sample.detach().numpy() for sample in batch]))
    if isinstance(first, (np.ndarray, np.generic)) and first.dtype.kind in "biufc":
        return from_numpy(_stack([np.asarray(sample) for sample in batch]))
    if isinstance(first, float):
        return from_numpy(np.array(batch, np.float64))
    if isinstance(first, bool):
        return from_numpy(np.array(batch, np.bool_))
    if isinstance(first, int):
        return from_numpy(np.array(batch, np.int64))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, Sequence):
        lengths = {len(sample) for sample in batch}
        if len(lengths) != 1:
            raise ShapeError(
                "default_collate: samples with equally many members are required, "
                f"got {sorted(lengths)}."
            )
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise DTypeError(
        "default_collate: tensors, arrays, numbers, strings, or tuples, lists and dictionaries of "
        f"them are required, got {type(first).__name__}. Pass collate_fn for other samples."
    )


def _stack(arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    shapes = {a.shape for a in arrays}
    if len(shapes) != 1:
        raise ShapeError(
            f"default_collate: samples of one shape are required, got {sorted(shapes)}. "
            "Pass collate_fn to pad them."
        )
    return np.stack(arrays)
