"""Learning-rate schedules: public numbers, by the number of epochs.

Layer: nn, above optimizer. Each is a closed form of the epoch, so that no errors add up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import cos, pi

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.arguments import positive, real
from he_gpu.nn.optimizer import Optimizer


class Schedule:
    """Sets the lr of an optimiser's groups from those they had; call `step` after each epoch.

    Args:
        optimizer: whose lr is set.

    Attributes:
        epoch: calls of `step` so far.
        base_lr: lr at the start, of the first group.
    """

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise ArgumentTypeError(
                f"{type(self).__name__}: optimizer must be an optimizer, got "
                f"{type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        self.base_lr = optimizer.lr
        self._base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.epoch = 0
        self._set()

    def step(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1
        self._set()

    def _set(self) -> None:
        name, factor = type(self).__name__, self.factor(self.epoch)
        rates = [real(name, f"lr of epoch {self.epoch}", r * factor, 0.0) for r in self._base_lrs]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def factor(self, epoch: int) -> float:
        """Return what each first lr is multiplied by; subclasses define it."""
        raise ArgumentTypeError(f"{type(self).__name__}: factor is not defined")


class LambdaLR(Schedule):
    """lr times a function of the epoch.

    Args:
        optimizer: whose lr is set.
        lr_lambda: the function, to numbers of at least 0.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]):
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        """Return the function's value."""
        return float(self.lr_lambda(epoch))


class StepLR(Schedule):
    """lr times gamma after every step_size epochs.

    Args:
        optimizer: whose lr is set.
        step_size: epochs between changes.
        gamma: the factor, > 0.

    Example:
        >>> from he_gpu import nn
        >>> optimizer = nn.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
        >>> schedule, rates = nn.StepLR(optimizer, 2, gamma=0.5), []
        >>> for epoch in range(4):
        ...     rates.append(optimizer.lr)
        ...     schedule.step()
        >>> rates
        [0.1, 0.1, 0.05, 0.05]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size = positive("StepLR", "step_size", step_size)
        self.gamma = real("StepLR", "gamma", gamma, 0.0, open_low=True)
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        """Return gamma for every step_size epochs passed."""
        return float(self.gamma ** (epoch // self.step_size))


class MultiStepLR(Schedule):
    """lr times gamma at each milestone.

    Args:
        optimizer: whose lr is set.
        milestones: epochs, growing.
        gamma: the factor, > 0.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1):
        self.milestones = [positive("MultiStepLR", "milestones", epoch) for epoch in milestones]
        if sorted(self.milestones) != self.milestones:
            raise ArgumentValueError(f"MultiStepLR: milestones must grow, got {milestones}")
        self.gamma = real("MultiStepLR", "gamma", gamma, 0.0, open_low=True)
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        """Return gamma for every milestone passed."""
        return float(self.gamma ** bisect_right(self.milestones, epoch))


class ExponentialLR(Schedule):
    """lr times gamma after every epoch.

    Args:
        optimizer: whose lr is set.
        gamma: the factor, > 0.
    """

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = real("ExponentialLR", "gamma", gamma, 0.0, open_low=True)
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        """Return gamma to the power of the epoch."""
        return float(self.gamma**epoch)


class CosineAnnealingLR(Schedule):
    """lr down to eta_min along half a cosine of T_max epochs, and up again.

    Args:
        optimizer: whose lr is set.
        T_max: epochs of half a period.
        eta_min: the least lr, > 0 where it is reached.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max = positive("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = real("CosineAnnealingLR", "eta_min", eta_min, 0.0)
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        """Return the cosine's share of the first lr, and eta_min's."""
        least = self.eta_min / self.base_lr if self.base_lr else 0.0
        return least + (1 - least) * (1 + cos(pi * epoch / self.T_max)) / 2
