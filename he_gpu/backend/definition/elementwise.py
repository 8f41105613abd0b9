"""Elementwise arithmetic modulo 2^64, 2^32 or any 2 <= q <= 2^63, on NumPy arrays.

Layer: backend; the definition of ``kernels/elementwise.cu``. Operands broadcast as in NumPy,
lie in [0, q) and have the ring's word (`words.word_dtype`); results too.
Source of the reduction: Moeller and Granlund 2011, algorithm 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from he_gpu.backend.definition.memory import empty, room_for
from he_gpu.backend.definition.words import RING_32, Array, reciprocal, wraps

SMALL = 2**14
"""Words of an operand from which on a sum takes pooled memory."""
BLOCK = 2**13
"""Words of a row that a sum of many terms takes at a time, so that they stay in cache."""
_LOW_HALF = np.uint64(2**32 - 1)
_HALF_BITS = np.uint64(32)
_ONE = np.uint64(1)


def add(a: Array, b: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(a + b) mod modulus``."""
    if wraps(modulus):
        if out is None and a.size > SMALL:
            out = room_for(a, b)
        return np.add(a, b, out=out)
    total = np.add(a, b, out=room_for(a, b))  # below 2^64, because both are below 2^63
    room = room_for(total, total)
    less = np.subtract(total, np.uint64(modulus), out=room)
    return np.minimum(total, less, out=room if out is None else out)


def sub(a: Array, b: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(a - b) mod modulus``."""
    if wraps(modulus):
        if out is None and a.size > SMALL:
            out = room_for(a, b)
        return np.subtract(a, b, out=out)
    difference = np.subtract(a, b, out=room_for(a, b))  # a negative one wraps to above 2^63
    room = room_for(difference, difference)
    more = np.add(difference, np.uint64(modulus), out=room)
    return np.minimum(difference, more, out=room if out is None else out)


def neg(a: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(-a) mod modulus``."""
    if wraps(modulus):
        return np.negative(a, out=room_for(a, a) if out is None else out)
    return np.multiply(np.subtract(np.uint64(modulus), a), np.not_equal(a, 0), out=out)


def mul(a: Array, b: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(a * b) mod modulus``."""
    if wraps(modulus):
        return np.multiply(a, b, out=room_for(a, b) if out is None else out)
    if modulus <= RING_32:
        room = room_for(a, b)
        product = np.multiply(a, b, out=room)
        return np.remainder(product, np.uint64(modulus), out=room if out is None else out)
    return reduce_wide(*wide_product(a, b), modulus, out=out)


def weighted_sum(stacks: Sequence[Array], weights: Sequence[int], modulus: int) -> Array:
    """Return ``sum(weight * stack)`` modulo 2^64 or 2^32, for one or more stacks of equal shape.

    Args:
        stacks: words of the ring, each of shape (*shape).
        weights: an integer for each.
        modulus: 2^64 or 2^32.
    """
    first = stacks[0]
    result = empty(first.shape, first.dtype)
    words = [first.dtype.type(weight % modulus) for weight in weights]
    rows = len(first) if first.ndim > 1 else 1  # so that a row keeps its place where rows do not
    flat = result.reshape(rows, -1)
    views = [stack.reshape(rows, -1) for stack in stacks]
    term = np.empty((rows, min(BLOCK, flat.shape[1])), first.dtype)
    for start in range(0, flat.shape[1], BLOCK):
        part = flat[:, start : start + BLOCK]
        room = term[:, : part.shape[1]]
        np.multiply(views[0][:, start : start + BLOCK], words[0], out=part)
        for view, word in zip(views[1:], words[1:], strict=True):
            np.multiply(view[:, start : start + BLOCK], word, out=room)
            np.add(part, room, out=part)
    return result


def wide_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the high and the low 64-bit word of the 128-bit products ``a * b``."""
    a_low, a_high = np.bitwise_and(a, _LOW_HALF), np.right_shift(a, _HALF_BITS)
    b_low, b_high = np.bitwise_and(b, _LOW_HALF), np.right_shift(b, _HALF_BITS)
    # Ufuncs throughout, because NumPy's operators warn where a 0-d operand wraps.
    low = np.multiply(a_low, b_low)
    middle = np.add(np.multiply(a_high, b_low), np.right_shift(low, _HALF_BITS))
    cross = np.add(np.multiply(a_low, b_high), np.bitwise_and(middle, _LOW_HALF))
    high = np.add(np.multiply(a_high, b_high), np.right_shift(middle, _HALF_BITS))
    return np.add(high, np.right_shift(cross, _HALF_BITS)), np.multiply(a, b)


def reduce_wide(high: Array, low: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(high * 2^64 + low) mod modulus`` for high < modulus <= 2^63."""
    if modulus <= 2**32:  # high times what 2^64 leaves, plus what low leaves, is below 2^64
        q, fold = np.uint64(modulus), np.uint64(2**64 % modulus)
        return np.remainder(np.add(np.multiply(high, fold), np.remainder(low, q)), q, out=out)
    constants = reciprocal(modulus)
    shift, divisor = np.uint64(constants.shift), np.uint64(constants.divisor)
    # Two steps move low's top bits up, because the shift is 0 for q = 2^63 and 64 is no shift.
    carried = np.right_shift(np.right_shift(low, _ONE), np.uint64(63) - shift)
    upper = np.bitwise_or(np.left_shift(high, shift), carried)
    lower = np.left_shift(low, shift)
    quotient, fraction = wide_product(upper, np.uint64(constants.inverse))
    fraction = np.add(fraction, lower)
    quotient = np.add(np.add(quotient, upper), np.add(np.less(fraction, lower), _ONE))
    rest = np.subtract(lower, np.multiply(quotient, divisor))
    rest = np.where(np.greater(rest, fraction), np.add(rest, divisor), rest)
    rest = np.where(np.greater_equal(rest, divisor), np.subtract(rest, divisor), rest)
    return np.right_shift(rest, shift, out=out)
