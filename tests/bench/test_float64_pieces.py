"""The peer's method that benchmarks compare with is exact where its bound says so."""

import numpy as np
import pytest

from bench import float64_pieces

EDGES = np.array([0, 1, 2**16 - 1, 2**22, 2**63, 2**64 - 1], np.uint64)


@pytest.mark.parametrize("k", [1, 3, 255, 256, 511, 1152])
def test_equals_wrapping_words(k):
    rng = np.random.default_rng(k)
    a, b = rng.integers(0, 2**64 - 1, (5, k), np.uint64), rng.integers(0, 2**64 - 1, (k, 7), "u8")
    a[0], b[:, 0] = 2**64 - 1, 2**64 - 1
    a[1] = np.resize(EDGES, k)
    np.testing.assert_array_equal(float64_pieces.matmul(np, a, b), a @ b)


def test_pieces_are_those_of_the_word():
    for bits, count in ((22, 3), (16, 4)):
        parts = float64_pieces.pieces(np, EDGES, bits, count)
        joined = sum(
            part.astype(np.uint64).astype(object) << bits * i for i, part in enumerate(parts)
        )
        assert joined.tolist() == EDGES.tolist()


def test_bounds_are_of_float64():
    assert float64_pieces.deepest(22) == 512
    assert float64_pieces.deepest(16) >= 2**21
    for k in (1, 255, 256, 2**21):
        bits, count = float64_pieces.piece_bits(k)
        assert bits * count >= 64
        assert k * (2**bits - 1) ** 2 <= 2**53
    a = np.ones((1, 2**21 + 65), np.uint64)
    with pytest.raises(ValueError, match="k must be at most 2097216, got 2097217"):
        float64_pieces.matmul(np, a, a.T)
