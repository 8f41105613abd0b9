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
    exact,
    full,
    operand,
    overlaps,
    packed,
    stack_of,
    steps,
    target,
    word_type,
    writable,
)
from he_gpu.backend.device.protocol import lead_word, truncated_bits
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentValueError

THREADS = 256


def cross_multiply(
    device: KernelDevice,
    x: Array,
    y: Array,
    add: Array,
    out: Array | None = None,
    balance: bool = False,
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
    for label, value in zip(("x", "y", "add"), (*factors[::3], add), strict=True):
        if overlaps(device, value, result) and not (label == "add" and coincides(add, result)):
            raise ArgumentValueError(f"{name}: out must not overlap {label}")
    arguments = (*factors, add, result, np.uint64(n), np.uint32(len(add)), np.uint32(balance))
    _launch(device, name, dtype, n, arguments)
    return result


def deal_truncation(
    device: KernelDevice,
    first: Array,
    last: Array,
    choices: Array,
    bits: int,
    mask: Array | None = None,
    copy: Array | None = None,
) -> Array:
    """Return what the first two parties need to undo a mask that only the third one knows."""
    name = "deal_truncation"
    dtype = word_type(name, "first", first)
    shape = first.shape
    first, last = (
        packed(device, name, label, value, shape, dtype)
        for label, value in (("first", first), ("last", last))
    )
    choices, both = _choices(device, name, choices, shape, dtype)
    if mask is not None:
        mask = packed(device, name, "mask", mask, shape, dtype)
    if copy is not None:
        copy = writable(device, name, "copy", copy, shape, dtype)
        _apart(device, name, "copy", copy, first=first, last=last, choices=choices, mask=mask)
    check_dealt_bits(bits, len(choices), dtype)
    parts = device.xp.empty((2, 2 if mask is None else 1, *shape), dtype)
    arguments = (first, last, choices, mask, parts, copy, np.uint64(first.size), both)
    _launch(device, name, dtype, first.size, (*arguments, np.uint32(bits)))
    return parts


def deal_mask(device: KernelDevice, rest: Array, mask: Array, bits: int) -> None:
    """Give the truncated mask to the second party's words, in place.

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
    device: KernelDevice,
    first: Array,
    second: Array,
    parts: Array | None,
    bits: int,
    lead: int,
    choices: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Return the sum over the parties of their part of the truncated value.

    Rows and parties of ``parts`` may lie apart; other strides cost a copy.
    """
    name = "choose_truncation"
    dtype = word_type(name, "first", first)
    shape = first.shape
    first, second = (
        packed(device, name, label, value, shape, dtype)
        for label, value in (("first", first), ("second", second))
    )
    both, n_parties, part_steps = np.uint32(0), 0, (np.uint64(0), np.uint64(0))
    if choices is not None:
        choices, both = _choices(device, name, choices, shape, dtype)
        check_dealt_bits(bits, len(choices), dtype, name)
    elif parts is None:
        raise ArgumentValueError(f"{name}: parts must be given where choices are not")
    if parts is not None:
        parts = _parts(device, name, parts, shape, dtype)
        n_parties, part_steps = parts.shape[1], tuple(map(np.uint64, steps(parts)[:2]))
    result = target(device, name, out, shape, dtype)
    inputs = {"first": first, "second": second, "parts": parts, "choices": choices}
    _apart(device, name, "out", result, **inputs)
    arguments = (first, second, parts, *part_steps, choices, result, np.uint64(first.size))
    constants = (truncated_bits(name, bits, dtype), lead_word(name, lead))
    _launch(device, name, dtype, first.size, (*arguments, np.uint32(n_parties), both, *constants))
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
) -> tuple[Array, np.uint64, np.uint32]:
    """Return a factor, its step, one word in each row (0) or all words (1), and its rows."""
    rows = len(add) + 1
    if value.ndim != add.ndim or len(value) not in ((rows, 3) if rows == 4 else (rows,)):
        raise ArgumentValueError(
            f"{function}: {name} must have {add.ndim} axes, the first of {rows}, "
            f"got shape {value.shape}"
        )
    rows = len(value)
    if value.size == rows:
        return full(device, function, name, value, value.shape), np.uint64(0), np.uint32(rows)
    shape = (rows, *add.shape[1:])
    return full(device, function, name, value, shape), np.uint64(1), np.uint32(rows)


def _choices(
    device: KernelDevice, function: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[Array, np.uint32]:
    """Return choices, contiguous, and whether each element has two."""
    value = stack_of(device, function, "choices", value, dtype)
    n_choices = 1 if len(value) == 1 else 2
    value = packed(device, function, "choices", value, (n_choices, *shape), dtype)
    return value, np.uint32(n_choices == 2)


def _parts(
    device: KernelDevice, function: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """Return parts to choose from, each row contiguous."""
    value = operand(device, function, "parts", value, dtype)
    if value.ndim < 2 or not (len(value) == 2 and value.shape[1]) or value.shape[2:] != shape:
        raise ArgumentValueError(
            f"{function}: parts must have shape (2, parties, ...) for words of shape {shape}, "
            f"got {value.shape}"
        )
    if not value[0, 0, ...].flags.c_contiguous or min(steps(value)[:2]) < 0:
        value = value.copy()
    return value


def _apart(
    device: KernelDevice, function: str, name: str, out: Array, **inputs: Array | None
) -> None:
    """Refuse to write over what is read."""
    for label, value in inputs.items():
        if value is not None and overlaps(device, value, out):
            raise ArgumentValueError(f"{function}: {name} must not overlap {label}")


def _step_of_rows(
    device: KernelDevice, function: str, rest: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.uint64:
    """Return the step between two rows that a kernel writes in place."""
    checked = exact(device, function, "rest", rest, shape, dtype)
    row, step = checked[0, ...], checked.strides[0] // dtype.itemsize
    if checked is not rest or not row.flags.c_contiguous or step < row.size:
        raise ArgumentValueError(
            f"{function}: rest must be aligned, its two rows contiguous, the second after the first"
        )
    word: np.uint64 = np.uint64(step)
    return word
