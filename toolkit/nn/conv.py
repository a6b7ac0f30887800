"""Convolution layers."""

from __future__ import annotations

import math
from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn import functional as F
from toolkit.nn import init
from toolkit.nn.functional.conv import Ints, ntuple, same_pads
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.tensor import Tensor, empty

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """Parameters and text common to all convolutions over `_n` spatial dimensions."""

    _n: int
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints,
        padding: str | Ints,
        dilation: Ints,
        output_padding: Ints,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name, n = type(self).__name__, self._n
        if groups <= 0 or in_channels % groups or out_channels % groups:
            raise InvalidArgumentError(
                f"{name}: channels that are multiples of groups > 0 are required, got "
                f"in_channels {in_channels}, out_channels {out_channels}, groups {groups}."
            )
        if padding_mode not in _PADDING_MODES:
            raise InvalidArgumentError(
                f"{name}: padding_mode must be one of {_PADDING_MODES}, got {padding_mode!r}."
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = ntuple(kernel_size, n, f"{name}: kernel_size")
        self.stride = ntuple(stride, n, f"{name}: stride")
        self.dilation = ntuple(dilation, n, f"{name}: dilation")
        self.output_padding = ntuple(output_padding, n, f"{name}: output_padding")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise InvalidArgumentError(
                    f"{name}: padding 'same', 'valid' or integers are required, got {padding!r}."
                )
            if padding == "same" and any(s != 1 for s in self.stride):
                raise InvalidArgumentError(
                    f"{name}: stride 1 is required by padding='same', got {self.stride}."
                )
            self.padding: str | tuple[int, ...] = padding
        else:
            self.padding = ntuple(padding, n, f"{name}: padding")
        self.padding_mode = padding_mode
        ends = (in_channels, out_channels) if self._transposed else (out_channels, in_channels)
        shape = ends[0], ends[1] // groups, *self.kernel_size
        self.weight = Parameter(empty(*shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for both."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        fan_in = init._calculate_fan_in_and_fan_out(self.weight)[0]
        if self.bias is not None and fan_in:
            bound = 1 / math.sqrt(fan_in)
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        n = self._n
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != (0,) * n:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * n:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_ConvNd):
    def __init__(
        self,
        in_channels: int,
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
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _pad(self, input: Tensor) -> Tensor:
        """Pads by `padding_mode`."""
        if self.padding == "same":
            pads = same_pads(self.kernel_size, self.dilation)
        else:
            widths = (0,) * self._n if isinstance(self.padding, str) else self.padding
            pads = [*widths, *widths]
        n = self._n
        last_first = [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]
        return F.pad(input, last_first, self.padding_mode)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer with other weights."""
        conv = (F.conv1d, F.conv2d, F.conv3d)[self._n - 1]
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = self._pad(input), 0
        return conv(input, weight, bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_Conv):
    """Cross-correlation of (N, in_channels, L); weight (out, in / groups, K)."""

    _n = 1


class Conv2d(_Conv):
    """Cross-correlation of (N, in_channels, H, W); weight (out, in / groups, KH, KW)."""

    _n = 2


class Conv3d(_Conv):
    """Cross-correlation of (N, in_channels, D, H, W); weight (out, in / groups, KD, KH, KW)."""

    _n = 3


class _ConvTranspose(_ConvNd):
    _transposed = True

    def __init__(
        self,
        in_channels: int,
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
        if padding_mode != "zeros":
            raise InvalidArgumentError(
                f"{type(self).__name__}: padding_mode 'zeros' is required, got {padding_mode!r}."
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self._n - 1]
        extra = self.output_padding
        if output_size is not None:
            extra = self._output_padding(input, tuple(output_size))
        return conv(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            extra,
            self.groups,
            self.dilation,
        )

    def _output_padding(self, input: Tensor, output_size: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives a wanted output size."""
        n = self._n
        wanted, sizes = output_size[-n:], tuple(input.shape)[-n:]
        extra = []
        for i in range(n):
            padding: Any = self.padding[i]
            span = self.dilation[i] * (self.kernel_size[i] - 1)
            least = (sizes[i] - 1) * self.stride[i] - 2 * padding + span + 1
            if not least <= wanted[i] < least + self.stride[i]:
                raise InvalidArgumentError(
                    f"{type(self).__name__}: an output size from {least} to "
                    f"{least + self.stride[i] - 1} is required, got {wanted[i]}."
                )
            extra.append(wanted[i] - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of `Conv1d`; weight (in, out / groups, K)."""

    _n = 1


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of `Conv2d`; weight (in, out / groups, KH, KW)."""

    _n = 2


class ConvTranspose3d(_ConvTranspose):
    """The adjoint of `Conv3d`; weight (in, out / groups, KD, KH, KW)."""

    _n = 3
