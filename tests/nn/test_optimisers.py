"""SGD, Adam and schedules against NumPy in float64, over every protocol."""

from __future__ import annotations

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.nn.combination import Combination, combined
from he_gpu.nn.tape import Gradient
from tests.sessions import SESSIONS, cost_of, open_session

HOSTED = [name for name in SESSIONS if not name.startswith(("emulator", "cuda"))]
WIDE = [name for name in HOSTED if name.endswith("64")]
START = np.array([[0.5, -1.25], [2.0, 0.125]])
SGDS = {
    "plain": {},
    "decay": {"weight_decay": 0.0625},
    "momentum": {"momentum": 0.9},
    "dampening": {"momentum": 0.9, "dampening": 0.25},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "all": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.03},
}


def gradients(n):
    """Gradients that shares hold exactly."""
    return np.random.default_rng(3).integers(-256, 256, (n, 2, 2)) / 256


def sgd(n, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    w, buffer = START.copy(), None
    for g in gradients(n) / 8:
        g = g + weight_decay * w
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        w = w - lr * g
    return w


def adam(n, lr, betas=(0.9, 0.999), eps=1e-5, weight_decay=0.0):
    w, m, v = START.copy(), 0.0, 0.0
    for t, g in enumerate(gradients(n) / 8, 1):
        g = g + weight_decay * w
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        w = w - lr * m / (1 - betas[0] ** t) / np.sqrt(v / (1 - betas[1] ** t) + eps**2)
    return w


def trained(kind, session, n, hidden=("weights", "gradients"), **arguments):
    """Weights after n steps of gradients with the public factor 1 / 8."""
    share = (lambda x: x) if session is None else session.share
    parameter = nn.Parameter(START)
    if session is not None and "weights" in hidden:
        module = nn.Module()
        module.w = parameter
        module.share(session)
    optimiser = kind([parameter], **arguments)
    for g in gradients(n):
        optimiser.zero_grad()
        parameter.gradient = Gradient(share(g) if "gradients" in hidden else g, 0.125)
        optimiser.step()
    return parameter.reveal()


@pytest.mark.parametrize("session_name", HOSTED)
@pytest.mark.parametrize("name", SGDS)
def test_sgd(session_name, name):
    n, lr = 12, 0.3
    expected = sgd(n, lr, **SGDS[name])
    np.testing.assert_allclose(trained(nn.SGD, None, n, lr=lr, **SGDS[name]), expected, atol=1e-12)
    with open_session(session_name) as s:
        found = trained(nn.SGD, s, n, lr=lr, **SGDS[name])
        small = s.modulus == 2**32
    # Each step rounds w to 2^-24 (2^-12) and factors to 2^-24 (2^-12) of the largest, of values
    # below 8; buffers are rounded to 2^-20 (2^-11), times lr / 8, and a rounding counts at most
    # 1 / (1 - momentum) = 10 times as much by the end.
    unit = 2.0**-12 if small else 2.0**-24
    coarse = 2.0**-11 if small else 2.0**-20
    assert np.abs(found - expected).max() <= n * (2 * unit + 10 * lr / 8 * coarse + 8 * unit)


@pytest.mark.parametrize("hidden", [("weights",), ("gradients",)])
@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_public_weights_become_secret_with_secret_gradients(protocol, hidden):
    with he.Session(protocol, seed=1) as s:
        for kind, reference in ((nn.SGD, sgd), (nn.Adam, adam)):
            found = trained(kind, s, 3, hidden, lr=0.25)
            assert np.abs(found - reference(3, 0.25)).max() < 2.0**-16


@pytest.mark.parametrize("session_name", WIDE)
@pytest.mark.parametrize("arguments", [{}, {"betas": (0.5, 0.9), "weight_decay": 0.0625}])
def test_adam(session_name, arguments):
    n, lr = 12, 0.1
    expected = adam(n, lr, **arguments)
    np.testing.assert_allclose(trained(nn.Adam, None, n, lr=lr, **arguments), expected, atol=1e-9)
    with open_session(session_name) as s:
        found = trained(nn.Adam, s, n, lr=lr, **arguments)
    # Gradients from 2^-11 on: squares from 2^-22 on, off by units of 2^-40 for each of 12 steps and
    # by those of g, 2 g 2^-26, relative 2^-14; half of it in the root; m relative 2^-15, and the
    # weights of v 2^-13 of what moves it, below a 12th; 6e-6 of the root.
    # A step is at most 10 lr; one unit of 2^-24 for w.
    assert np.abs(found - expected).max() <= n * (10 * lr * (2.0**-15 + 2.0**-15 + 6e-6) + 2.0**-23)


@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
def test_adam_leaves_dead_units_alone(protocol):
    with he.Session(protocol, seed=1) as s:
        layer = nn.Linear(3, 2, random_state=0).share(s)
        before = layer.weight.reveal()
        optimiser = nn.Adam(layer.parameters(), lr=0.01)
        for _ in range(5):
            optimiser.zero_grad()
            x = s.share([[1.0, 0.0, 1.0]] * 4)
            nn.MSELoss()(layer(x), s.share(np.ones((4, 2)))).backward()
            optimiser.step()
        after = layer.weight.reveal()
    assert np.isfinite(after).all()
    # No gradient: m is 0 or a unit of 2^-32, times lr over at least eps, and a unit of 2^-24.
    assert np.abs(after - before)[:, 1].max() <= 5 * (0.01 * 2.0**-32 / 1e-5 * 10 + 2.0**-23)
    assert (np.abs(after - before)[:, 0] > 0.01).all()


def test_adam_refuses_what_it_cannot_hold():
    with he.Session(seed=1) as s:
        with pytest.raises(
            ValueError, match=r"eps must be at least 2\*\*-20 \(9.5e-07\), .* 1e-08"
        ):
            trained(nn.Adam, s, 1, eps=1e-8)
        trained(nn.Adam, s, 1, eps=2.0**-20)
    with (
        he.Session(modulus=2**32, frac_bits=10, seed=1) as s,
        pytest.raises(ValueError, match=r"modulus must be 2\*\*64"),
    ):
        trained(nn.Adam, s, 1)
    trained(nn.Adam, None, 1, eps=1e-8)


@pytest.mark.parametrize(("protocol", "rounds"), [("plain", 0), ("additive", 1), ("replicated", 2)])
def test_a_step_of_sgd_takes_one_truncation_for_all_parameters(protocol, rounds):
    with he.Session(protocol, seed=1) as s:
        module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).share(s)
        optimiser = nn.SGD(module.parameters(), lr=0.3, momentum=0.9)
        for parameter in module.parameters():
            parameter.gradient = Gradient(s.share(np.ones(parameter.shape)))
        assert cost_of(s, optimiser.step).rounds == rounds
        # The buffer takes another truncation of as many words, in the same rounds.
        n, words = 26, {"plain": 0, "additive": 1, "replicated": 2}[protocol]
        cost = cost_of(s, optimiser.step)
        assert (cost.rounds, cost.bytes_sent) == (rounds, 2 * n * words * 8)


