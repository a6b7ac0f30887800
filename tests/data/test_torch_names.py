"""Beside torch.utils.data: names, shapes of results, and what is refused with which error."""

from __future__ import annotations

import collections
import inspect
import warnings

import numpy as np
import pytest
import torch
import torch.utils.data as theirs

import toolkit as tk
import toolkit.utils.data as ours


def pairs(n=6):
    """The same samples as datasets of both."""
    x, y = np.arange(n * 2, dtype=np.float32).reshape(n, 2), np.arange(n)
    return (
        ours.TensorDataset(tk.tensor(x), tk.tensor(y)),
        theirs.TensorDataset(torch.tensor(x), torch.tensor(y)),
    )


def plain(value):
    """Lists and numbers of a nest of tensors; types of collections and elements are kept."""
    if isinstance(value, (tk.Tensor, torch.Tensor)):
        return str(value.dtype).split(".")[-1], value.tolist()
    if isinstance(value, collections.abc.Mapping):
        return type(value).__name__, {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, collections.deque)):
        return type(value).__name__, [plain(v) for v in value]
    return value


def test_names_and_arguments():
    skipped = {"DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe", "_DatasetKind",
               "argument_validation", "functional_datapipe", "guaranteed_datapipes_determinism",
               "non_deterministic", "runtime_validation",
               "runtime_validation_disabled"}  # fmt: skip
    for name in set(theirs.__all__) - skipped:
        a, b = (inspect.signature(getattr(m, name)).parameters for m in (ours, theirs))
        assert list(a) == list(b), name
        for key in a:
            same = a[key].default == b[key].default or key == "generator"
            assert same and a[key].kind == b[key].kind, (name, key)


@pytest.mark.parametrize("module", ["dataset", "sampler", "dataloader", "distributed"])
def test_modules_by_their_names(module):
    import importlib

    ours_, theirs_ = (
        importlib.import_module(f"{m}.utils.data.{module}") for m in ("toolkit", "torch")
    )
    shared = {"Dataset", "Sampler"} if module == "distributed" else set()
    wanted = {n for n in theirs.__all__ if getattr(theirs_, n, None) is not None}
    assert {n for n in wanted if "Pipe" not in n and n != "_DatasetKind"} - shared <= set(
        dir(ours_)
    )


POINT = collections.namedtuple("POINT", "x y")
BATCHES = {
    "floats": [1.0, 2.5],
    "ints": [1, 2],
    "bools": [True, False],
    "ints and floats": [1, 2.5],
    "texts": ["a", "b"],
    "bytes": [b"a", b"b"],
    "tuples": [(1, "a", 2.0), (2, "b", 3.0)],
    "lists": [[1, 2.0], [3, 4.0]],
    "named": [POINT(1, 2.0), POINT(3, 4.0)],
    "dicts": [{"a": 1, "b": {"c": 2.0}}, {"a": 3, "b": {"c": 4.0}}],
    "ordered": [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
    "arrays": [np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32)],
    "numpy scalars": [np.float32(1), np.float32(2)],
    "numpy doubles": [np.float64(1), np.float64(2)],
    "numpy bools": [np.bool_(True), np.bool_(False)],
    "0-d arrays": [np.array(1, np.int16), np.array(2, np.int16)],
    "deque": [collections.deque([1, 2.0]), collections.deque([3, 4.0])],
}


@pytest.mark.parametrize("name", BATCHES)
def test_collate_and_convert(name):
    batch = BATCHES[name]
    assert plain(ours.default_collate(batch)) == plain(theirs.default_collate(batch))
    assert plain(ours.default_convert(batch)) == plain(theirs.default_convert(batch))


