"""Readers: what they give, and one-line errors for files that are not what they should be."""

import gzip
import struct

import numpy as np
import pytest

from toolkit.data import DataLoader, load
from toolkit.data.formats import read_idx
from toolkit.errors import InvalidArgumentError, OutOfBoundsError


def idx_bytes(array):
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    head = struct.pack(">BBBB", 0, 0, codes[array.dtype.str[1:]], array.ndim)
    head += struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(folder, n=(20, 10), suffix="", shape=(6, 5)):
    rng = np.random.default_rng(0)
    for part, count in zip(("train", "t10k"), n, strict=True):
        images = rng.integers(0, 256, (count, *shape), np.uint8)
        labels = rng.integers(0, 3, count).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images),
                            (f"{part}-labels-idx1-ubyte", labels)):  # fmt: skip
            data = idx_bytes(array)
            (folder / (name + suffix)).write_bytes(gzip.compress(data) if suffix else data)


def test_digits():
    train, test, meta = load("digits")
    assert (len(train), len(test)) == (1438, 359)
    assert meta.input_shape == (1, 8, 8) and meta.num_classes == 10
    assert meta.task == "classification" and meta.input_dtype == "float32"
    x, y = next(iter(DataLoader(train, batch_size=1438)))
    assert x.shape == (1438, 1, 8, 8) and y.dtype.name == "int64"
    assert abs(x.mean().item()) < 1e-5 and abs(x.std().item() - 1) < 1e-3
    same = load("digits").test.tensors[1].numpy()
    assert np.array_equal(same, test.tensors[1].numpy())
    assert not np.array_equal(same, load("digits", seed=1).test.tensors[1].numpy())


def test_mnist5k():
    train, test, meta = load("mnist5k")
    assert (len(train), len(test), meta.input_shape) == (4000, 1000, (1, 28, 28))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_folder(tmp_path, suffix):
    write_idx(tmp_path, suffix=suffix)
    train, test, meta = load(f"idx:{tmp_path}")
    assert (len(train), len(test), meta.input_shape) == (20, 10, (1, 6, 5))
    assert meta.classes == ("0", "1", "2")


def test_fashion_mnist_has_names(tmp_path):
    write_idx(tmp_path)
    assert load(f"fashion-mnist:{tmp_path}").meta.classes[0] == "T-shirt/top"


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_types(tmp_path, dtype):
    array = np.arange(-6, 6).reshape(2, 3, 2).astype(dtype)
    (tmp_path / "a").write_bytes(idx_bytes(array))
    assert np.array_equal(read_idx(tmp_path / "a"), array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "IDX file is required"),
        (b"PNG whatever", "IDX file is required"),
        (b"\0\0\x08\x03\0\0", "bytes of header"),
        (idx_bytes(np.zeros((2, 3), np.uint8))[:-1], "14 bytes|18 bytes"),
        (gzip.compress(b"x" * 500, mtime=0)[:-4], "gzip"),
        (b"\x1f\x8b\x08garbage", "gzip"),
    ],
)
def test_broken_idx(tmp_path, data, message):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InvalidArgumentError, match=message):
        read_idx(tmp_path / "a")


def test_idx_folder_with_a_missing_file(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InvalidArgumentError, match="t10k-labels-idx1-ubyte"):
        load(f"idx:{tmp_path}")


def test_idx_with_fewer_labels(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(InvalidArgumentError, match="one target for each sample"):
        load(f"idx:{tmp_path}")


def test_npz(tmp_path):
    x, y = np.random.default_rng(0).random((25, 4)), np.arange(25) % 3
    np.savez(tmp_path / "a.npz", x=x, y=y)
    train, test, meta = load(f"npz:{tmp_path / 'a.npz'}")
    assert (len(train), len(test), meta.num_classes) == (20, 5, 3)
    np.savez(tmp_path / "b.npz", x_train=x, y_train=x[:, :2], x_test=x, y_test=x[:, :2])
    train, test, meta = load(f"npz:{tmp_path / 'b.npz'}")
    assert meta.task == "regression" and len(test) == 25
    assert train[0][1].shape == (2,) and meta.target_dtype == "float32"
    np.savez(tmp_path / "c.npz", x=x)
    with pytest.raises(InvalidArgumentError, match=r"x_train.*got x"):
        load(f"npz:{tmp_path / 'c.npz'}")
    (tmp_path / "d.npz").write_bytes(b"not a zip")
    with pytest.raises(InvalidArgumentError, match="npz file is required"):
        load(f"npz:{tmp_path / 'd.npz'}")
    np.savez(tmp_path / "e.npz", x=np.array([object()]), y=y)
    with pytest.raises(InvalidArgumentError, match="npz file is required"):
        load(f"npz:{tmp_path / 'e.npz'}")


def test_csv(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{i},{i * i},{'cat' if i % 2 else 'dog'}" for i in range(10)]
    path.write_text("a,b,kind\n" + "\n".join(rows) + "\n")
    train, test, meta = load(f"csv:{path}")
    assert meta.classes == ("cat", "dog") and (len(train), len(test)) == (8, 2)
    assert meta.input_shape == (2,)
    path.write_text("\n".join(f"{i},{i},{i / 2}" for i in range(10)))
    assert load(f"csv:{path}").meta.task == "regression"
    path.write_text("\n".join(f"{i},{10 + i % 2}" for i in range(10)))
    assert load(f"csv:{path}").meta.classes == ("10", "11")
    path.write_text("1,2,3\n" * 6 + "1,2\n")
    with pytest.raises(InvalidArgumentError, match="line 7: 3 columns"):
        load(f"csv:{path}")
    path.write_text("1,2,3\n" * 6 + "1,x,2\n")
    with pytest.raises(InvalidArgumentError, match="line 7: numbers"):
        load(f"csv:{path}")
    path.write_text("")
    with pytest.raises(InvalidArgumentError, match="at least 5 rows"):
        load(f"csv:{path}")


def test_text_windows(tmp_path):
    path = tmp_path / "a.txt"
    text = "abcdefghij" * 30
    path.write_text(text)
    train, test, meta = load(f"text:{path}", block_size=16)
    assert meta.task == "language" and "".join(meta.classes) == "abcdefghij"
    assert (len(train.ids), len(test.ids)) == (270, 30)
    x, y = train[1]
    assert x.shape == (16,) and x.tolist()[1:] == y.tolist()[:-1]
    assert "".join(meta.classes[i] for i in x.tolist()) == text[16:32]
    last = train[len(train) - 1][1]
    assert "".join(meta.classes[i] for i in last.tolist()) == text[270 - 16 : 270]
    xs, ys = next(iter(DataLoader(train, batch_size=4)))
    assert xs.shape == ys.shape == (4, 16)
    with pytest.raises(OutOfBoundsError, match="index"):
        train[len(train)]
    with pytest.raises(InvalidArgumentError, match="smaller block_size"):
        load(f"text:{path}", block_size=64)
    path.write_bytes(b"\xff\xfe\xfa" * 300)
    with pytest.raises(InvalidArgumentError, match="UTF-8"):
        load(f"text:{path}")


def test_topics():
    train, _, meta = load("topics")
    assert len(train) > 1000 and 60 < meta.num_classes < 200


@pytest.mark.parametrize(
    "spec", ["", "digit", "digits:x", "idx", "npz:", "csv:/no/such/file", "idx:/no/such/folder"]
)
def test_unknown_and_missing(spec):
    with pytest.raises(InvalidArgumentError, match="required") as caught:
        load(spec)
    assert "\n" not in str(caught.value)
