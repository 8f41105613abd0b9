"""Convolutions of secret images and windows, their gradients, and means over windows.

Layer: tensor, above mpc. A gradient of a convolution is a convolution of views of its operands, so
one operation of the schemes serves all; masked operands stay masked in every view. Never reads a
secret.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from he_gpu.backend import Array, Convolution
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring.fixedpoint import as_reals
from he_gpu.tensor.arithmetic import Arithmetic
from he_gpu.tensor.windows import Numbers, Padding, Shape, geometry, numbers, size

Self = TypeVar("Self", bound="Convolutions")


class Convolutions(Arithmetic):
    """Convolutions of a `SecretTensor`, with PyTorch's layout (B, C, H, W) and arguments."""

    __slots__ = ()

    def conv2d(
        self: Self,
        weight: Any,
        stride: Numbers = 1,
        padding: Padding = 0,
        dilation: Numbers = 1,
        groups: int = 1,
        frac_bits: int | None = None,
    ) -> Self:
        """Return the convolution with windows; see `he_gpu.conv2d`, where self may be public."""
        found: Self = convolve(2, self, weight, stride, padding, dilation, groups, frac_bits)
        return found

    def conv1d(
        self: Self,
        weight: Any,
        stride: Numbers = 1,
        padding: Padding = 0,
        dilation: Numbers = 1,
        groups: int = 1,
        frac_bits: int | None = None,
    ) -> Self:
        """Return the convolution over one axis; see `he_gpu.conv1d`, where self may be public."""
        found: Self = convolve(1, self, weight, stride, padding, dilation, groups, frac_bits)
        return found

    def avg_pool2d(
        self: Self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        *,
        count_include_pad: bool = True,
    ) -> Self:
        """Return the mean of each window over the last two axes, as PyTorch does.

        Args:
            kernel_size: of a window, one number or (height, width).
            stride: from window to window; kernel_size by default.
            padding: rows and columns of zeros around, at most half a window's.
            count_include_pad: whether means count the zeros around.

        Returns:
            (..., (H + 2 padding - kernel_size) // stride + 1, and W likewise).

        Raises:
            ValueError: fewer than 2 axes, numbers out of range, a window larger than what it
                slides over.

        Range: sums over windows below 2**(k - 26 - frac_bits), so 2**22 by default (2**(k - 14 -
            frac_bits) modulo 2**32); below 2**(k - 2 - frac_bits) where every count is a power of
            two.
        Error: one unit of 2**-frac_bits, and 2**-24 (2**-12) of the sum over the smallest count
            unless every count is a power of two.
        Cost: sums are local; then one truncation, see `__mul__`.
        Leaks: nothing.
        """
        function = "avg_pool2d"
        self.session.check_open(function)
        if self.ndim < 2:
            raise ArgumentValueError(
                f"{function}: x must have at least 2 axes, got shape {self.shape}"
            )
        kernels = numbers(function, "kernel_size", kernel_size, 2, 1)
        strides = kernels if stride is None else numbers(function, "stride", stride, 2, 1)
        paddings = numbers(function, "padding", padding, 2, 0)
        stack, counts = self._stack, []
        for axis in (1, 0):
            n, kernel, pad = self.shape[axis - 2], kernels[axis], paddings[axis]
            if pad > kernel // 2:
                raise ArgumentValueError(
                    f"{function}: padding must be at most half of kernel_size {kernel}, got {pad}"
                )
            if n == 0 or kernel > n + 2 * pad:
                raise ArgumentValueError(
                    f"{function}: kernel_size must be in [1, {n + 2 * pad if n else 0}], padding "
                    f"included, got {kernel} for shape {self.shape}"
                )
            places = np.arange(0, n + 2 * pad - kernel + 1, strides[axis]) - pad
            inside = np.minimum(places + kernel, n) - np.maximum(places, 0)
            counts.append(np.full_like(inside, kernel) if count_include_pad else inside)
            stack = self._window_sums(stack, self.ndim - 1 + axis, kernel, strides[axis], pad)
        means: Self = self._like(stack) * (1.0 / np.multiply.outer(counts[1], counts[0]))
        return means

    def _window_sums(
        self, stack: Array, axis: int, kernel: int, stride: int, padding: int
    ) -> Array:
        """Return sums over windows along an axis of the stack, zeros around included."""
        scheme, xp = self.session.scheme, self.session.backend.xp
        n = stack.shape[axis] + 2 * padding
        if kernel == n:
            return scheme.sum(stack, (axis,), True)
        if padding:
            shape = (*stack.shape[:axis], padding, *stack.shape[axis + 1 :])
            zeros = xp.zeros(shape, stack.dtype)
            stack = xp.concatenate([zeros, stack, zeros], axis=axis)
        reach = (n - kernel) // stride * stride + 1
        along = stack.swapaxes(axis, -1)
        total = along[..., :reach:stride]
        for i in range(1, kernel):
            total = scheme.add(total, along[..., i : i + reach : stride])
        return total.swapaxes(axis, -1)


