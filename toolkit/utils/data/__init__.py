"""Data sets and loaders by the name that PyTorch has for them."""

from toolkit.data import *  # noqa: F403
from toolkit.data import __all__ as __all__
