"""Loaders with workers beside the one without: the same batches, each sample once, nothing left."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import toolkit as tk
from toolkit.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    WorkerError,
    get_worker_info,
    shared,
)
from toolkit.errors import ShapeError


class Rows(Dataset):
    """Sample i is (a row of i, i as text)."""

    def __init__(self, n, width=3):
        self.n, self.width = n, width

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return np.full(self.width, i, np.float32), str(i)


class Share(IterableDataset):
    """Each worker streams its share of range(n)."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        return iter(range(first, self.n, step))


class Several(Rows):
    """Fetches many samples at once."""

    def __getitems__(self, indices):
        return [self[i] for i in indices]


def batches(loader):
    return [(x.tolist(), list(names)) for x, names in loader]


SETTINGS = [
    {"batch_size": 1},
    {"batch_size": 4, "shuffle": True},
    {"batch_size": 4, "shuffle": True, "drop_last": True},
    {"batch_size": 4, "shuffle": True, "prefetch_factor": 5},
    {"batch_size": 100, "shuffle": True},
    {"batch_size": None, "shuffle": True},
    {"batch_sampler": True},
    {"batch_size": 3, "sampler": range(1, 12, 2)},
    {"batch_size": 3, "shuffle": True, "persistent_workers": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("kind", [Rows, Several])
def test_same_batches_in_order_for_any_worker_count(settings, workers, kind):
    data = kind(13)

    def loader(num_workers, **options):
        if "batch_sampler" in settings:
            sampler = RandomSampler(data, generator=3)
            options["batch_sampler"] = BatchSampler(sampler, 5, False)
        else:
            options = {**settings, **options}
        if num_workers == 0:
            options.pop("prefetch_factor", None), options.pop("persistent_workers", None)
        return DataLoader(data, num_workers=num_workers, generator=3, **options)

    alone, shared_out = loader(0), loader(workers)
    epochs = [batches(alone) for _ in range(2)]
    assert [batches(shared_out) for _ in range(2)] == epochs
    if "shuffle" in settings:
        assert epochs[0] != epochs[1]
    for epoch in epochs:
        names = [name for _, group in epoch for name in group]
        if settings.get("batch_size", 1) is None:  # A sample's text, which is no list.
            names = ["".join(group) for _, group in epoch]
        if not settings.get("drop_last") and "sampler" not in settings:
            assert sorted(map(int, names)) == list(range(13))


@pytest.mark.parametrize("samples", [0, 1, 2, 7, 24])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("in_order", [True, False])
def test_each_sample_once(samples, workers, in_order):
    loader = DataLoader(Rows(samples), 2, num_workers=workers, in_order=in_order)
    found = [int(name) for _, names in loader for name in names]
    assert sorted(found) == list(range(samples)) and (not in_order or found == sorted(found))
    loader = DataLoader(Share(samples), 2, num_workers=workers, in_order=in_order)
    assert sorted(i for batch in loader for i in batch.tolist()) == list(range(samples))


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver", "object"])
def test_start_methods(context):
    if context == "object":
        context = multiprocessing.get_context("spawn")
    loader = DataLoader(Rows(5), 2, num_workers=1, multiprocessing_context=context)
    assert [list(names) for _, names in loader] == [["0", "1"], ["2", "3"], ["4"]]


class Slow(Dataset):
    """Sample 0 takes long."""

    def __len__(self):
        return 6

    def __getitem__(self, i):
        time.sleep(1.0 if i == 0 else 0)
        return i


def test_a_slow_batch_holds_up_no_other_out_of_order():
    loader = DataLoader(Slow(), 1, num_workers=2, in_order=False)
    found = [b.item() for b in loader]
    assert found[:4] == [1, 3, 4, 5]  # 2 waits behind 0.


def test_persistent_workers_of_a_stream_and_after_giving_up():
    loader = DataLoader(Share(9), 2, num_workers=2, persistent_workers=True)
    for _ in range(3):
        next(iter(loader))
        assert sorted(i for b in loader for i in b.tolist()) == list(range(9))
    assert len(multiprocessing.active_children()) == 2
    other = DataLoader(
        Rows(9), 2, num_workers=1, persistent_workers=True
    )  # Forked while both live.
    assert len(list(other)) == 5
    before = time.monotonic()
    del loader, other
    assert time.monotonic() - before < 3 and not multiprocessing.active_children()


class Draws(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        import random

        return np.random.rand(), tk.rand(1).item(), random.random()


def test_seeds_differ_by_worker_and_epoch_and_are_those_of_the_generator():
    def draw(epochs=2, **options):
        loader = DataLoader(Draws(), 4, num_workers=2, **options)
        return [[np.stack([t.numpy() for t in b]) for b in loader] for _ in range(epochs)]

    a = draw(generator=5)
    assert np.array_equal(a, draw(generator=5))
    assert np.array_equal(a, draw(generator=5, persistent_workers=True))
    numbers = np.array(a).reshape(-1, 3, 4)
    assert len(np.unique(numbers)) == numbers.size
    tk.manual_seed(9)
    b = draw(1)
    tk.manual_seed(9)
    assert np.array_equal(b, draw(1)) and not np.array_equal(b[0], a[0])


# -- shared memory ------------------------------------------------------------------------------


WIDE = 50_000


def test_batches_that_are_kept_stay_as_they_are(monkeypatch):
    """Also beyond the number of slots that a program may hold, and where sizes grow."""
    monkeypatch.setattr(shared, "MOST_HELD", 3)
    kept = list(DataLoader(Rows(24, WIDE), 2, num_workers=2))
    for i, (x, _) in enumerate(kept):
        assert (x.numpy() == np.array([[2 * i], [2 * i + 1]])).all()
        x += 1  # Memory of its own that can be written to.
    sizes = [x.numpy()[0, 0] for x, _ in kept]
    assert sizes == [2 * i + 1 for i in range(12)]


class Growing(Rows):
    def __getitem__(self, i):
        return np.full(5000 * (i + 1), i, np.float32), str(i)


def test_results_that_grow():
    loader = DataLoader(Growing(20), 1, num_workers=1)
    for i, (x, _) in enumerate(loader):
        assert x.shape == (1, 5000 * (i + 1)) and (x.numpy() == i).all()


def test_memory_is_used_again():
    """A slot per worker and batch in flight, not one a batch."""
    loader = DataLoader(Rows(40, WIDE), 1, num_workers=1, persistent_workers=True)
    seen = {x.numpy().ctypes.data for x, _ in loader}
    assert len(seen) <= 8
    reader = loader._pool.readers[0]
    assert len(reader._slots) <= 8


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "complex64", "int64", "bool"])
def test_types_pass(dtype):
    t = getattr(tk, dtype)
    x = tk.ones(4, 20_000)
    x = x.to(t) if dtype != "complex64" else tk.from_numpy(x.numpy() * np.complex64(1j))
    got = next(iter(DataLoader(TensorDataset(x, tk.arange(4)), 4, num_workers=1)))
    assert got[0].dtype is t and np.array_equal(got[0].numpy(), x.numpy())


def test_other_members_pass():
    def collate(samples):
        return {
            "noncontiguous": np.arange(60_000.0).reshape(200, 300).T,
            "fortran": np.asfortranarray(np.ones((200, 300))),
            "big ending": np.arange(9000, dtype=">i4"),
            "complex": tk.from_numpy(np.ones(9000, np.complex64) * 1j),
            "parameter": tk.nn.Parameter(tk.ones(9000)),
            "empty": tk.zeros(0, 3),
            "scalar": tk.tensor(3),
            "text": "a" * 100_000,
            "objects": np.array([None, "x"], object),
        }

    (got,) = DataLoader([0], collate_fn=collate, num_workers=1)
    want = collate([0])
    for name, value in want.items():
        a, b = (v.detach().numpy() if isinstance(v, tk.Tensor) else v for v in (got[name], value))
        assert np.array_equal(a, b) and type(got[name]) is type(value), name
    assert got["parameter"].requires_grad


def test_no_descriptor_is_left_and_files_have_no_name():
    def open_files():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    fd = shared._nameless_file(4096)
    assert os.fstat(fd).st_nlink == 0 and os.fstat(fd).st_size == 4096
    os.close(fd)

    list(DataLoader(Rows(4, WIDE), 1, num_workers=2))
    before = open_files()
    kept = list(DataLoader(Rows(12, WIDE), 1, num_workers=2))
    next(iter(DataLoader(Rows(12, WIDE), 1, num_workers=2)))
    assert len(kept) == 12
    del kept
    assert open_files() == before


# -- the end of processes -----------------------------------------------------------------------


def died(pids, seconds=30.0):
    """Waits until all processes are gone (or are zombies of no one)."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


PROGRAM = """
import multiprocessing, sys, time
import numpy as np
from toolkit.data import DataLoader, Dataset

class Rows(Dataset):
    def __len__(self):
        return 10_000
    def __getitem__(self, i):
        if i >= SLOW:
            time.sleep(60)
        return np.zeros(50_000, np.float32)

loader = DataLoader(Rows(), 2, num_workers=3, persistent_workers=True)
other = DataLoader(Rows(), 2, num_workers=1, persistent_workers=True)
kept = [next(iter(other))]
for i, x in enumerate(loader):
    kept = [*kept[-3:], x]
    if i == 5:
        print(*(p.pid for p in multiprocessing.active_children()), flush=True)
"""


@pytest.mark.parametrize("slow", [10**9, 30])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_program_leaves_no_process(number, slow):
    """Ctrl-C goes to the whole group of processes, as from a terminal, the others to the parent."""
    source = textwrap.dedent(PROGRAM).replace("SLOW", str(slow))
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 4
    time.sleep(0.3)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and died(pids)
    if number == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1 and "Process" not in errors


class Fatal(Dataset):
    """Worker 0 hangs in its first sample, worker 1 dies in its second."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        if get_worker_info().id == 0:
            time.sleep(60)
        if i > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return i


def test_a_death_is_seen_while_another_worker_is_waited_for():
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker 1 .* was killed by signal 9"):
        list(DataLoader(Fatal(), 1, num_workers=2))
    assert time.monotonic() - start < 30


class Custom(Exception):
    def __init__(self, code, what):
        super().__init__(f"{code}: {what}")


def raising(error):
    class Bad(Rows):
        def __getitem__(self, i):
            raise error

    return Bad(3)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyError("lost"), KeyError),
        (ShapeError("small"), ShapeError),
        (FileNotFoundError(2, "none"), FileNotFoundError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), RuntimeError),
        (Custom(3, "odd"), RuntimeError),
    ],
    ids=lambda v: getattr(v, "__name__", None) or type(v).__name__,
)
def test_exceptions_keep_their_type_and_their_traceback(error, kind):
    with pytest.raises(kind) as caught:
        list(DataLoader(raising(error), 1, num_workers=1))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"Caught {type(error).__name__} in DataLoader worker process 0."
    assert "Original Traceback" in lines[1] and any("raise error" in line for line in lines)


def test_a_forked_program_has_workers_of_its_own():
    loader = DataLoader(Rows(6), 2, num_workers=1, persistent_workers=True)
    want = batches(loader)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if batches(loader) == want else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert batches(loader) == want
