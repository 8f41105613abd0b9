"""One party that holds the values themselves: no secrecy, the oracle of every other scheme.

Layer: mpc. Sees the ranges that shares cannot see, and raises where a value leaves them. Sums and
elementwise products are checked exactly; matrix products in float64 on the host, so one within
2^-30 of the bound is refused too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from he_gpu.backend import Array, Backend, Convolution, convolve_reals
from he_gpu.channel import Cost
from he_gpu.errors import RangeError
from he_gpu.mpc.operation import multiply
from he_gpu.mpc.scheme import Operation, Scheme, one_by_one, public_words, step_weights
from he_gpu.mpc.sums import SumOfProducts
from he_gpu.ring.fixedpoint import decode, word_bits


class Plain(Scheme):
    """Words in the clear, as a stack of one row.

    Args:
        backend: the device.
        modulus: 2**64 or 2**32.
    """

    name = "plain"
    n_parties = 1
    lead = 1

    def __init__(self, backend: Backend, modulus: int):
        self.backend = backend
        self.modulus = modulus
        self._bits = word_bits(modulus)

    @property
    def cost(self) -> Cost:
        """Nothing: there is nobody to talk to."""
        return Cost()

    def share(self, words: Array, owner: int) -> Array:
        """Return the words as a stack of one row; `owner` is the one party there is."""
        return words[None].copy()

    def open(self, stack: Array) -> Array:
        """Return the words."""
        return stack[0].copy()

    def mask(self, x: Array) -> Array:
        """Return x: there is nothing to mask."""
        return x

    def product(self, operation: Operation, x: Any, y: Any, drop: int) -> Array:
        """Return ``x * y``, ``x @ y`` or conv(x, y), over 2**drop and rounded to nearest.

        Raises:
            RangeError: a product outside -2**(k-2) <= v < 2**(k-2).

        Error: none for drop = 0; else half a unit.
        """
        product = multiply(self.backend, operation, x, y, self.modulus)
        reals = self._real(x), self._real(y)
        if isinstance(operation, Convolution):
            self._check("conv", convolve_reals(*reals, operation))
        elif operation == "matmul":
            self._check(operation, np.matmul(*reals))
        else:
            self._check(operation, np.multiply(*reals), product)
        return self._round(product, drop) if drop else product

    def sums_of_products(self, sums: Sequence[SumOfProducts]) -> list[Array]:
        """Return each ``(sum(x * y) + added + constant) / 2**drop``, rounded to nearest.

        Raises:
            RangeError: a product or a sum outside -2**(k-2) <= v < 2**(k-2).
        """
        results = []
        for each in sums:
            total: Any = each.added
            for x, y in each.pairs:
                product = self.product("mul", x.stack, y.stack, 0)
                total = product if total is None else self.add(total, product)
            if each.constant:
                word = np.asarray(each.constant % self.modulus, total.dtype)
                total = self.add_public(total, self.backend.asarray(word))
            results.append(self.truncate(total, each.drop))
        return results

    def truncate(self, x: Array, drop: int) -> Array:
        """Return x / 2**drop rounded to nearest, ties upwards.

        Raises:
            RangeError: a value outside -2**(k-2) <= x < 2**(k-2).
        """
        self._check("truncate", self._real(x), x)
        return self._round(x, drop)

    def below(self, x: Array, thresholds: Array) -> Array:
        """Return 1 where x < t and 0 elsewhere, or raise RangeError where x - t leaves the word."""
        signed = np.dtype(f"i{x.dtype.itemsize}")
        thresholds = one_by_one(self.backend.asarray(thresholds), x.ndim - 1)
        self._difference(x[:, None], thresholds)
        return (x[:, None].view(signed) < thresholds.view(signed)).astype(x.dtype)

    def steps(self, x: Array, thresholds: Sequence[int], values: Sequence[Sequence[int]]) -> Array:
        """Return public step functions of x, or raise RangeError as `below`."""
        step_weights(thresholds, values)  # refuses what they cannot be
        xp, signed = self.backend.xp, np.dtype(f"i{x.dtype.itemsize}")
        ends = np.asarray(thresholds, signed)
        for end in ends[[0, -1]]:
            self._difference(x, self.backend.asarray(np.asarray(end).view(x.dtype)))
        words = public_words(values, self.modulus).reshape(len(values), -1)
        where = xp.searchsorted(self.backend.asarray(ends), x[0].view(signed), side="right")
        return xp.take(self.backend.asarray(words), where, axis=1)[None]

    def is_zero(self, x: Array) -> Array:
        """Return 1 where x = 0 and 0 elsewhere."""
        return (x == 0).astype(x.dtype)

    def positive_part(self, x: Array) -> Array:
        """Return max(x, 0)."""
        signed = np.dtype(f"i{x.dtype.itemsize}")
        return self.backend.xp.maximum(x.view(signed), 0).view(x.dtype)

    def beyond(self, x: Array, low: Array, high: Array) -> Array:
        """Return max(low - x, 0) and max(x - high, 0), or raise RangeError as `below`."""
        low, high = (self.backend.asarray(bound) for bound in (low, high))
        under = self.backend.neg(self._difference(x, low), self.modulus)
        parts = [self.positive_part(part) for part in (under, self._difference(x, high))]
        return self.backend.xp.stack(parts, axis=1)

    def largest(self, x: Array, smallest: bool = False) -> Array:
        """Return the largest along axis 1, or the smallest."""
        signed = x.view(f"i{x.dtype.itemsize}")
        return (signed.min(axis=1) if smallest else signed.max(axis=1)).view(x.dtype)

    def add(self, x: Array, y: Array) -> Array:
        """Return ``x + y``, or raise RangeError unless |x + y| < 2**(k-2)."""
        return self._in_range("add", super().add(x, y))

    def sub(self, x: Array, y: Array) -> Array:
        """Return ``x - y``, or raise RangeError unless |x - y| < 2**(k-2)."""
        return self._in_range("sub", super().sub(x, y))

    def add_public(self, x: Array, public: Array) -> Array:
        """Return x plus public words, or raise RangeError as `add`."""
        return self._in_range("add", super().add_public(x, public))

    def mul_public(self, x: Array, public: Array, drop: int = 0) -> Array:
        """Return x times public words over 2**drop, or raise RangeError beyond 2**(k-2)."""
        product = super().mul_public(x, public)
        self._check("mul", self._real(x) * self._real(public), product)
        return self._round(product, drop) if drop else product

    def weighted_sum(self, stacks: Sequence[Array], weights: Sequence[int]) -> Array:
        """Return the weighted sum, or raise RangeError where one of its parts passes 2**(k-2)."""
        parts = (abs(self._real(x) * float(w)) for x, w in zip(stacks, weights, strict=True))
        self._check("weighted_sum", np.asarray(sum(parts)))
        return super().weighted_sum(stacks, weights)

    def matmul_public(self, left: Array, right: Array) -> Array:
        """Return the matrix product, or raise RangeError beyond 2**(k-2)."""
        self._check("matmul", np.matmul(self._real(left), self._real(right)))
        return super().matmul_public(left, right)

    def conv_public(self, x: Array, weight: Array, convolution: Convolution) -> Array:
        """Return the convolution, or raise RangeError beyond 2**(k-2)."""
        self._check("conv", convolve_reals(self._real(x), self._real(weight), convolution))
        return super().conv_public(x, weight, convolution)

    def sum(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        """Return sums over axes, or raise RangeError beyond 2**(k-2)."""
        self._check("sum", np.sum(self._real(x), axis=axes, keepdims=keepdims))
        return super().sum(x, axes, keepdims)

    def cumsum(self, x: Array, axis: int) -> Array:
        """Return sums of the first elements, or raise RangeError unless all stay below 2**(k-2).

        The first that leaves this range is still in that of the word, so none goes unseen.
        """
        return self._in_range("cumsum", super().cumsum(x, axis))

    def _difference(self, x: Array, public: Array) -> Array:
        """Return ``x - public``, or raise RangeError where it leaves the word."""
        difference = self.backend.xp.subtract(x, public)
        # The signs of both differ, and that of the difference is not x's.
        wrapped = ((x ^ public) & (x ^ difference)).view(f"i{x.dtype.itemsize}") < 0
        if wrapped.any():
            raise RangeError(f"compare: differences must stay below 2**{self._bits - 1}")
        return difference

    def _in_range(self, operation: str, result: Array) -> Array:
        """Return a sum of two words in range, which cannot wrap, or raise RangeError."""
        most = result.dtype.type(2 ** (self._bits - 2) - 1)
        if (np.add(result, most) > 2 * most).any():
            largest = np.abs(self._real(result)).max()
            raise RangeError(
                f"{operation}: values must stay below 2**{self._bits - 2} before truncation, "
                f"fraction bits included, got {largest:g}; scale the inputs down"
            )
        return result

    def _real(self, words: Array) -> Array:
        return decode(np.ascontiguousarray(self.backend.to_numpy(words)), 0, self.modulus)

    def _check(self, operation: str, values: Array, words: Array | None = None) -> None:
        """Refuse values, known to float64, beyond the bound; words decide near it, if given."""
        largest, bound = float(np.abs(values).max(initial=0.0)), 2.0 ** (self._bits - 2)
        if words is not None and largest < bound * (1 + 2.0**-30):  # so that no word wrapped
            signed = np.asarray(self.backend.to_numpy(words)).view(f"i{words.dtype.itemsize}")
            end = 2 ** (self._bits - 2)
            inside = -end <= int(signed.min(initial=0)) and int(signed.max(initial=0)) < end
        else:
            inside = largest < bound * (1 - 2.0**-30)
        if not inside:
            raise RangeError(
                f"{operation}: values must stay below 2**{self._bits - 2} before truncation, "
                f"fraction bits included, got {largest:g}; scale the inputs down"
            )

    def _round(self, x: Array, drop: int) -> Array:
        signed = np.dtype(f"i{x.dtype.itemsize}")
        rounded = (x.view(signed) >> (drop - 1)) + 1
        return (rounded >> 1).view(x.dtype)
