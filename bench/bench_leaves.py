"""Public bits of c - w, leaves of trees and chosen nodes: bytes read and written."""

import numpy as np
import pytest

from bench import work
from bench.operands import by_device
from he_gpu.backend import get_backend
from he_gpu.backend.definition import leaves

SIZES = {"cpu": 2**20, "cuda": 2**25, "emulator": 64 * 64}
CHECKED = 64 * 157
"""Elements on which a kernel is compared with its definition, bit for bit."""
K, PLACES = 64, tuple(range(32))
POWERS = tuple(2 ** (2 * place) for place in PLACES)
PICKS = tuple((i, 31 - i, i % 2 - 1) for i in PLACES)
"""Half of them are chosen by a flag."""


class Operands:
    """Planes of n elements for two parties, the same on every device."""

    def __init__(self, on, n):
        rng = np.random.default_rng(0)

        def array(*shape):
            return on.asarray(rng.integers(0, 2**64, (*shape, n // 64), dtype=np.uint64))

        self.planes, self.mask, self.pairs = array(K), array(2, K), array(2, 32)
        self.public, self.nodes, self.flags = array(32, 2), array(2, 2, 32), array(2)


KERNELS = {
    # name: the call on (backend, operands)
    "less_pairs": lambda on, x: on.less_pairs(x.planes, POWERS, PLACES),
    "borrows": lambda on, x: on.borrows(x.planes, POWERS, (63,) * 32),
    "carry_leaves": lambda on, x: on.carry_leaves(x.public, PLACES, x.mask, x.pairs, 1),
    "equal_leaves": lambda on, x: on.equal_leaves(x.planes, x.mask, x.pairs, 1),
    "choose_nodes": lambda on, x: on.choose_nodes(x.nodes, PICKS, x.flags),
}
"""For two parties. The first two read every plane once, if what is read stays in cache."""
WORK = work.leaves(2, len(PLACES))


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel(kernel, device, backend, record):
    call = KERNELS[kernel]
    n = by_device(backend, **SIZES)
    host = get_backend("cpu")
    expected = call(leaves, Operands(host, CHECKED))
    found = call(backend, Operands(backend, CHECKED))
    np.testing.assert_array_equal(backend.to_numpy(found), expected)
    operands = Operands(backend, n)
    words = backend.xp.zeros(n, np.uint64)
    target = backend.xp.empty_like(words)
    baselines = {"copy of one word each": lambda: backend.xp.copyto(target, words)}
    scales = {}
    if not backend.is_host:
        host_operands = Operands(host, SIZES["cpu"])
        baselines["our cpu"] = lambda: call(host, host_operands)
        scales["our cpu"] = n / SIZES["cpu"]
    record.compare(
        f"kernel {kernel}, 2 parties, {n} elements",
        lambda: call(backend, operands),
        baselines,
        rounds=21,
        **WORK[kernel].row(n),
        scales=scales,
        kernel=kernel,
        n=n,
    )
