"""Steps of replicated sharing among three parties, on NumPy arrays.

Layer: backend; the definition of ``kernels/replicated.cu``. x = x_0 + x_1 + x_2, and party i holds
x_i and x_{i+1}: a stack (parties + 1, *shape) has both of party p in its rows p and p + 1. Words
wrap; k is their number of bits.
Source: Araki et al., "High-throughput semi-honest secure three-party computation with an honest
majority", CCS 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.definition.digits import scratch
from he_gpu.backend.definition.memory import empty
from he_gpu.backend.definition.words import Array
from he_gpu.errors import ArgumentValueError

BLOCK = 2**16
"""Words of each row that are taken together: few enough to stay in cache."""


def cross_multiply(
    x: Array, y: Array, add: Array, out: Array | None = None, balance: bool = False
) -> Array:
    """Return the parties' shares of x y: ``x_i (y_i + y_{i+1}) + x_{i+1} y_i + add_i``.

    Args:
        x: (parties + 1, *shape), or (3, *shape) for three parties, whose last row repeats the
            first.
        y: likewise; both have as many axes as ``add``, and broadcast after the first.
        add: (parties, *shape) of the result, whose sum over all parties is 0, or minus a mask.
        out: contiguous array (parties, *shape) that takes the result; may be ``add``.
        balance: take minus the sum of the other rows of ``add`` for its last one, which is not
            read.
    """
    parties, *shape = add.shape
    result = empty(add.shape, add.dtype) if out is None else out
    x, y = (np.broadcast_to(v, (len(v), *shape)).reshape(len(v), -1) for v in (x, y))
    flat, more = result.reshape(parties, -1), add.reshape(parties, -1)
    n = flat.shape[1]
    products = _room("products", (2, parties), n, add.dtype)
    for part in _blocks(n):
        left, right, rest, share = x[:, part], y[:, part], more[:, part], flat[:, part]
        first, second = products[..., : share.shape[1]]
        _with_next(np.add, right, right, first)
        np.multiply(first, left[:parties], out=first)
        _with_next(np.multiply, right, left, second)
        np.add(first, second, out=first)
        if balance:
            np.subtract(first[-1], rest[0], out=share[-1])
            for row in rest[1:-1]:
                np.subtract(share[-1], row, out=share[-1])
            np.add(first[:-1], rest[:-1], out=share[:-1])
        else:
            np.add(first, rest, out=share)
    return result


def _with_next(operation: np.ufunc, rows: Array, following: Array, out: Array) -> None:
    """Write what an operation makes of each row of a stack and the next of another."""
    parties = len(out)
    if len(following) > parties:
        operation(rows[:parties], following[1:], out=out)
    else:
        operation(rows[: parties - 1], following[1:], out=out[:-1])
        operation(rows[parties - 1], following[0], out=out[-1])


def deal_truncation(
    first: Array,
    last: Array,
    choices: Array,
    bits: int,
    mask: Array | None = None,
    copy: Array | None = None,
) -> Array:
    """Return what the first two parties need to undo a mask that only the third one knows.

    With the masked word opened to them, `choose_truncation` makes of it the truncated value less
    ``first`` and ``last``, which become words of the result. Each party has a word to add, and one
    to take off where the opened word's top bit is set. The first party makes its words from
    ``choices``: uniform multiples of 2^(k - bits), as all that the top bit decides is one, from the
    low bits of the first choice and the high bits of the last. The second is sent what remains.

    Args:
        first: (*shape) uniform words known to the third party and the first.
        last: (*shape) uniform words known to the third party and the second.
        choices: (1 or 2, *shape) uniform words known to the third party and the first; 1 is enough
            where bits <= k / 2.
        bits: low bits that the truncation drops, 0 < bits < k - 2.
        mask: (*shape) uniform words, or None where `deal_mask` will follow.
        copy: contiguous array (*shape) that takes the words of ``first`` too, or None.

    Returns:
        Words to add, then words to take off. With a mask the second party's, (2, 1, *shape): the
        first makes its own when it chooses. Without a mask both parties', (2, 2, *shape).

    Raises:
        ArgumentValueError: bits out of range, for so many choices.
    """
    check_dealt_bits(bits, len(choices), first.dtype)
    dtype, n = first.dtype, first.size
    parts = empty((2, 1 if mask is not None else 2, *first.shape), dtype)
    constants = _constants(dtype, bits)
    dealt, choice = parts.reshape(2, parts.shape[1], n), choices.reshape(len(choices), n)
    x, y = first.reshape(-1), last.reshape(-1)
    words, repeated = (None if a is None else a.reshape(-1) for a in (mask, copy))
    room = _room("floor", (), n, dtype)
    for part in _blocks(n):
        added, taken = dealt[:, -1, part]
        own = dealt[:, 0, part]
        _first_parts(choice[:, part], constants, own)
        np.subtract(constants.minus_bias, own[0], out=added)
        np.subtract(added, x[part], out=added)
        np.subtract(added, y[part], out=added)
        if repeated is not None:
            np.copyto(repeated[part], x[part])
        if words is None:
            np.negative(own[1], out=taken)
            continue
        floor = room[: added.size]
        _floor(words[part], constants, floor)
        np.add(added, floor, out=added)
        np.bitwise_and(floor, constants.upper, out=floor)
        np.subtract(floor, taken, out=taken)
    return parts


def deal_mask(rest: Array, mask: Array, bits: int) -> None:
    """Give the truncated mask to the second party's words, in place.

    It is f = (mask + 2^(k-2) - 1) / 2^bits rounded down, as a signed number: the word to add gains
    f, the word to take off 2^k - 2^(k - bits) where f is negative.

    Args:
        rest: (2, *shape), the second party's part of `deal_truncation`.
        mask: (*shape) uniform words, which only the third party knows.
        bits: low bits that the truncation drops, 0 < bits < k - 2.
    """
    constants = _constants(mask.dtype, bits)
    floor = np.empty(mask.shape, mask.dtype)
    _floor(mask, constants, floor)
    np.add(rest[0, ...], floor, out=rest[0, ...])
    np.bitwise_and(floor, constants.upper, out=floor)
    np.add(rest[1, ...], floor, out=rest[1, ...])


class _Constants(NamedTuple):
    """What the steps of a truncation calculate with, as 0-d arrays, which ufuncs take fastest."""

    signed: np.dtype[Any]
    bits: Array
    lift: Array
    upper: Array
    bias: Array
    minus_bias: Array


@cache
def _constants(dtype: np.dtype[Any], bits: int) -> _Constants:
    """Return the constants of a word and the number of bits that a truncation drops."""
    k, signed = 8 * dtype.itemsize, np.dtype(f"i{dtype.itemsize}")
    words = k - bits, 2**k - 2 ** (k - bits), 2 ** (k - 2) - 1, (1 - 2 ** (k - 2 - bits)) % 2**k
    return _Constants(signed, np.array(bits, signed), *(np.array(word, dtype) for word in words))


def _first_parts(choices: Array, constants: _Constants, out: Array) -> None:
    """Write the first party's words of `deal_truncation`, (2, n)."""
    np.left_shift(choices[0], constants.lift, out=out[0])
    np.bitwise_and(choices[-1], constants.upper, out=out[1])


