"""Sums, means and shapes of secret tensors, and names that the array API standard gave others.

Layer: functions, above `tensor`. Each is the method of that name, or the function that NumPy has
long had under another name. Plain arrays are refused: NumPy serves them.
Source: Python array API standard, 2024.12.
"""

from __future__ import annotations

from typing import Any

from he_gpu.errors import ArgumentValueError
from he_gpu.functions.comparison import _first
from he_gpu.functions.magnitudes import power
from he_gpu.functions.shaping import concatenate
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.selection import Axes

__all__ = [
    "bitwise_invert",
    "concat",
    "cumulative_sum",
    "mean",
    "permute_dims",
    "pow",
    "reshape",
    "sum",
    "transpose",
]


def sum(x: SecretTensor, /, axis: Axes = None, *, keepdims: bool = False) -> SecretTensor:
    """Return the sum over axes, over all by default; as `SecretTensor.sum`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.sum(s.share([[1.0, 2.0], [3.0, 4.5]]), axis=0).reveal().tolist()
        [4.0, 6.5]
    """
    return _first("sum", x).sum(axis, keepdims)


def mean(x: SecretTensor, /, axis: Axes = None, *, keepdims: bool = False) -> SecretTensor:
    """Return the mean over axes, over all by default; as `SecretTensor.mean`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.mean(s.share([[1.0, 2.0], [3.0, 4.0]]), axis=1).reveal().round(3).tolist()
        [1.5, 3.5]
    """
    return _first("mean", x).mean(axis, keepdims)


def reshape(x: SecretTensor, /, shape: int | tuple[int, ...]) -> SecretTensor:
    """Return the elements in another shape; one length may be -1. As `SecretTensor.reshape`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.reshape(s.share([1.0, 2.0, 3.0, 4.0]), (2, -1)).shape
        (2, 2)
    """
    return _first("reshape", x).reshape(shape)


def transpose(x: SecretTensor, /, axes: tuple[int, ...] | None = None) -> SecretTensor:
    """Return x with permuted axes, reversed by default; as `SecretTensor.transpose`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.transpose(s.share([[1.0, 2.0, 3.0]])).shape
        (3, 1)
    """
    return _first("transpose", x).transpose(axes)  # type: ignore[arg-type]


def permute_dims(x: SecretTensor, /, axes: tuple[int, ...]) -> SecretTensor:
    """Return x with permuted axes; the standard's name for `transpose`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.permute_dims(s.share([[[1.0, 2.0, 3.0]]]), (2, 0, 1)).shape
        (3, 1, 1)
    """
    return _first("permute_dims", x).transpose(*axes)


def concat(tensors: Any, /, *, axis: int | None = 0) -> SecretTensor:
    """Return tensors joined along an axis; the standard's name for `concatenate`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.concat([s.share([1, 2]), [0.5]]).reveal().tolist()
        [1.0, 2.0, 0.5]
    """
    return concatenate(tensors, axis)


def cumulative_sum(x: SecretTensor, /, *, axis: int | None = None) -> SecretTensor:
    """Return the sums of the first 1, 2, ... elements along an axis; see `cumsum`.

    Args:
        x: secret, with at least one axis.
        axis: along which; it may be left out where there is but one.

    Raises:
        ValueError: an axis out of range, or left out for several.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.cumulative_sum(s.share([[1, 2], [3, 4]]), axis=1).reveal().tolist()
        [[1.0, 3.0], [3.0, 7.0]]
    """
    first = _first("cumulative_sum", x)
    if first.ndim == 0 or (axis is None and first.ndim > 1):
        raise ArgumentValueError(
            f"cumulative_sum: axis must be given for all but 1 axis, got {axis} for shape "
            f"{first.shape}"
        )
    return first.cumsum(axis)


def bitwise_invert(x: SecretTensor, /) -> SecretTensor:
    """Return 1 - x for a 0/1 tensor; the standard's name for ``~x``, see `Ordering`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.bitwise_invert(s.share([1, 2, 3]) > 2).reveal().tolist()
        [1.0, 1.0, 0.0]
    """
    return ~_first("bitwise_invert", x)


def pow(x: SecretTensor, exponent: int, /) -> SecretTensor:
    """Return x to the power of a public integer; the standard's name for `power`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.pow(s.share([-1.5, 2.0]), 3).reveal().round(2).tolist()
        [-3.38, 8.0]
    """
    return power(x, exponent)
