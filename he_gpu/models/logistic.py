"""Logistic regression on shares, by Newton's method.

Layer: models, above newton and log_loss. Columns are centred and scaled first, by their owner where
they are plaintext, so that the method needs no data-dependent setting.
Source: scikit-learn's `LogisticRegression` for the objective.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConvergenceWarning,
    DivergenceError,
)
from he_gpu.models.classifier import ProbabilisticClassifier
from he_gpu.models.data import as_labels, shared
from he_gpu.models.log_loss import LogLoss, Point
from he_gpu.models.newton import minimise
from he_gpu.models.scaled_columns import ScaledColumns
from he_gpu.nn.arguments import real
from he_gpu.nn.values import is_secret
from he_gpu.session import Session, current_session


class LogisticRegression(ProbabilisticClassifier):
    """Logistic regression with an L2 penalty, binary or multinomial, as scikit-learn's.

    It minimises C times the sum of the log losses plus half the sum of squares of `coef_`; the
    intercept is not penalised. Columns need not be standardised to converge, but to be treated
    alike by the penalty. Newton's method takes some 5 to 15 steps.

    Args:
        C: inverse strength of the penalty, > 0.
        fit_intercept: whether there is an intercept.
        tol: the fit ends where the gradient of the mean loss, for columns scaled to a second
            derivative of 1 at 0, has a 2-norm of at most this; 0 takes all max_iter steps. What
            rounding does not allow, below 2**-18 (n_outputs (n_features + 1) / n)**0.5, counts as
            that.
        max_iter: the most steps.
        log_every: reveal the loss after every so many steps; 0 reveals none.

    Attributes:
        classes_: the labels, sorted; 0, 1, 2, ... for a secret y.
        coef_: (1, n_features) for two classes, else (n_classes, n_features); a SecretTensor in
            fit's session, or an ndarray.
        intercept_: (1,) or (n_classes,), likewise; 0 without an intercept.
        n_iter_: steps taken.
        loss_curve_: the revealed objectives over C n, from that of zero coefficients on, which is
            the logarithm of the number of classes.
        loss_steps_: the steps after which they were.

    Range: at most 2**22 samples, a session modulo 2**64. Plaintext must stay below 2**12 where
        `coef_` stays secret, and is taken at any scale otherwise. Of a secret X nobody can check
        that the sum of squared distances of a column from its mean is below 2**30 (from 0 without
        an intercept), which standardised columns of up to 2**22 samples meet. Secret coefficients
        must stay below 2**14; plaintext columns that vary by less than some 2**-8 are refused
        there. C up to some 1e4; then `protocol="plain"` tells whether a data set is well.
    Error: a gradient g of the mean loss that is left puts the coefficients of standardised columns
        off by at most 2 |g| C n, and by far less where the data say much. Beside tol, |g| has the
        columns' rounding to 2**-17 of about their deviation, and the probabilities' error, 2**-19
        for two classes, else that of `SecretTensor.softmax`. Secret coefficients have 24 fraction
        bits.
    Cost: for each step two products with the columns, sigmoid or softmax, and for up to 128
        coefficients an inverse of their Hessian, some 140 rounds altogether; for more 4 to 16
        iterations of conjugate gradients of some 40 rounds each. For each revealed loss softplus or
        logsumexp.
    Leaks: the losses at the logged steps, and for each point tried three bits: whether the fit has
        converged, whether the step was too long, and whether numbers left their range. With
        tol=0, where no fit converges, the first says no more than the last.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> X = np.random.default_rng(0).normal(size=(60, 2))
        >>> y = np.where(X[:, 0] > X[:, 1], "left", "right")
        >>> model = he.LogisticRegression(C=1.0).fit(X, y)
        >>> model.predict([[1, -1], [-1, 1]]).tolist(), model.n_iter_, model.score(X, y) > 0.9
        (['left', 'right'], 4, True)
        >>> model.predict_proba([[1, -1]]).round(2).tolist()
        [[0.99, 0.01]]
        >>> with he.Session(device="cpu") as s:
        ...     secret = he.LogisticRegression().fit(s.share(X), s.share(y == "right"))
        ...     bool(abs(secret.coef_.reveal() - model.coef_).max() < 1e-3)
        True
    """

    coef_: Any
    intercept_: Any
    n_iter_: int
    loss_curve_: list[float]
    loss_steps_: list[int]

    def __init__(
        self,
        C: float = 1.0,
        fit_intercept: bool = True,
        tol: float = 1e-4,
        max_iter: int = 100,
        log_every: int = 1,
    ):
        self.C = C
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.log_every = log_every

    def fit(self, X: Any, y: Any, session: Session | None = None) -> LogisticRegression:
        """Fit to X and y, and forget what was fitted before.

        Args:
            X: plaintext or SecretTensor, (n, n_features).
            y: plain labels of any kind, (n,); or a secret, one-hot (n, n_classes) or, for two
                classes, 0 and 1, (n,).
            session: where to fit; that of secret data, or the current one, by default. Without
                any, the fit has a simulated session of its own, and what it learns is public.

        Returns:
            self.

        Warns:
            ConvergenceWarning: max_iter steps were not enough for tol; or, of a fit without a
                session, coefficients so large that the columns' rounding shows.

        Raises:
            ValueError: NaN, infinity, shapes that do not fit, fewer than two classes, two sessions,
                a session modulo 2**32, parameters out of range.
            RangeError: plaintext beyond the ranges of the class.
            TypeError: what holds no real numbers; parameters of the wrong type.
            ArithmeticError: a revealed loss above the first or negative, or no step that lowers the
                loss: secret data are out of range.

        Range, Error, Cost, Leaks: see the class.
        """
        C, tol, max_iter, log_every = self._settings()
        public = session is None and current_session() is None
        public = public and not is_secret(X) and not is_secret(y)
        with self._fitting(session, X, y) as chosen:
            X = self._inputs(X, "fit", fitted=False)
            self.classes_, hot = as_labels(y, "fit", X.shape[0])
            two = len(self.classes_) == 2
            columns = ScaledColumns.of(chosen, X, C, 0.25 if two else 0.5, bool(self.fit_intercept))
            if not public and not is_secret(X):
                columns.check_plain(X)
            targets = shared(chosen, hot[:, 1:] if two else hot)
            loss = LogLoss(columns.columns, targets, columns.factors)
            losses = _Losses(loss, len(self.classes_), log_every)
            with tqdm(total=max_iter, desc="training", unit="step", disable=None, leave=False) as b:
                found = minimise(
                    loss, max(tol, loss.noise) if tol else 0.0, max_iter, losses.following(b)
                )
            if found.reason == "out of range":
                losses.stop(found.n_iter, "no step lowers the loss")
            w, fine = found.point.w, True
            if public:
                w = w.reveal()
                fine = columns.fine_enough(w)
                self.coef_, self.intercept_ = columns.public_coefficients(w)
            else:
                self.coef_, self.intercept_ = columns.coefficients(w)
            self.n_iter_ = found.n_iter
            self.loss_curve_, self.loss_steps_ = losses.values, losses.steps
        if found.reason == "max_iter" and tol:
            warnings.warn(
                f"LogisticRegression: not converged after max_iter={max_iter} steps; raise "
                "max_iter or tol, standardise the columns, or lower C",
                ConvergenceWarning,
                stacklevel=2,
            )
        elif not fine:
            warnings.warn(
                "LogisticRegression: scores may be off by 2**-5 and more, because coefficients are "
                "above 2**12 for standardised columns; drop nearly dependent columns, fit an "
                "intercept, or lower C",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _scores(self, X: Any) -> Any:
        scores = X @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def _settings(self) -> tuple[float, float, int, int]:
        """Return the parameters, checked."""
        C = real("fit", "C", self.C, 0.0, open_low=True)
        tol = real("fit", "tol", self.tol, 0.0)
        if not isinstance(self.fit_intercept, bool | np.bool_):
            raise ArgumentTypeError(
                f"fit: fit_intercept must be True or False, got {self.fit_intercept!r}"
            )
        counts = []
        for name in ("max_iter", "log_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise ArgumentTypeError(
                    f"fit: {name} must be an integer, got {type(value).__name__}"
                )
            if value < 0:
                raise ArgumentValueError(f"fit: {name} must be at least 0, got {value}")
            counts.append(int(value))
        return C, tol, counts[0], counts[1]


class _Losses:
    """The losses that a fit reveals; one that no converging fit has ends it.

    Args:
        loss: the loss.
        n_classes: whose logarithm is the loss of zero weights.
        log_every: steps from one to the next; 0 for none.

    Attributes:
        values: the losses.
        steps: the steps after which they were.
    """

    def __init__(self, loss: LogLoss, n_classes: int, log_every: int):
        self._loss, self._log_every = loss, log_every
        self.values = [math.log(n_classes)] if log_every else []
        self.steps = [0] if log_every else []

    def following(self, bar: Any) -> Callable[[int, Point], None]:
        """Return what is called after each step."""

        def follow(step: int, point: Point) -> None:
            bar.update()
            if self._log_every and step % self._log_every == 0:
                self._reveal(step, point)
                bar.set_postfix(loss=f"{self.values[-1]:.3e}")

        return follow

    def _reveal(self, step: int, point: Point) -> None:
        loss = self._loss.reveal(point)
        self.values.append(loss)
        self.steps.append(step)
        # Logarithms of sums of exponentials are off by some units, and 2**-15 at most.
        slack = 2.0 ** (3 - self._loss.session.frac_bits) + 2.0**-15
        if not -slack <= loss <= self.values[0] + slack:
            self.stop(step, f"loss {loss:.3e} is not between 0 and the first, {self.values[0]:.3e}")

    def stop(self, step: int, reason: str) -> NoReturn:
        """Raise what says that numbers have left their range."""
        raise DivergenceError(
            f"fit: after step {step}: {reason}: data are out of range; standardise the columns of "
            "X, check that a secret y holds 0 and 1, or lower C",
            self.values,
            self.steps,
        )
