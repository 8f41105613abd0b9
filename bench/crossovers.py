"""The dispatcher's table of kernels: which shapes decide its numbers, and how it is rewritten.

Every number is a crossover: from there on one kernel of the matrix product beats another on all
shapes that were measured. `bench_crossover` measures; nothing here needs a GPU.
"""

import re
from typing import NamedTuple

import numpy as np

TILED = ("matmul", "matmul_small", "matmul_thin")
TIE = 1.02
"""Within 2 % nobody wins; the kernel that has the greater sizes keeps them."""
MODULI = {"ring_u64": 2**64, "ring_u32": 2**32, "mod_u64": 501337}
RESIDUE_RIVALS = {
    "ring_u64": (2**64, ("matmul_limb",)),
    "mod_u64": (2**61 - 1, TILED[:2]),
    "ring_u32": (2**32, ("matmul_limb",)),
    "few_limbs": (501337, ("matmul_limb",)),
}
"""Moduli in which residues may win, and the kernels that serve where they do not."""
FEW_LIMBS = ("ring_u32", "few_limbs")
"""Those in which only products of warpgroups may."""


class Walk(NamedTuple):
    """Shapes along which one number of the table is found.

    Attributes:
        sizes: what the number counts, ascending.
        shapes: (m, k, n) for each.
    """

    sizes: tuple[int, ...]
    shapes: tuple[tuple[int, int, int], ...]


SIDES = (8, 12, 16, 24, 32, 48, 64, 96, 128)
DEPTHS = (8, 16, 32, 48, 64, 96, 128, 256)
SQUARES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
COLUMNS = (1, 2, 4, 6, 8, 12, 16, 24, 32)

WALKS = {
    "side": Walk(SIDES, tuple((side, 1024, 2**20 // side) for side in SIDES)),
    "depth": Walk(DEPTHS, tuple((2048, depth, 2048) for depth in DEPTHS)),
    "results": Walk(
        tuple(side**2 for side in SQUARES), tuple((side, 1024, side) for side in SQUARES)
    ),
}
RESIDUE_SIDES = (64, 128, 256, 512, 1024, 2048)
RESIDUE_WALKS = {
    "side": Walk(RESIDUE_SIDES, tuple((side, 2048, 2**23 // side) for side in RESIDUE_SIDES)),
    "depth": Walk(RESIDUE_SIDES, tuple((2896, depth, 2896) for depth in RESIDUE_SIDES)),
    "results": Walk(
        tuple(side**2 for side in (*SQUARES[4:], 1536, 2048)),
        tuple((side, 2048, side) for side in (*SQUARES[4:], 1536, 2048)),
    ),
}
THIN = Walk(COLUMNS, tuple((4096, 1024, columns) for columns in COLUMNS))
BUSY = Walk(
    tuple((side // 64) ** 2 for side in (128, 256, 384, 512, 768, 1024, 1536)),
    tuple((side, 1024, side) for side in (128, 256, 384, 512, 768, 1024, 1536)),
)


def first_win(sizes, ratios):
    """Return the smallest size from which on a challenger keeps winning.

    Args:
        sizes: ascending.
        ratios: the challenger's time over the other's, for each size.

    Returns:
        That size; twice the largest where the challenger loses there too.
    """
    found = 2 * sizes[-1]
    for size, ratio in zip(reversed(sizes), reversed(ratios), strict=True):
        if not ratio <= TIE:
            break
        found = size
    return found


def last_win(sizes, ratios):
    """Return the largest size up to which a challenger keeps winning, 0 where it never does."""
    found = 0
    for size, ratio in zip(sizes, ratios, strict=True):
        if not ratio <= TIE:
            break
        found = size
    return found


def rewrite(source, thin, busy_blocks, limb, residue):
    """Return the text of the dispatcher's table with other numbers.

    Args:
        source: of ``he_gpu/backend/device/crossovers.py``.
        thin: columns.
        busy_blocks: tiles.
        limb: a Crossover for each kernel.
        residue: a ResidueCrossover for each ring.

    Raises:
        ValueError: a number of the table that the text does not hold once.
    """
    numbers = {
        r"^THIN = \d+$": f"THIN = {thin}",
        r"^BUSY_BLOCKS = \d+$": f"BUSY_BLOCKS = {busy_blocks}",
    }
    for name, crossover in (*limb.items(), *residue.items()):
        kind = type(crossover).__name__
        pattern = rf'^    "{name}": {kind}\(side=[^,]+, depth=[^,]+, results=[^,)]+\),$'
        numbers[pattern] = f'    "{name}": {literal(crossover)},'
    for pattern, line in numbers.items():
        source, count = re.subn(pattern, line, source, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"rewrite: the table must hold {line.strip()!r} once, got {count}")
    return re.sub(
        r"The numbers are reasoned from.*?(?=\n\"\"\")",
        "The numbers were measured by ``bench/bench_crossover.py``, which can write\nthem anew.",
        source,
        flags=re.DOTALL,
    )


def literal(crossover):
    """A crossover as the table has it, its results as a power of two where they are one."""
    side, depth, results = crossover
    exponent = int(np.log2(results))
    text = f"2**{exponent}" if 2**exponent == results else str(results)
    return f"{type(crossover).__name__}(side={side}, depth={depth}, results={text})"
