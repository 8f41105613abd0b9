"""Launchers of ``kernels/descent.cu``: many steps of a descent on shares in one launch.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.descent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from he_gpu.backend.definition.descent import CrossProducts, Products, descent_fits
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.operands import contiguous, operand, packed
from he_gpu.backend.launch import KernelDevice
from he_gpu.errors import ArgumentValueError

_WORD = np.dtype(np.uint64)


def descend(
    device: KernelDevice, w: Array, y: Array, forward: Products, backward: Products
) -> Array:
    """Return shares of the weights after steps ``w - G (F w - y)``, the products truncated."""
    name = "descend"
    w, y = _operands(device, name, w, y)
    n_parties, width, targets = w.shape
    rows, n_steps = y.shape[1], len(forward.c)
    _check_fit(name, n_parties, w, y)
    halves = []
    for half, products, m, k in (
        ("forward", forward, rows, width),
        ("backward", backward, width, rows),
    ):
        _check_bits(name, half, products.bits)
        result = n_steps, n_parties, m, targets
        shapes = (m, k), (n_parties, m, k), (n_steps, n_parties, k, targets), *(result,) * 3
        halves += _packed(device, name, half, products, shapes)
    out = device.xp.empty(w.shape, _WORD)
    if not n_steps:
        out[...] = w
        return out
    sizes = [np.uint32(n) for n in (n_steps, n_parties, rows, width, targets)]
    bits = np.uint32(forward.bits), np.uint32(backward.bits)
    arguments = (contiguous(w), contiguous(y), out, *halves, *sizes, *bits)
    shared_bytes = (n_parties + 1) * (rows + width) * targets * _WORD.itemsize
    block = _block(rows, width, targets)
    device.launch("descent", f"{name}_ring_u64", (1,), block, arguments, shared_bytes)
    return out


def descend_replicated(
    device: KernelDevice, w: Array, y: Array, forward: CrossProducts, backward: CrossProducts
) -> Array:
    """Return the words of the weights after steps ``w - G (F w - y)``, the products truncated."""
    name = "descend_replicated"
    w, y = _operands(device, name, w, y)
    if len(w) != 4:
        raise ArgumentValueError(f"{name}: w and y must have 4 words, got {w.shape} and {y.shape}")
    _, width, targets = w.shape
    rows, n_steps = y.shape[1], len(forward.hiding)
    _check_fit(name, 3, w, y)
    halves = []
    for half, products, m, k in (
        ("forward", forward, rows, width),
        ("backward", backward, width, rows),
    ):
        _check_bits(name, half, products.bits)
        counts = (3,), (4,), (2, 2)
        shapes = (4, m, k), *((n_steps, *count, m, targets) for count in counts)
        halves += _packed(device, name, half, products, shapes)
    out = device.xp.empty(w.shape, _WORD)
    if not n_steps:
        out[...] = w
        return out
    sizes = [np.uint32(n) for n in (n_steps, rows, width, targets)]
    bits = np.uint32(forward.bits), np.uint32(backward.bits)
    arguments = (contiguous(w), contiguous(y), out, *halves, *sizes, *bits)
    shared_bytes = 3 * (rows + width) * targets * _WORD.itemsize
    block = _block(rows, width, targets)
    device.launch("descent", f"{name}_ring_u64", (1,), block, arguments, shared_bytes)
    return out


def _block(rows: int, width: int, targets: int) -> tuple[int]:
    """Return a thread for each weight and a warp for each residual, from 8 to 32 warps."""
    warps = max(rows * targets, -(-width * targets // 32))
    return (32 * min(max(warps, 8), 32),)


def _operands(device: KernelDevice, function: str, w: Any, y: Any) -> tuple[Array, Array]:
    """Return weights and targets, whose first and last axes agree."""
    w, y = (operand(device, function, *pair, _WORD) for pair in (("w", w), ("y", y)))
    if w.ndim != 3 or y.ndim != 3 or (len(w), w.shape[2]) != (len(y), y.shape[2]):
        raise ArgumentValueError(
            f"{function}: w must have shape (parties, width, targets) and y (parties, rows, "
            f"targets), got {w.shape} and {y.shape}"
        )
    return w, y


def _check_fit(function: str, n_parties: int, w: Array, y: Array) -> None:
    """Refuse what one block cannot hold, and nothing at all."""
    _, width, targets = w.shape
    if n_parties < 2 or not descent_fits(n_parties, y.shape[1], width, targets):
        raise ArgumentValueError(
            f"{function}: w and y must fit one block, at least 2 parties and no axis empty, "
            f"got {w.shape} and {y.shape}"
        )


def _check_bits(function: str, half: str, bits: int) -> None:
    if not 0 < bits < 62:
        raise ArgumentValueError(f"{function}: {half}.bits must be in (0, 62), got {bits}")


def _packed(
    device: KernelDevice,
    function: str,
    half: str,
    products: Products | CrossProducts,
    shapes: Sequence[tuple[int, ...]],
) -> list[Array]:
    """Return all words of products, contiguous, each of its shape."""
    return [
        packed(device, function, f"{half}.{field}", words, shape)
        for field, words, shape in zip(products._fields, products, shapes, strict=False)
    ]
