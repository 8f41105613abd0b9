"""Every layer: gradients against central differences in float64, and shares against float64."""

from __future__ import annotations

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from tests.nn.layers import CASES, CURVED, curve_units, differences, flowed
from tests.sessions import SESSIONS, open_session

HOSTED = [name for name in SESSIONS if not name.startswith(("emulator", "cuda"))]


@pytest.fixture(params=HOSTED)
def session(request):
    with open_session(request.param) as session:
        yield session


@pytest.mark.parametrize("name", [*CASES, *CURVED])
def test_public_gradients_are_those_of_central_differences(name):
    case = (CASES | CURVED)[name]
    _, (_, *gradients) = flowed(case)
    # A step of 1e-4 is off by the third derivative (below 100 here) over 6e8, and by 2^-52 times
    # sums below 100 over 2e-4.
    for ours, theirs in zip(gradients, differences(case), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", CASES)
def test_shares_have_the_public_gradients(session, name):
    case = CASES[name]
    module, found = flowed(case, session)
    _, expected = flowed(case)
    unit = 2.0**-session.frac_bits
    normal = "norm" in name and session.modulus == 2**32  # 1 / root is off by 2e-3 there
    kinds = [parameter for parameter, _ in module.named_parameters()]
    limits = [case.value, case.slope]
    limits += [case.weights if "weight" in kind else 0 for kind in kinds]
    for ours, theirs, limit in zip(found, expected, limits, strict=True):
        assert np.abs(ours - theirs).max() <= limit * unit * (2.5 if normal else 1)


@pytest.mark.parametrize("secret", ["model", "data"])
@pytest.mark.parametrize("session_name", ["plain-64", "additive-64", "replicated-64"])
@pytest.mark.parametrize("name", CASES)
def test_layers_of_which_only_model_or_data_are_secret(session_name, name, secret):
    case = CASES[name]
    with open_session(session_name) as s:
        module, found = flowed(case, s, (secret,))
    _, expected = flowed(case)
    kinds = [parameter for parameter, _ in module.named_parameters()]
    # Sums over a row that is public are truncated element by element, up to 20 of them; products
    # with public numbers one unit of the session's bits each, instead of finer ones.
    limits = [case.value + 1, case.slope + 2 * (case.slope > 0)]
    limits += [(case.weights + 20) if "weight" in kind else 0 for kind in kinds]
    for ours, theirs, limit in zip(found, expected, limits, strict=True):
        assert np.abs(ours - theirs).max() <= limit * 2.0**-16


@pytest.mark.parametrize("name", CURVED)
def test_shares_have_the_public_slopes_of_curves(session, name):
    _, found = flowed(CURVED[name], session)
    _, expected = flowed(CURVED[name])
    value = curve_units(session, name)
    # s - s^2 and 1 - t^2 are off by 1 and by 2 times what s and t are, and a unit; those of GELU
    # have half a unit of approximation, at most as much rounding as the function, and a unit; then
    # comes the product with a gradient below 1.
    slope = value * {"sigmoid": 1, "tanh": 2}.get(name, 1) + 2
    for ours, theirs, limit in zip(found, expected, (value, slope), strict=True):
        assert np.abs(ours - theirs).max() <= limit * 2.0**-session.frac_bits


@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
@pytest.mark.parametrize("model", ["public", "secret"])
@pytest.mark.parametrize("data", ["public", "secret"])
@pytest.mark.parametrize("targets", ["public", "secret"])
def test_any_of_model_data_and_targets_may_be_secret(protocol, model, data, targets):
    rng = np.random.default_rng(4)
    X, y = rng.integers(-8, 8, (6, 3)) / 4, rng.integers(0, 2, (6, 1)) * 1.0

    def gradients(session):
        def share(value, kind):
            return session.share(value) if session is not None and kind == "secret" else value

        module = nn.Sequential(
            nn.Linear(3, 4, random_state=0), nn.Tanh(), nn.Linear(4, 1, random_state=1)
        )
        if model == "secret" and session is not None:
            module.share(session)
        x = nn.Variable(share(X, data))
        loss = nn.BCEWithLogitsLoss()(module(x), share(y, targets))
        loss.backward()
        nn.SGD(module.parameters(), lr=0.5).step()
        assert x.grad is None
        return [float(loss.reveal()), *(p.reveal() for p in module.parameters())]

    with he.Session(protocol, seed=3) as session:
        # Rounded weights (2^-25), activations within 2 units and sums over 6 samples: 2^-11 holds.
        for ours, theirs in zip(gradients(session), gradients(None), strict=True):
            assert np.abs(ours - theirs).max() < 2.0**-11


@pytest.mark.parametrize("device", ["additive-64", "replicated-64"])
def test_devices_make_the_same_shares(device, require_emulator):
    found = []
    for name in (device, f"emulator-{device}"):
        with open_session(name) as session:
            module = nn.Sequential(
                nn.Conv2d(1, 2, 3, random_state=0), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                nn.Linear(8, 3, random_state=1),
            ).share(session)  # fmt: skip
            x = session.share(np.random.default_rng(0).uniform(-1, 1, (2, 1, 6, 6)))
            nn.CrossEntropyLoss()(module(x), [0, 2]).backward()
            nn.SGD(module.parameters(), lr=0.1).step()
            found.append([session.backend.to_numpy(p.value.shares) for p in module.parameters()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
