"""The exact matrix product modulo 2^64, 2^32 or any 2 <= q <= 2^63, on NumPy arrays.

Layer: backend; the definition of ``kernels/matmul.cu`` and ``kernels/matmul_limb.cu``. Operands
are cut into digits (`digits`), and float64 BLAS sums their products without a rounding error.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from he_gpu.backend.definition.digits import Operand, plan, scratch
from he_gpu.backend.definition.elementwise import add as add_mod
from he_gpu.backend.definition.elementwise import mul as mul_mod
from he_gpu.backend.definition.memory import empty
from he_gpu.backend.definition.protocol import reconstruct
from he_gpu.backend.definition.words import RING_64, Array, is_power_of_two, word_dtype, wraps
from he_gpu.backend.kept import Kept
from he_gpu.errors import ArgumentValueError, RangeError

DIRECT_PRODUCTS, DIRECT_SIDE = 2**18, 8
"""Up to so many scalar products, and up to this length of one of the three sides, NumPy's integer
loop is quicker than cutting digits."""
ROW_BLOCK = 256


def matmul(
    a: Array | Kept,
    b: Array | Kept,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
    b_bits: int | None = None,
) -> Array:
    """Return ``(a @ b + add) mod modulus`` with NumPy's batch dimensions.

    Args:
        a: (..., m, k) words in [0, modulus); `Kept` where more products with it will follow.
        b: (..., k, n) words in [0, modulus), or `Kept`.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to (..., m, n), or None.
        out: array (..., m, n) that takes the result.
        b_bits: 16 or 8 where every word of b, read as a signed number, lies in
            [-2^(b_bits - 1), 2^(b_bits - 1)), or None. Kernels may use it; here it is checked.

    Returns:
        (..., m, n) words in [0, modulus).

    Raises:
        ArgumentValueError: b_bits is none of these.
        RangeError: a word of b needs more bits than b_bits.
    """
    if b_bits is not None:
        _check_bits(_words(b), b_bits)
    return _sum_of_products(((a, b),), modulus, add, out, total=False)


def matmul_pair(
    a: Array | Kept,
    b: Array | Kept,
    a2: Array | Kept,
    b2: Array | Kept,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
    total: bool = False,
) -> Array:
    """Return ``(a @ b + a2 @ b2 + add) mod modulus`` with NumPy's batch dimensions.

    Args:
        a: (..., m, k) words in [0, modulus), or `Kept`, as all four may be.
        b: (..., k, n) words.
        a2: (..., m, k2) words.
        b2: (..., k2, n) words.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to (..., m, n), or None.
        out: array of the result's shape that takes it.
        total: return the sum over the first batch axis, the parties: what a product's masked
            opening sends, without the parties' words in memory.

    Returns:
        (..., m, n) words in [0, modulus), with the batch dimensions of all four, but for the first
        of them with total.
    """
    return _sum_of_products(((a, b), (a2, b2)), modulus, add, out, total)


def _sum_of_products(
    pairs: tuple[tuple[Any, Any], ...],
    modulus: int,
    add: Array | None,
    out: Array | None,
    total: bool,
) -> Array:
    """Return the sum of the pairs' products and ``add``; with total over the first batch axis."""
    batch, m, n, direct = _sizes(modulus, *[x.shape for pair in pairs for x in pair])
    if direct:
        return _direct(pairs, modulus, add, out, total)
    if out is None:
        out = empty((*batch[int(total) :], m, n), word_dtype(modulus))
    if not total and len(pairs) == 1 and _rows_fold(*pairs[0], out):
        a, b = pairs[0]
        left, right = Operand(a, "left", modulus).flat(), Operand(b, "right", modulus)
        _matmul_one(left, right, modulus, out.reshape(left.shape[0], n), accumulate=False)
    else:
        operands = [(Operand(a, "left", modulus), Operand(b, "right", modulus)) for a, b in pairs]
        for index in np.ndindex(batch):
            accumulate = total and index[0] > 0
            for left, right in operands:
                one = left.at(batch, index), right.at(batch, index)
                _matmul_one(*one, modulus, out[index[int(total) :]], accumulate)
                accumulate = True
    if add is None:
        return out
    if total:
        add = reconstruct(np.broadcast_to(add, (*batch, m, n)), modulus)
    return add_mod(out, add, modulus, out=out)


@lru_cache(maxsize=1024)
def _sizes(modulus: int, *shapes: tuple[int, ...]) -> tuple[tuple[int, ...], int, int, bool]:
    """Return the batch axes, m and n of a sum of products, and whether integers serve it best.

    NumPy's integer products serve where they are exact and quicker than cutting digits.

    Args:
        modulus: of the ring.
        shapes: of the operands, left and right in turn.
    """
    m, n = shapes[0][-2], shapes[1][-1]
    batch = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    depths = [left[-1] for left in shapes[::2]]
    quick = all(m * k * n <= DIRECT_PRODUCTS or min(m, k, n) <= DIRECT_SIDE for k in depths)
    exact = wraps(modulus) or max(depths) * (modulus - 1) ** 2 < RING_64
    return batch, m, n, quick and exact


