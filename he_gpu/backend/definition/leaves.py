"""The first level of comparison's trees, and the public bits that go into it, on NumPy arrays.

Layer: backend; the definition of ``kernels/leaves.cu``. Planes, boolean shares and k are those of
`definition.bits`. Place j of a word is its pair of bits 2 j and 2 j + 1. Thresholds that agree in
some places, or whose bits there are all 0 or all 1, can share what a tree makes of these places:
c - w is c there, or c - 1 or c + 1, and the borrow that comes in tells which.
Sources: Brent and Kung, "A regular layout for parallel adders", IEEE Trans. Computers 31 (1982).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from he_gpu.backend.definition import bits
from he_gpu.backend.definition.memory import empty
from he_gpu.backend.definition.words import Array

Pick = tuple[int, int, int]
"""A node, another, and which flag chooses the second where it is set; -1 for the first anyway."""

_WORD = np.dtype(np.uint64)


def less_pairs(planes: Array, words: Sequence[int], places: Sequence[int]) -> Array:
    """Return places of c - w for public words.

    Args:
        planes: (k, W) of c.
        words: m integers w in [0, 2**k).
        places: of each c - w the place that is wanted.

    Returns:
        (m, 2, W): bits 2 j and 2 j + 1 of c - w, where j is the place.
    """
    result = empty((len(words), 2, planes.shape[1]), _WORD)
    for i, start, borrow in _borrows(planes, words, [2 * place for place in places]):
        _subtract(planes, words[i], start, start + 2, borrow, result[i])
    return result


def borrows(planes: Array, words: Sequence[int], positions: Sequence[int]) -> Array:
    """Return the borrow that goes into a bit of c - w, for public words.

    Args:
        planes: (k, W) of c.
        words: m integers w in [0, 2**k).
        positions: the number of the bit, for each w.

    Returns:
        (m, W): where the low bits of c, up to the position, are less than those of w.
    """
    result = empty((len(words), planes.shape[1]), _WORD)
    for i, _, borrow in _borrows(planes, words, positions):
        result[i] = 0 if borrow is None else borrow
    return result


def _borrows(
    planes: Array, words: Sequence[int], positions: Sequence[int]
) -> Iterator[tuple[int, int, Array | None]]:
    """Yield number, position and borrow of each; a word that follows itself is not begun anew."""
    last, at, borrow = -1, 0, None
    for i, (word, position) in enumerate(zip(words, positions, strict=True)):
        if word != last or position < at:
            last, borrow = word, None
            at = min((word & -word).bit_length() - 1, position) if word else position
        borrow = _subtract(planes, word, at, position, borrow)
        at = position
        yield i, position, borrow


def _subtract(
    planes: Array,
    word: int,
    start: int,
    stop: int,
    borrow: Array | None,
    out: Array | list[Array] | None = None,
) -> Array | None:
    """Write bits of c - w to out, if it is given, and return the borrow out of them.

    d = c ^ w ^ b, and the next b is b & d where w is 0 and b | d where it is 1.
    """
    if out is None:
        out = [np.empty_like(planes[0])] * (stop - start)  # one, written again and again
    for i, d in zip(range(start, stop), out, strict=True):
        one = word >> i & 1
        if borrow is None:
            np.copyto(d, planes[i])
        else:
            np.bitwise_xor(planes[i], borrow, out=d)
        if one:
            np.invert(d, out=d)
        if borrow is not None:
            borrow = (np.bitwise_or if one else np.bitwise_and)(borrow, d)
        elif one:
            borrow = d.copy()
    return borrow


def carry_leaves(
    public: Array, places: Sequence[int], mask: Array, pairs: Array, lead: int
) -> Array:
    """Return the first level of a carry tree of c + M over the low k - 1 bits.

    A node joins the bits hi and lo of its place; at the last place there is the lower one alone. It
    generates a carry out of itself, or propagates one that comes in. Since c is public and the
    dealer shares M_hi & M_lo, this needs no message.

    Args:
        public: (m, 2, W), for each node the bits lo and hi of c.
        places: of each node, in [0, k / 2).
        mask: (parties, k, W), boolean shares of the planes of M.
        pairs: (parties, k / 2, W), boolean shares of M_hi & M_lo.
        lead: 1 where row 0 belongs to the first party, 0 where another process hosts it.

    Returns:
        (parties, 2, m, W): generate, g_hi ^ p_hi & g_lo, and propagate, p_hi & p_lo, of
        g = c & M and p = c ^ M.
    """
    parties, k, width = mask.shape
    result = empty((parties, 2, len(places), width), _WORD)
    for first, last in _runs(places, k // 2 - 1):
        place = places[first]
        c, nodes = public[first:last], result[:, :, first:last]
        if place == k // 2 - 1:
            np.bitwise_and(c[0, 0], mask[:, k - 2], out=nodes[:, 0, 0])
            nodes[:, 1, 0] = mask[:, k - 2]
            if lead:
                nodes[0, 1, 0] ^= c[0, 0]
            continue
        at_places = slice(place, place + last - first)
        for at in bits._blocks(last - first, width):
            c_low, c_high = c[:, 0][at], c[:, 1][at]
            spare = np.empty_like(c_low)
            for p in range(parties):
                low, high = mask[p, ::2][at_places][at], mask[p, 1::2][at_places][at]
                generate, propagate = nodes[p, 0][at], nodes[p, 1][at]
                np.bitwise_and(c_high, low, out=propagate)
                np.bitwise_xor(propagate, pairs[p, at_places][at], out=propagate)
                np.bitwise_and(c_low, propagate, out=generate)
                np.bitwise_and(c_high, high, out=spare)
                np.bitwise_xor(generate, spare, out=generate)
                _add_propagated(c_low, c_high, high, propagate, spare, lead and p == 0)
    return result


def _runs(places: Sequence[int], top: int) -> Iterator[tuple[int, int]]:
    """Cut places into runs of successive ones; the top one stands alone."""
    starts = [
        i for i, place in enumerate(places) if not i or place != places[i - 1] + 1 or place == top
    ]
    return pairwise([*starts, len(places)])


def equal_leaves(public: Array, mask: Array, pairs: Array, lead: int) -> Array:
    """Return the first level of the tree of ands that tells whether c equals N.

    Args:
        public: (k, W) planes of c.
        mask: (parties, k, W), boolean shares of the planes of N.
        pairs: (parties, k / 2, W), boolean shares of N_hi & N_lo, hi = 2 j + 1 and lo = 2 j.
        lead: 1 where row 0 belongs to the first party, 0 where another process hosts it.

    Returns:
        (parties, k / 2, W): whether both bits of place j are equal.
    """
    parties, k, width = mask.shape
    result = empty((parties, k // 2, width), _WORD)
    for at in bits._blocks(k // 2, width):
        c_low, c_high = np.invert(public[::2][at]), np.invert(public[1::2][at])
        spare = np.empty_like(c_low)
        for p in range(parties):
            low, high, node = mask[p, ::2][at], mask[p, 1::2][at], result[p][at]
            np.bitwise_and(c_high, low, out=node)
            np.bitwise_xor(node, pairs[p][at], out=node)
            _add_propagated(c_low, c_high, high, node, spare, lead and p == 0)
    return result


def _add_propagated(
    c_low: Array, c_high: Array, high: Array, node: Array, spare: Array, first: int
) -> None:
    """Add c_lo & M_hi to ``node``, and for the first party c_lo & c_hi."""
    if first:
        np.bitwise_xor(high, c_high, out=spare)
        high = spare
    np.bitwise_and(c_low, high, out=spare)
    np.bitwise_xor(node, spare, out=node)


def choose_nodes(nodes: Array, picks: Sequence[Pick], flags: Array) -> Array:
    """Return nodes of a carry tree in another order, some of them chosen by public flags.

    Args:
        nodes: (parties, 2, m, W).
        picks: which nodes go into the result, see `Pick`.
        flags: (n_flags, W).

    Returns:
        (parties, 2, len(picks), W).
    """
    parties, kinds, m, width = nodes.shape
    result = empty((parties, kinds, len(picks), width), _WORD)
    sources = nodes.reshape(parties * kinds, m, width)
    targets = result.reshape(parties * kinds, len(picks), width)
    for source, target in zip(sources, targets, strict=True):
        for chosen, (first, second, flag) in zip(target, picks, strict=True):
            if flag < 0:
                np.copyto(chosen, source[first])
                continue
            np.bitwise_xor(source[first], source[second], out=chosen)
            np.bitwise_and(chosen, flags[flag], out=chosen)
            np.bitwise_xor(chosen, source[first], out=chosen)
    return result
