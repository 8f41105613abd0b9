"""The chain of primes that a ciphertext climbs down, and its scale at each level.

Layer: he, above ring. Level l has the base primes and those of levels 1 to l; a product at level
l is divided by the primes of that level and lands on level l - 1. Its scale, S_l**2 over the primes
of level l, is S_(l - 1), whatever these primes are; a deviation from the wanted scale doubles with
each level, so each level takes the primes that undo it.
Source: Kim, Papadimitriou, Polyakov, "Approximate homomorphic encryption with reduced approximation
error", CT-RSA 2022, section 3 (a scale for each level); Agrawal et al., "Cheddar", 2024 (several
word-size primes for a level).
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from he_gpu.backend.definition.roots import MODULUS_BITS
from he_gpu.errors import ArgumentValueError

WORD_BITS = MODULUS_BITS - 0.25
"""About the largest primes that levels have: there are some on either side of this size."""
INTEGER_BITS = 10
"""Bits before the point that the base primes hold beyond the scale, sign included."""
DRIFT = 0.5
"""Most bits that a level's scale may be away from the wanted one."""
FRACTION_BITS = 64
"""Of a scale: S**2 / P is rounded to so many, or its numerator would double with each level."""
MAX_DEPTH = 64
"""Most levels; the modulus of the largest ring degree is spent before."""
_SPARE = 48
"""Primes beyond the needed ones among which each level chooses."""
_NEARBY = 100
"""Primes to either side of the wanted size among which base and special primes are."""
_CLOSE = 0.03
"""Bits by which a pair of primes may miss its product and count as good as any, if need be."""
_STEP = 0.125
"""Bits by which the primes grow while they are too few."""


class Chain(NamedTuple):
    """Primes and scales by level.

    Attributes:
        ring_degree: N.
        base: primes of level 0.
        levels: the primes of level 1, 2, ..., each dropped by a rescaling.
        scales: of a ciphertext at level 0, 1, ...: multiples of 2**-FRACTION_BITS, so that
            scales[l - 1] is scales[l]**2 over the primes of level l but for 2**-80 of it.
        special: primes of key switching alone; their product is at least that of each digit.
        digit_limbs: limbs of a digit of key switching; the last of a level may have fewer.
    """

    ring_degree: int
    base: tuple[int, ...]
    levels: tuple[tuple[int, ...], ...]
    scales: tuple[Fraction, ...]
    special: tuple[int, ...]
    digit_limbs: int

    @property
    def depth(self) -> int:
        """Number of products one after another."""
        return len(self.levels)

    def moduli(self, level: int) -> tuple[int, ...]:
        """Return the primes of a level, the base's first."""
        return self.base + tuple(q for primes in self.levels[:level] for q in primes)

    def digits(self, level: int) -> tuple[tuple[int, ...], ...]:
        """Return the primes of each digit into which key switching cuts a level's polynomials."""
        moduli, size = self.moduli(level), self.digit_limbs
        return tuple(moduli[at : at + size] for at in range(0, len(moduli), size))

    @property
    def modulus_bits(self) -> float:
        """Return log2 of the whole modulus, special primes too: what security depends on."""
        return math.log2(math.prod(self.moduli(self.depth) + self.special))

    @property
    def digest(self) -> bytes:
        """32 bytes that tell chains apart, a SHA-256; it stands in every saved key."""
        scales = ((scale.numerator, scale.denominator) for scale in self.scales)
        lists = (self.base, *self.levels, self.special, *scales)
        lines = [f"he_gpu CKKS chain {self.ring_degree} {self.digit_limbs} {self.depth}"]
        lines += [" ".join(map(str, numbers)) for numbers in lists]
        return hashlib.sha256("\n".join(lines).encode()).digest()


def limbs_of_level(scale_bits: float) -> int:
    """Return how many primes a level drops."""
    return math.ceil(scale_bits / WORD_BITS)


def least_bits(depth: int, scale_bits: float, ring_degree: int) -> float:
    """Return what log2 of no chain's whole modulus is below, before its primes are looked for.

    All scales and the base are at least so large, and a special prime is no smaller than one of
    the base; and there are no smaller primes than the smallest.
    """
    base = scale_bits + INTEGER_BITS - DRIFT
    largest = base / math.ceil((base + 2 * DRIFT) / WORD_BITS)
    by_scales = depth * (scale_bits - DRIFT) - DRIFT + base + largest
    count = depth * limbs_of_level(scale_bits) + math.ceil(base / WORD_BITS) + 1
    by_primes = float(np.log2(primes_of(ring_degree)[:count]).sum())
    return max(by_scales, by_primes)


