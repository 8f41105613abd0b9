"""Public polynomials of encrypted vectors, in powers or in Chebyshev polynomials.

Layer: he, beneath `ciphertext`; how a polynomial is cut is in `series`. All products of one level
are summed before they are relinearised and rescaled, together. In between, scales are not those of
the levels: constants are encoded at the scale with which sums agree, so that nothing is rescaled
for the sake of an addition, and the result has its level's exact scale.
Source: Paterson and Stockmeyer, SIAM J. Comput. 2, 1973; Bossuat, Mouchet, Troncoso-Pastoriza,
Hubaux, EUROCRYPT 2021, section 5 (exact scales).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, ExhaustedLevelError
from he_gpu.he import noise
from he_gpu.he.arithmetic import add, check_fits, check_slots, mul, rescaled
from he_gpu.he.chain import FRACTION_BITS
from he_gpu.he.encoding import constant, encode, encode_constant
from he_gpu.he.key_switch import relinearise
from he_gpu.he.operands import as_numbers
from he_gpu.he.series import Series, best_babies, cuts, depth, halves, trimmed

if TYPE_CHECKING:
    from he_gpu.he.ciphertext import Ciphertext
    from he_gpu.ring import RnsRing

MAX_DEGREE = 1023
"""Of a polynomial, for ten levels."""


def power_series(a: Ciphertext, coefficients: Any) -> Ciphertext:
    """Return ``c_0 + c_1 a + c_2 a**2 + ...`` of each value.

    Args:
        a: the values.
        coefficients: c_0, c_1, ..., real or complex, as in numpy.polynomial; zeros at the end do
            not count.

    Raises:
        TypeError: coefficients that are no numbers.
        ValueError: none, or too many of them; NaN or infinity; too few levels; values that a level
            cannot hold.

    Error: that of each product and constant, added up; it grows with the derivative of
        |c_0| + |c_1| x + ... at the bound on the values' size.
    Cost: `depth` levels, none for a constant; about sqrt(2 degree) + log2(degree) products of
        ciphertexts, whose sums are relinearised together: a key switch for each power that is
        made and each quotient, 2 of them at degree 3, 4 at 7, 7 at 15 and 11 at 31. No rotation.
    """
    check_slots(a, "polynomial")
    series = _coefficients(coefficients, "polynomial")
    if a.span > a.n_values and series[0]:
        a = a.replace(leftovers=True)  # the constant stands there too
    return _evaluated(a, series, chebyshev=False, function="polynomial")


def chebyshev_series(a: Ciphertext, coefficients: Any, interval: tuple[float, float]) -> Ciphertext:
    """Return ``c_0 + c_1 T_1(y) + c_2 T_2(y) + ...``, where y is a's place in an interval.

    The interval's ends have y = -1 and 1. Values must lie in it: outside, the polynomials grow so
    fast that neither the bounds of the result hold nor, soon, the modulus.

    Args:
        a: the values.
        coefficients: c_0, c_1, ..., such as ``numpy.polynomial.Chebyshev.interpolate(f, degree,
            interval).coef``; zeros at the end do not count.
        interval: its ends.

    Raises:
        TypeError: no numbers.
        ValueError: as `power_series`; an interval that is none; complex values, for which the
            polynomials are not bounded.

    Error: as `power_series`; T_k takes an error in y up to some k**2 times. How near the series is
        to the function that it stands for is not counted.
    Cost: `depth` levels, and one more to bring values from the interval to (-1, 1), unless 2 over
        its length is an integer and slots behind the vector are zero; products as `power_series`.
    """
    check_slots(a, "chebyshev")
    series = _coefficients(coefficients, "chebyshev")
    low, high = _interval(interval)
    factor, middle = 2 / (high - low), (low + high) / 2
    padded, degree = a.span <= a.n_values, len(series) - 1
    if degree:
        if not a.is_real:
            raise ArgumentValueError(
                "Ciphertext.chebyshev: the values must be real, and these are complex; "
                "polynomial() takes them"
            )
        _check_levels(a, degree, not (factor.is_integer() and padded), "chebyshev")
        if not padded:
            a = mul(a, np.full(a.n_values, factor))
        elif factor != 1:
            a = mul(a, int(factor) if factor.is_integer() else factor)
        if middle:
            a = add(a, -factor * middle)
        rounding = 2.0**-51 * factor * max(abs(low), abs(high))
        a = a.replace(size=1.0, error=a.error + rounding)
    return _evaluated(a, series, chebyshev=True, function="chebyshev")


class _Term(NamedTuple):
    """A polynomial's value on the way, at a scale of its own.

    Attributes:
        components: (2, limbs, N) values.
        level: how many limbs.
        scale: what a slot's 1 stands as.
        size: bound on the slots.
        error: bound on their error.
    """

    components: Array
    level: int
    scale: Fraction
    size: float
    error: float


class _Sum:
    """A sum of products and multiples at one level and scale, not yet rescaled."""

    def __init__(self, evaluation: _Evaluation, level: int, scale: Fraction):
        self.evaluation, self.level, self.scale = evaluation, level, scale
        self.ring: RnsRing = evaluation.ladder.ring(level)
        self.error = 0.0
        self._pair: Array | None = None
        self._square: Array | None = None

    def add_multiple(self, term: _Term, factor: complex) -> None:
        """Add a term times a constant, encoded so that the product has the sum's scale."""
        constant_scale = self.scale / term.scale
        words = term.components[:, : len(self.ring.moduli)]
        if isinstance(factor, complex):
            encoded = self.ring.ntt(encode_constant(factor, constant_scale, self.ring))
            words = self.ring.mul(words, encoded)
        else:
            words = self.ring.mul_integer(words, constant(factor, constant_scale))
        self._add_pair(words)
        rounding = noise.encoding_constant(abs(factor), constant_scale)
        self.error += noise.product(term.size, term.error, abs(factor), rounding)

    def add_product(self, a: _Term, b: _Term, factor: int = 1) -> None:
        """Add a small multiple of a product whose scale is the sum's."""
        limbs, ring = len(self.ring.moduli), self.ring
        left, right = a.components[:, :limbs], b.components[:, :limbs]
        if factor != 1:
            left = ring.mul_integer(left, factor)
        terms = ring.tensor(left[None], right[None])
        self._add_pair(terms[:2])
        self._square = terms[2:] if self._square is None else ring.add(self._square, terms[2:])
        self.error += factor * noise.product(a.size, a.error, b.size, b.error)

    def add_constant(self, value: complex, *, clear: bool) -> None:
        """Add a constant to every slot, or to the vector's alone so that others stay zero."""
        if value == 0:
            return
        words, rounding = self.evaluation.constant(value, self.level, self.scale, clear)
        ring, pair = self.ring, self._pair
        assert pair is not None
        self._pair = self.evaluation.ladder.backend.xp.stack((ring.add(pair[0], words), pair[1]))
        self.error += rounding

    def finished(self, size: float) -> _Term:
        """Return the sum, relinearised and rescaled to the next level; size bounds its slots."""
        evaluation, level = self.evaluation, self.level
        ladder, pair = evaluation.ladder, self._pair
        assert pair is not None
        scale, error = self.scale / ladder.divisor(level), self.error
        if self._square is None:
            words = rescaled(ladder, level, pair)
        else:
            terms = ladder.backend.xp.concatenate((pair, self._square))
            words = relinearise(ladder, level, terms, evaluation.a.keys.relin)
            error += noise.key_switching(ladder.chain, level, self.scale)
        error += noise.rescaling(scale, ladder.ring_degree) + 2.0**-80 * size
        stretch = float(scale / ladder.scale(level - 1))  # the level's own scale holds so much less
        function = f"Ciphertext.{evaluation.function}"
        check_fits(ladder, level - 1, size * stretch, error * stretch, function)
        return _Term(words, level - 1, scale, size, error)

    def _add_pair(self, words: Array) -> None:
        self._pair = words if self._pair is None else self.ring.add(self._pair, words)


