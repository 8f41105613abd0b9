"""Which machine word holds the elements of a ring, and the constants of a modulus.

Layer: backend. Z_2^32 lives in uint32, every other ring in uint64.
Source of the reciprocal: Moeller and Granlund, "Improved division by invariant integers",
IEEE Trans. Computers 60 (2011), section 4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

Array = Any
"""A NumPy or CuPy array; the two share the interface that he_gpu uses."""

RING_64 = 2**64
RING_32 = 2**32


def word_dtype(modulus: int) -> np.dtype[Any]:
    """Return the unsigned word of the ring of integers modulo ``modulus``."""
    return np.dtype(np.uint32) if modulus == RING_32 else np.dtype(np.uint64)


def wraps(modulus: int) -> bool:
    """Tell whether machine arithmetic on the ring's word already is arithmetic modulo it."""
    return modulus in (RING_64, RING_32)


def is_power_of_two(modulus: int) -> bool:
    """Tell whether reduction modulo ``modulus`` is a bit mask."""
    return modulus & (modulus - 1) == 0


class Reciprocal(NamedTuple):
    """Constants that divide 128-bit numbers by a modulus 2 <= q <= 2^63 without a division.

    Attributes:
        shift: 64 - (bit length of q), so that 2^63 <= divisor < 2^64.
        divisor: q * 2^shift.
        inverse: floor((2^128 - 1) / divisor) - 2^64.
    """

    shift: int
    divisor: int
    inverse: int


@lru_cache(maxsize=256)
def reciprocal(modulus: int) -> Reciprocal:
    """Return the constants of ``modulus``; see `Reciprocal`."""
    shift = 64 - modulus.bit_length()
    divisor = modulus << shift
    return Reciprocal(shift, divisor, (2**128 - 1) // divisor - 2**64)
