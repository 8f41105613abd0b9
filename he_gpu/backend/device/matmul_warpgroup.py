"""Launchers of ``kernels/matmul_warpgroup.cu``: the products of residues on sm_90a.

Layer: backend, in place of the cut and the products of `matmul_residue`, which divides a product
into parts and joins the residues. Defined by `he_gpu.backend.definition.matmul_residue` as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from he_gpu.backend.definition.words import Array, word_dtype
from he_gpu.backend.device.matmul_residue import (
    CHUNK,
    ResidueKernels,
    constants,
    distinct,
    launch_cut,
)
from he_gpu.backend.device.operands import operand
from he_gpu.backend.device.residue_parts import Piece
from he_gpu.backend.launch import KernelDevice
from he_gpu.errors import ArgumentValueError

FAMILY = "matmul_warpgroup"
CAPABILITY = (9, 0)
"""The one architecture that has products of warpgroups."""
LINES = 128
"""Of a tile: rows of a, or columns of b."""
DEPTH = 128
"""Of a tile."""
ROWS, COLUMNS = 128, 256
"""Results that a block makes, from one tile of a and two of b in each step."""
STAGES = 4
THREADS = 288
ALIGNMENT = 1024
SHARED_BYTES = STAGES * (ROWS + COLUMNS) * DEPTH + ALIGNMENT + STAGES * 16
"""The stages, room to align them, and two barriers of each."""


def cut_tiles(device: KernelDevice, words: Array, modulus: int, count: int) -> Array:
    """Cut words into balanced residues modulo small numbers, in tiles.

    Args:
        device: where the words lie.
        words: (..., lines, depth) with any steps. Batches along a step of 0 are cut once.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        count: of small moduli.

    Returns:
        (count, ..., tiles, bytes) int8: of each 128 lines the steps of 128 of the depth, 16 KiB
        each; both filled up with zeros. The size of a batch axis along which words repeat is 1.
    """
    words = distinct(operand(device, "cut_tiles", "words", words, word_dtype(modulus)))
    *batch, lines, depth = words.shape
    down, deep = -(-lines // LINES), -(-depth // DEPTH)
    tiles = device.xp.empty((count, *batch, down, deep * LINES * DEPTH), np.int8)
    launch_cut(device, FAMILY, "cut_tiles", words, modulus, tiles)
    return tiles


def multiply_tiles(
    device: KernelDevice,
    tiles: Sequence[Array | None],
    tile_steps: Sequence[tuple[int, ...]],
    sizes: tuple[int, int, int, int],
    piece: Piece,
) -> Array:
    """Multiply tiles and reduce the sums modulo each small modulus.

    Args:
        device: where the tiles lie, of compute capability 9.0 or the emulator.
        tiles: of a and of the transposed b, and the same of a2 and b2, or None; each begins where
            the piece does.
        tile_steps: of each, in bytes: (modulus, party, batch, 128 lines).
        sizes: batches, parties, m, n.
        piece: of the depth.

    Returns:
        (count, batches, m, n filled up to a multiple of 16) uint8.

    Raises:
        ArgumentValueError: the device has no products of warpgroups.
    """
    if device.name != "emulator" and device.compute_capability != CAPABILITY:
        raise ArgumentValueError(
            f"matmul_warpgroup: the GPU must have compute capability {CAPABILITY}, "
            f"got {device.compute_capability}"
        )
    batches, _, m, n = sizes
    count = 0 if tiles[0] is None else len(tiles[0])
    depths = piece.n_steps(DEPTH)
    shape = (count, batches, m, -(-n // CHUNK) * CHUNK)
    if not any(depths):
        return device.xp.zeros(shape, np.uint8)
    products = device.xp.empty(shape, np.uint8)
    arguments: list[object] = []
    for x, step in zip(tiles, tile_steps, strict=True):
        arguments += (x, *map(np.int64, step))
    arguments += (products, constants(device, count))
    arguments += map(np.uint64, (count, *sizes, *depths))
    blocks = count * batches * -(-m // ROWS) * -(-n // COLUMNS)
    device.launch(
        FAMILY,
        "multiply_tiles_s8",
        (min(blocks, device.multiprocessors),),
        (THREADS,),
        arguments,
        shared_bytes=SHARED_BYTES,
    )
    return products


class Warpgroups(ResidueKernels):
    """Residues in tiles, as one copy brings them, and products of warpgroups."""

    form = "tiles"
    rows, columns, step = ROWS, COLUMNS, DEPTH
    lines = LINES

    def cut(self, device: KernelDevice, words: Array, modulus: int, count: int) -> Array:
        """Cut words into tiles."""
        return cut_tiles(device, words, modulus, count)

    def multiply(
        self,
        device: KernelDevice,
        planes: Sequence[Array | None],
        plane_steps: Sequence[tuple[int, ...]],
        sizes: tuple[int, int, int, int],
        piece: Piece,
    ) -> Array:
        """Multiply tiles, as `multiply_tiles` does."""
        return multiply_tiles(device, planes, plane_steps, sizes, piece)


TILES = Warpgroups()
