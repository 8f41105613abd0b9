"""Primes for the limbs of a polynomial: q = 1 mod 2N, near a wanted size, none of them twice.

Layer: ring. Knows numbers alone, no array and no device.
Source of the bases: Sorenson and Webster 2017.
"""

from __future__ import annotations

from collections.abc import Collection

from he_gpu.backend.definition.roots import (
    MAX_LOG_DEGREE,
    MIN_LOG_DEGREE,
    MODULUS_BITS,
    primitive_root,
)
from he_gpu.errors import ArgumentValueError

LARGEST = 3_317_044_064_679_887_385_961_980
"""The largest number that `is_prime` decides."""
_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)


def is_prime(n: int) -> bool:
    """Tell whether n is a prime, for certain.

    Args:
        n: at most `LARGEST`, which is above 2^81.

    Raises:
        ArgumentValueError: n is larger.

    Source: the strong tests to the bases 2, 3, ..., 41 have no common liar up to that size.
    """
    if n > LARGEST:
        raise ArgumentValueError(f"is_prime: n must be at most {LARGEST}, got {n}")
    if n < 2:
        return False
    for base in _BASES:
        if n % base == 0:
            return n == base
    twos = (n - 1 & 1 - n).bit_length() - 1
    return all(_passes(n, base, twos) for base in _BASES)


def _passes(n: int, base: int, twos: int) -> bool:
    """Tell whether n, where n - 1 is an odd number times 2^twos, passes the strong test."""
    x = pow(base, n - 1 >> twos, n)
    if x in (1, n - 1):
        return True
    for _ in range(twos - 1):
        x = x * x % n
        if x == n - 1:
            return True
    return False


def ntt_primes(
    ring_degree: int, near: float, count: int, exclude: Collection[int] = ()
) -> tuple[int, ...]:
    """Return the primes q = 1 mod 2N nearest to a number, nearest first.

    Args:
        ring_degree: N, a power of two in [16, 65536].
        near: what the primes should be close to; 2^27 gives the largest that there are.
        count: how many.
        exclude: primes that a chain has already.

    Raises:
        ArgumentValueError: ring_degree or count out of range, or so many primes do not exist
            between 2N and 2^27.

    Example:
        >>> ntt_primes(4096, 2**20, 3)
        (1032193, 1073153, 1097729)
    """
    _check_degree("ntt_primes", ring_degree)
    if count < 0:
        raise ArgumentValueError(f"ntt_primes: count must be at least 0, got {count}")
    step, last = 2 * ring_degree, (2**MODULUS_BITS - 2) // (2 * ring_degree)
    below = min(max(int(near - 1) // step, 0), last)
    above = below + 1
    found: list[int] = []
    while len(found) < count:
        if below < 1 and above > last:
            raise ArgumentValueError(
                f"ntt_primes: {count} primes that are 1 modulo {step} and below 2^{MODULUS_BITS} "
                f"do not exist beside the {len(exclude)} excluded, got {len(found)}"
            )
        low, high = step * below + 1, step * above + 1
        if above > last or (below >= 1 and near - low <= high - near):
            candidate, below = low, below - 1
        else:
            candidate, above = high, above + 1
        if candidate not in exclude and is_prime(candidate):
            found.append(candidate)
    return tuple(found)


def root_of_unity(modulus: int, ring_degree: int) -> int:
    """Return psi, the primitive root of unity of order 2N that transforms modulo a prime use.

    Raises:
        ArgumentValueError: ring_degree out of range, or modulus is no prime that is 1 modulo 2N.
    """
    _check_degree("root_of_unity", ring_degree)
    if not is_prime(modulus):
        raise ArgumentValueError(f"root_of_unity: modulus must be a prime, got {modulus}")
    return primitive_root(modulus, 2 * ring_degree)


def _check_degree(function: str, degree: int) -> None:
    if degree not in [1 << log for log in range(MIN_LOG_DEGREE, MAX_LOG_DEGREE + 1)]:
        raise ArgumentValueError(
            f"{function}: ring_degree must be a power of two in [{2**MIN_LOG_DEGREE}, "
            f"{2**MAX_LOG_DEGREE}], got {degree}"
        )
