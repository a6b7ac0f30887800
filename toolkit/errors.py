"""Every error that toolkit raises on purpose; `ToolkitError` is the root. And its warning.

A message has one form: *where: what is required, got what. Hint.*
"""

from __future__ import annotations

from typing import Any

from toolkit import source_lines


class ToolkitError(RuntimeError):
    """Anything that toolkit refuses. As in PyTorch, it is a `RuntimeError`.

    Its note is the line of the user's program that led here, unless the message has it.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        line = source_lines.note()
        if line is not None and not (args and line in str(args[0])):
            self.add_note(f"at {line}")


class InvalidArgumentError(ToolkitError, ValueError):
    """An argument has a value that the call does not accept."""


class DataDependentError(InvalidArgumentError):
    """Python asks for a value or size that is known only when the traced program runs."""


class ShapeError(ToolkitError, ValueError):
    """Shapes do not fit together."""


class DTypeError(ToolkitError, TypeError):
    """An element type is not accepted here."""


class OutOfBoundsError(ToolkitError, IndexError):
    """An index or axis lies outside its range."""


class UnsupportedOperatorError(ToolkitError, NotImplementedError):
    """No kernel, gradient rule or conversion exists for an operator."""


class InvalidModelError(ToolkitError, ValueError):
    """A file or graph is not a valid ONNX model."""


class LinAlgError(ToolkitError):
    """A matrix is singular, not positive definite, or not finite; `torch.linalg.LinAlgError`."""


class OutOfMemoryError(ToolkitError, MemoryError):
    """A tensor does not fit into this machine's memory."""


class ToolkitWarning(UserWarning):
    """Something is not as it should be, and is worked around."""
