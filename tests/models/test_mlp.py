"""Perceptrons beside scikit-learn's own, over every protocol, and the manners of estimators."""

from __future__ import annotations

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.errors import ConvergenceWarning, DivergenceError, RangeError

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[test]'")

from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits

SESSIONS = {
    "plain": {"protocol": "plain"},
    "additive-2": {"protocol": "additive"},
    "additive-3": {"protocol": "additive", "parties": 3},
    "replicated": {"protocol": "replicated"},
    "plain-32": {"protocol": "plain", "modulus": 2**32, "frac_bits": 10},
    "additive-32": {"protocol": "additive", "modulus": 2**32, "frac_bits": 10},
    "replicated-32": {"protocol": "replicated", "modulus": 2**32, "frac_bits": 10},
}
WIDE = [name for name in SESSIONS if not name.endswith("32")]
SGD = {
    "solver": "sgd", "learning_rate_init": 0.1, "momentum": 0.5, "batch_size": 16,
    "random_state": 3,
}  # fmt: skip
QUIET = {"log_every": 0, "max_iter": 3}

rng = np.random.default_rng(0)
X = rng.integers(-256, 257, (40, 3)) / 256
Z = X[:, 0] * X[:, 1] + 0.5 * X[:, 2]
TARGETS = {
    "classes": np.digitize(Z, [-0.2, 0.2]),
    "two": np.where(Z > 0, "yes", "no"),
    "reals": np.rint(256 * Z) / 256,
    "rows": np.rint(256 * np.stack([Z, 1 - Z**2], 1)) / 256,
}


def open_session(name):
    return he.Session(**SESSIONS[name], seed=5, device="cpu")


def make(name, **parameters):
    kind = he.MLPRegressor if name in ("reals", "rows") else he.MLPClassifier
    return kind(**{"hidden_layer_sizes": (5,), **SGD, **parameters})


def silently(model, *data, **arguments):
    """A fit that may end before it has converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data, **arguments)


def theirs(name, **parameters):
    """What scikit-learn's perceptron learns with the same parameters."""
    kind = getattr(neural_network, type(make(name)).__name__)
    parameters = {"hidden_layer_sizes": (5,), **SGD, "shuffle": False, **parameters}
    model = kind(**parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, TARGETS[name])


def weights(model):
    """All numbers of a network in one vector, in the open."""
    values = [*model.coefs_, *model.intercepts_]
    opened = [v.reveal() if isinstance(v, he.SecretTensor) else v for v in values]
    return np.concatenate([np.ravel(value) for value in opened])


def limit(session, n_steps, momentum=0.5, smooth=0):
    """How far weights may be off after so many steps at rate 0.1.

    Inputs and targets are exact. Residuals are off by the error of softmax, 5e-5 and 2^-20, or two
    units of 2^-f for sigmoid and without either; in Z_2^32 by 2.5e-3 and 2^-11. A mean gradient is
    off by that times a mean unit of a layer, or a sum of weights times an input, below 2 each. A
    smooth layer is off by 2 units, its slope by 6, what follows with weights below 2 by 8. Steps
    sum these errors, each 1 / (1 - momentum) times.
    """
    f = session.frac_bits
    residual = 5e-5 + 2.0**-16 if f > 10 else 2.5e-3 + 2.0**-11
    return n_steps * 0.1 / (1 - momentum) * (2 * residual + 16 * smooth * 2.0**-f)