def _floor(mask: Array, constants: _Constants, out: Array) -> None:
    """Write the truncated masks of `deal_mask`."""
    np.add(mask, constants.bias, out=out)
    signed = out.view(constants.signed)
    np.right_shift(signed, constants.bits, out=signed)


def choose_truncation(
    first: Array,
    second: Array,
    parts: Array | None,
    bits: int,
    lead: int,
    choices: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Return the sum over the parties of their part of the truncated value.

    For c = first + second = v - mask with -2^(k-2) <= v < 2^(k-2), the sum over both parties is
    floor(v / 2^bits) or that plus 1, less what `deal_truncation` set aside; the latter exactly
    where (c mod 2^bits) < (r mod 2^bits) for r = -mask - 2^(k-2): unbiased. With s = c / 2^bits
    rounded down, c read as a signed number, it is s + sum added - (s and sum taken): the upper bits
    of s repeat the top bit of c, and the words to take off have no others.

    Args:
        first: (*shape) words that the first party sends the second.
        second: (*shape) words that the second party sends the first.
        parts: (2, parties, *shape) of `deal_truncation`; None where the first party alone is hosted
            here and makes its own.
        bits: low bits to drop, 0 < bits < k - 2.
        lead: 1 where the first party is hosted here, who adds s; else 0.
        choices: (1 or 2, *shape), of which the first party's part is made, where ``parts`` lacks
            it; or None.
        out: contiguous array (*shape) that takes the result.
    """
    n, constants = first.size, _constants(first.dtype, bits)
    result = empty(first.shape, first.dtype) if out is None else out
    if n <= BLOCK and choices is None and parts is not None:
        case = np.right_shift(np.add(first, second).view(constants.signed), constants.bits)
        case = case.view(first.dtype)
        added, taken = np.add(parts[:, 0], parts[:, 1]) if parts.shape[1] == 2 else parts[:, 0]
        np.subtract(added, np.bitwise_and(taken, case), out=result)
        return np.add(result, case, out=result) if lead else result
    flat, words, others = result.reshape(-1), first.reshape(-1), second.reshape(-1)
    dealt = [] if parts is None else list(parts.reshape(2, parts.shape[1], n).swapaxes(0, 1))
    choice = None if choices is None else choices.reshape(len(choices), n)
    room = _room("chosen", (2,), n, first.dtype)
    for part in _blocks(n):
        added = flat[part]
        case, taken = room[:, : added.size]
        np.add(words[part], others[part], out=case)
        signed = case.view(constants.signed)
        np.right_shift(signed, constants.bits, out=signed)
        if choice is not None:
            _first_parts(choice[:, part], constants, (added, taken))
        else:
            added[...], taken[...] = dealt[0][:, part]
        for row in dealt if choice is not None else dealt[1:]:
            np.add(added, row[0, part], out=added)
            np.add(taken, row[1, part], out=taken)
        np.bitwise_and(taken, case, out=taken)
        np.subtract(added, taken, out=added)
        if lead:
            np.add(added, case, out=added)
    return result


def _blocks(n: int) -> Iterator[slice]:
    """Return the parts of n words that are taken together."""
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def _room(name: str, rows: tuple[int, ...], n: int, dtype: np.dtype[Any]) -> Array:
    """Return scratch rows for a block of n words."""
    return scratch.array(name, (*rows, min(n, BLOCK)), dtype)


def check_dealt_bits(
    bits: int, n_choices: int, dtype: np.dtype[Any], function: str = "deal_truncation"
) -> None:
    """Refuse to drop bits that so many choices for each word cannot deal.

    The first party's two words come from that many uniform bits each, at both ends of one choice.
    """
    if n_choices not in (1, 2):
        raise ArgumentValueError(f"{function}: choices must have length 1 or 2, got {n_choices}")
    k = 8 * dtype.itemsize
    bound = k // 2 + 1 if n_choices == 1 else k - 2
    if not 0 < bits < bound:
        raise ArgumentValueError(
            f"{function}: bits must be in (0, {bound}) where choices has length {n_choices}, "
            f"got {bits}"
        )
