"""Launchers of ``kernels/matmul_residue.cu``: matrix products by residues modulo small numbers.

Layer: backend, under the launcher of the matrix product, which checks operands and may force a
kernel. Same names and results as in `he_gpu.backend.definition.matmul_residue`, but that planes
have their depth last, filled up with zeros. Operands that are `Kept` are cut once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.definition.matmul_residue import modulus_table, n_moduli, weights
from he_gpu.backend.definition.words import Array, word_dtype, wraps
from he_gpu.backend.device.crossovers import RESIDUE_BYTES, ResidueCrossover
from he_gpu.backend.device.domain import domain, reciprocal_arguments
from he_gpu.backend.device.operands import fold, operand, steps
from he_gpu.backend.device.plane_kernels import PlaneKernels, Target
from he_gpu.backend.device.residue_parts import (
    COLUMNS,
    MOST_PARTIES,
    ROWS,
    STEP,
    Piece,
    middle,
    padded,
    pieces,
)
from he_gpu.backend.kept import Kept
from he_gpu.backend.launch import MAX_GRID, KernelDevice, grid_1d

FAMILY = "matmul_residue"
CAPABILITY = (8, 0)
"""The first architecture with `mma` on bytes and asynchronous copies."""
LARGEST_SIDE = 2**31 - 1
THREADS = 256
STAGES = 4
SHARED_BYTES = STAGES * (ROWS + COLUMNS) * STEP
CHUNK = 16
"""Words that a thread cuts, and to a multiple of which products' rows are filled up."""
QUAD = 4


def serves(device: KernelDevice, sizes: Sequence[int], bound: ResidueCrossover) -> bool:
    """Tell whether products of these sizes are past a crossover.

    Args:
        device: that runs them.
        sizes: batches, parties, m, n, k, k2.
        bound: of the ring.
    """
    batches, parties, m, n, k, k2 = sizes
    depth = parties * (k + k2)
    return (
        device.compute_capability >= CAPABILITY
        and min(m, n) >= bound.side
        and depth >= bound.depth
        and batches * m * n >= bound.results
        and max(m, n) <= LARGEST_SIDE
        and parties <= MOST_PARTIES
    )


def cut_residues(device: KernelDevice, words: Array, modulus: int, count: int) -> Array:
    """Cut words into balanced residues modulo small numbers, in planes.

    Args:
        device: where the words lie.
        words: (..., lines, depth) with any steps. Batches along a step of 0 are cut once.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        count: of small moduli.

    Returns:
        (count, ..., lines, filled depth) int8: the depth is filled up with zeros to a multiple of
        64, and the size of a batch axis along which words repeat is 1.
    """
    words = distinct(operand(device, "cut_residues", "words", words, word_dtype(modulus)))
    *batch, lines, depth = words.shape
    planes = device.xp.empty((count, *batch, lines, padded(slice(0, depth))), np.int8)
    launch_cut(device, FAMILY, "cut_residues", words, modulus, planes)
    return planes


def distinct(words: Array) -> Array:
    """Return matrices without those that repeat: batch axes along a step of 0 get size 1."""
    return words[tuple(slice(None) if step else slice(1) for step in steps(words)[:-2])]


