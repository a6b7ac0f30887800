"""`Module.compile()`: the module stays what it is, and its calls run programs."""

import copy

import numpy as np

import toolkit as tk


def net():
    return tk.nn.Sequential(tk.nn.Linear(3, 4), tk.nn.Tanh(), tk.nn.Linear(4, 2))


def graphs(module):
    return module._compiled.explain().graphs


def test_calls_run_programs_and_give_what_they_gave():
    module, x = net(), tk.randn(5, 3)
    eager, keys, text = module(x), list(module.state_dict()), repr(module)
    module.compile()
    assert (list(module.state_dict()), repr(module)) == (keys, text)
    np.testing.assert_allclose(module(x).numpy(force=True), eager.numpy(force=True), atol=1e-6)
    module(x)
    assert graphs(module) == 1
    module(tk.randn(7, 3))
    module(tk.randn(9, 3))
    assert graphs(module) == 2, "one of fixed, one of symbolic size"


def test_training_goes_through_the_program():
    losses = []
    for compiled in (False, True):
        tk.manual_seed(0)
        module, x = net(), tk.randn(8, 3)
        if compiled:
            module.compile(fullgraph=True)
        opt = tk.optim.SGD(module.parameters(), lr=0.1)
        for _ in range(4):
            opt.zero_grad()
            loss = module(x).square().mean()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    np.testing.assert_allclose(losses[4:], losses[:4], rtol=1e-5)


def test_parts_hooks_copies_and_files(tmp_path):
    module, x = net(), tk.randn(5, 3)
    module.compile()
    want = module(x)
    outer = tk.nn.Sequential(module, tk.nn.Identity())
    outer.compile(fullgraph=True)
    np.testing.assert_allclose(outer(x).numpy(force=True), want.numpy(force=True), atol=1e-6)
    twin = copy.deepcopy(module)
    assert twin._compiled is None and tk.equal(twin(x), want)
    module.save(str(tmp_path / "compiled.onnx"), inputs=x)
    handle = module.register_forward_hook(lambda m, args, y: y * 0)
    assert not module(x).any()
    handle.remove()
    assert module(x).any()


def test_a_graph_break_runs_eagerly():
    class Signed(tk.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    module = Signed()
    module.compile()
    import pytest

    with pytest.warns(tk.errors.ToolkitWarning, match="graph break"):
        assert module(tk.ones(2)).sum() == 2
    assert module(-tk.ones(2)).sum() == 2
