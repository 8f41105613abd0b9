"""The kernels of `kernels/` on the CPU: compiled by g++, run on NumPy memory.

Part of the backend layer, beside `cuda`. Slow and strict: the threads of a block
are fibers in a chosen order, shared memory is poisoned, and barriers and warp
operations check who takes part. It cannot see the memory order between blocks.
"""

from __future__ import annotations

from he_gpu.backend.emulator.build import probe, sanitizer_environment
from he_gpu.backend.emulator.device import Emulator, device, launches

__all__ = ["Emulator", "device", "launches", "probe", "sanitizer_environment"]
