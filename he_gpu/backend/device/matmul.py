"""Launcher of ``kernels/matmul.cu`` and ``kernels/matmul_limb.cu``: exact matrix products.

Layer: backend. Same names and results as in `he_gpu.backend.definition.matmul`. Operands may be
transposed, sliced or broadcast: the kernels take steps, so nothing is copied. Operands that are
`Kept` are read as planes, cut once, where the limb kernel serves the product. Large products go to
`matmul_residue`, whose kernels on compute capability 9.0 are those of `matmul_warpgroup`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from he_gpu.backend.definition.words import Array, word_dtype
from he_gpu.backend.device import matmul_residue as residue
from he_gpu.backend.device.domain import domain, reciprocal_arguments
from he_gpu.backend.device.matmul_choice import (
    KERNELS,
    THREADS,
    Problem,
    choose,
    forced,
    plane_kernels,
    planes_serve,
    residues_serve,
)
from he_gpu.backend.device.matmul_kept import kept_side, turned, with_planes
from he_gpu.backend.device.operands import (
    broadcast_shape,
    fold,
    operand,
    overlaps,
    spread,
    steps,
    target,
)
from he_gpu.backend.device.splits import clear
from he_gpu.backend.kept import Kept
from he_gpu.backend.launch import MAX_GRID, KernelDevice
from he_gpu.errors import ArgumentValueError

__all__ = ["KERNELS", "forced", "matmul", "matmul_pair"]


def matmul(
    device: KernelDevice,
    a: Array | Kept,
    b: Array | Kept,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
    b_bits: int | None = None,
) -> Array:
    """Return ``(a @ b + add) mod modulus`` with NumPy's batch dimensions.

    Args:
        device: where the arrays lie.
        a: (..., m, k) words in [0, modulus), as an array or `Kept`.
        b: (..., k, n) words in [0, modulus), likewise.
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
    return _sum(device, "matmul", {"a": a, "b": b}, modulus, add, out, b_bits=b_bits)


def matmul_pair(
    device: KernelDevice,
    a: Array | Kept,
    b: Array | Kept,
    a2: Array | Kept,
    b2: Array | Kept,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
    total: bool = False,
) -> Array:
    """Return ``(a @ b + a2 @ b2 + add) mod modulus`` in one launch, or by residues in several.

    Planes of kept operands are used where a and a2 are `Kept`, or b and b2; residues of each.

    Args:
        device: where the arrays lie.
        a: (..., m, k) words in [0, modulus), as an array or `Kept`.
        b: (..., k, n) words, likewise, as are a2 and b2.
        a2: (..., m, k2) words.
        b2: (..., k2, n) words.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to (..., m, n), or None.
        out: contiguous array that takes the result.
        total: sum the results over the first batch axis, the parties; add is summed with them.

    Returns:
        (..., m, n) words in [0, modulus), with the batch dimensions of all four, in a total
        without the first.
    """
    operands = {"a": a, "b": b, "a2": a2, "b2": b2}
    return _sum(device, "matmul_pair", operands, modulus, add, out, total=total)


