"""Words cut into balanced digits that float64 BLAS multiplies exactly.

Layer: backend, under the definition of the matrix product. A matrix becomes a stack: digit blocks
beside each other, low to high, where it stands on the left of a product, and below each other,
high to low, where it stands on the right. A long inner dimension is cut into pieces first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.definition.words import RING_32, RING_64, Array, wraps
from he_gpu.backend.kept import Kept

EXACT_FLOAT64 = 2**53
CUT_BLOCK = 64
SCRATCH_BYTES = 2**26
"""A thread keeps scratch arrays up to this size; larger ones are made anew each time."""


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

    def pieces(self, k: int) -> Iterator[slice]:
        """Return the pieces of an inner dimension, each of exact depth; none is empty but k = 0."""
        return (
            slice(start, min(start + self.depth, k)) for start in range(0, max(k, 1), self.depth)
        )


@lru_cache(maxsize=256)
def plan(modulus: int) -> Plan:
    """Choose the digits for a ring and derive the inner dimension that they bear.

    A balanced digit of b bits has magnitude at most 2^(b-1), so the sum of diagonal d over an
    inner dimension k is at most k * sum_{i+j=d} 2^(b_i + b_j - 2); it must not exceed 2^53.
    No digit has more than 22 bits, so float32 holds each exactly.
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


class _Scratch(threading.local):
    """Arrays of one thread that successive products write over, so that no page is new to them."""

    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        n = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if n > SCRATCH_BYTES:
            return np.empty(shape, dtype)
        buffer = self.buffers.get(name)
        if buffer is None or buffer.nbytes < n:
            buffer = self.buffers[name] = np.empty(n, np.uint8)
        return buffer[:n].view(dtype).reshape(shape)


scratch = _Scratch()
"""Arrays by name; each name serves one purpose at a time."""


class Operand:
    """A matrix on one side of a product, whose stacks are cut or fetched piece by piece.

    Args:
        matrix: (..., rows, columns) words, or `Kept`.
        side: "left" or "right".
        modulus: the ring.
    """

    def __init__(self, matrix: Array | Kept, side: str, modulus: int):
        self._left, self._modulus = side == "left", modulus
        self._words: Array = matrix.words if isinstance(matrix, Kept) else matrix
        self._digits: Array | None = None
        if isinstance(matrix, Kept):
            form = ("digits", side, modulus)
            self._digits = matrix.form(form, lambda words: _cut_all(words, side, modulus))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the words."""
        return tuple(self._words.shape)

    def flat(self) -> Operand:
        """Return contiguous matrices as one tall matrix."""
        one = object.__new__(Operand)
        one._left, one._modulus = self._left, self._modulus
        one._words, one._digits = (
            None if x is None else x.reshape(-1, x.shape[-1]) for x in (self._words, self._digits)
        )
        return one

    def at(self, batch: tuple[int, ...], index: tuple[int, ...]) -> Operand:
        """Return one matrix of those that broadcast to the batch axes."""
        one = object.__new__(Operand)
        one._left, one._modulus = self._left, self._modulus
        one._words = _one(self._words, batch, index)
        one._digits = None if self._digits is None else _one(self._digits, batch, index)
        return one

    def stack(self, piece: slice, lines: slice = slice(None)) -> Array:
        """Return the float64 digits of a piece of the inner dimension, in scratch memory.

        Args:
            piece: of the inner dimension, from `Plan.pieces`.
            lines: rows of a left matrix, columns of a right one; a right one takes all.
        """
        count, depth = len(plan(self._modulus).widths), piece.stop - piece.start
        words = self._words[lines, piece] if self._left else self._words[piece]
        rows, columns = words.shape
        shape = (rows, count * depth) if self._left else (count * depth, columns)
        stack = scratch.array("left" if self._left else "right", shape)
        if self._digits is None:
            cut(words, self._modulus, _digit_views(stack, depth, count, self._left))
        else:
            where = slice(count * piece.start, count * piece.stop)
            np.copyto(stack, self._digits[lines, where] if self._left else self._digits[where])
        return stack


def _one(matrices: Array, batch: tuple[int, ...], index: tuple[int, ...]) -> Array:
    """Return the matrix that stands at an index of the batch axes, which it may broadcast over."""
    own = matrices.shape[:-2]
    last = index[len(batch) - len(own) :]
    return matrices[tuple(i if n > 1 else 0 for i, n in zip(last, own, strict=True))]


def _cut_all(words: Array, side: str, modulus: int) -> Array:
    """Return the stacks of all pieces of all matrices in float32, piece after piece."""
    count, left = len(plan(modulus).widths), side == "left"
    *batch, rows, columns = words.shape
    shape = (rows, count * columns) if left else (count * rows, columns)
    digits = np.empty((*batch, *shape), np.float32)
    for index in np.ndindex(*batch):
        for piece in plan(modulus).pieces(columns if left else rows):
            where = slice(count * piece.start, count * piece.stop)
            matrix = words[index][:, piece] if left else words[index][piece]
            stack = digits[index][:, where] if left else digits[index][where]
            cut(matrix, modulus, _digit_views(stack, piece.stop - piece.start, count, left))
    return digits


def _digit_views(stack: Array, depth: int, count: int, left: bool) -> list[Array]:
    """Return the places of the digits in a stack, low digit first."""
    if left:
        return [stack[:, i * depth : (i + 1) * depth] for i in range(count)]
    return [stack[(count - 1 - j) * depth : (count - j) * depth] for j in range(count)]


def cut(words: Array, modulus: int, digits: list[Array]) -> None:
    """Write the balanced digits of words into arrays of floats, low digit first."""
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
