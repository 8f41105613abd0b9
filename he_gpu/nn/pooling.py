"""Means and largest values of windows.

Layer: nn, above module. Windows are strided views, one for each place in a window, so that the same
code serves secret and public images, forward and backward.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from he_gpu.errors import ArgumentValueError
from he_gpu.nn.module import Module
from he_gpu.nn.tape import recording
from he_gpu.nn.values import Value, chosen, is_secret
from he_gpu.nn.variable import Variable, record
from he_gpu.tensor.windows import numbers

Pair = int | tuple[int, int]


class _Pooling(Module):
    """Arguments and windows of both layers."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0):
        super().__init__()
        name = type(self).__name__
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self._kernels = numbers(name, "kernel_size", kernel_size, 2, 1)
        self._strides = numbers(name, "stride", self.stride, 2, 1)
        self._paddings = numbers(name, "padding", padding, 2, 0)
        for kernel, pad in zip(self._kernels, self._paddings, strict=True):
            if pad > kernel // 2:
                raise ArgumentValueError(
                    f"{name}: padding must be at most half of kernel_size {kernel}, got {pad}"
                )

    def _places(self, x: Variable, axis: int) -> list[np.ndarray]:
        """Return for each place in a window the indices along an axis, -1 or n and on for none."""
        name, n = type(self).__name__, x.shape[axis - 2] if x.ndim >= 2 else 0
        kernel, stride, pad = self._kernels[axis], self._strides[axis], self._paddings[axis]
        if not 1 <= kernel <= n + 2 * pad or not n:
            raise ArgumentValueError(
                f"{name}: kernel_size must be in [1, {n + 2 * pad if n else 0}], padding "
                f"included, got {kernel} for shape {x.shape}"
            )
        starts = np.arange(0, n + 2 * pad - kernel + 1, stride) - pad
        return [starts + offset for offset in range(kernel)]

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_Pooling):
    """The mean of each window over the last two axes, as PyTorch's; zeros around count.

    Args:
        kernel_size: of a window, one number or (height, width).
        stride: from window to window; kernel_size by default.
        padding: rows and columns of zeros around, at most half a window's.

    Error: one unit of 2**-frac_bits.
    Cost: sums are local; one truncation forward, none backward: the count is a public factor.
    Leaks: nothing.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> nn.AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).value.tolist()
        [[[[2.5, 4.5], [10.5, 12.5]]]]
    """

    def forward(self, x: Variable) -> Variable:
        """Return the means, (..., rows, columns)."""
        for axis in (1, 0):
            x = self._sums(x, axis)
        return x * (1.0 / (self._kernels[0] * self._kernels[1]))

    def _sums(self, x: Variable, axis: int) -> Variable:
        places, n = self._places(x, axis), x.shape[axis - 2]
        pad = self._paddings[axis]
        if pad:
            x, n = _padded(x, axis, pad), n + 2 * pad
            places = [place + pad for place in places]
        total = _taken(x, axis, places[0], n)
        for place in places[1:]:
            total = total + _taken(x, axis, place, n)
        return total


class MaxPool2d(_Pooling):
    """The largest of each window over the last two axes, as PyTorch's.

    The gradient goes to the first of equal values.

    Args:
        kernel_size: of a window, one number or (height, width).
        stride: from window to window; kernel_size by default.
        padding: rows and columns around that never win, at most half a window's.

    Error: none.
    Cost: in training, for each axis kernel - 1 comparisons in ceil(log2 kernel) levels, and one
        product without truncation with the bit of each, forward and backward; without gradients
        that of `SecretTensor.max_pool2d`.
    Leaks: nothing.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> nn.MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).value.tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]
    """

    def forward(self, x: Variable) -> Variable:
        """Return the largest values, (..., rows, columns)."""
        for axis in (1, 0):
            self._places(x, axis)
        if is_secret(x.value) and not recording(x):
            pairs = self._kernels, self._strides, self._paddings
            kernels, strides, paddings = ((pair[0], pair[1]) for pair in pairs)
            return Variable(x.value.max_pool2d(kernels, strides, paddings))
        for axis in (1, 0):
            n = x.shape[axis - 2]
            places = self._places(x, axis)
            if self._paddings[axis]:  # a place outside repeats one of the same window
                places = [np.clip(place, 0, n - 1) for place in places]
            values = [_taken(x, axis, place, n) for place in places]
            while len(values) > 1:
                pairs_of = zip(values[::2], values[1::2], strict=False)
                last = values[-1:] if len(values) % 2 else []
                values = [_larger(a, b) for a, b in pairs_of] + last
            x = values[0]
        return x


def _larger(x: Variable, y: Variable) -> Variable:
    """Return the larger of two, the first where they are equal."""
    if not is_secret(x.value):
        bit: Value = (x.value >= y.value).astype(np.float64)
    else:
        bit = (x.value >= y.value).masked()
    value = y.value + chosen(x.value - y.value, bit)

    def backward(g: Value) -> Sequence[Value]:
        part = chosen(g, bit)
        return part, g - part

    return record(value, [x, y], backward)


def _taken(x: Variable, axis: int, places: np.ndarray, n: int) -> Variable:
    """Return the elements at places of one of the last two axes, as a view where they allow it."""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    regular = step > 0 and places[0] >= 0 and places[-1] < n
    regular = regular and bool((np.diff(places) == step).all())
    part = slice(int(places[0]), int(places[-1]) + 1, step) if regular else places
    return x[(..., part, slice(None))] if axis == 0 else x[(..., part)]


def _padded(x: Variable, axis: int, pad: int) -> Variable:
    """Return x with zeros before and behind one of the last two axes."""
    n = x.shape[axis - 2]
    widths = [(0, 0)] * x.ndim
    widths[axis - 2] = (pad, pad)
    value = x.value.pad(widths) if is_secret(x.value) else np.pad(x.value, widths)
    inside = (..., slice(pad, pad + n), slice(None)) if axis == 0 else (..., slice(pad, pad + n))
    return record(value, [x], lambda g: (g[inside],))
