"""Modules: names, state, sharing, modes, initial values, costs, messages."""

from __future__ import annotations

import doctest
import inspect

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.nn.values import is_secret
from tests.sessions import cost_of


def model():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, random_state=0),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 3, random_state=1),
    )


def test_names_and_state():
    names = ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert [name for name, _ in model().named_parameters()] == names
    state = model().state_dict()
    assert list(state) == [*names, "1.running_mean", "1.running_var"]
    assert len(list(model().modules())) == 6
    other = model()
    other.load_state_dict({name: value + 1 for name, value in state.items()})
    assert all((other.state_dict()[name] == value + 1).all() for name, value in state.items())
    norm = nn.BatchNorm1d(2)
    norm.running_mean = [1.0, 2.0]
    assert norm.state_dict()["running_mean"].tolist() == [1.0, 2.0]
    chain = model()
    assert chain[:2][1] is chain[1]
    assert [name for name, _ in nn.Sequential(chain).named_modules()][:3] == ["", "0", "0.0"]
    shared = nn.Linear(2, 2)
    assert len(list(nn.Sequential(shared, nn.ReLU(), shared).parameters())) == 2


@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
def test_share_and_reveal(protocol):
    with he.Session(protocol, seed=1) as s:
        module = model().share(s, owner=s.parties[-1])
        state = module.state_dict()
        assert all(is_secret(value) and value.frac_bits == 24 for value in state.values())
        assert module.share(s).state_dict()["0.weight"] is state["0.weight"]
        with (
            he.Session(seed=2) as other,
            pytest.raises(ValueError, match=r"0\.weight is secret in another session"),
        ):
            module.share(other)
        module.reveal()
        for name, value in model().state_dict().items():
            assert np.abs(module.state_dict()[name] - value).max() <= 2.0**-25
        copy = model().share(s)
        copy.load_state_dict(state)
        assert copy.state_dict()["4.weight"] is state["4.weight"]


@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
def test_a_shared_model_predicts_as_the_public_one(protocol):
    x = np.random.default_rng(0).uniform(-1, 1, (4, 1, 4, 4))
    trained = model()
    trained(x)
    trained.eval()
    expected = trained(x).value
    with he.Session(protocol, seed=1) as s:
        for module in (trained, trained.share(s)):
            with nn.no_grad():
                found = module(s.share(x)).reveal()
            # Sums of 9 and 8 products of values below 2, each off by 2^-16, and 6e-6 of the root.
            assert np.abs(found - expected).max() < 2.0**-11


def test_running_statistics_are_those_of_the_batches():
    rng = np.random.default_rng(0)
    batches = rng.uniform(-2, 2, (3, 10, 2))
    for protocol in (None, "plain", "additive", "replicated"):
        session = None if protocol is None else he.Session(protocol, seed=1)
        layer, plain = nn.BatchNorm1d(2, momentum=0.25), nn.BatchNorm1d(2, momentum=None)
        mean, var = np.zeros(2), np.ones(2)
        for batch in batches:
            for own in (layer, plain):
                own(batch if session is None else session.share(batch))
            mean = 0.75 * mean + 0.25 * batch.mean(0)
            var = 0.75 * var + 0.25 * batch.var(0, ddof=1)
        found = [layer.running_mean, layer.running_var, plain.running_mean, plain.running_var]
        expected = [mean, var, batches.mean((0, 1)), batches.var(1, ddof=1).mean(0)]
        for ours, theirs in zip(found, expected, strict=True):
            value = ours if session is None else ours.reveal()
            # The mean is off by 2 units of 2^-16, and the variance by 4 |c| of them and 2^-24.
            assert np.abs(value - theirs).max() <= (1e-12 if session is None else 10 * 2.0**-16)
        assert layer.num_batches_tracked == 3


def test_modes():
    module = nn.Sequential(nn.Dropout(0.5, random_state=0), nn.BatchNorm1d(2))
    assert all(m.training for m in module.modules())
    module.eval()
    assert not any(m.training for m in module.modules())
    x = np.ones((3, 2))
    np.testing.assert_allclose(module(x).value, x / np.sqrt(1 + 1e-5))
    module.train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        module(np.ones((1, 2)))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_dropout_keeps_the_mean(p):
    y = nn.Dropout(p, random_state=1)(np.ones(40_000)).value
    assert set(np.unique(y)) == {0.0, 1 / (1 - p)}
    # 8 standard deviations of a mean of that many.
    assert abs(y.mean() - 1) < 8 * np.sqrt(p / (1 - p) / 40_000)


def test_initial_values_are_uniform_and_repeatable():
    for layer, bound in ((nn.Linear(100, 400, random_state=3), 0.1),
                         (nn.Conv2d(4, 400, 5, random_state=3), 0.1)):  # fmt: skip
        for parameter in layer.parameters():
            values = parameter.value
            assert 0.98 * bound < np.abs(values).max() <= bound
            assert abs(values.mean()) < 8 * bound / np.sqrt(3 * values.size)
    one, two = nn.Linear(2, 3, random_state=7), nn.Linear(2, 3, random_state=7)
    assert (one.weight.value == two.weight.value).all()
    assert (nn.Linear(2, 3).weight.value != nn.Linear(2, 3).weight.value).all()


