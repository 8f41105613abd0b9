"""Logistic regression on shares beside its objective's minimum in float64.

How far a fit may stray: with g what its gradient is off by, in the norm of scaled columns, and s
the smallest eigenvalue of the scaled Hessian at the minimum, weights are off by |g| / s to first
order. Here s is computed, and |g| is tol and what rounding adds: columns are off by half a unit u
of 2^-16 beside a deviation of 2 or less, which moves scores by u / 2 |w|_1 and gradients by as
much; probabilities by 2^-19 for two classes, and for more by 5e-5 and 2^-20.
"""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

import he_gpu as he
from he_gpu import errors
from he_gpu.models import newton
from he_gpu.models.scaled_columns import ScaledColumns
from tests.conftest import require_device

SESSIONS = {
    "plain": {"protocol": "plain"},
    "additive": {"protocol": "additive"},
    "additive-3": {"protocol": "additive", "parties": 3},
    "replicated": {"protocol": "replicated"},
}


@pytest.fixture(params=SESSIONS)
def session(request):
    with he.Session(device="cpu", seed=7, **SESSIONS[request.param]) as s:
        yield s


def problem(n, d, n_classes, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)))
    scores = X @ rng.normal(size=(d, n_classes)) + noise * rng.gumbel(size=(n, n_classes))
    y = scores.argmax(1)
    y[:n_classes] = np.arange(n_classes)
    return X, y