@pytest.mark.parametrize("session_name", SESSIONS)
@pytest.mark.parametrize("name", TARGETS)
def test_descent_is_scikit_learns(session_name, name):
    parameters = {"max_iter": 3, "shuffle": False, "alpha": 0.125}
    reference = theirs(name, **parameters)
    with open_session(session_name) as s:
        model = silently(make(name, **parameters), X, TARGETS[name], session=s)
        far = limit(s, 3 * 3)
        assert all(isinstance(value, he.SecretTensor) for value in model.coefs_)
        assert [coef.shape for coef in model.coefs_] == [c.shape for c in reference.coefs_]
        assert np.abs(weights(model) - weights(reference)).max() <= far
        # Each loss moves by the sum of |g|, below 8 for some 30 weights, times their distance;
        # softplus, logsumexp and the squares are off by 4 units each and 2^-15 (2^-8).
        away = np.abs(np.subtract(model.loss_curve_, reference.loss_curve_)).max()
        assert away <= 8 * far + 8 * 2.0**-s.frac_bits + (2.0**-15 if s.frac_bits > 10 else 2.0**-8)
        assert (model.n_iter_, model.loss_epochs_, model.t_) == (3, [0, 1, 2], reference.t_)
        assert model.loss_ == model.loss_curve_[-1]
        assert model.best_loss_ == min(model.loss_curve_)
        assert (model.n_layers_, model.n_outputs_) == (3, reference.n_outputs_)
        assert model.out_activation_ == reference.out_activation_
        predicted = model.predict(X).reveal()
        if name in ("reals", "rows"):
            assert predicted.shape == TARGETS[name].shape
            # An output sums 5 units below 4 and a bias; each of the units 3 inputs and a bias.
            assert np.abs(predicted - reference.predict(X)).max() <= 32 * far
            assert model.score(X, TARGETS[name]) == pytest.approx(
                reference.score(X, TARGETS[name]), abs=64 * far
            )
        else:
            p, q = model.predict_proba(s.share(X)).reveal(), reference.predict_proba(X)
            assert np.abs(p - q).max() <= 16 * far + 2.0**-8
            top = np.sort(q, 1)
            clear = top[:, -1] - top[:, -2] > 2 * (16 * far + 2.0**-8)
            assert (model.classes_[predicted.astype(int)] == reference.predict(X))[clear].all()
            assert s.frac_bits == 10 or clear.mean() > 0.85


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_layers_and_activations_are_scikit_learns(activation):
    parameters = {
        "hidden_layer_sizes": [6, 4],
        "activation": activation,
        "max_iter": 2,
        "batch_size": "auto",
        "nesterovs_momentum": False,
        "shuffle": False,
    }
    reference = theirs("classes", **parameters)
    with open_session("additive-2") as s:
        model = silently(make("classes", **parameters), X, TARGETS["classes"])
        assert np.abs(weights(model) - weights(reference)).max() <= limit(s, 2, smooth=2)
        assert model.n_layers_ == 4


@pytest.mark.parametrize("hidden", [(), 4])
def test_no_hidden_layer_or_one_number(hidden):
    parameters = {"hidden_layer_sizes": hidden, "max_iter": 2, "momentum": 0.0, "shuffle": False}
    reference = theirs("reals", **parameters)
    with open_session("plain") as s:
        model = silently(make("reals", **parameters), X, TARGETS["reals"])
        assert np.abs(weights(model) - weights(reference)).max() <= limit(s, 6, momentum=0)


@pytest.mark.parametrize(
    ("schedule", "more"),
    [
        ("invscaling", {"power_t": 0.25}),
        ("adaptive", {"n_iter_no_change": 1, "tol": 0.1}),
        ("constant", {"n_iter_no_change": 2, "tol": 0.1, "max_iter": 50}),
    ],
)
def test_learning_rates_and_the_end_are_scikit_learns(schedule, more):
    # Without momentum: scikit-learn keeps the old rate in it, and PyTorch, as here, does not.
    parameters = {
        "learning_rate": schedule, "momentum": 0.0, "max_iter": 10, "shuffle": False, **more
    }  # fmt: skip
    reference = theirs("classes", **parameters)
    with open_session("plain"):
        model = silently(make("classes", **parameters), X, TARGETS["classes"])
    assert model.n_iter_ == reference.n_iter_
    np.testing.assert_allclose(model.loss_curve_, reference.loss_curve_, atol=1e-3)
    constant = theirs("classes", **parameters | {"learning_rate": "constant", "tol": 0.0})
    same = len(constant.loss_curve_) == model.n_iter_ and np.allclose(
        model.loss_curve_, constant.loss_curve_, atol=2e-3
    )
    assert not same
    # That is how it should be: a constant rate would have ended there.
    assert (model.n_iter_ < parameters["max_iter"]) == (schedule == "constant")


