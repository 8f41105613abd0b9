"""What data and labels estimators take, and the session that a fit has."""

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
from he_gpu.models import data
from he_gpu.models.classifier import Classifier
from he_gpu.models.estimator import Estimator
from he_gpu.models.regressor import Regressor
from tests.conftest import require_device


@pytest.fixture
def session():
    with he.Session(device="cpu") as current:
        yield current


class Sparse:
    nnz = 1

    def toarray(self):
        return np.eye(2)


class TestInputs:
    @pytest.mark.parametrize(
        "X", [[[1, 2], [3, 4]], np.array([["1", 2], [3.0, True]], object), np.eye(2, dtype="f4")]
    )
    def test_numbers_of_any_kind_are_float64(self, X):
        inputs = data.as_inputs(X, "fit")
        assert inputs.dtype == np.float64
        assert inputs.shape == (2, 2)
        np.testing.assert_array_equal(inputs, np.asarray(X).astype(np.float64))

    def test_a_secret_is_as_it_is(self, session):
        X = session.share(np.eye(2))
        assert data.as_inputs(X, "fit") is X

    @pytest.mark.parametrize(
        ("X", "error", "message"),
        [
            (1.0, ArgumentValueError, r"X must be 2-d \(n, n_features\), got shape \(\)"),
            ([1.0, 2.0], ArgumentValueError, r"got shape \(2,\). Reshape your data"),
            (np.zeros((1, 2, 3)), ArgumentValueError, r"got shape \(1, 2, 3\)"),
            (np.zeros((0, 3)), ArgumentValueError, r"0 sample\(s\) \(shape=\(0, 3\)\) while a min"),
            (np.zeros((3, 0)), ArgumentValueError, r"0 feature\(s\) \(shape=\(3, 0\)\) while a m"),
            ([[1.0], [np.nan]], ArgumentValueError, "Input X contains NaN; it must be finite"),
            ([[1.0], [-np.inf]], ArgumentValueError, "Input X contains infinity"),
            ([[1.0, None]], ArgumentValueError, "Input X contains NaN"),
            ([[1.0 + 0j]], ArgumentValueError, "Complex data not supported, got X"),
            ([[1.0, 2.0], [3.0]], ArgumentValueError, "X is no array"),
            ([["a"]], ArgumentTypeError, "X must hold real numbers, got .* of dtype <U1"),
            (np.array([["a"]], object), ArgumentTypeError, "X is not numeric: could not convert"),
            (np.array([[{}]], object), ArgumentTypeError, "X is not numeric: float.. argument"),
            ([[10**400]], RangeError, "X holds an integer beyond float64"),
            (np.ma.masked_invalid([[np.nan]]), ArgumentTypeError, "X is a masked array; fill it"),
            (Sparse(), ArgumentTypeError, r"X is a sparse matrix, .* use X\.toarray\(\)"),
        ],
    )
    def test_what_is_refused(self, X, error, message):
        with pytest.raises(error, match=f"fit: .*{message}"):
            data.as_inputs(X, "fit")

    @pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 0), (1, 1, 1)])
    def test_secrets_are_refused_by_shape(self, shape, session):
        with pytest.raises(ArgumentValueError, match="predict: X"):
            data.as_inputs(session.share(np.zeros(shape)), "predict")


class TestTargets:
    @pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2)])
    def test_shapes(self, shape, session):
        y = np.ones(shape, int)
        assert data.as_targets(y, "fit", 3).dtype == np.float64
        assert data.as_targets(y.tolist(), "fit", 3).shape == shape
        secret = session.share(y)
        assert data.as_targets(secret, "fit", 3) is secret

    @pytest.mark.parametrize("shape", [(), (2,), (4, 1), (3, 0), (3, 1, 1)])
    @pytest.mark.parametrize("secret", [False, True])
    def test_shapes_that_do_not_fit(self, shape, secret, session):
        y = session.share(np.zeros(shape)) if secret else np.zeros(shape)
        expected = r"score: y must have shape \(3,\) or \(3, n_targets\), as X has 3 rows, got "
        with pytest.raises(ArgumentValueError, match=expected + "." + str(shape)[1:-1]):
            data.as_targets(y, "score", 3)

    def test_values_that_are_refused(self):
        for y, message in (
            (None, "requires y to be passed, but the target y is None"),
            ([1.0, np.nan], "Input y contains NaN"),
            ([1.0, np.inf], "Input y contains infinity"),
        ):
            with pytest.raises(ArgumentValueError, match=f"fit: {message}"):
                data.as_targets(y, "fit", 2)


