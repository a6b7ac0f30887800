"""Every gradient rule against the operator table, in float64.

Finite differences, the adjoint identity, onnxruntime on the same gradient graph, symbolic shapes,
second order; every composite's kernel against its body of standard operators.
"""

from __future__ import annotations

import numpy as np
import onnx.defs
import pytest

from tests import gradcheck, opcheck, tolerances
from tests.opinfo import OPS
from toolkit.autodiff import registry
from toolkit.graph.io import load_model, to_proto


def samples(op):
    """The samples in float64 that have something to differentiate."""
    if "float64" not in op.dtypes:
        return []
    draw = op.grad_samples or op.samples
    return [s for s in draw(op.draw("float64", "grad")) if gradcheck.wanted(op, s)]


def ruled(op) -> bool:
    entry = registry.find(op.domain, op.op_type)
    return entry is None or entry.rule is not None


DIFFERENTIABLE = [op for op in OPS if ruled(op) and samples(op)]


each = pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)


@each
def test_gradient(op, rng):
    for sample in samples(op):
        c = gradcheck.case(op, sample, rng)
        gradcheck.check_shapes(c)
        gradcheck.check_finite_differences(c, rng)
        gradcheck.check_adjoint(c, rng)


@each
def test_onnxruntime_gives_the_same_gradient(op, rng):
    if op.ort:
        pytest.skip(op.ort)
    for sample in samples(op):
        gradcheck.check_onnxruntime(op, sample, rng)


def not_empty(op, count: int):
    """The first few samples with elements in every input."""
    chosen = [s for s in samples(op) if all(x is None or x.size for x in s.inputs)]
    return chosen[-count:]


@each
def test_symbolic_shapes(op, rng):
    for sample in not_empty(op, 2):
        c = gradcheck.case(op, sample, rng, symbolic=True)
        gradcheck.check_shapes(c)
        gradcheck.check_adjoint(c, rng)


@each
def test_second_order(op, rng):
    for sample in not_empty(op, 2):
        gradcheck.check_second_order(gradcheck.case(op, sample, rng), rng)


COMPOSITES = [op for op in OPS if op.domain.startswith("toolkit.")]


@pytest.mark.parametrize("op", COMPOSITES, ids=lambda op: op.name)
def test_composite_equals_its_body(op):
    """Onnxruntime runs the function body of standard operators; our runtime, the kernel."""
    for dtype in op.dtypes:
        # A body computes hyperparameters in float32, a kernel in double.
        scale = 1e6 if op.domain == "toolkit.optim" and dtype == "float64" else 4 * op.tolerance
        for sample in op.samples(op.draw(dtype)):
            ours = opcheck.run(op, sample)
            model = to_proto(load_model(opcheck.model(op, sample, ours)), gradcheck.EXPORT_OPSET)
            try:
                theirs = gradcheck.ort_run(model, opcheck.feed(sample))
            except Exception as error:
                if dtype == "float64" and "NOT_IMPLEMENTED" in str(error):
                    break  # Then float32 is what onnxruntime has.
                raise
            produced = [y for y in ours if y is not None]
            for got, want in zip(produced, theirs, strict=True):
                tolerances.assert_close(got, want, scale, message=f"{op.name}({sample})")


def test_every_differentiable_operator_has_a_rule_or_a_reason():
    missing = []
    for op in OPS:
        if op.domain or op.grad == () or not gradcheck.schema_wanted(op.op_type):
            continue
        schema = opcheck.schema(op.op_type)  # Or a body to differentiate.
        derived = schema.has_function or schema.has_context_dependent_function
        if registry.find("", op.op_type) is None and not derived:
            missing.append(op.op_type)
    assert not missing, f"give a rule or not_differentiable(reason): {missing}"


def test_no_operator_of_onnx_is_left_open():
    open_ones = []
    for schema in onnx.defs.get_all_schemas():
        derived = schema.has_function or schema.has_context_dependent_function
        if registry.find(schema.domain, schema.name) is None and not derived:
            open_ones.append(f"{schema.domain}.{schema.name}")
    assert not open_ones, f"give a rule or not_differentiable(reason): {open_ones}"


def test_every_reason_is_a_sentence():
    for (domain, op_type), entry in registry.operators().items():
        assert entry.rule is not None or len(entry.reason) > 8, f"{domain}.{op_type}"


def test_every_rule_states_its_formula():
    for (domain, op_type), entry in registry.operators().items():
        assert entry.rule is None or entry.rule.__doc__, f"{domain}.{op_type}: a docstring"


def test_tolerances_are_tight_enough_to_see_a_wrong_gradient():
    assert np.finfo(np.float64).eps / tolerances.FINITE_STEP < tolerances.FINITE[0] / 100
