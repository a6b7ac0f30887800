"""`autocast`: inside it products are computed in bfloat16 (or float16), losses in float32.

Which function does what is torch's list for the CPU. `lower`, `in_float32` and `apart` mark
functions; the casts are ordinary operations, so gradients pass, and traces hold them as nodes.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from toolkit import dtypes
from toolkit._tensor.base import TensorBase
from toolkit._tensor.promote import cast
from toolkit._tensor.state import STATE
from toolkit.device import device as as_device
from toolkit.errors import InvalidArgumentError

F = TypeVar("F", bound=Callable[..., Any])
_FLOAT32, _HALF = 1, (10, 16)
_NARROW = (_FLOAT32, *_HALF)  # What is cast: float64 stays as it is.

# Of `nn.functional`, `toolkit`, `toolkit.linalg` and `Tensor`: computed in float32.
FLOAT32 = frozenset(
    """
    avg_pool3d binary_cross_entropy binary_cross_entropy_with_logits grid_sample polar prod quantile
    nanquantile stft istft cdist trace view_as_complex cholesky cholesky_ex cholesky_inverse
    cholesky_solve inverse lu_solve orgqr ormqr pinverse max_pool3d max_pool3d_with_indices
    max_unpool2d max_unpool3d adaptive_avg_pool3d adaptive_max_pool3d
    adaptive_max_pool3d_with_indices fractional_max_pool2d fractional_max_pool2d_with_indices
    fractional_max_pool3d fractional_max_pool3d_with_indices mse_loss cosine_embedding_loss nll_loss
    cross_entropy hinge_embedding_loss poisson_nll_loss smooth_l1_loss l1_loss huber_loss
    margin_ranking_loss soft_margin_loss triplet_margin_loss multi_margin_loss ctc_loss kl_div
    multilabel_margin_loss cond matrix_rank solve svdvals eigvals eigvalsh inv householder_product
    tensorinv tensorsolve geqrf qr svd triangular_solve eig eigh lstsq inv_ex
    """.split()  # noqa: SIM905
)
PROMOTE = frozenset({"index_copy"})
# These hold products, but have the types of their operands.
APART = frozenset({"dot", "mv", "addmv", "bilinear", "vdot", "kron"})
LOWER = frozenset({"addmm", "addbmm", "baddbmm", "vecdot"})


class Casting:
    """What `STATE.autocast` is inside: the type, and the casts of parameters made so far."""

    __slots__ = ("cache", "code")

    def __init__(self, code: int, cache: dict[Any, Any] | None) -> None:
        self.code = code
        self.cache = cache


def narrowed(*tensors: Any) -> tuple[Any, ...]:
    """Floats in the type of the `autocast` around; other values as they are."""
    casting = STATE.autocast
    return tuple(_narrowed(t, casting) for t in tensors)


def _narrowed(t: Any, casting: Casting) -> Any:
    if isinstance(t, (list, tuple)) and any(isinstance(x, TensorBase) for x in t):
        return type(t)(_narrowed(x, casting) for x in t)
    if not isinstance(t, TensorBase) or t._value.dtype not in _NARROW:
        return t
    code, trace = casting.code, STATE.trace
    if t._value.dtype == code:
        return t
    if trace is not None:
        trace.autocast = True
        return cast(t, code)
    if casting.cache is None or not (STATE.grad and t.requires_grad and t.is_leaf) or t._base:
        return cast(t, code)
    found = casting.cache.get((id(t), code))
    if found is None or found[0] is not t or found[1] is not t._value:
        found = casting.cache[id(t), code] = (t, t._value, cast(t, code))
    return found[2]


def widened(t: Any) -> Any:
    """A narrow float as float32; other values as they are."""
    if isinstance(t, (list, tuple)) and any(isinstance(x, TensorBase) for x in t):
        return type(t)(map(widened, t))
    return cast(t, _FLOAT32) if isinstance(t, TensorBase) and t._value.dtype in _HALF else t


def _widest(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """All in float32 if one is."""
    codes = {t._value.dtype for t in args if isinstance(t, TensorBase)}
    return tuple(map(widened, args)) if _FLOAT32 in codes else args


def _marked(change: Callable[[Any], Any] | None) -> Callable[[F], F]:
    def mark(function: F) -> F:
        @functools.wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            casting = STATE.autocast
            if casting is None:
                return function(*args, **kwargs)
            if change is not None:
                args = tuple(map(change, args))
                kwargs = {k: change(v) for k, v in kwargs.items()}
            STATE.autocast = None
            try:
                return function(*args, **kwargs)
            finally:
                STATE.autocast = casting

        return marked  # type: ignore[return-value]

    return mark


lower = _marked(lambda t: _narrowed(t, STATE.autocast))
in_float32 = _marked(widened)
apart = _marked(None)


def ruled(name: str, function: F) -> F:
    """The function, marked as the tables above have it."""
    if name in FLOAT32:
        return in_float32(function)
    if name in LOWER:
        return lower(function)
    if name in PROMOTE:
        return _promoting(function)
    return apart(function) if name in APART else function


def _promoting(function: F) -> F:
    @functools.wraps(function)
    def marked(*args: Any, **kwargs: Any) -> Any:
        return function(*(args if STATE.autocast is None else _widest(args)), **kwargs)

    return marked  # type: ignore[return-value]


def mixed(function: F) -> F:
    """A normalization: narrow inputs beside float32 parameters are computed in float32."""

    @functools.wraps(function)
    def normalized(input: Any, *args: Any, **kwargs: Any) -> Any:
        code = input._value.dtype
        if code not in _HALF or not any(
            isinstance(t, TensorBase) and t._value.dtype == _FLOAT32
            for t in (*args, *kwargs.values())
        ):
            return function(input, *args, **kwargs)
        args, kwargs = tuple(map(widened, args)), {k: widened(v) for k, v in kwargs.items()}
        return cast(function(cast(input, _FLOAT32), *args, **kwargs), code)

    return normalized  # type: ignore[return-value]


class autocast:
    """Mixed precision, as a `with` block or a decorator.

    Args:
        device_type: "cpu"; of devices that are not there it does nothing, with a warning.
        dtype: bfloat16 or float16; None: what `get_autocast_dtype` says, bfloat16.
        enabled: False switches the one around off.
        cache_enabled: a parameter is cast once, until the outermost block ends.
    """

    def __init__(
        self, device_type: str, dtype: dtypes.DType | None = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = device_type
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        if enabled and device_type != "cpu":
            as_known(device_type)
            warnings.warn(
                f"User provided device_type of '{device_type}', but {device_type.upper()} is not "
                "available. Disabling",
                stacklevel=2,
            )
            enabled = False
        if enabled and self.fast_dtype.onnx not in _HALF:
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\nCPU "
                f"Autocast only supports dtype of bfloat16, float16 currently, got {dtype}.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._cache_enabled = cache_enabled
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        state = STATE
        self._before.append((state.autocast, state.autocast_cache, state.autocast_caches,
                             state.autocast_code))  # fmt: skip
        if self._cache_enabled is not None:
            state.autocast_caches = self._cache_enabled
        if state.autocast_cache is None:
            state.autocast_cache = {}
        if self.device == "cpu":
            cache = state.autocast_cache if state.autocast_caches else None
            state.autocast_code = self.fast_dtype.onnx
            state.autocast = Casting(self.fast_dtype.onnx, cache) if self._enabled else None
        return self

    def __exit__(self, *exc: Any) -> None:
        (STATE.autocast, STATE.autocast_cache, STATE.autocast_caches,
         STATE.autocast_code) = self._before.pop()  # fmt: skip

    def __call__(self, func: Any) -> Any:
        """The function, run in this mode."""

        @functools.wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return wrapped


def as_known(device_type: str) -> None:
    """Raises for a name of no device that PyTorch has."""
    if device_type not in ("cpu", "cuda", "xpu", "hpu", "mps", "mtia", "xla", "ipu", "meta"):
        raise InvalidArgumentError(
            f"autocast: a device type such as 'cpu' is required, got '{device_type}'."
        )


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether an `autocast` for a device is around; without an argument: for CUDA, as in torch."""
    as_known(device_type)
    return device_type == "cpu" and STATE.autocast is not None


