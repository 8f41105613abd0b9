"""What exact comparison gives secret arrays: rectified, chosen, extreme, sorted and pooled values.

Layer: tensor, above mpc. Shapes and arguments are checked here, as NumPy and PyTorch name them;
`tournament` has the algorithms along an axis. Never reads a secret.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError
from he_gpu.ring.fixedpoint import as_reals
from he_gpu.tensor.layout import check_integer
from he_gpu.tensor.ordering import Ordering, difference
from he_gpu.tensor.tournament import extreme, first_extreme, sorted_along, windows

Self = TypeVar("Self", bound="Selection")
Axes = int | tuple[int, ...] | None


class Selection(Ordering):
    """The methods of a `SecretTensor` that rest on comparison.

    Every result is exact, and none is ever wrong: one of the values that went in, its negative, 0
    or an index. Public operands are rounded to nearest at self's frac_bits; of two secret operands
    the one with fewer fraction bits is shifted up.

    Range: |x|, |y| < 2**(k - 2 - frac_bits) of operands, for the larger frac_bits of the two. Where
        a value is chosen by a bit (`where`, `argmax`, `argmin`), |x - y| the same.
    Leaks: nothing.
    """

    __slots__ = ()

    def relu(self: Self) -> Self:
        """Return max(x, 0). Cost: that of the scheme's `positive_part`."""
        self.session.check_open("relu")
        return self._like(self.session.scheme.positive_part(self._stack))

    def abs(self: Self) -> Self:
        """Return the absolute value. Cost: that of the scheme's `positive_part`."""
        self.session.check_open("abs")
        scheme, x = self.session.scheme, self._stack
        part = scheme.positive_part(x)
        return self._like(scheme.add(scheme.sub(part, x), part))

    __abs__ = abs

    def sign(self: Self) -> Self:
        """Return -1, 0 or 1, with frac_bits 0.

        Cost: that of the scheme's `steps` for two thresholds, which share one opening.
        """
        self.session.check_open("sign")
        # 0 lies from 0 up to one unit
        return self._integers(self.session.scheme.steps(self._stack, (0, 1), [(-1, 0, 1)])[:, 0])

    def maximum(self: Self, other: Any) -> Self:
        """Return the larger of self and other, elementwise.

        Cost: that of the scheme's `positive_part`.
        """
        return self._larger(other, "maximum")

    def minimum(self: Self, other: Any) -> Self:
        """Return the smaller of self and other, elementwise.

        Cost: that of the scheme's `positive_part`.
        """
        return self._smaller(other, "minimum")

    def clip(self: Self, low: Any = None, high: Any = None) -> Self:
        """Return the values limited to [low, high]; where low > high, high.

        Args:
            low: lower bound, secret or public; None for none.
            high: upper bound, likewise.

        Cost: by one bound that of the scheme's `positive_part`, by two public ones that of its
            `beyond`; otherwise `positive_part` twice, one after the other.
        """
        self.session.check_open("clip")
        if low is None and high is None:
            return self
        if low is None:
            return self._smaller(high, "clip")
        if high is None:
            return self._larger(low, "clip")
        if isinstance(low, Ordering) or isinstance(high, Ordering):
            return self._larger(low, "clip")._smaller(high, "clip")
        lower, upper = as_reals(low, "clip", "low"), as_reals(high, "clip", "high")
        shape = _common_shape("clip", self.shape, lower.shape, upper.shape)
        self = self._refined(lower, upper)
        bounds = np.minimum(lower, upper), upper
        words = (self._encoded(bound, self.frac_bits, "clip") for bound in bounds)
        x = self._stack_as(max(lower.ndim, upper.ndim))
        if x.shape[1:] != shape:
            x = self.session.backend.xp.broadcast_to(x, (x.shape[0], *shape))
        scheme = self.session.scheme
        parts = scheme.beyond(x, *map(np.asarray, words))
        # x - max(x - high, 0) + max(low - x, 0), of which one part at most is not 0
        return self._like(scheme.add(scheme.sub(x, parts[:, 1]), parts[:, 0]))

    def where(self: Self, condition: Any, other: Any) -> Self:
        """Return self where the condition holds and other elsewhere; see `he_gpu.where`."""
        chosen: Self = choose(condition, self, other)
        return chosen

    def max(self: Self, axis: Axes = None, keepdims: bool = False) -> Self:
        """Return the largest over axes, over all by default.

        Raises:
            ValueError: an axis out of range, or no elements.

        Cost: for n elements each and m results, n > 2, one call of the scheme's `largest` where all
            pairs are 2**14 or fewer, n (n - 1) / 2 times m rounded up to whole 64s; else a call of
            its `positive_part` for floor(n / 2) pairs, and this again for the ceil(n / 2) that are
            left. One call of `positive_part` for n = 2.
        """
        return self._like(self._extreme(axis, keepdims, "max"))

    def min(self: Self, axis: Axes = None, keepdims: bool = False) -> Self:
        """Return the smallest over axes, over all by default. Raises, Cost: as `max`."""
        return self._like(self._extreme(axis, keepdims, "min"))

    def argmax(self: Self, axis: int | None = None, keepdims: bool = False) -> Self:
        """Return the index of the first largest along an axis, or of all, with frac_bits 0.

        Raises:
            ValueError: an axis out of range, or no elements.

        Cost: ceil(log2 n) levels one after another, each a call of the scheme's `below` and one of
            its `product` without truncation (only `below` where n = 2).
        """
        return self._integers(self._extreme(axis, keepdims, "argmax"))

    def argmin(self: Self, axis: int | None = None, keepdims: bool = False) -> Self:
        """Return the index of the first smallest. Args, Raises, Cost: as `argmax`."""
        return self._integers(self._extreme(axis, keepdims, "argmin"))

    def sort(self: Self, axis: int | None = -1) -> Self:
        """Return the values sorted upwards along an axis, or all of them in one axis for None.

        Unlike the method of an ndarray it changes nothing in place. Meant for small axes.

        Cost: t (t + 1) / 2 calls of the scheme's `positive_part` one after another, t =
            ceil(log2 n), each for at most n / 2 elements.
        """
        self.session.check_open("sort")
        if axis is None:
            return self.reshape(-1).sort()
        check_integer(axis, "sort: axis")
        (at,) = self._axes(axis, "sort")
        xp = self.session.backend.xp
        stack = sorted_along(self.session, xp.moveaxis(self._stack, at + 1, 1))
        return self._like(xp.moveaxis(stack, 1, at + 1))

    def max_pool2d(
        self: Self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> Self:
        """Return the largest of each window over the last two axes, as PyTorch does.

        Args:
            kernel_size: of a window, one number or (height, width).
            stride: from window to window; kernel_size by default.
            padding: rows and columns around that never win, at most half a window's.

        Returns:
            (..., (H + 2 padding - kernel_size) // stride + 1, and W likewise).

        Raises:
            ValueError: fewer than 2 axes, numbers out of range, a window larger than what it
                slides over.

        Cost: that of `max` over the width of the windows, then over their height. Padding beyond a
            length costs as much as the length.
        """
        self.session.check_open("max_pool2d")
        if self.ndim < 2:
            raise ArgumentValueError(
                f"max_pool2d: x must have at least 2 axes, got shape {self.shape}"
            )
        kernels = _pair(kernel_size, "kernel_size", 1)
        strides = kernels if stride is None else _pair(stride, "stride", 1)
        paddings = _pair(padding, "padding", 0)
        for n, kernel, pad in zip(self.shape[-2:], kernels, paddings, strict=True):
            if pad > kernel // 2:
                raise ArgumentValueError(
                    f"max_pool2d: padding must be at most half of kernel_size {kernel}, got {pad}"
                )
            if n == 0 or kernel > n + 2 * pad:
                raise ArgumentValueError(
                    f"max_pool2d: kernel_size must be in [1, {n + 2 * pad if n else 0}], padding "
                    f"included, got {kernel} for shape {self.shape}"
                )
        stack = self._stack
        for axis in (self.ndim, self.ndim - 1):
            sizes = (numbers[axis - self.ndim - 1] for numbers in (kernels, strides, paddings))
            stack = extreme(self.session, windows(self.session, stack, axis, *sizes))
        return self._like(stack)

    def _extreme(self, axis: Any, keepdims: bool, function: str) -> Array:
        """Return the stack of an extreme or its index over axes."""
        session = self.session
        session.check_open(function)
        if function.startswith("arg") and axis is not None:
            check_integer(axis, f"{function}: axis")
        axes = self._axes(range(self.ndim) if axis is None else axis, function)
        n = int(np.prod([self.shape[axis] for axis in axes]))
        if n == 0:
            raise ArgumentValueError(
                f"{function}: at least 1 element expected over axes {axes}, got 0 of shape "
                f"{self.shape}"
            )
        rest = [axis for axis in range(self.ndim) if axis not in axes]
        left = [self.shape[axis] for axis in rest]
        stack = self._stack.transpose(0, *(axis + 1 for axis in (*axes, *rest)))
        stack = stack.reshape(stack.shape[0], n, *left)
        find = first_extreme if function.startswith("arg") else extreme
        found = find(session, stack, smallest=function.endswith("min"))
        if keepdims:
            left = [1 if axis in axes else length for axis, length in enumerate(self.shape)]
        return found.reshape(found.shape[0], *left)

    def _larger(self: Self, other: Any, function: str) -> Self:
        """Return y + max(x - y, 0)."""
        self.session.check_open(function)
        self = self if isinstance(other, Ordering) else self._refined(other)
        scheme, (x, y) = self.session.scheme, self._stacks(other, function)
        stack = scheme.add(y, scheme.positive_part(difference(self.session, x, y)))
        return self._aligned_with(stack, other)

    def _smaller(self: Self, other: Any, function: str) -> Self:
        """Return x - max(x - y, 0)."""
        self.session.check_open(function)
        self = self if isinstance(other, Ordering) else self._refined(other)
        scheme, (x, y) = self.session.scheme, self._stacks(other, function)
        stack = scheme.sub(x, scheme.positive_part(difference(self.session, x, y)))
        return self._aligned_with(stack, other)

    def _aligned_with(self: Self, stack: Array, other: Any) -> Self:
        """Wrap a stack that has the fraction bits to which self and other are aligned."""
        finer = max(self.frac_bits, other.frac_bits if isinstance(other, Ordering) else 0)
        return type(self)(self.session, stack, finer)


def choose(condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition holds and y elsewhere; see `he_gpu.where`."""
    secrets = [value for value in (condition, x, y) if isinstance(value, Selection)]
    like, session = secrets[0], secrets[0].session
    session.check_open("where")
    for value in secrets:
        like._check_partner(value, "where")
    if isinstance(condition, Selection):
        condition._check_bits("where: condition")
    else:
        condition = as_reals(condition, "where", "condition") != 0
    if isinstance(x, Selection) and not isinstance(y, Selection):
        x = x._refined(y)
    elif isinstance(y, Selection) and not isinstance(x, Selection):
        y = y._refined(x)
    frac_bits = [value.frac_bits for value in (x, y) if isinstance(value, Selection)]
    fine = max(frac_bits, default=session.frac_bits)
    one, other = (
        value if isinstance(value, Selection) else like._constant(value, fine, "where")
        for value in (x, y)
    )
    ndim = len(_common_shape("where", condition.shape, one.shape, other.shape))
    one, other = one._aligned(other, "where")
    pair = one._stack_as(ndim), other._stack_as(ndim)
    if not isinstance(condition, Selection):
        mask = session.backend.asarray(condition)
        return one._like(session.backend.xp.where(mask, *pair))
    bits = condition._stack_as(ndim)
    if frac_bits:
        part = session.scheme.product("mul", bits, difference(session, *pair), 0)
    else:
        gap = np.subtract(*(like._encoded(value, fine, "where") for value in (x, y)))
        part = session.scheme.mul_public(bits, session.backend.asarray(np.asarray(gap)))
    return one._like(session.scheme.add(pair[1], part))


def _common_shape(function: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = ", ".join(map(str, shapes))
        raise ArgumentValueError(f"{function}: shapes {listed} do not broadcast") from None


def _pair(value: Any, argument: str, least: int) -> tuple[int, int]:
    """Return height and width of a window's argument."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ArgumentValueError(
            f"max_pool2d: {argument} must be one number or two, got {len(pair)}"
        )
    for number in pair:
        check_integer(number, f"max_pool2d: {argument}")
        if number < least:
            raise ArgumentValueError(
                f"max_pool2d: {argument} must be at least {least}, got {number}"
            )
    return int(pair[0]), int(pair[1])
