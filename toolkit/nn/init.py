"""Initial values of parameters: each function fills a tensor in place and returns it.

Random ones draw from `toolkit.random`'s default generator. Fan-in and fan-out are counted as in
PyTorch: a weight (out, in, *receptive field).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from toolkit import random
from toolkit._tensor.initial import Initial, note
from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.tensor import Tensor, from_numpy

_FIXED_GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0, "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0), "selu": 3.0 / 4,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that keeps variances through a nonlinearity (`param`: leaky_relu's slope)."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _FIXED_GAINS:
        raise InvalidArgumentError(
            f"calculate_gain: one of {', '.join([*_FIXED_GAINS, 'leaky_relu'])} is required, "
            f"got {nonlinearity!r}."
        )
    return _FIXED_GAINS[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    shape = tensor.shape
    if len(shape) < 2:
        raise InvalidArgumentError(
            "init: fan in and fan out are those of a tensor of 2 dimensions or more, "
            f"got {list(shape)}."
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise InvalidArgumentError(f"init: mode fan_in or fan_out is required, got {mode!r}.")
    return _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


def _fill(
    tensor: Tensor, values: Tensor | np.ndarray[Any, Any], initial: Initial | None = None
) -> Tensor:
    """Writes the values and notes how they came about, by default the array itself."""
    with no_grad():
        if isinstance(values, np.ndarray):
            array = np.ascontiguousarray(values, tensor.dtype.numpy)
            initial = initial or Initial("value", code=tensor.dtype.onnx, value=array.copy())
            values = from_numpy(array)
        tensor.copy_(values)
    note(tensor, initial)
    return tensor


def _uniform(shape: Any, a: float, b: float, like: Tensor, generator: Any) -> Tensor:
    with no_grad():
        return random.uniform(tuple(shape), like.dtype.onnx, generator) * (b - a) + a


def _normal(shape: Any, mean: float, std: float, like: Tensor, generator: Any) -> Tensor:
    with no_grad():
        return random.normal(tuple(shape), like.dtype.onnx, generator) * std + mean


def _stream(generator: Any) -> tuple[int, int]:
    """Seed and offset of the generator that draws next."""
    seed, offset = (generator or random.default_generator).get_state().numpy()
    return int(seed), int(offset)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """U(a, b)."""
    initial = Initial("uniform", (_stream(generator),), b - a, a, tensor.dtype.onnx)
    return _fill(tensor, _uniform(tensor.shape, a, b, tensor, generator), initial)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """N(mean, std^2)."""
    initial = Initial("normal", (_stream(generator),), std, mean, tensor.dtype.onnx)
    return _fill(tensor, _normal(tensor.shape, mean, std, tensor, generator), initial)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """N(mean, std^2) limited to [a, b]: values outside are drawn again."""
    if not a < b:
        raise InvalidArgumentError(f"trunc_normal_: a < b is required, got {a} and {b}.")

    draws = []

    def draw() -> np.ndarray[Any, Any]:
        draws.append(_stream(generator))
        return _normal(tensor.shape, mean, std, tensor, generator).numpy().copy()

    values = draw()
    for _ in range(100):
        outside = (values < a) | (values > b)
        if not outside.any():
            break
        values[outside] = draw()[outside]
    initial = Initial("normal", tuple(draws), std, mean, tensor.dtype.onnx, (a, b))
    return _fill(tensor, values.clip(a, b), initial)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The same value everywhere."""
    initial = Initial("constant", shift=val, code=tensor.dtype.onnx)
    return _fill(tensor, np.full(tuple(tensor.shape), val), initial)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if tensor.dim() != 2:
        raise InvalidArgumentError(f"eye_: 2 dimensions are required, got {tensor.dim()}.")
    return _fill(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight (out, in, *kernel) that passes its input channels through."""
    if tensor.dim() not in (3, 4, 5):
        raise InvalidArgumentError(f"dirac_: 3 to 5 dimensions are required, got {tensor.dim()}.")
    out = tensor.shape[0]
    if out % groups:
        raise InvalidArgumentError(
            f"dirac_: a first dimension that is a multiple of groups {groups} is required, "
            f"got {out}."
        )
    values = np.zeros(tuple(tensor.shape))
    centre = tuple(k // 2 for k in tensor.shape[2:])
    per_group = out // groups
    for g in range(groups):
        for channel in range(min(per_group, tensor.shape[1])):
            values[(g * per_group + channel, channel, *centre)] = 1.0
    return _fill(tensor, values)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    a = gain * math.sqrt(6.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -a, a, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """N(0, gain^2 2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    std = gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """U(-b, b), b = gain sqrt(3 / fan) (He et al., 2015); `a` is leaky_relu's slope."""
    if 0 in tensor.shape:
        return tensor
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """N(0, gain^2 / fan) (He et al., 2015); `a` is leaky_relu's slope."""
    if 0 in tensor.shape:
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A (semi-)orthogonal matrix (out, rest) times gain (Saxe et al., 2013)."""
    if tensor.dim() < 2:
        raise InvalidArgumentError(
            f"orthogonal_: 2 dimensions or more are required, got {tensor.dim()}."
        )
    rows = tensor.shape[0]
    flat = _normal((rows, tensor.numel() // rows), 0.0, 1.0, tensor, generator).numpy()
    wide = flat.shape[0] < flat.shape[1]
    q, r = np.linalg.qr(flat.T if wide else flat)
    q = q * np.sign(np.diag(r))
    return _fill(tensor, gain * (q.T if wide else q).reshape(tuple(tensor.shape)))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """N(0, std^2) with a part `sparsity` of each column at zero (Martens, 2010)."""
    if tensor.dim() != 2:
        raise InvalidArgumentError(f"sparse_: 2 dimensions are required, got {tensor.dim()}.")
    rows, columns = tensor.shape
    values = _normal((rows, columns), 0.0, std, tensor, generator).numpy().copy()
    keys = _uniform((rows, columns), 0.0, 1.0, tensor, generator).numpy()
    zeroed = np.argsort(keys, axis=0)[: math.ceil(sparsity * rows)]
    np.put_along_axis(values, zeroed, 0.0, axis=0)
    return _fill(tensor, values)


def _old(name: str) -> Any:
    """The name without underscore, which warns."""
    fill = globals()[f"{name}_"]

    def function(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`.",
            FutureWarning,
            stacklevel=2,
        )
        return fill(*args, **kwargs)  # type: ignore[no-any-return]

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The old name of `{name}_`."
    return function


uniform, normal, constant, eye, dirac = map(_old, ("uniform", "normal", "constant", "eye", "dirac"))
xavier_uniform, xavier_normal = _old("xavier_uniform"), _old("xavier_normal")
kaiming_uniform, kaiming_normal = _old("kaiming_uniform"), _old("kaiming_normal")
orthogonal, sparse = _old("orthogonal"), _old("sparse")
