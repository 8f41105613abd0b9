"""How a matrix lies in diagonals, and which rotations its product with an encrypted vector takes.

Layer: he, beneath `linear`. Integers and plain arrays alone. A product is a sum of diagonals, each
times the vector rotated; with t = g b + k for the t-th diagonal, the vector is rotated by each k
(baby steps), and the sums of equal g by b, one after another (giant steps, in Horner's manner, so
that all of them use one key).
Source: Halevi and Shoup, CRYPTO 2014, section 4.3 (diagonals, rectangular matrices); CRYPTO 2018,
section 4 (baby and giant steps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError

Path = Callable[[int], "tuple[int, ...] | None"]
"""Rotations that have keys and make a rotation one after another; None where there are none."""

_HOISTED = 0.5
_DIAGONAL = 0.12
"""What a baby step and a diagonal cost, in giant steps. With NumPy at N = 8192 and 16384 it is 0.6
to 0.8 and 0.2 where diagonals are encoded anew, 0.1 and 0.03 in a `PlainMatrix`, which more baby
steps would suit: at 256 diagonals 15 % less time, for twice as many keys."""
_UNCLEARED = 1.25
"""What a product is taken to cost more that leaves parts of sums behind its result."""
_MOST_BABY_STEPS = 1024


class Layout(NamedTuple):
    """Which entry of a matrix stands in which slot of which diagonal.

    Slot k of diagonal t has the entry of row ``k mod row_period`` and of column
    ``(k + sign t) mod column_period``, for k below width, and 0 where there is no such entry.

    Attributes:
        slots: of a ciphertext.
        rows: of the matrix.
        columns: of the matrix.
        row_period: slots after which rows begin again; their sums are added up in the end.
        column_period: slots after which the vector is repeated.
        width: slots that diagonals reach.
        sign: diagonal t belongs to the vector rotated by ``sign t`` to the left.
        first: the least t there may be.
        last: the largest.
        before: rotations to the right whose results are added to the vector, one after another.
        after: rotations to the left whose results are added to the sum of the diagonals.
    """

    slots: int
    rows: int
    columns: int
    row_period: int
    column_period: int
    width: int
    sign: int
    first: int
    last: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def rows_met(self) -> int:
        """Of how many rows a slot of the result has terms: 2 behind it where slots wrap around."""
        return 2 if self.after and self.slots % self.row_period else 1

    def offsets(self, values: Array | None) -> Array:
        """Return the diagonals that have entries other than 0, or all of them, in rising order."""
        every = np.arange(self.first, self.last + 1)
        if values is None or np.count_nonzero(values) == values.size:
            return every
        row, column = np.nonzero(values)
        found = self.sign * (column - row)
        if self.first == 0:  # otherwise t has either sign, and nothing wraps
            found = found % (self.last + 1)
        return np.unique(found)

    def diagonals(self, values: Array, offsets: Array) -> Array:
        """Return diagonals as they stand in slots, (len(offsets), slots)."""
        k = np.arange(self.width)
        row = k % self.row_period
        column = (k + self.sign * offsets[:, None]) % self.column_period
        inside = (row < self.rows) & (column < self.columns)
        at = np.minimum(row, self.rows - 1), np.minimum(column, self.columns - 1)
        result = np.zeros((len(offsets), self.slots), values.dtype)
        result[:, : self.width] = np.where(inside, values[at], 0)
        return result


class Plan(NamedTuple):
    """A layout and its split into baby and giant steps.

    Attributes:
        layout: of the diagonals.
        split: b, how many diagonals a giant step has.
        own: baby steps k whose rotation has a key of its own.
        chained: baby steps that are made of a shorter one and a power of two.
        least: the lowest giant step, 0 or below.
        most: the highest, 0 or above.
        cost: in rotations.
    """

    layout: Layout
    split: int
    own: tuple[int, ...]
    chained: tuple[int, ...]
    least: int
    most: int
    cost: float

    @property
    def rotations(self) -> tuple[int, ...]:
        """The rotations to the left that it takes, in [1, slots)."""
        layout, sign = self.layout, self.layout.sign
        steps = [sign * k for k in self.own] + [sign * (k & -k) for k in self.chained]
        steps += [-step for step in layout.before] + list(layout.after)
        steps += [sign * self.split] * (self.most > 0) + [-sign * self.split] * (self.least < 0)
        return tuple(sorted({step % layout.slots for step in steps} - {0}))


def rotations_for(shape: tuple[int, int], slots: int, *, padded: bool = True) -> list[int]:
    """Return the rotations that the product of a matrix and an encrypted vector takes.

    With their keys the product costs the least; `Ckks.public` makes them. They serve every matrix
    of the shape, on the left of a vector; on its right the shape is the transposed one's.

    Args:
        shape: rows and columns of the matrix.
        slots: of a ciphertext, `Ckks.slots`.
        padded: whether all slots behind the vector's length are zero, as after encryption; they
            are not after `Ciphertext.rotate`, nor after a product with a wide matrix.

    Raises:
        TypeError, ValueError: a shape that fits no ciphertext, or slots that none has.

    Example:
        >>> rotations_for((16, 16), 4096)
        [1, 2, 3, 4, 4080]
        >>> rotations_for((1, 16), 4096)
        [1, 2, 4, 8]
    """
    rows, columns, slots = _checked(shape, slots)
    plan = best(layouts(rows, columns, slots, padded), None, lambda step: (step,))
    assert plan is not None
    return list(plan.rotations)


def layouts(rows: int, columns: int, slots: int, padded: bool) -> Iterator[Layout]:
    """Yield the layouts of a matrix, those that leave zeros behind the result first.

    A tall or square matrix has as many diagonals as columns, and the vector is repeated; a wide one
    as many as rows, and what they give is summed up over columns. A matrix in few diagonals, or one
    that fits neither way, has those that any matrix has.
    """
    size = slots, rows, columns
    wraps = rows + columns - 1 >= slots
    first, last = (0, slots - 1) if wraps else (1 - rows, columns - 1)
    yield Layout(*size, slots, slots, rows, 1, first, last, (), ())
    if padded:
        for period in _periods(columns):
            steps = _doublings(period, rows + period - 1)
            if period << len(steps) <= slots:
                yield Layout(*size, slots, period, rows, 1, 0, period - 1, steps, ())
    for period in _periods(rows):
        steps = _doublings(period, min(columns + period - 1, slots))
        width = period << len(steps)
        if width <= slots and (columns + period - 1 <= slots or width == slots):
            yield Layout(*size, period, slots, width, -1, 0, period - 1, (), steps)


def best(choices: Iterator[Layout], values: Array | None, path: Path) -> Plan | None:
    """Return the cheapest plan that keys allow, or None.

    Args:
        choices: layouts.
        values: the matrix, whose diagonals of zeros are left out; None stands for any.
        path: which keys there are.
    """
    plans = (
        plan
        for layout in choices
        for offsets in [layout.offsets(values)]
        for split in _splits(layout.last - layout.first + 1)
        for plan in [_plan(layout, offsets, split, path)]
        if plan is not None
    )
    return min(plans, key=lambda plan: plan.cost, default=None)


def _plan(layout: Layout, offsets: Array, split: int, path: Path) -> Plan | None:
    sign = layout.sign
    giants = offsets // split
    least, most = min(0, int(giants.min(initial=0))), max(0, int(giants.max(initial=0)))
    cost = _DIAGONAL * len(offsets)
    rounds = [(-step, 1) for step in layout.before] + [(step, 1) for step in layout.after]
    rounds += [(sign * split, most), (-sign * split, -least)]
    for step, count in rounds:
        steps = path(step) if count else ()
        if steps is None:
            return None
        cost += count * len(steps)
    steps_taken = _baby_steps(np.unique(offsets % split).tolist(), sign, path)
    if steps_taken is None:
        return None
    own, chained = steps_taken
    cost += _HOISTED * len(own) + len(chained)
    cost *= _UNCLEARED if layout.after else 1.0
    return Plan(layout, split, own, chained, least, most, cost)


def _baby_steps(
    wanted: Sequence[int], sign: int, path: Path
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the steps with keys of their own, and those made of others; all of them increasing."""
    own, chained = set(), set()
    for step in wanted:
        while step and step not in own and step not in chained:
            direct = path(sign * step)
            if direct is not None and len(direct) == 1:
                own.add(step)
                break
            last = path(sign * (step & -step))
            if last is None or len(last) != 1:
                return None
            chained.add(step)
            step &= step - 1
    return tuple(sorted(own)), tuple(sorted(chained))


