"""Each optimizer's operator as a file holds it: its standard body, in onnxruntime, beside torch."""

import numpy as np
import onnx_ir as ir
import pytest
from test_optimizers import CASES, MATRICES, assert_equal, assert_state, make, set_grads
from test_published import CASES as PUBLISHED

import toolkit as tk
from toolkit import nn, optim
from toolkit.graph.build import Builder
from toolkit.graph.io import to_proto

ort = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")


class InOnnxruntime:
    """An optimizer of one parameter: the node that `emit` writes, with its states fed back."""

    def __init__(self, name, options, start):
        p = nn.Parameter(tk.tensor(start))
        self.optimizer = getattr(optim, name)([p], **options)
        group = self.optimizer.param_groups[0]
        self.state = self.optimizer.init_state(p)
        self.param, self.lr, self.steps = start, np.float32(group["lr"]), 0
        arrays = {"p": start, "g": start, **self.state, "lr": self.lr, "step": np.int64(0)}
        values = {name: ir.val(name, ir.DataType.from_numpy(a.dtype), a.shape)
                  for name, a in arrays.items()}  # fmt: skip
        graph = ir.Graph([*values.values()], [], nodes=[], opset_imports={"": 28}, name="step")
        of = {name: values[name] for name in self.state}
        new, states = self.optimizer.emit(
            Builder(graph), values["p"], values["g"], of, values["lr"], values["step"], group
        )
        assert states.keys() == self.state.keys()
        graph.outputs.extend([new, *states.values()])
        for value, source in zip(graph.outputs, ["p", *states], strict=True):
            value.name = f"{source}.next"
            value.type, value.shape = values[source].type, values[source].shape
        proto = to_proto(ir.Model(graph, ir_version=10), opset=21)
        assert any(f.name.startswith(name) for f in proto.functions)
        assert all(n.domain in ("", "toolkit.optim") for f in proto.functions for n in f.node)
        self.session = ort.InferenceSession(proto.SerializeToString())
        self.used = {i.name for i in self.session.get_inputs()}

    def step(self, grad):
        self.steps += 1
        feed = {"p": self.param, "g": grad, "lr": self.lr, "step": np.int64(self.steps)}
        feed = {k: np.asarray(v) for k, v in (feed | self.state).items() if k in self.used}
        self.param, *new = self.session.run(None, feed)
        self.state = dict(zip(self.state, new, strict=True))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_body_follows_torch(name, options):
    rng = np.random.default_rng(0)
    start = rng.standard_normal(MATRICES[0]).astype(np.float32)
    ours = InOnnxruntime(name, options, start)
    q = torch.nn.Parameter(torch.tensor(start))
    theirs = getattr(torch.optim, name)([q], **options)
    for _ in range(20):
        grad = rng.standard_normal(start.shape).astype(np.float32)
        q.grad = torch.tensor(grad)
        ours.step(grad)
        theirs.step()
    np.testing.assert_allclose(ours.param, q.detach().numpy(), 2e-5, 2e-5)
    for key, value in theirs.state[q].items():
        if key in ours.state:
            np.testing.assert_allclose(ours.state[key], value.numpy(), 2e-5, 2e-5)


@pytest.mark.parametrize(("name", "formula", "options"), PUBLISHED)
def test_body_follows_the_paper(name, formula, options):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((4, 3)).astype(np.float32)
    ours, value, state = InOnnxruntime(name, options, start), start.astype(float), {}
    for _ in range(20):
        grad = rng.standard_normal(start.shape).astype(np.float32)
        ours.step(grad)
        value = formula(value, grad.astype(float), state, **options)
    np.testing.assert_allclose(ours.param, value, 2e-5, 2e-5)


# The first and the last options of each optimizer, as two groups of it.
ENDS = {name: (options, dict(CASES)[name]) for name, options in reversed(CASES)}


@pytest.mark.parametrize("name", ENDS)
def test_groups_and_a_schedule_for_100_steps(name):
    ours, theirs, rng = make(name=name)
    first, last = ENDS[name]
    built = []
    for lib, params in ((optim, ours), (torch.optim, theirs)):
        groups = [
            {"params": params[:2], **first},
            {"params": params[2:], **last, "lr": 0.02},
        ]
        made = getattr(lib, name)(groups)
        built.append((made, lib.lr_scheduler.LinearLR(made, 1.0, 0.1, 90)))
    for i in range(100):
        set_grads(ours, theirs, rng, skip=(2,) if 40 < i < 45 else ())
        for made, schedule in built:
            made.step()
            schedule.step()
    assert_equal(ours, theirs, 1e-9)
    mine, other = (made.state_dict() for made, _ in built)
    assert_state(mine, other, 1e-9)
    assert mine["param_groups"] == other["param_groups"]


def test_every_optimizer_and_schedule_of_torch_is_compared():
    from test_schedulers import CASES as SCHEDULES

    def public(module, base):
        return {n for n in module.__all__ if isinstance(c := getattr(module, n), type)
                and issubclass(c, base) and c is not base}  # fmt: skip

    theirs = public(torch.optim, torch.optim.Optimizer)
    assert theirs - dict(CASES).keys() == {"LBFGS", "SparseAdam"}  # test_lbfgs.py; not in ONNX.
    schedules = public(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler)
    built = {"CosineAnnealingWarmRestarts": "WarmRestarts", "SequentialLR": "SequentialLR warmup"}
    missing = {n for n in schedules if built.get(n, n) not in SCHEDULES}
    assert missing == {"ReduceLROnPlateau"}  # test_reduce_on_plateau.
