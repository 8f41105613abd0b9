"""Step functions of a secret from its packed bits: public weights, summed bit by bit, in NumPy.

Layer: backend; the definition of ``kernels/steps.cu``. Bits lie in planes as `definition.bits`
describes. A dealer's shares of a bit as words are made where they are used, a block of elements
after the other, so that no more than the sums ever lies in memory.
Source: the arithmetic shares of boolean ones as in Rotaru and Wood, INDOCRYPT 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from he_gpu.backend.definition import sharing
from he_gpu.backend.definition.memory import empty
from he_gpu.backend.definition.sharing import Stream
from he_gpu.backend.definition.words import Array

BLOCK = 2**14
"""Elements of a block: 128 KiB of words, of which some five stay in cache."""
BLOCK_BYTES = 64
"""A row of words starts at a block of its stream."""
BITS, SIGNS = 8, 5
"""Rows whose bits, or -1, 0 and 1, number the entries of a table by one byte."""


def words_per_row(n: int, dtype: Any) -> int:
    """Return how many words of a stream a row of n elements takes: whole blocks."""
    per_block: int = BLOCK_BYTES // np.dtype(dtype).itemsize
    return -(-n // per_block) * per_block


def step_shares(
    opened: Array,
    bits: Array,
    streams: Sequence[Stream],
    weights: Array,
    constants: Array,
    n: int,
    hosted: range,
    uniform: Callable[..., Array] = sharing.uniform,
) -> Array:
    """Return additive shares of ``constants + weights @ (v ^ m)``, for words that wrap.

    The dealer's shares of m as words are, for every party but the last, uniform words beta of the
    party's stream, and for the last what is left of m. Of each a party takes
    (1 - 2 v) beta, the first also v.

    Args:
        opened: (rows, W) uint64, public planes v.
        bits: (rows, W) uint64, planes m, which the dealer alone knows.
        streams: fresh, one for each party but the last; element i of row t takes its element
            ``t * words_per_row(n) + i``.
        weights: (sets, rows) public words, on the host.
        constants: (sets,) public words, on the host.
        n: how many elements there are.
        hosted: the parties whose shares are wanted.
        uniform: makes the words; a faster one may stand in for the definition.

    Returns:
        (parties, sets, n), of the hosted parties.
    """
    sets, rows = weights.shape
    dtype, last = weights.dtype, len(streams)
    result = empty((len(hosted), sets, n), dtype)
    lead, closing = 0 in hosted, last in hosted
    flags = _tables(weights, BITS, (0, 1))
    signs = _tables(weights, SIGNS, (-1, 0, 1))
    used = [[(s, word) for s, word in enumerate(column) if word] for column in weights.T]
    per_row, modulus = words_per_row(n, dtype), 2 ** (8 * dtype.itemsize)
    room = np.empty((3 + sets, min(n, BLOCK)), dtype)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        drawn, sign, term, *spare = room[:, : stop - start]
        public, secret = (_unpacked(planes, start, stop) for planes in (opened, bits))
        turns = 1 - 2 * public.view(np.int8)
        own = {party: result[i, :, start:stop] for i, party in enumerate(hosted)}
        if closing:
            own[last][...] = 0
            digits = turns * secret.view(np.int8) + np.int8(1)
            _look_up(digits.view(np.uint8), signs, own[last], term)
        for party, stream in enumerate(streams):
            if party not in hosted and not closing:
                continue
            total = own.get(party, spare)
            for each in total:
                each[...] = 0
            for row in range(rows):
                first = (row * per_row + start) * dtype.itemsize // BLOCK_BYTES
                uniform(*stream, stop - start, modulus, out=drawn, first=first)
                np.copyto(sign.view(f"i{dtype.itemsize}"), turns[row])
                np.multiply(drawn, sign, out=drawn)
                for s, word in used[row]:
                    np.multiply(drawn, word, out=term)
                    np.add(total[s], term, out=total[s])
            if closing:
                for rest, each in zip(own[last], total, strict=True):
                    np.subtract(rest, each, out=rest)
        if lead:
            own[0][...] += constants[:, None]
            _look_up(public, flags, own[0], term)
    return result


_Tables = list[tuple[slice, int, list[tuple[int, Array]]]]


def _tables(weights: Array, height: int, digits: tuple[int, ...]) -> _Tables:
    """Return for some rows at a time the sums of their weights by the digits before each.

    Returns:
        For each group its rows, the base, and the sets with their tables, the entries of which are
        numbered by the digits' places, that of the first row highest.
    """
    base, tables = len(digits), []
    for start in range(0, weights.shape[1], height):
        group = weights[:, start : start + height]
        entries = np.zeros((len(group), 1), weights.dtype)
        for column in group.T:
            words = np.array(digits, np.int64).astype(weights.dtype) * column[:, None]
            entries = (entries[:, :, None] + words[:, None]).reshape(len(group), -1)
        chosen = [(s, entries[s]) for s in range(len(group)) if group[s].any()]
        tables.append((slice(start, start + group.shape[1]), base, chosen))
    return tables


def _look_up(digits: Array, tables: _Tables, sums: Array, term: Array) -> None:
    """Add what tables hold for the digits (rows, n), bytes from 0 on, to sums (sets, n)."""
    for group, base, chosen in tables:
        first, *others = digits[group]
        number = first.copy()
        for digit in others:
            np.multiply(number, np.uint8(base), out=number)
            np.add(number, digit, out=number)
        for s, entries in chosen:
            np.take(entries, number, out=term, mode="clip")
            np.add(sums[s], term, out=sums[s])


def _unpacked(planes: Array, start: int, stop: int) -> Array:
    """Return bits of planes as bytes 0 and 1, (rows, stop - start), from a multiple of 64 on."""
    packed = np.ascontiguousarray(planes[:, start // 64 : -(-stop // 64)])
    each = packed.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(each, axis=1, count=stop - start, bitorder="little")
