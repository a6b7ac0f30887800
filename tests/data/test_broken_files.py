"""Files that lie about their size are refused before memory is taken; `ImageFolder`."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

import toolkit as tk
from toolkit.data import DataLoader, ImageFolder, load, transforms
from toolkit.data.formats import read_idx
from toolkit.errors import InvalidArgumentError


def idx(shape, code=8, body=b""):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + body


def npy(shape, dtype="<f4", body=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + body


def npz(member, compress=False):
    file = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", kind) as made:
        made.writestr("x.npy", member)
        made.writestr("y.npy", npy((4,), "<i8", np.arange(4).tobytes()))
    return file.getvalue()


def png(width, height):
    """A file whose header says so, and that holds no pixels."""
    import zlib

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")


HUGE = (2**31, 2**31)
BROKEN = {
    "idx": ("a", idx(HUGE), read_idx, "4611686018427387916 bytes are required"),
    "idx of doubles": ("a", idx((2**31,), 14), read_idx, "got 8"),
    "idx longer": ("a", idx((2,), 8, bytes(3)), read_idx, "10 bytes .* got 11"),
    "zipped idx": ("a", gzip.compress(idx((2**32 - 1,))), read_idx, "compressed"),
    "zipped idx, shorter": ("a", gzip.compress(idx((40,), 8, bytes(9))), read_idx,
                            "48 bytes are required for shape .40,., got 17"),
    "zipped idx, longer": ("a", gzip.compress(idx((4,), 8, bytes(9))), read_idx,
                           "got 13"),
    "npy": ("a.npy", npy(HUGE), lambda p: load(f"npy:{p}?target=a.npy"), "shape .* got 0"),
    "npy magic": ("a.npy", b"\x93NUMPX", lambda p: load(f"npy:{p}?target=a.npy"), "an npy file"),
    "npy of objects": ("a.npy", npy((1,), "|O", b"abc"), lambda p: load(f"npy:{p}?target=a.npy"),
                       "an npy file is required"),
    "npz": ("a.npz", npz(npy(HUGE)), lambda p: load(f"npz:{p}"), "'x.npy' of shape .* got 0"),
    "zipped npz": ("a.npz", npz(npy(HUGE, "<f4", bytes(999)), True), lambda p: load(f"npz:{p}"),
                   "needs .* got 999"),
    "npz, shorter": ("a.npz", npz(npy((3,), "<f4", bytes(11))), lambda p: load(f"npz:{p}"),
                     "needs 12 bytes, got 11"),
    "npz, cut": ("a.npz", npz(npy((3,), "<f4", bytes(12)))[:-30], lambda p: load(f"npz:{p}"),
                 "npz"),
    "image": ("c/a.png", png(60_000, 60_000), lambda p: load(f"images:{p.parent.parent}"),
              "a readable image is required: .*exceeds limit"),
    "image without pixels": ("c/a.png", png(40, 40), lambda p: load(f"images:{p.parent.parent}"),
                             "a readable image is required"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_refused_without_memory(tmp_path, name):
    file, data, read, match = BROKEN[name]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    if file.startswith("c/"):
        for i in range(4):
            path.with_name(f"{i}.png").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgumentError, match=match) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and "a" in str(caught.value)


def test_plain_arrays_are_mapped(tmp_path):
    """Of 64 MB, nothing is read before it is asked for."""
    (tmp_path / "a").write_bytes(idx((64, 1024, 1024)))
    with open(tmp_path / "a", "r+b") as file:
        file.truncate(len(idx((1, 1, 1))) + (64 << 20))
    tracemalloc.start()
    try:
        array = read_idx(tmp_path / "a")
        assert array.shape == (64, 1024, 1024) and array[63, 1023, 1023] == 0
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert read_idx_of(tmp_path, np.zeros((0, 3), np.uint8)).shape == (0, 3)


def read_idx_of(folder, array):
    (folder / "b").write_bytes(idx(array.shape))
    return read_idx(folder / "b")


def test_image_folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(9):
        path = tmp_path / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).save(path)
    data = ImageFolder(tmp_path)
    assert data.classes == ["a", "b", "c"] and data.class_to_idx["b"] == 1
    assert data.targets == [0] * 3 + [1] * 3 + [2] * 3 and len(data) == len(data.imgs) == 9
    image, _ = data[4]
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(data.samples[4][0])))
    change = transforms.Compose([transforms.Resize(6), transforms.ToTensor()])
    changed = ImageFolder(tmp_path, change, target_transform=(10).__add__)
    for workers, start in ((0, None), (2, "fork"), (1, "spawn")):
        loader = DataLoader(changed, 9, num_workers=workers, multiprocessing_context=start)
        x, y = next(iter(loader))
        assert x.shape == (9, 3, 6, 6) and x.dtype is tk.float32 and y.tolist() == [
            10, 10, 10, 11, 11, 11, 12, 12, 12]  # fmt: skip
    data.samples[0][0].write_bytes(b"nothing")
    with pytest.raises(InvalidArgumentError, match=r"a/0\.png': cannot identify"):
        data[0]
    (tmp_path / "d").mkdir()
    with pytest.raises(InvalidArgumentError, match=r"of each class, got none in '.*/d'"):
        ImageFolder(tmp_path)
    with pytest.raises(InvalidArgumentError, match="a folder for each class"):
        ImageFolder(tmp_path / "d")
    with pytest.raises(InvalidArgumentError, match="a folder is required"):
        ImageFolder(tmp_path / "e")
