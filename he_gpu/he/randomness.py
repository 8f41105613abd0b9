"""The streams that keys and encryptions draw from, and the uniform halves that a seed stands for.

Layer: he, above ring. A published seed is drawn for one polynomial or key alone and never keys a
stream of secrets: those come from a key ring that nobody else sees.
"""

from __future__ import annotations

import os

import numpy as np

from he_gpu.backend import Array, Backend, to_host
from he_gpu.he import sampling
from he_gpu.ring import KeyRing, Prg, RnsRing
from he_gpu.ring.prg import KEY_BYTES, hkdf_sha256

SEED_BYTES = KEY_BYTES
_SALT = b"he_gpu published seed"


class Randomness:
    """What a holder of keys, or an encryptor, draws.

    Args:
        backend: where the words are made; each makes the same ones.
        seed: None draws from the operating system. An int makes every secret repeatable, warns,
            and protects nothing: for tests and benchmarks.
        purpose: who draws; two of them with one seed must not share it.
    """

    def __init__(self, backend: Backend, seed: int | None, purpose: str):
        keys, self._backend = KeyRing(seed), backend
        self._secrets = keys.prg(f"ckks {purpose} secrets", backend)
        self._errors = keys.prg(f"ckks {purpose} errors", backend)
        self._floods = keys.prg(f"ckks {purpose} floods", backend)
        self._seeds = None if seed is None else keys.prg(f"ckks {purpose} seeds", backend)

    def ternary(self, shape: tuple[int, ...]) -> Array:
        """Return uniform -1, 0, 1; see `sampling.ternary`."""
        return sampling.ternary(self._secrets, shape)

    def error(self, shape: tuple[int, ...]) -> Array:
        """Return centred binomial errors; see `sampling.error`."""
        return sampling.error(self._errors, shape)

    def normal(self, shape: tuple[int, ...], deviation: float) -> tuple[Array, Array]:
        """Return normal integers, each as a sum of two; see `sampling.normal_integers`."""
        return sampling.normal_integers(self._floods, shape, deviation)

    def another(self, purpose: str) -> Randomness:
        """Return streams of their own: these do not follow from them, nor others made so."""
        seed = None if self._seeds is None else int.from_bytes(self._fresh_seed(), "little")
        return Randomness(self._backend, seed, purpose)

    def published_seed(self) -> bytes:
        """Return 32 bytes that may be published, and that were never drawn before."""
        return self._fresh_seed()

    def _fresh_seed(self) -> bytes:
        if self._seeds is None:
            return os.urandom(SEED_BYTES)
        words: Array = to_host(self._seeds.uniform((SEED_BYTES // 8,), 2**64))
        return bytes(words.astype("<u8").tobytes())


def expand(seed: bytes, label: str, leading: tuple[int, ...], ring: RnsRing) -> Array:
    """Return the uniform values that a published seed stands for.

    Args:
        seed: 32 bytes, published or to be.
        label: what they are for; different labels give independent values.
        leading: axes before those of limbs and values.
        ring: what they are values in.

    Returns:
        (*leading, limbs, N) words.

    Error: that of `Prg.uniform`, 2**-80 of statistical distance for a word.
    """
    prg = Prg(hkdf_sha256(seed, _SALT, label.encode()), ring.backend)
    shape = (*leading, ring.ring_degree)
    limbs = [prg.uniform(shape, q).astype(np.uint32) for q in ring.moduli]
    return ring.backend.xp.stack(limbs, axis=-2)
