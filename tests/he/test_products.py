"""Sums of products that are relinearised once."""

import numpy as np
import pytest

from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ExhaustedLevelError,
    KeyMismatchError,
)
from he_gpu.he import noise
from he_gpu.he.context import Ckks
from he_gpu.he.products import dot
from tests.he.contexts import assert_within, context, parameters, reals

VECTORS = [reals(50, seed=seed, size=size) for seed, size in enumerate((1, 2, 0.1, 5, 1, 1))]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_dot(n):
    holder = context()
    X = [holder.encrypt(values) for values in VECTORS]
    result = dot(X[:n], X[3 : 3 + n])
    expected = sum(a * b for a, b in zip(VECTORS[:n], VECTORS[3 : 3 + n], strict=True))
    assert_within(holder, result, expected)
    assert result.level == X[0].level - 1
    if n > 1:
        single = sum((a * b for a, b in zip(X[1:n], X[4 : 3 + n], strict=True)), X[0] * X[3])
        assert result.error < single.error
        assert result.size == single.size


def test_dot_of_one_is_the_product():
    X, Y = (context().encrypt(values) for values in VECTORS[:2])
    result, product = dot([X], [Y]), X * Y
    assert np.array_equal(result.components, product.components)
    assert (result.size, result.error) == (product.size, pytest.approx(product.error, rel=1e-12))


def test_dot_of_different_levels_and_kinds():
    holder = context()
    X, Y, Z = (holder.encrypt(values) for values in VECTORS[:3])
    W = holder.encrypt(1j * VECTORS[3])
    result = dot([X, X * Y], [W, Z])
    expected = VECTORS[0] * 1j * VECTORS[3] + VECTORS[0] * VECTORS[1] * VECTORS[2]
    assert_within(holder, result, expected)
    assert result.level == X.level - 2


@pytest.mark.parametrize("folds", [[1], [4, 8, -3], [1, 2, 4, 8, 16, 32, 64, 128, 256]])
@pytest.mark.parametrize("own_keys", [True, False])
def test_dot_with_sums_over_slots(folds, own_keys):
    """Rotations come before the rescaling: nearer to the sums, and less error, than after it."""
    holder = context()
    party = holder.public([*folds] if own_keys else None)
    slots = holder.slots
    vectors = [reals(slots, seed=seed) for seed in range(4)]
    X = [party.encrypt(values) for values in vectors]
    result, after = dot(X[:2], X[2:], folds), dot(X[:2], X[2:])
    expected = vectors[0] * vectors[2] + vectors[1] * vectors[3]
    for steps in folds:
        expected, after = expected + np.roll(expected, -steps), after + after.rotate(steps)
    assert_within(holder, result, expected)
    assert (result.level, result.size) == (X[0].level - 1, 2 ** (1 + len(folds)))
    each = noise.product(X[0].size, X[0].error, X[2].size, X[2].error)
    assert 2 ** (1 + len(folds)) * each < result.error < after.error
    known = dot(X[:2], X[2:], folds, size=100.0)
    assert known.size == min(100, result.size)
    assert np.array_equal(known.components, result.components)


def test_dot_of_short_vectors_with_sums_over_slots():
    holder = context()
    X, Y = (holder.encrypt(values) for values in VECTORS[:2])
    product = VECTORS[0] * VECTORS[1]
    result = dot([X], [Y], [-3])
    assert_within(holder, result, product + np.r_[np.zeros(3), product[:-3]])
    assert_within(holder, result.rotate(3), np.r_[product[3:], np.zeros(3)] + product)
    with pytest.raises(ArgumentValueError, match="dot: slots behind the vectors have parts of sum"):
        dot([X.sum()], [Y.sum()], [1])
    party = Ckks(parameters(1), "cpu", seed=1).public([7], conjugation=False)
    X, Y = (party.encrypt(values) for values in VECTORS[:2])
    with pytest.raises(ArgumentValueError, match=r"a rotation by \d+ needs a Galois key"):
        dot([X], [Y], [5])


@pytest.mark.parametrize("size", [0.5, 2.0**-12])
def test_decryption_finds_a_size_that_was_stated_too_small(size):
    """Also where so few limbs are decrypted for it that the values wrap around."""
    holder = context()
    X, Y = (holder.encrypt(np.full(50, 0.8)) for _ in range(2))
    for wrong in (dot([X, X], [Y, Y], size=size), (X * Y).replace(size=size)):
        with pytest.raises(ArgumentValueError, match=r"Ckks.decrypt: a value of size .* came out"):
            holder.decrypt(wrong)
    right = dot([X], [Y], size=0.65)
    assert_within(holder, right, np.full(50, 0.64))


def test_dot_refuses():
    holder = context()
    X = holder.encrypt(VECTORS[0])
    for left, right in (([], []), ([X], []), ([X, X], [X])):
        with pytest.raises(ArgumentValueError, match="must have one length, 1 at least"):
            dot(left, right)
    for other in (VECTORS[0], 1, None):
        with pytest.raises(ArgumentTypeError, match="dot: Ciphertexts expected, got"):
            dot([X], [other])
    with pytest.raises(ArgumentValueError, match="must have one length, got 50 and 49"):
        dot([X], [holder.encrypt(VECTORS[0][1:])])
    with pytest.raises(KeyMismatchError):
        dot([X], [Ckks(parameters(), "cpu", seed=9).encrypt(VECTORS[0])])
    with pytest.raises(ExhaustedLevelError, match="dot"):
        dot([X, X], [X, X.at_level(0)])
