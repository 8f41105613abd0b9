"""Slots and coefficients: against the definition, and the rings' product and automorphisms."""

import numpy as np
import pytest

from he_gpu.he import noise
from he_gpu.he.embedding import rotation_exponent, to_coefficients, to_slots
from tests.he.roots_of_unity import (
    fine_coefficients,
    fine_slots,
    powers_of_five,
    require_long_doubles,
    values_at,
)


def inputs(n):
    rng = np.random.default_rng(n)
    half = n // 2
    yield rng.uniform(-1, 1, half)
    yield np.exp(2j * np.pi * rng.random(half))
    yield rng.choice([-1.0, 1.0], half)
    yield np.linspace(0, 1, half)
    yield np.full(half, 1 / 3)
    yield np.eye(1, half, 3)[0]


def test_long_double_transforms_are_the_definition():
    require_long_doubles()
    coefficients = np.random.default_rng(1).uniform(-1, 1, 64)
    slots = fine_slots(coefficients)
    # Sums of 64 terms below 1 with 64-bit mantissas.
    assert np.abs(slots - values_at(coefficients, powers_of_five(64))).max() < 64 * 2.0**-60
    assert np.abs(fine_coefficients(slots) - coefficients).max() < 64 * 2.0**-60


@pytest.mark.parametrize("n", [16, 64, 256])
def test_slots_are_values_at_roots(n):
    coefficients = np.random.default_rng(n).uniform(-1, 1, n)
    expected = values_at(coefficients, powers_of_five(n))
    # The bound of a transform, in units of the largest that n terms below 1 can sum up to.
    assert np.abs(to_slots(coefficients) - expected).max() < noise.transform(n, n) + n * 2.0**-52


@pytest.mark.parametrize("n", [1024, 16384, 65536])
def test_errors_of_transforms_are_below_their_bound(n):
    require_long_doubles()
    for slots in inputs(n):
        bound = noise.transform(np.abs(slots).max(), n)
        coefficients = to_coefficients(slots, n)
        assert np.abs(fine_slots(coefficients - fine_coefficients(slots))).max() < bound
        assert np.abs(to_slots(coefficients) - fine_slots(coefficients)).max() < bound


def test_one_number_in_all_slots_is_a_constant_polynomial():
    assert to_coefficients(np.full(32, 0.75), 64).tolist() == [0.75] + [0.0] * 63
    i = to_coefficients(np.full(32, 1j), 64)
    assert np.abs(i - np.eye(1, 64, 32)[0]).max() < noise.transform(1, 64)


def test_leading_axes_are_a_batch():
    slots = np.random.default_rng(2).uniform(-1, 1, (2, 3, 8))
    coefficients = to_coefficients(slots, 16)
    assert coefficients.shape == (2, 3, 16)
    assert np.array_equal(coefficients[1, 2], to_coefficients(slots[1, 2], 16))
    assert np.array_equal(to_slots(coefficients)[1, 2], to_slots(coefficients[1, 2]))


def automorphism(coefficients, power):
    n = len(coefficients)
    moved = np.zeros(n)
    for j, value in enumerate(coefficients):
        target = j * power % (2 * n)
        moved[target % n] += -value if target >= n else value
    return moved


@pytest.mark.parametrize("steps", [0, 1, 5, -1, 31, 32])
def test_rotation_is_an_automorphism(steps):
    coefficients = np.random.default_rng(3).uniform(-1, 1, 64)
    moved = automorphism(coefficients, rotation_exponent(steps, 64))
    expected = np.roll(to_slots(coefficients), -steps)
    assert np.abs(to_slots(moved) - expected).max() < 2 * noise.transform(64, 64)


def test_conjugation_is_an_automorphism():
    coefficients = np.random.default_rng(4).uniform(-1, 1, 64)
    expected = np.conj(to_slots(coefficients))
    moved = to_slots(automorphism(coefficients, 2 * 64 - 1))
    assert np.abs(moved - expected).max() < 2 * noise.transform(64, 64)


def test_products_of_slots_are_products_of_polynomials():
    rng = np.random.default_rng(5)
    a, b = rng.integers(-9, 10, (2, 32))
    product = np.zeros(32, int)
    for i in range(32):
        for j in range(32):
            product[(i + j) % 32] += a[i] * b[j] * (-1 if i + j >= 32 else 1)
    values = to_slots(a.astype(float)) * to_slots(b.astype(float))
    assert np.rint(to_coefficients(values, 32)).astype(int).tolist() == product.tolist()
