"""Linear regression and ridge regression on shares against scikit-learn and NumPy."""

import pickle
from fractions import Fraction

import numpy as np
import pytest

import he_gpu as he
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NotFittedError,
    RangeError,
    SessionClosedError,
)
from he_gpu.models.moments import Moments
from tests.conftest import require_device

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[test]'")

from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression as SklearnLinear
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SESSIONS = {
    "plain": ("cpu", {"protocol": "plain"}),
    "additive": ("cpu", {}),
    "additive-3": ("cpu", {"parties": 3}),
    "replicated": ("cpu", {"protocol": "replicated"}),
}


def opened(name):
    device, arguments = SESSIONS[name]
    return he.Session(device=require_device(device), seed=5, **arguments)


@pytest.fixture(params=SESSIONS)
def session(request):
    with opened(request.param) as each:
        yield each


def diabetes():
    return load_diabetes(return_X_y=True)


def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y * 1.0


def raw_breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X, y * 1.0


def scaled(seed=0, n=700, d=8):
    """Deviations from 1e-2 to 1e2, and means up to 100 of them away from 0."""
    rng = np.random.default_rng(seed)
    scales = np.geomspace(1e-2, 1e2, d)
    X = (rng.normal(size=(n, d)) + rng.uniform(-100, 100, d)) * scales
    y = X @ (rng.normal(size=d) / scales)
    return X, y - y.mean() + rng.normal(size=n) - 7


DATA = {
    "diabetes": diabetes,
    "breast cancer": breast_cancer,
    "raw breast cancer": raw_breast_cancer,
    "scaled": scaled,
}


def rounded(values, f=16):
    """Data as sharing rounds them."""
    return np.ldexp(np.rint(np.ldexp(values, f)), -f)


def bound(X, y, f=16, alpha=0.0):
    """What `LinearRegression` promises for predictions: a root mean square over the rows.

    The correlations' least eigenvalue stands in for that of columns scaled to sums of squares from
    3/16 to 1, which is at least 3/16 of it. For coefficients the rounding to a unit of 2^-24 and to
    2^(-f - 5) / sqrt(n) over a deviation; for the intercept, and for a mean, 4 units of 2^-24.
    """
    n, d = X.shape
    away = X - X.mean(0)
    squares = (away**2).sum(0) + alpha
    unit = away / np.sqrt(squares)
    R = unit.T @ unit + np.diag(alpha / squares)
    e = 3 / 16 * np.linalg.eigvalsh(R)[0]
    deviations = np.sqrt((away**2).mean(0))
    coefficients = (2.0**-24 * deviations + 2.0 ** (-f - 5) / np.sqrt(n)).sum()
    relative = 2.0**-17 * d + 2.0**-34 * d / e + (2.0**-20 / (2.0**-20 + e)) ** 6
    return y.std() * relative + coefficients + 4 * 2.0**-24


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("name", DATA)
def test_predictions_are_scikit_learns(session, name, alpha):
    X, y = DATA[name]()
    own = he.Ridge(alpha) if alpha else he.LinearRegression()
    theirs = SklearnRidge(alpha) if alpha else SklearnLinear()
    own.fit(session.share(X), session.share(y)).reveal()
    # Against the same data: what is left is what the closed form on shares does.
    exact = theirs.fit(rounded(X), rounded(y)).predict(rounded(X))
    found = rounded(X) @ own.coef_ + own.intercept_
    assert rms(found - exact) < bound(rounded(X), y, alpha=alpha)
    # Against the data before they were shared.
    expected = r2_score(y, theirs.fit(X, y).predict(X))
    assert abs(r2_score(y, X @ own.coef_ + own.intercept_) - expected) < 1e-4


def test_emulator():
    device = require_device("emulator")
    X, y = scaled(n=12, d=2)
    with he.Session(device=device, seed=5):
        own = he.LinearRegression().fit(X, y).reveal()
    exact = SklearnLinear().fit(rounded(X), rounded(y))
    assert rms(rounded(X) @ own.coef_ + own.intercept_ - exact.predict(rounded(X))) < bound(X, y)


