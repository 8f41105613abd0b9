"""The kernels of ``kernels/matmul_limb.cu``: which one multiplies in a ring, and its sizes.

Layer: backend, under the launcher of the matrix product, which `he_gpu.backend.definition.matmul`
defines for every kernel alike. Repeats what ``limb_tiles.cuh`` derives from its plans.
"""

from __future__ import annotations

from typing import NamedTuple

from he_gpu.backend.definition.words import RING_32, RING_64

FAMILY = "matmul_limb"
CAPABILITY = (8, 0)
"""The first architecture with `mma` on bytes and asynchronous copies."""
COLUMNS = 64
DEPTH = 32
LARGEST_SIDE = 2**31 - 1
LARGEST_DEPTH = 2**36
"""The kernels count rows, columns and steps of depth in 32 bits."""
LIMB_RESIDENT = 1
"""Blocks that share a multiprocessor: the registers of one take them all."""


class LimbKernel(NamedTuple):
    """One kernel.

    Attributes:
        name: its symbol without the ring.
        rows: of a block's tile, which is 64 columns wide.
        digits: of a word of a and of one of b.
        parts: bytes of a word of a and of b that are staged: all, the low half, or none of a's
            where it comes in planes.
        word_bytes: of a word in memory.
    """

    name: str
    rows: int
    digits: tuple[int, int]
    parts: tuple[int, int]
    word_bytes: int

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block: a step's words and two sets of planes, or its results.

        Of planes that come ready there are three sets.
        """
        lines = (self.rows, COLUMNS)
        staged = sum(
            n * (part + (2 if part else 3) * digits)
            for n, part, digits in zip(lines, self.parts, self.digits, strict=True)
        )
        return max(DEPTH * staged, self.rows * (COLUMNS + 2) * self.word_bytes)

    @property
    def plane_bytes(self) -> int:
        """Size of a's planes for a tile and a step of depth."""
        return self.rows * DEPTH * self.digits[0]

    def blocks(self, m: int, n: int) -> int:
        """Tiles that cover m x n results."""
        return -(-m // self.rows) * -(-n // COLUMNS)


def limb_kernel(modulus: int, b_bits: int | None = None, kept: bool = False) -> LimbKernel | None:
    """Return the kernel for a ring, or None where limbs would be too many.

    A product modulo 2^64 takes 36 byte products, or 15 or 8 where b's words are signed numbers
    of 16 or 8 bits; modulo 2^32 it takes 10, modulo q <= 2^24 9, modulo q <= 2^16 4.

    Args:
        modulus: of the ring.
        b_bits: 8, 16 or None, see `he_gpu.backend.device.matmul.matmul`.
        kept: take a in planes, which only the moduli 2^64 and 2^32 have.
    """
    if kept:
        return _KEPT.get(modulus)
    if modulus == RING_64:
        if b_bits is None:
            return LimbKernel("matmul_limb", 64, (8, 8), (8, 8), 8)
        digits = b_bits // 8
        return LimbKernel(f"matmul_limb_b{digits}", 64, (8, digits), (8, 4), 8)
    if modulus == RING_32:
        return LimbKernel("matmul_limb", 128, (4, 4), (4, 4), 4)
    if modulus <= 2**16:
        return LimbKernel("matmul_limb_m2", 128, (2, 2), (4, 4), 8)
    if modulus <= 2**24:
        return LimbKernel("matmul_limb", 128, (3, 3), (4, 4), 8)
    return None


_KEPT = {
    RING_64: LimbKernel("matmul_limb_kept", 64, (8, 8), (0, 8), 8),
    RING_32: LimbKernel("matmul_limb_kept", 128, (4, 4), (0, 4), 4),
}