def _periods(length: int) -> list[int]:
    """Return a length, and the power of two from it on, whose rotations more often have keys."""
    return sorted({length, 1 << (length - 1).bit_length()})


def _doublings(period: int, wanted: int) -> tuple[int, ...]:
    """Return the steps that double a period until it reaches a width."""
    count = math.ceil(math.log2(wanted / period)) if wanted > period else 0
    return tuple(period << at for at in range(count))


def _splits(count: int) -> list[int]:
    """Return the numbers of baby steps that are tried for so many diagonals."""
    root = math.sqrt(count)
    near = {round(root * factor) for factor in (0.5, 0.71, 1, 1.2, 1.41, 1.7, 2)}
    powers = {1 << log for log in range(count.bit_length())}
    return sorted(b for b in near | powers if 1 <= b <= min(count, _MOST_BABY_STEPS))


def _checked(shape: tuple[int, int], slots: int) -> tuple[int, int, int]:
    try:
        rows, columns = shape
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"rotations_for: shape must be rows and columns, got {shape!r}"
        ) from None
    for name, value in (("slots", slots), ("rows", rows), ("columns", columns)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ArgumentTypeError(
                f"rotations_for: {name} must be an integer, got {type(value).__name__}"
            )
    if slots < 1 or slots & (slots - 1):
        raise ArgumentValueError(f"rotations_for: slots must be a power of two, got {slots}")
    for name, value in (("rows", rows), ("columns", columns)):
        if not 1 <= value <= slots:
            raise ArgumentValueError(f"rotations_for: {name} must be in [1, {slots}], got {value}")
    return int(rows), int(columns), int(slots)