@pytest.mark.parametrize("frac_bits", [8, 20])
def test_other_fraction_bits(frac_bits):
    X, y = scaled(n=40, d=3)
    X, y = X / np.abs(X).max(0), y / np.abs(y).max()
    with he.Session(device="cpu", frac_bits=frac_bits, seed=5):
        own = he.LinearRegression().fit(X, y)
        unit = 2.0**-own.coef_.frac_bits
        own.reveal()
    X, y = rounded(X, frac_bits), rounded(y, frac_bits)
    exact = SklearnLinear().fit(X, y)
    # As `bound`, with the unit of the coefficients, and means that have 14 bits more than data.
    room = bound(X, y, frac_bits) + 8 * unit + X.shape[1] * unit * np.abs(X).max()
    assert rms(X @ own.coef_ + own.intercept_ - exact.predict(X)) < room


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 3)])
def test_targets_of_all_shapes(session, shape, fit_intercept):
    rng = np.random.default_rng(1)
    X, y = rounded(rng.normal(size=(60, 4)) + 0.5), rounded(rng.normal(size=shape) * 3 + 1)
    own = he.LinearRegression(fit_intercept=fit_intercept).fit(X, y)
    theirs = SklearnLinear(fit_intercept=fit_intercept).fit(X, y)
    for each in (own.coef_, own.intercept_, own.predict(X), own.predict(session.share(X))):
        assert isinstance(each, he.SecretTensor)
        assert each.session is session
    assert own.coef_.shape == theirs.coef_.shape
    assert own.intercept_.shape == np.shape(theirs.intercept_) or not fit_intercept
    predicted = own.predict(X).reveal()
    assert predicted.shape == theirs.predict(X).shape
    # Without intercept the norms of columns are larger than their deviations, which bound takes.
    room = 2 * max(bound(X, column) for column in y.reshape(60, -1).T)
    assert rms(predicted - theirs.predict(X)) < room
    assert rms(own.predict(session.share(X)).reveal() - theirs.predict(X)) < room
    assert own.score(X, y) == pytest.approx(r2_score(y, theirs.predict(X)), abs=1e-4)
    if not fit_intercept:
        assert not np.any(own.reveal().intercept_)