class TestLabels:
    @pytest.mark.parametrize(
        ("y", "classes"),
        [
            (["b", "a", "b"], ["a", "b"]),
            (np.array(["b", "a", "b"], object), ["a", "b"]),
            ([True, False, True], [False, True]),
            ([7, -3, 7], [-3, 7]),
            ([2.0, 0.0, 2.0], [0.0, 2.0]),
            (np.array([9, 8, 9], np.uint8), [8, 9]),
            (np.array([b"b", b"a", b"b"]), [b"a", b"b"]),
        ],
    )
    def test_labels_of_any_kind(self, y, classes):
        found, hot = data.as_labels(y, "fit", 3)
        assert found.tolist() == classes
        np.testing.assert_array_equal(hot, [[0, 1], [1, 0], [0, 1]])
        np.testing.assert_array_equal(data.label_indices(y, found, "score", 3), [1, 0, 1])

    def test_classes_that_are_known_before(self):
        classes = data.as_classes(["c", "a", "b", "a"], "partial_fit", "classes")
        assert classes.tolist() == ["a", "b", "c"]
        found, hot = data.as_labels(["b", "b"], "partial_fit", 2, classes)
        assert found is classes
        np.testing.assert_array_equal(hot, [[0, 1, 0], [0, 1, 0]])
        with pytest.raises(ArgumentValueError, match=r"y holds 'd', which is none of .*\['a', 'b'"):
            data.as_labels(["b", "d"], "partial_fit", 2, classes)

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (None, "requires y to be passed, but the target y is None"),
            ([], r"y must have shape \(3,\), as X has 3 rows, got \(0,\)"),
            ([0, 1], r"y must have shape \(3,\), as X has 3 rows, got \(2,\)"),
            (np.eye(3), r"y must have shape \(3,\), as X has 3 rows, got \(3, 3\)"),
            (1, r"y must have shape \(3,\), as X has 3 rows, got \(\)"),
            ([[0], [1, 2], [3]], "y is no array"),
            ([1, 1, 1], "y must hold at least 2 classes, got 1 class: 1"),
            (["x"] * 3, "y must hold at least 2 classes, got 1 class: 'x'"),
            ([0.0, np.nan, 1.0], "y must be finite, got nan"),
            ([0.0, np.inf, 1.0], "y must be finite, got inf"),
            ([0.0, 0.5, 1.0], "Unknown label type: y must hold labels, got real .* such as 0.5"),
            ([0, 1, 1j], "Unknown label type: y must hold integers, strings .* dtype complex128"),
            (np.array([0, "a", "b"], object), "Unknown label type: y holds objects that are no"),
            (np.array([0, 1, 2], "M8[D]"), "Unknown label type: y must hold .* dtype datetime"),
        ],
    )
    def test_what_is_refused(self, y, message):
        with pytest.raises(ArgumentValueError, match=f"fit: {message}"):
            data.as_labels(y, "fit", 3)

    def test_masked_labels_are_refused(self):
        y = np.ma.masked_array([0, 1, 1], [False, False, True])
        with pytest.raises(ArgumentTypeError, match="fit: y is a masked array; fill it first"):
            data.as_labels(y, "fit", 3)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([], r"classes must have shape \(n,\), n > 0, got \(0,\)"),
            (0, r"classes must have shape \(n,\), n > 0, got \(\)"),
            (["a", "a"], "classes must hold at least 2 classes, got 1 class: 'a'"),
            ([0.5, 1], "Unknown label type: classes must hold labels"),
        ],
    )
    def test_classes_that_are_refused(self, labels, message):
        with pytest.raises(ArgumentValueError, match=f"partial_fit: {message}"):
            data.as_classes(labels, "partial_fit", "classes")

    def test_text_is_no_number(self):
        """NumPy would compare 0 with "0" as text."""
        for labels, classes in (([0, 1], ["0", "1"]), (["0", "1"], [0, 1])):
            with pytest.raises(ArgumentValueError, match=f"y holds {labels[0]!r}, which is none"):
                data.label_indices(labels, np.array(classes), "score", 2)

    def test_a_column_is_a_vector_with_a_warning(self):
        with pytest.warns(UserWarning, match="A column-vector y was passed when a 1d array"):
            classes, hot = data.as_labels([["b"], ["a"]], "fit", 2)
        assert classes.tolist() == ["a", "b"]
        np.testing.assert_array_equal(hot, [[0, 1], [1, 0]])

    def test_secret_labels(self, session):
        before = session.cost
        classes, hot = data.as_labels(session.share([0.0, 1.0, 1.0]), "fit", 3)
        assert session.cost == before  # nothing is opened, and no protocol runs
        assert classes.tolist() == [0, 1]
        np.testing.assert_array_equal(hot.reveal(), [[1, 0], [0, 1], [0, 1]])
        rows = session.share(np.eye(3))
        classes, hot = data.as_labels(rows, "fit", 3)
        assert classes.tolist() == [0, 1, 2]
        assert hot is rows
        known = np.array(["x", "y", "z"])
        assert data.as_labels(rows, "score", 3, known)[0] is known

    @pytest.mark.parametrize(
        ("shape", "classes", "message"),
        [
            ((2,), None, r"\(3,\) of 0 and 1 or \(3, n_classes\), one-hot, .* 3 rows, got \(2,\)"),
            ((3, 1), None, r"\(3, n_classes\), one-hot, as X has 3 rows, got \(3, 1\)"),
            ((2, 2), None, r"\(3, n_classes\), one-hot, as X has 3 rows, got \(2, 2\)"),
            ((3, 2, 2), None, r"got \(3, 2, 2\)"),
            ((), None, r"got \(\)"),
            ((3,), "abc", r"have shape \(3, 3\), one-hot, as X has 3 rows, got \(3,\)"),
            ((3, 4), "abc", r"have shape \(3, 3\), one-hot, as X has 3 rows, got \(3, 4\)"),
            ((3, 3), "ab", r"shape \(3,\) of 0 and 1 or \(3, 2\), one-hot, .* got \(3, 3\)"),
        ],
    )
    def test_secret_labels_of_another_shape(self, shape, classes, message, session):
        classes = None if classes is None else np.array(list(classes))
        with pytest.raises(ArgumentValueError, match=f"fit: secret y must .*{message}"):
            data.as_labels(session.share(np.zeros(shape)), "fit", 3, classes)

    def test_secrets_where_only_plaintext_can_stand(self, session):
        secret = session.share([0.0, 1.0])
        with pytest.raises(ArgumentTypeError, match="score: y must be plaintext"):
            data.label_indices(secret, np.arange(2), "score", 2)
        with pytest.raises(ArgumentTypeError, match="partial_fit: classes must be plaintext"):
            data.as_classes(secret, "partial_fit", "classes")


