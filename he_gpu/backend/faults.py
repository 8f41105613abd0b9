"""Errors of kernel sources: what does not compile and what breaks CUDA's rules.

Part of the backend layer. A caller of the library never causes these by an
argument; they mean that a kernel or its launcher is wrong, or a compiler is.
"""

from __future__ import annotations

from he_gpu.errors import EmulatorError, HeGpuError


class KernelSourceError(HeGpuError, RuntimeError):
    """A kernel source is missing, cannot be parsed or does not compile."""


class KernelFaultError(EmulatorError):
    """The emulator saw a kernel break a rule of CUDA.

    Attributes:
        kernel: name of the kernel.
        block: index (x, y, z) of the block.
        thread: index (x, y, z) of the thread inside the block.
        reason: what happened, with file and line where there is one.
    """

    def __init__(
        self,
        kernel: str,
        block: tuple[int, int, int],
        thread: tuple[int, int, int],
        reason: str,
    ) -> None:
        super().__init__(f"{kernel}: block {block}, thread {thread}: {reason}")
        self.kernel = kernel
        self.block = block
        self.thread = thread
        self.reason = reason
