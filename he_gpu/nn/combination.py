"""Sums of values with public real weights, each with one truncation, all in the same rounds.

Layer: nn, above values. What optimisers and running statistics are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ldexp
from typing import NamedTuple

import numpy as np

from he_gpu.errors import RangeError
from he_gpu.mpc.sums import SumOfProducts
from he_gpu.nn.values import Value, is_secret, session_of
from he_gpu.ring.fixedpoint import FACTOR_BITS, word_bits
from he_gpu.tensor import SecretTensor


class Combination(NamedTuple):
    """The sum of values times public numbers.

    Attributes:
        terms: values of one shape, and their weights.
        frac_bits: of a secret sum; public ones are rounded to it where they meet secret ones.
        significant: bits of the largest weight; by default 24, or 12 modulo 2**32.
    """

    terms: tuple[tuple[Value, float], ...]
    frac_bits: int
    significant: int | None = None


_Terms = list[tuple[SecretTensor, float]]


def combined(sums: Sequence[Combination], function: str) -> list[Value]:
    """Return each sum; secret where a term is.

    Args:
        sums: of one session, or public.
        function: for messages.

    Raises:
        RangeError: a weight that is not finite, or that only values of 0 leave room for.

    Range: |x| < 2**(k - 2 - significant - its frac_bits) of the term whose words weigh most.
        Shares cannot see a value beyond; protocol="plain" raises.
    Error: one unit of 2**-frac_bits for each truncation; weights have 3/4 of the significant bits
        or more.
    Cost: for all sums together 1 round with "additive", 2 with "replicated", as the scheme's
        `sums_of_products`, with one truncation for each sum, and one more for terms whose words
        weigh so little beside others that they would lose more than a quarter of their bits; none
        where weights and fraction bits need no truncation.
    Leaks: nothing.
    """
    session = session_of([value for each in sums for value, _ in each.terms], function)
    parts: list[list[Value]] = []
    jobs: list[SumOfProducts] = []
    places: list[tuple[int, int]] = []
    for each in sums:
        if not all(np.isfinite(weight) for _, weight in each.terms):
            raise _refused(function, each.terms, "must be finite")
        hidden = [(value, weight) for value, weight in each.terms if is_secret(value)]
        shown = [value * weight for value, weight in each.terms if not is_secret(value)]
        parts.append([sum(shown[1:], shown[0])] if shown else [])
        if session is None:
            continue
        k = word_bits(session.modulus)
        significant = each.significant or FACTOR_BITS[k]
        for group in _alike(hidden, significant // 4):
            weights, drop = _weights(group, each.frac_bits, significant, k)
            if any(abs(number) >= 2 ** (k - 2) for number in weights):
                raise _refused(function, group, f"must be below 2**{k - 2} as words")
            stack = session.scheme.weighted_sum([value._stack for value, _ in group], weights)
            if drop:
                jobs.append(SumOfProducts((), stack, 0, drop))
                places.append((len(parts) - 1, len(parts[-1])))
            parts[-1].append(SecretTensor(session, stack, each.frac_bits))
    if jobs and session is not None:
        stacks = session.scheme.sums_of_products(jobs)
        for (index, place), stack in zip(places, stacks, strict=True):
            parts[index][place] = SecretTensor(session, stack, sums[index].frac_bits)
    return [sum(group[1:], group[0]) for group in parts]


def _refused(function: str, terms: Sequence[tuple[Value, float]], what: str) -> RangeError:
    found = [float(weight) for _, weight in terms]
    return RangeError(f"{function}: weights of a sum {what}, got {found}; lower lr")


def _alike(terms: _Terms, spare: int) -> list[_Terms]:
    """Return the terms in groups whose words weigh about as much, up to 2**spare."""
    rest = sorted(terms, key=lambda term: -abs(_weight(*term)))
    groups: list[_Terms] = []
    for value, weight in rest:
        if groups and abs(_weight(value, weight)) * 2**spare >= abs(_weight(*groups[-1][0])):
            groups[-1].append((value, weight))
        elif weight or not groups:
            groups.append([(value, weight)])
    return groups


def _weight(value: SecretTensor, weight: float) -> float:
    """Return what a term's words count."""
    return ldexp(float(weight), -value.frac_bits)


def _weights(terms: _Terms, frac_bits: int, significant: int, k: int) -> tuple[list[int], int]:
    """Return integer weights of the words, and how many bits of their sum are to be dropped."""
    each = [_weight(value, weight) for value, weight in terms]
    largest = max(abs(weight) for weight in each)
    if largest == 0:
        return [0] * len(each), 0
    scale = significant - int(np.frexp(largest)[1])
    scale = min(max(scale, frac_bits), frac_bits + k - 3)
    whole = [round(ldexp(weight, scale)) for weight in each]
    zeros = [(number & -number).bit_length() - 1 for number in whole if number]
    spare = min([*zeros, scale - frac_bits])
    return [number >> spare for number in whole], scale - frac_bits - spare
