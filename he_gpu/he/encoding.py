"""Numbers as polynomials modulo word-size primes, and back: what CKKS encrypts and decrypts.

Layer: he, above ring. Knows a ring and a scale, and no key. Slots go through the canonical
embedding (`embedding.py`); reals become residues by float64 arithmetic that is exact at any scale,
and residues become reals by their mixed-radix digits: no coefficient ever is a Python integer.
Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017, section 3; Knuth, The Art of Computer Programming 2,
section 4.3.2 (mixed radix), here with centred digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.he.embedding import to_coefficients, to_slots
from he_gpu.he.operands import as_numbers
from he_gpu.ring import RnsRing

_CHUNK = 2.0**26
"""A reduced word times this, and as much again, stays exact in float64."""
_WHOLE = 2.0**52
"""Integers up to here are reduced in one step."""
MOST_BITS = 960
"""Of the modulus that decoding looks at: float64 holds no larger coefficients, and `arithmetic`
refuses values that would need more."""


def encode(values: Any, scale: Fraction | float, ring: RnsRing) -> Array:
    """Return the polynomial whose slots are values times a scale, as residues of coefficients.

    Args:
        values: real or complex numbers, (..., n) with n at most N / 2; the other slots are zero.
        scale: what a slot's 1 becomes; any size that leaves the values below Q / 2.
        ring: gives N and the primes.

    Returns:
        (..., limbs, N) words of the ring's device, coefficients.

    Raises:
        TypeError: values that are no numbers.
        ValueError: too many values, NaN or infinity, or values times the scale beyond Q / 2.

    Error: half a unit in each coefficient, so N / (2 scale) in a slot at worst and some
        sqrt(N ln(N) / 12) / scale where fractions are as random; and that of the transform, see
        `embedding.to_coefficients`.
    """
    slots = _padded(as_numbers(values, "encode: values"), ring.ring_degree // 2, "encode")
    with np.errstate(over="ignore", invalid="ignore"):
        coefficients = to_coefficients(slots, ring.ring_degree)
    return _residues(coefficients, slots, scale, ring, "encode")


def encode_coefficients(values: Any, scale: Fraction | float, ring: RnsRing) -> Array:
    """Return the polynomial whose first coefficients are values times a scale.

    A product of two is the negacyclic convolution of their coefficients.

    Args:
        values: real, (..., n) with n at most N; the other coefficients are zero.
        scale: as for `encode`.
        ring: as for `encode`.

    Returns:
        (..., limbs, N) words of the ring's device, coefficients.

    Raises:
        TypeError: values that are no real numbers.
        ValueError: as `encode`.

    Error: half a unit, and 2**-52 of each value.
    """
    numbers = as_numbers(values, "encode_coefficients: values")
    if np.iscomplexobj(numbers):
        raise ArgumentTypeError("encode_coefficients: values must be real, got complex numbers")
    padded = _padded(numbers, ring.ring_degree, "encode_coefficients")
    return _residues(padded, padded, scale, ring, "encode_coefficients")


ENCODINGS = {"slots": encode, "coefficients": encode_coefficients}
"""How a vector becomes a polynomial, by the name of its packing."""


def encode_constant(value: complex, scale: Fraction | float, ring: RnsRing) -> Array:
    """Return the polynomial that has one number in every slot.

    It is the number's real part plus X**(N / 2) times its imaginary part, since X**(N / 2) is i in
    every slot.

    Returns:
        (limbs, N) words of the ring's device, coefficients.

    Raises:
        TypeError: value is no number.
        ValueError: NaN or infinity, or beyond Q / 2.

    Error: half a unit of the scale in each part of a slot.
    """
    parts = as_numbers(value, "encode_constant: value")
    if parts.ndim:
        raise ArgumentTypeError(f"encode_constant: value must be one number, got {parts.shape}")
    _positive(scale, "encode_constant")
    real, imaginary = (constant(float(part), scale) for part in (parts.real, parts.imag))
    if 2 * max(abs(real), abs(imaginary)) >= ring.modulus:
        raise _too_large("encode_constant", float(np.abs(parts)), scale, ring.modulus)
    words = np.zeros((len(ring.moduli), ring.ring_degree), np.uint32)
    words[:, 0] = [real % q for q in ring.moduli]
    words[:, ring.ring_degree // 2] = [imaginary % q for q in ring.moduli]
    return ring.backend.asarray(words)


def constant(value: float, scale: Fraction | float) -> int:
    """Return value times scale, rounded to the nearest integer, exactly."""
    return round(Fraction(value) * Fraction(scale))


def decode(
    residues: Array,
    scale: Fraction | float,
    ring: RnsRing,
    n: int | None = None,
    largest: float | None = None,
) -> Array:
    """Return the slots that a polynomial has at a scale.

    Args:
        residues: (..., limbs, N) words of the ring's device, coefficients.
        scale: of the polynomial.
        ring: gives N and the primes.
        n: how many slots, all where None.
        largest: a bound on the slots' sizes, errors included; only the limbs that it needs are
            looked at. None looks at all.

    Returns:
        complex128 (..., n).

    Raises:
        ValueError: n out of range.

    Error: that of the transform, and some 2**-52 of each coefficient.
    """
    coefficients = _centred(residues, scale, ring, largest)
    return to_slots(coefficients)[..., : _count(n, ring.ring_degree // 2, "decode")]


def decode_coefficients(
    residues: Array,
    scale: Fraction | float,
    ring: RnsRing,
    n: int | None = None,
    largest: float | None = None,
) -> Array:
    """Return the first n coefficients of a polynomial over its scale, float64 (..., n).

    Args and Raises: as `decode`.

    Error: some 2**-52 of each coefficient.
    """
    coefficients = _centred(residues, scale, ring, largest)
    return coefficients[..., : _count(n, ring.ring_degree, "decode_coefficients")]


def limbs_for(bound: float, moduli: Sequence[int]) -> int:
    """Return how many of the first primes tell integers up to a bound apart, at most all."""
    product = 1
    for count, q in enumerate(moduli, 1):
        product *= q
        if product > 4 * bound or product.bit_length() > MOST_BITS:
            return count
    return len(moduli)


def reach(modulus: int, scale: Fraction) -> Fraction:
    """Return the size that no value at a scale may reach, its error included.

    It is half the modulus over the scale, of no more of the modulus than decoding looks at.
    """
    return Fraction(min(modulus, 2 ** (MOST_BITS - 2)), 2) / scale


def _residues(
    coefficients: Array, values: Array, scale: Fraction | float, ring: RnsRing, function: str
) -> Array:
    """Return reals times a scale, rounded, as words (..., limbs, N) of the ring's device.

    They are the coefficients of values, which a refusal names.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are refused here
        scaled = np.rint(coefficients * _positive(scale, function))
    most = float(np.abs(scaled).max(initial=0.0))
    if not 2 * most < ring.modulus:  # exact: Python compares floats with integers as numbers
        with np.errstate(over="ignore"):
            largest = float(np.abs(values).max())
        raise _too_large(function, largest, scale, ring.modulus)
    return ring.backend.asarray(reduced(scaled, most, ring.moduli))


