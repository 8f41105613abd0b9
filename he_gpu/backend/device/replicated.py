"""Launchers of ``kernels/replicated.cu``: steps of replicated sharing on stacks of a device.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.replicated`; one
launch serves all the parties of a stack.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend.definition.replicated import check_dealt_bits
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.domain import domain
from he_gpu.backend.device.operands import (
    coincides,
    full,
    operand,
    overlaps,
    stack_of,
    steps,
    target,
    word_type,
)
from he_gpu.backend.device.protocol import lead_word, truncated_bits
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

THREADS = 256


def cross_multiply(
    device: KernelDevice, x: Array, y: Array, add: Array, out: Array | None = None
) -> Array:
    """Return the parties' shares of x y: ``x_i (y_i + y_{i+1}) + x_{i+1} y_i + add_i``."""
    name = "cross_multiply"
    dtype = word_type(name, "add", add)
    add = stack_of(device, name, "add", add, dtype)
    add = full(device, name, "add", add, add.shape)
    factors: list[Any] = []
    for label, value in (("x", x), ("y", y)):
        factors += _window(device, name, label, operand(device, name, label, value, dtype), add)
    result, n = target(device, name, out, add.shape, dtype), add.size // len(add)
    for label, value in zip(("x", "y", "add"), (*factors[::2], add), strict=True):
        if overlaps(device, value, result) and not (label == "add" and coincides(add, result)):
            raise ArgumentValueError(f"{name}: out must not overlap {label}")
    arguments = (*factors, add, result, np.uint64(n), np.uint32(len(add)))
    _launch(device, name, dtype, n, arguments)
    return result


def deal_truncation(
    device: KernelDevice,
    first: Array,
    last: Array,
    choices: Array,
    bits: int,
    mask: Array | None = None,
) -> Array:
    """Return what the first two parties need to undo a mask that only the third one knows."""
    name = "deal_truncation"
    dtype = word_type(name, "first", first)
    shape = first.shape
    first, last = (
        _exact(device, name, label, value, shape, dtype)
        for label, value in (("first", first), ("last", last))
    )
    choices = stack_of(device, name, "choices", choices, dtype)
    n_choices = 1 if len(choices) == 1 else 2
    choices = _exact(device, name, "choices", choices, (n_choices, *shape), dtype)
    if mask is not None:
        mask = _exact(device, name, "mask", mask, shape, dtype)
    check_dealt_bits(bits, n_choices, dtype)
    parts, n = device.xp.empty((2, 2, *shape), dtype), first.size
    arguments = (first, last, choices, mask, parts, np.uint64(n))
    _launch(device, name, dtype, n, (*arguments, np.uint32(n_choices == 2), np.uint32(bits)))
    return parts


def deal_mask(device: KernelDevice, rest: Array, mask: Array, bits: int) -> None:
    """Take the truncated mask from the second party's words, in place.

    The two rows of ``rest`` may lie apart, as those of ``parts[:, 1]`` do; each is contiguous.
    """
    name = "deal_mask"
    dtype = word_type(name, "mask", mask)
    mask = operand(device, name, "mask", mask, dtype)
    mask = full(device, name, "mask", mask, mask.shape)
    step = _step_of_rows(device, name, rest, (2, *mask.shape), dtype)
    if overlaps(device, mask, rest):
        raise ArgumentValueError(f"{name}: mask must not overlap rest")
    arguments = (rest, step, mask, np.uint64(mask.size), truncated_bits(name, bits, dtype))
    _launch(device, name, dtype, mask.size, arguments)


def choose_truncation(
    device: KernelDevice, opened: Array, parts: Array, bits: int, lead: int
) -> Array:
    """Return the sum over the parties of their part of the case that the opened word makes.

    Cases and parties of ``parts`` may lie apart; other strides cost a copy.
    """
    name = "choose_truncation"
    dtype = word_type(name, "opened", opened)
    opened = operand(device, name, "opened", opened, dtype)
    opened = full(device, name, "opened", opened, opened.shape)
    parts = operand(device, name, "parts", parts, dtype)
    if (
        parts.ndim < 2
        or not (len(parts) == 2 and parts.shape[1])
        or parts.shape[2:] != opened.shape
    ):
        raise ArgumentValueError(
            f"{name}: parts must have shape (2, parties, ...) for opened of shape {opened.shape}, "
            f"got {parts.shape}"
        )
    if not parts[0, 0, ...].flags.c_contiguous or min(steps(parts)[:2]) < 0:
        parts = parts.copy()
    case_step, party_step = map(np.uint64, steps(parts)[:2])
    result = device.xp.empty(opened.shape, dtype)
    arguments = (opened, parts, case_step, party_step, result, np.uint64(opened.size))
    constants = (truncated_bits(name, bits, dtype), lead_word(name, lead))
    _launch(device, name, dtype, opened.size, (*arguments, np.uint32(parts.shape[1]), *constants))
    return result


def _launch(
    device: KernelDevice, function: str, dtype: np.dtype[Any], n: int, arguments: tuple[Any, ...]
) -> None:
    """Run a function's kernel on n words per row, unless there are none."""
    if n:
        kernel = f"{function}_{domain(1 << (8 * dtype.itemsize))}"
        device.launch("replicated", kernel, grid_1d(n, THREADS), (THREADS,), arguments)


def _window(
    device: KernelDevice, function: str, name: str, value: Array, add: Array
) -> tuple[Array, np.uint64]:
    """Return a factor and its step: one word in each row (0), or all words (1)."""
    shape = (len(add) + 1, *add.shape[1:])
    if value.ndim != add.ndim or len(value) != shape[0]:
        raise ArgumentValueError(
            f"{function}: {name} must have {add.ndim} axes, the first of {shape[0]}, "
            f"got shape {value.shape}"
        )
    if value.size == len(value):
        return full(device, function, name, value, value.shape), np.uint64(0)
    return full(device, function, name, value, shape), np.uint64(1)


def _exact(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Array:
    """Return an operand of an exact shape, contiguous."""
    value = operand(device, function, name, value, dtype)
    if value.shape != shape:
        raise ArgumentValueError(f"{function}: {name} must have shape {shape}, got {value.shape}")
    return full(device, function, name, value, shape)


def _step_of_rows(
    device: KernelDevice, function: str, rest: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.uint64:
    """Return the step between two rows that a kernel writes in place."""
    checked = operand(device, function, "rest", rest, dtype)
    if checked.shape != shape:
        raise ArgumentValueError(f"{function}: rest must have shape {shape}, got {checked.shape}")
    row, step = checked[0, ...], checked.strides[0] // dtype.itemsize
    if checked is not rest or not row.flags.c_contiguous or step < row.size:
        raise ArgumentValueError(
            f"{function}: rest must be aligned, its two rows contiguous, the second after the first"
        )
    word: np.uint64 = np.uint64(step)
    return word
