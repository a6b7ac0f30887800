"""Files of `tk.save`: torch.load reads them as what was saved, and so does tk.load."""

from __future__ import annotations

import collections
import enum
import io
import os
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit as tk
from tests.convert.test_torch_files import DTYPES
from toolkit.errors import InvalidArgumentError


def written(value) -> bytes:
    stream = io.BytesIO()
    tk.save(value, stream)
    return stream.getvalue()


def both(value):
    """What torch and toolkit read of it."""
    content = written(value)
    return torch.load(io.BytesIO(content), weights_only=True), tk.load(content)


def name_of(kind) -> str:
    plain = {"State": "OrderedDict", "DType": "dtype", "Device": "device"}
    return plain.get(kind.__name__, kind.__name__)


def same(found, saved) -> None:
    """Of equal types and values; tensors of equal element type, shape, strides and elements."""
    if isinstance(saved, np.generic):
        saved = saved.item()
    assert name_of(type(found)) == name_of(type(saved))
    if isinstance(saved, tk.Tensor):
        assert str(found.dtype).split(".")[1] == saved.dtype.name
        assert tuple(found.shape) == tuple(saved.shape)
        assert found.requires_grad == saved.requires_grad
        if saved.numel():
            strides = zip(found.stride(), saved.stride(), saved.shape, strict=True)
            assert all(a == b or n == 1 for a, b, n in strides)
            assert found.storage_offset() == saved.storage_offset()
        found, saved = found.detach(), saved.detach()
        if "float8" in saved.dtype.name:
            found, saved = found.float(), saved.float()
        assert found.tolist() == saved.tolist()
    elif isinstance(saved, dict):
        assert list(found) == list(saved) and list(map(type, found)) == list(map(type, saved))
        for name in saved:
            same(found[name], saved[name])
    elif isinstance(saved, (list, tuple)):
        for a, b in zip(found, saved, strict=True):
            same(a, b)
    elif isinstance(saved, tk.dtypes.DType):
        assert str(found).split(".")[1] == saved.name
    else:
        assert found == saved or str(found) == str(saved)


# -- objects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_element_types(name):
    x = tk.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(tk.dtypes, name))
    value = {"x": x, "one": x[1, 1], "empty": tk.zeros(0, 3).to(x.dtype), "dtype": x.dtype}
    for found in both(value):
        same(found, value)


def test_every_type_of_plain_data():
    value = {
        "none": None, "true": True, "float": [0.0, -0.0, 1e-300, float("inf")], "complex": 1 - 2j,
        "int": [0, 255, 256, 65535, 65536, -1, -(2**31), 2**31, -(10**600)], "text": "ü\n",
        "": "", "bytes": b"\xff\0", "no bytes": b"", "array": bytearray(b"ab"), "list": [[], [1]],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "set": {1, "a", None}, "no": set(),
        "counter": Counter([3, 3, 7]), 5: "key", (1, "a"): "pair", "ordered": OrderedDict(b=1, a=2),
        "size": tk.Size([2, 3]), "dtype": tk.bfloat16, "device": tk.device("cpu"),
        "numpy": [np.float32(0.1), np.float64(0.1), np.int8(-3), np.bool_(True), np.str_("x")],
        "many": [str(i) for i in range(300)] * 2,
    }  # fmt: skip
    for found in both(value):
        same(found, value)
        assert str(found["float"]) == "[0.0, -0.0, 1e-300, inf]"


def test_parameters_and_complex_numbers():
    z = tk.complex(tk.arange(6.0).reshape(2, 3), tk.ones(2, 3))
    p = tk.nn.Parameter(tk.ones(2))
    value = {"p": p, "frozen": tk.nn.Parameter(tk.ones(2), False), "made": p * 2,
             "leaf": tk.ones(2).requires_grad_()}  # fmt: skip
    for found in both(value):
        same(found, value)
        found["p"].sum().backward()
    for found in both({"z": z, "t": z.transpose(0, 1), "row": z[1]}):
        assert found["z"].tolist() == z.tolist() and found["row"].tolist() == z[1].tolist()
        assert found["t"].tolist() == z.transpose(0, 1).tolist()
        assert str(found["z"].dtype).endswith("complex64")


