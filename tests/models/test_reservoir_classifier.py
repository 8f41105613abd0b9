"""Reservoirs as classifiers, and reservoirs that learn from batches."""

import numpy as np
import pytest

import he_gpu as he
from he_gpu.errors import ArgumentValueError, DivergenceError, RangeError, SessionClosedError
from tests.models.descent import (
    gradient_descent,
    loss_bound,
    plain_loss_bound,
    step_matrix_unit,
)

XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
SCHEMES = [("plain", 1), ("additive", 2), ("additive", 3), ("replicated", 3)]
RATE = 4e-4


def blobs(n_classes, n=60):
    """Inputs around as many centres, and their classes, each of them equally often."""
    rng = np.random.default_rng(n_classes)
    y = np.arange(n) % n_classes
    centres = np.array([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])
    return centres[y] + 0.5 * rng.normal(size=(n, 2)), y


def small(**parameters):
    defaults = {"width": 32, "learning_rate": RATE, "n_steps": 40, "log_every": 1}
    return he.ReservoirClassifier(**defaults | parameters)


def regressor(**parameters):
    defaults = {"width": 8, "n_steps": 3, "log_every": 1}
    return he.ReservoirRegressor(**defaults | parameters)


@pytest.fixture
def session():
    with he.Session(device="cpu") as current:
        yield current


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("protocol", "parties"), SCHEMES)
def test_it_is_the_descent_on_one_hot_targets(protocol, parties, n_classes):
    X, y = blobs(n_classes)
    model = small()
    F = model.transform(X)
    targets = np.where(y == 1, 1.0, -1.0)[:, None] if n_classes == 2 else np.eye(n_classes)[y]
    reference = gradient_descent(F, targets, RATE, 40)
    with he.Session(protocol, parties=parties, device="cpu"):
        model.fit(X, y)
        scores, predicted = model.decision_function(X).reveal(), model.predict(X).reveal()
        coefficients, score = model.coef_.reveal(), model.score(X, y)
    assert coefficients.shape == (1 if n_classes == 2 else n_classes, 32)
    assert scores.shape == ((60,) if n_classes == 2 else (60, n_classes))
    # The documented condition for gradients at the scale of the unrounded rate.
    bounded = np.linalg.norm(targets, axis=0).max() * np.linalg.norm(F, axis=0).max() < 2**6
    unit = 0.0 if bounded else step_matrix_unit(RATE)
    if protocol == "plain":
        bound = plain_loss_bound(F, targets, RATE, 40, step_unit=unit)
    else:
        bound = loss_bound(F, targets, RATE, 40, n_runs=100, step_unit=unit)
    assert bound.max() < 0.1
    assert np.all(np.abs(np.array(model.loss_curve_) - reference.losses) <= bound)
    # Features are rounded to 16 fraction bits, and one truncation to 24 follows.
    reach = np.abs(coefficients).sum(axis=1) * 2.0**-17 + 2.0**-24
    assert np.all(np.abs(scores.reshape(60, -1) - F @ coefficients.T) <= reach)
    wanted = scores > 0 if n_classes == 2 else scores.argmax(axis=1)
    np.testing.assert_array_equal(predicted, wanted)
    assert score == pytest.approx((predicted == y).mean())
    assert score > 0.95


def test_two_classes_have_the_difference_of_one_hot_targets():
    X, y = blobs(2)
    F = small().transform(X)
    one_hot = gradient_descent(F, np.eye(2)[y], RATE, 40).weights
    np.testing.assert_allclose(
        gradient_descent(F, 2.0 * y - 1, RATE, 40).weights[:, 0], one_hot[:, 1] - one_hot[:, 0]
    )


def test_labels_of_any_kind_come_back():
    X, y = blobs(3)
    for labels in (np.array(["one", "two", "three"]), np.array([5, 1, -7])):
        model = small().fit(X, labels[y])
        assert model.classes_.tolist() == sorted(labels)
        assert model.session_ is None
        assert (model.predict(X) == labels[y]).mean() > 0.95
        assert model.coef_.shape == (3, 32)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_secret_features_and_labels(n_classes, session):
    X, y = blobs(n_classes)
    model = small()
    F = session.share(model.transform(X))
    targets = [session.share(np.eye(n_classes)[y])]
    if n_classes == 2:
        targets.append(session.share(y.astype(float)))
    for target in targets:
        model.fit(F, target)
        assert model.classes_.tolist() == list(range(n_classes))
        assert not hasattr(model, "n_features_in_")
        predicted = model.predict(F)
        assert (predicted.reveal() == y).mean() > 0.95
        assert model.score(F, target) == model.score(F, y) > 0.95
        assert (model.predict(X).reveal() == y).mean() > 0.95  # plain inputs have features too
    public = model.reveal()
    assert (public.predict(F).reveal() == y).mean() > 0.95


def test_an_input_of_zeros_scores_zero():
    model = small(width=64, learning_rate=1e-3, n_steps=250).fit(XOR, ["no", "yes", "yes", "no"])
    assert model.decision_function(XOR)[0] == 0.0
    assert model.predict(XOR).tolist() == ["no", "yes", "yes", "no"]


