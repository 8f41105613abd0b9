"""An operand masked and opened once, for use in many products; or one that needs no mask for it.

Layer: mpc. The opened word is x - a for a mask a that belongs to this one immutable value. What is
seen of x otherwise (transposed, indexed, scaled by a public integer) is seen of the mask and of the
opened words alike: nothing is opened anew, and an element that occurs several times is still one
value under one mask.
Source: the reuse of one Beaver mask per operand, as in SecureML (Mohassel and Zhang, S&P 2017,
section IV.A), where the data matrix is masked once for all steps of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from he_gpu.backend import Array, Backend, Kept
from he_gpu.mpc.dealer import DealerMask


class Masked(NamedTuple):
    """A secret x with its mask a and the opened difference d = x - a.

    What a device makes of these for its matrix products is made once, see `Kept`.

    Attributes:
        stack: (parties, *shape), the shares of x.
        mask: (parties, *shape), the shares of a.
        opened: (*shape), public d.
        handle: what the dealer knows of a.
    """

    stack: Kept
    mask: Kept
    opened: Kept
    handle: DealerMask

    def transposed(self) -> Masked:
        """Return the same operand with its last two axes swapped."""
        return Masked(
            self.stack.transposed(),
            self.mask.transposed(),
            self.opened.transposed(),
            self.handle.view(self.handle.total.transposed(), "transposed"),
        )

    def viewed(self, change: Callable[[Array], Array], *name: Hashable) -> Masked:
        """Return the same operand seen through a change of its axes.

        Args:
            change: moves, drops or repeats elements, of arrays that have these axes last, whatever
                axes stand before them.
            name: what tells this change from every other; none where nobody will ask for the same
                one again.
        """
        return Masked(
            Kept(change(self.stack.words)),
            Kept(change(self.mask.words)),
            Kept(change(self.opened.words)),
            self.handle.view(Kept(change(self.handle.total.words)), *name),
        )

    def scaled(self, factor: Array, backend: Backend, modulus: int) -> Masked:
        """Return the operand times a public integer, a 0-d NumPy word of the ring."""
        word = backend.asarray(factor)

        def times(kept: Kept) -> Kept:
            return Kept(backend.mul(kept.words, word, modulus))

        return Masked(
            times(self.stack),
            times(self.mask),
            times(self.opened),
            self.handle.view(times(self.handle.total), "scaled", int(factor)),
        )


class Reused(NamedTuple):
    """A secret in many products of a scheme that opens no operand.

    What a device makes of it for its matrix products is made once, see `Kept`.

    Attributes:
        stack: the shares, rows by shape.
    """

    stack: Kept

    def transposed(self) -> Reused:
        """Return the same operand with its last two axes swapped."""
        return Reused(self.stack.transposed())

    def viewed(self, change: Callable[[Array], Array], *name: Hashable) -> Reused:
        """Return the same operand seen through a change of its axes; see `Masked.viewed`."""
        return Reused(Kept(change(self.stack.words)))

    def scaled(self, factor: Array, backend: Backend, modulus: int) -> Reused:
        """Return the operand times a public integer, a 0-d NumPy word of the ring."""
        return Reused(Kept(backend.mul(self.stack.words, backend.asarray(factor), modulus)))
