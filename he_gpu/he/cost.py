"""What a computation takes with a chain: the measure by which parameters are chosen.

Layer: he. Numbers alone. The time of CKKS is that of transforms of limbs, and of work word by word
that grows as they do. Polynomials that are transformed together share the calls of NumPy: the
digits of a key switch do, and the two polynomials of a ciphertext.
"""

from __future__ import annotations

from he_gpu.backend.definition.ntt_float import CHUNK
from he_gpu.he.chain import Chain

CALLS = 130_000
"""Of a transform, whatever its length: some 120 calls of NumPy, and a few for the work beside it."""
BESIDE = 5
"""Stages whose time the work beside a transform takes: extensions, products with keys, sums."""


def transforms(degree: int, limbs: int, together: int) -> int:
    """Return the cost of transforming some limbs of polynomials, with the work beside it.

    Args:
        degree: N.
        limbs: of each polynomial.
        together: how many polynomials; those whose words are `CHUNK` at most share calls.
    """
    stages = degree.bit_length() - 1 + BESIDE
    calls = -(-together // max(1, CHUNK // degree))
    return limbs * (together * degree * stages + calls * CALLS)


def switching(chain: Chain, level: int) -> int:
    """Return the cost of a rotation, or of a product of ciphertexts at a level."""
    degree, special = chain.ring_degree, len(chain.special)
    limbs, digits = len(chain.moduli(level)), len(chain.digits(level))
    back = transforms(degree, limbs, 1)
    # A digit has its own limbs already.
    cut = transforms(degree, limbs, digits - 1) + transforms(degree, special, digits)
    divided = transforms(degree, limbs + special, 2)
    return back + cut + divided


def numbers(chain: Chain, level: int) -> int:
    """Return the cost of a product with numbers at a level, or of a sum with them at level 0."""
    degree, limbs = chain.ring_degree, len(chain.moduli(level))
    rescaled = transforms(degree, limbs, 2) if level else 0
    return transforms(degree, limbs, 1) + rescaled


def computation(chain: Chain) -> int:
    """Return the cost of a computation that goes down all levels of a chain.

    It has a product of ciphertexts and one with numbers at each level; without levels, a rotation
    and a sum with numbers. The unit is one word of one stage of a transform, about 1 ns.
    """
    levels = range(min(1, chain.depth), chain.depth + 1)
    return sum(switching(chain, level) + numbers(chain, level) for level in levels)
