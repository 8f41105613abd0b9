"""Secret matrix products of fresh operands: all parties, the dealer and the truncation."""

import numpy as np
import pytest

import he_gpu as he
from bench.bench_protocol import BITS, beside_additive, check_floor
from bench.operands import SCHEMES, by_device, operations

SIZES = {"cpu": (256, 512, 1024), "cuda": (256, 1024, 2048, 4096), "emulator": (32,)}
DEMANDED = {("cpu", 1024): {"float64 product": 45}, ("cuda", 4096): {"float32 product": 6}}
"""The cpu's ratio on any machine, cuda's on a Hopper GPU, both for two parties."""


@pytest.mark.parametrize("n", sorted({n for sizes in SIZES.values() for n in sizes}))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_secret_matmul(scheme, n, device, backend, hopper, record):
    if n not in by_device(backend, **SIZES):
        pytest.skip(f"n = {n} is not measured on {backend.name}")
    rng = np.random.default_rng(n)
    left, right = (np.ldexp(rng.integers(-(2**BITS), 2**BITS, (n, n)), -BITS) for _ in range(2))
    x, y = backend.xp.asarray(left), backend.xp.asarray(right)
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    kind = "cpu" if backend.is_host else "cuda"
    demanded = DEMANDED.get((kind, n)) if scheme == "2 parties" else None
    if not backend.is_host and not hopper:
        demanded = None
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret_x, secret_y = session.share(left), session.share(right)
        # Sums of n products of 17-bit integers stay below 2^53, so float64 is exact.
        check_floor((secret_x @ secret_y).reveal(), np.ldexp(left, BITS) @ np.ldexp(right, BITS))
        additive = beside_additive(scheme, device, left, right, lambda a, b: a @ b)
        dealer = "" if additive else "dealer and "
        record.compare(
            f"secret matmul with {dealer}truncation, {scheme}, n = {n}",
            lambda: secret_x @ secret_y,
            {"float64 product": lambda: x @ y, "float32 product": lambda: x32 @ y32, **additive},
            rounds=45,
            operations=operations(n, n, n),
            at_most=demanded,
            headline=scheme != "3 parties" and n >= 1024,
            family="secret",
            **SCHEMES[scheme],
            n=n,
        )
