"""Losses: values and gradients against closed forms, on every session, for targets of any kind."""

from __future__ import annotations

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.nn.values import inner, secret_constant
from tests.nn.layers import curve_units, grid
from tests.sessions import SESSIONS, cost_of, open_session

HOSTED = [name for name in SESSIONS if not name.startswith(("emulator", "cuda"))]


@pytest.fixture(params=HOSTED)
def session(request):
    with open_session(request.param) as session:
        yield session


def softmax(z):
    weights = np.exp(z - z.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def computed(loss, z, y):
    z = nn.Variable(z, requires_grad=True)
    found = loss(z, y)
    found.backward()
    gradient = z.grad.reveal() if z.is_secret else z.grad
    return float(found.reveal()), gradient


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("target", ["public", "secret"])
@pytest.mark.parametrize("kind", ["mse", "l1", "bce", "cross-entropy"])
def test_values_and_gradients(session, kind, target, reduction):
    z, unit = grid((8, 4), 2), 2.0**-session.frac_bits
    count = 1 if reduction == "sum" else 32
    # The sum of products has one truncation, or in Z_2^32 one for each product.
    inner = 32 if session.modulus == 2**32 else 1
    if kind == "mse":
        y, loss = grid((8, 4), 2, seed=5), nn.MSELoss(reduction)
        value, gradient, units, slope = ((z - y) ** 2).sum(), 2 * (z - y), inner, 0.0
    elif kind == "l1":
        y, loss = grid((8, 4), 2, seed=5), nn.L1Loss(reduction)
        y[0] = z[0]
        value, gradient, units, slope = np.abs(z - y).sum(), np.sign(z - y), 0, 0.0
    elif kind == "bce":
        y, loss = (grid((8, 4)) > 0) * 1.0, nn.BCEWithLogitsLoss(reduction)
        value = (np.logaddexp(z, 0) - z * y).sum()
        gradient = 1 / (1 + np.exp(-z)) - y
        units, slope = (
            32 * curve_units(session, "softplus") + inner,
            curve_units(session, "sigmoid"),
        )
    else:
        y, loss = np.eye(4)[np.arange(8) % 4], nn.CrossEntropyLoss(reduction)
        count = 1 if reduction == "sum" else 8
        value = (np.log(np.exp(z).sum(1)) - (z * y).sum(1)).sum()
        gradient = softmax(z) - y
        # As documented: logsumexp 1.5 units and 2e-5 (2e-3), softmax a unit and 4e-5 (2e-3).
        small = session.modulus == 2**32
        units, slope = (
            8 * (1.5 + (2e-3 if small else 2.1e-5) / unit) + inner,
            1 + (2e-3 + 4 * 2.0**-12 if small else 4.1e-5) / unit,
        )
    found, slopes = computed(loss, session.share(z), y if target == "public" else session.share(y))
    # The mean's factor has 24 (12) significant bits and a truncation, and so has 1 / 32's none.
    assert abs(found - value / count) <= (units / count + 1) * unit
    assert np.abs(slopes - gradient / count).max() <= (slope / count + 2.0**-4) * unit
    public, exact = computed(loss, z, y)
    assert abs(public - value / count) <= 1e-12 * abs(value)
    np.testing.assert_allclose(exact, gradient / count, rtol=0, atol=1e-14)


def test_classes_are_one_hot_targets(session):
    z, classes = grid((6, 3), 2), np.array([0, 2, 1, 1, 0, 2])
    loss = nn.CrossEntropyLoss()
    found = computed(loss, session.share(z), classes)
    expected = computed(loss, z, np.eye(3)[classes])
    assert abs(found[0] - expected[0]) < 2.0**-7
    assert np.abs(found[1] - expected[1]).max() < 2.0**-7


def test_classes_of_images_lie_along_axis_1():
    z, classes = grid((2, 3, 4)), np.arange(8).reshape(2, 4) % 3
    value, gradient = computed(nn.CrossEntropyLoss(), z, classes)
    rows = z.transpose(0, 2, 1).reshape(8, 3)
    expected, slopes = computed(nn.CrossEntropyLoss(), rows, classes.reshape(8))
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, slopes.reshape(2, 4, 3).transpose(0, 2, 1), atol=1e-15)


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_the_value_costs_nothing_until_it_is_asked_for(protocol):
    with he.Session(protocol, seed=1) as s:
        z = nn.Variable(s.share(np.ones((4, 2))), requires_grad=True)
        made = cost_of(s, lambda: nn.BCEWithLogitsLoss()(z, np.ones((4, 2))))
        assert made == he.Cost()
        loss = nn.MSELoss()(z, s.share(np.zeros((4, 2))))
        assert cost_of(s, loss.backward) == he.Cost()
        assert cost_of(s, lambda: loss.value).rounds > 0
        assert cost_of(s, lambda: loss.value) == he.Cost()


def test_extreme_predictions_stay_finite():
    z = np.array([[1e4, -1e4], [-1e4, 1e4]])
    for loss, y in ((nn.BCEWithLogitsLoss(), np.eye(2)), (nn.CrossEntropyLoss(), [0, 1])):
        with he.Session(seed=2) as s:
            value, gradient = computed(loss, s.share(z), y)
        assert abs(value) < 2.0**-12
        assert np.abs(gradient).max() < 2.0**-12
        assert np.isfinite(computed(loss, z, y)[1]).all()


