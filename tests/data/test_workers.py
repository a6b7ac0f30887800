"""Worker processes: same batches, clean ends, errors instead of hangs."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

import toolkit as tk
from toolkit.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    WorkerError,
    get_worker_info,
)


class Items(Dataset):
    """Sample i is (i, the worker's number)."""

    def __init__(self, n=24, bad=None, action=None, wide=1):
        self.n, self.bad, self.action, self.wide = n, bad, action, wide

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.bad:
            self.action()
        info = get_worker_info()
        return np.full(self.wide, i, np.float32), -1 if info is None else info.id


class Share(IterableDataset):
    """Each worker streams its share."""

    def __iter__(self):
        info = get_worker_info()
        return iter(range(info.id, 10, info.num_workers))


def fail():
    raise KeyError("sample is missing")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(3)


@pytest.fixture(autouse=True)
def no_processes_left():
    yield
    for _ in range(50):
        if not multiprocessing.active_children():
            return
        time.sleep(0.1)
    raise AssertionError("worker processes are left")


def test_same_batches_as_without_workers():
    data = TensorDataset(tk.randn(30, 3), tk.arange(30))
    alone = DataLoader(data, batch_size=7, shuffle=True, generator=2)
    shared = DataLoader(data, batch_size=7, shuffle=True, generator=2, num_workers=2)
    for _ in range(2):
        for a, b in zip(alone, shared, strict=True):
            assert all(np.array_equal(m.numpy(), n.numpy()) for m, n in zip(a, b, strict=True))


def test_work_is_shared_and_large_batches_pass():
    loader = DataLoader(Items(wide=100_000), batch_size=4, num_workers=2)
    workers = [set(b[1].tolist()) for b in loader]
    assert workers == [{0}, {1}, {0}, {1}, {0}, {1}]


def test_giving_up_early_ends_the_workers():
    batches = iter(DataLoader(Items(), batch_size=2, num_workers=2))
    next(batches)
    batches.close()


def test_persistent_workers_stay():
    loader = DataLoader(Items(), batch_size=6, num_workers=2, persistent_workers=True)
    next(iter(loader))
    pids = {p.pid for p in multiprocessing.active_children()}
    assert len(pids) == 2
    assert [b[0][0, 0].item() for b in loader] == [0, 6, 12, 18]
    assert {p.pid for p in multiprocessing.active_children()} == pids
    del loader


def test_error_of_a_worker_is_raised_here():
    loader = DataLoader(Items(bad=9, action=fail), batch_size=4, num_workers=2)
    with pytest.raises(KeyError, match="Caught KeyError in DataLoader worker process 0"):
        list(loader)


def test_error_names_the_line_that_failed():
    loader = DataLoader(Items(bad=0, action=fail), batch_size=4, num_workers=1)
    with pytest.raises(KeyError, match="in fail"):
        list(loader)


@pytest.mark.parametrize(("action", "how"), [(die, "signal 9"), (leave, "exit code 3")])
def test_dead_worker_is_an_error(action, how):
    start = time.monotonic()
    loader = DataLoader(Items(bad=5, action=action), batch_size=2, num_workers=2)
    with pytest.raises(WorkerError, match=how):
        list(loader)
    assert time.monotonic() - start < 10


def test_timeout():
    loader = DataLoader(Items(bad=0, action=lambda: time.sleep(30)), num_workers=1, timeout=0.3)
    with pytest.raises(WorkerError, match=r"within 0\.3 seconds"):
        list(loader)


def test_worker_init_fn_and_seeds():
    seen = []

    def init(worker):
        seen.append(worker)

    class Random(Items):
        def __getitem__(self, i):
            return len(seen), np.random.randint(2**31), tk.random.initial_seed() % 2**31

    def draw(seed):
        loader = DataLoader(
            Random(4), batch_size=2, num_workers=2, worker_init_fn=init, generator=seed
        )
        return [np.stack([t.numpy() for t in b]) for b in loader]

    a, b, c = draw(1), draw(1), draw(2)
    assert all((batch[0] == 1).all() for batch in a)
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert not np.array_equal(a[0], a[1])
    assert seen == []


def test_error_in_worker_init_fn():
    def init(worker):
        raise ValueError("no such device")

    with pytest.raises(ValueError, match="no such device"):
        list(DataLoader(Items(), num_workers=1, worker_init_fn=init))


def test_streams_are_shared():
    loader = DataLoader(Share(), batch_size=2, num_workers=3)
    found = sorted(v for b in loader for v in b.tolist())
    assert found == list(range(10))


def test_result_that_cannot_be_pickled():
    loader = DataLoader(
        Items(), batch_size=4, num_workers=1, collate_fn=lambda samples: lambda: samples
    )
    with pytest.raises(RuntimeError, match="pickle"):
        list(loader)


def test_spawned_workers():
    loader = DataLoader(
        TensorDataset(tk.arange(8).float()), 4, num_workers=1, multiprocessing_context="spawn"
    )
    assert [b[0].tolist() for b in loader] == [[0, 1, 2, 3], [4, 5, 6, 7]]
