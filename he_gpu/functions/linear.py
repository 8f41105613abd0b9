"""Products over any axes, traces, variances and norms of secret tensors, under NumPy's names.

Layer: functions, above `tensor`. Either operand of a product may be public; ranges, errors and
costs are those of `Linear` and `Norms`. Plain arrays alone are refused: NumPy serves them.
"""

from __future__ import annotations

from typing import Any

from he_gpu.errors import ArgumentTypeError
from he_gpu.functions.comparison import _first
from he_gpu.tensor import SecretTensor, linear
from he_gpu.tensor.norms import Axes

__all__ = [
    "dot",
    "einsum",
    "inner",
    "matrix_transpose",
    "norm",
    "outer",
    "std",
    "tensordot",
    "trace",
    "var",
    "vdot",
    "vecdot",
]


def einsum(subscripts: str, /, *operands: Any, frac_bits: int | None = None) -> SecretTensor:
    """Return the sum of products that an equation names, of one operand or two.

    Diagonals are taken and what one operand has alone is summed first, which is local; what is left
    is one batched matrix product, or one elementwise product where nothing is summed.

    Args:
        subscripts: such as ``"bij,bjk->bik"``, with `numpy.einsum`'s rules: letters, ellipses,
            without ``->`` the letters that occur once.
        operands: secret or public, at least one of them secret. Axes of length 1 broadcast.
        frac_bits: of the result of two operands, the session's by default. Those of both together
            skip the truncation; more are refused.

    Raises:
        ValueError: no such equation, lengths that differ, more than two operands, two sessions,
            frac_bits out of range.
        TypeError: nothing secret; frac_bits for one operand.

    Range: as `SecretTensor.matmul`, for every sum of products and for the sums taken first.
    Error: one unit of 2**-frac_bits; none where no truncation is needed.
    Cost: none for one operand. By a secret 2 rounds, 1 without truncation; by a public operand one
        truncation, none for integers. What is sent: as the scheme's `product` of the operands left.
    Leaks: nothing.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     x = s.share([[1, 2], [3, 4]])
    ...     he.einsum("ii->i", x).reveal().tolist()
    ...     he.einsum("ij,kj->ik", x, [[1, 1]]).reveal().tolist()
    ...     he.einsum("ij,ji", x, x, frac_bits=32).reveal().tolist()
    [1.0, 4.0]
    [[3.0], [7.0]]
    29.0
    """
    if not isinstance(subscripts, str):
        raise ArgumentTypeError(
            f"einsum: subscripts must be a string, got {type(subscripts).__name__}"
        )
    _first("einsum", *(operands or (None,)))
    product: SecretTensor = linear.einsum(subscripts, operands, frac_bits)
    return product


def dot(x: Any, y: Any, /, *, frac_bits: int | None = None) -> SecretTensor:
    """Return the product over x's last axis and y's last but one, or its only one.

    Args:
        x: secret or public; a 0-d operand multiplies elementwise.
        y: likewise.
        frac_bits: of the result, see `Linear`.

    Returns:
        SecretTensor with x's other axes, then y's; for batches see `SecretTensor.matmul`.

    Raises:
        ValueError: axes of unequal lengths, two sessions, frac_bits out of range.
        TypeError: nothing secret.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.dot([1, 2], s.share([[1, 2], [3, 4]])).reveal().tolist()
    [7.0, 10.0]
    """
    _first("dot", x, y)
    product: SecretTensor = linear.dot(x, y, frac_bits)
    return product


def inner(x: Any, y: Any, /, *, frac_bits: int | None = None) -> SecretTensor:
    """Return the product over the last axis of both. Args, Raises: as `dot`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.inner(s.share([[1, 2], [3, 4]]), [1, 2]).reveal().tolist()
    [5.0, 11.0]
    """
    _first("inner", x, y)
    product: SecretTensor = linear.inner(x, y, frac_bits)
    return product


