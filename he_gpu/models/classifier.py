"""What classifiers share: labels, decisions, the score.

Layer: models, above estimator. Secret predictions are indices into the classes, because labels may
be of any kind.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from he_gpu.errors import ArgumentTypeError
from he_gpu.models.data import as_labels, label_indices
from he_gpu.models.estimator import Estimator
from he_gpu.nn import accuracy, no_grad
from he_gpu.tensor import SecretTensor


class Classifier(Estimator):
    """Base of classifiers; a subclass says how inputs score for the classes (`_scores`).

    Attributes:
        classes_: the labels, sorted; 0, 1, 2, ... for a secret y.
    """

    _estimator_type: ClassVar[str] = "classifier"

    def decision_function(self, X: Any) -> Any:
        """Return scores (n, n_classes), or (n,) for two classes, above 0 for the second.

        Args, Returns, Raises: as `predict`. Leaks: nothing.
        """
        X = self._inputs(X, "decision_function")
        with no_grad():
            return self._scores(X)

    def predict(self, X: Any) -> Any:
        """Return the predicted classes.

        Args:
            X: plaintext or SecretTensor, (n, n_features).

        Returns:
            An ndarray of labels where the model is public, as a fit without a session leaves it,
            and X too; else a SecretTensor (n,) of indices into `classes_` in fit's session.

        Raises:
            ValueError: not fitted, or shapes that do not fit.
            RuntimeError: fit's session is closed.

        Cost: beyond the scores, of secrets one comparison for two classes, else
            `SecretTensor.argmax` along axis 1.
        Leaks: nothing.
        """
        X = self._inputs(X, "predict")
        with no_grad():
            scores = self._scores(X)
        found = scores > 0 if scores.ndim == 1 else scores.argmax(axis=1)
        if isinstance(found, SecretTensor):
            return found
        return self.classes_[np.asarray(found, np.int64)]

    def score(self, X: Any, y: Any) -> float:
        """Return the share of samples whose class is predicted.

        Args:
            X: as `predict`.
            y: as `fit`.

        Leaks: the score, one number.
        """
        X = self._inputs(X, "score")
        n = X.shape[0]
        secret = isinstance(y, SecretTensor)
        target = (
            as_labels(y, "score", n)[1] if secret else label_indices(y, self.classes_, "score", n)
        )
        with no_grad():
            scores = self._scores(X)
        if scores.ndim == 1 and secret:
            target = target[:, 1]
        return accuracy(scores, target)

    def _scores(self, X: Any) -> Any:
        """Return scores of inputs that were checked, (n, n_classes), or (n,) for two classes."""
        raise ArgumentTypeError(f"{type(self).__name__}: no scores are defined")

    classes_: Any
