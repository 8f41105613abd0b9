"""The face that every sharing scheme shows to tensors: one stack of words in, one stack out.

Layer: mpc. A scheme knows words modulo 2^64 or 2^32 and parties, and neither reals nor fraction
bits. Local operations are here, interactive ones in the schemes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from he_gpu.backend import Array, Backend, Convolution, word_dtype
from he_gpu.channel import Cost
from he_gpu.errors import ArgumentValueError

if TYPE_CHECKING:
    from he_gpu.mpc.masked import Masked, Reused
    from he_gpu.mpc.sums import SumOfProducts

Operation = Literal["mul", "matmul"] | Convolution


class Scheme(ABC):
    """Secret words modulo 2**64 or 2**32 among parties.

    A secret of shape s is a stack of shape (rows, *s); how many rows there are for the parties
    hosted here is the scheme's business. Stacks of one operation have the same number of axes, and
    broadcast over those after the first.

    Attributes:
        name: what `Session(protocol=...)` calls it.
        n_parties: of the whole protocol.
        backend: the device.
        modulus: 2**64 or 2**32.
        lead: 1 where row 0 of a stack is the first party's, who adds public values; else 0.
    """

    name: str
    n_parties: int
    backend: Backend
    modulus: int
    lead: int

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Rounds and bytes so far."""

    @abstractmethod
    def share(self, words: Array, owner: int) -> Array:
        """Return a fresh stack for words that the owner knows."""

    @abstractmethod
    def open(self, stack: Array) -> Array:
        """Reveal the words to every party."""

    @abstractmethod
    def product(self, operation: Operation, x: Any, y: Any, drop: int) -> Array:
        """Return the stack of ``x * y`` or ``x @ y``, divided by 2**drop where drop > 0.

        Operands are stacks, or what `mask` made of them.
        """

    @abstractmethod
    def sums_of_products(self, sums: Sequence[SumOfProducts]) -> list[Array]:
        """Return the stack of each ``(sum(x * y) + added + constant) / 2**drop``."""

    @abstractmethod
    def truncate(self, x: Array, drop: int) -> Array:
        """Return the stack of x / 2**drop, rounded to one of the two nearest integers."""

    @abstractmethod
    def below(self, x: Array, thresholds: Array) -> Array:
        """Return the stack of the integers 1 where x < t and 0 elsewhere.

        Args:
            x: stack of signed words, rows by shape.
            thresholds: (n_thresholds, *t) public signed words, each t broadcast to x's shape, on
                the host or the device; those of one word each, on the host, share work.

        Returns:
            A stack of shape (rows, n_thresholds, *shape).
        """

    @abstractmethod
    def steps(self, x: Array, thresholds: Sequence[int], values: Sequence[Sequence[int]]) -> Array:
        """Return stacks of public step functions of x.

        Args:
            x: stack of signed words, rows by shape.
            thresholds: public signed words t_1 < t_2 < ... that all elements share, at least one.
            values: of each function its integers below t_1, from t_1 on, and so on from each on.

        Returns:
            A stack of shape (rows, n_functions, *shape).

        Raises:
            ArgumentValueError: thresholds that do not rise, or not one value more than these.
        """

    @abstractmethod
    def is_zero(self, x: Array) -> Array:
        """Return the stack of the integers 1 where x = 0 and 0 elsewhere."""

    @abstractmethod
    def positive_part(self, x: Array) -> Array:
        """Return the stack of max(x, 0)."""

    @abstractmethod
    def beyond(self, x: Array, low: Array, high: Array) -> Array:
        """Return the stack of max(low - x, 0) and max(x - high, 0): how far x is out of bounds.

        Args:
            x: stack of signed words, rows by shape.
            low: public signed words that broadcast to x's shape, on the host or the device.
            high: likewise, none less than low.

        Returns:
            A stack of shape (rows, 2, *shape).
        """

    @abstractmethod
    def largest(self, x: Array, smallest: bool = False) -> Array:
        """Return the stack of the largest along axis 1, or of the smallest, all compared at once.

        Args:
            x: stack of signed words (rows, n, *shape), n > 1, whose differences fit the word.
            smallest: whether to return the smallest.

        Returns:
            A stack of shape (rows, *shape).
        """

    @abstractmethod
    def mask(self, x: Array) -> Masked | Reused | Array:
        """Return x in a form that later products reuse without opening it again."""

    def descend(
        self,
        w: Array,
        y: Array,
        forward: tuple[Array | Masked | Reused, int],
        backward: tuple[Array | Masked | Reused, int],
        n_steps: int,
    ) -> tuple[Array, int]:
        """Take some steps ``w - G (F w - y)`` of a descent at once, where the scheme can.

        Args:
            w: stack of the weights, rows by (width, targets).
            y: stack of the targets, rows by (n, targets).
            forward: F, (n, width), and how many bits its product's truncation drops.
            backward: G, (width, n), likewise.
            n_steps: the most steps, all of them announced by `expect`. 0 takes none, and makes what
                is random in single steps as if some were taken: where all parties are in one
                process and where they are not, they draw the same.

        Returns:
            The weights, and after how many steps; 0 asks for the first by single operations.
        """
        return w, 0

    def shares(self, stack: Array) -> Array:
        """Return what each party holds of a stack, (parties, *shape), with its words in between."""
        return stack

    def expect(self, n_repeats: int, singly: bool = False) -> None:  # noqa: B027 - a mere hint
        """Hint that every coming product and truncation comes n_repeats times; 0 ends the hint.

        Args:
            n_repeats: how often.
            singly: whether randomness in bulk serves `descend` alone, so that all other operations
                draw theirs the same way each time.
        """

    can_repeat = False
    """Whether a device may repeat operations without this code: they look at no value."""

    def spent(self) -> list[int]:
        """Return the counters behind `cost`."""
        return []

    def spend(self, amounts: Sequence[int]) -> None:  # noqa: B027 - nothing is counted here
        """Add to these counters what operations cost that were repeated without this code."""

    def add(self, x: Array, y: Array) -> Array:
        """Return the stack of ``x + y``. Cost: none."""
        return self.backend.add(x, y, self.modulus)

    def sub(self, x: Array, y: Array) -> Array:
        """Return the stack of ``x - y``. Cost: none."""
        return self.backend.sub(x, y, self.modulus)

    def neg(self, x: Array) -> Array:
        """Return the stack of ``-x``. Cost: none."""
        return self.backend.neg(x, self.modulus)

    def add_public(self, x: Array, public: Array) -> Array:
        """Return the stack of x plus public words that broadcast to its shape. Cost: none."""
        return self.backend.add_public(x, public, self.lead, self.modulus)

    def mul_public(self, x: Array, public: Array, drop: int = 0) -> Array:
        """Return the stack of x times public words, divided by 2**drop; shapes broadcast.

        Cost: none for drop = 0, else that of `truncate`.
        """
        product = self.backend.mul(x, public, self.modulus)
        return self.truncate(product, drop) if drop else product

    def weighted_sum(self, stacks: Sequence[Array], weights: Sequence[int]) -> Array:
        """Return the sum of stacks of equal shape, each times a public integer. Cost: none."""
        return self.backend.weighted_sum(stacks, weights, self.modulus)

    def matmul_public(self, left: Array, right: Array) -> Array:
        """Return the stack of a matrix product of which one operand is public. Cost: none."""
        return self.backend.matmul(left, right, self.modulus)

    def conv_public(self, x: Array, weight: Array, convolution: Convolution) -> Array:
        """Return the stack of a convolution whose images or windows are public. Cost: none."""
        return self.backend.conv(x, weight, convolution, self.modulus)

    def sum(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        """Return the stack of sums over axes of the stack, none of them 0. Cost: none."""
        return self.backend.xp.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype)

    def cumsum(self, x: Array, axis: int) -> Array:
        """Return the stack of sums of the first elements along an axis, not 0. Cost: none."""
        return self.backend.xp.cumsum(x, axis=axis, dtype=x.dtype)


