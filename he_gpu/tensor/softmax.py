"""Softmax, its logarithm and the logarithm of a sum of exponentials, stable at any magnitude.

Layer: tensor, above mpc. The largest value goes off first, exactly; what is exponentiated is then
at most 0, and the sum lies between 1 and the public number of elements. Never reads a secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.tensor.arithmetic import Arithmetic
from he_gpu.tensor.curves import exponential
from he_gpu.tensor.layout import check_integer
from he_gpu.tensor.normalisation import Ranges, Selection, normalised, plus, precision
from he_gpu.tensor.ordering import difference
from he_gpu.tensor.range_curves import range_curve
from he_gpu.tensor.tournament import extreme

Self = TypeVar("Self", bound="Softmax")
Axes = int | tuple[int, ...] | None

_MOST = {64: 30, 32: 14}
"""The most fraction bits of a softmax, by the word's bits."""


class _Parts(NamedTuple):
    """What the functions of a tensor's values along an axis are made of.

    Attributes:
        stack: (rows, n, *rest), the values.
        largest: (rows, 1, *rest), the largest of them.
        exponentials: (rows, n, *rest), of the values less the largest.
        unit: (rows, 1, *rest), u of their sum; see `normalised`.
        ranges: of the sum.
        selected: (rows, 1, *rest), what its interval selects; None where there is only one.
    """

    stack: Array
    largest: Array
    exponentials: Array
    unit: Array
    ranges: Ranges
    selected: Array | None