def plan(
    depth: int,
    scale_bits: float,
    ring_degree: int,
    digits: int,
    most_bits: float = math.inf,
) -> Chain:
    """Return a chain whose scales are 2**scale_bits or more, less `DRIFT` bits at most.

    Args:
        depth: levels above the base, at most `MAX_DEPTH`.
        scale_bits: wanted of each scale; more where primes of that size are too few.
        ring_degree: N.
        digits: most of key switching at the highest level; there are fewer where that costs
            nothing.
        most_bits: of the whole modulus. Special primes beyond the least, see `headroom_bits`,
            keep to it; a chain without any may have more.

    Raises:
        ValueError: there are too few primes.
    """
    parts = _ladder(depth, scale_bits, ring_degree)
    chain = _cut(parts, ring_degree, math.ceil(_count(parts) / digits), most_bits)
    if chain is None:
        raise _too_few(depth, scale_bits, ring_degree)
    return chain


def plans(
    depth: int, scale_bits: float, ring_degree: int, most_bits: float = math.inf
) -> Iterator[Chain]:
    """Yield the chains that `plan` returns, from one digit to a digit for each limb.

    Numbers of digits that shorten none, and those without enough special primes, are left out.

    Raises:
        ValueError: there are too few primes.
    """
    parts = _ladder(depth, scale_bits, ring_degree)
    n_limbs = _count(parts)
    found, sizes = False, {math.ceil(n_limbs / digits) for digits in range(1, n_limbs + 1)}
    for digit_limbs in sorted(sizes, reverse=True):
        chain = _cut(parts, ring_degree, digit_limbs, most_bits)
        if chain is not None:
            found = True
            yield chain
    if not found:
        raise _too_few(depth, scale_bits, ring_degree)


def headroom_bits(digits: int) -> float:
    """Return by how many bits special primes should be larger than the largest digit.

    A key switch adds the keys' errors, in proportion to sqrt(digits) and the largest digit over
    the special primes, to a rounding that nothing avoids. They are 4 sqrt(digits) times as large
    where the two are equal, and a quarter of it with these bits.
    """
    return 4 + math.log2(digits) / 2


def _count(parts: Ladder) -> int:
    """Return how many limbs the highest level has."""
    return len(parts[0]) + sum(map(len, parts[1]))


def _cut(parts: Ladder, ring_degree: int, digit_limbs: int, most_bits: float) -> Chain | None:
    """Return the chain with digits of so many limbs, or None without enough special primes."""
    base, levels, scales = parts
    limbs = base + tuple(q for primes in levels for q in primes)
    starts = range(0, len(limbs), digit_limbs)
    largest = max(math.prod(limbs[at : at + digit_limbs]) for at in starts)
    room = most_bits - math.log2(math.prod(limbs)) - math.log2(largest)
    headroom = headroom_bits(len(starts))
    while headroom > 0:
        if headroom < room:
            special = _special(limbs, largest, headroom, digit_limbs, ring_degree)
            if special is not None:
                chain = Chain(ring_degree, base, levels, scales, special, digit_limbs)
                if chain.modulus_bits <= most_bits:
                    return chain
        headroom -= 1
    special = _special(limbs, largest, 0, digit_limbs, ring_degree)
    if special is None:
        return None
    return Chain(ring_degree, base, levels, scales, special, digit_limbs)


def _special(
    limbs: tuple[int, ...], digit: int, headroom: float, most: int, ring_degree: int
) -> tuple[int, ...] | None:
    """Return the fewest primes whose product is larger than a digit by some bits, or None."""
    product = math.ceil(Fraction(2**headroom) * digit)
    for count in range(math.ceil(math.log2(product) / MODULUS_BITS), most + 1):
        special = _above(product, count, ring_degree, limbs)
        if special is not None:
            return special
    return None


Ladder = tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[Fraction, ...]]


@lru_cache(maxsize=64)
def _ladder(depth: int, scale_bits: float, ring_degree: int) -> Ladder:
    """Return base primes, the primes of each level, and the scales.

    Raises:
        ValueError: there are too few primes.
    """
    each = limbs_of_level(scale_bits)
    bits = scale_bits / each
    while bits <= WORD_BITS:
        # Where primes are dense the closest pairs do; where they are rare, unequal ones first.
        for close in (0.0, _CLOSE):
            found = _levels(depth, each, bits, ring_degree, close)
            if found is None:
                continue
            levels, scales = found
            need = 2**INTEGER_BITS * math.ceil(scales[0])
            used = tuple(q for primes in levels for q in primes)
            base = _above(need, math.ceil(math.log2(need) / WORD_BITS), ring_degree, used)
            if base is not None:
                return base, levels, scales
        bits += _STEP
    raise _too_few(depth, scale_bits, ring_degree)


