"""The estimator under scikit-learn's own tools."""

import numpy as np
import pytest

import he_gpu as he
from he_gpu.errors import ArgumentValueError

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[test]'")

from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

PARAMETERS = {
    "width": 24,
    "learning_rate": 2e-3,
    "n_steps": 30,
    "random_state": 5,
    "log_every": 0,
    "loss": "absolute",
}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -2.0]
    return inputs, np.sin(inputs[:, 0]) + 0.1 * inputs[:, 1]


def model():
    return he.ReservoirRegressor(**PARAMETERS)


def test_parameters_round_trip():
    assert model().get_params() == model().get_params(deep=False) == PARAMETERS
    assert he.ReservoirRegressor().get_params() == {
        "width": 256,
        "learning_rate": 1e-3,
        "n_steps": 250,
        "random_state": 0,
        "log_every": 50,
        "loss": "squared",
    }
    estimator = he.ReservoirRegressor()
    assert estimator.set_params(**PARAMETERS) is estimator
    assert estimator.get_params() == PARAMETERS
    assert estimator.set_params() is estimator


def test_an_unknown_parameter_changes_nothing():
    estimator = model()
    with pytest.raises(ArgumentValueError, match="'depth' is no parameter of ReservoirRegressor"):
        estimator.set_params(width=3, depth=4)
    assert estimator.get_params() == PARAMETERS


def test_clone_copies_parameters_and_no_fit(data):
    fitted = model().set_params(learning_rate=1e-5).fit(*data)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params() == PARAMETERS | {"learning_rate": 1e-5}
    assert not hasattr(copy, "coef_")
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(fitted)
    np.testing.assert_array_equal(copy.transform(data[0]), fitted.transform(data[0]))


def test_it_is_a_regressor():
    assert is_regressor(model())


def test_predict_before_fit_is_a_value_error():
    with pytest.raises(ValueError, match="not fitted"):
        model().predict(np.zeros((1, 3)))


@pytest.mark.parametrize("targets", [(), (1,), (2,)])
def test_score_is_scikit_learns(targets, data):
    inputs, y = data
    y = np.resize(y, (2, 60))[: targets[0]].T.copy() if targets else y
    inputs = StandardScaler().fit_transform(inputs)
    own = model().fit(inputs, y)
    expected = r2_score(y, own.predict(inputs))
    # Two predictions of the same numbers differ by d, at most a unit of 2^-24 in each of 60, and
    # the score by some 2 |e| |d| / spread <= 2 sqrt(60) 2^-24 / sqrt(spread), with spread > 1.
    assert own.score(inputs, y) == pytest.approx(expected, abs=1e-6)
    assert 0.2 < expected < 1
    with he.Session(device="cpu"):
        secret = model().fit(inputs, y)
        expected = r2_score(y, secret.predict(inputs).reveal())
        assert secret.score(inputs, y) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("y", "score"), [([1.0, 1.0], 0.0), ([0.0, 0.0], 1.0)])
def test_score_of_constant_targets_is_scikit_learns(y, score):
    zero = he.ReservoirRegressor(width=2, n_steps=0).fit([[0.0], [1.0]], y)
    assert zero.score([[0.0], [1.0]], y) == r2_score(y, [0.0, 0.0]) == score


def test_pipeline_with_a_scaler(data):
    inputs, y = data
    pipeline = make_pipeline(StandardScaler(), model())
    assert pipeline.fit(inputs, y) is pipeline
    predicted = pipeline.predict(inputs)
    assert type(predicted) is np.ndarray
    assert pipeline.score(inputs, y) == pytest.approx(r2_score(y, predicted), abs=1e-6)
    pipeline.set_params(reservoirregressor__width=7).fit(inputs, y)
    assert pipeline[-1].coef_.shape == (7,)


def test_cross_validation(data):
    inputs, y = data
    pipeline = make_pipeline(StandardScaler(), model())
    scores = cross_val_score(pipeline, inputs, y, cv=3, error_score="raise")
    assert scores.shape == (3,)
    assert np.all(scores < 1)
    assert scores.mean() > 0.3


def test_grid_search_finds_the_number_of_steps(data):
    inputs = StandardScaler().fit_transform(data[0])
    search = GridSearchCV(
        model(), {"n_steps": [0, 30], "width": [12, 24]}, cv=2, n_jobs=1, error_score="raise"
    )
    search.fit(inputs, data[1])
    assert search.best_params_["n_steps"] == 30
    assert search.best_estimator_.coef_.shape == (search.best_params_["width"],)
    assert search.predict(inputs).shape == (60,)


def test_repr_shows_what_differs_from_the_defaults():
    assert repr(he.ReservoirRegressor()) == "ReservoirRegressor()"
    text = repr(he.ReservoirRegressor(width=24, random_state=None))
    assert text == "ReservoirRegressor(width=24, random_state=None)"
