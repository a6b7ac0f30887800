"""Exchange with other formats, one format a file; heavy imports stay inside functions."""

from toolkit.convert.loading import load_safetensors, load_sharded
from toolkit.convert.quantize import quantize_weights
from toolkit.convert.torch_files import load_pt
from toolkit.convert.torch_writer import save_pt

__all__ = ["load_pt", "load_safetensors", "load_sharded", "quantize_weights", "save_pt"]
