"""One party that holds the values themselves: no secrecy, the oracle of every other scheme.

Layer: mpc. Sees the ranges that shares cannot see, and raises where a value leaves them. Sums are
checked exactly; products in float64 on the host, so one within 2^-30 of the bound is refused too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array, Backend
from he_gpu.channel import Cost
from he_gpu.errors import RangeError
from he_gpu.mpc.scheme import Operation, Scheme, one_by_one
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
        """Return ``x * y`` or ``x @ y``, divided by 2**drop and rounded to nearest.

        Raises:
            RangeError: a product outside -2**(k-2) <= v < 2**(k-2).

        Error: none for drop = 0; else half a unit.
        """
        self._check(operation, getattr(np, _NUMPY[operation])(self._real(x), self._real(y)))
        product = getattr(self.backend, operation)(x, y, self.modulus)
        return self._round(product, drop) if drop else product

    def truncate(self, x: Array, drop: int) -> Array:
        """Return x / 2**drop rounded to nearest, ties upwards.

        Raises:
            RangeError: a value outside -2**(k-2) <= x < 2**(k-2).
        """
        self._check("truncate", self._real(x))
        return self._round(x, drop)

    def below(self, x: Array, thresholds: Array) -> Array:
        """Return 1 where x < t and 0 elsewhere, or raise RangeError where x - t leaves the word."""
        xp, signed = self.backend.xp, np.dtype(f"i{x.dtype.itemsize}")
        x, thresholds = x[:, None], one_by_one(thresholds, x.ndim - 1)
        difference = xp.subtract(x, thresholds)
        # The signs of x and t differ, and that of the difference is not x's.
        wrapped = ((x ^ thresholds) & (x ^ difference)).view(signed) < 0
        if wrapped.any():
            raise RangeError(f"compare: differences must stay below 2**{self._bits - 1}")
        return (x.view(signed) < thresholds.view(signed)).astype(x.dtype)

    def is_zero(self, x: Array) -> Array:
        """Return 1 where x = 0 and 0 elsewhere."""
        return (x == 0).astype(x.dtype)

    def positive_part(self, x: Array) -> Array:
        """Return max(x, 0)."""
        signed = np.dtype(f"i{x.dtype.itemsize}")
        return self.backend.xp.maximum(x.view(signed), 0).view(x.dtype)

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
        self._check("mul", self._real(x) * self._real(public))
        return super().mul_public(x, public, drop)

    def matmul_public(self, left: Array, right: Array) -> Array:
        """Return the matrix product, or raise RangeError beyond 2**(k-2)."""
        self._check("matmul", np.matmul(self._real(left), self._real(right)))
        return super().matmul_public(left, right)

    def sum(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        """Return sums over axes, or raise RangeError beyond 2**(k-2)."""
        self._check("sum", np.sum(self._real(x), axis=axes, keepdims=keepdims))
        return super().sum(x, axes, keepdims)

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

    def _check(self, operation: str, values: Array) -> None:
        largest = float(np.abs(values).max(initial=0.0))
        if largest >= 2.0 ** (self._bits - 2) * (1 - 2.0**-30):
            raise RangeError(
                f"{operation}: values must stay below 2**{self._bits - 2} before truncation, "
                f"fraction bits included, got {largest:g}; scale the inputs down"
            )

    def _round(self, x: Array, drop: int) -> Array:
        signed = np.dtype(f"i{x.dtype.itemsize}")
        rounded = (x.view(signed) >> (drop - 1)) + 1
        return (rounded >> 1).view(x.dtype)


_NUMPY = {"mul": "multiply", "matmul": "matmul"}
