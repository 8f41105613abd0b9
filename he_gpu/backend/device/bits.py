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
from he_gpu.backend.device.operands import operand, overlaps, stack_of, word_type, writable
from he_gpu.backend.device.prg import check_blocks
from he_gpu.backend.device.protocol import lead_word
from he_gpu.backend.device.sharing import stream_words
from he_gpu.backend.launch import KernelDevice, grid_1d
from he_gpu.errors import ArgumentTypeError, ArgumentValueError

THREADS = 256
MAX_ROWS = 64
"""Rows of a grid; a kernel strides over more."""
TILE = 32 * 64
"""Elements whose planes one block makes at a time."""

_WORD = np.dtype(np.uint64)


def bit_planes(device: KernelDevice, words: Array) -> Array:
    """Return the bits of words in planes: (n,) uint64 or uint32 -> (k, W) uint64."""
    dtype = word_type("bit_planes", "words", words)
    words = _axes("bit_planes", "words", operand(device, "bit_planes", "words", words, dtype), "n")
    words = _contiguous(words)
    result = device.xp.empty((8 * dtype.itemsize, _width(words.size)), _WORD)
    arguments = (words, result, np.uint64(words.size))
    if words.size:
        kernel = f"bit_planes_{_ring(dtype)}"
        device.launch("bits", kernel, grid_1d(words.size, TILE), (THREADS,), arguments)
    return result


def bit_words(device: KernelDevice, plane: Array, n: int, dtype: Any) -> Array:
    """Return the bits of a plane as words 0 and 1: (W,) uint64 -> (n,)."""
    dtype = np.dtype(dtype)
    if dtype not in (np.uint64, np.uint32):
        raise ArgumentTypeError(f"bit_words: dtype must be uint64 or uint32, got {dtype}")
    if n < 0:
        raise ArgumentValueError(f"bit_words: n must be at least 0, got {n}")
    plane = _packed(device, "bit_words", "plane", plane, (_width(n),))
    result = device.xp.empty(n, dtype)
    _launch(device, f"bit_words_{_ring(dtype)}", 1, n, (plane, result, np.uint64(n)))
    return result


def carry_leaves(
    device: KernelDevice, public: Array, mask: Array, pairs: Array, lead: int
) -> Array:
    """Return the first level of the carry tree of c + M over the low k - 1 bits."""
    operands = _leaves(device, "carry_leaves", public, mask, pairs)
    parties, nodes, width = operands[2].shape
    result = device.xp.empty((parties, 2, nodes, width), _WORD)
    sizes = (*_sizes(nodes, width, parties), lead_word("carry_leaves", lead))
    _launch(device, "carry_leaves_bits_u64", nodes, width, (*operands, result, *sizes))
    return result


def equal_leaves(
    device: KernelDevice, public: Array, mask: Array, pairs: Array, lead: int
) -> Array:
    """Return the first level of the tree of ands that tells whether c equals N."""
    operands = _leaves(device, "equal_leaves", public, mask, pairs)
    parties, nodes, width = operands[2].shape
    result = device.xp.empty((parties, nodes, width), _WORD)
    sizes = (*_sizes(nodes, width, parties), lead_word("equal_leaves", lead))
    _launch(device, "equal_leaves_bits_u64", nodes, width, (*operands, result, *sizes))
    return result


def carry_open(device: KernelDevice, nodes: Array, masks: Array) -> Array:
    """Return what is opened to join neighbouring nodes of a carry tree."""
    nodes, (parties, half, width) = _nodes(device, "carry_open", nodes)
    masks = _packed(device, "carry_open", "masks", masks, (parties, 3, half, width))
    result = device.xp.empty((3, half, width), _WORD)
    arguments = (nodes, masks, result, *_sizes(half, width, parties))
    _launch(device, "carry_open_bits_u64", half, width, arguments)
    return result


def carry_combine(
    device: KernelDevice, opened: Array, nodes: Array, masks: Array, products: Array
) -> Array:
    """Return boolean shares of the joined nodes of a carry tree."""
    nodes, (parties, half, width) = _nodes(device, "carry_combine", nodes)
    opened = _packed(device, "carry_combine", "opened", opened, (3, half, width))
    masks = _packed(device, "carry_combine", "masks", masks, (parties, 3, half, width))
    shape = (parties, 2, half, width)
    products = _packed(device, "carry_combine", "products", products, shape)
    result = device.xp.empty(shape, _WORD)
    arguments = (opened, nodes, masks, products, result, *_sizes(half, width, parties))
    _launch(device, "carry_combine_bits_u64", half, width, arguments)
    return result


