"""Moduli, edge values and random words that the tests of every kernel family share."""

import numpy as np

from he_gpu.backend.definition.words import RING_32, RING_64, word_dtype

MODULI = (2, 3, 501337, 2**31 - 1, 2**32, 2**61 - 1, 2**63 - 25, 2**63, 2**64)
WRAPPING = (RING_32, RING_64)
SIZES = (0, 1, 31, 33, 1023, 1025)

_EDGES = (
    *(0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1),
    *(0x8080808080808080, 0x7F7F7F7F7F7F7F7F, 0x80808080, 0xFFFFFFFF00000000),
)


def edges(modulus):
    """The edge values that lie in the ring, with its own largest ones and the middle."""
    own = (modulus - 1, modulus - 2, modulus // 2, modulus // 2 + 1)
    return sorted({value % modulus for value in own} | {v for v in _EDGES if v < modulus})


def random_words(rng, shape, modulus):
    """Words in [0, modulus); their low bias does not matter to a test of arithmetic."""
    wide = rng.integers(0, 2**64, size=shape, dtype=np.uint64)
    if modulus < RING_64:
        wide = wide % np.uint64(modulus)
    return np.asarray(wide, dtype=word_dtype(modulus))


def some_words(rng, shape, modulus):
    """Random words, a third of them replaced by edge values."""
    words = random_words(rng, shape, modulus)
    chosen = np.array(edges(modulus), dtype=np.uint64)[
        rng.integers(0, len(edges(modulus)), size=shape)
    ]
    return np.where(rng.random(shape) < 0.3, chosen.astype(words.dtype), words)


def ints(array):
    """Python integers of an array, flat."""
    return [int(word) for word in np.asarray(array).ravel()]


def to_host(array):
    return array if isinstance(array, np.ndarray | np.generic) else array.get()


def assert_same(result, expected):
    """Bit for bit the same words, shape and dtype."""
    result, expected = to_host(result), np.asarray(to_host(expected))
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)