def adam(model, X, hot, n_epochs, batch):
    """Weights after epochs of Adam in float64, from the same initial weights in the same order."""
    units = [X.shape[1], *np.atleast_1d(model.hidden_layer_sizes), hot.shape[1]]
    draw, w = np.random.RandomState(model.random_state), []
    for n_in, n_out in pairwise(units):
        bound = np.sqrt(6 / (n_in + n_out))
        w += [draw.uniform(-bound, bound, (n_in, n_out)), draw.uniform(-bound, bound, n_out)]
    m, v, t = [0.0] * 4, [0.0] * 4, 0
    for _ in range(n_epochs):
        for start in range(0, len(X), batch):
            x, y = X[start : start + batch], hot[start : start + batch]
            h = np.maximum(x @ w[0] + w[1], 0)
            e = np.exp(h @ w[2] + w[3])
            e = (e / e.sum(1, keepdims=True) - y) / len(x)
            back = (e @ w[2].T) * (h > 0)
            decay = model.alpha / len(x)
            g = [x.T @ back + decay * w[0], back.sum(0), h.T @ e + decay * w[2], e.sum(0)]
            t += 1
            for i in range(4):
                m[i] = model.beta_1 * m[i] + (1 - model.beta_1) * g[i]
                v[i] = model.beta_2 * v[i] + (1 - model.beta_2) * g[i] ** 2
                root = np.sqrt(v[i] / (1 - model.beta_2**t) + model.epsilon**2)
                rate = model.learning_rate_init / (1 - model.beta_1**t)
                w[i] = w[i] - rate * m[i] / root
    return np.concatenate([np.ravel(part) for part in (w[0], w[2], w[1], w[3])])


@pytest.mark.parametrize("session_name", WIDE)
def test_adam_is_that_of_float64(session_name):
    # With this epsilon a step is at most g / epsilon, so that errors of g are not blown up.
    parameters = {"solver": "adam", "epsilon": 0.125, "beta_1": 0.5, "beta_2": 0.75, "alpha": 0.125}
    model = make("classes", max_iter=2, shuffle=False, **parameters)
    expected = adam(model, X, np.eye(3)[TARGETS["classes"]], 2, 16)
    with open_session(session_name) as s:
        silently(model, X, TARGETS["classes"], session=s)
        # m and the root of v move by the error of g, over epsilon each, and m is below the root.
        assert np.abs(weights(model) - expected).max() <= 2 / 0.125 * limit(s, 6, momentum=0)


def test_the_order_is_public_and_repeats():
    found = {}
    for name in ("plain", "additive-2"):
        for seed in (0, 0, 1):
            with open_session(name) as s:
                model = silently(make("two", max_iter=2, random_state=seed), X, TARGETS["two"])
                found.setdefault(seed, []).append(weights(model))
                far = limit(s, 6)
    assert all(np.abs(w - found[0][0]).max() <= far for w in found[0])
    assert np.abs(found[1][0] - found[0][0]).max() > 0.1
    ordered = theirs("two", max_iter=2, random_state=0)
    assert np.abs(weights(ordered) - found[0][0]).max() > 4 * far
    generator = np.random.RandomState(0)
    with open_session("plain"):
        same = silently(make("two", max_iter=2, random_state=generator), X, TARGETS["two"])
        assert np.abs(weights(same) - found[0][0]).max() <= far


