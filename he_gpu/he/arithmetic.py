"""Sums, products and levels of ciphertexts.

Layer: he, beneath `ciphertext`. Every result stands at the exact scale of its level: a product at
level l has the scale's square and is divided by the level's primes at once.
Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017; Kim, Papadimitriou, Polyakov, CT-RSA 2022, section 3
(levels brought together by a multiplication with an integer near a ratio of scales).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from he_gpu.backend import Array, to_host
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ExhaustedLevelError,
    RangeError,
)
from he_gpu.he import noise
from he_gpu.he.encoding import encode, encode_constant
from he_gpu.he.key_switch import relinearise
from he_gpu.he.ladder import Ladder

if TYPE_CHECKING:
    from he_gpu.he.ciphertext import Ciphertext


def add(a: Ciphertext, b: Any) -> Ciphertext:
    """Return ``a + b``; b is a ciphertext, a number or a vector of numbers."""
    return _sum(a, b, "add")


def sub(a: Ciphertext, b: Any) -> Ciphertext:
    """Return ``a - b``."""
    return _sum(a, b, "sub")


def neg(a: Ciphertext) -> Ciphertext:
    """Return ``-a``."""
    ring = a.keys.ladder.ring(a.level)
    return a.replace(components=ring.neg(a.components))


def mul(a: Ciphertext, b: Any) -> Ciphertext:
    """Return the product slot by slot, a level lower but for one with a Python int."""
    if isinstance(b, type(a)):
        return _product(*_aligned(a, b, "mul"))
    if isinstance(b, int | np.integer) and not isinstance(b, bool):
        return _integer_product(a, int(b))
    return _plain_product(a, *_plain(a, b, "mul"))


def at_level(a: Ciphertext, level: int) -> Ciphertext:
    """Return the same values at a level not above a's.

    The limbs between are dropped, and a multiplication with an integer k and one rescaling take the
    scale S to S k / P, which is that of the level but for a part in 2 k.
    """
    if not 0 <= level <= a.level:
        raise ArgumentValueError(
            f"Ciphertext.at_level: level must be in [0, {a.level}], got {level}"
        )
    if level == a.level:
        return a
    ladder, above = a.keys.ladder, level + 1
    factor = noise.alignment_factor(ladder.chain, a.level, level)
    error = noise.alignment(a.size, a.error, ladder.chain, a.level, level)
    check_fits(ladder, level, a.size, error, "at_level")
    ring = ladder.ring(above)
    words = ring.mul_integer(a.components[:, : ladder.limbs(above)], factor)
    return a.replace(components=rescaled(ladder, above, words), level=level, error=error)


def check_fits(ladder: Ladder, level: int, size: float, error: float, function: str) -> None:
    """Refuse values that a level cannot hold: no coefficient is larger than the largest slot.

    Raises:
        ValueError: they may reach half the modulus over the scale.
    """
    modulus, scale = ladder.ring(level).modulus, ladder.scale(level)
    if not (math.isfinite(size) and 2 * (Fraction(size) + Fraction(error)) * scale < modulus):
        most = float(modulus / scale / 2)
        raise RangeError(
            f"Ciphertext.{function}: level {level} holds values below {most:.6g} in size, and the "
            f"result may reach {size:.6g}; scale the operands down"
        )


def check_level(a: Ciphertext, function: str) -> None:
    """Refuse a product of a ciphertext that has no level left."""
    if a.level == 0:
        raise ExhaustedLevelError(
            f"Ciphertext.{function}: the operand is at level 0, and a product takes a level; "
            f"the parameters have depth {a.keys.ladder.depth}"
        )


def check_same(a: Ciphertext, b: Ciphertext, function: str) -> None:
    """Refuse ciphertexts of different parameters, keys, devices or lengths."""
    a.keys.check_same(b.keys, f"Ciphertext.{function}")
    if a.n_values != b.n_values:
        raise ArgumentValueError(
            f"Ciphertext.{function}: operands must have one length, got {a.n_values} and "
            f"{b.n_values}"
        )


def _sum(a: Ciphertext, b: Any, name: str) -> Ciphertext:
    """Return a sum or a difference: of components, or of the first alone with a plain operand."""
    if isinstance(b, type(a)):
        a, b = _aligned(a, b, name)
        ring = a.keys.ladder.ring(a.level)
        components = getattr(ring, name)(a.components, b.components)
        span, size, error, is_real = max(a.span, b.span), b.size, b.error, b.is_real
        leftovers = a.leftovers or b.leftovers
    else:
        values, size, is_real = _plain(a, b, name)
        if values.ndim == 0 and a.n_values < a.keys.ladder.ring_degree // 2:
            values = np.broadcast_to(values, a.n_values)  # slots behind the vector stay zero
        error = _encoding_error(a, values, size)
        check_fits(a.keys.ladder, a.level, a.size + size, a.error + error, name)
        ring = a.keys.ladder.ring(a.level)
        first = getattr(ring, name)(a.components[0], _encoded(a, values))
        components = a.keys.ladder.backend.xp.stack((first, a.components[1]))
        span, leftovers = max(a.span, a.n_values), a.leftovers
    size, error = a.size + size, noise.addition(a.error, error)
    check_fits(a.keys.ladder, a.level, size, error, name)
    return a.replace(
        components=components,
        span=span,
        is_real=a.is_real and is_real,
        size=size,
        error=error,
        leftovers=leftovers,
    )


def _product(a: Ciphertext, b: Ciphertext) -> Ciphertext:
    """Return the product of two at one level: relinearised and rescaled together."""
    check_level(a, "mul")
    ladder, level = a.keys.ladder, a.level
    size = a.size * b.size
    error = noise.multiplication(a.size, a.error, b.size, b.error, ladder.chain, level)
    check_fits(ladder, level - 1, size, error, "mul")
    ring, xp = ladder.ring(level), ladder.backend.xp
    (a0, a1), (b0, b1) = a.components, b.components
    ends = ring.mul(a.components, b.components)
    left, right = xp.stack((a0, a1))[:, None], xp.stack((b1, b0))[:, None]
    middle = ring.dot(left, right)[0]
    terms = xp.concatenate((ends[:1], middle, ends[1:]))
    return a.replace(
        components=relinearise(ladder, level, terms, a.keys.relin),
        level=level - 1,
        span=min(a.span, b.span),
        size=size,
        error=error,
        is_real=a.is_real and b.is_real,
        leftovers=min(a.span, b.span) > a.n_values and (a.leftovers or b.leftovers),
    )


def _plain_product(a: Ciphertext, values: Array, size: float, is_real: bool) -> Ciphertext:
    check_level(a, "mul")
    ladder, level = a.keys.ladder, a.level
    rounding, total = _encoding_error(a, values, size), a.size * size
    error = noise.plain_multiplication(a.size, a.error, size, rounding, ladder.chain, level)
    check_fits(ladder, level - 1, total, error, "mul")
    words = _encoded(a, values)
    product = ladder.ring(level).mul(a.components, words)
    return a.replace(
        components=rescaled(ladder, level, product),
        level=level - 1,
        span=min(a.span, a.n_values) if values.ndim else a.span,
        size=total,
        error=error,
        is_real=a.is_real and is_real,
        leftovers=a.leftovers and not values.ndim,
    )


def _integer_product(a: Ciphertext, factor: int) -> Ciphertext:
    """Return a small multiple, exactly and at the same level."""
    size, error = a.size * abs(factor), a.error * max(1, abs(factor))
    check_fits(a.keys.ladder, a.level, size, error, "mul")
    ring = a.keys.ladder.ring(a.level)
    return a.replace(components=ring.mul_integer(a.components, factor), size=size, error=error)


def _aligned(a: Ciphertext, b: Ciphertext, name: str) -> tuple[Ciphertext, Ciphertext]:
    """Return two ciphertexts that belong together at the lower one's level."""
    check_same(a, b, name)
    if name == "mul":
        check_level(min(a, b, key=lambda each: each.level), name)
    level = min(a.level, b.level)
    return at_level(a, level), at_level(b, level)


