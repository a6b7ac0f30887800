"""Low-rank adapters: LoRA and DoRA on modules and on loaded models."""

from toolkit.train.adapters.apply import lora, merge, unload
from toolkit.train.adapters.config import LoraConfig
from toolkit.train.adapters.files import load_adapters, save_adapters

__all__ = ["LoraConfig", "load_adapters", "lora", "merge", "save_adapters", "unload"]
