"""A training step as a function of everything that it changes, which a session can record.

Layer: nn, above module and optimizer. See `Session.captured` for what recording is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from he_gpu.nn.loss_curve import LossFunction, checked_loss
from he_gpu.nn.module import Module
from he_gpu.nn.optimizer import Optimizer
from he_gpu.nn.values import Value, is_secret
from he_gpu.nn.variable import Variable
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor

Numbers = dict[int, dict[str, Any]]
"""Public numbers that an optimiser remembers, by parameter."""

MOST_KINDS = 8
"""Kinds of steps that are kept: of batches of other sizes, at other learning rates."""
_Found = tuple[Variable | None, Variable]


class RepeatedStep:
    """The step of a model and its optimiser, recorded once it repeats.

    Args:
        model: what is trained.
        optimizer: of its parameters.
    """

    def __init__(self, model: Module, optimizer: Optimizer):
        self.model, self.optimizer = model, optimizer
        self._step = _Step(model, optimizer)
        self._kinds: dict[Hashable, _Kind] = {}

    def __call__(self, x: Variable, target: Value, loss: LossFunction) -> _Found:
        """Take the step.

        Returns:
            The loss, not yet computed, or None where the step may be recorded; and the prediction.
        """
        step = self._step
        state, numbers = step.state()
        operands, modules = [x.value, target, *state], step.modules(loss)
        if not _repeats(operands, modules):
            return step(x, target, loss)
        read = [loss, *modules, *step.others(modules)]
        key = step.key(operands, numbers, modules), tuple(map(id, read))
        kind = self._kinds.pop(key, None) or _Kind(step, operands[0].session, numbers, read)
        self._kinds = {k: v for k, v in self._kinds.items() if not v.session.closed}
        self._kinds[key] = kind  # the last one again
        if len(self._kinds) > MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]
        try:
            *changed, prediction = kind.captured(*operands)
        except BaseException:
            step.assign(state, numbers)
            raise
        step.assign(changed, kind.after)
        return None, Variable(prediction)


class _Step:
    """A training step, as what it changes and what it reads.

    Args:
        model: what is trained.
        optimizer: of its parameters.
    """

    def __init__(self, model: Module, optimizer: Optimizer):
        self._model, self._optimizer = model, optimizer

    def __call__(self, x: Variable, target: Value, function: LossFunction) -> _Found:
        """Change the parameters once; return loss and prediction, the former not yet computed."""
        self._model.zero_grad()
        self._optimizer.zero_grad()
        prediction = self._model(x)
        loss = checked_loss(function(prediction, target))
        loss.backward()
        self._optimizer.step()
        return loss, prediction

    def state(self) -> tuple[list[Value], Numbers]:
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

    def assign(self, state: Iterable[Value], numbers: Numbers) -> None:
        """Put values and numbers where `state` found them, and forget gradients of others."""
        optimizer, values = self._optimizer, iter(state)
        self._model.zero_grad()
        optimizer.zero_grad()
        for parameter in optimizer.parameters:
            parameter.assign(next(values))
        optimizer._state = {
            index: dict(entry) | {name: next(values) for name in optimizer._tensors}
            for index, entry in numbers.items()
        }

    def modules(self, loss: LossFunction) -> list[Module]:
        """Return all modules that a step runs."""
        own = loss.modules() if isinstance(loss, Module) else ()
        return [*self._model.modules(), *own]

    def others(self, modules: Sequence[Module]) -> list[Any]:
        """Return what a step reads and does not change: buffers, and what is not learnt."""
        learnt = set(map(id, self._optimizer.parameters))
        found: list[Any] = []
        for module in modules:
            parameters = module.__dict__["_parameters"].values()
            found += [each.value for each in parameters if id(each) not in learnt]
            found += module.__dict__["_buffers"].values()
        return found

    def key(self, operands: list[Any], numbers: Numbers, modules: Sequence[Module]) -> Hashable:
        """Return what two steps must have in common to be one, but for what they only read."""
        options = [
            tuple(sorted((name, value) for name, value in group.items() if name != "params"))
            for group in self._optimizer.param_groups
        ]
        known = [(index, *entry.items()) for index, entry in numbers.items()]
        tensors = [(value.shape, value.frac_bits, value.is_masked) for value in operands]
        learning = [
            (id(each), each.requires_grad)
            for module in modules
            for each in module.__dict__["_parameters"].values()
        ]
        plain = [_plain(each) for each in (self._optimizer, *modules)]
        session = id(operands[0].session)
        return session, *(tuple(part) for part in (options, known, tensors, learning, plain))


class _Kind:
    """Steps that are one: what a session records of them.

    Args:
        step: the step.
        session: of its operands.
        before: the optimiser's numbers before it.
        read: the loss, and what else a step reads; kept, so that no other has its identity.

    Attributes:
        captured: the step as a function of its operands.
        session: of its operands.
    """

    def __init__(self, step: _Step, session: Session, before: Numbers, read: Sequence[Any]):
        self.session, self._read = session, read
        self._after = after = [before]

        def run(x: SecretTensor, target: SecretTensor, *state: SecretTensor) -> Any:
            step.assign(state, before)
            _, prediction = step(Variable(x), target, read[0])
            changed, after[0] = step.state()
            return (*changed, prediction.value)

        self.captured = session.captured(run)

    @property
    def after(self) -> Numbers:
        """The optimiser's numbers after the step."""
        return self._after[0]


def _repeats(operands: Sequence[Value], modules: Sequence[Module]) -> bool:
    """Tell whether all operands are secret, in a session that records, and no part varies."""
    return (
        all(is_secret(value) for value in operands)
        and operands[0].session.graph
        and all(module.repeats for module in modules)
    )


def _plain(each: Any) -> Hashable:
    """Return the numbers and words among an object's attributes."""
    return tuple((name, value) for name, value in vars(each).items() if _is_plain(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
