"""Exact comparison on additive shares: one masked opening, then carries as a tree.

Layer: mpc, under the schemes. With c = x - M opened for a mask M whose bits are shared, the sign
of x = c + M is the exclusive or of the two top bits and of the carry into them. The carry comes
from a tree over k - 1 bits, whose first level is free because the dealer knows M; each further
level halves the positions, so all of them together take one product of bits per position.
Sources: the masked opening as in Damgard et al., TCC 2006, and Escudero et al., CRYPTO 2020; the
tree of Brent and Kung, 1982.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from he_gpu.backend import Array, Backend
from he_gpu.mpc.bit_dealer import BitDealer, BitMask
from he_gpu.mpc.scheme import one_by_one


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
    word, some 3 k / 2 bits for the tree and each threshold, k for `is_zero`, and the result's bit.

    Args:
        backend: the device.
        modulus: 2**64 or 2**32.
        channel: how the parties talk.
        dealer: of the same parties.
        lead: 1 where row 0 of a stack is the first party's, else 0.
    """

    def __init__(
        self, backend: Backend, modulus: int, channel: Exchange, dealer: BitDealer, lead: int
    ):
        self._backend = backend
        self._modulus = modulus
        self._channel = channel
        self._dealer = dealer
        self._lead = lead

    def below(self, x: Array, thresholds: Array) -> Array:
        """Return shares of the integers 1 where x < t and 0 elsewhere.

        Args:
            x: (parties, *shape) shares of signed words; -2**(k-1) <= x - t < 2**(k-1).
            thresholds: (n_thresholds, *t) public words; each broadcasts to (*shape).

        Returns:
            (parties, n_thresholds, *shape).
        """
        xp, shape = self._backend.xp, x.shape[1:]
        n, count = math.prod(shape), len(thresholds)
        if n == 0:
            return xp.zeros((len(x), count, *shape), x.dtype)
        aligned = one_by_one(thresholds, len(shape))
        public = xp.ascontiguousarray(xp.broadcast_to(aligned, (count, *shape)))
        opened, mask = self._open(x.reshape(len(x), n), negated=False)
        sums = [self._backend.sub(opened, t, self._modulus) for t in public.reshape(count, n)]
        bits = self._signs(sums, mask)
        return self._to_words(bits, n).reshape(len(x), count, *shape)

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
        xp, n = self._backend.xp, math.prod(x.shape[1:])
        if n == 0:
            return xp.zeros(x.shape, x.dtype)
        opened, mask = self._open(x.reshape(len(x), n), negated=False)
        negative = self._signs([opened], mask)
        shared = self._dealer.shared_bits(1, n, mask.total)
        partial = self._backend.xor_open(negative, shared.planes)
        flipped = xp.invert(self._channel.exchange([partial], BITS)[0][0])
        result = self._backend.bit_times_word(
            flipped,
            opened,
            shared.words[:, 0],
            mask.words,
            shared.products[:, 0],  # type: ignore[index]
            self._lead,
        )
        return result.reshape(x.shape)

    def _open(self, x: Array, negated: bool) -> tuple[Array, BitMask]:
        """Return x - M, opened, and the mask M with its bits, or with those of -M."""
        mask = self._dealer.mask_with_bits(x.shape[1], negated)
        partial = self._backend.open_masked(x, mask.words)
        return self._channel.exchange([partial], self._modulus)[0], mask

    def _signs(self, sums: list[Array], mask: BitMask) -> Array:
        """Return boolean shares (parties, len(sums), W) of the top bits of c + M for each c."""
        xp, width = self._backend.xp, mask.planes.shape[-1]
        planes = [self._backend.bit_planes(c) for c in sums]
        leaves = [
            self._backend.carry_leaves(c, mask.planes, mask.pairs, self._lead) for c in planes
        ]
        nodes = leaves[0] if len(leaves) == 1 else xp.concatenate(leaves, axis=-1)
        while nodes.shape[2] > 1:
            shape = nodes.shape[2] // 2, nodes.shape[3]
            masks, products = self._dealer.carry_masks(shape)
            partial = self._backend.carry_open(nodes, masks)
            opened = self._channel.exchange([partial], BITS)[0]
            nodes = self._backend.carry_combine(opened, nodes, masks, products)
        carries = nodes[:, 0, 0].reshape(len(nodes), len(sums), width)
        signs = xp.bitwise_xor(carries, mask.planes[:, None, -1])
        if self._lead:
            signs[0] ^= xp.stack([c[-1] for c in planes])
        return signs

    def _to_words(self, bits: Array, n: int) -> Array:
        """Return additive shares (parties, rows, n) of packed bits (parties, rows, W)."""
        shared = self._dealer.shared_bits(bits.shape[1], n)
        partial = self._backend.xor_open(bits, shared.planes)
        opened = self._channel.exchange([partial], BITS)[0]
        rows = [
            self._backend.bit_shares(row, shared.words[:, i], self._lead)
            for i, row in enumerate(opened)
        ]
        return self._backend.xp.stack(rows, axis=1)
