"""Text: regular expressions and normalization of words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.runtime.python_kernels import Kernel
from toolkit.runtime.python_kernels.re2 import to_python

# Languages with a dotless i: its pairs are those of no other language.
_DOTLESS = frozenset({"tr", "az"})


def regex_full_match(attributes: dict[str, Any]) -> Kernel:
    """Whether the whole of each string matches `pattern`, a regular expression of RE2.

    Raises:
        InvalidArgumentError: The pattern is none of RE2's, or asks for what is not available here.
    """
    if "pattern" not in attributes:
        raise InvalidArgumentError("attribute 'pattern' is required, got none.")
    given = attributes["pattern"]
    try:
        pattern = re.compile(to_python(given))
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidArgumentError(
            f"attribute 'pattern': a regular expression is required, got {given!r} ({error})."
        ) from None

    def run(inputs: list[Any], outputs: int) -> list[Any]:
        (x,) = inputs
        found = [pattern.fullmatch(text) is not None for text in x.ravel()]
        return [np.array(found, np.bool_).reshape(x.shape)]

    return run


def string_normalizer(attributes: dict[str, Any]) -> Kernel:
    """Drops the elements that are stop words, then changes the case of the others.

    Raises:
        InvalidArgumentError: An attribute has no meaning.
    """
    action = attributes["case_change_action"]
    if action not in ("NONE", "LOWER", "UPPER"):
        raise InvalidArgumentError(
            f"attribute 'case_change_action' must be NONE, LOWER or UPPER, got {action!r}."
        )
    lower, upper = _cases(attributes.get("locale", "en_US"))
    changes: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": lower, "UPPER": upper}
    change = changes[action]
    key: Callable[[str], str] = str if attributes["is_case_sensitive"] else lower
    stop = {key(w) for w in attributes.get("stopwords", [])}

    def run(inputs: list[Any], outputs: int) -> list[Any]:
        (x,) = inputs
        if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] != 1):
            raise ShapeError(f"X must have shape (C) or (1, C), got {tuple(x.shape)}.")
        kept = [change(w) for w in x.ravel() if not stop or key(w) not in stop]
        y = np.array(kept or [""], dtype=object)
        return [y.reshape((1, -1) if x.ndim == 2 else -1)]

    return run


def _cases(locale: str) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """Unicode's case mappings as the language of a locale such as "en_US.UTF-8" has them."""
    if re.split(r"[_\-.@]", locale)[0].lower() not in _DOTLESS:
        return str.lower, str.upper
    return (
        lambda s: s.replace("İ", "i").replace("I", "ı").lower(),
        lambda s: s.replace("i", "İ").replace("ı", "I").upper(),
    )
