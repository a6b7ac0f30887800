"""Gradients of every differentiable method against torch's, and the rules of the tape."""

import gc
import weakref

import pytest
from against import compare, data, gradients, leaf, refused, tk, torch

UNARY = """
x.exp(); (x.abs() + 0.1).log(); (x.abs() + 0.1).sqrt(); x.sin(); x.cos(); x.tan(); x.tanh()
x.sigmoid(); x.erf(); x.reciprocal()
(x / 3).asin(); (x / 3).acos(); x.atan(); x.sinh(); x.cosh(); x.asinh(); (x.abs() + 1.5).acosh()
(x / 3).atanh()
x.relu(); x.abs(); x.square(); (x.abs() + 0.1).rsqrt(); (x.abs()).log1p(); (x * 0.01).expm1()
(x.abs() + 0.1).log2(); x.floor() + x; x.neg()
x.clamp(-1, 1); x.clamp(min=0); x + 1; 2 - x; x * 3; x / 3; 3 / x; x ** 2; x ** 3
(x.abs() + 0.1) ** 1.7; 2 ** x; x % 1.5; x.double() * 2
x.sum(); x.sum(1); x.sum((0, 1), keepdim=True); x.mean(); x.mean(0); x.prod(1); x.max(); x.min()
x.amax(1); x.max(1)[0]; x.min(0)[0]
x.std(); x.var(1); x.norm(); x.norm(1, 1); x.norm(3); x.logsumexp(1); x.cumsum(1); x.softmax(1)
x.log_softmax(0)
x.view(4, 3); x.t(); x.permute(1, 0); x.flatten(); x.unsqueeze(1); x[:1].squeeze(0)
x.expand(2, 3, 4); x.repeat(2, 1); x.flip(0); x.roll(1, 1); x.tril(); x.diagonal(); x[0].diag()
x[1]; x[:, 1:3]; x[::2]; x[1, 2]; x[..., None]; x[m.tensor([0, 0, 2])]
x[m.tensor([0, 1]), m.tensor([1, 1])]; x[:, m.tensor([3, 3])]; x[x > 0]; x.chunk(2, 1)
x.unbind(1); x.split(2)
x.gather(1, m.tensor([[0, 0], [1, 2], [3, 3]])); x.index_select(0, m.tensor([2, 2]))
x.take(m.tensor([1, 1, 5])); x.masked_fill(x > 0, 0.0); m.where(x > 0, x, x * 2); x.topk(2)[0]
x.sort(1)[0]
m.cat([x, x * 2], 1); m.stack([x, x]); m.einsum('ij,kj->ik', x, x); x @ x.t(); x.clone()
x.repeat_interleave(2, 0); x.movedim(0, 1); x.to(m.float64).float(); x.frac(); x.nan_to_num()
"""
BINARY = """
x + y; x - y; x * y; x / y; (x.abs() + 0.1) ** y; x.maximum(y); x.minimum(y); x.atan2(y)
x.lerp(y, 0.3); x.addcmul(x, y); x + y[0]; x * y[:, :1]; x[0] - y; x / y[:, :1]; x @ y.t()
m.einsum('ij,ij->i', x, y)
x.matmul(y[0]); x[0] @ y[0]; x[0].outer(y[0]); m.addmm(x[:, :3], x, y.t())
x.scatter(1, m.tensor([[0, 1, 2, 3]] * 3), y); x.scatter_add(1, m.tensor([[0, 0, 1, 1]] * 3), y)
x.index_add(0, m.tensor([1, 1]), y[:2]); m.where(x > y, x, y); x[None] @ y.t()[None]
x.masked_fill(y > 0, 1.0); m.einsum('bij,bkj->bik', x[None], y[None])
"""


NAMED = """
v + 1; v * v; v.sum(); v.sum(0); v.mean(); v.exp(); v @ v; v.t(); v.view(-1); v[0]; v[:, 1:]
v.relu(); v.softmax(0); v**2; v.unsqueeze(0); v.transpose(0, 1); v.max(); v.expand(2, 2, 2)
v / 2; -v; v.std(); v.double(); v.clone(); v.max(0)[0]; v.sort()[0]; v.flatten()
v.permute(1, 0); v.log_softmax(1)
"""


def cases(text):
    return [e.strip() for line in text.strip().splitlines() for e in line.split(";")]