def probabilities(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Reference:
    """The minimum by Newton's method in float64, on columns as the fit scales them.

    Attributes:
        coef, intercept: as of the estimator.
        loss: the objective over C n.
        limit, limit_scores: how far coefficients (n_outputs, d) of a fit may be, and scores.
    """

    def __init__(self, X, y, C, intercept=True, tol=1e-4):
        (n, d), k = X.shape, len(np.unique(y))
        N, c = 2 ** (n - 1).bit_length(), 0.25 if k == 2 else 0.5
        centre = X.mean(0) if intercept else np.zeros(d)
        strength = 1 / (C * N)
        scale = (c * ((X - centre) ** 2).sum(0) / N + strength) ** -0.5
        A = (X - centre) * scale
        factors = strength * scale**2
        if intercept:
            A, factors = np.c_[A, np.full(n, c**-0.5)], np.r_[factors, 0]
        m, outputs = A.shape[1], 1 if k == 2 else k
        hot = y[:, None] if k == 2 else np.eye(k)[y]
        w, penalty = np.zeros((m, outputs)), np.kron(np.diag(factors), np.eye(outputs))
        for _ in range(60):
            z = A @ w
            p = probabilities(np.c_[np.zeros(n), z])[:, 1:] if k == 2 else probabilities(z)
            g = (A.T @ (p - hot) / N + factors[:, None] * w).reshape(-1)
            H = penalty.copy()
            for i in range(outputs):
                for j in range(outputs):
                    weights = (p[:, i] * ((i == j) - p[:, j]))[:, None]
                    H[i::outputs, j::outputs] += A.T @ (weights * A) / N
            # Where all of several classes move alike H has zeros, and g too.
            step = np.linalg.solve(H + 1e-12 * np.eye(len(H)), g).reshape(m, -1)
            largest = np.abs(A @ step).max()
            w = w - min(1.0, 2.0 / max(largest, 1e-9)) * step
            if largest < 1e-10:
                break
        assert np.abs(g).max() < 1e-8
        z = A @ w
        p = np.c_[1 - p, p] if k == 2 else p
        losses = -np.log(p[np.arange(n), y])
        self.loss = losses.mean() + 0.5 * (factors[:, None] * w**2).sum() * N / n
        self.coef = (w[:d] * scale[:, None]).T
        self.intercept = (w[-1] * c**-0.5 if intercept else 0.0) - self.coef @ centre
        u = 2.0**-16
        moved = u / 2 * np.abs(w).sum(0).max()
        error = 2.0**-19 if k == 2 else 5e-5 + 2.0**-20
        gradient = tol + np.sqrt(m * w.shape[1]) * (2 * moved + u / 2 + 2 * error)
        eigenvalues = np.linalg.eigvalsh(H)
        # The Hessian of several classes has zeros where all of them move alike, as no fit does.
        self.least = eigenvalues[eigenvalues > 1e-9].min()
        self.far = gradient / self.least
        self.limit = 1.1 * self.far * scale + 2.0**-20
        self.limit_scores = 1.1 * self.far * np.sqrt((A**2).sum(1)) + (1 + np.abs(X)).sum(1) * u

    def check(self, model, X, clear_share=0.9):
        """Hold a fit's coefficients, scores and classes against it.

        Of at least `clear_share` of the rows the class must be clear, or the check says too little.
        """
        coef, intercept = opened(model.coef_), opened(model.intercept_)
        assert coef.shape == self.coef.shape
        assert intercept.shape == (len(coef),)
        assert (np.abs(coef - self.coef) <= self.limit).all()
        scores, expected = X @ coef.T + intercept, X @ self.coef.T + self.intercept
        off = np.abs(scores - expected).max(axis=1)
        assert (off <= self.limit_scores).all()
        found = opened(model.predict(X))
        ordered = np.sort(np.c_[expected, np.zeros(len(X))] if len(coef) == 1 else expected)
        clear = ordered[:, -1] - ordered[:, -2] > 2 * self.limit_scores
        indices = expected[:, 0] > 0 if len(coef) == 1 else expected.argmax(1)
        assert (found[clear] == indices[clear]).all()
        assert clear.mean() > clear_share


def opened(value):
    return value.reveal() if isinstance(value, he.SecretTensor) else np.asarray(value)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("secret", [False, True])
def test_it_finds_the_minimum(session, n_classes, secret):
    X, y = problem(90, 4, n_classes)
    reference = Reference(X, y, 1.0)
    assert reference.far < 0.05
    data = (session.share(X), session.share(np.eye(n_classes)[y])) if secret else (X, y)
    model = he.LogisticRegression().fit(*data)
    # Of three classes more rows are near a border, and softmax has the larger error.
    reference.check(model, X, 0.9 if n_classes == 2 else 0.8)
    assert model.n_iter_ <= 8
    assert model.classes_.tolist() == list(range(n_classes))
    assert model.loss_steps_ == list(range(model.n_iter_ + 1))
    assert model.loss_curve_[0] == np.log(n_classes)
    assert (np.diff(model.loss_curve_) < 2.0**-13).all()
    # Of loss a gradient g leaves g**2 / (2 least); logarithms are off by 2^-15 and a few units.
    slack = reference.far**2 * reference.least / 2 + 2.0**-14
    assert abs(model.loss_curve_[-1] - reference.loss) < slack


@pytest.mark.parametrize("C", [0.01, 100.0])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_penalty_and_the_intercept(C, intercept):
    X, y = problem(120, 3, 2, seed=1)
    X = X * [1.0, 0.1, 10.0] + [0.0, 1.0, -5.0]
    reference = Reference(X, y, C, intercept)
    model = he.LogisticRegression(C=C, fit_intercept=intercept, log_every=0)
    for protocol in ("plain", "additive"):
        with he.Session(protocol, device="cpu") as s:
            for data in ((X, y), (s.share(X), s.share(y))):
                reference.check(model.fit(*data), X)
                assert intercept or not opened(model.intercept_).any()
                assert model.loss_curve_ == model.loss_steps_ == []


@pytest.mark.parametrize(("n", "d", "n_classes"), [(60, 130, 2), (150, 44, 3)])
def test_conjugate_gradients_take_over_where_the_hessian_is_large(session, n, d, n_classes):
    X, y = problem(n, d, n_classes, seed=2, noise=3.0)
    X /= np.abs(X).max()
    reference = Reference(X, y, 0.5)
    model = he.LogisticRegression(C=0.5, log_every=0).fit(X, y)
    reference.check(model, X)


def test_public_fits_take_columns_of_any_scale():
    X, y = problem(80, 4, 2, seed=3)
    scale = np.array([1e6, 1e-3, 1e100, 1.0])
    model = he.LogisticRegression(C=1e300).set_params(C=1.0).fit(X * scale + scale, y)
    assert type(model.coef_) is np.ndarray
    narrow = Reference(X[:, [0, 1, 2]] * [1e6, 1e-3, 1], y, 1.0)
    assert np.isfinite(model.coef_).all()
    assert narrow.coef.shape == (1, 3)
    assert model.session_ is None
    assert pickle.loads(pickle.dumps(model)).predict(X * scale + scale).shape == (80,)
    assert model.score(X * scale + scale, y) > 0.7


@pytest.mark.parametrize(
    "labels", [["no", "yes", "maybe"], [-7, 0, 12], [1.0, 3.0, 2.0], [True, False]]
)
def test_labels_of_any_kind(labels):
    X, index = problem(50, 3, len(labels), seed=4)
    y = np.array(labels)[index]
    model = he.LogisticRegression(log_every=0).fit(X, y)
    assert model.classes_.tolist() == sorted(labels)
    predicted = model.predict(X)
    assert predicted.dtype == y.dtype
    assert model.score(X, y) == (predicted == y).mean() > 0.6
    p = model.predict_proba(X)
    assert p.shape == (50, len(labels))
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(model.classes_[p.argmax(axis=1)], predicted)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_of_secrets(session, n_classes):
    X, y = problem(40, 2, n_classes, seed=5, noise=0.3)
    model = he.LogisticRegression(log_every=0).fit(X, y)
    p = model.predict_proba(session.share(X)).reveal()
    z = opened(model.decision_function(X))
    expected = probabilities(np.c_[np.zeros(40), z] if n_classes == 2 else z)
    # Scores differ by the columns' rounding, a unit for a few coefficients, p by 2 units and 5e-5.
    assert np.abs(p - expected).max() < 2.0**-12
    hot = session.share(np.eye(n_classes)[y])
    assert model.score(session.share(X), hot) == model.score(X, y) > 0.7


def test_constant_columns_one_feature_and_one_sample_of_a_class():
    X, y = problem(40, 3, 2, seed=6)
    for columns in (np.c_[X, np.full(40, 3.0), np.zeros(40)], X[:, :1]):
        Reference(columns, y, 1.0).check(he.LogisticRegression().fit(columns, y), columns)
    model = he.LogisticRegression().fit(np.ones((4, 2)), [0, 1, 1, 1])
    assert not model.coef_.any()
    # Without columns that tell samples apart the intercept is the log odds, to tol over p (1 - p)
    # times the square of the column's 2, and a factor N / n of 1.
    assert abs(model.intercept_[0] - np.log(3)) < 1e-4 / (4 * 3 / 16) * 2 + 2.0**-17


@pytest.mark.parametrize(
    ("C", "scale"), [(1e-6, 1.0), (1e-3, 1.0), (1.0, 1e3), (1.0, 1e-3), (1e-4, 1e5)]
)
def test_few_steps_for_any_penalty_scale_and_share_of_classes(C, scale):
    # Eigenvalues of the Hessian reach from 2 to 1e-6: the intercept's of a rare class, and those
    # of columns of small and of large deviations that depend on each other.
    rng = np.random.default_rng(14)
    X = rng.normal(size=(120, 4))
    X = np.c_[X, X[:, 0] + 0.01 * X[:, 1]] * [1, 1, scale, 1, 1]
    y = (X[:, 0] > 1.9).astype(int)
    assert 2 <= y.sum() <= 6
    fits = [he.LogisticRegression(C=C, log_every=0).fit(X, y)]
    if scale == 1:
        with he.Session("plain", device="cpu") as s:
            fits.append(he.LogisticRegression(C=C, log_every=0).fit(s.share(X), s.share(y)))
            fits[1].reveal()
    for model in fits:
        assert model.n_iter_ <= 15
        p = model.predict_proba(X)[:, 1]
        # To tol, of a column whose square is 4 and whose mean is over 128 samples.
        assert abs((p - y).sum()) < 128 * (1e-4 + 2.0**-17)


def test_directions_of_the_flattest_hessian_stay_in_range():
    # The inverse of an eigenvalue of 0 is taken to be some 2^24, and so long is the direction.
    with he.Session("plain", device="cpu") as s:
        H, r = s.share(np.diag([2.0, 0.0])), s.share([[0.0], [1.0]])
        x = newton._solved(H, r.with_frac_bits(24)).reveal()
        assert 2.0**20 < x[1, 0] < 2.0**25
        assert abs(x[0, 0]) < 2.0**-16


def test_weights_that_show_the_rounding_of_columns_warn():
    t = np.linspace(-1, 1, 20)
    X, y = np.c_[np.ones(20), 1 + 1e-4 * t], (t > 0).astype(int)
    y[[9, 10]] = 1, 0
    model = he.LogisticRegression(C=1e9, fit_intercept=False, tol=0, max_iter=40)
    with pytest.warns(errors.ConvergenceWarning, match="nearly dependent columns"):
        model.fit(X, y)
    he.LogisticRegression(C=1e9).fit(X, y)  # where the intercept takes the means off


def test_secret_coefficients_of_tiny_columns_are_refused():
    X, y = problem(60, 3, 2, seed=15)
    narrow, constant = X * [1, 1e-5, 1], np.c_[X, np.full(60, 3.0)]
    with he.Session(device="cpu"):
        with pytest.raises(errors.RangeError, match=r"X\[:, 1\] must vary by 2\*\*-8 or more"):
            he.LogisticRegression(C=1e9).fit(narrow, y)
        assert he.LogisticRegression(C=1e4).fit(constant, y).score(constant, y) > 0.8
    assert he.LogisticRegression(C=1e9).fit(narrow, y).score(narrow, y) > 0.8


@pytest.mark.parametrize("C", [5e-324, 1e-300])
def test_the_strongest_penalties_leave_the_intercept(C):
    X, y = problem(40, 2, 2, seed=16)
    model = he.LogisticRegression(C=C, log_every=0).fit(X, y)
    assert np.abs(model.coef_).max() < 2.0**-20
    assert abs(model.intercept_[0] - np.log(y.mean() / (1 - y.mean()))) < 1e-3


@pytest.mark.parametrize("secret", [False, True])
def test_separable_data_with_a_weak_penalty(secret):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(100, 4))
    y = (X @ [3, -2, 1, 0] > 0.3).astype(int)
    with he.Session("plain", device="cpu") as s:
        data = (s.share(X), s.share(y)) if secret else (X, y)
        model = he.LogisticRegression(C=1e4).fit(*data)
        assert model.score(X, y) == 1.0
        assert model.n_iter_ < 20
        assert model.loss_curve_[-1] < 0.01


