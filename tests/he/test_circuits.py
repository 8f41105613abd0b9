"""Random circuits of all operators stay within the bounds that their results state.

bench/bench_ckks_circuits.py takes thousands, at N = 4096 to 32768.
"""

import pytest

from bench.circuits import OPERATIONS, Circuits, Tally
from he_gpu.he import noise
from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.parameters import INSECURE, CkksParams
from tests.he.contexts import parameters

SMALL = {
    "one level": lambda: (parameters(1), 12),
    "three levels": lambda: (parameters(3), 24),
    "seven levels": lambda: (parameters(7), 4),
    "scale of 60 bits": lambda: (CkksParams(2, 60, INSECURE, 1024), 8),
    "secure": lambda: (CkksParams(1, 30, ring_degree=4096), 6),
}


@pytest.mark.parametrize("case", SMALL)
def test_errors_and_sizes_are_within_their_bounds(case):
    params, count = SMALL[case]()
    tally = Circuits(params, seed=1).run(range(count))
    assert not tally.found
    assert tally.beyond == 0
    assert tally.circuits == count
    assert tally.spent > count / 2
    assert set(tally.levels) == set(range(params.depth + 1))
    # Bounds that fail with probability 2^-40 are not met, and yet they are no guess.
    assert 0.05 < tally.facts()["largest_share_of_bound"] < 1
    if case == "three levels":
        assert set(tally.operations) == set(OPERATIONS)


def test_circuits_on_devices(kernel_device):
    assert not Circuits(parameters(1), kernel_device.name, seed=1).run(range(2)).found


def test_a_seed_is_a_circuit():
    params = parameters(2)
    tallies = [Circuits(params, seed=1).run(seeds) for seeds in ([3, 4], [3], [4])]
    whole, *parts = (tally.operations for tally in tallies)
    assert whole == sum(parts, start=type(whole)())


# What the circuits find: bounds made too small, and operations that do another thing


def something_is_found():
    circuits, tally = Circuits(parameters(3), seed=1), Tally()
    return any(circuits.run([seed], tally).found for seed in range(24))


TOO_SMALL = {
    "fresh_public": 1 / 8,
    "fresh_secret": 1 / 8,
    "product": 1 / 8,
    "multiplication": 1 / 8,
    "plain_multiplication": 1 / 8,
    "rotation": 1 / 8,
    "alignment": 1 / 16,
    # Parts of all of those.
    "rescaling": 1 / 32,
    "sup_product": 1 / 32,
}
"""Bounds, and by how much. Errors reach a quarter of bounds that fail with probability 2^-40."""


@pytest.mark.parametrize("bound", TOO_SMALL)
def test_a_bound_made_too_small_is_found(monkeypatch, bound):
    right, factor = getattr(noise, bound), TOO_SMALL[bound]
    monkeypatch.setattr(noise, bound, lambda *args: factor * right(*args))
    assert something_is_found()


WRONG = {
    "rotate": lambda right: lambda x, steps: right(x, -steps),
    "conjugate": lambda right: lambda x: x,
    "__add__": lambda right: lambda x, y: right(right(x, y), 1e-3),
    "__mul__": lambda right: lambda x, y: right(x, y).replace(size=0.25),
    "sum": lambda right: lambda x: right(x.replace(span=len(x))),
}


@pytest.mark.parametrize("method", WRONG)
def test_another_result_is_found(monkeypatch, method):
    monkeypatch.setattr(Ciphertext, method, WRONG[method](getattr(Ciphertext, method)))
    assert something_is_found()
