"""Steps of replicated sharing, for all three parties: bytes read and written."""

import numpy as np
import pytest

from bench import work
from bench.operands import TILE, by_device, repeated, words
from he_gpu.backend import get_backend
from he_gpu.backend.definition import replicated

SIZES = {"cpu": 2**20, "cuda": 2**25, "emulator": 2**12}
CHECKED = 10_007
"""Elements on which a kernel is compared with its definition, bit for bit."""
PARTIES = 3


class Operands:
    """Stacks of n elements for three parties, the same on every device."""

    def __init__(self, on, n):
        rng = np.random.default_rng(0)
        tile = words(rng, 2**64, min(n, TILE))

        def array(*shape):
            # Other words for each array, by an odd number that scrambles the tile's.
            part = tile * np.uint64(2 * int(rng.integers(2**62)) + 1)
            return repeated(on, part, int(np.prod(shape))).reshape(shape)

        self.x, self.y, self.add = array(4, n), array(4, n), array(3, n)
        self.one = self.y[:, :1]
        self.parts, self.rest = array(2, 2, n), array(2, n)


def run_deal_mask(on, x):
    on.deal_mask(x.rest, x.x[0], 16)
    return x.rest


STEPS = {
    # name: the call on (backend, operands)
    "cross_multiply": lambda on, x: on.cross_multiply(x.x, x.y, x.add),
    "cross_multiply, 3 rows, balanced": (
        lambda on, x: on.cross_multiply(x.x[:3], x.y[:3], x.add, balance=True)
    ),
    "cross_multiply by one word": lambda on, x: on.cross_multiply(x.x, x.one, x.add),
    "deal_truncation, 1 choice": (
        lambda on, x: on.deal_truncation(x.x[0], x.x[1], x.y[:1], 16, x.x[2])
    ),
    "deal_truncation, 2 choices": (
        lambda on, x: on.deal_truncation(x.x[0], x.x[1], x.y[:2], 40, x.x[2])
    ),
    "deal_truncation ahead of the mask": (
        lambda on, x: on.deal_truncation(x.x[0], x.x[1], x.y[:1], 16)
    ),
    "deal_mask": run_deal_mask,
    "choose_truncation": (
        lambda on, x: on.choose_truncation(x.x[0], x.x[1], x.parts[:, :1], 16, 1, x.y[:1])
    ),
    "choose_truncation of parts dealt ahead": (
        lambda on, x: on.choose_truncation(x.x[0], x.x[1], x.parts, 16, 1)
    ),
}


@pytest.mark.parametrize("step", STEPS)
def test_step(step, device, backend, record):
    call = STEPS[step]
    n = by_device(backend, **SIZES)
    host = get_backend("cpu")
    expected = call(replicated, Operands(host, CHECKED))
    found = call(backend, Operands(backend, CHECKED))
    np.testing.assert_array_equal(backend.to_numpy(found), expected)
    operands = Operands(backend, n)
    target = backend.xp.empty_like(operands.x[0])
    baselines = {"copy of one word each": lambda: backend.xp.copyto(target, operands.x[0])}
    scales = {}
    if not backend.is_host:
        host_operands = Operands(host, SIZES["cpu"])
        baselines["our cpu"] = lambda: call(host, host_operands)
        scales["our cpu"] = n / SIZES["cpu"]
    record.compare(
        f"kernel {step}, {PARTIES} parties, {n} elements",
        lambda: call(backend, operands),
        baselines,
        rounds=21,
        **work.REPLICATED[step].row(n),
        scales=scales,
        kernel=step,
        n=n,
    )
