"""All public keys of one secret key: what computes on ciphertexts and encrypts.

Layer: he, above `switch_keys`. Keys of rotations are made when they are first needed, where the
secret key is at hand, and named where it is not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from he_gpu.errors import ArgumentValueError, KeyMismatchError
from he_gpu.he.embedding import rotation_exponent
from he_gpu.he.keys import PublicKey, SecretKey
from he_gpu.he.ladder import Ladder
from he_gpu.he.operands import as_integers
from he_gpu.he.randomness import Randomness
from he_gpu.he.switch_keys import GaloisKey, RelinKey


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
        power, slots = rotation_exponent(steps, self.ring_degree), self.ring_degree // 2
        shortest = (steps + slots // 2 - 1) % slots - slots // 2 + 1
        return self._get(power, f"a rotation by {shortest}", f"rotations=[{shortest}, ...]")

    def of_conjugation(self) -> GaloisKey:
        """Return the key of conjugation.

        Raises:
            ValueError: there is none.
        """
        return self._get(2 * self.ring_degree - 1, "conjugation", "conjugation=True")

    def path(self, steps: int) -> tuple[int, ...]:
        """Return rotations one after another that make one to the left.

        It is the rotation itself where that has its key already; otherwise powers of two, to
        either side or to one, the fewest that have keys or get them. Where there are none, it is
        the rotation itself again, so that its key is the one that is named as missing.
        """
        slots = self.ring_degree // 2
        steps %= slots
        if steps == 0 or rotation_exponent(steps, self.ring_degree) in self._keys:
            return (steps,) if steps else ()
        for way in _ways(steps, slots):
            if all(map(self.has, way)):
                return tuple(each % slots for each in way)
        return (steps,)

    def has(self, steps: int) -> bool:
        """Return whether a rotation has a key of its own, or gets it when it is asked for."""
        power = rotation_exponent(steps, self.ring_degree)
        return self._make is not None or power == 1 or power in self._keys

    def shared(self, rotations: Iterable[int], conjugation: bool) -> GaloisKeys:
        """Return a collection with these and all keys made before, that makes no others.

        Raises:
            TypeError: rotations that are no integers.
        """
        for steps in as_integers(rotations, "Ckks.public: rotations"):
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


def _ways(steps: int, slots: int) -> Iterator[list[int]]:
    """Yield powers of two that make a rotation: to either side, as few as can be; to one side."""
    rest, found = (steps - slots if 2 * steps > slots else steps), []
    while rest:  # the digits -1, 0, 1 of the non-adjacent form
        lowest = rest & -rest
        found.append(lowest if rest // lowest % 4 == 1 else -lowest)
        rest -= found[-1]
    yield found
    sides = (1, steps), (-1, slots - steps)
    for sign, number in sorted(sides, key=lambda side: side[1].bit_count()):
        yield [sign << bit for bit in range(number.bit_length()) if number >> bit & 1]


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
