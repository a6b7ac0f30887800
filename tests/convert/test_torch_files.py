"""Files of torch.save: read as torch reads them, nothing of them run, and damage is an error."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

import toolkit as tk
from tests import tolerances
from toolkit.errors import InvalidArgumentError

FORMATS = {"zip": True, "legacy": False}
DTYPES = ["float32", "float64", "float16", "bfloat16", "uint8", "int8", "int16", "int32", "int64",
          "bool", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"]  # fmt: skip


def written(value, is_zip=True) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


def same(ours, theirs) -> None:
    if isinstance(theirs, torch.Tensor):
        assert tuple(ours.shape) == tuple(theirs.shape)
        assert ours.dtype.name == str(theirs.dtype)[6:]
        assert ours.requires_grad == theirs.requires_grad
        ours, theirs = ours.detach(), theirs.detach()
        if "float8" in ours.dtype.name:
            ours, theirs = ours.float(), theirs.float()
        assert ours.tolist() == theirs.tolist()
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name in theirs:
            same(ours[name], theirs[name])
    elif isinstance(theirs, (list, tuple)):
        assert (len(ours) == len(theirs) and isinstance(ours, type(theirs))) or ours == theirs
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    else:
        assert ours == theirs and type(ours) is type(theirs)


@pytest.mark.parametrize("is_zip", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", DTYPES)
def test_element_types(name, is_zip):
    x = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(torch, name))
    same(tk.load(written({"x": x, "empty": x[:0], "one": x[1, 1]}, is_zip)), {
        "x": x, "empty": x[:0], "one": x[1, 1]})  # fmt: skip


@pytest.mark.parametrize("is_zip", FORMATS.values(), ids=FORMATS)
def test_layouts_and_shared_storages(is_zip):
    x = torch.arange(24.0).reshape(2, 3, 4)
    values = {"t": x.permute(2, 0, 1), "row": x[1, 2], "step": x[:, :, ::2], "whole": x,
              "wide": x[0, 0].expand(5, 4), "grad": x.clone().requires_grad_()}  # fmt: skip
    same(tk.load(written(values, is_zip)), values)


@pytest.mark.parametrize("is_zip", FORMATS.values(), ids=FORMATS)
def test_checkpoints_of_plain_data(is_zip):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    values = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "rate": 1e-3,
        "names": ["a", "ü"], "pair": (1, None, True, b"bytes"), "big": 10**30, "set": {1, 2},
        "nested": OrderedDict(a=OrderedDict(b=[]), c={}), "complex": 1 + 2j,
    }  # fmt: skip
    same(tk.load(written(values, is_zip)), values)


def test_dtypes_sizes_devices_parameters_and_complex():
    found = tk.load(written({
        "dtype": torch.bfloat16, "size": torch.Size([2, 3]), "place": torch.device("cuda", 1),
        "p": torch.nn.Parameter(torch.ones(2)), "z": torch.tensor([[1 + 2j, 3 - 1j]]),
    }))  # fmt: skip
    assert found["dtype"] is tk.bfloat16 and found["size"] == (2, 3)
    assert str(found["place"]) == "cuda:1"
    assert isinstance(found["p"], tk.nn.Parameter) and found["p"].requires_grad
    assert found["z"].tolist() == [[1 + 2j, 3 - 1j]] and found["z"].dtype is tk.complex64


def test_a_module_takes_the_state_of_a_file(tmp_path):
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    ours = tk.nn.Sequential(tk.nn.Linear(3, 4), tk.nn.ReLU(), tk.nn.Linear(4, 2))
    for ending in ("model.pt", "model.pth", "pytorch_model.bin", "noending"):
        path = tmp_path / ending
        torch.save(theirs.state_dict(), path)
        ours.load_state_dict(tk.load(path, map_location="cpu", weights_only=True))
        x = np.ones((2, 3), np.float32)
        expected = theirs(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(
            ours(tk.tensor(x)).detach().numpy(), expected, *tolerances.of("float32")
        )


def test_files_are_mapped_and_never_written(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"x": torch.arange(1024.0)}, path)
    before = path.read_bytes()
    x = tk.load(path)["x"]
    assert any(a <= x.data_ptr() < b for a, b in mapped(path))
    x.add_(1)
    assert x[0] == 1 and path.read_bytes() == before


def mapped(path) -> list[tuple[int, int]]:
    """The addresses where a file is mapped."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    return [
        tuple(int(a, 16) for a in line[0].split("-")) for line in lines if line[-1] == str(path)
    ]


