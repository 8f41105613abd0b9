"""Public reals on the grid of a fixed-point encoding, for comparisons that round nothing.

Layer: ring. An encoded x is X / 2^frac_bits with an integer X, so x < t holds exactly where
X < ceil(t 2^frac_bits), and x <= t where X < floor(t 2^frac_bits) + 1.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from he_gpu.backend import Array, to_host
from he_gpu.errors import ArgumentValueError
from he_gpu.ring.fixedpoint import as_reals, word_bits


def on_grid(values: Any, frac_bits: int, modulus: int, function: str) -> tuple[Array, Array]:
    """Return where public reals t lie among the multiples of 2**-frac_bits.

    Args:
        values: integers of any size, and floats with infinities; nothing is rounded to float64, but
            the integers of a list that holds floats too.
        frac_bits: fraction bits of the encoding.
        modulus: 2**64 or 2**32.
        function: name for the message.

    Returns:
        int64 of floor(t 2**frac_bits), clamped to +-2**(k-2), beyond which no encoding lies; and
        whether t is a multiple inside.

    Raises:
        ArgumentValueError: NaN, or lists of unequal lengths.
        ArgumentTypeError: anything but real numbers.
    """
    bits = word_bits(modulus) - 2
    array = _numbers(values, function)
    if array.dtype.kind != "f":
        if frac_bits > bits:  # every integer but 0 lies beyond
            most = np.int64(2**bits)
            zero = np.asarray(array == 0, np.bool_)
            return np.where(zero, 0, np.where(array > 0, most, -most)), zero
        end = 2 ** (bits - frac_bits)
        inside = np.asarray((array < end) & (array > -end), np.bool_)
        integers = np.where(inside, array, np.where(array > 0, end, -end)).astype(np.int64)
        return integers << frac_bits, inside
    if np.isnan(array).any():
        raise ArgumentValueError(f"{function}: operand must not be NaN, got nan")
    with np.errstate(over="ignore"):  # an infinity is clamped
        scaled = np.ldexp(array.astype(np.promote_types(array.dtype, np.float64)), frac_bits)
    floor = np.floor(scaled)
    inside = np.asarray((floor == scaled) & (np.abs(scaled) < 2.0**bits))
    return np.asarray(np.clip(floor, -(2.0**bits), 2.0**bits).astype(np.int64)), inside


def _numbers(values: Any, function: str) -> Array:
    """Return reals as they are: floats, or integers of Python's."""
    if not isinstance(values, np.ma.MaskedArray):
        with suppress(ValueError):
            if isinstance(values, list | tuple):  # of which NumPy may make floats
                array = np.array(values, dtype=object)
                if array.size and _holds_integers(array):
                    return array
            array = np.asarray(to_host(values))
            if array.dtype.kind == "f":
                return array
            if array.dtype == np.uint64:  # 2^63 - 1 is beyond every encoding already
                return np.minimum(array, np.uint64(2**63 - 1)).astype(np.int64)
            if array.dtype.kind in "iub":
                return array.astype(np.int64)
            if array.dtype == object and _holds_integers(array):
                return array
    return as_reals(values, function, "operand")  # which says what is wrong


def _holds_integers(array: Array) -> bool:
    return all(isinstance(value, int | np.integer | np.bool_) for value in array.flat)