@pytest.mark.parametrize(
    ("solver", "session_name"),
    [("sgd", name) for name in (*SESSIONS, None)] + [("adam", name) for name in (*WIDE, None)],
)  # fmt: skip
def test_partial_fits_are_epochs_of_one_fit(solver, session_name):
    parameters = {
        "solver": solver, "epsilon": 0.125, "shuffle": False, "alpha": 0.125, "log_every": 1
    }  # fmt: skip
    y = TARGETS["classes"]

    def trained(session, factor):
        whole = silently(make("classes", max_iter=3, **parameters), X, y, session=session)
        parts, kept = make("classes", **parameters), []
        for epoch in range(3):
            given = session is not None and epoch == 1
            first = {"classes": [2, 1, 0]} if epoch == 0 else {}
            inputs = session.share(X) if given else X
            labels = session.share(np.eye(3)[y]) if given else y
            assert parts.partial_fit(inputs, labels, session=session, **first) is parts
            kept.append(parts.loss_curve_)
        assert [len(curve) for curve in kept] == [1, 2, 3]
        assert parts.loss_epochs_ == whole.loss_epochs_ == [0, 1, 2]
        assert (parts.n_iter_, parts.t_) == (whole.n_iter_, whole.t_) == (3, 120)
        assert np.abs(weights(whole) - weights(parts)).max() <= factor
        return parts

    with he.Session(device="cpu") if session_name is None else open_session(session_name) as s:
        far = (16 if solver == "adam" else 2) * limit(s, 9)
        if session_name is not None:
            trained(s, far)
            return
    assert all(type(coef) is np.ndarray for coef in trained(None, far).coefs_)


def test_partial_fit_of_a_regressor_goes_on_in_its_session():
    model = make("rows", random_state=0)
    with open_session("additive-2") as s:
        model.partial_fit(X, TARGETS["rows"])
        model.partial_fit(s.share(X[:7]), TARGETS["rows"][:7])
    with pytest.raises(RuntimeError, match="the session is closed"):
        model.partial_fit(X, TARGETS["rows"])
    with pytest.raises(RuntimeError, match="the session is closed"):
        model.predict(X)
    assert model.n_iter_ == 2
    public = make("rows").partial_fit(X, TARGETS["rows"])
    before = weights(public)
    with open_session("additive-2") as s:
        public.partial_fit(X, TARGETS["rows"], session=s)
        assert isinstance(public.predict(X), he.SecretTensor)
        assert 0 < np.abs(weights(public) - before).max() < 1
        public.reveal()
    assert public.partial_fit(X, TARGETS["rows"]).predict(X).shape == (40, 2)
    with pytest.raises(
        ValueError, match=r"partial_fit: y must have 2 target\(s\) as before, got 1"
    ):
        public.partial_fit(X, TARGETS["reals"])


@pytest.mark.parametrize("session_name", ["plain", "additive-2", "replicated", "additive-32"])
@pytest.mark.parametrize("name", ["classes", "two", "reals"])
def test_early_stopping_keeps_the_best_network(name, session_name):
    y = TARGETS[name]
    model = make(
        name, early_stopping=True, validation_fraction=0.25, n_iter_no_change=2, max_iter=20,
        tol=0.1, learning_rate_init=0.5,
    )  # fmt: skip
    with open_session(session_name) as s:
        model.fit(X, y, session=s)
        assert model.n_iter_ == len(model.validation_scores_) < 20
        assert model.best_loss_ is None
        scores = model.validation_scores_
        assert model.best_validation_score_ == max(scores)
        # Its rows are drawn behind the initial weights, whatever these are.
        draw = np.random.RandomState(SGD["random_state"])
        units = [3, 5, model.n_outputs_]
        for n_in, n_out in pairwise(units):
            draw.uniform(size=n_in * n_out + n_out)
        rows = draw.permutation(40)[:10]
        tolerance = 2.0**-5 if name == "reals" else 0
        assert abs(model.score(X[rows], y[rows]) - max(scores)) <= tolerance
        assert model.t_ == 30 * model.n_iter_