def step_weights(
    thresholds: Sequence[int], values: Sequence[Sequence[int]]
) -> tuple[list[list[int]], list[int]]:
    """Return step functions as weights of the bits [x < t] and constants.

    x < t holds for every t above x, and the differences of their values add up.

    Raises:
        ArgumentValueError: see `Scheme.steps`.
    """
    if not thresholds or any(a >= b for a, b in pairwise(thresholds)):
        raise ArgumentValueError(f"steps: thresholds must rise, got {list(thresholds)}")
    for each in values:
        if len(each) != len(thresholds) + 1:
            raise ArgumentValueError(
                f"steps: values must have {len(thresholds) + 1} for {len(thresholds)} thresholds, "
                f"got {len(each)}"
            )
    weights = [[value - above for value, above in pairwise(each)] for each in values]
    return weights, [each[-1] for each in values]


def public_words(integers: Any, modulus: int) -> Array:
    """Return public integers of any size as words on the host."""
    return (np.asarray(integers, object) % modulus).astype(word_dtype(modulus))


def one_by_one(thresholds: Array, ndim: int) -> Array:
    """Return thresholds (n, *t) with axes of length 1 put between, so that each has ndim axes."""
    count, *shape = thresholds.shape
    return thresholds.reshape(count, *(1,) * (ndim - len(shape)), *shape)