class Softmax(Arithmetic):
    """The methods of a `SecretTensor` that rest on exponentials of what is below the largest.

    With n elements along the axes and 64 others beside each, rounds, and bytes that each party
    sends per element, of `softmax` modulo 2^64:

        n       "additive", two parties    "replicated"
        2       39    229.625              44    257.625
        10      46    257.3875             50    282.9875
        100     78    209.61125            86    240.65125
        1000    99    200.992375           110   232.880375

    Where very many are beside, n = 10 takes 63 and 70 rounds and some 212.7 and 244.7 bytes; see
    `max`.

    Range: -2**(k - 2 - frac_bits) + 32 < x < 2**(k - 2 - frac_bits), the whole encoding; with more
        than k - 8 frac_bits, the whole encoding.
    Cost: `max`; the scheme's `positive_part`; `Exponential.cost` for exp up to 0; for one sum each
        `Polynomial.cost` of `range_curve`, and beyond n = 17 before it the scheme's `steps` for the
        powers of 16 below n and a product, and for `softmax` after it another; for `softmax` the
        scheme's `product`. Truncations of exponentials and sums modulo 2^32, and of an x with more
        than k - 8 frac_bits.
    Leaks: nothing.
    """

    __slots__ = ()

    def softmax(self: Self, axis: Axes = -1, frac_bits: int | None = None) -> Self:
        """Return exp(x) over the sum of exp(x) along an axis, several, or all for None.

        Args:
            axis: along which axes the results add up to 1.
            frac_bits: of the result, the session's by default; at most 30 (14 modulo 2**32).

        Raises:
            ValueError: an axis out of range, no elements along it, frac_bits out of range.

        Error: one unit of 2**-frac_bits, 2**-26 (2**-13 modulo 2**32), and for n elements along the
            axes 5e-5 of the result (2e-3 and n**0.5 2**-12 of it for n up to 1,024). Where x is 19
            or more (8) below the largest, the result is 2**-26 (2**-13) or less, or one unit.
        """
        session = self.session
        session.check_open("softmax")
        k = word_bits(session.modulus)
        wanted = session.frac_bits if frac_bits is None else frac_bits
        check_integer(wanted, "softmax: frac_bits")
        if not 0 <= wanted <= _MOST[k]:
            raise ArgumentValueError(f"softmax: frac_bits must be in [0, {_MOST[k]}], got {wanted}")
        order, shape = _order(self, axis, "softmax")
        if shape[0] == 1:
            return self._constant(np.ones(self.shape), int(wanted), "softmax")
        parts = _parts(_coarse(self), order, shape, _powers)
        scheme, inverse = session.scheme, _MOST[k]
        over = _curve(self, "reciprocal", parts, inverse)
        if parts.selected is not None:
            factors = Operand(over), Operand(parts.selected)
            drop = parts.ranges.starts[0] - parts.ranges.starts[-1]
            job = SumOfProducts((factors,), None, 0, drop)
            over = scheme.sums_of_products([job])[0]
        exponentials, fine = parts.exponentials, parts.ranges.low
        spare = fine - (k - 4 - inverse)
        if spare > 0:  # the product must stay below 2**(k - 3)
            exponentials, fine = scheme.truncate(exponentials, spare), fine - spare
        stack = scheme.product("mul", exponentials, over, fine + inverse - int(wanted))
        return type(self)(session, _restored(stack, order, self.shape), int(wanted))

    def log_softmax(self: Self, axis: Axes = -1) -> Self:
        """Return x less the logarithm of the sum of exp(x) along an axis, several, or all.

        Args:
            axis: along which axes the exponentials of the results add up to 1.

        Returns:
            With x's frac_bits or the session's, whichever are more, up to k - 8.

        Raises:
            ValueError: an axis out of range, no elements along it.

        Range: also, of the results, |y| < 2**(k - 2 - frac_bits).
        Error: 1.5 units of 2**-frac_bits, and for n elements along the axes 1.5e-5 (modulo 2**32:
            2e-3 and n**0.5 2**-12 for n up to 1,024).
        """
        session = self.session
        session.check_open("log_softmax")
        order, shape = _order(self, axis, "log_softmax")
        x = _fine(self)
        if shape[0] == 1:
            return self._constant(np.zeros(self.shape), x.frac_bits, "log_softmax")
        parts = _parts(x, order, shape, _offsets(x))
        away = session.scheme.sub(parts.stack, parts.largest)
        stack = session.scheme.sub(away, _logarithm(x, parts))
        return x._like(_restored(stack, order, self.shape))

    def logsumexp(self: Self, axis: Axes = None, keepdims: bool = False) -> Self:
        """Return the logarithm of the sum of exp(x) over axes, over all by default.

        Args:
            axis: over which axes.
            keepdims: whether the axes stay, with length 1.

        Returns:
            With x's frac_bits or the session's, whichever are more, up to k - 8.

        Raises:
            ValueError: an axis out of range, no elements along it.

        Error: as `log_softmax`.
        """
        session = self.session
        session.check_open("logsumexp")
        order, shape = _order(self, axis, "logsumexp")
        x = _fine(self)
        if shape[0] == 1:
            stack = x._stack
        else:
            parts = _parts(x, order, shape, _offsets(x))
            stack = session.scheme.add(parts.largest, _logarithm(x, parts))
        n_axes = self.ndim - (len(shape) - 1)
        left = [
            1 if at in order[:n_axes] else length
            for at, length in enumerate(self.shape)
            if keepdims or at not in order[:n_axes]
        ]
        return x._like(stack.reshape(stack.shape[0], *left))


def _fine(x: Self) -> Self:
    """Return x with the session's fraction bits, or its own where they are more, up to a limit."""
    wanted = x.session.frac_bits
    return x._shifted(wanted) if x.frac_bits < wanted else _coarse(x)


def _coarse(x: Self) -> Self:
    """Return x with fraction bits that leave room for the least value that counts, -32."""
    most = word_bits(x.session.modulus) - 8
    return x.with_frac_bits(most) if x.frac_bits > most else x


