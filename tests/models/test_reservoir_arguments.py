"""What fit, predict and transform accept, and what they refuse and say."""

import numpy as np
import pytest

import he_gpu as he
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    DivergenceError,
    RangeError,
    SessionClosedError,
)
from tests.models.descent import gradient_descent, loss_bound

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])


def small(**parameters):
    return he.ReservoirRegressor(**({"width": 8, "n_steps": 3, "log_every": 1} | parameters))


@pytest.fixture
def session():
    with he.Session(device="cpu") as current:
        yield current


@pytest.mark.parametrize("targets", [(), (1,), (3,)])
@pytest.mark.parametrize("secret_y", [False, True])
def test_targets_of_each_shape(targets, secret_y, session):
    y = np.random.default_rng(0).normal(size=(4, *targets))
    model = small().fit(X, session.share(y) if secret_y else y)
    assert model.coef_.shape == (*targets, 8)
    assert model.predict(X).shape == (4, *targets)
    # Encoding moves each target by at most 2^-17, and the square by 2 |y| times that and more.
    tolerance = np.abs(y).sum() * 2.0**-16 + y.size * 2.0**-34
    assert model.loss_curve_[0] == pytest.approx((y**2).sum(), rel=0, abs=tolerance)


def test_each_target_is_learnt_as_if_alone(session):
    y = np.random.default_rng(1).normal(size=(4, 3))
    F = small().transform(X)
    # Each of 3 steps rounds 4 residuals to 2^-16 and 8 weights to 2^-24; I - rate F.T F lets no
    # error grow in the 2-norm. Two runs may err in opposite directions.
    one_step = 1e-3 * np.linalg.norm(F, 2) * np.sqrt(4) * 2.0**-16 + np.sqrt(8) * 2.0**-24
    together = small(log_every=0).fit(X, y).coef_.reveal()
    for column, weights in zip(y.T, together, strict=True):
        alone = small(log_every=0).fit(X, column).coef_.reveal()
        assert np.linalg.norm(weights - alone) <= 2 * 3 * one_step
        assert np.linalg.norm(alone) > 20 * 2 * 3 * one_step


def test_lists_and_integers_are_data_too():
    model = small().fit(X.astype(int).tolist(), [0, 1, 1, 0])
    assert model.predict([[0, 1]]).shape == (1,)
    assert model.loss_curve_[0] == 2.0


def test_session_by_argument_by_context_and_by_data():
    given, current = he.Session(device="cpu"), he.Session(device="cpu")
    with current:
        assert small().fit(X, Y, session=given).session_ is given
        assert small().fit(X, Y).session_ is current
        assert small().fit(X, given.share(Y)).session_ is given
    assert small().fit(X, given.share(Y), session=given).session_ is given
    assert isinstance(small().fit(X, Y, session=given).predict(X), he.SecretTensor)


def test_a_session_of_its_own_gives_plain_predictions():
    model = small().fit(X, Y)
    predicted = model.predict(X)
    assert type(predicted) is np.ndarray
    assert predicted.shape == (4,)
    assert model.session_ is None
    assert type(model.coef_) is np.ndarray
    assert model.coef_.shape == (8,)
    # Everything is public then, and nothing is rounded.
    np.testing.assert_array_equal(predicted, model.transform(X) @ model.coef_)
    with he.Session(device="cpu") as session:
        secret = model.predict(session.share(model.transform(X)))
        assert secret.session is session
        # The features are rounded to 16 fraction bits, w to 24 significant bits, and one
        # truncation to 16 follows.
        unit = np.abs(model.coef_).sum() * 2.0**-17 + 2.0**-16
        unit += np.abs(model.transform(X)).sum(axis=1) * np.abs(model.coef_).max() * 2.0**-24
        assert np.all(np.abs(secret.reveal() - predicted) <= unit)


def test_fitting_again_starts_afresh(session):
    model = small().fit(X, Y)
    first = model.coef_
    model.set_params(width=4).fit(X[:, :1], Y[:, None])
    assert model.coef_.shape == (1, 4)
    assert model.n_features_in_ == 1
    assert model.loss_steps_ == [0, 1, 2]
    assert first.shape == (8,)


def test_mixed_sessions_are_refused(session):
    other = he.Session(device="cpu")
    with pytest.raises(ArgumentValueError, match="two different sessions"):
        small().fit(session.share(small().transform(X)), other.share(Y))
    with pytest.raises(ArgumentValueError, match="two different sessions"):
        small().fit(X, other.share(Y), session=session)
    with pytest.raises(ArgumentTypeError, match="session must be a Session, got str"):
        small().fit(X, Y, session="alice")


