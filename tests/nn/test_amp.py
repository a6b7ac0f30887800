"""Mixed precision by `autocast`: training, compiled, checkpointed, and in a file."""

import warnings

import numpy as np
import onnx
import pytest
import torch

import toolkit as tk
from toolkit.utils.checkpoint import checkpoint


def net(m):
    made = m.nn.Sequential(m.nn.Linear(8, 32), m.nn.LayerNorm(32), m.nn.ReLU(), m.nn.Linear(32, 2))
    rng = np.random.default_rng(1)
    state = {
        k: m.tensor(rng.normal(size=tuple(v.shape)).astype("f") * 0.3)
        for k, v in made.state_dict().items()
    }
    made.load_state_dict(state)
    return made


def train(m, dtype, steps=30):
    """Losses of a network that learns the sign of a linear function."""
    rng = np.random.default_rng(0)
    array = rng.normal(size=(128, 8)).astype("f")
    x, y = m.tensor(array), m.tensor((array @ rng.normal(size=8) > 0).astype("i8"))
    made = net(m)
    opt = m.optim.AdamW(made.parameters(), lr=1e-2)
    scaler = m.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=10)
    losses = []
    for _ in range(steps):
        opt.zero_grad()
        with m.autocast("cpu", dtype=getattr(m, dtype)):
            loss = m.nn.functional.cross_entropy(made(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        m.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        scaler.step(opt)
        scaler.update()
        losses.append(loss.item())
    assert {p.grad.dtype for p in made.parameters()} == {m.float32}
    return losses, scaler.get_scale()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_training_converges_as_in_torch(dtype):
    ours, scale = train(tk, dtype)
    theirs, other = train(torch, dtype)
    assert ours[-1] < 0.3 * ours[0] and scale == other
    np.testing.assert_allclose(ours, theirs, rtol=2e-2)


class Cast(tk.nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.inner, self.dtype = net(tk), dtype

    def forward(self, x):
        with tk.autocast("cpu", dtype=self.dtype):
            return self.inner(x).softmax(-1).float()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("opset", [17, None])
def test_a_saved_module_runs_in_onnxruntime(tmp_path, dtype, opset):
    """The file has the casts; onnxruntime has no bfloat16 kernels, so those compute in float32."""
    import onnxruntime as ort

    module = Cast(getattr(tk, dtype)).eval()
    x = np.random.default_rng(0).normal(size=(5, 8)).astype("f")
    want = module(tk.tensor(x)).detach().numpy()
    plain = module.inner(tk.tensor(x)).softmax(-1).detach().numpy()
    path = str(tmp_path / "amp.onnx")
    module.save(path, inputs=tk.tensor(x[:2]), opset=opset)
    graph = onnx.load(path).graph
    onnx.checker.check_model(path, full_check=True)
    narrow = getattr(onnx.TensorProto, dtype.upper())
    assert sum(n.op_type == "Cast" and n.attribute[0].i == narrow for n in graph.node) >= 6
    assert {i.data_type for i in graph.initializer if "weight" in i.name} == {1}
    assert any(n.name.startswith("inner.0.") and n.op_type == "Gemm" for n in graph.node)
    for run in (ort.InferenceSession(path).run, tk.runtime.InferenceSession(path).run):
        (got,) = run(None, {graph.input[0].name: x})
        np.testing.assert_allclose(got, want, atol=1e-2)
    assert 1e-5 < np.abs(want - plain).max() < 2e-2


def test_compiled_code_knows_the_mode():
    module = net(tk).eval()
    compiled = tk.compile(module)
    x = tk.randn(4, 8)
    plain = compiled(x)
    with tk.autocast("cpu"):
        narrow = compiled(x)
        assert narrow.dtype == tk.bfloat16
        np.testing.assert_allclose(
            narrow.float().numpy(force=True), module(x).float().numpy(force=True), atol=2e-2
        )
    assert plain.dtype == compiled(x).dtype == tk.float32
    assert not tk.equal(plain, narrow.float())


def test_a_checkpoint_runs_again_in_its_mode():
    module = net(tk)
    x = tk.randn(4, 8)
    grads = []
    for again in (False, True):
        module.zero_grad()
        with tk.autocast("cpu"):
            y = checkpoint(module, x, use_reentrant=False) if again else module(x)
        y.float().square().sum().backward()
        grads.append([p.grad.numpy() for p in module.parameters()])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=1e-2)


def test_a_parameter_is_cast_once():
    w = tk.randn(4, 4).requires_grad_()
    casts = []
    for cached in (True, False):
        with tk.autocast("cpu", cache_enabled=cached):
            y = w @ w.detach() + w @ w.detach()
        seen, stack = set(), [y.grad_fn]
        while stack:
            node = stack.pop()
            if node is None or node in seen or not hasattr(node, "next_functions"):
                continue
            seen.add(node)
            stack += [n for n, _ in node.next_functions]
        casts.append(sum(n.name() == "ToCopyBackward0" for n in seen))
    assert casts == [1, 2]


def test_devices_that_are_not_there_disable_with_a_warning():
    with pytest.warns(UserWarning, match="CUDA is not available"):
        scaler = tk.amp.GradScaler()
    assert not scaler.is_enabled() and scaler.state_dict() == {}
    with pytest.warns(UserWarning, match="CUDA is not available"), tk.autocast("cuda"):
        assert not tk.is_autocast_enabled("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tk.autocast("cuda", enabled=False)
