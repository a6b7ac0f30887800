"""Writes the table of names at the end of docs/from_onnxruntime.md.

`python -m tests.names` brings it up to date. Why a name is absent stands in
tests/runtime/test_ort_names.py, why it is refused or without meaning where the runtime says so.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "from_onnxruntime.md"
MARK = "## Names\n"
PACKAGES = {
    "backend": "Here, as `toolkit.runtime.api.backend`.",
    "capi": "Here: the exceptions and the core's names, as `toolkit.runtime.capi`.",
    "datasets": "Files for examples of its own.",
    "quantization": "Makes files, which run here; `toolkit.convert.quantize_weights` does too.",
    "tools": "Scripts on files, which are ONNX here too.",
    "transformers": "Makes files, which run here; what it fuses, a session fuses by itself.",
}


def render() -> str:
    """The page's text: what was written by hand, then the table."""
    return PAGE.read_text().partition(MARK)[0] + "\n".join(_lines())


def _lines() -> Iterable[str]:
    import onnxruntime

    from toolkit import runtime

    yield MARK
    yield "Written by `python -m tests.names`: all public names of onnxruntime 1.32."
    yield ""
    names = {n for n in dir(onnxruntime) if not n.startswith("_")}
    names -= {n for n in names if inspect.ismodule(getattr(onnxruntime, n))}
    refused = {n: r for n in names if (r := _reason(getattr(runtime, n, None))) is not None}
    from tests.runtime.test_ort_names import CORE, REASONS

    for title, kind in (("Classes", "class"), ("Enumerations", "enum"), ("Functions", "function"),
                        ("Values", "value")):  # fmt: skip
        found = {n for n in names if _kind(getattr(onnxruntime, n)) == kind}
        yield _listed(title, sorted(found - refused.keys() - REASONS.keys()))
    core = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    errors = {n for n in dir(core) if _kind(getattr(core, n)) == "exception"}
    yield _listed("Exceptions, in `capi.onnxruntime_pybind11_state`", sorted(errors))
    yield ""
    yield "Refused, each use with the error `NotImplemented` that says:\n"
    yield from _table(("name", "what to do"), refused)
    yield "Fields of `SessionOptions` that are kept and warn once, as they have no meaning here:\n"
    fields = importlib.import_module("toolkit.runtime.api.options")._FIELDS
    yield from _table(("field", "why"), {n: why for n, (_, why) in fields.items() if why})
    yield "Absent from the module and from `capi.onnxruntime_pybind11_state`:\n"
    yield from _table(("name", "what it is"), REASONS | CORE)
    yield "Packages within:\n"
    inside = {m.name for m in pkgutil.iter_modules(onnxruntime.__path__)}
    yield from _table(("package", "here"), {n: PACKAGES.get(n, "") for n in sorted(inside)}, end="")


def _kind(value: Any) -> str:
    if hasattr(value, "__members__"):
        return "enum"
    if isinstance(value, type):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) else "value"


def _reason(value: Any) -> str | None:
    """Why a name is refused; None for one that works."""
    found = getattr(type(value), "__name__", "") == "_Refuses"
    return str(value.__dict__["reason"]) if found else None


def _listed(title: str, names: list[str]) -> str:
    text = f"- {title}: {', '.join(f'`{n}`' for n in names)}"
    return textwrap.fill(
        text, 100, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )


def _table(head: tuple[str, str], rows: dict[str, str], end: str | None = None) -> Iterable[str]:
    """Names with the same text share a row."""
    texts: dict[str, list[str]] = {}
    for name in sorted(rows):
        texts.setdefault(rows[name], []).append(name)
    yield f"| {head[0]} | {head[1]} |\n|---|---|"
    for text, names in texts.items():
        yield f"| {', '.join(f'`{n}`' for n in names)} | {text} |"
    yield "" if end is None else end