def reduced(integers: Array, most: float, moduli: Sequence[int]) -> Array:
    """Return the residues of integers that stand in float64, exactly.

    Args:
        integers: float64 (..., N) of any size.
        most: the largest size of one.
        moduli: primes below 2**27.

    Returns:
        uint32 (..., limbs, N).
    """
    # An integer is y + 2^26 (y' + 2^26 (...)) with |y| <= 2^25; the last is below 2^52.
    chunks = [integers]
    while most > _WHOLE:
        high = np.rint(chunks[-1] / _CHUNK)
        chunks[-1] = chunks[-1] - high * _CHUNK
        chunks.append(high)
        most /= _CHUNK
    words = np.empty((*integers.shape[:-1], len(moduli), integers.shape[-1]), np.uint32)
    quotient = np.empty_like(integers)
    for limb, q in enumerate(moduli):
        rest = _centre(chunks[-1].copy(), q, quotient)
        for chunk in chunks[-2::-1]:  # |rest| is about 2^26 at most, so the sum is below 2^53
            rest *= _CHUNK
            rest += chunk
            _centre(rest, q, quotient)
        np.less(rest, 0, out=quotient)
        quotient *= q
        rest += quotient
        words[..., limb, :] = rest
    return words


def _centre(x: Array, q: int, quotient: Array) -> Array:
    """Subtract about the nearest multiple of q, |x| < 2**53 - q; at most q / 2 + 2 remains."""
    np.multiply(x, 1 / q, out=quotient)
    np.rint(quotient, out=quotient)
    quotient *= q
    x -= quotient
    return x


