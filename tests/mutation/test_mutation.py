"""The mutation check itself, on a few rules: it sees mistakes, and it sees what tests miss."""

from __future__ import annotations

import pytest

from tests.mutation import checks
from tests.mutation.equivalent import EQUIVALENT, reason
from tests.mutation.mutants import ROOT, mutants_of
from tests.mutation.run import Verdict, judge
from tests.opinfo import OPS

RULES = ("Sin", "Softsign", "LpNormalization")


def mutants(file: str, *functions: str):
    path = ROOT / "toolkit/autodiff/rules" / file
    return [m for m in mutants_of(path) if m.function in functions]


@pytest.fixture(scope="module")
def rows():
    return checks.table([op for op in OPS if op.name in RULES])


def test_every_mutant_of_a_few_rules_is_caught(rows):
    found = mutants("activation.py", "softsign") + mutants("normalization.py", "lp_normalization")
    assert len(found) > 10
    for mutant in found:
        assert judge(mutant, rows, [])[0] in (Verdict.VALUE, Verdict.ERROR), mutant
    for check in rows:  # The rules are themselves again.
        check.run()


def test_a_weak_table_lets_mutants_survive(rows):
    (mutant, *_) = mutants("activation.py", "softsign")
    assert judge(mutant, [], []) == (Verdict.UNREACHED, "")
    blind = [checks.Check("nothing", lambda: None, frozenset({mutant.place}))]
    assert judge(mutant, blind, []) == (Verdict.SURVIVED, "")


def test_changes_are_those_of_calculus():
    made = {(m.before, m.after) for m in mutants("activation.py", "softsign")}
    assert made >= {
        ("c.b.Abs(x) + 1.0", "c.b.Abs(x) - 1.0"), ("c.b.Abs(x) + 1.0", "1.0"),
        ("c.dy / (scale * scale)", "c.dy"), ("scale * scale", "scale"),
    }  # fmt: skip


def test_what_is_equivalent_is_still_there():
    """An entry whose code has changed says nothing."""
    known = {(f"{m.file.rpartition('/')[2]} {m.function}", m.before, m.after)
             for path in checks.modules() for m in mutants_of(path) if reason(m)}  # fmt: skip
    assert known == set(EQUIVALENT)
