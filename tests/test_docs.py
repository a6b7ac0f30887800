"""The pages of docs/ run: their Python blocks, in order, in one namespace a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """(line of the page, source) of each Python block."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start(1)), m.group(1)) for m in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.stem)
def test_page(page, tmp_path, monkeypatch):
    """A failing line is shown as a line of the page; what it writes goes to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    found = blocks(page)
    assert found
    namespace = {"__name__": page.stem}
    for line, source in found:
        exec(compile("\n" * line + source, str(page), "exec"), namespace)


def test_the_rebuilt_pass_is_as_short_as_it_says():
    """Lines of code without the checks: what defines a function, a class or a rule."""
    import ast

    lines = set()
    for start, source in blocks(DOCS / "autodiff.md"):
        for node in ast.parse(source).body:
            defines = isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom))
            rule = isinstance(node, (ast.Assign, ast.AugAssign)) and "RULES" in ast.unparse(node)
            if defines or rule:
                lines |= {start + k for k in range(node.lineno, (node.end_lineno or 0) + 1)}
    assert 120 < len(lines) < 230
