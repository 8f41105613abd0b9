"""Sums and products modulo a ring: bytes read and written per second."""

import numpy as np
import pytest

import he_gpu as he
from bench.operands import MODULI, TILE, repeated, size, words

HOST_N, DEVICE_N = 2**22, 2**27
LEAST_SHARE = 0.9
"""Of the copy bandwidth, on a Hopper GPU."""
PLAIN = {"add": "add", "mul": "multiply"}


@pytest.mark.parametrize("operation", ["add", "mul"])
@pytest.mark.parametrize("label", MODULI)
def test_elementwise(label, operation, device, backend, hopper, record):
    modulus = MODULI[label]
    n = size(backend, HOST_N, DEVICE_N)
    rng = np.random.default_rng(0)
    ring = he.Ring(modulus, device=device)
    left, right = (words(rng, modulus, TILE) for _ in range(2))
    a, b = (repeated(backend, part.astype(ring.dtype), n) for part in (left, right))
    job = getattr(backend, operation)  # below the ring's face, whose range check reads once more
    some = slice(0, TILE, TILE // 100)
    exact = getattr(np, PLAIN[operation])(left[some].astype(object), right[some].astype(object))
    result = ring.to_numpy(job(a, b, modulus)[:TILE])
    np.testing.assert_array_equal(result[some], (exact % modulus).astype(np.uint64))
    np.testing.assert_array_equal(ring.to_numpy(getattr(ring, operation)(a, b)[:TILE]), result)
    x, y = (repeated(backend, rng.normal(size=TILE), n) for _ in range(2))
    plain = getattr(backend.xp, PLAIN[operation])
    baselines, scales = {f"float64 {operation}": lambda: plain(x, y)}, {}
    if not backend.is_host:
        host = he.Ring(modulus, device="cpu").backend
        u, v = (np.tile(part.astype(ring.dtype), HOST_N // TILE) for part in (left, right))
        baselines["our cpu"] = lambda: getattr(host, operation)(u, v, modulus)
        scales["our cpu"] = n / HOST_N
    record.compare(
        f"{operation} modulo {label}, {n} elements",
        lambda: job(a, b, modulus),
        baselines,
        rounds=21,
        n_bytes=3 * a.nbytes,
        scales=scales,
        at_least={"share_of_roof": LEAST_SHARE} if hopper else None,
        headline=(label, operation) == ("2^64", "mul"),
        modulus=label,
        n=n,
    )
