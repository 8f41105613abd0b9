"""Boolean shares on packed words: the steps of exact comparison, on NumPy arrays.

Layer: backend; the definition of ``kernels/bits.cu``. The exclusive or of boolean shares over the
party axis is the value. The bits of n ring words lie in planes: plane j is W = ceil(n / 64) words
of uint64, and bit e % 64 of its word e // 64 is bit j of element e. Bits beyond n mean nothing;
`bit_planes` makes them 0. k is the number of bits of a ring word, 64 or 32.
Sources: Warren, "Hacker's Delight", 2nd ed., section 7-3 (transposition); Brent and Kung, "A
regular layout for parallel adders", IEEE Trans. Computers 31 (1982) (carries as a tree); Beaver,
CRYPTO 1991 (products of shares, here over GF(2)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from he_gpu.backend.definition import sharing
from he_gpu.backend.definition.memory import empty
from he_gpu.backend.definition.sharing import Stream
from he_gpu.backend.definition.words import RING_64, Array

GROUPS = 1024
"""Groups of 64 elements that are transposed together: 768 KiB with what lies beside them."""
BLOCK_WORDS = 2**13
"""Words of each operand in a block of the other functions: 64 KiB, so that all stay in cache."""

_WORD = np.dtype(np.uint64)


def bit_planes(words: Array) -> Array:
    """Return the bits of words in planes: (n,) uint64 or uint32 -> (k, W) uint64.

    Cost: log2(k) exchanges, of 3 word operations per word each.
    """
    k = 8 * words.dtype.itemsize
    whole, left = divmod(words.size, 64)
    planes = empty((k, whole + (left > 0)), _WORD)
    for start in range(0, whole, GROUPS):
        stop = min(start + GROUPS, whole)
        _transpose(words[64 * start : 64 * stop], planes[:, start:stop])
    if left:
        last = np.zeros(64, words.dtype)
        last[:left] = words[64 * whole :]
        _transpose(last, planes[:, whole:])
    return planes


def _transpose(words: Array, planes: Array) -> None:
    """Write the planes of whole groups, as bit matrices of k x k: two to a word where k = 32.

    At each level the bits whose row, but not column, has the bit ``shift`` in its number change
    places with those whose column has it, and row not.
    """
    k, groups = planes.shape
    block, spare = empty((k, groups), _WORD), empty((k // 2 * groups,), _WORD)
    np.copyto(block.view(words.dtype), words.reshape(-1, k).T)
    shift = k // 2
    while shift:
        shape = k // 2 // shift, 2, shift
        above, below = block.reshape(*shape, groups).swapaxes(0, 1)
        moved = spare.reshape(-1, shift, groups)
        goal = above, below
        if shift == 1:  # an axis of one plane: a view of any slice of planes
            goal = planes[::2, np.newaxis], planes[1::2, np.newaxis]
        distance, columns = _exchange(shift)
        np.right_shift(above, distance, out=moved)
        np.bitwise_xor(moved, below, out=moved)
        np.bitwise_and(moved, columns, out=moved)
        np.bitwise_xor(below, moved, out=goal[1])
        np.left_shift(moved, distance, out=moved)
        np.bitwise_xor(above, moved, out=goal[0])
        shift //= 2


@cache
def _exchange(shift: int) -> tuple[Array, Array]:
    """Return a shift, and the columns of 64 whose number lacks this bit, as 0-d arrays."""
    columns = sum(1 << column for column in range(64) if not column & shift)
    return np.array(shift, _WORD), np.array(columns, _WORD)


def bit_words(planes: Array, n: int, dtype: Any, out: Array | None = None) -> Array:
    """Return the bits of planes as words 0 and 1: (rows, W) uint64 -> (rows, n)."""
    result = empty((len(planes), n), dtype) if out is None else out
    for plane, words in zip(planes, result, strict=True):
        for part in _elements(n):
            np.copyto(words[part], _bits(plane, part), casting="safe")
    return result


def _bits(plane: Array, part: slice) -> Array:
    """Return bits of a plane as bytes 0 and 1, from a multiple of 64 on."""
    packed = plane[part.start // 64 : -(-part.stop // 64)].astype("<u8", copy=False)
    count = part.stop - part.start
    return np.unpackbits(packed.view(np.uint8), count=count, bitorder="little")


def carry_open(nodes: Array, masks: Array) -> Array:
    """Return what is opened to join neighbouring nodes of a carry tree.

    Args:
        nodes: (parties, 2, m, W), m even; node 2 j + 1 is the higher one of a pair.
        masks: (parties, 3, m / 2, W), of p_hi, g_lo and p_lo.

    Returns:
        (3, m / 2, W): the exclusive or over the party axis of p_hi, g_lo and p_lo, each with its
        mask.
    """
    parties, _, half, width = masks.shape
    result = empty((3, half, width), _WORD)
    sources = nodes[:, 1, 1::2], nodes[:, 0, ::2], nodes[:, 1, ::2]
    for at in _blocks(half, width):
        for i, source in enumerate(sources):
            _open([source[p][at] for p in range(parties)], masks[:, i], at, result[i][at])
    return result


def carry_combine(opened: Array, nodes: Array, masks: Array, products: Array) -> Array:
    """Return boolean shares of the joined nodes of a carry tree.

    By p y = (p ^ a) y ^ a (y ^ b) ^ a b over GF(2), for p = p_hi with mask a, and y = g_lo or p_lo
    with mask b.

    Args:
        opened: (3, m / 2, W), as `carry_open` gives it.
        nodes: (parties, 2, m, W), as it took them.
        masks: (parties, 3, m / 2, W), as it took them.
        products: (parties, 2, m / 2, W), boolean shares of the first mask and the second, and of
            the first mask and the third.

    Returns:
        (parties, 2, m / 2, W): generate g_hi ^ p_hi & g_lo, propagate p_hi & p_lo.
    """
    parties, _, half, width = masks.shape
    result = empty((parties, 2, half, width), _WORD)
    for at in _blocks(half, width):
        d = opened[0][at]
        for p in range(parties):
            for i in range(2):
                low, product, node = nodes[p, i, ::2][at], products[p, i][at], result[p, i][at]
                _product(d, low, masks[p, 0][at], opened[1 + i][at], product, node)
            generate = result[p, 0][at]
            np.bitwise_xor(generate, nodes[p, 0, 1::2][at], out=generate)
    return result


def and_open(x: Array, a: Array, y: Array, b: Array) -> Array:
    """Return what is opened to multiply bits: (parties, *shape) each -> (2, *shape).

    The exclusive or over the party axis of x ^ a, and of y ^ b.
    """
    result = empty((2, *x.shape[1:]), _WORD)
    for i, (stack, mask) in enumerate(((x, a), (y, b))):
        _open_all(stack, mask, result[i, ...])
    return result


def and_combine(opened: Array, y: Array, a: Array, c: Array) -> Array:
    """Return boolean shares of x & y from what `and_open` opened, and c = a & b.

    Args:
        opened: (2, *shape).
        y: (parties, *shape).
        a: (parties, *shape).
        c: (parties, *shape).
    """
    result = empty(y.shape, _WORD)
    d, e = map(_rows, opened)
    for p in range(len(y)):
        operands = d, _rows(y[p]), _rows(a[p]), e, _rows(c[p]), _rows(result[p, ...])
        for at in _blocks(*d.shape):
            _product(*(operand[at] for operand in operands))
    return result


def xor_open(stack: Array, mask: Array | None = None) -> Array:
    """Return the exclusive or over the party axis of ``stack ^ mask``, or of ``stack`` alone."""
    result = empty(stack.shape[1:], _WORD)
    _open_all(stack, mask, result)
    return result


def split_bits(
    total: Array,
    stream: Stream,
    share: Array,
    rest: Array,
    uniform: Callable[..., Array] = sharing.uniform,
) -> None:
    """Write a stream's uniform words to ``share`` and ``total ^ share`` to ``rest``.

    Args:
        total: (*shape) uint64.
        stream: fresh; element i of the flat shape takes its element i.
        share: (*shape), contiguous, written.
        rest: (*shape), contiguous, written; may be ``total``.
        uniform: makes the words; a faster one may stand in for the definition.
    """
    uniform(*stream, total.size, RING_64, out=share)
    np.bitwise_xor(total, share, out=rest)


def bit_shares(opened: Array, beta: Array, lead: int, out: Array | None = None) -> Array:
    """Return additive shares of the bits v ^ beta, for words that wrap.

    Args:
        opened: (rows, W) uint64, public planes v.
        beta: (parties, rows, n), additive shares of random bits.
        lead: 1 where row 0 belongs to the first party, 0 where another process hosts it.
        out: (parties, rows, n), which takes the result; may be beta.

    Returns:
        (parties, rows, n): (1 - 2 v) beta + v, the latter in the first party's share alone.
    """
    result = empty(beta.shape, beta.dtype) if out is None else out
    for row, plane in enumerate(opened):
        for part in _elements(beta.shape[2]):
            bit, _, sign = _signs(plane, part, beta.dtype)
            np.multiply(beta[:, row, part], sign, out=result[:, row, part])
            if lead:
                result[0, row, part] += bit
    return result


def bit_times_word(
    opened: Array,
    public: Array,
    beta: Array,
    mask: Array,
    product: Array,
    lead: int,
    negated: int = 0,
) -> Array:
    """Return additive shares of (v ^ beta) (c + M), for words that wrap.

    Args:
        opened: (rows, W) uint64, public planes v.
        public: (rows, n), c.
        beta: (parties, rows, n), additive shares of random bits.
        mask: (parties, n), of M.
        product: (parties, rows, n), of M beta.
        lead: 1 where row 0 belongs to the first party, 0 where another process hosts it.
        negated: how many of the rows, from the first on, are negated.

    Returns:
        (parties, rows, n): (1 - 2 v) (c beta + product) + v (M + c), the last c in the first
        party's share alone.
    """
    parties, rows, n = beta.shape
    result = empty(beta.shape, beta.dtype)
    for row in range(rows):
        join = np.subtract if row < negated else np.add
        for part in _elements(n):
            _, where, sign = _signs(opened[row], part, beta.dtype)
            if row < negated:
                np.negative(sign, out=sign)
            c, spare = public[row, part], np.empty_like(sign)
            for p in range(parties):
                words = result[p, row, part]
                np.multiply(beta[p, row, part], c, out=words)
                np.add(words, product[p, row, part], out=words)
                np.multiply(words, sign, out=words)
                np.copyto(spare, mask[p, part])
                if lead and p == 0:
                    np.add(spare, c, out=spare)
                np.bitwise_and(spare, where, out=spare)
                join(words, spare, out=words)
    return result


def _signs(plane: Array, part: slice, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """Return bits of a plane as words: the bit; all ones where it is set; -1 there, else 1."""
    bit = _bits(plane, part).astype(dtype)
    where = np.negative(bit)
    return bit, where, np.bitwise_or(where, dtype.type(1))


def _product(d: Array, y: Array, a: Array, e: Array, c: Array, result: Array) -> None:
    """Write ``d & y ^ a & e ^ c``: one party's share of a product of bits."""
    np.bitwise_and(d, y, out=result)
    np.bitwise_xor(result, np.bitwise_and(a, e), out=result)
    np.bitwise_xor(result, c, out=result)


