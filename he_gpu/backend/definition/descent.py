"""Many steps of a least-squares descent on shares, of all parties at once, in NumPy.

Layer: backend; the definition of ``kernels/descent.cu``. A step is two products, each truncated, as
`protocol` and `replicated` take them one operation after the other; here their arrays are checked
by nobody, and rooms are made once for all steps. Words are of Z_2^64. Sources: as those.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from he_gpu.backend.definition.words import Array

LARGEST_PRODUCT = 2**16
"""Multiplications of a matrix product from which on a device has enough to do in one of them."""
SHARED_WORDS = 6 * 2**10
"""Words that one block of a kernel keeps: 48 KiB, what every device gives without asking."""
LARGEST_PARTIES = 32
"""Each has a lane of a warp."""
_TOP_BIT, _ONE = np.array(63, np.int64), np.array(1, np.int64)
_BIAS = np.array(2**62 - 1, np.uint64)
"""Of a mask that is truncated, see `replicated.deal_mask`."""


class Products(NamedTuple):
    """What the parties of `additive` hold for ``A @ x / 2**bits``, once for every step.

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


class CrossProducts(NamedTuple):
    """What the parties of `replicated` hold for ``A @ x / 2**bits``, once for every step.

    Attributes:
        stack: (4, m, k), the words of A, the last row the first once more.
        hiding: (steps, 3, m, n) words whose sum over the parties is 0.
        result: (steps, 4, m, n), with words 0 and 2 of the results, and 0 once more; word 1 is not
            read.
        parts: (steps, 2, 2, m, n), what `replicated.deal_truncation` makes without a mask.
        bits: low bits that the truncation drops, 0 < bits < 62.
    """

    stack: Array
    hiding: Array
    result: Array
    parts: Array
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
    small = 0 < multiplications <= LARGEST_PRODUCT and shared <= SHARED_WORDS
    return small and n_parties <= LARGEST_PARTIES


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
    predict = _Product(forward._replace(low=forward.low + y), w.shape)
    return _steps(w, len(forward.c), predict, _Product(backward, y.shape))


def descend_replicated(
    w: Array, y: Array, forward: CrossProducts, backward: CrossProducts
) -> Array:
    """Return the words of the weights after steps ``w - G (F w - y)``, the products truncated.

    Args:
        w: (4, width, targets), the last row the first once more.
        y: (4, rows, targets), of as many fraction bits as the truncated F w.
        forward: of F, (rows, width).
        backward: of G, (width, rows); for as many steps as forward.

    Returns:
        (4, width, targets).
    """
    w, y = w[:3], y[:3]
    predict = _CrossProduct(forward, w.shape, minus=y)
    w = _steps(w, len(forward.hiding), predict, _CrossProduct(backward, y.shape))
    return np.concatenate((w, w[:1]))


def _steps(
    w: Array,
    n_steps: int,
    predict: _Product | _CrossProduct,
    correct: _Product | _CrossProduct,
) -> Array:
    """Return the weights after steps ``w - correct(predict(w))``."""
    predict.x[...] = w
    w, residual, step = predict.x, correct.x, np.empty_like(w)
    for _ in range(n_steps):
        predict(residual)
        correct(step)
        np.subtract(w, step, w)
    return np.ascontiguousarray(w)


class _Product:
    """A truncated product on additive shares, whose rooms are made ahead of its calls.

    One sum runs over the inner dimension of every party's own terms: those of its share of x, which
    is written to `x` before a call, and those of what the parties have opened of x.

    Args:
        products: its randomness.
        shape: (parties, k, n) of x.
    """

    def __init__(self, products: Products, shape: tuple[int, ...]):
        parties, k, n = shape
        columns = np.empty((n, 2, parties, k), np.uint64)
        self.x, self._opened = columns.transpose(1, 2, 3, 0)
        self._columns = columns.reshape(n, -1)
        rows = np.concatenate([*[products.opened] * parties, *products.mask], axis=1)
        self._rows = rows[:, None, :]
        self._masked, self._e = np.empty(shape, np.uint64), np.empty(shape[1:], np.uint64)
        self._masked_rows = tuple(self._masked)
        self._z = np.empty((len(rows), n), np.uint64)
        self._sign = np.empty_like(self._z)
        self._signed = self._z.view(np.int64), self._sign.view(np.int64)
        self._bits = np.array(products.bits, np.uint64)
        self._words = zip(
            products.b, products.c.sum(axis=1), products.low, products.top, strict=True
        )

    def __call__(self, out: Array) -> None:
        """Write the next product, (parties, m, n)."""
        z, (signed, sign), (b, c, low, top) = self._z, self._signed, next(self._words)
        np.subtract(self.x, b, self._masked)
        first, second, *others = self._masked_rows
        np.add(first, second, self._e)
        for row in others:
            np.add(self._e, row, self._e)
        self._opened[...] = self._e
        np.vecdot(self._rows, self._columns, z)
        np.add(z, c, z)
        # As `protocol.truncate_finish`.
        np.right_shift(signed, _TOP_BIT, sign)
        np.bitwise_or(sign, _ONE, sign)
        np.multiply(top, self._sign, out)
        np.subtract(out, low, out)
        np.right_shift(z, self._bits, z)
        np.add(out[0], z, out[0])


class _CrossProduct:
    """A truncated product of replicated words, whose rooms are made ahead of its calls.

    Args:
        products: its randomness.
        shape: (3, k, n) of x, which is written to `x` before a call.
        minus: (3, m, n) words to take off the product, or None.
    """

    def __init__(self, products: CrossProducts, shape: tuple[int, ...], minus: Array | None = None):
        _, k, n = shape
        stack, bits = products.stack, products.bits
        columns = np.empty((3, n, 2, k), np.uint64)
        self.x, self._both = columns.transpose(2, 0, 3, 1)
        self._next = (self.x[:2], self.x[1:], self._both[:2]), (self.x[2], self.x[0], self._both[2])
        self._columns = columns.reshape(3, 1, n, -1)
        self._rows = np.concatenate((stack[1:], stack[:-1]), axis=2)[:, :, None, :]
        self._z = np.empty((3, stack.shape[1], n), np.uint64)
        self._pair, self._case, self._floor = self._z
        self._shifted = self._z[1:].view(np.int64)
        self._taken = np.empty_like(self._case)
        self._minus, self._bits = minus, np.array(bits, np.int64)
        self._upper = np.array(2**64 - 2 ** (64 - bits), np.uint64)
        parts = products.parts[:, :, 0] + products.parts[:, :, 1]
        dealt = products.result[:, :3:2], *parts.swapaxes(0, 1)
        self._words = zip(products.hiding, *dealt, strict=True)

    def __call__(self, out: Array) -> None:
        """Write the next product, (3, m, n)."""
        z, case, floor, taken = self._z, self._case, self._floor, self._taken
        hiding, result, added, off = next(self._words)
        for own, following, both in self._next:
            np.add(own, following, both)
        np.vecdot(self._rows, self._columns, z)
        np.add(z, hiding, z)
        # As `replicated.deal_mask`, of the third party's row, and `replicated.choose_truncation`.
        np.add(self._pair, case, case)
        np.add(floor, _BIAS, floor)
        np.right_shift(self._shifted, self._bits, self._shifted)
        np.bitwise_and(floor, self._upper, taken)
        np.add(taken, off, taken)
        np.bitwise_and(taken, case, taken)
        np.add(case, floor, case)
        np.add(case, added, case)
        out[::2] = result
        np.subtract(case, taken, out[1])
        if self._minus is not None:
            np.subtract(out, self._minus, out)