def get_autocast_dtype(device_type: str) -> dtypes.DType:
    """The type that `autocast` takes without one."""
    as_known(device_type)
    if device_type != "cpu":
        return dtypes.float16
    return dtypes.BY_ONNX[STATE.autocast_code]


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Switches it on or off until the block around ends; without a device: for CUDA, ignored."""
    if enabled is None:
        return
    as_device(device_type)
    cache = STATE.autocast_cache if STATE.autocast_caches else None
    STATE.autocast = Casting(STATE.autocast_code, cache) if enabled else None


def set_autocast_dtype(device_type: str, dtype: dtypes.DType) -> None:
    """The type that `autocast` takes without one."""
    as_known(device_type)
    if device_type == "cpu":
        STATE.autocast_code = dtype.onnx


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` does something for a device."""
    as_known(device_type)
    return device_type == "cpu"


def is_autocast_cpu_enabled() -> bool:
    """`is_autocast_enabled("cpu")`."""
    return is_autocast_enabled("cpu")


def get_autocast_cpu_dtype() -> dtypes.DType:
    """`get_autocast_dtype("cpu")`."""
    return get_autocast_dtype("cpu")


def is_autocast_cache_enabled() -> bool:
    """Whether casts of parameters are kept within a block."""
    return bool(STATE.autocast_caches)


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Whether casts of parameters are kept within a block."""
    STATE.autocast_caches = bool(enabled)


def clear_autocast_cache() -> None:
    """Forgets the casts of parameters."""
    if STATE.autocast_cache is not None:
        STATE.autocast_cache.clear()


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, in the mode that is now, whenever it is called; no cast outlives a call."""
    casting = None if STATE.autocast is None else Casting(STATE.autocast.code, None)

    def run(*args: Any, **kwargs: Any) -> Any:
        before, STATE.autocast = STATE.autocast, casting
        try:
            return function(*args, **kwargs)
        finally:
            STATE.autocast = before

    return run


def key() -> int:
    """What compiled code depends on."""
    return 0 if STATE.autocast is None else int(STATE.autocast.code)


FUNCTIONS: dict[str, Any] = {
    f.__name__: f
    for f in (
        autocast, is_autocast_enabled, get_autocast_dtype, set_autocast_enabled,
        set_autocast_dtype, is_autocast_cpu_enabled, get_autocast_cpu_dtype,
        is_autocast_cache_enabled, set_autocast_cache_enabled, clear_autocast_cache,
    )
}  # fmt: skip
