"""One-pass steps of the protocols on share stacks, on NumPy arrays.

Layer: backend; the definition of ``kernels/protocol.cu``. A stack has shape (parties, *shape): the
shares that this process holds. Steps that only fixed-point sessions need know Z_2^64 and Z_2^32,
where words wrap; their k is the number of bits of the word, 64 or 32.
Source of the truncation: Dalskov, Escudero, Keller, "Secure evaluation of quantized neural
networks", PoPETs 2020, and Escudero et al., "Improved primitives for MPC over mixed
arithmetic-binary circuits", CRYPTO 2020.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from he_gpu.backend.definition.elementwise import add, mul, sub
from he_gpu.backend.definition.memory import empty, room_for
from he_gpu.backend.definition.words import Array

BLOCK = 2**14
"""Words that steps of many operations take at a time, so that they stay in cache."""


def reconstruct(stack: Array, modulus: int, out: Array | None = None) -> Array:
    """Return the sum modulo ``modulus`` over the party axis: (parties, *shape) -> (*shape)."""
    if len(stack) == 1:
        if out is None:
            return stack[0].copy()
        out[...] = stack[0]
        return out
    total = add(stack[0], stack[1], modulus, out=out)
    for share in stack[2:]:
        total = add(total, share, modulus, out=total if total.ndim else out)
    return total


def add_public(stack: Array, public: Array, lead: int, modulus: int) -> Array:
    """Return the stack with ``public``, which broadcasts, added to its first ``lead`` shares.

    Args:
        stack: (parties, *shape) words in [0, modulus).
        public: words in [0, modulus) that broadcast to (*shape).
        lead: 1 where row 0 belongs to the first party, 0 where another process hosts it.
        modulus: the ring.
    """
    result = empty(stack.shape, stack.dtype)
    result[lead:] = stack[lead:]
    if lead:
        add(stack[:1], public, modulus, out=result[:1])
    return result


def open_masked(stack: Array, mask: Array) -> Array:
    """Return the sum over the party axis of ``stack - mask``, for words that wrap."""
    if stack[0].size <= BLOCK:
        modulus = 2 ** (8 * stack.dtype.itemsize)
        return reconstruct(sub(stack, mask, modulus), modulus)
    result = empty(stack.shape[1:], stack.dtype)
    shares, masks = (words.reshape(len(stack), -1) for words in (stack, mask))
    flat, term = result.reshape(-1), np.empty(BLOCK, stack.dtype)
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK]
        room = term[: part.size]
        for row, (share, own) in enumerate(zip(shares, masks, strict=True)):
            words = share[start : start + BLOCK], own[start : start + BLOCK]
            np.subtract(*words, out=room if row else part)
            if row:
                np.add(part, room, out=part)
    return result


def open_scaled(stack: Array, added: Array, factor: Array | None = None) -> Array:
    """Return the sum over the party axis of ``stack * factor + added``, for words that wrap.

    Args:
        stack: (parties, *shape).
        added: (parties, *shape); for a truncation shares of minus its mask.
        factor: public words that broadcast to (*shape), or None for 1.
    """
    modulus = 2 ** (8 * stack.dtype.itemsize)
    product = stack if factor is None else mul(stack, factor, modulus)
    return reconstruct(add(product, added, modulus), modulus)


def beaver_combine(d: Array, y: Array, a: Array, e: Array, c: Array, total: bool = False) -> Array:
    """Return ``d * y + a * e + c``, for words that wrap: the last step of Beaver's product.

    With d = x - a and e = y - b opened and c = a * b, the shares sum to x * y.

    Args:
        d: public words that broadcast to (*shape).
        y: (parties, *shape).
        a: (parties, *shape).
        e: public words that broadcast to (*shape).
        c: (parties, *shape).
        total: return the sum over the party axis, (*shape): what the masked opening of a product
            sends, without the parties' words in memory.

    Source: Beaver, "Efficient multiparty protocols using circuit randomization", CRYPTO 1991.
    """
    if not total:
        result = np.multiply(d, y, out=room_for(c, c))
        result += np.multiply(a, e, out=room_for(c, c))
        result += c
        return result
    shape = c.shape[1:]
    opened = empty(shape, c.dtype)
    if opened.size <= BLOCK or not d.shape == e.shape == y.shape[1:] == a.shape[1:] == shape:
        _combine_total(d, y, a, e, c, opened, empty(shape, c.dtype))
        return opened
    words = [v.reshape(-1) for v in (d, e, opened)]
    stacks = [v.reshape(len(c), -1) for v in (y, a, c)]
    term = np.empty(BLOCK, c.dtype)
    for start in range(0, opened.size, BLOCK):
        d, e, part = (v[start : start + BLOCK] for v in words)
        y, a, c = (v[:, start : start + BLOCK] for v in stacks)
        _combine_total(d, y, a, e, c, part, term[: part.size])
    return opened


def _combine_total(
    d: Array, y: Array, a: Array, e: Array, c: Array, opened: Array, term: Array
) -> None:
    """Write the sum over the party axis of ``d * y + a * e + c``."""
    np.add.reduce(c, axis=0, out=opened)
    for y_share, a_share in zip(y, a, strict=True):
        for public, share in ((d, y_share), (e, a_share)):
            np.multiply(public, share, out=term)
            np.add(opened, term, out=opened)


def truncation_parts(
    mask: Array, bits: int, out: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Return what shares of must be known to undo a mask after a truncation.

    With r = -mask - 2^(k-2) mod 2^k, low is (r mod 2^(k-1) >> bits) + 2^(k-2-bits), and top the top
    bit of r, times 2^(k-1-bits). The mask is subtracted when a value v is opened, so
    v - mask = (v + 2^(k-2)) + r.

    Args:
        mask: (*shape) uniform words, which only the dealer knows.
        bits: low bits that the truncation drops, 0 < bits < k - 2.
        out: arrays (*shape) that take low and top, or None.

    Returns:
        low and top, (*shape) each.
    """
    word = mask.dtype.type
    k = 8 * mask.dtype.itemsize
    low, top = out or (empty(mask.shape, mask.dtype), empty(mask.shape, mask.dtype))
    np.subtract(word(2**k - 2 ** (k - 2)), mask, out=top)
    np.bitwise_and(top, word(2 ** (k - 1) - 1), out=low)
    low >>= word(bits)
    low += word(2 ** (k - 2 - bits))
    top >>= word(k - 1)
    top <<= word(k - 1 - bits)
    return low, top