def test_refusals():
    z = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"reduction must be one of \('mean', 'sum'\), got 'none'"):
        nn.MSELoss("none")
    for loss in (nn.MSELoss(), nn.L1Loss(), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()):
        with pytest.raises(ValueError, match="must have the prediction's shape"):
            loss(z, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"target must be in \[0, 1\], got 2"):
        nn.BCEWithLogitsLoss()(z, z + 2)
    for classes, shown in (([0, 2, 1], "2"), ([0, -1, 1], "-1"), ([0, 0.5, 1], "0.5")):
        with pytest.raises(ValueError, match=rf"classes in \[0, 2\), got {shown}"):
            nn.CrossEntropyLoss()(z, classes)
    with pytest.raises(ValueError, match="prediction must have shape"):
        nn.CrossEntropyLoss()(np.zeros(3), [0])
    with pytest.raises(ValueError, match="target must need no gradient"):
        nn.MSELoss()(z, nn.Variable(z, requires_grad=True))
    with pytest.raises(TypeError, match="a prediction and a target expected, got 1"):
        nn.MSELoss()(z)


@pytest.mark.parametrize("kind", ["mse", "bce", "cross-entropy"])
def test_means_over_many_samples_leave_no_range(session, kind):
    z = grid((1000, 1), 2) * [1.0, -1.0]  # 2,000 numbers that shares hold exactly
    if kind == "mse":
        y, loss = np.zeros((1000, 2)), nn.MSELoss()
    elif kind == "bce":
        y, loss = (z[::-1] > 0) * 1.0, nn.BCEWithLogitsLoss()
    else:
        y, loss = np.eye(2)[np.arange(1000) % 2], nn.CrossEntropyLoss()
    expected = float(loss(z, y).value)
    found = float(loss(session.share(z), session.share(y)).reveal())
    # A mean is off by what an element is, below 5 units, and 2^-15 (2^-8) for logsumexp, by the
    # factor's 24 (12) bits, and by two roundings.
    small = session.modulus == 2**32
    limit = 7 * 2.0**-session.frac_bits + (2.0**-8 if small else 2.0**-15)
    assert abs(found - expected) <= limit + expected * (2.0**-11 if small else 2.0**-23)
    assert expected > 0.5


@pytest.mark.parametrize("size", [1000, 5001, 65536])
@pytest.mark.parametrize("fine", [False, True], ids=["data", "result of a layer"])
def test_large_residuals_of_many_samples_leave_no_range(session, fine, size):
    """The range is that of the mean; the word would not hold the squares with all their bits."""
    small = session.modulus == 2**32
    z = np.resize([3.0, -15.0, 12.0] if small else [100.0, -1900.0, 2000.0], size)
    bits = (12 if small else 24) if fine else session.frac_bits
    for loss, most in ((nn.MSELoss(), 2), (nn.L1Loss(), 1)):
        if most == 1 and small and size > 1000:
            continue  # the sum of absolute values keeps its bits
        values = z if most == 2 else z * (8 if small else 1000)
        shared = secret_constant(session, values, bits) if fine else session.share(values)
        found = float(loss(shared, session.share(np.zeros(size))).reveal())
        expected = np.mean(np.abs(values) ** most)
        # Each difference is off by a unit without bias, hence the mean square by 2 |z| / sqrt(size)
        # units and one more; the factor of the mean has 24 (12) significant bits.
        units = 3 + 2 * np.abs(z).max() / np.sqrt(size) * 4
        limit = units * 2.0**-session.frac_bits + expected * (2.0**-11 if small else 2.0**-23)
        assert abs(found - expected) <= limit


def test_inner_products_of_any_length_and_of_two_factors(session):
    rng = np.random.default_rng(2)
    for size in (1, 255, 256, 257, 1000):
        x, y = rng.integers(-256, 256, (2, size)) / 256
        found = inner(session.share(x), session.share(y)).reveal()
        # Modulo 2^64 each 256 products are truncated once, modulo 2^32 each one without bias.
        units = 4 * np.sqrt(size) if session.modulus == 2**32 else 1 + size // 256
        assert abs(found - x @ y) <= units * 2.0**-session.frac_bits


def test_limits_of_losses_are_below_what_overflow_makes():
    """An overflowed result of a layer is uniform in the word that its truncation leaves."""
    for kwargs, half in (({}, 2.0**15), ({"modulus": 2**32, "frac_bits": 10}, 2.0**7)):
        with he.Session(**kwargs) as s:
            z = np.random.default_rng(3).uniform(-half, half, (500, 2))
            y = np.tile([1.0, 0.0], (500, 1))
            for loss in (nn.L1Loss(), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()):
                made = float(loss(z, y).value)
                assert made / 5 < loss.limit(z.shape, s) < made / 1.5
            count = {nn.CrossEntropyLoss: 500}
            for kind in (nn.MSELoss, nn.L1Loss, nn.BCEWithLogitsLoss, nn.CrossEntropyLoss):
                mean, total = (kind(r).limit(z.shape, s) for r in ("mean", "sum"))
                assert total == pytest.approx(mean * count.get(kind, 1000))
            assert nn.MSELoss().limit(z.shape, s) == (2.0**22 if not kwargs else 2.0**8)
    with he.Session(frac_bits=30) as s:  # no room for results, but a loss is none the worse for it
        assert nn.BCEWithLogitsLoss().limit((5,), s) == pytest.approx(10 * np.log(2))
