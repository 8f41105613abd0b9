"""Sums, products and weighted sums modulo a ring: bytes read and written per second."""

import numpy as np
import pytest

import he_gpu as he
from bench import work
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
        **work.elementwise(modulus, operation).row(n),
        scales=scales,
        at_least={"share_of_copy": LEAST_SHARE} if hopper else None,
        headline=(label, operation) == ("2^64", "mul"),
        modulus=label,
        n=n,
    )


@pytest.mark.parametrize("n_terms", [4, 16])
@pytest.mark.parametrize("label", ["2^64", "2^32"])
def test_weighted_sum(label, n_terms, backend, record):
    modulus = MODULI[label]
    n = size(backend, HOST_N, DEVICE_N) // n_terms
    rng = np.random.default_rng(1)
    weights = [int(word) for word in words(rng, modulus, n_terms)]
    dtype = he.Ring(modulus, device="cpu").dtype
    parts = [words(rng, modulus, TILE).astype(dtype) for _ in range(n_terms)]
    stacks = [repeated(backend, part, n) for part in parts]
    some = slice(0, min(n, TILE), 10_000)
    exact = sum(w * part[some].astype(object) for w, part in zip(weights, parts, strict=True))
    result = backend.to_numpy(backend.weighted_sum(stacks, weights, modulus)[:TILE])
    np.testing.assert_array_equal(result[some], (exact % modulus).astype(dtype))
    reals = [repeated(backend, rng.normal(size=TILE), n) for _ in range(n_terms)]
    factors = rng.normal(size=n_terms)

    def plain():
        total = reals[0] * factors[0]
        for real, factor in zip(reals[1:], factors[1:], strict=True):
            total += real * factor
        return total

    record.compare(
        f"weighted sum of {n_terms} modulo {label}, {n} elements",
        lambda: backend.weighted_sum(stacks, weights, modulus),
        {"float64, term by term": plain},
        rounds=21,
        **work.weighted_sum(modulus, n_terms).row(n),
        modulus=label,
        n=n,
    )
