"""Replicated sharing among three parties, one of whom may be corrupted; no dealer.

Layer: mpc. A word x is x_0 + x_1 + x_2 modulo 2^64 or 2^32, and party i holds x_i and x_{i+1}
(indices modulo 3). Sums are local; a product costs one word from each party. For truncation and
comparison party 2 deals for the other two: it knows the masks, and is never sent a masked word.
Sources: Araki et al., CCS 2016 (products); Mohassel and Rindal, ABY3, CCS 2018, and Dalskov,
Escudero, Keller, "Fantastic Four", USENIX Security 2021 (one party deals for the others).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from he_gpu.backend import Array, Backend, CrossProducts, Kept, descent_fits, word_dtype
from he_gpu.channel import Cost, LocalChannel, PairChannel
from he_gpu.mpc.additive import Additive
from he_gpu.mpc.masked import Masked, Reused
from he_gpu.mpc.operation import multiply_pair, product_shape
from he_gpu.mpc.pairwise import DEALER, Pairwise, TruncationMasks
from he_gpu.mpc.scheme import Operation, Scheme, public_words, step_weights
from he_gpu.mpc.sums import SumOfProducts
from he_gpu.ring import KeyRing

_OWN, _NEXT = slice(None, -1), slice(1, None)
"""The first and the second word of every party, as rows of a stack."""


class Replicated(Scheme):
    """2-out-of-3 replicated sharing.

    A stack has a row for each word that is kept here, in order: parties + 1 rows, of which party p
    holds rows p and p + 1; with all three parties the last row repeats the first.

    Args:
        keys: the session's keys.
        backend: the device.
        modulus: 2**64 or 2**32.
        channel: how the three parties talk.
    """

    name = "replicated"
    can_repeat = True
    n_parties = 3

    def __init__(self, keys: KeyRing, backend: Backend, modulus: int, channel: LocalChannel):
        self.backend = backend
        self.modulus = modulus
        self._channel = channel
        self._first = channel.parties.start
        self._n_hosted = len(channel.parties)
        self._pairwise = Pairwise(keys, backend, modulus, channel.parties)
        self._pair_channel = PairChannel(channel, 0)
        self._pair = Additive(keys, backend, modulus, self._pair_channel, dealer=f"{DEALER}")

    @property
    def cost(self) -> Cost:
        """Rounds and bytes so far; dealer_bytes is what party 2 deals for comparisons."""
        dealt = self._pair.cost.dealer_bytes
        return Cost(self._channel.rounds, self._channel.bytes_sent, dealt)

    def spent(self) -> list[int]:
        """Return the counters behind `cost`."""
        return self._pair.spent()

    def spend(self, amounts: Sequence[int]) -> None:
        """Add to these counters."""
        self._pair.spend(amounts)

    def shares(self, stack: Array) -> Array:
        """Return (parties, 2, *shape): the two words of each party."""
        return self.backend.xp.stack([stack[:-1], stack[1:]], axis=1)

    def expect(self, n_repeats: int, singly: bool = False) -> None:
        """Make masks for n_repeats equal steps in bulk."""
        self._pairwise.expect(n_repeats, singly)

    def share(self, words: Array, owner: int) -> Array:
        """Return fresh shares of words that the owner knows.

        One word comes from a key of the owner and the next party, one is the rest, which the owner
        sends to the third party, and the one that the owner lacks is 0.

        Args:
            words: (*shape) on the device.
            owner: index of the party that inputs them.

        Cost: 1 round; the owner sends one word.
        Leaks: nothing; to each other party the words that it gets are uniform.
        """
        following, third = (owner + 1) % 3, (owner + 2) % 3
        drawn = rest = None
        if self._pairwise.hosts(owner, following):
            drawn = self._pairwise.prg(owner, following, "input").uniform(words.shape, self.modulus)
        if self._pairwise.hosts(owner):
            rest = self.backend.sub(words, drawn, self.modulus)
        received = self._channel.transfer([(owner, third, rest)])[0]
        if rest is None:
            rest = received
        zero = self.backend.xp.zeros(words.shape, word_dtype(self.modulus))
        return self._stack({owner: rest, following: drawn, third: zero})

    def open(self, stack: Array) -> Array:
        """Reveal the words to every party.

        Cost: 1 round; each party sends one word.
        Leaks: the words, by intent, and nothing else.
        """
        messages = [
            (
                party,
                (party - 1) % 3,
                stack[party - self._first + 1] if self._pairwise.hosts(party) else None,
            )
            for party in range(3)
        ]
        received = self._channel.transfer(messages)
        total = self.backend.reconstruct(stack[:3], self.modulus)
        if self._n_hosted > 1:
            return total
        missing = received[(self._first + 1) % 3]
        return self.backend.add(total, missing, self.modulus)

    def mask(self, x: Array) -> Reused:
        """Return x for many products, which open nothing of it. Cost: none."""
        return Reused(Kept(x))

    def add_public(self, x: Array, public: Array) -> Array:
        """Return the stack of x plus public words that broadcast to its shape. Cost: none.

        They are added to word 1, which stands in one row wherever it is kept.
        """
        row = (1 - self._first) % 3
        result = x.copy()
        if row < len(x):
            target = result[row : row + 1]
            self.backend.add(x[row : row + 1], public, self.modulus, out=target)
        return result

    def product(
        self, operation: Operation, x: Array | Reused, y: Array | Reused, drop: int
    ) -> Array:
        """Return shares of ``x * y``, ``x @ y`` or conv(x, y), over 2**drop where drop > 0.

        Args:
            operation: "mul", "matmul" or a convolution, of images x with windows y.
            x: stack, or an operand of `mask`.
            y: likewise, with as many axes.
            drop: bits to drop, 0 <= drop < k - 2; with drop > 0 the signed product must satisfy
                -2**(k-2) <= v < 2**(k-2), which shares cannot check.

        Error: none for drop = 0; else floor or floor + 1, unbiased.
        Cost: 1 round in which each party sends one word of the product; with drop > 0 the cost of
            `truncate` instead.
        Leaks: nothing; words that are sent are uniform.
        Source: Araki et al., CCS 2016.
        """
        shape = product_shape(operation, _words(x).shape[1:], _words(y).shape[1:])
        if drop:
            balance = operation == "mul" and self._n_hosted == 3
            masks = self._pairwise.truncation_masks(shape, drop, balance)
            balance = balance and masks.parts is None
            own = self._cross(operation, x, y, masks.hiding, balance)
            return self._truncated(own, masks, drop)
        z = self._cross(operation, x, y, self._pairwise.zero_share(shape))
        messages = [
            (
                party,
                (party - 1) % 3,
                z[party - self._first] if self._pairwise.hosts(party) else None,
            )
            for party in range(3)
        ]
        last = self._channel.transfer(messages)[(self._first + self._n_hosted) % 3]
        return self.backend.xp.concatenate([z, last[None]])

    def sums_of_products(self, sums: Sequence[SumOfProducts]) -> list[Array]:
        """Return shares of each ``(sum(x * y) + added + constant) / 2**drop``.

        Args:
            sums: for each -2**(k-2) <= v < 2**(k-2) before the truncation.

        Error, Leaks: as `truncate`.
        Cost: 2 rounds; each party sends two words for each result.
        """
        hidden = []
        for each in sums:
            masks = self._pairwise.truncation_masks(each.shape, each.drop)
            z = masks.hiding
            for x, y in each.pairs:
                z = self._cross("mul", x.stack, y.stack, z)
            if each.added is not None:
                z = self.backend.add(each.added[:-1], z, self.modulus, out=z)
            if each.constant and 0 in self._channel.parties:
                word = self.backend.asarray(np.asarray(each.constant % self.modulus, z.dtype))
                self.backend.add(z[:1], word, self.modulus, out=z[:1])
            hidden.append((z, masks, each.drop))
        return self._all_truncated(hidden)

    def descend(
        self,
        w: Array,
        y: Array,
        forward: tuple[Array | Masked | Reused, int],
        backward: tuple[Array | Masked | Reused, int],
        n_steps: int,
    ) -> tuple[Array, int]:
        """Take steps ``w - G (F w - y)`` at once; see `Scheme.descend`.

        Some are taken where this process hosts every party, the ring is that of 2**64, the steps
        are small (`descent_fits`) and their masks made in bulk.

        Cost: for each step that of both products, 4 rounds.
        Error, Leaks: as `product`; the words are bit for bit those of the single operations.
        """
        if self.modulus != 2**64 or not descent_fits(3, y.shape[1], *w.shape[1:]):
            return w, 0
        (F, predicted), (G, corrected) = ((_words(x), drop) for x, drop in (forward, backward))
        truncations = (tuple(y.shape[1:]), predicted), (tuple(w.shape[1:]), corrected)
        together = n_steps if self._n_hosted == 3 else 0
        n, masks = self._pairwise.truncations_ahead(truncations, together)
        if not n:
            return w, 0
        predict = CrossProducts(F, *masks[0], predicted)
        correct = CrossProducts(G, *masks[1], corrected)
        # Of each word of both products a party sends two.
        self._channel.count(4 * n, n * 2 * (w[0].nbytes + y[0].nbytes))
        return self.backend.descend_replicated(w, y, predict, correct), n

    def truncate(self, x: Array, drop: int) -> Array:
        """Return shares of x / 2**drop.

        Parties 0 and 1 open x less a mask to each other; the mask is what party 2 holds of x after
        the three have hidden their words by keys of 0 and 2 and of 1 and 2. Party 2 deals the parts
        that undo it, and the two share the result anew.

        Args:
            x: stack of signed words, -2**(k-2) <= x < 2**(k-2), which shares cannot check.
            drop: 0 < drop < k - 2.

        Error: floor or floor + 1, always; the latter with the probability of the dropped fraction.
        Cost: 2 rounds; each party sends two words.
        Leaks: nothing: party 2 receives nothing, the others words that they could have made up:
            uniform ones, but for the second that party 2 deals, a uniform multiple of
            2**(k - drop), and the low k - drop bits of party 0's last word, which follow from the
            word opened before. If the result is revealed, also on which side of the mask's
            dropped bits the value's fell.
        Source: the mask as in Dalskov, Escudero, Keller, PoPETs 2020; one party as the dealer as in
            ABY3, section 5.1.
        """
        masks = self._pairwise.truncation_masks(x.shape[1:], drop)
        own = self.backend.add(x[:-1], masks.hiding, self.modulus)
        return self._truncated(own, masks, drop)

    def mul_public(self, x: Array, public: Array, drop: int = 0) -> Array:
        """Return shares of x times public words over 2**drop.

        Error, Cost, Leaks: as `truncate`; none of them for drop = 0.
        """
        if not drop:
            return super().mul_public(x, public)
        shape = np.broadcast_shapes(x.shape[1:], public.shape)
        masks = self._pairwise.truncation_masks(shape, drop)
        own = self.backend.mul(x[:-1], public, self.modulus)
        own = self.backend.add(own, masks.hiding, self.modulus, out=own)
        return self._truncated(own, masks, drop)

    def below(self, x: Array, thresholds: Array) -> Array:
        """Return shares of the integers 1 where x < t and 0 elsewhere; see `Additive.below`.

        Error: none.
        Cost: that of `Additive.below` between parties 0 and 1, and 1 round in which each of them
            sends a word of the result; party 2 deals what the dealer does there.
        Leaks: nothing; words that are sent are uniform, and party 2 receives none.
        """
        shape = (len(thresholds), *x.shape[1:])
        return self._by_pair(lambda words: self._pair.below(words, thresholds), x, shape)

    def steps(self, x: Array, thresholds: Sequence[int], values: Sequence[Sequence[int]]) -> Array:
        """Return shares of public step functions of x; see `Scheme.steps`.

        Cost: as `below` with these thresholds, but where there are fewer functions, a word of each
            of these in the last round.
        Error, Leaks: as `below`.
        """
        if len(values) > len(thresholds):
            weights, constants = step_weights(thresholds, values)
            ends = public_words(thresholds, self.modulus)
            bits = self.below(x, ends.reshape(-1, *(1,) * (x.ndim - 1)))
            each = [bits[:, index] for index in range(len(thresholds))]
            parts = [self.weighted_sum(each, row) for row in weights]
            words = [self.backend.asarray(word) for word in public_words(constants, self.modulus)]
            both = zip(parts, words, strict=True)
            return self.backend.stack([self.add_public(*pair) for pair in both], 1)
        shape = (len(values), *x.shape[1:])
        return self._by_pair(lambda words: self._pair.steps(words, thresholds, values), x, shape)

    def is_zero(self, x: Array) -> Array:
        """Return shares of the integers 1 where x = 0 and 0 elsewhere.

        Error, Cost, Leaks: as `below`, with `Additive.is_zero`.
        """
        return self._by_pair(lambda words: self._pair.is_zero(words), x, x.shape[1:])

    def positive_part(self, x: Array) -> Array:
        """Return shares of max(x, 0).

        Error, Cost, Leaks: as `below`, with `Additive.positive_part`.
        """
        return self._by_pair(lambda words: self._pair.positive_part(words), x, x.shape[1:])

    def beyond(self, x: Array, low: Array, high: Array) -> Array:
        """Return shares of max(low - x, 0) and max(x - high, 0); see `Scheme.beyond`.

        Error, Cost, Leaks: as `below`, with `Additive.beyond`.
        """
        shape = (2, *x.shape[1:])
        return self._by_pair(lambda words: self._pair.beyond(words, low, high), x, shape)

    def largest(self, x: Array, smallest: bool = False) -> Array:
        """Return shares of the largest along axis 1; see `Scheme.largest`.

        Error, Cost, Leaks: as `below`, with `Additive.largest`.
        """
        shape = x.shape[2:]
        return self._by_pair(lambda words: self._pair.largest(words, smallest), x, shape)

    def _cross(
        self,
        operation: Operation,
        x: Array | Reused,
        y: Array | Reused,
        add: Array,
        balance: bool = False,
    ) -> Array:
        """Return each party's share of a product, (parties, *shape), plus ``add``, used up.

        To balance, party 2's row of ``add`` is made here of the other two. Of two operands that
        `mask` gave, what a device makes of the smaller one is kept.
        """
        if operation == "mul":
            x, y = _words(x), _words(y)
            if self._n_hosted == 3:  # the last row repeats the first
                x, y = x[:3], y[:3]
            return self.backend.cross_multiply(x, y, add, out=add, balance=balance)
        if isinstance(x, Reused) and isinstance(y, Reused):
            if x.stack.n_words < y.stack.n_words:
                y = y.stack.words
            else:
                x = x.stack.words
        if isinstance(y, Reused):
            both = self.backend.add(x[:-1], x[1:], self.modulus)
            pair = (both, y.stack.part(_OWN)), (x[:-1], y.stack.part(_NEXT))
        else:
            both = self.backend.add(y[:-1], y[1:], self.modulus)
            part = x.stack.part if isinstance(x, Reused) else x.__getitem__
            pair = (part(_OWN), both), (part(_NEXT), y[:-1])
        return multiply_pair(self.backend, operation, *pair, self.modulus, add)

    def _truncated(self, z: Array, masks: TruncationMasks, drop: int) -> Array:
        """Return the truncated value of three hidden shares z, (parties, *shape)."""
        return self._all_truncated([(z, masks, drop)])[0]

    def _all_truncated(self, hidden: Sequence[tuple[Array, TruncationMasks, int]]) -> list[Array]:
        """Return the truncated values of hidden shares, each with its masks and drop."""
        hosted, messages, dealt = self._channel.parties, [], []
        for z, (_, result, parts), drop in hidden:
            own = [z[party - self._first, ...] if party in hosted else None for party in range(3)]
            choices = last = None
            if result is None:
                result, parts, choices = self._pairwise.deal(z.shape[1:], drop, own[DEALER])
            elif DEALER in hosted and parts is not None:
                self.backend.deal_mask(parts[:, 1], own[DEALER], drop)
            if DEALER in hosted and parts is not None:
                last = parts[:, -1]
            messages += [(0, 1, own[0]), (1, 0, own[1]), (DEALER, 1, last)]
            dealt.append((result, parts, choices, drop))
        received = self._channel.transfer(messages)
        results = [result for result, *_ in dealt]
        pair = self._pair_channel.parties
        if not pair:
            return results
        partials, lead, row = [], int(0 in pair), (1 - self._first) % 3
        for index, (result, parts, choices, drop) in enumerate(dealt):
            from_first, from_second, from_dealer = received[3 * index : 3 * index + 3]
            if from_first is None:
                from_first = messages[3 * index][2]
            if from_second is None:
                from_second = messages[3 * index + 1][2]
            if self._n_hosted < 3:  # party 0 makes its part, party 1 takes what it was dealt
                rows = [parts[:, 0]] if lead and choices is None and parts is not None else []
                rows += [from_dealer] if 1 in pair else []
                parts = self.backend.xp.stack(rows, axis=1) if rows else None
            words = from_first, from_second, parts, drop, lead, choices if lead else None
            partials.append(self.backend.choose_truncation(*words, out=result[row, ...]))
        exchanged = self._pair_channel.exchange(partials, self.modulus)
        for result, partial, word in zip(results, partials, exchanged, strict=True):
            if word is not partial:
                result[row] = word
        return results

    def _by_pair(
        self, function: Callable[[Array], Array], x: Array, shape: tuple[int, ...]
    ) -> Array:
        """Let parties 0 and 1 compute on additive shares, and share the result anew.

        Party 0 takes x_0 + x_1 for its share and party 1 x_2.
        """
        xp, pair = self.backend.xp, self._pair_channel.parties
        result = self.backend.empty((self._n_hosted + 1, *shape), x.dtype)
        fresh = {}
        for party, word in ((0, 0), (1, 2)):
            rows = self._pairwise.rows(word)
            if rows:
                fresh[party] = self._pairwise.draw(result[rows[0], ...], party, DEALER, "result")
                for row in rows[1:]:
                    result[row] = result[rows[0]]
        if not pair:
            return result
        own = []
        if 0 in pair:
            own.append(self.backend.add(x[0], x[1], self.modulus))
        if 1 in pair:
            own.append(x[2 - self._first])
        shares = function(xp.stack(own))
        partial = self.backend.reconstruct(shares, self.modulus)
        for party in pair:
            partial = self.backend.sub(partial, fresh[party], self.modulus)
        (word,) = self._pair_channel.exchange([partial], self.modulus)
        result[(1 - self._first) % 3] = word
        return result

    def _stack(self, words: dict[int, Array | None]) -> Array:
        """Return a stack of the words that are kept here, by their index."""
        kept = [words[(self._first + row) % 3] for row in range(self._n_hosted + 1)]
        return self.backend.xp.stack(kept)


def _words(x: Array | Masked | Reused) -> Array:
    """Return the stack of an operand."""
    return x.stack.words if isinstance(x, Reused) else x
