"""The cost by which parameters are chosen: transforms, counted operation by operation."""

import pytest

from he_gpu.he.chain import plan
from he_gpu.he.cost import CALL, computation, switching

DEGREE = 4096


@pytest.mark.parametrize("digits", [1, 2, 3, 8])
def test_transforms_of_key_switching(digits):
    chain = plan(3, 40, DEGREE, digits)
    special = len(chain.special)
    for level in (3, 2, 1):
        limbs, dropped = len(chain.moduli(level)), len(chain.levels[level - 1])
        cut = limbs + sum(limbs + special - len(digit) for digit in chain.digits(level))
        rotation = cut + 2 * special + 2 * limbs
        product = cut + 2 * (special + dropped) + 2 * (limbs - dropped)
        assert switching(chain, level) == rotation == product


def test_a_computation_goes_down_all_levels():
    chain = plan(3, 40, DEGREE, 2)
    each = [switching(chain, level) + 3 * len(chain.moduli(level)) for level in (1, 2, 3)]
    assert computation(chain) == sum(each) * (DEGREE * 12 + CALL)


def test_without_levels_a_rotation_counts():
    chain = plan(0, 40, DEGREE, 1)
    limbs = len(chain.base)
    expected = 3 * (limbs + len(chain.special)) + 3 * limbs
    assert computation(chain) == expected * (DEGREE * 12 + CALL)


def test_few_digits_and_small_rings_cost_less():
    costs = [computation(plan(8, 40, 16384, digits)) for digits in (3, 6, 9, 18)]
    assert costs == sorted(costs)
    assert computation(plan(3, 40, 8192, 2)) < computation(plan(3, 40, 16384, 2))
