"""Named arrays in files: each format gives back what it took, and is what others write."""

from __future__ import annotations

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from toolkit import errors
from toolkit.convert.states import Spec, read_arrays, write_arrays

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "step": np.array(3, np.int64),
    "rng_state": np.array([2**64 - 1, 5], np.uint64),
    "none": np.zeros((0, 2), np.float16),
    "mask": np.array([True, False]),
}
SPECS = [Spec(name, a.dtype, a.shape) for name, a in ARRAYS.items()]


def safe(entry: dict, data: bytes = b"") -> bytes:
    """A safetensors file of one tensor."""
    text = json.dumps({"a": entry}).encode()
    return struct.pack("<Q", len(text)) + text + data


def assert_same(got, want) -> None:
    assert list(got) == list(want)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("ending", ["npz", "safetensors", "json", "bin"])
def test_round_trip(tmp_path, ending):
    write_arrays(tmp_path / f"s.{ending}", ARRAYS)
    assert_same(read_arrays(tmp_path / f"s.{ending}", SPECS), ARRAYS)


def test_bfloat16_in_safetensors(tmp_path):
    arrays = {"w": np.array([1.5, -2], ml_dtypes.bfloat16)}
    write_arrays(tmp_path / "s.safetensors", arrays)
    assert_same(read_arrays(tmp_path / "s.safetensors"), arrays)


def test_safetensors_written_by_others(tmp_path):
    """By the format's page: header, metadata, padding, tensors in any order."""
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
        "a": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
    }
    text = json.dumps(header).encode() + b"   "
    data = struct.pack("<qff", -4, 0.5, 2.0)
    (tmp_path / "s.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    got = read_arrays(tmp_path / "s.safetensors")
    assert got["a"] == -4 and got["a"].shape == ()
    np.testing.assert_array_equal(got["b"], np.array([0.5, 2], np.float32))


def test_json_of_a_browser(tmp_path):
    """Plain lists of known arrays, 64-bit integers as text."""
    plain = {"a.weight": [0, 1, 2, 3, 4, 5.5], "rng_state": [str(2**64 - 1), "7"]}
    (tmp_path / "s.json").write_text(json.dumps(plain))
    got = read_arrays(tmp_path / "s.json", SPECS)
    np.testing.assert_array_equal(got["a.weight"], np.array([[0, 1, 2], [3, 4, 5.5]], np.float32))
    np.testing.assert_array_equal(got["rng_state"], np.array([2**64 - 1, 7], np.uint64))


@pytest.mark.parametrize(
    ("name", "text", "specs", "match"),
    [
        ("s.pkl", b"", None, "a name that ends in .npz, .safetensors, .json, .bin is required"),
        ("s.npz", b"PK", None, "a whole .npz file is required"),
        ("s.safetensors", b"\x05", None, "a whole .safetensors file is required"),
        ("s.safetensors", safe({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, b"1234"),
         None, "2 elements are required for 'a', got 1"),
        ("s.safetensors", safe({"dtype": "F1", "shape": [2], "data_offsets": [0, 8]}),
         None, "a known type is required, got F1"),
        ("s.json", b"{", None, "a whole .json file is required"),
        ("s.json", b'{"w": [1]}', None, "a table that gives 'w' a shape is required"),
        ("s.bin", b"1234", None, "a table of what a .bin file holds is required"),
        ("s.bin", b"1234", SPECS[:1], "24 bytes are required, got 4"),
    ],
)  # fmt: skip
def test_broken_files_are_refused(tmp_path, name, text, specs, match):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(errors.InvalidArgumentError, match=match):
        read_arrays(tmp_path / name, specs)


def test_types_that_a_format_lacks_are_refused(tmp_path):
    with pytest.raises(errors.InvalidArgumentError, match="a type of safetensors is required"):
        write_arrays(tmp_path / "s.safetensors", {"a": np.array([1j])})
    assert not (tmp_path / "s.safetensors").exists()