def test_collated_tensors_keep_type_and_gradient():
    for dtype in ("float32", "float64", "int64", "uint8", "bool", "float16", "bfloat16"):
        t = getattr(tk, dtype)
        got = ours.default_collate([tk.ones(2, 3).to(t), tk.zeros(2, 3).to(t)])
        assert got.dtype is t and got.shape == (2, 2, 3)
        assert got.to(tk.float32).tolist() == [[[1.0] * 3] * 2, [[0.0] * 3] * 2]
    z = tk.from_numpy(np.array([1 + 2j], np.complex64))
    assert ours.default_collate([z, z]).tolist() == [[1 + 2j], [1 + 2j]]
    x = tk.ones(2, requires_grad=True)
    ours.default_collate([x, x * 2]).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_collate_map_can_be_extended():
    from toolkit.data.collate import collate, default_collate_fn_map

    class Word(str):
        pass

    def joined(batch, *, collate_fn_map):
        return "+".join(batch)

    got = collate([(Word("a"), 1), (Word("b"), 2)],
                  collate_fn_map={Word: joined, **default_collate_fn_map})  # fmt: skip
    assert got[0] == "a+b" and got[1].tolist() == [1, 2]


def iterable(module, items):
    class Stream(module.IterableDataset):
        def __iter__(self):
            return iter(items)

        def __len__(self):
            return len(items)

    return Stream()


