"""The kernels that measure 32-bit operations do what they count."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench import integer_roofs, roofs
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


def test_a_roof_that_is_missing_says_why(monkeypatch):
    def absent(name):
        raise RuntimeError(f"no {name}")

    monkeypatch.setattr(roofs.cuda, "device", absent)
    backend = SimpleNamespace(xp=SimpleNamespace(cuda=None), name="cuda", is_host=False)
    found = Roofs(backend)
    assert found.mix() is None
    name = "32-bit additions, exclusive ors, rotations, TOP/s"
    assert found.measured == {name: None, f"{name}, why not": "RuntimeError: no cuda"}


def test_a_roof_is_operations_over_seconds(monkeypatch):
    def job(device, kernel):
        return (lambda: None), 5e12

    monkeypatch.setattr(roofs.cuda, "device", lambda name: None)
    monkeypatch.setattr(roofs.integer_roofs, "job", job)
    monkeypatch.setattr(Roofs, "_median", lambda self, job: 0.5)
    backend = SimpleNamespace(xp=SimpleNamespace(cuda=None), name="cuda", is_host=False)
    found = Roofs(backend)
    assert found.multiply() == ("32-bit multiplications, TOP/s", 10.0)
    assert found.measured == {"32-bit multiplications, TOP/s": 10.0}


def test_a_host_has_no_such_roofs():
    found = Roofs(get_backend("cpu"))
    assert found.mix() is None
    assert found.multiply() is None
    assert found.measured == {}
