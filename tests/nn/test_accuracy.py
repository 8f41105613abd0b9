"""Models trained on shares are as accurate as in the clear: one body for all schemes and rings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn

RINGS = {64: {}, 32: {"modulus": 2**32, "frac_bits": 10}}
SCHEMES = {
    "plain": {"protocol": "plain"},
    "2 parties": {"protocol": "additive"},
    "3 parties": {"protocol": "additive", "parties": 3},
    "replicated": {"protocol": "replicated"},
}


class Task(NamedTuple):
    """A model, how it learns, and what it must be as accurate as."""

    data: str
    make: Callable
    loss: Callable
    lr: float
    momentum: float
    batch: int | None
    epochs: int
    decay: bool
    clear: Callable
    points: float
    least: float


class Data(NamedTuple):
    """Inputs, and targets as columns: one of 0 and 1 for two classes, else one for each."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@cache
def data(name):
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn brings the data")
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name.partition(' ')[0]}")(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
    if name == "breast_cancer":
        scaler = StandardScaler().fit(X)
        return Data(scaler.transform(X), y[:, None], scaler.transform(X_test), y_test[:, None])
    hot = np.eye(10)
    X, X_test = X / 16, X_test / 16
    if name == "digits images":
        X, X_test = X.reshape(-1, 1, 8, 8), X_test.reshape(-1, 1, 8, 8)
    return Data(X, hot[y], X_test, hot[y_test])


def regression():
    model = nn.Linear(30, 1)
    model.load_state_dict({"weight": np.zeros((1, 30)), "bias": np.zeros(1)})
    return model


def perceptron():
    return nn.Sequential(
        nn.Linear(64, 32, random_state=0), nn.ReLU(), nn.Linear(32, 10, random_state=1)
    )


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, random_state=0), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 3, random_state=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, 32, random_state=2), nn.ReLU(), nn.Linear(32, 10, random_state=3),
    )  # fmt: skip


def batches(task, n):
    """Slices of whole batches, the same in every epoch."""
    size = task.batch or n
    return [slice(at, at + size) for at in range(0, n - size + 1, size)]


def trained(task, model, X, y):
    """Train a model by `he_gpu.nn` on secret or public data."""
    loss, sgd = task.loss(), nn.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    schedule = nn.CosineAnnealingLR(sgd, task.epochs) if task.decay else None
    for _ in range(task.epochs):
        for batch in batches(task, len(X)):
            sgd.zero_grad()
            loss(model(X[batch]), y[batch]).backward()
            sgd.step()
        if schedule is not None:
            schedule.step()
    return model


def by_hand(dtype):
    """The accuracy of layers with ReLU between them, trained in NumPy without `he_gpu.nn`."""

    def clear(task):
        X, y, X_test, y_test = (part.astype(dtype) for part in data(task.data))
        values = [value.astype(dtype) for value in task.make().state_dict().values()]
        buffers = [np.zeros_like(value) for value in values]

        def layers(x):
            *hidden, last = zip(values[::2], values[1::2], strict=True)
            found = [x]
            for w, b in hidden:
                found.append(np.maximum(found[-1] @ w.T + b, 0))
            return found, found[-1] @ last[0].T + last[1]

        for _ in range(task.epochs):
            for batch in batches(task, len(X)):
                found, z = layers(X[batch])
                if z.shape[1] == 1:
                    p = 1 / (1 + np.exp(-z))
                else:
                    p = np.exp(z - z.max(1, keepdims=True))
                    p = p / p.sum(1, keepdims=True)
                g, slopes = (p - y[batch]) / dtype(len(p)), []
                for h, w in zip(reversed(found), reversed(values[::2]), strict=True):
                    slopes = [g.T @ h, g.sum(0), *slopes]
                    g = (g @ w) * (h > 0)
                for buffer, value, slope in zip(buffers, values, slopes, strict=True):
                    buffer[...] = dtype(task.momentum) * buffer + slope
                    value -= dtype(task.lr) * buffer
        return nn.accuracy(layers(X_test)[1], y_test)

    return clear


def from_near_starts(task):
    """The mean accuracy in float64 from five starts that differ by roundings of 2**-16.

    Rectified convolutions magnify such a difference to tenths of a weight within the epochs, so
    that one training in the clear is no better a reference than another.
    """
    X, y, X_test, y_test = data(task.data)
    found = []
    for seed in range(5):
        model, rng = task.make(), np.random.default_rng(seed)
        for p in model.parameters():
            p.assign(p.value + rng.uniform(-(2.0**-17), 2.0**-17, p.shape))
        trained(task, model, X, y)
        with nn.no_grad():
            found.append(nn.accuracy(model(X_test), y_test))
    return float(np.mean(found))


TASKS = {
    "logistic regression": Task(
        "breast_cancer", regression, nn.BCEWithLogitsLoss, 0.5, 0.0, None, 20, False,
        by_hand(np.float64), 0.0, 0.973,
    ),
    "perceptron": Task(
        "digits", perceptron, nn.CrossEntropyLoss, 0.1, 0.9, 64, 8, False,
        by_hand(np.float32), 0.005, 0.95,
    ),
    "LeNet": Task(
        "digits images", lenet, nn.CrossEntropyLoss, 0.05, 0.9, 32, 8, True,
        from_near_starts, 0.01, 0.95,
    ),
}  # fmt: skip
LENETS = [("plain", 64), ("2 parties", 64), ("2 parties", 32), ("replicated", 64)]


@cache
def in_the_clear(name):
    return TASKS[name].clear(TASKS[name])


CASES = [
    pytest.param(
        name,
        scheme,
        ring,
        id=f"{name}, {scheme}, 2^{ring}",
        marks=[pytest.mark.slow] if name == "LeNet" and scheme != "plain" else [],
    )
    for name in TASKS
    for scheme in SCHEMES
    for ring in RINGS
    if name != "LeNet" or (scheme, ring) in LENETS
]


@pytest.mark.parametrize(("name", "scheme", "ring"), CASES)
def test_the_accuracy_is_that_of_plaintext(name, scheme, ring):
    task, expected = TASKS[name], in_the_clear(name)
    X, y, X_test, y_test = data(task.data)
    with he.Session(**SCHEMES[scheme], **RINGS[ring], seed=1) as s:
        model = trained(task, task.make().share(s), s.share(X), s.share(y))
        with nn.no_grad():
            found = nn.accuracy(model(s.share(X_test)), s.share(y_test))
    assert expected > task.least
    assert abs(found - expected) <= task.points
