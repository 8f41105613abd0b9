"""Launchers of ``kernels/steps.cu``: step functions of a secret from its packed bits, on a device.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.steps`; one launch
for each stream makes a party's words and sums them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from he_gpu.backend.definition.sharing import Stream
from he_gpu.backend.definition.steps import BLOCK_BYTES, words_per_row
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.operands import packed, word_type
from he_gpu.backend.device.planes import THREADS
from he_gpu.backend.device.prg import check_blocks, stream_words
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError


def step_shares(
    device: KernelDevice,
    opened: Array,
    bits: Array,
    streams: Sequence[Stream],
    weights: Array,
    constants: Array,
    n: int,
    hosted: range,
) -> Array:
    """Return additive shares of ``constants + weights @ (v ^ m)``, for words that wrap."""
    name = "step_shares"
    dtype, last = word_type(name, "weights", weights), len(streams)
    if weights.ndim != 2 or constants.shape != weights.shape[:1] or constants.dtype != dtype:
        raise ArgumentValueError(
            f"{name}: weights must have shape (sets, rows) and constants (sets,), "
            f"got {weights.shape} and {constants.shape} of {constants.dtype}"
        )
    if not streams or not 0 <= hosted.start <= hosted.stop <= last + 1:
        raise ArgumentValueError(
            f"{name}: hosted must be parties of {last + 1}, at least 2, got {hosted}"
        )
    sets, rows = weights.shape
    planes = rows, -(-n // 64)
    opened = packed(device, name, "opened", opened, planes)
    bits = packed(device, name, "bits", bits, planes)
    groups = words_per_row(n, dtype) * dtype.itemsize // BLOCK_BYTES
    check_blocks(name, rows * n, rows * groups)
    result = device.xp.empty((len(hosted), sets, n), dtype)
    if not result.size:
        return result
    public = _kept(device, weights.tobytes(), dtype), _kept(device, constants.tobytes(), dtype)
    rest = result[-1] if last in hosted else None
    sizes = np.uint64(n), np.uint32(rows), np.uint32(sets)
    kernel = f"{name}_ring_u{8 * dtype.itemsize}"
    for party, stream in enumerate(streams):
        share = result[party - hosted.start] if party in hosted else None
        words = np.uint32(party == 0), *stream_words(name, *stream)
        arguments = (opened, bits, *public, share, rest, *sizes, *words)
        if share is not None or rest is not None:
            device.launch("steps", kernel, grid_1d(groups, THREADS), (THREADS,), arguments)
    return result


@lru_cache(maxsize=1024)
def _kept(device: KernelDevice, words: bytes, dtype: np.dtype[Any]) -> Array:
    """Return public words on the device, where they stay for the next time."""
    return device.asarray(np.frombuffer(words, dtype).copy())
