"""Largest, first largest and sorted along one axis, by levels of comparisons made all at once.

Layer: tensor, above mpc. Works on stacks (rows, n, *rest) of signed words whose differences fit the
word, along axis 1. Never reads a secret; which elements meet depends on n alone.
Source of the sorting network: Batcher 1968; Knuth, The Art of Computer Programming, volume 3,
algorithm 5.2.2 M.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from he_gpu.backend import Array, word_dtype
from he_gpu.tensor.ordering import below, difference

if TYPE_CHECKING:
    from he_gpu.session import Session

PAIRED = 2**14
"""Comparisons that take less time together, on every device, than the levels that they spare."""


def extreme(session: Session, stack: Array, smallest: bool = False) -> Array:
    """Return the largest along axis 1, or the smallest, as a stack (rows, *rest).

    Args:
        session: of the stack.
        stack: (rows, n, *rest), n > 0.
        smallest: whether to return the smallest.

    Cost: while more than two are left, and their pairs are more than `at_once` allows, a call of
        the scheme's `positive_part` for half of them, which leaves the other half; then one of its
        `largest` for more than two, or of `positive_part` for two.
    """
    scheme, xp = session.scheme, session.backend.xp
    while (n := stack.shape[1]) > 1:
        if n > 2 and at_once(n, prod(stack.shape[2:])):
            return scheme.largest(stack, smallest)
        half = n // 2
        x, y, odd = stack[:, :half], stack[:, half : 2 * half], stack[:, 2 * half :]
        part = scheme.positive_part(difference(session, x, y))
        stack = scheme.sub(x, part) if smallest else scheme.add(y, part)
        if n % 2:
            stack = xp.concatenate([stack, odd], axis=1)
    return stack[:, 0]


def at_once(n: int, size: int) -> bool:
    """Tell whether all pairs of n rows of a size are compared at once, in whole words of 64."""
    return n * (n - 1) // 2 * -(-size // 64) * 64 <= PAIRED


def first_extreme(session: Session, stack: Array, smallest: bool = False) -> Array:
    """Return the index of the first largest along axis 1, or of the first smallest.

    Neighbours meet, so that each winner stands for an interval before that of its next opponent,
    and the left one wins a tie.

    Args:
        session: of the stack.
        stack: (rows, n, *rest), n > 0.
        smallest: whether to find the smallest.

    Returns:
        Stack (rows, *rest) of integers.

    Cost: ceil(log2 n) levels, each a call of the scheme's `below` and one of its `product` without
        truncation, for the winners' values (not at the last level) and indices (not at the first).
    """
    scheme, backend, xp = session.scheme, session.backend, session.backend.xp
    rows, n, *rest = stack.shape
    zeros = xp.zeros((rows, n, *rest), stack.dtype)
    if n == 1:
        return zeros[:, 0]
    counted = np.arange(n).astype(word_dtype(session.modulus)).reshape(n, *(1,) * len(rest))
    indices = scheme.add_public(zeros, backend.asarray(counted))
    known = True  # i = j - 1 at the first level, and j less the bit is the winner's index
    while (n := stack.shape[1]) > 1:
        even = n - n % 2
        x, y = stack[:, 0:even:2], stack[:, 1:even:2]
        i, j = indices[:, 0:even:2], indices[:, 1:even:2]
        gap = difference(session, x, y)
        # The left one wins where y - x < 1, or for the smallest where x - y < 1.
        left = below(session, gap if smallest else difference(session, y, x), 1)
        gaps = ([] if n == 2 else [gap]) + ([] if known else [difference(session, i, j)])
        parts = scheme.product("mul", left, xp.stack(gaps, axis=1), 0) if gaps else left
        steps = scheme.neg(left[:, 0]) if known else parts[:, -1]
        indices = xp.concatenate([scheme.add(j, steps), indices[:, even:]], axis=1)
        if n == 2:
            break
        stack = xp.concatenate([scheme.add(y, parts[:, 0]), stack[:, even:]], axis=1)
        known = False
    return indices[:, 0]


def sorted_along(session: Session, stack: Array) -> Array:
    """Return the stack sorted upwards along axis 1.

    Cost: one call of the scheme's `positive_part` for each layer of the network, one after another:
        t (t + 1) / 2 layers for t = ceil(log2 n), each of at most n / 2 comparisons.
    """
    scheme, backend = session.scheme, session.backend
    work = stack.copy()
    for upper, lower in layers(stack.shape[1]):
        i, j = backend.asarray(upper), backend.asarray(lower)
        x, y = work[:, i], work[:, j]
        part = scheme.positive_part(difference(session, x, y))
        work[:, i] = scheme.sub(x, part)
        work[:, j] = scheme.add(y, part)
    return work


def layers(n: int) -> Iterator[tuple[Array, Array]]:
    """Yield the layers of Batcher's merge exchange for n elements, as index arrays i < j.

    Comparing and exchanging x[i] and x[j] of one layer after another, all pairs of a layer at
    once, sorts any n elements.
    """
    top = 1 << max(n - 1, 0).bit_length() >> 1
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            i = np.arange(n - d)
            i = i[i & p == r]
            if i.size:
                yield i, i + d
            if q == p:
                break
            q, r, d = q >> 1, p, q - p
        p >>= 1


def windows(
    session: Session, stack: Array, axis: int, kernel: int, stride: int, padding: int
) -> Array:
    """Return the windows along an axis of a stack, their elements along a new axis 1.

    Padding at either end, at most half a kernel, repeats an element of the same window, which
    changes no extreme.

    Args:
        session: of the stack.
        stack: (rows, ..., n, ...), n > 0.
        axis: that of n.
        kernel: elements of a window, at most n + 2 padding.
        stride: from one window to the next.
        padding: 0 <= padding <= kernel / 2.

    Returns:
        Stack (rows, kernel, ..., n_windows, ...).
    """
    backend, n = session.backend, stack.shape[axis]
    spare = max(0, padding - n)  # a window that reaches past n rows before reaches the last behind
    padding, kernel = padding - spare, kernel - 2 * spare
    stride = min(stride, n + 2 * padding)  # one window either way, and no word overflows
    starts = np.arange((n + 2 * padding - kernel) // stride + 1) * stride - padding
    at = [backend.asarray(np.clip(starts + offset, 0, n - 1)) for offset in range(kernel)]
    return backend.stack([backend.xp.take(stack, index, axis=axis) for index in at], 1)
