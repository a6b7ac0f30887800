"""Every kernel against the operator table: values, element types, special values, threads."""

from __future__ import annotations

import pytest

from tests import opcheck, tolerances
from tests.opinfo import OPS, OpInfo, Sample
from tests.opinfo.core import every_array
from toolkit.runtime import _core

by_dtype = pytest.mark.parametrize(
    ("op", "dtype"),
    [
        pytest.param(op, dtype, id=f"{op.name}-{dtype}")
        for op in OPS
        for dtype in opcheck.tested_dtypes(op)
    ],
)


def check(op: OpInfo, sample: Sample) -> None:
    before = [x.copy() for x in every_array(sample.inputs)]
    got = opcheck.run(op, sample)
    want = [] if op.check else opcheck.expected(op, sample)
    for x, copy in zip(every_array(sample.inputs), before, strict=True):
        assert x.tobytes() == copy.tobytes(), f"an input was overwritten: {sample}"
    if op.check:
        op.check(sample, got)
        return
    assert len(want) >= len(got), f"the reference gives {len(want)} outputs"
    for i, (g, w) in enumerate(zip(got, want, strict=False)):
        if w is None:
            continue
        assert g is not None, f"output {i} was not produced: {sample}"
        tolerances.assert_close(g, w, op.tolerance, message=f"\n{op.name}({sample}), output {i}")


@by_dtype
def test_forward(op, dtype):
    for sample in op.samples(op.draw(dtype)):
        check(op, sample)


@pytest.mark.parametrize(
    ("op", "dtype"),
    [
        pytest.param(op, dtype, id=f"{op.name}-{dtype}")
        for op in OPS
        if op.special
        for dtype in op.dtypes
    ],
)
def test_special_values(op, dtype):
    for sample in op.special(op.draw(dtype, "special")):
        check(op, sample)


@pytest.mark.parametrize("op", [op for op in OPS if op.big], ids=lambda op: op.name)
def test_results_do_not_depend_on_threads(op):
    for dtype in op.dtypes:
        for sample in op.big(op.draw(dtype, "big")):
            results = []
            for threads in (1, 2, 3, 4):
                _core.set_num_threads(threads)
                results.append(opcheck.run(op, sample))
            for other in results[1:]:
                for a, b in zip(results[0], other, strict=True):
                    assert (a is None) == (b is None)
                    if a is not None:
                        assert a.tobytes() == b.tobytes(), f"{op.name}({sample})"


def test_every_row_asks_for_types_of_the_schema():
    for op in OPS:
        if op.domain in opcheck.ONNX_DOMAINS and op.typed_by is not None:
            beyond = set(op.dtypes) - opcheck.schema_types(op, op.typed_by)
            assert not beyond, f"{op.name}: the schema does not allow {beyond}"
            assert op.reference is None or op.why, f"{op.name}: give the reason for a reference"


# Element types without a meaning for an operator that its schema lists all the same.
MEANINGLESS = {"Col2Im": {"string", "bool"}}  # Overlapping blocks are summed.


def test_every_kernel_takes_the_types_of_its_schema():
    wrong = {}
    for (domain, op_type), types in opcheck.registered().items():
        if domain not in opcheck.ONNX_DOMAINS or not opcheck.schema(op_type, domain).inputs:
            continue
        op = OpInfo(op_type, lambda d: (), domain)
        missing = opcheck.schema_types(op, 0) - types - MEANINGLESS.get(op_type, set())
        if missing:
            wrong[op_type] = sorted(missing)
    assert not wrong, f"types that the schema allows: {wrong}"


def test_every_row_has_a_kernel_or_a_body():
    missing = [op.name for op in OPS if not opcheck.has_kernel(op) and not opcheck.derived(op)]
    assert not missing, f"rows of the table without a kernel: {missing}"


def test_every_kernel_has_a_row():
    rows = {(op.domain, op.op_type) for op in OPS}
    kernels = {
        k for k in opcheck.registered() if k[0] != "toolkit.fused"
    }  # runtime/test_fusion.py and others
    missing = sorted(kernels - rows)
    assert not missing, f"kernels without a row in tests/opinfo: {missing}"