def convolve(
    n_axes: int,
    x: Any,
    weight: Any,
    stride: Numbers,
    padding: Padding,
    dilation: Numbers,
    groups: int,
    frac_bits: int | None,
) -> Any:
    """Return the convolution over the last n_axes of x with weight; see `he_gpu.conv2d`."""
    function = f"conv{n_axes}d"
    x, weight = _operands(function, (x, weight), ("x", "weight"))
    found = geometry(function, n_axes, x.shape, weight.shape, stride, padding, dilation, groups)
    batched = x.ndim == n_axes + 2
    images, windows = _whole(x, n_axes, batched), _whole(weight, n_axes, True)
    result = _convolve(function, images, windows, found.convolution, frac_bits)
    return _part(result, n_axes, batched)


def input_gradient(
    n_axes: int,
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Numbers,
    padding: Padding,
    dilation: Numbers,
    groups: int,
    frac_bits: int | None,
) -> Any:
    """Return the gradient of a convolution for its images; see `he_gpu.conv2d_input`."""
    function = f"conv{n_axes}d_input"
    weight, gradient = _operands(function, (weight, grad_output), ("weight", "grad_output"))
    shape = size(function, "input_size", input_size)
    names = ("input_size", "weight")
    given = stride, padding, dilation, groups
    found = geometry(function, n_axes, shape, weight.shape, *given, names=names)
    batched = _check_gradient(function, n_axes, shape, gradient, found.results)
    windows = _view(_whole(weight, n_axes, True), turned_windows, groups)
    gradient = _whole(gradient, n_axes, batched)
    result = _convolve(function, gradient, windows, found.input_gradient(), frac_bits)
    return _part(result, n_axes, batched)


def weight_gradient(
    n_axes: int,
    x: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Numbers,
    padding: Padding,
    dilation: Numbers,
    groups: int,
    frac_bits: int | None,
) -> Any:
    """Return the gradient of a convolution for its windows; see `he_gpu.conv2d_weight`."""
    function = f"conv{n_axes}d_weight"
    x, gradient = _operands(function, (x, grad_output), ("x", "grad_output"))
    shape = size(function, "weight_size", weight_size)
    names = ("x", "weight_size")
    given = stride, padding, dilation, groups
    found = geometry(function, n_axes, x.shape, shape, *given, names=names)
    batched = _check_gradient(function, n_axes, x.shape, gradient, found.results)
    images = _view(_whole(x, n_axes, batched), channels_first, groups)
    windows = _view(_whole(gradient, n_axes, batched), swapped)
    result = _convolve(function, images, windows, found.weight_gradient(), frac_bits)
    return _part(_view(result, swapped), n_axes, True)


# Views of images and windows: they move words about by the last four axes alone.


def whole(words: Array, n_axes: int, batched: bool) -> Array:
    """Return (B, C, H, W) of (C, ...) or (B, C, ...) with n_axes behind the channels."""
    if n_axes == 1:
        words = words[..., None, :]
    return words if batched else words[..., None, :, :, :]


