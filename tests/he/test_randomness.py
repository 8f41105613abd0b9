"""What keys and encryptions draw: distributions, devices, and streams that are never shared."""

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.he.ladder import Ladder
from he_gpu.he.randomness import Randomness
from tests.he.contexts import DEGREE, parameters

N = 20_000


def drawn(device="cpu", purpose="test", seed=5):
    randomness = Randomness(get_backend(device), seed, purpose)
    return {
        "ternary": randomness.ternary((N,)),
        "error": randomness.error((N,)),
        "normal": randomness.normal((N,)),
        "seed": np.frombuffer(randomness.published_seed(), np.uint8),
    }


def test_normal_numbers():
    """Moments within five deviations of their own, and no number out of place."""
    x = drawn()["normal"]
    assert abs(x.mean()) < 5 / np.sqrt(N)
    assert abs((x**2).mean() - 1) < 5 * np.sqrt(2 / N)
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / N)
    assert abs((x[1:] * x[:-1]).mean()) < 5 / np.sqrt(N)
    beyond = (np.abs(x) > 2).mean()
    assert abs(beyond - 0.0455) < 5 * np.sqrt(0.0455 / N)
    assert np.abs(x).max() < 9


def test_purposes_and_seeds_have_their_own_streams():
    first = drawn()
    for other in (drawn(purpose="other"), drawn(seed=6)):
        for name, values in first.items():
            assert (values != other[name]).mean() > 0.3, name
    for name, values in drawn().items():
        np.testing.assert_array_equal(values, first[name])


def test_devices_draw_the_same(device):
    first, second = drawn(), drawn(device)
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_without_a_seed_nothing_repeats():
    first, second = (drawn(seed=None) for _ in range(2))
    for name, values in first.items():
        assert (values != second[name]).mean() > 0.3, name


@pytest.mark.parametrize("level", [0, 2])
def test_small_integers_in_every_limb(device, level):
    ladder = Ladder(parameters(2).chain, device)
    ring = ladder.extended(level)
    integers = np.random.default_rng(0).integers(-21, 22, (3, DEGREE))
    words = ladder.small(ring, integers)
    np.testing.assert_array_equal(ring.to_integers(words).astype(np.int64), integers)


def test_rings_of_a_ladder():
    chain = parameters(3).chain
    ladder = Ladder(chain, "cpu")
    assert (ladder.depth, ladder.ring_degree, ladder.n_special) == (3, DEGREE, len(chain.special))
    for level in range(4):
        assert ladder.ring(level).moduli == chain.moduli(level)
        assert ladder.extended(level).moduli == chain.moduli(level) + chain.special
        assert ladder.limbs(level) == len(chain.moduli(level))
        assert ladder.scale(level) == chain.scales[level]
    assert ladder.divisor(3) * ladder.ring(2).modulus == ladder.ring(3).modulus
    assert ladder.fresh.moduli == chain.moduli(3) + ladder.spare.moduli
