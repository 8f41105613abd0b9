"""Launchers of ``kernels/elementwise.cu``: arithmetic word by word on arrays of a device.

Layer: backend. Same names and results as `he_gpu.backend.definition.elementwise`; the operands of
add, sub, neg and mul broadcast as in NumPy, and are copied only where the broadcast has more than
two folded axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from he_gpu.backend.definition.words import Array, word_dtype, wraps
from he_gpu.backend.device.domain import domain, modulus_arguments, reciprocal_arguments
from he_gpu.backend.device.operands import (
    broadcast_shape,
    coincides,
    contiguous,
    exact,
    fold,
    operand,
    overlaps,
    spread,
    steps,
    target,
)
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

THREADS = 256
PACK_BYTES = 16
TERMS = 8
"""Operands of one launch of a weighted sum."""


def add(device: KernelDevice, a: Array, b: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(a + b) mod modulus``."""
    return _launch(device, "add", (a, b), modulus, modulus_arguments(modulus), out)


def sub(device: KernelDevice, a: Array, b: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(a - b) mod modulus``."""
    return _launch(device, "sub", (a, b), modulus, modulus_arguments(modulus), out)


def neg(device: KernelDevice, a: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(-a) mod modulus``."""
    return _launch(device, "neg", (a,), modulus, modulus_arguments(modulus), out)


def mul(device: KernelDevice, a: Array, b: Array, modulus: int, out: Array | None = None) -> Array:
    """Return ``(a * b) mod modulus``."""
    return _launch(device, "mul", (a, b), modulus, reciprocal_arguments(modulus), out)


def weighted_sum(
    device: KernelDevice, stacks: Sequence[Array], weights: Sequence[int], modulus: int
) -> Array:
    """Return ``sum(weight * stack)`` modulo 2^64 or 2^32, one launch for `TERMS` stacks.

    Every stack is read once. One that is not contiguous but for its first axis costs a copy.
    """
    name = "weighted_sum"
    if not wraps(modulus):
        raise ArgumentValueError(f"{name}: modulus must be 2^64 or 2^32, got {modulus}")
    if not stacks or len(stacks) != len(weights):
        raise ArgumentValueError(
            f"{name}: stacks and weights must be as many, and one at least, got {len(stacks)} "
            f"and {len(weights)}"
        )
    dtype, shape = word_dtype(modulus), stacks[0].shape
    views = [exact(device, name, "stack", stack, shape, dtype) for stack in stacks]
    words = [dtype.type(weight % modulus) for weight in weights]
    result = device.xp.empty(shape, dtype)
    if result.size:
        for start in range(0, len(views), TERMS):
            part = slice(start, start + TERMS)
            _add_terms(device, views[part], words[part], modulus, result, onto=start > 0)
    return result


def _add_terms(
    device: KernelDevice,
    views: list[Array],
    weights: list[np.generic],
    modulus: int,
    result: Array,
    onto: bool,
) -> None:
    """Give a result, or add to it, the weighted sum of up to `TERMS` stacks."""
    axes = fold(result.shape, steps(result), *map(steps, views))
    if len(axes) > 2 or any(step != 1 for _, each in axes[-1:] for step in each):
        views = [contiguous(view) for view in views]
        axes = fold(result.shape, steps(result), *map(steps, views))
    one_line = [(1, (0,) * (1 + len(views)))]
    (rows, row_steps), (columns, _) = one_line * (2 - len(axes)) + axes
    arguments: list[object] = []
    for view, row_step, weight in zip(views, row_steps[1:], weights, strict=True):
        arguments += (view, np.int64(row_step), weight)
    arguments += (None, np.int64(0), result.dtype.type(0)) * (TERMS - len(views))
    arguments += (result, np.uint64(rows), np.uint64(columns), np.uint32(len(views)))
    grid, block = plane_grid(rows, -(-columns * result.itemsize // PACK_BYTES))
    kernel = f"weighted_sum_{domain(modulus)}"
    device.launch("elementwise", kernel, grid, block, (*arguments, np.uint32(onto)))


def _launch(
    device: KernelDevice,
    function: str,
    operands: tuple[Array, ...],
    modulus: int,
    constants: tuple[np.generic, ...],
    out: Array | None,
) -> Array:
    """Check and broadcast the operands, fold them into planes and launch."""
    dtype = word_dtype(modulus)
    arrays = [
        operand(device, function, name, value, dtype)
        for name, value in zip("ab", operands, strict=False)
    ]
    shape = broadcast_shape(function, *(array.shape for array in arrays))
    result = target(device, function, out, shape, dtype)
    if result.size == 0:
        return result
    views = [spread(device, function, "operand", array, shape) for array in arrays]
    if out is not None:
        # A kernel reads an operand while it writes out: harmless only word upon word.
        views = [
            view.copy() if overlaps(device, view, out) and not coincides(view, out) else view
            for view in views
        ]
    axes = fold(shape, steps(result), *map(steps, views))
    if len(axes) > 2:
        views = [view.copy() for view in views]
        axes = fold(shape, steps(result), *map(steps, views))
    one_line = [(1, (0,) * (1 + len(views)))]
    (rows, row_steps), (columns, column_steps) = one_line * (2 - len(axes)) + axes
    arguments: list[object] = []
    for view, row_step, column_step in zip(views, row_steps[1:], column_steps[1:], strict=True):
        arguments += (view, np.int64(row_step), np.int64(column_step))
    arguments += (result, np.uint64(rows), np.uint64(columns), *constants)
    grid, block = plane_grid(rows, -(-columns * dtype.itemsize // PACK_BYTES))
    device.launch("elementwise", f"{function}_{domain(modulus)}", grid, block, arguments)
    return result


def plane_grid(rows: int, packs: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return grid and block for rows of some packs of 16 bytes; the kernel strides over the rest.

    A block is as wide as a row needs, in powers of two up to 256 threads, and else takes rows.
    """
    x = min(THREADS, 1 << (packs - 1).bit_length())
    y = min(THREADS // x, 1 << (rows - 1).bit_length())
    (across,) = grid_1d(packs, x)
    (down,) = grid_1d(rows, y)
    return (across, max(1, min(down, 4096 // across))), (x, y)
