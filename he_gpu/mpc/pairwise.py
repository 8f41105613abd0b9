"""Randomness that pairs of three parties have in common, for replicated sharing.

Layer: mpc. Every two parties have a key for each purpose, so their words need no message. Words
that no party here knows are never used and stand as 0. Never sees an operand.
Source: zero shares from pairwise keys as in Araki et al., CCS 2016.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from he_gpu.backend import Array, Backend, word_dtype
from he_gpu.mpc.pool import Pool, Wanted
from he_gpu.ring import KeyRing, Prg

DEALER = 2
"""The party that deals for parties 0 and 1."""


class TruncationMasks(NamedTuple):
    """Uniform words for one truncation; parts that nobody here knows are 0.

    Attributes:
        hiding: (parties, *shape), u, v and -u - v for parties 0, 1 and 2, where 0 and 2 know u,
            and 1 and 2 know v.
        result: (parties + 1, *shape), with fresh words 0 and 2 of the result.
        parts: what undoes the mask, as `definition.replicated.deal_truncation` makes it without
            the mask. It and the result are None where masks are not made in bulk: see
            `Pairwise.deal`.
    """

    hiding: Array
    result: Array | None
    parts: Array | None


class Dealt(NamedTuple):
    """What undoes the mask of one truncation; what nobody here knows is 0.

    Attributes:
        result: (parties + 1, *shape), with fresh words 0 and 2 of the result.
        parts: the second party's, where party 2 is hosted here, or None.
        choices: (1 or 2, *shape), known to 0 and 2, of which the first party's are made.
    """

    result: Array
    parts: Array | None
    choices: Array


class Pairwise:
    """Masks for the parties hosted here, and where their words stand in a stack.

    Args:
        keys: the session's keys.
        backend: the device.
        modulus: 2**64 or 2**32.
        hosted: the parties, a range.
    """

    def __init__(self, keys: KeyRing, backend: Backend, modulus: int, hosted: range):
        self._backend = backend
        self._modulus = modulus
        self._hosted = hosted
        self._keys = keys
        self._prgs: dict[str, Prg] = {}
        self._pool = Pool()

    def expect(self, n_repeats: int, singly: bool = False) -> None:
        """Make masks for n_repeats equal steps in bulk; 0 ends this; see `Scheme.expect`."""
        self._pool.expect(n_repeats, singly)

    def rows(self, word: int) -> list[int]:
        """Return the rows of a stack that keep a word."""
        return [
            row for row in range(len(self._hosted) + 1) if (self._hosted.start + row) % 3 == word
        ]

    def hosts(self, *parties: int) -> bool:
        """Tell whether one of the parties is hosted here."""
        return any(party in self._hosted for party in parties)

    def truncation_masks(
        self, shape: tuple[int, ...], drop: int, balance: bool = False
    ) -> TruncationMasks:
        """Return masks for a truncation of words of a shape.

        Args:
            shape: of the words.
            drop: bits that the truncation drops.
            balance: leave out -u - v where masks are not made in bulk, as `cross_multiply` makes
                it itself; all parties are hosted here.
        """
        self._keys.check_process()  # a forked child must not take what its parent takes too
        ready = self._pool.ready(_truncation(shape, drop))
        if ready is not None:
            return TruncationMasks(*ready)
        return TruncationMasks(*self._pool.take(*self._wanted(shape, drop, balance)))

    def truncations_ahead(
        self, truncations: Sequence[tuple[tuple[int, ...], int]], n_steps: int
    ) -> tuple[int, list[TruncationMasks]]:
        """Return the masks for truncations of this step and some after it, made in one go.

        Args:
            truncations: of each the shape of its words and the bits to drop; a step asks
                `truncation_masks` for them in this order, and for no other masks.
            n_steps: the most steps; 0 only makes the masks that `truncation_masks` will return.

        Returns:
            How many steps, perhaps 0; and of each truncation the masks, steps first.
        """
        self._keys.check_process()
        wanted = [self._wanted(shape, drop) for shape, drop in truncations]
        n, items = self._pool.take_ahead(wanted, n_steps)
        return n, [TruncationMasks(*fields) for fields in items]

    def _wanted(self, shape: tuple[int, ...], drop: int, balance: bool = False) -> Wanted:
        """Return what the pool must know of the masks for a truncation."""

        def make(n: int) -> tuple[Any, ...]:
            hiding = self._hiding(n, shape, balance and n == 1)
            if n == 1:
                return hiding, [None], [None]
            rows = len(self._hosted) + 1
            result = self._backend.empty((n, rows, *shape), word_dtype(self._modulus))
            by_row = self._backend.xp.moveaxis(result, 0, 1)
            parts = self._backend.deal_truncation(*self._fresh(by_row, drop), drop)
            for row in self.rows(0)[1:]:
                by_row[row] = by_row[0]
            return hiding, result, self._backend.xp.moveaxis(parts, 2, 0)

        def n_bytes() -> int:
            word = word_dtype(self._modulus).itemsize
            return 13 * math.prod(shape) * word  # the same wherever parties are

        return _truncation(shape, drop), make, n_bytes

    def deal(self, shape: tuple[int, ...], drop: int, mask: Array | None) -> Dealt:
        """Return what undoes the mask of one truncation.

        Args:
            shape: of the words.
            drop: bits that the truncation drops.
            mask: (*shape), which party 2 has; None where it is not hosted here.
        """
        shape = (len(self._hosted) + 1, *shape)
        result = self._backend.empty(shape, word_dtype(self._modulus))
        first, last, choices = self._fresh(result, drop)
        if mask is None:
            return Dealt(result, None, choices)
        copy = result[-1, ...] if len(self.rows(0)) > 1 else None
        parts = self._backend.deal_truncation(first, last, choices, drop, mask, copy)
        return Dealt(result, parts, choices)

    def _hiding(self, n: int, shape: tuple[int, ...], balance: bool) -> Array:
        """Return what hides the parties' words in n truncations, (n, parties, *shape)."""
        hosted, dtype = self._hosted, word_dtype(self._modulus)
        hiding = self._backend.empty((n, len(hosted), *shape), dtype)
        for row, party in enumerate(hosted):
            if party != DEALER:
                self.draw(hiding[:, row], party, DEALER, "hiding")
        if balance or DEALER not in hosted:
            return hiding
        u, v = (
            hiding[:, hosted.index(p)]
            if p in hosted
            else self.draw(self._backend.empty((n, *shape), dtype), p, DEALER, "hiding")
            for p in (0, 1)
        )
        last = hiding[:, -1]
        both = last if last.flags.c_contiguous else self._backend.empty(u.shape, dtype)
        self._backend.add(u, v, self._modulus, out=both)
        last[...] = self._backend.neg(both, self._modulus, out=both)
        return hiding

    def _fresh(self, result: Array, drop: int) -> tuple[Array, Array, Array]:
        """Draw words 0 and 2 of a result, (parties + 1, *shape), and return them and choices."""
        shape, k = result.shape[1:], 8 * result.dtype.itemsize
        choices = self._backend.empty((1 if 2 * drop <= k else 2, *shape), result.dtype)
        self.draw(choices, 0, DEALER, "choices")
        first, last = (
            # Who lacks the words lacks a part too, and is sent it.
            self.draw(result[rows[0], ...], party, DEALER, "result") if rows else choices[0, ...]
            for party, rows in enumerate(map(self.rows, (0, 2)))
        )
        return first, last, choices

    def zero_share(self, shape: tuple[int, ...]) -> Array:
        """Return shares of 0, (parties, *shape).

        Party i adds the word that it has in common with the next party, and subtracts the one in
        common with the party before.
        """
        dtype = word_dtype(self._modulus)

        def make(n: int) -> tuple[Array, ...]:
            keys = range(self._hosted.start - 1, self._hosted.start + len(self._hosted))
            words = [
                self.draw(self._backend.empty((n, *shape), dtype), i % 3, (i + 1) % 3, "zero")
                for i in (keys if len(self._hosted) < 3 else keys[1:])
            ]
            zero = self._backend.empty((n, len(self._hosted), *shape), dtype)
            for row in range(len(self._hosted)):
                before = words[row - 1] if len(self._hosted) == 3 else words[row]
                own = words[row] if len(self._hosted) == 3 else words[row + 1]
                zero[:, row] = self._backend.sub(own, before, self._modulus)
            return (zero,)

        def n_bytes() -> int:
            return 6 * math.prod(shape) * dtype.itemsize

        self._keys.check_process()
        (zero,) = self._pool.take(("zero", shape), make, n_bytes)
        return zero

    def draw(self, target: Array, first: int, second: int, purpose: str) -> Array:
        """Fill an array with uniform words of a key that two parties have in common.

        Where neither is hosted here nobody knows the words, and nobody uses the zeros instead.
        """
        if not self.hosts(first, second):
            target[...] = 0
        elif target.flags.c_contiguous:
            self.prg(first, second, purpose).uniform(target.shape, self._modulus, out=target)
        else:
            target[...] = self.prg(first, second, purpose).uniform(target.shape, self._modulus)
        return target

    def prg(self, first: int, second: int, purpose: str) -> Prg:
        """Return the generator of a key that two parties have in common for one purpose."""
        label = f"{first},{second}/{purpose}"
        if label not in self._prgs:
            self._prgs[label] = self._keys.prg(label, self._backend)
        return self._prgs[label]


def _truncation(shape: tuple[int, ...], drop: int) -> Hashable:
    """Return what tells truncations whose masks serve each other."""
    return "truncation", shape, drop
