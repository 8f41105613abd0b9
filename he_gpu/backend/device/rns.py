"""Launchers of ``kernels/rns.cu``: arithmetic on all limbs of all polynomials in one launch.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.rns`; an operand b
that broadcasts is read where it lies, but for one whose leading axes do not fold. `digits_rns` is
five launches: the transform back, an extension of all digits, the transform of what is not theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from he_gpu.backend.definition.rns import (
    check_broadcast,
    check_dot,
    check_tensor,
    conversion,
    digit_parts,
    residues,
)
from he_gpu.backend.definition.roots import check_limbs, check_moduli
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.elementwise import plane_grid
from he_gpu.backend.device.ntt import intt, transform_rows
from he_gpu.backend.device.operands import contiguous, fold, operand, packed, spread, steps
from he_gpu.backend.device.polynomials import WORD, polynomials
from he_gpu.backend.launch import STATIC_SHARED_BYTES, KernelDevice, grid_1d

EXTEND_THREADS = 128
MAX_ROWS = 65535
WORDS_PER_THREAD = 4


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
    twiddles = _twiddles(device, tuple(factors), tuple(moduli))
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
    index = packed(device, name, "index", index, x.shape[-1:], WORD)
    _launch(device, name, (x, index, result, _constants(device, tuple(moduli))), sizes)
    return result


def dot_rns(
    device: KernelDevice,
    a: Array,
    b: Array,
    moduli: Sequence[int],
    base: Array | None = None,
    factor: int = 1,
    head: int | None = None,
) -> Array:
    """Return ``out[k, p] = sum over d of a[d, p] b[d, k]``, and a base's multiple."""
    name, factors = "dot_rns", None
    a, b = (contiguous(operand(device, name, side, x, WORD)) for side, x in (("a", a), ("b", b)))
    if base is not None:
        base = contiguous(operand(device, name, "base", base, WORD))
    head = check_dot(a.shape, b.shape, None if base is None else base.shape, head)
    check_limbs(name, a.shape, moduli)
    terms, polys, limbs, degree = a.shape
    keys, base_keys, base_limbs = b.shape[1], 0, 0
    if base is not None:
        base_keys, base_limbs = base.shape[0], base.shape[2]
        factors = _multiples(device, factor, tuple(moduli[:base_limbs]))
    result = device.xp.empty((keys, polys, limbs, degree), WORD)
    arguments = (
        *(a, b, base, factors, result, _constants(device, tuple(moduli)), np.uint32(terms)),
        *(np.uint64(keys), np.uint32(b.shape[2]), np.uint32(head)),
        *(np.uint64(base_keys), np.uint32(base_limbs), np.uint64(polys)),
    )
    _launch(device, name, arguments, (keys * polys, limbs, degree), counts_polys=False)
    return result


