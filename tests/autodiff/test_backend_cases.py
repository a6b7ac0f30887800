"""Every node case of ONNX's suite that its schema calls differentiable.

The gradient equals finite differences in float64, and the gradient graph gives the same numbers in
onnxruntime and in onnx.reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx.reference import ReferenceEvaluator

from tests import tolerances
from tests.autodiff.backend_cases import (
    Arrays,
    Case,
    cases,
    formal,
    gradient,
    in_float64,
    run,
    seeded,
    wide,
)
from toolkit.runtime import InferenceSession

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
ELEMENTS = 16  # Of an input are moved one by one.


def by_torch(f: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Arrays, list[str]], Arrays]:
    """The gradients of a function of one input, by torch's autograd."""

    def gradients(feed: Arrays, names: list[str]) -> Arrays:
        x, dy = (torch.tensor(wide(feed[k])) for k in (names[0], _cotangent(feed)))
        x.requires_grad_()
        f(x).backward(dy)
        return {names[0]: x.grad.numpy()}

    return gradients


def by_formula(f: Callable[[np.ndarray, np.ndarray], np.ndarray]):
    """The gradients of one input as a formula of x and dy."""
    return lambda feed, names: {names[0]: f(wide(feed[names[0]]), wide(feed[_cotangent(feed)]))}


def _cotangent(feed: Arrays) -> str:
    return next(k for k in feed if k.startswith("d_"))


def _unit(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    norm = np.sqrt((x * x).sum(0, keepdims=True))
    safe = np.where(norm == 0, 1, norm)
    y = x / safe
    return np.where(norm == 0, 0, (dy - y * (dy * y).sum(0, keepdims=True)) / safe)


_POOLED = by_torch(lambda x: F.max_pool3d(x, 2, 1, dilation=2))
KINKS = {
    "test_elu_example": ("0 is an input: torch's side", by_torch(lambda x: F.elu(x, 2.0))),
    "test_selu_example": ("0 is an input: torch's side", by_torch(lambda x: 3 * F.elu(x, 2.0))),
    "test_leakyrelu_example": (
        "0 is an input: torch's side",
        by_torch(lambda x: F.leaky_relu(x, 0.1)),
    ),
    "test_thresholdedrelu_example": (
        "the threshold is an input, where the function jumps",
        by_torch(lambda x: F.threshold(x, 2.0, 0.0)),
    ),
    "test_reduce_min_default_axes_keepdims_example": (
        "three smallest elements share, as in torch",
        by_torch(lambda x: x.amin((0, 1, 2), keepdim=True)),
    ),
    "test_maxpool_3d_dilations": ("equal elements: torch takes the first", _POOLED),
    "test_maxpool_3d_dilations_use_ref_impl": ("equal elements: torch takes the first", _POOLED),
    "test_hardmax_one_hot": (
        "equal elements, between which the function jumps; it is constant elsewhere",
        by_formula(lambda x, dy: np.zeros_like(x)),
    ),
    "test_acosh_example": (
        "1 is an input, the end of the domain",
        by_formula(lambda x, dy: dy / np.sqrt(x * x - 1)),
    ),
    **{
        f"test_mod_float_edge_cases_fmod_0_float{bits}": (
            "multiples of the divisor, at which it jumps, zeros and infinities",
            by_formula(lambda x, dy: dy),
        )
        for bits in (16, 32, 64)
    },
    "test_l2normalization_axis_0": ("a norm of 0, for which y and dx are 0", by_formula(_unit)),
}
# What has no float64 in its schema is moved in onnx.reference, parts of which are in float32.
IN_REFERENCE = {"CausalConvWithState", "LinearAttention"}


@pytest.mark.parametrize("name", [n for n in cases() if "_expanded" not in n])
def test_finite_differences(name, rng):
    case = in_float64(cases()[name])
    values = run(case.model, case.feed, case.outputs)
    feed = seeded(case, values, rng)
    got = run(gradient(case), feed, [f"d_{k}" for k in case.wrt])
    rtol, atol = tolerances.FINITE
    if name in KINKS:
        wanted = KINKS[name][1](feed, case.wrt)
    elif case.op in ("Cast", "CastLike") and case.outputs:
        # A cast to a narrower type is a staircase: the gradient passes straight through.
        wanted = by_formula(lambda x, dy: dy)(feed, case.wrt[:1])
        narrow = {feed[case.wrt[0]].dtype.itemsize, feed[_cotangent(feed)].dtype.itemsize} != {8}
        rtol, atol = tolerances.GRADIENT_16 if narrow else tolerances.GRADIENT
    else:
        forward = _forward(case)
        for k in case.wrt:
            _check_elements(case, forward, feed, k, got[f"d_{k}"], rng)
        return
    for k, want in wanted.items():
        np.testing.assert_allclose(wide(got[f"d_{k}"]), want, rtol=rtol, atol=atol, err_msg=k)


def _forward(case: Case) -> Callable[[Arrays], list[np.ndarray]]:
    if not case.outputs:
        return lambda feed: []
    if case.op in IN_REFERENCE:
        reference = ReferenceEvaluator(case.model)
        return lambda feed: reference.run(
            case.outputs,
            {k: wide(x) if np.asarray(x).dtype.kind == "f" else x for k, x in feed.items()},
        )
    session = InferenceSession(case.model.SerializeToString())
    return lambda feed: session.run(case.outputs, feed)


def _check_elements(case, forward, feed, name, got, rng) -> None:
    """Central differences of <dy, y> by some elements of one input; what is not finite counts 0."""
    (rtol, atol), h = tolerances.FINITE, tolerances.FINITE_STEP
    if case.op in IN_REFERENCE:
        (rtol, atol), h = tolerances.FINITE_32, tolerances.FINITE_STEP_32
        if got.dtype.itemsize == 2:
            rtol, atol = tolerances.GRADIENT_16
    x = wide(case.feed[name])
    dys = [wide(feed[f"d_{k}"]) for k in case.outputs]
    scale = max(1.0, float(abs(wide(got)).max(initial=0.0)))
    assert got.shape == x.shape
    for k in rng.permutation(x.size)[:ELEMENTS]:
        sides = []
        for sign in (1, -1):
            moved = x.copy()
            moved.flat[k] += sign * h
            sides.append(forward(case.feed | {name: moved}))
        want = 0.0
        for up, down, dy in zip(*sides, dys, strict=True):
            change = (wide(up) - wide(down)) / (2 * h) * dy
            want += float(change[np.isfinite(change)].sum())
        np.testing.assert_allclose(
            wide(got).flat[k], want, rtol=rtol, atol=atol * scale, err_msg=f"d_{name}[{k}]"
        )


# peer, operators, what it says, why.
_ANY = None
LACKS = (
    ("onnxruntime", _ANY, "Numpy_type 256", "its Python takes no bfloat16"),
    ("onnxruntime", {"Celu", "Einsum"}, "NOT_IMPLEMENTED.*bfloat16|NOT_IMPLEMENTED", "bfloat16"),
    ("onnxruntime", {"Pow"}, r"NOT_IMPLEMENTED.*Pow\(15\)", "exponents of unsigned integers"),
    ("onnxruntime", {"GRU", "LSTM", "RNN"}, "layout_ == 0", "layout=1"),
    ("onnx.reference", _ANY, "index can't contain negative values", "Pad that takes away"),
    ("onnx.reference", _ANY, "Scan is not implemented for other", "Scan from the last step"),
)
WRONG = {
    ("onnx.reference", "MaxPool"): (
        {"1d_default", "2d_default", "3d_default", "2d_same_upper", "2d_same_lower", "2d_pads"},
        "test_maxpool_",
        "the Indices of its MaxPool count the axes in the wrong order",
    ),
    ("onnxruntime", "Resize"): (
        {"linear_align_corners", "cubic_align_corners"},
        "test_resize_downsample_scales_",
        "align_corners rounds the size before the ratio is taken, against the standard",
    ),
    ("onnxruntime", "Dropout"): (
        {"default", "default_mask", "", "mask"},
        "test_training_dropout",
        "its mask is another draw of the same seed",
    ),
}


def _of(dtype: np.dtype) -> tuple[float, float]:
    return tolerances.GRADIENT_16 if dtype.itemsize == 2 else tolerances.GRADIENT_32


def _onnxruntime(model: onnx.ModelProto, feed: Arrays, names: list[str]) -> list[np.ndarray]:
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.ir_version = 10
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    text = model.SerializeToString()
    session = onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])
    return session.run(names, feed)