def test_steps_that_are_too_long_are_halved(monkeypatch):
    rng = np.random.default_rng(13)
    X = rng.standard_cauchy((100, 5))
    X /= X.std(axis=0)
    y = (X @ rng.normal(size=(5, 5)) * 30 + 5 * rng.gumbel(size=(100, 5))).argmax(axis=1)
    y[:5] = range(5)
    too_long = []
    judged = newton._judged

    def noted(*arguments):
        bits = judged(*arguments)
        too_long.append(bits[1])
        return bits

    monkeypatch.setattr(newton, "_judged", noted)
    with he.Session("plain", device="cpu"):
        model = he.LogisticRegression(C=30.0).fit(X, y)
    assert 1 <= sum(too_long) <= 4
    assert len(too_long) - sum(too_long) == model.n_iter_ < 15
    assert (np.diff(model.loss_curve_) < 0).all()
    # Of loss a gradient g leaves g**2 / (2 least); logarithms are off by 2^-15 and a few units.
    reference = Reference(X, y, 30.0)
    slack = reference.far**2 * reference.least / 2 + 2.0**-14
    assert abs(model.loss_curve_[-1] - reference.loss) < slack < 0.01


def test_the_emulator_agrees():
    device = require_device("emulator")
    X, y = problem(12, 2, 2, seed=8)
    reference = Reference(X, y, 1.0)
    with he.Session(device=device, seed=1):
        reference.check(he.LogisticRegression(log_every=0).fit(X, y), X)


