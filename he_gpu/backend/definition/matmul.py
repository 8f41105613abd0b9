"""The exact matrix product modulo 2^64, 2^32 or any 2 <= q <= 2^63, on NumPy arrays.

Layer: backend; the definition of ``kernels/matmul.cu`` and ``kernels/matmul_limb.cu``. Operands
are cut into balanced digits small enough that float64 BLAS sums their products without a rounding
error. Every bound on the inner dimension is computed from the digits' widths; longer products are
summed in pieces.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.definition.elementwise import add as add_mod
from he_gpu.backend.definition.elementwise import mul as mul_mod
from he_gpu.backend.definition.words import (
    RING_32,
    RING_64,
    Array,
    is_power_of_two,
    word_dtype,
    wraps,
)
from he_gpu.errors import ArgumentValueError, RangeError

EXACT_FLOAT64 = 2**53
DIRECT_PRODUCTS = 2**18
"""Up to this many scalar products NumPy's integer loop is quicker than cutting digits."""
ROW_BLOCK = 256
CUT_BLOCK = 64


class Plan(NamedTuple):
    """How words of a ring are cut into digits.

    Attributes:
        widths: bits of each digit, low to high.
        diagonals: number of digit sums i + j that can matter modulo the ring.
        depth: largest inner dimension whose float64 sums are exact.
    """

    widths: tuple[int, ...]
    diagonals: int
    depth: int