@pytest.mark.parametrize("session_name", HOSTED)
def test_combinations(session_name):
    with open_session(session_name) as s:
        x, y = s.share([1.0, -2.0]), s.share([0.5, 0.25]).with_frac_bits(s.frac_bits + 1)
        sums = [
            Combination(((x, 0.3), (y, -0.7)), s.frac_bits),
            Combination(((x, 2.0), (y, 0.5), (np.array([1.0, 0.5]), 3.0)), s.frac_bits + 2),
            Combination(((np.array([1.0, 0.5]), 3.0),), 4),
            Combination(((x, 0.0),), s.frac_bits),
        ]
        first, second, third, zero = combined(sums, "test")
        unit = 2.0**-s.frac_bits
        assert np.abs(first.reveal() - [-0.05, -0.775]).max() <= 2.5 * unit
        np.testing.assert_array_equal(second.reveal(), [5.25, -2.375])
        np.testing.assert_array_equal(third, [3.0, 1.5])
        np.testing.assert_array_equal(zero.reveal(), [0, 0])


def test_schedules():
    def rates(make, n=6, lr=0.5):
        optimiser = nn.SGD([nn.Parameter(1.0)], lr=lr)
        schedule, found = make(optimiser), []
        for _ in range(n):
            found.append(optimiser.lr)
            schedule.step()
        return found

    assert rates(lambda o: nn.StepLR(o, 2, 0.5)) == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    assert rates(lambda o: nn.MultiStepLR(o, [1, 4], 0.5)) == [0.5, 0.25, 0.25, 0.25, 0.125, 0.125]
    assert rates(lambda o: nn.ExponentialLR(o, 0.5), 3) == [0.5, 0.25, 0.125]
    assert rates(lambda o: nn.LambdaLR(o, lambda epoch: 1 / (1 + epoch)), 3) == [0.5, 0.25, 0.5 / 3]
    cosine = rates(lambda o: nn.CosineAnnealingLR(o, 4, eta_min=0.1))
    expected = [0.1 + 0.2 * (1 + np.cos(np.pi * t / 4)) for t in range(6)]
    np.testing.assert_allclose(cosine, expected, rtol=1e-12)