def test_a_fit_that_ends_early_warns():
    X, y = problem(50, 3, 2, seed=9)
    with pytest.warns(errors.ConvergenceWarning, match="not converged after max_iter=1 steps"):
        model = he.LogisticRegression(max_iter=1).fit(X, y)
    assert model.n_iter_ == 1
    with pytest.warns(errors.ConvergenceWarning):
        model = he.LogisticRegression(max_iter=0).fit(X, y)
    assert not model.coef_.any()
    assert model.loss_curve_ == [np.log(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = he.LogisticRegression(max_iter=3, tol=0).fit(X, y)
    assert model.n_iter_ == 3


def test_losses_at_some_steps():
    X, y = problem(50, 3, 2, seed=9)
    every = he.LogisticRegression().fit(X, y)
    some = he.LogisticRegression(log_every=2).fit(X, y)
    assert some.loss_steps_ == list(range(0, every.n_iter_ + 1, 2))
    # Both fits round at random, each loss by some units.
    np.testing.assert_allclose(some.loss_curve_, every.loss_curve_[::2], atol=2.0**-13)


def test_secrets_out_of_range_end_in_an_error():
    X, y = problem(40, 2, 2, seed=10)
    with he.Session(device="cpu", seed=3) as s:
        with pytest.raises(errors.DivergenceError, match="secret y holds 0 and 1") as caught:
            he.LogisticRegression().fit(s.share(X), s.share(y * 5.0))
        assert caught.value.loss_curve[0] == np.log(2)
        model = he.LogisticRegression()
        with pytest.raises(errors.DivergenceError):
            model.fit(s.share(X), s.share(y * 5.0))
        assert not hasattr(model, "coef_")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"C": 0}, ValueError, r"C must be in \(0, inf\), got 0"),
        ({"C": -1.0}, ValueError, "got -1"),
        ({"C": np.inf}, ValueError, "got inf"),
        ({"C": np.nan}, ValueError, "got nan"),
        ({"C": "1"}, TypeError, "C must be a number, got str"),
        ({"tol": "small"}, TypeError, "tol must be a number, got str"),
        ({"tol": -1e-4}, ValueError, r"tol must be in \[0, inf\)"),
        ({"max_iter": -1}, ValueError, "max_iter must be at least 0, got -1"),
        ({"max_iter": 2.0}, TypeError, "max_iter must be an integer, got float"),
        ({"log_every": True}, TypeError, "log_every must be an integer, got bool"),
        ({"fit_intercept": "yes"}, TypeError, "fit_intercept must be True or False, got 'yes'"),
    ],
)
def test_parameters_are_checked(parameters, error, message):
    X, y = problem(20, 2, 2)
    model = he.LogisticRegression(**parameters)
    with pytest.raises(error, match=message) as caught:
        model.fit(X, y)
    assert isinstance(caught.value, errors.HeGpuError)
    assert not hasattr(model, "classes_")


