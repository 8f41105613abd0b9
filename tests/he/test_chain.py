"""Chains of primes: scales, digits and special primes, over depths, scales and degrees."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from he_gpu.errors import ArgumentValueError
from he_gpu.he import noise
from he_gpu.he.chain import (
    DRIFT,
    FRACTION_BITS,
    INTEGER_BITS,
    headroom_bits,
    least_bits,
    limbs_of_level,
    plan,
    plans,
    primes_of,
)
from he_gpu.he.sampling import ERROR_VARIANCE, TERNARY_VARIANCE
from he_gpu.ring import RnsRing, ntt_primes

CASES = [
    (0, 40, 4096, 1),
    (1, 27, 4096, 3),
    (3, 40, 8192, 8),
    (8, 40, 16384, 3),
    (15, 40, 32768, 4),
    (20, 50, 65536, 3),
    (30, 40, 65536, 10),
    (5, 26, 8192, 2),
    (6, 60, 32768, 3),
    (4, 77, 32768, 2),
    (2, 106, 32768, 2),
    (6, 40, 64, 2),
    (40, 26, 1024, 5),
]


def check(chain, depth, scale_bits, degree):
    moduli = chain.moduli(depth)
    every = moduli + chain.special
    assert chain.depth == depth
    assert len(set(every)) == len(every)
    assert set(every) <= set(primes_of(degree))
    # Scales: each level's is that of a product on the level above, to 2^-64.
    each = limbs_of_level(scale_bits)
    assert len(chain.scales) == depth + 1
    for level, primes in enumerate(chain.levels):
        assert len(primes) == each
        exact = chain.scales[level + 1] ** 2 / math.prod(primes)
        assert abs(chain.scales[level] - exact) <= Fraction(1, 2 ** (FRACTION_BITS + 1))
    for scale in chain.scales:
        assert (scale * 2**FRACTION_BITS).denominator == 1
        assert math.log2(scale) >= scale_bits - DRIFT
        assert abs(math.log2(scale) - math.log2(chain.scales[-1])) <= DRIFT + 1e-9
    # The base holds the lowest scale and the bits before the point.
    assert math.prod(chain.base) >= 2**INTEGER_BITS * chain.scales[0]
    for level in range(depth + 1):
        digits = chain.digits(level)
        assert sum(digits, ()) == chain.moduli(level)
        assert max(map(len, digits)) <= chain.digit_limbs
        assert all(math.prod(chain.special) >= math.prod(digit) for digit in digits)
    assert math.isclose(chain.modulus_bits, sum(map(math.log2, every)))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_chains(case):
    depth, scale_bits, degree, digits = case
    chain = plan(*case)
    check(chain, depth, scale_bits, degree)
    assert len(chain.digits(depth)) <= digits


@given(
    st.integers(0, 10),
    st.integers(20, 80),
    st.sampled_from([256, 4096, 16384, 32768]),
    st.integers(1, 8),
)
@settings(max_examples=40, deadline=None)
def test_any_chain(depth, scale_bits, degree, digits):
    check(plan(depth, scale_bits, degree, digits), depth, scale_bits, degree)


def test_plenty_of_primes_give_the_wanted_scales():
    for depth in (3, 8, 15):
        chain = plan(depth, 40, 1024, 2)
        drifts = [abs(math.log2(scale) - 40) for scale in chain.scales]
        assert max(drifts) < 0.1
        assert sum(math.log2(math.prod(p)) for p in chain.levels) < 40 * depth + 0.2


def test_scarce_primes_cost_few_bits():
    # 40-bit pairs do not exist at this degree: each needs a prime below 2^20, and there are 2.
    assert sum(q < 2**20 for q in primes_of(32768)) == 2
    chain = plan(15, 40, 32768, 4)
    assert sum(math.log2(math.prod(p)) for p in chain.levels) < 47 * 15


@pytest.mark.parametrize("degree", [4096, 16384, 65536])
def test_all_primes_are_found(degree):
    primes = primes_of(degree)
    assert primes == tuple(sorted(ntt_primes(degree, 2**20, len(primes))))
    with pytest.raises(ArgumentValueError, match="do not exist"):
        ntt_primes(degree, 2**20, len(primes) + 1)


@pytest.mark.parametrize("degree", [16, 64])
def test_primes_of_small_degrees(degree):
    primes = set(primes_of(degree))
    for k in [*range(1, 200), *range(2**27 // (2 * degree) - 200, 2**27 // (2 * degree))]:
        n = 2 * degree * k + 1
        assert (n in primes) == all(n % d for d in range(2, math.isqrt(n) + 1))


def test_plans_go_from_one_digit_to_many():
    chains = list(plans(6, 40, 16384))
    limbs = len(chains[0].moduli(6))
    sizes = [chain.digit_limbs for chain in chains]
    assert sizes[0] == limbs
    assert sizes[-1] == 1
    assert sizes == sorted(set(sizes), reverse=True)
    bits = [chain.modulus_bits for chain in chains]
    assert bits == sorted(bits, reverse=True)
    for chain in chains:
        assert chain == plan(6, 40, 16384, len(chain.digits(6)))


@pytest.mark.parametrize(
    ("case", "most"),
    [((4, 40, 16384, 1), 438), ((8, 40, 32768, 3), 881), ((8, 40, 32768, 10), 881)],
)
def test_special_primes_are_larger_than_digits_by_some_bits(case, most):
    depth, scale_bits, degree, _ = case
    chain = plan(*case, most)
    check(chain, depth, scale_bits, degree)
    wanted = headroom_bits(len(chain.digits(depth)))
    assert wanted <= headroom(chain) < wanted + 1
    assert chain.modulus_bits <= most
    # They are as few as hold that, and so more than half of them are larger than the levels'.
    assert len(chain.special) == math.ceil(sum(map(math.log2, chain.special)) / 27)


def headroom(chain):
    largest = max(map(math.prod, chain.digits(chain.depth)))
    return math.log2(math.prod(chain.special) / largest)


def test_a_modulus_without_room_leaves_special_primes_small():
    case = (4, 40, 16384, 1)
    roomy = plan(*case)
    bare = plan(*case, 0)
    assert 0 <= headroom(bare) < 0.5
    assert headroom(roomy) >= headroom_bits(1)
    sizes = []
    for most in np.arange(bare.modulus_bits - 1, roomy.modulus_bits + 1, 0.5):
        chain = plan(*case, most)
        assert chain.modulus_bits <= max(most, bare.modulus_bits)
        sizes.append(headroom(chain))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) >= 4


def test_headroom_leaves_a_quarter_of_the_rounding():
    for digits in (1, 2, 7, 30):
        small = 2.0 ** -headroom_bits(digits)
        errors = noise.sup_product(small**2 / 12, ERROR_VARIANCE, digits, 16384)
        rounding = noise.sup_product(1 / 12, TERNARY_VARIANCE, 1, 16384)
        assert errors <= 0.27 * rounding


def test_where_primes_are_too_few_for_one_digit_there_are_others():
    chains = list(plans(30, 40, 65536))
    assert len(chains[0].digits(30)) > 1
    with pytest.raises(ArgumentValueError, match="too few primes"):
        plan(30, 40, 65536, 1)


@pytest.mark.parametrize("case", sorted({case[:3] for case in CASES}), ids=str)
def test_no_modulus_is_below_the_least(case):
    least = least_bits(*case)
    bits = [chain.modulus_bits for chain in plans(*case, 0)]
    assert 0.5 * min(bits) < least <= min(bits)


@pytest.mark.parametrize("case", [(50, 40, 65536), (64, 80, 32768)])
def test_too_few_primes(case):
    with pytest.raises(ArgumentValueError, match=f"too few primes below 2..27 for depth {case[0]}"):
        next(plans(*case))


def test_a_product_has_the_scale_of_the_level_below(device):
    """Numbers squared down the whole chain, without encryption: nothing but scales and primes."""
    chain = plan(5, 40, 64, 2)
    ring = RnsRing(64, chain.moduli(5), device)
    value, exact = 0.9, Fraction(round(Fraction(0.9) * chain.scales[5])) / chain.scales[5]
    words = ring.ntt(ring.asarray([round(Fraction(value) * chain.scales[5])] + [0] * 63))
    for level in range(5, 0, -1):
        words = ring.mul(words, words)
        words = ring.mod_down(words, len(chain.levels[level - 1]), values=True)
        ring = ring.over(chain.moduli(level - 1))
        exact = exact**2
        got = Fraction(int(ring.to_integers(ring.intt(words))[0])) / chain.scales[level - 1]
        # A rounding of each product so far, by half a unit; later squares at most double it.
        assert abs(got - exact) < 2 ** (6 - level) / chain.scales[level - 1]


def test_chains_are_plain_and_hashable():
    chain = plan(2, 40, 8192, 2)
    assert hash(chain) == hash(plan(2, 40, 8192, 2))
    assert all(type(q) is int for q in chain.moduli(2) + chain.special)
    assert all(not isinstance(q, np.integer) for q in chain.base)