def test_a_closed_session_is_refused():
    session = he.Session(device="cpu")
    model = small().fit(X, Y, session=session)
    session.close()
    with pytest.raises(SessionClosedError, match="fit"):
        small().fit(X, Y, session=session)
    with pytest.raises(RuntimeError, match="closed"):
        model.predict(X)


def test_a_ring_too_small_for_the_weights_is_refused():
    with he.Session(modulus=2**32, frac_bits=8, device="cpu"):  # noqa: SIM117
        with pytest.raises(ArgumentValueError, match=r"modulus must be 2\*\*64"):
            small().fit(X, Y)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"width": 0}, ArgumentValueError, "width must be at least 1, got 0"),
        ({"width": 8.0}, ArgumentTypeError, "width must be an integer, got float"),
        ({"width": True}, ArgumentTypeError, "width must be an integer, got bool"),
        ({"n_steps": -1}, ArgumentValueError, "n_steps must be at least 0, got -1"),
        ({"n_steps": "9"}, ArgumentTypeError, "n_steps must be an integer, got str"),
        ({"log_every": -5}, ArgumentValueError, "log_every must be at least 0, got -5"),
        ({"log_every": None}, ArgumentTypeError, "log_every must be an integer"),
        ({"learning_rate": 0}, ArgumentValueError, "learning_rate must be > 0, got 0"),
        ({"learning_rate": -1e-3}, ArgumentValueError, "learning_rate must be > 0, got -0.001"),
        ({"learning_rate": np.nan}, ArgumentValueError, "learning_rate must be finite, got nan"),
        ({"learning_rate": np.inf}, ArgumentValueError, "learning_rate must be finite, got inf"),
        ({"learning_rate": "fast"}, ArgumentTypeError, "learning_rate must hold real numbers"),
        ({"learning_rate": [1e-3]}, ArgumentValueError, "learning_rate must be > 0"),
        ({"random_state": -1}, ArgumentValueError, r"random_state must be in \[0, 2\*\*32\)"),
        ({"random_state": 2**32}, ArgumentValueError, "random_state must be in .* got 4294967296"),
        ({"random_state": 0.5}, ArgumentTypeError, "random_state must be an integer or None"),
        ({"random_state": True}, ArgumentTypeError, "random_state must be an integer or None"),
        ({"loss": "mean"}, ArgumentValueError, r"loss must be one of \('squared', .* got 'mean'"),
        ({"loss": None}, ArgumentValueError, "loss must be one of .* got None"),
    ],
)
def test_bad_parameters_are_named_by_fit(parameters, error, message):
    model = small(**parameters)  # storing is free; fit checks, as scikit-learn wants it
    with pytest.raises(error, match=message):
        model.fit(X, Y)


@pytest.mark.parametrize(
    ("features", "targets", "error", "message"),
    [
        (X[0], Y, ArgumentValueError, r"X must be 2-d \(n, n_features\), got shape \(2,\)"),
        (X[None], Y, ArgumentValueError, "X must be 2-d"),
        (X, Y[:3], ArgumentValueError, r"y must have shape \(4,\) .* 4 rows, got \(3,\)"),
        (X, 1.0, ArgumentValueError, "y must have shape"),
        (X, Y.reshape(2, 2, 1), ArgumentValueError, "y must have shape"),
        (X, np.empty((4, 0)), ArgumentValueError, r"y must have shape .* got \(4, 0\)"),
        (np.empty((0, 2)), np.empty(0), ArgumentValueError, r"X has 0 sample\(s\)"),
        (X + np.nan, Y, ArgumentValueError, "Input X contains NaN"),
        (X, Y - np.inf, ArgumentValueError, "Input y contains infinity"),
        (X + 1j, Y, ArgumentValueError, "Complex data not supported, got X"),
        (X, ["a", "b", "b", "a"], ArgumentTypeError, "y must hold real numbers"),
        ([[0, 1], [1]], [0, 1], ArgumentValueError, "X is no array"),
        (X, Y * 2.0**30, RangeError, r"2\*\*\d+.* got 1.*e\+09"),
    ],
)
def test_bad_data_are_refused(features, targets, error, message, session):
    with pytest.raises(error, match=message):
        small().fit(features, targets)


@pytest.mark.parametrize(
    ("y", "log_every", "message"),
    [
        # 2^32 is 0 modulo 2^64 at the 32 fraction bits of a loss.
        (np.array([2.0**16, 0.0, 0.0, 0.0]), 1, r"sum of squares of y must stay below 2\*\*29"),
        (
            np.full(4, 1e7),
            0,
            r"norm of y must stay below 2\*\*20 with 16 fraction bits, got 2e\+07",
        ),
    ],
)
def test_targets_that_would_leave_the_word_are_refused(y, log_every, message, session):
    with pytest.raises(RangeError, match=message):
        small(log_every=log_every).fit(X, y)


