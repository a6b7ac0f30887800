"""Views whose elements follow each other lie in their base's memory: no copies, no stale values."""

import gc
import threading

import numpy as np
import pytest
from against import compare, data, tk, torch

from toolkit.data import DataLoader, TensorDataset

PARTS = {
    "rows": lambda x: x[1:3],
    "row": lambda x: x[2],
    "last": lambda x: x[-1],
    "element": lambda x: x[1, 2, 0],
    "row of rows": lambda x: x[1:][0],
    "within a row": lambda x: x[2, 1:3],
    "narrow": lambda x: x.narrow(0, 1, 2),
    "chunk": lambda x: x.chunk(2)[1],
    "split": lambda x: x.split(3)[1],
    "unbind": lambda x: x.unbind()[3],
    "select": lambda x: x.select(0, 1),
    "view": lambda x: x.view(6, 4),
    "reshape": lambda x: x[1:].reshape(-1),
    "flatten": lambda x: x.flatten(1),
    "unsqueeze": lambda x: x[1].unsqueeze(1),
    "new axis": lambda x: x[None, 1:],
    "squeeze": lambda x: x[1:2].squeeze(0),
    "detach": lambda x: x.detach()[1:],
    "empty": lambda x: x[2:2],
    "all": lambda x: x[:],
    "chain": lambda x: x.view(-1)[2:20].view(3, 6)[1:].view(2, 2, 3)[1].view(-1)[1:4],
}
COPIES = {
    "columns": lambda x: x[:, 1:2],
    "column": lambda x: x.select(1, 2),
    "steps": lambda x: x[::2],
    "transpose": lambda x: x.transpose(0, 1),
    "of a transpose": lambda x: x.transpose(0, 1)[1],
    "expand": lambda x: x[:, :1].expand(4, 3, 2),
    "block": lambda x: x[1:3, 1:3],
}


def base(m, shared):
    array = data(4, 3, 2)
    return m.from_numpy(array) if shared else m.tensor(array)


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("name", PARTS)
def test_it_is_a_part_of_the_memory(name, shared):
    x = base(tk, shared)
    v = PARTS[name](x)
    assert v._value.memory == x._value.memory
    assert v._value.data_ptr == v.data_ptr()
    before = v._value
    v + 1
    assert v._value is before, "it was taken anew"


@pytest.mark.parametrize("name", COPIES)
def test_it_is_no_part(name):
    v = COPIES[name](base(tk, True))
    assert v._value.memory != v._root()._value.memory


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("name", sorted(PARTS | COPIES))
def test_writes_on_either_side(name, shared):
    take = (PARTS | COPIES)[name]

    def run(m):
        x = base(m, shared)
        v, w = take(x), take(x)
        seen = [v.clone(), w + 0]
        if name != "expand":
            v += 1
            v[...] = v * 2
        seen += [v.clone(), w.clone(), x.clone()]
        x.mul_(3)
        x[1] = 7
        seen += [v.clone(), w.clone(), v * w, x.clone()]
        x.numpy()[2] = -1
        seen += [v + 1, w.sum(), x.clone()]
        return seen

    compare(run)


@pytest.mark.parametrize("name", sorted(set(PARTS) - {"detach"}))
def test_gradients_pass(name):
    def run(m):
        leaf = m.tensor(data(4, 3, 2), requires_grad=True)
        x = leaf * 1
        v = PARTS[name](x)
        out = (v * 3).sum()
        if name not in ("chunk", "split", "unbind"):  # PyTorch refuses writes then.
            v *= 2
        (out + (x * x).sum() + (v**3).sum()).backward()
        return [leaf.grad, v.requires_grad]

    compare(run, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(set(PARTS) - {"detach"}))
