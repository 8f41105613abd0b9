"""How large a modulus a ring degree hides behind: the tables of the security standard.

Layer: he. The bound is on log2 of the whole modulus, special primes of the key switching included.
Source: Albrecht et al., Homomorphic Encryption Standard, 2018, table 1 (ternary secrets, error
deviation 3.2, classical attacks), for N up to 32768; for 65536 the table of OpenFHE's lattice
parameters (`HEStd_ternary`), which continues it.
"""

from __future__ import annotations

from he_gpu.errors import ArgumentValueError

ERROR_DEVIATION = 3.19
"""Least standard deviation of an error's coefficient that the tables are for."""

_BITS = {
    128: {
        1024: 27,
        2048: 54,
        4096: 109,
        8192: 218,
        16384: 438,
        32768: 881,
        65536: 1747,
    },
    192: {
        1024: 19,
        2048: 37,
        4096: 75,
        8192: 152,
        16384: 305,
        32768: 611,
        65536: 1199,
    },
    256: {
        1024: 14,
        2048: 29,
        4096: 58,
        8192: 118,
        16384: 237,
        32768: 476,
        65536: 929,
    },
}
LEVELS = tuple(_BITS)
"""Levels of security that the tables have, in bits."""
DEGREES = tuple(_BITS[128])
"""Ring degrees that the tables have."""


def modulus_bits(ring_degree: int, security: int) -> int:
    """Return the most bits that a modulus may have.

    Args:
        ring_degree: a power of two from 1024 to 65536.
        security: 128, 192 or 256.

    Raises:
        ValueError: a degree or level that the tables do not have.
    """
    if security not in _BITS:
        raise ArgumentValueError(f"CkksParams: security must be one of {LEVELS}, got {security!r}")
    if ring_degree not in _BITS[security]:
        raise ArgumentValueError(
            f"CkksParams: ring_degree must be one of {DEGREES}, got {ring_degree!r}"
        )
    return _BITS[security][ring_degree]
