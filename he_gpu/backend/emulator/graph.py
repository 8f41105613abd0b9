"""The emulator's stand-in for CUDA graphs: a list of launches and of what NumPy did between them.

Part of the emulator. While a function is watched, the device's arrays are `Traced`: they note each
operation on them, and the device's array module notes what makes new ones. A replay does the same
on the same memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from he_gpu.backend.definition.words import Array
from he_gpu.backend.graph import Graph, Start, recording
from he_gpu.errors import CaptureError

T = TypeVar("T")

_COPIES = ("astype", "copy", "cumsum", "flatten", "ravel", "repeat", "reshape", "sum", "take")
"""Methods that may return a copy, past NumPy's ways for functions and ufuncs."""
_READS = ("__bool__", "__float__", "__index__", "__int__", "item", "tobytes", "tolist")
_UNWRITTEN = ("empty", "empty_like")


class EmulatedGraph(Graph):
    """What a function gave to the emulator, to be done again.

    Args:
        start: starts a kernel, `Emulator._start`.
    """

    def __init__(self, start: Callable[..., None]):
        super().__init__()
        self._start = start
        self._work: list[Callable[[], Any]] = []
        self._made: dict[int, Array] = {}
        """Memory that the function made, by its id."""
        self._traced: dict[int, tuple[Array, Array]] = {}
        """Arrays that it found, by their id, and what stands for them."""

    def replay(self) -> None:
        """Do the recorded work again."""
        for work in self._work:
            work()

    def found(self, array: Array) -> Array:
        """Return the array, traced, the same one each time."""
        array = super().found(array)
        if not isinstance(array, Traced):
            array = self._traced.setdefault(id(array), (array, array.view(Traced)))[1]
        return array

    def launched(self, start: Start) -> None:
        """Take note of a kernel that is started."""
        super().launched(start)
        run = self._start
        self._work.append(lambda: run(*start))

    def done(self, function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> Any:
        """Do an operation of NumPy, and take note of it where it writes memory."""
        arguments, options = _plain(arguments), _plain(options)
        result = function(*arguments, **options)
        if isinstance(result, tuple | list):
            raise CaptureError(f"graph: {function.__name__} of arrays cannot be recorded")
        if isinstance(result, np.generic):  # CuPy makes arrays of these too
            result = np.asarray(result)
        if not isinstance(result, np.ndarray):
            return result

        def again() -> None:
            np.copyto(result, function(*arguments, **options))

        if options.get("out") is not None:
            self._work.append(lambda: function(*arguments, **options))
        elif not _is_view(result, arguments):
            self._made[id(_memory(result))] = _memory(result)
            if function.__name__ not in _UNWRITTEN:
                self._work.append(again)
        return result.view(Traced)

    def assigned(self, array: Array, key: Any, value: Any) -> None:
        """Write to an array, and take note of it."""
        array, key, value = _plain(array), _plain(key), _plain(value)

        def assign() -> None:
            array[key] = value

        assign()
        self._work.append(assign)

    def _is_made(self, array: Array) -> bool:
        return id(_memory(array)) in self._made

    def _address(self, array: Array) -> int:
        return int(array.__array_interface__["data"][0])

    def _rehearsed(self, function: Callable[[], T]) -> T:
        try:
            return self._recorded(function)
        finally:
            self._work.clear()

    def _recorded(self, function: Callable[[], T]) -> T:
        try:
            return function()
        finally:
            self._made.clear()
            self._traced.clear()


def tracing() -> EmulatedGraph | None:
    """Return the graph that watches this thread's work on the emulator, or None."""
    graph = recording()
    return graph if isinstance(graph, EmulatedGraph) else None


class TracedModule:
    """Stands for `numpy` while a function is watched."""

    ndarray = np.ndarray

    def __getattr__(self, name: str) -> Any:
        value, graph = getattr(np, name), tracing()
        if graph is None or isinstance(value, type) or not callable(value):
            return value
        return lambda *arguments, **options: graph.done(value, arguments, options)


class Traced(np.ndarray[Any, Any]):
    """An array of the emulator whose operations are noted, and only these: see `EmulatedGraph`.

    Where no function is watched it is an array like any other.
    """

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        if out is not None:
            options["out"] = out[0]
        return _done(getattr(ufunc, method), inputs, options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        return _done(function, arguments, options)

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        whole = parts if any(part is Ellipsis for part in parts) else (*parts, ...)
        return _done(np.ndarray.__getitem__, (self, whole), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        graph = tracing()
        if graph is None:
            _plain(self)[_plain(key)] = _plain(value)
        else:
            graph.assigned(self, key, value)


def _done(function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> Any:
    graph = tracing()
    if graph is None:
        return function(*_plain(arguments), **_plain(options))
    return graph.done(function, arguments, options)


def _plain(value: Any) -> Any:
    """Return a value with plain arrays in place of traced ones."""
    if isinstance(value, Traced):
        return value.view(np.ndarray)
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _memory(array: Array) -> Array:
    """Return the array that a view is of, or the array itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _is_view(result: Array, arguments: Any) -> bool:
    return any(
        isinstance(each, np.ndarray) and np.may_share_memory(result, each) for each in arguments
    )


def _method(name: str) -> Callable[..., Any]:
    function = getattr(np.ndarray, name)
    return lambda self, *arguments, **options: _done(function, (self, *arguments), options)


def _refusal(name: str) -> Callable[..., Any]:
    function = getattr(np.ndarray, name)

    def read(self: Traced, *arguments: Any) -> Any:
        if tracing() is not None:
            raise CaptureError(
                f"graph: {name} reads from the device, which no recording can repeat"
            )
        return function(_plain(self), *arguments)

    return read


for _name in _COPIES:
    setattr(Traced, _name, _method(_name))
for _name in _READS:
    setattr(Traced, _name, _refusal(_name))
