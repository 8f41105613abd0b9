"""The emulator as a kernel device: starts compiled kernels on NumPy arrays.

Part of the emulator, above `build.py`. Adds to the shared device the order of
fibers and blocks, the sanitizers and a count of launches.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from he_gpu.backend.emulator import build
from he_gpu.backend.emulator.graph import EmulatedGraph, TracedModule, tracing
from he_gpu.backend.launch import KernelDevice
from he_gpu.backend.loader import Kernel, Source
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    DeviceUnavailableError,
    EmulatorError,
    KernelFaultError,
)

ORDERS = ("forward", "reverse", "random")

#: Completed launches by kernel name in this process: proof that a library ran.
launches: Counter[str] = Counter()


class Emulator(KernelDevice):
    """Runs kernels on NumPy arrays.

    Args:
        order: "forward", "reverse" or "random": how the fibers of a block and
            the blocks of a grid follow one another; "random:<seed>" sets both.
            By default the variable HE_GPU_EMULATOR_ORDER, else "forward".
        seed: of the random order; each launch draws another order from it.
        sanitizers: "", or with commas "undefined" and one of "address" (bounds;
            see `sanitizer_environment`) and "thread" (races: two accesses that
            CUDA does not order are a fault, whatever came out). By default the
            variable HE_GPU_EMULATOR_SANITIZERS.

    Attributes:
        order: may be set at any time, like seed.
        seed: of the random order.
        sanitizers: fixed for the life of the object.

    Raises:
        ArgumentValueError: an unknown order or sanitizer.
        DeviceUnavailableError: no compiler.
    """

    def __init__(
        self,
        order: str | None = None,
        seed: int | None = None,
        sanitizers: str | None = None,
    ) -> None:
        reason = build.probe()
        if reason is not None:
            raise DeviceUnavailableError(f"Emulator: {reason}")
        super().__init__("emulator", np)
        self._traced = TracedModule()
        chosen = os.environ.get("HE_GPU_EMULATOR_ORDER", "forward") if order is None else order
        name, _, number = chosen.partition(":")
        if number and not (name == "random" and number.isdigit()):
            raise ArgumentValueError(f"Emulator: order must be in {ORDERS}, got {chosen!r}")
        self.order = name
        self.seed = int(number or 0) if seed is None else seed
        if sanitizers is None:
            sanitizers = os.environ.get("HE_GPU_EMULATOR_SANITIZERS", "")
        self.sanitizers = build.check_sanitizers(sanitizers)
        self._count = 0
        self._libraries: dict[str, tuple[ctypes.CDLL, threading.Lock]] = {}

    @property
    def xp(self) -> Any:
        """NumPy, which takes notes while a function is watched."""
        return self._xp if tracing() is None else self._traced

    @xp.setter
    def xp(self, module: Any) -> None:
        self._xp = module

    def graph(self) -> EmulatedGraph:
        """Return an empty recording."""
        return EmulatedGraph(self._start)

    @property
    def order(self) -> str:
        """How fibers and blocks follow one another."""
        return ORDERS[self._order]

    @order.setter
    def order(self, value: str) -> None:
        if value not in ORDERS:
            raise ArgumentValueError(f"Emulator: order must be in {ORDERS}, got {value!r}")
        self._order = ORDERS.index(value)

    @property
    def compute_capability(self) -> tuple[int, int]:
        """(8, 0): the primitives of sm_80 are emulated."""
        return 8, 0

    @property
    def multiprocessors(self) -> int:
        """1: blocks run one after another."""
        return 1

    @property
    def max_shared_bytes(self) -> int:
        """227 KiB, as sm_90 has: kernels state what the smallest GPU they serve has."""
        return 227 * 1024

    def _bind(self, source: Source, kernel: Kernel) -> Any:
        if source.digest not in self._libraries:
            library = build.build(source, self.sanitizers)
            self._libraries[source.digest] = (library, _lock(library._name))
        library, lock = self._libraries[source.digest]
        return library, build.entry_point(library, kernel), lock

    def _start(
        self,
        kernel: Kernel,
        function: tuple[ctypes.CDLL, Callable[..., int], threading.Lock],
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        args: Sequence[Any],
        shared_bytes: int,
    ) -> None:
        library, entry, lock = function
        slots = _slots(kernel, args)
        report = build.Report()
        self._count += 1
        seed = (self.seed * 0x9E3779B97F4A7C15 + self._count) % 2**64
        launch = build.Launch(grid, block, self._order, shared_bytes, seed)
        with lock:
            status = entry(ctypes.byref(launch), slots, ctypes.byref(report))
        if status == 2:
            raise EmulatorError(f"{kernel.name}: no memory for shared_bytes {shared_bytes}")
        if status:
            where = (tuple(report.block), tuple(report.thread))
            reason = build.name_addresses(library, report.message.decode())
            raise KernelFaultError(kernel.name, *where, reason)
        launches[kernel.name] += 1


def _slots(kernel: Kernel, args: Sequence[Any]) -> Any:
    """Checked arguments as 64-bit words: addresses, and scalars in their low bytes."""
    words = []
    for parameter, value in zip(kernel.parameters, args, strict=True):
        if value is None:
            words.append(0)
        elif not parameter.is_pointer:
            words.append(int.from_bytes(value.tobytes(), "little"))
        elif parameter.is_const or value.flags.writeable:
            words.append(value.__array_interface__["data"][0])
        else:
            raise ArgumentTypeError(
                f"{kernel.name}: {parameter.name} is written, but its array is read-only"
            )
    return (ctypes.c_uint64 * max(len(words), 1))(*words)


@functools.cache
def _lock(library: str) -> threading.Lock:
    """The lock of a library: its state serves one launch at a time."""
    return threading.Lock()


@functools.cache
def device() -> Emulator:
    """The emulator that the library uses, with what the environment asks for."""
    return Emulator()
