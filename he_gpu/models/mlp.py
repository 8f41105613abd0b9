"""Multi-layer perceptrons with scikit-learn's parameters, trained on secret tensors.

Layer: models, above perceptron, which trains them.
Source: scikit-learn's `MLPClassifier` and `MLPRegressor`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError
from he_gpu.models.classifier import ProbabilisticClassifier
from he_gpu.models.data import as_labels, as_targets
from he_gpu.models.perceptron import Perceptron
from he_gpu.models.regressor import Regressor
from he_gpu.nn import accuracy, r2_score
from he_gpu.session import Session

SelfClassifier = TypeVar("SelfClassifier", bound="MLPClassifier")
SelfRegressor = TypeVar("SelfRegressor", bound="MLPRegressor")


class MLPClassifier(Perceptron, ProbabilisticClassifier):
    """A multi-layer perceptron for classes, trained by Adam or stochastic gradient descent.

    With the same parameters, random_state, and shuffle=False, solver="sgd" makes scikit-learn's
    steps from scikit-learn's initial weights, but for rounding. solver="adam" differs in where it
    adds epsilon, see `nn.Adam`.

    Args:
        hidden_layer_sizes: units of the hidden layers, one number or several, or none.
        activation: of hidden layers, "identity", "logistic", "tanh" or "relu". ReLU costs least
            but "identity".
        solver: "adam", or "sgd", which costs less for each step and runs modulo 2**32 too.
        alpha: weight of the L2 penalty: alpha / 2 times the sum of squared weights, not biases,
            over the samples of a batch.
        batch_size: samples of a step; "auto" is 200, and all where they are fewer.
        learning_rate: for "sgd", "constant"; "invscaling", learning_rate_init over the number of
            samples seen to the power of power_t; or "adaptive", divided by 5 where the training
            would have ended.
        learning_rate_init: the first learning rate, > 0.
        power_t: see learning_rate.
        max_iter: epochs at most.
        shuffle: whether each epoch has another order of the samples, which is public.
        random_state: seed or RandomState of initial weights, orders, and the choice of rows for
            validation, all of them public; None draws others each time.
        tol: an epoch that does not lower the least loss (raise the best score) by tol counts for
            n_iter_no_change.
        momentum: for "sgd", in [0, 1).
        nesterovs_momentum: for "sgd", whether the momentum is Nesterov's.
        early_stopping: whether to set rows aside, reveal the score of their predictions, end the
            training where it gets no better, and keep the best network. Rows are drawn without
            looking at their classes.
        validation_fraction: share of rows that early_stopping sets aside.
        beta_1: for "adam", in [0, 1).
        beta_2: likewise.
        epsilon: likewise, at least 2**-20 (9.5e-07), the root of one unit of Adam's mean square;
            scikit-learn's 1e-8 is below what 40 fraction bits hold.
        n_iter_no_change: epochs without progress that end the training when passed.
        log_every: epochs between revealed losses (and scores). 0 reveals none: then max_iter epochs
            are run, whatever they do.

    Attributes:
        classes_: the labels, sorted; 0, 1, 2, ... for a secret y.
        network_: the layers, a `nn.Sequential`, secret where the fit's session is given or current.
        coefs_: weights of each layer, (n_in, n_out).
        intercepts_: biases of each layer, (n_out,).
        loss_curve_: the revealed losses, each the mean over the samples of an epoch.
        loss_epochs_: the epochs that they belong to, from 0.
        loss_: the last of them, or None.
        best_loss_: the least of them; None with early_stopping.
        validation_scores_: the revealed scores, or None without early_stopping.
        best_validation_score_: the best of them, or None.
        n_iter_: epochs run.
        t_: samples seen.
        n_layers_: layers, input and output among them.
        n_outputs_: columns of the last layer's result.
        out_activation_: "logistic" for two classes, with one output, else "softmax".

    Range: inputs as `Session.share`. With f fraction bits (16), results of the first layer below
        2**(54 - 2 f), 2**22, those of others 2**14, sums of a gradient over a batch below 2**18
        (2**8, 2**6 and 2**7 modulo 2**32, f = 10). Of plaintext the first epoch is tried in
        float64, and refused where it leaves them. Inputs of mean 0 and deviation 1 are far inside.
    Error: as the layers, losses and optimisers of `he_gpu.nn`.
    Cost: for each batch a step of theirs; see docs/training.md. A revealed loss takes that of
        all samples, where alpha > 0 the squares of the weights at each batch, and 1 round.
    Leaks: the loss of each log_every-th epoch; with early_stopping the score too; how many epochs
        were run.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> X = np.random.default_rng(0).uniform(-1, 1, (60, 2))
        >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same", "other")
        >>> model = he.MLPClassifier(
        ...     (8,), solver="sgd", learning_rate_init=0.3, batch_size=30, max_iter=25, tol=1e-2,
        ...     n_iter_no_change=1, random_state=0,
        ... )
        >>> with he.Session(device="cpu") as s:
        ...     model = model.fit(s.share(X), y)  # the session's: secret
        ...     accuracy = model.score(X, y)
        ...     one = s.share([[0.9, 0.9]])
        ...     indices, p = model.predict(one).reveal(), model.predict_proba(one).reveal()
        ...     margin = model.decision_function(one).reveal()
        ...     shapes = [coef.shape for coef in model.coefs_ + model.intercepts_]
        >>> accuracy > 0.9, model.classes_[indices.astype(int)].tolist(), bool(p[0, 1] > 0.5)
        (True, ['same'], True)
        >>> bool(margin[0] > 0), shapes, model.loss_curve_[-1] < 0.4
        (True, [(2, 8), (8, 1), (8,), (1,)], True)
        >>> model.set_params(max_iter=1, log_every=0).fit(X, y).predict(X[:1]).shape  # its own
        (1,)
        >>> type(model.partial_fit(X, y).coefs_[0]).__name__
        'ndarray'
    """

    _metric = staticmethod(accuracy)

    classes_: Array

    def fit(self: SelfClassifier, X: Any, y: Any, session: Session | None = None) -> SelfClassifier:
        """Train a new network and return self.

        Args:
            X: plaintext or SecretTensor, (n, n_features).
            y: plain labels of any kind, (n,); or a SecretTensor of one-hot rows (n, n_classes), or
                of 0 and 1, (n,), which nobody can check.
            session: where to train: by default that of secret data, or the current one; else a
                simulated one of the estimator's own, at whose end the network is revealed.

        Raises:
            ValueError: parameters out of range, NaN or infinity, shapes that do not match, fewer
                than two classes; numbers that leave their range (RangeError).
            TypeError: parameters or data of the wrong type.
            ArithmeticError: a revealed loss that no converging training has (DivergenceError); the
                estimator is as it was.

        Warns ConvergenceWarning where max_iter ends the training. Cost, Leaks: see the class.
        """
        settings = self._settings("fit")
        with self._fitting(session, X, y) as chosen:
            X = self._inputs(X, "fit", fitted=False)
            self.classes_, hot = as_labels(y, "fit", X.shape[0])
            converged = self._train(
                chosen, X, *_of_classes(hot), settings, max_iter=int(self.max_iter)
            )
        self._warn(converged, settings)
        return self

    def partial_fit(
        self: SelfClassifier, X: Any, y: Any, classes: Any = None, session: Session | None = None
    ) -> SelfClassifier:
        """Train for one epoch over the samples given, going on from the last state; return self.

        Args:
            X: as `fit`.
            y: as `fit`.
            classes: all labels that will ever occur; the first call asks for them, unless y is
                one-hot and secret.
            session: as `fit`. What was learnt in a session goes on there.

        Raises:
            ValueError: as `fit`; other classes than those of the first call; early_stopping.
            TypeError, ArithmeticError: as `fit`.

        Cost, Leaks: as an epoch of `fit`.
        """
        function = "partial_fit"
        settings = self._settings(function, more=True)
        with self._fitting(session, X, y, function=function, more=True) as chosen:
            known = self._known_classes(classes, y)
            X = self._inputs(X, function, fitted=hasattr(self, "classes_"))
            self.classes_, hot = as_labels(y, function, X.shape[0], known)
            self._train(chosen, X, *_of_classes(hot), settings, function)
        return self

    def _scores(self, X: Any) -> Any:
        z = self.network_(X).value
        return z[:, 0] if self.out_activation_ == "logistic" else z


class MLPRegressor(Perceptron, Regressor):
    """A multi-layer perceptron for real targets, trained by Adam or stochastic gradient descent.

    The loss is half the mean squared error. Args, Attributes, Range, Error, Cost and Leaks are
    those of `MLPClassifier`, without classes; out_activation_ is "identity", and the score that
    early_stopping reveals is the coefficient of determination of the rows set aside.

    Range: of the targets that of gradients: a sum of residuals over a batch, each times an
        activation, below 2**18, with "adam" the mean below 32; the mean of squared residuals below
        2**22 where a loss is revealed. Targets of mean 0 and deviation 1 are far inside.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> X = np.random.default_rng(0).uniform(-1, 1, (60, 2))
        >>> y = X[:, 0] - 2 * np.abs(X[:, 1])
        >>> model = he.MLPRegressor(
        ...     16, solver="sgd", learning_rate_init=0.1, batch_size=30, max_iter=15, tol=1e-2,
        ...     n_iter_no_change=1, random_state=0,
        ... )
        >>> model = model.fit(X, y)  # a session of its own: public
        >>> model.score(X, y) > 0.8, model.predict(X[:3]).shape
        (True, (3,))
        >>> with he.Session(device="cpu") as s:
        ...     model = model.partial_fit(s.share(X), y)  # one epoch more, secret from here
        ...     predicted = model.predict(X[:3])
        ...     shapes = [values.shape for values in model.coefs_ + model.intercepts_]
        >>> type(predicted).__name__, predicted.shape, shapes
        ('SecretTensor', (3,), [(2, 16), (16, 1), (16,), (1,)])
    """

    _metric = staticmethod(r2_score)

    _single: bool

    def fit(self: SelfRegressor, X: Any, y: Any, session: Session | None = None) -> SelfRegressor:
        """Train a new network and return self.

        Args:
            X: plaintext or SecretTensor, (n, n_features).
            y: targets, plaintext or SecretTensor, (n,) or (n, n_targets).
            session: as `MLPClassifier.fit`.

        Raises, Warns, Cost, Leaks: as `MLPClassifier.fit`.
        """
        settings = self._settings("fit")
        with self._fitting(session, X, y) as chosen:
            X = self._inputs(X, "fit", fitted=False)
            y = as_targets(y, "fit", X.shape[0])
            self._single = y.ndim == 1
            converged = self._train(
                chosen, X, _columns(y), "identity", settings, max_iter=int(self.max_iter)
            )
        self._warn(converged, settings)
        return self

    def partial_fit(
        self: SelfRegressor, X: Any, y: Any, session: Session | None = None
    ) -> SelfRegressor:
        """Train for one epoch over the samples given, going on from the last state; return self.

        Args:
            X: as `fit`.
            y: as `fit`, with as many targets as before.
            session: as `fit`. What was learnt in a session goes on there.

        Raises:
            ValueError: as `fit`; another number of targets; early_stopping.
            TypeError, ArithmeticError: as `fit`.

        Cost, Leaks: as an epoch of `fit`.
        """
        function = "partial_fit"
        settings = self._settings(function, more=True)
        with self._fitting(session, X, y, function=function, more=True) as chosen:
            first = not hasattr(self, "network_")
            X = self._inputs(X, function, fitted=not first)
            y = as_targets(y, function, X.shape[0])
            columns = _columns(y)
            if not first and columns.shape[1] != self.n_outputs_:
                raise ArgumentValueError(
                    f"{function}: y must have {self.n_outputs_} target(s) as before, got "
                    f"{columns.shape[1]}"
                )
            self._single = y.ndim == 1
            self._train(chosen, X, columns, "identity", settings, function)
        return self

    def _outputs(self, X: Any) -> Any:
        found = self.network_(X).value
        return found[:, 0] if self._single else found


def _of_classes(hot: Any) -> tuple[Any, str]:
    """Return one-hot rows as targets, and what turns outputs into probabilities."""
    return (hot[:, 1:], "logistic") if hot.shape[1] == 2 else (hot, "softmax")


def _columns(y: Any) -> Any:
    return y.reshape(-1, 1) if y.ndim == 1 else y
