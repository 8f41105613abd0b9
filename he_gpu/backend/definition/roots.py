"""Roots of unity modulo word-size primes, and the order in which a transform writes its values.

Layer: backend. A limb is a residue modulo a prime q = 1 mod 2N with 2N < q < 2^27; every device
takes the root of unity from here, so that all write the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from he_gpu.backend.definition.words import Array
from he_gpu.errors import ArgumentValueError

MODULUS_BITS = 27
"""Bits of a limb: q < 2^27. A sum of 16 unreduced products of a butterfly stays below 2^32 in a
kernel, and the product of centred residues below 2^52 is exact in float64."""
MIN_LOG_DEGREE, MAX_LOG_DEGREE = 4, 16


@lru_cache(maxsize=4096)
def primitive_root(modulus: int, order: int) -> int:
    """Return a primitive root of unity of an order that is a power of two.

    It is g^((q - 1) / order) for the smallest g = 2, 3, 5, 6, ... that gives one.

    Raises:
        ArgumentValueError: modulus is not 1 modulo the order, or has no such root among the first
            g, as a prime would.
    """
    if order < 2 or order & (order - 1) or modulus % order != 1:
        raise ArgumentValueError(
            f"primitive_root: modulus must be 1 modulo the order, a power of two, got {modulus} "
            f"and {order}"
        )
    for base in range(2, 1000):
        root = pow(base, (modulus - 1) // order, modulus)
        if pow(root, order // 2, modulus) == modulus - 1:
            return root
    raise ArgumentValueError(f"primitive_root: modulus must be a prime, got {modulus}")


def powers(base: int, count: int, modulus: int) -> Array:
    """Return base^0, base^1, ... modulo a number below 2^32, as uint64."""
    result = np.ones(count, np.uint64)
    done = 1
    while done < count:
        step = min(done, count - done)
        factor = np.uint64(pow(base, done, modulus))
        result[done : done + step] = result[:step] * factor % np.uint64(modulus)
        done += step
    return result


@lru_cache(maxsize=64)
def bit_reversal(n: int) -> Array:
    """Return the numbers below a power of two with their log2(n) bits in reverse, as int64."""
    order = np.zeros(1, np.int64)
    while len(order) < n:
        order = np.concatenate((2 * order, 2 * order + 1))
    order.flags.writeable = False
    return order


def check_limbs(function: str, shape: tuple[int, ...], moduli: Sequence[int]) -> tuple[int, ...]:
    """Return the moduli of words of a shape (..., limbs, N), or refuse them.

    Raises:
        ArgumentValueError: N is no power of two in [16, 65536]; not one modulus for each limb; a
            modulus that is not 1 modulo 2N or not below 2^27.
    """
    if len(shape) < 2 or shape[-2] != len(moduli) or not moduli:
        raise ArgumentValueError(
            f"{function}: x must have shape (..., {len(moduli)} limbs, N), got {shape}"
        )
    check_moduli(function, shape[-1], tuple(moduli))
    return tuple(moduli)


@lru_cache(maxsize=1024)
def check_moduli(function: str, degree: int, moduli: tuple[int, ...]) -> None:
    """Refuse a ring degree and moduli that `check_limbs` refuses."""
    log = degree.bit_length() - 1
    if degree != 1 << max(log, 0) or not MIN_LOG_DEGREE <= log <= MAX_LOG_DEGREE:
        raise ArgumentValueError(
            f"{function}: N must be a power of two in [{2**MIN_LOG_DEGREE}, {2**MAX_LOG_DEGREE}], "
            f"got {degree}"
        )
    for modulus in moduli:
        if modulus % (2 * degree) != 1 or not 1 < modulus < 2**MODULUS_BITS:
            raise ArgumentValueError(
                f"{function}: moduli must be 1 modulo 2 N = {2 * degree} and below "
                f"2^{MODULUS_BITS}, got {modulus}"
            )
