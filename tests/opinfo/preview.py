"""Optimizers of ai.onnx.preview.training."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample

DOMAIN = "ai.onnx.preview.training"


def call(d, count: int, states: int, time: int, shapes=((65,), (2, 3), ()), **attributes):
    """R, T, then the tensors, their gradients and their states, which are positive at the end."""
    shapes = shapes[:count]
    parts = [d(*s) for _ in range(1 + states) for s in shapes]
    parts += [d.positive(*s) for s in shapes]
    rate = d.scalar(0.1)
    return S(rate, np.int64(time), *parts, outputs=count * (1 + states), **attributes)


def adagrad_samples(d):
    for time in (0, 1, 7):
        yield call(d, 1, 1, time)
        yield call(d, 3, 1, time, norm_coefficient=0.25, decay_factor=0.125, epsilon=0.5)
    yield call(d, 1, 1, 1, shapes=((0,),))


def adam_samples(d):
    for time in (0, 1, 7):
        yield call(d, 1, 2, time)
        yield call(d, 3, 2, time, norm_coefficient=0.25, norm_coefficient_post=0.125, epsilon=0.5, alpha=0.75,
                   beta=0.5)  # fmt: skip


def adam(sample: Sample) -> list[np.ndarray]:
    """The specification's pseudo code, in float64."""
    rate, time, *tensors = (x.astype(np.float64) for x in sample.inputs)
    a = {"alpha": 0.9, "beta": 0.999, "epsilon": 1e-6} | sample.attributes
    n = len(tensors) // 4
    new: list[list[np.ndarray]] = [[], [], []]
    for x, g, v, h in zip(*(tensors[k * n : k * n + n] for k in range(4)), strict=True):
        g = a.get("norm_coefficient", 0) * x + g
        v = a["alpha"] * v + (1 - a["alpha"]) * g
        h = a["beta"] * h + (1 - a["beta"]) * g * g
        r = rate * np.sqrt(1 - a["beta"] ** time) / (1 - a["alpha"] ** time) if time > 0 else rate
        x = (1 - a.get("norm_coefficient_post", 0)) * (x - r * v / (np.sqrt(h) + a["epsilon"]))
        for part, value in zip(new, (x, v, h), strict=True):
            part.append(value.astype(sample.inputs[2].dtype))
    return [value for part in new for value in part]


def momentum_samples(d):
    for mode in ("standard", "nesterov"):
        for time in (0, 1, 7):
            yield call(d, 1, 1, time, mode=mode, alpha=0.75, beta=0.5, norm_coefficient=0.0)
            yield call(d, 3, 1, time, mode=mode, alpha=0.75, beta=0.5, norm_coefficient=0.25)


def row(op_type: str, samples, states: int, reference=None, **attributes) -> OpInfo:
    def big(d):
        return [call(d, 1, states, 2, shapes=((100_003,),), **attributes)]

    return OpInfo(op_type, samples, DOMAIN, grad=(), tolerance=40, big=big,
                  reference=reference, why="it gives float64 and rounds defaults" if reference else "")  # fmt: skip


ROWS = [
    row("Adagrad", adagrad_samples, 1),
    row("Adam", adam_samples, 2, adam),
    row(
        "Momentum",
        momentum_samples,
        1,
        mode="nesterov",
        alpha=0.75,
        beta=0.5,
        norm_coefficient=0.25,
    ),
]