class _Evaluation:
    """One polynomial of one ciphertext: its basis elements, made when they are asked for.

    Args:
        a: the argument.
        chebyshev: whether the basis is T_k or powers.
        babies: the largest basis element, besides powers of two, that sums use.
        function: for messages.
    """

    def __init__(self, a: Ciphertext, chebyshev: bool, babies: int, function: str):
        self.a, self.chebyshev, self.babies, self.function = a, chebyshev, babies, function
        self.ladder = a.keys.ladder
        # Slots behind the vector stay zero if they are and no element has a constant there.
        self.padded = a.span <= a.n_values < self.ladder.ring_degree // 2
        self._basis = {1: _Term(a.components, a.level, a.scale, a.size, a.error)}

    def basis(self, k: int) -> _Term:
        """Return the k-th element, k > 0, log2(k) levels down, rounded up."""
        if k in self._basis:
            return self._basis[k]
        half, other = halves(k)
        left, right = self.basis(half), self.basis(other)
        level = min(left.level, right.level)
        total = _Sum(self, level, _rounded(left.scale * right.scale))
        if not self.chebyshev:
            total.add_product(left, right)
            size = left.size * right.size
        else:  # T_(i + j) = 2 T_i T_j - T_(i - j), and T_0 = 1
            total.add_product(left, right, 2)
            size = 1.0
            if half == other:
                total.add_constant(-1.0, clear=self.padded)
            else:
                total.add_multiple(self.basis(half - other), -1.0)
        self._basis[k] = total.finished(size)
        return self._basis[k]

    def value(self, series: Series, level: int, scale: Fraction, *, last: bool = False) -> _Term:
        """Return a polynomial of degree 1 or more at a level and scale.

        Args:
            series: its coefficients.
            level: at most what `depth` leaves.
            scale: of the result.
            last: whether it is the whole one, whose constant must not reach other slots.
        """
        above = level + 1
        total = _Sum(self, above, _rounded(scale * self.ladder.divisor(above)))
        size, rest = _size(series, 1.0 if self.chebyshev else self.a.size), series
        for cut in cuts(series, self.a.level - above, self.babies, self.chebyshev):
            giant, rest = self.basis(cut.at), cut.rest
            if len(cut.quotient) == 1:
                total.add_multiple(giant, cut.quotient[0])
            else:
                wanted = _rounded(total.scale / giant.scale)
                total.add_product(self.value(cut.quotient, above, wanted), giant)
        for k, coefficient in enumerate(rest[1:], 1):
            if coefficient:
                total.add_multiple(self.basis(k), coefficient)
        total.add_constant(rest[0], clear=last and self.padded)
        return total.finished(size)

    def constant(
        self, value: complex, level: int, scale: Fraction, clear: bool
    ) -> tuple[Array, float]:
        """Return a constant's encoding as values that broadcast, and a bound on its error."""
        ring, size = self.ladder.ring(level), abs(value)
        if clear:
            words = ring.ntt(encode(np.full(self.a.n_values, value), scale, ring))
            return words, noise.encoding(size, scale, self.ladder.ring_degree)
        rounding = noise.encoding_constant(size, scale)
        if isinstance(value, complex):
            return ring.ntt(encode_constant(value, scale, ring)), rounding
        integer = constant(value, scale)
        column = np.array([integer % q for q in ring.moduli], np.uint32)[:, None]
        return self.ladder.backend.asarray(column), rounding