def turned_windows(words: Array, groups: int) -> Array:
    """Return windows (O, C / groups, h, w) as (C, O / groups, h, w), turned by half a circle."""
    *lead, n_out, channels, height, width = words.shape
    apart = words.reshape(*lead, groups, n_out // groups, channels, height, width)
    apart = apart.swapaxes(-4, -3)[..., ::-1, ::-1]
    return apart.reshape(*lead, groups * channels, n_out // groups, height, width)


def channels_first(words: Array, groups: int) -> Array:
    """Return images (B, C, H, W) as (C / groups, groups B, H, W)."""
    *lead, batch, channels, height, width = words.shape
    apart = words.reshape(*lead, batch, groups, channels // groups, height, width)
    apart = apart.swapaxes(-5, -3)
    return apart.reshape(*lead, channels // groups, groups * batch, height, width)


def swapped(words: Array) -> Array:
    """Return the first two of four axes in the other order."""
    return words.swapaxes(-4, -3)


def _whole(value: Any, n_axes: int, batched: bool) -> Any:
    return value if n_axes == 2 and batched else _view(value, whole, n_axes, batched)


def _part(result: Any, n_axes: int, batched: bool) -> Any:
    """Return a result without the axes that `whole` gave its operands."""
    shape = result.shape if n_axes == 2 else (*result.shape[:2], result.shape[3])
    shape = shape if batched else shape[1:]
    return result if shape == result.shape else result.reshape(shape)


def _view(value: Any, change: Callable[..., Array], *arguments: Hashable) -> Any:
    """Return a view of a public array or of a tensor, whose mask is seen in the same way."""
    if not isinstance(value, Arithmetic):
        return change(value, *arguments)
    name = (change.__name__, *arguments)
    return value._viewed(lambda words: change(words, *arguments), *name)


# Operands and their product


def _operands(function: str, values: tuple[Any, Any], names: tuple[str, str]) -> list[Any]:
    """Return tensors as they are and public operands as reals, at least one a tensor."""
    secrets = [value for value in values if isinstance(value, Arithmetic)]
    if not secrets:
        raise ArgumentTypeError(
            f"{function}: {names[0]} or {names[1]} must be a SecretTensor, got "
            f"{type(values[0]).__name__} and {type(values[1]).__name__}"
        )
    secrets[0].session.check_open(function)
    secrets[0]._check_partner(secrets[-1], function)
    return [
        value if isinstance(value, Arithmetic) else as_reals(value, function, name)
        for name, value in zip(names, values, strict=True)
    ]


def _check_gradient(
    function: str, n_axes: int, images: Shape, gradient: Any, results: Shape
) -> bool:
    """Refuse a gradient of another shape than the results'; return whether there is a batch."""
    batched = len(images) == n_axes + 2
    expected = (*results[:2], *results[-n_axes:])[0 if batched else 1 :]
    if gradient.shape != expected:
        raise ArgumentValueError(
            f"{function}: grad_output must have the convolution's shape {expected}, got "
            f"{gradient.shape}"
        )
    return batched


def _convolve(
    function: str, x: Any, weight: Any, convolution: Convolution, frac_bits: int | None
) -> Any:
    """Return the convolution of (B, C, H, W) with (O, C / groups, h, w), of which one is secret."""
    secret = x if isinstance(x, Arithmetic) else weight
    session = secret.session
    if isinstance(x, Arithmetic) and isinstance(weight, Arithmetic):
        bits = x.frac_bits + weight.frac_bits
        drop = secret._drop(bits, frac_bits, function)
        operands = x._operand_as(4), weight._operand_as(4)
        stack = session.scheme.product(convolution, *operands, drop)
        return type(secret)(session, stack, bits - drop)
    factor = secret._factor(weight if secret is x else x, function)
    words, bits = session.backend.asarray(factor.mantissa), secret.frac_bits + factor.shift
    drop = secret._drop(bits, frac_bits, function, secret._finest)
    pair = (x._stack, words) if secret is x else (words, weight._stack)
    stack = session.scheme.conv_public(*pair, convolution)
    return secret._rescale(stack, factor.shift, drop)
