"""Into which parts a product by residues is divided: its depth by 32-bit sums, results by memory.

Layer: backend, under the launcher of ``kernels/matmul_residue.cu``. Knows sizes and no arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from he_gpu.backend.definition.matmul_residue import LARGEST_DEPTH
from he_gpu.errors import ArgumentValueError

ROWS, COLUMNS = 256, 128
"""A tile of results that a block makes."""
STEP = 64
"""Of the depth; planes are filled up to a multiple of it."""
MOST_PARTIES = LARGEST_DEPTH // 128
"""With more of them one step of each would be too deep, of 64 or of the 128 of tiles."""


class Piece(NamedTuple):
    """What one launch sums: bytes of depth of the two products, each from its start to its end."""

    first: slice
    second: slice

    def part(self, i: int) -> slice:
        """Return the depth that operand i of a, b, a2, b2 takes part with."""
        return self.second if i // 2 else self.first

    def n_steps(self, step: int = STEP) -> tuple[int, int]:
        """How many steps of the kernel each takes, for each party."""
        first, second = (padded(part, step) // step for part in self)
        return first, second


def pieces(parties: int, k: int, k2: int, step: int = STEP) -> Iterator[Piece]:
    """Return the launches that sum k and k2 products of every party, `LARGEST_DEPTH` at most each.

    Args:
        parties: one step of each is at most that deep, if there is more than one piece.
        k: inner dimension of the first product.
        k2: of the second, or 0.
        step: of the depth.
    """
    none = slice(0, 0)
    if parties * (k + k2) <= LARGEST_DEPTH:
        yield Piece(slice(0, k), slice(0, k2))
        return
    if parties * step > LARGEST_DEPTH:
        raise ArgumentValueError(
            f"matmul_residue: parties must be at most {LARGEST_DEPTH // step}, got {parties}"
        )
    most = LARGEST_DEPTH // parties // step * step
    for start in range(0, k, most):
        yield Piece(slice(start, min(start + most, k)), none)
    for start in range(0, k2, most):
        yield Piece(none, slice(start, min(start + most, k2)))


def padded(part: slice, step: int = STEP) -> int:
    """Return a part of the depth as planes take it."""
    filled: int = -(-(part.stop - part.start) // step) * step
    return filled


def middle(shape: tuple[int, ...], rows: int = ROWS, columns: int = COLUMNS) -> tuple[int, int]:
    """Return the axis along which a result is halved, and where; 0 for no place.

    Batches first, then the longer side, between tiles.
    """
    for axis, size in enumerate(shape[:-2]):
        if size > 1:
            return axis - len(shape), size // 2
    down, across = -(-shape[-2] // rows), -(-shape[-1] // columns)
    if across == 1 or (down > 1 and shape[-2] >= shape[-1]):
        return -2, down // 2 * rows
    return -1, across // 2 * columns