def test_a_repeated_column_shares_its_coefficient(session):
    rng = np.random.default_rng(2)
    X, y = rounded(rng.normal(size=(50, 3))), rounded(rng.normal(size=50))
    twice = np.c_[X, X[:, 0]]
    own = he.LinearRegression().fit(twice, y).reveal()
    theirs = SklearnLinear().fit(twice, y)
    # In the direction of eigenvalue 0 roundings of the residual, 2^-30, grow by up to 6 / SHIFT.
    np.testing.assert_allclose(own.coef_, theirs.coef_, atol=6 * 2.0**-10)
    np.testing.assert_allclose(twice @ own.coef_, twice @ theirs.coef_, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
@pytest.mark.parametrize("constant", [0.0, 0.1, -300.0])
def test_a_constant_column_gets_zero(session, constant, alpha):
    rng = np.random.default_rng(3)
    X, y = rounded(rng.normal(size=(37, 2))), rounded(rng.normal(size=37))
    own = he.Ridge(alpha).fit(np.c_[X, np.full(37, constant)], y).reveal()
    assert own.coef_[2] == 0
    theirs = SklearnRidge(alpha).fit(X, y)
    assert rms(X @ own.coef_[:2] + own.intercept_ - theirs.predict(X)) < bound(X, y)


def test_a_column_that_varies_by_its_last_place_alone_gets_zero():
    X = np.c_[np.arange(40.0), 2.0**-16 * (np.arange(40) % 2)]
    own = he.LinearRegression().fit(X, X[:, 0])
    assert own.coef_[1] == 0
    assert own.coef_[0] == pytest.approx(1, abs=2.0**-15)


@pytest.mark.parametrize("value", [0.0, 3.3])
def test_a_constant_target(session, value):
    X = np.random.default_rng(4).normal(size=(30, 3))
    own = he.LinearRegression().fit(X, np.full(30, value)).reveal()
    assert not own.coef_.any()
    assert own.intercept_ == pytest.approx(rounded(value), abs=2.0**-23)


@pytest.mark.parametrize("n", [1, 2, 10])
def test_fewer_rows_than_features(session, n):
    rng = np.random.default_rng(n)
    X, y = rounded(rng.normal(size=(n, 14))), rounded(rng.normal(size=n))
    own = he.LinearRegression().fit(X, y).reveal()
    # The rows are matched; of all that match them, the coefficients are not long: their norm is
    # that of least |D w|, with D from sqrt(3)/4 to 1 times norms of columns, whose ratio is below.
    assert rms(X @ own.coef_ + own.intercept_ - y) < 2.0**-12 * max(y.std(), 2.0**-11)
    if n == 1:
        assert not own.coef_.any()
    else:
        norms = np.linalg.norm(X - X.mean(0), axis=0)
        ratio = 4 / np.sqrt(3) * norms.max() / norms.min()
        least = np.linalg.norm(SklearnLinear().fit(X, y).coef_)
        assert np.linalg.norm(own.coef_) < 1.001 * ratio * least


def test_public_fits_serve_any_means_of_the_range():
    # The intercept is 5e4 times the mean, 2^38: no product of them fits the words of a share.
    rng = np.random.default_rng(7)
    X = rounded(rng.normal(size=(40, 2)) * 0.01 + 2.0**21)
    y = rounded((X - X.mean(0)) @ [5e4, -3e4])
    model = he.LinearRegression().fit(X[:30], y[:30]).partial_fit(X[30:], y[30:])
    exact = SklearnLinear().fit(X - X.mean(0), y)
    found = (X - X.mean(0)) @ model.coef_ + (X.mean(0) @ model.coef_ + model.intercept_)
    assert rms(found - exact.predict(X - X.mean(0))) < bound(X - X.mean(0), y)
    assert model.score(X, y) > 0.999
    X = rng.normal(size=(10, 2))
    assert he.LinearRegression(fit_intercept=False).fit(X + 7, X[:, 0]).intercept_ == 0.0


def test_a_secret_intercept_beside_coefficients_near_the_end_of_the_range():
    # The mean is half of 2^-16 off any share: times the coefficient, 4.5e7, that is 343.
    X, y = np.array([[0.0], [65.0]]) * 2.0**-16, np.array([-22500.0, 22500.0])
    with he.Session(protocol="plain", device="cpu") as s:
        own = he.LinearRegression().fit(s.share(X), s.share(y)).reveal()
    exact = SklearnLinear().fit(X, y)
    assert own.coef_[0] == pytest.approx(exact.coef_[0], rel=1e-3)
    assert abs(own.intercept_ + X.mean() * own.coef_[0]) < 1  # of 3 units of 2^-30 for each


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_public_fits_tell_coefficients_beyond_the_range(fit_intercept):
    X = np.array([[-1.0], [0.0], [1.0]])
    y = X[:, 0] * 20000
    model = he.LinearRegression(fit_intercept=fit_intercept).fit(X, y)
    before = dict(vars(model))
    for scale in (2.0**-12, 2.0**-14):  # one is just beyond, the other wraps to a smaller one
        with pytest.raises(RangeError, match=r"coefficients must stay below 2\*\*26"):
            model.fit(X * scale, y)
    assert vars(model) == before


@pytest.mark.parametrize("n", [2, 5, 17])
def test_tiny_columns_that_depend_on_each_other(session, n):
    # Sums of squares of some n 2^10 units: roundings of products about the mean take eigenvalues
    # of 0 to -1e-4, where an inverse for eigenvalues from 2^-20 on would run away.
    X = rounded(np.random.default_rng(n).normal(size=(n, 30)) * 2.0**-11)
    y = rounded(np.random.default_rng(n).normal(size=n))
    own = he.LinearRegression().fit(X, y).reveal()
    # n eigenvalues are of some 30 / n; roundings of d^0.5 / (n 2^10) change the solution by as much
    # beside them, and the mean's, 3 units of 2^-30, by as many of the coefficients.
    room = 2.0**-10 / np.sqrt(30) * 5 * y.std() + 3 * 2.0**-30 * np.abs(own.coef_).sum()
    assert rms(X @ own.coef_ + own.intercept_ - y) < room


def test_nearly_dependent_columns_fade():
    t = np.linspace(0, 1, 60)
    X, y = np.vander(t, 8)[:, :-1], np.sin(5 * t)
    with he.Session(protocol="plain", device="cpu"):
        own = he.LinearRegression().fit(X, y).reveal()
    theirs = SklearnLinear().fit(X, y)
    # Eigenvalues down to 1e-12: coefficients stay as small as those of least squares, and what
    # does not come out is little of y.
    assert np.linalg.norm(own.coef_) < np.linalg.norm(theirs.coef_)
    assert r2_score(y, X @ own.coef_ + own.intercept_) > theirs.score(X, y) - 1e-4


def test_nothing_is_opened(monkeypatch):
    X, y = scaled(n=20, d=2)
    with he.Session(device="cpu") as s:
        monkeypatch.setattr(s.scheme, "open", lambda stack: pytest.fail("opened"))
        model = he.Ridge().fit(s.share(X), s.share(y))
        model.partial_fit(X, y).predict(X)


# In batches


def integers(values):
    return [[Fraction(float(v)) for v in row] for row in np.asarray(values)]


def test_sums_are_exact_in_any_batches(session):
    X = rounded(scaled(n=23, d=3)[0])
    moments = Moments.of(session.share(X[:5]), True).added(session.share(X[5:6]))
    moments = moments.added(session.share(X[6:])).reveal()
    centre = [Fraction(int(c), 2**16) for c in moments.centre]
    away = [[v - c for v, c in zip(row, centre, strict=True)] for row in integers(X)]
    assert moments.n == 23
    assert [Fraction(int(s), 2**16) for s in moments.sums] == [
        sum(x) for x in zip(*away, strict=True)
    ]
    for i in range(3):
        for j in range(3):
            expected = sum(row[i] * row[j] for row in away)
            assert Fraction(int(moments.products[i, j]), 2**32) == expected
    # Opened and shared again they are what they were.
    again = moments.shared(session, "test").reveal()
    for name in ("centre", "sums", "products"):
        np.testing.assert_array_equal(getattr(again, name), getattr(moments, name))


@pytest.mark.parametrize("n", [1, 2, 3, 64, 1000])
def test_centred_products(session, n):
    rng = np.random.default_rng(n)
    X = rounded(rng.normal(size=(n, 3)) * [0.01, 1, 50] + [3, -40, 900])
    # The first batch's mean is far from that of all, as in data that drift.
    first = Moments.of(session.share(X[:1] + 7), True)
    moments = first.added(session.share(X))
    X = np.r_[X[:1] + 7, X]
    centred = moments.centred()
    mean = centred.mean.reveal() + centred.rest.reveal()
    # The mean is rounded to 2 units of 2^-30, and then some.
    np.testing.assert_allclose(mean, X.mean(0), rtol=2.0**-47, atol=3 * 2.0**-30)
    exact = (X - X.mean(0)).T @ (X - X.mean(0))
    # A unit of 2^-32, twice for a sum in float64, and n roundings of means, see `centred`.
    room = (2 + n * 2.0**-29) * 2.0**-32 + 2.0**-48 * np.abs(exact).max()
    assert np.abs(centred.products.reveal() - exact).max() < room


@pytest.mark.parametrize("make", [he.LinearRegression, lambda: he.Ridge(5.0)])
@pytest.mark.parametrize("where", ["session", "own", "both"])
def test_batches_add_up(make, where):
    X, y = rounded(scaled(n=90, d=4)[0]), rounded(scaled(n=90, d=4)[1])
    whole = make().fit(X, y)
    model, secret = make(), he.Session(device="cpu", seed=1)  # which is not the current one
    for at, end in ((0, 1), (1, 30), (30, 90)):
        if where == "session" or (where == "both" and end == 90):
            model.partial_fit(secret.share(X[at:end]), secret.share(y[at:end]))
        else:
            model.partial_fit(X[at:end], y[at:end])
    assert model.session_ is (None if where == "own" else secret)
    model.reveal()
    secret.close()
    # Both are rounded, each by itself.
    room = 2 * bound(X, y)
    assert rms(X @ (model.coef_ - whole.coef_) + model.intercept_ - whole.intercept_) < room


def test_a_public_fit_can_be_pickled_and_goes_on():
    X, y = rounded(scaled(n=60, d=3)[0]), rounded(scaled(n=60, d=3)[1])
    model = pickle.loads(pickle.dumps(he.LinearRegression().fit(X[:40], y[:40])))
    assert isinstance(model.intercept_, float)
    assert model.moments_.products.dtype == np.int64
    model.partial_fit(X[40:], y[40:])
    assert model.moments_.n == 60
    exact = SklearnLinear().fit(X, y)
    assert rms(model.predict(X) - exact.predict(X)) < bound(X, y)


def test_fit_forgets():
    X, y = scaled(n=30, d=2)
    model = he.LinearRegression().fit(X + 5, y * 2)
    model.fit(X[:, :1], y)
    assert (model.n_features_in_, model.moments_.n) == (1, 30)


def test_reveal_opens_coefficients_alone(monkeypatch):
    X, y = scaled(n=30, d=2)
    with he.Session(device="cpu") as s:
        model = he.LinearRegression().fit(X, y)
        opened_shapes = []
        real = s.scheme.open
        monkeypatch.setattr(
            s.scheme, "open", lambda stack: opened_shapes.append(stack.shape[1:]) or real(stack)
        )
        assert model.reveal() is model
        assert sorted(opened_shapes) == [(), (2,)]
        assert not hasattr(model, "moments_")
        with pytest.raises(ArgumentValueError, match="forgotten by reveal"):
            model.partial_fit(X, y)
    assert model.predict(X).shape == (30,)
    with pytest.raises(NotFittedError):
        he.Ridge().reveal()


def test_a_later_batch_must_match():
    X, y = scaled(n=30, d=2)
    with he.Session(device="cpu") as s, he.Session(device="cpu") as other:
        model = he.LinearRegression().fit(s.share(X), s.share(y))
        before = dict(vars(model))
        with pytest.raises(ArgumentValueError, match="X has 3 features, but LinearRegression is"):
            model.partial_fit(np.c_[X, X[:, 0]], y, session=s)
        for wrong in (y.reshape(-1, 1), np.c_[y, y]):
            with pytest.raises(ArgumentValueError, match=r"must have shape \(n,\), as before"):
                model.partial_fit(X, wrong, session=s)
        with pytest.raises(ArgumentValueError, match="different sessions"):
            model.partial_fit(other.share(X), y)
        model.set_params(fit_intercept=False)
        with pytest.raises(ArgumentValueError, match="fit_intercept must stay True"):
            model.partial_fit(X, y, session=s)
        model.set_params(fit_intercept=True)
        assert vars(model) == before
    with pytest.raises(SessionClosedError):
        model.partial_fit(X, y)
    two = he.LinearRegression().fit(X, np.c_[y, y])
    with pytest.raises(ArgumentValueError, match=r"must have shape \(n, 2\), as before"):
        two.partial_fit(X, y)
    coarse = he.Session(device="cpu", frac_bits=10)
    with pytest.raises(ArgumentValueError, match="must have 16 fraction bits"):
        two.partial_fit(X, np.c_[y, y], session=coarse)


# Ranges


def test_ranges_of_plaintext():
    X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([1.0, 2.0, 0.0, 1.0])
    large = X * 2.0**14  # squares of distances sum to 8.75 * 2^28
    with pytest.raises(
        RangeError, match=r"squared distances from the mean of X\[:, 0\] .* 2\*\*30"
    ):
        he.LinearRegression().fit(large, y)
    with pytest.raises(
        RangeError, match=r"squared distances from 0 of y\[:, 1\] .* got 3.3135e\+09"
    ):
        he.LinearRegression(fit_intercept=False).fit(X, np.c_[y, y * 23500])
    with pytest.raises(RangeError, match=r"the mean of X\[:, 0\] must stay below 2\*\*22"):
        he.LinearRegression().fit(X + 2.0**22, y)
    with pytest.raises(RangeError, match=r"alpha must be below 2\*\*29 with 16 fraction bits"):
        he.Ridge(2.0**29).fit(X, y)
    # Alpha counts with the squares: together they pass 2^30.
    with pytest.raises(RangeError, match="squared distances"):
        he.Ridge(0.99 * 2**29).fit(X * 8000, y)
    # The data before count too, where they are public.
    model = he.LinearRegression().fit(X * 8000, y)
    with pytest.raises(RangeError, match="partial_fit: the sum of squared distances"):
        model.partial_fit(X * 8000, y)
    # With fewer fraction bits there is more room.
    with he.Session(device="cpu", frac_bits=10):
        assert he.LinearRegression().fit(large, y).score(large, y) < 1


@pytest.mark.parametrize("alpha", [0.0, 0.99 * 2.0**29])
def test_the_ends_of_the_range_are_served(session, alpha):
    # Sums of squares just within 2^30, or 2^30 less alpha, of columns with the same direction.
    rng = np.random.default_rng(6)
    base = rng.normal(size=(50, 1)) + 1e-3 * rng.normal(size=(50, 3))
    X = base - base.mean(0)
    X *= np.sqrt(0.99 * 2**30 - alpha) / np.linalg.norm(X, axis=0)
    y = rounded(X[:, 0] * 0.7 + 0.3 * X[:, 1])
    X = rounded(X)
    own = he.Ridge(alpha).fit(X, y).reveal()
    exact = SklearnRidge(alpha, solver="cholesky").fit(X, y)
    assert rms(X @ own.coef_ + own.intercept_ - exact.predict(X)) < bound(X, y, alpha=alpha)


def test_shares_beyond_the_range_raise_in_the_plain_protocol():
    X, y = np.array([[0.0], [1.0], [2.0], [4.0]]) * 2.0**14, np.array([1.0, 2.0, 0.0, 1.0])
    s = he.Session(protocol="plain", device="cpu")
    with pytest.raises(RangeError, match="must stay below"):
        he.LinearRegression().fit(s.share(X), s.share(y))


# Manners


@pytest.mark.parametrize("alpha", [-1.0, np.nan, np.inf])
def test_alpha_is_checked(alpha):
    with pytest.raises(ArgumentValueError, match="alpha"):
        he.Ridge(alpha).fit([[1.0], [2.0]], [1.0, 2.0])


@pytest.mark.parametrize("alpha", ["1", None, [1.0, 2.0]])
def test_alpha_is_a_number(alpha):
    with pytest.raises(ArgumentTypeError, match="alpha must"):
        he.Ridge(alpha).fit([[1.0], [2.0]], [1.0, 2.0])


@pytest.mark.parametrize("estimator", [he.LinearRegression(), he.Ridge()])
def test_data_are_checked(estimator):
    X, y = np.ones((3, 2)), np.ones(3)
    for bad_X, bad_y in (
        (X[0], y),
        (X[:, :0], y),
        (X, y[:2]),
        (X, np.ones((3, 2, 1))),
        (np.full((3, 2), np.nan), y),
        (X, [1.0, np.inf, 2.0]),
        (X, None),
    ):
        for fit in (estimator.fit, estimator.partial_fit):
            with pytest.raises(ValueError, match="fit: "):
                fit(bad_X, bad_y)
            assert not hasattr(estimator, "coef_")
    with pytest.raises(NotFittedError):
        estimator.predict(X)


def test_a_failed_fit_leaves_the_model_as_it_was():
    X, y = scaled(n=30, d=2)
    model = he.LinearRegression().fit(X, y)
    before = dict(vars(model))
    with pytest.raises(RangeError):
        model.fit(X * 1e7, y)
    with pytest.raises(RangeError):
        model.partial_fit(X, y * 1e7)
    assert vars(model) == before


def test_words_of_32_bits_are_refused():
    short = he.Session(device="cpu", modulus=2**32, frac_bits=10)
    with pytest.raises(ArgumentValueError, match=r"modulus must be 2\*\*64, because"):
        he.LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0], session=short)


def test_public_and_secret_data_together(session):
    X, y = rounded(scaled(n=40, d=3)[0]), rounded(scaled(n=40, d=3)[1])
    exact = SklearnLinear().fit(X, y).predict(X)
    for left, right in ((X, session.share(y)), (session.share(X), y)):
        own = he.LinearRegression().fit(left, right)
        assert rms(own.predict(X).reveal() - exact) < bound(X, y) + 2.0**-23


def test_scikit_learns_tools():
    X, y = scaled(n=60, d=3)
    pipeline = make_pipeline(StandardScaler(), he.Ridge())
    search = GridSearchCV(pipeline, {"ridge__alpha": [0.1, 1e4]}, cv=2, error_score="raise")
    search.fit(X, y)
    assert search.best_params_ == {"ridge__alpha": 0.1}
    copy = clone(search.best_estimator_[-1])
    assert copy.get_params() == {"alpha": 0.1, "fit_intercept": True}
    assert repr(copy) == "Ridge(alpha=0.1)"
    assert not hasattr(copy, "coef_")
