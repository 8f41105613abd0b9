"""Bounds on the errors of CKKS, by operation: what `precision_bits` and `flooding` rest upon.

Layer: he, above ring. Numbers alone: no array, no key. All bounds are on the largest error of any
slot, in units of the message (so 1 is a slot's 1), and errors of operations add up. A bound on
something random fails with probability below 2**-42, so an operation's with less than 2**-40. What
is decrypted has the error of its decoding as well, see `decryption`.

A polynomial e with independent coefficients that are sub-Gaussian of variance v (binomial, ternary
and uniform ones are, with their own variance) has in each direction of a slot's plane a value
sub-Gaussian of variance v N / 2, for the N roots are spread evenly. Then E exp(x |e|**2) is at most
1 / (1 - x v N), and by Markov's inequality with the best x

    P(|e|**2 > u v N) <= u exp(1 - u)                                              (one polynomial)
    P(|e_1|**2 + ... + |e_k|**2 > w v N) <= (w / k)**k exp(k - w)                  (k of them)

in one slot, and N / 2 times that in any. A sum of products a_1 e_1 + ... + a_k e_k is, given the a,
again such a value, of variance v N / 2 times A = |a_1|**2 + ... + |a_k|**2, so that P(|sum| > t) is
at most the mean over A of the first bound; `_product_factor` takes it over the second one.
Source: Hsu, Kakade, Zhang, "A tail inequality for quadratic forms of subgaussian random vectors",
2012 (the moment); Costache, Curtis, Hales, Murphy, Ogilvie, Player, "On the precision loss in
approximate homomorphic encryption", ePrint 2022/162 (errors by operation).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

from he_gpu.errors import ArgumentValueError
from he_gpu.he.chain import Chain
from he_gpu.he.sampling import ERROR_VARIANCE, TERNARY_VARIANCE

FAILURE_BITS = 42
"""A bound on something random fails with probability below 2**-42."""
_ROUNDING_VARIANCE = 1 / 12

# What is random


def sup(variance: float, ring_degree: int) -> float:
    """Return a bound on the slots of a polynomial with random coefficients of a variance."""
    return math.sqrt(variance * ring_degree) * _factor(ring_degree)


def sup_product(variance: float, other: float, terms: int, ring_degree: int) -> float:
    """Return a bound on the slots of a_1 b_1 + ... + a_k b_k, products of random polynomials.

    Args:
        variance: of each coefficient of the a.
        other: of each coefficient of the b.
        terms: k.
        ring_degree: N.
    """
    return math.sqrt(variance * other) * ring_degree * _product_factor(ring_degree, terms)


# Operations, in the order of a computation


def transform(largest: float, ring_degree: int) -> float:
    """Return a bound on what the float64 transform of an encoding or a decoding adds.

    Args:
        largest: bound on the slots' sizes.
        ring_degree: N.

    A transform rounds in each of log2(N) layers, by up to 2**-53 of a value each, and these errors
    add up like random ones. Against 64-bit mantissas random, constant, one-hot and steady values
    had 10 2**-53 at most, up to N = 65536; the bound has three times that.
    """
    return 2 * math.log2(ring_degree) * 2.0**-53 * largest


def encoding(largest: float, scale: Fraction | float, ring_degree: int) -> float:
    """Return a bound for the encoding of slots: half a unit in each of N coefficients.

    It holds for values that are chosen against it, and some of them reach 2 / pi of it; on others
    it is loose by sqrt(N). It is small beside the errors of encryption.
    """
    return ring_degree / (2 * float(scale)) + transform(largest, ring_degree)


def encoding_constant(value: float, scale: Fraction | float) -> float:
    """Return a bound for the encoding of one number for all slots, of size value."""
    return math.sqrt(0.5) / float(scale) + 2.0**-52 * value


def fresh_public(
    largest: float, scale: Fraction | float, ring_degree: int, prime: int = 1
) -> float:
    """Return a bound for an encryption with the public key, its encoding included.

    Args:
        largest: bound on the slots' sizes.
        scale: of the encoding.
        ring_degree: N.
        prime: of a further limb that the encryption of zero has and is divided by; 1 for none.

    The error is e v + e_1 s + e_0 with binomial e and ternary v and s, over the prime, and then
    that of the division.
    """
    pair = sup_product(TERNARY_VARIANCE, ERROR_VARIANCE, 2, ring_degree)
    noise = (pair + sup(ERROR_VARIANCE, ring_degree)) / prime / float(scale)
    if prime > 1:
        noise += rescaling(scale, ring_degree)
    return noise + encoding(largest, scale, ring_degree)


def fresh_secret(largest: float, scale: Fraction | float, ring_degree: int) -> float:
    """Return a bound for an encryption with the secret key, its encoding included."""
    noise = sup(ERROR_VARIANCE, ring_degree)
    return noise / float(scale) + encoding(largest, scale, ring_degree)


def addition(left_error: float, right_error: float) -> float:
    """Return a bound for a sum or difference of two numbers of one scale."""
    return left_error + right_error


def product(left: float, left_error: float, right: float, right_error: float) -> float:
    """Return a bound for a product before it is relinearised and rescaled.

    Args:
        left: bound on the left factor's size, without its error.
        left_error: bound on its error.
        right: as left, of the right factor; a plaintext's error is that of its encoding.
        right_error: as left_error.

    The error is x e_y + y e_x + e_x e_y; the scale's rounding (`chain.FRACTION_BITS`) adds 2**-80.
    """
    errors = left * right_error + right * left_error + left_error * right_error
    return errors + 2.0**-80 * (left + left_error) * (right + right_error)


def rescaling(scale: Fraction | float, ring_degree: int) -> float:
    """Return a bound for a division by primes, rounded: r_0 + r_1 s with uniform r.

    Args:
        scale: after the division.
        ring_degree: N.
    """
    alone = sup(_ROUNDING_VARIANCE, ring_degree)
    pair = sup_product(_ROUNDING_VARIANCE, TERNARY_VARIANCE, 1, ring_degree)
    return (alone + pair) / float(scale)


def key_switching(chain: Chain, level: int, scale: Fraction | float) -> float:
    """Return a bound for a key switch, as in a relinearisation, a rotation or a conjugation.

    Args:
        chain: gives digits and special primes.
        level: of the ciphertext.
        scale: of the ciphertext; its square for a product that is not yet rescaled.

    The error is (d_1 e_1 + ... + d_k e_k) / P, with digits d uniform up to half their modulus and
    a key's binomial e, and the rounding of the division by P.
    """
    digits = [math.prod(primes) for primes in chain.digits(level)]
    ratio = float(Fraction(max(digits), math.prod(chain.special)))
    pairs = sup_product(
        ratio**2 * _ROUNDING_VARIANCE, ERROR_VARIANCE, len(digits), chain.ring_degree
    )
    return pairs / float(scale) + rescaling(scale, chain.ring_degree)


def rotation(error: float, chain: Chain, level: int) -> float:
    """Return a bound for a rotated or conjugated ciphertext of an error's bound."""
    return error + key_switching(chain, level, chain.scales[level])


