"""`python -m tests.names` brings the table and docs/coming_from_pytorch.md up to date.

Also the table at the end of docs/from_onnxruntime.md.

Names that arrived leave reasons.toml and planned.txt; missing ones without a reason come to the
latter. Both are printed: look whether it is what you meant.
"""

from __future__ import annotations

import textwrap
import warnings

from tests.names import onnxruntime_page, page, table

warnings.simplefilter("ignore")
for entry in table.prune():
    print(f"off the table: {entry}")
groups = table.read_groups()
new = table.unexplained()
lines = []
for label, names in table.missing().items():
    kept = [n for n in names if not any(g.covers(label, n) for g in groups)]
    if kept:
        text = textwrap.fill(" ".join(kept), 100, break_on_hyphens=False)
        lines += [f"{label}:", textwrap.indent(text, "  ")]
table.PLANNED.write_text("\n".join(lines) + "\n")
page.PAGE.write_text(page.render())
onnxruntime_page.PAGE.write_text(onnxruntime_page.render())
for label, names in new.items():
    print(f"new in planned.txt, {label}: {' '.join(names)}")