class Mean(Regressor):
    """The least estimator: it predicts the mean of y."""

    def __init__(self, fail=False):
        self.fail = fail

    def fit(self, X, y, session=None, more=False, inner=None):
        with self._fitting(session, X, y, more=more) as chosen:
            X = self._inputs(X, "fit", fitted=more and hasattr(self, "mean_"))
            y = data.as_targets(y, "fit", X.shape[0])
            self.inner_session_ = None if inner is None else inner()
            self.mean_ = data.shared(chosen, y).mean(axis=0)
            self.parts_, self.curve_ = (self.mean_, [self.mean_]), getattr(self, "curve_", [])
            self.curve_.append(1.0)
            self.chosen = chosen
            if self.fail:
                raise OSError("no more")
        return self

    def _outputs(self, X):
        return X[:, 0] * 0.0 + self.mean_


class Sign(Classifier):
    """The score is the first feature; nothing is learnt but the classes."""

    def fit(self, X, y, session=None):
        with self._fitting(session, X, y) as chosen:
            X = self._inputs(X, "fit", fitted=False)
            self.classes_, _ = data.as_labels(y, "fit", X.shape[0])
            self.one_ = data.shared(chosen, [1.0])
        return self

    def _scores(self, X):
        return X[:, 0] * self.one_ if len(self.classes_) == 2 else X * self.one_


X, Y = np.array([[1.0, -1.0], [-1.0, 2.0], [3.0, 0.5]]), np.array([1.0, 2.0, 6.0])


