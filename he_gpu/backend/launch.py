"""What every kernel device does alike: find a kernel, check its arguments, count.

Part of the backend layer, above the loader and below the launchers. The two
devices add an array module and the call that starts a kernel. CuPy checks
nothing by itself, so each launch is checked against the kernel's signature here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from he_gpu.backend import loader
from he_gpu.backend.definition.words import Array
from he_gpu.backend.graph import Graph, recording
from he_gpu.backend.loader import Defines, Kernel, Parameter, Source
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, KernelSourceError

# Limits of every architecture from sm_75 on.
MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_BLOCK = (1024, 1024, 64)
# What a block may have without asking, and what sm_80 and later give to one that asks (some of
# them more, `KernelDevice.max_shared_bytes`; sm_75 gives 64 KiB: its launchers choose kernels that
# need no more).
STATIC_SHARED_BYTES = 48 * 1024
MAX_SHARED_BYTES = 99 * 1024

# Blocks of a grid-stride kernel: enough to fill any device several times over.
_MAX_BLOCKS = 4096


def grid_1d(n: int, block: int) -> tuple[int]:
    """Grid for n elements where each thread strides over the rest.

    Args:
        n: number of elements, at least 1; for none, launch nothing.
        block: threads of a block.

    Returns:
        Number of blocks, between 1 and 4096, as a one-dimensional grid.

    Raises:
        ArgumentValueError: n or block is below 1.
    """
    if n < 1 or block < 1:
        raise ArgumentValueError(f"grid_1d: n and block must be at least 1, got {n} and {block}")
    return (min(-(-n // block), _MAX_BLOCKS),)


class KernelDevice(ABC):
    """A device that runs the kernels of `kernels/`.

    Attributes:
        name: "emulator", "cuda" or "cuda:<index>".
        xp: the array module whose arrays the kernels take, numpy or cupy.
    """

    name: str
    xp: Any

    def __init__(self, name: str, xp: Any) -> None:
        self.name = name
        self.xp = xp
        self._array_type: Any = xp.ndarray
        self._inline: dict[str, Source] = {}
        self._bound: dict[tuple[str, str, Defines], tuple[Kernel, Any]] = {}

    def add_source(self, source: Source) -> None:
        """Make a source that is no file of `kernels/` launchable by its family's name."""
        self._inline[source.family] = source
        for key in [key for key in self._bound if key[0] == source.family]:
            del self._bound[key]

    def launch(
        self,
        family: str,
        kernel: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        shared_bytes: int = 0,
        defines: Defines = (),
    ) -> None:
        """Run a kernel on arrays of this device.

        Args:
            family: name of the `.cu` file, or of an added source.
            kernel: symbol in it.
            grid: blocks, one to three numbers.
            block: threads of a block, one to three numbers.
            args: one per parameter: for a pointer an array of this device or
                None, for a scalar a NumPy scalar of the very type. Contiguity
                is the caller's business.
            shared_bytes: dynamic shared memory of each block.
            defines: pairs (macro, integer) put before the source.

        Raises:
            ArgumentTypeError: an argument's type, dtype or width does not fit.
            ArgumentValueError: number of arguments, grid, block or shared memory.
            KernelSourceError: no such family or kernel, or it does not compile.
            KernelFaultError: on the emulator, the kernel broke a rule of CUDA.
        """
        bound = self._bound.get((family, kernel, defines))
        if bound is None:
            bound = self._find(family, kernel, defines)
        signature, function = bound
        self._check_arguments(signature, args)
        blocks = _extent(kernel, "grid", grid, MAX_GRID)
        threads = _extent(kernel, "block", block, MAX_BLOCK)
        if threads[0] * threads[1] * threads[2] > signature.max_threads:
            raise ArgumentValueError(
                f"{kernel}: block must have at most {signature.max_threads} threads, got {block}"
            )
        if not 0 <= shared_bytes <= self.max_shared_bytes:
            raise ArgumentValueError(
                f"{kernel}: shared_bytes must be in [0, {self.max_shared_bytes}], "
                f"got {shared_bytes}"
            )
        graph = recording()
        if graph is not None:
            graph.launched((signature, function, blocks, threads, args, shared_bytes))
        self._start(signature, function, blocks, threads, args, shared_bytes)

    def asarray(self, words: Array) -> Array:
        """Return a copy of NumPy's words on this device; within a recorded step, a constant."""
        graph = recording()
        return self.xp.asarray(words) if graph is None else graph.constant(words, self.xp.asarray)

    @abstractmethod
    def graph(self) -> Graph:
        """Return an empty recording of work on this device."""

    @property
    @abstractmethod
    def compute_capability(self) -> tuple[int, int]:
        """Major and minor number of the architecture: (8, 0) and later have `mma` on bytes."""

    @property
    def has_warpgroups(self) -> bool:
        """Whether large products are made by warpgroups, which (9, 0) alone has."""
        return self.compute_capability == (9, 0)

    @property
    @abstractmethod
    def multiprocessors(self) -> int:
        """How many blocks run side by side at least."""

    @property
    def max_shared_bytes(self) -> int:
        """Dynamic shared memory that a block may have."""
        return MAX_SHARED_BYTES

    @abstractmethod
    def _bind(self, source: Source, kernel: Kernel) -> Any:
        """Compile a source and return whatever `_start` needs to run a kernel of it."""

    @abstractmethod
    def _start(
        self,
        kernel: Kernel,
        function: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        args: Sequence[Any],
        shared_bytes: int,
    ) -> None:
        """Run a kernel with checked arguments."""

    def _find(self, family: str, kernel: str, defines: Defines) -> tuple[Kernel, Any]:
        source = self._inline.get(family)
        if source is None or defines:
            source = loader.load(family, defines)
        signature = source.kernels.get(kernel)
        if signature is None:
            raise KernelSourceError(
                f"launch: no kernel {kernel!r} in {family}.cu; there are {tuple(source.kernels)}"
            )
        bound = (signature, self._bind(source, signature))
        self._bound[family, kernel, defines] = bound
        return bound

    def _check_arguments(self, kernel: Kernel, args: Sequence[Any]) -> None:
        if len(args) != len(kernel.parameters):
            raise ArgumentValueError(
                f"{kernel.name}: takes {len(kernel.parameters)} arguments, got {len(args)}"
            )
        for parameter, value in zip(kernel.parameters, args, strict=True):
            if parameter.is_pointer:
                if value is None:
                    continue
                if not isinstance(value, self._array_type) or value.dtype != parameter.dtype:
                    raise self._misfit(kernel, parameter, value)
            elif type(value) is not parameter.dtype.type:
                raise self._misfit(kernel, parameter, value)

    def _misfit(self, kernel: Kernel, parameter: Parameter, value: Any) -> ArgumentTypeError:
        wanted = f"numpy.{parameter.dtype}"
        if parameter.is_pointer:
            wanted = f"an array of {self.name} with dtype {parameter.dtype}, or None"
        got = f"{type(value).__module__}.{type(value).__name__}"
        if isinstance(value, np.ndarray | self._array_type):
            got += f" of dtype {value.dtype}"
        return ArgumentTypeError(
            f"{kernel.name}: {parameter.name} ({parameter.declared}) must be {wanted}, got {got}"
        )


def _extent(
    kernel: str, argument: str, sizes: tuple[int, ...], bounds: tuple[int, int, int]
) -> tuple[int, int, int]:
    """A grid or block filled up to three checked numbers."""
    full = (*sizes, 1, 1)[:3] if len(sizes) < 3 else sizes
    if not 1 <= len(sizes) <= 3 or any(
        not 1 <= size <= bound for size, bound in zip(full, bounds, strict=False)
    ):
        raise ArgumentValueError(
            f"{kernel}: {argument} must be one to three numbers in [1, {bounds}], got {sizes}"
        )
    return (int(full[0]), int(full[1]), int(full[2]))
