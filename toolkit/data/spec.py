"""The specification of data: `kind:path?option=value&option=value`, with typed options.

In a value, `%26`, `%3D`, `%3F` and `%25` stand for `&`, `=`, `?` and `%`. The path is taken as it
is and ends at the last `?`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from toolkit.errors import InvalidArgumentError

Parse = Callable[[str], Any]


@dataclass(frozen=True)
class Spec:
    """A specification, taken apart.

    Attributes:
        text: as it was given; errors name it.
        kind: the reader's name.
        path: the file or folder; None for data that are installed.
        options: the reader's options, those that were not given with their defaults.
        seed: chooses what is held out, and augments.
    """

    text: str
    kind: str
    path: Path | None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __getitem__(self, name: str) -> Any:
        return self.options[name]

    @property
    def file(self) -> Path:
        """The path of a kind that takes one."""
        assert self.path is not None
        return self.path

    def error(self, what: str, where: Any = None) -> InvalidArgumentError:
        """An error of these data: `what` is required and got; `where` is a file or a line."""
        place = "" if where is None else f", {where}"
        return InvalidArgumentError(f"data '{self.text}'{place}: {what}")


@dataclass(frozen=True)
class Option:
    """An option of a reader: how its text is read, and what it is without."""

    parse: Parse
    default: Any = None


def split_spec(text: str) -> tuple[str, str, dict[str, str]]:
    """Kind, path and options as text.

    Raises:
        InvalidArgumentError: an option without a value, or given twice.
    """
    kind, _, rest = text.partition(":")
    if not rest and "?" in kind:  # Installed data have no path.
        kind, _, rest = kind.partition("?")
        rest = f"?{rest}"
    path, mark, tail = rest.rpartition("?")
    if not mark:
        path, tail = rest, ""
    options: dict[str, str] = {}
    for item in filter(None, tail.split("&")):
        name, sign, value = item.partition("=")
        if not sign or not name or name in options:
            raise InvalidArgumentError(
                f"data '{text}': option=value, each once, is required behind '?', got '{item}'."
            )
        options[name] = unquote(value)
    return kind, path, options


def parse_options(
    text: str, given: Mapping[str, str], known: Mapping[str, Option]
) -> dict[str, Any]:
    """The options of a reader by name, with defaults.

    Raises:
        InvalidArgumentError: an unknown option, or a value that does not fit.
    """
    for name in given:
        if name not in known:
            raise InvalidArgumentError(
                f"data '{text}': one of the options {', '.join(sorted(known)) or '(none)'} is "
                f"required, got '{name}'."
            )
    found: dict[str, Any] = {}
    for name, option in known.items():
        try:
            found[name] = option.parse(given[name]) if name in given else option.default
        except ValueError as error:
            raise InvalidArgumentError(
                f"data '{text}': {error} is required as {name}, got '{given[name]}'."
            ) from None
    return found


# -- what option values are; the ValueError says what would fit --------------------------------


def words(text: str) -> tuple[str, ...]:
    """`a,b,c`."""
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise ValueError("a list like a,b,c")
    return found


def numbers(text: str) -> tuple[float, ...]:
    """`0.5` or `0.485,0.456,0.406`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("a number or a list like 0.5,0.5,0.5") from None


def number(text: str) -> float:
    """One number."""
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def count(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number of 1 or more")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """`224`, or height and width as `224x320`."""
    parts = text.split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError("a size like 224 or 224x320 (height x width)")
    return int(parts[0]), int(parts[-1])


def dims(text: str) -> tuple[int, ...]:
    """`1x28x28`."""
    parts = text.split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError("a shape like 784 or 1x28x28")
    return tuple(map(int, parts))


def ranges(text: str) -> tuple[int, ...]:
    """`0-4,7`: whole numbers, in order."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise ValueError("a list of whole numbers like 0-4,7")
        found += range(int(first), int(last) + 1)
    return tuple(found)


def one_of(*names: str) -> Parse:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return text

    return parse


def text_of(text: str) -> str:
    """Any text."""
    return text
