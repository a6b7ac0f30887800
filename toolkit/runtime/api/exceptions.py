"""onnxruntime's exceptions: a session raises what is one of these and one of `toolkit.errors`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from toolkit.errors import (
    DTypeError,
    InvalidArgumentError,
    InvalidModelError,
    OutOfBoundsError,
    ShapeError,
    ToolkitError,
    UnsupportedOperatorError,
)


class Fail(ToolkitError):
    """It failed for another reason than those below."""


class InvalidArgument(ToolkitError):
    """An input, its name, its type or its shape is not accepted."""


class NoSuchFile(ToolkitError):
    """There is no file of that name."""


class NoModel(ToolkitError):
    """Something is no model."""


class EngineError(ToolkitError):
    """A device failed."""


class RuntimeException(ToolkitError):
    """A kernel failed."""


class InvalidProtobuf(ToolkitError):
    """The bytes are no protocol buffer of a model."""


class ModelLoaded(ToolkitError):
    """A model is loaded already."""


class NotImplemented(ToolkitError):
    """No kernel exists."""


class InvalidGraph(ToolkitError):
    """The graph violates the standard."""


class EPFail(ToolkitError):
    """An execution provider failed."""


class ModelLoadCanceled(ToolkitError):
    """Loading was canceled."""


class ModelRequiresCompilation(ToolkitError):
    """The model has to be compiled first."""


class NotFound(ToolkitError):
    """Something is not there."""


class DeviceReset(ToolkitError):
    """A device was lost."""


EXCEPTIONS = tuple(
    kind for kind in list(globals().values())
    if isinstance(kind, type) and kind.__module__ == __name__
)  # fmt: skip
_ARGUMENTS = (InvalidArgumentError, DTypeError, ShapeError, OutOfBoundsError)


@contextlib.contextmanager
def translated(path: str | None = None, loading: bool = False) -> Iterator[None]:
    """Errors of toolkit become onnxruntime's as well, with the same text.

    Args:
        path: the file that is read.
        loading: whether a model is loaded, or run.
    """
    try:
        yield
    except ToolkitError as error:
        if isinstance(error, EXCEPTIONS):
            raise
        raise as_onnxruntime(error, path, loading) from error


def as_onnxruntime(error: ToolkitError, path: str | None, loading: bool) -> ToolkitError:
    """The same error, as one that onnxruntime would raise too."""
    return _both(_kind(error, path, loading), type(error))(str(error))


def _kind(error: ToolkitError, path: str | None, loading: bool) -> type[ToolkitError]:
    text = str(error)
    if isinstance(error, InvalidModelError):
        if path is not None and "no such file" in text:
            return NoSuchFile
        return InvalidProtobuf if "bytes that do not parse" in text else InvalidGraph
    if isinstance(error, UnsupportedOperatorError):
        return NotImplemented
    if isinstance(error, _ARGUMENTS):
        return InvalidGraph if loading and not isinstance(error, InvalidArgumentError) else (
            InvalidArgument
        )  # fmt: skip
    return Fail if loading else RuntimeException


_MADE: dict[tuple[Any, Any], type[ToolkitError]] = {}


def _both(kind: type[ToolkitError], ours: type[ToolkitError]) -> type[ToolkitError]:
    if ours is ToolkitError:
        return kind
    if (kind, ours) not in _MADE:
        names = {"__module__": kind.__module__, "__doc__": kind.__doc__}
        _MADE[kind, ours] = type(kind.__name__, (kind, ours), names)
    return _MADE[kind, ours]