def _direct(
    pairs: tuple[tuple[Any, Any], ...],
    modulus: int,
    add: Array | None,
    out: Array | None,
    total: bool,
) -> Array:
    """Return the sum of products that are exact, but for a reduction, in NumPy's integers."""
    if len(pairs) == 1 and add is None:
        return _direct_product(*pairs[0], modulus, out)
    terms = [_direct_product(a, b, modulus) for a, b in pairs]
    if add is not None:
        terms.append(add)
    into = None if total else out
    result = add_mod(terms[0], terms[1], modulus, out=into if len(terms) == 2 else None)
    if len(terms) == 3:
        result = add_mod(result, terms[2], modulus, out=into)
    return reconstruct(result, modulus, out=out) if total else result


def _direct_product(a: Any, b: Any, modulus: int, out: Array | None = None) -> Array:
    product = np.matmul(_words(a), _words(b), out=out)
    if not wraps(modulus):
        np.remainder(product, np.uint64(modulus), out=product)
    return product


def _words(operand: Array | Kept) -> Array:
    return operand.words if isinstance(operand, Kept) else operand


def _rows_fold(a: Any, b: Any, out: Array) -> bool:
    """Tell whether one product serves all batches: one b, and rows of a that follow each other."""
    return (
        len(b.shape) == 2
        and len(a.shape) > 2
        and _words(a).flags.c_contiguous
        and out.flags.c_contiguous
    )


def _check_bits(words: Array, bits: int) -> None:
    """Refuse words that are no signed numbers of so many bits."""
    if bits not in (8, 16):
        raise ArgumentValueError(f"matmul: b_bits must be 8, 16 or None, got {bits!r}")
    signed = words.view(np.int32 if words.dtype == np.uint32 else np.int64)
    bound = 2 ** (bits - 1)
    if words.size and not -bound <= signed.min() <= signed.max() < bound:
        raise RangeError(
            f"matmul: b must lie in [{-bound}, {bound}) for b_bits={bits}, "
            f"got {signed.min()} to {signed.max()}"
        )


def _matmul_one(left: Operand, right: Operand, modulus: int, out: Array, accumulate: bool) -> None:
    """Write or add the product of two matrices, in pieces of exact depth.

    Digit d of the result is one float64 product: the digits i of the left matrix beside each other
    times the digits d - i of the right one below each other, which stand there from high to low.
    """
    widths, diagonals, _ = plan(modulus)
    count = len(widths)
    for piece in plan(modulus).pieces(left.shape[1]):
        depth = piece.stop - piece.start
        below = right.stack(piece)
        for start in range(0, left.shape[0], ROW_BLOCK):
            rows = slice(start, min(start + ROW_BLOCK, left.shape[0]))
            beside = left.stack(piece, rows)
            digits = []
            for d in range(diagonals):
                first, last = max(0, d - count + 1), min(d, count - 1)
                high = count - 1 - (d - first)
                digits.append(
                    (
                        beside[:, first * depth : (last + 1) * depth],
                        below[high * depth : (high + last - first + 1) * depth],
                    )
                )
            _store(digits, widths[0], modulus, out[rows], accumulate)
        accumulate = True


def _store(
    digits: list[tuple[Array, Array]], width: int, modulus: int, out: Array, accumulate: bool
) -> None:
    """Write or add the number whose digits, low to high, are exact float64 products."""
    product = scratch.array("product", out.shape)
    whole = scratch.array("whole", out.shape, np.int64)
    words = whole.view(np.uint64)
    total = scratch.array("total", out.shape, np.uint64)
    for i, (left, right) in enumerate(reversed(digits)):
        np.matmul(left, right, out=product)
        np.copyto(whole, product, casting="unsafe")
        if not wraps(modulus):
            _reduce(words, modulus)
        if i == 0:
            total, words, whole = words, total, total.view(np.int64)
        elif wraps(modulus):
            np.left_shift(total, np.uint64(width), out=total)
            np.add(total, words, out=total)
        else:
            shifted = mul_mod(total, np.uint64(2**width % modulus), modulus)
            add_mod(shifted, words, modulus, out=total)
    if accumulate:
        add_mod(out, total.astype(out.dtype, copy=False), modulus, out=out)
    else:
        np.copyto(out, total, casting="unsafe")


def _reduce(words: Array, modulus: int) -> None:
    """Reduce signed 64-bit numbers, in the words that hold them."""
    if is_power_of_two(modulus):
        np.bitwise_and(words, np.uint64(modulus - 1), out=words)
    else:
        signed = words.view(np.int64)
        np.remainder(signed, np.int64(modulus), out=signed)