# -- hostile files -----------------------------------------------------------------------------


class Named:
    """Pickles as a call of a global."""

    def __init__(self, call, *given):
        self.call, self.given = call, given

    def __reduce__(self):
        return self.call, self.given


def archive(pickled: bytes, storages=(), compression=zipfile.ZIP_STORED, extra=()) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("a/data.pkl", pickled)
        for key, data in dict(storages).items():
            file.writestr(f"a/data/{key}", data)
        for name, data in extra:
            file.writestr(f"a/{name}", data)
    return stream.getvalue()


def tensor_pickle(offset="K\x00", size="K\x02\x85", stride="K\x01\x85", count="K\x04",
                  kind="FloatStorage") -> bytes:  # fmt: skip
    """{'x': a tensor} in protocol 2, its numbers as given."""
    storage = f"(X\x07\x00\x00\x00storagectorch\n{kind}\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    text = (
        f"\x80\x02}}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n({storage}{count}tQ"
        f"{offset}{size}{stride}\x89ccollections\nOrderedDict\n)RtRs."
    )
    return text.encode("latin1")


def refused(content: bytes, match: str = "is required|are required") -> None:
    with pytest.raises(InvalidArgumentError, match=match) as info:
        tk.convert.load_pt(content)
    assert str(info.value).startswith("load_pt")


@pytest.mark.parametrize(("call", "given", "name"), [
    (os.system, ("true",), "posix.system"), (eval, ("1",), "builtins.eval"),
    (getattr, (1, "real"), "builtins.getattr"), (print, (), "builtins.print"),
    (torch.load, ("x",), "torch.serialization.load"), (np.array, ([1],), "numpy"),
])  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_other_global_is_refused_by_name(call, given, name, protocol):
    refused(archive(pickle.dumps(Named(call, *given), protocol)), f"the global .*{name}")
    refused(written(torch.nn.Linear(1, 1)), "the global torch.nn.modules.linear.Linear")
    refused(written(torch.eye(2).to_sparse()), "dense tensors are required, got sparse tensors")


def test_the_made_sample_is_good():
    found = tk.load(archive(tensor_pickle(), {"0": np.arange(4.0, dtype=np.float32).tobytes()}))
    assert found["x"].tolist() == [0, 1]


