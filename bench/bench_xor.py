"""The main job beside plaintext NumPy: XOR learnt by a 256-wide reservoir in 250 steps."""

import numpy as np
import pytest

import he_gpu as he
from bench.operands import SCHEMES, by_device
from tests.models.descent import gradient_descent, loss_bound

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])
RATE = 1e-3
STEPS = 250
JOBS = SCHEMES | {"5 parties": {"protocol": "additive", "parties": 5}}
LARGEST_RATIO = {"2 parties": 20, "replicated": 25}
"""Times the loop in the clear, on the CPU."""
SEEDS = {"cpu": 100, "cuda": 10, "emulator": 1}
"""Reservoirs; on a device short steps are all launches."""


def on_shares(device, scheme):
    """Everything a user waits for: session, sharing, dealer, 250 steps, revealed predictions."""
    with he.Session(device=device, **JOBS[scheme]) as session:
        model = he.ReservoirRegressor(learning_rate=RATE, n_steps=STEPS, log_every=0)
        model.fit(X, Y, session=session)
        return model.predict(X).reveal()


def in_the_clear(F, y):
    """The loop alone: features and targets lie ready."""
    lr = RATE
    w = np.zeros((F.shape[1], 1))
    for _ in range(STEPS):
        e = F @ w - y
        w = w - lr * (F.T @ e)
    return w


@pytest.mark.parametrize("scheme", JOBS)
def test_xor(scheme, device, record):
    F, y = he.ReservoirRegressor().transform(X), Y.reshape(-1, 1)
    expected = F @ in_the_clear(F, y)
    # How close they come is the next benchmark's business.
    np.testing.assert_array_equal(on_shares(device, scheme) > 0.5, expected[:, 0] > 0.5)
    demanded = LARGEST_RATIO.get(scheme) if device == "cpu" else None
    record.compare(
        f"XOR, 4 x 256, {STEPS} steps, {scheme} in one process",
        lambda: on_shares(device, scheme),
        {"plaintext NumPy": lambda: in_the_clear(F, y)},
        rounds=51,
        at_most={} if demanded is None else {"plaintext NumPy": demanded},
        headline=True,
        **JOBS[scheme],
    )


@pytest.mark.parametrize("scheme", JOBS)
def test_losses_at_every_step(scheme, device, backend, record):
    seeds = by_device(backend, **SEEDS)

    def follow():
        largest, of_bound, largest_bound = 0.0, 0.0, 0.0
        for seed in range(seeds):
            model = he.ReservoirRegressor(
                learning_rate=RATE, n_steps=STEPS, random_state=seed, log_every=1
            )
            F = model.transform(X)
            with he.Session(device=device, **JOBS[scheme]) as session:
                model.fit(X, Y, session=session)
                predicted = model.predict(X).reveal()
            reference = gradient_descent(F, Y, RATE, STEPS)
            bound = loss_bound(F, Y, RATE, STEPS, n_runs=seeds * len(JOBS))
            deviation = np.abs(np.array(model.loss_curve_) - reference.losses)
            assert model.loss_curve_[0] == 2.0
            assert np.all(deviation <= bound)
            assert np.all(bound < 1e-3)
            np.testing.assert_array_equal(predicted > 0.5, F @ reference.weights[:, 0] > 0.5)
            largest = max(largest, float(deviation.max()))
            of_bound = max(of_bound, float((deviation / bound).max()))
            largest_bound = max(largest_bound, float(bound.max()))
        return {
            "largest_loss_deviation": largest,
            "largest_share_of_its_bound": of_bound,
            "largest_bound": largest_bound,
        }

    record.check(
        f"loss against float64 at each of {STEPS} steps, {scheme}",
        follow,
        **JOBS[scheme],
        reservoir_seeds=seeds,
        predictions_equal=seeds,
    )