class TestFitting:
    def test_an_own_session_ends_with_the_fit_and_all_is_public(self):
        model = Mean().fit(X, Y)
        assert model.chosen.closed
        assert model.session_ is None
        assert model.mean_ == pytest.approx(3.0, abs=2.0**-15)
        first, (second,) = model.parts_
        assert type(model.parts_) is tuple
        assert type(first) is type(second) is np.ndarray
        assert type(model.predict(X)) is np.ndarray
        assert model.reveal() is model

    def test_sessions_by_argument_data_and_context(self):
        given, current = he.Session(device="cpu"), he.Session(device="cpu")
        with current:
            assert Mean().fit(X, Y).session_ is current
            assert Mean().fit(X, Y, session=given).session_ is given
            assert Mean().fit(X, given.share(Y)).session_ is given
            assert Mean().fit(given.share(X), given.share(Y)).session_ is given
        assert current.closed
        assert not given.closed
        assert Mean().fit(X, Y).session_ is None

    def test_an_active_session_of_another_device_is_taken(self):
        device = require_device("emulator")
        with he.Session(device="cpu") as outer, he.Session(device=device) as inner:
            assert Mean().fit(X, Y).session_ is inner
            assert Mean().fit(X, outer.share(Y)).session_ is outer
            with pytest.raises(ArgumentValueError, match="two different sessions"):
                Mean().fit(inner.share(X), outer.share(Y))
            assert Mean().fit(X, Y, session=outer).predict(X).session is outer

    def test_fits_in_fits_have_sessions_of_their_own(self):
        def inner():
            assert he.current_session() is None
            other = Mean().fit(X, Y)
            assert other.chosen.closed
            return other.chosen

        model = Mean().fit(X, Y, inner=inner)
        assert model.inner_session_ is not model.chosen
        assert type(model.mean_) is np.ndarray

    def test_two_sessions_are_refused(self, session):
        other = he.Session(device="cpu")
        with pytest.raises(ArgumentValueError, match="fit: data and session= are of two different"):
            Mean().fit(X, other.share(Y), session=session)
        with pytest.raises(ArgumentValueError, match="two different sessions"):
            Mean().fit(session.share(X), other.share(Y))
        with pytest.raises(ArgumentTypeError, match="fit: session must be a Session, got str"):
            Mean().fit(X, Y, session="alice")

    def test_a_closed_session_is_refused(self):
        closed = he.Session(device="cpu")
        y = closed.share(Y)
        closed.close()
        for fit in (lambda: Mean().fit(X, Y, session=closed), lambda: Mean().fit(X, y)):
            with pytest.raises(SessionClosedError, match="fit: the session is closed"):
                fit()

    def test_going_on_keeps_the_session(self, session):
        model = Mean().fit(X, Y)
        assert model.fit(X, Y, more=True).session_ is session
        with he.Session(device="cpu") as other:
            assert model.fit(X, Y, more=True).session_ is session
            with pytest.raises(ArgumentValueError, match="the data and the earlier fit are of two"):
                model.fit(X, other.share(Y), more=True)
        assert len(model.curve_) == 3
        assert len(model.fit(X, Y).curve_) == 1

    @pytest.mark.parametrize("more", [False, True])
    def test_a_fit_that_fails_leaves_nothing_behind(self, more):
        model = Mean(fail=True)
        with pytest.raises(OSError, match="no more"):
            model.fit(X, Y, more=more)
        assert vars(model) == {"fail": True}
        before = dict(vars(model.set_params(fail=False).fit(X, Y)))
        curve = list(model.curve_)
        with pytest.raises(OSError, match="no more"):
            model.set_params(fail=True).fit(X, Y * 2, more=more)
        assert vars(model) == before | {"fail": True}
        assert model.curve_ == curve

    def test_modules_are_restored_and_revealed(self, session):
        class Net(Estimator):
            def fit(self, X, fail=False, more=True):
                with self._fitting(None, more=more) as chosen:
                    if not hasattr(self, "net_"):
                        self.net_ = he.nn.Linear(2, 1, random_state=0)
                    self.net_.share(chosen)
                    if fail:
                        self.net_.weight.assign(chosen.share([[7.0, 7.0]]))
                        raise OSError("no more")
                return self

        model = Net().fit(X)
        weight = model.net_.weight.value
        with pytest.raises(OSError, match="no more"):
            model.fit(X, fail=True)
        assert model.net_.weight.value is weight
        assert isinstance(weight, he.SecretTensor)
        assert type(model.reveal().net_.weight.value) is np.ndarray


