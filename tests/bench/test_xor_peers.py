"""The main job's plaintext loops: NumPy's alone on a host, CuPy's and PyTorch's on a GPU."""

from types import SimpleNamespace

import numpy as np
import pytest

import he_gpu as he
from bench import bench_xor, torch_peer

HOST = SimpleNamespace(xp=np, name="cpu")
GPU = SimpleNamespace(
    xp=SimpleNamespace(asarray=np.asarray, cuda=None), name="cuda", to_numpy=np.asarray
)
"""A backend that has CUDA as far as the loops ask for it."""


class Tensor(np.ndarray):
    """An array with the methods of a tensor."""

    def to(self, place):
        assert place == "cuda:0"
        return self

    def cpu(self):
        return self

    def numpy(self):
        return np.asarray(self)


@pytest.fixture
def torch(monkeypatch):
    """PyTorch as far as the loops use it; counts how often they wait for the device."""
    waits = []
    module = SimpleNamespace(
        from_numpy=lambda array: array.view(Tensor),
        cuda=SimpleNamespace(synchronize=lambda: waits.append(1)),
    )
    monkeypatch.setattr(torch_peer, "absent", lambda device: None)
    monkeypatch.setattr(torch_peer, "module", lambda: module)
    return waits


def test_a_host_has_numpys_loop():
    loops, facts = bench_xor.plaintexts(HOST)
    assert list(loops) == ["plaintext NumPy"]
    assert facts == {}


def test_a_gpu_has_all_loops(torch):
    loops, facts = bench_xor.plaintexts(GPU)
    assert list(loops) == ["plaintext NumPy", bench_xor.CUPY, bench_xor.PYTORCH]
    assert facts == {}
    waits = len(torch)
    results = [np.asarray(loop()) for loop in loops.values()]
    assert len(torch) == waits + 1
    for found in results[1:]:
        np.testing.assert_array_equal(found, results[0])
    assert set(bench_xor.DEMANDED_ON_HOPPER) <= {"median", *loops}


def test_where_pytorch_is_missing_the_row_says_so(monkeypatch):
    monkeypatch.setattr(torch_peer, "absent", lambda device: "PyTorch is not installed")
    loops, facts = bench_xor.plaintexts(GPU)
    assert list(loops) == ["plaintext NumPy", bench_xor.CUPY]
    assert facts == {"pytorch": "PyTorch is not installed"}


def test_a_wrong_loop_is_found(torch, monkeypatch):
    wrong = SimpleNamespace(
        from_numpy=lambda array: (array * 1.001).view(Tensor),
        cuda=SimpleNamespace(synchronize=lambda: None),
    )
    monkeypatch.setattr(torch_peer, "module", lambda: wrong)
    with pytest.raises(AssertionError):
        bench_xor.plaintexts(GPU)


@pytest.mark.parametrize("scheme", bench_xor.SCHEMES)
def test_jobs_in_one_session_give_the_classes(scheme):
    with he.Session(device="cpu", **bench_xor.SCHEMES[scheme]) as session:
        for _ in range(2):
            bench_xor.check(bench_xor.to_reveal(session))
    with pytest.raises(AssertionError):
        bench_xor.check(np.array([1.0, 1.0, 1.0, 0.0]))
