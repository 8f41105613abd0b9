"""Key switching: a polynomial that multiplies one secret becomes a pair under another.

Layer: he. Hybrid form: the polynomial is cut into digits of several limbs, each digit is extended
to all primes and multiplied with its key, and the sum is divided by the special primes P. Digits
may be cut once and used for many keys (hoisting). What follows a product divides by P and by the
primes of its level at once, which saves a transform of every limb.
Source: Han and Ki, CT-RSA 2020, section 3; Halevi and Shoup, CRYPTO 2018, section 5 (hoisting).
"""

from __future__ import annotations

from he_gpu.backend import Array
from he_gpu.he.ladder import Ladder
from he_gpu.he.switch_keys import SwitchKey


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
    chain = ladder.chain
    return ladder.ring(level).digits(values, chain.special, chain.digit_limbs)


def multiply(
    ladder: Ladder,
    level: int,
    digits: Array,
    key: SwitchKey,
    base: Array | None = None,
    factor: int = 1,
) -> Array:
    """Return P times the pair that a key makes of digits, (2, limbs + special, N) values.

    Args:
        ladder: the rings.
        level: of the polynomial.
        digits: of `decompose`.
        key: that takes them to a pair.
        base: (1, limbs, N) or (2, limbs, N) values, or None: what is added to the pair's first or
            to both, in these limbs.
        factor: of the base.
    """
    start = None if base is None else base[:, None]
    words, limbs = key.values[: len(digits)], ladder.limbs(level)
    return ladder.extended(level).dot(digits[:, None], words, start, factor, limbs)[:, 0]


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
    digits = decompose(ladder, level, terms[2])
    pair = multiply(ladder, level, digits, key, terms[:2], ladder.special_modulus)
    dropped = ladder.n_special + len(ladder.chain.levels[level - 1])
    return ladder.extended(level).mod_down(pair, dropped, values=True)


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
    # P times the first polynomial joins before the division, whose rounding does not see it.
    raised = multiply(ladder, level, digits, key, pair[:1], ladder.special_modulus)
    return ladder.ring(level).automorphism(finish(ladder, level, raised), power, values=True)


def raised_automorphism(
    ladder: Ladder, level: int, pair: Array, digits: Array, key: SwitchKey, power: int
) -> Array:
    """Return P times what `automorphism` returns, before it is rounded.

    Args:
        ladder: the rings.
        level: of the ciphertext.
        pair: (2, limbs, N) values, or P times them, (2, limbs + special, N).
        digits: `decompose` of the ciphertext's second polynomial.
        key: of this power.
        power: of the automorphism.

    Returns:
        (2, limbs + special, N) values.
    """
    factor = ladder.special_modulus if pair.shape[-2] == ladder.limbs(level) else 1
    switched = multiply(ladder, level, digits, key, pair[:1], factor)
    return ladder.extended(level).automorphism(switched, power, values=True)