def test_views_share_one_storage_in_the_file():
    x = tk.arange(24.0).reshape(2, 3, 4)
    value = {"t": x.permute(2, 0, 1), "row": x[1, 2], "step": x[:, :, ::2], "whole": x,
             "wide": x[0, 0].expand(5, 4), "diagonal": x[0].diagonal(), "window": x.unfold(2, 2, 1),
             "flat": x.view(24), "detached": x.detach(), "again": x}  # fmt: skip
    theirs, ours = both(value)
    names = zipfile.ZipFile(io.BytesIO(written(value))).namelist()
    assert [n for n in names if "/data/" in n] == ["archive/data/0"]
    for found in (theirs, ours):
        same(found, value)
        assert found["again"] is found["whole"]
        found["whole"].add_(100)
    for name, view in value.items():
        expected = (view + (0 if name == "again" else 100)).tolist()
        if name != "again":
            assert theirs[name].tolist() == expected and ours[name].tolist() == expected
    ours["row"].zero_()
    assert ours["flat"][20:].tolist() == [0] * 4 and ours["t"][0, 1, 2] == 0
    again = zipfile.ZipFile(io.BytesIO(written(ours))).namelist()
    assert len([n for n in again if "/data/" in n]) == 1


def test_tied_parameters_of_a_state():
    first = tk.nn.Linear(3, 3)
    second = tk.nn.Linear(3, 3)
    second.weight = first.weight
    state = tk.nn.Sequential(first, second).state_dict()
    for found in both(state):
        same(found, state)
        assert found["0.weight"].data_ptr() == found["1.weight"].data_ptr()
        assert found._metadata == state._metadata and found._metadata["0"] == {"version": 1}
        found["0.weight"].zero_()
        assert not found["1.weight"].any()


def test_objects_that_hold_themselves():
    one: list = [1]
    value = {"a": one, "b": one}
    value["self"] = value
    one.append(value)
    for found in both(value):
        assert found["self"] is found and found["a"] is found["b"] and found["a"][1] is found
    pair = ([],)
    pair[0].append(pair)
    with pytest.raises(InvalidArgumentError, match=r"a tuple that does not hold itself .*obj\[0\]"):
        written(pair)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidArgumentError, match="nested less deeply"):
        written(deep)
    while deep:
        deep = deep[0]


KEYS = st.one_of(
    st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.binary(max_size=3),
    st.tuples(st.integers(), st.text(max_size=2)),
)  # fmt: skip


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    x = tk.arange(int(np.prod(shape, dtype=int))).to(getattr(tk.dtypes, dtype)).reshape(shape)
    for d, n in enumerate(shape):
        if n and draw(st.booleans()):
            x = x.narrow(d, draw(st.integers(0, n - 1)), 1) if draw(st.booleans()) else x[..., :]
    return x.permute(draw(st.permutations(range(len(shape)))))


