"""Named tuples that reductions return; they print as PyTorch's."""

from __future__ import annotations

from typing import Any, NamedTuple


class _Pair:
    """How `torch.return_types` print."""

    def __repr__(self: Any) -> str:
        fields = ",\n".join(f"{n}={v!r}" for n, v in zip(self._fields, self, strict=True))
        return f"toolkit.return_types.{type(self).__name__}(\n{fields})"


class _ValuesIndices(NamedTuple):
    values: Any
    indices: Any


class _MinMax(NamedTuple):
    min: Any
    max: Any


class _Histogram(NamedTuple):
    hist: Any
    bin_edges: Any


class ValuesIndices(_Pair, _ValuesIndices):
    """Values and the indices they were found at."""


class max(ValuesIndices):
    """Result of `max(dim)`."""


class min(ValuesIndices):
    """Result of `min(dim)`."""


class sort(ValuesIndices):
    """Result of `sort`."""


class topk(ValuesIndices):
    """Result of `topk`."""


class median(ValuesIndices):
    """Result of `median(dim)`."""


class nanmedian(ValuesIndices):
    """Result of `nanmedian(dim)`."""


class mode(ValuesIndices):
    """Result of `mode`."""


class kthvalue(ValuesIndices):
    """Result of `kthvalue`."""


class cummax(ValuesIndices):
    """Result of `cummax`."""


class cummin(ValuesIndices):
    """Result of `cummin`."""


class aminmax(_Pair, _MinMax):
    """Result of `aminmax`."""


class histogram(_Pair, _Histogram):
    """Result of `histogram`."""


class histogramdd(_Pair, _Histogram):
    """Result of `histogramdd`."""
