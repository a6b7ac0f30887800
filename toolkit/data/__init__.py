"""Datasets, samplers and the `DataLoader`, as in `torch.utils.data`; readers of data files."""

from toolkit.data.collate import default_collate
from toolkit.data.dataset import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from toolkit.data.loader import DataLoader
from toolkit.data.readers import Data, Meta, load
from toolkit.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from toolkit.data.worker import WorkerError, WorkerInfo, get_worker_info

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "Data",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "Meta",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "WorkerError",
    "WorkerInfo",
    "default_collate",
    "get_worker_info",
    "load",
    "random_split",
]
