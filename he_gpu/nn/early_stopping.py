"""Stopping a training whose revealed loss or metric no longer improves.

Layer: nn, above trainer. It reads what the trainer revealed and reveals nothing itself; the best
state is kept as shares.
"""

from __future__ import annotations

from typing import Any

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.arguments import positive, real
from he_gpu.nn.trainer import Trainer
from he_gpu.nn.values import Value

MODES = ("min", "max")


class EarlyStopping:
    """A callback of `Trainer` that ends a fit when its monitor has not improved for a while.

    Each fit starts anew. At the end of a fit, however it comes but by an error, the model gets the
    parameters and buffers of its best epoch back; the optimiser's memory stays as it is.

    Args:
        monitor: "loss" or the name of one of the trainer's metrics.
        patience: revealed values without improvement after which the fit ends, at least 1.
        min_delta: what a value must be better by to count as an improvement, at least 0.
        mode: "min" or "max", which of the monitor is better; None is "min" for the loss, and must
            be replaced for a metric.
        restore_best: whether the model gets the best state back.

    Attributes:
        best_: the best value; None before the first.
        best_epoch_: its epoch, from 0.
        stopped_: whether the last fit was ended by this.

    Raises:
        ValueError: numbers out of range, an unknown mode, a metric without a mode; at the start of
            a fit, a monitor that the trainer does not reveal.
        TypeError: arguments of the wrong type.

    Cost: none.
    Leaks: the epoch at which training stops, which follows from what was revealed.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> X = np.random.default_rng(0).uniform(-1, 1, (64, 2))
        >>> y, model = X.sum(1, keepdims=True), nn.Linear(2, 1, random_state=0)
        >>> stop = nn.EarlyStopping(patience=3, min_delta=1e-3)
        >>> trainer = nn.Trainer(
        ...     model, nn.MSELoss(), nn.SGD(model.parameters(), lr=0.5), random_state=0,
        ...     callbacks=[stop],
        ... )
        >>> trainer.fit(X, y, epochs=100).n_epochs_ < 100, stop.stopped_
        (True, True)
    """

    def __init__(
        self,
        monitor: str = "loss",
        patience: int = 10,
        min_delta: float = 1e-4,
        mode: str | None = None,
        restore_best: bool = True,
    ):
        if not isinstance(monitor, str):
            raise ArgumentTypeError(
                f"EarlyStopping: monitor must be a str, got {type(monitor).__name__}"
            )
        if mode is None and monitor != "loss":
            raise ArgumentValueError(
                f"EarlyStopping: mode must be one of {MODES} for the metric {monitor!r}, got None"
            )
        if mode is not None and mode not in MODES:
            raise ArgumentValueError(f"EarlyStopping: mode must be one of {MODES}, got {mode!r}")
        self.monitor = monitor
        self.patience = positive("EarlyStopping", "patience", patience)
        self.min_delta = real("EarlyStopping", "min_delta", min_delta, 0.0)
        self.mode = mode or "min"
        self.restore_best = bool(restore_best)
        self._start()

    def _start(self) -> None:
        self.best_: float | None = None
        self.best_epoch_: int | None = None
        self.stopped_ = False
        self._waited = 0
        self._state: dict[str, Value] = {}

    def on_fit_start(self, trainer: Trainer) -> None:
        """Forget what was; called by the trainer."""
        known = [*(["loss"] if trainer.log_every else []), *trainer.metrics_]
        if self.monitor not in known:
            raise ArgumentValueError(
                f"EarlyStopping: monitor must be one of what the trainer reveals, {known}, got "
                f"{self.monitor!r}"
            )
        self._start()

    def __call__(self, trainer: Trainer) -> bool:
        """Return whether the fit shall end; called by the trainer after each epoch."""
        epoch = trainer.n_epochs_ - 1
        if self.monitor == "loss":
            values, epochs = trainer.loss_curve_, trainer.loss_epochs_
        else:
            values, epochs = trainer.metrics_[self.monitor], trainer.metric_epochs_
        if not epochs or epochs[-1] != epoch:
            return False
        value = values[-1]
        sign = 1 if self.mode == "max" else -1
        if self.best_ is None or sign * (value - self.best_) > self.min_delta:
            self.best_, self.best_epoch_, self._waited = value, epoch, 0
            if self.restore_best:
                self._state = trainer.model.state_dict()
            return False
        self._waited += 1
        self.stopped_ = self._waited >= self.patience
        return self.stopped_

    def on_fit_end(self, trainer: Trainer) -> None:
        """Restore the best state; called by the trainer."""
        if self._state and self.best_epoch_ != trainer.n_epochs_ - 1:
            trainer.model.load_state_dict(self._state)
        self._state = {}

    def __repr__(self) -> str:
        fields: dict[str, Any] = {
            "monitor": self.monitor,
            "patience": self.patience,
            "min_delta": self.min_delta,
            "mode": self.mode,
            "restore_best": self.restore_best,
        }
        return f"EarlyStopping({', '.join(f'{name}={value!r}' for name, value in fields.items())})"
