"""Reals as integers: fixed-point encoding with range checks, and public factors.

Layer: ring. A real x stands for round(x * 2^frac_bits), kept modulo 2^64 or 2^32 as a signed word.
Sharing keeps |x| < 2^(k - 2 - 2 frac_bits), k the word's bits: such a number still fits at the
scale 2^(2 frac_bits) that a product has before its truncation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend import Array, to_host, word_dtype
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError

FACTOR_BITS = {64: 24, 32: 12}
"""Significant bits of a public real factor, by the word's bits."""
_SIGNED = {64: np.int64, 32: np.int32}


def word_bits(modulus: int) -> int:
    """Return k of Z_2^k."""
    return modulus.bit_length() - 1


def check_frac_bits(frac_bits: Any, modulus: int, function: str) -> int:
    """Return frac_bits, or refuse what leaves no range for a product.

    Raises:
        ArgumentTypeError: not an integer.
        ArgumentValueError: not 0 <= 2 frac_bits < k - 2.
    """
    if isinstance(frac_bits, bool) or not isinstance(frac_bits, int | np.integer):
        raise ArgumentTypeError(
            f"{function}: frac_bits must be an integer, got {type(frac_bits).__name__}"
        )
    largest = (word_bits(modulus) - 3) // 2
    if not 0 <= frac_bits <= largest:
        raise ArgumentValueError(
            f"{function}: frac_bits must be in [0, {largest}] modulo 2**{word_bits(modulus)}, "
            f"got {frac_bits}"
        )
    return int(frac_bits)


def as_reals(values: Any, function: str, argument: str) -> Array:
    """Return finite reals as a float64 ndarray.

    Raises:
        ArgumentTypeError: complex numbers, strings, objects.
        ArgumentValueError: lists of unequal lengths.
        RangeError: NaN, infinity.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ArgumentTypeError(f"{function}: {argument} is a masked array; fill it first")
    try:
        array = np.asarray(to_host(values))
    except ValueError as error:
        raise ArgumentValueError(f"{function}: {argument} is no array ({error})") from None
    if array.dtype == object and all(isinstance(value, int) for value in array.flat):
        try:  # Python ints beyond 64 bits
            array = array.astype(np.float64)
        except OverflowError:
            raise RangeError(f"{function}: {argument} holds an integer beyond float64") from None
    if array.dtype.kind not in "fiub":
        raise ArgumentTypeError(
            f"{function}: {argument} must hold real numbers, got "
            f"{type(values).__name__} of dtype {array.dtype}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)].flat[0]
        raise RangeError(f"{function}: {argument} must be finite, got {bad}")
    return array


def encode(
    reals: Array, frac_bits: int, limit_bits: int, modulus: int, function: str, argument: str
) -> Array:
    """Return finite reals as words, rounded to nearest.

    Args:
        reals: from `as_reals`.
        frac_bits: fraction bits of the encoding.
        limit_bits: |reals| must stay below 2**limit_bits.
        modulus: 2**64 or 2**32.
        function: name for the message.
        argument: name for the message.

    Raises:
        RangeError: a number at or beyond the limit; the message names both.
    """
    largest = float(np.abs(reals).max(initial=0.0))
    if largest >= 2.0**limit_bits:
        raise RangeError(
            f"{function}: {argument} must satisfy |x| < 2**{limit_bits} with {frac_bits} fraction "
            f"bits modulo 2**{word_bits(modulus)}, got {largest:g}"
        )
    signed = np.rint(np.ldexp(reals, frac_bits)).astype(_SIGNED[word_bits(modulus)])
    return signed.view(word_dtype(modulus))


def decode(words: Array, frac_bits: int, modulus: int) -> Array:
    """Return signed words as float64 reals, exact up to 53 significant bits."""
    signed = np.asarray(words).view(_SIGNED[word_bits(modulus)])
    return np.ldexp(signed.astype(np.float64), -frac_bits)


class Factor(NamedTuple):
    """A public real factor: the reals are ``mantissa / 2**shift``.

    Attributes:
        mantissa: words of signed integers.
        shift: fraction bits of the factor, 0 for integers.
        largest: the largest |mantissa|.
    """

    mantissa: Array
    shift: int
    largest: int


def encode_factor(reals: Array, modulus: int, function: str) -> Factor:
    """Encode public factors with an exponent of their own.

    Integers are kept exact. Otherwise the largest factor gets 24 significant bits (12 modulo
    2**32), the others the same exponent, and common trailing zeros are dropped; factors so small
    that the exponent would pass k - 3 keep fewer bits, as a product cannot show more.

    Raises:
        RangeError: an integer factor of 2**(k-2) or more, or a real one of 2**53 or more.
    """
    k = word_bits(modulus)
    largest = float(np.abs(reals).max(initial=0.0))
    if largest >= 2.0 ** min(k - 2, 53):
        raise RangeError(
            f"{function}: a public factor must satisfy |x| < 2**{min(k - 2, 53)}, got {largest:g}"
        )
    if largest == 0.0 or np.array_equal(reals, np.rint(reals)):
        shift = 0
    else:
        exponent = int(np.frexp(largest)[1])
        shift = min(max(FACTOR_BITS[k] - exponent, 0), k - 3)
    signed = np.rint(np.ldexp(reals, shift)).astype(np.int64)
    bits = int(np.bitwise_or.reduce(signed, axis=None))
    spare = min(shift, (bits & -bits).bit_length() - 1) if bits else shift
    signed = np.asarray(signed >> spare)
    words = signed.astype(_SIGNED[k]).view(word_dtype(modulus))
    return Factor(words, shift - spare, int(np.abs(signed).max(initial=0)))
