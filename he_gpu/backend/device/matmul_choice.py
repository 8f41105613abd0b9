"""Which kernel makes a matrix product: by ring, shape and device, or as a caller forces it.

Layer: backend, under the launcher `matmul`. The bounds are those of `crossovers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.definition.words import RING_32, RING_64
from he_gpu.backend.device import matmul_residue as residue
from he_gpu.backend.device import matmul_warpgroup as warpgroup
from he_gpu.backend.device.crossovers import (
    BUSY_BLOCKS,
    LIMB_CROSSOVERS,
    RESIDUE_CROSSOVERS,
    THIN,
)
from he_gpu.backend.device.domain import domain
from he_gpu.backend.device.matmul_limb import (
    CAPABILITY,
    FAMILY,
    LARGEST_DEPTH,
    LARGEST_SIDE,
    LIMB_RESIDENT,
    LimbKernel,
    limb_kernel,
)
from he_gpu.backend.device.operands import Steps
from he_gpu.backend.device.plane_kernels import PlaneKernels
from he_gpu.backend.device.splits import splits
from he_gpu.backend.launch import KernelDevice
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


def choose(device: KernelDevice, problem: Problem, modulus: int) -> tuple[Problem, Choice]:
    """Return the kernel for a problem, and the problem as that kernel takes it.

    With `limbs_serve` and `residues_serve`, the one place that knows which kernels there are.
    """
    kernel = _forced.get()
    limbs = limb_kernel(modulus, problem.b_bits, problem.kept)
    if problem.kept or limbs_serve(device, problem.sizes, modulus):
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


def limbs_serve(device: KernelDevice, sizes: Sequence[int], modulus: int) -> bool:
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


def residues_serve(
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


def plane_kernels(device: KernelDevice, modulus: int, depths: Sequence[int]) -> PlaneKernels:
    """Return those of `RESIDUES` that are forced, or the fastest that the device has."""
    kernel = _forced.get() or (device.has_warpgroups and "matmul_warpgroup")
    if any(depths) and kernel == "matmul_warpgroup":
        return warpgroup.LIMB_TILES if modulus == RING_32 else warpgroup.RESIDUE_TILES
    return residue.PLANES


def _limb_parts(device: KernelDevice, limbs: LimbKernel, sizes: Sequence[int], modulus: int) -> int:
    """Return into how many parts a limb kernel splits the sums of a product of these sizes."""
    batches, parties, m, n, k, k2 = sizes
    return splits(device, modulus, limbs.blocks(m, n) * batches, parties * (k + k2), LIMB_RESIDENT)


def planes_serve(device: KernelDevice, sizes: Sequence[int], modulus: int) -> bool:
    """Tell whether the limb kernel serves the product, and takes planes in this ring."""
    return limb_kernel(modulus, kept=True) is not None and limbs_serve(device, sizes, modulus)


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
