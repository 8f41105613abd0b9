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


def reconstruct(
    device: KernelDevice, stack: Array, modulus: int, out: Array | None = None
) -> Array:
    """Return the sum modulo ``modulus`` over the party axis: (parties, *shape) -> (*shape)."""
    dtype = word_dtype(modulus)
    stack = _shares(device, "reconstruct", "stack", stack, dtype)
    result = target(device, "reconstruct", out, stack.shape[1:], dtype)
    if out is not None and overlaps(device, stack, out):
        stack = stack.copy()
    arguments = (stack, result, np.uint64(result.size), np.uint32(len(stack)))
    _launch(device, "reconstruct", modulus, result.size, arguments, modulus_arguments(modulus))
    return result


def add_public(device: KernelDevice, stack: Array, public: Array, lead: int, modulus: int) -> Array:
    """Return the stack with ``public``, which broadcasts, added to its first ``lead`` shares."""
    dtype = word_dtype(modulus)
    stack = _shares(device, "add_public", "stack", stack, dtype)
    public = operand(device, "add_public", "public", public, dtype)
    public, step = repeated(device, "add_public", "public", public, stack.shape[1:])
    result, n = device.xp.empty(stack.shape, dtype), stack.size // len(stack)
    arguments = (stack, public, step, result, np.uint64(n), np.uint32(len(stack)))
    constants = (lead_word("add_public", lead), *modulus_arguments(modulus))
    _launch(device, "add_public", modulus, n, arguments, constants)
    return result


def open_masked(device: KernelDevice, stack: Array, mask: Array) -> Array:
    """Return the sum over the party axis of ``stack - mask``, for words that wrap."""
    dtype = word_type("open_masked", "stack", stack)
    stack, mask = _equal_stacks(device, "open_masked", "mask", stack, mask, dtype)
    result = device.xp.empty(stack.shape[1:], dtype)
    arguments = (stack, mask, result, np.uint64(result.size), np.uint32(len(stack)))
    _launch(device, "open_masked", _ring(dtype), result.size, arguments)
    return result


def open_scaled(
    device: KernelDevice, stack: Array, added: Array, factor: Array | None = None
) -> Array:
    """Return the sum over the party axis of ``stack * factor + added``, for words that wrap."""
    dtype = word_type("open_scaled", "stack", stack)
    stack, added = _equal_stacks(device, "open_scaled", "added", stack, added, dtype)
    result = device.xp.empty(stack.shape[1:], dtype)
    word, step = None, np.uint64(0)
    if factor is not None:
        word = operand(device, "open_scaled", "factor", factor, dtype)
        word, step = repeated(device, "open_scaled", "factor", word, stack.shape[1:])
    arguments = (stack, word, step, added, result, np.uint64(result.size), np.uint32(len(stack)))
    _launch(device, "open_scaled", _ring(dtype), result.size, arguments)
    return result


def beaver_combine(
    device: KernelDevice, d: Array, y: Array, a: Array, e: Array, c: Array, total: bool = False
) -> Array:
    """Return ``d * y + a * e + c``, for words that wrap; d and e are public and broadcast.

    With total the sum over the party axis, (*shape), which no pass over the shares precedes.
    """
    dtype = word_type("beaver_combine", "c", c)
    shape = stack_of(device, "beaver_combine", "c", c, dtype).shape
    shares = [
        _shares(device, "beaver_combine", name, value, dtype, shape)
        for name, value in (("y", y), ("a", a), ("c", c))
    ]
    public: list[Any] = []
    for name, value in (("d", d), ("e", e)):
        word = operand(device, "beaver_combine", name, value, dtype)
        public += repeated(device, "beaver_combine", name, word, shape[1:])
    result = device.xp.empty(shape[1:] if total else shape, dtype)
    n = shares[2].size // shape[0]
    arguments = (*public[:2], *shares[:2], *public[2:], shares[2], result)
    sizes = (np.uint64(n), np.uint32(shape[0]))
    _launch(device, "beaver_open" if total else "beaver_combine", _ring(dtype), n, arguments, sizes)
    return result


def truncate_finish(
    device: KernelDevice, opened: Array, low: Array, top: Array, bits: int, lead: int
) -> Array:
    """Return shares of the truncated value from the opened word and a truncation pair."""
    dtype = word_type("truncate_finish", "low", low)
    low = _shares(device, "truncate_finish", "low", low, dtype)
    top = _shares(device, "truncate_finish", "top", top, dtype, low.shape)
    opened = operand(device, "truncate_finish", "opened", opened, dtype)
    opened = full(device, "truncate_finish", "opened", opened, low.shape[1:])
    result = device.xp.empty(low.shape, dtype)
    arguments = (opened, low, top, result, np.uint64(opened.size), np.uint32(len(low)))
    constants = (truncated_bits("truncate_finish", bits, dtype), lead_word("truncate_finish", lead))
    _launch(device, "truncate_finish", _ring(dtype), opened.size, arguments, constants)
    return result


def _launch(
    device: KernelDevice,
    function: str,
    modulus: int,
    n: int,
    arguments: tuple[Any, ...],
    constants: tuple[np.generic, ...] = (),
) -> None:
    """Run a function's kernel on n words per party, unless there are none."""
    if n:
        kernel = f"{function}_{domain(modulus)}"
        device.launch("protocol", kernel, grid_1d(n, THREADS), (THREADS,), (*arguments, *constants))


def _shares(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    dtype: np.dtype[Any],
    shape: tuple[int, ...] | None = None,
) -> Array:
    """Return a contiguous stack, broadcast to a shape where one is given."""
    stack = stack_of(device, function, name, value, dtype)
    return full(device, function, name, stack, shape or stack.shape)


def _equal_stacks(
    device: KernelDevice, function: str, name: str, stack: Any, other: Any, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Return two stacks broadcast to one shape."""
    shape = stack_of(device, function, "stack", stack, dtype).shape
    other_shape = stack_of(device, function, name, other, dtype).shape
    shape = broadcast_shape(function, shape, other_shape)
    return (
        _shares(device, function, "stack", stack, dtype, shape),
        _shares(device, function, name, other, dtype, shape),
    )


def _ring(dtype: np.dtype[Any]) -> int:
    """Return the modulus at which a word wraps."""
    return 1 << (8 * dtype.itemsize)


def lead_word(function: str, lead: int) -> np.uint32:
    """Return how many rows belong to the first party, 0 or 1, as the kernels take it."""
    if lead not in (0, 1):
        raise ArgumentValueError(f"{function}: lead must be 0 or 1, got {lead}")
    word: np.uint32 = np.uint32(lead)
    return word


def truncated_bits(function: str, bits: int, dtype: np.dtype[Any]) -> np.uint32:
    """Return how many bits a truncation drops, as the kernels take it."""
    bound = 8 * dtype.itemsize - 2
    if not 0 < bits < bound:
        raise ArgumentValueError(f"{function}: bits must be in (0, {bound}), got {bits}")
    word: np.uint32 = np.uint32(bits)
    return word
