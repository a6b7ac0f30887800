"""Gradients by PyTorch's names: `backward`, `grad`, `no_grad`, `enable_grad`, `Function`."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from toolkit._tensor.anomaly import (
    detect_anomaly,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_anomaly_enabled,
    set_detect_anomaly,
)
from toolkit._tensor.state import STATE

__all__ = [
    "backward", "cache_clear", "cache_info", "detect_anomaly", "enable_grad", "grad",
    "inference_mode", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "is_grad_enabled",
    "is_inference_mode_enabled", "no_grad", "set_anomaly_enabled", "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip


class _Mode:
    """Sets the gradient mode in a `with` block or a decorated function."""

    _value = True

    def __init__(self, function: Any = None) -> None:
        self._before: list[bool] = []

    def __new__(cls, function: Any = None) -> Any:
        mode = object.__new__(cls)
        if callable(function):
            mode.__init__()  # type: ignore[misc]
            return mode(function)
        return mode

    def __enter__(self) -> None:
        self._before.append(STATE.grad)
        STATE.grad = self._value

    def __exit__(self, *exc: Any) -> None:
        STATE.grad = self._before.pop()

    def __call__(self, function: Any) -> Any:
        """The function, run in this mode."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before, STATE.grad = STATE.grad, self._value
            try:
                return function(*args, **kwargs)
            finally:
                STATE.grad = before

        return wrapped


class no_grad(_Mode):
    """Operations inside are not recorded."""

    _value = False


class inference_mode(_Mode):
    """Operations inside are not recorded, as in `no_grad`; `inference_mode(False)` records them.

    What is computed inside may be used anywhere.
    """

    def __new__(cls, mode: Any = True) -> Any:
        """`mode`, or a function to decorate."""
        return super().__new__(cls, mode) if callable(mode) else object.__new__(cls)

    def __init__(self, mode: Any = True) -> None:
        self._before: list[Any] = []
        self._value = not mode

    def __enter__(self) -> None:
        self._before.append((STATE.grad, STATE.inference))
        STATE.grad, STATE.inference = self._value, not self._value

    def __exit__(self, *exc: Any) -> None:
        STATE.grad, STATE.inference = self._before.pop()

    def __call__(self, function: Any) -> Any:
        """The function, run in this mode."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with inference_mode(not self._value):
                return function(*args, **kwargs)

        return wrapped


class enable_grad(_Mode):
    """Operations inside are recorded, also within `no_grad`."""

    _value = True


class set_grad_enabled(_Mode):
    """Sets the mode at once; as a `with` block, until its end."""

    def __new__(cls, mode: bool) -> Any:
        """The argument is the mode, not a function to decorate."""
        return object.__new__(cls)

    def __init__(self, mode: bool) -> None:
        self._before = [STATE.grad]
        self._value = bool(mode)
        STATE.grad = self._value

    def __enter__(self) -> None:
        pass


def is_inference_mode_enabled() -> bool:
    """Whether an `inference_mode` is around."""
    return STATE.inference


def is_grad_enabled() -> bool:
    """Whether operations are recorded now."""
    return STATE.grad


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, inputs: Any = None,
) -> None:  # fmt: skip
    """Adds gradients of `tensors` to `.grad` of the leaves; see `Tensor.backward`."""
    from toolkit._tensor.engine import run_backward

    run_backward(tensors, grad_tensors, retain_graph, create_graph, inputs)


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, allow_unused: bool | None = None, materialize_grads: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """Gradients of the outputs' sum (weighted by `grad_outputs`) with respect to the inputs.

    Raises:
        InvalidArgumentError: an input was not used (and not `allow_unused`).
    """
    from toolkit._tensor.engine import run_grad

    return run_grad(
        outputs, inputs, grad_outputs, retain_graph, create_graph, bool(allow_unused),
        materialize_grads,
    )  # fmt: skip


def cache_info() -> Any:
    """(hits, misses, size) of the compiled gradient programs."""
    from toolkit._tensor import segments

    return segments.cache_info()


def cache_clear() -> None:
    """Forgets the compiled gradient programs and the counts."""
    from toolkit._tensor import segments

    segments.cache_clear()


_HOMES = {
    "Function": "function", "GradcheckError": "gradcheck", "Variable": "variable",
    "gradcheck": "gradcheck", "gradgradcheck": "gradcheck",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("function", "functional"):
        return importlib.import_module(f"toolkit.autograd.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"toolkit._tensor.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'toolkit.autograd' has no attribute {name!r}")
