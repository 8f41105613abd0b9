"""Words split into a uniform share and the rest, the share made where it is used, on NumPy arrays.

Layer: backend; the definition of ``kernels/sharing.cu``. A stream is the key and the nonce of one
call of ChaCha20 (`definition.prg`); a device makes its words inside the kernel that uses them, so
a mask that is used once never lies in memory. Nothing here remembers which streams were used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from he_gpu.backend.definition import prg
from he_gpu.backend.definition.elementwise import sub
from he_gpu.backend.definition.protocol import truncation_parts
from he_gpu.backend.definition.words import Array


class CountedNonce(bytes):
    """The nonce of a call that a graph makes again and again, see `he_gpu.backend.graph`.

    Attributes:
        calls: (1,) uint64 on the device; what it holds when the call is made is added to the first
            8 bytes, a little-endian number, modulo 2^64.
    """

    calls: Array


class Stream(NamedTuple):
    """One call of a keystream: 32 bytes of key, 12 bytes of nonce."""

    key: bytes
    nonce: bytes


def uniform(
    key: bytes, nonce: bytes, n: int, modulus: int, out: Array | None = None, first: int = 0
) -> Array:
    """Return n uniform ring elements of a stream from a block on; see `definition.prg`."""
    words = prg.keystream(key, nonce, prg.n_keystream_words(n, modulus), first)
    return prg.uniform(words, n, modulus, out=out)


def split(
    total: Array,
    stream: Stream,
    share: Array,
    rest: Array,
    modulus: int,
    uniform: Callable[..., Array] = uniform,
) -> None:
    """Write a stream's uniform words to ``share`` and ``total - share`` to ``rest``.

    Args:
        total: (*shape) words in [0, modulus).
        stream: fresh; element i of the flat shape takes its element i.
        share: (*shape), contiguous, written.
        rest: (*shape), contiguous, written; may be ``total``.
        modulus: the ring.
        uniform: makes the words; a faster one may stand in for the definition.
    """
    uniform(*stream, total.size, modulus, out=share)
    sub(total, share, modulus, out=rest)


def split_truncated(
    total: Array,
    streams: tuple[Stream, Stream, Stream, Stream],
    c: tuple[Array, Array],
    low: tuple[Array, Array],
    top: tuple[Array, Array],
    bits: int,
    uniform: Callable[..., Array] = uniform,
) -> None:
    """Subtract a truncation's mask from words, and split the difference and the mask's parts.

    The mask M is made of the first stream and kept nowhere: ``c`` gets total - M as a share of the
    second stream and the rest, ``low`` and ``top`` the parts of `protocol.truncation_parts` with
    the third and fourth.

    Args:
        total: (*shape) words of Z_2^64 or Z_2^32.
        streams: of the mask, c, low and top; all fresh.
        c: share and rest, (*shape) each, contiguous, written.
        low: likewise.
        top: likewise.
        bits: low bits that the truncation drops, 0 < bits < k - 2.
        uniform: makes the words.
    """
    modulus = 2 ** (8 * total.dtype.itemsize)
    mask = uniform(*streams[0], total.size, modulus).reshape(total.shape)
    sub(total, mask, modulus, out=c[1])
    truncation_parts(mask, bits, out=(low[1], top[1]))
    for stream, (share, rest) in zip(streams[1:], (c, low, top), strict=True):
        split(rest, stream, share, rest, modulus, uniform)
