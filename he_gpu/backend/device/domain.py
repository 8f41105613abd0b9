"""Which kernels serve a ring, and the constants of its modulus as kernel arguments.

Layer: backend, under the launchers of every family.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from he_gpu.backend.definition.words import RING_32, RING_64, reciprocal, wraps


def domain(modulus: int) -> str:
    """Return the part of a kernel's name that says which ring it computes in."""
    return {RING_64: "ring_u64", RING_32: "ring_u32"}.get(modulus, "mod_u64")


@lru_cache(maxsize=256)
def modulus_arguments(modulus: int) -> tuple[np.generic, ...]:
    """Return what a kernel that adds takes at its end: (modulus,), or () where words wrap."""
    return () if wraps(modulus) else (np.uint64(modulus),)


@lru_cache(maxsize=256)
def reciprocal_arguments(modulus: int) -> tuple[np.generic, ...]:
    """Return what a kernel that multiplies takes: (shift, divisor, inverse), or ()."""
    if wraps(modulus):
        return ()
    constants = reciprocal(modulus)
    return np.uint32(constants.shift), np.uint64(constants.divisor), np.uint64(constants.inverse)
