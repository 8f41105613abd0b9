"""Primes, words and exact products that the tests of polynomials share."""

import math

import numpy as np

LARGE = (132120577, 130809857, 65929217, 2752513, 786433)
"""Primes that are 1 modulo 2^17, so that they serve every degree; the first lies next to 2^27."""


def limb_words(rng, shape, moduli):
    """Residues of shape (..., limbs, N), a third of them 0, 1, the middle and the largest."""
    q = np.array(moduli)[:, None]
    words = rng.integers(0, q, shape)
    edges = np.stack([0 * q, 0 * q + 1, q // 2, q // 2 + 1, q - 2, q - 1])
    chosen = edges[rng.integers(0, len(edges), shape), np.arange(len(moduli))[:, None], 0]
    return np.where(rng.random(shape) < 0.3, chosen, words).astype(np.uint32)


def largest_sums(moduli, n):
    """Words (limbs, n) whose extension sums q - 1 times a constant in every limb."""
    product = math.prod(moduli)
    words = [[-(product // q) % q] * n for q in moduli]
    return np.array(words, np.uint32)


def negacyclic(a, b, modulus):
    """The product of two polynomials modulo X^N + 1 and q, by the definition."""
    n = len(a)
    product = [0] * n
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            sign = 1 if i + j < n else -1
            product[(i + j) % n] += sign * int(x) * int(y)
    return [value % modulus for value in product]


def integers(residues, moduli):
    """The integers nearest to zero that residues (limbs, ...) stand for, by Garner's recursion."""
    value, product = [0] * residues[0].size, 1
    for limb, q in zip(residues, moduli, strict=True):
        inverse = pow(product, -1, q)
        digits = [(int(r) - v) * inverse % q for r, v in zip(limb.ravel(), value, strict=True)]
        value = [v + d * product for v, d in zip(value, digits, strict=True)]
        product *= q
    return [v - product if 2 * v >= product else v for v in value]
