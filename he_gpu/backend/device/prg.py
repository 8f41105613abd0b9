"""Launchers of ``kernels/prg.cu``: keystream and uniform ring elements on a device.

Layer: backend. Same results as `he_gpu.backend.definition.prg`; uniform elements are made
straight from key and nonce, so no keystream ever lies in memory.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from he_gpu.backend.definition.prg import WORDS_PER_BLOCK, words_per_element
from he_gpu.backend.definition.sharing import CountedNonce
from he_gpu.backend.definition.words import (
    RING_32,
    RING_64,
    Array,
    is_power_of_two,
    word_dtype,
)
from he_gpu.backend.device.domain import domain, reciprocal_arguments
from he_gpu.backend.device.operands import target
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentTypeError, ArgumentValueError

THREADS = 256
MAX_BLOCKS = 2**32
"""The block counter has 32 bits; one nonce stays below this many blocks."""


def keystream(device: KernelDevice, key: bytes, nonce: bytes, n_words: int) -> Array:
    """Return the first words of a ChaCha20 keystream, (n_words,) uint64 on the device."""
    return _generate(device, "keystream", key, nonce, n_words, RING_64, None)


def uniform(
    device: KernelDevice,
    key: bytes,
    nonce: bytes,
    n: int,
    modulus: int,
    out: Array | None = None,
) -> Array:
    """Return n uniform ring elements, those of `definition.prg.uniform` on the same keystream.

    Args:
        device: where the elements are made.
        key: 32 bytes.
        nonce: 12 bytes.
        n: number of elements.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        out: contiguous array of n words, of any shape, that takes the result, or None.

    Returns:
        ``out``, or (n,) words in [0, modulus).
    """
    return _generate(device, "uniform", key, nonce, n, modulus, out)


def _generate(
    device: KernelDevice,
    function: str,
    key: bytes,
    nonce: bytes,
    n: int,
    modulus: int,
    out: Array | None,
) -> Array:
    """Check the arguments, allocate and launch."""
    words = stream_words(function, key, nonce)
    per_element = words_per_element(modulus)
    # One thread makes whole blocks: `per_element` of them for every 8 elements, or 16 of 32 bits.
    groups = -(-n // (2 * WORDS_PER_BLOCK if modulus == RING_32 else WORDS_PER_BLOCK))
    check_blocks(function, n, groups * per_element)
    shape = (n,) if out is None or getattr(out, "size", n) != n else out.shape
    result = target(device, function, out, shape, word_dtype(modulus))
    if n == 0:
        return result
    constants: tuple[np.generic, ...] = ()
    kernel = f"uniform_{domain(modulus)}"
    if not is_power_of_two(modulus):
        constants = (np.uint32(per_element), *reciprocal_arguments(modulus))
    elif modulus != RING_32:
        # Of any other power of two an element is the low bits of a word.
        kernel, constants = "uniform_ring_u64", (np.uint64(modulus - 1),)
    arguments = (result, np.uint64(n), *constants, *words)
    device.launch("prg", kernel, grid_1d(groups, THREADS), (THREADS,), arguments)
    return result


def check_blocks(function: str, n: int, blocks: int) -> None:
    """Refuse a number of elements that one nonce's 32-bit block counter cannot serve."""
    if n < 0 or blocks >= MAX_BLOCKS:
        raise ArgumentValueError(
            f"{function}: n must be at least 0 and take fewer than 2^32 blocks, got {n}"
        )


def stream_words(function: str, key: bytes, nonce: bytes) -> list[Any]:
    """Return a stream as the kernels take it, see ``kernels/streams.cuh``."""
    for name, value, size in (("key", key, 32), ("nonce", nonce, 12)):
        if not isinstance(value, bytes | bytearray | memoryview):
            raise ArgumentTypeError(f"{function}: {name} must be bytes, got {type(value).__name__}")
        if len(value) != size:
            raise ArgumentValueError(f"{function}: {name} must have {size} bytes, got {len(value)}")
    low, high = struct.unpack("<QI", nonce)
    calls = nonce.calls if isinstance(nonce, CountedNonce) else None
    return [*map(np.uint64, struct.unpack("<4Q", key)), np.uint64(low), np.uint32(high), calls]
