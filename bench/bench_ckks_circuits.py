"""Random circuits at secure parameters: how near errors come to the bounds that results state.

`python -m bench.circuits` takes more of them, and other parameters.
"""

import pytest

from bench.circuits import Circuits
from bench.operands import by_device
from he_gpu.he.parameters import CkksParams

CHAINS = {4096: (1, 30), 8192: (3, 40), 16384: (7, 40), 32768: (14, 40)}
"""Depth and scale bits, by ring degree."""
COUNTS = {4096: 500, 8192: 350, 16384: 120, 32768: 30}
"""1000 in all, which take some minutes; a kernel device takes a tenth."""
FEW = 2
"""Circuits on the emulator, which takes the smallest ring alone."""


@pytest.mark.parametrize("degree", CHAINS)
def test_circuits(degree, backend, record):
    count = by_device(backend, cpu=COUNTS[degree], cuda=COUNTS[degree] // 10, emulator=FEW)
    if backend.name == "emulator" and degree != min(CHAINS):
        pytest.skip("the emulator would take hours")
    depth, scale_bits = CHAINS[degree]
    params = CkksParams(depth, scale_bits, ring_degree=degree)

    def job():
        tally = Circuits(params, backend.name).run(range(count))
        assert not tally.found, tally.found[:10]
        assert tally.circuits == count
        return tally.facts()

    record.check(f"random circuits, N = {degree}, depth {depth}", job, n=degree, depth=depth)
