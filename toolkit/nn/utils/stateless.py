"""`functional_call` under its old name."""

from toolkit.func.modules import functional_call

__all__ = ["functional_call"]
