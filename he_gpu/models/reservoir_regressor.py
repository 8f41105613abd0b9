"""Linear regression on a random ReLU reservoir, trained by gradient descent on shares.

Layer: models, above reservoir.
Source: the job that the tutorial demonstrates.
"""

from __future__ import annotations

from typing import Any

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError
from he_gpu.models.data import as_targets
from he_gpu.models.regressor import Regressor
from he_gpu.models.reservoir import Reservoir
from he_gpu.session import Session


class ReservoirRegressor(Reservoir, Regressor):
    """Least squares on features relu(X @ W) with random public W, fitted on secret shares.

    Full-batch gradient descent without intercept: w starts at 0, e = F w - y, w <- w -
    learning_rate * F.T e. The loss that is revealed is that before the update; descent follows
    the squares whatever it is. Where X is a SecretTensor, it holds *features*, (n, width).

    Args:
        width: number of random features.
        learning_rate: step size, > 0; below 2 / (largest eigenvalue of F.T F).
        n_steps: number of updates in each fit.
        random_state: seed of the public reservoir; None draws another one each time fit is called.
        log_every: reveal the loss at steps 0, log_every, 2 log_every, ...; 0 reveals none.
        loss: what is revealed: "squared", sum(e**2), or "absolute", sum(|e|).

    Attributes:
        coef_: SecretTensor (n_targets, width), or (width,) for 1-d y, in fit's session; an ndarray
            where that was the model's own.
        loss_curve_: the revealed losses.
        loss_steps_: the steps that they belong to.
        n_iter_: number of updates so far.
        n_features_in_: number of input features; not set by a fit on secret features.
        feature_names_in_: names of the input's columns, where it has any.
        session_: the session of the fit, or None where it was the model's own.

    Example:
        >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
        >>> model = ReservoirRegressor(n_steps=100, log_every=0).set_params(width=64)
        >>> model.get_params()["width"], model.transform(X).shape
        (64, (4, 64))
        >>> with Session(device="cpu") as session:
        ...     (model.fit(X, y).predict(X).reveal() > 0.5).astype(int).tolist()
        [0, 1, 1, 0]
        >>> own = ReservoirRegressor(random_state=1).fit(X, y)
        >>> own.predict(X).shape, own.score(X, y) > 0.9
        ((4,), True)
    """

    def fit(self, X: Any, y: Any, session: Session | None = None) -> ReservoirRegressor:
        """Fit on shares.

        Args:
            X: plaintext (n, n_features), or a SecretTensor of *features*, (n, width).
            y: plaintext or SecretTensor, (n,) or (n, n_targets).
            session: where to compute; by default that of a SecretTensor given, else the current
                one, else a simulated one of the model's own, which ends with the fit and leaves
                ndarrays.

        Returns:
            self.

        Raises:
            ValueError: shapes that do not fit, numbers out of range, a learning rate that must
                diverge (the message names the largest safe one).
            ArithmeticError: a revealed loss that no converging run has: above the first one, for
                m absolute residuals above sqrt(m) times the first. `loss_curve` and `loss_steps`
                of the error have the losses.

        A fit that raises leaves the model as it was.

        Range: plaintext that could leave the word is refused. Of secret data nobody can check
            that, with f = frac_bits, |F w - y| < 2**(54 - 2 f), that where losses are revealed the
            sum of squares of the residuals is below 2**(61 - 2 f) or that of absolute ones below
            2**(61 - f), that features are below 2**(38 - f), and learning_rate |F.T e| below
            2**(61 - f - g), where g is f plus the zeros after the point of learning_rate in
            binary; beyond, results are wrong.
        Error: features and residuals are rounded to 2**-f, weights to 2**-(f + 8) at each step, so
            predictions also to some 2**-(f + 8) times the norm of a row of F.
        Cost: once that of the scheme's `mask` of the features (where gradients are not bounded as
            below, of a `truncate` and another `mask` too); per step two of its truncated
            `product`, of the masked features and weights and of those and the residuals; for each
            revealed loss 1 round and, "squared", a `product` of n_targets * n elements without
            truncation, "absolute" a `positive_part` of as many. With "additive" 1 round (or 3), 4
            per step and 2 or 8 per loss.
        Leaks: the losses at the logged steps. For plaintext X and y also whether their norms bound
            the gradient by 2**(38 - 2 frac_bits), which chooses the way its product is scaled.
        """
        return self._learn(X, y, session, "fit")

    def partial_fit(self, X: Any, y: Any, session: Session | None = None) -> ReservoirRegressor:
        """Go on from the weights that an earlier fit left, n_steps updates on this batch.

        Args:
            X: as `fit`.
            y: as `fit`, with as many targets as before.
            session: as `fit`; where the weights are secret, that of the earlier fit.

        Returns:
            self; without an earlier fit, what `fit` returns.

        Raises:
            ValueError, ArithmeticError: as `fit`, also for a session or targets other than before.

        Range, Error, Cost: as `fit`. Of secret weights nobody can check that the ranges are kept.
        Leaks: as `fit`; `loss_curve_` and `loss_steps_` go on.

        Example:
            >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
            >>> model = ReservoirRegressor(width=8, n_steps=5, log_every=5)
            >>> model.partial_fit(X, y).partial_fit(X, y).loss_steps_
            [0, 5]
        """
        return self._learn(X, y, session, "partial_fit", more=True)

    def _targets(self, y: Any, function: str, n: int, classes: Array | None) -> Any:
        y = as_targets(y, function, n)
        if hasattr(self, "coef_") and tuple(y.shape[1:]) != tuple(self.coef_.shape[:-1]):
            before = (n, *self.coef_.shape[:-1])
            raise ArgumentValueError(
                f"{function}: y must have shape {before}, as many targets as in the earlier fit, "
                f"got {tuple(y.shape)}"
            )
        return y

    def _outputs(self, X: Any) -> Any:
        return self._predicted(X)
