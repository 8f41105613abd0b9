"""The kernels of `kernels/` on the CPU: compiled by g++, run on NumPy memory.

Part of the backend layer, beside `cuda`. Slow and strict: the threads of a block
are fibers in a chosen order, shared memory is poisoned, barriers and warp
operations check who takes part, asynchronous copies land as late as they may, and
with `sanitizers="thread"` accesses that nothing orders are faults. It does not model
order made by atomics and fences, such as between blocks of one launch.
"""

from __future__ import annotations

from he_gpu.backend.emulator.build import probe, sanitizer_environment
from he_gpu.backend.emulator.device import Emulator, device, launches

__all__ = ["Emulator", "device", "launches", "probe", "sanitizer_environment"]
