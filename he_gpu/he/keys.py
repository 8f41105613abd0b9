"""Keys: the secret one, and the public ones that encrypt, relinearise and rotate.

Layer: he. Every key lies in the evaluation domain. Uniform halves follow from a published seed of
32 bytes, so that a saved or sent key is half as large as in memory. A switching key takes a
polynomial that multiplies one secret to a pair that the other secret decrypts:
``b_j = -a_j t + e_j + P T_j s`` for digit j, where T_j is 1 modulo the digit's primes and 0 modulo
the others. One key serves every level.
Source: Han and Ki, CT-RSA 2020, section 3; the seeded half as in SEAL and most schemes of RLWE.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError, KeyMismatchError, SecretAccessError
from he_gpu.he.embedding import rotation_exponent
from he_gpu.he.ladder import Ladder
from he_gpu.he.randomness import Randomness, expand

PUBLIC_LABEL = "ckks public key"
SWITCH_LABEL = "ckks switching key"
ID_BYTES = 16
_Key = TypeVar("_Key", bound="SwitchKey")


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


class SwitchKey:
    """What turns a polynomial times one secret into a ciphertext under another.

    Args:
        ladder: the rings.
        half: (digits, limbs, N) the b of each digit, over all primes of the chain.
        seed: of the uniform half.

    Attributes:
        values: (digits, 2, limbs, N) b and a.
    """

    def __init__(self, ladder: Ladder, half: Array, seed: bytes):
        self._ladder, self.seed = ladder, seed
        uniform = expand(seed, SWITCH_LABEL, half.shape[:1], ladder.whole)
        self.values = ladder.backend.xp.stack((half, uniform), axis=1)
        self._last = (ladder.depth, self.values)

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
        digits = ladder.digits(ladder.depth)
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

    def at(self, level: int) -> Array:
        """Return the key's words for a level, (digits, 2, limbs, N).

        Cost: a copy where the level is another than last time; one is kept.
        """
        last, values = self._last
        if last == level:
            return values
        ladder = self._ladder
        values = self.values[: len(ladder.digits(level))]
        if level < ladder.depth:
            limbs, special = ladder.limbs(level), ladder.n_special
            parts = (values[:, :, :limbs], values[:, :, -special:])
            values = ladder.backend.xp.concatenate(parts, axis=2)
        self._last = (level, values)
        return values


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


class GaloisKeys:
    """Keys of rotations and of conjugation, by the power of their automorphism.

    Args:
        ring_degree: N.
        keys: those there are.
        make: makes one that is asked for and missing; None where the secret key is elsewhere.
    """

    def __init__(
        self,
        ring_degree: int,
        keys: Mapping[int, GaloisKey],
        make: Callable[[int], GaloisKey] | None = None,
    ):
        self.ring_degree, self._keys, self._make = ring_degree, dict(keys), make
        self._lock = threading.Lock()

    def of_rotation(self, steps: int) -> GaloisKey:
        """Return the key of a rotation to the left.

        Raises:
            ValueError: there is none.
        """
        power = rotation_exponent(steps, self.ring_degree)
        return self._get(power, f"a rotation by {steps}", f"rotations=[{steps}, ...]")

    def of_conjugation(self) -> GaloisKey:
        """Return the key of conjugation.

        Raises:
            ValueError: there is none.
        """
        return self._get(2 * self.ring_degree - 1, "conjugation", "conjugation=True")

    def path(self, steps: int) -> tuple[int, ...]:
        """Return rotations one after another that make one to the left.

        It is the rotation itself where that has its key already; otherwise powers of two to
        either side, as few as there can be.
        """
        slots = self.ring_degree // 2
        steps %= slots
        if steps == 0 or rotation_exponent(steps, self.ring_degree) in self._keys:
            return (steps,) if steps else ()
        rest = steps - slots if 2 * steps > slots else steps
        path = []
        while rest:  # the digits -1, 0, 1 of the non-adjacent form
            lowest = rest & -rest
            step = lowest if rest // lowest % 4 == 1 else -lowest
            path.append(step % slots)
            rest -= step
        return tuple(path)

    def has(self, steps: int) -> bool:
        """Return whether a rotation has a key of its own, or gets it when it is asked for."""
        power = rotation_exponent(steps, self.ring_degree)
        return self._make is not None or power == 1 or power in self._keys

    def shared(self, rotations: Iterable[int], conjugation: bool) -> GaloisKeys:
        """Return a collection with these and all keys made before, that makes no others."""
        for steps in rotations:
            if steps % (self.ring_degree // 2):
                self.of_rotation(steps)
        if conjugation:
            self.of_conjugation()
        return GaloisKeys(self.ring_degree, self._keys)

    @property
    def powers(self) -> tuple[int, ...]:
        """The automorphisms that have a key by now."""
        return tuple(sorted(self._keys))

    def key(self, power: int) -> GaloisKey:
        """Return the key of an automorphism that has one."""
        return self._keys[power]

    def _get(self, power: int, what: str, wanted: str) -> GaloisKey:
        with self._lock:
            key = self._keys.get(power)
            if key is None and self._make is not None:
                key = self._keys[power] = self._make(power)
        if key is None:
            raise ArgumentValueError(
                f"Ciphertext: {what} needs a Galois key that this context lacks; the holder of "
                f"the secret key gives it with public({wanted})"
            )
        return key


def powers_of_two(ring_degree: int) -> tuple[int, ...]:
    """Return the rotations by powers of two to either side, from which all others are made."""
    left = [1 << log for log in range((ring_degree // 2).bit_length() - 1)]
    return tuple(left + [-step for step in left[:-1]])


class EvaluationKeys(NamedTuple):
    """What computes on ciphertexts and encrypts, and what all ciphertexts of one key share.

    Attributes:
        ladder: the rings.
        public: encrypts.
        relin: serves products.
        galois: serve rotations.
    """

    ladder: Ladder
    public: PublicKey
    relin: RelinKey
    galois: GaloisKeys

    @classmethod
    def of_secret(
        cls, ladder: Ladder, public: PublicKey, secret: SecretKey, randomness: Randomness
    ) -> EvaluationKeys:
        """Make the keys of a secret one's holder, and those of rotations when they are needed."""

        def make(power: int) -> GaloisKey:
            return GaloisKey.of_secret(ladder, secret, power, randomness)

        relin = RelinKey.of_secret(ladder, secret, randomness)
        return cls(ladder, public, relin, GaloisKeys(ladder.ring_degree, {}, make))

    def check_same(self, other: EvaluationKeys, function: str) -> None:
        """Refuse keys that do not belong to the same secret key, parameters and device.

        Raises:
            KeyMismatchError: they do not.
        """
        if self is other:
            return
        if self.ladder.chain != other.ladder.chain:
            raise KeyMismatchError(f"{function}: the ciphertext has other parameters")
        if self.public.key_id != other.public.key_id:
            raise KeyMismatchError(f"{function}: the ciphertext has another secret key")
        ours, theirs = self.ladder.backend.name, other.ladder.backend.name
        if ours != theirs:
            raise KeyMismatchError(
                f"{function}: the ciphertext lies on device {theirs!r}, the other on {ours!r}"
            )
