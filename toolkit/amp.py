"""Mixed precision by the names of `torch.amp`: `autocast`, `GradScaler`, and functions in it."""

from __future__ import annotations

import functools
from typing import Any

from toolkit._tensor.autocast import autocast, get_autocast_dtype, is_autocast_available
from toolkit._tensor.autocast import is_autocast_enabled as _enabled
from toolkit._tensor.base import TensorBase
from toolkit._tensor.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: Any = None) -> Any:
    """Marks `forward` of an `autograd.Function`: its backward pass runs in the mode it ran in.

    Args:
        fwd: the function; without it, a decorator.
        device_type: "cpu".
        cast_inputs: inside autocast, floating inputs get this type, and autocast is off.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        ctx._dtype = get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = _enabled(device_type)
        if cast_inputs is None or not ctx._fwd_used_autocast:
            return fwd(*args, **kwargs)
        ctx._fwd_used_autocast = False
        given = [_as(a, cast_inputs) for a in args]
        with autocast(device_type, enabled=False):
            return fwd(*given, **{k: _as(v, cast_inputs) for k, v in kwargs.items()})

    return wrapped


def _as(x: Any, dtype: Any) -> Any:
    floats = isinstance(x, TensorBase) and x.dtype.is_floating_point and x.dtype.itemsize < 8
    return x.to(dtype) if floats else x


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """Marks `backward` of an `autograd.Function`, see `custom_fwd`."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, dtype=args[0]._dtype, enabled=args[0]._fwd_used_autocast):
            return bwd(*args, **kwargs)

    return wrapped
