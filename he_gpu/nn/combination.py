"""Sums of values with public real weights, each with one truncation, all in the same rounds.

Layer: nn, above values. What optimisers and running statistics are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ldexp
from typing import NamedTuple

import numpy as np

from he_gpu.mpc.sums import SumOfProducts
from he_gpu.nn.values import Value, is_secret, session_of
from he_gpu.ring.fixedpoint import FACTOR_BITS, word_bits
from he_gpu.tensor import SecretTensor


class Combination(NamedTuple):
    """The sum of values times public numbers.

    Attributes:
        terms: values of one shape, and their weights.
        frac_bits: of a secret sum; public ones are rounded to it where they meet secret ones.
    """

    terms: tuple[tuple[Value, float], ...]
    frac_bits: int


def combined(sums: Sequence[Combination], function: str) -> list[Value]:
    """Return each sum; secret where a term is.

    Args:
        sums: of one session, or public.
        function: for messages.

    Range: the largest weight of a term's words has 24 significant bits (12 modulo 2**32), so that
        |x| < 2**(k - 26 - its frac_bits) of that term. Shares cannot see a value beyond;
        protocol="plain" raises.
    Error: one unit of 2**-frac_bits; weights are rounded to 2**-24 (2**-12) of the largest.
    Cost: for all sums together 1 round with "additive", 2 with "replicated", as the scheme's
        `sums_of_products`; none where weights and fraction bits need no truncation.
    Leaks: nothing.
    """
    session = session_of([value for each in sums for value, _ in each.terms], function)
    results: list[Value] = []
    jobs: list[SumOfProducts] = []
    places: list[int] = []
    for each in sums:
        hidden = [(value, weight) for value, weight in each.terms if is_secret(value)]
        shown = [value * weight for value, weight in each.terms if not is_secret(value)]
        known = sum(shown[1:], shown[0]) if shown else None
        if not hidden or session is None:
            results.append(known)
            continue
        weights, drop = _weights(hidden, each.frac_bits, word_bits(session.modulus))
        stack = session.scheme.weighted_sum([value._stack for value, _ in hidden], weights)
        if known is not None:
            word = SecretTensor(session, stack, each.frac_bits + drop) + known
            stack = word._stack
        results.append(SecretTensor(session, stack, each.frac_bits))
        if drop:
            jobs.append(SumOfProducts((), stack, 0, drop))
            places.append(len(results) - 1)
    if jobs and session is not None:
        for place, stack in zip(places, session.scheme.sums_of_products(jobs), strict=True):
            results[place] = SecretTensor(session, stack, results[place].frac_bits)
    return results


def _weights(
    terms: Sequence[tuple[SecretTensor, float]], frac_bits: int, k: int
) -> tuple[list[int], int]:
    """Return integer weights of the words, and how many bits of their sum are to be dropped."""
    # A term's words count weight 2**-its frac_bits each; all are multiplied by 2**scale.
    each = [ldexp(float(weight), -value.frac_bits) for value, weight in terms]
    largest = max(abs(weight) for weight in each)
    if largest == 0:
        return [0] * len(each), 0
    scale = FACTOR_BITS[k] - int(np.frexp(largest)[1])
    scale = min(max(scale, frac_bits), frac_bits + k - 3)
    whole = [round(ldexp(weight, scale)) for weight in each]
    spare = (
        min((number & -number).bit_length() - 1 for number in whole if number) if any(whole) else 0
    )
    spare = min(spare, scale - frac_bits)
    return [number >> spare for number in whole], scale - frac_bits - spare
