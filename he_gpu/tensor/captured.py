"""A step that is recorded when it is repeated, and from then on costs the device alone.

Layer: tensor, above mpc. A device's graph repeats launches on the memory that they had, so a step's
operands are copied to where the recorded step reads them, its results from where it leaves them,
and every keystream call takes its number from the device, which counts on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from he_gpu.backend import Array, Graph, Kept, recording
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, CaptureError
from he_gpu.mpc import Masked, Reused
from he_gpu.mpc.dealer import DealerMask
from he_gpu.tensor.secret import SecretTensor

if TYPE_CHECKING:
    from he_gpu.session import Session

Step = Callable[..., Any]


class Captured:
    """A step of a session, as `Session.captured` returns it.

    Of operands of a kind the first call is made as it is, the second is rehearsed and the third
    recorded. A kind is shapes, fraction bits, and which are masked.

    Args:
        session: whose tensors the step takes and returns.
        function: the step.
    """

    def __init__(self, session: Session, function: Step):
        self._session, self._function = session, function
        self._kinds: dict[Hashable, _Repeated | None] = {}

    def __call__(self, *tensors: SecretTensor) -> Any:
        """Take the step."""
        session = self._session
        session.check_open("captured")
        for index, tensor in enumerate(tensors):
            if not isinstance(tensor, SecretTensor):
                raise ArgumentTypeError(
                    f"captured: operand {index} must be a SecretTensor, got {type(tensor).__name__}"
                )
            if tensor.session is not session:
                raise ArgumentValueError(f"captured: operand {index} belongs to another session")
        graph = session.backend.graph() if session.graph and session.scheme.can_repeat else None
        if graph is None or recording() is not None:  # within a recorded step it is part of that
            return _unmasked(self._function(*tensors), session)
        kind = tuple((t.shape, t.frac_bits, t.is_masked) for t in tensors)
        if kind not in self._kinds:
            self._kinds[kind] = None
            return _unmasked(self._function(*tensors), session)
        repeated = self._kinds[kind]
        if repeated is None:
            repeated = _Repeated(session, self._function, tensors, graph)
            self._kinds[kind] = repeated
        try:
            return repeated(tensors)
        except BaseException:
            del self._kinds[kind]  # what was recorded, or half of it, is not to be trusted
            raise


class _Repeated:
    """A step on operands of one kind.

    Args:
        session: of the step.
        function: the step.
        tensors: operands of this kind.
        graph: empty.
    """

    def __init__(
        self, session: Session, function: Step, tensors: Sequence[SecretTensor], graph: Graph
    ):
        backend = session.backend
        self._session, self._function, self._graph = session, function, graph
        self._kinds = [(tensor.frac_bits, type(tensor._masked)) for tensor in tensors]
        self._operands = [
            [backend.empty(words.shape, words.dtype) for words in _words(tensor)]
            for tensor in tensors
        ]
        self._prgs = session.keys.prgs
        # How many calls each generator has made and makes in a step, on the device.
        self._calls, self._more = (
            backend.asarray(np.zeros(len(self._prgs), np.uint64)) for _ in range(2)
        )
        self._counted: list[int] | None = None
        """What `_calls` holds, or None where nobody knows."""
        self._in_step: list[int] = []
        """The calls of a step."""
        self._spent: list[int] = []
        """What a step costs."""
        self._n_calls = 0
        self._results: Any = None

    def __call__(self, tensors: Sequence[SecretTensor]) -> Any:
        """Take the step: rehearse it, or record it, or repeat it."""
        for tensor, operand in zip(tensors, self._operands, strict=True):
            for words, place in zip(_words(tensor), operand, strict=True):
                place[...] = words
        before = self._calls_now()
        self._n_calls += 1
        if self._counted != before:
            self._count_from(before)
        self._counted = None  # unless the step is taken, nobody knows how far it came
        if self._n_calls == 1:
            return self._graph.rehearse(self._run)
        if self._n_calls == 2:
            spent = self._session.scheme.spent()
            self._results = self._graph.record(self._run)
            self._in_step = _differences(before, self._calls_now())
            self._more[...] = self._session.backend.asarray(np.array(self._in_step, np.uint64))
            self._spent = _differences(spent, self._session.scheme.spent())
        else:
            for prg, more in zip(self._prgs, self._in_step, strict=True):
                prg.skip(more)
            self._session.scheme.spend(self._spent)
        self._graph.replay()
        self._counted = [b + more for b, more in zip(before, self._in_step, strict=True)]
        return _mapped(self._results, self._copied)

    def _run(self) -> Any:
        """Take the step on the operands' places, counting calls as the device does."""
        if len(self._session.keys.prgs) != len(self._prgs):
            raise CaptureError("captured: another operation began to draw randomness meanwhile")
        operands = [
            _tensor(self._session, [self._graph.input(words) for words in operand], *kind)
            for operand, kind in zip(self._operands, self._kinds, strict=True)
        ]
        calls = self._graph.input(self._calls)
        with ExitStack() as counted:
            for index, prg in enumerate(self._prgs):
                counted.enter_context(prg.counted_by(calls[index : index + 1]))
            results = _unmasked(self._function(*operands), self._session)
        if len(self._session.keys.prgs) != len(self._prgs):
            raise CaptureError("captured: the step draws randomness that it did not draw before")
        self._session.backend.add(calls, self._graph.input(self._more), 2**64, out=calls)
        return results

    def _calls_now(self) -> list[int]:
        return [prg.calls for prg in self._prgs]

    def _count_from(self, calls: list[int]) -> None:
        """Tell the device how many calls were made."""
        words = np.array([number % 2**64 for number in calls], np.uint64)
        self._calls[...] = self._session.backend.asarray(words)

    def _copied(self, result: SecretTensor) -> SecretTensor:
        """Return a result as it is now: the next step overwrites where it was left."""
        place = result._stack
        stack = self._session.backend.empty(place.shape, place.dtype)
        stack[...] = place
        return SecretTensor(self._session, stack, result.frac_bits)


def _differences(before: list[int], after: list[int]) -> list[int]:
    return [b - a for a, b in zip(before, after, strict=True)]


def _words(tensor: SecretTensor) -> list[Array]:
    """Return all that a step can see of a tensor: its stack, and what its mask consists of."""
    if tensor._masked is None:
        return [tensor._stack]
    if not isinstance(tensor._masked, Masked):
        return [tensor._masked.stack.words]
    stack, mask, opened, handle = tensor._masked
    return [stack.words, mask.words, opened.words, handle.total.words]


def _tensor(session: Session, words: list[Array], frac_bits: int, kind: type) -> SecretTensor:
    """Return a tensor made of what `_words` returned, with that kind of mask."""
    stack, *others = map(Kept, words)
    masked: Masked | Reused | None = Reused(stack) if kind is Reused else None
    if kind is Masked:
        mask, opened, total = others
        masked = Masked(stack, mask, opened, DealerMask(total))
    return SecretTensor(session, words[0], frac_bits, masked)


def _unmasked(results: Any, session: Session) -> Any:
    """Return a step's results without the masks that they may have."""
    return _mapped(results, lambda result: _plain(result, session))


def _plain(result: Any, session: Session) -> SecretTensor:
    if not isinstance(result, SecretTensor) or result.session is not session:
        raise ArgumentTypeError(
            "captured: the step must return a SecretTensor of the session or a tuple of them, "
            f"got {type(result).__name__}"
        )
    return SecretTensor(session, result._stack, result.frac_bits)


def _mapped(results: Any, change: Callable[[Any], SecretTensor]) -> Any:
    if isinstance(results, tuple):
        return tuple(map(change, results))
    return change(results)
