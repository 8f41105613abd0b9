"""Polynomials in the Chebyshev basis on share stacks: scaling, the steps of a plan, rounding.

Layer: tensor, under `polynomial`, above the schemes. Knows words and their fraction bits. Each T_n
has b = floor((k - 3) / 2) fraction bits, 30 modulo 2^64 and 14 modulo 2^32, so that a product of
two of them is below 2^(k-2); sums take what room their values leave in the word.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError
from he_gpu.mpc.scheme import Scheme
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring.fixedpoint import FACTOR_BITS, word_bits
from he_gpu.tensor.plan import Plan

if TYPE_CHECKING:
    from he_gpu.session import Session

_POINTS = 513


def end_words(interval: tuple[float, float], frac_bits: int, modulus: int) -> tuple[int, int]:
    """Return the least and the largest encoding that lie in an interval.

    Raises:
        ArgumentValueError: there is none.
    """
    most = 2 ** (word_bits(modulus) - 2) - 1
    low, high = (min(max(end, -(2.0**64)), 2.0**64) for end in interval)
    least, largest = math.ceil(math.ldexp(low, frac_bits)), math.floor(math.ldexp(high, frac_bits))
    least, largest = max(least, -most), min(largest, most)
    if least > largest:
        raise ArgumentValueError(
            f"polynomial: the interval ({interval[0]:g}, {interval[1]:g}) holds no encoding with "
            f"{frac_bits} fraction bits modulo 2**{word_bits(modulus)}"
        )
    return least, largest


class Scaling:
    """Integers that take words x of an interval to u = (x - middle) / half.

    u = ((x 2**shift / 2**cut - middle) factor + rest) / 2**drop, with the fraction bits of every
    T_n; one of shift and cut at most is not 0.

    Args:
        interval: the two ends.
        frac_bits: of x.
        modulus: 2**64 or 2**32.

    Attributes:
        cut: bits of x to truncate first, where so many of them would leave the factor too few.
        shift: bits that x is moved up first, where that makes the middle an integer.
        middle: to subtract.
        factor: integer nearest to 2**(bits of u + drop) / (half of the width in units of x).
        rest: what the rounding of the middle left over.
        drop: bits to truncate; 0 where the half width is a power of two.
        error: a bound on the difference from u.
    """

    __slots__ = ("cut", "drop", "error", "factor", "middle", "rest", "shift")

    def __init__(self, interval: tuple[float, float], frac_bits: int, modulus: int):
        k, bits = word_bits(modulus), _unit_bits(modulus)
        low, high = interval
        middle, half = (low + high) / 2, (high - low) / 2
        mantissa, exponent = math.frexp(half)
        self.cut = _cut(interval, frac_bits, k)
        kept = frac_bits - self.cut
        # Words of the interval stay below 2**(k - 3), and their differences below 2**(k - 2).
        room = k - 3 - kept - math.frexp(max(abs(low), abs(high)))[1]
        free = min(room, 8, k - 4 - FACTOR_BITS[k] - kept - exponent)
        shifts = (n for n in range(free + 1) if not self.cut and _is_integer(middle, kept + n))
        self.shift, self.rest = next(shifts, 0), 0
        units = kept + self.shift
        self.middle = round(math.ldexp(middle, units))
        if mantissa == 0.5 and _is_integer(middle, units):
            lift = bits - units - (exponent - 1)
            self.factor, self.drop = 2 ** max(lift, 0), max(-lift, 0)
            self.error = 2.0**-bits if self.drop else 0.0
        else:
            self.drop = k - 4 - bits
            lift = bits + self.drop - units
            self.factor = round(math.ldexp(1 / half, lift))
            left = self.middle - math.ldexp(middle, units)
            self.rest = round(left * self.factor)
            relative = abs(math.ldexp(self.factor * half, -lift) - 1) + 2.0**-50
            self.error = 2.0**-bits + 2.0 ** -(bits + self.drop) + relative
        if self.cut:
            self.error += math.ldexp(1 / half, -kept)
        fits = self.cut <= k - 3 and self.drop <= k - 3 and 0 < self.factor < 2 ** (k - 2)
        if room < 0 or not fits:
            raise ArgumentValueError(
                f"polynomial: the interval ({low:g}, {high:g}) is too wide, too narrow or too far "
                f"from 0 for {frac_bits} fraction bits modulo 2**{k}"
            )

    @property
    def truncations(self) -> int:
        """How many truncations `apply` takes, one after the other."""
        return (self.cut > 0) + (self.drop > 0)

    def apply(self, session: Session, stack: Array) -> Array:
        """Return the stack of u. Cost: `truncations`."""
        scheme = session.scheme

        def word(integer: int) -> Array:
            wrapped = np.asarray(integer % session.modulus, stack.dtype)
            return session.backend.asarray(wrapped)

        if self.cut:
            stack = scheme.truncate(stack, self.cut)
        if self.shift:
            stack = scheme.mul_public(stack, word(2**self.shift))
        if self.middle:
            stack = scheme.add_public(stack, word(-self.middle))
        if not self.rest:
            return scheme.mul_public(stack, word(self.factor), self.drop)
        stack = scheme.mul_public(stack, word(self.factor))
        return scheme.truncate(scheme.add_public(stack, word(self.rest)), self.drop)


class Layout:
    """Fraction bits of the sums of a plan, for a ring and a result.

    Args:
        plan: the steps.
        modulus: 2**64 or 2**32.
        frac_bits: of the result.

    Attributes:
        unit: fraction bits of u and of every T_n.
        inner: those of each sum before its truncation.
        outer: those after.
    """

    __slots__ = ("inner", "outer", "unit")

    def __init__(self, plan: Plan, modulus: int, frac_bits: int):
        k = word_bits(modulus)
        self.unit = _unit_bits(modulus)
        self.inner = [0] * len(plan.sums)
        self.outer = [frac_bits] * len(plan.sums)
        for place in reversed(range(len(plan.sums))):
            part = plan.sums[place]
            # Values stay below 2**(k - 3), and with what rounding adds below 2**(k - 2).
            room = k - 3 - math.ceil(math.log2(part.size))
            inner = min(room, self.outer[place] + k - 3)
            self.inner[place] = inner
            for _, q in part.products:
                self.outer[q] = inner - self.unit
        most = k - 4 - math.ceil(math.log2(plan.sums[-1].size))
        if not 0 <= frac_bits <= most:
            raise ArgumentValueError(
                f"polynomial: frac_bits must be in [0, {max(most, 0)}] modulo 2**{k} for terms "
                f"that add up to {plan.sums[-1].size:.3g}, got {frac_bits}"
            )

    def weights(self, plan: Plan, place: int) -> dict[int, int]:
        """Return the integers that stand for the coefficients of a sum, by n; n = 0 apart."""
        inner = self.inner[place]
        return {
            n: round(math.ldexp(c, inner - self.unit if n else inner))
            for n, c in plan.sums[place].terms
        }


def evaluate(scheme: Scheme, plan: Plan, layout: Layout, unit: Array) -> Array:
    """Return the stack of the polynomial for the stack of u.

    Cost: each level 1 round, and with "additive" 1 more where it has factors not opened before.
    """
    basis = {1: Operand(unit)}
    values: dict[int, Operand] = {}
    for level, products in enumerate(plan.basis, 1):
        places = [place for place, part in enumerate(plan.sums) if part.level == level]
        jobs = [
            SumOfProducts(
                ((basis[a], basis[b]),),
                None,
                -(2 ** (2 * layout.unit - 1)) * (a == b),
                layout.unit - 1,
            )
            for a, b in products
        ]
        jobs += [_job(scheme, plan, layout, place, basis, values) for place in places]
        stacks = iter(scheme.sums_of_products(jobs))
        for (a, b), stack in zip(products, stacks):  # noqa: B905 - the sums follow
            basis[a + b] = Operand(stack if a == b else scheme.sub(stack, basis[a - b].stack))
        for place, stack in zip(places, stacks, strict=True):
            values[place] = Operand(stack)
        del jobs
        basis, values = _needed(plan, level, basis, values)
    return values[len(plan.sums) - 1].stack


def _needed(
    plan: Plan, level: int, basis: dict[int, Operand], values: dict[int, Operand]
) -> tuple[dict[int, Operand], dict[int, Operand]]:
    """Return what later levels need, so that the memory of the rest and of its masks is free."""
    later = [part for part in plan.sums if part.level > level]
    used = {n for products in plan.basis[level:] for a, b in products for n in (a, b, a - b)}
    used |= {n for part in later for n, _ in (*part.terms, *part.products)}
    kept = {q for part in later for _, q in part.products} | {len(plan.sums) - 1}
    return (
        {n: operand for n, operand in basis.items() if n in used},
        {place: operand for place, operand in values.items() if place in kept},
    )


def _job(
    scheme: Scheme,
    plan: Plan,
    layout: Layout,
    place: int,
    basis: dict[int, Operand],
    values: dict[int, Operand],
) -> SumOfProducts:
    """Return a sum of a plan for the scheme."""
    part = plan.sums[place]
    weights = layout.weights(plan, place)
    constant = weights.pop(0, 0)
    pairs = tuple((basis[n], values[q]) for n, q in part.products)
    indices = [n for n, weight in weights.items() if weight or not pairs]
    added = None
    if indices:
        stacks = [basis[n].stack for n in indices]
        added = scheme.weighted_sum(stacks, [weights[n] for n in indices])
    return SumOfProducts(pairs, added, constant, layout.inner[place] - layout.outer[place])


def openings(plan: Plan) -> list[int]:
    """Return for each level how many factors "additive" opens that it did not open before."""
    seen: set[tuple[str, int]] = set()
    counts = []
    for level, products in enumerate(plan.basis, 1):
        factors = {("basis", n) for pair in products for n in pair}
        for part in plan.sums:
            if part.level == level:
                factors |= {("basis", n) for n, _ in part.products}
                factors |= {("sum", q) for _, q in part.products}
        counts.append(len(factors - seen))
        seen |= factors
    return counts


def rounding_error(plan: Plan, layout: Layout, unit_error: float) -> float:
    """Return a bound on what all roundings together change in the result.

    Each rounding by at most a unit (of a coefficient: half of one), times the derivative of the
    polynomial by the value that is rounded, found backwards through the plan at 513 points; and
    of second order n^2 units of u relative to that, for degree n.
    """
    u = np.cos(np.linspace(0, np.pi, _POINTS))
    angle = np.arccos(np.clip(u, -1, 1))
    values: list[Array] = []
    for part in plan.sums:
        total = sum((c * np.cos(n * angle) for n, c in part.terms), np.zeros_like(u))
        values.append(total + sum(np.cos(n * angle) * values[q] for n, q in part.products))
    by_sum = [np.zeros_like(u) for _ in plan.sums]
    by_sum[-1] = np.ones_like(u)
    degree = max(max((a + b for a, b in level), default=1) for level in plan.basis)
    degree = 2 * max([degree, *(n for part in plan.sums for n, _ in part.terms)])
    by_basis = [np.zeros_like(u) for _ in range(degree + 1)]
    error = np.zeros_like(u)
    for place in reversed(range(len(plan.sums))):
        part, own = plan.sums[place], by_sum[place]
        error += np.abs(own) * 2.0 ** -layout.outer[place]
        for n, c in part.terms:
            weight = layout.weights(plan, place)[n]
            bits = layout.inner[place] - (layout.unit if n else 0)
            error += np.abs(own * np.cos(n * angle)) * abs(math.ldexp(weight, -bits) - c)
            by_basis[n] = by_basis[n] + own * c
        for n, q in part.products:
            by_basis[n] = by_basis[n] + own * values[q]
            by_sum[q] = by_sum[q] + own * np.cos(n * angle)
    for level in reversed(plan.basis):
        for a, b in level:
            own = by_basis[a + b]
            error += np.abs(own) * 2.0**-layout.unit
            by_basis[a] = by_basis[a] + 2 * own * np.cos(b * angle)
            by_basis[b] = by_basis[b] + 2 * own * np.cos(a * angle)
            by_basis[a - b] = by_basis[a - b] - own
    error += np.abs(by_basis[1]) * unit_error
    return float(error.max() * (1 + degree**2 * 2.0**-layout.unit))


def _unit_bits(modulus: int) -> int:
    return (word_bits(modulus) - 3) // 2


def _cut(interval: tuple[float, float], frac_bits: int, k: int) -> int:
    """Return how many bits of x to truncate before it is scaled.

    x less the middle, times the factor, has k - 4 bits. Where x would leave the factor too few of
    them, half of them are enough for x.
    """
    low, high = interval
    middle, half = (low + high) / 2, (high - low) / 2
    mantissa, exponent = math.frexp(half)
    cut = max(0, frac_bits + math.frexp(max(abs(low), abs(high)))[1] - (k - 3))
    if mantissa == 0.5 and _is_integer(middle, frac_bits - cut):
        return cut
    if k - 4 - (frac_bits - cut + exponent) < FACTOR_BITS[k]:
        cut = frac_bits + exponent - (k // 2 - 1)
    return cut


def _is_integer(value: float, frac_bits: int) -> bool:
    return math.ldexp(value, frac_bits).is_integer()
