"""Exact comparison on additive shares: one masked opening, then carries as a tree.

Layer: mpc, under the schemes. With c = x - M opened for a mask M whose bits are shared, the sign
of x = c + M is the exclusive or of the two top bits and of the carry into them. The carry comes
from a tree over k - 1 bits, whose first level is free because the dealer knows M; each further
level halves the positions, so all of them together take one product of bits per position. The
sign of x - t takes c - t instead, and several public t share what `carry_plan` finds in common.
Sources: the masked opening as in Damgard et al., TCC 2006, and Escudero et al., CRYPTO 2020; the
tree of Brent and Kung, 1982.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from he_gpu.backend import Array, Backend
from he_gpu.mpc.bit_dealer import BitDealer, BitMask
from he_gpu.mpc.carry_plan import carry_plan
from he_gpu.mpc.scheme import one_by_one, public_words, step_weights


class Exchange(Protocol):
    """What comparison needs of a channel."""

    def exchange(self, partials: Sequence[Array], modulus: int) -> Sequence[Array]:
        """See `LocalChannel.exchange`."""


BITS = 2
"""The ring of packed bits, for `Exchange.exchange`."""


class Comparison:
    """Comparison of n-out-of-n additive shares.

    Every function opens uniform words only, and takes log2(k) + 1 rounds: one for the value, one
    for each level of the tree but the first, one for the result. Per element each party sends a
    word, some 3 k / 2 bits for the tree of each threshold, k for `is_zero`, and the result's bit.

    Args:
        backend: the device.
        modulus: 2**64 or 2**32.
        channel: how the parties talk.
        dealer: of the same parties.
        hosted: the parties whose rows a stack has.
    """

    def __init__(
        self, backend: Backend, modulus: int, channel: Exchange, dealer: BitDealer, hosted: range
    ):
        self._backend = backend
        self._modulus = modulus
        self._channel = channel
        self._dealer = dealer
        self._hosted = hosted
        self._lead = int(0 in hosted)

    def below(self, x: Array, thresholds: Array) -> Array:
        """Return shares of the integers 1 where x < t and 0 elsewhere.

        Args:
            x: (parties, *shape) shares of signed words; -2**(k-1) <= x - t < 2**(k-1).
            thresholds: (n_thresholds, *t) public words; each broadcasts to (*shape).

        Returns:
            (parties, n_thresholds, *shape).
        """
        shape, count = x.shape[1:], len(thresholds)
        n = math.prod(shape)
        if n == 0:
            return self._backend.xp.zeros((len(x), count, *shape), x.dtype)
        opened, mask = self._open(x.reshape(len(x), n), negated=False)
        bits = self._signs(opened, self._rows(thresholds, shape), mask)
        return self._to_words(bits, n).reshape(len(x), count, *shape)

    def steps(self, x: Array, thresholds: Sequence[int], values: Sequence[Sequence[int]]) -> Array:
        """Return shares of public step functions; see `Scheme.steps`.

        With the bits [x < t] as m ^ v, for dealt bits m and opened v, a function is a weighted sum
        of them, and no word is ever kept for each.

        Args:
            x: (parties, *shape) shares of signed words; -2**(k-1) <= x - t < 2**(k-1).
            thresholds: rising.
            values: for each function one more than there are thresholds.

        Returns:
            (parties, n_functions, *shape).
        """
        public = step_weights(thresholds, values)
        weights, constants = (public_words(integers, self._modulus) for integers in public)
        shape, count = x.shape[1:], len(values)
        n = math.prod(shape)
        if n == 0 or count == 0:
            return self._backend.xp.zeros((len(x), count, *shape), x.dtype)
        opened, mask = self._open(x.reshape(len(x), n), negated=False)
        bits = self._signs(opened, public_words(thresholds, self._modulus)[:, None], mask)
        dealt = self._dealer.step_bits(len(thresholds), n)
        partial = self._backend.xor_open(bits, dealt.planes)
        flips = self._channel.exchange([partial], BITS)[0]
        sums = self._backend.step_shares(
            flips, dealt.total, dealt.streams, weights, constants, n, self._hosted
        )
        return sums.reshape(len(x), count, *shape)

    def is_zero(self, x: Array) -> Array:
        """Return shares of the integers 1 where x = 0 and 0 elsewhere; (parties, *shape) both."""
        xp, shape = self._backend.xp, x.shape[1:]
        n = math.prod(shape)
        if n == 0:
            return xp.zeros(x.shape, x.dtype)
        # x = c + M is 0 where c equals -M.
        opened, mask = self._open(x.reshape(len(x), n), negated=True)
        planes = self._backend.bit_planes(opened)
        nodes = self._backend.equal_leaves(planes, mask.planes, mask.pairs, self._lead)
        return self._to_words(self._all(nodes), n).reshape(x.shape)

    def positive_part(self, x: Array) -> Array:
        """Return shares of max(x, 0) for signed words x; (parties, *shape) both.

        The mask of the opening serves the product with the sign too, which takes no round.
        """
        if math.prod(x.shape[1:]) == 0:
            return self._backend.xp.zeros(x.shape, x.dtype)
        return self._excesses(x, np.zeros((1, 1), x.dtype), 0)[:, 0]

    def beyond(self, x: Array, low: Array, high: Array) -> Array:
        """Return shares of max(low - x, 0) and of max(x - high, 0); (parties, 2, *shape).

        Args:
            x: (parties, *shape) shares of signed words; -2**(k-1) <= x - t < 2**(k-1) for both
                bounds t.
            low: public words that broadcast to (*shape).
            high: likewise, none less than low.
        """
        shape = x.shape[1:]
        if math.prod(shape) == 0:
            return self._backend.xp.zeros((len(x), 2, *shape), x.dtype)
        bounds = [np.asarray(b) if isinstance(b, np.generic) else b for b in (low, high)]
        if all(_on_host(bound) and bound.size == 1 for bound in bounds):
            thresholds = np.concatenate([bound.reshape(1, 1) for bound in bounds])
        else:
            full = [self._backend.xp.broadcast_to(self._here(bound), shape) for bound in bounds]
            thresholds = self._backend.stack([bound.reshape(-1) for bound in full])
        return self._excesses(x, thresholds, 1)

    def largest(self, x: Array, smallest: bool = False) -> Array:
        """Return shares of the largest of n rows, or of the smallest: all pairs compared at once.

        The differences of the rows' masks are the masks of the rows' differences, so that each row
        is opened once. A row is the largest where it beats all others, of equal ones the first (of
        smallest the last); its mask serves the product with that bit too.

        Args:
            x: (parties, n, *shape) shares of signed words whose differences fit the word, n > 1.
            smallest: whether to return the smallest.

        Returns:
            (parties, *shape).
        """
        xp, (rows, *shape) = self._backend.xp, x.shape[1:]
        n = math.prod(shape)
        if n == 0:
            return xp.zeros((len(x), *shape), x.dtype)
        width = -(-n // 64) * 64
        mask = self._dealer.masks_with_bits_of_gaps((rows, n), width)
        partial = self._backend.open_masked(x.reshape(len(x), rows, n), mask.words)
        opened = self._filled(self._channel.exchange([partial], self._modulus)[0], width)
        i, j = np.triu_indices(rows, 1)
        gaps = self._backend.sub(opened[self._here(i)], opened[self._here(j)], self._modulus)
        less = self._signs(gaps.reshape(-1), np.zeros((1, 1), x.dtype), mask)
        less = less.reshape(len(x), len(i), width // 64)
        more = less.copy()
        if self._lead:
            flipped = (less if smallest else more)[0]
            xp.invert(flipped, out=flipped)
        # Row i of the games: less at the pairs (j, i), j < i, and more at the pairs (i, j).
        games = xp.concatenate([more, less], axis=1)
        first = self._here(_games(rows))
        won = self._all(games[:, first].reshape(len(x), rows - 1, rows * (width // 64)))
        shared = self._dealer.shared_bits(1, rows * width, self._filled(mask.total, width).ravel())
        wanted = self._channel.exchange([self._backend.xor_open(won, shared.planes)], BITS)[0]
        words = self._filled(mask.words, width).reshape(len(x), -1)
        parts = self._backend.bit_times_word(
            wanted, opened.reshape(1, -1), shared.words, words, shared.products, self._lead, 0
        )
        total = xp.sum(parts.reshape(len(x), rows, width), axis=1, dtype=x.dtype)
        return total[:, :n].reshape(len(x), *shape)

    def _filled(self, words: Array, width: int) -> Array:
        """Return words (..., n) with zeros behind them, so that their last axis has a width."""
        if words.shape[-1] == width:
            return words
        result = self._backend.xp.zeros((*words.shape[:-1], width), words.dtype)
        result[..., : words.shape[-1]] = words
        return result

    def _excesses(self, x: Array, thresholds: Array, n_below: int) -> Array:
        """Return shares of x - t where it is positive, for some thresholds first of t - x.

        Args:
            x: (parties, *shape).
            thresholds: (rows, n) or (rows, 1).
            n_below: for how many thresholds, from the first on, t - x is wanted.
        """
        n, rows = math.prod(x.shape[1:]), len(thresholds)
        opened, mask = self._open(x.reshape(len(x), n), negated=False)
        less = self._signs(opened, thresholds, mask)
        shared = self._dealer.shared_bits(rows, n, mask.total)
        partial = self._backend.xor_open(less, shared.planes)
        flipped = self._channel.exchange([partial], BITS)[0]
        wanted = self._backend.xp.invert(flipped)  # x >= t, and x < t for the first
        wanted[:n_below] = flipped[:n_below]
        if rows == 1 and _on_host(thresholds) and not thresholds.any():
            gaps = opened[None]
        else:
            gaps = self._backend.sub(opened[None], self._here(thresholds), self._modulus)
        result = self._backend.bit_times_word(
            wanted,
            gaps,
            shared.words,
            mask.words,
            shared.products,
            self._lead,
            n_below,
        )
        return result.reshape(len(x), rows, *x.shape[1:])

    def _rows(self, thresholds: Array, shape: tuple[int, ...]) -> Array:
        """Return thresholds (count, *t) as rows of n words, of one where the host knows it."""
        count, xp = len(thresholds), self._backend.xp
        if _on_host(thresholds) and thresholds.size == count:
            return thresholds.reshape(count, 1)
        aligned = one_by_one(self._here(thresholds), len(shape))
        return xp.broadcast_to(aligned, (count, *shape)).reshape(count, math.prod(shape))

    def _here(self, words: Array) -> Array:
        """Return public words on the device."""
        return self._backend.asarray(words) if _on_host(words) else words

    def _open(self, x: Array, negated: bool) -> tuple[Array, BitMask]:
        """Return x - M, opened, and the mask M with its bits, or with those of -M."""
        mask = self._dealer.mask_with_bits(x.shape[1], negated)
        partial = self._backend.open_masked(x, mask.words)
        return self._channel.exchange([partial], self._modulus)[0], mask

    def _signs(self, opened: Array, thresholds: Array, mask: BitMask) -> Array:
        """Return boolean shares (parties, rows, W) of the top bits of c - t + M.

        Args:
            opened: (n,), c.
            thresholds: (rows, n), or (rows, 1) on the host.
            mask: M.
        """
        if thresholds.shape[1] > 1 or not _on_host(thresholds):
            return self._signs_apart(opened, thresholds, mask)
        backend = self._backend
        planes = backend.bit_planes(opened)
        plan = carry_plan(tuple(int(t) for t in thresholds[:, 0]), len(planes))
        flags = backend.borrows(planes, *plan.flags)
        words, places = plan.leaves
        if any(words) or places != tuple(range(len(planes) // 2)):
            public = backend.less_pairs(planes, words, places)
        else:
            public = planes.reshape(-1, 2, planes.shape[1])
        nodes = backend.carry_leaves(public, places, mask.planes, mask.pairs, self._lead)
        counts, count = [], nodes.shape[2]
        for picks in plan.levels:
            count = (count if picks is None else len(picks)) // 2
            counts.append(count)
        masks = self._dealer.carry_masks(counts, planes.shape[1])
        for picks, (level_masks, products) in zip(plan.levels, masks, strict=True):
            if picks is not None:
                nodes = backend.choose_nodes(nodes, picks, flags)
            nodes = self._join(nodes, level_masks, products)
        if plan.roots != tuple(range(nodes.shape[2])):
            nodes = backend.choose_nodes(nodes, [(root, root, -1) for root in plan.roots], flags)
        signs = backend.xp.bitwise_xor(nodes[:, 0], mask.planes[:, None, -1])
        if self._lead:
            signs[0] ^= planes[-1]
            for sign, threshold, top in zip(signs[0], thresholds[:, 0], plan.tops, strict=True):
                if int(threshold) >> len(planes) - 1:
                    backend.xp.invert(sign, out=sign)
                if top >= 0:
                    sign ^= flags[top]
        return signs

    def _signs_apart(self, opened: Array, thresholds: Array, mask: BitMask) -> Array:
        """Return what `_signs` does, for thresholds of every element's own."""
        backend, count, width = self._backend, len(thresholds), mask.planes.shape[-1]
        sums = backend.sub(opened[None], thresholds, self._modulus)
        each = [backend.bit_planes(c) for c in sums]
        planes = each[0][None] if count == 1 else backend.stack(each)
        k = planes.shape[1]
        public, places = planes.reshape(-1, 2, width), tuple(range(k // 2)) * count
        nodes = backend.carry_leaves(public, places, mask.planes, mask.pairs, self._lead)
        counts = [nodes.shape[2] >> level for level in range(1, (k // 2).bit_length())]
        for masks, products in self._dealer.carry_masks(counts, width):
            nodes = self._join(nodes, masks, products)
        signs = backend.xp.bitwise_xor(nodes[:, 0], mask.planes[:, None, -1])
        if self._lead:
            signs[0] ^= planes[:, -1]
        return signs

    def _join(self, nodes: Array, masks: Array, products: Array) -> Array:
        """Return the next level of carry trees: (parties, 2, m, W) -> (parties, 2, m / 2, W)."""
        partial = self._backend.carry_open(nodes, masks)
        opened = self._channel.exchange([partial], BITS)[0]
        return self._backend.carry_combine(opened, nodes, masks, products)

    def _all(self, bits: Array) -> Array:
        """Return whether all of some bits are set: (parties, m, W) -> (parties, 1, W)."""
        counts, m = [], bits.shape[1]
        while m > 1:
            counts.append(m // 2)
            m -= m // 2
        for masks, products in self._dealer.and_masks(counts, bits.shape[2]):
            even = 2 * masks.shape[2]
            high, low, odd = bits[:, 1:even:2], bits[:, :even:2], bits[:, even:]
            partial = self._backend.and_open(high, masks[:, 0], low, masks[:, 1])
            both = self._channel.exchange([partial], BITS)[0]
            bits = self._backend.and_combine(both, low, masks[:, 0], products[:, 0])
            if odd.shape[1]:
                bits = self._backend.xp.concatenate([bits, odd], axis=1)
        return bits

    def _to_words(self, bits: Array, n: int) -> Array:
        """Return additive shares (parties, rows, n) of packed bits (parties, rows, W)."""
        shared = self._dealer.shared_bits(bits.shape[1], n)
        partial = self._backend.xor_open(bits, shared.planes)
        opened = self._channel.exchange([partial], BITS)[0]
        return self._backend.bit_shares(opened, shared.words, self._lead, out=shared.words)


@lru_cache(maxsize=64)
def _games(n: int) -> Array:
    """Return for n rows, game by game, where each finds its result: (n - 1, n).

    With n (n - 1) / 2 pairs i < j in the order of `numpy.triu_indices`, pair p stands at p for i
    and behind all of them at n (n - 1) / 2 + p for j.
    """
    i, j = np.triu_indices(n, 1)
    found = np.empty((n, n - 1), np.int64)
    pairs = np.arange(len(i))
    found[i, j - 1] = pairs
    found[j, i] = len(i) + pairs
    return np.ascontiguousarray(found.T)


def _on_host(words: Array) -> bool:
    return isinstance(words, np.ndarray)
