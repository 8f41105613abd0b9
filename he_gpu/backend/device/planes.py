"""What the launchers of kernels on packed bits share: exact shapes, and grids of rows.

Layer: backend. Shapes are exact here: nothing broadcasts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.operands import operand
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

THREADS = 256
MAX_ROWS = 64
"""Rows of a grid; a kernel strides over more."""

_WORD = np.dtype(np.uint64)


def launch_rows(
    device: KernelDevice,
    family: str,
    kernel: str,
    rows: int,
    width: int,
    arguments: tuple[Any, ...],
) -> None:
    """Run a kernel on rows of so many words, or threads, unless there are none."""
    if rows and width:
        grid = (*grid_1d(width, THREADS), min(rows, MAX_ROWS))
        device.launch(family, kernel, grid, (THREADS,), arguments)


def packed(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] = _WORD,
) -> Array:
    """Return an operand of an exact shape, contiguous, a copy only where it must be."""
    return contiguous(checked(device, function, name, value, shape, dtype))


def checked(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] = _WORD,
) -> Array:
    """Return an operand of an exact shape."""
    value = operand(device, function, name, value, dtype)
    if value.shape != shape:
        raise ArgumentValueError(f"{function}: {name} must have shape {shape}, got {value.shape}")
    return value


def axes(function: str, name: str, value: Array, *names: str) -> Array:
    """Return an array that has these axes."""
    if value.ndim != len(names):
        listed = f"({', '.join(names)}{',' * (len(names) == 1)})"
        raise ArgumentValueError(f"{function}: {name} must have shape {listed}, got {value.shape}")
    return value


def contiguous(value: Array) -> Array:
    """Return an array whose words lie side by side, a copy only where it must be."""
    return value if value.flags.c_contiguous else value.copy()
