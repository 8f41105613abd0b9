"""The kernels of `kernels/` on an NVIDIA GPU, compiled and launched by CuPy.

Part of the backend layer, beside `emulator`, which compiles the same text. The
only module that imports CuPy, and only when a CUDA device is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from he_gpu.backend.graph import Graph, Start
from he_gpu.backend.launch import STATIC_SHARED_BYTES, KernelDevice
from he_gpu.backend.loader import Kernel, Source
from he_gpu.errors import (
    ArgumentValueError,
    CaptureError,
    DeviceUnavailableError,
    UnknownDeviceError,
)

_INSTALL = "pip install '.[cuda13]' (driver 580 or newer) or '.[cuda12]'"
_OPTIONS = ("--std=c++17",)
_WARPGROUPS = '#line 1 "warpgroup.cuh"'
_TWO_ARCHITECTURES = (12, 9)
"""The first NVRTC that takes sm_90a beside the sm_90 that CuPy names; older ones refuse."""
_NULL = np.uint64(0)
T = TypeVar("T")


@functools.cache
def probe(index: int = 0) -> str | None:
    """Why a CUDA device cannot be used, or None where it can.

    Args:
        index: of the device, from 0.

    Returns:
        What is missing and which command installs it. The answer is kept for
        the life of the process.
    """
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed; {_INSTALL}"
    try:
        cupy = _import_cupy()
    except Exception as error:  # CuPy fails on import in many ways
        return f"CuPy is installed but cannot be imported ({_brief(error)}); {_INSTALL}"
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:  # a CUDARuntimeError, or a library that CuPy failed to load
        return f"CuPy finds no NVIDIA driver or GPU ({_brief(error)})"
    if not 0 <= index < count:
        return f"no CUDA device {index}: this machine has {count}, counted from 0"
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # CuPy loads NVRTC at the first call
        return f"CuPy finds no CUDA compiler NVRTC ({_brief(error)}); {_INSTALL}"
    return None


class Cuda(KernelDevice):
    """Runs kernels on one GPU, on CuPy's current stream of it.

    Args:
        name: "cuda" for device 0, or "cuda:<index>".

    Attributes:
        index: of the device.

    Raises:
        UnknownDeviceError: the name is neither.
        DeviceUnavailableError: what is missing, see `probe`.
    """

    def __init__(self, name: str = "cuda") -> None:
        kind, colon, number = name.partition(":")
        if kind != "cuda" or (colon and not number.isdecimal()):
            raise UnknownDeviceError(f"Cuda: name must be 'cuda' or 'cuda:N', got {name!r}")
        self.index = int(number or 0)
        reason = probe(self.index)
        if reason is not None:
            raise DeviceUnavailableError(f"{name}: {reason}")
        super().__init__(name, _import_cupy())
        self._device: Any = self.xp.cuda.Device(self.index)
        self._current_device: Any = self.xp.cuda.runtime.getDevice
        self._modules: dict[str, Any] = {}

    @functools.cached_property
    def compute_capability(self) -> tuple[int, int]:
        """Major and minor number of the GPU's architecture, (9, 0) for sm_90."""
        digits = str(self._device.compute_capability)
        return int(digits[:-1]), int(digits[-1])

    @functools.cached_property
    def has_warpgroups(self) -> bool:
        """Whether the GPU has them and NVRTC is 12.9 or newer."""
        version = tuple(self.xp.cuda.nvrtc.getVersion())
        return self.compute_capability == (9, 0) and version >= _TWO_ARCHITECTURES

    @functools.cached_property
    def multiprocessors(self) -> int:
        """The GPU's own number, 132 for an H100."""
        return int(self._device.attributes["MultiProcessorCount"])

    @functools.cached_property
    def max_shared_bytes(self) -> int:
        """The GPU's own bound, 227 KiB for an H100."""
        return int(self._device.attributes["MaxSharedMemoryPerBlockOptin"])

    def graph(self) -> CudaGraph:
        """Return an empty recording."""
        return CudaGraph(self.xp, self._device)

    def _bind(self, source: Source, kernel: Kernel) -> Any:
        with self._device:
            module = self._modules.get(source.digest)
            if module is None:
                module = self.xp.RawModule(code=source.text, options=self._options(source))
                self._modules[source.digest] = module
            return module.get_function(kernel.name)

    def _options(self, source: Source) -> tuple[str, ...]:
        """Return what NVRTC is told: CuPy names the architecture, but for what sm_90a alone has."""
        if self.has_warpgroups and _WARPGROUPS in source.text:
            return (*_OPTIONS, "-arch=sm_90a", "-DHE_GPU_WARPGROUP")
        return _OPTIONS

    def _start(
        self,
        kernel: Kernel,
        function: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        args: Sequence[Any],
        shared_bytes: int,
    ) -> None:
        words = []
        for parameter, value in zip(kernel.parameters, args, strict=True):
            if value is None:
                words.append(_NULL)
                continue
            if parameter.is_pointer and value.device.id != self.index:
                raise ArgumentValueError(
                    f"{kernel.name}: {parameter.name} lies on CUDA device {value.device.id}, "
                    f"the kernel runs on {self.name}"
                )
            words.append(value)
        if self._current_device() == self.index:
            _call(function, grid, block, words, shared_bytes)
        else:
            with self._device:
                _call(function, grid, block, words, shared_bytes)


