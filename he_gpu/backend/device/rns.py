"""Launchers of ``kernels/rns.cu``: arithmetic on all limbs of all polynomials in one launch.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.rns`; an operand b
that broadcasts is read where it lies, but for one whose leading axes do not fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from he_gpu.backend.definition.rns import check_broadcast, check_dot, conversion, residues
from he_gpu.backend.definition.roots import check_limbs, check_moduli
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.elementwise import plane_grid
from he_gpu.backend.device.operands import contiguous, exact, fold, operand, spread, steps
from he_gpu.backend.launch import STATIC_SHARED_BYTES, KernelDevice, grid_1d

EXTEND_THREADS = 128
MAX_ROWS = 65535
WORDS_PER_THREAD = 4
_WORD = np.dtype(np.uint32)


def add_rns(device: KernelDevice, a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a + b``; b broadcasts to a's shape (..., limbs, N)."""
    return _pair(device, "add_rns", a, b, moduli)


def sub_rns(device: KernelDevice, a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a - b``; b broadcasts to a's shape (..., limbs, N)."""
    return _pair(device, "sub_rns", a, b, moduli)


def mul_rns(device: KernelDevice, a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a b``, word by word; b broadcasts to a's shape (..., limbs, N)."""
    return _pair(device, "mul_rns", a, b, moduli)


def sub_scale_rns(
    device: KernelDevice, a: Array, b: Array, factors: Sequence[int], moduli: Sequence[int]
) -> Array:
    """Return ``(a - b) f`` with an integer f for each limb; b broadcasts to a's shape."""
    words = residues("sub_scale_rns", factors, moduli)
    twiddles = _twiddles(device, tuple(int(word) for word in words), tuple(moduli))
    return _pair(device, "sub_scale_rns", a, b, moduli, twiddles)


def neg_rns(device: KernelDevice, a: Array, moduli: Sequence[int]) -> Array:
    """Return ``-a``."""
    a, result, sizes = _operands(device, "neg_rns", a, moduli)
    _launch(device, "neg_rns", (a, result, _constants(device, tuple(moduli))), sizes)
    return result


def automorphism_rns(device: KernelDevice, x: Array, index: Array, moduli: Sequence[int]) -> Array:
    """Return ``out[i] = x[j]``, or ``-x[j]``, as word i of an index says."""
    name = "automorphism_rns"
    x, result, sizes = _operands(device, name, x, moduli)
    index = contiguous(exact(device, name, "index", index, x.shape[-1:], _WORD))
    _launch(device, name, (x, index, result, _constants(device, tuple(moduli))), sizes)
    return result


def dot_rns(device: KernelDevice, a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``out[k, p] = sum over d of a[d, p] b[d, k]``, word by word."""
    name = "dot_rns"
    a, b = (operand(device, name, side, value, _WORD) for side, value in (("a", a), ("b", b)))
    check_dot(a.shape, b.shape)
    check_limbs(name, a.shape, moduli)
    terms, polys, limbs, degree = a.shape
    keys = b.shape[1]
    result = device.xp.empty((keys, polys, limbs, degree), _WORD)
    arguments = (
        *(contiguous(a), contiguous(b), result, _constants(device, tuple(moduli))),
        *(np.uint32(terms), np.uint64(keys)),
    )
    _launch(device, name, arguments, (polys, limbs, degree), rows=keys * polys * limbs)
    return result


def extend_rns(
    device: KernelDevice, x: Array, moduli: Sequence[int], others: Sequence[int]
) -> Array:
    """Return the residues modulo other primes of the integer nearest to zero that x stands for."""
    name = "extend_rns"
    x = contiguous(operand(device, name, "x", x, _WORD))
    check_limbs(name, x.shape, moduli)
    factors, matrix = _conversion(device, tuple(moduli), tuple(others))
    check_moduli(name, x.shape[-1], tuple(others))
    result = device.xp.empty((*x.shape[:-2], len(others), x.shape[-1]), _WORD)
    if result.size == 0:
        return result
    limbs, degree = x.shape[-2:]
    polys = x.size // (limbs * degree)
    threads = EXTEND_THREADS
    while threads * limbs * _WORD.itemsize > STATIC_SHARED_BYTES:
        threads //= 2
    arguments = (
        *(x, result, _constants(device, tuple(moduli)), factors),
        *(_constants(device, tuple(others)), matrix, np.uint64(polys), np.uint32(limbs)),
        *(np.uint32(len(others)), np.uint32(degree.bit_length() - 1)),
    )
    grid = (*grid_1d(degree, threads), min(polys, MAX_ROWS))
    shared_bytes = threads * limbs * _WORD.itemsize
    device.launch("rns", f"{name}_mod_u32", grid, (threads,), arguments, shared_bytes)
    return result


def _pair(
    device: KernelDevice, function: str, a: Array, b: Array, moduli: Sequence[int], *further: Array
) -> Array:
    """Launch an operation on a and an operand that broadcasts to it."""
    a, result, sizes = _operands(device, function, a, moduli)
    b = operand(device, function, "b", b, _WORD)
    check_broadcast(function, a.shape, b.shape)
    b = spread(device, function, "b", b, a.shape)
    outer = fold(a.shape[:-2], steps(b)[:-2])
    if len(outer) > 1:
        b = b.copy()
        outer = [(len(b), (a.shape[-2] * a.shape[-1],))]
    poly_step = outer[0][1][0] if outer else 0
    each = (np.int64(poly_step), *(np.int64(step) for step in steps(b)[-2:]))
    constants = _constants(device, tuple(moduli))
    _launch(device, function, (a, b, *each, result, constants, *further), sizes)
    return result


def _operands(
    device: KernelDevice, function: str, a: Array, moduli: Sequence[int]
) -> tuple[Array, Array, tuple[int, int, int]]:
    """Return a, checked and contiguous, room for the result, and (polys, limbs, N)."""
    a = contiguous(operand(device, function, "a", a, _WORD))
    check_limbs(function, a.shape, moduli)
    limbs, degree = a.shape[-2:]
    return a, device.xp.empty(a.shape, _WORD), (a.size // (limbs * degree), limbs, degree)


def _launch(
    device: KernelDevice,
    function: str,
    arguments: tuple[Any, ...],
    sizes: tuple[int, int, int],
    rows: int | None = None,
) -> None:
    polys, limbs, degree = sizes
    rows = polys * limbs if rows is None else rows
    if rows == 0:
        return
    last = np.uint64(polys), np.uint32(limbs), np.uint32(degree.bit_length() - 1)
    grid, block = plane_grid(rows, degree // WORDS_PER_THREAD)
    device.launch("rns", f"{function}_mod_u32", grid, block, (*arguments, *last))


@lru_cache(maxsize=1024)
def _constants(device: KernelDevice, moduli: tuple[int, ...]) -> Any:
    """Return q and floor(2^64 / q) of each limb, on the device."""
    return device.xp.asarray(np.array([(q, 2**64 // q) for q in moduli], np.uint64))


@lru_cache(maxsize=1024)
def _twiddles(device: KernelDevice, words: tuple[int, ...], moduli: tuple[int, ...]) -> Any:
    """Return factors w with floor(w 2^32 / q) above them, on the device."""
    pairs = [w | w * 2**32 // q << 32 for w, q in zip(words, moduli, strict=True)]
    return device.xp.asarray(np.array(pairs, np.uint64))


@lru_cache(maxsize=1024)
def _conversion(
    device: KernelDevice, moduli: tuple[int, ...], others: tuple[int, ...]
) -> tuple[Any, Any]:
    """Return the factors and the matrix of an extension, on the device."""
    constants = conversion(moduli, others)
    factors = tuple(int(word) for word in constants.factors)
    matrix = device.xp.asarray(constants.matrix.astype(_WORD))
    return _twiddles(device, factors, moduli), matrix
