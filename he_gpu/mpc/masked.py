"""An operand masked and opened once, for use in many products.

Layer: mpc. The opened word is x - a for a mask a that belongs to this one immutable value; views of
x (transposed, scaled by a public integer) have the same views of the mask.
Source: the reuse of one Beaver mask per operand, as in SecureML (Mohassel and Zhang, S&P 2017,
section IV.A), where the data matrix is masked once for all steps of the training.
"""

from __future__ import annotations

from typing import NamedTuple

from he_gpu.backend import Array, Backend
from he_gpu.mpc.dealer import DealerMask


class Masked(NamedTuple):
    """A secret x with its mask a and the opened difference d = x - a.

    Attributes:
        stack: (parties, *shape), the shares of x.
        mask: (parties, *shape), the shares of a.
        opened: (*shape), public d.
        handle: what the dealer knows of a.
    """

    stack: Array
    mask: Array
    opened: Array
    handle: DealerMask

    def transposed(self) -> Masked:
        """Return the same operand with its last two axes swapped."""
        return Masked(
            self.stack.swapaxes(-1, -2),
            self.mask.swapaxes(-1, -2),
            self.opened.swapaxes(-1, -2),
            self.handle.view(self.handle.total.swapaxes(-1, -2), "transposed"),
        )

    def reshaped(self, *shape: int) -> Masked:
        """Return the same operand in another shape."""
        return Masked(
            self.stack.reshape(self.stack.shape[0], *shape),
            self.mask.reshape(self.mask.shape[0], *shape),
            self.opened.reshape(shape),
            self.handle.view(self.handle.total.reshape(shape), "reshaped", shape),
        )

    def scaled(self, factor: Array, backend: Backend, modulus: int) -> Masked:
        """Return the operand times a public integer, a 0-d NumPy word of the ring."""
        word = backend.asarray(factor)
        return Masked(
            backend.mul(self.stack, word, modulus),
            backend.mul(self.mask, word, modulus),
            backend.mul(self.opened, word, modulus),
            self.handle.view(backend.mul(self.handle.total, word, modulus), "scaled", int(factor)),
        )
