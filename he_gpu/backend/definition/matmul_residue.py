"""The exact matrix product by residues modulo small numbers: what a GPU's byte products sum.

Layer: backend; the definition of ``kernels/matmul_residue.cu``, equal to `matmul` wherever both
serve. Words become residues of 8 bits (cut), their products are summed and reduced modulo each
small modulus (multiply), and the Chinese remainder theorem gives the word back (join).
Source: Uchino, Ozaki, Imamura 2025 (Ozaki scheme II), with integers in place of its floats.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from he_gpu.backend.definition.elementwise import add as add_mod
from he_gpu.backend.definition.elementwise import mul as mul_mod
from he_gpu.backend.definition.words import RING_32, Array, word_dtype, wraps
from he_gpu.errors import ArgumentValueError

MOST_MODULI = 20
"""Sums of so many numbers below 2^8 times constants below 2^32 stay below 2^45."""
LARGEST_DEPTH = (2**31 - 1) // (128 * 128)
"""Products of two residues, each at most 128 in magnitude, that 32 bits can sum: 131,071."""
PIECE_BITS = 22
"""Of a biased word that a residue is summed from; the third piece has 20 bits."""
FRACTION = 2**32
"""Fractions are counted in units of 1 / FRACTION."""
BIAS = 2**63


@lru_cache(maxsize=1)
def _all_moduli() -> tuple[int, ...]:
    """Return the largest numbers up to 256 of which no two have a divisor in common."""
    found: list[int] = []
    for candidate in range(256, 1, -1):
        if len(found) < MOST_MODULI and all(gcd(candidate, other) == 1 for other in found):
            found.append(candidate)
    return tuple(found)


def moduli(count: int) -> tuple[int, ...]:
    """Return the first so many small moduli: 256, 255, 253, 251, 247, 241, ..."""
    return _all_moduli()[:count]


def largest_word(modulus: int) -> int:
    """Return the largest magnitude of a word, read as a number around zero."""
    return modulus // 2


@lru_cache(maxsize=1024)
def deepest(modulus: int, count: int) -> int:
    """Return the longest inner dimension that so many small moduli bear.

    The sum c of ``depth`` products has magnitude at most depth * largest_word^2. Its residues c_i
    give c = sum_i c_i v_i - t P, where P is the product of the p_i and v_i = (P / p_i) times the
    inverse of P / p_i modulo p_i; so t = sum_i c_i v_i / P - c / P. Each v_i / P is rounded down to
    units of 1 / FRACTION, so the sum that `join_residues` rounds to the nearest integer is short by
    less than sum_i (p_i - 1) units. It finds t where |c| / P is less than 1/2 by at least as much:
    2 |c| FRACTION < P (FRACTION - 2 sum_i (p_i - 1)).
    """
    small = moduli(count)
    room = prod(small) * (FRACTION - 2 * sum(p - 1 for p in small)) - 1
    return room // (2 * FRACTION * largest_word(modulus) ** 2)


def n_moduli(modulus: int, depth: int) -> int:
    """Return how many small moduli an inner dimension needs.

    Modulo 2^64 it is 18 up to 11,213 and 19 up to `LARGEST_DEPTH`.

    Args:
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        depth: products that a result sums, at most `LARGEST_DEPTH`.

    Raises:
        ArgumentValueError: depth out of range.
    """
    if not 0 <= depth <= LARGEST_DEPTH:
        raise ArgumentValueError(f"n_moduli: depth must be in [0, {LARGEST_DEPTH}], got {depth}")
    return next(s for s in range(1, MOST_MODULI + 1) if deepest(modulus, s) >= depth)


class Modulus(NamedTuple):
    """A small modulus as kernels take it, in numbers of 32 bits.

    Attributes:
        value: p.
        inverse: floor(2^32 / p).
        middle: 2^22 mod p, the weight of the second piece of a biased word.
        high: 2^44 mod p, of the third.
        shift: half - 2^63 mod p, which takes the bias away and makes residues begin at zero.
        half: floor(p / 2); balanced residues begin at -half.
        bias: the least multiple of p that makes no sum of 32 bits negative.
    """

    value: int
    inverse: int
    middle: int
    high: int
    shift: int
    half: int
    bias: int


@lru_cache(maxsize=64)
def modulus_table(count: int) -> tuple[Modulus, ...]:
    """Return the first so many small moduli with their constants."""
    return tuple(
        Modulus(
            value=p,
            inverse=2**32 // p,
            middle=2**PIECE_BITS % p,
            high=2 ** (2 * PIECE_BITS) % p,
            shift=(p // 2 - BIAS) % p,
            half=p // 2,
            bias=-(-(2**31) // p) * p,
        )
        for p in moduli(count)
    )


class Weight(NamedTuple):
    """What one residue counts in the word: see `deepest`.

    Attributes:
        low: v_i modulo the ring, its low 32 bits.
        high: its high 32 bits.
        fraction: v_i / P in units of 1 / FRACTION, rounded down.
    """

    low: int
    high: int
    fraction: int


@lru_cache(maxsize=1024)
def weights(modulus: int, count: int) -> tuple[Weight, ...]:
    """Return the weights of the residues, and last that of t: -P modulo the ring."""
    small = moduli(count)
    whole = prod(small)
    table = []
    for p in small:
        inverse = pow(whole // p, -1, p)
        low, high = _halves(whole // p * inverse % modulus)
        table.append(Weight(low, high, FRACTION * inverse // p))
    return (*table, Weight(*_halves(-whole % modulus), 0))


def _halves(word: int) -> tuple[int, int]:
    return word % 2**32, word >> 32


def cut_residues(words: Array, modulus: int, count: int) -> Array:
    """Return the balanced residues of words, taken as numbers around zero.

    Args:
        words: any shape, in [0, modulus).
        modulus: 2^64, 2^32 or 2 <= q <= 2^63; words above q / 2 stand for w - q.
        count: of small moduli.

    Returns:
        (count, *words.shape) int8, from -floor(p / 2) on.
    """
    if wraps(modulus):
        signed = words.view(np.int32 if modulus == RING_32 else np.int64).astype(np.int64)
    else:
        above = words > np.uint64(modulus // 2)
        signed = (words - above * np.uint64(modulus)).view(np.int64)
    planes = np.empty((count, *words.shape), np.int8)
    for plane, p in zip(planes, moduli(count), strict=True):
        np.copyto(plane, (np.remainder(signed, p) + p // 2) % p - p // 2, casting="unsafe")
    return planes


def multiply_residues(a: Array, b: Array) -> Array:
    """Return the products of residues, each modulo its own small modulus.

    Args:
        a: (count, ..., m, k) int8, k at most `LARGEST_DEPTH`.
        b: (count, ..., k, n) int8.

    Returns:
        (count, ..., m, n) uint8 in [0, p); float64 holds every sum exactly.
    """
    sums = np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.int64)
    small = np.array(moduli(len(a)), np.int64).reshape(-1, *[1] * (sums.ndim - 1))
    return np.remainder(sums, small).astype(np.uint8)


def join_residues(products: Array, modulus: int, add: Array | None = None) -> Array:
    """Return the words whose numbers have these residues: exact within `deepest`.

    Args:
        products: (count, ..., m, n) uint8 in [0, p).
        modulus: of the words.
        add: words that are added, or None.
    """
    count = len(products)
    low, high, fraction = (np.zeros(products.shape[1:], np.uint64) for _ in range(3))
    *own, last = weights(modulus, count)
    for residues, weight in zip(products.astype(np.uint64), own, strict=True):
        low += residues * np.uint64(weight.low)
        high += residues * np.uint64(weight.high)
        fraction += residues * np.uint64(weight.fraction)
    times = (fraction + np.uint64(FRACTION // 2)) >> np.uint64(32)
    low += times * np.uint64(last.low)
    high += times * np.uint64(last.high)
    if wraps(modulus):
        words = (low + (high << np.uint64(32))).astype(word_dtype(modulus))
    else:
        q = np.uint64(modulus)
        words = mul_mod(high % q, np.full_like(high, FRACTION % modulus), modulus)
        words = add_mod(words, low % q, modulus)
    return words if add is None else add_mod(words, add, modulus)


def matmul_residue(a: Array, b: Array, modulus: int, add: Array | None = None) -> Array:
    """Return ``(a @ b + add) mod modulus`` by residues.

    Args:
        a: (..., m, k) words in [0, modulus); k is cut where it exceeds `LARGEST_DEPTH`.
        b: (..., k, n) words.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to (..., m, n), or None.
    """
    depth = a.shape[-1]
    for start in range(0, max(depth, 1), LARGEST_DEPTH):
        piece = slice(start, min(start + LARGEST_DEPTH, depth))
        count = n_moduli(modulus, piece.stop - start)
        left = cut_residues(a[..., piece], modulus, count)
        right = cut_residues(b[..., piece, :], modulus, count)
        extra = max(left.ndim, right.ndim)
        left, right = (
            x.reshape(count, *[1] * (extra - x.ndim), *x.shape[1:]) for x in (left, right)
        )
        add = join_residues(multiply_residues(left, right), modulus, add)
    assert add is not None
    return add
