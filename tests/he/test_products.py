"""Sums of products that are relinearised once."""

import numpy as np
import pytest

from he_gpu.errors import ArgumentValueError, ExhaustedLevelError, KeyMismatchError
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


def test_dot_refuses():
    holder = context()
    X = holder.encrypt(VECTORS[0])
    for left, right in (([], []), ([X], []), ([X, X], [X])):
        with pytest.raises(ArgumentValueError, match="must have one length, 1 at least"):
            dot(left, right)
    with pytest.raises(ArgumentValueError, match="must have one length, got 50 and 49"):
        dot([X], [holder.encrypt(VECTORS[0][1:])])
    with pytest.raises(KeyMismatchError):
        dot([X], [Ckks(parameters(), "cpu", seed=9).encrypt(VECTORS[0])])
    with pytest.raises(ExhaustedLevelError, match="dot"):
        dot([X, X], [X, X.at_level(0)])
