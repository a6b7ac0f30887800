"""Activations, each one ONNX operator where there is one. Any shape, floating-point elements."""

from __future__ import annotations

from typing import Any

from toolkit import random
from toolkit._tensor.autocast import lower
from toolkit._tensor.elementwise import where
from toolkit._tensor.shapes import normalize_dim
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, apply1, apply2, as_operands, handle, quick
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
    return input.sigmoid()  # type: ignore[no-any-return]


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return input.tanh()  # type: ignore[no-any-return]


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


@lower
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """X where x > 0, else weight x; weight (1,) or one for each channel (dimension 1)."""
    n = weight.shape[0]
    if n != 1:
        if input.dim() < 2 or (isinstance(input.shape[1], int) and input.shape[1] != n):
            raise InvalidArgumentError(
                f"prelu: an input with {n} channels is required, got shape {tuple(input.shape)}."
            )
        weight = weight.reshape(n, *[1] * (input.dim() - 2))
    elif not input.dim():
        weight = weight.reshape(())
    return apply2(_PRELU, input, weight)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second."""
    size = input.shape[normalize_dim(dim, input.dim())] if input.dim() else 1
    if isinstance(size, int) and size % 2:
        raise ShapeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    a, b = input.chunk(2, dim)
    return a * apply1(_SIGMOID, b)


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) / sum of exp(x) along `dim`."""
    return _along("Softmax", input, dim, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """log(softmax(x)) along `dim`, computed without overflow."""
    return _along("LogSoftmax", input, dim, dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax(-x) along `dim`."""
    return _along("Softmax", -input, dim, dtype)


def _along(op_type: str, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    """One of the softmaxes; without `dim`, PyTorch's (deprecated) choice of it."""
    rank = input.dim()
    if dim is None:
        dim = 0 if rank in (0, 1, 3) else 1
    x = input if dtype is None else input.to(dtype)
    axis = normalize_dim(dim, rank)
    if not rank:
        return apply1(handle(op_type, axis=0), x.reshape(1)).reshape(())
    return apply1(quick(op_type, "axis", axis), x)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """X where |x| > lambd, else 0."""
    return apply1(handle("Shrink", lambd=float(lambd), bias=0.0), input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """X moved towards 0 by lambd, 0 within [-lambd, lambd]."""
    if lambd < 0:
        raise InvalidArgumentError(
            f"lambda must be greater or equal to 0, but found to be {lambd}."
        )
    return apply1(handle("Shrink", lambd=float(lambd), bias=float(lambd)), input)


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """X where x > 0, else a x: a drawn from U(lower, upper) in training, their mean otherwise."""
    if lower > upper:
        raise InvalidArgumentError(f"rrelu: lower <= upper is required, got {lower} and {upper}.")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slope = random.uniform(input.shape, input.dtype.onnx) * (upper - lower) + lower
    return _done(input, apply2(_PRELU, input, slope), inplace)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Softmax of (logits + Gumbel noise) / tau (Jang et al., 2017).

    `hard`: 1 at the largest and 0 elsewhere, with the gradient of the soft result.
    """
    u: Any = random.uniform(logits.shape, logits.dtype.onnx)
    # Away from 0 and 1, where the noise is infinite.
    noise = -((-(u.clamp(1e-30, 1 - 2**-24).log())).log())
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    one = soft.detach().argmax(dim, keepdim=True)
    shape = [1] * logits.dim()
    shape[dim] = -1
    from toolkit.tensor import arange

    places = arange(soft.shape[dim]).reshape(shape)
    return (places == one).to(soft.dtype) - soft.detach() + soft
