"""`torch.autograd.function`: operations with a backward pass of their own."""

from toolkit._tensor.function import Context as FunctionCtx
from toolkit._tensor.function import Function, once_differentiable

__all__ = ["Function", "FunctionCtx", "once_differentiable"]