def truncate_finish(opened: Array, low: Array, top: Array, bits: int, lead: int) -> Array:
    """Return shares of the truncated value from the opened word and a truncation pair.

    For opened = v - M with -2^(k-2) <= v < 2^(k-2), the shares open to floor(v / 2^bits) or that
    plus 1, the latter exactly where (opened mod 2^bits) < (r mod 2^bits): unbiased.

    Args:
        opened: (*shape) public words.
        low: (parties, *shape), shares of the first of `truncation_parts`.
        top: (parties, *shape), of the second.
        bits: low bits to drop, 0 < bits < k - 2.
        lead: 1 where row 0 belongs to the first party, 0 where another process hosts it.
    """
    constants = _constants(opened.itemsize, bits)
    if opened.size <= BLOCK:
        result = np.empty(low.shape, low.dtype)
        _finish(opened, low, top, lead, constants, result)
        return result
    result = empty(low.shape, low.dtype)
    flat = (
        opened.reshape(-1),
        low.reshape(len(low), -1),
        top.reshape(len(top), -1),
        result.reshape(len(low), -1),
    )
    for start in range(0, opened.size, BLOCK):
        d, r, b, part = (x[..., start : start + BLOCK] for x in flat)
        _finish(d, r, b, lead, constants, part)
    return result


def _finish(
    opened: Array, low: Array, top: Array, lead: int, constants: tuple[Any, ...], result: Array
) -> None:
    """Write the shares of truncated values that fit the cache."""
    signed, top_bit, one, dropped = constants
    # The opened top bit tells whether (r's top bit) is to be flipped: -1 where set, else 1.
    sign = np.right_shift(opened.view(signed), top_bit)
    sign |= one
    np.multiply(top, sign.view(opened.dtype), out=result)
    np.subtract(result, low, out=result)
    if lead:
        first = result[:1]  # a view, so that a 0-d result is written in place too
        first += np.right_shift(opened, dropped)


@cache
def _constants(itemsize: int, bits: int) -> tuple[np.dtype[Any], Array, Array, Array]:
    """Return the signed word, and k - 1, 1 and bits as 0-d arrays, which ufuncs take fastest."""
    signed, word = np.dtype(f"i{itemsize}"), np.dtype(f"u{itemsize}")
    constants = np.array(8 * itemsize - 1, signed), np.array(1, signed), np.array(bits, word)
    return (signed, *constants)