def launch_cut(
    device: KernelDevice, family: str, kernel: str, words: Array, modulus: int, planes: Array
) -> None:
    """Start the kernel of a family that cuts words (..., lines, depth) into planes (count, ...)."""
    count = len(planes)
    if planes.size:
        flat = words.reshape(-1, *words.shape[-2:])
        sizes = (*flat.shape, 0 if wraps(modulus) else modulus)
        arguments = (
            *(flat, *map(np.int64, steps(flat)), planes, constants(device, count)),
            *(*map(np.uint64, sizes), np.uint32(count)),
        )
        grid = grid_1d(planes.size // count // CHUNK, THREADS)
        width = "u32" if words.dtype == np.uint32 else "u64"
        device.launch(family, f"{kernel}_{width}", grid, (THREADS,), arguments)


def multiply_residues(
    device: KernelDevice,
    planes: Sequence[Array | None],
    plane_steps: Sequence[tuple[int, ...]],
    sizes: tuple[int, int, int, int],
    piece: Piece,
) -> Array:
    """Multiply planes and reduce the sums modulo each small modulus.

    Args:
        device: where the planes lie.
        planes: of a and of the transposed b, and the same of a2 and b2, or None; each begins where
            the piece does.
        plane_steps: of each, in bytes: (modulus, party, batch, line).
        sizes: batches, parties, m, n.
        piece: of the depth.

    Returns:
        (count, batches, m, n filled up to a multiple of 16) uint8.
    """
    batches, _, m, n = sizes
    count = 0 if planes[0] is None else len(planes[0])
    products = device.xp.empty((count, batches, m, _line_bytes(n)), np.uint8)
    arguments: list[object] = []
    for x, step in zip(planes, plane_steps, strict=True):
        arguments += (x, *map(np.int64, step))
    arguments += (products, constants(device, count))
    arguments += map(np.uint64, (*sizes, *piece.n_steps()))
    blocks = -(-m // ROWS) * -(-n // COLUMNS)
    grid = (blocks, min(batches, MAX_GRID[1]), count)
    device.launch(
        FAMILY, "multiply_residues_s8", grid, (THREADS,), arguments, shared_bytes=SHARED_BYTES
    )
    return products


def join_residues(
    device: KernelDevice,
    products: Array,
    modulus: int,
    add: Array | None,
    add_steps: tuple[int, ...],
    out: Array,
    out_steps: tuple[int, ...],
    sizes: tuple[int, int, int, int],
    accumulate: bool,
) -> None:
    """Write the words that have these residues, plus the parties' words of add.

    Args:
        device: where the arrays lie.
        products: of `multiply_residues`.
        modulus: of the words.
        add: words, or None.
        add_steps: (party, batch, row, column), in words.
        out: takes the result.
        out_steps: (batch, row, column), in words.
        sizes: batches, parties, m, n.
        accumulate: add to what out holds, and nothing of add.
    """
    batches, _, m, n = sizes
    arguments = (
        *(products, _weights(device, modulus, len(products)), np.uint32(len(products))),
        *(add, *map(np.int64, add_steps), out, *map(np.int64, out_steps)),
        *(*map(np.uint64, sizes), np.uint32(accumulate), *reciprocal_arguments(modulus)),
    )
    grid = grid_1d(batches * m * -(-n // QUAD), THREADS)
    device.launch(FAMILY, f"join_residues_{domain(modulus)}", grid, (THREADS,), arguments)


class Residues(PlaneKernels):
    """Planes of residues, and their products by warps."""

    form = "residues"
    rows, columns, step = ROWS, COLUMNS, STEP
    lines = 1

    def count(self, modulus: int, depth: int) -> int:
        """Return how many small moduli there are."""
        return n_moduli(modulus, depth)

    def cut(self, device: KernelDevice, words: Array, modulus: int, count: int) -> Array:
        """Cut words, as `cut_residues` does."""
        return cut_residues(device, words, modulus, count)

    def multiply(
        self,
        device: KernelDevice,
        planes: Sequence[Array | None],
        plane_steps: Sequence[tuple[int, ...]],
        sizes: tuple[int, int, int, int],
        piece: Piece,
    ) -> Array:
        """Multiply planes, as `multiply_residues` does."""
        return multiply_residues(device, planes, plane_steps, sizes, piece)

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
        """Multiply planes and join the residues."""
        products = self.multiply(device, planes, plane_steps, sizes, piece)
        add, add_steps, out, out_steps, accumulate = target
        join_residues(device, products, modulus, add, add_steps, out, out_steps, sizes, accumulate)


PLANES = Residues()


def matmul_residue(
    device: KernelDevice,
    operands: Sequence[Array | Kept],
    modulus: int,
    add: Array | None,
    out: Array,
    total: bool,
    kernels: PlaneKernels = PLANES,
) -> None:
    """Write a sum of one or two products, `matmul_pair`, by planes of bytes: residues.

    Planes of what is not `Kept` take `RESIDUE_BYTES` at most: beyond it the result is made in
    parts.

    Args:
        device: where the arrays lie.
        operands: a, b or a, b, a2, b2, words or `Kept`, checked.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words (*batch, m, n) that no word of out overlaps, or None.
        out: contiguous words (*batch, m, n), in a total without the first axis of the batch. It
            overlaps none of the operands.
        total: sum over the first axis of the batch.
        kernels: that cut and multiply.
    """
    batch = np.broadcast_shapes(*(x.shape[:-2] for x in operands))
    parties = batch[0] if total else 1
    depths = [x.shape[-1] for x in operands[::2]]
    k, k2 = depths[0], sum(depths[1:])
    plan = list(pieces(parties, k, k2, kernels.step))
    deepest = max(
        sum(part.stop - part.start for part in (piece.first, piece.second)) for piece in plan
    )
    task = Task(device, modulus, kernels.count(modulus, parties * deepest), plan, kernels)
    sides = [_side(task, x, i % 2 == 1) for i, x in enumerate(operands)]
    sides = [_spread(device, x, batch, total) for x in sides]
    _sum(task, sides, add if total or add is None else add[None], out)


class Task(NamedTuple):
    """What all parts of a result have in common.

    Attributes:
        device: where the arrays lie.
        modulus: of the words.
        n_planes: of each operand.
        plan: the pieces of the depth.
        kernels: that cut and multiply.
    """

    device: KernelDevice
    modulus: int
    n_planes: int
    plan: list[Piece]
    kernels: PlaneKernels

    def cut(self, words: Array) -> Array:
        """Return the planes of words."""
        return self.kernels.cut(self.device, words, self.modulus, self.n_planes)


def _side(task: Task, matrix: Array | Kept, turns: bool) -> Array:
    """Return an operand, or its transpose, as (1, ..., lines, depth) words, or as planes.

    Planes are those of a `Kept` operand, cut now or before, where they fit.
    """
    if isinstance(matrix, Kept):
        kept = matrix.transposed() if turns else matrix
        if task.n_planes * kept.n_words <= RESIDUE_BYTES:
            planes: Array = kept.form((task.kernels.form, task.n_planes), task.cut, axis=1)
            return planes
        return kept.words[None]
    return (matrix.swapaxes(-1, -2) if turns else matrix)[None]


def _spread(device: KernelDevice, side: Array, batch: tuple[int, ...], total: bool) -> Array:
    """Return a view of a side (count, parties, *batch of the result, lines, depth)."""
    count, *own, lines, depth = side.shape
    index = (slice(None), *(None,) * (len(batch) - len(own)))
    side = device.xp.broadcast_to(side[index], (count, *batch, lines, depth))
    return side if total else side[:, None]


def _sum(task: Task, sides: Sequence[Array], add: Array | None, out: Array) -> None:
    """Write a result, or each half of one whose residues would take too much memory."""
    kernels = task.kernels
    axis, at = middle(out.shape, kernels.rows, kernels.columns)
    if not at or _most_bytes(task, sides, out) <= RESIDUE_BYTES:
        for number, piece in enumerate(task.plan):
            planes = [_cut(task, x, piece.part(i)) for i, x in enumerate(sides)]
            _multiply(task, planes, piece, add, out, accumulate=number > 0)
            del planes  # before the next ones are cut
        return
    for half in (0, 1):
        part = slice(at, None) if half else slice(None, at)
        index = (..., part, *(slice(None),) * (-axis - 1))
        own = list(sides)
        for i, side in enumerate(own):
            if axis < -2:
                own[i] = side[index]
            elif i % 2 == axis + 2:  # rows are lines of the left sides, columns of the right ones
                line = at // kernels.lines if _is_cut(side) else at
                own[i] = side[..., line:, :] if half else side[..., :line, :]
        _sum(task, own, None if add is None else add[index], out[index])


def _most_bytes(task: Task, sides: Sequence[Array], out: Array) -> int:
    """Return how much memory the residues of a result take at once, but for planes kept."""
    most, kernels = 0, task.kernels
    for piece in task.plan:
        n_bytes = prod(out.shape[:-1]) * _line_bytes(out.shape[-1])
        for i, x in enumerate(sides):
            if not _is_cut(x):
                batches = (n for n, step in zip(x.shape[:-2], steps(x), strict=False) if step)
                lines = -(-x.shape[-2] // kernels.lines) * kernels.lines
                n_bytes += prod(batches) * lines * padded(piece.part(i), kernels.step)
        most = max(most, task.n_planes * n_bytes)
    return most


def _line_bytes(n: int) -> int:
    """Return how long a row of products is, of one small modulus."""
    return -(-n // CHUNK) * CHUNK


def _is_cut(side: Array) -> bool:
    return bool(side.dtype == np.int8)


def _cut(task: Task, side: Array, part: slice) -> Array:
    """Return the planes of a part of the depth of a side."""
    if _is_cut(side):
        return side[..., part.start * task.kernels.lines :]
    words = side[0][..., part]
    planes = task.cut(words)
    shape = (len(planes), *words.shape[:-2], *planes.shape[-2:])
    return task.device.xp.broadcast_to(planes, shape)


def _multiply(
    task: Task,
    planes: Sequence[Any],
    piece: Piece,
    add: Array | None,
    out: Array,
    accumulate: bool,
) -> None:
    """Fold the batch axes into one and launch; axes that do not fold are walked one by one."""
    planes = (*planes, None, None)[:4]
    each = [(0,) * (out.ndim + 2) if x is None else steps(x) for x in planes]
    add_steps = (0,) * (out.ndim + 1) if add is None else steps(add)
    axes = fold(out.shape[:-2], *(step[2:-2] for step in each), add_steps[1:-2], steps(out)[:-2])
    if len(axes) > 1:
        for i in range(len(out)):
            inner = [x if x is None else x[:, :, i] for x in planes]
            own = None if add is None else add[:, i]
            _multiply(task, inner, piece, own, out[i], accumulate)
        return
    batches, batch_steps = axes[0] if axes else (1, (0,) * 6)
    plane_steps = [
        (step[0], step[1], batch, step[-2])
        for step, batch in zip(each, batch_steps[:4], strict=True)
    ]
    *_, add_batch, out_batch = batch_steps
    sizes = (batches, planes[0].shape[1], *out.shape[-2:])
    add_steps, out_steps = (add_steps[0], add_batch, *add_steps[-2:]), (out_batch, *steps(out)[-2:])
    target = Target(add, add_steps, out, out_steps, accumulate)
    task.kernels.write(task.device, task.modulus, planes, plane_steps, sizes, piece, target)


@lru_cache(maxsize=64)
def constants(device: KernelDevice, count: int) -> Array:
    """Return the constants of the first small moduli, on the device."""
    return device.asarray(np.array(modulus_table(count), np.uint32))


@lru_cache(maxsize=256)
def _weights(device: KernelDevice, modulus: int, count: int) -> Array:
    """Return the weights of residues, on the device."""
    return device.asarray(np.array(weights(modulus, count), np.uint32))
