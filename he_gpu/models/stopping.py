"""When a perceptron's training ends, and its learning rate after each epoch.

Layer: models, above nn. Sees what the trainer revealed and reveals nothing more.
Source: scikit-learn's stochastic solvers for the rules.
"""

from __future__ import annotations

import numpy as np

from he_gpu.nn import Sequential, Trainer
from he_gpu.nn.optimizer import Optimizer
from he_gpu.nn.values import Value

SCHEDULES = ("constant", "invscaling", "adaptive")


class Stopping:
    """A callback that ends a training that has stopped getting better.

    What is watched is the loss, or a score on validation data. An epoch that does not better the
    best by tol counts; n_iter_no_change of them may follow each other.

    Args:
        network: whose best state is kept where a score is watched.
        optimizer: whose lr is set.
        schedule: "constant"; "invscaling", first_lr over the number of samples seen to the power
            of power_t; or "adaptive", a fifth of lr where training would end, while above 1e-6.
        first_lr: see schedule.
        power_t: likewise.
        n_samples: of an epoch.
        n_seen: samples seen before.
        score: name of the metric to watch, None for the loss.
        tol: the least betterment that counts.
        n_iter_no_change: epochs.
        log_every: epochs between what is revealed.

    Attributes:
        best: the best loss or score.
        best_state: the network's state at the best score.
        converged: whether it ended the training.
    """

    def __init__(
        self,
        network: Sequential,
        optimizer: Optimizer,
        *,
        schedule: str,
        first_lr: float,
        power_t: float,
        n_samples: int,
        n_seen: int,
        score: str | None,
        tol: float,
        n_iter_no_change: int,
        log_every: int,
    ):
        self.network, self.optimizer, self.score = network, optimizer, score
        self.schedule, self.power_t, self.first_lr = schedule, power_t, first_lr
        self.n_samples, self.n_seen = n_samples, n_seen
        self.tol, self.n_iter_no_change, self.log_every = tol, n_iter_no_change, log_every
        self.best = -np.inf if score else np.inf
        self.best_state: dict[str, Value] | None = None
        self.converged = False
        self._n_watched = self._waited = 0

    def __call__(self, trainer: Trainer) -> bool:
        """Return whether to stop after an epoch."""
        self.n_seen += self.n_samples
        curve = trainer.metrics_[self.score] if self.score else trainer.loss_curve_
        watched = len(curve) > self._n_watched
        self._n_watched = len(curve)
        if watched:
            self._watch(curve[-1])
        if self.schedule == "invscaling":
            self.optimizer.lr = self.first_lr * (self.n_seen + 1.0) ** -self.power_t
        if not watched or self._waited <= self.n_iter_no_change:
            return False
        if self.schedule == "adaptive" and self.optimizer.lr > 1e-6:
            self.optimizer.lr /= 5
            self._waited = 0
            return False
        self.converged = True
        return True

    def _watch(self, value: float) -> None:
        """Note a loss or a score."""
        sign = 1 if self.score else -1
        better = sign * value >= sign * self.best + self.tol
        self._waited = 0 if better else self._waited + self.log_every
        if sign * value > sign * self.best:
            self.best = value
            if self.score:
                self.best_state = self.network.state_dict()