def test_a_range_that_squares_leave_and_absolute_residuals_do_not(session):
    y = np.array([2.0**16, 0.0, 0.0, 0.0])
    assert small(loss="absolute").fit(X, y).loss_curve_[0] == 2.0**16


def test_absolute_losses_that_would_leave_the_word_are_refused():
    y = np.full(2**19, 2.0**42)  # of norm 2^51.5; after a descent their sum may be 2^61
    with (
        he.Session(frac_bits=0, device="cpu"),
        pytest.raises(
            RangeError, match=r"the norm of y times the root of its size must stay below 2\*\*61"
        ),
    ):
        small(loss="absolute", width=1).fit(np.zeros((y.size, 1)), y)


def test_features_that_would_leave_the_word_are_refused(session):
    with pytest.raises(RangeError, match=r"features must stay below 2\*\*22"):
        small(learning_rate=1e-19).fit(X * 1e8, Y)


@pytest.mark.parametrize("frac_bits", [8, 17, 20, 24])
def test_other_fraction_bits_learn_too(frac_bits):
    with he.Session(frac_bits=frac_bits, device="cpu") as session:
        model = he.ReservoirRegressor(log_every=0).fit(X, Y, session=session)
        assert ((model.predict(X).reveal() > 0.5) == (Y == 1)).all()


def test_fraction_bits_that_leave_the_targets_no_range_are_refused():
    with he.Session(frac_bits=28, device="cpu"):  # noqa: SIM117
        with pytest.raises(RangeError, match=r"norm of y must stay below .* with 28 fraction bits"):
            small().fit(X, Y)


def test_a_secret_loss_that_leaves_the_word_stops_the_run(session):
    F = session.share(small().transform(X))
    with pytest.raises(DivergenceError, match="negative: the data are out of range"):
        small().fit(F, np.full(4, 2.0**14.5))  # the sum of squares is 2^31, and -2^31 modulo 2^32


def test_secret_features_of_another_width_are_refused(session):
    with pytest.raises(
        ArgumentValueError, match=r"features must have shape \(n, 8\), got \(4, 2\)"
    ):
        small().fit(session.share(X), Y)
    model = small().fit(X, Y)
    with pytest.raises(ArgumentValueError, match=r"\(n, 8\), got \(4, 2\)"):
        model.predict(session.share(X))
    with pytest.raises(ArgumentValueError, match=r"\(n, 8\), got \(8,\)"):
        model.predict(session.share(np.zeros(8)))


def test_predict_and_transform_check_their_input(session):
    with pytest.raises(ValueError, match="not fitted"):
        small().predict(X)
    with pytest.raises(ValueError, match="not fitted"):
        small().score(X, Y)
    model = small().fit(X, Y)
    for function in (model.predict, model.transform):
        with pytest.raises(ArgumentValueError, match=r"X has 3 features, but .* 2 features"):
            function(np.zeros((1, 3)))
        with pytest.raises(ArgumentValueError, match="X must be 2-d"):
            function(X[0])
    with pytest.raises(ArgumentTypeError, match="plaintext"):
        model.transform(session.share(X))


def test_random_state():
    np.testing.assert_array_equal(small().transform(X), small(random_state=0).transform(X))
    assert np.any(small(random_state=1).transform(X) != small().transform(X))
    fresh = small(random_state=None)
    with pytest.raises(ArgumentValueError, match="no reservoir before fit"):
        fresh.transform(X)
    first = fresh.fit(X, Y).transform(X)
    np.testing.assert_array_equal(first, fresh.transform(X))
    assert np.any(first != fresh.fit(X, Y).transform(X))


