"""Sums, products, sharing and opening: bytes read and written per second."""

import numpy as np
import pytest

import he_gpu as he

N = 2**22
MODULI = {"2^64": 2**64, "2^32": 2**32, "501337": 501337, "2^61 - 1": 2**61 - 1}


@pytest.mark.parametrize("operation", ["add", "mul"])
@pytest.mark.parametrize("label", MODULI)
def test_elementwise(label, operation, device, backend, record):
    modulus = MODULI[label]
    rng = np.random.default_rng(0)
    ring = he.Ring(modulus, device=device)
    left, right = (rng.integers(0, modulus - 1, N, np.uint64, endpoint=True) for _ in range(2))
    a, b = ring.asarray(left), ring.asarray(right)
    job = getattr(ring, operation)
    some = slice(0, N, N // 100)
    exact = getattr(np, {"add": "add", "mul": "multiply"}[operation])(
        left[some].astype(object), right[some].astype(object)
    )
    np.testing.assert_array_equal(ring.to_numpy(job(a, b))[some], (exact % modulus).astype("u8"))
    x, y = (backend.xp.asarray(rng.normal(size=N)) for _ in range(2))
    plain = getattr(backend.xp, {"add": "add", "mul": "multiply"}[operation])
    record.compare(
        f"{operation} modulo {label}, {N} elements",
        lambda: job(a, b),
        {f"float64 {operation}": lambda: plain(x, y)},
        rounds=21,
        n_bytes=3 * a.nbytes,
        modulus=label,
        n=N,
    )


@pytest.mark.parametrize("parties", [2, 3])
def test_share(parties, device, record):
    """From float64 on the host to shares on the device; bytes are the input's and the shares'."""
    x = np.random.default_rng(0).uniform(-1000, 1000, N)
    with he.Session(parties=parties, device=device) as session:
        stack = session.share(x).shares
        assert np.abs(session.share(x).reveal() - x).max() <= 2.0**-17
        record.compare(
            f"share, {parties} parties, {N} elements",
            lambda: session.share(x),
            {"copy": lambda: x.copy()},
            rounds=11,
            n_bytes=x.nbytes + stack.nbytes,
            parties=parties,
            n=N,
        )


@pytest.mark.parametrize("parties", [2, 3])
def test_reveal(parties, device, record):
    """From shares on the device to float64 on the host."""
    x = np.random.default_rng(0).uniform(-1000, 1000, N)
    with he.Session(parties=parties, device=device) as session:
        secret = session.share(x)
        assert np.abs(secret.reveal() - x).max() <= 2.0**-17
        record.compare(
            f"reveal, {parties} parties, {N} elements",
            secret.reveal,
            {"copy": lambda: x.copy()},
            rounds=11,
            n_bytes=x.nbytes + secret.shares.nbytes,
            parties=parties,
            n=N,
        )


@pytest.mark.parametrize("parties", [2, 3])
def test_multiply(parties, device, record):
    """A secret product with its triple and its truncation, dealer included."""
    n = 2**20
    x = np.random.default_rng(0).uniform(-1000, 1000, n)
    with he.Session(parties=parties, device=device) as session:
        secret = session.share(x)
        # x is off by 2^-17 at most, and the product by one unit.
        assert np.abs((secret * secret).reveal() - x**2).max() <= 2 * 1000 * 2.0**-17 + 2.0**-15
        record.compare(
            f"secret multiply, {parties} parties, {n} elements",
            lambda: secret * secret,
            {"float64 multiply": lambda: x * x},
            rounds=11,
            parties=parties,
            n=n,
        )
