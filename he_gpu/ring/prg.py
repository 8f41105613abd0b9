"""Keyed, accounted randomness: every mask and every share comes from here.

Layer: ring. A `KeyRing` turns one secret of the operating system into a 256-bit key per label
(HKDF-SHA256, RFC 5869); a `Prg` is the ChaCha20 stream of one key (RFC 8439), and every call
takes the next 96-bit nonce. Nothing here knows what the words are for.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from he_gpu.backend import Array, Backend, CountedNonce, Graph, Stream, recording
from he_gpu.backend.definition.prg import WORDS_PER_BLOCK, n_keystream_words
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    CaptureError,
    ForkedProcessError,
    InsecureSeedWarning,
    SecretAccessError,
)

KEY_BYTES = 32
MAX_BLOCKS = 2**32 - 1
"""Blocks of one nonce: the 32-bit block counter must not carry into the nonce."""
_SALT = b"he_gpu key derivation"


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, n_bytes: int = KEY_BYTES) -> bytes:
    """Return a key derived from a secret: RFC 5869's extract and expand steps with SHA-256."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    key, block = b"", b""
    for counter in range(1, -(-n_bytes // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        key += block
    return key[:n_bytes]


class _Unique:
    """An object whose state must exist once: in one process, in one copy."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def check_process(self) -> None:
        """Raise ForkedProcessError in any process but the one that made this object."""
        if os.getpid() != self._process:
            raise ForkedProcessError(
                f"{type(self).__name__}: made in another process; a forked child would repeat "
                "its parent's masks, so make a new session in the child, or load the context there"
            )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretAccessError(
            f"{type(self).__name__}: cannot be pickled or copied, because a copy would repeat "
            "masks; reveal() what you need and store that"
        )


class Prg(_Unique):
    """Uniform ring elements from one key; no nonce is ever used twice.

    Args:
        key: 32 secret bytes that serve this label alone.
        backend: where the words are made; every backend makes the same ones.
    """

    def __init__(self, key: bytes, backend: Backend):
        super().__init__()
        if len(key) != KEY_BYTES:
            raise ArgumentValueError(f"Prg: key must have {KEY_BYTES} bytes, got {len(key)}")
        self._key = key
        self._backend = backend
        self._calls = 0
        self._counted: tuple[Graph, int, Array] | None = None
        self._lock = threading.Lock()

    def uniform(self, shape: tuple[int, ...], modulus: int, out: Array | None = None) -> Array:
        """Return fresh uniform elements.

        Args:
            shape: of the result.
            modulus: 2**64, 2**32 or 2 <= q <= 2**63.
            out: contiguous array of that shape that takes the result, or None.

        Returns:
            An array of the ring's words, on the backend's device.

        Raises:
            ArgumentValueError: one call would take more than 2**32 - 1 blocks of 64 bytes.
            ForkedProcessError: called in a forked child.

        Error: at most 2**-80 of statistical distance per element, none for powers of two.
        """
        words = self._backend.uniform(
            *self.stream(shape, modulus), math.prod(shape), modulus, out=out
        )
        return words.reshape(shape)

    def stream(self, shape: tuple[int, ...], modulus: int) -> Stream:
        """Return the next call of the keystream, for a kernel that makes the words itself.

        Args:
            shape: of the elements that it must serve.
            modulus: of the elements.

        Raises:
            As `uniform`.
        """
        self.check_process()
        n = math.prod(shape)
        blocks = -(-n_keystream_words(n, modulus) // WORDS_PER_BLOCK)
        if blocks > MAX_BLOCKS:
            raise ArgumentValueError(
                f"Prg: one call yields at most {MAX_BLOCKS} blocks of 64 bytes, "
                f"shape {shape} takes {blocks}"
            )
        graph = recording()
        with self._lock:  # two threads must never take one nonce
            number, counted = self._calls, self._counted
            self._calls += 1
        if graph is not None and counted is not None and counted[0] is graph:
            _, first, calls = counted
            nonce = CountedNonce((number - first).to_bytes(12, "little"))
            nonce.calls = calls
            return Stream(self._key, nonce)
        if graph is not None and not graph.is_rehearsal:
            raise CaptureError(
                "Prg: a captured step draws randomness that it did not draw before, or that is not "
                "of its session; no graph can count it"
            )
        return Stream(self._key, number.to_bytes(12, "little"))

    @property
    def calls(self) -> int:
        """How many calls were made, which is the number of the next one."""
        return self._calls

    def skip(self, n: int) -> int:
        """Leave n calls to somebody who makes them without asking, and return the first's number.

        This is a graph that is replayed.
        """
        self.check_process()
        with self._lock:
            first = self._calls
            self._calls += n
        return first

    @contextmanager
    def counted_by(self, graph: Graph, calls: Array, first: int) -> Iterator[None]:
        """Number this block's calls from what the device finds in ``calls`` when it makes them.

        Args:
            graph: that watches the block; calls by anybody else have numbers as ever.
            calls: (1,) uint64 on the device.
            first: what it holds while the block is rehearsed, or first replayed; calls that were
                made before have smaller numbers.
        """
        self._counted = graph, first, calls
        try:
            yield
        finally:
            self._counted = None


class KeyRing(_Unique):
    """One secret and the keys derived from it, one per label.

    Args:
        seed: None takes 32 bytes from the operating system. Anything else makes every mask
            repeatable by whoever knows the seed, and warns; it exists for tests and benchmarks.

    Raises:
        ArgumentTypeError: a seed that is neither None nor an int.
    """

    def __init__(self, seed: int | None = None):
        super().__init__()
        if seed is None:
            self._secret = os.urandom(KEY_BYTES)
        elif isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise ArgumentTypeError(f"seed must be None or an int, got {type(seed).__name__}")
        else:
            warnings.warn(
                "seed= makes every share and mask repeatable by whoever knows the seed: "
                "for tests and benchmarks only",
                InsecureSeedWarning,
                stacklevel=3,
            )
            self._secret = hashlib.sha256(f"he_gpu insecure seed {int(seed):x}".encode()).digest()
        self._prgs: dict[str, Prg] = {}

    def prg(self, label: str, backend: Backend) -> Prg:
        """Return the generator of a label, once.

        Raises:
            ArgumentValueError: a label asked for twice; its stream would start again.
        """
        self.check_process()
        if label in self._prgs:
            raise ArgumentValueError(f"KeyRing.prg: label {label!r} already has its generator")
        prg = Prg(hkdf_sha256(self._secret, _SALT, label.encode()), backend)
        self._prgs[label] = prg
        return prg

    @property
    def prgs(self) -> list[Prg]:
        """Every generator so far."""
        return list(self._prgs.values())
