"""Training steps that the device repeats as a graph, beside the same steps taken from Python."""

from itertools import pairwise

import numpy as np
import pytest

import he_gpu as he
from bench import between_kernels
from bench.operands import SCHEMES, by_device
from he_gpu import nn

SIZES = {"cuda": (128, 784, 256, 128, 10), "emulator": (4, 6, 5, 4, 3), "cpu": (4, 6, 5, 4, 3)}
"""Samples of a batch, and the widths of a perceptron from its inputs on."""
MOST_BETWEEN = 0.10
"""Share of a step's time in which no kernel may run, on a Hopper GPU."""

schemes = pytest.mark.parametrize("scheme", ["2 parties", "replicated"])


class Chain:
    """A step of a perceptron without activations: products, and the changes of the weights."""

    def __init__(self, session, rows, *widths):
        rng = np.random.default_rng(0)
        self.x = session.share(rng.uniform(-1, 1, (rows, widths[0]))).masked()
        self.weights = tuple(
            session.share(rng.uniform(-1, 1, shape) / shape[0] ** 0.5) for shape in pairwise(widths)
        )

    def step(self, *weights):
        """The weights after a step of descent on the squares of the outputs."""
        values = [self.x]
        for w in weights:
            values.append(values[-1] @ w)
        gradient, changed = values[-1] * 2.0**-6, []
        for w, value in zip(weights[::-1], values[-2::-1], strict=True):
            changed.append(w - value.T @ gradient)
            gradient = gradient @ w.T
        return tuple(changed[::-1])


class Perceptron:
    """A step of a perceptron with ReLUs, by `nn`."""

    def __init__(self, session, rows, *widths):
        rng = np.random.default_rng(0)
        layers = [nn.Linear(*pair, random_state=0) for pair in pairwise(widths)]
        between = [layer for each in layers for layer in (each, nn.ReLU())][:-1]
        self.model = nn.Sequential(*between).share(session)
        self.parameters = list(self.model.parameters())
        self.optimizer = nn.SGD(self.parameters, lr=0.125)
        self.x = session.share(rng.uniform(-1, 1, (rows, widths[0]))).masked()
        self.target = session.share(rng.uniform(-1, 1, (rows, widths[-1])))
        self.weights = tuple(parameter.value for parameter in self.parameters)

    def step(self, *weights):
        """The parameters after a step."""
        for parameter, value in zip(self.parameters, weights, strict=True):
            parameter.assign(value)
        self.optimizer.zero_grad()
        nn.MSELoss()(self.model(nn.Variable(self.x)), self.target).backward()
        self.optimizer.step()
        return tuple(parameter.value for parameter in self.parameters)


@schemes
@pytest.mark.parametrize("kind", [Chain, Perceptron])
def test_step(kind, scheme, device, backend, hopper, record):
    if backend.graph() is None:
        pytest.skip(f"{device} has no graphs")
    sizes = by_device(backend, **SIZES)
    with he.Session(device=device, graph=True, **SCHEMES[scheme]) as session:
        work = kind(session, *sizes)
        captured = session.captured(work.step)
        states = dict.fromkeys(("graph", "Python"), work.weights)

        def step(label, function):
            states[label] = function(*states[label])

        def repeated():
            step("graph", captured)

        for _ in range(3):
            repeated()
            step("Python", work.step)
        for found, expected in zip(states["graph"], states["Python"], strict=True):
            assert np.abs(found.reveal() - expected.reveal()).max() < 2e-3
        facts = {"between_kernels": between_kernels.share(backend, repeated)}
        if facts["between_kernels"] is None:
            facts = {}
        elif hopper:
            facts["at_most"] = {"between_kernels": MOST_BETWEEN}
        record.compare(
            f"{kind.__name__.lower()}, {' x '.join(map(str, sizes))}, {scheme}",
            repeated,
            {"from Python": lambda: step("Python", work.step)},
            rounds=31,
            kernel="a step as a graph",
            scheme=scheme,
            headline=kind is Chain and scheme == "2 parties",
            **facts,
        )
