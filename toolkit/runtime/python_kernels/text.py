"""Text: regular expressions."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.runtime.python_kernels import Kernel


def regex_full_match(attributes: dict[str, Any]) -> Kernel:
    """Whether the whole of each string matches `pattern`, in Python's dialect of RE2's syntax.

    Raises:
        InvalidArgumentError: The pattern is no regular expression.
    """
    if "pattern" not in attributes:
        raise InvalidArgumentError("attribute 'pattern' is required, got none.")
    try:
        pattern = re.compile(attributes["pattern"])
    except re.error as error:
        raise InvalidArgumentError(
            f"attribute 'pattern': a regular expression is required, got "
            f"{attributes['pattern']!r} ({error})."
        ) from None

    def run(inputs: list[Any], outputs: int) -> list[Any]:
        (x,) = inputs
        found = [pattern.fullmatch(text) is not None for text in x.ravel()]
        return [np.array(found, np.bool_).reshape(x.shape)]

    return run
