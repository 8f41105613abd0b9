"""Launcher of ``kernels/descent.cu``: many steps of a descent on shares in one launch.

Layer: backend. Same name, parameters and results as `he_gpu.backend.definition.descent`.
"""

from __future__ import annotations

import numpy as np

from he_gpu.backend.definition.descent import Products, descent_fits
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.operands import contiguous, operand, packed
from he_gpu.backend.launch import KernelDevice
from he_gpu.errors import ArgumentValueError

THREADS = 256
_WORD = np.dtype(np.uint64)


def descend(
    device: KernelDevice, w: Array, y: Array, forward: Products, backward: Products
) -> Array:
    """Return shares of the weights after steps ``w - G (F w - y)``, the products truncated."""
    name = "descend"
    w, y = (operand(device, name, *pair, _WORD) for pair in (("w", w), ("y", y)))
    if w.ndim != 3 or y.ndim != 3 or (len(w), w.shape[2]) != (len(y), y.shape[2]):
        raise ArgumentValueError(
            f"{name}: w must have shape (parties, width, targets) and y (parties, rows, targets), "
            f"got {w.shape} and {y.shape}"
        )
    n_parties, width, targets = w.shape
    rows, n_steps = y.shape[1], len(forward.c)
    if n_parties < 2 or not descent_fits(n_parties, rows, width, targets):
        raise ArgumentValueError(
            f"{name}: w and y must fit one block, at least 2 parties and no axis empty, "
            f"got {w.shape} and {y.shape}"
        )
    halves = []
    for half, products, m, k in (
        ("forward", forward, rows, width),
        ("backward", backward, width, rows),
    ):
        if not 0 < products.bits < 62:
            raise ArgumentValueError(f"{name}: {half}.bits must be in (0, 62), got {products.bits}")
        result = n_steps, n_parties, m, targets
        shapes = (m, k), (n_parties, m, k), (n_steps, n_parties, k, targets), *(result,) * 3
        halves += [
            packed(device, name, f"{half}.{field}", words, shape)
            for field, words, shape in zip(Products._fields, products, shapes, strict=False)
        ]
    out = device.xp.empty(w.shape, _WORD)
    if not n_steps:
        out[...] = w
        return out
    sizes = [np.uint32(n) for n in (n_steps, n_parties, rows, width, targets)]
    bits = np.uint32(forward.bits), np.uint32(backward.bits)
    arguments = (contiguous(w), contiguous(y), out, *halves, *sizes, *bits)
    shared_bytes = (n_parties + 1) * (rows + width) * targets * _WORD.itemsize
    device.launch("descent", f"{name}_ring_u64", (1,), (THREADS,), arguments, shared_bytes)
    return out
