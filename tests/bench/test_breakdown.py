"""The parts of a step add up to the whole, and taking it apart changes nothing."""

from itertools import count

import numpy as np
import pytest

import he_gpu as he
from bench import breakdown
from bench.bench_training import NETWORKS, step
from he_gpu import nn


def ticking():
    """A clock that goes on by one second whenever it is read."""
    ticks = count()
    return lambda: float(next(ticks))


@pytest.fixture
def session():
    with he.Session(device="cpu", seed=1) as s:
        yield s


def test_a_part_within_another_one_stops_its_time(session):
    clock = breakdown.Clock(session.backend, ticking())
    with clock.part("outer"):  # read at 0
        inner = clock.timed("inner", lambda value: value + 1)
        assert inner(1) == 2  # read at 1 and 2
        with clock.part("outer"):  # at 3 and 4
            pass
    assert clock.seconds == {"outer": 4.0, "inner": 1.0}  # at 5


def test_an_error_ends_its_part(session):
    clock = breakdown.Clock(session.backend, ticking())
    with pytest.raises(KeyError), clock.part("outer"), clock.part("inner"):
        raise KeyError
    with clock.part("next"):
        pass
    assert clock.seconds == {"outer": 2.0, "inner": 1.0, "next": 1.0}


def learner(session, network):
    """Model, data, loss and optimiser."""
    rng = np.random.default_rng(0)
    images, classes = rng.uniform(0, 1, (2, 1, 28, 28)), rng.integers(0, 10, 2)
    model = NETWORKS[network]().share(session)
    optimiser = nn.SGD(model.parameters(), lr=0.1)
    return model, session.share(images), classes, nn.CrossEntropyLoss(), optimiser


@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_taken_apart_is_the_step(network):
    expected = {
        "784-128-128-10": {"products", "ReLU"},
        "LeNet": {"products", "ReLU", "max-pooling"},
    }[network]
    found = []
    for apart in (False, True):
        with he.Session(device="cpu", seed=1) as s:
            given = learner(s, network)
            if apart:
                clock = breakdown.Clock(s.backend)
                breakdown.by_part(clock, *given)
            else:
                step(*given)
            found.append([p.reveal() for p in given[0].parameters()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    named = {f"{kind} {way}" for kind in expected for way in ("forward", "backward")}
    assert set(clock.seconds) == named | {"softmax", "optimiser", breakdown.REST}


def test_kernels_are_timed_and_put_back(session):
    given = learner(session, "784-128-128-10")
    before = dict(vars(session.backend))
    clock = breakdown.Clock(session.backend)
    with breakdown.by_kernel(clock, session.backend):
        step(*given)
    assert vars(session.backend) == before
    assert set(clock.seconds) == {*breakdown.KERNELS, breakdown.REST}


def test_medians_of_parts():
    rounds = [{"a": 1.0, "b": 5.0}, {"a": 3.0, "b": 4.0}, {"a": 2.0}]
    assert breakdown.medians(rounds) == {"b": 4.0, "a": 2.0}
    assert list(breakdown.medians(rounds)) == ["b", "a"]


def test_measured_drops_the_first_round(session):
    calls = []

    def run(clock):
        calls.append(clock)
        with clock.part("part"):
            pass

    found = breakdown.measured(session.backend, {"parts": run}, 3)
    assert len(calls) == 4
    assert set(found["parts"]) == {"part"}
