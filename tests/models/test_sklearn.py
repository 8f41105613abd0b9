"""All estimators under scikit-learn's own tools, by one body."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import he_gpu as he
from he_gpu.errors import ArgumentValueError, SecretAccessError, SessionClosedError
from tests.models.estimators import data, is_classifier, names, small

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[test]'")

import sklearn
from sklearn import base, metrics
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

pytestmark = pytest.mark.filterwarnings("ignore::he_gpu.errors.ConvergenceWarning")

GRIDS = {
    "LinearRegression": {"fit_intercept": [False, True]},
    "LogisticRegression": {"C": [1e-3, 1.0]},
    "MLPClassifier": {"max_iter": [1, 12]},
    "MLPRegressor": {"max_iter": [1, 12]},
    "ReservoirClassifier": {"n_steps": [1, 40]},
    "ReservoirRegressor": {"n_steps": [1, 40]},
    "Ridge": {"alpha": [1e4, 1e-2]},
}
"""A parameter and two values, the better one last."""
PARTIAL = [name for name in names() if hasattr(getattr(he.models, name), "partial_fit")]
"""Those that learn from batches."""
EPOCHS = {"MLPClassifier": 15, "MLPRegressor": 30}
"""How often they see the data, where once does not do."""


@pytest.fixture(params=names())
def name(request):
    return request.param


@pytest.fixture(
    params=[name for name in names() if hasattr(getattr(he.models, name), "partial_fit")]
)
def partial(request):
    """An estimator that learns from batches."""
    return request.param


class Frame:
    """As much of a data frame as estimators look at."""

    def __init__(self, values, columns):
        self.values, self.columns = values, columns

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def metric(name):
    return metrics.accuracy_score if is_classifier(name) else metrics.r2_score


def test_every_estimator_is_tested():
    assert set(GRIDS) == set(names())
    assert [hasattr(he, name) for name in names()] == [True] * len(GRIDS)


def test_a_session_is_no_parameter_of_the_constructor(name):
    kind = getattr(he.models, name)
    assert "session" not in inspect.signature(kind).parameters
    assert not [value for value in kind().get_params().values() if isinstance(value, he.Session)]
    fits = [kind.fit, kind.partial_fit] if hasattr(kind, "partial_fit") else [kind.fit]
    for fit in fits:
        parameter = inspect.signature(fit).parameters["session"]
        assert parameter.default is None
        assert list(inspect.signature(fit).parameters)[-1] == "session"


def test_parameters_round_trip(name):
    defaults = getattr(he.models, name)().get_params()
    signature = inspect.signature(getattr(he.models, name)).parameters
    assert defaults == {key: value.default for key, value in signature.items()}
    estimator = small(name)
    parameters = estimator.get_params()
    assert parameters == estimator.get_params(deep=False)
    other = getattr(he.models, name)()
    assert other.set_params(**parameters) is other
    assert other.get_params() == parameters
    assert other.set_params() is other
    with pytest.raises(ArgumentValueError, match=f"'depth' is no parameter of {name}"):
        other.set_params(**{next(iter(parameters)): None}, depth=4)
    assert other.get_params() == parameters


def test_repr_shows_what_differs_from_the_defaults(name):
    estimator = getattr(he.models, name)()
    assert repr(estimator) == f"{name}()"
    parameter, values = next(iter(GRIDS[name].items()))
    default = inspect.signature(type(estimator)).parameters[parameter].default
    value = next(value for value in values if value != default)
    assert repr(estimator.set_params(**{parameter: value})) == f"{name}({parameter}={value!r})"


def test_clone_copies_parameters_and_no_fit(name):
    fitted = small(name).fit(*data(name))
    copied = base.clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert set(vars(copied)) == set(copied.get_params())
    check_is_fitted(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(copied)
    assert base.is_regressor(copied) is not is_classifier(name)
    assert base.is_classifier(copied) is is_classifier(name)


def test_use_before_fit_is_scikit_learns_error_and_our_own(name):
    for use in (lambda model: model.predict([[0.0]]), lambda model: model.reveal()):
        for kind in (NotFittedError, he.errors.NotFittedError, ValueError):
            with pytest.raises(kind, match=f"{name} is not fitted; call fit first") as caught:
                use(small(name))
        remade = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(remade, NotFittedError)
        assert str(remade) == str(caught.value)


def test_pipeline_with_a_scaler(name):
    X, y = data(name)
    before = sklearn.get_config()
    pipeline = make_pipeline(StandardScaler(), small(name))
    assert pipeline.fit(X * 50 + 7, y) is pipeline
    predicted = pipeline.predict(X * 50 + 7)
    assert type(predicted) is np.ndarray
    assert predicted.dtype == np.asarray(y).dtype
    score = pipeline.score(X * 50 + 7, y)
    assert score == pytest.approx(metric(name)(y, predicted), abs=1e-12)
    assert score > 0.7
    assert sklearn.get_config() == before


def test_cross_validation(name):
    X, y = data(name)
    pipeline = make_pipeline(StandardScaler(), small(name))
    scores = cross_val_score(pipeline, X, y, cv=3, error_score="raise")
    assert scores.shape == (3,)
    assert scores.mean() > 0.6
    found = cross_validate(small(name), X, y, cv=2, return_estimator=True, error_score="raise")
    for estimator in found["estimator"]:
        assert estimator.session_ is None
        assert type(estimator.predict(X)) is np.ndarray


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search(name, n_jobs):
    X, y = data(name)
    search = GridSearchCV(small(name), GRIDS[name], cv=2, n_jobs=n_jobs, error_score="raise")
    search.fit(X, y)
    ((parameter, values),) = GRIDS[name].items()
    if name == "LinearRegression":  # standardised inputs, nearly centred targets
        assert search.best_params_[parameter] in values
    else:
        assert search.best_params_[parameter] == values[-1]
    assert search.best_estimator_.session_ is None
    assert search.predict(X).shape == (60,)
    assert search.score(X, y) > 0.7


def test_without_a_session_all_is_public_and_can_be_copied(name):
    X, y = data(name)
    model = small(name).fit(X, y)
    assert model.session_ is None
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert again.score(X, y) == model.score(X, y)
    with he.Session(device="cpu") as session:
        assert type(model.predict(X)) is np.ndarray
        if not name.startswith("Reservoir"):  # which takes secret *features*
            assert model.predict(session.share(X)).session is session


def test_with_a_session_all_is_secret_until_revealed(name):
    X, y = data(name)
    with he.Session(device="cpu") as session:
        model = small(name).fit(X, y)
        assert model.session_ is session
        predicted = model.predict(X)
        assert isinstance(predicted, he.SecretTensor)
        assert not any(isinstance(value, np.ndarray) for value in learnt(model).values())
        for refuse in (pickle.dumps, copy.deepcopy):
            with pytest.raises(SecretAccessError, match="reveal"):
                refuse(model)
        score = model.score(X, y)
        assert type(score) is float
        before = predicted.reveal()
        assert model.reveal() is model
        assert model.session_ is None
        public = model.predict(X)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), public)
    if is_classifier(name):
        before = model.classes_[before.astype(int)]
        assert (before == public).mean() > 0.95
    else:
        np.testing.assert_allclose(before, public, atol=1e-3)
    assert score == pytest.approx(model.score(X, y), abs=0.02)
    assert base.clone(model).get_params() == model.get_params()


def learnt(model):
    """What a fit stored that depends on secrets."""
    public = {"n_features_in_", "feature_names_in_", "classes_", "session_"}
    return {name: value for name, value in vars(model).items() if name not in public}


def test_a_closed_session_is_named(name):
    X, y = data(name)
    with he.Session(device="cpu") as session:
        model = small(name).fit(X, y)
    functions = [model.predict, model.decision_function] if is_classifier(name) else [model.predict]
    for function in functions:
        with pytest.raises(SessionClosedError, match=f"{function.__name__}: the session is closed"):
            function(X)
    with pytest.raises(SessionClosedError, match="score: the session is closed"):
        model.score(X, y)
    with pytest.raises(SessionClosedError, match="reveal: the session is closed"):
        model.reveal()
    with pytest.raises(SessionClosedError, match="fit: the session is closed"):
        model.fit(X, y, session=session)


def test_columns_with_names(name):
    X, y = data(name)
    columns = ["a", "b", "c"]
    model = small(name).fit(Frame(X, columns), y)
    assert model.feature_names_in_.tolist() == columns
    assert model.feature_names_in_.dtype == object
    assert model.n_features_in_ == 3
    np.testing.assert_array_equal(model.predict(Frame(X, columns)), model.predict(X))
    for wrong, message in (
        (["b", "a", "c"], "must be in the same order as they were in fit"),
        (["a", "b", "d"], "unseen at fit time:\n- d\n.*yet now missing:\n- c\n"),
    ):
        for use in (model.predict, lambda X: model.score(X, y)):
            with pytest.raises(
                ArgumentValueError, match=f"feature names should match.*\n.*{message}"
            ):
                use(Frame(X, wrong))
    assert not hasattr(model.fit(X, y), "feature_names_in_")
    assert not hasattr(model.fit(Frame(X, [0, 1, 2]), y), "feature_names_in_")


def test_a_fit_that_fails_leaves_the_model_as_it_was(name):
    X, y = data(name)
    model = small(name).fit(X, y)
    before, stored = model.predict(X), set(vars(model))
    with pytest.raises(ArgumentValueError, match="X contains NaN"):
        model.fit(X * np.nan, y)
    with pytest.raises(ArgumentValueError, match="y must have shape"):
        model.fit(X, y[1:])
    np.testing.assert_array_equal(model.predict(X), before)
    assert set(vars(model)) == stored


def classes_of(name):
    """What the first partial_fit asks for."""
    return {"classes": ["cold", "warm"]} if is_classifier(name) else {}


def test_partial_fit_goes_on(partial):
    X, y = data(partial)
    model = small(partial)
    for _ in range(EPOCHS.get(partial, 1)):
        for rows in (slice(0, 30), slice(30, 60)):
            assert model.partial_fit(X[rows], y[rows], **classes_of(partial)) is model
    assert model.session_ is None
    assert model.score(X, y) > (0.7 if is_classifier(partial) else 0.5)
    with pytest.raises(ArgumentValueError, match="partial_fit: X has 2 features"):
        model.partial_fit(X[:, :2], y)
    before = model.predict(X)
    with pytest.raises(ArgumentValueError, match="partial_fit: Input X contains infinity"):
        model.partial_fit(X + np.inf, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_partial_fit_stays_in_its_session(partial):
    X, y = data(partial)
    with he.Session(device="cpu") as session:
        model = small(partial).partial_fit(X, y, **classes_of(partial))
        with he.Session(device="cpu") as other:
            assert model.partial_fit(X, y).session_ is session
            with pytest.raises(ArgumentValueError, match=r"partial_fit: .* two different sessions"):
                model.partial_fit(X, y, session=other)
        assert isinstance(model.predict(X), he.SecretTensor)
    with pytest.raises(SessionClosedError, match="partial_fit"):
        model.partial_fit(X, y)


def test_partial_fit_of_a_public_model_in_a_session(partial):
    X, y = data(partial)
    model = small(partial).partial_fit(X, y, **classes_of(partial))
    before = model.predict(X)
    with he.Session(device="cpu") as session:
        assert model.partial_fit(X, y).session_ is session
        assert isinstance(model.predict(X), he.SecretTensor)
        assert type(before) is type(model.reveal().predict(X))


@pytest.mark.parametrize("name", [name for name in PARTIAL if is_classifier(name)])
def test_partial_fit_knows_its_classes_from_the_first_call(name):
    X, y = data(name)
    model = small(name)
    with pytest.raises(ArgumentValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    with pytest.raises(ArgumentValueError, match="classes must hold at least 2 classes, got 1"):
        model.partial_fit(X, y, classes=["cold"])
    with pytest.raises(ArgumentValueError, match="'cold', which is none of the classes"):
        model.partial_fit(X, y, classes=["hot", "warm"])
    assert not hasattr(model, "classes_")
    cold = y == "cold"
    model.partial_fit(X[cold], y[cold], classes=["warm", "cold", "cold"])
    assert model.classes_.tolist() == ["cold", "warm"]
    with pytest.raises(ArgumentValueError, match=r"must be those of the first call, \['cold', 'wa"):
        model.partial_fit(X, y, classes=["cold", "hot"])
    with pytest.raises(ArgumentValueError, match="0, which is none of the classes"):
        model.partial_fit(X, np.zeros(len(y), int))
    assert model.partial_fit(X, y, classes=["cold", "warm"]).classes_.tolist() == ["cold", "warm"]
    with he.Session(device="cpu") as session:
        secret = small(name).partial_fit(encoded(name, session, X), session.share((~cold) * 1.0))
        assert secret.classes_.tolist() == [0, 1]


def encoded(name, session, X):
    """Secret data: reservoirs take secret *features*."""
    return session.share(small(name).transform(X) if name.startswith("Reservoir") else X)


@pytest.mark.parametrize("name", [*filter(is_classifier, names())])
def test_a_column_of_labels_is_a_vector_with_scikit_learns_warning(name):
    X, y = data(name)
    with pytest.warns(DataConversionWarning, match=r"A column-vector y .* \(fit\)"):
        model = small(name).fit(X, y[:, None])
    assert model.classes_.tolist() == ["cold", "warm"]
    assert model.score(X, y) > 0.8