def test_the_losses_that_are_asked_for_are_revealed_and_no_more(monkeypatch):
    opened = []
    reveal = he.SecretTensor.reveal
    monkeypatch.setattr(he.SecretTensor, "reveal", lambda x: opened.append(x.shape) or reveal(x))
    with open_session("additive-2") as s:
        for log_every, epochs in ((0, []), (1, [0, 1, 2, 3, 4]), (3, [0, 3])):
            opened.clear()
            model = make("classes", max_iter=5, log_every=log_every)
            silently(model, X, TARGETS["classes"], session=s)
            assert opened == [()] * len(epochs)
            assert (model.loss_epochs_, len(model.loss_curve_)) == (epochs, len(epochs))
            assert model.n_iter_ == 5
            assert (model.loss_ is None) == (log_every == 0)
        opened.clear()
        model = make("classes", max_iter=4, early_stopping=True, log_every=2)
        silently(model, X, TARGETS["classes"], session=s)
        assert opened == [()] * 4
        assert len(model.validation_scores_) == 2
        opened.clear()
        model.predict(X), model.predict_proba(X), model.decision_function(X)
        assert opened == []
        model.score(X, TARGETS["classes"])
        assert opened == [()]


def test_without_a_session_the_model_is_public_and_can_be_pickled():
    for name in ("two", "rows"):
        model = make(name, **QUIET).fit(X, TARGETS[name])
        assert model.session_ is None
        assert all(type(value) is np.ndarray for value in (*model.coefs_, *model.intercepts_))
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert again.predict(X).dtype == (np.dtype("<U3") if name == "two" else np.float64)
        before = weights(model)
        again.partial_fit(X, TARGETS[name])
        assert np.abs(weights(again) - before).max() > 0.01
        np.testing.assert_array_equal(weights(model), before)
        assert not hasattr(clone(model), "network_")
        assert not hasattr(clone(model), "coefs_")
        with open_session("additive-2") as s:
            secret = model.predict(s.share(X)).reveal()
            found = model.classes_[secret.astype(int)] if name == "two" else secret
        if name == "two":
            assert (found == model.predict(X)).mean() > 0.9
        else:
            np.testing.assert_allclose(found, model.predict(X), atol=2.0**-12)
    np.testing.assert_allclose(make("two", **QUIET).fit(X, Z > 0).predict_proba(X).sum(1), 1)
    p = make("classes", **QUIET).fit(X, TARGETS["classes"]).predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1)


@pytest.mark.parametrize("session_name", ["additive-2", "replicated"])
def test_secret_labels(session_name):
    y, two = TARGETS["classes"], (Z > 0) * 1.0
    with open_session(session_name) as s:
        far = limit(s, 9)
        known = weights(make("classes", **QUIET).fit(X, y))
        model = make("classes", **QUIET).fit(s.share(X), s.share(np.eye(3)[y]))
        assert np.abs(weights(model) - known).max() <= 2 * far
        assert model.classes_.tolist() == [0, 1, 2]
        assert model.score(s.share(X), s.share(np.eye(3)[y])) == model.score(X, y)
        known = weights(make("two", **QUIET).fit(X, two))
        model = make("two", **QUIET).fit(X, s.share(two))
        assert np.abs(weights(model) - known).max() <= 2 * far
        assert model.decision_function(X).shape == (40,)
        parts = make("classes").partial_fit(X, s.share(np.eye(3)[y]))
        assert parts.classes_.tolist() == [0, 1, 2]
        with pytest.raises(ValueError, match=r"secret y must have shape \(40, 3\)"):
            parts.partial_fit(X, s.share(np.eye(4)[y]))


def test_warns_where_the_epochs_do_not_suffice():
    with open_session("plain"):
        with pytest.warns(
            ConvergenceWarning, match="MLPClassifier: max_iter of 2 epochs reached"
        ) as w:
            model = make("classes", max_iter=2).fit(X, TARGETS["classes"])
        assert w[0].filename == __file__
        assert model.n_iter_ == 2
        make("classes", max_iter=2).partial_fit(X, TARGETS["classes"], classes=[0, 1, 2])


