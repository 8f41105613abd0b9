"""A training step as a function of everything that it changes, which a session can record.

Layer: nn, above module and optimizer. See `Session.captured` for what recording is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from he_gpu.nn.module import Module
from he_gpu.nn.optimizer import Optimizer
from he_gpu.nn.values import Value, is_secret
from he_gpu.nn.variable import Variable
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor

Step = Callable[[Variable, Value], Any]
Numbers = dict[int, dict[str, Any]]
"""Public numbers that an optimiser remembers, by parameter."""

MOST_KINDS = 8
"""Kinds of steps that are kept: of batches of other sizes, at other learning rates."""


class RepeatedStep:
    """The step of a model and its optimiser, recorded once it repeats.

    Args:
        model: what is trained.
        optimizer: of its parameters.
        step: takes inputs and targets, changes both, and returns loss and prediction.
    """

    def __init__(self, model: Module, optimizer: Optimizer, step: Step):
        self._model, self._optimizer, self._step = model, optimizer, step
        self._kinds: dict[Hashable, _Kind] = {}

    def __call__(self, x: Variable, target: Value) -> tuple[Variable | None, Variable]:
        """Take the step.

        Returns:
            The loss, not yet computed, or None where the step may be recorded; and the prediction.
        """
        state, numbers = self._state()
        operands = [x.value, target, *state]
        if not self._repeats(operands):
            loss, prediction = self._step(x, target)
            return loss, prediction
        key = self._key(operands, numbers)
        kind = self._kinds.pop(key, None) or _Kind(self, operands[0].session, numbers)
        self._kinds[key] = kind  # the last one again
        if len(self._kinds) > MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]
        try:
            *changed, prediction = kind.captured(*operands)
        except BaseException:
            self.assign(state, numbers)
            raise
        self.assign(changed, kind.after)
        return None, Variable(prediction)

    def changed(self, x: SecretTensor, target: SecretTensor) -> tuple[Any, Numbers]:
        """Return what the step makes of the state, and the prediction; and the numbers."""
        _, prediction = self._step(Variable(x), target)
        state, numbers = self._state()
        return (*state, prediction.value), numbers

    def assign(self, state: Iterable[Value], numbers: Numbers) -> None:
        """Put values and numbers where `_state` found them, and forget gradients of others."""
        optimizer, values = self._optimizer, iter(state)
        self._model.zero_grad()
        optimizer.zero_grad()
        for parameter in optimizer.parameters:
            parameter.assign(next(values))
        optimizer._state = {
            index: dict(entry) | {name: next(values) for name in optimizer._tensors}
            for index, entry in numbers.items()
        }

    def _state(self) -> tuple[list[Value], Numbers]:
        """Return all that a step changes: parameters, and what is remembered of them."""
        optimizer = self._optimizer
        values = [parameter.value for parameter in optimizer.parameters]
        values += [
            entry[name] for entry in optimizer._state.values() for name in optimizer._tensors
        ]
        numbers = {
            index: {name: entry[name] for name in optimizer._numbers}
            for index, entry in optimizer._state.items()
        }
        return values, numbers

    def _repeats(self, operands: list[Value]) -> bool:
        """Tell whether all operands are secret, in a session that records, and no part varies."""
        return (
            all(is_secret(value) for value in operands)
            and operands[0].session.graph
            and all(module.repeats for module in self._model.modules())
        )

    def _key(self, operands: list[Any], numbers: Numbers) -> Hashable:
        """Return what two steps must have in common to be one."""
        options = [
            tuple(sorted((name, value) for name, value in group.items() if name != "params"))
            for group in self._optimizer.param_groups
        ]
        known = [(index, *entry.items()) for index, entry in numbers.items()]
        tensors = [(value.shape, value.frac_bits, value.is_masked) for value in operands]
        return tuple(options), tuple(known), tuple(tensors)


class _Kind:
    """Steps that are one: what a session records of them.

    Args:
        step: the step.
        session: of its operands.
        before: the optimiser's numbers before it.

    Attributes:
        captured: the step as a function of its operands.
        after: the numbers after it.
    """

    def __init__(self, step: RepeatedStep, session: Session, before: Numbers):
        self.after = before

        def run(x: SecretTensor, target: SecretTensor, *state: SecretTensor) -> Any:
            step.assign(state, before)
            changed, self.after = step.changed(x, target)
            return changed

        self.captured = session.captured(run)
