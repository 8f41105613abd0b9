"""The negacyclic number-theoretic transform modulo word-size primes, on NumPy arrays.

Layer: backend; the definition of ``kernels/ntt.cu``. Words are uint32 in [0, q) of shape
(..., limbs, N), a prime q = 1 mod 2N for each limb. With psi the root of unity of
`roots.primitive_root` of order 2N, value p of the transform is a(psi^(2 r + 1)), where r is p with
its log2(N) bits in reverse. A product of values is a product modulo X^N + 1.
Source: Longa and Naehrig 2016, algorithms 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from he_gpu.backend.definition.roots import bit_reversal, check_limbs, powers, primitive_root
from he_gpu.backend.definition.words import Array


def ntt(x: Array, moduli: Sequence[int]) -> Array:
    """Return the values of polynomials at the odd powers of psi.

    Args:
        x: (..., limbs, N) coefficients, uint32 in [0, q); N a power of two in [16, 65536].
        moduli: the prime of each limb, 1 modulo 2N and below 2^27.

    Returns:
        (..., limbs, N) values in [0, q), in bit-reversed order.

    Raises:
        ArgumentValueError: shape or moduli are none of these.
    """
    result = np.empty(x.shape, np.uint32)
    for limb, modulus in enumerate(check_limbs("ntt", x.shape, moduli)):
        q, n = np.uint64(modulus), x.shape[-1]
        table, _ = _tables(modulus, n)
        a = x[..., limb, :].astype(np.uint64)
        blocks = 1
        while blocks < n:
            halves = a.reshape(*a.shape[:-1], blocks, 2, n // (2 * blocks))
            u = halves[..., 0, :]
            t = halves[..., 1, :] * table[blocks : 2 * blocks, None] % q
            a = np.stack(((u + t) % q, (u + q - t) % q), axis=-2).reshape(a.shape)
            blocks *= 2
        result[..., limb, :] = a
    return result


def intt(x: Array, moduli: Sequence[int]) -> Array:
    """Return the coefficients of polynomials from their values: ``intt(ntt(a)) = a``.

    Args:
        x: (..., limbs, N) values as `ntt` returns them.
        moduli: the prime of each limb.

    Returns:
        (..., limbs, N) coefficients in [0, q).

    Raises:
        ArgumentValueError: shape or moduli are none of those that `ntt` takes.
    """
    result = np.empty(x.shape, np.uint32)
    for limb, modulus in enumerate(check_limbs("intt", x.shape, moduli)):
        q, n = np.uint64(modulus), x.shape[-1]
        _, table = _tables(modulus, n)
        a = x[..., limb, :].astype(np.uint64)
        blocks = n // 2
        while blocks:
            halves = a.reshape(*a.shape[:-1], blocks, 2, n // (2 * blocks))
            u, v = halves[..., 0, :], halves[..., 1, :]
            t = (u + q - v) * table[blocks : 2 * blocks, None] % q
            a = np.stack(((u + v) % q, t), axis=-2).reshape(a.shape)
            blocks //= 2
        result[..., limb, :] = a * np.uint64(pow(n, -1, modulus)) % q
    return result


@lru_cache(maxsize=64)
def _tables(modulus: int, degree: int) -> tuple[Array, Array]:
    """Return the powers of psi, and of its inverse, in bit-reversed order."""
    psi, order = primitive_root(modulus, 2 * degree), bit_reversal(degree)
    inverse = pow(psi, -1, modulus)
    return powers(psi, degree, modulus)[order], powers(inverse, degree, modulus)[order]
