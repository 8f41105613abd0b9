"""What classifiers share: labels, decisions, the score.

Layer: models, above estimator. Secret predictions are indices into the classes, because labels may
be of any kind.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.models.data import as_classes, as_labels, label_indices
from he_gpu.models.estimator import Estimator
from he_gpu.nn import accuracy, no_grad
from he_gpu.tensor import SecretTensor


class Classifier(Estimator):
    """Base of classifiers; a subclass says how inputs score for the classes (`_scores`).

    Attributes:
        classes_: the labels, sorted; 0, 1, 2, ... for a secret y.
    """

    _estimator_type: ClassVar[str] = "classifier"
    classes_: Any

    def decision_function(self, X: Any) -> Any:
        """Return scores (n, n_classes), or (n,) for two classes, above 0 for the second.

        Args:
            X: as `predict`.

        Returns:
            SecretTensor in fit's session; an ndarray where model and X are public.

        Raises:
            ValueError, RuntimeError: as `predict`.

        Leaks: nothing.

        Example:
            >>> import he_gpu as he
            >>> model = he.ReservoirClassifier(width=8, n_steps=9).fit([[0], [1], [2]], [0, 1, 2])
            >>> model.decision_function([[0], [1]]).shape
            (2, 3)
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

        Example:
            >>> import he_gpu as he
            >>> model = he.ReservoirClassifier(width=8).fit([[-1], [1]], ["no", "yes"])
            >>> model.predict([[2], [-3]]).tolist()
            ['yes', 'no']
            >>> with he.Session(device="cpu"):
            ...     model.fit([[-1], [1]], ["no", "yes"]).predict([[2], [-3]]).reveal().tolist()
            [1.0, 0.0]
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
            y: plain labels (n,), all among `classes_`; or a secret, one-hot (n, n_classes) or, for
                two classes, 0 and 1, (n,).

        Raises:
            ValueError: as `predict`; labels that are no classes; y of another shape or session.

        Leaks: the score, one number.

        Example:
            >>> import he_gpu as he
            >>> X, y = [[-1], [1]], ["no", "yes"]
            >>> he.ReservoirClassifier(width=8).fit(X, y).score(X, y)
            1.0
        """
        X = self._inputs(X, "score")
        n = X.shape[0]
        if isinstance(y, SecretTensor):
            self._check_sessions(X, y, "score")
            target = as_labels(y, "score", n, self.classes_)[1]
        else:
            target = label_indices(y, self.classes_, "score", n)
        with no_grad():
            scores = self._scores(X)
        if scores.ndim == 1 and isinstance(target, SecretTensor):
            target = target[:, 1]
        return accuracy(scores, target)

    def _known_classes(self, classes: Any, y: Any) -> Any:
        """Return the classes that y may have in `partial_fit`, None for those of a secret y.

        Raises:
            ValueError: none on the first call, or others than on the first.
        """
        known = getattr(self, "classes_", None)
        given = None if classes is None else as_classes(classes, "partial_fit", "classes")
        if known is None:
            if given is None and not isinstance(y, SecretTensor):
                raise ArgumentValueError(
                    "partial_fit: classes must be passed on the first call to partial_fit"
                )
            return given
        if given is not None and not np.array_equal(given, known):
            raise ArgumentValueError(
                f"partial_fit: classes must be those of the first call, {known.tolist()}, got "
                f"{given.tolist()}"
            )
        return known

    def _scores(self, X: Any) -> Any:
        """Return scores of inputs that were checked, (n, n_classes), or (n,) for two classes."""
        raise ArgumentTypeError(f"{type(self).__name__}: no scores are defined")


class ProbabilisticClassifier(Classifier):
    """Base of classifiers whose scores are logits."""

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of the classes, (n, n_classes).

        Args, Returns, Raises: as `decision_function`.

        Error, Cost: beyond the scores, of `SecretTensor.softmax`, or of `sigmoid` for two classes.
        Leaks: nothing.
        """
        X = self._inputs(X, "predict_proba")
        with no_grad():
            return probabilities(self._scores(X))


def probabilities(scores: Any) -> Any:
    """Return the probabilities (n, n_classes) of scores, (n, n_classes) or (n,) for two classes.

    Cost: of secrets `SecretTensor.softmax`, or `sigmoid` for two classes.
    """
    secret = isinstance(scores, SecretTensor)
    if scores.ndim == 1:
        p = scores.sigmoid() if secret else 0.5 * (1 + np.tanh(scores / 2))
        # (1 - p, p) is a public map of p: no protocol runs.
        return p.reshape(-1, 1) @ np.array([[-1.0, 1.0]]) + np.array([1.0, 0.0])
    if secret:
        return scores.softmax(1)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