def _sum(
    device: KernelDevice,
    function: str,
    operands: dict[str, Array | Kept],
    modulus: int,
    add: Array | None,
    out: Array | None,
    b_bits: int | None = None,
    total: bool = False,
) -> Array:
    """Check the operands of one or two products, broadcast them and launch."""
    if b_bits not in (None, 8, 16):
        raise ArgumentValueError(f"{function}: b_bits must be 8, 16 or None, got {b_bits!r}")
    dtype = word_dtype(modulus)
    names = tuple(operands)
    arrays: list[Any] = [
        operand(device, function, name, x.words if isinstance(x, Kept) else x, dtype)
        for name, x in operands.items()
    ]
    for i in range(0, len(names), 2):
        _check_product(function, names[i : i + 2], arrays[i : i + 2])
    m, n = arrays[0].shape[-2], arrays[1].shape[-1]
    if arrays[-2].shape[-2] != m or arrays[-1].shape[-1] != n:
        raise ArgumentValueError(
            f"{function}: a @ b and a2 @ b2 must have the same matrices, got {(m, n)} and "
            f"{(arrays[-2].shape[-2], arrays[-1].shape[-1])}"
        )
    batch = broadcast_shape(function, *(array.shape[:-2] for array in arrays))
    if total and not (batch and batch[0]):
        raise ArgumentValueError(
            f"{function}: total needs operands (parties, ...) with a party, got batches {batch}"
        )
    if add is not None:
        add = operand(device, function, "add", add, dtype)
        add = spread(device, function, "add", add, (*batch, m, n))
    result = target(device, function, out, (*batch[total:], m, n), dtype)
    if not result.size:
        return result
    parties = batch[0] if total else 1
    depths = [array.shape[-1] for array in arrays[::2]]
    sizes = (prod(batch) // parties, parties, m, n, depths[0], sum(depths[1:]))
    if residues_serve(device, sizes, modulus, b_bits):
        mixed = [
            x if isinstance(x, Kept) else _apart(device, array, result)
            for x, array in zip(operands.values(), arrays, strict=True)
        ]
        add, kernels = _apart(device, add, result), plane_kernels(device, modulus, depths)
        residue.matmul_residue(device, mixed, modulus, add, result, total, kernels)
        return result
    side = kept_side(tuple(operands.values()))
    if side is not None and (b_bits or 0 in depths or not planes_serve(device, sizes, modulus)):
        side = None
    if side is not None:
        arrays = with_planes(device, arrays, tuple(operands.values()), side, modulus)
    arrays = [
        spread(device, function, name, array, (*batch, *array.shape[-2:]))
        for name, array in zip(names, arrays, strict=True)
    ]
    arrays += [None] * (4 - len(arrays)) + [add]
    if out is not None:
        arrays = [_apart(device, array, out) for array in arrays]
    if not total:
        arrays = [x if x is None else x[None] for x in arrays]
    arrays.append(result)
    if side == 1:
        arrays = turned(arrays)
    _multiply(device, modulus, tuple(arrays), b_bits, side is not None)
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
    device: KernelDevice,
    modulus: int,
    arrays: tuple[Any, ...],
    b_bits: int | None,
    kept: bool,
) -> None:
    """Fold the batch axes into one and launch; axes that do not fold are walked one by one.

    All arrays but out have the parties as their first axis.
    """
    *operands, out = arrays
    each = [(0,) * (out.ndim + 1) if x is None else steps(x) for x in operands]
    each.append((0, *steps(out)))
    axes = fold(out.shape[:-2], *(step[1:-2] for step in each))
    if len(axes) > 1:
        for index in range(len(out)):
            inner = (x if x is None else x[:, index] for x in operands)
            _multiply(device, modulus, (*inner, out[index]), b_bits, kept)
        return
    batches, batch_steps = axes[0] if axes else (1, (0,) * len(arrays))
    all_steps = [
        (step[0], batch, *step[-2:]) for batch, step in zip(batch_steps, each, strict=True)
    ]
    k, k2 = (0 if x is None else x.shape[-2] for x in (arrays[1], arrays[3]))
    sizes = (batches, arrays[1].shape[0], *out.shape[-2:], k, k2)
    problem = _stacked(Problem(arrays, tuple(all_steps), sizes, b_bits, kept))
    problem, choice = choose(device, problem, modulus)
    arguments: list[object] = []
    for array, step in zip(problem.arrays[:-1], problem.steps[:-1], strict=True):
        arguments += (array, *map(np.int64, step))
    arguments += (problem.arrays[-1], *map(np.int64, problem.steps[-1][1:]))
    arguments += (*map(np.uint64, problem.sizes), *choice.extra, *reciprocal_arguments(modulus))
    clear(out, choice.parts)
    device.launch(
        choice.family,
        f"{choice.kernel}_{domain(modulus)}",
        (choice.blocks, min(problem.sizes[0], MAX_GRID[1]), choice.parts),
        (THREADS,),
        arguments,
        shared_bytes=choice.shared_bytes,
    )


def _stacked(problem: Problem) -> Problem:
    """Turn batches that share b into rows of one tall matrix, where the steps allow it."""
    batches, parties, m, n, k, k2 = problem.sizes
    b, b2 = problem.steps[1], problem.steps[3]
    rows = (problem.steps[0], problem.steps[2], *problem.steps[4:])
    apart = b[1] != 0 or b2[1] != 0 or any(m > 1 and s[1] != m * s[2] for s in rows)
    if apart or problem.kept:  # planes are no rows that could be stacked
        return problem
    a, a2, add, out = ((s[0], 0, s[1] if m == 1 and batches > 1 else s[2], s[3]) for s in rows)
    return problem._replace(
        steps=(a, b, a2, b2, add, out), sizes=(1, parties, batches * m, n, k, k2)
    )
