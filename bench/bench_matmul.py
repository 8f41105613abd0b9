"""Exact matrix products beside the float64 product of the same device in the same run."""

import numpy as np
import pytest

import he_gpu as he

SIZES = (256, 512, 1024)
MODULI = {"2^64": 2**64, "2^32": 2**32, "501337": 501337, "2^61 - 1": 2**61 - 1}
LARGEST_RATIO = 9.5
"""Of the product modulo 2^64 at n = 1024 on the CPU."""


def words(rng, modulus, shape):
    return rng.integers(0, modulus - 1, shape, dtype=np.uint64, endpoint=True)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("label", MODULI)
def test_matmul(label, n, device, backend, record):
    modulus = MODULI[label]
    rng = np.random.default_rng(n)
    left, right = (words(rng, modulus, (n, n)) for _ in range(2))
    ring = he.Ring(modulus, device=device)
    a, b = ring.asarray(left), ring.asarray(right)
    rows, columns = slice(0, n, n // 4), slice(n // 3, n, n // 3)
    exact = left[rows].astype(object) @ right[:, columns].astype(object) % modulus
    product = ring.to_numpy(ring.matmul(a, b))[rows, columns]
    np.testing.assert_array_equal(product, exact.astype(np.uint64))
    x, y = (backend.xp.asarray(rng.normal(size=(n, n))) for _ in range(2))
    row = record.compare(
        f"matmul modulo {label}, n = {n}",
        lambda: ring.matmul(a, b),
        {"float64 product": lambda: x @ y},
        rounds=max(9, 9 * 1024 // n),
        modulus=label,
        n=n,
    )
    if row and (device, modulus, n) == ("cpu", 2**64, 1024):
        assert row["baselines"]["float64 product"]["ratio"] <= LARGEST_RATIO


def test_numpy_integer_matmul(device, backend, record):
    if not backend.is_host:
        pytest.skip("a comparison for the cpu")
    n = 256
    rng = np.random.default_rng(0)
    a, b = (words(rng, 2**64, (n, n)) for _ in range(2))
    x, y = (rng.normal(size=(n, n)) for _ in range(2))
    record.compare(
        f"NumPy's own uint64 matmul, n = {n}",
        lambda: a @ b,
        {"float64 product": lambda: x @ y},
        rounds=15,
        modulus="2^64",
        n=n,
    )
