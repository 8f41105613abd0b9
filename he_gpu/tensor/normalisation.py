"""Secret words brought into one short range, exactly, by secret powers of two.

Layer: tensor, above mpc, under `magnitudes` and `softmax`. One comparison with public thresholds,
all in one opening, tells in which of some intervals of equal ratio each word lies. Sums of these
bits with public integers are local: they select the power that scales a word into the range, and
whatever undoes it on the result. Never reads a secret.
Source: normalisation as in Catrina and Saxena, Financial Cryptography 2010, there bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.tensor.ordering import below

if TYPE_CHECKING:
    from he_gpu.session import Session

STEPS = {64: 4, 32: 2}
"""Logarithm of an interval's ratio by the word's bits. Twice as many thresholds spare 3 products of
the polynomial that follows, for about the same work, but take twice the memory; words of 32 bits
bear only polynomials of a low degree."""


def precision(modulus: int) -> int:
    """Return the fraction bits of u in [-1, 1] here, those that a `Polynomial` works with."""
    return (word_bits(modulus) - 3) // 2


class Ranges(NamedTuple):
    """Intervals that cover the words from 2**low up to 2**high.

    Interval j, counted from the top, is [2**(high - (j + 1) step), 2**(high - j step)); the last
    starts at 2**low.

    Attributes:
        low: the least word is 2**low.
        high: all words are below 2**high; at most k - 2.
        step: logarithm of the ratio.
    """

    low: int
    high: int
    step: int

    @classmethod
    def of_all(cls, modulus: int) -> Ranges:
        """Return the intervals of every positive word that a tensor may hold."""
        k = word_bits(modulus)
        return cls(0, k - 2, STEPS[k])

    @property
    def n_intervals(self) -> int:
        """How many there are."""
        return -(-(self.high - self.low) // self.step)

    @property
    def starts(self) -> list[int]:
        """For each from the top the exponent of its lower end, where t = 1."""
        return [max(self.low, self.high - (j + 1) * self.step) for j in range(self.n_intervals)]

    @property
    def ends(self) -> list[int]:
        """The upper ends of all but the highest, upwards."""
        return [2 ** (self.high - j * self.step) for j in range(self.n_intervals - 1, 0, -1)]


class Selector:
    """The intervals in which secret words lie, as bits that select public integers.

    Args:
        session: of the words.
        bits: stack (rows, thresholds, *shape) of [x < t], upwards; None without thresholds.
        floor: whether words below 2**low have an interval of their own.
        signed: whether negative words have intervals of their own, mirrored.
    """

    def __init__(self, session: Session, bits: Array | None, floor: bool, signed: bool):
        self._session = session
        self._bits = bits
        self._floor = floor
        self._signed = signed

    def select(self, values: Sequence[int], lowest: int = 0) -> Array:
        """Return the stack of values[j] for words of interval j.

        Args:
            values: for each interval, from the top; negative words of a signed selection get minus
                the value.
            lowest: for words below 2**low, where they have an interval of their own.

        Raises:
            AssertionError: there is one interval, so there are no bits.

        Error, Cost: none.
        """
        upwards = [*([lowest] if self._floor else []), *reversed(values)]
        if self._signed:
            upwards = [*(-value for value in values), *upwards]
        if (bits := self._bits) is None:
            raise AssertionError("select: one interval has nothing to select by")
        # x < t holds for every t above x, and the differences of their values add up.
        steps = [value - above for value, above in pairwise(upwards)]
        used = [index for index, step in enumerate(steps) if step] or [0]
        total = self._session.scheme.weighted_sum(
            [bits[:, index] for index in used], [steps[index] for index in used]
        )
        return plus(self._session, total, upwards[-1])


def normalised(
    session: Session, stack: Array, ranges: Ranges, floor: bool = True, signed: bool = False
) -> tuple[Array, Selector]:
    """Return words scaled into one range, and what selects by their intervals.

    With t = |x| / 2**start, which lies in [1, 2**step] for x in the interval from 2**start on,

        u = (t - 1 - 2**(step - 1)) / 2**(step - 1)

    lies in [-1, 1]: the range of t is [1, 1 + 2**step], half of whose width is a power of two.

    Args:
        session: of the words.
        stack: (rows, *shape) of words x.
        ranges: the intervals; without thresholds x may reach 2**low (1 + 2**step).
        floor: whether words below 2**low occur. These, and the negative ones unless signed, give
            u = -1 as t = 1 does.
        signed: whether negative words are scaled by their absolute value; only with a floor and
            low = 0.

    Returns:
        The stack of u with `precision` fraction bits, and the selector.

    Error: one unit of u.
    Cost: that of the scheme's `below` for the thresholds, and of its `sums_of_products` for one
        product; without thresholds none, or one truncation.
    Leaks: nothing.
    """
    scheme, fine = session.scheme, precision(session.modulus)
    least = 2 ** (ranges.high - ranges.step)  # where t = 1
    middle, drop = least + 2 ** (ranges.high - 1), ranges.high - 1 - fine
    ends = [*([2**ranges.low] if floor else []), *ranges.ends]
    if not ends:
        centred = plus(session, stack, -middle)
        return _divided(session, centred, drop), Selector(session, None, False, False)
    if signed:
        ends = [*(1 - end for end in reversed(ends)), *ends]
    thresholds = np.asarray(ends, np.int64).reshape(-1, *(1,) * (stack.ndim - 1))
    selector = Selector(session, below(session, stack, thresholds), floor, signed)
    powers = selector.select([least // 2**start for start in ranges.starts])
    added = selector.select([0] * ranges.n_intervals, least) if floor else None
    pairs = ((Operand(stack), Operand(powers)),)
    return scheme.sums_of_products([SumOfProducts(pairs, added, -middle, drop)])[0], selector


def plus(session: Session, stack: Array, value: int) -> Array:
    """Return the stack of x plus a public integer. Cost: none."""
    if not value:
        return stack
    word = np.asarray(value % session.modulus, stack.dtype)
    return session.scheme.add_public(stack, session.backend.asarray(word))


def _divided(session: Session, stack: Array, drop: int) -> Array:
    """Return the stack of x / 2**drop, or of x 2**-drop where drop is negative."""
    if drop > 0:
        return session.scheme.truncate(stack, drop)
    if drop == 0:
        return stack
    word = np.asarray(2**-drop, stack.dtype)
    return session.scheme.mul_public(stack, session.backend.asarray(word))
