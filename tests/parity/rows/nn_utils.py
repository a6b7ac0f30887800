"""`nn.utils` beside torch's: parametrizations, norms of weights, fusion, clipping, `nn.init`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.parity.core import FLOATS, Row, d, fill, like, module

X, C = d(2, 4), d(2, 4, 6, 5)


def made(name: str, build: Callable[[Any], Any], *draws: Any, **options: Any) -> Row:
    """A module that a utility has changed."""
    return Row(f"utils.{name}", module(build), draws or [X], **options)


def twice(m: Any) -> Any:
    """A parametrization with an inverse."""

    class Twice(m.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x * 2

        def right_inverse(self, x: Any) -> Any:
            return x / 2

    return Twice()


def parametrized(m: Any, w: Any) -> Any:
    """A weight that two parametrizations compute, assigned, read, and made ordinary again."""
    p, layer = m.nn.utils.parametrize, m.nn.Linear(4, 3, dtype=w.dtype)
    p.register_parametrization(layer, "weight", twice(m))
    p.register_parametrization(layer, "weight", twice(m))
    layer.weight = w.detach()
    out = [repr(layer), layer.weight, layer.parametrizations.weight.original, w * 1]
    with p.cached():
        out.append(layer.weight is layer.weight)
    out.append([p.is_parametrized(layer), p.is_parametrized(layer, "bias")])
    p.remove_parametrizations(layer, "weight")
    return [*out, repr(layer), layer.weight, p.is_parametrized(layer), sorted(layer.state_dict())]


def orthogonal(m: Any, w: Any, **options: Any) -> Any:
    """A layer whose weight is set and then computed."""
    layer = m.nn.Linear(w.shape[1], w.shape[0], dtype=w.dtype)
    m.nn.utils.parametrizations.orthogonal(layer, **options)
    layer.weight = w.detach()
    return [repr(layer), layer.weight, w * 1, sorted(layer.state_dict())]


def fused(m: Any, x: Any, layer: str, transpose: bool = False) -> Any:
    """A layer and a norm, and both as one."""
    sizes = (4, 6) if layer == "Linear" else (4, 6, 3)
    first = getattr(m.nn, layer)(*sizes)
    norm = (m.nn.BatchNorm1d if layer == "Linear" else m.nn.BatchNorm2d)(6)
    for part in (first, norm):
        part.to(x.dtype).eval()
        fill(part)
    u = m.nn.utils
    one = u.fuse_linear_bn_eval(first, norm) if layer == "Linear" else u.fuse_conv_bn_eval(
        first, norm, transpose)  # fmt: skip
    return [repr(one), one(x), sorted(one.state_dict()), one.weight]


def clipped(m: Any, x: Any, how: Callable[[Any, Any], Any]) -> Any:
    """Gradients after clipping, and what it returned."""
    params = [m.nn.Parameter(like(x.detach(), np.ones(n))) for n in (2, 3)]
    for i, p in enumerate(params):
        p.grad = like(x.detach(), np.arange(len(p)) * (i + 1.5) - 1)
    return [how(m.nn.utils, params), [p.grad for p in params]]


def old(name: str, m: Any, x: Any, remove: bool = False, **options: Any) -> Any:
    """A layer with a norm of the first kind, in evaluation mode or without it again."""
    layer = m.nn.Linear(4, 3, dtype=x.dtype)
    getattr(m.nn.utils, name)(layer, **options)
    fill(layer)
    layer.eval()
    out = layer(x)
    if remove:
        getattr(m.nn.utils, f"remove_{name}")(layer)
        out = layer(x)
    return [repr(layer), out, sorted(layer.state_dict())]


_CLIPS: dict[str, Callable[[Any, Any], Any]] = {
    "norm 2": lambda u, p: u.clip_grad_norm_(p, 1.0),
    "norm 1": lambda u, p: u.clip_grad_norm_(p, 1.0, norm_type=1),
    "norm inf": lambda u, p: u.clip_grad_norm_(p, 1.0, norm_type=float("inf")),
    "norm large": lambda u, p: u.clip_grad_norm_(p, 100.0, norm_type=3.0),
    "one": lambda u, p: u.clip_grad_norm_(p[0], 0.5),
    "value": lambda u, p: u.clip_grad_value_(p, 0.7),
    "none": lambda u, p: u.clip_grad_norm_([], 1.0),
    "known": lambda u, p: u.clip_grads_with_norm_(
        p, 1.0, u.get_total_norm([q.grad for q in p], 2.0)),
}  # fmt: skip

_PAR = [
    *(
        made(f"parametrizations.weight_norm/{dim}",
             lambda m, dim=dim: m.nn.utils.parametrizations.weight_norm(m.nn.Linear(4, 3), dim=dim),
             dtypes=FLOATS)
        for dim in (0, 1, None)
    ),
    made("parametrizations.weight_norm/conv",
         lambda m: m.nn.utils.parametrizations.weight_norm(m.nn.Conv2d(4, 3, 3)), C),
    *(
        made(f"parametrizations.spectral_norm/{mode}",
             lambda m, mode=mode: m.nn.utils.parametrizations.spectral_norm(
                 m.nn.Linear(4, 3), n_power_iterations=2).train(mode), dtypes=FLOATS)
        for mode in (True, False)
    ),
    made("parametrizations.spectral_norm/conv",
         lambda m: m.nn.utils.parametrizations.spectral_norm(m.nn.ConvTranspose2d(4, 3, 3)), C),
    made("parametrizations.spectral_norm/bias",
         lambda m: m.nn.utils.parametrizations.spectral_norm(m.nn.Linear(4, 3), "bias")),
    Row("utils.parametrize", parametrized, [d(3, 4)], dtypes=FLOATS),
    Row("utils.parametrize/shape", lambda m, x: m.nn.utils.parametrize.register_parametrization(
        m.nn.Linear(4, 3), "weight", m.nn.Linear(4, 2)), [X], error=True),
    Row("utils.parametrize/name", lambda m, x: m.nn.utils.parametrize.register_parametrization(
        m.nn.Linear(4, 3), "odd", m.nn.Identity()), [X], error=True),
    Row("utils.parametrize/none", lambda m, x: m.nn.utils.parametrize.remove_parametrizations(
        m.nn.Linear(4, 3), "weight"), [X], error=True),
    *(
        Row(f"utils.orthogonal/householder {shape}", lambda m, w: orthogonal(
            m, w, orthogonal_map="householder", use_trivialization=False), [d(*shape)],
            dtypes=FLOATS)
        for shape in ((5, 3), (3, 5), (4, 4))
    ),
    Row("utils.orthogonal/base", lambda m, w: (lambda r: [r[0], r[3]])(orthogonal(m, w)),
        [d(5, 3)], grad=False),
    Row("utils.orthogonal/map", lambda m, w: orthogonal(m, w, orthogonal_map="odd"),
        [d(5, 3)], error=True),
    Row("utils.orthogonal/vector", lambda m, w: m.nn.utils.parametrizations.orthogonal(
        m.nn.Linear(4, 3), "bias"), [X], error=True),
    *(
        Row(f"utils.{name}/{remove} {note}",
            lambda m, x, name=name, remove=remove, o=o: old(name, m, x, remove, **o), [X],
            dtypes=FLOATS)
        for name, note, o in (("weight_norm", "0", {}), ("weight_norm", "1", {"dim": 1}),
                              ("weight_norm", "all", {"dim": None}), ("spectral_norm", "0", {}))
        for remove in (False, True)
    ),
    made("weight_norm/training", lambda m: m.nn.utils.weight_norm(m.nn.Conv2d(4, 3, 2)), C),
    made("spectral_norm/training", lambda m: m.nn.utils.spectral_norm(m.nn.Linear(4, 3))),
    Row("utils.remove_weight_norm/none", lambda m, x: m.nn.utils.remove_weight_norm(
        m.nn.Linear(4, 3)), [X], error=True),
    *(
        Row(f"utils.fuse/{name} {transpose}",
            lambda m, x, name=name, t=transpose: fused(m, x, name, t), [x], dtypes=FLOATS)
        for name, transpose, x in (("Linear", False, X), ("Conv2d", False, C),
                                   ("ConvTranspose2d", True, C))
    ),
    Row("utils.fuse/training", lambda m, x: m.nn.utils.fuse_conv_bn_eval(
        m.nn.Conv2d(4, 4, 3), m.nn.BatchNorm2d(4)), [X], dtypes=()),
    *(
        Row(f"utils.clip_grad/{name}", lambda m, x, how=how: clipped(m, x, how), [X], grad=False)
        for name, how in _CLIPS.items()
    ),
    Row("utils.clip_grad/nonfinite", lambda m, x: clipped(m, x, lambda u, p: u.clip_grad_norm_(
        [*p, (lambda q: setattr(q, "grad", q.detach() * float("inf")) or q)(p[0])], 1.0,
        error_if_nonfinite=True)), [X], error=True),
    Row("utils.parameters_to_vector", lambda m, x, y: m.nn.utils.parameters_to_vector([x, y]),
        [X, C]),
    Row("utils.vector_to_parameters", lambda m, x: (lambda p: [
        m.nn.utils.vector_to_parameters(x.reshape(-1), p), p])(
            [like(x, np.zeros((2, 3))), like(x, np.zeros(2))]), [X], grad=False),
]  # fmt: skip


def initial(name: str, *shape: int, **options: Any) -> Row:
    """A fill that is not random."""

    def call(m: Any) -> Any:
        return getattr(m.nn.init, name)(m.zeros(*shape), **options)

    text = ", ".join(f"{k}={v}" for k, v in options.items())
    return Row(f"init.{name}({text}) {shape}", call, grad=False)


_INIT = [
    initial("constant_", 2, 3, val=1.5), initial("ones_", 2), initial("zeros_", 2),
    initial("eye_", 3, 4), initial("dirac_", 4, 3, 3), initial("dirac_", 4, 2, 3, 3, groups=2),
    initial("dirac_", 3, 3, 3, 3, 2), initial("constant", 2, val=2.0), initial("eye", 3, 3),
    *(Row(f"init.calculate_gain/{n}", lambda m, n=n: m.nn.init.calculate_gain(n))
      for n in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")),
    Row("init.calculate_gain/slope", lambda m: m.nn.init.calculate_gain("leaky_relu", 0.3)),
    *(
        Row(f"init.{name} {shape}", lambda m, name=name, shape=shape, o=o: getattr(
            m.nn.init, name)(m.zeros(*shape), *o), error=True)
        for name, shape, o in (("eye_", (3,), ()), ("dirac_", (3, 3), ()),
                               ("dirac_", (4, 3, 3), (3,)), ("xavier_uniform_", (3,), ()),
                               ("xavier_normal_", (3,), ()), ("kaiming_normal_", (3,), ()),
                               ("orthogonal_", (3,), ()), ("sparse_", (3,), (0.1,)))
    ),
    Row("init.kaiming_uniform_/mode", lambda m: m.nn.init.kaiming_uniform_(
        m.zeros(2, 3), mode="odd"), error=True),
    Row("init.calculate_gain/odd", lambda m: m.nn.init.calculate_gain("odd"), error=True),
]  # fmt: skip

ROWS = [*_PAR, *_INIT]
