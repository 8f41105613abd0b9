"""The ``cpu`` device: the NumPy definitions, with OpenSSL's ChaCha20 where it is installed.

Layer: backend. OpenSSL (package ``cryptography``) writes the same keystream as the definition,
only faster; without the package the definition serves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend.definition import prg
from he_gpu.backend.definition.words import Array

try:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
except ImportError:  # a machine with CuPy and nothing else
    OPENSSL = False
else:
    OPENSSL = True

_zeros: Any = np.zeros(0, np.uint8)


def keystream(key: bytes, nonce: bytes, n_words: int) -> Array:
    """Return the first words of a ChaCha20 keystream, as `definition.prg.keystream` does."""
    global _zeros
    if not OPENSSL:
        return prg.keystream(key, nonce, n_words)
    words = np.empty(n_words, np.uint64)
    if _zeros.size < words.nbytes:
        _zeros = np.zeros(words.nbytes, np.uint8)
    # OpenSSL's 16-byte nonce is the little-endian block counter, here 0, before RFC 8439's nonce.
    cipher = Cipher(ChaCha20(key, b"\0\0\0\0" + nonce), mode=None).encryptor()
    cipher.update_into(_zeros[: words.nbytes], words.view(np.uint8))
    return words.astype("<u8", copy=False)


def uniform(key: bytes, nonce: bytes, n: int, modulus: int, out: Array | None = None) -> Array:
    """Return n uniform ring elements of one call of one key; see `definition.prg.uniform`."""
    words = keystream(key, nonce, prg.n_keystream_words(n, modulus))
    return prg.uniform(words, n, modulus, out=out)
