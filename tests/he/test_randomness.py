"""What keys and encryptions draw: distributions, devices, and streams that are never shared."""

import os

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.errors import ForkedProcessError
from he_gpu.he.ladder import Ladder
from he_gpu.he.randomness import Randomness
from he_gpu.ring import prg
from tests.he.contexts import DEGREE, parameters

N = 20_000


def drawn(device="cpu", purpose="test", seed=5):
    randomness = Randomness(get_backend(device), seed, purpose)
    return {
        "ternary": randomness.ternary((N,)),
        "error": randomness.error((N,)),
        "normal": sum(randomness.normal((N,), 1000.0)),
        "seed": np.frombuffer(randomness.published_seed(), np.uint8),
    }


def test_streams_made_of_others_are_their_own():
    """Under one seed too, in whatever order they are made, and neither tells of the other."""
    first = Randomness(get_backend("cpu"), 5, "test")
    made = [first, first.another("party"), first.another("party")]
    made.append(made[1].another("party"))
    for draw in (
        lambda each: each.ternary((N,)),
        lambda each: each.error((N,)),
        lambda each: sum(each.normal((N,), 1e3)),
        lambda each: np.frombuffer(each.published_seed(), np.uint8),
    ):
        drawn_by_each = [draw(each) for each in made]
        for k in range(len(made)):
            for values in drawn_by_each[:k]:
                assert (values != drawn_by_each[k]).mean() > 0.3
    free = Randomness(get_backend("cpu"), None, "test").another("party")
    assert free.published_seed() != free.published_seed()


def test_a_forked_child_draws_nothing(monkeypatch):
    randomness = Randomness(get_backend("cpu"), None, "test")
    child = os.getpid() + 1
    monkeypatch.setattr(prg.os, "getpid", lambda: child)
    for draw in (randomness.ternary, randomness.error, lambda n: randomness.normal(n, 5.0)):
        with pytest.raises(ForkedProcessError):
            draw((4,))


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
