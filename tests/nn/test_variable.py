"""`Variable`: operators and their gradients, secret, public and mixed; graphs; refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.nn.tape import Gradient
from tests.sessions import cost_of

A = np.array([[1.5, -2.25, 0.5], [3.0, 0.75, -1.0]])
B = np.array([[-0.5, 1.0, 2.0], [1.25, -3.0, 0.25]])
OPERATIONS = {
    "add": lambda x, y: x + y,
    "add-broadcast": lambda x, y: x + y[0] + y[:, :1],
    "sub": lambda x, y: x - y * 2,
    "rsub": lambda x, y: 3 - x - y,
    "neg": lambda x, y: -x + y,
    "mul": lambda x, y: x * y,
    "mul-broadcast": lambda x, y: x[:, 1:2] * y,
    "mul-public": lambda x, y: x * np.array([[1.0], [0.5]]) * 0.25 + y,
    "div-number": lambda x, y: x / 4 + y / np.array([1.0, 2.0, 0.5]),
    "matmul": lambda x, y: x @ y.T,
    "matmul-vector": lambda x, y: (x @ y[0]) * (y[:, 0] @ x)[:2],
    "matmul-batch": lambda x, y: x.reshape(2, 1, 3) @ y.reshape(2, 3, 1),
    "matmul-batch-broadcast": lambda x, y: x.reshape(2, 3, 1) @ y[:1],
    "matmul-public": lambda x, y: np.ones((1, 2)) @ x + np.array([[1.0, 2.0]]) @ y,
    "square": lambda x, y: (x + y) ** 2,
    "cube": lambda x, y: x**3 + y,
    "sum": lambda x, y: x.sum(0) * y.sum(axis=(0, 1)),
    "sum-keepdims": lambda x, y: x.sum(1, keepdims=True) * y,
    "mean": lambda x, y: x.mean() * y.mean(axis=1),
    "transpose": lambda x, y: x.transpose(1, 0) @ y,
    "index": lambda x, y: x[0] * y[..., None, 1],
    "index-array": lambda x, y: x[:, [0, 2, 0]] * y[[1, 1]],
    "index-mask": lambda x, y: x[np.array([True, False])] + y[1:],
    "reused": lambda x, y: x * x * y + x,
    "factors": lambda x, y: x * 0.3 + (x * y) * 0.001 + x.mean() * 7,
}


def values_and_gradients(name, share_x, share_y):
    x, y = nn.Variable(share_x(A), requires_grad=True), nn.Variable(share_y(B), requires_grad=True)
    z = OPERATIONS[name](x, y)
    (z * np.linspace(0.5, 1.5, z.size).reshape(z.shape)).sum().backward()
    found = [z.value, x.grad, y.grad]
    return [v.reveal() if isinstance(v, he.SecretTensor) else v for v in found]


@pytest.mark.parametrize("name", OPERATIONS)
def test_public_gradients_are_those_of_central_differences(name):
    _, *gradients = values_and_gradients(name, np.array, np.array)
    for index, gradient in enumerate(gradients):
        slopes = np.zeros_like(A)
        for place in np.ndindex(A.shape):
            sides = []
            for sign in (1, -1):
                pair = [A.copy(), B.copy()]
                pair[index][place] += sign * 1e-4
                z = OPERATIONS[name](*map(nn.Variable, pair)).value
                sides.append((z * np.linspace(0.5, 1.5, z.size).reshape(z.shape)).sum())
            slopes[place] = (sides[0] - sides[1]) / 2e-4
        # Cubic at most: off by 1e-8 times a coefficient below 100, and by 2^-52 100 / 2e-4.
        np.testing.assert_allclose(gradient, slopes, rtol=0, atol=2e-6)


@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
@pytest.mark.parametrize("secrets", ["both", "left", "right"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_shares_have_the_public_gradients(protocol, secrets, name):
    with he.Session(protocol, seed=8) as s:
        share_x = np.array if secrets == "right" else s.share
        share_y = np.array if secrets == "left" else s.share
        found = values_and_gradients(name, share_x, share_y)
    # At most three products on a way, each a unit, then times values below 32.
    for ours, theirs in zip(found, values_and_gradients(name, np.array, np.array), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3 * 32 * 2.0**-16)


@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
def test_quotients(protocol):
    with he.Session(protocol, seed=8) as s:
        x, y = (nn.Variable(s.share(value), requires_grad=True) for value in (A, B))
        (x / y).sum().backward()
        (3 / y).sum().backward()
        # 1 / y and quotients are off by a relative 4e-5 and 2 units; slopes by three of them.
        np.testing.assert_allclose(x.grad.reveal(), 1 / B, rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(y.grad.reveal(), -(A + 3) / B**2, rtol=3e-4, atol=2e-3)


def test_gradients_accumulate_and_are_forgotten():
    x = nn.Variable([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        (x * 3).sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]
    x.gradient = None
    assert x.grad is None


def test_a_deep_graph_needs_no_recursion():
    x = nn.Variable(1.0, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1
    y.backward()
    assert x.grad == 1.0


def test_nothing_is_recorded_without_need():
    x = nn.Variable(np.ones(2))
    assert (x * 2).node is None
    w = nn.Variable(np.ones(2), requires_grad=True)
    with nn.no_grad():
        assert not (w * x).requires_grad
    assert (w * x).requires_grad
    assert not (w * x).detach().requires_grad


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_no_gradient_is_computed_for_what_needs_none(protocol):
    with he.Session(protocol, seed=1) as s:
        X, w = s.share(np.ones((4, 3))), s.share(np.ones((3, 2)))
        both = nn.Variable(X, requires_grad=True), nn.Variable(w, requires_grad=True)
        one = nn.Variable(X), nn.Variable(w, requires_grad=True)
        g = s.share(np.ones((4, 2)))
        costs = []
        for x, y in (both, one):
            z = x @ y
            costs.append(cost_of(s, lambda z=z: z.backward(g)))
        assert costs[1].bytes_sent < costs[0].bytes_sent
        assert one[0].grad is None


def test_public_graphs_cost_nothing():
    with he.Session(seed=1) as s:
        before = s.cost
        values_and_gradients("matmul", np.array, np.array)
        assert s.cost == before


def test_a_mask_serves_every_product_of_a_value():
    with he.Session(seed=1) as s:
        x = nn.Variable(s.share(np.ones((4, 3))))
        w = nn.Variable(s.share(np.ones((3, 2))), requires_grad=True)
        first = cost_of(s, lambda: x @ w)
        assert x.value.is_masked
        second = cost_of(s, lambda: x @ w)
        assert first.bytes_sent - second.bytes_sent == 8 * 12
        assert first.rounds - second.rounds == 1


@pytest.mark.parametrize("protocol", ["plain", "additive"])
def test_gradients_with_factors(protocol):
    with he.Session(protocol, seed=2) as s:
        value = s.share([1.0, -3.0])
        assert Gradient(value, 2.0**-10).resolved().frac_bits == 26
        assert Gradient(value, 2.0**-10).resolved().reveal().tolist() == [2.0**-10, -3 * 2.0**-10]
        third = Gradient(value, 1 / 3000).resolved()
        assert np.abs(third.reveal() - np.array([1, -3]) / 3000).max() < 2.0**-27 + 2.0**-33
        total = Gradient(value, 0.5).plus(Gradient(value, 0.001))
        assert total.factor == 0.5
        assert np.abs(total.resolved().reveal() - 0.501 * np.array([1, -3])).max() < 2.0**-16
        assert Gradient(value, 0.0).plus(Gradient(value, 0.0)).resolved().reveal().tolist() == [
            0,
            0,
        ]


def test_refusals():
    x = nn.Variable([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="gradient must be given for more than one number"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient must have shape \(2,\), got \(3,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(TypeError, match="gradient must be a value"):
        (x * 2).backward(x)
    with pytest.raises(ValueError, match="nothing that needs a gradient"):
        nn.Variable(1.0).backward()
    with pytest.raises(ValueError, match="finite"):
        nn.Variable([np.nan])
    with pytest.raises(TypeError, match="exponent must be an integer"):
        x**0.5
    with pytest.raises(ValueError, match="exponent must be at least 1"):
        x**0
    with pytest.raises(ValueError, match="divisor must not be 0"):
        x / 0
    with pytest.raises(TypeError, match="a Variable, a SecretTensor or a public array expected"):
        x + "1"
    with pytest.raises(ValueError, match="reshape"):
        x.reshape(3)
    with he.Session(seed=1) as s, he.Session(seed=2) as t:
        y = nn.Variable(s.share([1.0, 2.0]))
        with pytest.raises(ValueError, match="two different sessions"):
            y * t.share([1.0, 2.0])
        for refused in (bool, float, np.asarray, lambda v: pickle.dumps(v)):
            with pytest.raises(TypeError, match="reveal"):
                refused(y)
        assert "1.0" not in repr(y)
    assert repr(x) == "Variable(shape=(2,), public, requires_grad=True)"
