"""Decryption: for the holder of the secret key alone, and flooded with noise for everybody.

Layer: he, above `ciphertext`. `Publications` counts what was published under one key, and
`flooding` says how much noise that takes.
Source: Li and Micciancio, EUROCRYPT 2021 (what a decrypted result says about the key); Li,
Micciancio, Schultz, Sorrell, CRYPTO 2022 (the noise that hides it).
"""

from __future__ import annotations

import math
import threading
from typing import Any

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.he import flooding, noise
from he_gpu.he.arithmetic import check_fits
from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.encoding import decode, decode_coefficients, limbs_for, reduced
from he_gpu.he.evaluation_keys import EvaluationKeys
from he_gpu.he.keys import SecretKey
from he_gpu.he.randomness import Randomness
from he_gpu.ring import RnsRing


class Publications:
    """How many results of one key were published, and how many may be.

    Args:
        limit: at most so many, in all threads together.
        count: published before.
    """

    def __init__(self, limit: int, count: int = 0):
        self.limit, self.count, self._lock = limit, count, threading.Lock()

    def check(self) -> None:
        """Refuse another one where all are spent.

        Raises:
            ValueError: they are.
        """
        if not self.limit:
            raise ArgumentValueError(
                "Ckks.decrypt_public: the parameters have public_queries=0, which allows none; "
                "CkksParams(public_queries=) reserves the bits that flooding takes"
            )
        if self.count >= self.limit:
            raise ArgumentValueError(
                f"Ckks.decrypt_public: the parameters have public_queries={self.limit}, "
                f"and {self.count} results were published"
            )

    def add(self) -> None:
        """Count one more, before it is made: one that fails afterwards stays counted.

        Raises:
            ValueError: all are spent.
        """
        with self._lock:
            self.check()
            self.count += 1


def check(ciphertext: Any, keys: EvaluationKeys, function: str) -> None:
    """Refuse what is no ciphertext of the same parameters, key and device.

    Raises:
        TypeError: no ciphertext.
        ValueError: another's.
    """
    if not isinstance(ciphertext, Ciphertext):
        raise ArgumentTypeError(
            f"Ckks.{function}: a Ciphertext expected, got {type(ciphertext).__name__}"
        )
    keys.check_same(ciphertext.keys, f"Ckks.{function}")


def private(ciphertext: Ciphertext, secret: SecretKey) -> Array:
    """Return what a ciphertext decrypts to, its error included; see `Ckks.decrypt`.

    Raises:
        ValueError: values beyond the size that the ciphertext states.
    """
    largest = ciphertext.size + ciphertext.error
    values = _decoded(ciphertext, largest, *_phase(ciphertext, largest, secret))
    _check_size(values, ciphertext, ciphertext.error, "decrypt")
    return values


def public(
    ciphertext: Ciphertext, secret: SecretKey, publications: Publications, randomness: Randomness
) -> Array:
    """Return what a ciphertext decrypts to, flooded; see `Ckks.decrypt_public`.

    The noise goes to coefficients, as integers: whatever decoding does to their sum, and whether
    it is refused, says no more than the sum does.

    Raises:
        ValueError: as `private`; the result was counted by then.
    """
    publications.check()
    ladder, level, queries = ciphertext.keys.ladder, ciphertext.level, publications.limit
    degree = ladder.ring_degree
    values = 2 * ciphertext.n_values if ciphertext.packing == "slots" else degree
    error = max(ciphertext.error, noise.least(ladder.chain, level))
    total = flooding.flooded(error, queries, values)
    check_fits(ladder, level, ciphertext.size, total, "Ckks.decrypt_public")
    deviation = flooding.deviation(error, queries, values) / math.sqrt(degree)
    units = deviation * float(ciphertext.scale)
    publications.add()
    largest = ciphertext.size + error + 9 * deviation * degree
    words, ring = _phase(ciphertext, largest, secret)
    for part in randomness.normal((degree,), units):
        residues = reduced(part, float(abs(part).max()), ring.moduli)
        words = ring.add(words, ladder.backend.asarray(residues))
    found = _decoded(ciphertext, largest, words, ring)
    _check_size(found, ciphertext, total, "decrypt_public")
    return found


def _phase(ciphertext: Ciphertext, largest: float, secret: SecretKey) -> tuple[Array, RnsRing]:
    """Return ``c_0 + c_1 s`` as coefficients, with the ring of the limbs that slots need."""
    ladder, scale = ciphertext.keys.ladder, float(ciphertext.scale)
    moduli = ladder.ring(ciphertext.level).moduli
    ring = ladder.whole.over(moduli[: limbs_for(largest * scale, moduli)])
    limbs = len(ring.moduli)
    first, second = ciphertext.components[:, :limbs]
    return ring.intt(ring.add(first, ring.mul(second, secret.values(limbs)))), ring


def _decoded(ciphertext: Ciphertext, largest: float, words: Array, ring: RnsRing) -> Array:
    """Return a vector's values, float64 or complex128."""
    decoded = decode if ciphertext.packing == "slots" else decode_coefficients
    values = decoded(words, ciphertext.scale, ring, ciphertext.n_values, largest)
    return values.real.copy() if ciphertext.is_real else values


def _check_size(values: Array, ciphertext: Ciphertext, error: float, function: str) -> None:
    """Refuse values beyond the size that a ciphertext states; error bounds theirs."""
    degree, found = ciphertext.keys.ladder.ring_degree, float(abs(values).max())
    if not found <= ciphertext.size + noise.decryption(error, ciphertext.size, degree):
        raise ArgumentValueError(
            f"Ckks.{function}: a value of size {found:.6g} came out, and the ciphertext states "
            f"{ciphertext.size + error:.6g} at most: a size or an interval that was given for it "
            "is wrong"
        )