def and_open(device: KernelDevice, x: Array, a: Array, y: Array, b: Array) -> Array:
    """Return what is opened to multiply bits: (parties, *shape) each -> (2, *shape)."""
    x = stack_of(device, "and_open", "x", x, _WORD)
    a = _packed(device, "and_open", "a", a, x.shape)
    y = _checked(device, "and_open", "y", y, x.shape)
    b = _packed(device, "and_open", "b", b, x.shape)
    rows, width, (x, *x_steps), (y, *y_steps) = _in_rows(x, y)
    result = device.xp.empty((2, *a.shape[1:]), _WORD)
    arguments = (x, *x_steps, a, y, *y_steps, b, result, *_sizes(rows, width, len(a)))
    _launch(device, "and_open_bits_u64", rows, width, arguments)
    return result


def and_combine(device: KernelDevice, opened: Array, y: Array, a: Array, c: Array) -> Array:
    """Return boolean shares of x & y from what `and_open` opened, and c = a & b."""
    y = stack_of(device, "and_combine", "y", y, _WORD)
    opened = _packed(device, "and_combine", "opened", opened, (2, *y.shape[1:]))
    a = _packed(device, "and_combine", "a", a, y.shape)
    c = _packed(device, "and_combine", "c", c, y.shape)
    rows, width, (y, *steps) = _in_rows(y)
    result = device.xp.empty(a.shape, _WORD)
    arguments = (opened, y, *steps, a, c, result, *_sizes(rows, width, len(a)))
    _launch(device, "and_combine_bits_u64", rows, width, arguments)
    return result


def xor_open(device: KernelDevice, stack: Array, mask: Array | None = None) -> Array:
    """Return the exclusive or over the party axis of ``stack ^ mask``, or of ``stack`` alone."""
    stack = _contiguous(stack_of(device, "xor_open", "stack", stack, _WORD))
    if mask is not None:
        mask = _packed(device, "xor_open", "mask", mask, stack.shape)
    result = device.xp.empty(stack.shape[1:], _WORD)
    arguments = (stack, mask, result, np.uint64(result.size), np.uint32(len(stack)))
    _launch(device, "xor_open_bits_u64", 1, result.size, arguments)
    return result