def test_the_cost_of_a_linear_layer():
    with he.Session(seed=1) as s:
        layer = nn.Linear(5, 3, random_state=0).share(s)
        x = nn.Variable(s.share(np.ones((7, 5))).masked(), requires_grad=True)
        g = s.share(np.ones((7, 3)))
        y = layer(x)  # w is masked, and is then not opened again
        assert (y.value.frac_bits, x.value.is_masked) == (24, True)
        back = cost_of(s, lambda: y.backward(g))
        # g is opened once, and both gradients are truncated.
        assert (back.rounds, back.bytes_sent) == (3, 8 * (21 + 35 + 15))


def test_relu_compares_once():
    with he.Session(seed=1) as s:
        x = s.share(np.linspace(-1, 1, 64))
        compared = cost_of(s, lambda: x > 0)
        traced = nn.Variable(x, requires_grad=True)
        y = []
        forward = cost_of(s, lambda: y.append(nn.ReLU()(traced)))
        # The bit and x are opened, in a round each.
        assert forward.rounds == compared.rounds + 2
        assert forward.bytes_sent == compared.bytes_sent + 2 * 64 * 8
        assert cost_of(s, lambda: y[0].backward(x)).bytes_sent == 64 * 8
        with nn.no_grad():
            assert cost_of(s, lambda: nn.ReLU()(traced)) == cost_of(s, x.relu)


def test_reprs_show_no_data():
    with he.Session(seed=1) as s:
        text = repr(model().share(s))
    assert text.splitlines()[1] == (
        "  (0): Conv2d(1, 2, kernel_size=(3, 3), stride=1, padding=0, dilation=1, groups=1, "
        "bias=True)"
    )
    assert repr(nn.Sequential(nn.Sequential(nn.Tanh()))) == (
        "Sequential(\n  (0): Sequential(\n    (0): Tanh()\n  )\n)"
    )


def test_refusals():
    with pytest.raises(ValueError, match="Linear: in_features must be at least 1, got 0"):
        nn.Linear(0, 1)
    with pytest.raises(TypeError, match="Linear: out_features must be an integer, got float"):
        nn.Linear(1, 1.0)
    with pytest.raises(TypeError, match="random_state must be"):
        nn.Linear(1, 1, random_state="0")
    with pytest.raises(ValueError, match=r"Linear: x must have shape \(..., 3\), got \(2, 4\)"):
        nn.Linear(3, 1)(np.ones((2, 4)))
    with pytest.raises(ValueError, match="groups must divide"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="channels"):
        nn.Conv2d(3, 4, 3)(np.ones((1, 2, 5, 5)))
    with pytest.raises(ValueError, match=r"Dropout: p must be in \[0, 1\), got 1"):
        nn.Dropout(1)
    with pytest.raises(ValueError, match="padding must be at most half"):
        nn.MaxPool2d(2, padding=2)
    for kind in (nn.MaxPool2d, nn.AvgPool2d):
        with pytest.raises(ValueError, match=r"kernel_size must be in \[1, 2\]"):
            kind(3)(np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="approximate must be one of"):
        nn.GELU("fast")
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\], got 2"):
        nn.BatchNorm1d(2, momentum=2)
    with pytest.raises(ValueError, match="with C = 2, got"):
        nn.BatchNorm1d(2)(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"x must end in \(4,\)"):
        nn.LayerNorm(4)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="start_dim must not be behind end_dim"):
        nn.Flatten(2, 1)(np.ones((2, 3, 4)))
    with pytest.raises(TypeError, match="modules expected, got str"):
        nn.Sequential("ReLU")
    with pytest.raises(ValueError, match=r"unknown \['2.weight'\]"):
        nn.Sequential(nn.ReLU()).load_state_dict({"2.weight": np.ones(2)})
    with pytest.raises(ValueError, match=r"0.weight must have shape \(1, 2\), got \(2, 1\)"):
        nn.Sequential(nn.Linear(2, 1, bias=False)).load_state_dict({"0.weight": np.ones((2, 1))})
    with pytest.raises(ValueError, match=r"assign: value must have shape"):
        nn.Parameter([1.0, 2.0]).assign(np.ones(3))
    with pytest.raises(TypeError, match="session must be a Session"):
        nn.Linear(2, 1).share(None)
    with pytest.raises(AttributeError, match="Linear has no attribute 'wieght'"):
        _ = nn.Linear(2, 1).wieght

    layer = nn.Linear(2, 1)
    with pytest.raises(TypeError, match="weight is a parameter and must be a Parameter or None"):
        layer.weight = np.ones((1, 2))

    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    with pytest.raises(TypeError, match=r"call super\(\).__init__\(\)"):
        Forgetful()
    with pytest.raises(TypeError, match="forward is not defined"):
        nn.Module()(1.0)


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.LayerNorm])
def test_an_eps_that_would_vanish_is_refused(kind):
    x = np.array([[0.0, 1.0], [2.0, 5.0]])
    with (
        he.Session(seed=1) as s,
        pytest.raises(ValueError, match=r"eps must be at least 2\*\*-24 \(6e-08\), .* 1e-08"),
    ):
        kind(2, eps=1e-8)(s.share(x))
    with (
        he.Session(modulus=2**32, frac_bits=10, seed=1) as s,
        pytest.raises(ValueError, match=r"eps must be at least 2\*\*-14"),
    ):
        kind(2)(s.share(x))


@pytest.mark.parametrize("name", nn.__all__)
def test_public_names_are_documented_and_their_examples_run(name):
    value = getattr(nn, name)
    assert inspect.getdoc(value)
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(value), {}, name, None, 0)
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert results.failed == 0, "".join(report)


def test_all_is_sorted_as_the_linter_sorts_it():
    assert len(set(nn.__all__)) == len(nn.__all__)
    assert [name for name in nn.__all__ if not hasattr(nn, name)] == []
