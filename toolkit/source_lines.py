"""Where in the user's program this package was called from, for the texts of errors."""

from __future__ import annotations

import linecache
import os
import sys
from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_PYTHON = os.path.dirname(os.__file__) + os.sep
_NOT_USERS = (_PACKAGE, _PYTHON, "<frozen")


def in_package(frame: Any) -> bool:
    """Whether a frame runs this package's own code."""
    return bool(frame.f_code.co_filename.startswith(_PACKAGE))


def user_line() -> tuple[str, int] | None:
    """File and line of the innermost caller outside this package."""
    frame = sys._getframe(1)
    while frame is not None:
        if not in_package(frame):
            return (frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def text_of(source: tuple[str, int]) -> str:
    """`file.py:12: the code`."""
    file, line = source
    code = linecache.getline(file, line).strip()
    return f"{os.path.basename(file)}:{line}: {code}".removesuffix(": ")


def at(source: tuple[str, int] | None) -> str:
    """What an error's text ends with: file, line and code."""
    return "" if source is None else f"\n  {text_of(source)}"


def at_user_line() -> str:
    """What an error's text ends with: the user's file, line and code."""
    return at(user_line())


def note() -> str | None:
    """The user's line for the note of an error; None in the package's own command line.

    A thread of Python's, or a function of its library, is not what the user wrote.
    """
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if frame.f_globals.get("__name__", "").startswith("toolkit.cli."):
            return None
        if not file.startswith(_NOT_USERS) or "site-packages" in file[len(_PYTHON) :]:
            return text_of((file, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]
    return None
