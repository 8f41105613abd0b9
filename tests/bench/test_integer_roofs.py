"""The kernels that measure 32-bit operations do what they count."""

import numpy as np
import pytest

from bench import integer_roofs
from bench.integer_roofs import CHAINS, MIX, MULTIPLY, OPERATIONS, THREADS
from bench.roofs import Roofs
from he_gpu.backend import get_backend

kernels = pytest.mark.parametrize("kernel", [MIX, MULTIPLY])


@kernels
def test_results_against_integers(kernel):
    for thread, found in enumerate(integer_roofs.results(kernel, 3, 4)):
        chains = [thread + i for i in range(CHAINS)]
        y = 2 * thread + 1
        for _ in range(4):
            if kernel == MIX:
                turned = [((x ^ y) << 7 | (x ^ y) >> 25) % 2**32 for x in chains]
                chains = [(t + x) % 2**32 for t, x in zip(turned, chains, strict=True)]
            else:
                chains = [(x * y + x) % 2**32 for x in chains]
        assert found == sum(chains) % 2**32


@kernels
def test_a_device_gives_the_same(kernel, kernel_device):
    job, operations = integer_roofs.job(kernel_device, kernel, rounds=7, blocks=2)
    job()
    assert operations == 2 * THREADS * 7 * CHAINS * OPERATIONS[kernel]


@kernels
def test_wrong_results_are_found(kernel, kernel_device, monkeypatch):
    monkeypatch.setattr(integer_roofs, "results", lambda *_: np.zeros(THREADS, np.uint32))
    with pytest.raises(ArithmeticError, match=kernel):
        integer_roofs.job(kernel_device, kernel, rounds=7, blocks=1)


def test_a_host_has_no_such_roofs():
    roofs = Roofs(get_backend("cpu"))
    assert roofs.mix() is None
    assert roofs.multiply() is None
    assert roofs.measured == {}
