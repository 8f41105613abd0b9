"""Launchers of ``kernels/matmul_warpgroup.cu``: large products on sm_90a.

Layer: backend, in place of the cut and the products of `matmul_residue`, which divides a product
into parts and joins the residues. Modulo 2^32 limbs take the place of residues. Defined by
`he_gpu.backend.definition.matmul_residue` and, for limbs, by `he_gpu.backend.definition.matmul`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from he_gpu.backend.definition.words import RING_32, Array, word_dtype
from he_gpu.backend.device.matmul_residue import CHUNK, Residues, constants, distinct, launch_cut
from he_gpu.backend.device.operands import operand, steps
from he_gpu.backend.device.plane_kernels import PlaneKernels, Target
from he_gpu.backend.device.residue_parts import Piece
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

FAMILY = "matmul_warpgroup"
LINES = 128
"""Of a tile: rows of a, or columns of b."""
DEPTH = 128
"""Of a tile."""
ROWS, COLUMNS = 128, 256
"""Results that a block makes, from one tile of a and two of b in each step."""
LIMBS = 4
"""Balanced digits of a word modulo 2^32."""
STAGES = 4
THREADS = 288
CUT_THREADS = 256
ALIGNMENT = 1024
SHARED_BYTES = STAGES * (ROWS + COLUMNS) * DEPTH + ALIGNMENT + STAGES * 16
"""The stages, room to align them, and two barriers of each."""


def cut_tiles(device: KernelDevice, words: Array, modulus: int, count: int) -> Array:
    """Cut words into balanced residues modulo small numbers, in tiles.

    Args:
        device: where the words lie.
        words: (..., lines, depth) with any steps. Batches along a step of 0 are cut once.
        modulus: 2^64 or 2 <= q <= 2^63.
        count: of small moduli.

    Returns:
        (count, ..., tiles, bytes) int8: of each 128 lines the steps of 128 of the depth, 16 KiB
        each; both filled up with zeros. The size of a batch axis along which words repeat is 1.
    """
    words = distinct(operand(device, "cut_tiles", "words", words, word_dtype(modulus)))
    tiles = _tiles(device, words, count)
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
    batches, _, m, n = sizes
    count = 0 if tiles[0] is None else len(tiles[0])
    depths = piece.n_steps(DEPTH)
    shape = (count, batches, m, -(-n // CHUNK) * CHUNK)
    products = (device.xp.empty if any(depths) else device.xp.zeros)(shape, np.uint8)
    tail = (products, constants(device, count), *map(np.uint64, (count, *sizes, *depths)))
    if any(depths):
        _launch(device, "multiply_tiles_s8", tiles, tile_steps, count, sizes, tail)
    return products


def cut_limb_tiles(device: KernelDevice, words: Array) -> Array:
    """Cut words modulo 2^32 into balanced digits base 256, in tiles as `cut_tiles` makes them.

    Args:
        device: where the words lie.
        words: (..., lines, depth) with any steps.

    Returns:
        (4, ..., tiles, bytes) int8, the low digits first.
    """
    words = distinct(operand(device, "cut_limb_tiles", "words", words, word_dtype(RING_32)))
    tiles = _tiles(device, words, LIMBS)
    if tiles.size:
        flat = words.reshape(-1, *words.shape[-2:])
        arguments = (flat, *map(np.int64, steps(flat)), tiles, *map(np.uint64, flat.shape))
        grid = grid_1d(tiles.size // LIMBS // CHUNK, CUT_THREADS)
        device.launch(FAMILY, "cut_limb_tiles_u32", grid, (CUT_THREADS,), arguments)
    return tiles


def multiply_limb_tiles(
    device: KernelDevice,
    tiles: Sequence[Array | None],
    tile_steps: Sequence[tuple[int, ...]],
    sizes: tuple[int, int, int, int],
    piece: Piece,
    target: Target,
) -> None:
    """Multiply tiles of digits and write the words modulo 2^32.

    Args:
        device: where the tiles lie, of compute capability 9.0 or the emulator.
        tiles: as `multiply_tiles` takes them, of four digits.
        tile_steps: likewise.
        sizes: batches, parties, m, n.
        piece: of the depth, not empty.
        target: of the words.

    Raises:
        ArgumentValueError: the device has no products of warpgroups.
    """
    arguments: list[object] = [target.add, *map(np.int64, target.add_steps)]
    arguments += (target.out, *map(np.int64, target.out_steps))
    arguments += (*map(np.uint64, (*sizes, *piece.n_steps(DEPTH))), np.uint32(target.accumulate))
    _launch(device, "multiply_limb_tiles_u32", tiles, tile_steps, 1, sizes, arguments)


def _tiles(device: KernelDevice, words: Array, count: int) -> Array:
    """Return room for the tiles of words (..., lines, depth)."""
    *batch, lines, depth = words.shape
    down, deep = -(-lines // LINES), -(-depth // DEPTH)
    return device.xp.empty((count, *batch, down, deep * LINES * DEPTH), np.int8)


def _launch(
    device: KernelDevice,
    kernel: str,
    tiles: Sequence[Array | None],
    tile_steps: Sequence[tuple[int, ...]],
    kinds: int,
    sizes: tuple[int, int, int, int],
    tail: Sequence[object],
) -> None:
    """Start a kernel that multiplies tiles, with a block for each multiprocessor."""
    if device.name != "emulator" and not device.has_warpgroups:
        raise ArgumentValueError(
            f"{kernel}: needs a GPU of compute capability (9, 0) and NVRTC 12.9 or newer, "
            f"got {device.name} of {device.compute_capability}"
        )
    batches, _, m, n = sizes
    arguments: list[object] = []
    for x, step in zip(tiles, tile_steps, strict=True):
        arguments += (x, *map(np.int64, step))
    blocks = kinds * batches * -(-m // ROWS) * -(-n // COLUMNS)
    grid = (min(blocks, device.multiprocessors),)
    arguments += tail
    device.launch(FAMILY, kernel, grid, (THREADS,), arguments, shared_bytes=SHARED_BYTES)


class ResidueTiles(Residues):
    """Residues in tiles, as one copy brings them, and products of warpgroups."""

    form = "residue tiles"
    rows, columns, step = ROWS, COLUMNS, DEPTH
    lines = LINES

    def cut(self, device: KernelDevice, words: Array, modulus: int, count: int) -> Array:
        """Cut words, as `cut_tiles` does."""
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


class LimbTiles(PlaneKernels):
    """Digits modulo 2^32 in tiles, and ten products of them by warpgroups."""

    form = "limb tiles"
    rows, columns, step = ROWS, COLUMNS, DEPTH
    lines = LINES

    def count(self, modulus: int, depth: int) -> int:
        """Return 4: every sum wraps as the words do, however deep."""
        return LIMBS

    def cut(self, device: KernelDevice, words: Array, modulus: int, count: int) -> Array:
        """Cut words, as `cut_limb_tiles` does."""
        return cut_limb_tiles(device, words)

    def write(
        self,
        device: KernelDevice,
        modulus: int,
        planes: Sequence[Array | None],
        plane_steps: Sequence[tuple[int, ...]],
        sizes: tuple[int, int, int, int],
        piece: Piece,
        target: Target,
    ) -> None:
        """Multiply tiles and write words, as `multiply_limb_tiles` does."""
        multiply_limb_tiles(device, planes, plane_steps, sizes, piece, target)


RESIDUE_TILES = ResidueTiles()
LIMB_TILES = LimbTiles()
