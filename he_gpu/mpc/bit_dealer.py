"""The dealer's part in comparison: masks with their bits, and products over GF(2).

Layer: mpc, above `dealer`. Takes shapes and keys, never an operand. Boolean shares are packed as
`backend.definition.bits` describes; n elements take W = ceil(n / 64) words a plane.
Sources: Beaver, CRYPTO 1991; doubly shared bits as in Rotaru and Wood, INDOCRYPT 2019 (daBits),
and words with their bits as in Escudero et al., CRYPTO 2020 (edaBits), here from a trusted dealer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from he_gpu.backend import Array, Stream, words_per_row
from he_gpu.mpc.dealer import Dealer
from he_gpu.mpc.pool import BULK_BYTES


class BitMask(NamedTuple):
    """A uniform word M for each of n elements, shared as a word and bit by bit.

    Attributes:
        words: (parties, n), additive shares of M.
        planes: (parties, k, W), boolean shares of the bits of M, or of -M.
        pairs: (parties, k / 2, W), of the products of bits 2 j and 2 j + 1.
        total: (n,) M itself, which the dealer alone knows.
    """

    words: Array
    planes: Array
    pairs: Array
    total: Array


class SharedBits(NamedTuple):
    """Uniform bits shared both ways, for some rows of n elements.

    Attributes:
        planes: (parties, rows, W), boolean shares.
        words: (parties, rows, n), additive shares of the same bits.
        products: (parties, rows, n), of the bits times the words of a mask, or None.
    """

    planes: Array
    words: Array
    products: Array | None


class StepBits(NamedTuple):
    """Uniform bits shared both ways, as words only where these are summed.

    Attributes:
        planes: (parties, rows, W), boolean shares.
        total: (rows, W), the bits themselves, which the dealer alone knows.
        streams: of the words of each party but the last; see `definition.steps`.
    """

    planes: Array
    total: Array
    streams: list[Stream]


class BitDealer(Dealer):
    """A dealer who also makes what comparison needs; see `Dealer`."""

    def mask_with_bits(self, n: int, negated: bool = False) -> BitMask:
        """Return a mask of n words with its bits, or those of its negative."""
        words = self._draw(1, (n,))[:, 0]
        total = self._backend.reconstruct(words, self._modulus)
        bits = self._backend.neg(total, self._modulus) if negated else total
        return BitMask(words[self._rows], *self._bits_of(bits), total)

    def masks_with_bits_of_gaps(self, shape: tuple[int, int], width: int) -> BitMask:
        """Return masks for some rows of words, with the bits of all differences of two rows.

        Args:
            shape: (rows, n).
            width: 64 W, to which each difference of rows is filled up with zeros.

        Returns:
            Words (parties, rows, n) and total (rows, n); planes and pairs of M_i - M_j for rows
            i < j, one behind the other in the order of `numpy.triu_indices`.
        """
        xp, backend = self._backend.xp, self._backend
        words = self._draw(1, shape)[:, 0]
        total = backend.reconstruct(words, self._modulus)
        i, j = (backend.asarray(index) for index in np.triu_indices(shape[0], 1))
        gaps = xp.zeros((len(i), width), self._dtype)
        gaps[:, : shape[1]] = backend.sub(total[i], total[j], self._modulus)
        return BitMask(words[self._rows], *self._bits_of(gaps.reshape(-1)), total)

    def carry_masks(self, counts: Sequence[int], width: int) -> Iterator[tuple[Array, Array]]:
        """Yield for each level of a tree masks of p_hi, g_lo and p_lo, and the first times these.

        Args:
            counts: how many pairs of nodes each level joins.
            width: W of a node.
        """
        return self._by_level(3, counts, width)

    def and_masks(self, counts: Sequence[int], width: int) -> Iterator[tuple[Array, Array]]:
        """Yield, for each level of a tree of products, masks of two factors, and their product."""
        return self._by_level(2, counts, width)

    def _by_level(
        self, n_masks: int, counts: Sequence[int], width: int
    ) -> Iterator[tuple[Array, Array]]:
        """Yield masks (parties, n_masks, count, W) and the first times each other one of them.

        Levels are dealt together, as many as do not pass `BULK_BYTES`: most are small.
        """
        level_bytes = 8 * self._n_parties * n_masks * width
        first = 0
        while first < len(counts):
            last = first + 1
            while last < len(counts) and sum(counts[first : last + 1]) * level_bytes <= BULK_BYTES:
                last += 1
            stack, total = self._draw_bits((n_masks, sum(counts[first:last]), width))
            products = self._bit_products(total[:1], total[1:])
            start = 0
            for count in counts[first:last]:
                level = slice(start, start + count)
                yield stack[:, :, level], products[:, :, level]
                start += count
            first = last

    def shared_bits(self, rows: int, n: int, mask: Array | None = None) -> SharedBits:
        """Return uniform bits; with a mask (n,) also its products with them."""
        planes, total = self._draw_bits((rows, -(-n // 64)))
        shape = (self._n_parties, rows, n)
        stack, products = self._backend.empty(shape, self._dtype), None
        words = self._backend.bit_words(total, n, self._dtype, out=stack[-1, ...])
        if mask is not None:
            products = self._backend.empty(shape, self._dtype)
            self._backend.mul(words, mask, self._modulus, out=products[-1, ...])
            products = self._split_words(products)
        return SharedBits(planes, self._split_words(stack), products)

    def step_bits(self, rows: int, n: int) -> StepBits:
        """Return uniform bits for n elements, whose words are made as they are summed."""
        planes, total = self._draw_bits((rows, -(-n // 64)))
        shape = rows, words_per_row(n, self._dtype)
        streams = [prg.stream(shape, self._modulus) for prg in self._prgs[:-1]]
        self.bytes_sent += rows * n * self._dtype.itemsize
        return StepBits(planes, total, streams)

    def _bits_of(self, words: Array) -> tuple[Array, Array]:
        """Return boolean shares of the bits of words (n,), and of the products of neighbours."""
        planes = self._backend.bit_planes(words)
        pairs = self._bit_products(planes[::2], planes[1::2])
        return self._split_bits(planes), pairs

    def _draw_bits(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Return boolean shares of uniform bits, and the bits."""
        stack = self._backend.empty((self._n_parties, *shape), np.uint64)
        for row, prg in zip(stack, self._prgs, strict=True):
            prg.uniform(shape, 2**64, out=row)
        return stack[self._rows], self._backend.xor_open(stack, None)

    def _bit_products(self, a: Array, b: Array) -> Array:
        """Return boolean shares of the products of bits that the dealer knows."""
        stack = self._backend.empty((self._n_parties, *b.shape), np.uint64)
        self._backend.xp.bitwise_and(a, b, out=stack[-1, ...])
        return self._split_bits(stack[-1, ...], stack)

    def _split_bits(self, total: Array, stack: Array | None = None) -> Array:
        """Return boolean shares of bits that the dealer knows; stack may hold them at its end."""
        if stack is None:
            stack = self._backend.empty((self._n_parties, *total.shape), np.uint64)
        last, rest = stack[-1, ...], total
        for share, prg in zip(stack[:-1], self._prgs[:-1], strict=True):
            self._backend.split_bits(rest, prg.stream(share.shape, 2**64), share, last)
            rest = last
        self.bytes_sent += 8 * math.prod(total.shape)
        return stack[self._rows]

    def _split_words(self, stack: Array) -> Array:
        """Return additive shares of words that the dealer knows, which end a stack."""
        self._split_rest(stack, stack[-1, ...], 0)
        self.bytes_sent += stack[-1].nbytes
        return stack[self._rows]
