"""Gradients of one sample of the operator table: ours, onnxruntime's, and finite differences."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx.defs
from onnx import helper

from tests import opcheck, tolerances
from tests.opinfo import OpInfo, Sample
from toolkit.autodiff import grad_model

EXPORT_OPSET = 21
ELEMENTS = 24  # Of an input are tried one by one; the directional check covers the rest.

Feed = dict[str, np.ndarray]


# What onnxruntime does not do: kernels for a type, padding of a scalar, LRN of even size, some
# ranks of Resize, GridSample and DeformConv, Scan of nothing.
LIMITS = (
    "NOT_IMPLEMENTED",
    "does not support double",
    "Type Error",
    "data_rank > 0",
    "size_ % 2 == 1",
    "mode only supports",
    "Input X must be 4D",
    "grid_sample.cc",
    "No Op registered",
    "No opset import",
    "dim0_offset < dim0_size",
)


def wanted(op: OpInfo, sample: Sample, dtype: str = "float64") -> list[int]:
    """The float inputs of a sample to differentiate."""
    indices = op.grad
    if indices is None:
        indices = () if op.domain else schema_wanted(op.op_type)
    variadic = not op.domain and is_variadic(op.op_type)
    return [
        i
        for i, x in enumerate(sample.inputs)
        if isinstance(x, np.ndarray)
        and x.dtype == dtype
        and (i in indices or (variadic and indices))
    ]


@functools.cache
def schema_wanted(op_type: str) -> tuple[int, ...]:
    """Inputs that the schema marks differentiable."""
    inputs = opcheck.schema(op_type).inputs
    marks = [p.differentiation_category.name == "Differentiable" for p in inputs]
    return tuple(i for i, mark in enumerate(marks) if mark)


@functools.cache
def export_opset(op: OpInfo) -> int:
    """The default opset, or the one that brought the operator in, whichever is later."""
    if op.domain:
        return EXPORT_OPSET
    history = onnx.defs.get_all_schemas_with_history()
    schemas = [s for s in history if s.name == op.op_type and s.domain == ""]
    derived = any(s.has_function or s.has_context_dependent_function for s in schemas)
    return EXPORT_OPSET if derived else max(EXPORT_OPSET, min(s.since_version for s in schemas))


@functools.cache
def is_variadic(op_type: str) -> bool:
    inputs = opcheck.schema(op_type).inputs
    return bool(inputs) and inputs[-1].option.name == "Variadic"


def ort_run(model: onnx.ModelProto, feed: Feed) -> list[np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.ir_version = 10
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, feed)


@dataclass
class Case:
    """A sample with its gradient graph, a cotangent for each float output, and the answers."""

    op: OpInfo
    sample: Sample
    wrt: list[int]
    outputs: list[int]
    model: onnx.ModelProto
    feed: Feed
    values: list[np.ndarray]
    grads: list[np.ndarray]

    def forward(self, inputs: dict[int, np.ndarray]) -> float:
        """<dy, f(x)> with some inputs replaced, by the kernel itself."""
        x = tuple(inputs.get(i, x) for i, x in enumerate(self.sample.inputs))
        y = opcheck.run(self.op, replace(self.sample, inputs=x))
        return float(sum((y[i] * self.feed[f"d_y{i}"]).sum() for i in self.outputs))


def session(model: onnx.ModelProto):
    from toolkit.runtime import InferenceSession

    return InferenceSession(model.SerializeToString())


def case(
    op: OpInfo,
    sample: Sample,
    rng: np.random.Generator,
    symbolic: bool = False,
    dtype: str = "float64",
) -> Case:
    wrt = wanted(op, sample, dtype)
    y = opcheck.run(op, sample)
    outputs = [i for i, v in enumerate(y) if v is not None and v.dtype == dtype]
    forward = opcheck.model(op, sample, y, symbolic)
    model = grad_model(
        forward, [f"x{i}" for i in wrt], [f"y{i}" for i in outputs], opset=export_opset(op)
    )
    feed = opcheck.feed(sample)
    feed |= {f"d_y{i}": np.asarray(rng.uniform(-1, 1, y[i].shape)).astype(dtype) for i in outputs}
    got = session(model).run(None, feed)
    produced = [v for v in y if v is not None]
    return Case(op, sample, wrt, outputs, model, feed, got[: len(produced)], got[len(produced) :])


def check_shapes(c: Case) -> None:
    assert len(c.grads) == len(c.wrt)
    for i, g in zip(c.wrt, c.grads, strict=True):
        x = c.sample.inputs[i]
        assert (g.shape, g.dtype) == (x.shape, x.dtype), f"d_x{i} of {c.op.name}({c.sample})"


def check_finite_differences(c: Case, rng: np.random.Generator) -> None:
    h = tolerances.FINITE_STEP
    rtol, atol = tolerances.FINITE
    for i, g in zip(c.wrt, c.grads, strict=True):
        x = c.sample.inputs[i]
        for k in rng.permutation(x.size)[:ELEMENTS]:
            up, down = x.copy(), x.copy()
            up.flat[k] += h
            down.flat[k] -= h
            want = (c.forward({i: up}) - c.forward({i: down})) / (2 * h)
            np.testing.assert_allclose(
                g.flat[k], want, rtol=rtol, atol=atol * max(1.0, abs(g).max()),
                err_msg=f"d_x{i}[{k}] of {c.op.name}({c.sample})",
            )  # fmt: skip


def check_adjoint(c: Case, rng: np.random.Generator) -> None:
    """<dy, J v> = <transpose(J) dy, v>, J v by a central difference along v."""
    h = tolerances.FINITE_STEP
    rtol, atol = tolerances.FINITE
    v = {i: rng.uniform(-1, 1, c.sample.inputs[i].shape) for i in c.wrt}
    moved = [{i: c.sample.inputs[i] + s * h * v[i] for i in c.wrt} for s in (1, -1)]
    left = (c.forward(moved[0]) - c.forward(moved[1])) / (2 * h)
    terms = [g * v[i] for i, g in zip(c.wrt, c.grads, strict=True)]
    right = sum(t.sum() for t in terms)
    scale = max(1.0, sum(abs(t).sum() for t in terms))
    np.testing.assert_allclose(
        left, right, rtol=rtol, atol=atol * scale, err_msg=f"{c.op.name}({c.sample})"
    )


def check_onnxruntime(op: OpInfo, sample: Sample, rng: np.random.Generator) -> None:
    """The same gradient graph there: equal numbers, so its bodies and exports are right.

    In float32 where onnxruntime has no float64 kernel; not at all where it has neither.
    """
    for dtype, (rtol, atol) in (
        ("float64", tolerances.GRADIENT),
        ("float32", tolerances.GRADIENT_32),
    ):
        c = case(op, cast(sample, dtype), rng, dtype=dtype)
        try:
            results = ort_run(c.model, c.feed)[len(c.values) :]
        except Exception as error:
            if any(text in str(error) for text in LIMITS):
                continue
            raise
        for i, ours, theirs in zip(c.wrt, c.grads, results, strict=True):
            scale = op.tolerance * max(1.0, abs(ours).max(initial=0.0))
            np.testing.assert_allclose(
                ours, theirs, rtol=rtol * op.tolerance, atol=atol * scale,
                err_msg=f"d_x{i} of {op.name}({c.sample})",
            )  # fmt: skip
        return


def cast(sample: Sample, dtype: str) -> Sample:
    """The sample with its float64 inputs in another type."""
    if dtype == "float64":
        return sample
    inputs = (x if x is None or x.dtype != np.float64 else x.astype(dtype) for x in sample.inputs)
    return replace(sample, inputs=tuple(inputs))


def check_second_order(c: Case, rng: np.random.Generator) -> None:
    """The gradient graph, differentiated: <u, J v> = <transpose(J) u, v> for J of (x, dy) -> dx."""
    first = onnx.ModelProto.FromString(c.model.SerializeToString())
    for i in c.wrt:
        first.graph.node.append(helper.make_node("Identity", [f"d_x{i}"], [f"g{i}"]))
    del first.graph.output[:]
    first.graph.output.extend(opcheck.value_info(f"g{i}", c.sample.inputs[i]) for i in c.wrt)
    names = [f"x{i}" for i in c.wrt] + [f"d_y{i}" for i in c.outputs]
    second = grad_model(first, names, [f"g{i}" for i in c.wrt], opset=export_opset(c.op))
    u = {f"d_g{i}": rng.uniform(-1, 1, c.sample.inputs[i].shape) for i in c.wrt}
    grads = session(second).run([f"d_{n}" for n in names], c.feed | u)

    h = tolerances.FINITE_STEP
    v = {n: rng.uniform(-1, 1, c.feed[n].shape) for n in names}
    run = session(first).run

    def moved(sign: int) -> float:
        got = run(
            [f"g{i}" for i in c.wrt], c.feed | {n: c.feed[n] + sign * h * v[n] for n in names}
        )
        return float(sum((g * u[f"d_g{i}"]).sum() for i, g in zip(c.wrt, got, strict=True)))

    left = (moved(1) - moved(-1)) / (2 * h)
    terms = [g * v[n] for n, g in zip(names, grads, strict=True)]
    rtol, atol = tolerances.FINITE_SECOND
    scale = max(1.0, sum(abs(t).sum() for t in terms))
    np.testing.assert_allclose(
        left, sum(t.sum() for t in terms), rtol=rtol, atol=atol * scale,
        err_msg=f"second order of {c.op.name}({c.sample})",
    )  # fmt: skip
