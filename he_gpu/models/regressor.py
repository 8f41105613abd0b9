"""What regressors share: targets, predictions, the score.

Layer: models, above estimator.
"""

from __future__ import annotations

from typing import Any, ClassVar

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.models.data import as_targets
from he_gpu.models.estimator import Estimator
from he_gpu.nn import no_grad, r2_score


class Regressor(Estimator):
    """Base of regressors; a subclass says what it predicts for checked inputs (`_outputs`)."""

    _estimator_type: ClassVar[str] = "regressor"

    def predict(self, X: Any) -> Any:
        """Return predictions, (n,) or (n, n_targets) as y was.

        Args:
            X: plaintext or SecretTensor, (n, n_features).

        Returns:
            SecretTensor in fit's session; an ndarray where the model is public, as a fit without a
            session leaves it, and X too.

        Raises:
            ValueError: not fitted, or shapes that do not fit.
            RuntimeError: fit's session is closed.

        Leaks: nothing.

        Example:
            >>> import he_gpu as he
            >>> model = he.ReservoirRegressor(width=8, n_steps=2).fit([[0.0], [1.0]], [0.0, 1.0])
            >>> model.predict([[0.5]]).shape
            (1,)
        """
        X = self._inputs(X, "predict")
        with no_grad():
            return self._outputs(X)

    def score(self, X: Any, y: Any) -> float:
        """Return the coefficient of determination of the predictions.

        Args:
            X: as `predict`.
            y: plaintext or SecretTensor, of the predictions' shape.

        Raises:
            ValueError: as `predict`; y of another shape or session.

        Leaks: the score, one number; see `he_gpu.nn.r2_score`.

        Example:
            >>> import he_gpu as he
            >>> X, y = [[0.0], [1.0]], [0.0, 1.0]
            >>> round(he.ReservoirRegressor(width=8, n_steps=0).fit(X, y).score(X, y), 6)
            -1.0
        """
        X = self._inputs(X, "score")
        y = as_targets(y, "score", X.shape[0])
        self._check_sessions(X, y, "score")
        with no_grad():
            predicted = self._outputs(X)
        if tuple(predicted.shape) != tuple(y.shape):
            raise ArgumentValueError(
                f"score: y must have the predictions' shape {tuple(predicted.shape)}, got "
                f"{tuple(y.shape)}"
            )
        return r2_score(predicted, y)

    def _outputs(self, X: Any) -> Any:
        """Return predictions for inputs that were checked."""
        raise ArgumentTypeError(f"{type(self).__name__}: no predictions are defined")
