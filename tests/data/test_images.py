"""Images of folders and lists, beside Pillow and numpy; augmentation repeats by seed and epoch."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from toolkit.data import DataLoader, load
from toolkit.errors import InvalidArgumentError

RNG = np.random.default_rng(0)


def picture(path, height=12, width=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path):
    for i in range(10):
        picture(tmp_path / "in" / ("cat" if i % 2 else "dog") / f"{i}.png")
    return tmp_path / "in"


def sample(dataset, name):
    """The sample of a file."""
    (index,) = [i for i, path in enumerate(dataset.paths) if path.name == name]
    return dataset[index]


def find(data, name):
    part = data.train if any(p.name == name for p in data.train.paths) else data.test
    return sample(part, name)


def test_class_folders(folder):
    data = load(f"images:{folder}")
    assert data.meta.classes == ("cat", "dog") and (len(data.train), len(data.test)) == (8, 2)
    assert data.meta.input_shape == (3, 12, 10)
    for i in range(10):
        x, y = find(data, f"{i}.png")
        path = folder / ("cat" if i % 2 else "dog") / f"{i}.png"
        want = np.asarray(Image.open(path), np.float32).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(x, want, rtol=1e-6)
        assert y == (i + 1) % 2 and y.dtype == np.int64
    x, y = next(iter(DataLoader(data.train, batch_size=8)))
    assert x.shape == (8, 3, 12, 10) and y.shape == (8,)
    assert sorted(data.labels) == sorted(y.tolist())


def test_numbers_channels_and_layout(folder):
    path = folder / "dog" / "4.png"
    rgb = np.asarray(Image.open(path), np.float64)
    x, _ = find(load(f"images:{folder}?mean=imagenet&std=imagenet"), "4.png")
    want = (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(x, want.transpose(2, 0, 1), rtol=1e-4, atol=1e-6)
    data = load(f"images:{folder}?channels=bgr&layout=nhwc&scale=1&mean=127.5&std=64")
    x, _ = find(data, "4.png")
    np.testing.assert_allclose(x, (rgb[:, :, ::-1] - 127.5) / 64, rtol=1e-6)
    np.testing.assert_allclose(data.meta.mean, 127.5)
    x, _ = find(load(f"images:{folder}?channels=gray&scale=1"), "4.png")
    np.testing.assert_array_equal(x[0], np.asarray(Image.open(path).convert("L")))


def test_sizes(folder):
    path = folder / "cat" / "3.png"
    image = Image.open(path)
    x, _ = find(load(f"images:{folder}?size=6x8&scale=1"), "3.png")
    want = np.asarray(image.resize((8, 6), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_array_equal(x, want.transpose(2, 0, 1))
    x, _ = find(load(f"images:{folder}?resize=20&crop=16&scale=1"), "3.png")
    want = np.asarray(image.resize((20, 24), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_array_equal(x, want[4:20, 2:18].transpose(2, 0, 1))


def test_folders_for_training_and_validation(tmp_path):
    for part, count in (("train", 4), ("val", 2)):
        for kind in ("a", "b"):
            for i in range(count):
                picture(tmp_path / part / kind / f"{i}.jpg")
    data = load(f"images:{tmp_path}?size=8")
    assert (len(data.train), len(data.test)) == (8, 4) and data.meta.classes == ("a", "b")
    picture(tmp_path / "val" / "c" / "0.jpg")
    with pytest.raises(InvalidArgumentError, match=r"val/c: folders of the classes a, b are req"):
        load(f"images:{tmp_path}?size=8")


def test_list_of_files(folder, tmp_path):
    lines = ["path,label", *(f"{'cat' if i % 2 else 'dog'}/{i}.png,k{i % 3}" for i in range(10))]
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(lines))
    data = load(f"images:{listed}?root={folder}&classes=k2,k1,k0")
    assert data.meta.classes == ("k2", "k1", "k0")
    assert all(find(data, f"{i}.png")[1] == 2 - i % 3 for i in range(10))
    listed.write_text("path,label\ncat/1.png,x\ncat/nix.png,x\n")
    with pytest.raises(InvalidArgumentError, match=r"list\.csv line 3: a file is required"):
        load(f"images:{listed}?root={folder}")
    listed.write_text("file,label\ncat/1.png,x\n")
    with pytest.raises(InvalidArgumentError, match="a column among file, label is required as"):
        load(f"images:{listed}?root={folder}")


def test_augmentation_is_of_seed_and_epoch(folder):
    spec = f"images:{folder}?crop=8&augment=crop,flip,vflip&scale=1"
    data, again, other = load(spec), load(spec), load(spec, seed=1)

    def epochs(loader, numbers):
        return [np.concatenate([x.numpy() for x, _ in loader.batches(n)]) for n in numbers]

    def loader(d, **options):
        return DataLoader(d.train, batch_size=3, **options)

    first, second = epochs(loader(data), [0, 1])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(epochs(loader(again), [1])[0], second)
    resumed = np.concatenate([x.numpy() for x, _ in loader(again).batches(1, 1)])
    np.testing.assert_array_equal(resumed, second[3:])
    with_workers = loader(again, num_workers=2, persistent_workers=True)
    for got, want in zip(epochs(with_workers, [0, 1]), [first, second], strict=True):
        np.testing.assert_array_equal(got, want)
    assert not np.array_equal(epochs(loader(other), [0])[0], first)
    for (x, _), path in zip([data.train[i] for i in range(8)], data.train.paths, strict=True):
        pixels = np.asarray(Image.open(path), np.float32).transpose(2, 0, 1)
        crops = (pixels[:, t : t + 8, left : left + 8] for t in range(5) for left in range(3))
        turned = (c[:, ::v, ::h] for c in crops for v in (1, -1) for h in (1, -1))
        assert any(np.array_equal(x, c) for c in turned)
    for i in range(2):  # What tests is cut in the middle and stays.
        pixels = np.asarray(Image.open(data.test.paths[i]), np.float32).transpose(2, 0, 1)
        np.testing.assert_array_equal(data.test[i][0], pixels[:, 2:10, 1:9])


def test_shift_fills_with_zeros(folder):
    data = load(f"images:{folder}?augment=shift&scale=1")
    x, _ = data.train[0]
    assert x.shape == (3, 12, 10)
    data.train.transform.spec.options["augment"] = ()
    plain, _ = data.train[0]
    padded = np.pad(plain, ((0, 0), (1, 1), (1, 1)))
    moved = [padded[:, t : t + 12, left : left + 10] for t in range(3) for left in range(3)]
    assert any(np.array_equal(x, m) for m in moved)


def test_cache(folder):
    data = load(f"images:{folder}?cache=yes")
    before = [data.train[i][0] for i in range(8)]
    for path in data.train.paths:
        path.unlink()
    for i, x in enumerate(before):
        np.testing.assert_array_equal(data.train[i][0], x)


def test_errors(folder, tmp_path, monkeypatch):
    picture(folder / "dog" / "big.png", 20, 20)
    with pytest.raises(InvalidArgumentError, match=r"images of one size .*Give size="):
        list(DataLoader(load(f"images:{folder}", val_split=0.1).train, batch_size=11))
    with pytest.raises(InvalidArgumentError, match=r"at least 32x32 is required by crop, got 12x1"):
        load(f"images:{folder}?crop=32")
    for path in (folder / "dog").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InvalidArgumentError, match=r"dog/\w+\.png: a readable image is required"):
        list(DataLoader(load(f"images:{folder}?size=4").train, batch_size=4))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgumentError, match="a folder with images for each class is req"):
        load(f"images:{tmp_path / 'empty'}")
    with pytest.raises(InvalidArgumentError, match="a folder or a list of files is required"):
        load(f"images:{tmp_path / 'none'}")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InvalidArgumentError, match=r"pillow is required. .*\[data\]"):
        load(f"images:{folder}")
