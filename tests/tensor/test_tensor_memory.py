"""Zero-copy exchange with numpy and DLPack, both ways; copies where they are promised."""

import numpy as np
import pytest
from against import compare, data, tk, torch


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int32", "int64", "bool", "uint8", "float16"]
)
def test_numpy_shares_memory(dtype):
    array = (data(3, 4) * 3).astype(dtype)
    t = tk.from_numpy(array)
    assert t.data_ptr() == address(array) == address(t.numpy())
    assert t.dtype.name == dtype and t.numpy().dtype == array.dtype
    array[0, 0] = 1
    assert t[0, 0].item() == 1
    assert np.asarray(t) is not None and np.shares_memory(np.asarray(t), array)


def test_writes_reach_numpy_and_back():
    def run(m):
        array = np.zeros(4, np.float32)
        t = m.from_numpy(array)
        view = t[1:]
        t += 1
        view[0] = 7
        array[3] = 9
        out = t.numpy()
        t.mul_(2)
        return [t, view, array, out]

    compare(run)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_dlpack_both_ways(dtype):
    ours = tk.tensor((data(3, 4) * 3).astype(dtype))
    theirs = torch.from_dlpack(ours)
    assert theirs.data_ptr() == ours.data_ptr()
    np.testing.assert_array_equal(theirs.numpy(), ours.numpy())
    source = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    back = tk.from_dlpack(source)
    assert back.data_ptr() == source.data_ptr() and back.dtype.name == dtype
    np.testing.assert_array_equal(back.numpy(), source.numpy())
    assert np.from_dlpack(ours).shape == (3, 4)
    with pytest.raises(BufferError, match="require gradient"):
        torch.from_dlpack(tk.ones(2, requires_grad=True))


def test_dlpack_outlives_its_owner():
    theirs = torch.from_dlpack(tk.full((1000,), 3.0))
    tk.full((1000,), 4.0)
    assert theirs.sum().item() == 3000


def test_tensor_copies_and_as_tensor_shares():
    array = data(3)
    assert tk.tensor(array).data_ptr() != address(array)
    assert tk.as_tensor(array).data_ptr() == address(array)
    t = tk.ones(3)
    assert tk.as_tensor(t) is t
    assert t.clone().data_ptr() != t.data_ptr()
    assert t.reshape(3, 1).clone().data_ptr() != t.data_ptr()
    assert t.float() is t and t.to(tk.float32) is t and t.cpu() is t


def test_not_contiguous_arrays_are_copied():
    array = data(3, 4).T
    t = tk.from_numpy(array)
    np.testing.assert_array_equal(t.numpy(), array)


def test_read_only_array():
    array = data(3)
    array.flags.writeable = False
    np.testing.assert_array_equal(tk.tensor(array).numpy(), array)
    np.testing.assert_array_equal(tk.from_numpy(array).numpy(), array)


def test_bfloat16():
    t = tk.tensor([1.5, -2.0]).bfloat16()
    assert t.dtype is tk.bfloat16 and t.tolist() == [1.5, -2.0]
    assert t.numpy().dtype == tk.bfloat16.numpy
    assert repr(t) == "tensor([ 1.5000, -2.0000], dtype=toolkit.bfloat16)"


@pytest.mark.parametrize(
    "value, message",
    [("abc", "numbers are required"), ([[1, 2], [3]], "equal length"), ([object()], "numbers")],
)
def test_bad_data(value, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tk.tensor(value)


def test_scalars():
    for m in (tk, torch):
        with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
            m.ones(2).item()
        with pytest.raises(RuntimeError, match="Boolean value of Tensor with more than one value"):
            bool(m.ones(2))
    assert [10, 20, 30][tk.tensor(1)] == 20
    assert list(range(tk.tensor(3))) == [0, 1, 2]
    with pytest.raises(TypeError):
        [1, 2][tk.tensor(1.0)]


def test_pickle():
    import pickle

    t = tk.tensor(data(2, 3), requires_grad=True)
    back = pickle.loads(pickle.dumps(t))
    assert back.requires_grad and back.equal(t)


@pytest.mark.parametrize(
    "view",
    ["x[1]", "x[:, 1:3]", "x.t()", "x[::2, 1]", "x.view(-1)", "x[None]", "x.detach()",
     "x[:, :1].expand(3, 4)",
     "x.t()[1:]", "x.data", "x.unsqueeze(0).squeeze(0)", "x.flatten()[2:5]"],
)  # fmt: skip
def test_numpy_of_a_view_shares_the_base(view):
    def run(m):
        x = m.tensor(data(3, 4))
        v = eval(view, {"x": x})
        array = v.numpy()
        x.add_(1)
        seen = array.copy()
        if array.flags.writeable and "expand" not in view:
            array[...] = 5
        other = np.from_dlpack(v)
        assert np.shares_memory(other, array)
        return [x, v, seen, array.strides, array.shape]

    compare(run)


def test_narrow_types_compute_in_wider_ones():
    def run(m):
        h = m.tensor(data(3, 4)).half()
        b = m.tensor(data(3, 4)).bfloat16()
        u = m.tensor([[1, 250], [3, 4]], dtype=m.uint8)
        return [
            (h @ h.t()).float(), h.softmax(1).float(), (b @ b.t()).float(), -u, u @ u, u + u,
            u.sum(),
            h.argmax(1), h.sort(1)[0].float(), (h * 2 + 1).float(), u.relu(), u.float().mean(),
        ]  # fmt: skip

    compare(run, rtol=1e-2, atol=1e-2)


def test_half_precision_gradients():
    def run(m):
        w = m.tensor(data(4, 4)).half().requires_grad_()
        ((w @ w).softmax(1).float() ** 2).sum().backward()
        return w.grad.float()

    compare(run, rtol=2e-2, atol=2e-2)
