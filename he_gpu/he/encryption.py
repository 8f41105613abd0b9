"""Encryption: vectors to ciphertexts at the highest level, with the public or the secret key.

Layer: he, above `ciphertext`. What is drawn for one encryption is drawn for no other.
Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017, section 3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.he import noise
from he_gpu.he.arithmetic import check_fits
from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.encoding import ENCODINGS
from he_gpu.he.evaluation_keys import EvaluationKeys
from he_gpu.he.keys import SecretKey
from he_gpu.he.operands import as_numbers
from he_gpu.he.randomness import Randomness, expand
from he_gpu.he.storage import ENCRYPTION_LABEL


def with_public_key(
    values: Any, packing: Any, keys: EvaluationKeys, randomness: Randomness
) -> Ciphertext:
    """Return an encryption of a vector; see `Ckks.encrypt`."""
    ladder = keys.ladder
    numbers, size = _vector(values, packing, ladder.ring_degree, "encrypt")
    ring, scale = ladder.ring(ladder.depth), ladder.scale(ladder.depth)
    error = noise.fresh_public(size, scale, ladder.ring_degree, ladder.spare.modulus)
    check_fits(ladder, ladder.depth, size, error, "Ckks.encrypt")
    message = ENCODINGS[packing](numbers, scale, ring)
    components = keys.public.encrypt(ladder, message, randomness)
    return _fresh(components, numbers, packing, size, error, keys)


def with_secret_key(
    values: Any, packing: Any, keys: EvaluationKeys, secret: SecretKey, randomness: Randomness
) -> Ciphertext:
    """Return an encryption of a vector that is half a seed; see `Ckks.encrypt_with_secret_key`."""
    ladder, degree = keys.ladder, keys.ladder.ring_degree
    numbers, size = _vector(values, packing, degree, "encrypt_with_secret_key")
    ring, scale = ladder.ring(ladder.depth), ladder.scale(ladder.depth)
    error = noise.fresh_secret(size, scale, degree)
    check_fits(ladder, ladder.depth, size, error, "Ckks.encrypt_with_secret_key")
    seed = randomness.published_seed()
    uniform = expand(seed, ENCRYPTION_LABEL, (), ring)
    message = ENCODINGS[packing](numbers, scale, ring)
    noisy = ring.add(ladder.small(ring, randomness.error((degree,))), message)
    first = ring.sub(ring.ntt(noisy), ring.mul(uniform, secret.values(len(ring.moduli))))
    components = ladder.backend.xp.stack((first, uniform))
    return _fresh(components, numbers, packing, size, error, keys).replace(seed=seed)


def _fresh(
    components: Array, numbers: Array, packing: str, size: float, error: float, keys: EvaluationKeys
) -> Ciphertext:
    level, is_real = keys.ladder.depth, not np.iscomplexobj(numbers)
    n = len(numbers) if packing == "slots" else keys.ladder.ring_degree
    return Ciphertext(components, level, n, n, is_real, size, error, keys, packing=packing)


def _vector(values: Any, packing: Any, ring_degree: int, function: str) -> tuple[Array, float]:
    """Return a vector as an array, and a bound on the slots that it gives.

    Of slots it is the power of two above the largest, 1 at least; of n coefficients n times that.
    """
    if not isinstance(packing, str) or packing not in ENCODINGS:
        raise ArgumentValueError(
            f"Ckks.{function}: packing must be one of {tuple(ENCODINGS)}, got {packing!r}"
        )
    numbers = as_numbers(values, f"Ckks.{function}: values")
    most = ring_degree // 2 if packing == "slots" else ring_degree
    if numbers.ndim != 1 or not 1 <= len(numbers) <= most:
        raise ArgumentValueError(
            f"Ckks.{function}: values must be a vector of 1 to {most} numbers, got shape "
            f"{numbers.shape}"
        )
    if packing == "coefficients" and np.iscomplexobj(numbers):
        raise ArgumentTypeError(f"Ckks.{function}: coefficients must be real, got complex numbers")
    with np.errstate(over="ignore"):
        largest = float(np.abs(numbers).max())
    mantissa, exponent = math.frexp(largest)  # exactly, as a logarithm is not
    log = max(0, exponent - (mantissa == 0.5))
    size = 2.0**log if largest <= 2.0**1023 else math.inf
    return numbers, size if packing == "slots" else size * len(numbers)
