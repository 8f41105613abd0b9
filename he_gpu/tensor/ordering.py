"""Exact comparison of secret arrays, and logic on its results.

Layer: tensor, above mpc. Aligns fraction bits and turns public reals into thresholds on the
encoding's grid; the session's scheme compares. Never reads a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from he_gpu.backend import Array, word_dtype
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring.fixedpoint import as_reals, encode, word_bits
from he_gpu.ring.thresholds import on_grid
from he_gpu.tensor.layout import Layout

if TYPE_CHECKING:
    from he_gpu.session import Session

Self = TypeVar("Self", bound="Ordering")


class Ordering(Layout):
    """The comparisons of a `SecretTensor`.

    ``x < y`` and its five sisters return a secret tensor of 0 and 1 with frac_bits 0, of the
    broadcast shape. They are exact: operands of different frac_bits are aligned by shifting one up,
    and a public operand is not rounded, so ``x < t`` is right for every real t, infinities
    included. ``&``, ``|``, ``^`` and ``~`` combine such tensors; on other values of frac_bits 0
    they mean nothing.

    Range: |x|, |y| < 2**(k - 2 - frac_bits) of secret operands, for the larger frac_bits of the
        two; public ones have none.
    Cost: ``<``, ``<=``, ``>``, ``>=`` that of the scheme's `below`, ``==`` and ``!=`` that of its
        `is_zero`. ``&``, ``|``, ``^`` of two secrets that of its `product` without truncation;
        with a public operand, and ``~``, none.
    Leaks: nothing.
    """

    __slots__ = ()

    def __lt__(self: Self, other: Any) -> Self:
        """Return 1 where self < other and 0 elsewhere; see `Ordering`."""
        return self._compare(other, "less")

    def __le__(self: Self, other: Any) -> Self:
        """Return 1 where self <= other and 0 elsewhere; see `Ordering`."""
        return self._compare(other, "less_equal")

    def __gt__(self: Self, other: Any) -> Self:
        """Return 1 where self > other and 0 elsewhere; see `Ordering`."""
        return self._compare(other, "greater")

    def __ge__(self: Self, other: Any) -> Self:
        """Return 1 where self >= other and 0 elsewhere; see `Ordering`."""
        return self._compare(other, "greater_equal")

    def __eq__(self: Self, other: Any) -> Self:  # type: ignore[override]
        """Return 1 where self = other and 0 elsewhere; see `Ordering`."""
        return self._integers(self._equal(other, "equal"))

    def __ne__(self: Self, other: Any) -> Self:  # type: ignore[override]
        """Return 1 where self differs from other and 0 elsewhere; see `Ordering`."""
        return self._integers(self._equal(other, "not_equal"))._complement()

    __hash__ = Layout.__hash__  # type: ignore[assignment]  # else None, as __eq__ is defined

    def __and__(self: Self, other: Any) -> Self:
        """Return x y, for 0/1 tensors; see `Ordering`."""
        return self._combine(other, "and")

    def __or__(self: Self, other: Any) -> Self:
        """Return x + y - x y, for 0/1 tensors; see `Ordering`."""
        return self._combine(other, "or")

    def __xor__(self: Self, other: Any) -> Self:
        """Return x + y - 2 x y, for 0/1 tensors; see `Ordering`."""
        return self._combine(other, "xor")

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self: Self) -> Self:
        """Return 1 - x, for 0/1 tensors; see `Ordering`."""
        self.session.check_open("invert")
        self._check_bits("invert: operand")
        return self._complement()

    def _compare(self: Self, other: Any, function: str) -> Self:
        """Return the bits of one comparison: x > y is y < x, and x > t is -x < -t."""
        session = self.session
        session.check_open(function)
        greater, or_equal = function.startswith("greater"), function.endswith("equal")
        if isinstance(other, Ordering):
            pair = self._stacks(other, function)
            stack = difference(session, *(reversed(pair) if greater else pair))
            return self._integers(below(session, stack, int(or_equal))[:, 0])
        floor, inside = on_grid(other, self.frac_bits, session.modulus, function)
        shape = self._check_broadcast(floor.shape, function)
        stack = self._stack_as(floor.ndim)
        if greater:
            stack = session.scheme.neg(stack)
            threshold = inside - floor if or_equal else -floor
        else:
            threshold = floor + 1 if or_equal else floor + ~inside
            threshold = np.minimum(threshold, 2 ** (word_bits(session.modulus) - 2))
        if stack.shape[1:] != shape:
            stack = session.backend.xp.broadcast_to(stack, (stack.shape[0], *shape))
        return self._integers(below(session, stack, threshold)[:, 0])

    def _equal(self, other: Any, function: str) -> Array:
        """Return the stack of the bits of an equality."""
        session = self.session
        session.check_open(function)
        if isinstance(other, Ordering):
            return session.scheme.is_zero(difference(session, *self._stacks(other, function)))
        floor, inside = on_grid(other, self.frac_bits, session.modulus, function)
        self._check_broadcast(floor.shape, function)
        stack = self._stack_as(floor.ndim)
        point = self._trivial(_words(np.where(inside, floor, 0), session.modulus))
        pair = (stack, point.reshape(point.shape[0], *_padded(floor.shape, stack.ndim - 1)))
        bits = session.scheme.is_zero(difference(session, *pair))
        if not inside.all():  # no encoding lies there
            bits = session.scheme.mul_public(
                bits, session.backend.asarray(_words(inside, session.modulus))
            )
        return bits

    def _combine(self: Self, other: Any, function: str) -> Self:
        """Return and, or, exclusive or of 0/1 tensors."""
        scheme = self.session.scheme
        self.session.check_open(function)
        self._check_bits(f"{function}: operand")
        if isinstance(other, Ordering):
            other._check_bits(f"{function}: operand")
            x, y = self._stacks(other, function)
            both = scheme.product("mul", x, y, 0)
            if function == "and":
                return self._integers(both)
            either = scheme.sub(scheme.add(x, y), both)
            return self._integers(either if function == "or" else scheme.sub(either, both))
        public = as_reals(other, function, "operand")
        if ((public != 0) & (public != 1)).any():
            bad = public[(public != 0) & (public != 1)].flat[0]
            raise ArgumentValueError(f"{function}: operand must be 0 or 1, got {bad:g}")
        shape = self._check_broadcast(public.shape, function)
        factor = {"and": public, "or": 1 - public, "xor": 1 - 2 * public}[function]
        asarray, modulus = self.session.backend.asarray, self.session.modulus
        product = scheme.mul_public(self._stack_as(len(shape)), asarray(_words(factor, modulus)))
        if function == "and":
            return self._integers(product)
        return self._integers(scheme.add_public(product, asarray(_words(public, modulus))))

    def _complement(self: Self) -> Self:
        """Return 1 - x of a 0/1 tensor."""
        scheme = self.session.scheme
        one = self.session.backend.asarray(_words(1, self.session.modulus))
        return self._integers(scheme.add_public(scheme.neg(self._stack), one))

    def _check_bits(self, what: str) -> None:
        if self.frac_bits:
            raise ArgumentTypeError(
                f"{what} must be a 0/1 tensor with frac_bits 0, got frac_bits {self.frac_bits}"
            )

    # Alignment, which arithmetic uses too

    def _integers(self: Self, stack: Array) -> Self:
        return type(self)(self.session, stack, 0)

    def _shifted(self: Self, frac_bits: int) -> Self:
        """Return the same values with more fraction bits, fewer than k - 2."""
        word = self._stack.dtype.type(2 ** (frac_bits - self.frac_bits))
        public = self.session.backend.asarray(np.asarray(word))
        stack = self.session.scheme.mul_public(self._stack, public)
        return type(self)(self.session, stack, frac_bits)

    def _aligned(self: Self, other: Any, function: str) -> tuple[Self, Self]:
        """Return both operands with equal fraction bits, checked to broadcast.

        A public one is rounded to nearest and becomes a trivial sharing, which hides nothing.
        """
        x, y = self, other
        if not isinstance(y, Ordering):
            y = self._constant(y, self.frac_bits, function)
        self._check_partner(y, function)
        self._check_broadcast(y.shape, function)
        if x.frac_bits < y.frac_bits:
            x = x._shifted(y.frac_bits)
        elif y.frac_bits < x.frac_bits:
            y = y._shifted(x.frac_bits)
        return x, y

    def _stacks(self, other: Any, function: str) -> tuple[Array, Array]:
        """Return the aligned operands' stacks, with equally many axes."""
        x, y = self._aligned(other, function)
        return x._stack_as(y.ndim), y._stack_as(x.ndim)

    def _refined(self: Self, *publics: Any) -> Self:
        """Return self, with the session's fraction bits where a public real needs more than it has.

        So that 0/1 tensors take part in arithmetic with reals. Cost: none.
        """
        wanted = self.session.frac_bits
        if self.frac_bits < wanted:
            for public in publics:
                scaled = np.ldexp(as_reals(public, "arithmetic", "operand"), self.frac_bits)
                if not np.array_equal(scaled, np.rint(scaled)):
                    return self._shifted(wanted)
        return self

    def _constant(self: Self, public: Any, frac_bits: int, function: str) -> Self:
        """Return public reals as a trivial sharing."""
        words = self._encoded(public, frac_bits, function)
        return type(self)(self.session, self._trivial(words), frac_bits)

    def _encoded(self, public: Any, frac_bits: int, function: str) -> Array:
        """Return public reals as words, rounded to nearest."""
        modulus = self.session.modulus
        reals, limit = as_reals(public, function, "operand"), word_bits(modulus) - 2 - frac_bits
        return encode(reals, frac_bits, limit, modulus, function, "operand")

    def _trivial(self, words: Array) -> Array:
        """Return a stack of public words: they are the share of the party that adds them."""
        backend = self.session.backend
        zeros = backend.xp.zeros((self._stack.shape[0], *words.shape), self._stack.dtype)
        return self.session.scheme.add_public(zeros, backend.asarray(words))


def difference(session: Session, x: Array, y: Array) -> Array:
    """Return the stack of ``x - y`` for a comparison, which may take the whole word. Cost: none."""
    return session.backend.sub(x, y, session.modulus)


def below(session: Session, stack: Array, thresholds: Any) -> Array:
    """Return the bits of ``x < t`` along a new axis 1, for integers t along their first.

    Args:
        session: of the stack.
        stack: (rows, *shape).
        thresholds: an int, or integers of fewer or as many axes as the secret for one threshold
            each, or with one axis more, the first, for several.
    """
    integers = np.asarray(thresholds, np.int64)
    if integers.ndim < stack.ndim:
        integers = integers.reshape(1, *_padded(integers.shape, stack.ndim - 1))
    return session.scheme.below(stack, _words(integers, session.modulus))


def _padded(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Return a shape with axes of length 1 before its own, up to ndim."""
    return (1,) * (ndim - len(shape)) + shape


def _words(integers: Any, modulus: int) -> Array:
    """Return signed integers as words of the ring."""
    return np.asarray(integers).astype(np.int64).astype(word_dtype(modulus))
