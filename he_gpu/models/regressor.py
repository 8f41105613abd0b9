"""What regressors share: targets, predictions, the score.

Layer: models, above estimator.
"""

from __future__ import annotations

from typing import Any, ClassVar

from he_gpu.errors import ArgumentTypeError
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
        """
        X = self._inputs(X, "predict")
        with no_grad():
            return self._outputs(X)

    def score(self, X: Any, y: Any) -> float:
        """Return the coefficient of determination of the predictions.

        Leaks: the score, one number; see `he_gpu.nn.r2_score`.
        """
        predicted = self.predict(X)
        return r2_score(predicted, as_targets(y, "score", predicted.shape[0]))

    def _outputs(self, X: Any) -> Any:
        """Return predictions for inputs that were checked."""
        raise ArgumentTypeError(f"{type(self).__name__}: no predictions are defined")
