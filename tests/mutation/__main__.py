"""Makes every mutant and says which ones no check sees: `python -m tests.mutation [name …]`.

A name is a part of a mutant's description: a family (`conv`), a rule, a line (`conv.py:23`).
"""

from __future__ import annotations

import argparse
import collections
import gc
import sys
import time
import warnings

from tests.mutation import checks
from tests.mutation.equivalent import reason
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.run import Verdict, judge

TESTS = ("tests/autodiff", "tests/test_gradients.py::test_composite_equals_its_body")
SLOW = 10  # Seconds: a test that takes longer is left out.


def main() -> int:
    """Returns 1 if mutants survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of descriptions of mutants; all without")
    parser.add_argument("--verbose", action="store_true", help="also list the mutants caught")
    chosen = parser.parse_args()
    warnings.simplefilter("error")
    start = time.perf_counter()
    mutants = [m for m in _all() if not chosen.names or any(n in str(m) for n in chosen.names)]
    places = {m.place for m in mutants}
    tests = [c for c in checks.tests(*TESTS) if c.seconds < SLOW]
    rows = checks.table()
    rows, tests = ([c for c in kind if not places.isdisjoint(c.places)] for kind in (rows, tests))
    gc.freeze()
    print(f"{len(mutants)} mutants, {len(rows)} calls, {len(tests)} tests", flush=True)
    counts: collections.Counter[Verdict] = collections.Counter()
    for mutant in mutants:
        why = reason(mutant)
        verdict, by = (Verdict.EQUIVALENT, why) if why else judge(mutant, rows, tests)
        counts[verdict] += 1
        if chosen.verbose or verdict in (Verdict.SURVIVED, Verdict.UNREACHED):
            print(f"{verdict.value:10} {mutant}" + (f"  [{by}]" if by else ""), flush=True)
    return _report(counts, time.perf_counter() - start)


def _all() -> list[Mutant]:
    return [m for path in checks.modules() for m in mutants_of(path)]


def _report(counts: collections.Counter[Verdict], seconds: float) -> int:
    caught = counts[Verdict.VALUE] + counts[Verdict.ERROR]
    judged = counts.total() - counts[Verdict.EQUIVALENT]
    print(*(f"{counts[v]} {v.value}" for v in Verdict), sep=", ")
    print(f"{caught} of {judged} caught: {caught / max(judged, 1):.1%}, in {seconds:.0f} s")
    return int(caught < judged)


if __name__ == "__main__":
    sys.exit(main())