@pytest.mark.parametrize("options", [
    {"offset": "K\x03"}, {"offset": "J\xff\xff\xff\xff"}, {"size": "K\x05\x85"},
    {"stride": "K\x04\x85"}, {"stride": "J\xff\xff\xff\xff\x85"}, {"size": "J\xfe\xff\xff\xff\x85"},
    {"stride": "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"}, {"stride": ")"}, {"count": "K\x05"},
    {"size": "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "stride": "K\x00\x85"},
    {"size": "\x8a\x0a\xff\xff\xff\xff\xff\xff\xff\x7f\xff\x7f\x85", "stride": "K\x00\x85"},
    {"size": "J\x00\x00\x00\x10\x85", "stride": "K\x00\x85"}, {"count": "J\xff\xff\xff\xff"},
    {"size": "(" + "K\x01" * 40 + "t", "stride": "(" + "K\x01" * 40 + "t"},
    {"kind": "DoubleStorage"}, {"offset": "}"}, {"size": "N"}, {"count": "G\x7f\xf8\0\0\0\0\0\0"},
])  # fmt: skip
def test_sizes_are_checked_before_memory_is_touched(options):
    refused(archive(tensor_pickle(**options), {"0": b"\0" * 16}))


HOSTILE = {
    "not a pickle": b"hello", "nothing": b"", "only stop": b".", "pop of nothing": b"0.",
    "unknown opcode": b"\x80\x02\xff.", "memo of nothing": b"h\x07.", "no mark": b"t.",
    "code": b"cposix\nsystem\n(S'true'\ntR.", "instance": b"(iposix\nsystem\n.",
    "extension": b"\x82\x01.", "buffer": b"\x97.", "huge memo": b"Nr\xff\xff\xff\xff00N" + b".",
    "huge string": b"X\xff\xff\xff\x7fa.", "huge bytes": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.",
    "key of a list": b"}]Ns.", "odd items": b"}(Nu.", "key of deep tuples": b"})" + b"\x85" * 200000
    + b"Ns.", "call of a number": b"K\x01)R.", "call of a list": b"ccollections\nOrderedDict\n]R.",
    "state of a number": b"K\x01}b.", "persistent": b"NQ.", "append to a dict": b"}Na.",
    "pairs of the set": b"c__builtin__\nset\n(]]atR.", "long line": b"c" + b"a" * 9999 + b"\nb\n.",
    "digits": b"I" + b"9" * 100000 + b"\n.", "left over": b"NN.",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(name):
    refused(archive(HOSTILE[name]))


def test_cycles_and_depth_are_only_data():
    found = tk.load(archive(b"]q\x00h\x00a."))
    assert found[0] is found
    deep = tk.load(archive(b"]" * 100000 + b"a" * 99999 + b"."))
    assert len(deep) == 1
    del deep
    doubled = tk.load(archive(b"]q\x000" + b"](h\x00h\x00eq\x000" * 60 + b"h\x00."))
    assert len(doubled) == 2  # 2^60 paths, 61 lists.


def test_archives_that_are_no_weights():
    script = archive(b"N.", extra=[("constants.pkl", b"N."), ("code/__torch__.py", b"")])
    refused(script, "got a TorchScript archive, which holds a program")
    refused(archive(b"N.", extra=[("x", b"")])[:-30])
    sample = tensor_pickle()
    refused(archive(sample, {"0": b"\0" * 16}, zipfile.ZIP_DEFLATED), "compressed or encrypted")
    bomb = archive(b"N" * (1 << 24) + b".", compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 17
    refused(bomb, "compressed or encrypted")
    refused(archive(sample), "does not parse")  # Its storage is missing.
    refused(archive(sample, {"0": b"\0" * 15}), "15 bytes for 4 elements of float32")
    refused(archive(sample, {"0": b"\0" * 16}, extra=[("byteorder", b"middle")]), "byte order")


def test_big_endian_storages_are_swapped():
    for kind, dtype in (("FloatStorage", ">f4"), ("ComplexFloatStorage", ">c8"),
                        ("ByteStorage", "u1"), ("LongStorage", ">i8")):  # fmt: skip
        data = np.arange(4).astype(dtype)
        content = archive(tensor_pickle(kind=kind), {"0": data.tobytes()}, extra=[
            ("byteorder", b"big")])  # fmt: skip
        assert tk.load(content)["x"].tolist() == [0, 1]


@pytest.mark.parametrize("is_zip", FORMATS.values(), ids=FORMATS)
def test_truncated_and_changed_files_are_errors_or_data(is_zip):
    content = written({"w": torch.arange(6.0).reshape(2, 3), "n": [1, "two"]}, is_zip)
    for size in range(0, len(content) - 24, 7):
        refused(content[:size])
    rng = np.random.default_rng(0)
    for _ in range(400):
        changed = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        try:
            tk.convert.load_pt(bytes(changed))
        except InvalidArgumentError as error:
            assert len(str(error)) > 20


def test_legacy_sizes_are_checked():
    content = written({"x": torch.arange(4.0)}, is_zip=False)
    at = len(content) - 16 - 8
    assert content[at : at + 8] == struct.pack("<q", 4)
    for count in (5, 1 << 62, -1):
        refused(content[:at] + struct.pack("<q", count) + content[at + 8 :], "of another size")


def test_what_load_refuses(tmp_path):
    with pytest.raises(InvalidArgumentError, match="no code of a file is run"):
        tk.load(written(torch.nn.Linear(1, 1)), weights_only=False)
    with pytest.raises(InvalidArgumentError, match="'cpu' is required, got 'cuda'"):
        tk.load(b"", map_location="cuda")
    with pytest.raises(InvalidArgumentError, match="a file is required"):
        tk.load(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InvalidArgumentError, match="neither a zip nor its magic number"):
        tk.load(tmp_path / "text.pt")
    with pytest.raises(tk.errors.InvalidModelError):
        tk.load(b"hello")


# -- sharded files -----------------------------------------------------------------------------


def sharded(folder, ending: str, **changes) -> str:
    states = [{"a.weight": torch.ones(2, 2)}, {"b.weight": torch.zeros(3).half()}]
    places = {}
    for i, state in enumerate(states):
        file = f"model-{i}.{ending}"
        if ending == "safetensors":
            from toolkit.convert.states import write_arrays

            write_arrays(folder / file, {k: v.numpy() for k, v in state.items()})
        else:
            torch.save(state, folder / file)
        places.update(dict.fromkeys(state, file))
    index = folder / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {**places, **changes}}))
    return str(index)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_sharded_files(tmp_path, ending):
    path = sharded(tmp_path, ending)
    for found in (tk.load(path), tk.convert.load_sharded(path)):
        assert found["a.weight"].tolist() == [[1, 1], [1, 1]]
        assert found["b.weight"].dtype is tk.float16
    assert list(tk.load(tmp_path / f"model-0.{ending}")) == ["a.weight"]


