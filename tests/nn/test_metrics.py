"""Metrics of secret and public predictions beside their definitions in float64."""

from __future__ import annotations

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.nn.values import secret_constant
from he_gpu.tensor.arithmetic import Arithmetic
from tests.sessions import SESSIONS, open_session

HOSTED = [name for name in SESSIONS if not name.startswith(("emulator", "cuda"))]
RNG = np.random.default_rng(11)


@pytest.fixture(params=HOSTED)
def session(request):
    with open_session(request.param) as session:
        yield session


@pytest.fixture
def revealed(monkeypatch):
    """How many numbers are revealed."""
    sizes, reveal = [], Arithmetic.reveal

    def counted(tensor):
        sizes.append(tensor.size)
        return reveal(tensor)

    monkeypatch.setattr(Arithmetic, "reveal", counted)
    return sizes


def r2(y, p):
    """The mean over targets of 1 - residual / total, for targets that vary."""
    y, p = y.reshape(len(y), -1), p.reshape(len(p), -1)
    return (1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)).mean()


@pytest.mark.parametrize("secret", ["", "p", "y", "py"])
@pytest.mark.parametrize("kind", ["classes", "one-hot", "two", "column"])
def test_accuracy_is_exact_and_reveals_one_number(session, kind, secret, revealed):
    scores = RNG.integers(-3, 3, (17, 4)) / 2  # ties too: the first of equal scores
    classes = RNG.integers(0, 4, 17)
    if kind in ("classes", "one-hot"):
        expected = (scores.argmax(1) == classes).mean()
        y = classes if kind == "classes" else np.eye(4)[classes]
    else:
        scores, y = scores[:, 0], classes % 2
        expected = ((scores > 0) == y).mean()
        if kind == "column":
            scores, y = scores[:, None], y[:, None]
    p = session.share(scores) if "p" in secret else scores
    y = session.share(y) if "y" in secret else y
    assert nn.accuracy(p, y) == expected
    assert nn.accuracy(nn.Variable(p), nn.Variable(y)) == expected
    assert revealed == ([1, 1] if secret else [])
    assert type(nn.accuracy(p, y)) is float


def test_accuracy_takes_scores_of_one_column_with_flat_targets(session):
    p = session.share([[0.5], [-0.5], [0.0]])
    assert nn.accuracy(p, [1, 0, 1]) == nn.accuracy(p, session.share([1, 0, 1])) == 2 / 3
    assert nn.accuracy([0.5, -0.5, 0.0], [[1], [0], [1]]) == 2 / 3


@pytest.mark.parametrize("extra", [False, True], ids=["data", "result of a layer"])
@pytest.mark.parametrize("secret", ["", "p", "y", "py"])
@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 3)])
def test_r2_score_and_reveals_one_number(session, shape, secret, extra, revealed):
    y = RNG.integers(-64, 64, shape) / 64
    p = y + RNG.integers(-32, 32, shape) / 128
    bits = session.frac_bits + (0 if not extra else 2 if session.modulus == 2**32 else 8)
    given = secret_constant(session, p, bits) if "p" in secret else p
    found = nn.r2_score(given, session.share(y) if "y" in secret else y)
    assert revealed == ([1] if secret else [])
    expected, u = r2(y, p), 2.0**-session.frac_bits
    small = session.modulus == 2**32
    # Quotients q have a mean square below 1 - expected < 1, and are off by d: public targets 2 u;
    # then 1 - score is off by 2 |q| d and d^2, at most 6 u, and by u / 30 for its own truncation.
    # Secret ones: the mean by u and the residual by u, over a deviation above 1/2, is 4 u of q;
    # the inverse root a relative 6e-6 (6e-4), twice in 1 - score, and the sum a unit.
    limit = 0.0 if not secret else 6 * u
    if "y" in secret:
        limit = 10 * u + 2 * (6e-4 if small else 6e-6)
    assert abs(found - expected) <= limit + 1e-12
    assert type(found) is float


@pytest.mark.parametrize("secret", ["p", "py"])
@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
def test_targets_of_different_scales_count_alike(protocol, secret):
    scales = np.array([2.0**-6, 1.0, 2.0**9] if "y" in secret else [2.0**-8, 1.0, 2.0**17])
    y = RNG.integers(-64, 64, (20, 3)) / 64
    p = y + RNG.integers(-32, 32, (20, 3)) / 64
    with he.Session(protocol, seed=3) as s:
        target = s.share(y * scales) if "y" in secret else y * scales
        found = nn.r2_score(
            secret_constant(s, p * scales, 24 if scales[-1] < 2**12 else 20), target
        )
    # The smallest deviations have 8 to 10 bits: residuals are off by 2^-9 of them at most, without
    # bias, of 20 numbers whose mean square is below 1, in one target of three.
    assert abs(found - r2(y, p)) < 2 * 2.0**-9 / 3


