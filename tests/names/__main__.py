"""`python -m tests.names` brings planned.txt and docs/coming_from_pytorch.md up to date.

Names that arrived leave planned.txt; missing ones without a reason come to it, and are printed.
"""

from __future__ import annotations

import textwrap
import warnings

from tests.names import page, table

warnings.simplefilter("ignore")
planned, groups = table.read_planned(), table.read_groups()
new = table.unexplained()
lines = []
for label, names in table.missing().items():
    kept = [n for n in names if not any(g.covers(label, n) for g in groups)]
    if kept:
        text = textwrap.fill(" ".join(kept), 100, break_on_hyphens=False)
        lines += [f"{label}:", textwrap.indent(text, "  ")]
table.PLANNED.write_text("\n".join(lines) + "\n")
page.PAGE.write_text(page.render())
for label, names in new.items():
    print(f"new in planned.txt, {label}: {' '.join(names)}")
for entry in table.stale():
    print(f"take off the table: {entry}")
