"""Launcher of ``kernels/matmul.cu``: the exact matrix product on arrays of a device.

Layer: backend. Same name and result as `he_gpu.backend.definition.matmul.matmul`. Operands may
be transposed, sliced or broadcast: the kernels take steps, so nothing is copied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.definition.words import Array, word_dtype
from he_gpu.backend.device.domain import domain, reciprocal_arguments
from he_gpu.backend.device.operands import (
    Steps,
    broadcast_shape,
    fold,
    operand,
    overlaps,
    spread,
    steps,
    target,
)
from he_gpu.backend.launch import MAX_GRID, KernelDevice
from he_gpu.errors import ArgumentValueError

THREADS = 256
THIN = 8
"""Up to this many columns a block makes one column: a tile would compute mostly zeros."""
BUSY_BLOCKS = 128
"""Fewer blocks than this leave multiprocessors of a large GPU without work."""


class Problem(NamedTuple):
    """One product as a kernel sees it.

    Attributes:
        arrays: a, b, add (or None) and out.
        steps: of each array, in words: (batch, row, column).
        sizes: batches, m, n, k.
    """

    arrays: tuple[Any, ...]
    steps: tuple[Steps, ...]
    sizes: tuple[int, int, int, int]


def matmul(
    device: KernelDevice,
    a: Array,
    b: Array,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Return ``(a @ b + add) mod modulus`` with NumPy's batch dimensions.

    Args:
        device: where the arrays lie.
        a: (..., m, k) words in [0, modulus).
        b: (..., k, n) words in [0, modulus).
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to (..., m, n), or None.
        out: contiguous array (..., m, n) that takes the result.

    Returns:
        (..., m, n) words in [0, modulus).
    """
    dtype = word_dtype(modulus)
    a = operand(device, "matmul", "a", a, dtype)
    b = operand(device, "matmul", "b", b, dtype)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ArgumentValueError(
            f"matmul: a and b must have shapes (..., m, k) and (..., k, n), "
            f"got {a.shape} and {b.shape}"
        )
    batch = broadcast_shape("matmul", a.shape[:-2], b.shape[:-2])
    result = target(device, "matmul", out, (*batch, a.shape[-2], b.shape[-1]), dtype)
    a = spread(device, "matmul", "a", a, (*batch, *a.shape[-2:]))
    b = spread(device, "matmul", "b", b, (*batch, *b.shape[-2:]))
    if add is not None:
        add = operand(device, "matmul", "add", add, dtype)
        add = spread(device, "matmul", "add", add, result.shape)
    if out is not None:
        a, b, add = (_apart(device, array, out) for array in (a, b, add))
    if result.size:
        _multiply(device, modulus, a, b, add, result)
    return result


def _apart(device: KernelDevice, array: Array | None, out: Array) -> Array | None:
    """Return an operand, or a copy where a kernel would write it while others read it."""
    return array.copy() if array is not None and overlaps(device, array, out) else array


def _multiply(
    device: KernelDevice, modulus: int, a: Array, b: Array, add: Array | None, out: Array
) -> None:
    """Fold the batch axes into one and launch; axes that do not fold are walked one by one."""
    arrays = (a, b, add, out)
    each = [(0,) * out.ndim if array is None else steps(array) for array in arrays]
    axes = fold(out.shape[:-2], *(step[:-2] for step in each))
    if len(axes) > 1:
        for index in range(len(out)):
            _multiply(device, modulus, *(x if x is None else x[index] for x in arrays))
        return
    batches, batch_steps = axes[0] if axes else (1, (0,) * len(arrays))
    matrix_steps = [(step, *inner[-2:]) for step, inner in zip(batch_steps, each, strict=True)]
    sizes = (batches, out.shape[-2], out.shape[-1], a.shape[-1])
    problem = _transposed(_stacked(Problem(arrays, tuple(matrix_steps), sizes)))
    kernel, blocks, extra = _choose(problem)
    arguments: list[object] = []
    for array, step in zip(problem.arrays, problem.steps, strict=True):
        arguments += (array, *map(np.int64, step))
    arguments += (*map(np.uint64, problem.sizes), *extra, *reciprocal_arguments(modulus))
    grid = (blocks, min(problem.sizes[0], MAX_GRID[1]))
    device.launch("matmul", f"{kernel}_{domain(modulus)}", grid, (THREADS,), arguments)


def _stacked(problem: Problem) -> Problem:
    """Turn batches that share b into rows of one tall matrix, where the steps allow it."""
    batches, m, n, k = problem.sizes
    others = (problem.steps[0], *problem.steps[2:])
    if problem.steps[1][0] != 0 or any(m > 1 and s[0] != m * s[1] for s in others):
        return problem
    tall = tuple((0, s[0] if m == 1 and batches > 1 else s[1], s[2]) for s in problem.steps)
    kept = (tall[0], problem.steps[1], *tall[2:])
    return Problem(problem.arrays, kept, (1, batches * m, n, k))


def _transposed(problem: Problem) -> Problem:
    """Compute the transpose of a flat product, so that the thin side is always the columns."""
    batches, m, n, k = problem.sizes
    if not m < n or m > THIN:
        return problem
    a, b, add, out = problem.arrays
    turned = [(batch, column, row) for batch, row, column in problem.steps]
    order = (turned[1], turned[0], turned[2], turned[3])
    return Problem((b, a, add, out), order, (batches, n, m, k))


def _choose(problem: Problem) -> tuple[str, int, tuple[np.generic, ...]]:
    """Return the kernel for a problem, its blocks along x and its further arguments.

    The one place that knows which kernels there are: others for some shapes, rings or devices
    are chosen here.
    """
    batches, m, n, k = problem.sizes
    if n <= THIN:
        slices = _slices(batches, m, n, k, along_depth=problem.steps[0][2] == 1)
        return "matmul_thin", -(-m // (THREADS // slices)) * n, (np.uint32(slices),)
    large = -(-m // 64) * -(-n // 64)
    if large * batches >= BUSY_BLOCKS:
        return "matmul", large, ()
    return "matmul_small", -(-m // 32) * -(-n // 32), ()


def _slices(batches: int, m: int, n: int, k: int, along_depth: bool) -> int:
    """Return how many threads share the inner dimension of one thin result.

    More of them only where the device has threads to spare and each keeps some products. Where
    a's words are neighbours along its rows, a block keeps 8 rows for the sake of the memory.
    """
    slices, most = (32, 256) if along_depth else (8, 32)
    while (
        slices < most and k >= 16 * slices and -(-m * slices // THREADS) * n * batches < BUSY_BLOCKS
    ):
        slices *= 2
    return slices
