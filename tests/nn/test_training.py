"""Whole trainings on shares beside the same training in float64."""

from __future__ import annotations

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.tensor.curves import curve

PROTOCOLS = ["plain", "additive", "replicated"]


def run(module, X, y, loss_of, optimiser, n_steps, session=None):
    """Full-batch training."""
    x = nn.Variable(X)
    for _ in range(n_steps) if session is None else session.steps(n_steps):
        optimiser.zero_grad()
        loss_of(module(x), y).backward()
        optimiser.step()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_mlp_learns_xor(protocol):
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])

    def trained(session):
        module = nn.Sequential(
            nn.Linear(2, 8, random_state=0), nn.ReLU(), nn.Linear(8, 1, random_state=1)
        )
        if session is not None:
            module.share(session)
        share = (lambda value: value) if session is None else session.share
        optimiser = nn.SGD(module.parameters(), lr=0.2)
        run(module, share(X), share(y), nn.MSELoss(), optimiser, 150, session)
        return module.eval()(share(X)).reveal()

    with he.Session(protocol, seed=1) as s:
        found = trained(s)
    assert ((found > 0.5) == y).all()
    # Data and targets are exact, residuals are off by 2^-16 or less, and 150 steps at rate 0.2
    # sum 30 of these over at most 4 samples and 2 layers with weights below 2.
    assert np.abs(found - trained(None)).max() < 30 * 16 * 2.0**-16


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_logistic_regression_has_the_accuracy_of_plaintext(protocol):
    pytest.importorskip("sklearn", reason="scikit-learn brings the data")
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
    scaler = StandardScaler().fit(X)
    X, X_test, y = scaler.transform(X), scaler.transform(X_test), y[:, None] * 1.0

    w, b, n, rate = np.zeros((1, 30)), np.zeros(1), len(X), 0.5
    for _ in range(20):
        e = 1 / (1 + np.exp(-(X @ w.T + b))) - y
        w, b = w - rate / n * e.T @ X, b - rate / n * e.sum(0)

    with he.Session(protocol, seed=1) as s:
        module = nn.Linear(30, 1)
        module.load_state_dict({"weight": np.zeros((1, 30)), "bias": np.zeros(1)})
        module.share(s)
        optimiser = nn.SGD(module.parameters(), lr=rate)
        run(module, s.share(X), s.share(y), nn.BCEWithLogitsLoss(), optimiser, 20, s)
        found_w, found_b = module.weight.reveal(), module.bias.reveal()
        unit = 2.0**-16
        sigmoid = curve("sigmoid", 16).error(16) + unit
    # Per step the mean of |x| below 1 times the error of e: its own, and a quarter of that of z,
    # which 30 features rounded by half a unit times weights below 1 make 15 units at most; a
    # smaller error of w does not grow, as the loss is convex and the rate below 2 / curvature.
    limit = 20 * rate * (sigmoid + 15 / 4 * unit)
    assert max(np.abs(found_w - w).max(), np.abs(found_b - b).max()) < limit
    predicted = X_test @ found_w.T + found_b
    accuracy = ((predicted[:, 0] > 0) == y_test).mean()
    assert accuracy == (((X_test @ w.T + b)[:, 0] > 0) == y_test).mean() > 0.97


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_public_model_learns_from_private_data(protocol):
    rng = np.random.default_rng(2)
    X = rng.integers(-256, 256, (32, 4)) / 128
    y = X @ np.array([[1.0], [-0.5], [0.25], [2.0]])
    with he.Session(protocol, seed=1) as s:
        module = nn.Linear(4, 1, random_state=0)
        optimiser = nn.SGD(module.parameters(), lr=0.25)
        run(module, s.share(X), s.share(y), nn.MSELoss(), optimiser, 60, s)
        assert module.weight.is_secret
        # y is rounded to 2^-17, and descent ends within some units of the solution.
        assert np.abs(module.weight.reveal() - [[1.0, -0.5, 0.25, 2.0]]).max() < 2.0**-12


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_small_convolutional_network_learns(protocol):
    rng = np.random.default_rng(0)
    classes = np.arange(12) % 2
    X = rng.uniform(0, 0.5, (12, 1, 6, 6))
    X[classes == 1, 0, :, 2:4] += 1  # a vertical bar
    X[classes == 0, 0, 2:4] += 1  # a horizontal one
    with he.Session(protocol, seed=1) as s:
        module = nn.Sequential(
            nn.Conv2d(1, 4, 3, random_state=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16, 2, random_state=1),
        ).share(s)  # fmt: skip
        optimiser = nn.SGD(module.parameters(), lr=0.1, momentum=0.9)
        run(module, s.share(X), classes, nn.CrossEntropyLoss(), optimiser, 8)
        with nn.no_grad():
            predicted = module(s.share(X)).reveal().argmax(1)
    assert (predicted == classes).all()
