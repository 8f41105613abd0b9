"""One product of two arrays whose axes are labelled: the core of einsum and of what is like it.

Layer: tensor, above mpc. Diagonals and the sums over what one operand has alone come first and are
local; then one (batched) matrix product, or one elementwise product, with one truncation.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from math import prod
from typing import Any

from he_gpu.errors import ArgumentValueError
from he_gpu.tensor.arithmetic import Arithmetic, check_room

Labels = Sequence[Hashable]
Term = tuple[Any, list[Hashable]]


def contract(
    function: str,
    operands: Sequence[Any],
    labels: Sequence[Labels],
    output: Labels,
    frac_bits: int | None = None,
) -> Any:
    """Return the sum over the labels that the output lacks of the product of the operands.

    Args:
        function: name for the messages.
        operands: one or two, of which one at least is secret; a public one is a float64 ndarray.
        labels: of each operand's axes. A label that occurs twice in one takes the diagonal; an axis
            of length 1 broadcasts against one of the same label in the other operand.
        output: labels of the result's axes, each once and in an operand.
        frac_bits: of a product's result, as `SecretTensor.matmul` takes it.

    Raises:
        ArgumentValueError: equal labels of axes that differ in length; two sessions.

    Cost: none for one operand; else that of one product, `SecretTensor.matmul`'s where something is
        summed and `*`'s where nothing is.
    """
    terms = [
        _distinct(function, value, list(names))
        for value, names in zip(operands, labels, strict=True)
    ]
    if len(terms) == 1:
        ((x, left),) = terms
        return _ordered(*_summed(x, left, output), output)
    (x, left), (y, right) = _stretched(function, *terms)
    x, left = _summed(x, left, {*right, *output})
    y, right = _summed(y, right, {*left, *output})
    if not isinstance(x, Arithmetic):  # a product may be turned round, its labels with it
        x, left, y, right = y, right, x, left
    if isinstance(y, Arithmetic):
        x._check_partner(y, function)
    lengths = {**dict(zip(left, x.shape, strict=True)), **dict(zip(right, y.shape, strict=True))}
    batch = [label for label in left if label in right and label in output]
    inner = [label for label in left if label in right and label not in output]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    repeated, high, deep, wide = (
        tuple(lengths[label] for label in group) for group in (batch, rows, inner, columns)
    )
    if inner:
        a = _ordered(x, left, batch + rows + inner)
        b = _ordered(y, right, batch + inner + columns)
        a = _shaped(a, (*repeated, prod(high), prod(deep)))
        b = _shaped(b, (*repeated, prod(deep), prod(wide)))
        product = a.matmul(b, frac_bits)
    else:
        a = _ordered(x, left, batch + rows)
        b = _ordered(y, right, batch + columns)
        a = _shaped(a, repeated + high + (1,) * len(wide))
        b = _shaped(b, repeated + (1,) * len(high) + wide)
        product = multiplied(function, a, b, frac_bits)
    product = _shaped(product, repeated + high + wide)
    return _ordered(product, batch + rows + columns, output)


def _distinct(function: str, value: Any, names: list[Hashable]) -> Term:
    """Take the diagonals of labels that occur twice."""
    for label in dict.fromkeys(names):
        while names.count(label) > 1:
            i = names.index(label)
            j = names.index(label, i + 1)
            if value.shape[i] != value.shape[j]:
                raise ArgumentValueError(
                    f"{function}: axes {label!r} of one operand must have one length, got "
                    f"{value.shape[i]} and {value.shape[j]}"
                )
            value = value.diagonal(0, i, j)
            names = [*names[:i], *names[i + 1 : j], *names[j + 1 :], label]
    return value, names


def _stretched(function: str, first: Term, second: Term) -> tuple[Term, Term]:
    """Drop the axes of length 1 that broadcast: what is left of them is the other operand's."""
    (x, left), (y, right) = first, second
    for label in [label for label in left if label in right]:
        i, j = left.index(label), right.index(label)
        m, n = x.shape[i], y.shape[j]
        if m == n:
            continue
        if 1 not in (m, n):
            raise ArgumentValueError(
                f"{function}: axes {label!r} must have one length, got {m} and {n} in shapes "
                f"{tuple(x.shape)} and {tuple(y.shape)}"
            )
        if m == 1:
            x, left = x.reshape((*x.shape[:i], *x.shape[i + 1 :])), left[:i] + left[i + 1 :]
        else:
            y, right = y.reshape((*y.shape[:j], *y.shape[j + 1 :])), right[:j] + right[j + 1 :]
    return (x, left), (y, right)


def _summed(value: Any, names: list[Hashable], kept: Collection[Hashable]) -> Term:
    """Sum over the axes whose label nobody else needs."""
    gone = tuple(at for at, label in enumerate(names) if label not in kept)
    return (value.sum(gone) if gone else value), [label for label in names if label in kept]


def _ordered(value: Any, names: Sequence[Hashable], wanted: Labels) -> Any:
    """Return the axes in the wanted order; an order that they have leaves a mask in place."""
    order = tuple(names.index(label) for label in wanted)
    return value if order == tuple(range(len(order))) else value.transpose(order)


def _shaped(value: Any, shape: tuple[int, ...]) -> Any:
    return value if value.shape == shape else value.reshape(shape)


def multiplied(function: str, x: Any, other: Any, frac_bits: int | None) -> Any:
    """Return the elementwise product, with the fraction bits that are asked for.

    That of a public factor of fewer bits, such as a power of two, has them exactly.
    """
    if isinstance(other, Arithmetic):
        return x._product("mul", other, frac_bits)
    factor = x._factor(other, function)
    stack, public = x._broadcast(factor.mantissa, function)
    product_bits = x.frac_bits + factor.shift
    kept = frac_bits if frac_bits is None else min(frac_bits, product_bits)
    drop = x._drop(product_bits, kept, function, x._finest)
    if frac_bits is not None:
        check_room(frac_bits, x.session.modulus, function)
    stack = x.session.scheme.mul_public(stack, public, drop)
    found = type(x)(x.session, stack, product_bits - drop)
    return found if frac_bits is None else found.with_frac_bits(frac_bits)
