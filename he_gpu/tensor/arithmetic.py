"""Sums and products of secret arrays of fixed-point reals, with NumPy's operators.

Layer: tensor, above mpc. Keeps shape and fraction bits, encodes public operands, and decides
where to truncate; the session's scheme does the rest. Never reads a secret.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.mpc import Masked, Reused
from he_gpu.ring.fixedpoint import Factor, as_reals, decode, encode, encode_factor, word_bits
from he_gpu.tensor.layout import check_integer, check_matmul, without_vector_axes
from he_gpu.tensor.selection import Selection

Self = TypeVar("Self", bound="Arithmetic")


class Arithmetic(Selection):
    """The operators of a `SecretTensor`.

    Public operands (numbers, nested lists, NumPy and CuPy arrays) stand on either side. With k the
    bits of the ring's word, every value v of an encoding must satisfy |v| < 2**(k - 2 - frac_bits),
    and every product the same with both operands' fraction bits added.
    """

    __slots__ = ()

    # Sums

    def __add__(self: Self, other: Any) -> Self:
        """Return the sum, with the more fraction bits of two secrets.

        Error: none with a secret. A public number is rounded to the tensor's fraction bits, or to
            the session's where the tensor has fewer and the number needs them.
        Cost: none.
        """
        return self._sum(other, "add")

    __radd__ = __add__

    def __sub__(self: Self, other: Any) -> Self:
        """Cost: none. Leaks: nothing."""
        return self._sum(other, "sub")

    def __rsub__(self: Self, other: Any) -> Self:
        """Cost: none. Leaks: nothing."""
        return (-self)._sum(other, "add")

    def __neg__(self: Self) -> Self:
        self.session.check_open("neg")
        return self._like(self.session.scheme.neg(self._stack))

    def __pos__(self: Self) -> Self:
        self.session.check_open("pos")
        return self

    def sum(self: Self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Self:
        """Return the sum over axes, over all by default. Cost: none."""
        self.session.check_open("sum")
        axes = self._axes(range(self.ndim) if axis is None else axis, "sum")
        if not axes:
            return self
        stack = self.session.scheme.sum(self._stack, tuple(axis + 1 for axis in axes), keepdims)
        return self._like(stack)

    # Products

    def __mul__(self: Self, other: Any) -> Self:
        """Return the elementwise product.

        By a public number: exact for integers; others have 24 significant bits of the largest (12
        modulo 2**32) and share one truncation to the fraction bits of self or of the session,
        whichever are more. By a secret: at the session's frac_bits.

        Range: by a secret, |x y| < 2**(k - 2 - both frac_bits). By a public integer, |x y| <
        2**(k - 2 - frac_bits). By another public number, |x| < 2**(k - 26 - frac_bits), so below
        2**22 by default (2**(k - 14 - frac_bits) modulo 2**32), for any factor. Shares cannot see
        a value beyond, and the result is then wrong; protocol="plain" raises.
        Error: one unit of 2**-frac_bits, and 2**-24 (2**-12) relative to the largest public factor.
        Cost: with a secret 2 rounds, with a public integer none, with a public real that of one
            truncation: 1 round with "additive", 2 with "replicated". What is sent: the scheme's
            `product` and `truncate`.
        Leaks: nothing.
        """
        self.session.check_open("mul")
        if isinstance(other, Arithmetic):
            return self._product("mul", other, None)
        if isinstance(other, np.matrix):  # of which * is the matrix product
            raise ArgumentTypeError("mul: operand is a numpy.matrix; use @, or an ndarray of it")
        factor = self._factor(other, "mul")
        x, public = self._broadcast(factor.mantissa, "mul")
        product_bits = self.frac_bits + factor.shift
        drop = self._drop(product_bits, None, "mul", self._finest)
        stack = self.session.scheme.mul_public(x, public, drop)
        return type(self)(self.session, stack, product_bits - drop)

    __rmul__ = __mul__

    def __truediv__(self: Self, other: Any) -> Self:
        """Return self divided by a public number or array.

        Range, Error, Cost: as multiplication by the inverse, see `__mul__`.
        """
        divisor = as_reals(other, "division", "divisor")
        if not divisor.all():
            raise ArgumentValueError("division: divisor must not be 0, got 0")
        with np.errstate(over="ignore"):  # the infinity is refused as a factor
            inverse = 1.0 / divisor
        return self.__mul__(inverse)

    def square(self: Self) -> Self:
        """Return ``x * x``, which opens x once where "additive" opens both factors of a product.

        Range: |x**2| < 2**(k - 2 - 2 * frac_bits).
        Error: one unit of 2**-frac_bits.
        Cost: 2 rounds; what is sent: the scheme's `product` of a stack with itself.
        Leaks: nothing.
        """
        self.session.check_open("square")
        return self._product("mul", self, None)

    def __matmul__(self: Self, other: Any) -> Self:
        """Return the matrix product; see `matmul`."""
        return self.matmul(other)

    def __rmatmul__(self: Self, other: Any) -> Self:
        """Return ``other @ self`` for a public matrix; see `matmul`."""
        return self._matmul_public(other, "left")

    def matmul(self: Self, other: Any, frac_bits: int | None = None) -> Self:
        """Return the matrix product with NumPy's rules for batches and vectors.

        Args:
            other: (..., k, n) or (k,), secret or public.
            frac_bits: fraction bits of the result, the session's by default. Those of both
                operands together skip the truncation; more are refused.

        Raises:
            ValueError: inner dimensions that differ, 0-d operands, another session's tensor,
                frac_bits out of range.

        Range: as `__mul__`: with a secret, |x @ y| < 2**(k - 2 - both frac_bits); with a public
            matrix of integers |x @ y| < 2**(k - 2 - frac_bits), of others sum(|x|) <
            2**(k - 26 - frac_bits) over the inner dimension.
        Error: one unit of 2**-frac_bits; none where no truncation is needed.
        Cost: with a secret 2 rounds, 1 where both operands are masked (see `masked`); with a
            public matrix one truncation, as `__mul__`.
        Leaks: nothing.
        """
        self.session.check_open("matmul")
        if not isinstance(other, Arithmetic):
            return self._matmul_public(other, "right", frac_bits)
        return self._product("matmul", other, frac_bits)

    def masked(self: Self) -> Self:
        """Return the same secret, masked and opened once for use in many products.

        The other operand of each product still gets a fresh mask. What is indexed, reshaped or
        transposed of the result is masked too, so that a data matrix is opened once, whatever
        batches are taken of it. Matrix products keep what they make of the operand's words, up to
        2.5 times their memory for the operand and as much for its transpose.

        Cost: 1 round with "additive", in which each party sends its words to the others; with
            other schemes, whose products open nothing of their operands, none.
        Leaks: nothing.
        """
        self.session.check_open("masked")
        if self._masked is not None:
            return self
        masked = self.session.scheme.mask(self._stack)
        if not isinstance(masked, Masked | Reused):  # a scheme that keeps nothing
            return self
        return type(self)(self.session, self._stack, self.frac_bits, masked)

    def scaled(self: Self, factor: float, frac_bits: int | None = None) -> Self:
        """Return self times a public real number, with all or some of its fraction bits.

        The factor keeps 24 significant bits and an exponent of its own, which by default is added
        to the result's frac_bits, to be dropped by the truncation of the next product; a masked
        tensor then stays masked.

        Args:
            factor: the number.
            frac_bits: of the result; fewer than all are truncated.

        Raises:
            ValueError: a factor that is not finite; all fraction bits where they pass k - 3;
                frac_bits out of range.

        Range: |x| < 2**(k - 26 - frac_bits) of x, so 2**22 by default.
        Error: 2**-24 relative for the factor; one unit of 2**-frac_bits where bits are dropped.
        Cost: none without frac_bits; else one truncation, as `__mul__`.
        """
        self.session.check_open("scaled")
        if np.ndim(factor) or isinstance(factor, str):
            raise ArgumentTypeError(f"scaled: factor must be a real number, got {factor!r}")
        mantissa, shift, _ = self._factor(factor, "scaled")
        word = self.session.backend.asarray(mantissa)
        if frac_bits is not None:
            drop = self._drop(self.frac_bits + shift, frac_bits, "scaled")
            stack = self.session.scheme.mul_public(self._stack, word, drop)
            return type(self)(self.session, stack, self.frac_bits + shift - drop)
        check_room(self.frac_bits + shift, self.session.modulus, "scaled")
        if self._masked is not None:
            scaled = self._masked.scaled(mantissa, self.session.backend, self.session.modulus)
            return type(self)(self.session, scaled.stack.words, self.frac_bits + shift, scaled)
        stack = self.session.scheme.mul_public(self._stack, word)
        return type(self)(self.session, stack, self.frac_bits + shift)

    def with_frac_bits(self: Self, frac_bits: int) -> Self:
        """Return the same values with another number of fraction bits.

        Raises:
            ValueError: frac_bits negative or so large that no range is left, or so small that
                k - 2 bits or more would be dropped.

        Range: |x| < 2**(k - 2 - frac_bits), for the larger frac_bits of the two.
        Error: none for more bits; one unit of 2**-frac_bits for fewer.
        Cost: none for more bits; one truncation for fewer, as `__mul__`.
        """
        self.session.check_open("with_frac_bits")
        check_integer(frac_bits, "with_frac_bits: frac_bits")
        check_room(frac_bits, self.session.modulus, "with_frac_bits")
        if frac_bits >= self.frac_bits:
            return self._shifted(frac_bits)
        return self._rescale(
            self._stack, 0, self._drop(self.frac_bits, frac_bits, "with_frac_bits")
        )

    # Leaving secrecy

    def reveal(self) -> Array:
        """Open the values to every party and return them as a float64 ndarray.

        Cost: 1 round; each party sends its share to the others, with "replicated" one word to one
            of them.
        Leaks: the values, to all.
        """
        self.session.check_open("reveal")
        words = self.session.backend.to_numpy(self.session.scheme.open(self._stack))
        return np.asarray(decode(words, self.frac_bits, self.session.modulus))

    # How the operators reach the scheme

    def _factor(self, public: Any, function: str) -> Factor:
        return encode_factor(as_reals(public, function, "operand"), self.session.modulus, function)

    def _operand_as(self, ndim: int) -> Array | Masked | Reused:
        """Return what the scheme multiplies: the masked operand where there is one."""
        if self._masked is None:
            return self._stack_as(ndim)
        ones = (1,) * (ndim - self.ndim)
        return self._reshaped((*ones, *self.shape))._masked if ones else self._masked

    def _broadcast(self, public: Array, function: str) -> tuple[Array, Array]:
        """Return stack and public words on the device, ready for an elementwise operation."""
        self._check_broadcast(public.shape, function)
        return self._stack_as(public.ndim), self.session.backend.asarray(public)

    @property
    def _finest(self) -> int:
        """Fraction bits that a product with public reals keeps: its own, or more of the session."""
        return max(self.frac_bits, self.session.frac_bits)

    def _sum(self: Self, other: Any, operation: str) -> Self:
        session, scheme = self.session, self.session.scheme
        session.check_open(operation)
        if isinstance(other, Arithmetic):
            x, y = self._aligned(other, operation)
            combine = scheme.add if operation == "add" else scheme.sub
            return x._like(combine(x._stack_as(y.ndim), y._stack_as(x.ndim)))
        reals = as_reals(other, operation, "operand")
        x = self._refined(reals)
        limit = word_bits(session.modulus) - 2 - x.frac_bits
        signed = reals if operation == "add" else -reals
        words = encode(signed, x.frac_bits, limit, session.modulus, operation, "operand")
        x_stack, public = x._broadcast(words, operation)
        shape = x._check_broadcast(words.shape, operation)
        if shape != x_stack.shape[1:]:
            x_stack = session.backend.xp.broadcast_to(x_stack, (x_stack.shape[0], *shape))
        return x._like(scheme.add_public(x_stack, public))

    def _product(
        self: Self, operation: Literal["mul", "matmul"], other: Arithmetic, frac_bits: int | None
    ) -> Self:
        """Multiply two secrets and truncate to frac_bits."""
        self._check_partner(other, operation)
        x, y = self, other
        if operation == "matmul":
            x, y = x._as_matrix("left"), y._as_matrix("right")
            check_matmul(self.shape, other.shape, x.shape, y.shape)
        else:
            self._check_broadcast(other.shape, operation)
        drop = self._drop(x.frac_bits + y.frac_bits, frac_bits, operation)
        left, right = x._operand_as(y.ndim), y._operand_as(x.ndim)
        stack = self.session.scheme.product(operation, left, right, drop)
        if operation == "matmul":
            stack = without_vector_axes(stack, self.ndim, other.ndim)
        return type(self)(self.session, stack, x.frac_bits + y.frac_bits - drop)

    def _as_matrix(self: Self, side: str) -> Self:
        """Return a vector as a row (left operand) or a column (right one)."""
        if self.ndim != 1:
            return self
        ends = (1, self.shape[0]) if side == "left" else (self.shape[0], 1)
        return self._reshaped(ends)

    def _matmul_public(self: Self, other: Any, side: str, frac_bits: int | None = None) -> Self:
        """Multiply with a public matrix on the given side."""
        self.session.check_open("matmul")
        factor = self._factor(other, "matmul")
        public = factor.mantissa
        if public.ndim == 1:
            public = public[:, None] if side == "right" else public[None, :]
        x = self._as_matrix("left" if side == "right" else "right")
        shapes = (self.shape, factor.mantissa.shape), (x.shape, public.shape)
        if side == "left":
            shapes = shapes[0][::-1], shapes[1][::-1]
        check_matmul(*shapes[0], *shapes[1])
        drop = self._drop(self.frac_bits + factor.shift, frac_bits, "matmul", self._finest)
        stack, words = x._stack_as(public.ndim), self.session.backend.asarray(public)
        pair = (stack, words) if side == "right" else (words, stack)
        product = self.session.scheme.matmul_public(*pair)
        ndims = (self.ndim, factor.mantissa.ndim)
        product = without_vector_axes(product, *(ndims if side == "right" else ndims[::-1]))
        return self._rescale(product, factor.shift, drop)

    def _drop(
        self, product_bits: int, frac_bits: int | None, function: str, default: int | None = None
    ) -> int:
        """Return how many bits a product's truncation drops."""
        if frac_bits is None:
            wanted = self.session.frac_bits if default is None else default
            frac_bits = min(wanted, product_bits)
        most = word_bits(self.session.modulus) - 3
        least = max(0, product_bits - most)
        check_integer(frac_bits, f"{function}: frac_bits")
        if not least <= frac_bits <= product_bits:
            raise ArgumentValueError(
                f"{function}: frac_bits must be in [{least}, {product_bits}], because a truncation "
                f"drops at most {most} bits of the product's {product_bits}; got {frac_bits}"
            )
        return product_bits - int(frac_bits)

    def _rescale(self: Self, stack: Array, shift: int, drop: int | None = None) -> Self:
        """Wrap a stack of self.frac_bits + shift fraction bits, of which drop are truncated."""
        drop = shift if drop is None else drop
        if drop:
            stack = self.session.scheme.truncate(stack, drop)
        return type(self)(self.session, stack, self.frac_bits + shift - drop)


def check_room(frac_bits: int, modulus: int, function: str) -> None:
    """Refuse fraction bits that leave the word no bit for the value before them."""
    limit = word_bits(modulus) - 2
    if not 0 <= frac_bits < limit:
        raise ArgumentValueError(f"{function}: frac_bits must be in [0, {limit}), got {frac_bits}")
