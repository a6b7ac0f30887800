"""Gradient checkpointing: the same bits with less memory, eagerly and in a compiled step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.utils.checkpoint

import toolkit as tk
from tests.autodiff.test_func import rand
from toolkit import func, nn, optim
from toolkit.autodiff.recompute import CHECKPOINT
from toolkit.errors import ToolkitError
from toolkit.graph.build import RECOMPUTED
from toolkit.graph.io import load_model
from toolkit.graph.passes import optimize
from toolkit.train import TrainStep
from toolkit.utils.checkpoint import checkpoint, checkpoint_sequential

X = rand(96, 16).astype("f4")
LABELS = np.arange(96) % 4


class Block(nn.Module):
    """What a checkpoint must get right: a residual, a mask, running statistics."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(16, 128), nn.GELU(), nn.Dropout(0.3), nn.Linear(128, 16), nn.LayerNorm(16)
        )
        self.norm = nn.BatchNorm1d(16)

    def forward(self, x):
        return self.norm(x + self.body(x))


def model(mark=None, blocks=5):
    tk.manual_seed(3)
    parts = [Block() for _ in range(blocks)]
    for part in parts:
        if mark is not None:
            mark(part)
    return nn.Sequential(*parts, nn.Linear(16, 4)).train()


MARKS = {
    "block": lambda b: b.checkpoint_(),
    "nested": lambda b: (b.checkpoint_(), b.body.checkpoint_()),
    "inner": lambda b: b.body.checkpoint_(),
}


def state(m):
    return {k: v.numpy().copy() for k, v in m.state_dict().items()}


def compiled(mark, steps=4):
    m = model(mark)
    step = TrainStep(m, nn.CrossEntropyLoss(), optim.AdamW(m.parameters(), lr=1e-2))
    losses = [step(X, LABELS)[0].item() for _ in range(steps)]
    return losses, state(m), tk.get_rng_state().numpy(), step