def multiplication(
    left: float, left_error: float, right: float, right_error: float, chain: Chain, level: int
) -> float:
    """Return a bound for a product of two ciphertexts of a level, relinearised and rescaled.

    Args: left to right_error as for `product`.

    Raises:
        ValueError: level is 0.
    """
    error = product(left, left_error, right, right_error)
    error += key_switching(chain, level, chain.scales[level] ** 2)
    return error + rescaling(_scale_below(chain, level), chain.ring_degree)


def plain_multiplication(
    left: float, left_error: float, right: float, right_error: float, chain: Chain, level: int
) -> float:
    """Return a bound for a product with a plaintext of the level's scale, rescaled.

    Args and Raises: as `multiplication`.
    """
    error = product(left, left_error, right, right_error)
    return error + rescaling(_scale_below(chain, level), chain.ring_degree)


def alignment_factor(chain: Chain, level: int, lower: int) -> int:
    """Return the integer that brings a ciphertext to a lower level's scale.

    All primes above level lower + 1 are left out first, which changes no number; a product with the
    factor and a rescaling by the primes of level lower + 1 do the rest.

    Raises:
        ValueError: lower is not below level.
    """
    if not 0 <= lower < level <= chain.depth:
        raise ArgumentValueError(f"alignment_factor: lower must be in [0, {level}), got {lower}")
    return round(chain.scales[lower] * math.prod(chain.levels[lower]) / chain.scales[level])


