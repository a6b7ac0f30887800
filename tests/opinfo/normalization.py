"""Normalizations and their gradients."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample, f32

BATCH = ((2, 3), (4, 1, 5), (2, 3, 4, 5), (3, 17, 2, 2), (1, 2, 3, 2, 2), (65, 7))
LAYER = (
    ((2, 7), {}),
    ((3, 65), {"axis": 1}),
    ((2, 3, 5), {"axis": -2}),
    ((2, 3, 5), {"axis": 0}),
    ((2, 3, 17), {"axis": -1, "epsilon": 1e-2}),
    ((4, 1), {}),
    ((0, 5), {}),
)


def channels(d, shape):
    """scale, bias, mean, variance of the C channels."""
    c = shape[1]
    return d(c), d(c), d(c), d.positive(c)


def batch_samples(d):
    for shape in BATCH:
        yield S(d(*shape), *channels(d, shape))
    yield S(d(2, 3, 4), *channels(d, (2, 3, 4)), epsilon=0.1)
    for shape in BATCH:
        yield S(d(*shape), *channels(d, shape), outputs=3, training_mode=1)
    yield S(d(2, 3, 4), *channels(d, (2, 3, 4)), outputs=3, training_mode=1, momentum=0.3)


def over(shape):
    return tuple(i for i in range(len(shape)) if i != 1)


def batch_reference(sample: Sample) -> list[np.ndarray]:
    x, scale, bias, mean, var = (v.astype(np.float64) for v in sample.inputs)
    attrs = sample.attributes
    spread = [1, -1] + [1] * (x.ndim - 2)
    new_mean = new_var = None
    if attrs.get("training_mode"):
        momentum = attrs.get("momentum", f32(0.9))
        batch_mean, batch_var = x.mean(over(x.shape)), x.var(over(x.shape))
        new_mean = mean * momentum + batch_mean * (1 - momentum)
        new_var = var * momentum + batch_var * (1 - momentum)
        mean, var = batch_mean, batch_var
    mean, var, scale, bias = (v.reshape(spread) for v in (mean, var, scale, bias))
    y = (x - mean) / np.sqrt(var + attrs.get("epsilon", f32(1e-5))) * scale + bias
    dtype = sample.inputs[0].dtype
    return [None if v is None else v.astype(dtype) for v in (y, new_mean, new_var)]


def torch_vjp(sample: Sample, f, dy, wrt) -> list[np.ndarray]:
    import torch

    t = [torch.from_numpy(v).double() for v in sample.inputs]
    for i in wrt:
        t[i].requires_grad_()
    grads = torch.autograd.grad(f(*t), [t[i] for i in wrt], torch.from_numpy(dy).double())
    return [g.numpy().astype(dy.dtype) for g in grads]


def batch_grad_reference(sample: Sample) -> list[np.ndarray]:
    import torch

    x, scale, dy = sample.inputs
    epsilon = sample.attributes.get("epsilon", f32(1e-5))

    def f(tx, ts, tb):
        return torch.nn.functional.batch_norm(tx, None, None, ts, tb, True, 0.1, epsilon)

    return torch_vjp(S(x, scale, np.zeros_like(scale)), f, dy, (0, 1, 2))


def batch_training_reference(sample: Sample) -> list[np.ndarray]:
    import torch

    x, scale, bias, mean, var = (torch.from_numpy(v.astype(np.float64)) for v in sample.inputs)
    attrs = sample.attributes
    y = torch.nn.functional.batch_norm(
        x,
        mean,
        var,
        scale,
        bias,
        True,
        attrs.get("momentum", f32(0.1)),
        attrs.get("epsilon", f32(1e-5)),
    )
    return [v.numpy().astype(sample.inputs[0].dtype) for v in (y, mean, var)]


def layer_shape(shape, attrs):
    axis = attrs.get("axis", -1)
    return shape[axis % len(shape) :]


def layer_samples(d):
    for shape, attrs in LAYER:
        tail = layer_shape(shape, attrs)
        yield S(d(*shape), d(*tail), d(*tail), **attrs)
        yield S(d(*shape), d(*tail), **attrs)
        if d.dtype == np.float32:
            yield S(d(*shape), d(*tail), d(*tail), outputs=3, **attrs)
    yield S(d(2, 3, 5), d(5), d(1), axis=1)


def layer_reference(sample: Sample) -> list[np.ndarray]:
    x, scale, bias = (
        None if v is None else v.astype(np.float64) for v in (*sample.inputs, None)[:3]
    )
    axes = tuple(range(sample.attributes.get("axis", -1) % x.ndim, x.ndim))
    with np.errstate(all="ignore"):
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    inverse = 1 / np.sqrt(var + sample.attributes.get("epsilon", f32(1e-5)))
    y = (x - mean) * inverse * scale + (0 if bias is None else bias)
    return [y.astype(sample.inputs[0].dtype), mean.astype(np.float32), inverse.astype(np.float32)]


def layer_grad_samples(d):
    yield S(d(2, 3, 5), d(5), d(2, 3, 5), outputs=3)
    for shape, attrs in LAYER:
        tail = layer_shape(shape, attrs)
        yield S(d(*shape), d(*tail), d(*shape), outputs=3, **attrs)


def layer_grad_reference(sample: Sample) -> list[np.ndarray]:
    import torch

    x, scale, dy = sample.inputs
    attrs = sample.attributes
    tail = layer_shape(x.shape, attrs)

    def f(tx, ts, tb):
        return torch.nn.functional.layer_norm(tx, tail, ts, tb, attrs.get("epsilon", f32(1e-5)))

    return torch_vjp(S(x, scale, np.zeros_like(scale)), f, dy, (0, 1, 2))


def instance_samples(d):
    for shape in ((2, 3, 5), (1, 2, 4, 5), (2, 3, 17), (1, 7, 2, 2, 3)):
        yield S(d(*shape), d(shape[1]), d(shape[1]))
    yield S(d(2, 3, 65), d(3), d(3), epsilon=0.1)


def group_samples(d):
    for shape, groups in (((2, 4, 5), 2), ((1, 6, 3, 3), 3), ((2, 4, 7), 1), ((2, 3, 4), 3)):
        yield S(d(*shape), d(shape[1]), d(shape[1]), num_groups=groups)


def rms_samples(d):
    for shape, attrs in LAYER:
        yield S(d(*shape), d(*layer_shape(shape, attrs)), **attrs)


def lp_samples(d):
    for p in (1, 2):
        for shape, axis in (((3, 7), -1), ((2, 3, 5), 1), ((17, 2), 0), ((4, 65), 1)):
            yield S(d(*shape), axis=axis, p=p)
    yield S(d(3, 7))
    yield S(np.zeros((2, 3), d.dtype))


def lp_reference(sample: Sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    p, axis = sample.attributes.get("p", 2), sample.attributes.get("axis", -1)
    norm = (abs(x) ** p).sum(axis, keepdims=True) ** (1 / p)
    return [np.where(norm == 0, 0, x / np.where(norm == 0, 1, norm)).astype(x.dtype)]


def mean_variance(sample: Sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    axes = tuple(sample.attributes.get("axes", (0, 2, 3)))
    z = x.astype(np.float64) - x.mean(axes, np.float64, keepdims=True)
    return [(z / (np.sqrt((z * z).mean(axes, keepdims=True)) + 1e-9)).astype(x.dtype)]


def lrn(sample: Sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    attrs = sample.attributes
    size, c = attrs["size"], x.shape[1]
    squares = x.astype(np.float64) ** 2
    sums = np.stack([
        squares[:, max(0, i - (size - 1) // 2) : i + size // 2 + 1].sum(1) for i in range(c)
    ], 1)  # fmt: skip
    scale = attrs.get("bias", 1.0) + attrs.get("alpha", f32(1e-4)) / size * sums
    return [(x / scale ** attrs.get("beta", 0.75)).astype(x.dtype)]


def group_reference(sample: Sample) -> list[np.ndarray]:
    x, scale, bias = (v.astype(np.float64) for v in sample.inputs)
    attrs = sample.attributes
    z = x.reshape(x.shape[0], attrs.get("num_groups", x.shape[1]), -1)
    z = (z - z.mean(2, keepdims=True)) / np.sqrt(
        z.var(2, keepdims=True) + attrs.get("epsilon", f32(1e-5))
    )
    spread = [1, -1] + [1] * (x.ndim - 2)
    y = z.reshape(x.shape) * scale.reshape(spread) + bias.reshape(spread)
    return [y.astype(sample.inputs[0].dtype)]


def no_zeros(d):
    return [s for s in lp_samples(d) if s.inputs[0].any()]


def lrn_samples(d):
    yield S(d(2, 5, 3, 3), size=3)
    yield S(d(1, 7, 2, 2), size=5, alpha=0.1, beta=0.5, bias=2.0)
    yield S(d(2, 4, 5), size=2)


def batch_training_samples(d):
    for shape in (*BATCH[:1], *BATCH[2:]):
        yield S(d(*shape), *channels(d, shape), outputs=3, epsilon=1e-5, momentum=0.1)
    yield S(d(4, 3, 5), *channels(d, (4, 3)), outputs=3, epsilon=1e-3, momentum=0.7)


BIG = (8, 33, 17, 13)
ROWS = [
    OpInfo("BatchNormalization", batch_samples, tolerance=4, reference=batch_reference,
           why="training_mode's running statistics",
           big=lambda d: [S(d(*BIG), *channels(d, BIG)),
                          S(d(*BIG), *channels(d, BIG), outputs=3, training_mode=1)]),
    OpInfo("LayerNormalization", layer_samples, tolerance=8, grad=(0, 1, 2),
           reference=layer_reference, why="it fails on empty input",
           big=lambda d: [S(d(65, 701), d(701), d(701))]),
    OpInfo("InstanceNormalization", instance_samples, tolerance=8,
           big=lambda d: [S(d(*BIG), d(33), d(33))]),
    OpInfo("GroupNormalization", group_samples, tolerance=8, grad=(0, 1, 2),
           reference=group_reference, why="computes in float32 for float64",
           big=lambda d: [S(d(*BIG), d(33), d(33), num_groups=3)]),
    OpInfo("RMSNormalization", rms_samples, tolerance=8, grad=(0, 1),
           big=lambda d: [S(d(65, 701), d(701))]),
    OpInfo("LpNormalization", lp_samples, tolerance=4, kinks=(0,), reference=lp_reference,
           grad_samples=no_zeros, why="0/0 where the vector is zero: the schema says 0",
           big=lambda d: [S(d(65, 701)), S(d(65, 701), axis=0, p=1)]),
    OpInfo("MeanVarianceNormalization",
           lambda d: [S(d(2, 3, 4, 5)), S(d(2, 3, 4), axes=[0, 2]), S(d(3, 17), axes=[1])], tolerance=8,
           reference=mean_variance, why="it refuses float64", big=lambda d: [S(d(3, 9, 33, 65))]),
    OpInfo("LRN", lrn_samples, reference=lrn, why="its window stops a channel short", tolerance=4,
           big=lambda d: [S(d(3, 17, 33, 31), size=5)]),
    OpInfo("LayerNormalizationGrad", layer_grad_samples, "toolkit.grad", tolerance=32, grad=(0, 1, 2),
           reference=layer_grad_reference,
           big=lambda d: [S(d(65, 701), d(701), d(65, 701), outputs=3)]),
    OpInfo("BatchNormalizationGrad",
           lambda d: [S(d(*s), d(s[1]), d(*s), outputs=3, epsilon=e) for s in (*BATCH[:1], *BATCH[2:]) for e in (1e-5, .1)],
           "toolkit.grad", tolerance=64, grad=(0, 1, 2), reference=batch_grad_reference,
           big=lambda d: [S(d(*BIG), d(33), d(*BIG), outputs=3)]),
    OpInfo("BatchNormTraining", batch_training_samples, "toolkit.nn", tolerance=8, grad=(0, 1, 2),
           reference=batch_training_reference,
           big=lambda d: [S(d(*BIG), *channels(d, BIG), outputs=3)]),
]  # fmt: skip
