"""What a computation takes with a chain: the measure by which parameters are chosen.

Layer: he. Numbers alone. The time of CKKS is that of transforms of limbs, and of work that grows
about as they do. Key switching of L limbs in D digits with K special primes has D (L + K) for the
cut, and 2 (L + K) for the division; a product with numbers has L for these and 2 L for its
rescaling.
"""

from __future__ import annotations

from he_gpu.he.chain import Chain

CALL = 100_000
"""What a transform takes whatever its length, in units of N log2(N): the calls of NumPy."""


def switching(chain: Chain, level: int) -> int:
    """Return how many limbs a rotation or a product of ciphertexts at a level transforms."""
    limbs = len(chain.moduli(level)) + len(chain.special)
    return (len(chain.digits(level)) + 2) * limbs


def computation(chain: Chain) -> int:
    """Return the cost of a computation that goes down all levels of a chain.

    It has a product of ciphertexts and one with numbers at each level; without levels, a rotation
    and a sum with numbers. The unit is N log2(N) of one transform.

    Error: it counts digits too high, as they are transformed together. With 1 or 2 of them a key
        switch takes up to a fifth more than the mean time for a unit, with 8 a quarter less.
    """
    degree, depth = chain.ring_degree, chain.depth
    each = degree * (degree.bit_length() - 1) + CALL
    levels = range(min(1, depth), depth + 1)
    limbs = sum(switching(chain, level) + 3 * len(chain.moduli(level)) for level in levels)
    return each * limbs