def tensor_rns(device: KernelDevice, a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``(a0 b0, a0 b1 + a1 b0, a1 b1)``, summed over pairs."""
    name = "tensor_rns"
    a, _, a_step = polynomials(device, name, "a", a, moduli)
    b, _, b_step = polynomials(device, name, "b", b, moduli)
    check_tensor(a.shape, b.shape)
    result, sizes = device.xp.empty((3, *a.shape[2:]), WORD), (1, *a.shape[2:])
    constants, terms = _constants(device, tuple(moduli)), np.uint32(len(a))
    arguments = (a, a_step, b, b_step, result, constants, terms)
    _launch(device, name, arguments, sizes, counts_polys=False)
    return result


def extend_rns(
    device: KernelDevice, x: Array, moduli: Sequence[int], others: Sequence[int]
) -> Array:
    """Return the residues modulo other primes of the integer nearest to zero that x stands for."""
    name = "extend_rns"
    x = contiguous(operand(device, name, "x", x, WORD))
    check_limbs(name, x.shape, moduli)
    factors, matrix = _conversion(device, tuple(moduli), tuple(others))
    check_moduli(name, x.shape[-1], tuple(others))
    result = device.xp.empty((*x.shape[:-2], len(others), x.shape[-1]), WORD)
    limbs, degree = x.shape[-2:]
    polys = x.size // (limbs * degree)
    arguments = (
        *(x, result, _constants(device, tuple(moduli)), factors),
        *(_constants(device, tuple(others)), matrix, np.uint64(polys), np.uint32(limbs)),
        *(np.uint32(len(others)), np.uint32(degree.bit_length() - 1)),
    )
    _extend(device, name, arguments, polys, limbs, degree)
    return result


def digits_rns(
    device: KernelDevice,
    values: Array,
    moduli: Sequence[int],
    special: Sequence[int],
    digit_limbs: int,
) -> Array:
    """Return the digits of a polynomial modulo all primes, its own limbs untouched."""
    name, every = "digits_rns", (*moduli, *special)
    values = contiguous(operand(device, name, "values", values, WORD))
    parts = digit_parts(values.shape, moduli, special, digit_limbs)
    coefficients, degree = intt(device, values, moduli), values.shape[-1]
    result = device.xp.empty((len(parts), len(every), degree), WORD)
    factors, matrix = _digit_conversion(device, tuple(moduli), every, digit_limbs)
    arguments = (
        *(coefficients, values, result, _constants(device, every), factors, matrix),
        *(np.uint32(len(parts)), np.uint32(digit_limbs), np.uint32(len(moduli))),
        *(np.uint32(len(every)), np.uint32(degree.bit_length() - 1)),
    )
    _extend(device, "extend_digits_rns", arguments, len(parts), digit_limbs, degree)
    transform_rows(device, "ntt", result, *_foreign_rows(tuple(moduli), every, digit_limbs))
    return result


def _extend(
    device: KernelDevice,
    function: str,
    arguments: tuple[Any, ...],
    polys: int,
    limbs: int,
    degree: int,
) -> None:
    """Launch an extension from so many limbs of each polynomial."""
    if polys == 0:
        return
    threads = EXTEND_THREADS
    while threads * limbs * WORD.itemsize > STATIC_SHARED_BYTES:
        threads //= 2
    grid = (*grid_1d(degree, threads), min(polys, MAX_ROWS))
    shared_bytes = threads * limbs * WORD.itemsize
    device.launch("rns", f"{function}_mod_u32", grid, (threads,), arguments, shared_bytes)


def _pair(
    device: KernelDevice, function: str, a: Array, b: Array, moduli: Sequence[int], *further: Array
) -> Array:
    """Launch an operation on a and an operand that broadcasts to it."""
    a, polys, a_step = polynomials(device, function, "a", a, moduli)
    b = operand(device, function, "b", b, WORD)
    check_broadcast(function, a.shape, b.shape)
    b = spread(device, function, "b", b, a.shape)
    outer = fold(a.shape[:-2], steps(b)[:-2])
    if len(outer) > 1:
        b = b.copy()
        outer = [(len(b), (a.shape[-2] * a.shape[-1],))]
    poly_step = outer[0][1][0] if outer else 0
    each = (np.int64(poly_step), *(np.int64(step) for step in steps(b)[-2:]))
    result, constants = device.xp.empty(a.shape, WORD), _constants(device, tuple(moduli))
    arguments = (a, a_step, b, *each, result, constants, *further)
    _launch(device, function, arguments, (polys, *a.shape[-2:]))
    return result


def _operands(
    device: KernelDevice, function: str, a: Array, moduli: Sequence[int]
) -> tuple[Array, Array, tuple[int, int, int]]:
    """Return a, checked and contiguous, room for the result, and (polys, limbs, N)."""
    a = contiguous(operand(device, function, "a", a, WORD))
    check_limbs(function, a.shape, moduli)
    limbs, degree = a.shape[-2:]
    return a, device.xp.empty(a.shape, WORD), (a.size // (limbs * degree), limbs, degree)


def _launch(
    device: KernelDevice,
    function: str,
    arguments: tuple[Any, ...],
    sizes: tuple[int, int, int],
    counts_polys: bool = True,
) -> None:
    """Launch a kernel over (polys, limbs, N) words; its last arguments are these sizes."""
    polys, limbs, degree = sizes
    if polys == 0:
        return
    last = np.uint32(limbs), np.uint32(degree.bit_length() - 1)
    grid, block = plane_grid(polys * limbs, degree // WORDS_PER_THREAD)
    counts = (np.uint64(polys), *last) if counts_polys else last
    device.launch("rns", f"{function}_mod_u32", grid, block, (*arguments, *counts))


@lru_cache(maxsize=1024)
def _constants(device: KernelDevice, moduli: tuple[int, ...]) -> Any:
    """Return q and floor(2^64 / q) of each limb, on the device."""
    return device.xp.asarray(np.array([(q, 2**64 // q) for q in moduli], np.uint64))


@lru_cache(maxsize=1024)
def _multiples(device: KernelDevice, factor: int, moduli: tuple[int, ...]) -> Any:
    """Return an integer's residues, on the device."""
    return device.xp.asarray(np.array([factor % q for q in moduli], WORD))


@lru_cache(maxsize=1024)
def _twiddles(device: KernelDevice, factors: tuple[int, ...], moduli: tuple[int, ...]) -> Any:
    """Return factors' residues w with floor(w 2^32 / q) above them, on the device."""
    words = [int(word) for word in residues("sub_scale_rns", factors, moduli)]
    pairs = [w | w * 2**32 // q << 32 for w, q in zip(words, moduli, strict=True)]
    return device.xp.asarray(np.array(pairs, np.uint64))


@lru_cache(maxsize=1024)
def _conversion(
    device: KernelDevice, moduli: tuple[int, ...], others: tuple[int, ...]
) -> tuple[Any, Any]:
    """Return the factors and the matrix of an extension, on the device."""
    constants = conversion(moduli, others)
    factors = _twiddles(device, tuple(constants.factors.tolist()), moduli)
    return factors, device.xp.asarray(constants.matrix.astype(WORD))


@lru_cache(maxsize=1024)
def _digit_conversion(
    device: KernelDevice, moduli: tuple[int, ...], every: tuple[int, ...], digit_limbs: int
) -> tuple[Any, Any]:
    """Return the factors and the matrices of all digits one after another, on the device."""
    starts = range(0, len(moduli), digit_limbs)
    each = [conversion(moduli[at : at + digit_limbs], every) for at in starts]
    factors = np.concatenate([constants.factors for constants in each])
    matrix = np.concatenate([constants.matrix.ravel() for constants in each])
    twiddles = _twiddles(device, tuple(factors.tolist()), moduli)
    return twiddles, device.xp.asarray(matrix.astype(WORD))


@lru_cache(maxsize=1024)
def _foreign_rows(
    moduli: tuple[int, ...], every: tuple[int, ...], digit_limbs: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the rows of all digits that are not of their own limbs, and the prime of each."""
    rows = [
        (digit * len(every) + limb, prime)
        for digit in range(-(-len(moduli) // digit_limbs))
        for limb, prime in enumerate(every)
        if limb >= len(moduli) or limb // digit_limbs != digit
    ]
    return tuple(row for row, _ in rows), tuple(prime for _, prime in rows)
