"""Secret words brought into one short range, exactly, by secret powers of two.

Layer: tensor, above mpc, under `magnitudes` and `softmax`. One comparison with public thresholds,
all in one opening, tells in which of some intervals of equal ratio each word lies. Step functions
of the word select the power that scales it into the range, and whatever undoes it on the result.
Never reads a secret.
Source: normalisation as in Catrina and Saxena, Financial Cryptography 2010, there bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring.fixedpoint import word_bits

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


class Selection(NamedTuple):
    """Public integers, one of which each word selects by its interval.

    Attributes:
        values: for each interval, from the top; negative words get minus the value where they have
            intervals of their own.
        lowest: for words below 2**low, where they have an interval of their own.
    """

    values: Sequence[int]
    lowest: int = 0


def normalised(
    session: Session,
    stack: Array,
    ranges: Ranges,
    selections: Sequence[Selection] = (),
    floor: bool = True,
    signed: bool = False,
) -> tuple[Array, list[Array]]:
    """Return words scaled into one range, and integers selected by their intervals.

    With t = |x| / 2**start, which lies in [1, 2**step] for x in the interval from 2**start on,

        u = (t - 1 - 2**(step - 1)) / 2**(step - 1)

    lies in [-1, 1]: the range of t is [1, 1 + 2**step], half of whose width is a power of two.

    Args:
        session: of the words.
        stack: (rows, *shape) of words x.
        ranges: the intervals; without thresholds x may reach 2**low (1 + 2**step).
        selections: what else the intervals select; none where there is one interval.
        floor: whether words below 2**low occur. These, and the negative ones unless signed, give
            u = -1 as t = 1 does.
        signed: whether negative words are scaled by their absolute value; only with a floor and
            low = 0.

    Returns:
        The stack of u with `precision` fraction bits, and those of the selections.

    Raises:
        AssertionError: there is one interval, and something to select.

    Error: one unit of u.
    Cost: that of the scheme's `steps` for the thresholds, with a function for the power, one for
        each selection and with a floor one more, and of its `sums_of_products` for one product;
        without thresholds none, or one truncation.
    Leaks: nothing.
    """
    scheme, fine = session.scheme, precision(session.modulus)
    least = 2 ** (ranges.high - ranges.step)  # where t = 1
    middle, drop = least + 2 ** (ranges.high - 1), ranges.high - 1 - fine
    ends = [*([2**ranges.low] if floor else []), *ranges.ends]
    if not ends:
        if selections:
            raise AssertionError("normalised: one interval has nothing to select by")
        return _divided(session, plus(session, stack, -middle), drop), []
    powers = Selection([least // 2**start for start in ranges.starts])
    wanted = [_upwards(each, floor, signed) for each in (powers, *selections)]
    if floor:
        lifted = [least, *(0 for _ in ranges.starts)]
        wanted.append([0] * (ranges.n_intervals if signed else 0) + lifted)
    if signed:
        ends = [*(1 - end for end in reversed(ends)), *ends]
    parts = scheme.steps(stack, ends, wanted)
    factors = Operand(stack), Operand(parts[:, 0])
    added = parts[:, -1] if floor else None
    unit = scheme.sums_of_products([SumOfProducts((factors,), added, -middle, drop)])[0]
    return unit, [parts[:, 1 + index] for index in range(len(selections))]


def _upwards(selection: Selection, floor: bool, signed: bool) -> list[int]:
    """Return a selection's integers in the order of the words that select them."""
    values = [*([selection.lowest] if floor else []), *reversed(selection.values)]
    return [*(-value for value in selection.values), *values] if signed else values


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
