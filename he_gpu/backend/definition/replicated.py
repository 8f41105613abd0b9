"""Steps of replicated sharing among three parties, on NumPy arrays.

Layer: backend; the definition of ``kernels/replicated.cu``. x = x_0 + x_1 + x_2, and party i holds
x_i and x_{i+1}: a stack (parties + 1, *shape) has both of party p in its rows p and p + 1. Words
wrap; k is their number of bits.
Source: Araki et al., "High-throughput semi-honest secure three-party computation with an honest
majority", CCS 2016.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from he_gpu.backend.definition.digits import scratch
from he_gpu.backend.definition.memory import empty
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
    first: Array, last: Array, choices: Array, bits: int, mask: Array | None = None
) -> Array:
    """Return what the first two parties need to undo a mask that only the third one knows.

    With the masked word opened to them, `choose_truncation` makes of it the truncated value less
    ``first`` and ``last``, which become words of the result. There are two cases, by the top bit of
    the opened word. The first party makes its words from ``choices``: uniform multiples of
    2^(k - bits), as the difference of the cases is one, from the low bits of the first choice and
    the high bits of the last. The second party is sent what remains.

    Args:
        first: (*shape) uniform words known to the third party and the first.
        last: (*shape) uniform words known to the third party and the second.
        choices: (1 or 2, *shape) uniform words known to the third party and the first; 1 is enough
            where bits <= k / 2.
        bits: low bits that the truncation drops, 0 < bits < k - 2.
        mask: (*shape) uniform words, or None where `deal_mask` will follow.

    Returns:
        (2, 2, *shape): case, party.

    Raises:
        ArgumentValueError: bits out of range, for so many choices.
    """
    check_dealt_bits(bits, len(choices), first.dtype)
    parts = empty((2, 2, *first.shape), first.dtype)
    word, k = first.dtype.type, 8 * first.dtype.itemsize
    lift, upper = word(k - bits), word(2**k - 2 ** (k - bits))
    minus_bias = word(2**k - 2 ** (k - 2 - bits))
    dealt = parts.reshape(2, 2, -1)
    rows = first.reshape(-1), last.reshape(-1), choices.reshape(len(choices), -1)
    for start in range(0, first.size, BLOCK):
        part = slice(start, start + BLOCK)
        x, y, choice = (row[..., part] for row in rows)
        own, rest = dealt[:, 0, part], dealt[:, 1, part]
        np.left_shift(choice[0], lift, out=own[0])
        np.bitwise_and(choice[-1], upper, out=own[1])
        np.subtract(minus_bias, x, out=rest[1])
        np.subtract(rest[1], y, out=rest[1])
        np.subtract(rest[1], own[0], out=rest[0])
        np.subtract(rest[1], own[1], out=rest[1])
        if mask is not None:
            deal_mask(rest, mask.reshape(-1)[part], bits)
    return parts


def deal_mask(rest: Array, mask: Array, bits: int) -> None:
    """Take the truncated mask from the second party's words, in place.

    For r = -mask - 2^(k-2) mod 2^k these are r / 2^bits rounded down, r read as a signed number in
    the first case and as an unsigned one in the second.

    Args:
        rest: (2, *shape), the second party's part of `deal_truncation`.
        mask: (*shape) uniform words, which only the third party knows.
        bits: low bits that the truncation drops, 0 < bits < k - 2.
    """
    bias, signed, signed_bits, word_bits = _mask_constants(mask.dtype, bits)
    r = np.subtract(bias, mask)
    floor = np.right_shift(r.view(signed), signed_bits).view(mask.dtype)
    np.subtract(rest[0, ...], floor, out=rest[0, ...])
    np.subtract(rest[1, ...], np.right_shift(r, word_bits), out=rest[1, ...])


@cache
def _mask_constants(dtype: np.dtype[Any], bits: int) -> tuple[Array, np.dtype[Any], Array, Array]:
    """Return -2^(k-2), the signed word, and bits as either word, as 0-d arrays."""
    k, signed = 8 * dtype.itemsize, np.dtype(f"i{dtype.itemsize}")
    bias = np.array(2**k - 2 ** (k - 2), dtype)
    return bias, signed, np.array(bits, signed), np.array(bits, dtype)


def choose_truncation(opened: Array, parts: Array, bits: int, lead: int) -> Array:
    """Return the sum over the parties of their part of the case that the opened word makes.

    For opened = v - mask with -2^(k-2) <= v < 2^(k-2), the sum over both parties is floor(v /
    2^bits) or that plus 1, less what `deal_truncation` set aside; the latter exactly where
    (opened mod 2^bits) < (r mod 2^bits) for r of `deal_mask`: unbiased.

    Args:
        opened: (*shape) words known to the first two parties.
        parts: (2, parties, *shape): case, party.
        bits: low bits to drop, 0 < bits < k - 2.
        lead: 1 where the first party is hosted here, who adds opened / 2^bits; else 0.
    """
    if opened.size <= BLOCK:
        result = np.empty(opened.shape, opened.dtype)
        _choose(opened, parts, bits, lead, result)
        return result
    result = empty(opened.shape, opened.dtype)
    flat, dealt = result.reshape(-1), parts.reshape(2, parts.shape[1], -1)
    words = opened.reshape(-1)
    for start in range(0, words.size, BLOCK):
        part = slice(start, start + BLOCK)
        _choose(words[part], dealt[..., part], bits, lead, flat[part])
    return result


def _choose(opened: Array, parts: Array, bits: int, lead: int, result: Array) -> None:
    """Write what `choose_truncation` returns, for words that fit the cache."""
    _, signed, _, word_bits = _mask_constants(opened.dtype, bits)
    flip = np.right_shift(opened.view(signed), 8 * opened.itemsize - 1).view(opened.dtype)
    clear, top = np.add(parts[:, 0], parts[:, 1]) if parts.shape[1] == 2 else parts[:, 0]
    np.bitwise_and(np.bitwise_xor(clear, top), flip, out=result)
    np.bitwise_xor(result, clear, out=result)
    if lead:
        np.add(result, np.right_shift(opened, word_bits), out=result)


def check_dealt_bits(bits: int, n_choices: int, dtype: np.dtype[Any]) -> None:
    """Refuse to drop bits that so many choices for each word cannot deal.

    The first party's two words come from that many uniform bits each, at both ends of one choice.
    """
    if n_choices not in (1, 2):
        raise ArgumentValueError(
            f"deal_truncation: choices must have length 1 or 2, got {n_choices}"
        )
    k = 8 * dtype.itemsize
    bound = k // 2 + 1 if n_choices == 1 else k - 2
    if not 0 < bits < bound:
        raise ArgumentValueError(
            f"deal_truncation: bits must be in (0, {bound}) where choices has length {n_choices}, "
            f"got {bits}"
        )
