"""Tables of the transform in four steps: columns, a twist, rows, without moving a word.

Layer: backend. A polynomial of N = n1 n2 coefficients is a matrix (n1, n2), row by row. Forward:
the negacyclic transform of each column, a factor for each element, the cyclic transform of each
row; then the words lie in the order of `ntt.ntt`. Backward: the same steps undone, last first.
Columns and rows are transformed by log2(n) stages of butterflies (u, v) -> (u + w v, u - w v), w
from a table of n words, of which word 0 is not used:
  forward, blocks of size n / m, m = 1, 2, ...: word m + i serves block i;
  backward, blocks of size 2 t, t = 1, 2, ...: word t + j serves pair j of every block.
Source: Bailey 1990, "FFTs in external or hierarchical memory".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from he_gpu.backend.definition.roots import bit_reversal, powers, primitive_root
from he_gpu.backend.definition.words import Array


class FourStep(NamedTuple):
    """Tables of one prime and degree, uint64 in [0, q).

    Attributes:
        columns: (n1,) of the forward stages over columns.
        twist: (n1, n2) factors between.
        rows: (n2,) of the forward stages over rows.
        rows_back: (n2,) of the backward stages over rows.
        twist_back: (n1, n2) factors between.
        columns_back: (n1,) of the backward stages over columns.
        scale: (n1,) last factors of each row, 1/N among them.
    """

    columns: Array
    twist: Array
    rows: Array
    rows_back: Array
    twist_back: Array
    columns_back: Array
    scale: Array


def sides(degree: int) -> tuple[int, int]:
    """Return n1 and n2, powers of two with n1 n2 = N and n1 <= n2 <= 2 n1."""
    n1 = 1 << (degree.bit_length() - 1) // 2
    return n1, degree // n1


def four_step(modulus: int, degree: int) -> FourStep:
    """Return the tables of a prime and a degree."""
    n1, n2 = sides(degree)
    psi = primitive_root(modulus, 2 * degree)
    power = powers(psi, 2 * degree, modulus)

    def at(exponents: Array) -> Array:
        return power[exponents % (2 * degree)]

    order1, order2 = bit_reversal(n1), bit_reversal(n2)
    odd = 2 * order1[:, None] + 1
    index1, index2 = np.arange(n1), np.arange(n2)
    top1, top2 = _largest_power(index1), _largest_power(index2)
    return FourStep(
        columns=at(n2 * order1),
        twist=at(odd * index2),
        rows=at(n1 * order2[index2 - top2]),
        # Pair j of 2 t has the root of order 2 t to the power -j.
        rows_back=at(-(index2 - top2) * (degree // top2)),
        twist_back=at(-odd * index2),
        columns_back=at(-(index1 - top1) * (degree // top1)),
        scale=at(-n2 * index1) * np.uint64(pow(degree, -1, modulus)) % np.uint64(modulus),
    )


def _largest_power(index: Array) -> Array:
    """Return the largest power of two not above each number, 1 for 0."""
    return 1 << np.maximum(np.frexp(index)[1].astype(np.int64) - 1, 0)