def alignment(largest: float, error: float, chain: Chain, level: int, lower: int) -> float:
    """Return a bound for a ciphertext that was brought to a lower level and its scale.

    Args:
        largest: bound on the slots' sizes.
        error: bound on their errors before.
        chain: gives primes and scales.
        level: before.
        lower: after; the same level changes nothing.

    The factor is an integer, so values change by about 2**-40 of themselves.
    """
    if level == lower:
        return error
    factor = alignment_factor(chain, level, lower)
    got = factor * chain.scales[level] / math.prod(chain.levels[lower])
    deviation = float(abs(got / chain.scales[lower] - 1))
    moved = error * (1 + deviation) + largest * deviation
    return moved + rescaling(chain.scales[lower], chain.ring_degree)


def decryption(error: float, largest: float, ring_degree: int) -> float:
    """Return a bound for decrypted numbers: a ciphertext's, and that of its decoding.

    Args:
        error: bound on each slot's error, flooded or not.
        largest: bound on the slots' sizes, without their errors.
        ring_degree: N.
    """
    return error + transform(largest + error, ring_degree)


def least(chain: Chain, level: int) -> float:
    """Return what no honest ciphertext's bound is below.

    At the highest level an encryption with the secret key has the least error. What is lower was
    rescaled to its level.
    """
    scale, degree = chain.scales[level], chain.ring_degree
    if level == chain.depth:
        return fresh_secret(1.0, scale, degree)
    return rescaling(scale, degree)


def precision_bits(error: float) -> float:
    """Return how many bits after the point an error leaves right."""
    return math.inf if error == 0 else -math.log2(error)


@lru_cache(maxsize=64)
def _factor(ring_degree: int) -> float:
    """Return t such that |e| > t sqrt(v N) in some slot with probability below 2**-FAILURE_BITS."""
    logarithm = math.log(ring_degree / 2) + FAILURE_BITS * math.log(2)
    u = 2.0
    for _ in range(60):  # u = 1 + ln(u) + logarithm: the map contracts by 1 / u
        u = 1 + math.log(u) + logarithm
    return math.sqrt(u)


@lru_cache(maxsize=1024)
def _product_factor(ring_degree: int, terms: int) -> float:
    """Return t such that |sum| > t sqrt(v v') N in some slot with probability below the same.

    With W = A / (v N), P(W > w) <= F(w) and h(w) = g(t**2 / w) the bound for one polynomial, which
    grows with w, the mean of h(W) is at most h(w_0) + the sum over a grid of
    (h(w_(i + 1)) - h(w_i)) F(w_i), + F at its end.
    """
    w = np.geomspace(1e-2, 4 * terms + 400, 2000)
    tail = np.exp(np.minimum(0.0, terms * np.log(w / terms) + terms - w))
    tail[w <= terms] = 1.0
    wanted = 2.0**-FAILURE_BITS / (ring_degree / 2)
    low, high = 1.0, 1e3 + 10.0 * terms
    while high / low > 1 + 1e-6:
        middle = math.sqrt(low * high)
        u = middle**2 / w
        h = np.exp(np.where(u > 1, np.log(u) + 1 - u, 0.0))
        failure = h[0] + float((np.diff(h) * tail[:-1]).sum()) + tail[-1]
        low, high = (low, middle) if failure <= wanted else (middle, high)
    return high


def _scale_below(chain: Chain, level: int) -> Fraction:
    if level < 1:
        raise ArgumentValueError(f"rescaling: level must be at least 1, got {level}")
    return chain.scales[level - 1]
