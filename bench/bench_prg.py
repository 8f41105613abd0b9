"""Uniform ring elements from ChaCha20: bytes made per second."""

import numpy as np
import pytest

from he_gpu.backend import word_dtype
from he_gpu.backend.definition import prg as definition

N = 2**22
MODULI = {"2^64": 2**64, "2^32": 2**32, "501337": 501337, "2^61 - 1": 2**61 - 1}
KEY, NONCE = bytes(range(32)), bytes(12)


@pytest.mark.parametrize("label", MODULI)
def test_uniform(label, device, backend, record):
    modulus = MODULI[label]
    some = 10_000
    words = definition.keystream(KEY, NONCE, definition.n_keystream_words(some, modulus))
    expected = definition.uniform(words, some, modulus)
    made = backend.to_numpy(backend.uniform(KEY, NONCE, some, modulus))
    np.testing.assert_array_equal(made, expected)
    generator = np.random.PCG64(0)
    record.compare(
        f"uniform modulo {label}, {N} elements",
        lambda: backend.uniform(KEY, NONCE, N, modulus),
        {"PCG64 (hides nothing)": lambda: generator.random_raw(N)},
        rounds=11,
        n_bytes=N * word_dtype(modulus).itemsize,
        modulus=label,
        n=N,
    )


def test_definition(device, backend, record):
    if not backend.is_host:
        pytest.skip("the definition runs on the cpu")
    n = 2**20
    record.compare(
        f"keystream by the NumPy definition, {n} words",
        lambda: definition.keystream(KEY, NONCE, n),
        {"keystream of this device": lambda: backend.keystream(KEY, NONCE, n)},
        rounds=7,
        n_bytes=8 * n,
        n=n,
    )
