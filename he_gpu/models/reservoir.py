"""What reservoirs share: parameters, features, and a linear model of them learnt on shares.

Layer: models, above estimator and descent. Opens what the descent opens.
"""

from __future__ import annotations

import secrets
from typing import Any, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.models.data import as_inputs, check_session, shared
from he_gpu.models.descent import Descent, checked_descent, integer
from he_gpu.models.estimator import Estimator
from he_gpu.models.losses import Losses
from he_gpu.models.reservoir_features import checked_seed, reservoir_features, rounded
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor

Self = TypeVar("Self", bound="Reservoir")


class Reservoir(Estimator):
    """Base of `ReservoirRegressor` and `ReservoirClassifier`; they say what y the descent gets."""

    coef_: Any
    loss_curve_: list[float]
    loss_steps_: list[int]
    n_iter_: int

    def __init__(
        self,
        width: int = 256,
        learning_rate: float = 1e-3,
        n_steps: int = 250,
        random_state: int | None = 0,
        log_every: int = 50,
        loss: str = "squared",
    ):
        self.width = width
        self.learning_rate = learning_rate
        self.n_steps = n_steps
        self.random_state = random_state
        self.log_every = log_every
        self.loss = loss

    def transform(self, X: Any) -> Array:
        """Return the plaintext features relu(X @ W), (n, width).

        Args:
            X: plaintext (n, n_features).

        Raises:
            ValueError: X that is not 2-d, or whose number of features is not that of fit; a
                random_state of None before fit.
            TypeError: a SecretTensor, or what holds no real numbers.

        Example:
            >>> import he_gpu as he
            >>> he.ReservoirRegressor(width=3).transform([[1.0, 0.0]]).round(2).tolist()
            [[1.76, 0.4, 0.98]]
        """
        if isinstance(X, SecretTensor):
            raise ArgumentTypeError("transform: X must be plaintext, got a SecretTensor")
        X = self._known_features(X, "transform")
        if hasattr(self, "_reservoir_seed"):
            seed = self._reservoir_seed
        else:
            seed = checked_seed(self.random_state, "transform")
        if seed is None:
            raise ArgumentValueError(
                "transform: random_state=None has no reservoir before fit on plaintext"
            )
        return reservoir_features(X, self._width("transform"), seed)

    def fit_transform(self, X: Any, y: Any) -> Array:
        """Fit on plaintext and return its features, as `fit` and `transform` do.

        Example:
            >>> import he_gpu as he
            >>> he.ReservoirRegressor(width=3).fit_transform([[1.0], [2.0]], [1.0, 2.0]).shape
            (2, 3)
        """
        return self._learn(X, y, None, "fit_transform").transform(X)

    def _learn(
        self: Self,
        X: Any,
        y: Any,
        session: Session | None,
        function: str,
        more: bool = False,
        classes: Array | None = None,
    ) -> Self:
        """Descend on shares of features and targets.

        Args:
            X: plaintext inputs, or secret features.
            y: what `_targets` takes.
            session: as `_fitting` takes it.
            function: for messages.
            more: whether to start from the weights of an earlier fit, where there is one.
            classes: for `_targets`.
        """
        descent = checked_descent(
            self.learning_rate, self.n_steps, self.log_every, self.loss, function
        )
        seed, more = checked_seed(self.random_state, function), more and hasattr(self, "coef_")
        with self._fitting(session, X, y, function=function, more=more) as chosen:
            if chosen.modulus != 2**64:
                raise ArgumentValueError(
                    f"{function}: the session's modulus must be 2**64 to hold the weights' "
                    f"fraction bits, got {chosen.modulus}"
                )
            if not more:
                self._reservoir_seed = seed
                self.n_iter_, self.loss_curve_, self.loss_steps_ = 0, [], []
            X = self._inputs(X, function, fitted=more and hasattr(self, "n_features_in_"))
            if not isinstance(X, SecretTensor):
                if self._reservoir_seed is None and not more:
                    self._reservoir_seed = secrets.randbits(32)
                X = rounded(self.transform(X), chosen.frac_bits)
            y = self._targets(y, function, X.shape[0], classes)
            self._descend(chosen, X, y, descent, more)
        return self

    def _descend(self, session: Session, X: Any, y: Any, descent: Descent, more: bool) -> None:
        """Replace the weights by those that the descent ends at, and note its losses."""
        start = self.coef_ if more else None
        if start is not None:
            start = start.reshape(-1, 1) if start.ndim == 1 else start.T
        public_X, public_y = (not isinstance(value, SecretTensor) for value in (X, y))
        if public_X:
            descent.check_rate(X)
        bounded = False
        if public_X and public_y and not isinstance(start, SecretTensor):
            targets = y.reshape(y.shape[0], -1)
            residuals = targets if start is None else targets - X @ start
            bounded = descent.check_ranges(X, targets, residuals, session.frac_bits)
        F, y = shared(session, X), shared(session, y)
        is_vector = y.ndim == 1
        if is_vector:
            y = y.reshape(-1, 1)
        losses = Losses(descent.loss, descent.function)
        w = descent.run(F, y, start, bounded, losses)
        self.coef_ = w.reshape(-1) if is_vector else w.T
        self.loss_curve_ = [*self.loss_curve_, *losses.values]
        self.loss_steps_ = [*self.loss_steps_, *(self.n_iter_ + step for step in losses.steps)]
        self.n_iter_ += descent.n_steps

    def _targets(self, y: Any, function: str, n: int, classes: Array | None) -> Any:
        """Return what the descent learns, (n,) or (n, n_targets), of one of `classes` if any."""
        raise ArgumentTypeError(f"{type(self).__name__}: no targets are defined")

    def _inputs(self, X: Any, function: str, fitted: bool = True) -> Any:
        """Return plaintext inputs (n, n_features), or secret *features* (n, width) as they are."""
        if not isinstance(X, SecretTensor):
            return super()._inputs(X, function, fitted)
        if fitted:
            self._check_fitted(function)
            check_session(X, self.session_, function, "X")
        width = self._width(function)
        if X.ndim != 2 or X.shape[1] != width:
            raise ArgumentValueError(
                f"{function}: secret features must have shape (n, {width}), got {X.shape}"
            )
        return as_inputs(X, function)

    def _predicted(self, X: Any) -> Any:
        """Return the linear model of checked inputs, (n,) or (n, n_targets)."""
        w = self.coef_ if self.coef_.ndim == 1 else self.coef_.T
        if isinstance(X, SecretTensor):
            return X @ w
        F = self.transform(X)
        if not isinstance(w, SecretTensor):
            return F @ w
        # Features as rounded as in training, so that |F w| has the range it had there.
        frac_bits = w.session.frac_bits
        return (np.rint(np.ldexp(F, frac_bits)) @ w) * 2.0**-frac_bits

    def _width(self, function: str) -> int:
        """Return the number of features: that of the fit, else the parameter."""
        if hasattr(self, "coef_"):
            return int(self.coef_.shape[-1])
        return integer(function, "width", self.width, 1)
