"""What the suite of graphs measures: its steps are the same repeated, and idle time is counted."""

import numpy as np
import pytest

import he_gpu as he
from bench import bench_graph
from bench.between_kernels import idle_share, share
from bench.operands import SCHEMES
from he_gpu.backend import get_backend


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], None),
        ([(0, 4)], None),
        ([(0, 4), (4, 10)], 0.0),
        ([(6, 10), (0, 4)], 0.2),
        ([(0, 8), (1, 2), (9, 10)], 0.1),
        ([(3, 3), (3, 3)], None),
    ],
)
def test_idle_time_is_what_no_interval_covers(intervals, expected):
    assert idle_share(intervals) == expected


def test_idle_time_is_seen_on_a_gpu_alone():
    assert share(get_backend("cpu"), lambda: None) is None


@pytest.mark.parametrize("scheme", ["2 parties", "replicated"])
@pytest.mark.parametrize("kind", [bench_graph.Chain, bench_graph.Perceptron])
def test_both_kinds_of_step_are_the_same_repeated(kind, scheme, require_emulator):
    found = []
    for device, graph in (("cpu", False), ("emulator", True)):
        with he.Session(device=device, seed=1, graph=graph, **SCHEMES[scheme]) as session:
            work = kind(session, *bench_graph.SIZES["emulator"])
            step, weights = session.captured(work.step), work.weights
            before = [w.reveal() for w in weights]
            for _ in range(5):
                weights = step(*weights)
            found.append([w.reveal() for w in weights])
            assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(before, found[-1], strict=True))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
