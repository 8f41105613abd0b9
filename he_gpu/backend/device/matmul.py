"""Launcher of ``kernels/matmul.cu`` and ``kernels/matmul_limb.cu``: exact matrix products.

Layer: backend. Same names and results as in `he_gpu.backend.definition.matmul`. Operands may be
transposed, sliced or broadcast: the kernels take steps, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.definition.words import Array, word_dtype
from he_gpu.backend.device.crossovers import BUSY_BLOCKS, LIMB_CROSSOVERS, THIN
from he_gpu.backend.device.domain import domain, reciprocal_arguments
from he_gpu.backend.device.matmul_limb import (
    CAPABILITY,
    FAMILY,
    LARGEST_DEPTH,
    LARGEST_SIDE,
    limb_kernel,
)
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
KERNELS = ("matmul", "matmul_small", "matmul_thin", "matmul_limb")

_forced: ContextVar[str | None] = ContextVar("forced matrix product", default=None)


class Problem(NamedTuple):
    """A sum of one or two products as a kernel sees it.

    Attributes:
        arrays: a, b, a2, b2, add and out; a2 and b2, and add, may be None.
        steps: of each array, in words: (batch, row, column).
        sizes: batches, m, n, k, k2; k2 is 0 for one product.
        b_bits: of the signed numbers in b and b2, or None.
    """

    arrays: tuple[Any, ...]
    steps: tuple[Steps, ...]
    sizes: tuple[int, int, int, int, int]
    b_bits: int | None


class Choice(NamedTuple):
    """A kernel for a problem.

    Attributes:
        family: its file.
        kernel: its symbol without the ring.
        blocks: along x.
        extra: arguments between the sizes and the modulus.
        shared_bytes: dynamic shared memory of a block.
    """

    family: str
    kernel: str
    blocks: int
    extra: tuple[np.generic, ...] = ()
    shared_bytes: int = 0


@contextmanager
def forced(kernel: str) -> Iterator[None]:
    """Within this context take one kernel whatever the shape: for tests and benchmarks.

    Args:
        kernel: one of `KERNELS`. "matmul_limb" needs a modulus that is 2^64, 2^32 or at most 2^24.

    Raises:
        ArgumentValueError: no such kernel; at the product, a modulus that it does not serve.
    """
    if kernel not in KERNELS:
        raise ArgumentValueError(f"forced: kernel must be in {KERNELS}, got {kernel!r}")
    token = _forced.set(kernel)
    try:
        yield
    finally:
        _forced.reset(token)


def matmul(
    device: KernelDevice,
    a: Array,
    b: Array,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
    b_bits: int | None = None,
) -> Array:
    """Return ``(a @ b + add) mod modulus`` with NumPy's batch dimensions.

    Args:
        device: where the arrays lie.
        a: (..., m, k) words in [0, modulus).
        b: (..., k, n) words in [0, modulus).
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to (..., m, n), or None.
        out: contiguous array (..., m, n) that takes the result.
        b_bits: 16 or 8 where the caller knows that every word of b, read as a signed number, lies
            in [-2^(b_bits - 1), 2^(b_bits - 1)); modulo 2^64 a kernel may then read no more than
            these bits. Nothing checks it here: outside the range the result is wrong. The
            definition checks it.

    Returns:
        (..., m, n) words in [0, modulus).
    """
    return _sum(device, "matmul", {"a": a, "b": b}, modulus, add, out, b_bits)


def matmul_pair(
    device: KernelDevice,
    a: Array,
    b: Array,
    a2: Array,
    b2: Array,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Return ``(a @ b + a2 @ b2 + add) mod modulus`` in one launch.

    Args:
        device: where the arrays lie.
        a: (..., m, k) words in [0, modulus).
        b: (..., k, n) words.
        a2: (..., m, k2) words.
        b2: (..., k2, n) words.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to (..., m, n), or None.
        out: contiguous array (..., m, n) that takes the result.

    Returns:
        (..., m, n) words in [0, modulus), with the batch dimensions of all four.
    """
    operands = {"a": a, "b": b, "a2": a2, "b2": b2}
    return _sum(device, "matmul_pair", operands, modulus, add, out, None)


def _sum(
    device: KernelDevice,
    function: str,
    operands: dict[str, Array],
    modulus: int,
    add: Array | None,
    out: Array | None,
    b_bits: int | None,
) -> Array:
    """Check the operands of one or two products, broadcast them and launch."""
    if b_bits not in (None, 8, 16):
        raise ArgumentValueError(f"{function}: b_bits must be 8, 16 or None, got {b_bits!r}")
    dtype = word_dtype(modulus)
    names = tuple(operands)
    arrays = [operand(device, function, name, operands[name], dtype) for name in names]
    for i in range(0, len(names), 2):
        _check_product(function, names[i : i + 2], arrays[i : i + 2])
    m, n = arrays[0].shape[-2], arrays[1].shape[-1]
    if arrays[-2].shape[-2] != m or arrays[-1].shape[-1] != n:
        raise ArgumentValueError(
            f"{function}: a @ b and a2 @ b2 must have the same matrices, got {(m, n)} and "
            f"{(arrays[-2].shape[-2], arrays[-1].shape[-1])}"
        )
    batch = broadcast_shape(function, *(array.shape[:-2] for array in arrays))
    result = target(device, function, out, (*batch, m, n), dtype)
    arrays = [
        spread(device, function, name, array, (*batch, *array.shape[-2:]))
        for name, array in zip(names, arrays, strict=True)
    ]
    arrays += [None] * (4 - len(arrays))
    if add is not None:
        add = operand(device, function, "add", add, dtype)
        add = spread(device, function, "add", add, result.shape)
    arrays.append(add)
    if out is not None:
        arrays = [_apart(device, array, out) for array in arrays]
    if result.size:
        _multiply(device, modulus, (*arrays, result), b_bits)
    return result


