"""Key switching: a polynomial that multiplies one secret becomes a pair under another.

Layer: he. Hybrid form: the polynomial is cut into digits of several limbs, each digit is extended
to all primes and multiplied with its key, and the sum is divided by the special primes P. Digits
may be cut once and used for many keys (hoisting). What follows a product divides by P and by the
primes of its level at once, which saves a transform of every limb.
Source: Han and Ki, CT-RSA 2020, section 3; Halevi and Shoup, CRYPTO 2018, section 5 (hoisting).
"""

from __future__ import annotations

import numpy as np

from he_gpu.backend import Array
from he_gpu.he.keys import SwitchKey
from he_gpu.he.ladder import Ladder


def decompose(ladder: Ladder, level: int, values: Array) -> Array:
    """Return the digits of a polynomial modulo the level's and the special primes.

    Args:
        ladder: the rings.
        level: of the polynomial.
        values: (limbs, N).

    Returns:
        (digits, limbs + special, N) values.

    Cost: the inverse transform of all limbs, and of each digit a transform of all but its own.
    """
    ring, digits = ladder.ring(level), ladder.digits(level)
    limbs = len(ladder.extended(level).moduli)
    coefficients = ring.intt(values)
    result = ladder.backend.empty((len(digits), limbs, ladder.ring_degree), np.uint32)
    for out, (part, own, others) in zip(result, digits, strict=True):
        further = others.ntt(own.extend(coefficients[part], others.moduli))
        out[: part.start] = further[: part.start]
        out[part] = values[part]
        out[part.stop :] = further[part.start :]
    return result


def multiply(ladder: Ladder, level: int, digits: Array, key: SwitchKey) -> Array:
    """Return P times the pair that a key makes of digits, (2, limbs + special, N) values."""
    return ladder.extended(level).dot(digits[:, None], key.at(level))[:, 0]


def finish(ladder: Ladder, level: int, pair: Array) -> Array:
    """Return a pair divided by the special primes, (2, limbs, N) values."""
    return ladder.extended(level).mod_down(pair, ladder.n_special, values=True)


def relinearise(ladder: Ladder, level: int, terms: Array, key: SwitchKey) -> Array:
    """Return the ciphertext of a product of two, rescaled to the next level.

    Args:
        ladder: the rings.
        level: of the product, 1 at least.
        terms: (3, limbs, N) values: what multiplies 1, the secret and its square.
        key: of relinearisation.

    Returns:
        (2, limbs of the next level, N) values.
    """
    ring, extended = ladder.ring(level), ladder.extended(level)
    pair = multiply(ladder, level, decompose(ladder, level, terms[2]), key)
    raised = ring.mul_integer(terms[:2], ladder.special_modulus)
    kept = len(ring.moduli)
    pair[:, :kept] = ring.add(pair[:, :kept], raised)
    dropped = ladder.n_special + len(ladder.chain.levels[level - 1])
    return extended.mod_down(pair, dropped, values=True)


def automorphism(
    ladder: Ladder, level: int, pair: Array, digits: Array, key: SwitchKey, power: int
) -> Array:
    """Return a ciphertext with X**power in place of X.

    Args:
        ladder: the rings.
        level: of the ciphertext.
        pair: (2, limbs, N) values.
        digits: `decompose` of its second polynomial; one serves many powers.
        key: of this power.
        power: of the automorphism.

    Returns:
        (2, limbs, N) values.
    """
    ring = ladder.ring(level)
    switched = finish(ladder, level, multiply(ladder, level, digits, key))
    switched[0] = ring.add(switched[0], pair[0])
    return ring.automorphism(switched, power, values=True)
