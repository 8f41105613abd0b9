"""What a computation takes with a chain: the measure by which parameters are chosen.

Layer: he. Numbers alone. The time of CKKS is that of transforms of limbs, and of work word by word
that grows as they do. Polynomials that are transformed together share the calls of NumPy: the
digits of a key switch, and the two polynomials of a ciphertext.
"""

from __future__ import annotations

from he_gpu.backend.definition.ntt_float import CHUNK
from he_gpu.he.chain import Chain

CALLS = 140_000
"""Of a limb's transform whatever its length: a hundred calls of NumPy, and those beside it."""
BESIDE = 5
"""Stages of a transform that take as long as the work beside it: extensions, products, sums."""


def transforms(degree: int, limbs: int, together: int) -> int:
    """Return the cost of transforms in either direction, with the work beside them.

    Args:
        degree: N.
        limbs: of each polynomial.
        together: how many polynomials; as many as have `CHUNK` words share calls.
    """
    stages = degree.bit_length() - 1 + BESIDE
    calls = -(-together // max(1, CHUNK // degree))
    return limbs * (together * degree * stages + calls * CALLS)


def switching(chain: Chain, level: int) -> int:
    """Return the cost of a rotation or a product of ciphertexts at a level."""
    degree, special = chain.ring_degree, len(chain.special)
    limbs, digits = len(chain.moduli(level)), len(chain.digits(level))
    back = transforms(degree, limbs, 1)
    # Of each limb of the polynomial, one digit has the values already.
    cut = transforms(degree, limbs, digits - 1) + transforms(degree, special, digits)
    divided = transforms(degree, limbs + special, 2)
    return back + cut + divided


def numbers(chain: Chain, level: int) -> int:
    """Return the cost of a product with numbers at a level; at level 0, of a sum with them."""
    degree, limbs = chain.ring_degree, len(chain.moduli(level))
    encoded = transforms(degree, limbs, 1)
    return encoded + transforms(degree, limbs, 2) if level else encoded


def computation(chain: Chain) -> int:
    """Return the cost of a computation that goes down all levels of a chain.

    It has a product of ciphertexts and one with numbers at each level; without levels, a rotation
    and a sum with numbers. The unit is one word of one stage of a transform.

    Error: in one thread of an AMD EPYC, with N from 4096, a unit takes 0.93 ns, by the chain 8 %
        more or less: tests/he/test_cost.py has what was measured. Other devices have other weights.
    """
    levels = range(min(1, chain.depth), chain.depth + 1)
    return sum(switching(chain, level) + numbers(chain, level) for level in levels)
