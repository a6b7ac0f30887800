"""A BatchNorm in evaluation mode as part of the layer before it."""

from __future__ import annotations

import copy
from typing import Any

from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.tensor import ones_like, zeros_like


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of a convolution that does what it and the norm after it do.

    `transpose`: the weight is (in, out, ...), as transposed convolutions have it.
    """
    _check(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
        transpose,
    )  # fmt: skip
    return fused


def fuse_conv_bn_weights(
    conv_w: Any,
    conv_b: Any,
    bn_rm: Any,
    bn_rv: Any,
    bn_eps: float,
    bn_w: Any,
    bn_b: Any,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of such a convolution."""
    conv_b = zeros_like(bn_rm) if conv_b is None else conv_b
    bn_w = ones_like(bn_rm) if bn_w is None else bn_w
    bn_b = zeros_like(bn_rm) if bn_b is None else bn_b
    factor = bn_w * (bn_rv + bn_eps).rsqrt()
    tail = [1] * (conv_w.dim() - 2)
    shape = [1, -1, *tail] if transpose else [-1, 1, *tail]
    weight = (conv_w * factor.reshape(shape)).to(conv_w.dtype)
    bias = ((conv_b - bn_rm) * factor + bn_b).to(conv_b.dtype)
    return (
        Parameter(weight.detach(), conv_w.requires_grad),
        Parameter(bias.detach(), conv_b.requires_grad),
    )


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of a linear layer that does what it and the norm after it do."""
    _check(linear, bn)
    if bn.num_features not in (1, linear.out_features):
        raise ShapeError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"{linear.out_features} and {bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any
) -> tuple[Parameter, Parameter]:
    """Weight and bias of such a linear layer."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _check(layer: Module, bn: Any) -> None:
    if layer.training or bn.training:
        raise InvalidArgumentError("Fusion only for eval! Call eval() on both modules before.")
    if bn.running_mean is None or bn.running_var is None:
        raise InvalidArgumentError(
            "bn.running_mean and bn.running_var must not be None: a norm with statistics is "
            "required."
        )
