"""What scripts set and ask of `torch.backends`: kept, answered, and without further effect."""

from __future__ import annotations

from typing import Any


class _Backend:
    """A backend that is not there; what is set on it stays set."""

    def __init__(self, name: str, **settings: Any) -> None:
        self._name = name
        self.__dict__.update(settings)

    def is_available(self) -> bool:
        """False."""
        return False

    def is_built(self) -> bool:
        """False."""
        return False

    def __repr__(self) -> str:
        return f"<toolkit.backends.{self._name}>"


cudnn = _Backend(
    "cudnn", enabled=True, benchmark=False, deterministic=False, allow_tf32=True, version=None
)
cuda = _Backend("cuda", matmul=_Backend("cuda.matmul", allow_tf32=False))
mps = _Backend("mps")
mkldnn = _Backend("mkldnn", enabled=True)
mkl = _Backend("mkl")
openmp = _Backend("openmp")
