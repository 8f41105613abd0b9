"""Public integers that shape a result: axes, indices, widths and counts, checked and normalised.

Layer: tensor. Knows no arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array, to_host
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, IndexRangeError, SecretAccessError
from he_gpu.tensor.layout import Layout, check_integer


def public_numbers(value: Any, what: str) -> tuple[int, ...]:
    """Return one integer or a sequence of them as a tuple."""
    if isinstance(value, Layout):
        raise SecretAccessError(f"{what} must be public, got a secret; reveal() it first")
    given = tuple(value) if isinstance(value, tuple | list | range | np.ndarray) else (value,)
    for number in given:
        check_integer(number, what)
    return tuple(int(number) for number in given)


def public_integers(value: Any, what: str) -> Array:
    """Return public integers of any shape as an int64 array."""
    if isinstance(value, Layout):
        raise SecretAccessError(f"{what} must be public, got a secret; reveal() it first")
    try:
        array = np.asarray(to_host(value))
    except ValueError as error:
        raise ArgumentValueError(f"{what} must be an array ({error})") from None
    if array.size and array.dtype.kind not in "iu":
        raise ArgumentTypeError(f"{what} must hold integers, got dtype {array.dtype}")
    if array.size and array.dtype.kind == "u" and int(array.max()) >= 2**63:
        raise IndexRangeError(f"{what} must be below 2**63, got {array.max()}")
    return array.astype(np.int64)


def pairs(array: Array, ndim: int, argument: str) -> Array:
    """Return a number before and one behind for each axis."""
    try:
        return np.broadcast_to(array, (ndim, 2))
    except ValueError:
        raise ArgumentValueError(
            f"pad: {argument} must be one number, a pair, or a pair for each of {ndim} axes, got "
            f"shape {array.shape}"
        ) from None


def clamped(value: Any, what: str, below: int, above: int) -> int:
    """Return the number of a diagonal, the nearest empty one for those farther out."""
    check_integer(value, what)
    return max(-below, min(int(value), above))
