"""Names in saved files, forms of `inputs` and `dynamic`, and what an export refuses."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import toolkit as tk
from toolkit import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
        self.head = nn.Sequential(nn.Linear(8, 3), nn.ReLU())

    def forward(self, x):
        return self.head(self.encoder(x))


class Own(nn.Module):
    """A function of one's own as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def saved(module, path, **options):
    module.save(path, **options)
    return onnx.load(path)


def run(path, **feeds):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)


def dims(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_nodes_are_named_by_module_and_initializers_by_state_dict(tmp_path):
    net = Net()
    model = saved(net, tmp_path / "m.onnx", inputs=tk.ones(4, 2, 8), dynamic={"x": {1: "batch"}})
    names = {n.name for n in model.graph.node}
    assert {"encoder.layers.0.linear1.MatMul", "encoder.layers.1.norm2.LayerNormalization",
            "head.0.MatMul", "head.1.Relu"} <= names  # fmt: skip
    assert len(names) == len(model.graph.node), "no two nodes have one name"
    kept = {t.name for t in model.graph.initializer}
    assert set(net.state_dict()) <= kept
    assert dims(model.graph.output[0]) == [4, "batch", 3]


class Nested(nn.Module):
    def forward(self, image, extra, scale=2.0, mode="add"):
        total = image * scale + extra["shift"] + extra["pair"][1]
        return {"total": total if mode == "add" else image, "pair": (total, extra["pair"][0])}


def example(n=2):
    rng = np.random.default_rng(n)
    a = rng.normal(size=(n, 3)).astype(np.float32)
    return tk.tensor(a), {"shift": tk.tensor(a + 1), "pair": (tk.tensor(a * 2), tk.tensor(a - 1))}


@pytest.mark.parametrize(
    "dynamic",
    [
        None,
        ({0: "N"}, {"shift": {0: "N"}, "pair": [{0: "N"}, ["N", None]]}),
        {"image": ["N"], "extra_shift": {0: "N"}, "extra": {"pair": ({0: "N"}, {-2: "N"})}},
    ],
    ids=["default", "nested", "by name"],
)
@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_nested_inputs(form, dynamic, tmp_path):
    image, extra = example()
    if form == "tuple":
        inputs = (image, extra, 3.0)
        dynamic = (*dynamic, None) if isinstance(dynamic, tuple) else dynamic
    else:
        inputs = {"extra": extra, "image": image, "scale": 3.0}
        if isinstance(dynamic, tuple):
            dynamic = dict(zip(("image", "extra"), dynamic, strict=True))
    path = tmp_path / "m.onnx"
    model = saved(Nested(), path, inputs=inputs, dynamic=dynamic)
    names = {i.name for i in model.graph.input}
    assert names == {"image", "extra_shift", "extra_pair_0", "extra_pair_1"}
    assert [o.name for o in model.graph.output] == ["total", "pair_0", "pair_1"]
    image, extra = example(5)
    flat = {"image": image, "extra_shift": extra["shift"], "extra_pair_0": extra["pair"][0],
            "extra_pair_1": extra["pair"][1]}  # fmt: skip
    got = run(path, **{k: v.numpy() for k, v in flat.items()})
    want = Nested()(image, extra, 3.0)
    np.testing.assert_allclose(got[0], want["total"].numpy(), rtol=1e-6)
    np.testing.assert_array_equal(got[2], extra["pair"][0].numpy())


class Dim:
    __name__ = "length"


def test_a_dim_of_another_package_names_a_dimension(tmp_path):
    model = saved(Own(tk.relu), tmp_path / "m.onnx", inputs=tk.ones(2, 3), dynamic=({1: Dim()},))
    assert dims(model.graph.input[0]) == [2, "length"]


def test_sizes_of_their_own_are_no_batch(tmp_path):
    net = nn.Bilinear(3, 3, 2)
    net.forward = lambda a, b: a.sum() + b  # Their first dimensions have nothing in common.
    model = saved(net, tmp_path / "m.onnx", inputs=(tk.ones(2, 3), tk.ones(4, 3)))
    assert [dims(i)[0] for i in model.graph.input] == ["batch", "b_0"]


@pytest.mark.parametrize(
    ("inputs", "dynamic", "message"),
    [
        (None, None, "example inputs are required"),
        ((3.0,), None, "at least one tensor"),
        (tk.ones(2, 3), {"y": {0: "n"}}, r"among \['x'\] are required, got 'y'"),
        (tk.ones(2, 3), {"X": {0: "n"}}, "got 'X'"),
        (tk.ones(2, 3), {"x": {2: "n"}}, r"within \(2, 3\) is required, got 2"),
        (tk.ones(2, 3), {"x": {"batch": 0}}, "within .* is required, got 'batch'"),
        (tk.ones(2, 3), {"x": "batch"}, "dimensions of 'x' as"),
        (tk.ones(2, 3), {"x": {0: 5}}, "the size 2 is required for dimension 0 of 'x', got 5"),
        (tk.ones(2, 3), ({0: "n"}, {0: "n"}), "each of 1 arguments"),
        (tk.ones(2, 3), {"x": {0: "n", 1: "n"}}, "one size for each symbol.*'n' for 2.*and 3"),
        (({"x": tk.ones(2)},), {"x": {"z": {0: "n"}}}, "among .*'x_x'.* got 'x_z'"),
    ],
)
def test_refused_inputs(inputs, dynamic, message, tmp_path):
    module = Own(lambda x: x)
    module.forward = lambda x: x
    with pytest.raises(tk.errors.InvalidArgumentError, match=message):
        module.save(tmp_path / "m.onnx", inputs=inputs, dynamic=dynamic)
    assert not (tmp_path / "m.onnx").exists()


def longer_than_three(x):
    if x.shape[0] > 3:
        return x
    return -x


def exactly_one(x):
    if x.shape[0] == 1:
        return x
    return -x


def positive(x):
    if x.sum() > 0:
        return x
    return -x


def by_rows(x):
    return sum(x[i] for i in range(x.shape[0]))


def as_number(x):
    return x * float(x.mean())


def as_array(x):
    return x + np.exp(x.numpy())


@pytest.mark.parametrize(
    ("function", "line", "message"),
    [
        (longer_than_three, "if x.shape.0. > 3:", "the dynamic dimension 'batch'"),
        (exactly_one, "if x.shape.0. == 1:", "comparison with 1.*the dynamic dimension 'batch'"),
        (positive, "if x.sum.. > 0:", "bool: a value is required.*cond"),
        (by_rows, "return sum.*range", "the dynamic dimension 'batch'"),
        (as_number, "return x . float", "a value is required.*where"),
        (as_array, "return x . np.exp", "numpy: a value is required"),
    ],
)
def test_control_flow_is_refused_with_the_users_line(function, line, message, tmp_path):
    with pytest.raises(tk.errors.InvalidArgumentError) as error:
        Own(function).save(tmp_path / "m.onnx", inputs=tk.ones(2, 3))
    text = str(error.value)
    import re

    assert re.search(message, text), text
    assert re.search(rf"test_names_and_errors.py:\d+: {line}", text), text


@pytest.mark.parametrize("function", [longer_than_three, exactly_one, by_rows])
def test_fixed_sizes_may_decide(function, tmp_path):
    Own(function).save(tmp_path / "m.onnx", inputs=tk.ones(2, 3), dynamic={})
    got = run(tmp_path / "m.onnx", x=np.ones((2, 3), np.float32))[0]
    np.testing.assert_array_equal(got, function(tk.ones(2, 3)).numpy())


TABLE = tk.arange(40).float().reshape(20, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + TABLE[: x.shape[1]].t()[:1],
        lambda x: x[:, x.shape[1] - 1],
        lambda x: x[:, -x.shape[0] :],
        lambda x: x[:, x.shape[0] // 2 : x.shape[1] - 1 : 2],
        lambda x: x.reshape(x.shape[0] * x.shape[1]) * x.shape[1] ** 0.5,
        lambda x: tk.zeros(x.shape[1], x.shape[0]) + x.t(),
        lambda x: tk.cat([x, x.new_ones(x.shape[0], 1)], 1),
        lambda x: tk.arange(x.shape[1]) + x,
        lambda x: x.expand(3, *x.shape),
        lambda x: tk.ones(x.shape[1], x.shape[1]).tril() @ x.t(),
        lambda x: x / x.size(1),
        lambda x: x.view(x.size(0), -1, 1).repeat(1, 1, 2),
    ],
)  # fmt: skip
def test_sizes_stay_symbolic(function, tmp_path):
    path = tmp_path / "m.onnx"
    Own(function).save(path, inputs=tk.ones(2, 6), dynamic={"x": ["N", "L"]})
    for n, size in ((2, 6), (3, 7), (5, 9)):
        x = np.random.default_rng(n).normal(size=(n, size)).astype(np.float32)
        want = function(tk.tensor(x)).numpy()
        got = run(path, x=x)[0]
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_an_assignment_up_to_a_symbolic_size(tmp_path):
    def filled(x):
        y = tk.zeros(2, 20)
        y[:, : x.shape[1]] = x
        y[:, x.shape[1] :] = -1.0
        return y

    path = tmp_path / "m.onnx"
    Own(filled).save(path, inputs=tk.ones(2, 6), dynamic={"x": {1: "L"}})
    for size in (3, 20):
        x = np.random.default_rng(size).normal(size=(2, size)).astype(np.float32)
        np.testing.assert_array_equal(run(path, x=x)[0], filled(tk.tensor(x)).numpy())


def test_the_mode_of_each_module_is_put_back(tmp_path):
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3))).train()
    net[1].eval()
    net.save(tmp_path / "m.onnx", inputs=tk.ones(2, 3))
    assert net.training and net[0].training and not net[1].training
