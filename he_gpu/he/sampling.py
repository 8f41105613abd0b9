"""Secrets and errors of RLWE, drawn from the keyed streams.

Layer: he, above ring. Small signed integers; what they are reduced by is the caller's.
Source: centred binomial errors as in Alkim, Ducas, Poeppelmann, Schwabe, USENIX Security 2016,
section 4, with the standard's deviation; uniform ternary secrets as the standard's tables have
them.
"""

from __future__ import annotations

import math

import numpy as np

from he_gpu.backend import Array, to_host
from he_gpu.ring.prg import Prg

_COINS = 21
"""Coins of each side of an error: its deviation is sqrt(21 / 2) = 3.24, the standard's is 3.19."""
ERROR_BOUND = _COINS
"""Largest size of an error's coefficient."""
ERROR_VARIANCE = _COINS / 2
TERNARY_VARIANCE = 2 / 3
_NORMAL_BITS = 44
"""Of a normal number's deviation; some 8 more bits of it decide how it is rounded."""


def ternary(prg: Prg, shape: tuple[int, ...]) -> Array:
    """Return independent uniform -1, 0, 1, int64."""
    digits = to_host(prg.uniform(shape, 3))
    return digits.astype(np.int64) - 1


def error(prg: Prg, shape: tuple[int, ...]) -> Array:
    """Return independent centred binomial integers of deviation 3.24, int64, at most 21 in size."""
    words = to_host(prg.uniform(shape, 2**64))
    side = np.uint64(2**_COINS - 1)
    heads = np.bitwise_count(words & side).astype(np.int64)
    return heads - np.bitwise_count((words >> np.uint64(_COINS)) & side)


def normal(prg: Prg, shape: tuple[int, ...]) -> Array:
    """Return independent standard normal numbers, float64, below 9 in size.

    Source: Box and Muller, 1958, from uniform numbers of 53 bits.
    """
    words = to_host(prg.uniform((2, *shape), 2**64)) >> np.uint64(11)
    radius, angle = (words.astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle))


def normal_integers(prg: Prg, shape: tuple[int, ...], deviation: float) -> tuple[Array, Array]:
    """Return independent normal integers, each as the sum of two float64 integers.

    One float64 has 53 bits, so that the low bits of a large number are zero, and what it is added
    to would keep its own there. From a deviation of 2**44 on, the first summand is rounded to steps
    of its 2**43rd part at most, and the second is uniform within a step.

    Args:
        prg: what they are drawn from.
        shape: of each array.
        deviation: finite, of the sum.

    Error: the second summand has 52 bits, so that from a deviation of 2**96 on the lowest bits of
        the sum are zero, those beneath its 2**95th part.
    """
    log = max(0, math.frexp(deviation)[1] - _NORMAL_BITS)
    bits = min(log, 52)
    high = np.rint(normal(prg, shape) * math.ldexp(deviation, -log))
    words = to_host(prg.uniform(shape, 2**64)) & np.uint64(2**bits - 1)
    low = words.astype(np.float64) - (2 ** (bits - 1) if bits else 0)
    return np.ldexp(high, log), np.ldexp(low, log - bits)
