"""What the launchers of kernels on packed bits share: grids of rows, and the axes of operands.

Layer: backend, under the launchers of bits and of leaves.
"""

from __future__ import annotations

from typing import Any

from he_gpu.backend.definition.words import Array
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

THREADS = 256
MAX_ROWS = 64
"""Rows of a grid; a kernel strides over more."""


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


def axes(function: str, name: str, value: Array, *names: str) -> Array:
    """Return an array that has these axes."""
    if value.ndim != len(names):
        listed = f"({', '.join(names)}{',' * (len(names) == 1)})"
        raise ArgumentValueError(f"{function}: {name} must have shape {listed}, got {value.shape}")
    return value
