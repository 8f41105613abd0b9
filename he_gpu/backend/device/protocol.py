"""Launchers of ``kernels/protocol.cu``: steps of the protocols on share stacks of a device.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.protocol`; one
launch serves all the parties of a stack.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend.definition.words import Array, word_dtype
from he_gpu.backend.device.domain import domain, modulus_arguments
from he_gpu.backend.device.operands import (
    broadcast_shape,
    coincides,
    full,
    operand,
    overlaps,
    repeated,
    stack_of,
    target,
    word_type,
)
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

THREADS = 256
_WRAPPING = {np.dtype(np.uint64): "ring_u64", np.dtype(np.uint32): "ring_u32"}


def reconstruct(
    device: KernelDevice, stack: Array, modulus: int, out: Array | None = None
) -> Array:
    """Return the sum modulo ``modulus`` over the party axis: (parties, *shape) -> (*shape)."""
    dtype = word_dtype(modulus)
    stack = stack_of(device, "reconstruct", "stack", stack, dtype)
    stack = full(device, "reconstruct", "stack", stack, stack.shape)
    result = target(device, "reconstruct", "out", out, stack.shape[1:], dtype)
    if out is not None and overlaps(device, stack, out):
        # A thread reads all shares of its word before it writes: a row may be the result.
        if not any(coincides(stack[row : row + 1].reshape(out.shape), out) for row in range(len(stack))):
            stack = stack.copy()
    n, parties = np.uint64(result.size), np.uint32(len(stack))
    arguments = (stack, result, n, parties, *modulus_arguments(modulus))
    _launch(device, f"reconstruct_{domain(modulus)}", result.size, arguments)
    return result


def complete(device: KernelDevice, stack: Array, total: Array, row: int, modulus: int) -> None:
    """Write ``stack[row]`` so that the stack sums to ``total`` modulo ``modulus``."""
    dtype = word_dtype(modulus)
    stack = _writable_stack(device, "complete", "stack", stack, dtype)
    parties = len(stack)
    if not 0 <= row < parties:
        raise ArgumentValueError(f"complete: row must be in [0, {parties}), got {row}")
    total = operand(device, "complete", "total", total, dtype)
    total = full(device, "complete", "total", total, stack.shape[1:])
    n = stack[0].size
    arguments = (stack, total, np.uint64(n), np.uint32(parties), np.uint32(row))
    _launch(
        device, f"complete_{domain(modulus)}", n, (*arguments, *modulus_arguments(modulus))
    )


def add_public(
    device: KernelDevice, stack: Array, public: Array, lead: int, modulus: int
) -> Array:
    """Return the stack with ``public``, which broadcasts, added to its first ``lead`` shares."""
    dtype = word_dtype(modulus)
    stack = stack_of(device, "add_public", "stack", stack, dtype)
    stack = full(device, "add_public", "stack", stack, stack.shape)
    public = operand(device, "add_public", "public", public, dtype)
    public, step = repeated(device, "add_public", "public", public, stack.shape[1:])
    result = device.xp.empty(stack.shape, dtype)
    n = result[0].size
    arguments = (stack, public, step, result, np.uint64(n), np.uint32(len(stack)))
    constants = (np.uint32(_checked_lead("add_public", lead)), *modulus_arguments(modulus))
    _launch(device, f"add_public_{domain(modulus)}", n, (*arguments, *constants))
    return result


def open_masked(device: KernelDevice, stack: Array, mask: Array) -> Array:
    """Return the sum over the party axis of ``stack - mask``, for words that wrap."""
    dtype = word_type("open_masked", "stack", stack)
    stack = stack_of(device, "open_masked", "stack", stack, dtype)
    mask = stack_of(device, "open_masked", "mask", mask, dtype)
    shape = broadcast_shape("open_masked", stack.shape, mask.shape)
    stack = full(device, "open_masked", "stack", stack, shape)
    mask = full(device, "open_masked", "mask", mask, shape)
    result = device.xp.empty(shape[1:], dtype)
    arguments = (stack, mask, result, np.uint64(result.size), np.uint32(shape[0]))
    _launch(device, f"open_masked_{_WRAPPING[dtype]}", result.size, arguments)
    return result


def beaver_combine(
    device: KernelDevice, d: Array, y: Array, a: Array, e: Array, c: Array
) -> Array:
    """Return ``d * y + a * e + c``, for words that wrap; d and e are public and broadcast."""
    dtype = word_type("beaver_combine", "c", c)
    c = stack_of(device, "beaver_combine", "c", c, dtype)
    shape = c.shape
    c = full(device, "beaver_combine", "c", c, shape)
    shares = []
    for name, value in (("y", y), ("a", a)):
        share = stack_of(device, "beaver_combine", name, value, dtype)
        shares.append(full(device, "beaver_combine", name, share, shape))
    public: list[Any] = []
    for name, value in (("d", d), ("e", e)):
        word = operand(device, "beaver_combine", name, value, dtype)
        public.append(repeated(device, "beaver_combine", name, word, shape[1:]))
    result = device.xp.empty(shape, dtype)
    n = result[0].size
    arguments = (*public[0], *shares, *public[1], c, result, np.uint64(n), np.uint32(shape[0]))
    _launch(device, f"beaver_combine_{_WRAPPING[dtype]}", n, arguments)
    return result


def truncation_pair(
    device: KernelDevice, mask: Array, low: Array, top: Array, bits: int
) -> None:
    """Write the last rows of ``low`` and ``top``, so that they open to what ``mask`` hides."""
    dtype = word_type("truncation_pair", "mask", mask)
    mask = stack_of(device, "truncation_pair", "mask", mask, dtype)
    mask = full(device, "truncation_pair", "mask", mask, mask.shape)
    low = target(device, "truncation_pair", "low", _present("low", low), mask.shape, dtype)
    top = target(device, "truncation_pair", "top", _present("top", top), mask.shape, dtype)
    for first, second in ((mask, low), (mask, top), (low, top)):
        if overlaps(device, first, second) and first.size:
            raise ArgumentValueError("truncation_pair: mask, low and top must not share memory")
    n = mask[0].size
    arguments = (mask, low, top, np.uint64(n), np.uint32(len(mask)))
    dropped = np.uint32(_checked_bits("truncation_pair", bits, dtype))
    _launch(device, f"truncation_pair_{_WRAPPING[dtype]}", n, (*arguments, dropped))


def truncate_finish(
    device: KernelDevice, opened: Array, low: Array, top: Array, bits: int, lead: int
) -> Array:
    """Return shares of the truncated value from the opened word and a truncation pair."""
    dtype = word_type("truncate_finish", "low", low)
    low = stack_of(device, "truncate_finish", "low", low, dtype)
    low = full(device, "truncate_finish", "low", low, low.shape)
    top = stack_of(device, "truncate_finish", "top", top, dtype)
    top = full(device, "truncate_finish", "top", top, low.shape)
    opened = operand(device, "truncate_finish", "opened", opened, dtype)
    opened = full(device, "truncate_finish", "opened", opened, low.shape[1:])
    result = device.xp.empty(low.shape, dtype)
    n = result[0].size
    arguments = (opened, low, top, result, np.uint64(n), np.uint32(len(low)))
    dropped = np.uint32(_checked_bits("truncate_finish", bits, dtype))
    lead = np.uint32(_checked_lead("truncate_finish", lead))
    _launch(device, f"truncate_finish_{_WRAPPING[dtype]}", n, (*arguments, dropped, lead))
    return result
