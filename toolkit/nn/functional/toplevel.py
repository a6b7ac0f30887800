"""The functions of `nn.functional` under the names and argument orders of PyTorch's top level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit._tensor.nn_names import SAME
from toolkit.dtypes import int64
from toolkit.errors import InvalidArgumentError
from toolkit.nn import functional as F
from toolkit.nn.functional.dropout import feature_dropout as feature_dropout_of
from toolkit.nn.functional.embedding import renorm_rows
from toolkit.nn.functional.linear import vector_norm
from toolkit.tensor import Tensor, cat, full_like

globals().update({name: getattr(F, name) for name in SAME})


def adaptive_max_pool1d(input: Tensor, output_size: Any) -> Any:
    """Maxima of as many windows as `output_size` says, and where they are."""
    return F.adaptive_max_pool1d(input, output_size, True)


def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """`nn.functional.affine_grid`."""
    return F.affine_grid(theta, size, align_corners)


def batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,
) -> Tensor:
    """`nn.functional.batch_norm` with its arguments in another order."""
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,
) -> Tensor:
    """`nn.functional.instance_norm` with its arguments in another order."""
    return F.instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """`nn.functional.layer_norm`."""
    return F.layer_norm(input, normalized_shape, weight, bias, eps)


def constant_pad_nd(input: Tensor, pad: Any, value: float = 0) -> Tensor:
    """`nn.functional.pad` with a constant."""
    return F.pad(input, pad, "constant", value)


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Tensor:
    """A convolution, or its adjoint, of one to three dimensions."""
    n = weight.dim() - 2
    if not 1 <= n <= 3:
        raise InvalidArgumentError(
            f"convolution: a weight of 3 to 5 dimensions is required, got {list(weight.shape)}."
        )
    if transposed:
        adjoint = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        return adjoint(input, weight, bias, stride, padding, output_padding, groups, dilation)
    conv = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    return conv(input, weight, bias, stride, padding, dilation, groups)


def _dropout(function: Callable[..., Tensor], inplace: bool) -> Callable[..., Tensor]:
    name = function.__name__ + "_" * inplace

    def named(input: Tensor, p: float, train: bool) -> Tensor:
        return function(input, p, train, inplace)

    named.__name__ = named.__qualname__ = name
    named.__doc__ = f"`nn.functional.{function.__name__}`" + ", in place." * inplace
    return named


dropout, dropout_ = (_dropout(F.dropout, i) for i in (False, True))
alpha_dropout, alpha_dropout_ = (_dropout(F.alpha_dropout, i) for i in (False, True))
feature_dropout, feature_dropout_ = (_dropout(feature_dropout_of, i) for i in (False, True))
feature_alpha_dropout, feature_alpha_dropout_ = (
    _dropout(F.feature_alpha_dropout, i) for i in (False, True)
)


def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """`nn.functional.dropout`, and which elements were kept."""
    from toolkit import random

    if train is False or p == 0.0:
        return input.clone(), full_like(input, 1.0) > 0
    if p == 1.0:
        return input * 0.0, full_like(input, 0.0) > 0
    return random.dropout(input, p)


def embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """`nn.functional.embedding` with its arguments in another order; padding_idx -1: none."""
    padding = None if padding_idx < 0 else padding_idx
    return F.embedding(indices, weight, padding, None, 2.0, scale_grad_by_freq, sparse)


def embedding_renorm_(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Scales the rows that are named down to a norm of at most `max_norm`, in place."""
    renorm_rows(weight, indices, max_norm, norm_type)
    return weight


def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The bags (mode 0: sum, 1: mean, 2: max); the bag of each index, the bags' sizes, nothing."""
    if mode not in (0, 1, 2):
        raise InvalidArgumentError(f"embedding_bag: a mode of 0, 1 or 2 is required, got {mode}.")
    y = F.embedding_bag(
        indices, weight, offsets, None, 2.0, scale_grad_by_freq, ("sum", "mean", "max")[mode],
        sparse, per_sample_weights, include_last_offset, padding_idx,
    )  # fmt: skip
    from toolkit.tensor import arange

    starts = offsets.to(int64)
    places: Any = arange(indices.shape[0]).unsqueeze(1)
    bags = (places >= starts).to(int64).sum(1) - 1
    n = starts.shape[0]
    ends = starts.narrow(0, 1, n - 1)
    if not include_last_offset:
        ends = cat([ends, full_like(starts.narrow(0, 0, 1), indices.shape[0])])
    sizes = ends - starts.narrow(0, 0, ends.shape[0])
    return y, bags, sizes, full_like(sizes, 0)


_MODES = ("bilinear", "nearest", "bicubic")
_PADDING = ("zeros", "border", "reflection")


def grid_sampler(
    input: Tensor,
    grid: Tensor,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> Tensor:
    """`nn.functional.grid_sample` with numbers for the modes."""
    mode, padding = _MODES[interpolation_mode], _PADDING[padding_mode]
    return F.grid_sample(input, grid, mode, padding, align_corners)


grid_sampler_2d = grid_sampler_3d = grid_sampler


def _gates(input: Tensor, h: Tensor, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    return F.linear(input, w_ih, b_ih), F.linear(h, w_hh, b_hh)


def lstm_cell(
    input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM from the states (h, c)."""
    h, c = hx
    x, y = _gates(input, h, w_ih, w_hh, b_ih, b_hh)
    i, f, g, o = (x + y).chunk(4, -1)
    c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(c), c


def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """One step of a GRU."""
    x, y = _gates(input, hx, w_ih, w_hh, b_ih, b_hh)
    (ri, zi, ni), (rh, zh, nh) = x.chunk(3, -1), y.chunk(3, -1)
    n = F.tanh(ni + F.sigmoid(ri + rh) * nh)
    return n + F.sigmoid(zi + zh) * (hx - n)


def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """One step of an RNN with tanh."""
    x, y = _gates(input, hx, w_ih, w_hh, b_ih, b_hh)
    return F.tanh(x + y)


def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """One step of an RNN with relu."""
    x, y = _gates(input, hx, w_ih, w_hh, b_ih, b_hh)
    return F.relu(x + y)


def norm_except_dim(v: Tensor, pow: float = 2, dim: int = 0) -> Any:
    """The norms of the slices along `dim`, the others kept as 1; dim -1: of the whole, 0-dim."""
    if dim == -1:
        return vector_norm(v.reshape(-1), pow, 0).reshape(())
    rest = tuple(d for d in range(v.dim()) if d != dim)
    return vector_norm(v, pow, rest) if rest else v.abs()
