"""What programs ask of `torch.cuda`, answered as PyTorch does without a GPU; no more of it."""

from __future__ import annotations


def is_available() -> bool:
    """Whether tensors can live on a CUDA device: they cannot."""
    return False


def device_count() -> int:
    """How many CUDA devices tensors can live on: none."""
    return 0


def manual_seed(seed: int) -> None:
    """Seeds no device, silently, so that a script may seed all that it could run on."""


def manual_seed_all(seed: int) -> None:
    """Seeds no device, silently, so that a script may seed all that it could run on."""


def empty_cache() -> None:
    """Frees nothing."""
