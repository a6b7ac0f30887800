"""Tokens: the characters of a text, and lists of ids in a file of JSON objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.data import formats, tables
from toolkit.data.formats import Array
from toolkit.data.parts import Arrays, Raw, Tokens
from toolkit.data.spec import Option, Spec, count, text_of, whole

BLOCK = {"block": Option(count)}
JSONL = {
    **tables.TABLE,
    **BLOCK,
    "tokens": Option(text_of),
    "eos": Option(whole),
    "pad": Option(whole, 0),
    "vocab": Option(count),
}


def read_text(spec: Spec, known: Raw | None) -> Raw:
    """The characters of a file."""
    return _language(spec, formats.read_text(spec.text, spec.file), known)


def read_topics(spec: Spec, known: Raw | None) -> Raw:
    """The help texts that Python brings along."""
    from pydoc_data.topics import topics

    return _language(spec, "\n".join(topics[key] for key in sorted(topics)), known)


def _language(spec: Spec, text: str, known: Raw | None) -> Raw:
    block = spec["block"]
    if block < 1:
        raise spec.error(f"block_size >= 1 is required, got {block}.")
    if known is None and len(text) // 10 <= block:
        raise spec.error(
            f"a text longer than {10 * (block + 1)} characters is required, got {len(text)}. "
            "Choose a smaller block_size."
        )
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    if known is None:
        vocabulary, ids = np.unique(points, return_inverse=True)
        classes = tuple(chr(c) for c in vocabulary)
    else:
        classes = known.classes
        vocabulary = np.array([ord(c) for c in classes], np.uint32)
        ids = np.searchsorted(vocabulary, points).clip(max=len(vocabulary) - 1)
        strange = np.flatnonzero(vocabulary[ids] != points)
        if strange.size:
            line = text.count("\n", 0, int(strange[0])) + 1
            raise spec.error(
                f"characters of the training text are required, got {text[strange[0]]!r}.",
                f"line {line}",
            )
    return Raw(Tokens(ids.astype(np.int64), block), None, "language", classes)


def read_jsonl(spec: Spec, known: Raw | None) -> Raw:
    """Tables of numbers, or lists of tokens: joined to windows, or one a sample with a target."""
    if spec["tokens"] is None:
        return tables.read_jsonl_table(spec, known)
    lines = [(n, _ids(spec, n, entry), entry) for n, entry in formats.read_jsonl(spec)]
    largest = max((int(ids.max()) for _, ids, _ in lines if ids.size), default=0)
    size = spec["vocab"] or (len(known.classes) if known is not None else largest + 1)
    if largest >= size:
        line = next(n for n, ids, _ in lines if ids.size and ids.max() == largest)
        raise spec.error(f"tokens below {size} are required, got {largest}.", f"line {line}")
    if spec["target"] is None:
        ends = [] if spec["eos"] is None else [np.array([spec["eos"]], np.int64)]
        ids = np.concatenate([part for _, row, _ in lines for part in (row, *ends)])
        classes = tuple(str(i) for i in range(size))
        return Raw(Tokens(ids, spec["block"]), None, "language", classes)
    return _token_rows(spec, lines, known)


def _ids(spec: Spec, line: int, entry: dict[str, Any]) -> Array:
    ids = entry.get(spec["tokens"])
    if not isinstance(ids, list) or not all(type(i) is int and i >= 0 for i in ids):
        raise spec.error(f"a list of token ids is required as '{spec['tokens']}'.", f"line {line}")
    return np.array(ids, np.int64)


def _token_rows(spec: Spec, lines: list[Any], known: Raw | None) -> Raw:
    """Tokens (N, block), cut or filled up with `pad`, and a class for each row."""
    rows = np.full((len(lines), spec["block"]), spec["pad"], np.int64)
    texts = []
    for i, (line, ids, entry) in enumerate(lines):
        rows[i, : len(ids)] = ids[: spec["block"]]
        if not isinstance(entry.get(spec["target"]), (str, int)):
            raise spec.error(f"a class is required as '{spec['target']}'.", f"line {line}")
        texts.append(str(entry[spec["target"]]))
    numeric = all(formats.to_number(text) is not None for text in texts)
    key: Callable[[str], Any] = float if numeric else str
    classes = known.classes if known is not None else tuple(sorted(set(texts), key=key))
    for (line, _, _), text in zip(lines, texts, strict=True):
        if text not in classes:
            raise spec.error(
                f"one of the classes {', '.join(classes[:10])} is required, got '{text}'.",
                f"line {line}",
            )
    labels = np.array([classes.index(text) for text in texts], np.int64)
    return Raw(Arrays([rows], labels, norm="none"), None, "classification", classes)
