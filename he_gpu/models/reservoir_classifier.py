"""Classification by least squares on a random ReLU reservoir, trained on shares.

Layer: models, above reservoir.
Source: regularised least-squares classification, Rifkin, Yeo, Poggio 2003, for one-hot targets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.models.classifier import Classifier
from he_gpu.models.data import as_labels
from he_gpu.models.reservoir import Reservoir
from he_gpu.session import Session


class ReservoirClassifier(Reservoir, Classifier):
    """Least-squares classes on features relu(X @ W) with random public W, fitted on shares.

    The descent of `ReservoirRegressor`, without intercept, towards -1 and 1 for two classes and
    one-hot targets of 0 and 1 for more; the largest score names the class. From weights of 0 both
    tell two classes apart alike, because the descent is linear in its targets: the column of -1
    and 1 is the difference of the one-hot ones. An input of zeros has no features and scores 0,
    which names the first class. Where X is a SecretTensor, it holds *features*, (n, width).

    Args:
        width: number of random features.
        learning_rate: step size, > 0; below 2 / (largest eigenvalue of F.T F).
        n_steps: number of updates in each fit.
        random_state: seed of the public reservoir; None draws another one each time fit is called.
        log_every: reveal the loss at steps 0, log_every, 2 log_every, ...; 0 reveals none.
        loss: what is revealed: "squared", sum(e**2) of the residuals e = F w - targets, or
            "absolute", sum(|e|).

    Attributes:
        classes_: the labels, sorted; 0, 1, 2, ... for a secret y.
        coef_: SecretTensor (n_classes, width), or (1, width) for two classes, in fit's session; an
            ndarray where that was the model's own.
        loss_curve_: the revealed losses.
        loss_steps_: the steps that they belong to.
        n_iter_: number of updates so far.
        n_features_in_: number of input features; not set by a fit on secret features.
        feature_names_in_: names of the input's columns, where it has any.
        session_: the session of the fit, or None where it was the model's own.

    Example:
        >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], ["no", "yes", "yes", "no"]
        >>> model = ReservoirClassifier(width=64, log_every=0).fit(X, y)
        >>> model.predict(X).tolist(), model.score(X, y)
        (['no', 'yes', 'yes', 'no'], 1.0)
        >>> model.transform(X).shape, model.decision_function(X).shape
        ((4, 64), (4,))
        >>> with Session(device="cpu") as session:
        ...     model.fit(X, session.share([0, 1, 1, 0])).predict(X).reveal().tolist()
        [0.0, 1.0, 1.0, 0.0]
    """

    def fit(self, X: Any, y: Any, session: Session | None = None) -> ReservoirClassifier:
        """Fit on shares.

        Args:
            X: plaintext (n, n_features), or a SecretTensor of *features*, (n, width).
            y: plain labels of any kind, (n,); or a secret, one-hot (n, n_classes) or, for two
                classes, 0 and 1, (n,), which nobody can check.
            session: where to compute; by default that of a SecretTensor given, else the current
                one, else a simulated one of the model's own, which ends with the fit and leaves
                ndarrays.

        Returns:
            self.

        Raises:
            ValueError: shapes that do not fit, numbers out of range, what is no label, fewer than
                two classes, a learning rate that must diverge.
            ArithmeticError: a revealed loss that no converging run has.

        A fit that raises leaves the model as it was.

        Range, Error, Cost, Leaks: as `ReservoirRegressor.fit` of the targets, of which there is
            one column for two classes, and one for each class for more.
        """
        return self._learn(X, y, session, "fit")

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, session: Session | None = None
    ) -> ReservoirClassifier:
        """Go on from the weights that an earlier fit left, n_steps updates on this batch.

        Args:
            X: as `fit`.
            y: as `fit`, of the classes known from the first call.
            classes: all labels that will ever occur; the first call asks for them, unless y is
                secret.
            session: as `fit`; where the weights are secret, that of the earlier fit.

        Returns:
            self; without an earlier fit, what `fit` returns.

        Raises:
            ValueError, ArithmeticError: as `fit`, also for a label that is no class, and for a
                session or classes other than before.

        Range, Error, Cost: as `fit`. Of secret weights nobody can check that the ranges are kept.
        Leaks: as `fit`; `loss_curve_` and `loss_steps_` go on.

        Example:
            >>> model = ReservoirClassifier(width=8, n_steps=20)
            >>> model = model.partial_fit([[0.0], [1.0]], ["a", "b"], classes=["a", "b", "c"])
            >>> model.partial_fit([[2.0]], ["c"]).classes_.tolist()
            ['a', 'b', 'c']
        """
        known = self._known_classes(classes, y)
        return self._learn(X, y, session, "partial_fit", more=True, classes=known)

    def _targets(self, y: Any, function: str, n: int, classes: Array | None) -> Any:
        self.classes_, hot = as_labels(y, function, n, classes)
        # A public map with integers: of secrets no protocol runs.
        return hot @ np.array([[-1.0], [1.0]]) if len(self.classes_) == 2 else hot

    def _scores(self, X: Any) -> Any:
        scores = self._predicted(X)
        return scores.reshape(-1) if scores.shape[1] == 1 else scores
