"""Randomness that pairs of three parties have in common, for replicated sharing.

Layer: mpc. Every two parties have a key for each purpose, so their words need no message. Words
that no party here knows are never used and stand as 0. Never sees an operand.
Source: zero shares from pairwise keys as in Araki et al., CCS 2016.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from he_gpu.backend import Array, Backend, word_dtype
from he_gpu.mpc.pool import Pool
from he_gpu.ring import KeyRing, Prg

DEALER = 2
"""The party that deals for parties 0 and 1."""


class TruncationMasks(NamedTuple):
    """Uniform words for one truncation; parts that nobody here knows are 0.

    Attributes:
        hiding: (parties, *shape), u, v and -u - v for parties 0, 1 and 2, where 0 and 2 know u,
            and 1 and 2 know v.
        result: (parties + 1, *shape), with fresh words 0 and 2 of the result.
        choices: (1 or 2, *shape), known to 0 and 2; see `definition.replicated.deal_truncation`.
        parts: what that makes of them without the mask, where masks are made in bulk, or None.
    """

    hiding: Array
    result: Array
    choices: Array
    parts: Array | None


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

    def expect(self, n_repeats: int) -> None:
        """Make masks for n_repeats equal steps in bulk; 0 ends this."""
        self._pool.expect(n_repeats)

    def rows(self, word: int) -> list[int]:
        """Return the rows of a stack that keep a word."""
        return [
            row for row in range(len(self._hosted) + 1) if (self._hosted.start + row) % 3 == word
        ]

    def hosts(self, *parties: int) -> bool:
        """Tell whether one of the parties is hosted here."""
        return any(party in self._hosted for party in parties)

    def truncation_masks(self, shape: tuple[int, ...], drop: int) -> TruncationMasks:
        """Return masks for a truncation of words of a shape."""
        self._keys.check_process()  # a forked child must not take what its parent takes too
        kind = "truncation", shape, drop
        ready = self._pool.ready(kind)
        if ready is not None:
            return TruncationMasks(*ready)
        xp, hosted, dtype = self._backend.xp, self._hosted, word_dtype(self._modulus)
        n_choices = 1 if 2 * drop <= 8 * dtype.itemsize else 2

        def make(n: int) -> tuple[Any, ...]:
            hiding = self._backend.empty((n, len(self._hosted), *shape), dtype)
            result = self._backend.empty((n, len(self._hosted) + 1, *shape), dtype)
            choices = self._backend.empty((n, n_choices, *shape), dtype)
            for row, party in enumerate(hosted):
                if party != DEALER:
                    self.draw(hiding[:, row], party, DEALER, "hiding")
            if DEALER in hosted:
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
            for party, word in ((0, 0), (1, 2)):
                rows = self.rows(word)
                if rows:
                    self.draw(result[:, rows[0]], party, DEALER, "result")
                    for row in rows[1:]:
                        result[:, row] = result[:, rows[0]]
            self.draw(choices, 0, DEALER, "choices")
            if n == 1:
                return hiding, result, choices, [None]
            every = TruncationMasks(
                hiding, xp.moveaxis(result, 0, 1), xp.moveaxis(choices, 0, 1), None
            )
            parts = xp.moveaxis(self.parts(every, drop, None), 2, 0)
            return hiding, result, choices, parts

        def n_bytes() -> int:
            return 13 * math.prod(shape) * dtype.itemsize  # the same wherever parties are

        return TruncationMasks(*self._pool.take(kind, make, n_bytes))

    def parts(self, masks: TruncationMasks, drop: int, mask: Array | None) -> Array:
        """Return what undoes masks: with the mask that party 2 has, or without."""
        words = (masks.result[rows[0], ...] if rows else None for rows in map(self.rows, (0, 2)))
        # Who lacks the words lacks a part too, and is sent it.
        first, last = (masks.choices[0, ...] if word is None else word for word in words)
        return self._backend.deal_truncation(first, last, masks.choices, drop, mask)

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
