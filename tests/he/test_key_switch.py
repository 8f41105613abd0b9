"""Key switching: digits that make the polynomial again, and pairs that decrypt to the product."""

from collections import Counter

import numpy as np
import pytest

from he_gpu.backend import emulator
from he_gpu.he import key_switch, noise
from he_gpu.he.ladder import Ladder
from he_gpu.he.randomness import Randomness
from he_gpu.he.switch_keys import SwitchKey
from tests.he.contexts import DEGREE, SLOTS, context, parameters, reals

LEVELS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def ladder():
    return Ladder(parameters(3).chain, "cpu")


def uniform(ladder, level, seed=0):
    ring = ladder.ring(level)
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.array(ring.moduli)[:, None], (len(ring.moduli), DEGREE)).astype(
        np.uint32
    )


def test_digits_cover_the_limbs(ladder):
    parts = [digit.part for digit in ladder.digits]
    covered = [limb for part in parts for limb in range(part.start, part.stop)]
    assert covered == list(range(ladder.limbs(ladder.depth)))
    assert tuple(digit.own.moduli for digit in ladder.digits) == ladder.chain.digits(ladder.depth)


@pytest.mark.parametrize("level", LEVELS)
def test_digits_are_small_and_keep_their_limbs(ladder, level):
    values = uniform(ladder, level)
    extended, start = ladder.extended(level), 0
    result = key_switch.decompose(ladder, level, values)
    for words, moduli in zip(result, ladder.chain.digits(level), strict=True):
        part, ring = slice(start, start + len(moduli)), ladder.whole.over(moduli)
        start = part.stop
        np.testing.assert_array_equal(words[part], values[part])
        integers = extended.to_integers(extended.intt(words))
        assert 2 * abs(integers).max() <= ring.modulus + 1
        own = ring.to_integers(ring.intt(values[part]))
        differ = integers != own  # an integer next to half the modulus may take the other sign
        assert np.all(abs(integers - own)[differ] == ring.modulus)


@pytest.mark.parametrize("level", LEVELS)
def test_switched_pair_decrypts_to_the_product(ladder, level):
    randomness = Randomness(ladder.backend, 8, "test")
    whole, ring = ladder.whole, ladder.ring(level)
    old, new = (whole.ntt(ladder.small(whole, randomness.ternary((DEGREE,)))) for _ in range(2))
    key = SwitchKey.of(ladder, old, new, randomness)
    values, limbs = uniform(ladder, level), ladder.limbs(level)
    digits = key_switch.decompose(ladder, level, values)
    pair = key_switch.finish(ladder, level, key_switch.multiply(ladder, level, digits, key))
    result = ring.add(pair[0], ring.mul(pair[1], new[:limbs]))
    error = ring.intt(ring.sub(result, ring.mul(values, old[:limbs])))
    # In a slot at most key_switching says, so a coefficient no more.
    bound = noise.key_switching(ladder.chain, level, 1)
    largest = abs(ring.to_integers(error)).max()
    assert 0 < largest <= bound
    assert bound < 2**20


def test_hoisted_rotations_equal_single_ones(monkeypatch):
    holder = context()
    x = holder.encrypt(reals())
    steps = [1, 4, 0, 1, -2, 512]
    cuts = []
    real = key_switch.decompose
    monkeypatch.setattr(key_switch, "decompose", lambda *given: cuts.append(1) or real(*given))
    together = x.rotations(steps)
    assert len(cuts) == 1
    for k, result in zip(steps, together, strict=True):
        np.testing.assert_array_equal(result.components, x.rotate(k).components)


@pytest.mark.usefixtures("require_emulator")
def test_kernels_of_a_product_and_of_a_rotation():
    """So many launches whatever the level and the digits, and the CPU's words."""
    holder, other = context(1, "emulator"), context(1, "cpu")
    switch = {
        "intt_rows_mod_u32": 2,
        "intt_columns_mod_u32": 2,
        "extend_digits_rns_mod_u32": 1,
        "ntt_columns_mod_u32": 2,
        "ntt_rows_mod_u32": 2,
        "dot_rns_mod_u32": 1,
        "extend_rns_mod_u32": 1,
        "sub_scale_rns_mod_u32": 1,
    }
    calls = {
        "tensor_rns_mod_u32": lambda x: x * x,
        "automorphism_rns_mod_u32": lambda x: x.rotate(1),
    }
    ciphertexts = [each.encrypt(reals(SLOTS)) for each in (holder, other)]
    for kernel, call in calls.items():
        result, expected = map(call, ciphertexts)  # makes a rotation's key, too
        np.testing.assert_array_equal(result.components, expected.components)
        before = Counter(emulator.launches)
        call(ciphertexts[0])
        assert emulator.launches - before == Counter({**switch, kernel: 1})
