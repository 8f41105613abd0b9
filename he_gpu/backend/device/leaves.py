"""Launchers of ``kernels/leaves.cu``: the first level of comparison's trees, on a device.

Layer: backend. Same names, parameters and results as `he_gpu.backend.definition.leaves`; one launch
serves all the parties of a stack. Shapes are exact: nothing broadcasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from he_gpu.backend.definition.leaves import Pick
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device.operands import contiguous, operand, packed, stack_of
from he_gpu.backend.device.planes import axes, launch_rows
from he_gpu.backend.device.protocol import lead_word
from he_gpu.backend.launch import KernelDevice
from he_gpu.errors import ArgumentValueError

_WORD = np.dtype(np.uint64)


def less_pairs(
    device: KernelDevice, planes: Array, words: Sequence[int], places: Sequence[int]
) -> Array:
    """Return places of c - w for public words: (k, W) -> (m, 2, W)."""
    planes = _public(device, "less_pairs", planes)
    _check_numbers("less_pairs", "places", places, len(planes) // 2)
    result = device.xp.empty((len(words), 2, planes.shape[1]), _WORD)
    _walk(device, "less_pairs", planes, words, places, result)
    return result


def borrows(
    device: KernelDevice, planes: Array, words: Sequence[int], positions: Sequence[int]
) -> Array:
    """Return the borrow that goes into a bit of c - w, for public words: (k, W) -> (m, W)."""
    planes = _public(device, "borrows", planes)
    _check_numbers("borrows", "positions", positions, len(planes))
    result = device.xp.empty((len(words), planes.shape[1]), _WORD)
    _walk(device, "borrows", planes, words, positions, result)
    return result


def carry_leaves(
    device: KernelDevice,
    public: Array,
    places: Sequence[int],
    mask: Array,
    pairs: Array,
    lead: int,
) -> Array:
    """Return the first level of a carry tree of c + M over the low k - 1 bits."""
    mask, pairs = _masks(device, "carry_leaves", mask, pairs)
    parties, n_places, width = pairs.shape
    _check_numbers("carry_leaves", "places", places, n_places)
    nodes = len(places)
    public = packed(device, "carry_leaves", "public", public, (nodes, 2, width))
    result = device.xp.empty((parties, 2, nodes, width), _WORD)
    sizes = np.uint64(nodes), np.uint64(n_places), np.uint64(width), np.uint32(parties)
    arguments = (public, _numbers(device, places, np.uint32), mask, pairs, result, *sizes)
    lead_flag = lead_word("carry_leaves", lead)
    launch_rows(device, "leaves", "carry_leaves_bits_u64", nodes, width, (*arguments, lead_flag))
    return result


def equal_leaves(
    device: KernelDevice, public: Array, mask: Array, pairs: Array, lead: int
) -> Array:
    """Return the first level of the tree of ands that tells whether c equals N."""
    mask, pairs = _masks(device, "equal_leaves", mask, pairs)
    parties, nodes, width = pairs.shape
    public = packed(device, "equal_leaves", "public", public, (2 * nodes, width))
    result = device.xp.empty((parties, nodes, width), _WORD)
    sizes = np.uint64(nodes), np.uint64(width), np.uint32(parties)
    arguments = (public, mask, pairs, result, *sizes, lead_word("equal_leaves", lead))
    launch_rows(device, "leaves", "equal_leaves_bits_u64", nodes, width, arguments)
    return result


def choose_nodes(device: KernelDevice, nodes: Array, picks: Sequence[Pick], flags: Array) -> Array:
    """Return nodes of a carry tree in another order, some of them chosen by public flags."""
    nodes = stack_of(device, "choose_nodes", "nodes", nodes, _WORD)
    nodes = contiguous(axes("choose_nodes", "nodes", nodes, "parties", "2", "m", "W"))
    parties, kinds, n_nodes, width = nodes.shape
    flags = axes(
        "choose_nodes",
        "flags",
        operand(device, "choose_nodes", "flags", flags, _WORD),
        "n_flags",
        "W",
    )
    flags = packed(device, "choose_nodes", "flags", flags, (len(flags), width))
    _check_numbers("choose_nodes", "picks", [n for *pair, _ in picks for n in pair], n_nodes)
    chosen = [flag for *_, flag in picks if flag >= 0]
    _check_numbers("choose_nodes", "picks", chosen, len(flags))
    result = device.xp.empty((parties, kinds, len(picks), width), _WORD)
    sizes = np.uint64(len(picks)), np.uint64(n_nodes), np.uint64(width), np.uint32(parties * kinds)
    arguments = (nodes, _numbers(device, picks, np.int32), flags, result, *sizes)
    launch_rows(device, "leaves", "choose_nodes_bits_u64", len(picks), width, arguments)
    return result


def _walk(
    device: KernelDevice,
    function: str,
    planes: Array,
    words: Sequence[int],
    numbers: Sequence[int],
    result: Array,
) -> None:
    """Launch what subtracts words from c."""
    if len(words) != len(numbers):
        raise ArgumentValueError(
            f"{function}: words must be as many as places or positions, {len(numbers)}, "
            f"got {len(words)}"
        )
    _check_numbers(function, "words", words, 2 ** len(planes))
    items = _numbers(device, words, np.uint64), _numbers(device, numbers, np.uint32)
    arguments = (planes, *items, result, np.uint64(len(words)), np.uint64(planes.shape[1]))
    kernel = f"{function}_bits_u64"
    launch_rows(device, "leaves", kernel, len(words), planes.shape[1], arguments)


def _public(device: KernelDevice, function: str, planes: Any) -> Array:
    """Return the planes of a public word."""
    planes = operand(device, function, "planes", planes, _WORD)
    planes = axes(function, "planes", planes, "k", "W")
    _check_k(function, "planes", len(planes))
    return contiguous(planes)


def _masks(device: KernelDevice, function: str, mask: Any, pairs: Any) -> tuple[Array, Array]:
    """Return the shares of a mask's planes and of the products of pairs of them."""
    mask = axes(
        function, "mask", stack_of(device, function, "mask", mask, _WORD), "parties", "k", "W"
    )
    parties, k, width = mask.shape
    _check_k(function, "mask", k)
    pairs = packed(device, function, "pairs", pairs, (parties, k // 2, width))
    return contiguous(mask), pairs


def _check_k(function: str, name: str, k: int) -> None:
    if k not in (64, 32):
        raise ArgumentValueError(f"{function}: {name} must have 64 or 32 planes, got {k}")


def _check_numbers(function: str, name: str, numbers: Sequence[int], bound: int) -> None:
    for number in numbers:
        if not 0 <= number < bound:
            raise ArgumentValueError(f"{function}: {name} must be in [0, {bound}), got {number}")


def _numbers(device: KernelDevice, numbers: Sequence[Any], dtype: Any) -> Array:
    """Return numbers on the device, where they stay for the next time."""
    return _kept_numbers(device, tuple(numbers), np.dtype(dtype))


@lru_cache(maxsize=1024)
def _kept_numbers(device: KernelDevice, numbers: tuple[Any, ...], dtype: np.dtype[Any]) -> Array:
    return device.asarray(np.asarray(numbers, dtype))
