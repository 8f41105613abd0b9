"""Noise that hides the error of a published result, and with it what the error says about the key.

Layer: he, beside `noise`, upon whose bounds it rests. Numbers alone: no array, no key.
Source: Li and Micciancio, "On the security of homomorphic encryption on approximate numbers",
EUROCRYPT 2021; Li, Micciancio, Schultz, Sorrell, "Securing approximate homomorphic encryption using
differential privacy", CRYPTO 2022, section 4.
"""

from __future__ import annotations

import math

from he_gpu.he.noise import FAILURE_BITS

STATISTICAL_BITS = 40
"""s, see `deviation`. More would leave too little of float64: numbers are encoded with errors of
some 2**-48, and flooding for one result of all slots makes 2**(s / 2 + 11) of that. With s = 64, as
in an example of the source, a number below 1 would keep 4 bits after the point; with 40 it keeps
some 15."""


def deviation(error: float, queries: int, values: int) -> float:
    """Return the standard deviation of the noise that hides an error in published slots.

    Args:
        error: bound on each slot's error, at worst.
        queries: results that are published under one key, at most.
        values: real numbers in the slots that a result publishes, 2 n of n slots, whether their
            imaginary parts are shown or not; N for all.

    The noise is normal and independent in each coefficient, of this deviation d over sqrt(N). Real
    and imaginary parts of slots are coefficients times sqrt(N / 2) times an orthogonal matrix, so
    that theirs is independent too, of deviation d / sqrt(2). In n slots errors have
    |e|**2 <= n error**2, and the Kullback-Leibler divergence of what is published from what would
    be without error is |e|**2 / d**2 at most. With d = sqrt(12 queries) 2**(s / 2) sqrt(2 n) error,
    s = `STATISTICAL_BITS`, that is 2**-s / (24 queries), and over all queries, however each depends
    on those before, 2**-s / 24. It follows for s = 40, against any amount of computing:

    - whoever tells the two apart gains an advantage below 2**-22.7 (Pinsker's inequality);
    - what happens with probability 2**-128 without error, such as that the key is found, happens
      with less than 2**-50 with it (the divergence of two coins).

    In the source's terms these are s = 40 bits of statistical security, beside the bits of the
    parameters against computing. All that holds where the error's bound does, which fails with the
    probability that `noise` states; an error k times as large has k**2 times the divergence.
    Source: Li, Micciancio, Schultz, Sorrell, CRYPTO 2022, section 4; the constant 12 as OpenFHE has
    it, whose s is 30 and whose error is a measured one.
    """
    size = error * math.sqrt(values)
    return math.sqrt(12 * queries) * 2 ** (STATISTICAL_BITS / 2) * size


def flooded(error: float, queries: int, values: int) -> float:
    """Return a bound on the error of published slots, the noise of `deviation` included.

    A slot's noise is larger than x deviations with probability exp(-x**2).
    """
    tail = math.sqrt(math.log(2) * (FAILURE_BITS + math.log2(values)))
    return error + tail * deviation(error, queries, values)


def lost_bits(queries: int, ring_degree: int) -> float:
    """Return the bits of precision that publishing all of a polynomial costs."""
    return math.log2(flooded(1.0, queries, ring_degree))
