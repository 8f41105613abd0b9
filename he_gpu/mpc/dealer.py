"""The trusted dealer: correlated randomness for products and truncations, ahead of time.

Layer: mpc. The dealer takes shapes, public constants and keys, never an operand. Every party's
words come from a key that it shares with the dealer; only the last party is sent corrections.
Sources: Beaver, CRYPTO 1991; Dalskov, Escudero, Keller, PoPETs 2020 (truncation).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import count
from typing import Any, NamedTuple

from he_gpu.backend import Array, Backend, Kept, word_dtype
from he_gpu.mpc.operation import multiply, product_shape
from he_gpu.mpc.pool import Pool, Wanted
from he_gpu.mpc.scheme import Operation
from he_gpu.ring import KeyRing

_numbers = count()
MAX_NAME = 32
"""Parts of a name; a mask that is seen through more changes gets a number of its own."""


class DealerMask:
    """What the dealer knows of a mask.

    Attributes:
        total: the mask itself, (*shape).
        name: what tells it from every other mask: its number and, of a view, the changes since.
    """

    __slots__ = ("name", "total")

    def __init__(self, total: Kept, name: tuple[Hashable, ...] | None = None):
        self.total = total
        self.name = (next(_numbers),) if name is None else name

    def view(self, total: Kept, *change: Hashable) -> DealerMask:
        """Return the mask of a view, equal in name wherever mask and change are equal.

        Without a change, or after too many, it gets a name that no other mask has.
        """
        told = bool(change) and len(self.name) < MAX_NAME
        return DealerMask(total, (*self.name, change) if told else None)


class Correlation(NamedTuple):
    """Randomness for one product; the shares are stacks, absent ones None.

    Attributes:
        a: mask of the left operand, unless it brought its own.
        b: mask of the right operand, likewise.
        c: shares of a * b or a @ b, minus the truncation's mask where there is one.
        low: shares of what undoes the mask, see `definition.protocol.truncation_parts`.
        top: likewise.
    """

    a: Any
    b: Any
    c: Any
    low: Any
    top: Any


class Dealer:
    """Makes correlated randomness for n parties.

    Args:
        keys: where the keys shared with each party come from.
        backend: the device.
        modulus: 2**64 or 2**32.
        n_parties: of the whole protocol.
        hosted: the parties whose rows are kept here.
        name: of this dealer, in the labels of its keys.

    Attributes:
        bytes_sent: bytes of corrections handed out so far.
    """

    def __init__(
        self,
        keys: KeyRing,
        backend: Backend,
        modulus: int,
        n_parties: int,
        hosted: range,
        name: str = "dealer",
    ):
        self._backend = backend
        self._modulus = modulus
        self._dtype = word_dtype(modulus)
        self._n_parties = n_parties
        self._rows = slice(hosted.start, hosted.stop)
        self._prgs = [
            keys.prg(f"{name},{party}/correlation", backend) for party in range(n_parties)
        ]
        self._own = keys.prg(f"{name}/mask", backend)
        self._pool = Pool()
        self.bytes_sent = 0

    def expect(self, n_repeats: int, singly: bool = False) -> None:
        """Prepare n_repeats correlations of a kind whenever none is left; 0 ends this."""
        self._pool.expect(n_repeats, singly)

    def mask(self, shape: tuple[int, ...]) -> tuple[Array, DealerMask]:
        """Return shares of a uniform mask to keep, and the dealer's handle to it."""
        stack = self._draw(1, shape)
        total = self._backend.reconstruct(stack, self._modulus)
        return self._by_call(stack)[0], DealerMask(Kept(total[0]))

    def truncation(self, shape: tuple[int, ...], drop: int) -> tuple[Array, Array, Array]:
        """Return shares of minus a mask, and the parts that undo it; see `Correlation`."""

        def make(n: int) -> tuple[Array, ...]:
            return self._truncatable(self._backend.xp.zeros((n, *shape), self._dtype), drop)

        self._own.check_process()
        items: tuple[Array, Array, Array] = self._pool.take(
            ("truncation", shape, drop), make, lambda: self._bytes(3 * math.prod(shape))
        )
        self.bytes_sent += 3 * items[0][0].nbytes
        return items

    def product(
        self,
        operation: Operation,
        left: DealerMask | tuple[int, ...],
        right: DealerMask | tuple[int, ...] | None,
        drop: int,
    ) -> Correlation:
        """Return the correlation of one product.

        Args:
            operation: "mul", "matmul" or a convolution.
            left: handle of the mask that the left operand keeps, or the shape of a fresh one.
            right: likewise, with as many axes; None for the left operand once more: a square,
                whose correlation has no b.
            drop: bits that the truncation of the product drops, 0 for none.
        """
        self._own.check_process()  # a forked child must not take what its parent takes too
        named = isinstance(left, DealerMask) or isinstance(right, DealerMask)
        items = self._pool.take(*self._wanted(operation, left, right, drop), named)
        self.bytes_sent += (3 if drop else 1) * items[2][0].nbytes
        return Correlation(*items)

    def products_ahead(
        self, products: Sequence[tuple[DealerMask, tuple[int, ...], int]], n_steps: int
    ) -> tuple[int, list[Correlation]]:
        """Return what the matrix products of this step and some after it take, made in one go.

        Args:
            products: of each the mask that its left operand keeps, the shape of its right one and
                the bits to drop, which are some; a step asks `product` for them in this order, and
                for nothing else.
            n_steps: the most steps; 0 only makes the correlations that `product` will return.

        Returns:
            How many steps, perhaps 0; and of each product the correlations, steps first.
        """
        self._own.check_process()
        wanted = [self._wanted("matmul", *product) for product in products]
        n, items = self._pool.take_ahead(wanted, n_steps, named=True)
        correlations = [Correlation(*fields) for fields in items]
        self.bytes_sent += sum(3 * each.c[:, 0].nbytes for each in correlations)
        return n, correlations

    def sum_of_products(
        self, pairs: Sequence[tuple[DealerMask, DealerMask]], drop: int
    ) -> tuple[Array, Array, Array]:
        """Return c, low and top for a sum of elementwise products of kept masks.

        They are never made in bulk: a mask belongs to one value.
        """
        self._own.check_process()
        modulus, total = self._modulus, None
        for a, b in pairs:
            product = self._backend.mul(a.total.words, b.total.words, modulus)
            total = product if total is None else self._backend.add(total, product, modulus)
        c, low, top = (parts[0] for parts in self._truncatable(total[None], drop))  # type: ignore[index]
        self.bytes_sent += 3 * c[0].nbytes
        return c, low, top

    def _wanted(
        self,
        operation: Operation,
        left: DealerMask | tuple[int, ...],
        right: DealerMask | tuple[int, ...] | None,
        drop: int,
    ) -> Wanted:
        """Return what the pool must know of the correlations of a product; see `product`."""

        def make(n: int) -> tuple[Any, ...]:
            a, a_total = self._operand(left, n)
            b, b_total = ([None] * n, a_total) if right is None else self._operand(right, n)
            c_total = multiply(self._backend, operation, a_total, b_total, self._modulus)
            if isinstance(left, DealerMask) and not isinstance(right, tuple):
                c_total = self._backend.xp.broadcast_to(c_total, (n, *c_total.shape))
            if drop:
                return a, b, *self._truncatable(c_total, drop)
            return a, b, self._by_call(self._split(c_total)), [None] * n, [None] * n

        def n_bytes() -> int:
            return self._bytes(_product_words(operation, left, right, drop > 0))

        return (operation, _name(left), _name(right), drop), make, n_bytes

    def _bytes(self, n_words: int) -> int:
        """Return the bytes of so many words of every party."""
        return n_words * self._n_parties * self._dtype.itemsize

    def _operand(self, mask: DealerMask | tuple[int, ...], n: int) -> tuple[Any, Kept]:
        if isinstance(mask, DealerMask):
            return [None] * n, mask.total
        stack = self._draw(n, mask)
        return self._by_call(stack), Kept(self._backend.reconstruct(stack, self._modulus))

    def _split(self, total: Array) -> Array:
        """Return shares of words that the dealer knows: (n, *shape) -> (n_parties, n, *shape)."""
        stack = self._backend.empty((self._n_parties, *total.shape), self._dtype)
        self._split_rest(stack, total, 0)
        return stack

    def _split_rest(self, stack: Array, rest: Array, first: int) -> None:
        """Draw the shares of all parties from `first` on but the last, which gets the rest."""
        last = stack[-1, ...]
        for share, prg in zip(stack[first:-1], self._prgs[first:-1], strict=True):
            stream = prg.stream(share.shape, self._modulus)
            self._backend.split(rest, stream, share, last, self._modulus)
            rest = last

    def _truncatable(self, total: Array, drop: int) -> tuple[Array, Array, Array]:
        """Return shares of words minus a fresh mask, and of the parts that undo it."""
        shape = (self._n_parties, *total.shape)
        stacks = [self._backend.empty(shape, self._dtype) for _ in range(3)]
        streams = [self._own.stream(total.shape, self._modulus)]
        streams += [self._prgs[0].stream(total.shape, self._modulus) for _ in stacks]
        halves = [(stack[0, ...], stack[-1, ...]) for stack in stacks]
        self._backend.split_truncated(total, tuple(streams), *halves, drop)
        for stack in stacks:
            self._split_rest(stack, stack[-1, ...], 1)
        c, low, top = (self._by_call(stack) for stack in stacks)
        return c, low, top

    def _draw(self, n: int, shape: tuple[int, ...]) -> Array:
        """Return (n_parties, n, *shape), each row drawn from its party's key."""
        stack = self._backend.empty((self._n_parties, n, *shape), self._dtype)
        for row, prg in zip(stack, self._prgs, strict=True):
            prg.uniform((n, *shape), self._modulus, out=row)
        return stack

    def _by_call(self, stack: Array) -> Array:
        """Return (n, hosted parties, *shape): one contiguous stack for each call."""
        stacks = self._backend.xp.moveaxis(stack[self._rows], 0, 1)
        if stacks.flags.c_contiguous:
            return stacks
        result = self._backend.empty(stacks.shape, stacks.dtype)
        result[...] = stacks
        return result


def _name(mask: DealerMask | tuple[int, ...] | None) -> Any:
    return ("kept", mask.name) if isinstance(mask, DealerMask) else mask


def _product_words(
    operation: Operation,
    left: DealerMask | tuple[int, ...],
    right: DealerMask | tuple[int, ...] | None,
    truncated: bool,
) -> int:
    """Return how many words each party holds of one product's correlation."""
    masks = (left, right)
    operands = left, left if right is None else right
    a, b = (m.total.shape if isinstance(m, DealerMask) else m for m in operands)
    result = product_shape(operation, tuple(a), tuple(b))
    fresh = sum(math.prod(mask) for mask in masks if isinstance(mask, tuple))
    return int(fresh + (3 if truncated else 1) * math.prod(result))
