"""Secrets and errors: their distributions, and the tails that bounds on noise rest upon."""

import math

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.he.sampling import (
    ERROR_BOUND,
    ERROR_VARIANCE,
    TERNARY_VARIANCE,
    error,
    normal,
    normal_integers,
    ternary,
)
from he_gpu.ring import Prg

N = 2**18
ERRORS = {k: math.comb(2 * ERROR_BOUND, ERROR_BOUND + k) / 4**ERROR_BOUND for k in range(-21, 22)}
TERNARY = dict.fromkeys((-1, 0, 1), 1 / 3)


def prg(key=7):
    return Prg(bytes([key] * 32), get_backend("cpu"))


def chi_square(sample, distribution):
    """Pearson's statistic in deviations from its mean; classes expected less than 10 times join."""
    common = {k: p for k, p in distribution.items() if p * len(sample) >= 10}
    counts = [np.count_nonzero(sample == k) for k in common] + [len(sample)]
    expected = [p * len(sample) for p in common.values()] + [len(sample)]
    rest = 1 - sum(common.values())
    counts[-1] -= sum(counts[:-1])
    expected[-1] = rest * len(sample)
    if rest * len(sample) < 10:
        counts, expected = counts[:-1], expected[:-1]
    freedom = len(counts) - 1
    value = sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))
    return (value - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize(("draw", "distribution"), [(ternary, TERNARY), (error, ERRORS)])
def test_distribution(draw, distribution):
    sample = draw(prg(), (4, N // 4))
    assert sample.dtype == np.int64
    assert sample.shape == (4, N // 4)
    assert set(np.unique(sample).tolist()) <= set(distribution)
    # The keys are fixed; of another key so large a statistic would come with probability 1e-6.
    assert abs(chi_square(sample.ravel(), distribution)) < 8


@pytest.mark.parametrize(
    ("distribution", "variance"), [(TERNARY, TERNARY_VARIANCE), (ERRORS, ERROR_VARIANCE)]
)
def test_variances_and_tails(distribution, variance):
    assert math.isclose(sum(distribution.values()), 1)
    assert math.isclose(sum(p * k * k for k, p in distribution.items()), variance)
    # Sub-Gaussian of their own variance: E exp(x e) <= exp(variance x^2 / 2) for all x.
    for x in np.geomspace(1e-3, 30, 300):
        terms = [math.log(p) + x * k for k, p in distribution.items()]
        most = max(terms)
        log_mean = most + math.log(sum(math.exp(term - most) for term in terms))
        assert log_mean <= variance * x * x / 2 * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("draw", [ternary, error])
def test_calls_and_keys_differ(draw):
    one = prg()
    first, second = draw(one, (1000,)), draw(one, (1000,))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, draw(prg(8), (1000,)))
    assert np.array_equal(first, draw(prg(), (1000,)))
    # Neighbours are independent: of 1000 products the mean is within 6 deviations of zero.
    variance = TERNARY_VARIANCE if draw is ternary else ERROR_VARIANCE
    assert abs((first * second).mean()) < 6 * variance / math.sqrt(1000)


def test_normal_numbers():
    sample = normal(prg(), (4, N // 4))
    assert sample.shape == (4, N // 4)
    assert sample.dtype == np.float64
    assert np.abs(sample).max() < 9
    assert kolmogorov(sample) < 2.7 / math.sqrt(N)
    assert not np.array_equal(sample, normal(prg(8), (4, N // 4)))


def kolmogorov(sample):
    """Distance from the normal distribution: above 2.7 / sqrt(n) with probability below 1e-6."""
    ordered = np.sort(sample.ravel())
    expected = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in ordered.tolist()])
    return np.abs(expected - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()


@pytest.mark.parametrize("log", [3, 30, 43, 44, 53, 70, 95, 130, 300])
def test_normal_integers(log):
    """They are integers of the deviation whose low bits are as random as the high ones."""
    deviation, n = 1.4 * 2.0**log, 4000
    parts = normal_integers(prg(), (n,), deviation)
    sums = [sum(int(part) for part in pair) for pair in zip(*parts, strict=True)]
    assert all(part.is_integer() for part in np.concatenate(parts))
    assert kolmogorov(np.array([float(x) / deviation for x in sums])) < 2.7 / math.sqrt(n) + (
        1 / deviation
    )
    if log >= 30:
        step = 2 ** max(0, log - 95)  # the lowest bit that is drawn
        assert all(x % step == 0 for x in sums)
        low = np.array([x // step % 64 for x in sums])
        assert abs(chi_square(low, dict.fromkeys(range(64), 1 / 64))) < 8


def test_small_normal_integers_are_rounded_normal_numbers():
    integers, nothing = normal_integers(prg(), (1000,), 1e6)
    np.testing.assert_array_equal(integers, np.rint(normal(prg(), (1000,)) * 1e6))
    assert not nothing.any()