def split_bits(
    device: KernelDevice, total: Array, stream: Stream, share: Array, rest: Array
) -> None:
    """Write a stream's uniform words to ``share`` and ``total ^ share`` to ``rest``."""
    total = _contiguous(operand(device, "split_bits", "total", total, _WORD))
    share = writable(device, "split_bits", "share", share, total.shape, _WORD)
    rest = writable(device, "split_bits", "rest", rest, total.shape, _WORD)
    if overlaps(device, share, rest) or overlaps(device, share, total):
        raise ArgumentValueError("split_bits: share must not share memory with total or rest")
    groups = -(-total.size // 8)
    check_blocks("split_bits", total.size, groups)
    arguments = (total, share, rest, np.uint64(total.size), *stream_words(stream))
    _launch(device, "split_bits_u64", 1, groups, arguments)


def bit_shares(device: KernelDevice, opened: Array, beta: Array, lead: int) -> Array:
    """Return additive shares of the bit v ^ beta, for words that wrap."""
    dtype = word_type("bit_shares", "beta", beta)
    beta = stack_of(device, "bit_shares", "beta", beta, dtype)
    beta = _contiguous(_axes("bit_shares", "beta", beta, "parties", "n"))
    opened = _packed(device, "bit_shares", "opened", opened, (_width(beta.shape[1]),))
    result, n = device.xp.empty(beta.shape, dtype), np.uint64(beta.shape[1])
    sizes = (n, np.uint32(len(beta)), lead_word("bit_shares", lead))
    arguments = (opened, beta, result, *sizes)
    _launch(device, f"bit_shares_{_ring(dtype)}", 1, beta.shape[1], arguments)
    return result


def bit_times_word(
    device: KernelDevice,
    opened: Array,
    public: Array,
    beta: Array,
    mask: Array,
    product: Array,
    lead: int,
) -> Array:
    """Return additive shares of (v ^ beta) (c + M), for words that wrap."""
    name = "bit_times_word"
    dtype = word_type(name, "beta", beta)
    beta = stack_of(device, name, "beta", beta, dtype)
    beta = _contiguous(_axes(name, "beta", beta, "parties", "n"))
    opened = _packed(device, name, "opened", opened, (_width(beta.shape[1]),))
    public = _packed(device, name, "public", public, beta.shape[1:], dtype)
    mask = _packed(device, name, "mask", mask, beta.shape, dtype)
    product = _packed(device, name, "product", product, beta.shape, dtype)
    result, n = device.xp.empty(beta.shape, dtype), np.uint64(beta.shape[1])
    sizes = (n, np.uint32(len(beta)), lead_word(name, lead))
    arguments = (opened, public, beta, mask, product, result, *sizes)
    _launch(device, f"{name}_{_ring(dtype)}", 1, beta.shape[1], arguments)
    return result


def _launch(
    device: KernelDevice, kernel: str, rows: int, width: int, arguments: tuple[Any, ...]
) -> None:
    """Run a kernel on rows of so many words, or threads, unless there are none."""
    if rows and width:
        grid = (*grid_1d(width, THREADS), min(rows, MAX_ROWS))
        device.launch("bits", kernel, grid, (THREADS,), arguments)


def _leaves(
    device: KernelDevice, function: str, public: Any, mask: Any, pairs: Any
) -> tuple[Array, Array, Array]:
    """Return the operands of a first level."""
    mask = _axes(
        function, "mask", stack_of(device, function, "mask", mask, _WORD), "parties", "k", "W"
    )
    parties, k, width = mask.shape
    if k not in (64, 32):
        raise ArgumentValueError(f"{function}: mask must have 64 or 32 planes, got {k}")
    public = _packed(device, function, "public", public, (k, width))
    pairs = _packed(device, function, "pairs", pairs, (parties, k // 2, width))
    return public, _contiguous(mask), pairs


def _nodes(device: KernelDevice, function: str, nodes: Any) -> tuple[Array, tuple[int, int, int]]:
    """Return the nodes of a level, and the parties, pairs of nodes and words of a plane."""
    nodes = stack_of(device, function, "nodes", nodes, _WORD)
    nodes = _axes(function, "nodes", nodes, "parties", "2", "m", "W")
    parties, kinds, m, width = nodes.shape
    if kinds != 2 or m % 2:
        raise ArgumentValueError(
            f"{function}: nodes must have shape (parties, 2, m, W) with an even m, "
            f"got {nodes.shape}"
        )
    return _contiguous(nodes), (parties, m // 2, width)


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
    return 1, width, *((_contiguous(stack), step, np.uint64(0)) for stack in stacks)


def _has_rows(stack: Array) -> bool:
    """Tell whether a stack's last axis is contiguous, and its others go forwards."""
    party, row, word = stack.strides
    return bool(word == _WORD.itemsize and party >= 0 and row >= 0)


def _packed(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] = _WORD,
) -> Array:
    """Return an operand of an exact shape, contiguous, a copy only where it must be."""
    return _contiguous(_checked(device, function, name, value, shape, dtype))


def _checked(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] = _WORD,
) -> Array:
    """Return an operand of an exact shape."""
    value = operand(device, function, name, value, dtype)
    if value.shape != shape:
        raise ArgumentValueError(f"{function}: {name} must have shape {shape}, got {value.shape}")
    return value


def _axes(function: str, name: str, value: Array, *axes: str) -> Array:
    """Return an array that has these axes."""
    if value.ndim != len(axes):
        listed = f"({', '.join(axes)}{',' * (len(axes) == 1)})"
        raise ArgumentValueError(f"{function}: {name} must have shape {listed}, got {value.shape}")
    return value


def _contiguous(value: Array) -> Array:
    return value if value.flags.c_contiguous else value.copy()


def _width(n: int) -> int:
    """Return the words of a plane of n bits."""
    return -(-n // 64)


def _sizes(rows: int, width: int, parties: int) -> tuple[np.generic, ...]:
    return np.uint64(rows), np.uint64(width), np.uint32(parties)


def _ring(dtype: np.dtype[Any]) -> str:
    return domain(1 << (8 * dtype.itemsize))
