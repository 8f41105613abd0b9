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
from he_gpu.backend.definition.roots import check_limbs
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.operands import contiguous, operand
from he_gpu.backend.launch import KernelDevice

LANES = 32
"""Columns of a block."""
ROW_THREADS = 256
BLOCKS_PER_MULTIPROCESSOR = 8
"""Blocks that keep a device busy; beyond them a block takes more polynomials."""
_WORD = np.dtype(np.uint32)


def ntt(device: KernelDevice, x: Array, moduli: Sequence[int]) -> Array:
    """Return the values of polynomials at the odd powers of psi."""
    return _launch(device, "ntt", x, moduli, ("columns", "rows"))


def intt(device: KernelDevice, x: Array, moduli: Sequence[int]) -> Array:
    """Return the coefficients of polynomials from their values."""
    return _launch(device, "intt", x, moduli, ("rows", "columns"))


def _launch(
    device: KernelDevice, function: str, x: Array, moduli: Sequence[int], passes: tuple[str, str]
) -> Array:
    words = operand(device, function, "x", x, _WORD)
    moduli = check_limbs(function, words.shape, moduli)
    source, result = contiguous(words), device.xp.empty(words.shape, _WORD)
    degree = words.shape[-1]
    polys = words.size // (len(moduli) * degree)
    if polys == 0:
        return result
    pool = _pool(device, degree)
    slots = pool.slots(moduli)
    logs = [np.uint32(side.bit_length() - 1) for side in sides(degree)]
    for each in passes:
        (tiles, block), shared_bytes = _block(each, degree), _shared_bytes(each, degree)
        blocks = tiles * len(moduli)
        enough = -(-BLOCKS_PER_MULTIPROCESSOR * device.multiprocessors // blocks)
        grid = (tiles, len(moduli), min(polys, max(1, enough)))
        arguments = (source, result, pool.tables, slots, np.uint64(polys), *logs)
        device.launch("ntt", f"{function}_{each}_mod_u32", grid, block, arguments, shared_bytes)
        source = result
    return result


def _threads(side: int) -> int:
    """Return how many threads transform so many words: n / 2^ceil(log2(n) / 2)."""
    return 1 << (side.bit_length() - 1) // 2


def _rows(degree: int) -> int:
    """Return how many rows a block takes."""
    n1, n2 = sides(degree)
    return min(n1, ROW_THREADS // _threads(n2))


def _block(each: str, degree: int) -> tuple[int, tuple[int, int]]:
    """Return the tiles of a limb and the block of a pass."""
    n1, n2 = sides(degree)
    if each == "columns":
        width = min(LANES, n1)
        return n2 // width, (width, _threads(n1))
    rows = _rows(degree)
    return n1 // rows, (_threads(n2), rows)


def _shared_bytes(each: str, degree: int) -> int:
    """Return the bytes of a block's tables and of its words, with the gaps among them."""
    n1, n2 = sides(degree)
    if each == "columns":
        return 2 * 8 * (n1 + n1 // 16) + 4 * n1 * min(LANES, n1)
    return 8 * (n2 + n2 // 16) + 4 * _rows(degree) * (n2 + _threads(n2))


class _Pool:
    """The tables of one degree on one device, a row for each prime that was asked for.

    Attributes:
        tables: (primes, words) uint64; a larger array takes its place when primes come.
    """

    def __init__(self, device: KernelDevice, degree: int):
        self._device, self._degree = device, degree
        self._places: dict[int, int] = {}
        self._slots: dict[tuple[int, ...], Any] = {}
        self._lock = Lock()
        n1, n2 = sides(degree)
        self.tables: Any = device.xp.empty((0, 2 + 3 * n1 + 2 * n2 + 2 * degree), np.uint64)

    def slots(self, moduli: tuple[int, ...]) -> Any:
        """Return the row of each prime, uint32 on the device."""
        known = self._slots.get(moduli)
        if known is not None:
            return known
        with self._lock:
            new = [q for q in dict.fromkeys(moduli) if q not in self._places]
            if new:
                xp = self._device.xp
                rows = xp.asarray(np.stack([_row(q, self._degree) for q in new]))
                self.tables = xp.concatenate((self.tables, rows))
                for modulus in new:
                    self._places[modulus] = len(self._places)
            places = np.array([self._places[q] for q in moduli], _WORD)
            self._slots[moduli] = self._device.xp.asarray(places)
        return self._slots[moduli]


@lru_cache(maxsize=64)
def _pool(device: KernelDevice, degree: int) -> _Pool:
    return _Pool(device, degree)


def _row(modulus: int, degree: int) -> Array:
    """Return one prime's tables as the kernel reads them."""
    steps = four_step(modulus, degree)
    order = (
        *(steps.columns, steps.rows, steps.rows_back, steps.columns_back, steps.scale),
        *(steps.twist, steps.twist_back),
    )
    words = np.concatenate([part.ravel() for part in order])
    twiddles = words | ((words << np.uint64(32)) // np.uint64(modulus) << np.uint64(32))
    head = np.array([modulus | 2**32 // modulus << 32, 0], np.uint64)
    return np.concatenate((head, twiddles))