@pytest.mark.parametrize(("changes", "match"), [
    ({"c": "model-0.safetensors"}, "'c' in 'model-0.safetensors' is required, got none"),
    ({"c": "../x.safetensors"}, "files beside the index are required"),
    ({"c": "/etc/passwd"}, "files beside the index are required"),
    ({"c": "none.safetensors"}, "a file is required"),
])  # fmt: skip
def test_broken_indices(tmp_path, changes, match):
    with pytest.raises(InvalidArgumentError, match=match):
        tk.load(sharded(tmp_path, "safetensors", **changes))
    for text in ("[]", "{}", "[" * 100000, '{"weight_map": [1]}', "nonsense"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InvalidArgumentError, match="an index with a weight_map is required"):
            tk.load(tmp_path / "x.json")


@pytest.mark.parametrize("header", [
    b"[" * 100000, b"[]", b"{", b'{"a": 1}', b'{"a": {"dtype": "F32", "shape": [-1, -1], '
    b'"data_offsets": [0, 4]}}', b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 9]}}',
    b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 0]}}',
])  # fmt: skip
def test_hostile_safetensors(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(InvalidArgumentError, match="a header and the tensors that it lists"):
        tk.load(path)


def test_states_are_saved_as_torch_has_it(tmp_path):
    model = tk.nn.Sequential(tk.nn.Linear(3, 2), tk.nn.BatchNorm1d(2))
    path = tmp_path / "state.safetensors"
    tk.save(model.state_dict(), path)
    found = tk.load(path)
    assert list(found) == list(model.state_dict())
    for name, value in model.state_dict().items():
        assert found[name].dtype is value.dtype and found[name].tolist() == value.tolist()
    with pytest.raises(InvalidArgumentError, match="tensors by name are required, got int for 'a'"):
        tk.save({"a": 1}, path)
