"""Uniform ring elements from ChaCha20: bytes made per second."""

import numpy as np
import pytest

from bench import work
from bench.operands import MODULI, size
from he_gpu.backend import get_backend
from he_gpu.backend.definition import prg as definition

HOST_N, DEVICE_N = 2**22, 2**27
LEAST = 600
"""Gigabytes per second modulo 2^64 on a Hopper GPU."""
KEY, NONCE = bytes(range(32)), bytes(12)


@pytest.mark.parametrize("label", MODULI)
def test_uniform(label, device, backend, hopper, record):
    modulus = MODULI[label]
    n = size(backend, HOST_N, DEVICE_N)
    some = 10_000
    words = definition.keystream(KEY, NONCE, definition.n_keystream_words(some, modulus))
    expected = definition.uniform(words, some, modulus)
    made = backend.to_numpy(backend.uniform(KEY, NONCE, some, modulus))
    np.testing.assert_array_equal(made, expected)
    generator = np.random.PCG64(0)
    baselines = {"PCG64 on the cpu (hides nothing)": lambda: generator.random_raw(HOST_N)}
    scales = {} if n == HOST_N else dict.fromkeys(baselines, n / HOST_N)
    if not backend.is_host:
        host = get_backend("cpu")
        baselines["our cpu"] = lambda: host.uniform(KEY, NONCE, HOST_N, modulus)
        scales["our cpu"] = n / HOST_N
    record.compare(
        f"uniform modulo {label}, {n} elements",
        lambda: backend.uniform(KEY, NONCE, n, modulus),
        baselines,
        rounds=11,
        **work.uniform(modulus).row(n),
        scales=scales,
        at_least={"gigabytes_per_second": LEAST} if hopper and label == "2^64" else None,
        headline=label == "2^64",
        modulus=label,
        n=n,
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
        **work.uniform(2**64).row(n),
        n=n,
    )
