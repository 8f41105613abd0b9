"""Steps of a descent taken together are those taken one by one: shares, losses, cost, masks."""

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import emulator
from he_gpu.mpc import Additive, Scheme, pool

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])


@pytest.fixture
def taken(monkeypatch):
    """How many steps were taken together, each time that some were."""
    found, descend = [], Additive.descend

    def record(self, *arguments):
        w, n = descend(self, *arguments)
        found.extend([n] if n else [])
        return w, n

    monkeypatch.setattr(Additive, "descend", record)
    return found


def fitted(device, parties, X, y, **parameters):
    """All that a fit with a test seed leaves behind, and what the session draws next."""
    with he.Session(parties=parties, device=device, seed=23) as session:
        model = he.ReservoirRegressor(**parameters)
        model.fit(X, y, session=session).partial_fit(X, y)
        following = session.share(1.0) * session.share(2.0)
        words = [value.shares for value in (model.coef_, following)]
        return list(map(session.backend.to_numpy, words)), model.loss_curve_, session.cost


CASES = {
    "no losses": (2, X, Y, {"width": 64, "n_steps": 30, "log_every": 0}),
    "losses": (3, X, Y, {"width": 17, "n_steps": 23, "log_every": 5}),
    "absolute losses": (2, X, Y, {"width": 8, "n_steps": 12, "log_every": 4, "loss": "absolute"}),
    "three targets": (3, X, np.stack([Y, 1 - Y, Y / 2], 1), {"width": 9, "n_steps": 9}),
    "one sample": (2, X[1:2], Y[1:2], {"width": 3, "n_steps": 8, "log_every": 0}),
    "gradients that are not bounded": (2, X * 9, Y * 99, {"width": 16, "n_steps": 8,
                                                          "learning_rate": 1e-5}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_together_as_one_by_one(device, case, taken, monkeypatch):
    parties, inputs, y, parameters = CASES[case]
    together = fitted(device, parties, inputs, y, **parameters)
    assert taken
    monkeypatch.setattr(Additive, "descend", Scheme.descend)
    one_by_one = fitted(device, parties, inputs, y, **parameters)
    for found, expected in zip(together[0], one_by_one[0], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert together[1:] == one_by_one[1:]


def test_all_steps_but_the_first_and_the_logged_ones_are_taken_together(taken):
    """The main job: the first step finds out what comes, and then masks are made for all."""
    with he.Session(device="cpu", seed=1) as session:
        he.ReservoirRegressor(log_every=0).fit(X, Y, session=session)
        assert taken == [249]
        taken.clear()
        he.ReservoirRegressor(log_every=100).fit(X, Y, session=session)
        assert taken == [99, 99, 49]


def test_all_these_steps_are_one_launch(require_emulator):
    launches = []
    for n_steps in (10, 200):
        before = emulator.launches.copy()
        with he.Session(device="emulator", seed=1) as session:
            he.ReservoirRegressor(width=8, n_steps=n_steps, log_every=0).fit(X, Y, session=session)
        launches.append(emulator.launches - before)
    assert launches[0] == launches[1]
    assert launches[0]["descend_ring_u64"] == 1


def test_masks_that_run_out_are_made_anew(taken, monkeypatch):
    monkeypatch.setattr(pool, "BULK_BYTES", 2**16)
    with he.Session(device="cpu", seed=1) as session:
        he.ReservoirRegressor(n_steps=30, log_every=0).fit(X, Y, session=session)
    # 65,536 bytes are five masks of 12,352 for the gradient, and fifteen of 4,288 for F w.
    assert taken == [5, 5, 5, 5, 5, 4]


@pytest.mark.parametrize(
    ("protocol", "width", "log_every"), [("plain", 8, 0), ("replicated", 8, 0), ("additive", 8, 1)]
)
def test_other_schemes_and_logged_steps_go_one_by_one(taken, protocol, width, log_every):
    with he.Session(protocol, device="cpu") as session:
        he.ReservoirRegressor(width=width, n_steps=6, log_every=log_every).fit(
            X, Y, session=session
        )
    assert not taken


def test_large_steps_go_one_by_one(taken):
    rng = np.random.default_rng(0)
    inputs, y = rng.uniform(size=(80, 2)), rng.uniform(size=80)
    model = he.ReservoirRegressor(width=1024, learning_rate=1e-6, n_steps=5, log_every=0)
    with he.Session(device="cpu") as session:
        model.fit(inputs, y, session=session)
    assert not taken


def test_targets_of_more_fraction_bits_are_aligned_one_by_one(taken):
    with he.Session(device="cpu") as session:
        y = session.share(Y).with_frac_bits(20)
        model = he.ReservoirRegressor(width=8, n_steps=6, log_every=0).fit(X, y)
    assert not taken
    assert model.coef_.shape == (8,)
