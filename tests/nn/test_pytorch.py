"""Against PyTorch, where it is installed: gradients of its autograd, and models both ways."""

from __future__ import annotations

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from tests.nn.layers import CASES, CURVED, flowed, grid, rounded

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")


def double(module):
    return module.to(torch.float64)


@pytest.mark.parametrize("name", [name for name in CASES | CURVED if name != "dropout"])
def test_gradients_are_those_of_autograd(name):
    case = (CASES | CURVED)[name]
    _, (value, *gradients) = flowed(case)
    theirs = double(nn.to_torch(rounded(case.make())))
    x = torch.tensor(grid(case.shape), requires_grad=True)
    y = theirs(x)
    y.backward(torch.tensor(grid(tuple(y.shape), 1, seed=3)))
    np.testing.assert_allclose(value, y.detach().numpy(), rtol=0, atol=1e-12)
    for ours, other in zip(gradients, [x, *theirs.parameters()], strict=True):
        np.testing.assert_allclose(ours, other.grad.numpy(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "BCEWithLogitsLoss", "CrossEntropyLoss"])
def test_losses_are_those_of_torch(name, reduction):
    z = grid((6, 3))
    y = (grid((6, 3), seed=4) > 0) * 1.0 if name == "BCEWithLogitsLoss" else grid((6, 3), seed=4)
    if name == "CrossEntropyLoss":
        y = np.array([0, 2, 1, 1, 0, 2])
    ours, theirs = nn.Variable(z, requires_grad=True), torch.tensor(z, requires_grad=True)
    losses = getattr(nn, name)(reduction)(ours, y), getattr(torch.nn, name)(reduction=reduction)
    other = losses[1](theirs, torch.tensor(y))
    other.backward()
    losses[0].backward()
    assert float(losses[0].value) == pytest.approx(float(other.detach()), rel=1e-12)
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("arguments", [
    {"lr": 0.1}, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
])  # fmt: skip
def test_sgd_is_that_of_torch(arguments):
    X, y = grid((8, 3)), grid((8, 1), seed=2)
    ours = nn.Linear(3, 1, random_state=0)
    theirs = double(nn.to_torch(ours))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    first, second = (
        nn.SGD(ours.parameters(), **arguments),
        torch.optim.SGD(theirs.parameters(), **arguments),
    )
    for _ in range(5):
        first.zero_grad()
        second.zero_grad()
        nn.MSELoss()(ours(X), y).backward()
        torch.nn.MSELoss()(theirs(torch.tensor(X)), torch.tensor(y)).backward()
        first.step()
        second.step()
    np.testing.assert_allclose(
        ours.weight.value, theirs.weight.detach().numpy(), rtol=0, atol=1e-12
    )


def test_adam_is_nearly_that_of_torch():
    X, y = grid((8, 3)), grid((8, 1), seed=2) + 8
    ours = nn.Linear(3, 1, random_state=0)
    theirs = double(nn.to_torch(ours))
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    first = nn.Adam(ours.parameters(), lr=0.1, eps=1e-6)
    second = torch.optim.Adam(theirs.parameters(), lr=0.1, eps=1e-6)
    least = np.inf
    for _ in range(5):
        first.zero_grad()
        second.zero_grad()
        nn.MSELoss()(ours(X), y).backward()
        torch.nn.MSELoss()(theirs(torch.tensor(X)), torch.tensor(y)).backward()
        least = min(least, *(np.abs(p.grad).min() for p in ours.parameters()))
        first.step()
        second.step()
    # Adding eps to the root changes a step below 2 lr by eps over the root.
    difference = np.abs(ours.weight.value - theirs.weight.detach().numpy()).max()
    assert difference <= 5 * 2 * 0.1 * 1e-6 / least


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.BatchNorm2d(3), torch.nn.ReLU(),
        torch.nn.AvgPool2d(2), torch.nn.Flatten(), torch.nn.Dropout(0.25),
        torch.nn.Sequential(torch.nn.Linear(27, 8, bias=False), torch.nn.LayerNorm(8)),
        torch.nn.GELU(), torch.nn.Linear(8, 2),
    )  # fmt: skip


def test_a_model_of_torch_predicts_on_private_data():
    torch.manual_seed(0)
    theirs = network()
    x = torch.rand(4, 1, 6, 6)
    theirs(x)  # moves the running statistics
    theirs.eval()
    expected = theirs(x).detach().numpy()
    ours = nn.from_torch(theirs)
    assert ours[1].num_batches_tracked == 1
    np.testing.assert_allclose(ours(x.numpy()).value, expected, rtol=0, atol=1e-5)
    with he.Session(seed=1) as s:
        found = ours.share(s)(s.share(x.numpy())).reveal()
        # Eight layers, each some units of 2^-16 off and of slope below 4.
        assert np.abs(found - expected).max() < 4 * 8 * 8 * 2.0**-16
        with pytest.raises(ValueError, match="values must be public"):
            nn.to_torch(ours)
        again = nn.to_torch(ours.reveal())
    np.testing.assert_allclose(again(x).detach().numpy(), expected, rtol=0, atol=1e-4)


def test_layers_without_counterpart_are_named():
    with pytest.raises(TypeError, match=r"from_torch: LSTM at 1.0 has no counterpart"):
        nn.from_torch(
            torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Sequential(torch.nn.LSTM(2, 2)))
        )
    with pytest.raises(ValueError, match="MaxPool2d's dilation must be 1, got 2"):
        nn.from_torch(torch.nn.MaxPool2d(2, dilation=2))
    with pytest.raises(TypeError, match=r"module must be a torch.nn.Module, got int"):
        nn.from_torch(3)
    with pytest.raises(TypeError, match="to_torch: Module has no counterpart"):
        nn.to_torch(nn.Module())
