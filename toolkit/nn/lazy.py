"""Layers that learn their input's channels from the first input, and are ordinary ones then."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.state import STATE
from toolkit.autograd import no_grad
from toolkit.dtypes import int64
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from toolkit.nn.functional.conv import Ints
from toolkit.nn.linear import Linear
from toolkit.nn.module import Module
from toolkit.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from toolkit.nn.parameter import (
    UninitializedBuffer,
    UninitializedParameter,
    UninitializedTensorMixin,
    is_lazy,
)
from toolkit.tensor import Tensor, tensor


class LazyModuleMixin(Module):
    """A module whose parameters get their shapes from its first input.

    A subclass, which names this class before the ordinary one, defines `initialize_parameters` with
    the arguments of `forward`, and `cls_to_become`, its class from then on.
    """

    cls_to_become: type[Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(
            self._infer_parameters, with_kwargs=True
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Gives the parameters their shapes."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(is_lazy(v) for v in (*self._parameters.values(), *self._buffers.values()))

    def _lazy_load_hook(self, state: Any, prefix: str, *_: Any) -> None:
        """Gives members the shapes of what is loaded into them."""
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            given = state.get(prefix + name)
            if given is None or is_lazy(given):
                continue
            if isinstance(value, UninitializedTensorMixin):
                value.materialize(tuple(given.shape))

    def _infer_parameters(self, module: Any, args: Any, kwargs: Any = None) -> None:
        if STATE.trace is not None:
            raise InvalidArgumentError(
                f"{self._get_name()}: parameters with shapes are required by a graph, got "
                "uninitialized ones. Call the module once before."
            )
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise InvalidArgumentError(f"module {self._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy whose hooks are its own."""
        import copy

        made = object.__new__(type(self))
        memo[id(self)] = made
        for name, value in self.__dict__.items():
            if name not in ("_load_hook", "_initialize_hook"):
                made.__dict__[name] = copy.deepcopy(value, memo)
        for table, handle in (
            (made._forward_pre_hooks, self._initialize_hook),
            (made._hooks_of("load_state_dict_pre"), self._load_hook),
        ):
            table.hooks.pop(handle.id, None)
        made._load_hook = made._register_load_state_dict_pre_hook(made._lazy_load_hook)
        made._initialize_hook = made.register_forward_pre_hook(
            made._infer_parameters, with_kwargs=True
        )
        return made


class LazyLinear(LazyModuleMixin, Linear):
    """`Linear` whose in_features are those of the first input."""

    cls_to_become = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Takes the last dimension of the input."""
        width = input.shape[-1]
        with no_grad():
            if self.has_uninitialized_params():
                self.in_features = width
                _shape(self.weight, (self.out_features, width))
                _shape(self.bias, (self.out_features,))
                self.reset_parameters()
        if not self.in_features:
            if self.weight.shape[-1] != width:
                raise ShapeError(
                    f"The in_features inferred from input: {width} is not equal to in_features "
                    f"from self.weight: {self.weight.shape[-1]}"
                )
            self.in_features = width


def _shape(member: Any, shape: tuple[int, ...]) -> None:
    if is_lazy(member):
        member.materialize(shape)


class _LazyConv(LazyModuleMixin):
    """What follows from the first input's channels, for any convolution."""

    def _begin(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        this: Any = self
        this.out_channels = out_channels
        this.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            this.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Nothing while there are no shapes."""
        this: Any = self
        if not self.has_uninitialized_params() and this.in_channels:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Takes the channels of the input."""
        this: Any = self
        n, rank = this._n, input.dim()
        if rank not in (n + 1, n + 2):
            raise ShapeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {list(input.shape)}"
            )
        channels = input.shape[rank - n - 1]
        if self.has_uninitialized_params():
            if channels % this.groups:
                raise InvalidArgumentError(
                    f"in_channels must be divisible by groups {this.groups}, got {channels}"
                )
            ends = (channels, this.out_channels)
            ends = ends if this._transposed else ends[::-1]
            with no_grad():
                this.in_channels = channels
                _shape(this.weight, (ends[0], ends[1] // this.groups, *this.kernel_size))
                _shape(this.bias, (this.out_channels,))
                self.reset_parameters()
        elif not this.in_channels:
            of = this.weight.shape
            this.in_channels = of[0] if this._transposed else of[1] * this.groups


class _LazyPlainConv(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: str | Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        self._begin(out_channels, bias, device, dtype)


class _LazyTransposedConv(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation,
            padding_mode,
        )  # fmt: skip
        self._begin(out_channels, bias, device, dtype)


class LazyConv1d(_LazyPlainConv, Conv1d):
    """`Conv1d` whose in_channels are those of the first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyPlainConv, Conv2d):
    """`Conv2d` whose in_channels are those of the first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyPlainConv, Conv3d):
    """`Conv3d` whose in_channels are those of the first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyTransposedConv, ConvTranspose1d):
    """`ConvTranspose1d` whose in_channels are those of the first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyTransposedConv, ConvTranspose2d):
    """`ConvTranspose2d` whose in_channels are those of the first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyTransposedConv, ConvTranspose3d):
    """`ConvTranspose3d` whose in_channels are those of the first input."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """What follows from the first input's channels, for norms with running statistics."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, bias=False)
        this: Any = self
        this.affine, this.track_running_stats = affine, track_running_stats
        how: dict[str, Any] = {"device": device, "dtype": dtype}
        if affine:
            this.weight = UninitializedParameter(**how)
            if bias:
                this.bias = UninitializedParameter(**how)
        if track_running_stats:
            this.running_mean = UninitializedBuffer(**how)
            this.running_var = UninitializedBuffer(**how)
            this.num_batches_tracked = tensor(0, dtype=int64)

    def reset_parameters(self) -> None:
        """Nothing while there are no shapes."""
        this: Any = self
        if not self.has_uninitialized_params() and this.num_features:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor) -> None:
        """Takes the channels of the input."""
        this: Any = self
        if self.has_uninitialized_params():
            this.num_features = input.shape[1]
            with no_grad():
                for name in ("weight", "bias", "running_mean", "running_var"):
                    _shape(getattr(this, name), (this.num_features,))
                self.reset_parameters()
        elif self._parameters.get("weight") is not None and not this.num_features:
            this.num_features = this.weight.shape[0]


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """`BatchNorm1d` whose num_features are the channels of the first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """`BatchNorm2d` whose num_features are the channels of the first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """`BatchNorm3d` whose num_features are the channels of the first input."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """`InstanceNorm1d` whose num_features are the channels of the first input."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """`InstanceNorm2d` whose num_features are the channels of the first input."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """`InstanceNorm3d` whose num_features are the channels of the first input."""

    cls_to_become = InstanceNorm3d
