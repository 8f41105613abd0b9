"""500 steps of SGD and Adam on shares: the loss within an envelope that the rounding errors give.

A training in NumPy notes each step. What an error in one step does to a later loss follows from the
derivatives of the steps between, taken backwards (the adjoint of the training). The envelope is the
sum over all steps of that times the largest errors that the functions state, all of one sign, to
first order: it is below 2 % of the loss everywhere.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.tensor.curves import curve

STEPS, EVERY, HIDDEN, N = 500, 50, 8, 64
U = 2.0**-16
"""A unit of the session."""
SIGMOID, TANH, SOFTPLUS = (curve(name, 16).error(16) for name in ("sigmoid", "tanh", "softplus"))
EPS, LR, B1, B2 = 1e-3, {"SGD": 0.1, "Adam": 0.01}, 0.9, 0.999
SCHEMES = {
    "plain": {"protocol": "plain"},
    "2 parties": {"protocol": "additive"},
    "3 parties": {"protocol": "additive", "parties": 3},
    "replicated": {"protocol": "replicated"},
}


def data():
    """Numbers that sharing keeps, and which pairs of them have one sign."""
    X = np.random.default_rng(5).integers(-512, 512, (N, 2)) / 256
    return X, (X[:, 0] * X[:, 1] > 0) * 1.0


def model():
    return nn.Sequential(
        nn.Linear(2, HIDDEN, random_state=0), nn.Tanh(), nn.Linear(HIDDEN, 1, random_state=1)
    )


def parts(p):
    """Weights and biases of a vector, or of many in its first axes."""
    w1 = p[..., : 2 * HIDDEN].reshape(*p.shape[:-1], HIDDEN, 2)
    b1, w2 = p[..., 2 * HIDDEN : 3 * HIDDEN], p[..., 3 * HIDDEN : 4 * HIDDEN]
    return w1, b1, w2, p[..., -1]


def flow(p, X, y):
    """Hidden values, logits and residuals."""
    w1, b1, w2, b2 = parts(p)
    h = np.tanh(X @ np.swapaxes(w1, -1, -2) + b1[..., None, :])
    z = (h * w2[..., None, :]).sum(-1) + b2[..., None]
    return h, z, 1 / (1 + np.exp(-z)) - y


def gradient(p, X, y):
    """The gradient of the mean cross entropy, of complex numbers too."""
    h, _, e = flow(p, X, y)
    s = e[..., None] * parts(p)[2][..., None, :] * (1 - h * h)
    first = np.swapaxes(s, -1, -2) @ X
    flat = [first.reshape(*p.shape[:-1], -1), s.sum(-2), (e[..., None] * h).sum(-2)]
    return np.concatenate([*flat, e.sum(-1)[..., None]], axis=-1) / N


def curvature(p, X, y):
    """The second derivatives, exact to float64: the gradient at steps into the imaginary."""
    return gradient(p + 1e-30j * np.eye(p.size), X, y).imag / 1e-30


def gradient_error(p, X, y):
    """The largest error of each element of a gradient on shares, and of a logit."""
    h, z, e = flow(p, X, y)
    _, _, w2, _ = parts(p)
    h, e, w2, q = np.abs(h), np.abs(e), np.abs(w2), 1 - h * h
    # A result of a layer has 24 fraction bits; a function takes and gives 16 of them.
    of_h = TANH + q * U
    of_z = of_h @ w2 + 2.0**-23
    slope = 1 / (2 + 2 * np.cosh(z))
    of_e = SIGMOID + slope * (of_z + U)
    # Products that go backwards have one truncation each, to 20 bits, and 1 - h^2 has 16.
    of_back = np.outer(of_e, w2) + 2.0**-20
    of_s = q * of_back + np.outer(e, w2) * (2 * h * of_h + U) + 2.0**-20
    first = (of_s.T @ np.abs(X)).ravel()
    second = of_e @ h + e @ of_h
    whole = np.concatenate([first, of_s.sum(0), second, [of_e.sum()]])
    return (whole + 2.0**-20) / N, of_z


class Step(NamedTuple):
    """A step: second derivatives, gradient and its largest error before it, moments after it."""

    curvature: np.ndarray
    g: np.ndarray
    error: np.ndarray
    m: np.ndarray
    v: np.ndarray
    gain: np.ndarray


def weights_of(t):
    """What Adam's means take of the newest gradient and square, at step t from 1."""
    return (1 - B1) / (1 - B1**t), (1 - B2) / (1 - B2**t)


