"""Keys that take a ciphertext from one secret to another: those of products and of rotations.

Layer: he, above `keys`. A switching key takes a polynomial that multiplies one secret to a pair
that the other secret decrypts: ``b_j = -a_j t + e_j + P T_j s`` for digit j, where T_j is 1 modulo
the digit's primes and 0 modulo the others. One key serves every level.
Source: Han and Ki, CT-RSA 2020, section 3.
"""

from __future__ import annotations

from typing import TypeVar

from he_gpu.backend import Array
from he_gpu.he.keys import SecretKey
from he_gpu.he.ladder import Ladder
from he_gpu.he.randomness import Randomness, expand

SWITCH_LABEL = "ckks switching key"
_Key = TypeVar("_Key", bound="SwitchKey")


class SwitchKey:
    """What turns a polynomial times one secret into a ciphertext under another.

    Args:
        ladder: the rings.
        half: (digits, limbs, N) the b of each digit, over all primes of the chain.
        seed: of the uniform half.

    Attributes:
        values: (digits, 2, limbs, N) b and a. A level has its first digits, of these the level's
            limbs and the special primes'.
    """

    def __init__(self, ladder: Ladder, half: Array, seed: bytes):
        self.seed = seed
        uniform = expand(seed, SWITCH_LABEL, half.shape[:1], ladder.whole)
        self.values = ladder.backend.xp.stack((half, uniform), axis=1)

    @classmethod
    def of(
        cls: type[_Key], ladder: Ladder, source: Array, target: Array, randomness: Randomness
    ) -> _Key:
        """Make the key that switches from one secret to another.

        Args:
            ladder: the rings.
            source: (limbs, N) values over all primes of what the polynomial multiplies.
            target: likewise, of the secret that decrypts the result.
            randomness: what the errors are drawn from.
        """
        ring, seed = ladder.whole, randomness.published_seed()
        digits = ladder.digits
        uniform = expand(seed, SWITCH_LABEL, (len(digits),), ring)
        errors = randomness.error((len(digits), ladder.ring_degree))
        half = ring.sub(ring.ntt(ladder.small(ring, errors)), ring.mul(uniform, target))
        for at, digit in enumerate(digits):
            raised = digit.own.mul_integer(source[digit.part], ladder.special_modulus)
            half[at, digit.part] = digit.own.add(half[at, digit.part], raised)
        return cls(ladder, half, seed)

    @property
    def half(self) -> Array:
        """The half that is no function of the seed, as saved."""
        return self.values[:, 0]


class RelinKey(SwitchKey):
    """Takes the square of the secret back to the secret, after a product."""

    @classmethod
    def of_secret(cls, ladder: Ladder, secret: SecretKey, randomness: Randomness) -> RelinKey:
        """Make the key of a secret."""
        s = secret.values()
        return cls.of(ladder, ladder.whole.mul(s, s), s, randomness)


class GaloisKey(SwitchKey):
    """Serves one automorphism X -> X**power, which permutes the slots.

    It takes the secret to its image under the inverse, so that the automorphism comes after the
    switch and moves two polynomials in place of all digits.
    """

    @classmethod
    def of_secret(
        cls, ladder: Ladder, secret: SecretKey, power: int, randomness: Randomness
    ) -> GaloisKey:
        """Make the key of a secret."""
        s, inverse = secret.values(), pow(power, -1, 2 * ladder.ring_degree)
        image = ladder.whole.automorphism(s, inverse, values=True)
        return cls.of(ladder, s, image, randomness)