class TestUse:
    def test_features_other_than_the_fits(self, session):
        model = Mean().fit(X, Y)
        for wrong in (np.zeros((1, 3)), session.share(np.zeros((1, 3)))):
            for use in (model.predict, lambda inputs: model.score(inputs, [0.0])):
                with pytest.raises(ArgumentValueError, match="X has 3 features, but Mean is exp"):
                    use(wrong)

    def test_unfitted(self):
        with pytest.raises(NotFittedError, match="predict: Mean is not fitted; call fit first"):
            Mean().predict(X)
        with pytest.raises(NotFittedError, match="score: Sign is not fitted"):
            Sign().score(X, [0, 1, 1])
        with pytest.raises(NotFittedError, match="decision_function: Sign is not fitted"):
            Sign().decision_function(X)

    def test_secrets_of_another_session(self, session):
        other = he.Session(device="cpu")
        model = Mean().fit(X, Y)
        with pytest.raises(ArgumentValueError, match="predict: X and the model are of two differ"):
            model.predict(other.share(X))
        with pytest.raises(ArgumentValueError, match="score: y and the model are of two differe"):
            model.score(X, other.share(Y))
        labels = Sign().fit(X, [1, 0, 1])
        with pytest.raises(ArgumentValueError, match="score: y and the model are of two differe"):
            labels.score(X, other.share([[0.0, 1.0]] * 3))
        public = Mean().fit(X, Y, session=other).reveal()
        with pytest.raises(ArgumentValueError, match=r"score: y .* of two different sessions"):
            public.score(session.share(X), other.share(Y))
        with pytest.raises(SessionClosedError, match="score: the session is closed"):
            public.score(X, closed_secret())

    def test_scores_reveal_one_number(self, session):
        model = Mean().fit(X, Y)
        spread = ((Y - 3.0) ** 2).sum()
        for y in (Y, session.share(Y)):
            score = model.score(session.share(X), y)
            assert type(score) is float
            assert score == pytest.approx(1 - ((Y - 3.0) ** 2).sum() / spread, abs=1e-3)
        with pytest.raises(ArgumentValueError, match=r"score: y must have the predictions' shape"):
            model.score(X, Y[:, None])

    def test_scores_of_two_classes(self, session):
        model = Sign().fit(X, ["lo", "hi", "lo"])
        assert model.classes_.tolist() == ["hi", "lo"]
        assert model.predict(X).reveal().tolist() == [1.0, 0.0, 1.0]
        bits = session.share([1.0, 1.0, 1.0])
        rows = session.share([[0.0, 1.0]] * 3)
        for y in (["lo", "lo", "lo"], bits, rows):
            assert model.score(X, y) == pytest.approx(2 / 3)
        with pytest.raises(ArgumentValueError, match="score: y holds 'mid', which is none of"):
            model.score(X, ["lo", "mid", "hi"])
        with pytest.raises(ArgumentValueError, match=r"score: secret y .*\(3, 2\).* got \(3, 3\)"):
            model.score(X, session.share(np.eye(3)))
        with pytest.raises(ArgumentValueError, match=r"score: y must have shape \(3,\)"):
            model.score(X, ["lo"])
        public = model.reveal()
        assert public.predict(X).tolist() == ["lo", "hi", "lo"]
        assert public.score(X, bits) == pytest.approx(2 / 3)

    def test_scores_of_more_classes(self, session):
        scores = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, 2.0, 9.0]])
        model = Sign().fit(scores, ["a", "b", "c"])
        assert model.decision_function(scores).shape == (3, 3)
        assert model.predict(scores).reveal().tolist() == [0.0, 1.0, 2.0]
        assert model.score(scores, ["a", "b", "b"]) == pytest.approx(2 / 3)
        assert model.score(scores, session.share(np.eye(3))) == 1.0
        with pytest.raises(ArgumentValueError, match=r"secret y must have shape \(3, 3\), one-hot"):
            model.score(scores, session.share([0.0, 1.0, 1.0]))


def closed_secret():
    """A secret whose session has ended."""
    with he.Session(device="cpu") as session:
        return session.share(Y)