def rescaled(ladder: Ladder, level: int, words: Array) -> Array:
    """Return polynomials at a level, divided by its primes."""
    count = len(ladder.chain.levels[level - 1])
    return ladder.ring(level).mod_down(words, count, values=True)


def _plain(a: Ciphertext, value: Any, name: str) -> tuple[Array, float, bool]:
    """Check a plain operand: a number, or as many as a has.

    Returns:
        The values as an array (n,) or (), the size of the largest, and whether they are real.
    """
    values = np.asarray(to_host(value)) if not isinstance(value, str) else np.asarray(None)
    if values.dtype.kind not in "biufc":
        raise ArgumentTypeError(
            f"Ciphertext.{name}: the operand must be a Ciphertext, a number or numbers, got "
            f"{type(value).__name__}"
        )
    if not np.isfinite(values).all():
        raise RangeError(f"Ciphertext.{name}: the operand must be finite, got NaN or infinity")
    if values.shape not in ((), (a.n_values,)):
        raise ArgumentValueError(
            f"Ciphertext.{name}: the operand must be a number or of shape ({a.n_values},), got "
            f"{values.shape}"
        )
    return values, float(np.abs(values).max(initial=0.0)), values.dtype.kind != "c"


def _encoded(a: Ciphertext, values: Array) -> Array:
    """Return plain values at a's level and scale, as values of the ring."""
    ladder = a.keys.ladder
    ring, scale = ladder.ring(a.level), ladder.scale(a.level)
    words = encode(values, scale, ring) if values.ndim else encode_constant(values, scale, ring)
    return ring.ntt(words)


def _encoding_error(a: Ciphertext, values: Array, size: float) -> float:
    if values.ndim:
        return noise.encoding(size, a.scale, a.keys.ladder.ring_degree)
    return noise.encoding_constant(size, a.scale)