OBJECTS = st.recursive(
    st.one_of(KEYS, st.floats(allow_nan=False), tensors(), st.sets(KEYS, max_size=3),
              st.complex_numbers(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict),
    ), max_leaves=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(OBJECTS)
def test_any_nested_object(value):
    for found in both(value):
        same(found, value)


# -- what is refused ---------------------------------------------------------------------------


class Own:
    pass


Pair = collections.namedtuple("Pair", "a b")
Color = enum.Enum("Color", "RED")


@pytest.mark.parametrize(("value", "match"), [
    (tk.nn.Linear(1, 1), r"got a module \(Linear\) at obj\. Save its state_dict\(\).*model.save\("),
    ({"model": {"net": [tk.nn.ReLU()]}}, r"a module \(ReLU\) at obj\['model'\]\['net'\]\[0\]\."),
    ({"f": lambda: 0}, r"got a function \(<lambda>\) at obj\['f'\]\. Save its name"),
    ((1, 2, print), r"got a builtin_function_or_method \(print\) at obj\[2\]"),
    ({"c": Own}, r"got a type \(Own\) at obj\['c'\]"), ({"x": Own()}, r"got Own at .*vars\(x\)"),
    (np.ones(2), r"got ndarray at obj\. Save from_numpy"), (Path("a"), r"Save str\(path\)"),
    (Pair(1, 2), r"got Pair at obj\. Save tuple\(x\)"), (Color.RED, "Save the value of"),
    (collections.defaultdict(int), r"got defaultdict at obj\. Save dict\(x\)"),
    ({"o": tk.optim.SGD([tk.nn.Parameter(tk.ones(1))], 0.1)}, r"got SGD at .* its state_dict\(\)"),
    ({(1, (2, 3)): 1}, "flat tuples of them are required, got tuple in obj"),
    (tk.ones(2).to(tk.dtypes.int4), "an element type that PyTorch has is required, got int4"),
    (object(), "got object at obj"),
])  # fmt: skip
def test_what_is_refused(value, match, tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(b"before")
    with pytest.raises(InvalidArgumentError, match=match):
        tk.save(value, path)
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["x.pt"]


def test_names_that_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"Parent directory .*none does not exist"):
        tk.save({}, tmp_path / "none" / "x.pt")
    with pytest.raises(InvalidArgumentError, match="the name of a file is required"):
        tk.save({}, tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"data go to \.pt or \.safetensors"):
        tk.save({}, tmp_path / "x.onnx")


# -- files -------------------------------------------------------------------------------------


def test_names_and_arguments_of_torch(tmp_path):
    value = {"x": tk.ones(3)}
    for name in ("a.pt", "a.pth", "a.bin", "a.ckpt", "checkpoint.pth.tar", "plain"):
        tk.save(value, str(tmp_path / name))
        same(tk.load(tmp_path / name, "cpu"), value)
    tk.save(obj=value, f=tmp_path / "named.pt", pickle_protocol=4)
    tk.save(value, f=tmp_path / "half.pt")
    with (tmp_path / "open.pt").open("wb") as file:
        tk.save("text", file)
    assert tk.load(tmp_path / "open.pt", weights_only=False) == "text"
    for place in ("cpu", tk.device("cpu"), {"cuda:0": "cpu"}, lambda storage, place: storage, None):
        for found in (tk.load(tmp_path / "named.pt", place, weights_only=None, mmap=True),
                      tk.load(tmp_path / "half.pt", map_location=place)):  # fmt: skip
            same(found, value)
    for arguments in (("cuda",), ({"cpu": "cuda"},)):
        with pytest.raises(InvalidArgumentError, match="'cpu' is required, got 'cuda'"):
            tk.load(tmp_path / "a.pt", *arguments)


def test_the_archive_is_as_torch_writes_it(tmp_path):
    def entries(save, make):
        path = tmp_path / "x.pt"
        save({"w": make.ones(5), "i": make.arange(3)}, path)
        content = path.read_bytes()
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None
            for e in file.infolist():
                head = content[e.header_offset + 26 : e.header_offset + 30]
                at = e.header_offset + 30 + sum(np.frombuffer(head, "<u2"))
                assert at % 64 == 0 and content[at : at + e.file_size] == file.read(e)
            names = [n.split("/", 1)[1] for n in file.namelist()]
            return {n: file.read(e) for n, e in zip(names, file.infolist(), strict=True)}

    theirs, ours = entries(torch.save, torch), entries(tk.save, tk)
    theirs.pop(".data/serialization_id")  # A checksum that nothing reads.
    assert list(ours) == list(theirs)
    for name in set(theirs) - {"data.pkl"}:
        assert ours[name] == theirs[name]
    mapped = torch.load(tmp_path / "x.pt", mmap=True)
    assert mapped["w"].tolist() == [1] * 5


def test_large_storages_are_not_copied(tmp_path):
    """Peak memory of a save, in a process of its own."""
    import subprocess
    import sys

    program = (
        "import resource, sys, toolkit as tk\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "tk.save({'x': tk.ones(9)}, sys.argv[1])\n"
        "x = tk.ones(50_000_000)\nbefore = peak()\n"
        "tk.save({'x': x, 'view': x[5:]}, sys.argv[1])\nprint(peak() - before)\n"
    )
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", program, tmp_path / "x.pt"],
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert int(found.stdout) < 40_000  # KiB, of 200 MB.
    assert (tmp_path / "x.pt").stat().st_size < 200_010_000


# -- checkpoints -------------------------------------------------------------------------------


SCHEDULES = {
    "StepLR": {"step_size": 2}, "MultiStepLR": {"milestones": [1, 1, 3]}, "LambdaLR": {
        "lr_lambda": lambda epoch: 0.5**epoch}, "OneCycleLR": {"max_lr": 0.1, "total_steps": 9},
    "CosineAnnealingWarmRestarts": {"T_0": 3}, "ReduceLROnPlateau": {}, "CyclicLR": {
        "base_lr": 0.01, "max_lr": 0.1, "cycle_momentum": False},
}  # fmt: skip


@pytest.mark.parametrize(("optimizer", "schedule"), [
    ("Adam", "MultiStepLR"), ("SGD", "OneCycleLR"), ("AdamW", "LambdaLR"), ("RMSprop", "CyclicLR"),
    ("Adagrad", "ReduceLROnPlateau"), ("LBFGS", "StepLR"), ("NAdam", "CosineAnnealingWarmRestarts"),
])  # fmt: skip
def test_a_checkpoint_goes_on_in_the_same_bits(optimizer, schedule, tmp_path):
    def parts():
        model = tk.nn.Sequential(tk.nn.Linear(3, 4), tk.nn.BatchNorm1d(4), tk.nn.Linear(4, 2))
        made = getattr(tk.optim, optimizer)(model.parameters(), lr=0.01)
        return model, made, getattr(tk.optim.lr_scheduler, schedule)(made, **SCHEDULES[schedule])

    def train(model, optimizer, scheduler):
        def closure():
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            return loss

        for _ in range(2):
            loss = optimizer.step(closure)
            scheduler.step(*([loss.item()] if schedule == "ReduceLROnPlateau" else []))

    x = tk.randn(8, 3)
    trained = parts()
    train(*trained)
    names = ("model", "optimizer", "scheduler")
    states = {name: part.state_dict() for name, part in zip(names, trained, strict=True)}
    path = tmp_path / "ckpt.pt"
    tk.save({"epoch": 3, "loss": 0.1, "rng": tk.get_rng_state(), **states}, path)
    torch.load(path, weights_only=True)
    resumed, checkpoint = parts(), tk.load(path)
    assert checkpoint["epoch"] == 3 and checkpoint["loss"] == 0.1
    tk.set_rng_state(checkpoint["rng"])
    for name, part in zip(names, resumed, strict=True):
        part.load_state_dict(checkpoint[name])
    for some in (trained, resumed):
        train(*some)
    pairs = zip(trained[0].state_dict().values(), resumed[0].state_dict().values(), strict=True)
    assert all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in pairs)


def test_torch_goes_on_from_our_checkpoint(tmp_path):
    ours = tk.nn.Sequential(tk.nn.Linear(3, 4), tk.nn.Linear(4, 2))
    optimizer = tk.optim.Adam(ours.parameters())
    ours(tk.ones(2, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "x.pt"
    tk.save({"model": ours.state_dict(), "optimizer": optimizer.state_dict()}, path)
    found = torch.load(path, weights_only=True)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    theirs.load_state_dict(found["model"])
    resumed = torch.optim.Adam(theirs.parameters())
    resumed.load_state_dict(found["optimizer"])
    resumed.zero_grad()
    theirs(torch.ones(2, 3)).sum().backward()
    resumed.step()
    assert resumed.state_dict()["state"][0]["step"] == 2
