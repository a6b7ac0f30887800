"""numpy, DLPack and the array API's door: memory is shared both ways, and outlives its producer."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

import toolkit as tk
from toolkit.errors import DTypeError, InvalidArgumentError

DLPACK = ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
          "float16", "float32", "float64", "bfloat16"]  # fmt: skip


class Foreign:
    """An array of a library that numpy does not know, with what DLPack asked of it."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device, self.asked = array, device, []

    def __dlpack__(self, **options):
        self.asked.append(options)
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


@pytest.mark.parametrize("name", DLPACK)
def test_memory_is_shared_with_torch_both_ways(name):
    theirs = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, name))
    ours = tk.from_dlpack(theirs)
    assert ours.dtype.name == name and ours.data_ptr() == theirs.data_ptr()
    theirs[0, 0] = 1
    assert ours.tolist() == theirs.tolist()
    back = torch.from_dlpack(ours)
    ours[1, 1] = 1
    assert back.dtype == theirs.dtype and back[1, 1] == 1 and theirs[1, 1] == 1


@pytest.mark.parametrize("name", DLPACK[:-1])
def test_memory_is_shared_with_numpy_both_ways(name):
    array = np.array([0, 1, 1]).astype(name)
    for take in (tk.from_dlpack, tk.from_numpy, tk.as_tensor):
        array[:] = [0, 1, 1]
        ours = take(array)
        array[0] = 1
        assert ours.tolist() == array.tolist()
        for back in (ours.numpy(), np.from_dlpack(ours), np.asarray(ours)):
            ours[0] = 0
            assert np.shares_memory(back, array) and array[0] == 0
            back[0] = 1
            assert bool(ours[0] == 1)


@pytest.mark.parametrize("take", [
    lambda x: x[1:], lambda x: x[:, ::2], lambda x: x.t(), lambda x: x[1], lambda x: x.view(-1),
    lambda x: x.unsqueeze(0), lambda x: x.expand(2, 3, 4), lambda x: x.detach(),
])  # fmt: skip
@pytest.mark.parametrize("consumer", [torch.from_dlpack, np.from_dlpack, np.asarray])
def test_views_share_the_memory_of_their_base(take, consumer):
    base = tk.arange(12.0).reshape(3, 4)
    view = take(base)
    seen = consumer(view)
    base[1, 2] = 50.0
    assert seen.tolist() == take(base).tolist()
    assert tuple(seen.shape) == tuple(view.shape)


def test_the_producer_may_go_first():
    theirs = torch.arange(1000.0)
    alive = weakref.ref(theirs)
    ours = tk.from_dlpack(theirs)
    expected = theirs.tolist()
    del theirs
    gc.collect()
    torch.zeros(1000).fill_(-1)
    assert ours.tolist() == expected
    del ours
    gc.collect()
    assert alive() is None

    made = tk.arange(1000.0) * 2
    seen, array = torch.from_dlpack(made), made.numpy()
    expected = made.tolist()
    del made
    gc.collect()
    tk.zeros(1000)
    assert seen.tolist() == expected and array.tolist() == expected


def test_a_capsule_that_no_one_takes_frees_its_memory():
    array = np.arange(10.0)
    ours = tk.from_numpy(array)
    capsule = ours.__dlpack__(max_version=(1, 0))
    alive = weakref.ref(array)
    del array, ours
    gc.collect()
    assert alive() is not None
    del capsule
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("max_version", [None, (0, 8), (1, 0), (2, 0)])
def test_capsules_by_version(max_version):
    capsule = tk.arange(3).__dlpack__(max_version=max_version)
    versioned = max_version is not None and max_version[0] >= 1
    assert ("dltensor_versioned" in repr(capsule)) == versioned
    assert tk.from_dlpack(capsule).tolist() == [0, 1, 2]
    with pytest.raises((TypeError, DTypeError)):
        tk.from_dlpack(capsule)  # It was taken.


def test_copies_of_dlpack():
    x = tk.arange(4.0)
    copied = torch.utils.dlpack.from_dlpack(x.__dlpack__(copy=True))
    shared = torch.utils.dlpack.from_dlpack(x.__dlpack__(copy=False))
    x[0] = 9
    assert copied[0] == 0 and shared[0] == 9
    array = np.arange(3)
    ours = tk.from_dlpack(array, copy=True)
    array[0] = 7
    assert ours.tolist() == [0, 1, 2]
    assert tk.from_dlpack(array, copy=False).tolist() == [7, 1, 2]
    assert tk.from_dlpack(np.arange(6).reshape(2, 3).T).tolist() == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(InvalidArgumentError, match="row-major memory is required without a copy"):
        tk.from_dlpack(np.arange(6).reshape(2, 3).T, copy=False)


