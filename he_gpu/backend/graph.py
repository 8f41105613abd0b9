"""Work that a function gives to a device, recorded once and done again without the function.

Layer: backend, below `launch` and both kernel devices: a CUDA graph on one, a list of launches on
the other. A recording holds addresses and numbers as they were, so a function must do the same each
time, on arrays that stay where they are. It is watched twice, and refused where both times differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from he_gpu.backend.definition.words import Array
from he_gpu.backend.loader import Kernel
from he_gpu.errors import CaptureError

T = TypeVar("T")
Start = tuple[Kernel, Any, tuple[int, ...], tuple[int, ...], Sequence[Any], int]
"""What starts a kernel, as `KernelDevice._start` takes it."""

_recording: ContextVar[Graph | None] = ContextVar("he_gpu_recording", default=None)


def recording() -> Graph | None:
    """Return the graph that watches this thread's work, or None."""
    return _recording.get()


def found(array: Array) -> Array:
    """Return an array that work begins from, as the graph that watches it has it; `Graph.found`."""
    graph = _recording.get()
    return array if graph is None else graph.found(array)


class Graph(ABC):
    """A function's work on a device: rehearsed, recorded, then replayed as often as wanted.

    The work is kernels and whatever the array module does with arrays of the device, by one thread.
    Nothing may be read from the device, and what is moved to it counts as constant.

    Attributes:
        is_rehearsal: whether the function is, or was last, run for the first time.
    """

    def __init__(self) -> None:
        self._launches: list[tuple[Any, ...]] = []
        self._constants: list[tuple[Array, Any]] = []
        """Public words and where they were moved, which replays read."""
        self._places: list[int] = []
        """Addresses of the arrays that were found."""
        self._kept: dict[int, Any] = {}
        """Other arrays that replays read, by their id: nobody else may keep them alive."""
        self.is_rehearsal = True
        self._n_launches = self._n_constants = self._n_found = 0

    def rehearse(self, function: Callable[[], T]) -> T:
        """Run a function and remember what it launches, finds and moves to the device."""
        with self._watched(is_rehearsal=True):
            return self._rehearsed(function)

    def record(self, function: Callable[[], T]) -> T:
        """Record what a function does, and return what it returns.

        The arrays among the results are filled by the first `replay`.

        Raises:
            CaptureError: it does something else than at the rehearsal, or what cannot be recorded.
        """
        with self._watched(is_rehearsal=False):
            result = self._recorded(function)
        for what, seen, expected in (
            ("launches", self._n_launches, len(self._launches)),
            ("constants", self._n_constants, len(self._constants)),
            ("arrays to begin from", self._n_found, len(self._places)),
        ):
            if seen != expected:
                raise CaptureError(f"graph: the function had {expected} {what} before, now {seen}")
        self._launches.clear()
        self._places.clear()
        return result

    @abstractmethod
    def replay(self) -> None:
        """Do the recorded work again, in order with all else that the device is given."""

    def found(self, array: Array) -> Array:
        """Return an array that the function computes on.

        One that it did not make itself is kept alive, and must lie in the same place each time.
        """
        if not array.size or self._is_made(array):
            return array
        self._keep(array)
        place = self._address(array)
        if self.is_rehearsal:
            self._places.append(place)
            return array
        at, self._n_found = self._n_found, self._n_found + 1
        if at >= len(self._places) or self._places[at] != place:
            raise CaptureError(
                f"graph: array {at} that the function begins from, of shape {tuple(array.shape)}, "
                "is another one than before; what changes from call to call must be an operand"
            )
        return array

    def launched(self, start: Start) -> None:
        """Take note of a kernel that is started."""
        kernel, _, grid, block, arguments, shared_bytes = start
        pairs = zip(kernel.parameters, arguments, strict=True)
        numbers = tuple("*" if p.is_pointer and value is not None else value for p, value in pairs)
        launch = kernel.name, grid, block, shared_bytes, numbers
        if self.is_rehearsal:
            self._launches.append(launch)
            return
        at, self._n_launches = self._n_launches, self._n_launches + 1
        before = self._launches[at] if at < len(self._launches) else None
        if launch != before:
            wanted = "no launch" if before is None else _described(before)
            raise CaptureError(
                f"graph: launch {at} of the function was {wanted} before, and is "
                f"{_described(launch)} now; it must do the same each time"
            )

    def constant(self, words: Array, move: Callable[[Array], Any]) -> Any:
        """Return words moved to the device, once for the rehearsal and the recording."""
        if self.is_rehearsal:
            words = np.array(words)
            self._constants.append((words, move(words)))
            return self._constants[-1][1]
        at, self._n_constants = self._n_constants, self._n_constants + 1
        if at < len(self._constants):
            before, moved = self._constants[at]
            same = (before.shape, before.dtype) == (words.shape, words.dtype)
            if same and before.tobytes() == words.tobytes():
                return moved
        raise CaptureError(
            f"graph: public words {at} that the function moves to the device, of shape "
            f"{tuple(words.shape)}, differ from those before; they must be the same each time"
        )

    def _keep(self, array: Array) -> None:
        self._kept[id(array)] = array

    @contextmanager
    def _watched(self, is_rehearsal: bool) -> Iterator[None]:
        self.is_rehearsal = is_rehearsal
        self._n_launches = self._n_constants = self._n_found = 0
        token = _recording.set(self)
        try:
            yield
        finally:
            _recording.reset(token)

    @abstractmethod
    def _is_made(self, array: Array) -> bool:
        """Tell whether the function that is watched made the memory of an array itself."""

    @abstractmethod
    def _address(self, array: Array) -> int:
        """Return where an array lies on the device."""

    @abstractmethod
    def _rehearsed(self, function: Callable[[], T]) -> T:
        """Run a function as it will be run at the recording."""

    @abstractmethod
    def _recorded(self, function: Callable[[], T]) -> T:
        """Record a function's work."""


def _described(launch: tuple[Any, ...]) -> str:
    name, grid, block, shared_bytes, numbers = launch
    scalars = ", ".join(map(str, numbers))
    return f"{name}<<<{grid}, {block}, {shared_bytes}>>>({scalars})"