def eager(mark, steps=4):
    m = model(mark)
    optimizer = optim.AdamW(m.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(m(tk.tensor(X)), tk.tensor(LABELS))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, state(m), tk.get_rng_state().numpy(), None


@pytest.mark.parametrize(
    ("run", "mark"), [(compiled, "block"), (compiled, "nested"), (compiled, "inner"),
                      (eager, "block"), (eager, "nested")],
)  # fmt: skip
def test_training_is_the_same_to_the_bit(run, mark):
    losses, weights, random_state, _ = run(None)
    again, others, other_state, _ = run(MARKS[mark])
    assert losses == again
    assert len(set(losses)) == len(losses)
    np.testing.assert_array_equal(random_state, other_state)
    for key, value in weights.items():
        np.testing.assert_array_equal(others[key], value, err_msg=key)


def test_eager_programs_cut_by_a_checkpoint_agree_to_rounding():
    """Where the tape is cut between a product and an addition, these are not fused."""
    grads = []
    for mark in (None, MARKS["inner"]):
        m = model(mark)
        nn.functional.cross_entropy(m(tk.tensor(X)), tk.tensor(LABELS)).backward()
        grads.append({k: p.grad.numpy() for k, p in m.named_parameters()})
    for key, value in grads[0].items():
        np.testing.assert_allclose(grads[1][key], value, rtol=1e-4, atol=1e-6, err_msg=key)


def program(step):
    return step._programs["train"].program


def test_a_compiled_step_needs_less_memory():
    plain = program(compiled(None, 2)[3])
    marked = program(compiled(MARKS["block"], 2)[3])
    assert marked.num_instructions > plain.num_instructions
    # Five blocks' activations, against one block's and what is between the blocks.
    assert marked.arena_bytes < 0.45 * plain.arena_bytes, (marked.arena_bytes, plain.arena_bytes)


def test_memory_grows_with_the_blocks_only_by_what_is_between_them():
    def bytes_of(mark, blocks):
        m = model(mark, blocks)
        step = TrainStep(m, nn.CrossEntropyLoss(), optim.SGD(m.parameters(), lr=1e-2))
        step(X, LABELS), step(X, LABELS)
        return program(step).arena_bytes

    more = bytes_of(None, 8) - bytes_of(None, 4)
    less = bytes_of(MARKS["block"], 8) - bytes_of(MARKS["block"], 4)
    assert less < 0.3 * more, (less, more)


def test_the_file_of_a_step_keeps_its_recomputation(tmp_path):
    _, _, _, step = compiled(MARKS["block"], 2)
    path = tmp_path / "step.onnx"
    step.save(path)
    again = tk.load_training(path)
    for _ in range(2):
        want, got = step(X, LABELS)[0].item(), again(X, LABELS)[0].item()
        assert got == want
    assert program(again).arena_bytes <= 1.05 * program(step).arena_bytes


def repeated(graph):
    return [n for n in graph if RECOMPUTED in n.metadata_props]


def test_common_subexpressions_leave_recomputation_alone():
    model = load_model(_gradient_of_checkpoint())
    count = len(repeated(model.graph))
    assert count >= 2
    optimize(model)
    assert len(repeated(model.graph)) == count


def _gradient_of_checkpoint():
    from toolkit.graph.io import to_proto
    from toolkit.tracing import Trace

    with Trace() as trace:
        x = trace.input("x", tk.float32, (3, 4))
        g = func.grad(lambda a: checkpoint(lambda b: b.exp().sin().exp(), a).sum())(x)
        return to_proto(trace.finish({"g": g}), 21, True)


def test_only_what_is_read_is_computed_again():
    from toolkit.tracing import Trace

    with Trace() as trace:
        x = trace.input("x", tk.float32, (3, 4))
        func.grad(lambda a: checkpoint(lambda b: (b.exp() * 2 + 1).sum(), a))(x)
    again = [n.op_type for n in repeated(trace.graph)]
    assert again == ["Exp"]
    assert any(CHECKPOINT in n.meta for n in trace.graph)


def test_an_eager_checkpoint_keeps_its_inputs_only():
    calls = []

    def f(x, *, k):
        calls.append(k)
        return (x.sin() * w).exp() * k

    w = tk.tensor(rand(4), requires_grad=True)
    x = tk.tensor(rand(4, seed=1), requires_grad=True)
    y = checkpoint(f, x, k=2.0)
    assert calls == [2.0]
    assert y.grad_fn.name() == "CheckpointFunctionBackward"
    assert {n for n, _ in y.grad_fn.next_functions} == {x._node, w._node}
    y.sum().backward()
    assert calls == [2.0, 2.0]
    got = x.grad.numpy(), w.grad.numpy()
    x.grad = w.grad = None
    f(x, k=2.0).sum().backward()
    np.testing.assert_array_equal(got[0], x.grad.numpy())
    np.testing.assert_array_equal(got[1], w.grad.numpy())
    with tk.no_grad():
        assert not checkpoint(f, x, k=1.0).requires_grad
    assert checkpoint(f, x.detach(), k=1.0).requires_grad  # By what it closes over.


def test_writes_and_draws_happen_once():
    norm, x = nn.BatchNorm1d(4), tk.tensor(rand(8, 4).astype("f4"), requires_grad=True)
    other = nn.BatchNorm1d(4)
    tk.manual_seed(5)
    checkpoint(lambda a: nn.functional.dropout(norm(a)) ** 2, x).sum().backward()
    after, got = tk.get_rng_state().numpy(), x.grad.numpy().copy()
    x.grad = None
    tk.manual_seed(5)
    (nn.functional.dropout(other(x)) ** 2).sum().backward()
    np.testing.assert_array_equal(after, tk.get_rng_state().numpy())
    np.testing.assert_array_equal(got, x.grad.numpy())
    for key, value in other.state_dict().items():
        np.testing.assert_array_equal(norm.state_dict()[key].numpy(), value.numpy())


def test_several_results_and_second_derivatives():
    def run(lib, point):
        x = lib.tensor(rand(5), requires_grad=True)
        y = lib.tensor(rand(5, seed=1), requires_grad=True)

        def f(a, b):
            return a.sin() * b, {"k": 3}["k"], (a * b).exp()

        u, k, v = point(f, x, y)
        grads = lib.autograd.grad((u * v).sum() * k, [x, y], create_graph=True)
        second = lib.autograd.grad(sum((g**2).sum() for g in grads), [x, y])
        return [t.detach().numpy() for t in (u, v, *grads, *second)]

    def theirs(f, *args):
        return torch.utils.checkpoint.checkpoint(f, *args, use_reentrant=False)

    for got, want in zip(run(tk, checkpoint), run(torch, theirs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9)


def test_a_second_backward_needs_retain_graph():
    x = tk.tensor(rand(3), requires_grad=True)
    y = checkpoint(lambda a: a.exp(), x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp(rand(3)))
    with pytest.raises(ToolkitError, match="a second time"):
        y.backward()


@pytest.mark.parametrize("segments", [1, 2, 3])
def test_checkpoint_sequential(segments):
    tk.manual_seed(0)
    m = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(5)))
    twin = torch.nn.Sequential(
        *(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh()) for _ in range(5))
    )
    twin.load_state_dict({k: torch.tensor(v.numpy()) for k, v in m.state_dict().items()})
    x = rand(3, 4).astype("f4")
    a, b = tk.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    checkpoint_sequential(m, segments, a).sum().backward()
    torch.utils.checkpoint.checkpoint_sequential(twin, segments, b, False).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=1e-6)
    for p, q in zip(m.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ToolkitError, match="segments are required"):
        checkpoint_sequential(m, 6, a)