def _reference(model: onnx.ModelProto, feed: Arrays, names: list[str]) -> list[np.ndarray]:
    return ReferenceEvaluator(model).run(names, feed)


PEERS = {"onnxruntime": _onnxruntime, "onnx.reference": _reference}


@pytest.mark.parametrize("name", [n for n, c in cases().items() if c.outputs])
def test_peers_give_the_same(name, rng):
    case = cases()[name]
    feed = seeded(case, run(case.model, case.feed, case.outputs), rng)
    model = gradient(case)
    names = [f"d_{k}" for k in case.wrt]
    ours = run(model, feed, names)
    for peer, evaluate in PEERS.items():
        try:
            theirs = evaluate(model, feed, names)
        except Exception as error:
            if not _lacks(peer, case, str(error)):
                raise
            continue
        if _is_wrong(peer, case):
            with pytest.raises(AssertionError, match="Not equal to tolerance"):
                _close(ours, theirs, case, peer)
        else:
            _close(ours, theirs, case, peer)


def _lacks(peer: str, case: Case, message: str) -> bool:
    message = " ".join(message.split())
    return any(
        who == peer and (operators is None or case.op in operators) and re.search(says, message)
        for who, operators, says, _ in LACKS
    )


def _is_wrong(peer: str, case: Case) -> bool:
    row = WRONG.get((peer, case.op))
    return row is not None and any(
        case.name == (f"{row[1]}{'' if row[1].endswith('_') or not v else '_'}{v}") for v in row[0]
    )


def _close(ours: Arrays, theirs: list[np.ndarray], case: Case, peer: str) -> None:
    for (name, got), want in zip(ours.items(), theirs, strict=True):
        rtol, atol = max(_of(x.dtype) for x in (got, *case.feed.values()) if x.dtype.kind in "fV")
        got, want = wide(got), wide(want)
        scale = max(1.0, float(abs(got[np.isfinite(got)]).max(initial=0.0)))
        np.testing.assert_allclose(
            got, want, rtol=rtol, atol=atol * scale, err_msg=f"{name} in {peer}"
        )


def test_the_suite_is_whole():
    """Of the suite of onnx 1.23, and an expanded case has the inputs of the one it expands."""
    assert len(cases()) >= 978
    for name, case in cases().items():
        assert name in KINKS or case.wrt
    assert KINKS.keys() <= cases().keys()
    assert all(formal(c.model) for n, c in cases().items() if "_expanded" not in n)
