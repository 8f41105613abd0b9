"""The rings of a chain on one device: those of ciphertexts at each level, and of key switching.

Layer: he. Knows primes and scales, no key. A ciphertext at level l has the limbs of
``chain.moduli(l)``; key switching puts the special primes behind them and cuts the limbs into
digits of ``chain.digit_limbs``.
Source of the digits: Han and Ki, "Better bootstrapping for approximate homomorphic encryption",
CT-RSA 2020, section 3.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np

from he_gpu.backend import Array, Backend
from he_gpu.he.chain import Chain
from he_gpu.ring import RnsRing


class Digit(NamedTuple):
    """One digit of the highest level, as a switching key has a part for each.

    Attributes:
        part: where its limbs stand.
        own: the ring over its primes.
    """

    part: slice
    own: RnsRing


class Ladder:
    """The rings of each level of a chain, made once.

    Args:
        chain: primes and scales.
        device: as `RnsRing` takes it.

    Attributes:
        chain: as given.
        whole: the ring over all primes, the special ones last.
        fresh: that of public keys: the primes of the highest level, and a special one last.
        spare: that of this special prime.
        backend: of the device.
        digits: into which key switching cuts the limbs of the highest level.
    """

    def __init__(self, chain: Chain, device: str = "auto"):
        self.chain = chain
        self.whole = RnsRing(chain.ring_degree, chain.moduli(chain.depth) + chain.special, device)
        self.backend: Backend = self.whole.backend
        levels = range(chain.depth + 1)
        self._rings = [self.whole.over(chain.moduli(level)) for level in levels]
        self._extended = [self.whole.over(chain.moduli(level) + chain.special) for level in levels]
        self.spare = self.whole.over(chain.special[-1:])
        self.fresh = self.whole.over(chain.moduli(chain.depth) + self.spare.moduli)
        limbs, each = self.limbs(self.depth), chain.digit_limbs
        parts = [slice(at, min(at + each, limbs)) for at in range(0, limbs, each)]
        self.digits = tuple(Digit(part, self.whole.over(self.whole.moduli[part])) for part in parts)

    @property
    def ring_degree(self) -> int:
        """N."""
        return self.chain.ring_degree

    @property
    def depth(self) -> int:
        """The highest level."""
        return self.chain.depth

    @property
    def n_special(self) -> int:
        """Number of special primes."""
        return len(self.chain.special)

    @cached_property
    def special_modulus(self) -> int:
        """P, the product of the special primes."""
        return math.prod(self.chain.special)

    def ring(self, level: int) -> RnsRing:
        """Return the ring of ciphertexts at a level."""
        return self._rings[level]

    def extended(self, level: int) -> RnsRing:
        """Return the ring of key switching at a level: the special primes stand last."""
        return self._extended[level]

    def limbs(self, level: int) -> int:
        """Return how many limbs a level has."""
        return len(self._rings[level].moduli)

    def scale(self, level: int) -> Fraction:
        """Return the scale of every ciphertext at a level."""
        return self.chain.scales[level]

    def divisor(self, level: int) -> int:
        """Return the product of the primes that a rescaling from a level to the next drops."""
        return math.prod(self.chain.levels[level - 1])

    def small(self, ring: RnsRing, integers: Array) -> Array:
        """Return the residues of integers smaller than every prime of a ring, from (..., N) int64.

        Integers go to the device once, not once for each limb.
        """
        words = self.backend.asarray(integers.astype(np.int32).view(np.uint32))[..., None, :]
        q = self.backend.asarray(np.array(ring.moduli, np.uint32)[:, None])
        # A negative integer, read without a sign, is above 2^31, and wraps to below q with q added.
        return self.backend.xp.minimum(words, words + q)
