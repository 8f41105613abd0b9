"""Logarithm, roots, inverses, quotients and powers of secret arrays, over the whole encoding.

Layer: tensor, above mpc. `normalisation` brings every word into one short range, a polynomial of
`range_curves` serves that range, and public integers, selected by the same bits, scale its value
back. Never reads a secret.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring.fixedpoint import as_reals, encode_factor, word_bits
from he_gpu.tensor.arithmetic import Arithmetic
from he_gpu.tensor.layout import check_integer
from he_gpu.tensor.normalisation import Ranges, Selection, normalised, precision
from he_gpu.tensor.range_curves import range_curve

Self = TypeVar("Self", bound="Magnitudes")

_FINE = {64: 28, 32: 15}
"""Fraction bits of a polynomial's value that is scaled back, by the word's bits."""


class _Quotient(NamedTuple):
    """How a quotient's words are made.

    Attributes:
        fine: fraction bits of 1 / t.
        drop: bits that the last truncation drops; the result stays below 2**(k - 3 - drop).
        most: the numerator stays below 2**most.
    """

    fine: int
    drop: int
    most: int


_QUOTIENT = {64: _Quotient(24, 24, 37), 32: _Quotient(13, 10, 16)}


class Magnitudes(Arithmetic):
    """The methods of a `SecretTensor` that take its magnitude apart.

    Each serves every word of the encoding, from one unit, 2**-frac_bits, to the largest. What has
    no value counts as one unit, so nothing explodes. Errors are against the function of the encoded
    value. Relative ones are those of a polynomial and its roundings, modulo 2**64; modulo 2**32
    those in brackets. Results rise and fall as the function does but for these errors.

    The argument frac_bits is that of the result, the session's by default: more of them show small
    results that a unit of the default hides. One so large that the largest result possible would
    pass 2**(k - 4 - frac_bits) is refused.

    Rounds, and bytes per element of arrays of whole 64s that each party sends; modulo 2^64:

        function         "additive", two parties    "replicated"
        log, log1p       19    229                  20    261
        sqrt             21    229                  22    245
        rsqrt            21    253                  22    277
        reciprocal       21    293.25               22    317.25
        x / y            23    341.25               24    357.25

    Range: |x| < 2**(k - 2 - frac_bits), the whole encoding.
    Cost: the scheme's `steps` for the thresholds, 16 or 32 of both signs; its `sums_of_products`
        for one product; `Polynomial.cost` of `range_curve`; for all but the logarithm its
        `sums_of_products` for one product, or two where the results span too many bits.
    Leaks: nothing.
    """

    __slots__ = ()

    def log(self: Self, frac_bits: int | None = None) -> Self:
        """Return the natural logarithm; for 0 and negative values that of one unit.

        Args:
            frac_bits: of the result, the session's by default.

        Raises:
            ValueError: frac_bits out of range.

        Error: 1.5 units of 2**-frac_bits, and 2.5e-6 (4e-4).
        """
        session = self.session
        session.check_open("log")
        k, ranges = word_bits(session.modulus), Ranges.of_all(session.modulus)
        wanted = _checked_bits(self, frac_bits, k.bit_length() - 1, "log")

        def offset(exponent: int) -> int:
            return round(math.ldexp(math.log(2) * (exponent - self.frac_bits), wanted))

        logarithms = Selection([offset(start) for start in ranges.starts], offset(0))
        unit, (offsets,) = normalised(session, self._stack, ranges, [logarithms])
        curve = _curve(self, "log", unit, ranges.step, wanted)
        return type(self)(session, session.scheme.add(curve, offsets), wanted)

    def log1p(self: Self, frac_bits: int | None = None) -> Self:
        """Return the natural logarithm of 1 + x. See `log`."""
        self.session.check_open("log1p")
        return (self + 1).log(frac_bits)

    def sqrt(self: Self, frac_bits: int | None = None) -> Self:
        """Return the square root; 0 for 0, exactly, and for negative values.

        Args:
            frac_bits: of the result, the session's by default.

        Raises:
            ValueError: frac_bits out of range.

        Error: one unit of 2**-frac_bits, and 5.3e-6 (5e-4) of the result.
        """
        session = self.session
        session.check_open("sqrt")
        ranges = Ranges.of_all(session.modulus)
        # x = t 2**start units, and the curve has (t / 2**step)**0.5.
        scale = [(start + ranges.step) // 2 - self.frac_bits // 2 for start in ranges.starts]
        largest = ranges.high // 2 - self.frac_bits // 2
        return _scaled_curve(self, "sqrt", scale, None, largest, frac_bits)

    def rsqrt(self: Self, frac_bits: int | None = None) -> Self:
        """Return 1 over the square root; for 0 and negative values that of one unit.

        Args:
            frac_bits: of the result, the session's by default.

        Raises:
            ValueError: frac_bits out of range.

        Error: one unit of 2**-frac_bits, and 5.4e-6 (5e-4) of the result.
        """
        session = self.session
        session.check_open("rsqrt")
        ranges = Ranges.of_all(session.modulus)
        up = (self.frac_bits + 1) // 2
        return _scaled_curve(
            self, "rsqrt", [up - start // 2 for start in ranges.starts], up, up, frac_bits
        )

    def reciprocal(self: Self, frac_bits: int | None = None) -> Self:
        """Return 1 / x, negative for negative values; for 0 that of one unit, the largest.

        Args:
            frac_bits: of the result, the session's by default.

        Raises:
            ValueError: frac_bits out of range.

        Error: one unit of 2**-frac_bits, and 3.8e-5 (8e-4) of the result.
        """
        self.session.check_open("reciprocal")
        starts = Ranges.of_all(self.session.modulus).starts
        up = self.frac_bits
        return _scaled_curve(
            self, "reciprocal", [up - start for start in starts], up, up, frac_bits
        )

    def __truediv__(self: Self, other: Any) -> Self:
        """Return the quotient; by a secret see `divide`."""
        if isinstance(other, Magnitudes):
            return self.divide(other)
        return super().__truediv__(other)

    def __rtruediv__(self: Self, other: Any) -> Self:
        """Return a public number or array over self; see `divide`."""
        return self._under(other, None)

    def divide(self: Self, other: Any, frac_bits: int | None = None) -> Self:
        """Return x / y; 0 as a divisor counts as one unit of y.

        Args:
            other: the divisor, secret or public.
            frac_bits: of the result, the session's by default; only where the divisor is secret.

        Raises:
            ValueError: a public divisor of 0, shapes that do not broadcast, frac_bits out of range.

        Range: |x| < 2**(37 - frac_bits) and |x / y| < 2**(37 - frac_bits), of x and of the result,
            so 2**21 by default (2**(16 - frac_bits) and 2**(18 - frac_bits) modulo 2**32), for any
            y. Shares cannot see a value beyond, and the result is then wrong; protocol="plain"
            raises on most.
        Error: two units of 2**-frac_bits, and 3.8e-5 (1.2e-3) of the result.
        Cost: as `reciprocal`, where the last product becomes up to three of x and 1 / t, by the
            span of the results, and one sum of their products. Those of a public x are truncations.
            By a public divisor: one truncation, see `__mul__`.
        """
        self.session.check_open("divide")
        if isinstance(other, type(self)):
            return _quotient(other, self, frac_bits)
        if frac_bits is not None:
            raise ArgumentTypeError("divide: frac_bits is for a secret divisor, got a public one")
        return super().__truediv__(other)

    def _under(self: Self, dividend: Any, frac_bits: int | None) -> Self:
        """Return a public dividend over self; see `divide`."""
        return _quotient(self, dividend, frac_bits)

    def power(self: Self, exponent: int) -> Self:
        """Return x**n for a public integer n; 1 for n = 0, and powers of 1 / x for negative n.

        Args:
            exponent: n.

        Raises:
            TypeError: n is no integer.

        Range: |x|**n < 2**(k - 2 - 2 frac_bits), so 2**30 by default.
        Error: (n - 1) max(1, |x|)**(n - 2) units of 2**-frac_bits, to first order. For negative n
            those of 1 / x come on top, |n| times its own relative ones.
        Cost: ceil(log2 n) levels of a square, a product or both, 2 rounds each; for negative n
            `reciprocal` before.
        """
        session = self.session
        session.check_open("power")
        if isinstance(exponent, Arithmetic):
            raise ArgumentTypeError("power: exponent must be public, got a SecretTensor")
        if isinstance(exponent, float) and abs(exponent) == 0.5:
            instead = "sqrt" if exponent > 0 else "rsqrt"
            raise ArgumentTypeError(
                f"power: exponent must be an integer, got {exponent}; use {instead}"
            )
        check_integer(exponent, "power: exponent")
        n, x = int(exponent), self
        if n < 0:
            n, x = -n, self.reciprocal()
        if n == 0:
            return self._constant(np.ones(self.shape), session.frac_bits, "power")
        result: Self | None = None
        while True:
            n, odd = divmod(n, 2)
            if not n:
                return x if result is None else result * x
            if odd and result is not None:  # both in the same rounds, and x is opened once
                left, right = result._aligned(x, "power")
                stack = session.backend.xp.stack([left._stack, right._stack], axis=1)
                both = type(self)(session, stack, left.frac_bits) * x
                result, x = both[0], both[1]
            else:
                result, x = (x if odd else result), x.square()

    __pow__ = power


def _checked_bits(x: Magnitudes, frac_bits: int | None, largest: int, function: str) -> int:
    """Return the fraction bits of a result below 2**largest, checked."""
    wanted = x.session.frac_bits if frac_bits is None else frac_bits
    check_integer(wanted, f"{function}: frac_bits")
    most = word_bits(x.session.modulus) - 4 - largest
    if most < 0:
        raise ArgumentValueError(
            f"{function}: a result up to 2**{largest} has no room for x's {x.frac_bits} fraction "
            "bits; truncate x by with_frac_bits first"
        )
    if not 0 <= wanted <= most:
        raise ArgumentValueError(
            f"{function}: frac_bits must be in [0, {most}] for a result up to 2**{largest}, "
            f"got {wanted}"
        )
    return int(wanted)


def _curve(x: Magnitudes, function: str, unit: Array, step: int, frac_bits: int) -> Array:
    """Return the stack of a polynomial of `range_curves` at the stack u."""
    halved = function in ("sqrt", "rsqrt") and bool(x.frac_bits % 2)
    tensor = type(x)(x.session, unit, precision(x.session.modulus))
    return range_curve(function, step, halved).evaluate(tensor, frac_bits)._stack


def _scaled_curve(
    x: Self,
    function: str,
    exponents: Sequence[int],
    lowest: int | None,
    largest: int,
    frac_bits: int | None,
) -> Self:
    """Return a curve of t, scaled by a power of two for each interval.

    Args:
        x: the tensor.
        function: of `range_curve`.
        exponents: of the powers, from the top interval down.
        lowest: that for what has no value, where t = 1; None where the result is 0.
        largest: the result is at most 2**largest.
        frac_bits: of the result, the session's by default.
    """
    session, modulus = x.session, x.session.modulus
    k, ranges = word_bits(modulus), Ranges.of_all(modulus)
    wanted = _checked_bits(x, frac_bits, largest, function)
    signed = function == "reciprocal"
    fine = _FINE[k]
    # A word of the result is the curve's times 2**shift; below 2**-1 it counts as 0.
    shifts = [exponent + wanted - fine for exponent in exponents]
    rest = [shift for shift in sorted(set(shifts), reverse=True) if shift + fine >= 0]
    bound, drops, scales = largest + wanted, list[int](), list[Selection]()
    while rest:
        drop = min(k - 3 - bound, fine + 1)
        group = [shift for shift in rest if shift >= -drop]
        values = [2 ** (shift + drop) if shift in group else 0 for shift in shifts]
        low = 0
        if lowest is not None and not drops:
            low = 2 ** (lowest + wanted - fine + drop)
        drops.append(drop)
        scales.append(Selection(values, low))
        rest = rest[len(group) :]
        bound = fine + max(rest, default=0)
    unit, factors = normalised(session, x._stack, ranges, scales, signed=signed)
    curve = Operand(_curve(x, function, unit, ranges.step, fine))
    sums = [
        SumOfProducts(((curve, Operand(factor)),), None, 0, drop)
        for factor, drop in zip(factors, drops, strict=True)
    ]
    parts = session.scheme.sums_of_products(sums)
    stack = parts[0]
    for part in parts[1:]:
        stack = session.scheme.add(stack, part)
    return type(x)(session, stack, wanted)


def _quotient(y: Self, dividend: Any, frac_bits: int | None) -> Self:
    """Return a dividend, secret or public, over y."""
    session, scheme, xp = y.session, y.session.scheme, y.session.backend.xp
    session.check_open("divide")
    k, ranges = word_bits(session.modulus), Ranges.of_all(session.modulus)
    fine, drop, most = _QUOTIENT[k]
    if isinstance(dividend, Magnitudes):
        y._check_partner(dividend, "divide")
        of_x, shape = dividend.frac_bits, y._check_broadcast(dividend.shape, "divide")
    else:
        words, of_x = _dividend(dividend, session.modulus, most)
        shape = y._check_broadcast(words.shape, "divide")
    room = k - 4 + ranges.starts[-1] + fine - drop - y.frac_bits + of_x
    wanted = _checked_bits(y, frac_bits, max(drop, k - 4 - room), "divide")

    def wide(stack: Array) -> Array:
        return xp.ascontiguousarray(xp.broadcast_to(stack, (stack.shape[0], *shape)))

    # A word of the quotient is x (1 / t) 2**shift; v = x (1 / t) / 2**cut comes first, where a
    # unit of v is no more than one of the quotient, or of no account beside it.
    up = y.frac_bits - of_x + wanted - fine
    shifts = [up - start for start in ranges.starts]
    rest = [shift for shift in sorted(shifts, reverse=True) if most + fine + shift >= 0]
    if not rest:  # every quotient is below half a unit
        return y._constant(np.zeros(shape), wanted, "divide")
    cuts, selections = list[int](), list[Selection]()
    while rest:
        cut = max(1, -rest[0])
        group = [shift for shift in rest if shift + cut >= -drop]
        values = [2 ** (shift + cut + drop) if shift in group else 0 for shift in shifts]
        low = 0 if cuts else 2 ** (up + cut + drop)
        cuts.append(cut)
        selections.append(Selection(values, low))
        rest = rest[len(group) :]
    words_of_y = y._stack_as(len(shape))
    unit, selected = normalised(session, words_of_y, ranges, selections, signed=True)
    curve = Operand(wide(_curve(y, "reciprocal", unit, ranges.step, fine)))
    scales = [Operand(wide(stack)) for stack in selected]
    if isinstance(dividend, Magnitudes):
        x = Operand(wide(dividend._stack_as(len(shape))))
        sums = [SumOfProducts(((x, curve),), None, 0, cut) for cut in cuts]
    else:
        public = session.backend.asarray(words)
        scaled = (scheme.mul_public(curve.stack, public) for _ in cuts)
        sums = [
            SumOfProducts((), product, 0, cut) for product, cut in zip(scaled, cuts, strict=True)
        ]
    parts = [Operand(stack) for stack in scheme.sums_of_products(sums)]
    pairs = tuple(zip(parts, scales, strict=True))
    stack = scheme.sums_of_products([SumOfProducts(pairs, None, 0, drop)])[0]
    return type(y)(session, stack, wanted)


def _dividend(public: Any, modulus: int, most: int) -> tuple[Array, int]:
    """Return a public dividend's words, below 2**most but not far, and their fraction bits."""
    reals = as_reals(public, "divide", "dividend")
    factor = encode_factor(reals, modulus, "divide")
    if factor.largest >= 2**most:
        raise RangeError(
            f"divide: dividend must satisfy |x| < 2**{most} modulo 2**{word_bits(modulus)}, "
            f"got {np.abs(reals).max():g}"
        )
    lift = most - factor.largest.bit_length()
    words = np.asarray(factor.mantissa << factor.mantissa.dtype.type(lift))
    return words, factor.shift + lift
