"""The secret key, and the public one that encrypts.

Layer: he. Every key lies in the evaluation domain. Uniform halves follow from a published seed of
32 bytes, so that a saved or sent key is half as large as in memory.
Source: the seeded half as in SEAL and most schemes of RLWE.
"""

from __future__ import annotations

import hashlib
from typing import Any, NoReturn

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import SecretAccessError
from he_gpu.he.ladder import Ladder
from he_gpu.he.randomness import Randomness, expand

PUBLIC_LABEL = "ckks public key"
ID_BYTES = 16


class SecretKey:
    """A uniform ternary polynomial; who has it decrypts everything.

    It refuses pickle and copy, and its repr shows nothing of it.

    Args:
        ladder: the rings.
        randomness: what it is drawn from.
    """

    def __init__(self, ladder: Ladder, randomness: Randomness):
        self._set(ladder, randomness.ternary((ladder.ring_degree,)))

    @classmethod
    def of_ternary(cls, ladder: Ladder, digits: Array) -> SecretKey:
        """Return the key of a polynomial (N,) of -1, 0 and 1, as `ternary` gave it."""
        key = cls.__new__(cls)
        key._set(ladder, digits.astype(np.int64))
        return key

    def _set(self, ladder: Ladder, digits: Array) -> None:
        ring = ladder.whole
        self._ladder, self._values = ladder, ring.ntt(ladder.small(ring, digits))

    def ternary(self) -> Array:
        """Return the polynomial's coefficients, (N,) int8 on the host: the secret itself."""
        ring = self._ladder.whole.over(self._ladder.whole.moduli[:1])
        words = ring.backend.to_numpy(ring.intt(self._values[:1]))[0]
        return np.where(words > 1, -1, words.astype(np.int64)).astype(np.int8)

    def values(self, limbs: int | None = None) -> Array:
        """Return its values modulo the first primes of the chain, or modulo all of them."""
        return self._values[:limbs]

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretAccessError(
            "SecretKey: cannot be pickled or copied; Ckks.save(path, secret_key=True) saves it"
        )

    def __repr__(self) -> str:
        return "<SecretKey>"


class PublicKey:
    """An encryption of zero, with which anybody encrypts.

    It has a limb beyond those of the highest level, which encryption divides by: that leaves
    little of the error.

    Args:
        ladder: the rings.
        half: (limbs + 1, N) ``b = -a s + e``.
        seed: of a.

    Attributes:
        values: (2, limbs + 1, N) b and a.
        seed: as given.
        key_id: 16 bytes that tell one pair of keys from others.
    """

    def __init__(self, ladder: Ladder, half: Array, seed: bytes):
        uniform = expand(seed, PUBLIC_LABEL, (), ladder.fresh)
        self.values = ladder.backend.xp.stack((half, uniform))
        self.seed = seed
        words = ladder.backend.to_numpy(half).astype("<u4")
        self.key_id = hashlib.sha256(seed + words.tobytes()).digest()[:ID_BYTES]

    @classmethod
    def of(cls, ladder: Ladder, secret: SecretKey, randomness: Randomness) -> PublicKey:
        """Make the public key of a secret one."""
        ring, seed = ladder.fresh, randomness.published_seed()
        uniform = expand(seed, PUBLIC_LABEL, (), ring)
        error = ring.ntt(ladder.small(ring, randomness.error((ladder.ring_degree,))))
        limbs = ladder.limbs(ladder.depth)
        parts = (secret.values(limbs), secret.values()[-1:])
        values = ladder.backend.xp.concatenate(parts)
        return cls(ladder, ring.sub(error, ring.mul(uniform, values)), seed)

    @property
    def half(self) -> Array:
        """The half that is no function of the seed, as saved."""
        return self.values[0]

    def encrypt(self, ladder: Ladder, message: Array, randomness: Randomness) -> Array:
        """Return an encryption at the highest level, (2, limbs, N) values.

        Args:
            ladder: the rings.
            message: (limbs, N) coefficients.
            randomness: what masks and errors are drawn from.

        Cost: transforms of three polynomials. Zero is encrypted modulo Q p and divided by p; the
            message joins what the division subtracts.
        """
        ring, spare, prime = ladder.ring(ladder.depth), ladder.spare, ladder.spare.modulus
        limbs = len(ring.moduli)
        mask = ladder.small(ladder.fresh, randomness.ternary((ladder.ring_degree,)))
        errors = randomness.error((2, ladder.ring_degree))
        masked = ladder.fresh.mul(self.values, ladder.fresh.ntt(mask))
        rest = spare.add(spare.intt(masked[:, limbs:]), ladder.small(spare, errors))
        rest = ring.sub(spare.extend(rest, ring.moduli), ladder.small(ring, errors))
        rest[0] = ring.sub(rest[0], ring.mul_integer(message, prime))
        divided = ring.sub(masked[:, :limbs], ring.ntt(rest))
        return ring.mul_integer(divided, pow(prime, -1, ring.modulus))
