"""Launchers of ``kernels/ntt.cu``: transforms of all limbs of all polynomials, two launches each.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.ntt`. Tables are
made by the host and stay on the device, one row for each prime and degree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from he_gpu.backend.definition.four_step import four_step, sides
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.polynomials import WORD, polynomials
from he_gpu.backend.launch import KernelDevice

LANES = 32
"""Columns of a block."""
ROW_THREADS = 256
BLOCKS_PER_MULTIPROCESSOR = 8
"""Blocks that keep a device busy; beyond them a block takes more polynomials."""
_HALF = np.uint64(2**32)


def ntt(device: KernelDevice, x: Array, moduli: Sequence[int]) -> Array:
    """Return the values of polynomials at the odd powers of psi."""
    return _transformed(device, "ntt", x, moduli)


def intt(device: KernelDevice, x: Array, moduli: Sequence[int]) -> Array:
    """Return the coefficients of polynomials from their values."""
    return _transformed(device, "intt", x, moduli)


def transform_rows(
    device: KernelDevice, function: str, x: Array, rows: tuple[int, ...], moduli: tuple[int, ...]
) -> None:
    """Transform rows of a contiguous array in place.

    Args:
        device: that has the array.
        function: "ntt" or "intt".
        x: (..., N) words, of which a row counts over all leading axes.
        rows: which; none twice.
        moduli: the prime of each.
    """
    size = np.uint64(x.size)
    _launch(device, function, (x, size), (x, size), 1, x.shape[-1], moduli, rows)


def _transformed(device: KernelDevice, function: str, x: Array, moduli: Sequence[int]) -> Array:
    words, polys, step = polynomials(device, function, "x", x, moduli)
    result, (limbs, degree) = device.xp.empty(words.shape, WORD), words.shape[-2:]
    target, rows = (result, np.uint64(limbs * degree)), tuple(range(limbs))
    _launch(device, function, (words, step), target, polys, degree, tuple(moduli), rows)
    return result


def _launch(
    device: KernelDevice,
    function: str,
    source: tuple[Array, np.uint64],
    target: tuple[Array, np.uint64],
    polys: int,
    degree: int,
    moduli: tuple[int, ...],
    rows: tuple[int, ...],
) -> None:
    """Launch both passes from an array to another, each with its step between polynomials."""
    if polys == 0 or not rows:
        return
    pool = _pool(device, degree)
    limbs = pool.limbs(moduli, rows)
    last = np.uint64(polys), *(np.uint32(side.bit_length() - 1) for side in sides(degree))
    for each in ("columns", "rows") if function == "ntt" else ("rows", "columns"):
        tiles, block, shared_bytes = _block(each, degree)
        enough = -(-BLOCKS_PER_MULTIPROCESSOR * device.multiprocessors // (tiles * len(rows)))
        grid = (tiles, len(rows), min(polys, enough))
        arguments = (*source, *target, pool.tables, limbs, *last)
        device.launch("ntt", f"{function}_{each}_mod_u32", grid, block, arguments, shared_bytes)
        source = target


def _threads(side: int) -> int:
    """Return how many threads transform so many words: n / 2^ceil(log2(n) / 2)."""
    return 1 << (side.bit_length() - 1) // 2


@lru_cache(maxsize=64)
def _block(each: str, degree: int) -> tuple[int, tuple[int, int], int]:
    """Return the tiles of a limb, the block of a pass, and its bytes of shared memory.

    These hold a block's tables and its words, with the gaps among them.
    """
    n1, n2 = sides(degree)
    if each == "columns":
        width = min(LANES, n1)
        return n2 // width, (width, _threads(n1)), 2 * 8 * (n1 + n1 // 16) + 4 * n1 * width
    threads = _threads(n2)
    rows = min(n1, ROW_THREADS // threads)
    return n1 // rows, (threads, rows), 8 * (n2 + n2 // 16) + 4 * rows * (n2 + threads)


class _Pool:
    """The tables of one degree on one device, a row for each prime that was asked for.

    Attributes:
        tables: (primes, words) uint64; a larger array takes its place when primes come.
    """

    def __init__(self, device: KernelDevice, degree: int):
        self._device, self._degree = device, degree
        self._places: dict[int, int] = {}
        self._limbs: dict[tuple[tuple[int, ...], tuple[int, ...]], Any] = {}
        self._lock = Lock()
        n1, n2 = sides(degree)
        self.tables: Any = device.xp.empty((0, 2 + 3 * n1 + 2 * n2 + degree), np.uint64)

    def limbs(self, moduli: tuple[int, ...], rows: tuple[int, ...]) -> Any:
        """Return the row of each prime's tables beside the row that it transforms, uint32."""
        known = self._limbs.get((moduli, rows))
        if known is not None:
            return known
        with self._lock:
            new = [q for q in dict.fromkeys(moduli) if q not in self._places]
            if new:
                xp = self._device.xp
                tables = xp.asarray(np.stack([_row(q, self._degree) for q in new]))
                self.tables = xp.concatenate((self.tables, tables))
                for modulus in new:
                    self._places[modulus] = len(self._places)
            pairs = [(self._places[q], row) for q, row in zip(moduli, rows, strict=True)]
            limbs = self._device.xp.asarray(np.array(pairs, WORD))
            self._limbs[moduli, rows] = limbs
        return limbs


@lru_cache(maxsize=64)
def _pool(device: KernelDevice, degree: int) -> _Pool:
    return _Pool(device, degree)


def _row(modulus: int, degree: int) -> Array:
    """Return one prime's tables as the kernel reads them."""
    steps = four_step(modulus, degree)
    stages = (steps.columns, steps.rows, steps.rows_back, steps.columns_back, steps.scale)
    words = np.concatenate(stages)
    twiddles = words | words * _HALF // np.uint64(modulus) * _HALF
    twists = np.stack((steps.twist, steps.twist_back)) * _HALF % np.uint64(modulus)
    head = (modulus | 2**32 // modulus << 32, pow(modulus, -1, 2**32) | 2 * modulus << 32)
    packed = twists.astype(WORD).view(np.uint64)
    return np.concatenate((np.array(head, np.uint64), twiddles, packed), axis=None)
