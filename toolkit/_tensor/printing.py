"""`repr` of a tensor, character for character as PyTorch prints it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError


@dataclass
class Options:
    """What `set_printoptions` sets."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


OPTIONS = Options()
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """How tensors are printed.

    Args:
        precision: digits behind the point.
        threshold: elements above which a summary is printed.
        edgeitems: elements at each end of a summary.
        linewidth: characters of a line.
        profile: "default", "short" or "full", before the others.
        sci_mode: scientific notation or not; None chooses by the numbers.
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise InvalidArgumentError(
                f"set_printoptions: profile must be one of {', '.join(_PROFILES)}, got {profile!r}."
            )
        for name, value in _PROFILES[profile].items():
            setattr(OPTIONS, name, value)
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
             "linewidth": linewidth}  # fmt: skip
    for name, value in given.items():
        if value is not None:
            setattr(OPTIONS, name, value)
    OPTIONS.sci_mode = sci_mode


class _Formatter:
    """Chooses one width and one notation for all elements shown."""

    def __init__(self, values: Any) -> None:
        self.floating = values.dtype.kind == "f"
        self.scientific = False
        self.whole = True
        self.width = 1
        flat = values.ravel()
        if not self.floating:
            self.width = max(len(_plain(v)) for v in flat)
            return
        finite = flat[np.isfinite(flat) & (flat != 0)].astype(np.float64)
        if not finite.size:
            return
        size = np.abs(finite)
        low, high = float(size.min()), float(size.max())
        self.whole = bool(np.all(np.ceil(finite) == finite))
        self.scientific = high / low > 1000.0 or high > 1e8 or low < 1e-4
        if OPTIONS.sci_mode is not None:
            self.scientific = OPTIONS.sci_mode
        self.width = max(len(self._number(float(v))) for v in finite)

    def _number(self, v: float) -> str:
        if self.scientific:
            return f"{v:.{OPTIONS.precision}e}"
        if self.whole:
            return f"{v:.0f}" + ("." if math.isfinite(v) else "")
        return f"{v:.{OPTIONS.precision}f}"

    def __call__(self, v: Any) -> str:
        text = self._number(float(v)) if self.floating else _plain(v)
        return " " * (self.width - len(text)) + text


def _plain(v: Any) -> str:
    if isinstance(v, np.complexfloating):
        return f"{v.real:.4f}{v.imag:+.4f}j"
    return str(v)


def _vector(a: Any, indent: int, fmt: _Formatter, summarize: bool) -> str:
    width = fmt.width + 2
    per_line = max(1, math.floor((OPTIONS.linewidth - indent) / width))
    if summarize and not OPTIONS.edgeitems:
        data = ["..."]
    elif summarize and len(a) > 2 * OPTIONS.edgeitems:
        data = (
            [fmt(v) for v in a[: OPTIONS.edgeitems]]
            + [" ..."]
            + [fmt(v) for v in a[-OPTIONS.edgeitems :]]
        )
    else:
        data = [fmt(v) for v in a]
    lines = [data[i : i + per_line] for i in range(0, len(data), per_line)]
    return "[" + ("," + "\n" + " " * (indent + 1)).join(", ".join(line) for line in lines) + "]"


def _nested(a: Any, indent: int, fmt: _Formatter, summarize: bool) -> str:
    if a.ndim == 0:
        return fmt(a[()])
    if a.ndim == 1:
        return _vector(a, indent, fmt, summarize)
    if summarize and len(a) > 2 * OPTIONS.edgeitems:
        rows = [_nested(r, indent + 1, fmt, summarize) for r in a[: OPTIONS.edgeitems]]
        rows.append("...")
        rows += [_nested(r, indent + 1, fmt, summarize) for r in a[-OPTIONS.edgeitems :]]
    else:
        rows = [_nested(r, indent + 1, fmt, summarize) for r in a]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


def _shown(a: Any) -> Any:
    """The elements that a summary prints."""
    if a.ndim == 0:
        return a
    if a.ndim == 1:
        if len(a) > 2 * OPTIONS.edgeitems:
            return np.concatenate([a[: OPTIONS.edgeitems], a[-OPTIONS.edgeitems :]])
        return a
    rows = (
        [*a[: OPTIONS.edgeitems], *a[-OPTIONS.edgeitems :]]
        if len(a) > 2 * OPTIONS.edgeitems
        else list(a)
    )
    return np.stack([_shown(r) for r in rows])


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    out = [text]
    length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > OPTIONS.linewidth:
            out.append(",\n" + " " * indent + suffix)
            length = indent + len(suffix)
        else:
            out.append(", " + suffix)
            length += len(suffix) + 2
    return "".join(out) + ")"


def to_string(tensor: Any, prefix: str = "tensor(") -> str:
    """The text that `repr` gives."""
    from toolkit.runtime import _core

    value = tensor._get()
    if type(value) is not _core.Tensor:
        shape = ", ".join(str(d) for d in tensor.shape)
        return f"{prefix}<symbolic {value.name}>, shape=({shape}), dtype={tensor.dtype})"
    array = tensor._array()
    suffixes: list[str] = []
    shape, name = array.shape, tensor.dtype.name
    if array.size == 0:
        if array.ndim != 1:
            suffixes.append(f"size={tuple(shape)}")
        if name != "float32":
            suffixes.append(f"dtype={tensor.dtype}")
        text = "[]"
    else:
        if name not in ("float32", "int64", "bool"):
            suffixes.append(f"dtype={tensor.dtype}")
        wide = array.astype(np.float32) if name in ("float16", "bfloat16") else array
        summarize = array.size > OPTIONS.threshold
        fmt = _Formatter(_shown(wide) if summarize else wide)
        text = _nested(wide, len(prefix), fmt, summarize)
    if tensor.grad_fn is not None:
        suffixes.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + text, suffixes, len(prefix))
