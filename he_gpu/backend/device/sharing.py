"""Launchers of ``kernels/sharing.cu``: words split by streams that never lie in memory.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.sharing`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend.definition.prg import words_per_element
from he_gpu.backend.definition.sharing import Stream
from he_gpu.backend.definition.words import RING_32, Array, word_dtype, wraps
from he_gpu.backend.device.domain import domain, reciprocal_arguments
from he_gpu.backend.device.operands import full, operand, overlaps, word_type, writable
from he_gpu.backend.device.prg import check_blocks, stream_words
from he_gpu.backend.device.protocol import truncated_bits
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

THREADS = 256


def split(
    device: KernelDevice, total: Array, stream: Stream, share: Array, rest: Array, modulus: int
) -> None:
    """Write a stream's uniform words to ``share`` and ``total - share`` to ``rest``."""
    dtype = word_dtype(modulus)
    total = _total(device, "split", total, dtype)
    share = writable(device, "split", "share", share, total.shape, dtype)
    rest = writable(device, "split", "rest", rest, total.shape, dtype)
    if overlaps(device, share, rest) or overlaps(device, share, total):
        raise ArgumentValueError("split: share must not share memory with total or rest")
    constants: tuple[np.generic, ...] = ()
    per_element = 1
    if not wraps(modulus):
        per_element = words_per_element(modulus)
        constants = (np.uint32(per_element), *reciprocal_arguments(modulus))
    groups = _groups("split", total, modulus, per_element)
    if groups:
        arguments = (total, share, rest, np.uint64(total.size), *constants, *_words(stream))
        kernel = f"split_{domain(modulus)}"
        device.launch("sharing", kernel, grid_1d(groups, THREADS), (THREADS,), arguments)


def split_truncated(
    device: KernelDevice,
    total: Array,
    streams: tuple[Stream, Stream, Stream, Stream],
    c: tuple[Array, Array],
    low: tuple[Array, Array],
    top: tuple[Array, Array],
    bits: int,
) -> None:
    """Subtract a truncation's mask from words, and split the difference and the mask's parts."""
    dtype = word_type("split_truncated", "total", total)
    total = _total(device, "split_truncated", total, dtype)
    outputs = [
        writable(device, "split_truncated", f"{name}[{i}]", half, total.shape, dtype)
        for name, halves in (("c", c), ("low", low), ("top", top))
        for i, half in enumerate(halves)
    ]
    arrays = [total, *outputs]
    for i, array in enumerate(arrays):
        if any(overlaps(device, array, other) for other in arrays[:i]):
            raise ArgumentValueError("split_truncated: no two arrays may share memory")
    modulus = 2 ** (8 * dtype.itemsize)
    dropped = truncated_bits("split_truncated", bits, dtype)
    groups = _groups("split_truncated", total, modulus, 1)
    if groups:
        words = [word for stream in streams for word in _words(stream)]
        arguments = (*arrays, np.uint64(total.size), dropped, *words)
        kernel = f"split_truncated_{domain(modulus)}"
        device.launch("sharing", kernel, grid_1d(groups, THREADS), (THREADS,), arguments)


def _total(device: KernelDevice, function: str, total: Any, dtype: np.dtype[Any]) -> Array:
    total = operand(device, function, "total", total, dtype)
    return full(device, function, "total", total, total.shape)


def _groups(function: str, total: Array, modulus: int, per_element: int) -> int:
    """Return how many groups of elements there are, each of whole blocks of a stream."""
    groups = -(-total.size // (16 if modulus == RING_32 else 8))
    check_blocks(function, total.size, groups * per_element)
    return int(groups)


def _words(stream: Stream) -> list[Any]:
    return stream_words("split", *stream)
