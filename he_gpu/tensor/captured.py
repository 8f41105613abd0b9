"""A step that is recorded when it is repeated, and from then on costs the device alone.

Layer: tensor, above mpc. A device's graph repeats launches on the memory that they had, so a step's
operands are copied to where the recorded step reads them, its results from where it leaves them,
and every keystream call takes its number from the device, which counts on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from he_gpu.backend import Array, Graph, Kept, recording
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.mpc import Masked, Reused
from he_gpu.mpc.dealer import DealerMask
from he_gpu.tensor.secret import SecretTensor

if TYPE_CHECKING:
    from he_gpu.session import Session

Step = Callable[..., Any]


class Captured:
    """A step of a session, as `Session.captured` returns it.

    Of operands of a kind the first call is made as it is, the second is rehearsed and the third
    recorded. A kind is shapes, fraction bits, masks, and which operands are one and the same.

    Args:
        session: whose tensors the step takes and returns.
        function: the step.
    """

    def __init__(self, session: Session, function: Step):
        self._session, self._function = session, function
        self._kinds: dict[Hashable, _Repeated | None] = {}
        self._lock = threading.RLock()  # one thread at a time writes where the step reads

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
        # Within a recorded step it is part of that.
        if not session.graph or not session.scheme.can_repeat or recording() is not None:
            return _unmasked(self._function(*tensors), session)
        with self._lock:
            return self._taken(tensors)

    def _taken(self, tensors: Sequence[SecretTensor]) -> Any:
        session, kind = self._session, _kind(tensors)
        known = kind in self._kinds
        repeated = self._kinds.get(kind)
        if known and (repeated is None or repeated.is_outdated):
            graph = session.backend.graph()
            if graph is not None:
                repeated = _Repeated(session, self._function, tensors, graph)
                self._kinds[kind] = repeated
        if repeated is None:
            results = _unmasked(self._function(*tensors), session)
            self._kinds[kind] = None
            return results
        try:
            return repeated(tensors)
        except BaseException:
            self._kinds.pop(kind, None)  # what was recorded, or half of it, is not to be trusted
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
        at = {id(tensor): index for index, tensor in enumerate(tensors)}
        self._at = [at[id(tensor)] for tensor in tensors]
        """Which operands are one: for each the last of them."""
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
        self._first: list[int] = []
        """The numbers of the generators' first calls in the step that is taken."""
        self._counted: list[int] | None = None
        """What `_calls` holds, or None before the first replay."""
        self._in_step: list[int] = []
        """The calls of a step."""
        self._spent: list[int] = []
        """What a step costs."""
        self._is_rehearsed = False
        self._results: Any = None

    @property
    def is_outdated(self) -> bool:
        """Whether a generator has appeared since, which a recording would not count."""
        return self._results is None and len(self._session.keys.prgs) != len(self._prgs)

    def __call__(self, tensors: Sequence[SecretTensor]) -> Any:
        """Take the step: rehearse it, or record it, or repeat it."""
        for tensor, operand in zip(tensors, self._operands, strict=True):
            for words, place in zip(_words(tensor), operand, strict=True):
                place[...] = words
        scheme = self._session.scheme
        if self._results is not None:
            self._first = [prg.skip(n) for prg, n in zip(self._prgs, self._in_step, strict=True)]
            scheme.spend(self._spent)
        else:
            self._first = self._calls_now()
        if self._counted != self._first:
            self._count_from(self._first)
        if not self._is_rehearsed:
            self._is_rehearsed = True
            return _mapped(self._graph.rehearse(self._run), self._copied)
        if self._results is None:
            spent = scheme.spent()
            results = self._graph.record(self._run)
            self._in_step = _differences(self._first, self._calls_now())
            self._more[...] = self._session.backend.asarray(np.array(self._in_step, np.uint64))
            self._spent = _differences(spent, scheme.spent())
            self._results = results
        self._graph.replay()
        self._counted = [first + n for first, n in zip(self._first, self._in_step, strict=True)]
        return _mapped(self._results, self._copied)

    def _run(self) -> Any:
        """Take the step on the operands' places, counting calls as the device does."""
        made = [
            _tensor(self._session, operand, *kind)
            for operand, kind in zip(self._operands, self._kinds, strict=True)
        ]
        with ExitStack() as counted:
            for index, (prg, first) in enumerate(zip(self._prgs, self._first, strict=True)):
                calls = self._calls[index : index + 1]
                counted.enter_context(prg.counted_by(self._graph, calls, first))
            results = _unmasked(self._function(*(made[at] for at in self._at)), self._session)
        self._session.backend.add(self._calls, self._more, 2**64, out=self._calls)
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


def _kind(tensors: Sequence[SecretTensor]) -> Hashable:
    """Return what operands must have in common to be served by one recording."""
    first: dict[int, int] = {}
    return tuple(
        (t.shape, t.frac_bits, type(t._masked), first.setdefault(id(t), index))
        for index, t in enumerate(tensors)
    )


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
