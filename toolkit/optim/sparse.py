"""SparseAdam, by name only: there are no sparse gradients here."""

from __future__ import annotations

from typing import Any

from toolkit.errors import UnsupportedOperatorError


class SparseAdam:
    """`torch.optim.SparseAdam` updates the rows of a sparse gradient; gradients here are dense.

    Raises:
        UnsupportedOperatorError: always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedOperatorError(
            "SparseAdam: sparse gradients are required, got dense ones: toolkit has no others. "
            "Use Adam, whose steps are the same where every row has a gradient."
        )
