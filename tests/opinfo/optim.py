"""Optimizer steps, against torch.optim."""

from __future__ import annotations

import itertools

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample

LR = np.float32(0.05)


NUMBERS = ("mu_product", "eta", "mu")  # States that are float32 whatever the parameter is.


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
            k: torch.from_numpy(np.asarray(v, np.float32 if k in NUMBERS else np.float64).copy())
            for k, v in state.items()
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


# Operators of (p, g, lr, step, states...): the names of their states, which are not negative if
# they begin with "+" and numbers if with "."; options of torch; the operator's names for them.
POINTWISE = {
    "NAdam": ["exp_avg", "+exp_avg_sq", ".mu_product"],
    "RAdam": ["exp_avg", "+exp_avg_sq"],
    "Adamax": ["exp_avg", "+exp_inf"],
    "Adagrad": ["+sum"],
    "Adadelta": ["+square_avg", "+acc_delta"],
    "RMSprop": ["+square_avg", "momentum_buffer", "grad_avg"],
    "Rprop": ["prev", "+step_size"],
    "ASGD": ["ax", ".eta", ".mu"],
}
CHOICES = {
    "NAdam": {"weight_decay": [0.0, 0.1], "decoupled_weight_decay": [0, 1],
              "momentum_decay": [4e-3, 0.5]},
    "RAdam": {"weight_decay": [0.0, 0.1], "decoupled_weight_decay": [0, 1], "beta2": [0.999, 0.5]},
    "Adamax": {"weight_decay": [0.0, 0.1], "beta1": [0.9, 0.5], "epsilon": [1e-8, 1e-2]},
    "Adagrad": {"weight_decay": [0.0, 0.1], "lr_decay": [0.0, 0.1], "epsilon": [1e-10, 1e-2]},
    "Adadelta": {"weight_decay": [0.0, 0.1], "rho": [0.9, 0.5], "epsilon": [1e-6, 1e-2]},
    "RMSprop": {"weight_decay": [0.0, 0.1], "momentum": [0.0, 0.9], "centered": [0, 1],
                "epsilon": [1e-2]},
    "Rprop": {"eta_minus": [0.5, 0.25], "eta_plus": [1.2, 1.5], "step_size_min": [1e-6, 0.5],
              "step_size_max": [50.0, 1.0]},
    "ASGD": {"weight_decay": [0.0, 0.1], "lambd": [1e-4, 0.1], "alpha": [0.75, 0.5],
             "t0": [1e6, 5.0]},
    "Lion": {"weight_decay": [0.0, 0.1], "beta1": [0.9, 0.5], "beta2": [0.99, 0.8]},
}  # fmt: skip


def state_names(name: str, attrs: dict) -> list[str]:
    names = POINTWISE.get(name, ["exp_avg"])
    if name == "RMSprop":
        have = [True, attrs.get("momentum", 0) > 0, attrs.get("centered", 0)]
        return [n for n, wanted in zip(names, have, strict=True) if wanted]
    return names


def pointwise_sample(d, name, shape, step, attrs):
    states = []
    for key in state_names(name, attrs):
        if key[0] == ".":
            states.append(np.float32(0.75))
        elif name == "RMSprop" and key == "grad_avg":  # Its square is taken from the average.
            states.append(d(*shape) * d.dtype.type(0.1))
        else:
            states.append(d.positive(*shape) if key[0] == "+" else d(*shape))
    states = [np.asarray(s, s.dtype) for s in states]
    return S(d(*shape), d(*shape), LR, np.int64(step), *states, outputs=1 + len(states), **attrs)


def pointwise_samples(name: str):
    def samples(d):
        for shape in ((65,), (3, 17), (), (0,)):
            yield pointwise_sample(d, name, shape, 3, {})
        for attrs in options(**CHOICES[name]):
            yield pointwise_sample(d, name, (33,), 7, attrs)

    return samples


def torch_options(attrs: dict) -> dict:
    """Attributes by torch's names; pairs that it takes together."""
    given = {{"epsilon": "eps"}.get(k, k): v for k, v in attrs.items()}
    for flag in ("decoupled_weight_decay", "centered"):
        if flag in given:
            given[flag] = bool(given[flag])
    pairs = {"betas": ("beta1", "beta2"), "etas": ("eta_minus", "eta_plus"),
             "step_sizes": ("step_size_min", "step_size_max")}  # fmt: skip
    defaults = {"betas": (0.9, 0.999), "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}
    for name, parts in pairs.items():
        if any(part in given for part in parts):
            both = zip(parts, defaults[name], strict=True)
            given[name] = tuple(given.pop(part, other) for part, other in both)
    return given


def pointwise(name: str):
    def reference(sample: Sample) -> list[np.ndarray | None]:
        import torch

        p, g, lr, step, *states = sample.inputs
        names = [n.lstrip("+.") for n in state_names(name, sample.attributes)]
        state = {"step": np.float64(step - 1), **dict(zip(names, states, strict=True))}
        new, after = torch_step(getattr(torch.optim, name), p, g, state, lr=float(lr),
                                **torch_options(decimals(sample)))  # fmt: skip
        pairs = zip(names, states, strict=True)
        return [new.astype(p.dtype), *(after[k].numpy().astype(s.dtype) for k, s in pairs)]

    return reference


def lion(sample: Sample) -> list[np.ndarray]:
    """Chen et al., 2023, algorithm 2."""
    p, g, lr, _, m = (np.asarray(x, np.float64) for x in sample.inputs)
    a = {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0} | decimals(sample)
    update = np.sign(a["beta1"] * m + (1 - a["beta1"]) * g)
    m = a["beta2"] * m + (1 - a["beta2"]) * g
    return [
        x.astype(sample.inputs[0].dtype) for x in (p - lr * (update + a["weight_decay"] * p), m)
    ]


def pointwise_row(name: str) -> OpInfo:
    big = lambda d: [pointwise_sample(d, name, (100_003,), 7, {})]  # noqa: E731
    reference = lion if name == "Lion" else pointwise(name)
    return row(name, pointwise_samples(name), reference, big)


ROWS = [
    *(pointwise_row(name) for name in CHOICES),
    row("SGD", sgd_samples, sgd,
        lambda d: [S(d(100_003), d(100_003), d(100_003), LR, np.int64(2), outputs=2, momentum=0.9)]),
    row("Adam", adam_samples, adam("Adam"), adam_big),
    row("AdamW", adam_samples, adam("AdamW"), adam_big),
    row("AdamWOptimizer", ort_adam_samples, ort_adam, ort_adam_big),
]  # fmt: skip
