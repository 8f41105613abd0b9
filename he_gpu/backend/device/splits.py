"""Into how many parts the inner sum of a product is split, where its tiles are too few for a GPU.

Layer: backend, under the launchers of matrix products and convolutions. Grid z of their kernels
counts the parts. Blocks add theirs to zeros in the result by atomic additions of integers, whose
order changes no bit; so the ring must wrap.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from he_gpu.backend.definition.words import Array, wraps
from he_gpu.backend.device.crossovers import PART_DEPTH
from he_gpu.backend.launch import MAX_GRID, KernelDevice
from he_gpu.errors import ArgumentValueError

_forced: ContextVar[int | None] = ContextVar("forced splits of a sum", default=None)


@contextmanager
def forced(parts: int) -> Iterator[None]:
    """Within this context split every sum into so many parts: for tests and benchmarks.

    Args:
        parts: 1 for none. Moduli other than 2^64 and 2^32 are never split.

    Raises:
        ArgumentValueError: parts out of range.
    """
    if not 1 <= parts <= MAX_GRID[2]:
        raise ArgumentValueError(f"forced: parts must be in [1, {MAX_GRID[2]}], got {parts}")
    token = _forced.set(parts)
    try:
        yield
    finally:
        _forced.reset(token)


def splits(device: KernelDevice, modulus: int, blocks: int, depth: int, resident: int) -> int:
    """Return into how many parts to split the sums of a product.

    Args:
        device: that runs it.
        modulus: of the ring.
        blocks: tiles of all batches.
        depth: products that each result sums.
        resident: blocks that share a multiprocessor.

    Returns:
        So many that the blocks fill the device once, while a part keeps `PART_DEPTH` of the depth;
        1 where the blocks fill it anyway.
    """
    if not wraps(modulus):
        return 1
    parts = _forced.get()
    if parts is None:
        parts = min(device.multiprocessors * resident // blocks, depth // PART_DEPTH, MAX_GRID[2])
    return max(1, parts)


def clear(out: Array, parts: int) -> None:
    """Give the blocks that share results the zeros to which they add."""
    if parts > 1:
        out.fill(0)