def test_a_parameter_that_is_stepped(name):
    def run(m):
        p = m.nn.Parameter(m.tensor(data(4, 3, 2)))
        v = PARTS[name](p)
        optimizer = m.optim.SGD([p], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            # torch keeps the view's place on a graph that is freed: it is taken again there.
            (PARTS[name](p) ** 2).sum().backward()
            optimizer.step()
        return [v.detach(), p.grad]

    compare(run)


def test_a_tape_refuses_a_part_that_was_written_to():
    for m in (tk, torch):
        x = m.from_numpy(data(4, 3))
        w = m.ones(3, requires_grad=True)
        y = (x[1] * w).sum()
        x[1:] += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()
    # Another block of memory, and a record made after the write, are not touched.
    x, other, w = tk.from_numpy(data(4, 3)), tk.from_numpy(data(4, 3)), tk.ones(3)
    w.requires_grad_()
    x += 1
    y = (x[1] * w).sum()
    other += 1
    y.backward()
    np.testing.assert_allclose(w.grad.numpy(), x[1].numpy())


def test_a_write_takes_elements_and_no_memory():
    def run(m):
        a, b = m.zeros(3), m.ones(3)
        a.copy_(b)
        b.numpy()[0] = 5
        c, d = m.zeros(3, 1), m.ones(3)
        c[...] = d.view(3, 1)
        d.numpy()[1] = 6
        e, f = m.zeros(2, 3), m.ones(4, 3)
        e[1:].copy_(f[2:3])
        g = m.zeros(3)
        g.copy_(f[1])
        f.numpy()[:] = 8
        s = m.zeros(())
        s[...] = 5.0
        s.numpy()[...] = 4
        return [a, b, c, d, e, g, s, m.zeros(2) + 5.0]

    compare(run)


def test_the_root_may_go_first():
    array = data(1000, 10)
    rows = tk.from_numpy(array)[500:]
    row = rows[3]
    want = array[503].copy()
    del array, rows
    gc.collect()
    tk.full((1000, 10), 9.0)
    np.testing.assert_array_equal(row.numpy(), want)
    own = tk.tensor(data(1000, 10))[1:][2]
    gc.collect()
    tk.full((1000, 10), 9.0)
    np.testing.assert_array_equal(own.numpy(), data(1000, 10)[3])


def test_dlpack_and_numpy_of_a_part():
    x = tk.from_numpy(data(4, 3))
    v = x[1:3]
    theirs = torch.from_dlpack(v)
    theirs[0, 0] = 100
    v.numpy()[1, 1] = 200
    assert theirs.data_ptr() == v.data_ptr() == x.data_ptr() + 12
    assert x[1, 0].item() == v[0, 0].item() == 100 and v[1, 1].item() == 200
    part = tk.from_dlpack(torch.arange(6.0)[2:])
    assert part[1:][0].item() == 3


def test_a_deep_chain():
    x = tk.from_numpy(np.arange(600.0))
    v = x
    for _ in range(300):
        v = v[1:]
    assert v._value.memory == x._value.memory
    x.numpy()[300] = -1
    v[1] = 5
    assert v[0].item() == -1 and x[301].item() == 5 and len(v) == 300


def test_a_trace_and_an_export_read_views(tmp_path):
    images = tk.from_numpy(data(6, 4))
    rows = images[2:5]

    def f(x):
        return x @ rows[1] + rows.sum()

    x = tk.tensor(data(2, 4, seed=1))
    compiled = tk.compile(f, fullgraph=True)
    for _ in range(2):
        np.testing.assert_allclose(compiled(x).numpy(), f(x).numpy(), rtol=1e-6)
        images.numpy()[3] += 1
    rows[1] = 0
    np.testing.assert_allclose(compiled(x).numpy(), f(x).numpy(), rtol=1e-6)


def test_rows_of_many_types_and_threads():
    for dtype in (tk.float16, tk.bfloat16, tk.int8, tk.bool, tk.int64):
        x = tk.arange(12).reshape(4, 3).to(dtype)
        assert x[1:][1].tolist() == x.tolist()[2]
    x = tk.from_numpy(data(64, 8))
    sums = [0.0] * 4

    def work(k):
        for i in range(64):
            sums[k] += x[i:].sum().item() + x[i].sum().item()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(sums)) == 1


def test_a_loader_copies_no_more_than_its_items(monkeypatch):
    images = tk.from_numpy(data(2000, 4))
    part = images[:1500]
    loader = DataLoader(TensorDataset(part, tk.arange(1500)), batch_size=500)
    taken = []
    monkeypatch.setattr(type(part._view), "run", lambda *args: taken.append(args))
    batches = [x for x, _ in loader]
    assert not taken
    np.testing.assert_array_equal(
        np.concatenate([b.numpy() for b in batches]), data(2000, 4)[:1500]
    )
