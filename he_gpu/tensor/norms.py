"""Means, variances and norms of secret arrays.

Layer: tensor, above mpc. Squares are summed with the fraction bits of both factors, and truncated
once. Never reads a secret.
"""

from __future__ import annotations

from math import inf, prod
from typing import Any, TypeVar

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring.fixedpoint import as_reals, word_bits
from he_gpu.tensor.contraction import multiplied
from he_gpu.tensor.linear import Linear

Self = TypeVar("Self", bound="Norms")
Axes = int | tuple[int, ...] | None


class Norms(Linear):
    """The methods of a `SecretTensor` that average, or sum squares.

    Range: sums of squares, of x or of x less its mean, below 2**(k - 2 - 2 frac_bits), so 2**30 by
        default. Shares cannot see a sum beyond; protocol="plain" raises.
    Leaks: nothing.
    """

    __slots__ = ()

    def mean(self: Self, axis: Axes = None, keepdims: bool = False) -> Self:
        """Return the mean over axes, over all by default.

        The sum is halved as often as it must be, and then times a number in (1/2, 1]: so no more
        than the sum itself and the mean's 24 (12 modulo 2**32) more bits must fit the word.

        Raises:
            ValueError: an axis out of range, a mean of no elements.

        Range: |sum(x)| < 2**(k - 2 - frac_bits) and, unless the number of elements is a power of
            two, |mean| < 2**(k - 26 - frac_bits) (2**(k - 14 - frac_bits) modulo 2**32).
        Error: 2 units of 2**-frac_bits and 2**-24 (2**-12) relative; one unit, and nothing
            relative, where the number of elements is a power of two.
        Cost: two truncations, one after the other; one where the number of elements is a power of
            two, and none for one element.
        """
        self.session.check_open("mean")
        axes = self._axes(range(self.ndim) if axis is None else axis, "mean")
        if not prod(self.shape[axis] for axis in axes):
            raise ArgumentValueError(f"mean: no elements over axes {axes} of shape {self.shape}")
        return self._mean(axes, keepdims, "mean")

    def var(
        self: Self,
        axis: Axes = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        correction: float | None = None,
        frac_bits: int | None = None,
    ) -> Self:
        """Return the variance over axes, over all by default.

        Args:
            axis: over which axes.
            ddof: what is taken from the number n of elements to divide by.
            keepdims: whether the axes stay, with length 1.
            correction: the array API standard's name for ddof.
            frac_bits: of the result, the session's by default.

        Raises:
            ValueError: an axis out of range, n <= ddof, frac_bits out of range.

        Range: |sum(x)| < 2**(k - 2 - frac_bits), |mean| < 2**(k - 26 - frac_bits) (2**(k - 14 -
            frac_bits) modulo 2**32), sum((x - mean)**2) < 2**(k - 2 - 2 frac_bits), and the
            variance as the mean, with the result's frac_bits.
        Error: for n - ddof >= 1, 2 units of the result's 2**-frac_bits, 2**-24 (2**-12) relative,
            and n / (n - ddof) times the square of the mean's error, which is 2 units of self's
            2**-frac_bits and 2**-24 (2**-12) of the mean. Where n or n - ddof is a power of two,
            its 2 units are 1, and nothing is relative.
        Cost: truncations of the mean, one where n is a power of two and two, one after the other,
            where it is none; 2 rounds for the squares, in which each party sends x - mean once and
            then the sums; where n - ddof is no power of two, a truncation of the result.
        """
        self.session.check_open("var")
        axes = self._axes(range(self.ndim) if axis is None else axis, "var")
        divisor = self._divisor(axes, ddof, correction, "var")
        x = self._centred(axes, "var")
        product_bits = 2 * x.frac_bits
        wanted = product_bits - x._drop(product_bits, frac_bits, "var")
        power = _power(divisor, product_bits, wanted, x.session.modulus)
        stack = x._sum_of_squares(axes, keepdims, product_bits + power - wanted)
        squares = type(self)(self.session, stack, wanted)
        variance: Self = multiplied("var", squares, 2.0**power / divisor, wanted)
        return variance

    def std(
        self: Self,
        axis: Axes = None,
        ddof: float = 0,
        keepdims: bool = False,
        *,
        correction: float | None = None,
        frac_bits: int | None = None,
    ) -> Self:
        """Return the standard deviation over axes, over all by default. Args, Raises: as `var`.

        Range: as `var`, but for the variance itself, which needs none.
        Error: that of `sqrt` for the root of the sum of squares, divided by the root of n - ddof;
            one unit of the result's 2**-frac_bits and 2**-24 (2**-12) relative; and the mean's
            error, see `var`, times the root of n / (n - ddof).
        Cost: as `var` with the product not truncated; a call of `sqrt`; one truncation.
        """
        self.session.check_open("std")
        axes = self._axes(range(self.ndim) if axis is None else axis, "std")
        divisor = self._divisor(axes, ddof, correction, "std")
        root = self._centred(axes, "std")._root(axes, keepdims, frac_bits)
        deviation: Self = multiplied("std", root, divisor**-0.5, root.frac_bits)
        return deviation

    def norm(
        self: Self,
        ord: Any = None,
        axis: Axes = None,
        keepdims: bool = False,
        *,
        frac_bits: int | None = None,
    ) -> Self:
        """Return the norm of vectors or matrices.

        Args:
            ord: for vectors 2 (None), 1, inf, -inf or 0, the number of elements that are not 0; for
                matrices "fro" (None), 1, -1, inf or -inf, the largest or least sum of a column
                (1, -1) or row.
            axis: one of vectors, two of matrices; None for all of a vector or matrix, and with
                ord None for all elements of any tensor.
            keepdims: whether the axes stay, with length 1.
            frac_bits: of a result that is a root, the session's by default.

        Raises:
            ValueError: another ord, axes that are not one or two; the norms from extremes of no
                elements.

        Range: of a root, sum(x**2) < 2**(k - 2 - 2 frac_bits); of the others, sum(|x|) <
            2**(k - 2 - frac_bits).
        Error: of a root, that of `sqrt`; of the others none.
        Cost: of a root one product without truncation and a call of `sqrt`; of the others those of
            `abs`, `max` and `!=`.
        """
        self.session.check_open("norm")
        if axis is None and ord is not None and self.ndim not in (1, 2):
            raise ArgumentValueError(
                f"norm: 1 or 2 axes expected for ord {ord!r}, got shape {self.shape}"
            )
        axes = self._axes(range(self.ndim) if axis is None else axis, "norm")
        if axis is not None and len(axes) not in (1, 2):
            raise ArgumentValueError(f"norm: axis must be one or two, got {axis}")
        roots: tuple[Any, Any] = (None, 2 if len(axes) == 1 else "fro")
        if not np.ndim(ord) and ord in roots:
            return self._root(axes, keepdims, frac_bits)
        if frac_bits is not None:
            raise ArgumentTypeError(f"norm: frac_bits is for roots, got ord {ord!r}")
        orders = (0, 1, inf, -inf) if len(axes) == 1 else (1, -1, inf, -inf)
        if np.ndim(ord) or ord not in orders:
            kinds = "2, " if len(axes) == 1 else "'fro', "
            raise ArgumentValueError(
                f"norm: ord must be one of {kinds}{', '.join(map(str, orders))} over {len(axes)} "
                f"axes, got {ord!r}"
            )
        if ord == 0:
            zero: Any = 0
            counted: Self = (self != zero).sum(axes, keepdims)
            return counted
        if len(axes) == 1:
            sums = self.abs()
        else:
            sums = self.abs().sum(axes[0] if abs(ord) == 1 else axes[1], keepdims=True)
        ends = sums.sum if len(axes) == 1 and ord == 1 else sums.max if ord > 0 else sums.min
        found = ends(axes, keepdims=True)
        return found if keepdims else found.squeeze(axes)

    def _divisor(self, axes: tuple[int, ...], ddof: Any, correction: Any, function: str) -> float:
        """Return how many elements there are over axes, less ddof."""
        if correction is not None:
            if np.any(ddof):
                raise ArgumentValueError(
                    f"{function}: ddof and correction are the same, got both, {ddof} and "
                    f"{correction}"
                )
            ddof = correction
        less = as_reals(ddof, function, "ddof")
        if less.ndim:
            raise ArgumentTypeError(f"{function}: ddof must be a number, got shape {less.shape}")
        count = prod(self.shape[axis] for axis in axes)
        if not count or count <= less:
            raise ArgumentValueError(
                f"{function}: more elements than ddof {ddof} expected over axes {axes}, got "
                f"{count} of shape {self.shape}"
            )
        return count - float(less)

    def _mean(self: Self, axes: tuple[int, ...], keepdims: bool, function: str) -> Self:
        """Return the mean over axes; see `mean`."""
        x = self._shifted(self._finest) if self.frac_bits < self._finest else self
        count = prod(self.shape[axis] for axis in axes)
        total = x.sum(axes, keepdims)
        power = _power(count, x.frac_bits, x.frac_bits, x.session.modulus)
        if power:
            total = total._like(x.session.scheme.truncate(total._stack, power))
        mean: Self = multiplied(function, total, 2.0**power / count, x.frac_bits)
        return mean

    def _centred(self: Self, axes: tuple[int, ...], function: str) -> Self:
        """Return self less its mean over axes."""
        return self - self._mean(axes, True, function)

    def _root(self: Self, axes: tuple[int, ...], keepdims: bool, frac_bits: int | None) -> Self:
        """Return the root of the sum of squares over axes."""
        product_bits = 2 * self.frac_bits
        kept = min(product_bits, word_bits(self.session.modulus) - 3)
        stack = self._sum_of_squares(axes, keepdims, product_bits - kept)
        squares: Any = type(self)(self.session, stack, kept)
        root: Self = squares.sqrt(frac_bits=frac_bits)
        return root

    def _sum_of_squares(self: Self, axes: tuple[int, ...], keepdims: bool, drop: int) -> Any:
        """Return the stack of the sum of squares over axes, divided by 2**drop."""
        kept = tuple(axis for axis in range(self.ndim) if axis not in axes)
        lengths = tuple(self.shape[axis] for axis in kept)
        rows = self.transpose(*kept, *axes) if kept + axes != tuple(range(self.ndim)) else self
        rows = rows.reshape((*lengths, 1, prod(self.shape[axis] for axis in axes))).masked()
        pair = rows._operand_as(rows.ndim), rows.mT._operand_as(rows.ndim)
        stack = self.session.scheme.product("matmul", *pair, drop)
        if keepdims:
            lengths = tuple(1 if axis in axes else n for axis, n in enumerate(self.shape))
        return stack.reshape(stack.shape[0], *lengths)


def _power(divisor: float, product_bits: int, frac_bits: int, modulus: int) -> int:
    """Return p of the largest 2**p <= divisor that a truncation to frac_bits can divide by too."""
    most = word_bits(modulus) - 3 - (product_bits - frac_bits)
    return max(0, min(int(np.frexp(divisor)[1]) - 1, most))
