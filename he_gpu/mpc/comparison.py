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
        while nodes.shape[1] > 1:
            high, low = nodes[:, 1::2], nodes[:, ::2]
            a, b, c = self._dealer.and_masks(low.shape[1:])
            partial = self._backend.and_open(high, a, low, b)
            both = self._channel.exchange([partial], BITS)[0]
            nodes = self._backend.and_combine(both, low, a, c)
        return self._to_words(nodes, n).reshape(x.shape)

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
            thresholds = self._backend.xp.stack([bound.reshape(-1) for bound in full])
        return self._excesses(x, thresholds, 1)

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
        for picks in plan.levels:
            if picks is not None:
                nodes = backend.choose_nodes(nodes, picks, flags)
            nodes = self._join(nodes)
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
        planes = each[0][None] if count == 1 else backend.xp.stack(each)
        k = planes.shape[1]
        public, places = planes.reshape(-1, 2, width), tuple(range(k // 2)) * count
        nodes = backend.carry_leaves(public, places, mask.planes, mask.pairs, self._lead)
        while nodes.shape[2] > count:
            nodes = self._join(nodes)
        signs = backend.xp.bitwise_xor(nodes[:, 0], mask.planes[:, None, -1])
        if self._lead:
            signs[0] ^= planes[:, -1]
        return signs

    def _join(self, nodes: Array) -> Array:
        """Return the next level of carry trees: (parties, 2, m, W) -> (parties, 2, m / 2, W)."""
        shape = nodes.shape[2] // 2, nodes.shape[3]
        masks, products = self._dealer.carry_masks(shape)
        partial = self._backend.carry_open(nodes, masks)
        opened = self._channel.exchange([partial], BITS)[0]
        return self._backend.carry_combine(opened, nodes, masks, products)

    def _to_words(self, bits: Array, n: int) -> Array:
        """Return additive shares (parties, rows, n) of packed bits (parties, rows, W)."""
        shared = self._dealer.shared_bits(bits.shape[1], n)
        partial = self._backend.xor_open(bits, shared.planes)
        opened = self._channel.exchange([partial], BITS)[0]
        return self._backend.bit_shares(opened, shared.words, self._lead, out=shared.words)


def _on_host(words: Array) -> bool:
    return isinstance(words, np.ndarray)