def test_refusals():
    w = nn.Parameter([1.0])
    for kind in (nn.SGD, nn.Adam):
        with pytest.raises(ValueError, match=r"lr must be in \(0, inf\), got 0"):
            kind([w], lr=0)
        with pytest.raises(ValueError, match="at least 1 parameter"):
            kind([])
        with pytest.raises(ValueError, match="one twice"):
            kind([w, w])
        with pytest.raises(TypeError, match="params must be Parameters"):
            kind([np.ones(2)])
        with pytest.raises(ValueError, match=r"weight_decay must be in \[0, inf\), got -1"):
            kind([w], weight_decay=-1)
        with pytest.raises(ValueError, match=r"options must be of .* got \['speed'\]"):
            kind([{"params": [w], "speed": 1}])
        with pytest.raises(ValueError, match=r"weight_decay must be in .* got -2"):
            kind([{"params": [w], "weight_decay": -2}])
        with pytest.raises(TypeError, match="each group must be a dict with params, got Parameter"):
            kind([{"params": []}, w])
        with pytest.raises(TypeError, match="session must be a Session, got int"):
            kind([w]).share(3)
        with pytest.raises(TypeError, match="params must be a list of Parameters, got NoneType"):
            kind(None)
        optimiser = kind([w])
        for rate, error in ((-1.0, ValueError), (np.nan, ValueError), ("a", TypeError)):
            with pytest.raises(error, match="lr must be"):
                optimiser.lr = rate
        for state, what in ((3, "state"), ({"state": 3, "param_groups": []}, r"state\['state'\]")):
            with pytest.raises(TypeError, match=f"load_state_dict: {what} must be a dict, got int"):
                optimiser.load_state_dict(state)
        whole = optimiser.state_dict()
        for state in (whole | {"param_groups": [3]}, whole | {"state": {0: 3}}):
            with pytest.raises(TypeError, match="must be a dict, got int"):
                optimiser.load_state_dict(state)
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got 1"):
        nn.SGD([w], momentum=1)
    with pytest.raises(ValueError, match="nesterov needs momentum and no dampening"):
        nn.SGD([w], nesterov=True)
    with pytest.raises(ValueError, match=r"betas must be in \[0, 1\), got 1"):
        nn.Adam([w], betas=(0.9, 1))
    with pytest.raises(TypeError, match="betas must be two numbers, got 3"):
        nn.Adam([w], betas=3)
    with pytest.raises(TypeError, match="optimizer must be an optimizer"):
        nn.StepLR(w, 2)
    with pytest.raises(ValueError, match="milestones must grow"):
        nn.MultiStepLR(nn.SGD([w]), [3, 1])


@pytest.mark.parametrize("name", [None, *HOSTED])
def test_gradients_of_different_factors_share_a_buffer(name):
    """As those of batches of different sizes, whose means have other divisors."""
    share = np.array if name is None else open_session(name).share
    factors, w, buffer = (0.25, 1 / 6, 0.25), START.copy(), 0.0
    parameter = nn.Parameter(share(START))
    optimiser = nn.SGD([parameter], lr=0.5, momentum=0.75)
    for factor, g in zip(factors, gradients(3), strict=True):
        buffer = 0.75 * buffer + factor * g
        w = w - 0.5 * buffer
        parameter.gradient = Gradient(share(g), factor)
        optimiser.step()
    found = parameter.value if name is None else parameter.value.reveal()
    small = name is not None and name.endswith("32")
    # A buffer is off by 2^-20 (2^-11), and each of three steps and factors by 2^-24 (2^-12).
    assert np.abs(found - w).max() <= 3 * 4 * (2.0**-11 if small else 2.0**-20)


@pytest.mark.parametrize("kind", [nn.SGD, nn.Adam])
def test_a_state_at_the_end_of_a_schedule_goes_on(kind):
    optimiser = kind([nn.Parameter(START)], lr=0.5)
    schedule = nn.CosineAnnealingLR(optimiser, 2)
    schedule.step()
    schedule.step()
    assert optimiser.lr == 0
    other = kind([nn.Parameter(START)])
    other.load_state_dict(optimiser.state_dict())
    assert other.lr == 0
    nn.CosineAnnealingLR(other, 2, eta_min=0.1).step()
    other.parameters[0].gradient = Gradient(START)
    other.step()
    np.testing.assert_array_equal(other.parameters[0].value, START)


