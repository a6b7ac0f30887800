"""`training_info.initialization`: weights are drawn as `nn.init` drew them, on any runtime."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest

import toolkit as tk
from tests.train.test_onefile import Net, assert_same_bits, batches, make_step, states
from toolkit import errors, nn, optim
from toolkit.nn import init
from toolkit.train import TrainStep

ROWS = (np.ones((4, 6), np.float32), np.ones((4, 5), np.float32))


def onnxruntime_values(path) -> dict[str, np.ndarray]:
    """First values by the states' names, computed by onnxruntime."""
    import onnxruntime

    proto = onnx.load(path)
    info = proto.training_info[0]
    assert not info.initialization.input
    model = onnx.ModelProto(ir_version=proto.ir_version)
    model.graph.CopyFrom(info.initialization)
    model.opset_import.extend(proto.opset_import)
    model.functions.extend(proto.functions)
    onnx.checker.check_model(model, full_check=True)
    for function in model.functions:
        assert {n.domain for n in function.node} <= {""}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [o.name for o in session.get_outputs()]
    results = dict(zip(names, session.run(names, {}), strict=True))
    return {entry.key: results[entry.value] for entry in info.initialization_binding}


def test_training_starts_anew_bit_for_bit(tmp_path):
    data = batches(5)
    step = make_step()
    step.prepare(*data[0])
    first = states(step)
    for x, y in data:
        step(x, y)
    last = states(step)
    step.save(tmp_path / "m.onnx")
    loaded = tk.load_training(tmp_path / "m.onnx")
    for again in (step, loaded):
        again.initialize()
        assert_same_bits(first, states(again))
        for x, y in data:  # Dropout masks and step counts included.
            again(x, y)
        assert_same_bits(last, states(again))
    assert int(step.optimizer.state[step.model.head.weight]["step"].item()) == len(data)
    loaded.save(tmp_path / "again.onnx")
    for name in ("m.onnx", "again.onnx"):
        onnx.checker.check_model(onnx.load(tmp_path / name), full_check=True)
        assert_same_bits(first, onnxruntime_values(tmp_path / name))


def test_a_seed_gives_the_weights_of_manual_seed(tmp_path):
    step = make_step()
    step.prepare(*batches(1)[0]).save(tmp_path / "m.onnx")
    tk.manual_seed(2**63 + 11)
    other = dict(Net().named_parameters())
    loaded = tk.load_training(tmp_path / "m.onnx").initialize(seed=2**63 + 11)
    found = states(loaded)
    for name, parameter in other.items():
        np.testing.assert_array_equal(found[name], parameter.detach().numpy(), err_msg=name)
    assert found["rng_state"][0] == 2**63 + 11


def truncated(w):
    init.trunc_normal_(w, std=1.5)  # Several draws: a tenth lies outside.


FILLS = {
    "normal": lambda w: init.normal_(w, 0.5, 0.02),
    "uniform": lambda w: init.uniform_(w, -3, 5),
    "xavier_normal": init.xavier_normal_,
    "kaiming_normal": lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    "truncated": truncated,
    "constant": lambda w: init.constant_(w, 0.3),
    "eye": init.eye_,
    "orthogonal": init.orthogonal_,
    "sparse": lambda w: init.sparse_(w, 0.5),
}


@pytest.mark.parametrize("fill", FILLS)
def test_every_fill(fill, tmp_path):
    tk.manual_seed(4)
    net = nn.Linear(6, 5)
    FILLS[fill](net.weight)
    before = net.weight.detach().clone().numpy()
    step = TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    for _ in range(3):
        step(*ROWS)
    assert not np.array_equal(net.weight.detach().numpy(), before)
    step.save(tmp_path / "m.onnx")
    step.initialize()
    np.testing.assert_array_equal(net.weight.detach().numpy(), before)
    got = onnxruntime_values(tmp_path / "m.onnx")["weight"]
    np.testing.assert_allclose(got, before, rtol=2e-6, atol=1e-7)  # Its log, sin and cos.


def fit(net: nn.Module) -> None:
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(tk.tensor(ROWS[0], dtype=net.weight.dtype)),
                               tk.tensor(ROWS[1], dtype=net.weight.dtype)).backward()  # fmt: skip
        optimizer.step()


@pytest.mark.parametrize(
    "change",
    [fit, lambda net: net.to("cpu"), lambda net: net.double(), copy.deepcopy],
    ids=["trained", "moved", "cast", "copied"],
)
def test_what_does_not_change_how_a_weight_began(change):
    tk.manual_seed(1)
    net = nn.Linear(6, 5)
    before = net.weight.detach().clone().numpy()
    net = change(net) or net
    rows = [tk.tensor(x, dtype=net.weight.dtype) for x in ROWS]
    step = TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    step(*rows)
    step.initialize()
    np.testing.assert_array_equal(net.weight.detach().numpy(), before)


@pytest.mark.parametrize("how", ["write", "load"])
def test_a_weight_set_by_hand_is_kept(how):
    tk.manual_seed(1)
    net = nn.Linear(6, 5)
    if how == "load":
        net.load_state_dict({"weight": net.weight.detach().clone()}, strict=False)
    else:
        with tk.no_grad():
            net.weight.mul_(0.5)
    step = TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    step(*ROWS)
    now, bias = net.weight.detach().clone().numpy(), net.bias.detach().clone().numpy()
    step.initialize()
    np.testing.assert_array_equal(net.weight.detach().numpy(), now)
    assert not np.array_equal(net.bias.detach().numpy(), bias)


def test_padding_row_stays_zero():
    tk.manual_seed(0)
    net = nn.Sequential(nn.Embedding(7, 3, padding_idx=2), nn.Flatten(), nn.Linear(12, 2))
    before = net[0].weight.detach().clone().numpy()
    assert not before[2].any()
    step = TrainStep(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.5))
    step(np.array([[0, 1, 2, 3], [4, 5, 6, 2]]), np.array([0, 1]))
    assert not np.array_equal(net[0].weight.detach().numpy(), before)
    step.initialize()
    np.testing.assert_array_equal(net[0].weight.detach().numpy(), before)


def test_refusals(tmp_path):
    net = nn.Linear(6, 5)
    step = TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(errors.InvalidArgumentError, match="a batch is required first"):
        step.initialize()
    path = tmp_path / "m.onnx"
    step.prepare(*ROWS).save(path)
    proto = onnx.load(path)
    proto.training_info[0].ClearField("initialization")
    del proto.training_info[0].initialization_binding[:]
    onnx.save(proto, path)
    with pytest.raises(errors.InvalidArgumentError, match="an initialization in training_info"):
        tk.load_training(path).initialize()