def test_under_transforms():
    def inner(a):
        return (a.sin() * a).exp()

    def energy(a):
        return checkpoint(inner, a).sum()

    x, b = tk.tensor(rand(4)), tk.tensor(rand(3, 4))
    plain = lambda a: inner(a).sum()  # noqa: E731
    for transform in (
        func.grad, func.hessian, lambda f: func.grad(lambda a: func.grad(f)(a).sin().sum()),
        lambda f: lambda a: func.jvp(func.grad(f), (a,), (a,))[1],
    ):  # fmt: skip
        np.testing.assert_allclose(
            transform(energy)(x).numpy(), transform(plain)(x).numpy(), rtol=1e-12
        )
        got = func.vmap(transform(energy))(b).numpy()
        np.testing.assert_allclose(got, func.vmap(transform(plain))(b).numpy(), rtol=1e-12)
    got = func.grad(lambda a: func.vmap(energy)(a).sum())(b)
    np.testing.assert_allclose(got.numpy(), func.vmap(func.grad(plain))(b).numpy(), rtol=1e-12)


def test_what_a_mapped_function_keeps():
    w = tk.tensor(rand(4), requires_grad=True)

    def inner(a):
        return (a * w).cumsum(0).sin().cumsum(0).exp().cumsum(0)

    def kept(f):
        y = func.vmap(f)(tk.tensor(rand(3, 4)))
        count = len(y.grad_fn.kept)
        w.grad = None
        y.sum().backward()
        return count, w.grad.numpy()

    many, want = kept(lambda a: inner(a).sin())
    few, got = kept(lambda a: checkpoint(inner, a).sin())
    assert few < many
    np.testing.assert_allclose(got, want, rtol=1e-12)


class Outer(nn.Module):
    """What people write: checkpoints inside of forward."""

    def __init__(self, how):
        super().__init__()
        self.block, self.how = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), how

    def forward(self, x):
        if self.how == "mark":
            self.block.checkpoint_()
            return self.block(x)
        if self.how == "module":
            return checkpoint(self.block, x)
        if self.how == "method":
            return checkpoint(self.block.forward, x)
        return checkpoint(lambda a: self.block(a), x)


@pytest.mark.parametrize("how", ["mark", "module", "method"])
def test_other_parameters_in_a_functional_call(how):
    m, x = Outer(how), tk.tensor(rand(2, 4).astype("f4"))
    params = {k: v.detach() * 2 + 1 for k, v in m.named_parameters()}
    got = func.grad(lambda p: (func.functional_call(m, p, x) ** 2).sum())(params)
    plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    want = func.grad(
        lambda p: (func.functional_call(plain, {k[6:]: v for k, v in p.items()}, x) ** 2).sum()
    )(params)
    for k, v in want.items():
        np.testing.assert_allclose(got[k].numpy(), v.numpy(), rtol=1e-5, atol=1e-7)


def test_what_has_changed_since_is_an_error():
    m, x = Outer("closure"), tk.tensor(rand(2, 4).astype("f4"))
    params = {k: v.detach() * 2 for k, v in m.named_parameters()}
    with pytest.raises(ToolkitError, match="the same tensors are required"):
        func.grad(lambda p: func.functional_call(m, p, x).sum())(params)
    w = tk.tensor(rand(4), requires_grad=True)
    y = checkpoint(lambda a: (a * w).exp(), tk.tensor(rand(4)))
    with tk.no_grad():
        w.mul_(2)
    with pytest.raises(ToolkitError, match="modified by an inplace operation"):
        y.sum().backward()
    count = []
    z = tk.tensor(rand(4), requires_grad=True)
    y = checkpoint(lambda a: count.append(1) or (a.exp(), a.sin())[: 3 - len(count)], z)
    with pytest.raises(ToolkitError, match="the same results are required"):
        (y[0] + y[1]).sum().backward()


def test_a_mark_can_be_taken_back():
    m = Block()
    assert m.checkpoint_() is m
    x = tk.tensor(X, requires_grad=True)
    assert m(x).grad_fn.name() == "CheckpointFunctionBackward"
    m.checkpoint_(False)
    assert m(x).grad_fn.name() != "CheckpointFunctionBackward"