def test_what_dlpack_cannot_do_is_refused():
    x = tk.arange(3.0)
    assert x.__dlpack_device__() == (1, 0)
    x.__dlpack__(dl_device=(1, 0))
    with pytest.raises(BufferError, match=r"dl_device \(1, 0\) is required, got \(2, 0\)"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="stream None is required"):
        x.__dlpack__(stream=1)
    with pytest.raises(BufferError, match="require gradient"):
        x.requires_grad_().__dlpack__()
    with pytest.raises(BufferError, match="no element type float8_e4m3fn"):
        tk.zeros(2).to(tk.dtypes.float8_e4m3fn).__dlpack__()
    with pytest.raises(BufferError, match="bfloat16 is shared only where"):
        tk.zeros(4, 4).bfloat16()[:, ::2].__dlpack__()
    with pytest.raises(BufferError, match=r"memory of the CPU \(1, 0\) is required"):
        tk.from_dlpack(Foreign(np.arange(3), device=(2, 0)))
    with pytest.raises((InvalidArgumentError, TypeError, DTypeError)):
        tk.from_dlpack([1, 2])


def test_a_foreign_array_is_asked_by_the_protocol():
    source = Foreign(np.arange(3.0))
    assert tk.from_dlpack(source).tolist() == [0, 1, 2]
    assert "max_version" in source.asked[0]


def test_memory_that_may_only_be_read_is_not_written():
    array = np.arange(3.0)
    array.flags.writeable = False
    for take in (tk.from_numpy, tk.from_dlpack):
        ours = take(array)
        assert ours.data_ptr() == array.ctypes.data
        assert not ours.numpy().flags.writeable
        assert not np.from_dlpack(ours).flags.writeable
        assert not ours[1:].numpy().flags.writeable
        with pytest.raises(BufferError):
            ours.__dlpack__()  # Without a version there is no flag that says so.
        ours[1:] += 5
        assert ours.tolist() == [0, 6, 7] and array.tolist() == [0, 1, 2]
        assert ours.numpy().flags.writeable


def test_a_module_takes_its_own_copy_of_memory_that_may_only_be_read():
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    module = tk.nn.Module()
    module.register_buffer("seen", tk.from_numpy(array))
    module.seen.add_(1)
    assert module.seen.tolist() == [1, 1, 1] and array.tolist() == [0, 0, 0]


def test_array_protocol():
    x = tk.arange(3)
    assert np.shares_memory(np.asarray(x), x.numpy())
    assert np.asarray(x, dtype=np.float32).tolist() == [0, 1, 2]
    assert not np.shares_memory(np.array(x, copy=True), x.numpy())
    assert np.shares_memory(np.array(x, copy=False), x.numpy())
    with pytest.raises(ValueError, match="a copy is required from int64 to float32"):
        np.array(x, dtype=np.float32, copy=False)
    with pytest.raises(InvalidArgumentError, match="requires grad"):
        np.asarray(tk.ones(2, requires_grad=True))
    for absent in ("__array_interface__", "__cuda_array_interface__", "__array_struct__"):
        assert not hasattr(x, absent)


def test_arrays_of_other_layouts_and_byte_orders():
    big = np.arange(3, dtype=">i4")
    assert tk.from_numpy(big).tolist() == [0, 1, 2]
    assert tk.from_numpy(np.arange(6).reshape(2, 3)[:, ::-1]).tolist() == [[2, 1, 0], [5, 4, 3]]
    with pytest.raises(DTypeError, match="a numeric or bool type is required"):
        tk.from_numpy(np.array(["a"]))


def test_namespace():
    x = tk.arange(3)
    assert x.__array_namespace__() is x.__array_namespace__(api_version="2024.12") is tk.array_api
    with pytest.raises(
        InvalidArgumentError, match=r"a version among .* is required, got '2031.12'"
    ):
        x.__array_namespace__(api_version="2031.12")
    assert x.to_device("cpu") is x
    with pytest.raises(InvalidArgumentError, match="stream None is required"):
        x.to_device("cpu", stream=1)
    assert complex(tk.tensor(2.0)) == 2 + 0j