def _centred(
    residues: Array, scale: Fraction | float, ring: RnsRing, largest: float | None
) -> Array:
    """Return the coefficients in (-Q/2, Q/2) over the scale, as float64 (..., N).

    With centred digits x = d_0 + q_0 (d_1 + q_1 (d_2 + ...)): the first digit from the top that is
    not zero outweighs the others by two, so the sum loses no bits to cancellation.
    """
    _positive(scale, "decode")
    words = ring.backend.to_numpy(residues)
    bound = math.inf if largest is None else largest * float(scale)
    moduli = ring.moduli[: limbs_for(bound, ring.moduli)]
    digits: list[Array] = []
    quotient = np.empty((*words.shape[:-2], words.shape[-1]))
    total = np.zeros_like(quotient)
    weight = 1 / Fraction(scale)
    for limb, q in enumerate(moduli):
        rest = _centre(words[..., limb, :].astype(np.float64), q, quotient)
        for digit, p in zip(digits, moduli[:limb], strict=True):
            rest -= digit  # below 2^27 in size, and the inverse is below 2^26
            rest *= _inverse(p, q)
            _centre(rest, q, quotient)
        digits.append(rest)
        total += rest * float(weight)
        weight *= q
    return total


def _inverse(p: int, q: int) -> int:
    """Return the inverse of p modulo q that is nearest to zero."""
    inverse = pow(p, -1, q)
    return inverse - q if 2 * inverse > q else inverse


def _padded(numbers: Array, length: int, function: str) -> Array:
    """Return numbers (..., length) with zeros behind those that are there."""
    if numbers.ndim == 0 or numbers.shape[-1] > length:
        raise ArgumentValueError(
            f"{function}: values must have shape (..., n) with n at most {length}, got "
            f"{numbers.shape}"
        )
    if numbers.shape[-1] == length:
        return numbers
    padded = np.zeros((*numbers.shape[:-1], length), numbers.dtype)
    padded[..., : numbers.shape[-1]] = numbers
    return padded


def _positive(scale: Fraction | float, function: str) -> float:
    """Return a scale as float64, or refuse what is none."""
    if isinstance(scale, bool) or not isinstance(scale, Fraction | float | int):
        raise ArgumentTypeError(
            f"{function}: scale must be a Fraction or a number, got {type(scale).__name__}"
        )
    if not 0 < scale <= 2**MOST_BITS:
        raise RangeError(f"{function}: scale must be in (0, 2**{MOST_BITS}], got {scale!s:.40}")
    return float(scale)


def _count(n: int | None, most: int, function: str) -> int:
    if n is None:
        return most
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise ArgumentTypeError(f"{function}: n must be an integer, got {type(n).__name__}")
    if not 0 <= n <= most:
        raise ArgumentValueError(f"{function}: n must be in [0, {most}], got {n}")
    return n


def _too_large(function: str, value: float, scale: Fraction | float, modulus: int) -> RangeError:
    return RangeError(
        f"{function}: values times the scale 2**{math.log2(scale):.1f} must be below half the "
        f"modulus 2**{math.log2(modulus):.1f}, got {value:.6g}"
    )