@pytest.mark.parametrize("session_name", ["plain", "additive-2", "additive-32"])
def test_a_run_that_diverges_says_so_and_changes_nothing(session_name):
    with open_session(session_name) as s:
        model = make("reals", max_iter=2, alpha=0.0)
        silently(model, X, TARGETS["reals"], session=s)
        before, attributes = weights(model), dict(vars(model))
        model.set_params(learning_rate_init=1.5, activation="identity", max_iter=60)
        message = "training diverged; lower lr, .* learning_rate_init sets"
        # "plain" sees a number leave its range before the loss is revealed.
        expected = (DivergenceError, RangeError) if s.protocol == "plain" else DivergenceError
        with pytest.raises(expected) as raised:
            model.fit(X, TARGETS["reals"])
        if isinstance(raised.value, DivergenceError):
            assert raised.match(message)
            first, last = raised.value.loss_curve[0], raised.value.loss_curve[-1]
            assert last < 0 or last > 10 * first
        model.set_params(learning_rate_init=0.1, activation="relu", max_iter=2)
        assert vars(model) == attributes
        np.testing.assert_array_equal(weights(model), before)
        model.predict(X)


def test_a_solver_may_not_change_between_epochs():
    model = make("classes", max_iter=1)
    model.partial_fit(X, TARGETS["classes"], [0, 1, 2]).set_params(solver="adam")
    with pytest.raises(ValueError, match=r"partial_fit: solver must be that of the .* got 'adam'"):
        model.partial_fit(X, TARGETS["classes"])


def test_epochs_between_two_losses_count_for_the_patience():
    settings = {"tol": 1e9, "n_iter_no_change": 3, "log_every": 2, "max_iter": 20}
    model = make("classes", **settings).fit(X, TARGETS["classes"])
    assert (model.n_iter_, model.loss_epochs_) == (5, [0, 2, 4])


def test_an_epoch_that_fails_draws_no_order(monkeypatch):
    model = make("classes").partial_fit(X, TARGETS["classes"], [0, 1, 2])
    before = model._random.get_state()[1:3]

    def failing(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("he_gpu.models.perceptron.Trainer.fit", failing)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, TARGETS["classes"])
    after = model._random.get_state()[1:3]
    np.testing.assert_array_equal(after[0], before[0])
    assert after[1] == before[1]


def test_settings_beyond_any_use_are_taken():
    """A large penalty is no divergence, nor a learning rate that vanishes an overflow."""
    for settings in ({"alpha": 1e4, "learning_rate_init": 1e-6}, {"power_t": 1e4}):
        model = make("classes", max_iter=2, learning_rate="invscaling", **settings)
        assert silently(model, X, TARGETS["classes"]).n_iter_ == 2


def test_plaintext_that_leaves_its_range_is_refused_with_the_bound():
    with open_session("additive-2"):
        large = 1e3 * TARGETS["reals"]
        with pytest.raises(
            RangeError, match=r"fit: a gradient's sum .* below 2\*\*18, got .* scale X"
        ):
            make("reals", **QUIET).fit(4096 * X, large)
        with pytest.raises(
            RangeError, match=r"fit: .* squared residuals must stay below 2\*\*30, got"
        ):
            make("reals", **QUIET).fit(X, 20 * large)
        with pytest.raises(RangeError, match="squared residuals"):  # of as many batches as a piece
            make("reals", batch_size=2, **QUIET).fit(X, 5 * large)
        with pytest.raises(RangeError, match=r"fit: a gradient must stay below 2\*\*5, got"):
            make("reals", solver="adam", **QUIET).fit(X, large)
        make("reals", solver="adam", **QUIET).fit(X, 5e-2 * large)  # a mean, of larger sums
        with pytest.raises(RangeError, match=r"fit: a layer's result must stay below 2\*\*22, got"):
            make("reals", **QUIET).fit(2.0**24 * X, TARGETS["reals"])
    with open_session("additive-32"):
        with pytest.raises(RangeError, match=r"partial_fit: a gradient's sum .* below 2\*\*7, got"):
            make("classes", batch_size=40, hidden_layer_sizes=2).partial_fit(
                32 * X, TARGETS["classes"], [0, 1, 2]
            )
        with pytest.raises(ValueError, match=r"fit: solver 'adam' needs a session modulo 2\*\*64"):
            make("classes", solver="adam").fit(X, TARGETS["classes"])


