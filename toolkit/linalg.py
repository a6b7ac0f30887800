"""Linear algebra with the names of `torch.linalg`."""

from __future__ import annotations

from toolkit._tensor.products import det

__all__ = ["det"]
