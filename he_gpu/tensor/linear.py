"""Linear algebra on secret arrays: products over any axes, traces and transposed matrices.

Layer: tensor, above mpc. Turns NumPy's products into labels for `contraction`. Either operand of a
product may be public. Never reads a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring.fixedpoint import as_reals
from he_gpu.tensor.arithmetic import Arithmetic
from he_gpu.tensor.contraction import contract
from he_gpu.tensor.equation import parse
from he_gpu.tensor.layout import check_axes, check_integer
from he_gpu.tensor.shaping import Shaping

Self = TypeVar("Self", bound="Linear")


class Linear(Shaping):
    """The products of a `SecretTensor` beside ``*`` and ``@``, with NumPy's meanings.

    Each is one product of the session's scheme with one truncation. ``frac_bits`` of the result is
    the session's by default; those of both operands together skip the truncation.

    Range: of every sum of products, as `matmul`; where nothing is summed, as `*`.
    Error: one unit of 2**-frac_bits; none where no truncation is needed.
    Cost: as `matmul`: by a secret 2 rounds, or 1 without truncation; by a public operand one
        truncation, or none for integers.
    Leaks: nothing.
    """

    __slots__ = ()

    @property
    def mT(self: Self) -> Self:  # noqa: N802 - NumPy's name
        """The tensor with its last two axes swapped; a masked tensor stays masked. Cost: none."""
        return self.matrix_transpose()

    def matrix_transpose(self: Self) -> Self:
        """Return the tensor with its last two axes swapped; a masked tensor stays masked.

        Raises:
            ValueError: fewer than 2 axes.

        Cost: none.
        """
        self.session.check_open("matrix_transpose")
        self._check_matrix("matrix_transpose")
        return self.swapaxes(-1, -2)

    def trace(self: Self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Self:
        """Return the sum of the diagonal of the matrices of two axes; see `diagonal`. Cost: none.

        Raises:
            ValueError: fewer than 2 axes, axes out of range or equal.
        """
        self.session.check_open("trace")
        self._check_matrix("trace")
        rows, columns = self._axes((axis1, axis2), "trace")
        check_integer(offset, "trace: offset")
        return self.diagonal(offset, rows, columns).sum(-1)

    def dot(self: Self, other: Any, frac_bits: int | None = None) -> Self:
        """Return the product over self's last axis and other's last but one; see `he_gpu.dot`."""
        product: Self = dot(self, other, frac_bits)
        return product

    def inner(self: Self, other: Any, frac_bits: int | None = None) -> Self:
        """Return the product over the last axis of both; see `he_gpu.inner`."""
        product: Self = inner(self, other, frac_bits)
        return product

    def outer(self: Self, other: Any, frac_bits: int | None = None) -> Self:
        """Return the products of all pairs of elements; see `he_gpu.outer`."""
        product: Self = outer(self, other, frac_bits)
        return product

    def vdot(self: Self, other: Any, frac_bits: int | None = None) -> Self:
        """Return the product over all elements; see `he_gpu.vdot`."""
        product: Self = vdot(self, other, frac_bits)
        return product

    def vecdot(self: Self, other: Any, axis: int = -1, frac_bits: int | None = None) -> Self:
        """Return the product over one axis, elementwise over the others; see `he_gpu.vecdot`."""
        product: Self = vecdot(self, other, axis, frac_bits)
        return product

    def tensordot(self: Self, other: Any, axes: Any = 2, frac_bits: int | None = None) -> Self:
        """Return the product over several axes; see `he_gpu.tensordot`."""
        product: Self = tensordot(self, other, axes, frac_bits)
        return product


def einsum(subscripts: Any, operands: Sequence[Any], frac_bits: int | None) -> Any:
    """Return the sum of products of an equation; see `he_gpu.einsum`."""
    if not 1 <= len(operands) <= 2:
        raise ArgumentValueError(f"einsum: 1 or 2 operands expected, got {len(operands)}")
    values = [_ready(value, "einsum") for value in operands]
    _check_open("einsum", *values)
    equation = parse(subscripts, [value.ndim for value in values])
    if len(values) == 1 and frac_bits is not None:
        raise ArgumentTypeError("einsum: frac_bits is for products, got one operand")
    return contract("einsum", values, equation.operands, equation.output, frac_bits)


def dot(x: Any, y: Any, frac_bits: int | None = None) -> Any:
    """Return the product over x's last axis and y's last but one; see `he_gpu.dot`."""
    x, y = _pair(x, y, "dot")
    if not x.ndim or not y.ndim:
        return _tensordot("dot", x, y, (), (), frac_bits)
    return _tensordot("dot", x, y, (x.ndim - 1,), (max(y.ndim - 2, 0),), frac_bits)


def inner(x: Any, y: Any, frac_bits: int | None = None) -> Any:
    """Return the product over the last axis of both; see `he_gpu.inner`."""
    x, y = _pair(x, y, "inner")
    if not x.ndim or not y.ndim:
        return _tensordot("inner", x, y, (), (), frac_bits)
    return _tensordot("inner", x, y, (x.ndim - 1,), (y.ndim - 1,), frac_bits)


def outer(x: Any, y: Any, frac_bits: int | None = None) -> Any:
    """Return the products of all pairs of elements; see `he_gpu.outer`."""
    x, y = _pair(x, y, "outer")
    return _tensordot("outer", x.reshape((x.size,)), y.reshape((y.size,)), (), (), frac_bits)


def vdot(x: Any, y: Any, frac_bits: int | None = None) -> Any:
    """Return the product over all elements; see `he_gpu.vdot`."""
    x, y = _pair(x, y, "vdot")
    return _tensordot("vdot", x.reshape((x.size,)), y.reshape((y.size,)), (0,), (0,), frac_bits)


def vecdot(x: Any, y: Any, axis: int = -1, frac_bits: int | None = None) -> Any:
    """Return the product over one axis, elementwise over the others; see `he_gpu.vecdot`."""
    x, y = _pair(x, y, "vecdot")
    check_integer(axis, "vecdot: axis")
    (i,), (j,) = (check_axes(axis, value.ndim, "vecdot") for value in (x, y))
    rests = x.shape[:i] + x.shape[i + 1 :], y.shape[:j] + y.shape[j + 1 :]
    try:
        output = range(-len(np.broadcast_shapes(*rests)), 0)
    except ValueError:
        output = None
    if output is None or x.shape[i] != y.shape[j]:
        raise ArgumentValueError(
            f"vecdot: axis {axis} must have one length and the others broadcast, got shapes "
            f"{x.shape} and {y.shape}"
        )
    left: list[Any] = list(range(-len(rests[0]), 0))
    right: list[Any] = list(range(-len(rests[1]), 0))
    left.insert(i, "axis")
    right.insert(j, "axis")
    return contract("vecdot", (x, y), (left, right), output, frac_bits)


def tensordot(x: Any, y: Any, axes: Any = 2, frac_bits: int | None = None) -> Any:
    """Return the product over several axes; see `he_gpu.tensordot`."""
    x, y = _pair(x, y, "tensordot")
    if isinstance(axes, tuple | list):
        if len(axes) != 2:
            raise ArgumentValueError(
                f"tensordot: axes must be one number or two sequences, got {len(axes)}"
            )
        left = check_axes(axes[0], x.ndim, "tensordot")
        right = check_axes(axes[1], y.ndim, "tensordot")
    else:
        check_integer(axes, "tensordot: axes")
        most = min(x.ndim, y.ndim)
        if not 0 <= axes <= most:
            raise ArgumentValueError(f"tensordot: axes must be in [0, {most}], got {axes}")
        left, right = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    return _tensordot("tensordot", x, y, left, right, frac_bits)


def _tensordot(
    function: str,
    x: Any,
    y: Any,
    left: tuple[int, ...],
    right: tuple[int, ...],
    frac_bits: int | None,
) -> Any:
    """Return the product over axes of x and as many of y; the result has x's others, then y's."""
    lengths = [x.shape[at] for at in left], [y.shape[at] for at in right]
    if lengths[0] != lengths[1]:
        raise ArgumentValueError(
            f"{function}: axes {left} and {right} must have equal lengths, got shapes {x.shape} "
            f"and {y.shape}"
        )
    first, second = list(range(x.ndim)), list(range(x.ndim, x.ndim + y.ndim))
    for i, j in zip(left, right, strict=True):
        second[j] = i
    output = [label for label in first if label not in left]
    output += [label for label in second if label >= x.ndim]
    return contract(function, (x, y), (first, second), output, frac_bits)


def _pair(x: Any, y: Any, function: str) -> tuple[Any, Any]:
    """Return the operands of a product, at least one of which is secret."""
    x, y = _ready(x, function), _ready(y, function)
    _check_open(function, x, y)
    return x, y


def _ready(value: Any, function: str) -> Any:
    """Return a secret as it is, and anything else as a float64 ndarray."""
    return value if isinstance(value, Arithmetic) else as_reals(value, function, "operand")


def _check_open(function: str, *values: Any) -> None:
    for value in values:
        if isinstance(value, Arithmetic):
            value.session.check_open(function)
