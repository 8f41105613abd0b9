"""The ChaCha20 keystream (RFC 8439, section 2.3) and the ring elements made from it, in NumPy.

Layer: backend; the definition of ``kernels/prg.cu``. A key stands for one label and a nonce for
one call, as `he_gpu.ring.prg` deals them out; nothing here remembers what was used.
"""

from __future__ import annotations

import numpy as np

from he_gpu.backend.definition.elementwise import reduce_wide
from he_gpu.backend.definition.words import RING_32, RING_64, Array, is_power_of_two, word_dtype

WORDS_PER_BLOCK = 8
"""A ChaCha20 block is 64 bytes: eight 64-bit words."""

_CONSTANTS = np.frombuffer(b"expand 32-byte k", dtype="<u4")
_QUARTER_ROUNDS = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def keystream(key: bytes, nonce: bytes, n_words: int, first: int = 0) -> Array:
    """Return words of a ChaCha20 keystream.

    Args:
        key: 32 bytes.
        nonce: 12 bytes.
        n_words: number of 64-bit words, below 2^35 (the block counter has 32 bits).
        first: the block that they start at.

    Returns:
        (n_words,) uint64, little-endian words of blocks first, first + 1, ...
    """
    n_blocks = -(-n_words // WORDS_PER_BLOCK)
    state = np.empty((16, n_blocks), np.uint32)
    state[:4] = _CONSTANTS[:, None]
    state[4:12] = np.frombuffer(key, dtype="<u4")[:, None]
    state[12] = np.arange(first, first + n_blocks, dtype=np.uint32)
    state[13:] = np.frombuffer(nonce, dtype="<u4")[:, None]
    mixed = state.copy()
    for _ in range(10):
        for a, b, c, d in _QUARTER_ROUNDS:
            _mix(mixed, a, b, d, 16)
            _mix(mixed, c, d, b, 12)
            _mix(mixed, a, b, d, 8)
            _mix(mixed, c, d, b, 7)
    mixed += state
    return np.ascontiguousarray(mixed.T).astype("<u4", copy=False).reshape(-1).view("<u8")[:n_words]


def _mix(state: Array, a: int, b: int, d: int, bits: int) -> None:
    """Add row b to row a, exclusive-or the sum into row d and rotate row d left."""
    state[a] += state[b]
    state[d] ^= state[a]
    state[d] = (state[d] << np.uint32(bits)) | (state[d] >> np.uint32(32 - bits))


def words_per_element(modulus: int) -> int:
    """Return how many keystream words of the ring's size one uniform element takes.

    One where the ring is a power of two. Otherwise an element is 128 bits reduced modulo q for
    q <= 2^48 and 192 bits beyond: its distance from uniform is at most q / 2^128 <= 2^-80, or
    2^63 / 2^192 = 2^-129, so even 2^40 elements stay 2^-40 away in total.
    """
    if is_power_of_two(modulus):
        return 1
    return 2 if modulus <= 2**48 else 3


def n_keystream_words(n: int, modulus: int) -> int:
    """Return how many 64-bit keystream words n uniform elements take."""
    return -(-n // 2) if modulus == RING_32 else n * words_per_element(modulus)


def uniform(words: Array, n: int, modulus: int, out: Array | None = None) -> Array:
    """Turn keystream words into uniform ring elements.

    Args:
        words: uint64 keystream, `n_keystream_words` of them.
        n: number of elements.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        out: array that takes the result, or None.

    Returns:
        (n,) words in [0, modulus). Element i of Z_2^32 is the i-th 32-bit keystream word; of any
        other power of two, the low bits of word i; of other rings the words i w .. i w + w - 1
        read as one integer, first word highest, and reduced.
    """
    if modulus == RING_32:
        elements = words.view("<u4")[:n]
    elif modulus == RING_64:
        elements = words
    elif is_power_of_two(modulus):
        elements = np.bitwise_and(words, np.uint64(modulus - 1))
    else:
        columns = words.reshape(n, words_per_element(modulus))
        elements = np.zeros(n, np.uint64)
        for column in columns.T:
            elements = reduce_wide(elements, column, modulus)
    if out is None:
        return elements.astype(word_dtype(modulus), copy=False)
    out.reshape(-1)[...] = elements
    return out