class CudaGraph(Graph):
    """A CUDA graph, with memory of its own that nothing else is put into.

    Args:
        xp: the module cupy.
        device: the GPU, as CuPy knows it.

    Work is captured on a stream of its own and replayed on the current one. Arrays that the work
    makes live in the graph's memory; those that it finds are kept alive.
    """

    def __init__(self, xp: Any, device: Any):
        super().__init__()
        self._xp, self._device = xp, device
        with device:
            self._stream = xp.cuda.Stream(non_blocking=True)
        free = xp.get_default_memory_pool().free_all_blocks
        # Not a method: a graph that is dropped must not wait for the garbage collector.
        self._pool = xp.cuda.MemoryPool(functools.partial(_block, xp.cuda, free))
        self._own: set[int] = set()
        """Addresses of the memory that the function asked for."""
        self._graph: Any = None

    def replay(self) -> None:
        """Start the recorded work on the current stream."""
        with self._device:
            self._graph.launch(stream=self._xp.cuda.get_current_stream())

    def launched(self, start: Start) -> None:
        """Take note of a kernel that is started, and of the arrays that it works on."""
        super().launched(start)
        for value in start[4]:
            if isinstance(value, self._xp.ndarray) and not self._is_made(value):
                self._keep(value)

    def _is_made(self, array: Any) -> bool:
        return array.data.mem.ptr in self._own

    def _address(self, array: Any) -> int:
        return int(array.data.ptr)

    def _rehearsed(self, function: Callable[[], T]) -> T:
        # What the recording will ask for is left behind in the graph's memory.
        with self._device:
            current = self._xp.cuda.get_current_stream()
            self._stream.wait_event(current.record())
            try:
                with self._aside():
                    return function()
            finally:
                current.wait_event(self._stream.record())

    def _recorded(self, function: Callable[[], T]) -> T:
        cuda = self._xp.cuda
        with self._device, self._aside():
            try:
                self._stream.begin_capture()
                result = function()
                self._graph = self._stream.end_capture()
            except BaseException as error:
                with contextlib.suppress(Exception):  # the error may have ended the capture
                    self._stream.end_capture()
                if isinstance(error, cuda.runtime.CUDARuntimeError | cuda.driver.CUDADriverError):
                    raise CaptureError(f"graph: CUDA cannot record this work: {error}") from error
                raise
        return result

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Work on the graph's stream, in its memory."""
        self._own.clear()
        with self._stream, self._xp.cuda.using_allocator(self._allocate):
            yield

    def _allocate(self, n_bytes: int) -> Any:
        memory = self._pool.malloc(n_bytes)
        self._own.add(memory.mem.ptr)
        return memory


def _block(cuda: Any, free: Callable[[], None], n_bytes: int) -> Any:
    """Return new memory for a graph; an error of CUDA would let CuPy free what it has recorded.

    Args:
        cuda: the module cupy.cuda.
        free: gives back memory that others no longer use.
        n_bytes: how much.
    """
    with contextlib.suppress(cuda.runtime.CUDARuntimeError):
        return cuda.MemoryPointer(cuda.Memory(n_bytes), 0)
    free()
    try:
        return cuda.MemoryPointer(cuda.Memory(n_bytes), 0)
    except cuda.runtime.CUDARuntimeError as error:
        raise CaptureError(f"graph: no memory for {n_bytes} bytes: {error}") from error


def _call(
    function: Any,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    words: list[Any],
    shared_bytes: int,
) -> None:
    if shared_bytes > STATIC_SHARED_BYTES:
        # More than the architecture's default must be asked for; the attribute is per device.
        function.max_dynamic_shared_size_bytes = shared_bytes
    function(grid, block, tuple(words), shared_mem=shared_bytes)


def _import_cupy() -> Any:
    with warnings.catch_warnings():
        # CuPy warns where CUDA_PATH is unset; the packages of the extra need none.
        warnings.simplefilter("ignore")
        import cupy
    return cupy


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


@functools.cache
def device(name: str = "cuda") -> Cuda:
    """The one object of a device, so that its kernels are compiled once."""
    return Cuda(name)
