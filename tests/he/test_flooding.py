"""Noise of published results: its divergence, its bound, and what it costs."""

import math

import numpy as np
import pytest

from he_gpu.he import flooding, noise
from he_gpu.he.embedding import to_coefficients, to_slots

N = 2048


def noisy_slots(deviation, trials, seed):
    """Slots of independent normal coefficients, of a deviation in slots."""
    rng = np.random.default_rng(seed)
    return to_slots(rng.normal(0, deviation / math.sqrt(N), (trials, N)))


@pytest.mark.parametrize(("queries", "n", "size"), [(1, 1, 1.0), (1000, 4096, 2.0**-20), (7, 9, 3)])
def test_divergence(queries, n, size):
    """What the deviation gives is the documented divergence, whatever errors the bound allows."""
    deviation = flooding.deviation(size, queries, 2 * n)
    errors = size * np.exp(2j * np.pi * np.random.default_rng(n).random(n))
    parts = np.concatenate([errors.real, errors.imag])
    divergence = queries * (parts @ parts) / (2 * (deviation / math.sqrt(2)) ** 2)
    assert math.isclose(divergence, 2.0**-flooding.STATISTICAL_BITS / 24)


def test_what_the_divergence_promises():
    divergence = 2.0**-flooding.STATISTICAL_BITS / 24
    assert math.sqrt(divergence / 2) < 2**-22.7
    event, rare = 2.0**-50, 2.0**-128
    of_coins = event * math.log(event / rare) + (1 - event) * math.log1p(-event)
    assert of_coins > divergence


def test_noise_in_coefficients_is_independent_in_slots():
    """Parts of slots have half the variance, no two of them any correlation."""
    slots = noisy_slots(3.0, 4000, 1)[:, :4]
    parts = np.concatenate([slots.real, slots.imag], axis=1)
    covariance = parts.T @ parts / len(parts)
    assert np.abs(covariance - 4.5 * np.eye(8)).max() < 6 * 4.5 * math.sqrt(2 / 4000)


def test_coefficients_of_an_error_are_no_longer_than_its_largest_slot():
    """So that the noise hides the whole polynomial, not slots alone."""
    errors = np.random.default_rng(10).uniform(-1, 1, N)
    assert np.linalg.norm(errors) <= np.abs(to_slots(errors)).max() * (1 + 1e-12)
    worst = to_coefficients(np.exp(2j * np.pi * np.random.default_rng(2).random(N // 2)), N)
    assert math.isclose(np.linalg.norm(worst), 1)


@pytest.mark.parametrize("n", [1, N // 2])
def test_bound_holds(n):
    deviation = flooding.deviation(2.0**-30, 10, 2 * n)
    measured = np.abs(noisy_slots(deviation, 200, 3)[:, :n]).max(axis=1)
    bound = flooding.flooded(2.0**-30, 10, 2 * n)
    assert measured.max() < bound < 8 * measured.mean()


def test_tail_is_the_stated_one(monkeypatch):
    monkeypatch.setattr(flooding, "FAILURE_BITS", 4)
    deviation = flooding.deviation(1.0, 1, N)
    failures = (np.abs(noisy_slots(deviation, 1000, 4)) > flooding.flooded(1.0, 1, N)).any(axis=1)
    assert 0 < failures.mean() < 2**-4


def test_lost_bits_grow_with_queries_and_degree():
    one = flooding.lost_bits(1, 8192)
    assert math.isclose(flooding.lost_bits(4, 8192), one + 1, abs_tol=1e-6)
    assert 0.5 < flooding.lost_bits(1, 16384) - one < 0.6
    assert 30 < one < 33


def test_more_statistical_bits_do_not_fit(monkeypatch):
    """The reason that stands beside `STATISTICAL_BITS`."""
    encoded = noise.encoding(1.0, 2.0**70, 8192)
    assert 14 < -math.log2(flooding.flooded(encoded, 1, 8192)) < 18
    monkeypatch.setattr(flooding, "STATISTICAL_BITS", 64)
    assert -math.log2(flooding.flooded(encoded, 1, 8192)) < 6
