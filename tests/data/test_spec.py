"""The specification of data: its grammar, and that every kind of mistake names what would do."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.data import DataLoader, load
from toolkit.data.spec import ranges, size, split_spec
from toolkit.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("digits", ("digits", "", {})),
        ("digits?only=0-4", ("digits", "", {"only": "0-4"})),
        ("csv:a.csv", ("csv", "a.csv", {})),
        ("csv:C:/a b.csv?sep=;&target=x%26y%3D%25", ("csv", "C:/a b.csv",
                                                      {"sep": ";", "target": "x&y=%"})),
        ("csv:why?.csv?sep=;", ("csv", "why?.csv", {"sep": ";"})),
        ("csv:a%20b.csv?", ("csv", "a%20b.csv", {})),
    ],
)  # fmt: skip
def test_grammar(text, want):
    assert split_spec(text) == want


def test_values():
    assert size("224") == (224, 224) and size("48x320") == (48, 320)
    assert ranges("0-2,7,4-5") == (0, 1, 2, 7, 4, 5)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("csv:a.csv?sep", r"option=value, each once, is required behind '\?', got 'sep'"),
        ("csv:a.csv?sep=;&sep=,", "each once"),
        ("csv:a.csv?colour=red", "one of the options categorical, .* is required, got 'colour'"),
        ("csv:a.csv?header=maybe", "one of auto, yes, no is required as header, got 'maybe'"),
        ("csv:a.csv?missing=x", "a number is required as missing"),
        ("images:d?size=big", r"a size like 224 or 224x320 \(height x width\) is required as size"),
        ("images:d?mean=a,b", "a number or a list like"),
        ("images:d?augment=flip,spin", "a list of flip, vflip, crop, shift is required as augm"),
        ("images:d?mean=0.1,0.2", r"3 numbers \(or 1\) are required as mean"),
        ("idx:d?only=4-", "a list of whole numbers like 0-4,7 is required as only"),
        ("text:a.txt?block=0", "a whole number of 1 or more is required as block"),
        ("npy:a.npy", "target=FILE.npy"),
        ("digits?size=3", "one of the options dtype, norm, only, shape is required, got 'size'"),
        ("digits?shape=8x9", r"a shape of 64 numbers is required, got \(8, 9\)"),
        ("digits?shape=8-8", "a shape like 784 or 1x28x28 is required as shape"),
        ("topics?block=x", "a whole number of 1 or more"),
        ("digits?only=11", "classes below 10 are required as only, got 11"),
        ("digits?dtype=int64&norm=all", "float inputs are required by norm=all"),
    ],
)
def test_mistakes(spec, match):
    with pytest.raises(InvalidArgumentError, match=match) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


def test_only_some_classes():
    whole, part = load("digits"), load("digits?only=5-7,2")
    assert part.meta.classes == ("5", "6", "7", "2")
    count = len(part.train) + len(part.test)
    labels = np.concatenate([d.train.tensors[1].numpy() for d in (whole,)] +
                            [whole.test.tensors[1].numpy()])  # fmt: skip
    assert count == np.isin(labels, (5, 6, 7, 2)).sum()
    assert set(part.labels) == {0, 1, 2, 3}


def test_shape():
    assert load("digits?shape=64").meta.input_shape == (64,)


def test_shares_and_other_files(tmp_path):
    x, y = np.arange(80.0).reshape(40, 2), np.arange(40) % 4
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez(tmp_path / "b.npz", x=x[:6] + 100, y=y[:6])
    np.savez(tmp_path / "c.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    data = load(f"npz:{tmp_path}/a.npz", val_split=0.25)
    assert (len(data.train), len(data.test)) == (30, 10)
    data = load(f"npz:{tmp_path}/a.npz", val=f"npz:{tmp_path}/b.npz")
    assert (len(data.train), len(data.test)) == (40, 6)
    got = data.test.tensors[0].numpy() * x.std() + x.mean()
    np.testing.assert_allclose(got, x[:6] + 100, rtol=1e-5)
    data = load(f"npz:{tmp_path}/a.npz", val=f"npz:{tmp_path}/c.npz")
    assert (len(data.train), len(data.test)) == (40, 3)
    data = load(f"npz:{tmp_path}/c.npz", val_split=0.1)
    assert (len(data.train), len(data.test)) == (36, 4)
    with pytest.raises(InvalidArgumentError, match="val or val_split is required, got both"):
        load(f"npz:{tmp_path}/a.npz", val="digits", val_split=0.5)
    with pytest.raises(InvalidArgumentError, match="data of the kind 'npz' are required"):
        load(f"npz:{tmp_path}/a.npz", val="digits")


def test_several_inputs(tmp_path):
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(0, 9, (20, 4)), np.ones((20, 4), np.bool_)
    np.savez(tmp_path / "a.npz", ids=ids, mask=mask, label=np.arange(20) % 2)
    data = load(f"npz:{tmp_path}/a.npz?inputs=ids,mask&target=label&dtype=keep")
    assert data.meta.input_names == ("ids", "mask")
    assert data.meta.input_shapes == ((4,), (4,)) and data.meta.input_dtypes == ("int64", "bool")
    got = next(iter(DataLoader(data.train, batch_size=3)))
    assert [t.dtype.name for t in got] == ["int64", "bool", "int64"]
    with pytest.raises(InvalidArgumentError, match=r"arrays ids_train, nix_train, .* got ids"):
        load(f"npz:{tmp_path}/a.npz?inputs=ids,nix&target=label")


def test_npy_files(tmp_path):
    x, y = np.random.default_rng(0).random((30, 3)), np.arange(30) % 3
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    data = load(f"npy:{tmp_path}/x.npy?target=y.npy&norm=none&dtype=float64")
    assert data.meta.num_classes == 3 and data.meta.input_dtype == "float64"
    rows = np.concatenate([data.train.tensors[0].numpy(), data.test.tensors[0].numpy()])
    np.testing.assert_array_equal(np.sort(rows[:, 0]), np.sort(x[:, 0]))
    np.save(tmp_path / "short.npy", y[:-1])
    with pytest.raises(InvalidArgumentError, match="one target for each sample"):
        load(f"npy:{tmp_path}/x.npy?target=short.npy")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    with pytest.raises(InvalidArgumentError, match=r"bad\.npy: an npy file is required"):
        load(f"npy:{tmp_path}/bad.npy?target=y.npy")
    np.save(tmp_path / "z.npy", x[:, 0])
    assert load(f"npy:{tmp_path}/x.npy?target=z.npy").meta.task == "regression"
