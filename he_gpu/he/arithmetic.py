"""Sums, products and levels of ciphertexts.

Layer: he, beneath `ciphertext`. Every result stands at the exact scale of its level: a product at
level l has the scale's square and is divided by the level's primes at once.
Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017; Kim, Papadimitriou, Polyakov, CT-RSA 2022, section 3
(levels brought together by a multiplication with an integer near a ratio of scales).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ExhaustedLevelError,
    RangeError,
)
from he_gpu.he import noise
from he_gpu.he.encoding import ENCODINGS, encode_constant, reach
from he_gpu.he.key_switch import relinearise
from he_gpu.he.ladder import Ladder
from he_gpu.he.operands import as_integer, as_numbers

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
    """Return the product slot by slot, a level lower but for one with an integer."""
    if isinstance(b, type(a)):
        return _product(*_aligned(a, b, "mul"))
    factor = as_integer(b)
    if factor is not None:
        return _integer_product(a, factor)
    return _plain_product(a, _plain(a, b, "mul"))


def truediv(a: Ciphertext, b: Any) -> Ciphertext:
    """Return ``a / b``: the product with 1 / b, a level lower; b is a number or numbers."""
    if isinstance(b, type(a)):
        raise ArgumentTypeError(
            "Ciphertext.truediv: the divisor is a Ciphertext, and only numbers divide; "
            "chebyshev() can stand for 1 / x in an interval"
        )
    divisor = _plain(a, b, "truediv")
    if divisor.ndim:
        check_slots(a, "truediv")
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        inverse = np.asarray(1 / divisor)
    if not np.isfinite(inverse).all():
        raise RangeError("Ciphertext.truediv: the divisor must not be 0, nor that close to it")
    return _plain_product(a, inverse)


def power(a: Ciphertext, exponent: Any) -> Ciphertext:
    """Return ``a ** exponent``, log2(exponent) levels lower, rounded up."""
    wanted = as_integer(exponent)
    if wanted is None:
        raise ArgumentTypeError(
            f"Ciphertext.pow: the exponent must be an integer, got {type(exponent).__name__}"
        )
    if wanted < 1:
        raise ArgumentValueError(f"Ciphertext.pow: the exponent must be at least 1, got {wanted}")
    levels = (wanted - 1).bit_length()
    if levels > a.level:
        raise ExhaustedLevelError(
            f"Ciphertext.pow: this power takes {levels} levels, and the operand is at level "
            f"{a.level}"
        )
    squares = [a]
    while len(squares) < wanted.bit_length():
        squares.append(mul(squares[-1], squares[-1]))
    factors = [square for bit, square in enumerate(squares) if wanted >> bit & 1]
    return reduce(mul, factors)  # the lowest first, which takes the fewest levels


def at_level(a: Ciphertext, level: int) -> Ciphertext:
    """Return the same values at a level not above a's.

    The limbs between are dropped, and a multiplication with an integer k and one rescaling take the
    scale S to S k / P, which is that of the level but for a part in 2 k.
    """
    wanted = as_integer(level)
    if wanted is None:
        raise ArgumentTypeError(
            f"Ciphertext.at_level: level must be an integer, got {type(level).__name__}"
        )
    level = wanted
    if not 0 <= level <= a.level:
        raise ArgumentValueError(
            f"Ciphertext.at_level: level must be in [0, {a.level}], got {level}"
        )
    if level == a.level:
        return a
    ladder, above = a.keys.ladder, level + 1
    factor = noise.alignment_factor(ladder.chain, a.level, level)
    error = noise.alignment(a.size, a.error, ladder.chain, a.level, level)
    check_fits(ladder, level, a.size, error, "Ciphertext.at_level")
    ring = ladder.ring(above)
    words = ring.mul_integer(a.components[:, : ladder.limbs(above)], factor)
    return a.replace(components=rescaled(ladder, above, words), level=level, error=error)


def fits(ladder: Ladder, level: int, size: float) -> bool:
    """Return whether a level holds values of a size: no coefficient is larger than a slot."""
    return math.isfinite(size) and Fraction(size) < _most(ladder, level)


def check_fits(ladder: Ladder, level: int, size: float, error: float, function: str) -> None:
    """Refuse values that a level cannot hold.

    Raises:
        ValueError: with their error they may reach half the modulus over the scale.
    """
    if not fits(ladder, level, size + error):
        most = float(_most(ladder, level))
        raise RangeError(
            f"{function}: level {level} holds values below {most:.6g} in size, and the result may "
            f"reach {size + error:.6g}; scale the numbers down, or take more depth, as higher "
            "levels hold more"
        )


def _most(ladder: Ladder, level: int) -> Fraction:
    return reach(ladder.ring(level).modulus, ladder.scale(level))


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
    if a.packing != b.packing:
        raise ArgumentValueError(
            f"Ciphertext.{function}: operands must have one packing, got {a.packing!r} and "
            f"{b.packing!r}"
        )


def check_slots(a: Ciphertext, function: str) -> None:
    """Refuse a polynomial where slots are meant."""
    if a.packing != "slots":
        raise ArgumentValueError(
            f"Ciphertext.{function}: the operand is packed in coefficients, and this works on "
            "slots; encrypt with packing='slots'"
        )


def _sum(a: Ciphertext, b: Any, name: str) -> Ciphertext:
    """Return a sum or a difference: of components, or of the first alone with a plain operand."""
    if not isinstance(b, type(a)):
        return _plain_sum(a, _plain(a, b, name), name)
    a, b = _aligned(a, b, name)
    ladder, size, error = a.keys.ladder, a.size + b.size, noise.addition(a.error, b.error)
    check_fits(ladder, a.level, size, error, f"Ciphertext.{name}")
    return a.replace(
        components=getattr(ladder.ring(a.level), name)(a.components, b.components),
        span=max(a.span, b.span),
        is_real=a.is_real and b.is_real,
        size=size,
        error=error,
        leftovers=a.leftovers or b.leftovers,
    )


def _plain_sum(a: Ciphertext, values: Array, name: str) -> Ciphertext:
    ladder = a.keys.ladder
    if values.ndim == 0 and a.n_values < ladder.ring_degree // 2:
        values = np.broadcast_to(values, a.n_values)  # slots behind the vector stay zero
    size = a.size + _largest(a, values)
    error = noise.addition(a.error, _encoding_error(a, values))
    check_fits(ladder, a.level, size, error, f"Ciphertext.{name}")
    first = getattr(ladder.ring(a.level), name)(a.components[0], _encoded(a, values))
    return a.replace(
        components=ladder.backend.xp.stack((first, a.components[1])),
        span=max(a.span, a.n_values),
        is_real=a.is_real and not np.iscomplexobj(values),
        size=size,
        error=error,
    )


def _product(a: Ciphertext, b: Ciphertext) -> Ciphertext:
    """Return the product of two at one level: relinearised and rescaled together."""
    check_level(a, "mul")
    ladder, level = a.keys.ladder, a.level
    size = a.size * b.size
    error = noise.multiplication(a.size, a.error, b.size, b.error, ladder.chain, level)
    check_fits(ladder, level - 1, size, error, "Ciphertext.mul")
    terms = ladder.ring(level).tensor(a.components[None], b.components[None])
    return a.replace(
        components=relinearise(ladder, level, terms, a.keys.relin),
        level=level - 1,
        span=min(a.span, b.span),
        size=size,
        error=error,
        is_real=a.is_real and b.is_real,
        leftovers=min(a.span, b.span) > a.n_values and (a.leftovers or b.leftovers),
    )


def _plain_product(a: Ciphertext, values: Array) -> Ciphertext:
    check_level(a, "mul")
    ladder, level, largest = a.keys.ladder, a.level, _largest(a, values)
    rounding, size = _encoding_error(a, values), a.size * largest
    error = noise.plain_multiplication(a.size, a.error, largest, rounding, ladder.chain, level)
    check_fits(ladder, level - 1, size, error, "Ciphertext.mul")
    product = ladder.ring(level).mul(a.components, _encoded(a, values))
    return a.replace(
        components=rescaled(ladder, level, product),
        level=level - 1,
        span=min(a.span, a.n_values) if values.ndim else a.span,
        size=size,
        error=error,
        is_real=a.is_real and not np.iscomplexobj(values),
        leftovers=a.leftovers and not values.ndim,
    )


def _integer_product(a: Ciphertext, factor: int) -> Ciphertext:
    """Return a multiple, exactly and at the same level."""
    largest = float(min(abs(factor), 2**1023))  # more fits no level, but for 0
    size, error = a.size * largest, a.error * max(1.0, largest)
    check_fits(a.keys.ladder, a.level, size, error, "Ciphertext.mul")
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


def _plain(a: Ciphertext, value: Any, name: str) -> Array:
    """Return a plain operand, (n_values,) or () float64 or complex128, finite.

    Coefficients are real, and may be fewer.
    """
    integer = as_integer(value)
    if integer is not None:  # NumPy would keep a large one as an object
        value = float(integer) if abs(integer) < 2**1023 else math.inf
    name = f"Ciphertext.{name}: the operand"
    values = as_numbers(value, name, "a Ciphertext, a number or numbers")
    if a.packing == "coefficients":
        if np.iscomplexobj(values):
            raise ArgumentTypeError(
                f"{name} must be real, as coefficients are, got complex numbers"
            )
        if values.ndim == 1 and 1 <= len(values) <= a.n_values:
            return values
    if values.shape not in ((), (a.n_values,)):
        raise ArgumentValueError(
            f"{name} must be a number or of shape ({a.n_values},), got {values.shape}"
        )
    return values


def _largest(a: Ciphertext, values: Array) -> float:
    """Return a bound on the slots that a plain operand gives."""
    with np.errstate(over="ignore"):  # of complex numbers
        sizes = np.abs(values)
        return float(sizes.max() if a.packing == "slots" else sizes.sum())


def _encoded(a: Ciphertext, values: Array) -> Array:
    """Return plain values at a's level and scale, as values of the ring."""
    ladder = a.keys.ladder
    ring, scale = ladder.ring(a.level), ladder.scale(a.level)
    encoded = ENCODINGS[a.packing] if values.ndim else encode_constant
    return ring.ntt(encoded(values, scale, ring))


def _encoding_error(a: Ciphertext, values: Array) -> float:
    largest = _largest(a, values)
    if not largest:
        return 0.0  # zeros are encoded exactly: Python's sum() begins with one
    if values.ndim:
        return noise.encoding(largest, a.scale, a.keys.ladder.ring_degree)
    return noise.encoding_constant(largest, a.scale)
