"""Exchange with other formats, one format a file; heavy imports stay inside functions."""

from toolkit.convert.quantize import quantize_weights

__all__ = ["quantize_weights"]