@pytest.mark.parametrize("factor", [np.nan, np.inf, -1.0])
def test_a_schedule_that_leaves_the_numbers_is_refused_and_sets_nothing(factor):
    optimiser = nn.SGD([{"params": nn.Parameter(1.0)}, {"params": nn.Parameter(2.0)}], lr=0.5)
    schedule = nn.LambdaLR(optimiser, lambda epoch: factor if epoch else 1.0)
    with pytest.raises(ValueError, match="LambdaLR: lr of epoch 1 must be in"):
        schedule.step()
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize("name", HOSTED)
def test_a_learning_rate_that_no_word_holds_is_refused(name):
    """As a weight modulo 2^k it would be another one, or 0: a step that learns nothing."""
    with open_session(name) as s:
        for rate in (1e20, 1e300, np.inf):
            w = nn.Parameter(s.share(START))
            optimiser = nn.SGD([w], lr=1.0)
            optimiser.param_groups[0]["lr"] = rate
            w.gradient = Gradient(s.share(START))
            with pytest.raises(he.errors.RangeError, match="SGD: weights of a sum must be"):
                optimiser.step()


OPTIONS = {
    nn.SGD: {"lr": 0.3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.03},
    nn.Adam: {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.0625},
}
REFERENCES = {nn.SGD: sgd, nn.Adam: adam}


def stepped(optimiser, parts, share=lambda x: x):
    """Steps with the gradients of a part of a run, with the public factor 1 / 8."""
    (parameter,) = optimiser.parameters
    for g in parts:
        parameter.gradient = Gradient(share(g), 0.125)
        optimiser.step()


def copied(optimiser):
    """An optimiser of the same values and state, over a parameter of its own."""
    (parameter,) = optimiser.parameters
    other = type(optimiser)([nn.Parameter(parameter.value)], lr=1.0)
    other.load_state_dict(optimiser.state_dict())
    return other


def distance(session, n):
    """What `test_sgd` and `test_adam` allow after n steps, at lr = 0.3 or 0.1, the sum of both."""
    small = session.modulus == 2**32
    unit, coarse = (2.0**-12, 2.0**-11) if small else (2.0**-24, 2.0**-20)
    sgd_limit = n * (2 * unit + 10 * 0.3 / 8 * coarse + 8 * unit)
    return sgd_limit + (0 if small else n * (10 * 0.1 * (2 * 2.0**-15 + 6e-6) + 2.0**-23))


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_run_goes_on_from_its_state(kind):
    start = kind([nn.Parameter(START)], **OPTIONS[kind])
    stepped(start, gradients(12)[:5])
    other = copied(start)
    assert other.param_groups == [
        group | {"params": other.parameters} for group in start.param_groups
    ]
    for optimiser in (start, other):
        stepped(optimiser, gradients(12)[5:])
    np.testing.assert_array_equal(other.parameters[0].value, start.parameters[0].value)
    expected = REFERENCES[kind](12, **OPTIONS[kind])
    np.testing.assert_allclose(other.parameters[0].value, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "session_name"),
    [(nn.SGD, name) for name in HOSTED] + [(nn.Adam, name) for name in WIDE],
)
def test_a_secret_state_stays_secret_and_goes_to_other_sessions(kind, session_name):
    expected = REFERENCES[kind](12, **OPTIONS[kind])
    with open_session(session_name) as s, open_session(session_name) as other:
        start = kind([nn.Parameter(START)], **OPTIONS[kind])
        stepped(start, gradients(12)[:4], s.share)
        on = copied(start)
        entry = on.state_dict()["state"][0]
        assert {name for name, value in entry.items() if isinstance(value, he.SecretTensor)} == set(
            on._tensors
        )
        stepped(on, gradients(12)[4:8], s.share)
        limit = distance(s, 12)
        with pytest.raises(ValueError, match=r"secret in another session; reveal\(\) it first"):
            on.share(other)
        assert on.reveal() is on
        on.parameters[0].assign(on.parameters[0].reveal())
        moments = [on.state_dict()["state"][0][name] for name in on._tensors]
        assert all(isinstance(value, np.ndarray) for value in moments)
        for lifting in (lambda o: o.share(other), lambda o: o):  # by hand, and by the first step
            last = lifting(copied(on))
            stepped(last, gradients(12)[8:], other.share)
            assert np.abs(last.parameters[0].reveal() - expected).max() <= limit
            for name, before in zip(on._tensors, moments, strict=True):
                bits = on._tensors[name](other)
                shared = copied(on).share(other).state_dict()["state"][0][name]
                assert shared.frac_bits == bits
                assert np.abs(shared.reveal() - before).max() <= 2.0 ** -(bits + 1)