def test_data_are_checked():
    X, y = problem(20, 2, 2)
    model = he.LogisticRegression()
    for wrong, message in (
        ((X, np.ones(20)), "at least 2 classes"),
        ((X, y[:-1]), "20 rows"),
        ((np.where(X > 1, np.nan, X), y), "NaN"),
        ((X[0], y), "2-d"),
        ((X, X[:, 0]), "Unknown label type"),
    ):
        with pytest.raises(errors.ArgumentValueError, match=message):
            model.fit(*wrong)
    with pytest.raises(errors.NotFittedError):
        model.predict(X)
    with he.Session(device="cpu"), pytest.raises(errors.RangeError, match=r"X\[:, 1\] .* 2\*\*12"):
        model.fit(X * [1, 1e5], y)
    with (
        he.Session(modulus=2**32, frac_bits=10, device="cpu"),
        pytest.raises(errors.ArgumentValueError, match=r"modulus must be 2\*\*64"),
    ):
        model.fit(X, y)
    with he.Session(device="cpu") as s:
        many = he.SecretTensor(s, np.zeros((2, 2**22 + 1, 1), np.uint64), 16)
        with pytest.raises(errors.RangeError, match="at most 4194304 samples, got 4194305"):
            ScaledColumns.of(s, many, 1.0, 0.25, True)


@pytest.mark.parametrize("frac_bits", [10, 20])
def test_other_fraction_bits(frac_bits):
    X, y = problem(60, 3, 2, seed=11)
    X = np.rint(X * 256) / 256
    reference = Reference(X, y, 1.0)
    with he.Session(frac_bits=frac_bits, device="cpu"):
        coef = he.LogisticRegression().fit(X, y).coef_.reveal()
    # Columns are rounded to the session's unit; its effect on the gradient is as in Reference.
    unit = 2.0 ** -min(frac_bits, 16)
    moved = unit * (1 + np.abs(reference.coef).sum()) * 2 / reference.least
    assert (np.abs(coef - reference.coef) < reference.limit + moved).all()


def test_what_a_fit_costs():
    X, y = problem(64, 4, 2, seed=12)
    costs = []
    for max_iter in (1, 2):
        with he.Session(device="cpu", seed=1) as s:
            he.LogisticRegression(tol=0, max_iter=max_iter, log_every=0).fit(X, y)
            costs.append(s.cost.rounds)
    assert 100 < costs[1] - costs[0] < 150


def data_of(name):
    """A data set of scikit-learn, split and standardised."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn brings the data")
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), scaler.transform(X_test), y, y_test


@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
def test_breast_cancer_has_the_accuracy_of_scikit_learn(protocol):
    X, X_test, y, y_test = data_of("breast_cancer")
    from sklearn.linear_model import LogisticRegression

    theirs = LogisticRegression().fit(X, y).score(X_test, y_test)
    with he.Session(protocol, device="cpu", seed=1):
        model = he.LogisticRegression().fit(X, y)
        assert model.score(X_test, y_test) == theirs > 0.96
        Reference(X, y, 1.0).check(model, X)
        assert model.n_iter_ <= 10


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_digits_have_the_accuracy_of_scikit_learn(protocol):
    X, X_test, y, y_test = data_of("digits")
    from sklearn.linear_model import LogisticRegression

    theirs = LogisticRegression().fit(X, y).score(X_test, y_test)
    with he.Session(protocol, device="cpu", seed=1):
        model = he.LogisticRegression().fit(X, y)
        assert abs(model.score(X_test, y_test) - theirs) <= 0.005
        assert model.n_iter_ <= 12