def _levels(
    depth: int, each: int, bits: float, ring_degree: int, close: float
) -> tuple[tuple[tuple[int, ...], ...], tuple[Fraction, ...]] | None:
    """Return the primes of each level and all scales, from primes of about so many bits.

    None where there are too few for scales within `DRIFT`.
    """
    wanted = 2.0 ** (each * bits)
    logs = np.log2(primes_of(ring_degree))
    order = np.argsort(np.abs(logs - bits), kind="stable")
    pool = order[: each * depth + _SPARE]
    scale = Fraction(round(wanted))
    levels: list[tuple[int, ...]] = []
    scales = [scale]
    for _ in range(depth):
        if len(pool) < each:
            return None
        chosen = _closest(logs[pool], each, 2 * math.log2(scale) - each * bits, close)
        levels.append(tuple(primes_of(ring_degree)[at] for at in sorted(pool[chosen])[::-1]))
        pool = np.delete(pool, chosen)
        exact = scale * scale / math.prod(levels[-1])
        scale = Fraction(round(exact * 2**FRACTION_BITS), 2**FRACTION_BITS)
        if abs(math.log2(scale) - each * bits) > DRIFT:
            return None
        scales.append(scale)
    return tuple(reversed(levels)), tuple(reversed(scales))


def _closest(logs: np.ndarray, each: int, target: float, close: float) -> list[int]:
    """Return where so many primes of a pool stand whose logarithms' sum is about a number.

    One is the closest; of more than two, the first of the pool come with the pair that suits them.
    Of the pairs that are close enough the most unequal is taken, as its primes suit the fewest
    others; where there is none, the closest.
    """
    head = list(range(max(0, each - 2)))
    rest = logs[len(head) :]
    left = target - float(logs[: len(head)].sum())
    if each == 1:
        return [int(np.abs(rest - left).argmin())]
    distances = np.abs(rest[:, None] + rest - left)
    np.fill_diagonal(distances, np.inf)
    near = distances < close
    ranks = np.where(near, np.minimum(rest[:, None], rest) - 1000, distances)
    pair = np.unravel_index(int(ranks.argmin()), ranks.shape)
    return head + [len(head) + int(at) for at in pair]


def _above(
    product: int, count: int, ring_degree: int, used: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return so many unused primes whose product is at least a number, and little more.

    All but one are neighbours, the other is the smallest that suffices; the largest comes first.
    None where there is no such choice.
    """
    free = sorted(set(primes_of(ring_degree)) - set(used))
    middle = bisect_left(free, 2 ** (math.log2(product) / count))
    first = max(0, min(middle - _NEARBY, len(free) - 2 * _NEARBY))
    free = free[first : first + 2 * _NEARBY]
    best: tuple[int, ...] | None = None
    for first in range(len(free) - count + 1):
        together = free[first : first + count - 1]
        others = free[:first] + free[first + count - 1 :]
        at = bisect_left(others, -(-product // math.prod(together)))
        if at < len(others):
            chosen = (*together, others[at])
            if best is None or math.prod(chosen) < math.prod(best):
                best = chosen
    return None if best is None else tuple(sorted(best, reverse=True))


def _too_few(depth: int, scale_bits: float, ring_degree: int) -> ArgumentValueError:
    return ArgumentValueError(
        f"there are too few primes below 2**{MODULUS_BITS} for depth {depth} with scales of "
        f"{scale_bits:g} bits at ring_degree {ring_degree}"
    )


@lru_cache(maxsize=16)
def primes_of(ring_degree: int) -> tuple[int, ...]:
    """Return all primes q = 1 mod 2 N below 2**27, in rising order, by a sieve."""
    step, end = 2 * ring_degree, 2**MODULUS_BITS
    count = (end - 2) // step
    prime = np.ones(count + 1, bool)  # of k step + 1
    prime[0] = False
    root = math.isqrt(end)
    odd = np.ones(root + 1, bool)
    for p in range(3, root + 1, 2):
        if odd[p]:
            odd[p * p :: 2 * p] = False
            first = -pow(step, -1, p) % p  # k of the first multiple of p
            if first * step + 1 == p:
                first += p
            prime[first::p] = False
    return tuple(int(k) * step + 1 for k in np.flatnonzero(prime))
