"""Sums of elementwise products with one truncation each, many of them in the same rounds.

Layer: mpc, what schemes are asked for. Every secret here has the same shape.
"""

from __future__ import annotations

from typing import NamedTuple

from he_gpu.backend import Array
from he_gpu.mpc.masked import Masked


class Operand:
    """A secret that takes part in several products, and its mask once it has been opened.

    A mask belongs to one value, which never changes, so it serves all its products.

    Args:
        stack: (rows, *shape).

    Attributes:
        stack: as given.
        masked: the form that a scheme which opens its operands keeps, or None before that.
    """

    __slots__ = ("masked", "stack")

    def __init__(self, stack: Array):
        self.stack = stack
        self.masked: Masked | None = None


class SumOfProducts(NamedTuple):
    """The value ``(sum(x * y) + added + constant) / 2**drop``.

    Attributes:
        pairs: the factors of each product; there may be none.
        added: a stack, or None; not None where there are no pairs. It may be
            overwritten, so it must be nobody's operand.
        constant: a public integer.
        drop: bits that the truncation drops, 0 < drop < k - 2.
    """

    pairs: tuple[tuple[Operand, Operand], ...]
    added: Array | None
    constant: int
    drop: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the secrets."""
        stack = self.pairs[0][0].stack if self.added is None else self.added
        return tuple(stack.shape[1:])
