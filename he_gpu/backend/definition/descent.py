"""Many steps of a least-squares descent on additive shares, of all parties at once, in NumPy.

Layer: backend; the definition of ``kernels/descent.cu``. A step is two products of a matrix that
was masked before, each truncated, as `protocol` takes them one operation after the other; here
their arrays are checked by nobody, and rooms are made once for all steps. Words are of Z_2^64.
Sources: as `protocol`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from he_gpu.backend.definition.words import Array

LARGEST_PRODUCT = 2**16
"""Multiplications of a matrix product from which on a device has enough to do in one of them."""
SHARED_WORDS = 6 * 2**10
"""Words that one block of a kernel keeps: 48 KiB, what every device gives without asking."""
_TOP_BIT, _ONE = np.array(63, np.int64), np.array(1, np.int64)


class Products(NamedTuple):
    """What the parties hold for ``A @ x / 2**bits``, once for every step.

    Attributes:
        opened: (m, k), public A - a.
        mask: (parties, m, k), shares of a.
        b: (steps, parties, k, n), shares of the masks of x.
        c: (steps, parties, m, n), shares of a @ b minus the truncation's mask.
        low: likewise, of the first of `protocol.truncation_parts`.
        top: likewise, of the second.
        bits: low bits that the truncation drops, 0 < bits < 62.
    """

    opened: Array
    mask: Array
    b: Array
    c: Array
    low: Array
    top: Array
    bits: int


def descent_fits(n_parties: int, rows: int, width: int, targets: int) -> bool:
    """Tell whether steps are small: worth taking together, and within the memory of one block.

    Args:
        n_parties: of the protocol.
        rows: of the data.
        width: number of features.
        targets: number of columns of the weights.
    """
    multiplications = rows * width * targets
    shared = (n_parties + 1) * (rows + width) * targets
    return 0 < multiplications <= LARGEST_PRODUCT and shared <= SHARED_WORDS


def descend(w: Array, y: Array, forward: Products, backward: Products) -> Array:
    """Return shares of the weights after steps ``w - G (F w - y)``, the products truncated.

    Args:
        w: (parties, width, targets), every party of the protocol.
        y: (parties, rows, targets), of as many fraction bits as the truncated F w.
        forward: of F, (rows, width).
        backward: of G, (width, rows); for as many steps as forward.

    Returns:
        (parties, width, targets).
    """
    w, residual, step = w.copy(), np.empty_like(y), np.empty_like(w)
    predict, correct = _Bound(forward, w, residual), _Bound(backward, residual, step)
    for index in range(len(forward.c)):
        predict(index)
        np.subtract(residual, y, out=residual)
        correct(index)
        np.subtract(w, step, out=w)
    return w


class _Bound:
    """A truncated product of one pair of arrays, whose rooms are made ahead of its calls.

    Args:
        products: its randomness.
        x: (parties, k, n), the right operand, read at each call.
        out: (parties, m, n), written at each call.
    """

    def __init__(self, products: Products, x: Array, out: Array):
        self._products, self._x, self._out, self._first = products, x, out, out[0]
        self._masked, self._z, self._term = np.empty_like(x), np.empty_like(out), np.empty_like(out)
        self._masked_rows, self._z_rows = tuple(self._masked), tuple(self._z)
        self._e, self._total = np.empty_like(x[0]), np.empty_like(out[0])
        self._sign, self._signed_total = np.empty_like(out[0]), self._total.view(np.int64)
        self._signed_sign = self._sign.view(np.int64)
        self._bits = np.array(products.bits, np.uint64)

    def __call__(self, index: int) -> None:
        p, x, z, out, sign = self._products, self._x, self._z, self._out, self._signed_sign
        np.subtract(x, p.b[index], out=self._masked)
        _add_up(self._masked_rows, self._e)
        np.matmul(p.opened, x, out=z)
        np.matmul(p.mask, self._e, out=self._term)
        np.add(z, self._term, out=z)
        np.add(z, p.c[index], out=z)
        _add_up(self._z_rows, self._total)
        # As `protocol.truncate_finish`.
        np.right_shift(self._signed_total, _TOP_BIT, out=sign)
        np.bitwise_or(sign, _ONE, out=sign)
        np.multiply(p.top[index], self._sign, out=out)
        np.subtract(out, p.low[index], out=out)
        np.right_shift(self._total, self._bits, out=self._total)
        np.add(self._first, self._total, out=self._first)


def _add_up(shares: tuple[Array, ...], out: Array) -> None:
    """Write the sum of the parties' shares, two or more."""
    np.add(shares[0], shares[1], out=out)
    for share in shares[2:]:
        np.add(out, share, out=out)
