"""Additive sharing among n parties, n - 1 of whom may collude, with a trusted dealer.

Layer: mpc. A word x is x_0 + ... + x_{n-1} modulo 2^64 or 2^32. Sums are local; products open both
operands minus masks; truncation opens the value minus a mask.
Sources: Beaver, CRYPTO 1991; Dalskov, Escudero, Keller, PoPETs 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from he_gpu.backend import Array, Backend, Kept, Products, descent_fits, word_dtype
from he_gpu.channel import Cost, LocalChannel, PairChannel
from he_gpu.mpc.bit_dealer import BitDealer
from he_gpu.mpc.comparison import Comparison
from he_gpu.mpc.dealer import DealerMask
from he_gpu.mpc.masked import Masked, Reused
from he_gpu.mpc.operation import multiply_pair
from he_gpu.mpc.scheme import Operation, Scheme
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring import KeyRing, Prg


class Additive(Scheme):
    """n-out-of-n additive sharing.

    Args:
        keys: the session's keys.
        backend: the device.
        modulus: 2**64 or 2**32.
        channel: how the parties talk.
        dealer: name of the one who deals, for its keys.
    """

    name = "additive"
    can_repeat = True

    def __init__(
        self,
        keys: KeyRing,
        backend: Backend,
        modulus: int,
        channel: LocalChannel | PairChannel,
        dealer: str = "dealer",
    ):
        self.backend = backend
        self.modulus = modulus
        self.n_parties = channel.n_parties
        self.lead = int(0 in channel.parties)
        self._keys = keys
        self._channel = channel
        self._inputs: dict[tuple[int, int], Prg] = {}
        self._dealer = BitDealer(keys, backend, modulus, channel.n_parties, channel.parties, dealer)
        self._comparison = Comparison(backend, modulus, channel, self._dealer, channel.parties)

    @property
    def cost(self) -> Cost:
        """Rounds and bytes so far."""
        return Cost(self._channel.rounds, self._channel.bytes_sent, self._dealer.bytes_sent)

    def spent(self) -> list[int]:
        """Return the counters behind `cost`."""
        return [self._dealer.bytes_sent, *self._channel.spent()]

    def spend(self, amounts: Sequence[int]) -> None:
        """Add to these counters."""
        self._dealer.bytes_sent += amounts[0]
        self._channel.spend(amounts[1:])

    def expect(self, n_repeats: int, singly: bool = False) -> None:
        """Let the dealer make correlations for n_repeats equal steps in bulk."""
        self._dealer.expect(n_repeats, singly)

    def share(self, words: Array, owner: int) -> Array:
        """Return fresh shares of words that the owner knows.

        Args:
            words: (*shape) on the device.
            owner: index of the party that inputs them.

        Cost: none online: each other party's share comes from a key that it has with the owner,
            and the owner keeps the rest.
        Leaks: nothing; n - 1 shares are uniform.
        """
        parties = self._channel.parties
        shape, dtype = words.shape, word_dtype(self.modulus)
        stack = self.backend.empty((len(parties), *shape), dtype)
        if owner not in parties:
            for row, party in enumerate(parties):
                self._input_prg(owner, party).uniform(shape, self.modulus, out=stack[row, ...])
            return stack
        rest = stack[owner - parties.start, ...]
        for party in range(self.n_parties):
            if party == owner:
                continue
            hosted = party in parties
            share = (
                stack[party - parties.start, ...] if hosted else self.backend.empty(shape, dtype)
            )
            stream = self._input_prg(owner, party).stream(shape, self.modulus)
            self.backend.split(words, stream, share, rest, self.modulus)
            words = rest
        return stack

    def open(self, stack: Array) -> Array:
        """Reveal the words to every party.

        Cost: 1 round; each party sends its share to the n - 1 others.
        Leaks: the words, by intent, and nothing else.
        """
        partial = self.backend.reconstruct(stack, self.modulus)
        return self._channel.exchange([partial], self.modulus)[0]

    def mask(self, x: Array) -> Masked:
        """Mask and open x once, for many products.

        Cost: 1 round; each party sends its words to the n - 1 others.
        Leaks: nothing; the opened words are uniform.
        """
        mask, handle = self._dealer.mask(x.shape[1:])
        partial = self.backend.open_masked(x, mask)
        opened = self._channel.exchange([partial], self.modulus)[0]
        return Masked(Kept(x), Kept(mask), Kept(opened), handle)

    def product(
        self, operation: Operation, x: Array | Masked, y: Array | Masked, drop: int
    ) -> Array:
        """Return shares of ``x * y``, ``x @ y`` or conv(x, y), over 2**drop where drop > 0.

        Args:
            operation: "mul", "matmul" or a convolution, of images x with windows y.
            x: stack, or an operand masked before.
            y: likewise, with as many axes. Where "mul" is given one stack twice, it takes one mask.
            drop: bits to drop, 0 <= drop < k - 2; with drop > 0 the signed product must satisfy
                -2**(k-2) <= v < 2**(k-2), which shares cannot check.

        Error: none for drop = 0; else floor or floor + 1, unbiased.
        Cost: 1 round for the operands not masked before, whose words each party sends to the
            others, those of a square once; with drop > 0 one more round and the product's words.
            The dealer sends one word of the product, three with drop > 0.
        Leaks: nothing; opened words are uniform.
        Source: Beaver, CRYPTO 1991; truncation fused as in Dalskov, Escudero, Keller 2020.
        """
        left: DealerMask | tuple[int, ...] = (
            x.handle if isinstance(x, Masked) else tuple(x.shape[1:])
        )
        right: DealerMask | tuple[int, ...] | None = (
            y.handle if isinstance(y, Masked) else tuple(y.shape[1:])
        )
        square = operation == "mul" and x is y and not isinstance(x, Masked)
        if square:
            right = None
        a, b, c, low, top = self._dealer.product(operation, left, right, drop)
        partials = []
        if not isinstance(x, Masked):
            partials.append(self.backend.open_masked(x, a))
        if not isinstance(y, Masked) and not square:
            partials.append(self.backend.open_masked(y, b))
        opened = iter(self._channel.exchange(partials, self.modulus) if partials else ())
        d, a = (x.opened, x.mask) if isinstance(x, Masked) else (next(opened), a)
        if square:
            e = d
        else:
            e, y = (y.opened, y.stack) if isinstance(y, Masked) else (next(opened), y)
        # d y + a e + c = (x - a) y + a (y - b) + a b = x y, less the truncation's mask.
        if operation != "mul":
            pair = (d, y), (a, e)
            z = multiply_pair(self.backend, operation, *pair, self.modulus, c, total=drop > 0)
        else:
            d, y, a, e = (v.words if isinstance(v, Kept) else v for v in (d, y, a, e))
            z = self.backend.beaver_combine(d, y, a, e, c, total=drop > 0)
        if not drop:
            return z
        masked = self._channel.exchange([z], self.modulus)[0]
        return self.backend.truncate_finish(masked, low, top, drop, self.lead)

    def sums_of_products(self, sums: Sequence[SumOfProducts]) -> list[Array]:
        """Return shares of each ``(sum(x * y) + added + constant) / 2**drop``.

        Args:
            sums: for each -2**(k-2) <= v < 2**(k-2) before the truncation.

        Error: floor or floor + 1, unbiased.
        Cost: 1 round for the factors not masked before, if there are any, each of whose words is
            sent once however many products it has; 1 round and one word for each result. The
            dealer sends three words for each result.
        Leaks: nothing; opened words are uniform.
        Source: Beaver, CRYPTO 1991, with one mask for each operand; truncation fused as in
            Dalskov, Escudero, Keller 2020.
        """
        backend, modulus = self.backend, self.modulus
        factors = {id(x): x for each in sums for pair in each.pairs for x in pair}
        fresh = [x for x in factors.values() if x.masked is None]
        if fresh:
            masks = [self._dealer.mask(x.stack.shape[1:]) for x in fresh]
            partials = [
                backend.open_masked(x.stack, a) for x, (a, _) in zip(fresh, masks, strict=True)
            ]
            opened = self._channel.exchange(partials, modulus)
            for x, (a, handle), d in zip(fresh, masks, opened, strict=True):
                x.masked = Masked(Kept(x.stack), Kept(a), Kept(d), handle)
        partials, undoing = [], []
        for each in sums:
            pairs = [(_masked(x), _masked(y)) for x, y in each.pairs]
            if not pairs:
                z, low, top = self._dealer.truncation(each.shape, each.drop)
                partials.append(backend.open_scaled(each.added, z))
            else:
                handles = [(x.handle, y.handle) for x, y in pairs]
                z, low, top = self._dealer.sum_of_products(handles, each.drop)
                if each.added is not None:
                    z = backend.add(z, each.added, modulus, out=z)
                for index, (left, right) in enumerate(pairs):
                    kept = left.opened, right.stack, left.mask, right.opened
                    words = (v.words for v in kept)
                    last = index == len(pairs) - 1
                    z = backend.beaver_combine(*words, z, total=last)
                partials.append(z)
            undoing.append((low, top))
        results = []
        opened = self._channel.exchange(partials, modulus)
        for each, z, (low, top) in zip(sums, opened, undoing, strict=True):
            if each.constant:
                word = np.asarray(each.constant % modulus, z.dtype)
                z = backend.add(z, backend.asarray(word), modulus)
            results.append(backend.truncate_finish(z, low, top, each.drop, self.lead))
        return results

    def descend(
        self,
        w: Array,
        y: Array,
        forward: tuple[Array | Masked | Reused, int],
        backward: tuple[Array | Masked | Reused, int],
        n_steps: int,
    ) -> tuple[Array, int]:
        """Take steps ``w - G (F w - y)`` at once; see `Scheme.descend`.

        Some are taken where this process hosts every party, the ring is that of 2**64, both
        matrices are masked, the steps small (`descent_fits`) and their correlations made in bulk.

        Cost: for each step that of both products, 4 rounds.
        Error, Leaks: as `product`; the shares are bit for bit those of the single operations.
        """
        fits = descent_fits(self.n_parties, y.shape[1], *w.shape[1:])
        halves = [
            (matrix, drop, tuple(x.shape[1:]))
            for (matrix, drop), x in ((forward, w), (backward, y))
            if isinstance(matrix, Masked)
        ]
        if self.modulus != 2**64 or not fits or len(halves) < 2:
            return w, 0
        channel = self._channel
        together = isinstance(channel, LocalChannel) and len(channel.parties) == self.n_parties
        products = [(matrix.handle, shape, drop) for matrix, drop, shape in halves]
        n, correlations = self._dealer.products_ahead(products, n_steps if together else 0)
        if not n or not isinstance(channel, LocalChannel):
            return w, 0
        predict, correct = (
            Products(matrix.opened.words, matrix.mask.words, *each[1:], drop)
            for (matrix, drop, _), each in zip(halves, correlations, strict=True)
        )
        # A step opens both right operands, less their masks, and both products.
        channel.count(4 * n, n * 2 * (w[0].nbytes + y[0].nbytes) * (self.n_parties - 1))
        return self.backend.descend(w, y, predict, correct), n

    def truncate(self, x: Array, drop: int) -> Array:
        """Return shares of x / 2**drop.

        Args:
            x: stack of signed words, -2**(k-2) <= x < 2**(k-2), which shares cannot check.
            drop: 0 < drop < k - 2.

        Error: floor or floor + 1, always; the latter with the probability of the dropped fraction.
        Cost: 1 round; each party sends its words to the n - 1 others; the dealer sends three words
            for each.
        Leaks: nothing; if the result is revealed, also on which side of the mask's dropped bits
            the value's fell.
        Source: Dalskov, Escudero, Keller, PoPETs 2020.
        """
        return self._truncate(x, None, tuple(x.shape[1:]), drop)

    def mul_public(self, x: Array, public: Array, drop: int = 0) -> Array:
        """Return shares of x times public words over 2**drop, the product opened as it is made.

        Error, Cost, Leaks: as `truncate`; none of them for drop = 0.
        """
        if not drop:
            return super().mul_public(x, public)
        shape = np.broadcast_shapes(x.shape[1:], public.shape)
        return self._truncate(x, public, shape, drop)

    def below(self, x: Array, thresholds: Array) -> Array:
        """Return shares of the integers 1 where x < t and 0 elsewhere; see `Scheme.below`.

        Args:
            x: stack of signed words; -2**(k-1) <= x - t < 2**(k-1), which shares cannot check.
            thresholds: (n_thresholds, *t) public words.

        Error: none.
        Cost: 7 rounds modulo 2^64, 6 modulo 2^32. For n elements, T thresholds, W = ceil(n / 64)
            and N nodes of trees each party sends to each other one n words and 8 W (3 N + T) bytes,
            and the dealer 8 W (3 k / 2 + 2 N) bytes and n T words. N is k / 2 - 1 for each
            threshold, and less for several of one word each that agree in bits or have runs of
            zeros or ones: 94, not 372, for twelve powers of 16 modulo 2^64; see `carry_plan`.
        Leaks: nothing; opened words are uniform.
        """
        return self._comparison.below(x, thresholds)

    def steps(self, x: Array, thresholds: Sequence[int], values: Sequence[Sequence[int]]) -> Array:
        """Return shares of public step functions of x; see `Scheme.steps`.

        Cost: as `below` with these thresholds, however many functions there are; memory for the
            results alone.
        Error, Leaks: as `below`.
        """
        return self._comparison.steps(x, thresholds, values)

    def is_zero(self, x: Array) -> Array:
        """Return shares of the integers 1 where x = 0 and 0 elsewhere.

        Cost: 7 rounds modulo 2^64, 6 modulo 2^32. For n elements and W = ceil(n / 64) each party
            sends to each other one n words and 8 W (k - 1) bytes, and the dealer 8 W (2 k - 1)
            bytes and n words.
        Error, Leaks: as `below`.
        """
        return self._comparison.is_zero(x)

    def positive_part(self, x: Array) -> Array:
        """Return shares of max(x, 0).

        Cost: as `below` with one threshold, and n more words from the dealer.
        Error, Leaks: as `below`.
        """
        return self._comparison.positive_part(x)

    def beyond(self, x: Array, low: Array, high: Array) -> Array:
        """Return shares of max(low - x, 0) and max(x - high, 0); see `Scheme.beyond`.

        Cost: as `below` with both thresholds, and 2 n more words from the dealer.
        Error, Leaks: as `below`.
        """
        return self._comparison.beyond(x, low, high)

    def largest(self, x: Array, smallest: bool = False) -> Array:
        """Return shares of the largest along axis 1; see `Scheme.largest`.

        Error: none.
        Cost: for n rows of m elements, W = ceil(m / 64), P = n (n - 1) / 2 pairs and levels L =
            ceil(log2(n - 1)), 7 + L rounds modulo 2^64, 6 + L modulo 2^32. Each party sends to each
            other one n m words and 8 W (3 (k / 2 - 1) P + 2 n (n - 2) + n) bytes, and the dealer
            8 W ((5 k / 2 - 2) P + n (n - 2)) bytes and 128 n W words.
        Leaks: nothing; opened words are uniform.
        """
        return self._comparison.largest(x, smallest)

    def _truncate(self, x: Array, factor: Array | None, shape: tuple[int, ...], drop: int) -> Array:
        minus_mask, low, top = self._dealer.truncation(shape, drop)
        partial = self.backend.open_scaled(x, minus_mask, factor)
        opened = self._channel.exchange([partial], self.modulus)[0]
        return self.backend.truncate_finish(opened, low, top, drop, self.lead)

    def _input_prg(self, owner: int, party: int) -> Prg:
        pair = (owner, party)
        if pair not in self._inputs:
            self._inputs[pair] = self._keys.prg(f"{owner},{party}/input", self.backend)
        return self._inputs[pair]


def _masked(operand: Operand) -> Masked:
    """Return the masked form that an operand has by now."""
    if operand.masked is None:
        raise AssertionError("an operand of a product was not masked")
    return operand.masked
