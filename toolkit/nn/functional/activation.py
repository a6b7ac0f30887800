"""Activations, each one ONNX operator where there is one. Any shape, floating-point elements."""

from __future__ import annotations

from toolkit._tensor.elementwise import where
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import apply, apply1, apply2, as_operands, handle
from toolkit.tensor import Tensor

_RELU = handle("Relu")
_SIGMOID = handle("Sigmoid")
_TANH = handle("Tanh")
_SOFTPLUS = handle("Softplus")
_SOFTSIGN = handle("Softsign")
_MISH = handle("Mish")
_HARD_SWISH = handle("HardSwish")
_CLIP = handle("Clip")
_PRELU = handle("PRelu")
_MUL = handle("Mul")


def _done(x: Tensor, y: Tensor, inplace: bool) -> Tensor:
    return x.copy_(y) if inplace else y


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x)."""
    return _done(input, apply1(_RELU, input), inplace)


def clip(input: Tensor, low: float, high: float) -> Tensor:
    """min(max(x, low), high)."""
    return apply(_CLIP, *as_operands("Clip", (input, low, high)))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6)."""
    return _done(input, clip(input, 0.0, 6.0), inplace)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """X limited to [min_val, max_val]."""
    if min_val > max_val:
        raise InvalidArgumentError(
            f"hardtanh: min_val <= max_val is required, got {min_val} and {max_val}."
        )
    return _done(input, clip(input, min_val, max_val), inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """X where x > 0, else negative_slope x."""
    return _done(input, apply1(handle("LeakyRelu", alpha=float(negative_slope)), input), inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """X where x > 0, else alpha (exp(x) - 1)."""
    return _done(input, apply1(handle("Elu", alpha=float(alpha)), input), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Scaled ELU (Klambauer et al., 2017)."""
    h = handle("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805)
    return _done(input, apply1(h, input), inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    if alpha == 0:
        raise InvalidArgumentError("celu: an alpha other than 0 is required, got 0.")
    return _done(input, apply1(handle("Celu", alpha=float(alpha)), input), inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """X times the normal distribution function of x, or its "tanh" approximation."""
    if approximate not in ("none", "tanh"):
        raise InvalidArgumentError(
            f"gelu: approximate 'none' or 'tanh' is required, got {approximate!r}."
        )
    return apply1(handle("Gelu", approximate=approximate), input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return apply1(_SIGMOID, input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return apply1(_TANH, input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """`x sigmoid(x)`."""
    return _done(input, apply2(_MUL, input, apply1(_SIGMOID, input)), inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """`x tanh(softplus(x))`."""
    return _done(input, apply1(_MISH, input), inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""
    if beta == 1.0 and threshold >= 20.0:
        return apply1(_SOFTPLUS, input)  # Beyond 20 it is x to float32 precision.
    scaled = input * beta
    linear = scaled > threshold
    safe = where(linear, threshold, scaled)
    return where(linear, input, apply1(_SOFTPLUS, safe) / beta)  # type: ignore[no-any-return]


def softsign(input: Tensor) -> Tensor:
    """`x / (1 + |x|)`."""
    return apply1(_SOFTSIGN, input)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = -softplus(-x)."""
    return -apply1(_SOFTPLUS, -input)


def tanhshrink(input: Tensor) -> Tensor:
    """`x - tanh(x)`."""
    return input - apply1(_TANH, input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """`x relu6(x + 3) / 6`."""
    return _done(input, apply1(_HARD_SWISH, input), inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return _done(input, apply1(handle("HardSigmoid", alpha=1.0 / 6.0, beta=0.5), input), inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """X where x > threshold, else value."""
    y = where(input > threshold, input, value)
    return _done(input, y, inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """X where x > 0, else weight x; weight (1,) or one for each channel (dimension 1)."""
    n = weight.shape[0]
    if n != 1:
        if input.dim() < 2 or (isinstance(input.shape[1], int) and input.shape[1] != n):
            raise InvalidArgumentError(
                f"prelu: an input with {n} channels is required, got shape {tuple(input.shape)}."
            )
        weight = weight.reshape(n, *[1] * (input.dim() - 2))
    return apply2(_PRELU, input, weight)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second."""
    a, b = input.chunk(2, dim)
    return a * apply1(_SIGMOID, b)


def softmax(input: Tensor, dim: int = -1, dtype: object = None) -> Tensor:
    """exp(x) / sum of exp(x) along `dim`."""
    x = input if dtype is None else input.to(dtype)
    return apply1(handle("Softmax", axis=int(dim)), x)


def log_softmax(input: Tensor, dim: int = -1, dtype: object = None) -> Tensor:
    """log(softmax(x)) along `dim`, computed without overflow."""
    x = input if dtype is None else input.to(dtype)
    return apply1(handle("LogSoftmax", axis=int(dim)), x)


def softmin(input: Tensor, dim: int = -1) -> Tensor:
    """softmax(-x) along `dim`."""
    return softmax(-input, dim)
