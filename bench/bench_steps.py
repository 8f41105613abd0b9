"""Step functions of packed bits, summed as their words are drawn: bytes of the planes and sums."""

import numpy as np
import pytest

from bench import work
from bench.operands import by_device
from he_gpu.backend import Stream, get_backend
from he_gpu.backend.definition import steps

SIZES = {"cpu": 2**20, "cuda": 2**25, "emulator": 64 * 64}
CHECKED = 64 * 157
"""Elements on which a kernel is compared with its definition, bit for bit."""
STREAM = Stream(bytes(range(32)), bytes(12))


class Operands:
    """Planes of n elements and public weights, the same on every device."""

    def __init__(self, on, n, rows, sets):
        rng = np.random.default_rng(0)
        planes = rng.integers(0, 2**64, (2, rows, n // 64), dtype=np.uint64)
        self.planes = [on.asarray(each) for each in planes]
        self.weights = rng.integers(0, 2**64, (sets, rows), dtype=np.uint64)
        self.n = n

    def sums(self, on):
        """The shares of both parties."""
        public = self.weights, self.weights[:, 0]
        return on.step_shares(*self.planes, [STREAM], *public, self.n, range(2))


@pytest.mark.parametrize("name", work.STEPS)
def test_kernel(name, device, backend, record):
    rows, sets = work.STEPS[name]
    n = by_device(backend, **SIZES)
    host = get_backend("cpu")
    expected = Operands(host, CHECKED, rows, sets).sums(steps)
    found = Operands(backend, CHECKED, rows, sets).sums(backend)
    np.testing.assert_array_equal(backend.to_numpy(found), expected)
    operands = Operands(backend, n, rows, sets)
    words = backend.empty((rows, n), np.uint64)

    def drawn():
        backend.uniform(*STREAM, rows * n, 2**64, out=words)

    baselines, scales = {"one party's words alone": drawn}, {}
    if not backend.is_host:
        host_operands = Operands(host, SIZES["cpu"], rows, sets)
        baselines["our cpu"] = lambda: host_operands.sums(host)
        scales["our cpu"] = n / SIZES["cpu"]
    record.compare(
        f"steps of a {name}, 2 parties, {rows} thresholds, {sets} functions, {n} elements",
        lambda: operands.sums(backend),
        baselines,
        rounds=9,
        **work.step_shares(2, rows, sets).row(n),
        scales=scales,
        kernel="step_shares",
        n=n,
    )
