"""The four-step transform as exact float64 matrix products, which butterflies are measured against.

A polynomial is a matrix (n1, n2). Columns are multiplied by an (n1, n1) matrix of roots of unity,
each element by a root, rows by an (n2, n2) matrix. Words are centred residues below 2^26, a
matrix is 2^13 H + L with |L| <= 2^12 and |H| <= 2^13, so sums of 256 products stay below 2^47.
Source: Bailey 1990, "FFTs in external or hierarchical memory".
"""

from functools import cache

import numpy as np

from he_gpu.backend.definition.four_step import sides
from he_gpu.backend.definition.roots import bit_reversal, powers, primitive_root

SPLIT = 2.0**13
EXACT = 2**53


def ntt(x, moduli):
    """Return what `he_gpu.backend.definition.ntt.ntt` returns, of words (polynomials, limbs, N)."""
    return _transformed(x, moduli, forward=True)


def intt(x, moduli):
    """Return what `he_gpu.backend.definition.ntt.intt` returns."""
    return _transformed(x, moduli, forward=False)


def _transformed(x, moduli, forward):
    degree, result = x.shape[-1], np.empty(x.shape, np.uint32)
    room = _room(len(x), degree)
    for limb, modulus in enumerate(moduli):
        columns, twist, rows = _tables(modulus, degree, forward)
        np.copyto(room.matrix, x[:, limb].reshape(room.matrix.shape))
        room.reduce(modulus)
        if forward:
            room.multiply_columns(columns, modulus)
        else:
            room.multiply_rows(rows, modulus)
        np.multiply(room.matrix, twist, out=room.matrix)
        room.reduce(modulus)
        if forward:
            room.multiply_rows(rows, modulus)
        else:
            room.multiply_columns(columns, modulus)
        np.add(room.matrix, modulus, out=room.matrix, where=room.matrix < 0)
        np.copyto(result[:, limb], room.matrix.reshape(-1, degree), casting="unsafe")
    return result


class _Room:
    """Words of a limb in float64, and memory for what is made of them."""

    def __init__(self, polys, degree):
        n1, n2 = sides(degree)
        self.matrix, self._quotient = np.empty((2, polys, n1, n2))
        self._columns = np.empty((polys, 2, n1, n2))
        self._rows = self._columns.reshape(polys, n1, 2, n2)

    def multiply_columns(self, halves, modulus):
        both = self._columns
        np.matmul(halves, self.matrix, out=both.reshape(len(both), -1, both.shape[-1]))
        self._join(both[:, 0], both[:, 1], modulus)

    def multiply_rows(self, halves, modulus):
        both = self._rows
        words = self.matrix.reshape(-1, both.shape[-1])
        np.matmul(words, halves, out=both.reshape(len(words), -1))
        self._join(both[:, :, 0], both[:, :, 1], modulus)

    def reduce(self, modulus):
        _reduce(self.matrix, self._quotient, modulus)

    def _join(self, high, low, modulus):
        _reduce(high, self._quotient, modulus)
        np.multiply(high, SPLIT, out=self.matrix)
        np.add(self.matrix, low, out=self.matrix)
        self.reduce(modulus)


def _reduce(a, quotient, modulus):
    """Subtract the nearest multiple of q, in place; exact below 2^53."""
    np.multiply(a, 1 / modulus, out=quotient)
    np.rint(quotient, out=quotient)
    np.multiply(quotient, modulus, out=quotient)
    np.subtract(a, quotient, out=a)


@cache
def _room(polys, degree):
    return _Room(polys, degree)


@cache
def _tables(modulus, degree, forward):
    """Return both matrices, halves stacked as each product wants them, and the factors between."""
    n1, n2 = sides(degree)
    power = powers(primitive_root(modulus, 2 * degree), 2 * degree, modulus).astype(np.int64)
    odd = 2 * bit_reversal(n1).astype(np.int64) + 1
    index1, index2 = np.arange(n1), np.arange(n2)
    order2 = bit_reversal(n2).astype(np.int64)
    sign = 1 if forward else -1
    columns = power[sign * n2 * odd[:, None] * index1 % (2 * degree)]
    twist = power[sign * odd[:, None] * index2 % (2 * degree)]
    rows = power[sign * 2 * n1 * index2[:, None] * order2 % (2 * degree)]
    if not forward:
        columns, rows = columns.T, rows.T
        columns = columns * pow(degree, -1, modulus) % modulus
    columns, twist, rows = (_centred(each, modulus) for each in (columns, twist, rows))
    assert max(n1, n2) * (modulus / 2) * (SPLIT + 1) * 2 < EXACT
    return np.concatenate(_halves(columns)), twist, np.concatenate(_halves(rows), axis=1)


def _halves(a):
    high = np.rint(a / SPLIT)
    return high, a - SPLIT * high


def _centred(a, modulus):
    return np.where(a > modulus // 2, a - modulus, a).astype(np.float64)
