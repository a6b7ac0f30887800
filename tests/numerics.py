"""Writes the measured tables of NUMERICS.md: `python -m tests.numerics [OUTPUT OF make ulp]`.

Convolutions: the largest errors found on the inputs of `runtime/test_conv_bounds.py`, which holds
the bounds, and on normal data. Functions: what `make ulp` printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests.runtime import test_conv_bounds as bounds
from tests.runtime.test_conv_algorithms import three

PAGE = Path(__file__).parent.parent / "NUMERICS.md"
ISAS = {"isa_v2": "x86-64-v2", "isa_v3": "x86-64-v3", "isa_v4": "x86-64-v4"}
NORMAL = (3, 16, 64, 128, 256, 512)  # Channels.


def hard(algorithm: str) -> float:
    """The largest error over sums of magnitudes, on inputs chosen to be hard."""
    rng, worst = np.random.default_rng(0), 0.0
    for channels in bounds.CHANNELS:
        for x in bounds.kinds(rng, (1, channels, 9, 8)):
            for w in bounds.kinds(rng, (4, channels, 3, 3)):
                dy = rng.standard_normal((1, 4, 9, 8))
                worst = max(worst, bounds.against_sums(algorithm, x, w, dy, 1))
        for x, w, dy in bounds.signs(rng, algorithm, channels):
            worst = max(worst, bounds.against_sums(algorithm, x, w, dy, 0))
    return worst


def normal(algorithm: str) -> float:
    """The largest error over the largest result, of standard normal data."""
    rng, worst = np.random.default_rng(0), 0.0
    for channels in NORMAL:
        x, w = rng.standard_normal((2, channels, 14, 14)), rng.standard_normal((32, channels, 3, 3))
        dy, attributes = rng.standard_normal((2, 32, 14, 14)), {"pads": [1] * 4}
        values = [v.astype(np.float32) for v in (x, w, np.zeros(32), dy)]
        exact = three(*(v.astype(np.float64) for v in values), attributes, "plain")
        for got, want in zip(three(*values, attributes, algorithm), exact, strict=True):
            worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
    return worst


def convolutions() -> str:
    """A row for each algorithm."""
    rows = [
        "| algorithm | normal data, over max y | hard inputs, over max sum | bound of the latter |",
        "|---|---|---|---|",
    ]
    for algorithm in (*bounds.BOUND, "direct"):
        found, bound = hard(algorithm), bounds.BOUND.get(algorithm)
        assert bound is None or found < bound, algorithm
        cells = [algorithm, f"{normal(algorithm):.1e}", f"{found:.1e}"]
        rows.append(f"| {' | '.join(cells)} | {'' if bound is None else f'{bound:.1e}'} |")
    return "\n".join(rows)


def functions(text: str) -> str:
    """A row for each function, from what `ulp` prints."""
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for line in text.splitlines():
        words = line.split()
        at = next((i for i, w in enumerate(words) if w in ISAS), None)
        if at is None:
            continue
        assert "another kind" not in line, line
        above, below, absolute = (words[at + i] for i in (1, 4, 7))
        found.setdefault(" ".join(words[:at]), {})[words[at]] = above, below, absolute
    rows = [
        f"| function | {' | '.join(ISAS.values())} | absolute, below 0 |",
        "|---|---|---|---|---|",
    ]
    for name, columns in found.items():
        cells = []
        for isa in ISAS:
            above, below, _ = columns[isa]
            tail = "*" if float(below) > 100 else below
            cells.append(above if float(below) == 0 else f"{above}, {tail}")
        absolute = max((c[2] for c in columns.values()), key=float)
        shown = absolute if any("*" in c for c in cells) else ""
        rows.append(f"| {name} | {' | '.join(cells)} | {shown} |")
    return "\n".join(rows)


def write(name: str, table: str) -> None:
    """Puts a table between its two comments."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = PAGE.read_text().split(begin)
    PAGE.write_text(head + begin + table + "\n" + end + rest.split(end)[1])


if __name__ == "__main__":
    if printed := [Path(output).read_text() for output in sys.argv[1:]]:
        write("functions", functions("\n".join(printed)))
    write("convolutions", convolutions())
