"""The cost by which parameters are chosen: the transforms that are made, and times measured."""

import math

import numpy as np
import pytest

from he_gpu.backend.definition import ntt_float
from he_gpu.he import cost
from he_gpu.he.chain import plan
from he_gpu.he.context import Ckks
from he_gpu.he.cost import computation, numbers, switching, transforms
from tests.he.contexts import DEGREE, SLOTS, parameters, reals

MEASURED = {
    # degree, depth, digits: milliseconds
    (4096, 0, 1): 2.3,
    (4096, 2, 1): 14.0,
    (4096, 2, 6): 14.5,
    (4096, 4, 10): 42.6,
    (8192, 1, 1): 8.2,
    (8192, 2, 2): 20.3,
    (8192, 2, 3): 20.5,
    (8192, 3, 8): 43.2,
    (8192, 6, 7): 122.8,
    (16384, 4, 1): 102.4,
    (16384, 4, 3): 96.3,
    (16384, 4, 10): 134.1,
    (16384, 6, 3): 183.4,
    (16384, 7, 6): 278.6,
    (16384, 8, 18): 554.8,
    (16384, 12, 9): 839.2,
    (32768, 2, 1): 65.9,
    (32768, 8, 1): 712.4,
    (32768, 8, 2): 629.6,
    (32768, 8, 3): 648.6,
    (32768, 8, 19): 1199.9,
    (32768, 10, 2): 924.3,
    (32768, 12, 7): 1498.6,
    (32768, 16, 2): 2203.1,
    (32768, 16, 12): 3105.6,
    (32768, 16, 18): 3973.6,
    (65536, 4, 6): 526.4,
    (65536, 8, 3): 1378.0,
    (65536, 16, 2): 4652.9,
    (65536, 16, 12): 6932.7,
}
"""Of `computation` at scale_bits 40, in one thread of an AMD EPYC: sums over levels of the least of
several times."""


@pytest.fixture
def made(monkeypatch):
    """Costs of the transforms that NumPy makes, each of one limb of some polynomials."""
    costs = []
    finished = ntt_float._Work.finished

    def recorded(work, a, modulus):
        result = finished(work, a, modulus)
        stages = int(math.log2(DEGREE)) + cost.BESIDE
        costs.append(result.size * stages + cost.CALLS)
        return result

    monkeypatch.setattr(ntt_float._Work, "finished", recorded)
    return costs


@pytest.mark.parametrize("together", [1, 2, 64])
@pytest.mark.parametrize("digits", [1, 2, 3, 8])
def test_it_counts_the_transforms_that_are_made(digits, together, made, monkeypatch):
    for module in (ntt_float, cost):
        monkeypatch.setattr(module, "CHUNK", together * DEGREE)
    params, values = parameters(3), reals(SLOTS)
    chain = plan(3, 40, DEGREE, digits)
    object.__setattr__(params, "chain", chain)
    x = Ckks(params, "cpu", seed=1).encrypt(values)
    x.rotate(1) * x  # which makes keys
    for level in (3, 2, 1, 0):
        y = x.at_level(level)
        operations = [(lambda y: y.rotate(1), switching)]
        if level:
            operations += [(lambda y: y * y, switching), (lambda y: y * values, numbers)]
        else:
            operations += [(lambda y: y + values, numbers)]
        for operation, counted in operations:
            made.clear()
            operation(y)
            assert sum(made) == counted(chain, level)


def test_a_computation_goes_down_all_levels():
    chain = plan(3, 40, DEGREE, 2)
    each = [switching(chain, level) + numbers(chain, level) for level in (1, 2, 3)]
    assert computation(chain) == sum(each)


def test_without_levels_a_rotation_counts():
    chain = plan(0, 40, DEGREE, 1)
    assert computation(chain) == switching(chain, 0) + numbers(chain, 0)


@pytest.mark.parametrize("degree", [4096, 16384, 65536])
def test_polynomials_share_calls(degree):
    alone, shared = transforms(degree, 3, 1), cost.CHUNK // degree
    assert transforms(degree, 3, shared) == shared * alone - 3 * (shared - 1) * cost.CALLS
    assert transforms(degree, 3, shared + 1) == transforms(degree, 3, shared) + alone
    assert transforms(degree, 3, 0) == 0


def test_many_digits_and_large_rings_cost_more():
    costs = [computation(plan(8, 40, 16384, digits)) for digits in (3, 6, 9, 18)]
    assert costs == sorted(costs)
    assert computation(plan(3, 40, 8192, 2)) < computation(plan(3, 40, 16384, 2))


def test_it_is_in_proportion_to_times_measured():
    counted = [computation(plan(depth, 40, degree, digits)) for degree, depth, digits in MEASURED]
    ratios = np.array(list(MEASURED.values())) / counted
    ratios /= np.exp(np.log(ratios).mean())
    assert ratios.min() > 0.92
    assert ratios.max() < 1.08
