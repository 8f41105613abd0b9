"""The convolution layer.

Layer: nn, above module. Forward and both gradients are convolutions with one truncation each, in
which images and windows are masked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from he_gpu.backend import Convolution, convolve_reals
from he_gpu.errors import ArgumentValueError
from he_gpu.functions import conv2d, conv2d_input, conv2d_weight
from he_gpu.nn.arguments import positive
from he_gpu.nn.initial import generator_of, uniform
from he_gpu.nn.module import Module, Parameter
from he_gpu.nn.precision import gradient_bits, weight_bits
from he_gpu.nn.values import Bits, Value, is_secret
from he_gpu.nn.variable import Variable, operands, record
from he_gpu.tensor.convolution import channels_first, swapped, turned_windows
from he_gpu.tensor.windows import Numbers, Padding, geometry, numbers


class Conv2d(Module):
    """Windows over images (B, C, H, W) or (C, H, W), as PyTorch's.

    Args:
        in_channels: C.
        out_channels: number of windows.
        kernel_size: of a window, one number or (height, width).
        stride: from window to window.
        padding: rows and columns of zeros around; or "valid", or "same".
        dilation: distance of a window's neighbours.
        groups: parts of the channels that do not mix.
        bias: whether there is a bias.
        random_state: as for `Linear`; the bound is 1 / sqrt(C / groups height width).

    Attributes:
        weight: Parameter (out_channels, in_channels / groups, height, width).
        bias: Parameter (out_channels,), or None.

    Range, Error: as `Linear`, for sums over a window, and backward over batch and places.
    Cost: forward one `he_gpu.conv2d`; backward one `conv2d_weight` and, where the images need a
        gradient, one `conv2d_input`. Images, windows and gradients are opened once each.
    Leaks: nothing.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> nn.Conv2d(1, 6, 3, padding="same", random_state=0)(np.ones((2, 1, 8, 8))).shape
        (2, 6, 8, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: Numbers = 1,
        padding: Padding = 0,
        dilation: Numbers = 1,
        groups: int = 1,
        bias: bool = True,
        random_state: Any = None,
    ):
        super().__init__()
        self.in_channels = positive("Conv2d", "in_channels", in_channels)
        self.out_channels = positive("Conv2d", "out_channels", out_channels)
        self.groups = positive("Conv2d", "groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ArgumentValueError(
                f"Conv2d: groups must divide in_channels {in_channels} and out_channels "
                f"{out_channels}, got {groups}"
            )
        self.kernel_size = numbers("Conv2d", "kernel_size", kernel_size, 2, 1)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        generator, bound = generator_of(random_state), prod(shape[1:]) ** -0.5
        self.weight = Parameter(uniform(generator, bound, shape))
        values = uniform(generator, bound, (out_channels,)) if bias else None
        self.register_parameter("bias", None if values is None else Parameter(values))

    def forward(self, x: Variable) -> Variable:
        """Return the results, (B, out_channels, rows, columns)."""
        given = self.stride, self.padding, self.dilation, self.groups
        result = convolved(x, self.weight, *given)
        if self.bias is not None:
            result = result + self.bias.reshape(-1, 1, 1)
        return result

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding!r}, dilation={self.dilation}, "
            f"groups={self.groups}, bias={self.bias is not None}"
        )


def convolved(
    x: Variable,
    weight: Variable,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Variable:
    """Return the convolution of images with windows; arguments as `he_gpu.conv2d`."""
    found = geometry("Conv2d", 2, x.shape, weight.shape, stride, padding, dilation, groups)
    given = stride, padding, dilation, groups
    left, right = operands(x, weight)
    shapes, batched = (x.shape, weight.shape), x.ndim == 4

    def value() -> Value:
        if is_secret(left) or is_secret(right):
            return conv2d(left, right, *given, _bits(left, right, weight_bits))
        return _plain(left, right, found.convolution, batched)

    def backward(g: Value) -> Sequence[Value | None]:
        if x.requires_grad and weight.requires_grad and is_secret(g):
            g = g.masked()
        to_x = to_weight = None
        if x.requires_grad:
            if is_secret(g) or is_secret(right):
                bits = _bits(right, g, gradient_bits)
                to_x = conv2d_input(shapes[0], right, g, *given, bits)
            else:
                turned = turned_windows(right, groups)
                to_x = _plain(g, turned, found.input_gradient(), batched)
        if weight.requires_grad:
            if is_secret(g) or is_secret(left):
                bits = _bits(left, g, gradient_bits)
                to_weight = conv2d_weight(left, shapes[1], g, *given, bits)
            else:
                images = channels_first(left if batched else left[None], groups)
                windows = swapped(g if batched else g[None])
                to_weight = swapped(_plain(images, windows, found.weight_gradient(), True))
        return to_x, to_weight

    return record(value(), [x, weight], backward)


def _plain(x: Value, weight: Value, convolution: Convolution, batched: bool) -> Value:
    """Return a convolution of public arrays."""
    result = convolve_reals(x if batched else x[None], weight, convolution)
    return np.asarray(result if batched else result[0])


def _bits(x: Value, y: Value, bits: Bits) -> int | None:
    """Return the fraction bits to ask for, as `values.matmul` does."""
    if is_secret(x) and is_secret(y):
        most = max(x.frac_bits, y.frac_bits) if bits is weight_bits else 64
        return min(bits(x.session), most, x.frac_bits + y.frac_bits)
    secret = x if is_secret(x) else y
    wanted = bits(secret.session)
    return wanted if wanted <= secret.frac_bits else None