GOOD = {
    "stack by position": lambda m, d: [m.StackDataset(d, d)[3], len(m.StackDataset(d, d))],
    "stack by keyword": lambda m, d: m.StackDataset(a=d, b=m.Subset(d, [5, 4, 3, 2, 1, 0]))[1],
    "stack, several": lambda m, d: m.StackDataset(a=d, b=m.Subset(d, [*range(6)]))
        .__getitems__([1, 4]),
    "stack, tuples": lambda m, d: m.StackDataset(range(6), d).__getitems__([5, 0]),
    "subset, several": lambda m, d: m.Subset(m.Subset(d, [5, 3, 1]), [2, 0]).__getitems__([1, 0]),
    "concat": lambda m, d: [(d + d)[7], (d + d)[-1], len(d + d + d), (d + d).cumulative_sizes],
    "chain": lambda m, d: list(iterable(m, [1, 2]) + iterable(m, [3])),
    "chain length": lambda m, d: len(m.ChainDataset([iterable(m, [1, 2]), iterable(m, [3])])),
    "batches": lambda m, d: list(m.BatchSampler(iter(range(7)), 3, False)),
    "batches dropped": lambda m, d: list(m.BatchSampler(m.SequentialSampler(d), 4, True)),
    "loader": lambda m, d: list(m.DataLoader(d, batch_size=4)),
    "loader of a list": lambda m, d: list(m.DataLoader([1.0, 2.0, 3.0], 2)),
    "loader of arrays": lambda m, d: list(m.DataLoader(np.arange(5.0), 2, drop_last=True)),
    "loader of dicts": lambda m, d: list(m.DataLoader(m.StackDataset(a=d, b=d), 3)),
    "no batches": lambda m, d: list(m.DataLoader([(np.ones(2), 1, "a")], batch_size=None)),
    "sampler, no batches": lambda m, d: list(m.DataLoader(d, None, sampler=[4, 1])),
    "batch sampler": lambda m, d: list(m.DataLoader(d, batch_sampler=[[5, 1], [2]])),
    "stream": lambda m, d: list(m.DataLoader(iterable(m, [1, 2, 3]), 2)),
    "stream length": lambda m, d: len(m.DataLoader(iterable(m, [1, 2, 3]), 2)),
    "attributes": lambda m, d: [(k.batch_size, k.drop_last, k.prefetch_factor, k.num_workers,
                                 k.pin_memory, k.timeout, k.in_order, k.persistent_workers)
                                for k in (m.DataLoader(d, 3), m.DataLoader(d, batch_sampler=[[1]]),
                                          m.DataLoader(d, num_workers=2))],
    "info": lambda m, d: m.get_worker_info(),
    "shares": lambda m, d: [list(m.DistributedSampler(d, 4, r, shuffle=False)) for r in range(4)],
    "shares dropped": lambda m, d: [list(m.DistributedSampler(range(11), 3, r, False, 0, True))
                                    for r in range(3)],
    "few samples, many shares": lambda m, d: [list(m.DistributedSampler(range(2), 5, r, False))
                                              for r in range(5)],
    "split": lambda m, d: [len(p) for p in m.random_split(range(11), [0.3, 0.3, 0.4])],
    "split by size": lambda m, d: [len(p) for p in m.random_split(range(11), [4, 0, 7])],
    "one fraction": lambda m, d: [len(p) for p in m.random_split(range(11), [1.0])],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_same_results(name):
    a, b = (plain(GOOD[name](m, d)) for m, d in zip((ours, theirs), pairs(), strict=True))
    assert a == b


BAD = {
    "tensors of two lengths": lambda m, t, d: m.TensorDataset(t.zeros(2), t.zeros(3)),
    "no dataset": lambda m, t, d: m.ConcatDataset([]),
    "concat of a stream": lambda m, t, d: m.ConcatDataset([iterable(m, [1])]),
    "concat below": lambda m, t, d: (d + d)[-13],
    "concat above": lambda m, t, d: (d + d)[12],
    "stack of nothing": lambda m, t, d: m.StackDataset(),
    "stack of both": lambda m, t, d: m.StackDataset(d, a=d),
    "stack of two lengths": lambda m, t, d: m.StackDataset(d, range(5)),
    "chain of a map": lambda m, t, d: list(m.ChainDataset([d])),
    "no __getitem__": lambda m, t, d: m.Dataset()[0],
    "replacement": lambda m, t, d: m.RandomSampler(d, replacement=1),
    "num_samples": lambda m, t, d: m.RandomSampler(d, num_samples=0),
    "num_samples of floats": lambda m, t, d: m.RandomSampler(d, num_samples=1.5),
    "shuffled nothing": lambda m, t, d: m.DataLoader([], shuffle=True),
    "weighted num_samples": lambda m, t, d: m.WeightedRandomSampler([1.0], True),
    "weighted replacement": lambda m, t, d: m.WeightedRandomSampler([1.0], 1, 1),
    "weights of two axes": lambda m, t, d: m.WeightedRandomSampler([[1.0]], 1),
    "negative weights": lambda m, t, d: list(m.WeightedRandomSampler([1.0, -1.0], 1)),
    "too few weights": lambda m, t, d: list(m.WeightedRandomSampler([1.0, 2.0], 3, False)),
    "batch of 0": lambda m, t, d: m.BatchSampler(range(3), 0, False),
    "batch of a float": lambda m, t, d: m.BatchSampler(range(3), 2.0, False),
    "batch of a bool": lambda m, t, d: m.BatchSampler(range(3), True, False),
    "drop_last": lambda m, t, d: m.BatchSampler(range(3), 2, 1),
    "rank": lambda m, t, d: m.DistributedSampler(d, 2, 2),
    "fraction": lambda m, t, d: m.random_split(d, [1.5, -0.5]),
    "sum": lambda m, t, d: m.random_split(d, [5, 5]),
    "loader of a bool": lambda m, t, d: m.DataLoader(d, True),
    "batch_size": lambda m, t, d: m.DataLoader(d, 0),
    "num_workers": lambda m, t, d: m.DataLoader(d, num_workers=-1),
    "timeout": lambda m, t, d: m.DataLoader(d, timeout=-1),
    "prefetch": lambda m, t, d: m.DataLoader(d, prefetch_factor=2),
    "prefetch below": lambda m, t, d: m.DataLoader(d, num_workers=1, prefetch_factor=-1),
    "persistent": lambda m, t, d: m.DataLoader(d, persistent_workers=True),
    "context": lambda m, t, d: m.DataLoader(d, num_workers=1, multiprocessing_context="thread"),
    "context type": lambda m, t, d: m.DataLoader(d, num_workers=1, multiprocessing_context=3),
    "context alone": lambda m, t, d: m.DataLoader(d, multiprocessing_context="fork"),
    "shuffle and sampler": lambda m, t, d: m.DataLoader(d, shuffle=True, sampler=[1]),
    "batch_sampler": lambda m, t, d: m.DataLoader(d, 2, batch_sampler=[[1]]),
    "drop_last without": lambda m, t, d: m.DataLoader(d, None, drop_last=True),
    "shuffled stream": lambda m, t, d: m.DataLoader(iterable(m, [1]), shuffle=True),
    "sampled stream": lambda m, t, d: m.DataLoader(iterable(m, [1]), sampler=[1]),
    "batched stream": lambda m, t, d: m.DataLoader(iterable(m, [1]), batch_sampler=[[1]]),
    "set batch_size": lambda m, t, d: setattr(m.DataLoader(d), "batch_size", 3),
    "set dataset": lambda m, t, d: setattr(m.DataLoader(d), "dataset", d),
    "collate objects": lambda m, t, d: m.default_collate([object()]),
    "collate None": lambda m, t, d: m.default_collate([None]),
    "collate texts of numpy": lambda m, t, d: m.default_collate([np.array(["a"])]),
    "collate lengths": lambda m, t, d: m.default_collate([(1,), (1, 2)]),
    "collate shapes": lambda m, t, d: m.default_collate([t.ones(2), t.ones(3)]),
    "collate arrays": lambda m, t, d: m.default_collate([np.ones(2), np.ones(3)]),
    "index": lambda m, t, d: d[6],
    "no length": lambda m, t, d: len(m.DataLoader(type("S", (m.IterableDataset,), {})())),
}


@pytest.mark.parametrize("name", BAD)
def test_same_errors(name):
    """What PyTorch refuses we refuse with an error that its handlers catch."""
    mine, other = pairs()
    with pytest.raises(Exception) as wanted:
        BAD[name](theirs, torch, other)
    with pytest.raises(wanted.type) as got:
        BAD[name](ours, tk, mine)
    assert "\n" not in str(got.value)


def test_an_empty_part_is_warned_of():
    for module in (ours, theirs):
        with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
            module.random_split(range(3), [1.0, 0.0])


def test_a_longer_stream_than_promised_is_warned_of():
    class Long(ours.IterableDataset):
        def __iter__(self):
            return iter(range(5))

        def __len__(self):
            return 3

    loader = ours.DataLoader(Long(), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sum(1 for _ in loader) == 3  # No one asked for the length, as list() does.
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 3"):
        list(loader)


def test_shuffled_shares_are_a_partition_that_stays_until_set_epoch():
    samplers = [ours.DistributedSampler(range(12), 3, rank, seed=4) for rank in range(3)]
    first = [list(s) for s in samplers]
    together = [i for share in first for i in share]
    assert sorted(together) == list(range(12)) != together
    assert [list(s) for s in samplers] == first
    for sampler in samplers:
        sampler.set_epoch(1)
    assert [list(s) for s in samplers] != first


def test_shares_of_the_environment(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert list(ours.DistributedSampler(range(8), shuffle=False)) == [3, 7]


def test_a_given_sampler_keeps_its_epoch():
    """Its own `set_epoch` counts, as in PyTorch's recipe for resuming."""
    sampler = ours.DistributedSampler(range(8), 1, 0)
    loader = ours.DataLoader(range(8), 8, sampler=sampler)
    want = {}
    for epoch in (5, 2, 0):
        sampler.set_epoch(epoch)
        want[epoch] = list(sampler)
        assert next(iter(loader)).tolist() == want[epoch]
    loader.set_epoch(2)
    assert next(iter(loader)).tolist() == want[2]
    assert next(loader.batches(5)).tolist() == want[5]


def test_reached_without_an_import_of_its_own():
    import subprocess
    import sys

    source = "import toolkit as tk; tk.utils.data.DataLoader, tk.utils.checkpoint.checkpoint"
    subprocess.run([sys.executable, "-c", source], check=True)
