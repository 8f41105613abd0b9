"""Arguments of the trainer, checked.

Layer: nn, above module and optimizer. Names the argument, the bound and the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.module import Module
from he_gpu.nn.optimizer import Optimizer

_NAME = "Trainer"


def check_learning(model: Any, loss: Any, optimizer: Any) -> None:
    """Refuse a model, a loss and an optimiser that do not make a training."""
    if not isinstance(model, Module):
        raise ArgumentTypeError(f"{_NAME}: model must be a Module, got {_kind(model)}")
    if not callable(loss) or isinstance(loss, type):
        raise ArgumentTypeError(
            f"{_NAME}: loss must be a loss such as nn.MSELoss() or a function, got {_kind(loss)}"
        )
    if not isinstance(optimizer, Optimizer):
        raise ArgumentTypeError(f"{_NAME}: optimizer must be an optimiser, got {_kind(optimizer)}")
    if next(model.parameters(), None) is None:
        raise ArgumentValueError(f"{_NAME}: model must have at least 1 parameter, got none")
    known = {id(p) for p in model.parameters()}
    if isinstance(loss, Module):
        known |= {id(p) for p in loss.parameters()}
    foreign = [p for p in optimizer.parameters if id(p) not in known]
    if foreign:
        raise ArgumentValueError(
            f"{_NAME}: optimizer must have parameters of the model, got {len(foreign)} of "
            f"{len(optimizer.parameters)} that are not"
        )


def checked_schedule(schedule: Any, optimizer: Optimizer) -> Any:
    """Return a schedule of the optimiser, or None."""
    if schedule is None:
        return None
    if isinstance(schedule, type) or not callable(getattr(schedule, "step", None)):
        raise ArgumentTypeError(
            f"{_NAME}: schedule must have a method step or be None, got {_kind(schedule)}"
        )
    if getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise ArgumentValueError(f"{_NAME}: schedule must be one of the trainer's optimizer")
    return schedule


def checked_metrics(metrics: Any) -> dict[str, Callable[..., Any]]:
    """Return functions by name."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise ArgumentTypeError(
            f"{_NAME}: metrics must be a dict of functions by name or None, got {_kind(metrics)}"
        )
    for name, metric in metrics.items():
        if not isinstance(name, str):
            raise ArgumentTypeError(f"{_NAME}: a metric's name must be a str, got {_kind(name)}")
        if name == "loss":
            raise ArgumentValueError(f"{_NAME}: no metric may be called 'loss'; that is in fit's")
        if not callable(metric) or isinstance(metric, type):
            raise ArgumentTypeError(
                f"{_NAME}: metric {name!r} must be a function, got {_kind(metric)}"
            )
    return dict(metrics)


def checked_callbacks(callbacks: Any) -> tuple[Callable[[Any], Any], ...]:
    """Return functions."""
    if isinstance(callbacks, str) or not isinstance(callbacks, Iterable):
        raise ArgumentTypeError(
            f"{_NAME}: callbacks must be a list of functions, got {_kind(callbacks)}"
        )
    found = tuple(callbacks)
    for callback in found:
        if not callable(callback) or isinstance(callback, type):
            raise ArgumentTypeError(
                f"{_NAME}: callbacks must be functions, got one {_kind(callback)}"
            )
    return found


def flag(name: str, value: Any) -> bool:
    """Return True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentTypeError(f"{_NAME}: {name} must be True or False, got {_kind(value)}")
    return bool(value)


def count(function: str, name: str, value: Any) -> int:
    """Return an integer that is at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(f"{function}: {name} must be an integer, got {_kind(value)}")
    if value < 0:
        raise ArgumentValueError(f"{function}: {name} must be at least 0, got {value}")
    return int(value)


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
