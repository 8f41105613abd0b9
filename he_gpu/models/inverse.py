"""The inverse of a secret positive definite matrix, by matrix products alone.

Layer: models, above tensor. The steps, their number and their factors follow from public bounds of
the eigenvalues; nothing is compared, divided or revealed.
Sources: Schulz 1933 and Ben-Israel 1965 for the iteration; Pan and Schreiber, SIAM J. Sci. Stat.
Comput. 1991, section 2, for the factors.
"""

from __future__ import annotations

from math import ceil, floor, log2

import numpy as np

from he_gpu.errors import ArgumentValueError
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.contraction import multiplied

_OPERAND_BITS = 40
"""Most fraction bits of A over a power of two: with a public factor of 17 bits below 2**58."""
_FACTOR_BITS = 4
"""Fraction bits of the public factors, which are integers over 16."""
_PRODUCT_BITS = 61
"""Products stay below this power of two: half of the range before a truncation."""


def spd_inverse(A: SecretTensor, low: float, high: float, error: float = 2.0**-8) -> SecretTensor:
    """Return X close to the inverse of A, as preconditioners need it.

    Start with X = c and repeat X <- m (2 - X A) X. An eigenvalue x of X A becomes m x (2 - x); the
    public factor m keeps the largest one as far below 2 as the smallest is above 0. So the smallest
    grows fourfold in a step, where m = 1 would double it, and near 1 distances from 1 are squared.

    Args:
        A: symmetric positive definite, (d, d).
        low: a bound below A's eigenvalues.
        high: a bound above them, such as that of the trace; at most 2**32 times low,
            and 2**20.
        error: bound of the distance of X A's eigenvalues from 1, in [2**-12, 1/2].

    Returns:
        X, (d, d), not exactly symmetric, with the fraction bits that the bounds leave room for.

    Raises:
        ValueError: no square matrix; bounds out of order, too far apart or too large; a session
            modulo 2**32.

    Range: eigenvalues from low to high. Nothing is checked; beyond, the result is wrong.
    Error: of eigenvalues of X A, `error`, and roundings: with 2**m the ratio of the bounds, both
        taken to the next power of two, products are truncated to units u = 2**-((55 - m) // 2) of
        X high and of X A. For m = 25 and random matrices |1 - X A| came to 4e-3 for d = 30 and to
        1e-2 for d = 100.
    Cost: one truncation and log4(high / low) + 2 or 3 steps of two products each, 4 rounds; each
        step opens X once, 2 - X A once, and truncates both products.
    Leaks: nothing.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     X = spd_inverse(s.share([[2.0, 1.0], [1.0, 2.0]]), low=1.0, high=3.0).reveal()
        >>> bool(np.abs(X - [[2 / 3, -1 / 3], [-1 / 3, 2 / 3]]).max() < 0.005)
        True
    """
    session = A.session
    session.check_open("spd_inverse")
    if session.modulus != 2**64:
        raise ArgumentValueError(
            f"spd_inverse: the session's modulus must be 2**64, got {session.modulus}"
        )
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise ArgumentValueError(f"spd_inverse: A must be a square matrix, got shape {A.shape}")
    if not 0 < low <= high <= low * 2.0**32 or high > 2.0**20:
        raise ArgumentValueError(
            "spd_inverse: 0 < low <= high <= 2**32 low and high <= 2**20 expected, got "
            f"{low:g} and {high:g}"
        )
    if not 2.0**-12 <= error <= 0.5:
        raise ArgumentValueError(f"spd_inverse: error must be in [2**-12, 1/2], got {error:g}")
    # The same words with more fraction bits are B = A / 2**scale, whose eigenvalues are below 1.
    scale = ceil(log2(high))
    low, high = low * 2.0**-scale, high * 2.0**-scale
    bits, inner, operand = _bits(low)
    A = A.with_frac_bits(max(0, operand - scale))
    B = SecretTensor(session, A._stack, A.frac_bits + scale).masked()
    start, (first, *rest) = steps(low, high, error)
    unit = np.eye(B.shape[0])
    # The first step needs no product of secrets: m (2 - c B) c.
    X = multiplied("spd_inverse", B, -first * start**2, bits) + 2 * first * start * unit
    for factor in rest:
        X = X.masked()
        Y = 2 * unit - X.matmul(B, frac_bits=inner)
        # The factor is an integer over 2**4, so that it needs no truncation of its own.
        Y = Y * int(factor * 2**_FACTOR_BITS)
        Y = SecretTensor(session, Y._stack, inner + _FACTOR_BITS)
        X = Y.matmul(X, frac_bits=bits)
    return SecretTensor(session, X._stack, bits + scale)


def steps(low: float, high: float, error: float) -> tuple[float, list[float]]:
    """Return c and the factor m of each step, at least one, all of them multiples of 1/16.

    Eigenvalues of X A in [a, b] become those of (2 - X A) X A in [least, 1], where least is that of
    the ends; 2 / (1 + least) would make 1 the middle of their range.
    """
    start = _rounded(2 / (low + high))
    a, b = start * low, start * high
    factors: list[float] = []
    while not factors or max(1 - a, b - 1) > error:
        least = min(a * (2 - a), b * (2 - b))
        factors.append(max(1.0, _rounded(2 / (1 + least))))
        a, b = factors[-1] * least, factors[-1]
    return start, factors


def _rounded(factor: float) -> float:
    return floor(factor * 2.0**_FACTOR_BITS) * 2.0**-_FACTOR_BITS


def _bits(low: float) -> tuple[int, int, int]:
    """Return the fraction bits of X, of X B and of B, for a B of eigenvalues from low to 1.

    X stays below 2 / low and m (2 - X B) below 4, and the latter has `_FACTOR_BITS` more. A unit of
    X makes an error of X B up to a unit, and a unit of X B one too: they get equal shares. B gets
    what X B, below 2, leaves.
    """
    room = _PRODUCT_BITS - _FACTOR_BITS - ceil(log2(1 / low)) - 2
    bits = room // 2
    return bits, room - bits, min(_OPERAND_BITS, _PRODUCT_BITS - 2 - bits)
