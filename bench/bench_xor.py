"""The main job beside plaintext loops: XOR learnt by a 256-wide reservoir in 250 steps.

The loop in the clear runs in NumPy, and on a GPU in CuPy and in PyTorch where it is installed too.
"""

import numpy as np
import pytest

import he_gpu as he
from bench import torch_peer
from bench.operands import SCHEMES, by_device
from tests.models.descent import gradient_descent, loss_bound

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])
RATE = 1e-3
STEPS = 250
JOBS = SCHEMES | {"5 parties": {"protocol": "additive", "parties": 5}}
LARGEST_RATIO = 20
"""Times the loop in the clear, on the CPU."""
CUPY, PYTORCH = "plaintext CuPy", "plaintext PyTorch, eager"
DEMANDED_ON_HOPPER = {"median": 3e-3, CUPY: 1, PYTORCH: 1}
"""Seconds from sharing to reveal, and times the same loop in the clear on that GPU."""
SEEDS = {"cpu": 100, "cuda": 10, "emulator": 1}
"""Reservoirs; on a device short steps are all launches."""


def on_shares(device, scheme):
    """Everything a user waits for: session, sharing, dealer, 250 steps, revealed predictions."""
    with he.Session(device=device, **JOBS[scheme]) as session:
        return to_reveal(session)


def to_reveal(session):
    """The same in a session that is open already: from sharing to the revealed predictions."""
    model = he.ReservoirRegressor(learning_rate=RATE, n_steps=STEPS, log_every=0)
    model.fit(X, Y, session=session)
    return model.predict(X).reveal()


def in_the_clear(F, y, w):
    """The loop alone, of any array library: features, targets and zeros lie ready."""
    lr = RATE
    for _ in range(STEPS):
        e = F @ w - y
        w = w - lr * (F.T @ e)
    return w


def plaintexts(backend):
    """The loops in the clear by name, each checked against NumPy's, and facts about those."""
    F = he.ReservoirRegressor().transform(X)
    arrays = F, Y.reshape(-1, 1), np.zeros((F.shape[1], 1))
    loops, facts = {"plaintext NumPy": lambda: in_the_clear(*arrays)}, {}
    if not hasattr(backend.xp, "cuda"):
        return loops, facts
    expected = in_the_clear(*arrays)
    here = [backend.xp.asarray(array) for array in arrays]
    loops[CUPY] = lambda: in_the_clear(*here)
    np.testing.assert_allclose(backend.to_numpy(loops[CUPY]()), expected, rtol=1e-9, atol=1e-9)
    reason = torch_peer.absent(backend.name)
    if reason:
        return loops, {"pytorch": reason}
    torch = torch_peer.module()
    there = [torch.from_numpy(array).to(torch_peer.place(backend.name)) for array in arrays]

    def eager():
        w = in_the_clear(*there)
        torch.cuda.synchronize()
        return w

    np.testing.assert_allclose(eager().cpu().numpy(), expected, rtol=1e-9, atol=1e-9)
    return loops | {PYTORCH: eager}, facts


def check(predicted):
    """Demand the classes of the loop in the clear; how close they come is another benchmark's."""
    F = he.ReservoirRegressor().transform(X)
    expected = F @ in_the_clear(F, Y.reshape(-1, 1), np.zeros((F.shape[1], 1)))
    np.testing.assert_array_equal(predicted > 0.5, expected[:, 0] > 0.5)


@pytest.mark.parametrize("scheme", JOBS)
def test_xor(scheme, device, backend, record):
    check(on_shares(device, scheme))
    loops, facts = plaintexts(backend)
    demanded = LARGEST_RATIO if device == "cpu" else None
    record.compare(
        f"XOR, 4 x 256, {STEPS} steps, {scheme} in one process",
        lambda: on_shares(device, scheme),
        loops,
        rounds=51,
        at_most={} if demanded is None else {"plaintext NumPy": demanded},
        headline=True,
        **JOBS[scheme],
        **facts,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sharing_to_reveal(scheme, device, backend, hopper, record):
    loops, facts = plaintexts(backend)
    demanded = DEMANDED_ON_HOPPER if hopper and scheme == "2 parties" else {}
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        check(to_reveal(session))
        record.compare(
            f"XOR, 4 x 256, {STEPS} steps, from sharing to reveal, {scheme}",
            lambda: to_reveal(session),
            loops,
            rounds=51,
            at_most={name: most for name, most in demanded.items() if name in (*loops, "median")},
            headline=not backend.is_host,
            **SCHEMES[scheme],
            **facts,
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