def test_groups_have_their_own_options():
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(6, 2, 3))
    for kind, first, second in (
        (nn.SGD, {"weight_decay": 0.1, "momentum": 0.5}, {"lr": 0.02, "nesterov": True}),
        (nn.Adam, {"weight_decay": 0.1}, {"lr": 0.02, "betas": (0.5, 0.5), "eps": 1e-3}),
    ):
        common = {"momentum": 0.9} if kind is nn.SGD else {}
        a, b = nn.Parameter(np.ones(3)), nn.Parameter(np.full(3, -2.0))
        alone = [nn.Parameter(p.value) for p in (a, b)]
        together = kind([{"params": [a], **first}, {"params": b, **second}], lr=0.1, **common)
        apart = [
            kind([p], **{"lr": 0.1, **common, **options})
            for p, options in zip(alone, (first, second), strict=True)
        ]
        assert together.parameters == [a, b]
        assert together.lr == 0.1
        assert [group["lr"] for group in together.param_groups] == [0.1, 0.02]
        schedules = [nn.ExponentialLR(optimiser, 0.5) for optimiser in (together, *apart)]
        for pair in grads:
            for p, alike, g in zip((a, b), alone, pair, strict=True):
                p.gradient = alike.gradient = Gradient(g)
            for optimiser, schedule in zip((together, *apart), schedules, strict=True):
                optimiser.step()
                schedule.step()
        for p, alike in zip((a, b), alone, strict=True):
            np.testing.assert_allclose(p.value, alike.value, rtol=1e-14)
        together.lr = 0.25
        assert [group["lr"] for group in together.param_groups] == [0.25, 0.25]


@pytest.mark.parametrize("kind", OPTIONS)
def test_weights_decay_and_biases_do_not_in_the_rounds_of_one_group(kind):
    with he.Session(seed=1) as s:
        rounds = []
        for grouped in (False, True):
            layer = nn.Linear(2, 2, random_state=0).share(s)
            groups = [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias]}]
            if grouped:
                optimiser = kind(groups, lr=0.3)
            else:
                optimiser = kind(layer.parameters(), lr=0.3, weight_decay=0.1)
            before = layer.weight.reveal(), layer.bias.reveal()
            for parameter in layer.parameters():
                parameter.gradient = Gradient(s.share(np.zeros(parameter.shape)))
            rounds.append(cost_of(s, optimiser.step).rounds)
        assert rounds[0] == rounds[1]
        np.testing.assert_allclose(layer.bias.reveal(), before[1], atol=2.0**-23)
        moved = before[0] - layer.weight.reveal()
        expected = 0.3 * (0.1 * before[0] if kind is nn.SGD else np.sign(before[0]))
        # g = 0.1 w is off by 2^-26, of which a step of Adam is the sign, but for eps and its root.
        np.testing.assert_allclose(moved, expected, atol=2.0**-12 if kind is nn.Adam else 2.0**-22)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_state_that_does_not_fit_changes_nothing(kind):
    optimiser = kind([nn.Parameter(START), nn.Parameter([1.0])], **OPTIONS[kind])
    optimiser.parameters[0].gradient = Gradient(START)
    optimiser.step()
    state = optimiser.state_dict()
    entry, (group,) = state["state"][0], state["param_groups"]
    tensor = next(iter(optimiser._tensors))
    number = next(iter(optimiser._numbers))
    bad = [
        ({"state": {}}, "state must hold state and param_groups"),
        (state | {"param_groups": [group, group]}, r"param_groups must have params \[\[0, 1\]\]"),
        (state | {"param_groups": [group | {"params": [0]}]}, r"got \[\[0\]\]"),
        (state | {"param_groups": [group | {"speed": 1}]}, "options must be .* got .*speed"),
        (state | {"param_groups": [group | {"lr": -1.0}]}, r"lr must be in \[0, inf\), got -1"),
        (state | {"state": {7: entry}}, "state must be of 2 parameters, got 7"),
        (state | {"state": {0: {}}}, r"state of 0 must be .* got \[\]"),
        (state | {"state": {1: entry}}, rf"{tensor} of 1 must have shape \(1,\), got \(2, 2\)"),
        (state | {"state": {0: entry | {tensor: START * np.nan}}}, f"{tensor} must be finite"),
        (state | {"state": {0: entry | {number: 0}}}, f"{number} must "),
    ]
    for wrong, message in bad:
        if "param_groups" in wrong:  # options that would show a partial change
            wrong["param_groups"] = [{**g, "weight_decay": 0.5} for g in wrong["param_groups"]]
        with pytest.raises(ValueError, match=message):
            optimiser.load_state_dict(wrong)
        assert optimiser.state_dict() == state
