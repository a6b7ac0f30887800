"""The sampler of several processes by the place that PyTorch has for it."""

from toolkit.data.sampler import DistributedSampler

__all__ = ["DistributedSampler"]