def outer(x: Any, y: Any, /, *, frac_bits: int | None = None) -> SecretTensor:
    """Return the products of every element of x, a row each, and every one of y.

    Args, Raises: as `dot`; operands of any shape count as vectors.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.outer(s.share([1, 2]), [3, 4, 5]).reveal().tolist()
    [[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]
    """
    _first("outer", x, y)
    product: SecretTensor = linear.outer(x, y, frac_bits)
    return product


def vdot(x: Any, y: Any, /, *, frac_bits: int | None = None) -> SecretTensor:
    """Return the product over all elements. Args, Raises: as `dot`; shapes may differ.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.vdot(s.share([[1, 2], [3, 4]]), [[1, 0], [0, 1]]).reveal().tolist()
    5.0
    """
    _first("vdot", x, y)
    product: SecretTensor = linear.vdot(x, y, frac_bits)
    return product


def vecdot(x: Any, y: Any, /, *, axis: int = -1, frac_bits: int | None = None) -> SecretTensor:
    """Return the product over one axis of both; the others broadcast. Args, Raises: as `dot`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.vecdot(s.share([[1, 2], [3, 4]]), [[1, 2], [3, 4]]).reveal().tolist()
    [5.0, 25.0]
    """
    _first("vecdot", x, y)
    product: SecretTensor = linear.vecdot(x, y, axis, frac_bits)
    return product


def tensordot(x: Any, y: Any, /, axes: Any = 2, *, frac_bits: int | None = None) -> SecretTensor:
    """Return the product over several axes.

    Args:
        x: secret or public.
        y: likewise.
        axes: how many, the last of x and the first of y, or a pair: which of x and which of y.
        frac_bits: of the result, see `Linear`.

    Returns:
        SecretTensor with x's other axes, then y's.

    Raises:
        ValueError: axes out of range, repeated or of unequal lengths, two sessions, frac_bits out
            of range.
        TypeError: nothing secret.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     x = s.share([[1, 2], [3, 4]])
    ...     he.tensordot(x, [[1, 0], [1, 0]], axes=([0], [1])).reveal().tolist()
    [[1.0, 1.0], [2.0, 2.0]]
    """
    _first("tensordot", x, y)
    product: SecretTensor = linear.tensordot(x, y, axes, frac_bits)
    return product


def trace(x: SecretTensor, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> SecretTensor:
    """Return the sum of a diagonal of the matrices of two axes; as `SecretTensor.trace`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.trace(s.share([[1, 2], [3, 4]])).reveal().tolist()
    5.0
    """
    return _first("trace", x).trace(offset, axis1, axis2)


def matrix_transpose(x: SecretTensor, /) -> SecretTensor:
    """Return x with its last two axes swapped; as `SecretTensor.mT`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.matrix_transpose(s.share([[[1, 2], [3, 4]]])).reveal().tolist()
    [[[1.0, 3.0], [2.0, 4.0]]]
    """
    return _first("matrix_transpose", x).matrix_transpose()


def var(
    x: SecretTensor,
    /,
    axis: Axes = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the variance over axes, over all by default; as `SecretTensor.var`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.var(s.share([[1, 3, 1, 3], [0, 0, 8, 8]]), axis=1).reveal().round(3).tolist()
    [1.0, 16.0]
    """
    return _first("var", x).var(axis, ddof, keepdims, correction=correction, frac_bits=frac_bits)


def std(
    x: SecretTensor,
    /,
    axis: Axes = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the standard deviation over axes, over all by default; as `SecretTensor.std`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.std(s.share([0, 0, 8, 8])).reveal().round(2).tolist()
    4.0
    """
    return _first("std", x).std(axis, ddof, keepdims, correction=correction, frac_bits=frac_bits)


def norm(
    x: SecretTensor,
    /,
    ord: Any = None,
    axis: Axes = None,
    keepdims: bool = False,
    *,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the norm of vectors or matrices; as `SecretTensor.norm`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.norm(s.share([3, -4])).reveal().round(2).tolist()
    ...     he.norm(s.share([3, -4]), ord=1).reveal().tolist()
    5.0
    7.0
    """
    first = _first("norm", x, numpy="numpy.linalg.norm")
    return first.norm(ord, axis, keepdims, frac_bits=frac_bits)