def _open_all(stack: Array, mask: Array | None, result: Array) -> None:
    """Write the exclusive or over the party axis of a stack and its mask."""
    shares = [_rows(share) for share in stack]
    masks = None if mask is None else [_rows(share) for share in mask]
    total = _rows(result)
    for at in _blocks(*total.shape):
        _open([share[at] for share in shares], masks, at, total[at])


def _open(shares: list[Array], masks: Any, at: tuple[slice, slice], total: Array) -> None:
    """Write the exclusive or of shares, and of the masks, where there are some, at a block."""
    np.copyto(total, shares[0])
    for share in shares[1:]:
        np.bitwise_xor(total, share, out=total)
    for p in range(0 if masks is None else len(shares)):
        np.bitwise_xor(total, masks[p][at], out=total)


def _rows(array: Array) -> Array:
    """Return an array as a matrix: a view where its axes but the last can be merged."""
    columns = array.shape[-1] if array.ndim else 1
    return array.reshape(array.size // max(columns, 1), columns)


def _blocks(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Cut a matrix of words into blocks of at most `BLOCK_WORDS`."""
    width = min(columns, BLOCK_WORDS)
    height = BLOCK_WORDS // max(width, 1)
    for top in range(0, rows, height):
        for left in range(0, columns, width or 1):
            yield slice(top, top + height), slice(left, left + width)


def _elements(n: int) -> Iterator[slice]:
    """Cut n elements into blocks of at most `BLOCK_WORDS`, a multiple of 64."""
    for start in range(0, n, BLOCK_WORDS):
        yield slice(start, min(start + BLOCK_WORDS, n))
