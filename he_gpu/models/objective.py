"""What a perceptron minimises: a loss of its outputs, and an L2 penalty of its weights.

Layer: models, above nn. Nothing is revealed here.
Source: scikit-learn's `MLPClassifier` and `MLPRegressor` for the definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from he_gpu.functions import concatenate
from he_gpu.nn import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, Parameter, Trainer, Variable
from he_gpu.nn.losses import Loss
from he_gpu.nn.precision import gradient_bits
from he_gpu.nn.values import Value, averaged, coarse, inner, is_secret, product
from he_gpu.nn.variable import record
from he_gpu.session import Session

LOSSES = {"logistic": BCEWithLogitsLoss, "softmax": CrossEntropyLoss}
"""Losses of classifiers, by what turns outputs into probabilities."""
MANY = 2**20
"""Weights that are squared at a time."""


class Objective(Loss):
    """A loss of n samples, plus alpha / (2 n) times the sum of squared weights.

    The loss is the mean cross entropy, or half the mean of squared differences, whose gradient sums
    over several targets. The gradient of the penalty, alpha / n times the weights, is left to the
    optimiser as the weight decay of their group, where it costs no rounds; each call with a
    gradient sets it for its batch.

    The trainer looks at the losses of an epoch's batches when these are over, all together. The
    weights that each batch met are kept until then, and their squares summed in the same rounds.

    Args:
        output: "logistic", "softmax", or "identity" for the squared differences.
        alpha: at least 0.
        weights: what is penalised.
        group: theirs in the optimiser.

    Attributes:
        watched: whether the loss of this epoch will be looked at; otherwise no weights are kept.

    Range: where the loss is looked at, sums of squares as `values.inner`; those of all weights
        over the batches of an epoch below 2**(k - 20 - frac_bits), 2**28 (2**14
        modulo 2**32, with 12 for 24 significant bits).
    Error, Cost: as the losses of `he_gpu.nn`; the value of the penalty takes one product for the
        sum of up to 2**20 weights, in units of 2**-(frac_bits - 6) before its factor.
    Leaks: nothing.
    """

    def __init__(
        self, output: str, alpha: float, weights: Sequence[Parameter], group: dict[str, Any]
    ):
        super().__init__()
        self.output, self.alpha, self.watched = output, alpha, False
        self._loss = LOSSES[output]() if output in LOSSES else None
        self._weights = list(weights)
        self._group = group
        self._kept: list[Value] = []
        self._n_kept = 0
        self._squares: list[Value] = []

    def next_epoch(self, trainer: Trainer) -> bool:
        """Forget the weights of an epoch, as a callback of the trainer, which it never ends."""
        self._kept, self._n_kept, self._squares = [], 0, []
        self.watched = trainer.log_every > 0 and trainer.n_epochs_ % trainer.log_every == 0
        return False

    def of_zero(self, shape: tuple[int, ...]) -> float:
        """Return the loss of scores that are all 0, with a penalty; see `Loss.of_zero`."""
        return (self._loss or MSELoss()).of_zero(shape) + self._penalty()

    def limit(self, shape: tuple[int, ...], session: Session) -> float:
        """Return what the loss stays below, and a penalty; see `Loss.limit`."""
        return (self._loss or MSELoss()).limit(shape, session) + self._penalty()

    def _penalty(self) -> float:
        """Return a penalty of weights whose mean square is 2 and of batches of one sample."""
        return float(self.alpha * sum(weight.value.size for weight in self._weights))

    def _of(self, x: Variable, y: Value) -> Variable:
        n = x.shape[0]
        if x.requires_grad:
            self._group["weight_decay"] = self.alpha / n
            if self.alpha and self.watched:
                self._keep()
        loss = self._loss(x, y) if self._loss else self._half_squared(x, y)

        def value() -> Value:
            self._square()
            squares, self._squares = self._squares, []
            if not squares:
                return loss.value
            return loss.value + sum(squares[1:], squares[0]) * (0.5 * self.alpha / n)

        return record(value, [loss], lambda g: (g,)) if self.alpha else loss

    def _keep(self) -> None:
        """Keep the weights, and square them where they are many."""
        flat = [weight.value.reshape(-1) for weight in self._weights]
        self._kept += flat
        self._n_kept += sum(int(value.size) for value in flat)
        if self._n_kept >= MANY:
            self._square()

    def _square(self) -> None:
        """Add up the squares of the weights kept."""
        if self._kept:
            secret = any(map(is_secret, self._kept))
            whole = concatenate(self._kept) if secret else np.concatenate(self._kept)
            squares = inner(whole, whole)
            if is_secret(squares):  # the sum over an epoch is large, and counts little
                squares = squares.with_frac_bits(max(0, squares.session.frac_bits - 6))
            self._squares.append(squares)
            self._kept, self._n_kept = [], 0

    def _half_squared(self, x: Variable, y: Value) -> Variable:
        self._check_shapes(x, y)
        away = cache(lambda: coarse(x.value - y))

        def value() -> Value:
            return averaged(inner(away(), away()), 2 * x.size)

        back = [1.0 / x.shape[0]]
        return record(value, [x], lambda g: (product(away(), g, gradient_bits),), back)
