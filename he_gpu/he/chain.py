"""The chain of primes that a ciphertext climbs down, and its exact scale at each level.

Layer: he, above ring. Level l has the base primes and those of levels 1 to l; a product at level l
is divided by the primes of that level and lands on level l - 1. Scales are exact rationals: a
product's is S_l**2, so S_(l - 1) = S_l**2 / (the primes of level l), whatever these are. A deviation
from the wanted scale doubles with each level, so each level takes the primes that undo it.
Source: Kim, Papadimitriou, Polyakov, "Approximate homomorphic encryption with reduced approximation
error", CT-RSA 2022, section 3 (a scale for each level); Agrawal et al., "Cheddar", 2024 (several
word-size primes for a level).
"""

from __future__ import annotations

import math
from bisect import bisect
from fractions import Fraction
from typing import NamedTuple

from he_gpu.backend.definition.roots import MODULUS_BITS
from he_gpu.errors import ArgumentValueError
from he_gpu.ring.primes import ntt_primes

WORD_BITS = MODULUS_BITS - 0.25
"""About the largest primes that levels have: there are some on either side of this size."""
INTEGER_BITS = 10
"""Bits before the point that the base primes hold beyond the scale, sign included."""
DRIFT = 0.75
"""Most bits that a level's scale may be away from the wanted one."""
_SPARE = 8
"""Primes beyond the needed ones among which each level chooses."""


class Chain(NamedTuple):
    """Primes and scales by level.

    Attributes:
        ring_degree: N.
        base: primes of level 0.
        levels: the primes of level 1, 2, ..., each dropped by a rescaling.
        scales: of a fresh ciphertext at level 0, 1, ...; exact.
        special: primes of key switching alone.
        digit_limbs: limbs of a digit of key switching.
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

    @property
    def modulus_bits(self) -> float:
        """Return log2 of the whole modulus, special primes too: what security depends on."""
        return math.log2(math.prod(self.moduli(self.depth) + self.special))


def limbs_of_level(scale_bits: float) -> int:
    """Return how many primes a level drops."""
    return math.ceil(scale_bits / WORD_BITS)


def plan(depth: int, scale_bits: float, ring_degree: int, digits: int) -> Chain:
    """Return a chain whose scales are at least 2**scale_bits, less the drift of the last level.

    Args:
        depth: levels above the base.
        scale_bits: wanted of each scale; more where primes of that size are too few.
        ring_degree: N.
        digits: of key switching, at most as many as there are limbs.

    Raises:
        ValueError: there are too few primes.
    """
    each = limbs_of_level(scale_bits)
    bits = max(scale_bits / each, _least_bits(each * depth + _SPARE, ring_degree))
    while True:
        try:
            levels, scales = _levels(depth, each, bits, ring_degree)
            break
        except ArgumentValueError:
            bits += 0.25
            if bits > WORD_BITS:
                raise ArgumentValueError(
                    f"CkksParams: there are too few primes for depth {depth} with scale_bits "
                    f"{scale_bits:g} at ring_degree {ring_degree}; ask for fewer levels"
                ) from None
    used = [q for primes in levels for q in primes]
    n_base = math.ceil((each * bits + DRIFT + INTEGER_BITS) / (WORD_BITS - 0.25))
    n_limbs = n_base + len(used)
    digit_limbs = math.ceil(n_limbs / digits)
    # Special primes are the largest, so that their product exceeds that of each digit.
    large = ntt_primes(ring_degree, 2.0**MODULUS_BITS, digit_limbs + n_base, used)
    special, base = large[:digit_limbs], large[digit_limbs:]
    return Chain(ring_degree, base, levels, scales, special, digit_limbs)


def _least_bits(count: int, ring_degree: int) -> float:
    """Return the size from which about so many primes lie within a factor of 1.25 either way.

    Of the numbers that are 1 modulo 2 N one in ln(q) / 2 is a prime.
    """
    bits = math.log2(2 * ring_degree) + 1
    while 0.45 * 2**bits / (ring_degree * bits * math.log(2)) < count and bits < WORD_BITS:
        bits += 0.25
    return min(bits, WORD_BITS)


def _levels(
    depth: int, each: int, bits: float, ring_degree: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[Fraction, ...]]:
    """Return the primes of each level and all scales, from primes of about so many bits.

    Raises:
        ValueError: too few primes for scales within `DRIFT`.
    """
    wanted = 2.0 ** (each * bits)
    pool = list(ntt_primes(ring_degree, 2.0**bits, each * depth + (_SPARE if depth else 0)))
    scale = Fraction(round(wanted))
    levels: list[tuple[int, ...]] = []
    scales = [scale]
    for _ in range(depth):
        target = float(scale * scale) / wanted
        primes = _closest(pool, each, target)
        for q in primes:
            pool.remove(q)
        scale = scale * scale / math.prod(primes)
        if abs(math.log2(float(scale)) - each * bits) > DRIFT:
            raise ArgumentValueError("CkksParams: scales drift too far")
        levels.append(primes)
        scales.append(scale)
    return tuple(reversed(levels)), tuple(reversed(scales))


def _closest(pool: list[int], each: int, target: float) -> tuple[int, ...]:
    """Return so many primes of a pool whose product is about closest to a number.

    Two are the best pair; of more, the first of the pool come with the pair that suits them best.
    """
    head = tuple(pool[: max(0, each - 2)])
    rest = sorted(pool[len(head) :])
    left = target / math.prod(head)
    if each == 1:
        return (min(rest, key=lambda q: abs(q - left)),)
    pairs = []
    for at, p in enumerate(rest):
        near = bisect(rest, left / p)
        pairs += [(p, rest[k]) for k in (near - 1, near) if 0 <= k < len(rest) and k != at]
    best = min(pairs, key=lambda pair: abs(math.log(pair[0] * pair[1] / left)))
    return head + best
