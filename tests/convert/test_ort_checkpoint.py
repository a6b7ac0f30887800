"""Checkpoints of onnxruntime-training: those that it wrote, and damaged ones."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.convert.networks import STEPS
from toolkit import errors
from toolkit.convert.flatbuffers import Numbers, Scalar, root, write
from toolkit.convert.ort_checkpoint import (
    Checkpoint,
    OptimizerGroup,
    read_checkpoint,
    write_checkpoint,
)

RECORDED = zipfile.ZipFile(Path(__file__).parent / "data" / "ort_artifacts.zip")


def extract(name: str, folder: Path) -> Path:
    (folder / "checkpoint").write_bytes(RECORDED.read(name))
    return folder / "checkpoint"


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    for mine, theirs in ((a.parameters, b.parameters), (a.frozen, b.frozen)):
        assert mine.keys() == theirs.keys()
        for name, array in mine.items():
            np.testing.assert_array_equal(array, theirs[name])
            assert array.dtype == theirs[name].dtype
    assert len(a.groups) == len(b.groups)
    for one, other in zip(a.groups, b.groups, strict=True):
        assert (one.name, one.step, one.learning_rate) == (
            other.name,
            other.step,
            other.learning_rate,
        )
        assert one.states.keys() == other.states.keys()
        for name, held in one.states.items():
            assert held.keys() == other.states[name].keys()
            for key, array in held.items():
                np.testing.assert_array_equal(array, other.states[name][key])
    assert a.properties == b.properties


def test_first_checkpoint(tmp_path):
    found = read_checkpoint(extract("conv_sgd/checkpoint", tmp_path))
    assert found.parameters["c1.weight"].shape == (4, 1, 3, 3)
    assert found.frozen.keys() == {"norm.running_mean", "norm.running_var"}
    assert (found.frozen["norm.running_var"] > 0.9).all()
    assert not found.groups and not found.properties


def test_later_checkpoint(tmp_path):
    found = read_checkpoint(extract("mlp_adamw/checkpoint20", tmp_path))
    (group,) = found.groups
    assert group.step == STEPS and group.name == "group0"
    assert group.learning_rate == pytest.approx(1e-3)
    assert (
        group.states.keys()
        == found.parameters.keys()
        == {"a.weight", "a.bias", "b.weight", "b.bias"}
    )
    for name, held in group.states.items():
        assert held.keys() == {"momentum0", "momentum1"}
        assert held["momentum1"].shape == found.parameters[name].shape
        assert (held["momentum1"] >= 0).all() and held["momentum1"].any()


@pytest.mark.parametrize("name", [n for n in RECORDED.namelist() if "/checkpoint" in n])
def test_round_trip(name, tmp_path):
    found = read_checkpoint(extract(name, tmp_path))
    found.properties = {"epoch": 3, "best": 0.5, "name": "größe"}
    write_checkpoint(tmp_path / "again", found)
    assert_same(read_checkpoint(tmp_path / "again"), found)


def test_element_types(tmp_path):
    kinds = ("float16", "float64", "int64", "int32", "uint8", "bool")
    arrays = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    arrays |= {"scalar": np.float32(2.5).reshape(()), "empty": np.zeros((0, 3), np.float32)}
    write_checkpoint(tmp_path / "c", Checkpoint(arrays, {}))
    assert_same(read_checkpoint(tmp_path / "c"), Checkpoint(arrays, {}))


def test_weights_beside_the_file(tmp_path):
    w = np.arange(5, dtype=np.float32)
    tensor = ["w", None, Numbers("q", [5]), Scalar("i", 1), None, None, Scalar("q", 8)]
    module = [(tensor,), None, Scalar("?", False), Scalar("?", True)]
    (tmp_path / "c").write_bytes(write([Scalar("i", 2), module], b"ODTC"))
    with pytest.raises(errors.InvalidModelError, match="as many bytes as its shape says"):
        read_checkpoint(tmp_path / "c")
    (tmp_path / "c.data").write_bytes(b"8 before" + w.tobytes())
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "c").parameters["w"], w)
    (tmp_path / "c.data").write_bytes(b"8 before" + w.tobytes()[:-1])
    with pytest.raises(errors.InvalidModelError, match="as many bytes as its shape says"):
        read_checkpoint(tmp_path / "c")


def tensors(arrays: dict) -> bytes:
    """A sequence of TensorProto as onnxruntime 1.13 to 1.15 wrote it."""
    text = varint(len(arrays))
    for name, array in arrays.items():
        proto = numpy_helper.from_array(np.asarray(array), name)
        text += varint(proto.ByteSize()) + proto.SerializeToString()
    return text


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def test_folder(tmp_path):
    w, m = np.arange(200, dtype=np.float32), np.ones(200, np.float32)
    (tmp_path / "paramtrain_tensors.pbseq").write_bytes(tensors({"w": w}))
    (tmp_path / "paramfrozen_tensors.pbseq").write_bytes(tensors({"mean": m}))
    (tmp_path / "optim_group0_momentum0_tensors.pbseq").write_bytes(tensors({"w": m}))
    (tmp_path / "optim_group0_momentum1_tensors.pbseq").write_bytes(tensors({"w": 2 * m}))
    rate = {"learning_rate_": np.float32(0.5), "step_": np.int64(7)}
    (tmp_path / "optim_group0_properties.pbseq").write_bytes(tensors(rate))
    (tmp_path / "custom_properties.pbseq").write_bytes(
        tensors({"epoch": np.array([3]), "name": np.array("x", object)})
    )
    states = {"w": {"momentum0": m, "momentum1": 2 * m}}
    want = Checkpoint(
        {"w": w}, {"mean": m}, [OptimizerGroup("group0", 7, 0.5, states)], {"epoch": 3, "name": "x"}
    )
    assert_same(read_checkpoint(tmp_path), want)
    path = tmp_path / "paramtrain_tensors.pbseq"
    text = path.read_bytes()
    for cut in (0, 1, 2, 3, len(text) // 2, len(text) - 1):
        path.write_bytes(text[:cut])
        with pytest.raises(errors.InvalidModelError, match="a whole sequence of tensors"):
            read_checkpoint(tmp_path)


def test_no_checkpoint(tmp_path):
    with pytest.raises(errors.InvalidModelError, match="a readable file is required, got No such"):
        read_checkpoint(tmp_path / "none")
    with pytest.raises(errors.InvalidModelError, match=r"a folder with param\*.pbseq"):
        read_checkpoint(tmp_path)
    (tmp_path / "other").write_bytes(onnx.ModelProto(ir_version=8).SerializeToString())
    with pytest.raises(errors.InvalidModelError, match="a file marked b'ODTC' is required"):
        read_checkpoint(tmp_path / "other")
    (tmp_path / "nominal").write_bytes(
        write([Scalar("i", 2), [None, None, Scalar("?", True)]], b"ODTC")
    )
    with pytest.raises(errors.InvalidModelError, match="got a nominal one"):
        read_checkpoint(tmp_path / "nominal")


def test_what_a_tensor_must_be(tmp_path):
    def module(*fields):
        text = write([Scalar("i", 2), [tuple(list(f) for f in fields)]], b"ODTC")
        (tmp_path / "c").write_bytes(text)
        return read_checkpoint(tmp_path / "c")

    good = ("w", None, Numbers("q", [1]), Scalar("i", 1), bytes(4))
    assert module(good).parameters["w"].tolist() == [0.0]
    with pytest.raises(
        errors.InvalidModelError, match="each tensor once is required, got two of 'w'"
    ):
        module(good, good)
    for dims in ([2], [-1], [2**40, 2**40], [-1, -1], [0, 2**62], [1] * 70):
        with pytest.raises(errors.InvalidModelError, match="as many bytes as its shape says"):
            module((*good[:2], Numbers("q", dims), *good[3:]))
    for code in (8, 0, 22, 99, -1):
        with pytest.raises(errors.InvalidModelError, match=f"got element type {code} for 'w'"):
            module((*good[:3], Scalar("i", code), good[4]))


def test_bytes_belong_to_one_tensor(tmp_path):
    """A small file cannot claim to hold the same bytes many times over."""
    empty = [[f"w{k}", None, Numbers("q", [500]), Scalar("i", 1), b""] for k in range(9)]
    full = ["w", None, Numbers("q", [500]), Scalar("i", 1), bytes(2000)]
    text = bytearray(write([Scalar("i", 2), [(*empty, full)]], b"ODTC"))
    *places, last = (t._field(4) for t in root(bytes(text), b"ODTC", "c").table(1).tables(0))
    target = last + int.from_bytes(text[last : last + 4], "little")
    for at in places:
        text[at : at + 4] = (target - at).to_bytes(4, "little")
    (tmp_path / "c").write_bytes(text)
    with pytest.raises(errors.InvalidModelError, match="as many bytes as its shape says"):
        read_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("name", ["mlp_adamw/checkpoint20", "conv_sgd/checkpoint"])
def test_damaged_files(name, tmp_path, rng):
    """Each is read or refused; nothing else is raised, whatever the bytes."""
    text = RECORDED.read(name)
    path = tmp_path / "checkpoint"
    refused = 0
    for k in range(600):
        damaged = bytearray(text)
        if k % 3 == 0:
            damaged = damaged[: rng.integers(0, len(text))]
        else:
            for _ in range(rng.integers(1, 8)):
                damaged[rng.integers(8, len(text))] = rng.integers(0, 256)
        if k % 3 == 2:  # Where the offsets are.
            place = int(rng.integers(2, len(text) // 4)) * 4
            damaged[place : place + 4] = rng.bytes(4)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except errors.InvalidModelError as error:
            refused += 1
            assert str(error).startswith("checkpoint ")
    assert refused > 200


def test_offsets_that_lead_nowhere():
    text = bytearray(write([Scalar("i", 1), "name", b"bytes"], b"TEST"))
    table = root(bytes(text), b"TEST", "file")
    assert (table.scalar(0, "i"), table.string(1), bytes(table.bytes(2))) == (1, "name", b"bytes")
    assert table.scalar(9, "q", -1) == -1 and table.table(7) is None and table.tables(7) == []
    for value in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
        damaged = value + bytes(text[4:])
        with pytest.raises(errors.InvalidModelError, match="a whole FlatBuffers file is required"):
            root(damaged, b"TEST", "file").string(1)
