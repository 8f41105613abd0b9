"""Operands of the limb kernel that are `Kept`: cut into planes once, read by many products.

Layer: backend, under the launcher of the matrix product. Knows how ``cut_planes`` of
``kernels/matmul_limb.cu`` lays planes out, and not when they pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from he_gpu.backend.definition.words import Array, word_dtype
from he_gpu.backend.device.domain import domain
from he_gpu.backend.device.matmul_limb import DEPTH, FAMILY, limb_kernel
from he_gpu.backend.device.operands import operand, steps
from he_gpu.backend.kept import Kept
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

THREADS = 256


def planes(device: KernelDevice, words: Array, modulus: int) -> Array:
    """Cut a left operand into the planes that the kernel with kept planes copies as they are.

    Args:
        device: where the words lie.
        words: (..., m, k) with any steps, m and k not 0. Batches along a step of 0 are cut once.
        modulus: 2^64 or 2^32.

    Returns:
        (..., rows of tiles, steps of depth): the first byte of each step's planes, and 1 for the
        size of a batch axis along which words repeat. What lies beyond m and k is filled up with
        zeros, so planes take as many bytes as the words of m rounded up to a tile and of k rounded
        up to 32.
    """
    kernel = limb_kernel(modulus, kept=True)
    if kernel is None:
        raise ArgumentValueError(f"planes: modulus must be 2^64 or 2^32, got {modulus}")
    words = operand(device, "planes", "words", words, word_dtype(modulus))
    batch_steps = steps(words)[:-2]
    words = words[tuple(slice(None) if step else slice(1) for step in batch_steps)]
    *batch, m, k = words.shape
    flat = words.reshape(-1, m, k)
    tiles, depth_steps = -(-m // kernel.rows), -(-k // DEPTH)
    result = device.xp.empty((*batch, tiles, depth_steps, kernel.plane_bytes), np.uint8)
    grid = grid_1d(len(flat) * tiles * depth_steps, 1)
    sizes = map(np.uint64, flat.shape)
    arguments = (flat, *map(np.int64, steps(flat)), result, *sizes)
    device.launch(FAMILY, f"cut_planes_{domain(modulus)}", grid, (THREADS,), arguments)
    return result[..., 0]


def kept_side(operands: Sequence[Array | Kept]) -> int | None:
    """Return the side on which every product's operand is `Kept`: 0 left, 1 right, or None."""
    for side in (0, 1):
        if all(isinstance(x, Kept) for x in operands[side::2]):
            return side
    return None


def with_planes(
    device: KernelDevice,
    arrays: Sequence[Array],
    operands: Sequence[Array | Kept],
    side: int,
    modulus: int,
) -> list[Array]:
    """Return the operands with planes, cut now or before, in place of the words of one side.

    A right operand's are those of its transpose, which is the left one of the transposed problem.
    """
    mixed = list(arrays)
    for i in range(side, len(mixed), 2):
        kept: Any = operands[i]
        left = kept.transposed() if side == 1 else kept
        mixed[i] = left.form("planes", lambda words: planes(device, words, modulus))
    return mixed


def turned(arrays: Sequence[Any]) -> list[Any]:
    """Return the arrays of the transposed problem, where the planes of b are the left operand."""
    a, b, a2, b2, add, out = arrays
    a, a2, add, out = (x if x is None else x.swapaxes(-1, -2) for x in (a, a2, add, out))
    return [b, a, b2, a2, add, out]