@pytest.mark.parametrize("expression", cases(UNARY))
def test_unary(expression):
    gradients(lambda m, x: eval(expression, {"m": m, "x": x}), (3, 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("expression", cases(BINARY))
def test_binary(expression):
    gradients(
        lambda m, x, y: eval(expression, {"m": m, "x": x, "y": y}), (3, 4), (3, 4),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    ["x ** 3", "x.exp()", "x.sin() * x", "x.tanh()", "x.sigmoid()", "x * x.sum()",
     "x / (x * x + 1)", "x @ x.t()", "x.softmax(1)", "x[1:] ** 2", "x.t().reshape(-1) ** 2",
     "x.log_softmax(1)", "m.cat([x, x ** 2])", "x.mean(0) ** 2", "(x * x).sum().sqrt()",
     "x.relu() ** 2"],
)  # fmt: skip
def test_second_order(expression):
    def run(m):
        x = leaf(m, 3, 4, seed=1)
        y = eval(expression, {"m": m, "x": x})
        (g,) = m.autograd.grad((y * m.tensor(data(*y.shape, seed=5))).sum(), x, create_graph=True)
        assert g.requires_grad
        (h,) = m.autograd.grad((g * m.tensor(data(3, 4, seed=6))).sum(), x, allow_unused=True)
        return [g.detach(), h]

    compare(run, rtol=1e-3, atol=1e-4)


LAYERS = {
    "conv": "F.conv2d(x, w, padding=1) ** 2",
    "max_pool": "F.max_pool2d(x * x, 2)",
    "avg_pool": "F.avg_pool2d(x, 2) ** 2",
    "layer_norm": "F.layer_norm(x, (6,)) ** 2",
    "batch_norm": "F.batch_norm(x, m.zeros(3), m.ones(3), training=True) ** 2",
    "cross_entropy": "F.cross_entropy(x.flatten(1), m.tensor([1, 2]))",
    "gelu": "F.gelu(x)",
    "gather": "x.flatten(1)[:, m.tensor([1, 1, 3])] ** 2",
}


@pytest.mark.parametrize("name", LAYERS)
def test_second_order_of_composites(name):
    import toolkit.nn.functional as ours

    def run(m):
        x, w = leaf(m, 2, 3, 6, 6, seed=1), leaf(m, 4, 3, 3, 3, seed=2)
        functional = torch.nn.functional if m is torch else ours
        y = eval(LAYERS[name], {"F": functional, "m": m, "x": x, "w": w}).sum()
        first = m.autograd.grad(y, [x, w], create_graph=True, allow_unused=True)
        first = [g for g in first if g is not None]
        total = sum((g**2).sum() for g in first)
        second = m.autograd.grad(total, [x, w], allow_unused=True)
        return [*(g.detach() for g in first), *(g for g in second if g is not None)]

    compare(run, rtol=1e-3, atol=1e-3)


def test_third_order_and_gradient_penalty():
    def run(m):
        x = leaf(m, 3)
        y = (x**4).sum()
        for _ in range(3):
            (g,) = m.autograd.grad(y, x, create_graph=True)
            y = g.sum()
        w = leaf(m, 3, 3, seed=2)
        out = (x @ w).tanh().sum()
        (gx,) = m.autograd.grad(out, x, create_graph=True)
        (gx.norm() - 1).square().backward()
        return [g.detach(), w.grad]

    compare(run, rtol=1e-4)


def test_accumulates_and_retains():
    def run(m):
        w = leaf(m, 3)
        y = (w * w).sum()
        y.backward(retain_graph=True)
        kept = w.grad
        y.backward()
        return [w.grad, kept]

    compare(run)
    message = refused(lambda m: [y.backward() for y in [(leaf(m, 2) ** 2).sum()] * 2])
    assert "backward through the graph a second time" in message


def test_second_pass_without_saved_values():
    def run(m):
        w = leaf(m, 3)
        y = w + 1
        y.sum().backward()
        y.mean().backward()
        return w.grad

    compare(run)


@pytest.mark.parametrize(
    "program, message",
    [
        (
            "m.ones(2).sum().backward()",
            "element 0 of tensors does not require grad and does not have a grad_fn",
        ),
        ("(a * 2).backward()", "grad can be implicitly created only for scalar outputs"),
        ("(a * 2).backward(m.ones(7))", "Mismatch in shape: grad_output.0. has a shape of"),
        ("m.autograd.grad(a.sum(), b)", "appears to not have been used in the graph"),
        (
            "m.autograd.grad(a.sum(), m.ones(1))",
            "One of the differentiated Tensors does not require grad",
        ),
        ("a.numpy()", "Use tensor.detach.*numpy"),
        ("m.tensor([1], requires_grad=True)", "floating point"),
        ("m.ones(2).long().requires_grad_()", "floating point"),
        ("(a * 2).requires_grad_(False)", "only change requires_grad flags of leaf"),
        ("m.ones(2).register_hook(print)", "requires? gradient|require gradient"),
        ("m.ones(2).retain_grad()", "requires_grad=False"),
        ("a.grad = m.ones(9)", "different size"),
    ],
)
def test_refused(program, message):
    import re

    def run(m):
        exec(program, {"m": m, "a": leaf(m, 3), "b": leaf(m, 3)})

    assert re.search(message, refused(run))


def test_modes():
    def run(m):
        w = leaf(m, 2)
        seen = []
        with m.no_grad():
            seen.append((w * 2).requires_grad)
            with m.enable_grad():
                seen.append((w * 2).requires_grad)
        with m.set_grad_enabled(False):
            seen.append(m.is_grad_enabled())
        seen.append(m.is_grad_enabled())

        @m.no_grad()
        def f():
            return (w * 2).requires_grad

        seen += [f(), (w > 0).requires_grad, w.argmax().requires_grad, w.is_leaf, (w * 2).is_leaf]
        d = (w * 2).detach()
        seen += [d.requires_grad, d.is_leaf, (w * 2).grad_fn is None, w.grad_fn is None]
        return seen

    compare(run)


def test_hooks():
    def run(m):
        w = leaf(m, 3)
        a = w * 2
        b = a.exp()
        c = a.sin()
        seen = []
        a.register_hook(lambda g: seen.append(g.clone()))
        a.register_hook(lambda g: g * 2)
        handle = b.register_hook(lambda g: g * 100)
        handle.remove()
        c.retain_grad()
        w.register_hook(lambda g: g + 1)
        (b * c).sum().backward()
        return [w.grad, c.grad, *seen]

    compare(run)


def test_grad_of_inner_tensors():
    def run(m):
        w = leaf(m, 3)
        a = w * 2
        b = a * a
        y = (b + a).sum()
        ga, gb, gw = m.autograd.grad(y, [a, b, w], retain_graph=True)
        (gu,) = m.autograd.grad(y, [leaf(m, 2)], allow_unused=True, retain_graph=True)
        y.backward(inputs=[w])
        return [ga, gb, gw, gu is None, w.grad]

    compare(run)


def test_grad_outputs_and_several_roots():
    def run(m):
        w = leaf(m, 3)
        a, b = w * 2, w.exp()
        g = m.autograd.grad([a, b], w, [m.ones(3), m.tensor([1.0, 2.0, 3.0])], retain_graph=True)
        m.autograd.backward([a, b.sum()], [m.ones(3), None])
        return [*g, w.grad]

    compare(run)


def test_custom_function():
    def run(m):
        class Clip(m.autograd.Function):
            @staticmethod
            def forward(ctx, x, limit):
                ctx.save_for_backward(x)
                ctx.limit = limit
                return x.clamp(-limit, limit)

            @staticmethod
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                return g * (x.abs() < 2 * ctx.limit).float(), None

        w = leaf(m, 5)
        y = Clip.apply(w * 2, 1.0)
        (y * y).sum().backward()
        return [y.detach(), w.grad]

    compare(run)


def test_training_loop_builds_one_graph():
    tk.autograd.cache_clear()
    w, b = leaf(tk, 4, 3), leaf(tk, 3, seed=2)
    x = tk.tensor(data(5, 4, seed=3))
    for step in range(6):
        loss = ((x @ w + b).relu() * (1.0 / (step + 1))).square().mean()
        loss.backward()
        with tk.no_grad():
            w -= 0.1 * w.grad
            b -= 0.1 * b.grad
        w.grad = b.grad = None
    info = tk.autograd.cache_info()
    assert (info.misses, info.hits) == (1, 5)
    ((x[:2] @ w + b).relu() * 1.0).square().mean().backward()
    assert tk.autograd.cache_info().misses == 2


def test_tape_is_freed():
    w = leaf(tk, 3)
    a = w * 2
    node = a.grad_fn
    y = a.exp().sum()
    y.backward()
    assert node.freed
    t = tk.ones(3)
    ref = weakref.ref(t)
    gc.disable()
    try:
        z = (w * t).sum()
        del t
        z.backward()
        del z, a, y
        assert ref() is None  # No reference cycles hold tensors.
    finally:
        gc.enable()


def test_leaf_written_outside_the_tape():
    def run(m):
        w = leaf(m, 3)
        a = w.sum() * 1
        w.data.mul_(2)
        b = (w + 1).sum()
        (a + b).backward()
        return [w.grad, w.detach()]

    compare(run)


def test_shared_memory_overwritten_is_detected():
    array = data(3)
    x = tk.from_numpy(array)
    w = leaf(tk, 3)
    y = (w * x).sum()
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_deepcopy_keeps_grad():
    import copy

    def run(m):
        w = leaf(m, 3)
        (w * w).sum().backward()
        c = copy.deepcopy(w)
        return [c, c.grad, c.is_leaf]

    compare(run)
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(leaf(tk, 2) * 2)


def test_names_of_functions():
    x = leaf(tk, 2, 2)
    t = leaf(torch, 2, 2)
    for expression in cases(NAMED):

        def f(v, expression=expression):
            return eval(expression, {"v": v})

        assert f(x).grad_fn.name() == type(f(t).grad_fn).__name__
