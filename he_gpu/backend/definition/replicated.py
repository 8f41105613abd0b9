"""Steps of replicated sharing among three parties, on NumPy arrays.

Layer: backend; the definition of ``kernels/replicated.cu``. x = x_0 + x_1 + x_2, and party i holds
x_i and x_{i+1}: a stack (parties + 1, *shape) has both of party p in its rows p and p + 1. Words
wrap; k is their number of bits.
Source: Araki et al., "High-throughput semi-honest secure three-party computation with an honest
majority", CCS 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend.definition.digits import scratch
from he_gpu.backend.definition.memory import empty
from he_gpu.backend.definition.protocol import truncation_parts
from he_gpu.backend.definition.words import Array
from he_gpu.errors import ArgumentValueError

BLOCK = 2**14
"""Words of each row that are taken together: few enough to stay in cache."""


def cross_multiply(x: Array, y: Array, add: Array, out: Array | None = None) -> Array:
    """Return the parties' shares of x y: ``x_i (y_i + y_{i+1}) + x_{i+1} y_i + add_i``.

    Args:
        x: (parties + 1, *shape).
        y: (parties + 1, *shape); both have as many axes as ``add``, and broadcast after the first.
        add: (parties, *shape) of the result, whose sum over all parties is 0, or minus a mask.
        out: contiguous array (parties, *shape) that takes the result; may be ``add``.
    """
    parties, *shape = add.shape
    result = empty(add.shape, add.dtype) if out is None else out
    x, y = (np.broadcast_to(v, (parties + 1, *shape)).reshape(parties + 1, -1) for v in (x, y))
    flat, more = result.reshape(parties, -1), add.reshape(parties, -1)
    for start in range(0, flat.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        left, right, share = x[:, part], y[:, part], flat[:, part]
        first = scratch.array("first", share.shape, add.dtype)
        second = scratch.array("second", share.shape, add.dtype)
        np.add(right[:-1], right[1:], out=first)
        np.multiply(first, left[:-1], out=first)
        np.multiply(left[1:], right[:-1], out=second)
        np.add(first, second, out=first)
        np.add(first, more[:, part], out=share)
    return result


def deal_truncation(
    mask: Array, first: Array, last: Array, choices: Array, bits: int
) -> tuple[Array, Array]:
    """Return what the first two parties need to undo a mask that only the third one knows.

    With the masked word opened to them, `protocol.truncate_finish` makes of these their shares of
    the truncated value less ``first`` and ``last``, which become words of the result. The first
    party makes its own from ``choices``; the second one is sent what remains. The first party's
    are uniform multiples of 2^(k-1-bits), as the bit that they hide is.

    Args:
        mask: (*shape) uniform words.
        first: (*shape) uniform words known to the third party and the first.
        last: (*shape) uniform words known to the third party and the second.
        choices: (1 or 2, *shape) uniform words known to the third party and the first; 1 is enough
            where bits < k / 2.
        bits: low bits that the truncation drops, 0 < bits < k - 2.

    Returns:
        low and top, (2, *shape) each, as `protocol.truncate_finish` takes them.

    Raises:
        ArgumentValueError: bits out of range, for so many choices.
    """
    check_dealt_bits(bits, len(choices), mask.dtype)
    word, k = mask.dtype.type, 8 * mask.dtype.itemsize
    low, top = (empty((2, *mask.shape), mask.dtype) for _ in range(2))
    lift, half = word(k - 1 - bits), word(k // 2)
    rows = [v.reshape(-1) for v in (mask, first, last, *choices)]
    lows, tops = low.reshape(2, -1), top.reshape(2, -1)
    for start in range(0, rows[0].size, BLOCK):
        part = slice(start, start + BLOCK)
        m, x, y, *choice = (v[part] for v in rows)
        (own_low, rest_low), (own_top, rest_top) = lows[:, part], tops[:, part]
        truncation_parts(m, bits, out=(rest_low, rest_top))
        np.left_shift(choice[0], lift, out=own_top)
        np.subtract(rest_top, own_top, out=rest_top)
        if len(choice) == 2:
            np.left_shift(choice[1], lift, out=own_low)
        else:
            np.right_shift(choice[0], half, out=own_low)
            np.left_shift(own_low, lift, out=own_low)
        np.subtract(rest_low, own_low, out=rest_low)
        np.add(rest_low, x, out=rest_low)
        np.add(rest_low, y, out=rest_low)
    return low, top


def check_dealt_bits(bits: int, n_choices: int, dtype: np.dtype[Any]) -> None:
    """Refuse to drop bits that so many choices for each word cannot deal.

    The first party's words come from bits + 1 uniform bits each; one choice has two halves.
    """
    k = 8 * dtype.itemsize
    bound = k // 2 if n_choices == 1 else k - 2
    if not 0 < bits < bound:
        raise ArgumentValueError(
            f"deal_truncation: bits must be in (0, {bound}) where choices has length {n_choices}, "
            f"got {bits}"
        )