def test_constant_targets_count_whether_they_are_met(session):
    y = np.stack([np.full(8, 0.1), np.full(8, 0.5), np.arange(8) / 8], axis=1)
    p = y + np.array([0.0, 0.25, 0.0])
    assert nn.r2_score(p, y) == pytest.approx(2 / 3, rel=1e-12)
    p[:, 0] = y[:, 0] = 0.125
    found = nn.r2_score(session.share(p), y)
    assert abs(found - 2 / 3) <= 8 * 2.0**-session.frac_bits
    assert nn.r2_score(session.share([0.5]), [0.5]) == 1


@pytest.mark.parametrize("size", [50, 5000])
def test_r2_score_of_many_samples_and_large_targets(session, size):
    small = session.modulus == 2**32
    spread = 1.0 if small else 1000.0
    y = RNG.normal(size=size) * spread
    p = y + RNG.normal(size=size) * spread / 4
    for target in (y, session.share(y)):
        found = nn.r2_score(session.share(p), target)
        # As above, with residuals of a quarter: 3 units of each at most, and the inverse root.
        limit = 6 * 2.0**-session.frac_bits + 2 * (6e-4 if small else 2e-5)
        assert abs(found - r2(y, p)) <= limit


def test_r2_score_of_one_sample_of_a_secret_target_is_refused(session):
    for shape in ((1,), (1, 3)):
        y = session.share(np.ones(shape))
        with pytest.raises(ValueError, match="secret target must have at least 2 samples, got 1"):
            nn.r2_score(np.zeros(shape), y)


def test_an_overflow_that_shows_is_refused():
    with he.Session(seed=1) as s:
        found = []
        for seed in range(8):
            y = np.random.default_rng(seed).normal(size=30) * 1e6
            try:
                found.append(nn.r2_score(s.share(y * 0.5), s.share(y)))
            except he.errors.RangeError as error:
                assert "1 - score must be at least 0" in str(error)  # noqa: PT017
    assert len(found) < 8
    assert all(score <= 1 + 2.0**-6 for score in found)


@pytest.mark.parametrize(
    ("metric", "p", "y", "message"),
    [
        (nn.accuracy, np.zeros((0, 2)), [], r"accuracy: prediction must hold at least 1 sample"),
        (nn.accuracy, 1.0, 1.0, "accuracy: prediction must hold at least 1 sample"),
        (nn.accuracy, np.zeros((2, 2, 2)), [0, 1], r"shape \(n, n_classes\) or \(n,\)"),
        (nn.accuracy, np.zeros((3, 2)), [0, 1], r"target must have shape \(3,\) or \(3, 2\), got"),
        (nn.accuracy, np.zeros((3, 2)), [0, 1, 2], r"must hold classes in \[0, 2\), got 2"),
        (nn.accuracy, np.zeros((3, 2)), [0, 1, 0.5], r"must hold classes in \[0, 2\), got 0.5"),
        (nn.accuracy, np.zeros(3), [0, 1, 2], "target must hold 0 and 1 for one score a sample"),
        (nn.accuracy, np.zeros(3), np.zeros((1, 3)), r"shape \(3,\) or \(3, 1\), got \(1, 3\)"),
        (nn.accuracy, np.zeros(3), np.zeros(2), r"shape \(3,\) or \(3, 1\), got \(2,\)"),
        (nn.r2_score, [], [], "r2_score: prediction must hold at least 1 sample"),
        (
            nn.r2_score,
            np.zeros(3),
            np.zeros((3, 1)),
            r"target must have shape \(3,\), got \(3, 1\)",
        ),
        (nn.r2_score, np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), "target must have shape"),
        (nn.r2_score, np.full(3, np.nan), np.zeros(3), "must be finite, got nan"),
    ],
)
@pytest.mark.parametrize("secret", [False, True])
def test_refusals(metric, p, y, message, secret):
    with he.Session(seed=1) as s:
        if secret and np.isfinite(p).all():
            p = s.share(p)
        with pytest.raises(ValueError, match=message):
            metric(p, y)
