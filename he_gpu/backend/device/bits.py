"""Launchers of ``kernels/bits.cu``: boolean shares on packed words of a device.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.bits`; one launch
serves all the parties of a stack. Shapes are exact: nothing broadcasts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend.definition.sharing import Stream
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.domain import domain
from he_gpu.backend.device.operands import (
    coincides,
    contiguous,
    exact,
    operand,
    overlaps,
    packed,
    stack_of,
    word_type,
    writable,
)
from he_gpu.backend.device.planes import THREADS, axes, launch_rows
from he_gpu.backend.device.prg import check_blocks, stream_words
from he_gpu.backend.device.protocol import lead_word
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentTypeError, ArgumentValueError

TILE = 32 * 64
"""Elements whose planes one block makes at a time."""

_WORD = np.dtype(np.uint64)


def bit_planes(device: KernelDevice, words: Array) -> Array:
    """Return the bits of words in planes: (n,) uint64 or uint32 -> (k, W) uint64."""
    dtype = word_type("bit_planes", "words", words)
    words = axes("bit_planes", "words", operand(device, "bit_planes", "words", words, dtype), "n")
    words = contiguous(words)
    result = device.xp.empty((8 * dtype.itemsize, _width(words.size)), _WORD)
    arguments = (words, result, np.uint64(words.size))
    if words.size:
        kernel = f"bit_planes_{_ring(dtype)}"
        device.launch("bits", kernel, grid_1d(words.size, TILE), (THREADS,), arguments)
    return result


def bit_words(
    device: KernelDevice, planes: Array, n: int, dtype: Any, out: Array | None = None
) -> Array:
    """Return the bits of planes as words 0 and 1: (rows, W) uint64 -> (rows, n)."""
    dtype = np.dtype(dtype)
    if dtype not in (np.uint64, np.uint32):
        raise ArgumentTypeError(f"bit_words: dtype must be uint64 or uint32, got {dtype}")
    if n < 0:
        raise ArgumentValueError(f"bit_words: n must be at least 0, got {n}")
    planes = axes("bit_words", "planes", planes, "rows", "W")
    planes = packed(device, "bit_words", "planes", planes, (len(planes), _width(n)))
    rows = len(planes)
    if out is None:
        result = device.xp.empty((rows, n), dtype)
    else:
        result = writable(device, "bit_words", "out", out, (rows, n), dtype)
    arguments = (planes, result, np.uint64(n), np.uint64(rows))
    launch_rows(device, "bits", f"bit_words_{_ring(dtype)}", rows, n, arguments)
    return result


def carry_open(device: KernelDevice, nodes: Array, masks: Array) -> Array:
    """Return what is opened to join neighbouring nodes of a carry tree."""
    nodes, (parties, half, width) = _nodes(device, "carry_open", nodes)
    masks = packed(device, "carry_open", "masks", masks, (parties, 3, half, width))
    result = device.xp.empty((3, half, width), _WORD)
    arguments = (nodes, masks, result, *_sizes(half, width, parties))
    launch_rows(device, "bits", "carry_open_bits_u64", half, width, arguments)
    return result


def carry_combine(
    device: KernelDevice, opened: Array, nodes: Array, masks: Array, products: Array
) -> Array:
    """Return boolean shares of the joined nodes of a carry tree."""
    nodes, (parties, half, width) = _nodes(device, "carry_combine", nodes)
    opened = packed(device, "carry_combine", "opened", opened, (3, half, width))
    masks = packed(device, "carry_combine", "masks", masks, (parties, 3, half, width))
    shape = (parties, 2, half, width)
    products = packed(device, "carry_combine", "products", products, shape)
    result = device.xp.empty(shape, _WORD)
    arguments = (opened, nodes, masks, products, result, *_sizes(half, width, parties))
    launch_rows(device, "bits", "carry_combine_bits_u64", half, width, arguments)
    return result


def and_open(device: KernelDevice, x: Array, a: Array, y: Array, b: Array) -> Array:
    """Return what is opened to multiply bits: (parties, *shape) each -> (2, *shape)."""
    x = stack_of(device, "and_open", "x", x, _WORD)
    a = packed(device, "and_open", "a", a, x.shape)
    y = exact(device, "and_open", "y", y, x.shape)
    b = packed(device, "and_open", "b", b, x.shape)
    rows, width, (x, *x_steps), (y, *y_steps) = _in_rows(x, y)
    result = device.xp.empty((2, *a.shape[1:]), _WORD)
    arguments = (x, *x_steps, a, y, *y_steps, b, result, *_sizes(rows, width, len(a)))
    launch_rows(device, "bits", "and_open_bits_u64", rows, width, arguments)
    return result


def and_combine(device: KernelDevice, opened: Array, y: Array, a: Array, c: Array) -> Array:
    """Return boolean shares of x & y from what `and_open` opened, and c = a & b."""
    y = stack_of(device, "and_combine", "y", y, _WORD)
    opened = packed(device, "and_combine", "opened", opened, (2, *y.shape[1:]))
    a = packed(device, "and_combine", "a", a, y.shape)
    c = packed(device, "and_combine", "c", c, y.shape)
    rows, width, (y, *steps) = _in_rows(y)
    result = device.xp.empty(a.shape, _WORD)
    arguments = (opened, y, *steps, a, c, result, *_sizes(rows, width, len(a)))
    launch_rows(device, "bits", "and_combine_bits_u64", rows, width, arguments)
    return result


def xor_open(device: KernelDevice, stack: Array, mask: Array | None = None) -> Array:
    """Return the exclusive or over the party axis of ``stack ^ mask``, or of ``stack`` alone."""
    stack = contiguous(stack_of(device, "xor_open", "stack", stack, _WORD))
    if mask is not None:
        mask = packed(device, "xor_open", "mask", mask, stack.shape)
    result = device.xp.empty(stack.shape[1:], _WORD)
    arguments = (stack, mask, result, np.uint64(result.size), np.uint32(len(stack)))
    launch_rows(device, "bits", "xor_open_bits_u64", 1, result.size, arguments)
    return result


def split_bits(
    device: KernelDevice, total: Array, stream: Stream, share: Array, rest: Array
) -> None:
    """Write a stream's uniform words to ``share`` and ``total ^ share`` to ``rest``."""
    total = contiguous(operand(device, "split_bits", "total", total, _WORD))
    share = writable(device, "split_bits", "share", share, total.shape, _WORD)
    rest = writable(device, "split_bits", "rest", rest, total.shape, _WORD)
    if overlaps(device, share, rest) or overlaps(device, share, total):
        raise ArgumentValueError("split_bits: share must not share memory with total or rest")
    groups = -(-total.size // 8)
    check_blocks("split_bits", total.size, groups)
    arguments = (total, share, rest, np.uint64(total.size), *stream_words("split_bits", *stream))
    launch_rows(device, "bits", "split_bits_u64", 1, groups, arguments)


def bit_shares(
    device: KernelDevice, opened: Array, beta: Array, lead: int, out: Array | None = None
) -> Array:
    """Return additive shares of the bits v ^ beta, for words that wrap."""
    dtype = word_type("bit_shares", "beta", beta)
    beta = stack_of(device, "bit_shares", "beta", beta, dtype)
    beta = contiguous(axes("bit_shares", "beta", beta, "parties", "rows", "n"))
    parties, rows, n = beta.shape
    opened = packed(device, "bit_shares", "opened", opened, (rows, _width(n)))
    if out is None:
        result = device.xp.empty(beta.shape, dtype)
    else:
        result = writable(device, "bit_shares", "out", out, beta.shape, dtype)
        if overlaps(device, opened, result):
            raise ArgumentValueError("bit_shares: out must not overlap opened")
        if overlaps(device, beta, result) and not coincides(beta, result):
            raise ArgumentValueError("bit_shares: out must not overlap beta in part")
    sizes = np.uint64(n), np.uint64(rows), np.uint32(parties), lead_word("bit_shares", lead)
    arguments = (opened, beta, result, *sizes)
    launch_rows(device, "bits", f"bit_shares_{_ring(dtype)}", rows, n, arguments)
    return result


def bit_times_word(
    device: KernelDevice,
    opened: Array,
    public: Array,
    beta: Array,
    mask: Array,
    product: Array,
    lead: int,
    negated: int = 0,
) -> Array:
    """Return additive shares of (v ^ beta) (c + M), for words that wrap."""
    name = "bit_times_word"
    dtype = word_type(name, "beta", beta)
    beta = stack_of(device, name, "beta", beta, dtype)
    beta = contiguous(axes(name, "beta", beta, "parties", "rows", "n"))
    parties, rows, n = beta.shape
    if not 0 <= negated <= rows:
        raise ArgumentValueError(f"{name}: negated must be in [0, {rows}], got {negated}")
    opened = packed(device, name, "opened", opened, (rows, _width(n)))
    public = packed(device, name, "public", public, (rows, n), dtype)
    mask = packed(device, name, "mask", mask, (parties, n), dtype)
    product = packed(device, name, "product", product, beta.shape, dtype)
    result = device.xp.empty(beta.shape, dtype)
    sizes = np.uint64(n), np.uint64(rows), np.uint64(negated), np.uint32(parties)
    arguments = (opened, public, beta, mask, product, result, *sizes, lead_word(name, lead))
    launch_rows(device, "bits", f"{name}_{_ring(dtype)}", rows, n, arguments)
    return result


def _nodes(device: KernelDevice, function: str, nodes: Any) -> tuple[Array, tuple[int, int, int]]:
    """Return the nodes of a level, and the parties, pairs of nodes and words of a plane."""
    nodes = stack_of(device, function, "nodes", nodes, _WORD)
    nodes = axes(function, "nodes", nodes, "parties", "2", "m", "W")
    parties, kinds, m, width = nodes.shape
    if kinds != 2 or m % 2:
        raise ArgumentValueError(
            f"{function}: nodes must have shape (parties, 2, m, W) with an even m, "
            f"got {nodes.shape}"
        )
    return contiguous(nodes), (parties, m // 2, width)


def _in_rows(*stacks: Array) -> tuple[Any, ...]:
    """Return rows, words of a row, and each stack with its steps between parties and between rows.

    Stacks (parties, rows, W) whose rows are contiguous stay as they are; of others each party has
    one row, copied where its words lie apart.
    """
    shape, size = stacks[0].shape, _WORD.itemsize
    whole = all(stack.flags.c_contiguous for stack in stacks)
    if len(shape) == 3 and not whole and all(_has_rows(stack) for stack in stacks):
        steps = [(stack, *(np.uint64(s // size) for s in stack.strides[:2])) for stack in stacks]
        return shape[1], shape[2], *steps
    width = stacks[0].size // shape[0]
    step = np.uint64(width)
    return 1, width, *((contiguous(stack), step, np.uint64(0)) for stack in stacks)


def _has_rows(stack: Array) -> bool:
    """Tell whether a stack's last axis is contiguous, and its others go forwards."""
    party, row, word = stack.strides
    return bool(word == _WORD.itemsize and party >= 0 and row >= 0)


def _width(n: int) -> int:
    """Return the words of a plane of n bits."""
    return -(-n // 64)


def _sizes(rows: int, width: int, parties: int) -> tuple[np.generic, ...]:
    return np.uint64(rows), np.uint64(width), np.uint32(parties)


def _ring(dtype: np.dtype[Any]) -> str:
    return domain(1 << (8 * dtype.itemsize))