def reference(kind, X, y):
    """A training in NumPy: its steps, and every loss with its gradient and its own error."""
    p = np.concatenate([value.ravel() for value in model().state_dict().values()])
    m = v = gain = np.zeros_like(p)
    steps, losses = [], []
    for t in range(1, STEPS + 1):
        g, (error, of_z) = gradient(p, X, y), gradient_error(p, X, y)
        if (t - 1) % EVERY == 0:
            _, z, e = flow(p, X, y)
            loss = float((np.logaddexp(z, 0) - z * y).mean())
            # Softplus and z y take z rounded to 16 bits, and the mean is rounded once.
            losses.append((loss, g, SOFTPLUS + 3 * U + float(np.abs(e) @ of_z) / N))
        second = curvature(p, X, y)
        if kind == "SGD":
            m = B1 * m + g
            p = p - LR[kind] * m
        else:
            new1, new2 = weights_of(t)
            m, gain = m + new1 * (g - m), new2 * (g * g - v)
            v = v + gain
            p = p - LR[kind] * m / np.sqrt(v + EPS**2)
        steps.append(Step(second, g, error, m, v, gain))
    return steps, losses


def far_by_sgd(steps, slope):
    """How far errors of these steps may move a loss that has this slope after them."""
    to_p, to_m, far = slope, np.zeros_like(slope), 0.0
    for step in reversed(steps):
        to_m = to_m - LR["SGD"] * to_p
        # Buffers have 20 bits before the mean's 1 / N, weights 24, public factors 24 significant.
        far += np.abs(to_m) @ (step.error + 2.0**-20 / N + 2.0**-24 * np.abs(step.m))
        far += np.abs(to_p) @ (2.0**-24 * (1 + LR["SGD"] * np.abs(step.m)))
        to_p, to_m = to_p + step.curvature @ to_m, B1 * to_m
    return far


def far_by_adam(steps, slope):
    """How far errors of these steps may move a loss that has this slope after them."""
    to_p, to_m, to_v, far = slope, np.zeros_like(slope), np.zeros_like(slope), 0.0
    for t, step in zip(range(len(steps), 0, -1), reversed(steps), strict=True):
        (new1, new2), rate = weights_of(t), LR["Adam"]
        spread = step.v + EPS**2
        to_m = to_m - rate / np.sqrt(spread) * to_p
        to_v = to_v + rate * step.m / (2 * spread**1.5) * to_p
        to_g = new1 * to_m + 2 * new2 * step.g * to_v
        # As `Adam` states: 26, 32 and 40 bits of g, m and v, a weight of a square of 12, an inverse
        # root of 20 bits and 1e-5, and then a weight's 24.
        far += np.abs(to_g) @ (step.error + 2.0**-26)
        far += np.abs(to_m) @ (2.0**-32 + 2.0**-24 * np.abs(step.m))
        far += np.abs(to_v) @ (2 * 2.0**-40 + 2.0**-12 * np.abs(step.gain))
        moved = rate * np.abs(step.m) * (2.0**-20 + 1e-5 / np.sqrt(spread))
        far += np.abs(to_p) @ (moved + 2.0**-32 / np.sqrt(spread) + 2.0**-24)
        to_p = to_p + step.curvature @ to_g
        to_m, to_v = (1 - new1) * to_m, (1 - new2) * to_v
    return far


@cache
def envelope(kind):
    """The losses in the clear at every logged step, and how far from them others may be."""
    X, y = data()
    steps, losses = reference(kind, X, y)
    far = {"SGD": far_by_sgd, "Adam": far_by_adam}[kind]
    found = [(loss, far(steps[: at * EVERY], g) + own) for at, (loss, g, own) in enumerate(losses)]
    return tuple(np.array(column) for column in zip(*found, strict=True))


def on_shares(kind, **arguments):
    """The revealed losses at the logged steps."""
    (X, y), found = data(), []
    with he.Session(**arguments, seed=1) as s:
        module, x, target = model().share(s), nn.Variable(s.share(X)), s.share(y[:, None])
        loss_of, p = nn.BCEWithLogitsLoss(), module.parameters()
        kinds = {"SGD": {"momentum": B1}, "Adam": {"betas": (B1, B2), "eps": EPS}}
        optimiser = getattr(nn, kind)(p, lr=LR[kind], **kinds[kind])
        for step in s.steps(STEPS):
            optimiser.zero_grad()
            loss = loss_of(module(x), target)
            if step % EVERY == 0:
                found.append(float(loss.reveal()))
            loss.backward()
            optimiser.step()
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        (kind, scheme)
        for kind in LR
        for scheme in SCHEMES
        if (kind, scheme) != ("Adam", "3 parties")
    ],
)
def test_500_steps_stay_in_the_envelope(kind, scheme):
    losses, limits = envelope(kind)
    assert losses[-1] < 0.1 * losses[0]
    assert (limits < 0.02 * losses).all()
    found = on_shares(kind, **SCHEMES[scheme])
    assert (np.abs(found - losses) <= limits).all()