def _evaluated(a: Ciphertext, series: Series, *, chebyshev: bool, function: str) -> Ciphertext:
    degree = len(series) - 1
    _check_levels(a, degree, False, function)
    level, size = a.level - depth(degree), _size(series, 1.0 if chebyshev else a.size)
    check_fits(a.keys.ladder, level, size, 0.0, f"Ciphertext.{function}")
    if degree == 0:
        return add(mul(a, 0), series[0]).replace(size=size, span=a.n_values, leftovers=False)
    evaluation = _Evaluation(a, chebyshev, best_babies(series, chebyshev), function)
    result = evaluation.value(series, level, evaluation.ladder.scale(level), last=True)
    is_real = a.is_real and not any(isinstance(c, complex) for c in series)
    # Dividing by T_k doubles coefficients, up to once a level, and rounds each to 2**-53.
    rounding = 2.0 ** (depth(degree) - 52) * size if chebyshev else 0.0
    return a.replace(
        components=result.components,
        level=level,
        span=max(a.span, a.n_values) if evaluation.padded else evaluation.ladder.ring_degree // 2,
        is_real=is_real,
        size=result.size,
        error=result.error + rounding,
    )


def _size(series: Series, largest: float) -> float:
    """Return a bound on a sum of basis elements; infinity where float64 has none."""
    try:
        return sum(abs(c) * largest**k for k, c in enumerate(series) if c)
    except OverflowError:
        return math.inf


def _check_levels(a: Ciphertext, degree: int, further: bool, function: str) -> None:
    levels = depth(degree) + further
    reason = ", as bringing values from the interval to (-1, 1) takes one" if further else ""
    if a.level < levels:
        raise ExhaustedLevelError(
            f"Ciphertext.{function}: a polynomial of degree {degree} needs an operand at level "
            f"{levels}{reason}, got level {a.level}"
        )


def _coefficients(values: Any, function: str) -> Series:
    """Return coefficients as Python numbers: floats where all are real.

    Those of a poly1d begin with the highest power, and are refused.
    """
    name = f"Ciphertext.{function}: coefficients"
    if isinstance(values, np.poly1d):
        raise ArgumentTypeError(f"{name} must begin with the lowest, got poly1d")
    numbers = as_numbers(values, name)
    if numbers.ndim != 1 or not 1 <= len(numbers) <= MAX_DEGREE + 1:
        raise ArgumentValueError(
            f"Ciphertext.{function}: coefficients must be a vector of 1 to {MAX_DEGREE + 1} "
            f"numbers, got shape {numbers.shape}"
        )
    return trimmed(numbers.tolist())


def _interval(interval: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"Ciphertext.chebyshev: interval must be two real numbers, got {interval!r}"
        ) from None
    if not (low < high and math.isfinite(high - low) and math.isfinite(2 / (high - low))):
        raise ArgumentValueError(
            f"Ciphertext.chebyshev: interval must rise between finite ends, and 2 over its length "
            f"must be finite, got ({low:g}, {high:g})"
        )
    return low, high


def _rounded(scale: Fraction) -> Fraction:
    """Return a scale to 2**-FRACTION_BITS, or its numerator would grow with each product."""
    return Fraction(round(scale * 2**FRACTION_BITS), 2**FRACTION_BITS)
