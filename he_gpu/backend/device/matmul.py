"""Launcher of ``kernels/matmul.cu`` and ``kernels/matmul_limb.cu``: exact matrix products.

Layer: backend. Same names and results as in `he_gpu.backend.definition.matmul`. Operands may be
transposed, sliced or broadcast: the kernels take steps, so nothing is copied. Operands that are
`Kept` are read as planes, cut once, where the limb kernel serves the product. Large products go to
`matmul_residue`, whose kernels on compute capability 9.0 are those of `matmul_warpgroup`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.definition.words import RING_32, RING_64, Array, word_dtype
from he_gpu.backend.device import matmul_residue as residue
from he_gpu.backend.device import matmul_warpgroup as warpgroup
from he_gpu.backend.device.crossovers import (
    BUSY_BLOCKS,
    LIMB_CROSSOVERS,
    RESIDUE_CROSSOVERS,
    THIN,
)
from he_gpu.backend.device.domain import domain, reciprocal_arguments
from he_gpu.backend.device.matmul_kept import kept_side, turned, with_planes
from he_gpu.backend.device.matmul_limb import (
    CAPABILITY,
    FAMILY,
    LARGEST_DEPTH,
    LARGEST_SIDE,
    LIMB_RESIDENT,
    LimbKernel,
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
from he_gpu.backend.device.plane_kernels import PlaneKernels
from he_gpu.backend.device.splits import clear, splits
from he_gpu.backend.kept import Kept
from he_gpu.backend.launch import MAX_GRID, KernelDevice
from he_gpu.errors import ArgumentValueError

THREADS = 256
RESIDENT = 4
"""Blocks of small tiles of words that share a multiprocessor and hide each other's waits."""
RESIDUES = ("matmul_residue", "matmul_warpgroup")
"""Launchers that cut whole operands into planes first; modulo 2^32 the second makes limbs."""
KERNELS = ("matmul", "matmul_small", "matmul_thin", "matmul_limb", *RESIDUES)

_forced: ContextVar[str | None] = ContextVar("forced matrix product", default=None)


class Problem(NamedTuple):
    """A sum of one or two products as a kernel sees it.

    Attributes:
        arrays: a, b, a2, b2, add and out; a2 and b2, and add, may be None.
        steps: of each array, in words: (party, batch, row, column).
        sizes: batches, parties, m, n, k, k2; k2 is 0 for one product. A result is the sum over
            the parties of a batch.
        b_bits: of the signed numbers in b and b2, or None.
        kept: whether a and a2 are `planes`.
    """

    arrays: tuple[Any, ...]
    steps: tuple[Steps, ...]
    sizes: tuple[int, int, int, int, int, int]
    b_bits: int | None
    kept: bool


class Choice(NamedTuple):
    """A kernel for a problem.

    Attributes:
        family: its file.
        kernel: its symbol without the ring.
        blocks: along x.
        extra: arguments between the sizes and the modulus.
        shared_bytes: dynamic shared memory of a block.
        parts: into which the inner sums are split, blocks along z.
    """

    family: str
    kernel: str
    blocks: int
    extra: tuple[np.generic, ...] = ()
    shared_bytes: int = 0
    parts: int = 1