WRONG = [
    ({"hidden_layer_sizes": (5, 0)}, ValueError, "hidden_layer_sizes must be at least 1, got 0"),
    ({"hidden_layer_sizes": -3}, ValueError, "hidden_layer_sizes must be at least 1, got -3"),
    ({"hidden_layer_sizes": "ten"}, TypeError, "hidden_layer_sizes must be an integer, got str"),
    ({"activation": "gelu"}, ValueError, r"activation must be one of .* got 'gelu'"),
    ({"solver": "lbfgs"}, ValueError, r"solver must be one of \('adam', 'sgd'\), got 'lbfgs'"),
    ({"learning_rate": 0.1}, ValueError, r"learning_rate must be one of .* got 0.1"),
    ({"learning_rate_init": 0}, ValueError, r"learning_rate_init must be in \(0, inf\), got 0"),
    ({"alpha": -1}, ValueError, r"alpha must be in \[0, inf\), got -1"),
    ({"alpha": np.nan}, ValueError, r"alpha must be in \[0, inf\), got nan"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ({"batch_size": "all"}, TypeError, "batch_size must be an integer, got str"),
    ({"power_t": -1}, ValueError, r"power_t must be in \[0, inf\), got -1"),
    ({"max_iter": 0}, ValueError, "max_iter must be at least 1, got 0"),
    ({"shuffle": 1}, TypeError, "shuffle must be True or False, got 1"),
    ({"random_state": -1}, ValueError, r"random_state must be in \[0, 2\*\*32\), got -1"),
    ({"random_state": "a"}, TypeError, "random_state must be an integer, a RandomState or None"),
    ({"tol": -1}, ValueError, r"tol must be in \[0, inf\), got -1"),
    ({"momentum": 1}, ValueError, r"momentum must be in \[0, 1\), got 1"),
    ({"nesterovs_momentum": None}, TypeError, "nesterovs_momentum must be True or False, got None"),
    ({"early_stopping": "yes"}, TypeError, "early_stopping must be True or False, got 'yes'"),
    ({"validation_fraction": 0}, ValueError, r"validation_fraction must be in \(0, 1\), got 0"),
    ({"validation_fraction": 1.0}, ValueError, r"validation_fraction must be in \(0, 1\), got 1"),
    ({"beta_1": 1}, ValueError, r"beta_1 must be in \[0, 1\), got 1"),
    ({"beta_2": -0.5}, ValueError, r"beta_2 must be in \[0, 1\), got -0.5"),
    ({"epsilon": 1e-8}, ValueError, r"epsilon must be in \[9.53674e-07, inf\), got 1e-08"),
    ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change must be at least 1, got 0"),
    ({"log_every": -1}, ValueError, "log_every must be at least 1, got -1"),
    ({"log_every": 0.5}, TypeError, "log_every must be an integer, got float"),
    ({"early_stopping": True, "log_every": 0}, ValueError, "early_stopping needs scores"),
]


@pytest.mark.parametrize(("parameters", "kind", "message"), WRONG)
def test_parameters_are_checked_in_fit(parameters, kind, message):
    for name in ("classes", "reals"):
        model = make(name, **parameters)
        with pytest.raises(kind, match=f"^fit: {message}"):
            model.fit(X, TARGETS[name])
        with pytest.raises(kind, match=f"^partial_fit: {message}"):
            model.partial_fit(X, TARGETS[name])
        assert set(vars(model)) == set(model.get_params())


def test_data_are_checked():
    bad = X.copy()
    bad[3, 1] = np.nan
    for name in ("classes", "reals"):
        y = TARGETS[name]
        model = make(name, **QUIET)
        with pytest.raises(ValueError, match="fit: Input X contains NaN"):
            model.fit(bad, y)
        with pytest.raises(ValueError, match=r"fit: y must have shape \(40,\).* got \(39,\)"):
            model.fit(X, y[1:])
        with pytest.raises(ValueError, match="fit: X must be 2-d"):
            model.fit(X[:, 0], y)
        with pytest.raises(ValueError, match=r"predict: MLP.* is not fitted; call fit first"):
            model.predict(X)
        with pytest.raises(TypeError, match="fit: session must be a Session, got int"):
            model.fit(X, y, session=3)
        with pytest.raises(
            ValueError, match=r"validation_fraction must leave 2 rows .* got 0.1 of 10 rows"
        ):
            make(name, early_stopping=True).fit(X[:10], y[:10])
        with pytest.raises(ValueError, match="partial_fit: does not support early_stopping=True"):
            make(name, early_stopping=True).partial_fit(X, y)
        assert set(vars(model)) == set(model.get_params())
    reals = make("reals", **QUIET)
    with pytest.raises(ValueError, match="fit: Input y contains infinity"):
        reals.fit(X, np.where(Z > 0, np.inf, 0))
    with pytest.raises(
        ValueError, match="predict: X has 2 features, but MLPRegressor is expecting 3"
    ):
        reals.fit(X, Z).predict(X[:, :2])
    classes = make("classes", **QUIET)
    with pytest.raises(ValueError, match="fit: Unknown label type: y must hold labels, got real"):
        classes.fit(X, Z)
    with pytest.raises(ValueError, match="fit: y must hold at least 2 classes, got 1 class"):
        classes.fit(X, np.zeros(40))
    with pytest.raises(ValueError, match="partial_fit: classes must be passed on the first call"):
        classes.partial_fit(X, TARGETS["classes"])
    with pytest.raises(ValueError, match="partial_fit: y holds 2, which is none of the classes"):
        classes.partial_fit(X, TARGETS["classes"], classes=[0, 1])
    classes.partial_fit(X, TARGETS["classes"], classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"classes must be those of the first call, \[0, 1, 2\]"):
        classes.partial_fit(X, TARGETS["classes"], classes=[0, 1, 3])
    with pytest.raises(ValueError, match="partial_fit: X has 2 features"):
        classes.partial_fit(X[:, :2], TARGETS["classes"])
    with (
        open_session("additive-2") as s,
        open_session("additive-2") as other,
        pytest.raises(ValueError, match="two different sessions"),
    ):
        classes.fit(s.share(X), other.share(np.eye(3)[TARGETS["classes"]]))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_digits_are_learnt_as_in_the_open(solver):
    images, digits = load_digits(return_X_y=True)
    images = images / 16
    parameters = {
        "hidden_layer_sizes": (16,), "solver": solver, "batch_size": 50, "max_iter": 8,
        "learning_rate_init": 0.2 if solver == "sgd" else 0.01, "shuffle": False, "random_state": 0,
    }  # fmt: skip
    train, test = slice(400), slice(1000, 1797)
    reference = neural_network.MLPClassifier(**parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(images[train], digits[train])
    model = he.MLPClassifier(**parameters)
    silently(model, images[train], digits[train])
    expected = reference.score(images[test], digits[test])
    assert abs(model.score(images[test], digits[test]) - expected) <= 0.005
    assert expected > 0.8


def test_the_network_is_an_nn_model():
    model = make("classes", **QUIET).fit(X, TARGETS["classes"])
    assert isinstance(model.network_, nn.Sequential)
    np.testing.assert_array_equal(model.coefs_[0].T, model.network_[0].weight.value)
    np.testing.assert_array_equal(model.decision_function(X), model.network_(X).value)
