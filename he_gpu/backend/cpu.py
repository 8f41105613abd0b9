"""The ``cpu`` device: the NumPy definitions, with OpenSSL's ChaCha20 where it is installed.

Layer: backend. OpenSSL (package ``cryptography``) writes the same keystream as the definition,
only faster; without the package the definition serves.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from he_gpu.backend.definition import memory, prg
from he_gpu.backend.definition.words import RING_64, Array

try:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
except ImportError:  # a machine with CuPy and nothing else
    OPENSSL = False
else:
    OPENSSL = True

_zeros: Any = np.zeros(0, np.uint8)


def keystream(
    key: bytes, nonce: bytes, n_words: int, out: Array | None = None, first: int = 0
) -> Array:
    """Return words of a ChaCha20 keystream, as `definition.prg.keystream` does.

    Args:
        key: 32 bytes.
        nonce: 12 bytes.
        n_words: number of 64-bit words.
        out: contiguous uint64 array of that size that takes the words, or None.
        first: the block that they start at.
    """
    global _zeros
    if not OPENSSL:
        words = prg.keystream(key, nonce, n_words, first)
        if out is None:
            return words
        out.reshape(-1)[...] = words
        return out
    words = memory.empty((n_words,), np.uint64) if out is None else out
    zeros = _zeros  # this call's own name for it: another thread may replace the global
    if zeros.size < words.nbytes:
        _zeros = zeros = np.zeros(words.nbytes, np.uint8)
    # OpenSSL's 16-byte nonce is the little-endian block counter before RFC 8439's nonce.
    counter = first.to_bytes(4, "little")
    cipher = Cipher(ChaCha20(key, counter + nonce), mode=None).encryptor()
    buffer: Any = words.reshape(-1).view(np.uint8)
    cipher.update_into(zeros[: words.nbytes], buffer)
    return words if sys.byteorder == "little" else words.byteswap(inplace=True)


def uniform(
    key: bytes, nonce: bytes, n: int, modulus: int, out: Array | None = None, first: int = 0
) -> Array:
    """Return n uniform ring elements of one call of one key; see `definition.sharing.uniform`."""
    if modulus == RING_64:
        return keystream(key, nonce, n, out, first)
    words = keystream(key, nonce, prg.n_keystream_words(n, modulus), first=first)
    return prg.uniform(words, n, modulus, out=out)