def test_what_is_refused(session):
    X, y = blobs(2)
    with pytest.raises(ArgumentValueError, match="fit: learning_rate 1 must diverge"):
        small(learning_rate=1.0).fit(X, y)
    with pytest.raises(ArgumentValueError, match="fit: y must hold at least 2 classes"):
        small().fit(X, y * 0)
    with pytest.raises(ArgumentValueError, match=r"secret features must have shape \(n, 32\)"):
        small().fit(session.share(X), y)
    with pytest.raises(ArgumentValueError, match=r"secret y must have shape .* got \(60, 1\)"):
        small().fit(X, session.share(y[:, None]))
    model = small().fit(X, y)
    with pytest.raises(ArgumentValueError, match=r"predict: secret features must .* got \(60, 2\)"):
        model.predict(session.share(X))
    other = he.Session(device="cpu")
    with pytest.raises(ArgumentValueError, match="predict: X and the model are of two different"):
        model.predict(other.share(small().transform(X)))


class TestPartialFit:
    def test_two_halves_of_a_descent_are_the_whole(self, session):
        y = np.array([0.0, 1.0, 1.0, 0.0])
        F = regressor().transform(XOR)
        halves = regressor(n_steps=5).partial_fit(XOR, y).partial_fit(XOR, y)
        assert halves.loss_steps_ == list(range(10))
        assert halves.n_iter_ == 10
        reference = gradient_descent(F, y, 1e-3, 10)
        # Of secret weights nobody knows the gradient, so the scaled features are rounded.
        bound = loss_bound(F, y, 1e-3, 10, n_runs=1000, step_unit=step_matrix_unit(1e-3))
        assert bound.max() < 1e-2
        assert np.all(np.abs(np.array(halves.loss_curve_) - reference.losses) <= bound)

    def test_of_a_public_model_without_a_session(self):
        y = np.array([0.0, 1.0, 1.0, 0.0])
        model = regressor(n_steps=5, random_state=None)
        first = model.partial_fit(XOR, y).transform(XOR)
        assert model.partial_fit(XOR, y).session_ is None
        np.testing.assert_array_equal(model.transform(XOR), first)  # the reservoir stays
        assert type(model.coef_) is np.ndarray
        reference = gradient_descent(first, y, 1e-3, 10)
        bound = loss_bound(first, y, 1e-3, 10, n_runs=1000)
        assert np.all(np.abs(np.array(model.loss_curve_) - reference.losses) <= bound)

    def test_batches_of_any_size_and_other_settings(self, session):
        X, y = blobs(3)
        model = small(n_steps=5)
        for epoch in range(4):
            for rows in (slice(0, 24), slice(24, 60)):
                model.set_params(learning_rate=RATE / (1 + epoch))
                model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        assert model.n_iter_ == 40
        assert model.loss_steps_ == list(range(40))
        assert model.score(X, y) > 0.95

    def test_width_and_seed_are_those_of_the_fit(self):
        y = np.array([0.0, 1.0, 1.0, 0.0])
        model = regressor().fit(XOR, y)
        F = model.transform(XOR)
        model.set_params(width=5, random_state=9).partial_fit(XOR, y)
        np.testing.assert_array_equal(model.transform(XOR), F)
        assert model.fit(XOR, y).coef_.shape == (5,)

    def test_from_secret_features_to_plain_inputs(self, session):
        y = np.array([0.0, 1.0, 1.0, 0.0])
        model = regressor()
        F = model.transform(XOR)
        model.partial_fit(session.share(F), session.share(y))
        model.partial_fit(XOR, y)
        assert model.n_features_in_ == 2
        model.partial_fit(session.share(F), y)
        assert model.n_iter_ == 9
        with pytest.raises(ArgumentValueError, match="partial_fit: X has 1 features"):
            model.partial_fit(XOR[:, :1], y)

    def test_what_is_refused(self, session):
        y = np.array([0.0, 1.0, 1.0, 0.0])
        model = regressor().fit(XOR, y)
        for wrong in (y[:, None], np.stack([y, y], 1)):
            with pytest.raises(ArgumentValueError, match=r"y must have shape \(4,\), as many targ"):
                model.partial_fit(XOR, wrong)
        with pytest.raises(ArgumentValueError, match="partial_fit: learning_rate 1 must diverge"):
            model.set_params(learning_rate=1.0).partial_fit(XOR, y)
        assert model.loss_steps_ == [0, 1, 2]

    def test_plaintext_that_would_leave_the_word_is_refused(self):
        """The first residual counts, not y alone."""
        y = np.array([0.0, 1.0, 1.0, 0.0])
        model = regressor().fit(XOR, y)
        for size, message in ((1e4, "sum of squares of y or its"), (1e5, "norm of y or its first")):
            model.coef_ = np.full(8, size)
            with pytest.raises(RangeError, match=f"partial_fit: the {message}"):
                model.partial_fit(XOR, y)

    def test_divergence_names_the_function(self, session):
        y = np.array([0.0, 1.0, 1.0, 0.0])
        model = regressor(n_steps=50)
        F = session.share(model.transform(XOR))
        model.partial_fit(F, y)
        before, curve = model.coef_, list(model.loss_curve_)
        with pytest.raises(DivergenceError, match=r"partial_fit: loss .* is above the first"):
            model.set_params(learning_rate=1.0).partial_fit(F, y)
        assert model.coef_ is before
        assert model.loss_curve_ == curve

    def test_a_closed_session(self):
        y = np.array([0.0, 1.0, 1.0, 0.0])
        with he.Session(device="cpu"):
            model = regressor().fit(XOR, y)
        with pytest.raises(SessionClosedError, match="partial_fit: the session is closed"):
            model.partial_fit(XOR, y)
        np.testing.assert_array_equal(model.transform(XOR), regressor().transform(XOR))
