"""Large arrays in memory that earlier arrays have left behind, for NumPy.

Layer: backend. The operating system hands out fresh pages one by one and zeroed, which takes longer
than an addition takes to fill them; a block that is used again costs nothing. Sizes are rounded up,
so that arrays of nearly the same one share blocks. CuPy has such a pool of its own.
"""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from he_gpu.backend.definition.words import Array

SMALLEST = 2**17
"""Bytes from which on a block is kept; the C library looks after smaller ones."""
LARGEST_SUM = 2**30
"""Bytes of all the blocks that are kept while nobody uses them."""


class _Blocks:
    """Blocks that nobody uses, by their size."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must: another thread's change may be half done in it."""
        self._lock = threading.RLock()  # a garbage collection may give back within give or take
        self._free: OrderedDict[int, list[Array]] = OrderedDict()
        self._n_bytes = 0
        self._changing = False

    def take(self, n_bytes: int) -> Array:
        with self._lock:
            self._changing = True
            try:
                blocks = self._free.get(n_bytes)
                if blocks:
                    self._n_bytes -= n_bytes
                    return blocks.pop()
            finally:
                self._changing = False
        return np.empty(n_bytes, np.uint8)

    def give(self, block: Array) -> None:
        if block.nbytes > LARGEST_SUM:
            return
        with self._lock:
            if self._changing:  # within a change by this thread: this block is not kept
                return
            self._changing = True
            try:
                self._keep(block)
            finally:
                self._changing = False

    def _keep(self, block: Array) -> None:
        # The sizes stand in the order in which they were last given back.
        self._free[block.nbytes] = [*self._free.pop(block.nbytes, []), block]
        self._n_bytes += block.nbytes
        while self._n_bytes > LARGEST_SUM and self._free:
            size, blocks = self._free.popitem(last=False)
            self._n_bytes -= size * len(blocks)


_blocks = _Blocks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _blocks.forget())


class _Lease:
    """Owns a block for as long as an array or a view of it lives."""

    __slots__ = ("__array_interface__", "_block")

    def __init__(self, block: Array, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self._block = block
        self.__array_interface__ = {
            "data": block.__array_interface__["data"],
            "shape": shape,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self) -> None:
        _blocks.give(self._block)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an uninitialised array, as ``numpy.empty`` does."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_blocks.take(_rounded(n_bytes)), shape, dtype))


def _rounded(n_bytes: int) -> int:
    """Return a size up to a quarter larger, of which each power of two has four."""
    step: int = 2 ** ((n_bytes - 1).bit_length() - 3)
    return -(-n_bytes // step) * step


def room_for(a: Array, b: Array) -> Array | None:
    """Return a large array for the result of an operation on two, or None for a small one.

    None makes NumPy allocate, which is quicker there.
    """
    if a.nbytes < SMALLEST and b.nbytes < SMALLEST:
        return None
    return empty(np.broadcast_shapes(a.shape, b.shape), a.dtype)
