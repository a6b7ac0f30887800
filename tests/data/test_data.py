"""Datasets, samplers, collation and the loader in this process."""

import collections

import numpy as np
import pytest

import toolkit as tk
from toolkit.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)
from toolkit.errors import DTypeError, InvalidArgumentError, OutOfBoundsError, ShapeError


class Squares(Dataset):
    def __init__(self, n=20):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return np.float32(i), i * i


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


def tensors(n=20):
    return TensorDataset(tk.arange(n).float().reshape(n, 1), tk.arange(n))


def order(loader, epoch=None):
    batches = loader if epoch is None else loader.batches(epoch)
    return [batch[1].tolist() for batch in batches]


def test_tensor_dataset_items_and_length():
    data = tensors(5)
    assert len(data) == 5
    x, y = data[3]
    assert x.tolist() == [3.0] and y.item() == 3
    with pytest.raises(InvalidArgumentError, match="one length"):
        TensorDataset(tk.zeros(2), tk.zeros(3))


def test_subset_and_concat():
    data = ConcatDataset([Subset(Squares(), [4, 2]), Squares(3)])
    assert [data[i][1] for i in range(len(data))] == [16, 4, 0, 1, 4]
    assert data[-1][1] == 4
    with pytest.raises(OutOfBoundsError, match="got 5"):
        data[5]
    assert len(Squares(2) + Squares(3)) == 5
    with pytest.raises(InvalidArgumentError, match="at least one"):
        ConcatDataset([])


@pytest.mark.parametrize("lengths", [[12, 8], [0.6, 0.4]])
def test_random_split_is_a_partition_by_seed(lengths):
    a, b = random_split(Squares(), lengths, generator=3)
    assert len(a) == 12 and sorted([*a.indices, *b.indices]) == list(range(20))
    assert random_split(Squares(), lengths, generator=3)[0].indices == a.indices
    assert random_split(Squares(), lengths, generator=4)[0].indices != a.indices
    with pytest.raises(InvalidArgumentError, match="sum to"):
        random_split(Squares(), [5, 5])


def test_random_split_gives_the_remainder_to_the_first_parts():
    assert [len(s) for s in random_split(Squares(10), [1 / 3, 1 / 3, 1 / 3])] == [4, 3, 3]


def test_samplers():
    assert list(SequentialSampler(range(3))) == [0, 1, 2]
    sampler = RandomSampler(range(10), generator=1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    sampler.set_epoch(0)
    assert list(sampler) == first
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=50, generator=1))
    assert len(drawn) == 50 and set(drawn) == {0, 1, 2}
    assert len(list(RandomSampler(range(3), num_samples=7, generator=1))) == 7
    assert sorted(SubsetRandomSampler([5, 6, 7], generator=1)) == [5, 6, 7]
    weighted = collections.Counter(WeightedRandomSampler([0.0, 1.0, 3.0], 400, generator=1))
    assert weighted[0] == 0 and weighted[2] > 2 * weighted[1]
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        BatchSampler(range(5), 0, False)


def test_collate():
    named = collections.namedtuple("named", "x y")
    batch = default_collate([(tk.ones(2), 1, 2.0, "a", True), (tk.zeros(2), 2, 3.0, "b", False)])
    assert batch[0].tolist() == [[1, 1], [0, 0]]
    assert batch[1].dtype is tk.int64 and batch[2].dtype is tk.float64 and batch[4].dtype is tk.bool
    assert batch[3] == ("a", "b")
    both = default_collate([{"a": named(np.ones(3, np.float32), 1)}] * 2)
    assert type(both["a"]) is named and both["a"].x.shape == (2, 3)
    with pytest.raises(ShapeError, match="one shape"):
        default_collate([tk.ones(2), tk.ones(3)])
    with pytest.raises(ShapeError, match="equally many"):
        default_collate([(1,), (1, 2)])
    with pytest.raises(DTypeError, match="got object"):
        default_collate([object()])


@pytest.mark.parametrize("data", [tensors(), Squares(), Subset(tensors(40), range(20))])
def test_loader_batches(data):
    loader = DataLoader(data, batch_size=8)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [len(b[0]) for b in batches] == [8, 8, 4]
    assert isinstance(batches[0], list)
    assert len(DataLoader(data, batch_size=8, drop_last=True)) == 2
    assert sum(1 for _ in DataLoader(data, batch_size=8, drop_last=True)) == 2


def test_fast_path_equals_collation():
    fast = DataLoader(tensors(), batch_size=6, shuffle=True, generator=5)
    slow = DataLoader(
        tensors(), batch_size=6, shuffle=True, generator=5, collate_fn=lambda s: default_collate(s)
    )
    for a, b in zip(fast, slow, strict=True):
        assert all(np.array_equal(m.numpy(), n.numpy()) for m, n in zip(a, b, strict=True))


def test_order_is_a_function_of_seed_and_epoch():
    loader = DataLoader(tensors(), batch_size=4, shuffle=True, generator=7)
    epochs = [order(loader), order(loader), order(loader)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert order(loader, epoch=1) == epochs[1]
    again = DataLoader(tensors(), batch_size=4, shuffle=True, generator=7)
    again.set_epoch(2)
    assert order(again) == epochs[2]
    rest = [b[1].tolist() for b in again.batches(1, start=3)]
    assert rest == epochs[1][3:]


def test_order_follows_the_default_seed():
    tk.manual_seed(11)
    a = order(DataLoader(tensors(), batch_size=4, shuffle=True))
    tk.manual_seed(12)
    b = order(DataLoader(tensors(), batch_size=4, shuffle=True))
    tk.manual_seed(11)
    assert order(DataLoader(tensors(), batch_size=4, shuffle=True)) == a != b


def test_single_samples_and_batch_sampler():
    assert [s[1] for s in DataLoader(Squares(3), batch_size=None)] == [0, 1, 4]
    loader = DataLoader(Squares(4), batch_sampler=[[3, 0], [1]])
    assert [b[1].tolist() for b in loader] == [[9, 0], [1]] and len(loader) == 2


def test_iterable_dataset():
    loader = DataLoader(Stream(7), batch_size=3)
    assert [b.tolist() for b in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(list(DataLoader(Stream(7), batch_size=3, drop_last=True))) == 2
    assert [b.tolist() for b in loader.batches(0, start=1)] == [[3, 4, 5], [6]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"num_workers": -1}, "num_workers >= 0"),
        ({"timeout": -1}, "timeout >= 0"),
        ({"prefetch_factor": 2}, "num_workers > 0"),
        ({"num_workers": 1, "prefetch_factor": 0}, "prefetch_factor > 0"),
        ({"shuffle": True, "sampler": [0]}, "got both"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler excludes"),
        ({"batch_size": None, "drop_last": True}, "excludes drop_last"),
    ],
)
def test_loader_refuses(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        DataLoader(Squares(), **options)


def test_loader_refuses_to_order_a_stream():
    with pytest.raises(InvalidArgumentError, match="IterableDataset"):
        DataLoader(Stream(3), shuffle=True)


def test_weighted_draws_without_replacement_beside_their_definition():
    """The first two of three, drawn one after the other in proportion to what is left."""
    weights = np.array([0.5, 0.3, 0.2])
    sampler = WeightedRandomSampler(weights, 2, replacement=False, generator=0)
    count = 3000
    seen = collections.Counter(tuple(sampler) for _ in range(count))
    for i, j in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]:
        p = weights[i] * weights[j] / (1 - weights[i])
        assert abs(seen[i, j] / count - p) < 4 * (p * (1 - p) / count) ** 0.5
