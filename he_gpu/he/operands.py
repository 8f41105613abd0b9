"""Numbers that users give, as arrays of float64 or complex128, or refused.

Layer: he. Knows no ciphertext. Whatever NumPy makes numbers of is taken: booleans, integers, longer
floats, which are rounded; nothing that is an object to it, has a mask or is not finite.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from he_gpu.backend import Array, to_host
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError


def as_numbers(value: Any, name: str, expected: str = "numbers") -> Array:
    """Return a new host array of finite numbers, float64 or complex128.

    Args:
        value: a number, an array of any device, or nested sequences.
        name: function and argument, for messages: ``Ckks.encrypt: values``.
        expected: what the argument must be, for messages.

    Raises:
        TypeError: no numbers, or some that are masked.
        ValueError: sequences of different lengths; NaN, infinity, or what float64 does not hold.
    """
    try:
        numbers = np.asarray(to_host(value))
    except ValueError as error:
        raise ArgumentValueError(f"{name} must be {expected} of one shape ({error})") from None
    if numbers.dtype.kind not in "biufc" or isinstance(value, np.ma.MaskedArray):
        raise ArgumentTypeError(
            f"{name} must be {expected}, got {type(value).__name__} (dtype {numbers.dtype})"
        )
    with np.errstate(over="ignore"):
        numbers = numbers.astype(np.complex128 if numbers.dtype.kind == "c" else np.float64)
    if not np.isfinite(numbers).all():
        raise RangeError(f"{name} must be finite as float64, got NaN or infinity")
    return numbers


def as_integer(value: Any) -> int | None:
    """Return a Python or NumPy integer as an int, and None for everything else."""
    try:
        return int(operator.index(value))
    except TypeError:
        return None


def as_integers(values: Iterable[Any], name: str) -> list[int]:
    """Return several integers.

    Args:
        values: Python or NumPy integers.
        name: function and argument, for messages.

    Raises:
        TypeError: they cannot be iterated, or one is no integer.
    """
    try:
        found = [(value, as_integer(value)) for value in values]
    except TypeError:
        raise ArgumentTypeError(f"{name} must be integers, got {type(values).__name__}") from None
    for value, integer in found:
        if integer is None:
            raise ArgumentTypeError(f"{name} must be integers, got {type(value).__name__}")
    return [integer for _, integer in found if integer is not None]