@contextmanager
def forced(kernel: str) -> Iterator[None]:
    """Within this context take one kernel whatever the shape: for tests and benchmarks.

    Args:
        kernel: one of `KERNELS`. "matmul_limb" needs a modulus that is 2^64, 2^32 or at most 2^24,
            "matmul_warpgroup" a GPU of compute capability 9.0, compiled for by NVRTC 12.9 or
            newer, or the emulator.

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
    if _residues_serve(device, sizes, modulus, b_bits):
        mixed = [
            x if isinstance(x, Kept) else _apart(device, array, result)
            for x, array in zip(operands.values(), arrays, strict=True)
        ]
        add, kernels = _apart(device, add, result), _plane_kernels(device, modulus, depths)
        residue.matmul_residue(device, mixed, modulus, add, result, total, kernels)
        return result
    side = kept_side(tuple(operands.values()))
    if side is not None and (b_bits or 0 in depths or not _planes_serve(device, sizes, modulus)):
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
    problem, choice = _choose(device, problem, modulus)
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


def _transposed(problem: Problem) -> Problem:
    """Compute the transpose of a flat product, so that the thin side is always the columns."""
    batches, parties, m, n, k, k2 = problem.sizes
    if not m < n or m > THIN:
        return problem
    order = (1, 0, 3, 2, 4, 5)
    turned = [(party, batch, column, row) for party, batch, row, column in problem.steps]
    return problem._replace(
        arrays=tuple(problem.arrays[i] for i in order),
        steps=tuple(turned[i] for i in order),
        sizes=(batches, parties, n, m, k, k2),
        b_bits=None,
    )


def _choose(device: KernelDevice, problem: Problem, modulus: int) -> tuple[Problem, Choice]:
    """Return the kernel for a problem, and the problem as that kernel takes it.

    With `_limbs_serve` and `_residues_serve`, the one place that knows which kernels there are.
    """
    kernel = _forced.get()
    limbs = limb_kernel(modulus, problem.b_bits, problem.kept)
    if problem.kept or _limbs_serve(device, problem.sizes, modulus):
        if limbs is None:
            raise ArgumentValueError(
                f"matmul: kernel {kernel!r} serves the moduli 2^64, 2^32 and up to 2^24, "
                f"got {modulus}"
            )
        _, _, m, n, *_ = problem.sizes
        parts = _limb_parts(device, limbs, problem.sizes, modulus)
        blocks = limbs.blocks(m, n)
        return problem, Choice(FAMILY, limbs.name, blocks, (), limbs.shared_bytes, parts)
    problem = _transposed(problem)
    batches, _, m, n, k, k2 = problem.sizes
    large = -(-m // 64) * -(-n // 64)
    if kernel is None:
        busy = large * batches >= BUSY_BLOCKS
        kernel = "matmul_thin" if n <= THIN else "matmul" if busy else "matmul_small"
    if kernel == "matmul_thin":
        slices = _slices(batches, m, n, k + k2, along_depth=problem.steps[0][3] == 1)
        blocks = -(-m // (THREADS // slices)) * n
        return problem, Choice("matmul", kernel, blocks, (np.uint32(slices),))
    if kernel == "matmul":
        return problem, Choice("matmul", kernel, large)
    blocks = -(-m // 32) * -(-n // 32)
    parts = splits(device, modulus, blocks * batches, k + k2, RESIDENT)
    return problem, Choice("matmul", kernel, blocks, parts=parts)


def _limbs_serve(device: KernelDevice, sizes: Sequence[int], modulus: int) -> bool:
    """Tell whether the limb kernel is forced, or past the crossover for shape and device."""
    kernel = _forced.get()
    if kernel is not None:
        return kernel == "matmul_limb"
    batches, parties, m, n, k, k2 = sizes
    bound, limbs = LIMB_CROSSOVERS[domain(modulus)], limb_kernel(modulus)
    return (
        limbs is not None
        and device.compute_capability >= CAPABILITY
        and min(m, n) >= bound.side
        and k + k2 >= bound.depth
        and batches * m * n * _limb_parts(device, limbs, sizes, modulus) >= bound.results
        and max(batches, m, n) <= LARGEST_SIDE
        and parties * (k + k2) <= LARGEST_DEPTH
    )


def _residues_serve(
    device: KernelDevice, sizes: Sequence[int], modulus: int, b_bits: int | None
) -> bool:
    """Tell whether one of `RESIDUES` is forced, or past its crossover and limits."""
    kernel = _forced.get()
    if kernel is not None or b_bits:
        return kernel in RESIDUES
    name, few = domain(modulus), modulus != RING_64 and limb_kernel(modulus) is not None
    if few and not device.has_warpgroups:
        return False
    bound = RESIDUE_CROSSOVERS["few_limbs" if few and modulus != RING_32 else name]
    return residue.serves(device, sizes, bound)


def _plane_kernels(device: KernelDevice, modulus: int, depths: Sequence[int]) -> PlaneKernels:
    """Return those of `RESIDUES` that are forced, or the fastest that the device has."""
    kernel = _forced.get() or (device.has_warpgroups and "matmul_warpgroup")
    if any(depths) and kernel == "matmul_warpgroup":
        return warpgroup.LIMB_TILES if modulus == RING_32 else warpgroup.RESIDUE_TILES
    return residue.PLANES


def _limb_parts(device: KernelDevice, limbs: LimbKernel, sizes: Sequence[int], modulus: int) -> int:
    """Return into how many parts a limb kernel splits the sums of a product of these sizes."""
    batches, parties, m, n, k, k2 = sizes
    return splits(device, modulus, limbs.blocks(m, n) * batches, parties * (k + k2), LIMB_RESIDENT)


def _planes_serve(device: KernelDevice, sizes: Sequence[int], modulus: int) -> bool:
    """Tell whether the limb kernel serves the product, and takes planes in this ring."""
    return limb_kernel(modulus, kept=True) is not None and _limbs_serve(device, sizes, modulus)


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
