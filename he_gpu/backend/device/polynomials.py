"""How polynomials of several limbs lie in memory, for the kernels of transforms and residues.

Layer: backend, under these launchers. Leading axes are one axis of polynomials with a step, so that
a view of some limbs of each is read where it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from he_gpu.backend.definition.roots import check_limbs
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.operands import fold, operand, steps
from he_gpu.backend.launch import KernelDevice

WORD = np.dtype(np.uint32)


def polynomials(
    device: KernelDevice, function: str, name: str, value: Any, moduli: Sequence[int]
) -> tuple[Array, int, np.uint64]:
    """Return words (..., limbs, N), how many polynomials they are, and the step between two.

    The rows of each follow one another. A copy only where they do not, or where one step does not
    do for all leading axes.

    Raises:
        ArgumentTypeError: value is no array of the device, or has another dtype than uint32.
        ArgumentValueError: what `check_limbs` refuses.
    """
    value = operand(device, function, name, value, WORD)
    check_limbs(function, value.shape, moduli)
    size = value.shape[-2] * value.shape[-1]
    polys = value.size // size
    if not value.flags.c_contiguous:
        outer, inner = (fold(value.shape[part], steps(value)[part]) for part in _PARTS)
        step = outer[0][1][0] if outer else 0
        if inner == [(size, (1,))] and len(outer) < 2 and step >= 0:
            return value, polys, np.uint64(step)
        value = value.copy()
    return value, polys, np.uint64(size)


_PARTS = slice(None, -2), slice(-2, None)