def _check_product(function: str, names: Sequence[str], arrays: Sequence[Array]) -> None:
    """Refuse a left and a right operand that do not fit."""
    left, right = arrays
    if left.ndim < 2 or right.ndim < 2 or left.shape[-1] != right.shape[-2]:
        raise ArgumentValueError(
            f"{function}: {names[0]} and {names[1]} must have shapes (..., m, k) and "
            f"(..., k, n), got {left.shape} and {right.shape}"
        )


def _apart(device: KernelDevice, array: Array | None, out: Array) -> Array | None:
    """Return an operand, or a copy where a kernel would write it while others read it."""
    return array.copy() if array is not None and overlaps(device, array, out) else array


def _multiply(
    device: KernelDevice, modulus: int, arrays: tuple[Any, ...], b_bits: int | None
) -> None:
    """Fold the batch axes into one and launch; axes that do not fold are walked one by one."""
    out = arrays[-1]
    each = [(0,) * out.ndim if array is None else steps(array) for array in arrays]
    axes = fold(out.shape[:-2], *(step[:-2] for step in each))
    if len(axes) > 1:
        for index in range(len(out)):
            inner = tuple(x if x is None else x[index] for x in arrays)
            _multiply(device, modulus, inner, b_bits)
        return
    batches, batch_steps = axes[0] if axes else (1, (0,) * len(arrays))
    matrix_steps = [(step, *inner[-2:]) for step, inner in zip(batch_steps, each, strict=True)]
    k, k2 = (0 if x is None else x.shape[-1] for x in (arrays[0], arrays[2]))
    sizes = (batches, *out.shape[-2:], k, k2)
    problem = _stacked(Problem(arrays, tuple(matrix_steps), sizes, b_bits))
    problem, choice = _choose(device, problem, modulus)
    arguments: list[object] = []
    for array, step in zip(problem.arrays, problem.steps, strict=True):
        arguments += (array, *map(np.int64, step))
    arguments += (*map(np.uint64, problem.sizes), *choice.extra, *reciprocal_arguments(modulus))
    device.launch(
        choice.family,
        f"{choice.kernel}_{domain(modulus)}",
        (choice.blocks, min(problem.sizes[0], MAX_GRID[1])),
        (THREADS,),
        arguments,
        shared_bytes=choice.shared_bytes,
    )


def _stacked(problem: Problem) -> Problem:
    """Turn batches that share b into rows of one tall matrix, where the steps allow it."""
    batches, m, n, *inner = problem.sizes
    b, b2 = problem.steps[1], problem.steps[3]
    rows = (problem.steps[0], problem.steps[2], *problem.steps[4:])
    if b[0] != 0 or b2[0] != 0 or any(m > 1 and s[0] != m * s[1] for s in rows):
        return problem
    a, a2, add, out = ((0, s[0] if m == 1 and batches > 1 else s[1], s[2]) for s in rows)
    return problem._replace(
        steps=(a, b, a2, b2, add, out), sizes=(1, batches * m, n, inner[0], inner[1])
    )


def _transposed(problem: Problem) -> Problem:
    """Compute the transpose of a flat product, so that the thin side is always the columns."""
    batches, m, n, k, k2 = problem.sizes
    if not m < n or m > THIN:
        return problem
    order = (1, 0, 3, 2, 4, 5)
    turned = [(batch, column, row) for batch, row, column in problem.steps]
    return Problem(
        tuple(problem.arrays[i] for i in order),
        tuple(turned[i] for i in order),
        (batches, n, m, k, k2),
        None,
    )


def _choose(device: KernelDevice, problem: Problem, modulus: int) -> tuple[Problem, Choice]:
    """Return the kernel for a problem, and the problem as that kernel takes it.

    The one place that knows which kernels there are.
    """
    kernel = _forced.get()
    limbs = limb_kernel(modulus, problem.b_bits)
    if kernel == "matmul_limb" or (kernel is None and _pays(device, problem, modulus)):
        _, m, n, *_ = problem.sizes
        if limbs is None:
            raise ArgumentValueError(
                f"matmul: kernel {kernel!r} serves the moduli 2^64, 2^32 and up to 2^24, "
                f"got {modulus}"
            )
        return problem, Choice(FAMILY, limbs.name, limbs.blocks(m, n), (), limbs.shared_bytes)
    problem = _transposed(problem)
    batches, m, n, k, k2 = problem.sizes
    large = -(-m // 64) * -(-n // 64)
    if kernel is None:
        busy = large * batches >= BUSY_BLOCKS
        kernel = "matmul_thin" if n <= THIN else "matmul" if busy else "matmul_small"
    if kernel == "matmul_thin":
        slices = _slices(batches, m, n, k + k2, along_depth=problem.steps[0][2] == 1)
        blocks = -(-m // (THREADS // slices)) * n
        return problem, Choice("matmul", kernel, blocks, (np.uint32(slices),))
    blocks = large if kernel == "matmul" else -(-m // 32) * -(-n // 32)
    return problem, Choice("matmul", kernel, blocks)


def _pays(device: KernelDevice, problem: Problem, modulus: int) -> bool:
    """Tell whether tensor cores serve the ring here and the shape is past the crossover."""
    batches, m, n, k, k2 = problem.sizes
    bound = LIMB_CROSSOVERS[domain(modulus)]
    return (
        limb_kernel(modulus) is not None
        and device.compute_capability >= CAPABILITY
        and min(m, n) >= bound.side
        and k + k2 >= bound.depth
        and batches * m * n >= bound.results
        and max(batches, m, n) <= LARGEST_SIDE
        and k + k2 <= LARGEST_DEPTH
    )


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
