"""Which shapes go to which kernel of the matrix product: numbers, and how they were found.

Layer: backend, read by the launcher alone. The numbers are reasoned from the kernels' instruction
counts, not measured; a benchmark on a GPU may replace any of them.
"""

from __future__ import annotations

from typing import NamedTuple

THIN = 8
"""Up to this many columns a block makes one column: a tile would compute mostly zeros."""

BUSY_BLOCKS = 128
"""Fewer blocks than this leave multiprocessors of a large GPU without work."""

PART_DEPTH = 256
"""Shorter parts of a sum that blocks share do not pay: 8 steps of a limb tile take some 10 us, the
zeros to which the blocks add a launch of some 2 us."""


class Crossover(NamedTuple):
    """From where on the byte-limb kernel is taken; every bound must be reached.

    Attributes:
        side: the smaller of m and n. Half-empty tiles cost as much as full ones.
        depth: the inner dimension. A step of the kernel is 32 deep, and filling its pipeline
            takes about two.
        results: batches * m * n, each counted once for every part of its sum that has a block of
            its own. With fewer, small tiles spread over more multiprocessors and finish as early.
    """

    side: int
    depth: int
    results: int


# Cycles of a multiprocessor for one step of depth, tensor cores against 32-bit multipliers (64
# lanes), where one mma takes 2 cycles:
#   2^64: a 64 x 64 limb tile 72, a 32 x 32 tile of 4 multiplications a product 64: as fast on a
#         quarter of the results, so it wins while there are multiprocessors for its tiles.
#   2^32: a 128 x 64 limb tile 40, a 32 x 32 tile of one multiplication 16: 8 times the results
#         in 2.5 times the time.
#   q:    a 128 x 64 limb tile 36 or 16, a 32 x 32 tile of some 14 instructions a product 220.
LIMB_CROSSOVERS: dict[str, Crossover] = {
    "ring_u64": Crossover(side=32, depth=64, results=2**17),
    "ring_u32": Crossover(side=32, depth=64, results=2**18),
    "mod_u64": Crossover(side=16, depth=32, results=2**14),
}


class ResidueCrossover(NamedTuple):
    """From where on the product by residues is taken; every bound must be reached.

    Attributes:
        side: the smaller of m and n.
        depth: the inner dimension, over all parties.
        results: batches * m * n.
    """

    side: int
    depth: int
    results: int


RESIDUE_BYTES = 2**33
"""Residues of a product's operands and results take no more memory at once, which is that of 12,000
x 12,000 words modulo 2^64, and those of an operand that is kept no more either. Larger products are
made in parts, and larger operands are cut for each product."""

# Seconds of one product of words, in the model of an H200: 1.2e15 byte operations a second by
# mma.sync, 3.8e12 bytes a second, 1e-5 s for the launches. s residues cost
#   2 s / 1.2e15 + 26 (1 / m + 1 / n) / 3.8e12 + 44 / (k 3.8e12)
# for the products, the cut (8 bytes read and s written a word) and the join (s written and read
# and 8 written a result).
#   2^64: limbs cost 72 / 1.2e15 = 6.0e-14. Residues cost 3.0e-14 + 1.3e-14 + 1.1e-14 at
#         m = n = k = 1024: the launches pay from 1.6e9 products on.
#   q:    words cost 4.7e-13, some 14 instructions a product. Residues cost 5.6e-14 in tiles that
#         are half empty + 1.0e-13 + 0.9e-13 at m = n = k = 128: the launches pay from 4.5e7 on.
# Where there are products of warpgroups, rings with few limbs may go by planes of bytes too: in the
# model they make 1.6e15 byte operations a second, four fifths of the peak.
#   2^32: limbs by mma.sync cost 20 / 1.2e15 = 1.7e-14. The same limbs in tiles cost 1.3e-14 +
#         0.1e-14 at m = n = k = 4096 (8 bytes to cut a word, 4 to write a result).
#   q:    limbs cost 18 / 1.2e15 = 1.5e-14 up to 2^24. Eight residues cost 1.3e-14 at 4096.
RESIDUE_CROSSOVERS: dict[str, ResidueCrossover] = {
    "ring_u64": ResidueCrossover(side=1024, depth=1024, results=2**21),
    "mod_u64": ResidueCrossover(side=128, depth=128, results=2**19),
    "ring_u32": ResidueCrossover(side=4096, depth=4096, results=2**24),
    "few_limbs": ResidueCrossover(side=4096, depth=4096, results=2**24),
}
"""The last two where there are products of warpgroups: 2^32, and q up to 2^24."""