def _order(x: Softmax, axis: Any, function: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes, those of a reduction first, and the shape (n, *rest) that they leave."""
    axes = x._axes(range(x.ndim) if axis is None else axis, function)
    n = math.prod(x.shape[at] for at in axes)
    if n == 0:
        raise ArgumentValueError(
            f"{function}: at least 1 element expected over axes {axes}, got 0 of shape {x.shape}"
        )
    rest = tuple(at for at in range(x.ndim) if at not in axes)
    return (*axes, *rest), (n, *(x.shape[at] for at in rest))


def _restored(stack: Array, order: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Return (rows, n, *rest) in the shape and order from which it was made."""
    stack = stack.reshape(stack.shape[0], *(shape[at] for at in order))
    return stack.transpose(0, *(order.index(at) + 1 for at in range(len(shape))))


def _parts(
    x: Softmax,
    order: tuple[int, ...],
    shape: tuple[int, ...],
    values: Callable[[Ranges], list[int]],
) -> _Parts:
    """Return what `Softmax` needs of the values along the first axes of an order, n > 1.

    Args:
        x: the tensor.
        order: of its axes.
        shape: in this order.
        values: the integers that the sum's intervals select.
    """
    session, scheme = x.session, x.session.scheme
    n = shape[0]
    fine = _exponential_bits(n, word_bits(session.modulus))
    stack = x._stack.transpose(0, *(at + 1 for at in order))
    stack = stack.reshape(stack.shape[0], *shape)
    largest = extreme(session, stack)[:, None]
    steps = exponential(fine, session.modulus, 0.0)
    least = math.ceil(math.ldexp(steps.polynomial.interval[0], x.frac_bits))
    above = scheme.positive_part(difference(session, stack, plus(session, largest, least)))
    limited = x._like(plus(session, above, least))
    exponentials = steps.evaluate(limited)
    total = scheme.sum(exponentials, (1,), True)
    ranges = _ranges(n, fine)
    selections = [Selection(values(ranges))] if ranges.n_intervals > 1 else []
    unit, selected = normalised(session, total, ranges, selections, floor=False)
    return _Parts(stack, largest, exponentials, unit, ranges, selected[0] if selected else None)


def _exponential_bits(n: int, k: int) -> int:
    """Return the fraction bits of n exponentials, whose intervals must end at 2**(k - 2) or before.

    The more elements, the more there may be that are limited to half a unit.
    """
    bits = (n - 1).bit_length()
    wanted = 27 + max(0, bits - 10) if k == 64 else 14 + (bits + 1) // 2
    return min(wanted, k - 2 - _ranges(n, 0).high)


def _ranges(n: int, fine: int) -> Ranges:
    """Return intervals of sums from 1 to n with some fraction bits, the fewest that serve.

    Sums up to 1 + 2**step times the start of the highest interval belong to it.
    """
    for step in (1, 2, 3, 4):
        if n <= 1 + 2**step:
            return Ranges(fine, fine + step, step)
    high = 8
    while n > 17 * 2 ** (high - 4):
        high += 4
    return Ranges(fine, fine + high, 4)


def _curve(x: Softmax, function: str, parts: _Parts, frac_bits: int) -> Array:
    """Return the stack of a polynomial of `range_curves` at the sum."""
    unit = type(x)(x.session, parts.unit, precision(x.session.modulus))
    return range_curve(function, parts.ranges.step).evaluate(unit, frac_bits)._stack


def _logarithm(x: Softmax, parts: _Parts) -> Array:
    """Return the stack of the logarithm of the sum, with x's fraction bits."""
    curve = _curve(x, "log", parts, x.frac_bits)
    return curve if parts.selected is None else x.session.scheme.add(curve, parts.selected)


def _powers(ranges: Ranges) -> list[int]:
    """Return for each interval of sums a power of two that their inverses are scaled by."""
    return [2 ** (ranges.starts[0] - start) for start in ranges.starts]


def _offsets(x: Softmax) -> Callable[[Ranges], list[int]]:
    """Return what gives for each interval of sums its logarithm, with x's fraction bits."""

    def offsets(ranges: Ranges) -> list[int]:
        unit = math.ldexp(math.log(2), x.frac_bits)
        return [round(unit * (start - ranges.low)) for start in ranges.starts]

    return offsets