@lru_cache(maxsize=256)
def plan(modulus: int) -> Plan:
    """Choose the digits for a ring and derive the inner dimension that they bear.

    A balanced digit of b bits has magnitude at most 2^(b-1), so the sum of diagonal d over an
    inner dimension k is at most k * sum_{i+j=d} 2^(b_i + b_j - 2); it must not exceed 2^53.
    """
    widths: tuple[int, ...]
    if modulus == RING_64:
        widths, diagonals = (22, 22, 20), 3  # the digits i + j = 3 weigh 2^66: gone
    elif modulus == RING_32:
        widths, diagonals = (16, 16), 2
    else:
        # Balanced digits hold less above zero than below, so q - 1 needs one bit more.
        bits = (modulus - 1).bit_length() + 1
        count = -(-bits // 22)
        widths = (-(-bits // count),) * count
        diagonals = 2 * count - 1
    largest = max(
        sum(
            2 ** (widths[i] + widths[d - i] - 2)
            for i in range(len(widths))
            if 0 <= d - i < len(widths)
        )
        for d in range(diagonals)
    )
    return Plan(widths, diagonals, EXACT_FLOAT64 // largest)


def matmul(
    a: Array,
    b: Array,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
    b_bits: int | None = None,
) -> Array:
    """Return ``(a @ b + add) mod modulus`` with NumPy's batch dimensions.

    Args:
        a: (..., m, k) words in [0, modulus).
        b: (..., k, n) words in [0, modulus).
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
        _check_bits(b, b_bits)
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    native = wraps(modulus)
    if m * k * n <= DIRECT_PRODUCTS and (native or k * (modulus - 1) ** 2 < RING_64):
        product = np.matmul(a, b, out=out)
        if not native:
            np.remainder(product, np.uint64(modulus), out=product)
    else:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        if out is None:
            out = np.empty((*batch, m, n), word_dtype(modulus))
        if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous and out.flags.c_contiguous:
            _matmul_one(a.reshape(-1, k), b, modulus, out.reshape(-1, n))
        else:
            a, b = np.broadcast_to(a, (*batch, m, k)), np.broadcast_to(b, (*batch, k, n))
            for index in np.ndindex(batch):
                _matmul_one(a[index], b[index], modulus, out[index])
        product = out
    return product if add is None else add_mod(product, add, modulus, out=product)


def matmul_pair(
    a: Array,
    b: Array,
    a2: Array,
    b2: Array,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Return ``(a @ b + a2 @ b2 + add) mod modulus`` with NumPy's batch dimensions.

    Args:
        a: (..., m, k) words in [0, modulus).
        b: (..., k, n) words.
        a2: (..., m, k2) words.
        b2: (..., k2, n) words.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to (..., m, n), or None.
        out: array (..., m, n) that takes the result.

    Returns:
        (..., m, n) words in [0, modulus), with the batch dimensions of all four.
    """
    total = add_mod(matmul(a, b, modulus), matmul(a2, b2, modulus), modulus, out=out)
    return total if add is None else add_mod(total, add, modulus, out=total)


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


def _matmul_one(a: Array, b: Array, modulus: int, out: Array) -> None:
    """Write the product of two matrices into ``out``, in pieces of exact depth."""
    depth = plan(modulus).depth
    k = a.shape[1]
    if k == 0:
        out[...] = 0
    for start in range(0, k, depth):
        piece = slice(start, min(start + depth, k))
        _matmul_exact(a[:, piece], b[piece], modulus, out, accumulate=start > 0)


def _matmul_exact(a: Array, b: Array, modulus: int, out: Array, accumulate: bool) -> None:
    """Write or add the product of matrices whose inner dimension the plan bears.

    Digit d of the result is one float64 product: the digits i of a beside each other times the
    digits d - i of b below each other, which stand in b's stack from high to low.
    """
    widths, diagonals, _ = plan(modulus)
    count, k = len(widths), a.shape[1]
    b_stack = np.empty((count * k, b.shape[1]))
    _cut(b, modulus, [b_stack[(count - 1 - j) * k : (count - j) * k] for j in range(count)])
    a_stack = np.empty((min(ROW_BLOCK, a.shape[0]), count * k))
    for start in range(0, a.shape[0], ROW_BLOCK):
        rows = slice(start, min(start + ROW_BLOCK, a.shape[0]))
        block = a_stack[: rows.stop - rows.start]
        _cut(a[rows], modulus, [block[:, i * k : (i + 1) * k] for i in range(count)])
        total: Any = None
        for d in reversed(range(diagonals)):
            first, last = max(0, d - count + 1), min(d, count - 1)
            left = block[:, first * k : (last + 1) * k]
            below = count - 1 - (d - first)
            digit = np.matmul(left, b_stack[below * k : (below + last - first + 1) * k])
            total = _shift_in(total, digit, widths[0], modulus)
        result = total.astype(out.dtype, copy=False)
        if accumulate:
            add_mod(out[rows], result, modulus, out=out[rows])
        else:
            out[rows] = result


def _cut(words: Array, modulus: int, digits: list[Array]) -> None:
    """Write the balanced digits of words into float64 arrays, low digit first."""
    widths = plan(modulus).widths
    signed = np.int32 if modulus == RING_32 else np.int64
    for start in range(0, words.shape[0], CUT_BLOCK):
        rows = slice(start, start + CUT_BLOCK)
        rest = words[rows].view(signed)
        for digit, width in zip(digits[:-1], widths[:-1], strict=True):
            digit[rows] = _low_bits(rest, width)
            # Rounds half up: the carry that a negative low digit owes to the next one.
            rest = np.right_shift(rest, width - 1)
            rest += 1
            rest >>= 1
        # A wrapping word needs its top digit modulo 2^width only; below q it is what remains.
        digits[-1][rows] = _low_bits(rest, widths[-1]) if wraps(modulus) else rest


def _low_bits(signed: Array, width: int) -> Array:
    """Return the low ``width`` bits of signed words as numbers in [-2^(width-1), 2^(width-1))."""
    unused = signed.dtype.itemsize * 8 - width
    low = np.left_shift(signed, unused)
    low >>= unused
    return low


def _shift_in(total: Array | None, digit: Array, width: int, modulus: int) -> Array:
    """Return ``total * 2^width + digit`` modulo the ring, for exact integers in float64."""
    whole = digit.astype(np.int64)
    if wraps(modulus):
        words = whole.view(np.uint64)
        if total is not None:
            words += np.left_shift(total, np.uint64(width), out=total)
        return words
    if is_power_of_two(modulus):
        words = np.bitwise_and(whole.view(np.uint64), np.uint64(modulus - 1))
    else:
        words = np.remainder(whole, np.int64(modulus)).view(np.uint64)
    if total is None:
        return words
    return add_mod(mul_mod(total, np.uint64(2**width % modulus), modulus), words, modulus)
