"""Optimizer steps, against torch.optim."""

from __future__ import annotations

import itertools

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample

LR = np.float32(0.05)


def options(**choices):
    return [dict(zip(choices, v, strict=True)) for v in itertools.product(*choices.values())]


def decimals(sample: Sample) -> dict:
    """The attributes, floats as the decimal that their float32 stands for."""
    return {
        k: float(str(np.float32(v))) if isinstance(v, float) else v
        for k, v in sample.attributes.items()
    }


def sgd_samples(d):
    for shape in ((65,), (3, 17), (), (0,)):
        yield S(d(*shape), d(*shape), None, LR, np.int64(1))
    for attrs in options(
        momentum=[0.9], dampening=[0.0, 0.3], weight_decay=[0.0, 0.1], nesterov=[0, 1]
    ):
        if attrs["nesterov"] and attrs["dampening"]:
            continue
        for step in (1, 4):
            buf = d(33) if step > 1 else np.zeros(33, d.dtype)
            yield S(d(33), d(33), buf, LR, np.int64(step), outputs=2, **attrs)
    yield S(d(33), d(33), None, LR, np.int64(3), weight_decay=0.1)


def torch_step(optimizer_class, p, g, state, **kwargs):
    """One step of a torch optimizer in double precision; the new parameter and state."""
    import torch

    parameter = torch.nn.Parameter(torch.from_numpy(p.astype(np.float64)))
    parameter.grad = torch.from_numpy(g.astype(np.float64))
    optimizer = optimizer_class([parameter], **kwargs)
    if state is not None:
        optimizer.state[parameter] = {
            k: torch.from_numpy(np.asarray(v, np.float64).copy()) for k, v in state.items()
        }
    optimizer.step()
    return parameter.detach().numpy(), optimizer.state[parameter]


def sgd(sample: Sample) -> list[np.ndarray | None]:
    import torch

    p, g, buf, lr, step = sample.inputs
    attrs = decimals(sample)
    attrs["nesterov"] = bool(attrs.get("nesterov", 0))
    state = None if buf is None or step == 1 else {"momentum_buffer": buf}
    new, after = torch_step(torch.optim.SGD, p, g, state, lr=float(lr), **attrs)
    out = after.get("momentum_buffer")
    return [new.astype(p.dtype), None if out is None else out.numpy().astype(p.dtype)]


ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}


def adam_samples(d):
    for shape in ((65,), (3, 17), (), (0,)):
        zero = np.zeros(shape, d.dtype)
        yield S(d(*shape), d(*shape), zero, zero, LR, np.int64(1), outputs=3, **ADAM)
    for attrs in options(
        weight_decay=[0.0, 0.1], amsgrad=[0, 1], beta1=[0.9, 0.5], epsilon=[1e-8, 1e-3]
    ):
        more = [d.positive(33)] if attrs["amsgrad"] else []
        yield S(d(33), d(33), d(33), d.positive(33), LR, np.int64(7), *more, outputs=3 + len(more),
                beta2=0.99, **attrs)  # fmt: skip


def adam(name: str):
    def reference(sample: Sample) -> list[np.ndarray | None]:
        import torch

        p, g, m, v, lr, step, vmax = (*sample.inputs, None)[:7]
        attrs = decimals(sample)
        state = {"step": np.float64(step - 1), "exp_avg": m, "exp_avg_sq": v}
        if vmax is not None:
            state["max_exp_avg_sq"] = vmax
        new, after = torch_step(
            getattr(torch.optim, name), p, g, state, lr=float(lr),
            betas=(attrs["beta1"], attrs["beta2"]),
            eps=attrs["epsilon"], weight_decay=attrs["weight_decay"],
            amsgrad=bool(attrs.get("amsgrad", 0)),
        )  # fmt: skip
        keys = ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if vmax is not None else [])
        return [a.astype(p.dtype) for a in (new, *(after[k].numpy() for k in keys))]

    return reference


def ort_adam_samples(d):
    for attrs in options(adam_mode=[0, 1], correct_bias=[0, 1], weight_decay=[0.0, 0.1]):
        yield S(d(33), d(33), d(33), d.positive(33), LR, np.int64(7), outputs=3,
                alpha=0.8, beta=0.99, epsilon=1e-3, **attrs)  # fmt: skip
    yield S(d(3, 17), d(3, 17), d(3, 17), d.positive(3, 17), LR, np.int64(1), outputs=3)


def ort_adam(sample: Sample) -> list[np.ndarray]:
    """The kernel of onnxruntime in double precision; mode 1 is transformers.AdamW."""
    p, g, m, v, lr, step = (np.asarray(x, np.float64) for x in sample.inputs)
    a = {"alpha": 0.9, "beta": 0.999, "epsilon": 1e-8, "weight_decay": 0.01} | decimals(sample)
    m = a["alpha"] * m + (1 - a["alpha"]) * g
    v = a["beta"] * v + (1 - a["beta"]) * g * g
    c1, c2 = 1 - a["alpha"] ** step, 1 - a["beta"] ** step
    if not a.get("correct_bias", 1):
        c1 = c2 = 1.0
    if a.get("adam_mode", 0):
        p = p - lr * np.sqrt(c2) / c1 * m / (np.sqrt(v) + a["epsilon"])
        p = p - lr * a["weight_decay"] * p
    else:
        p = p - lr * a["weight_decay"] * p
        p = p - lr / c1 * m / (np.sqrt(v / c2) + a["epsilon"])
    return [x.astype(sample.inputs[0].dtype) for x in (p, m, v)]


def row(op_type, samples, reference, big) -> OpInfo:
    return OpInfo(
        op_type, samples, "toolkit.optim", grad=(), reference=reference, tolerance=4, big=big
    )


def adam_big(d):
    n = 100_003
    return [S(d(n), d(n), d(n), d.positive(n), LR, np.int64(7), outputs=3, **ADAM)]


def ort_adam_big(d):
    n = 100_003
    return [S(d(n), d(n), d(n), d.positive(n), LR, np.int64(7), outputs=3, adam_mode=1)]


ROWS = [
    row("SGD", sgd_samples, sgd,
        lambda d: [S(d(100_003), d(100_003), d(100_003), LR, np.int64(2), outputs=2, momentum=0.9)]),
    row("Adam", adam_samples, adam("Adam"), adam_big),
    row("AdamW", adam_samples, adam("AdamW"), adam_big),
    row("AdamWOptimizer", ort_adam_samples, ort_adam, ort_adam_big),
]  # fmt: skip