class TestLearningRate:
    """Gradient descent converges below 2 / (largest eigenvalue of F.T F), and only there."""

    def limit(self, F):
        return 2 / np.linalg.eigvalsh(F.T @ F)[-1]

    def test_one_that_must_diverge_is_refused_with_the_largest_safe_one(self, session):
        limit = self.limit(small().transform(X))
        with pytest.raises(ArgumentValueError, match="must diverge") as caught:
            small(learning_rate=limit * 1.0001).fit(X, Y)
        assert float(str(caught.value).split()[-1]) == pytest.approx(limit, rel=1e-5)
        assert f"{limit * 1.0001:g}" in str(caught.value)

    def test_one_just_below_works(self, session):
        F = small().transform(X)
        rate = float(self.limit(F) * 0.999)
        model = small(learning_rate=rate, n_steps=200).fit(X, Y)
        reference = gradient_descent(F, Y, rate, 200).losses
        bound = loss_bound(F, Y, rate, 200, n_runs=1000)
        assert np.all(np.abs(np.array(model.loss_curve_) - reference) <= bound)
        assert bound.max() < 1e-2 < reference[0] - reference[-1]

    def test_more_samples_than_features(self, session):
        inputs = np.random.default_rng(0).normal(size=(50, 2))
        model = small(width=3)
        limit = self.limit(model.transform(inputs))
        with pytest.raises(ArgumentValueError, match=f"below {limit:.6g}"):
            model.set_params(learning_rate=limit * 1.01).fit(inputs, inputs[:, 0])
        model.set_params(learning_rate=limit * 0.99).fit(inputs, inputs[:, 0])

    def test_divergence_on_secret_features_stops_at_a_revealed_loss(self, session):
        F = small().transform(X)
        model = small(learning_rate=self.limit(F) * 1.5, n_steps=100, log_every=5)
        with pytest.raises(DivergenceError, match=r"loss .* at step \d+ is above") as caught:
            model.fit(session.share(F), session.share(Y))
        assert isinstance(caught.value, ArithmeticError)
        assert f"at step {caught.value.loss_steps[-1]} " in str(caught.value)
        assert len(caught.value.loss_steps) < 20
        assert caught.value.loss_curve[-1] > caught.value.loss_curve[0]
        assert not hasattr(model, "loss_curve_")

    def test_divergence_of_absolute_losses_stops_too(self, session):
        F = small().transform(X)
        rate = self.limit(F) * 1.5
        model = small(learning_rate=rate, n_steps=100, log_every=5, loss="absolute")
        with pytest.raises(
            DivergenceError, match=r"at step \d+ is above .* the most that"
        ) as caught:
            model.fit(session.share(F), session.share(Y))
        assert len(caught.value.loss_steps) < 20
        assert caught.value.loss_curve[-1] > 2 * caught.value.loss_curve[0]

    def test_an_absolute_loss_that_rises_while_the_squares_fall_is_no_divergence(self, session):
        """One step turns a single residual into n of 1 / sqrt(n): their sum grows by sqrt(n)."""
        n, y = 16, np.eye(16)[0]
        v = y - np.full(n, n**-0.5)
        model = small(width=1, learning_rate=1.999, n_steps=2, loss="absolute")
        model.transform = lambda features: features
        model.fit((v / np.linalg.norm(v))[:, None], y)
        first, second = model.loss_curve_
        assert first == 1.0
        assert 3.9 < second < 4.0

    def test_zero_features_accept_any_rate(self, session):
        model = small(learning_rate=1e3).fit(np.zeros((4, 2)), Y)
        np.testing.assert_array_equal(model.coef_.reveal(), np.zeros(8))
        assert model.loss_curve_ == [2.0, 2.0, 2.0]


def test_a_fit_that_fails_leaves_the_model_as_it_was(session):
    model = small(random_state=None).fit(X, Y)
    before = model.predict(X).reveal()
    with pytest.raises(RangeError):
        model.fit(X, Y * 1e9)
    np.testing.assert_allclose(model.predict(X).reveal(), before, rtol=0, atol=2.0**-23)


def test_a_fit_on_secret_features_takes_the_reservoir_of_its_parameters(session):
    model = small(random_state=0).fit(X, Y)
    model.set_params(random_state=1)
    F = small(random_state=1).transform(X)
    model.fit(session.share(F), session.share(Y))
    np.testing.assert_array_equal(model.transform(X), F)


def test_predictions_of_large_weights(session):
    # |w| sums to more than 2^14 here: features of 24 bits times weights of 24 would leave the word.
    model = he.ReservoirRegressor(log_every=0).fit(X, Y * 5e5)
    w = model.coef_.reveal()
    assert np.abs(w).sum() > 2**14
    expected = model.transform(X) @ w
    bound = np.abs(w).sum() * 2.0**-17 + 2.0**-16
    np.testing.assert_allclose(model.predict(X).reveal(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2,), "score: y must have shape .* as X has 4 rows"),
        ((4, 1), "score: y must have the predictions' shape"),
    ],
)
def test_score_refuses_targets_of_another_shape(session, shape, message):
    with pytest.raises(ArgumentValueError, match=message):
        small().fit(X, Y).score(X, np.zeros(shape))


def test_few_fraction_bits_leave_fewer_guard_bits():
    with he.Session(frac_bits=6, device="cpu") as s:
        he.ReservoirRegressor(width=1, learning_rate=1.0, n_steps=2).fit([[0.1]], [0.5], session=s)
