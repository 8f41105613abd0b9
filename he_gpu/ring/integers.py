"""Integers of any size and type reduced into ring words, with the checks that users need.

Layer: ring. Knows NumPy arrays and moduli; the device comes later.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array, to_host, word_dtype
from he_gpu.errors import ArgumentTypeError, ArgumentValueError


def check_modulus(modulus: Any, function: str) -> int:
    """Return the modulus as a Python int, or refuse it.

    Raises:
        ArgumentTypeError: not an integer.
        ArgumentValueError: neither 2 <= modulus <= 2**63 nor exactly 2**64.
    """
    if isinstance(modulus, bool) or not isinstance(modulus, int | np.integer):
        raise ArgumentTypeError(
            f"{function}: modulus must be an integer, got {type(modulus).__name__}"
        )
    value = int(modulus)
    if not (2 <= value <= 2**63 or value == 2**64):
        raise ArgumentValueError(
            f"{function}: modulus must be in [2, 2**63] or exactly 2**64, got {value}"
        )
    return value


def reduce_integers(values: Any, modulus: int, function: str) -> Array:
    """Return integers modulo ``modulus`` as a NumPy array of the ring's words.

    Args:
        values: Python ints of any size, nested lists of them, or an array of any integer type
            (of Python ints too); negative ones are reduced upwards.
        modulus: as `check_modulus` returned it.
        function: name for the messages.

    Raises:
        ArgumentTypeError: anything but integers.
        ArgumentValueError: lists of unequal lengths.
    """
    values = to_host(values)
    if isinstance(values, np.ma.MaskedArray):
        raise ArgumentTypeError(f"{function}: a masked array; fill it first")
    if not isinstance(values, np.ndarray | np.generic):
        # Through objects, because NumPy turns lists of large ints into floats.
        try:
            values = np.array(values, dtype=object)
        except ValueError as error:
            raise ArgumentValueError(f"{function}: lists of unequal lengths ({error})") from None
    dtype = word_dtype(modulus)
    if values.dtype == object:
        for value in values.flat:
            if isinstance(value, list | tuple):
                raise ArgumentValueError(f"{function}: lists of unequal lengths")
            if not isinstance(value, int | np.integer):
                raise ArgumentTypeError(
                    f"{function}: integers expected, got {type(value).__name__} {value!r}"
                )
        reduced = [int(value) % modulus for value in values.flat]
        return np.array(reduced, dtype=dtype).reshape(values.shape)
    if values.dtype.kind not in "iub":
        raise ArgumentTypeError(f"{function}: integers expected, got dtype {values.dtype}")
    values = np.asarray(values)
    if modulus in (2**64, 2**32):  # C's conversions of integers are reductions
        return values.astype(np.int64 if values.dtype.kind == "i" else np.uint64).astype(dtype)
    if values.dtype.kind == "i":
        wide = values.astype(np.int64)
        if modulus == 2**63:
            return np.asarray(np.bitwise_and(wide.astype(np.uint64), np.uint64(modulus - 1)))
        return np.asarray(np.remainder(wide, np.int64(modulus))).astype(np.uint64)
    return np.asarray(np.remainder(values.astype(np.uint64), np.uint64(modulus)))
