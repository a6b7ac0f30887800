"""Tables: csv, parquet and jsonl files as feature rows and a target column."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.data import formats
from toolkit.data.formats import Array, Table
from toolkit.data.parts import Arrays, Raw
from toolkit.data.spec import Option, Spec, number, one_of, text_of, words

DTYPES = ("float32", "float64", "int64", "int32")
TABLE = {
    "target": Option(text_of),
    "features": Option(words),
    "categorical": Option(words, ()),
    "missing": Option(number),
    "dtype": Option(one_of(*DTYPES), "float32"),
    "task": Option(one_of("classification", "regression")),
    "norm": Option(one_of("column", "all", "none")),
}
CSV = {
    **TABLE,
    "header": Option(one_of("auto", "yes", "no"), "auto"),
    "sep": Option(one_of(",", ";", "tab", "|", "space")),
}


@dataclass
class _Known:
    """How a table's columns become numbers: what a second file is read by."""

    target: str
    features: list[str]
    categories: dict[str, list[str]]
    task: str
    classes: tuple[str, ...]


def read_csv(spec: Spec, known: Raw | None) -> Raw:
    """Feature rows and a target column of a csv file."""
    return _read(spec, formats.read_csv(spec), known)


def read_parquet(spec: Spec, known: Raw | None) -> Raw:
    """Feature rows and a target column of a parquet file."""
    return _read(spec, formats.read_parquet(spec), known)


def read_jsonl_table(spec: Spec, known: Raw | None) -> Raw:
    """Feature rows and a target of a file of JSON objects, one a line."""
    return _read(spec, formats.read_jsonl_table(spec), known)


def _read(spec: Spec, table: Table, before: Raw | None) -> Raw:
    if len(table.names) < 2 or len(table.lines) < (5 if before is None else 1):
        raise spec.error(
            f"at least 5 rows of 2 columns are required, got {len(table.lines)} rows of "
            f"{len(table.names)}."
        )
    known: _Known | None = before.known["table"] if before is not None else None
    if known is None:
        known = _study(spec, table)
    columns, plain = [], []
    for name in known.features:
        if name in known.categories:
            columns.append(_one_hot(spec, table, name, known.categories[name]))
        else:
            plain.append(sum(c.shape[1] for c in columns))
            columns.append(_numbers(spec, table, name, spec["missing"])[:, None])
    dtype = np.dtype(spec["dtype"])
    features = np.concatenate(columns, axis=1).astype(dtype)
    target = _target(spec, table, known)
    norm = spec["norm"] or ("column" if dtype.kind == "f" else "none")
    part = Arrays([features], target, norm=norm, columns=plain)
    return Raw(part, None, known.task, known.classes, {"table": known})


def _study(spec: Spec, table: Table) -> _Known:
    """Which columns are what, and the classes, in the first file."""
    target = table.column(spec, spec["target"] if spec["target"] is not None else "-1", "target")
    others = [name for name in table.names if name != target]
    features = others
    if spec["features"] is not None:
        features = _matching(spec, others, spec["features"], "features")
    categorical = _matching(spec, features, spec["categorical"], "categorical")
    if spec["categorical"] == ("*",):  # All that are no numbers.
        categorical = [n for n in categorical if not all(map(_number_or_gap, table.texts(n)))]
    categories = {name: sorted({v for v in table.texts(name) if v}) for name in categorical}
    texts = table.texts(target)
    values = [formats.to_number(v) for v in texts]
    whole = all(v is not None and v == round(v) for v in values)
    numeric = all(v is not None for v in values)
    task = spec["task"] or ("regression" if numeric and not whole else "classification")
    if task == "regression":
        return _Known(target, features, categories, task, ())
    key: Callable[[str], Any] = float if numeric else str
    return _Known(target, features, categories, task, tuple(sorted(set(texts), key=key)))


def _matching(spec: Spec, names: Sequence[str], patterns: Sequence[str], option: str) -> list[str]:
    found: dict[str, None] = {}
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            raise spec.error(
                f"columns among {', '.join(names[:10])} are required as {option}, got '{pattern}'."
            )
        found.update(dict.fromkeys(matched))
    return list(found)


def _number_or_gap(text: str) -> bool:
    return not text or formats.to_number(text) is not None


def _numbers(spec: Spec, table: Table, name: str, missing: float | None) -> Array:
    column = np.empty(len(table.lines), np.float64)
    for i, text in enumerate(table.texts(name)):
        value = formats.to_number(text)
        if value is None:
            if not text and missing is not None:
                value = missing
            else:
                hint = "Give missing=." if not text else "Is it categorical=?"
                raise spec.error(
                    f"numbers are required in column '{name}', got '{text}'. {hint}",
                    f"line {table.lines[i]}",
                )
        column[i] = value
    return column


def _one_hot(spec: Spec, table: Table, name: str, categories: list[str]) -> Array:
    """A column a category; a gap is none of them."""
    place = {category: i for i, category in enumerate(categories)}
    rows = np.zeros((len(table.lines), len(categories)))
    for i, text in enumerate(table.texts(name)):
        if text and text not in place:
            raise spec.error(
                f"one of {', '.join(categories[:10])} (those of the training data) is required in "
                f"column '{name}', got '{text}'.",
                f"line {table.lines[i]}",
            )
        if text:
            rows[i, place[text]] = 1.0
    return rows


def _target(spec: Spec, table: Table, known: _Known) -> Array:
    name = table.column(spec, known.target, "target")
    if known.task == "regression":
        return _numbers(spec, table, name, None).astype(np.float32)[:, None]
    place = {name: i for i, name in enumerate(known.classes)}
    labels = np.empty(len(table.lines), np.int64)
    for i, text in enumerate(table.texts(name)):
        if text not in place:
            raise spec.error(
                f"one of the classes {', '.join(known.classes[:10])} is required, got '{text}'.",
                f"line {table.lines[i]}",
            )
        labels[i] = place[text]
    return labels
