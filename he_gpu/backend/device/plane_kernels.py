"""What a large product asks of the kernels that make it from planes of bytes.

Layer: backend, between `matmul_residue`, which divides a product into parts, and the kernels that
cut words into planes and multiply these. Knows no kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.residue_parts import Piece
from he_gpu.backend.launch import KernelDevice


class Target(NamedTuple):
    """Where a product goes.

    Attributes:
        add: words (parties, *batch, m, n) that are added, or None.
        add_steps: (party, batch, row, column), in words.
        out: takes the result.
        out_steps: (batch, row, column), in words.
        accumulate: add to what out holds, and nothing of add.
    """

    add: Array | None
    add_steps: tuple[int, ...]
    out: Array
    out_steps: tuple[int, ...]
    accumulate: bool


class PlaneKernels(ABC):
    """The kernels that cut words into planes of bytes and multiply them, with their layout.

    Attributes:
        form: name of the layout.
        rows: of the results that a block makes.
        columns: likewise.
        step: of the depth; planes are filled up with zeros to a multiple of it.
        lines: of an operand, that make one line of its planes.
    """

    form: str
    rows: int
    columns: int
    step: int
    lines: int

    @abstractmethod
    def count(self, modulus: int, depth: int) -> int:
        """Return how many planes an operand of a product of some inner dimension has."""

    @abstractmethod
    def cut(self, device: KernelDevice, words: Array, modulus: int, count: int) -> Array:
        """Cut words (..., lines, depth) into planes (count, ..., lines of planes, bytes).

        Batches along a step of 0 are cut once.
        """

    @abstractmethod
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
        """Multiply planes and write the words.

        Args:
            device: where the planes lie.
            modulus: of the words.
            planes: of a and of the transposed b, and the same of a2 and b2, or None; each begins
                where the piece does.
            plane_steps: of each, in bytes: (plane, party, batch, line of planes).
            sizes: batches, parties, m, n.
            piece: of the depth.
            target: of the words.
        """
