"""Writes docs/coming_from_pytorch.md from its head and the table of names."""

from __future__ import annotations

import fnmatch
import textwrap
from pathlib import Path

from tests.names import table

PAGE = Path(__file__).parent.parent.parent / "docs" / "coming_from_pytorch.md"
HEAD = Path(__file__).parent / "head.md"


def render() -> str:
    """The page's text."""
    return "\n".join([HEAD.read_text().rstrip(), "", *_coverage(), *_reasons(), *_planned()])


def _coverage() -> list[str]:
    lines = ["## Names", "", "| namespace | of torch 2.13 | here |", "|---|---:|---:|"]
    for label, (all_names, ours) in table.counts().items():
        lines.append(f"| `{_dotted(label)}` | {all_names} | {ours} |")
    return [*lines, ""]


def _dotted(label: str) -> str:
    return label if label == "torch" else f"torch.{label}"


def _reasons() -> list[str]:
    absent, lines = table.missing(), ["## What is missing, and why", ""]
    for group in table.read_groups():
        lines += [f"### {group.title}", "", group.why, ""]
        for label, patterns in group.patterns.items():
            names = sorted({n for p in patterns for n in fnmatch.filter(absent[label], p)})
            lines += _names(label, names)
    return lines


def _planned() -> list[str]:
    planned = table.read_planned()
    if not planned:
        return []
    lines = [f"### {table.WAITING}", "", "Nothing speaks against these.", ""]
    for label, names in planned.items():
        lines += _names(label, names)
    return lines


def _names(label: str, names: list[str]) -> list[str]:
    listed = ", ".join(f"`{n}`" for n in names)
    text = f"- `{_dotted(label)}`: {listed}"
    filled = textwrap.fill(
        text, 100, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
    return [filled, ""]
