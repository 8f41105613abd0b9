"""NumPy's functions on secret arrays: what numpy.add(x, y) or numpy.sum(x) comes to.

Layer: tensor, above mpc. Finds by name the operator, function or method that answers a function of
NumPy, gives it the arguments it knows and refuses the others; computes nothing and never converts
a secret. The functions lie in a layer above and say with `provide` that they exist.
Source: NumPy Enhancement Proposals 13 (ufuncs) and 18 (the other functions).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple, NoReturn

import numpy as np

from he_gpu.errors import ArgumentTypeError, SecretAccessError
from he_gpu.tensor.layout import Layout
from he_gpu.tensor.nearest import nearest

Function = Callable[..., Any]

UNARY = {
    "negative": "__neg__",
    "positive": "__pos__",
    "invert": "__invert__",
    "logical_not": "__invert__",
}
BINARY = {
    "add": ("__add__", "__radd__"),
    "subtract": ("__sub__", "__rsub__"),
    "multiply": ("__mul__", "__rmul__"),
    "divide": ("__truediv__", "__rtruediv__"),
    "power": ("__pow__", "__rpow__"),
    "matmul": ("__matmul__", "__rmatmul__"),
    "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"),
    "greater": ("__gt__", "__lt__"),
    "greater_equal": ("__ge__", "__le__"),
    "equal": ("__eq__", "__eq__"),
    "not_equal": ("__ne__", "__ne__"),
    "bitwise_and": ("__and__", "__rand__"),
    "bitwise_or": ("__or__", "__ror__"),
    "bitwise_xor": ("__xor__", "__rxor__"),
    "logical_and": ("__and__", "__rand__"),
    "logical_or": ("__or__", "__ror__"),
    "logical_xor": ("__xor__", "__rxor__"),
}
"""Operators by their ufunc's name, with those for a tensor that is the second operand."""
NAMES = {"absolute": "abs", "fabs": "abs", "amax": "max", "amin": "min", "expit": "sigmoid"}
"""Names of he_gpu where NumPy's or SciPy's differ."""
REDUCTIONS = {
    ("add", "reduce"): "sum",
    ("maximum", "reduce"): "max",
    ("minimum", "reduce"): "min",
    ("add", "accumulate"): "cumsum",
}
SHAPES = (np.shape, np.ndim, np.size)
"""What asks for nothing but the shape."""
LINALG = ("matmul", "matrix_transpose", "norm", "tensordot", "vecdot")
"""What numpy.linalg has in common with secret tensors; its other names mean something else."""
ARGUMENTS = {
    "a_min": "low",
    "a_max": "high",
    "min": "low",
    "max": "high",
    "newshape": "shape",
    "correction": "ddof",
}
"""Names of arguments where NumPy's differ."""
_DEFAULTS = {
    "where": True,
    "casting": "same_kind",
    "order": "K",
    "subok": True,
    "dtype": None,
    "signature": None,
    "out": None,
}
"""Of ufuncs, and of functions that do not tell theirs."""

_provided: dict[str, Function] = {}


def provide(functions: Mapping[str, Function]) -> None:
    """Say which functions of secret tensors exist; NumPy's of the same names then come to them."""
    _provided.update(functions)


class Given(NamedTuple):
    """One argument of a call of NumPy's.

    Attributes:
        name: that NumPy gives it; empty where it stands for itself by its place.
        value: of the argument.
        is_default: whether it says what NumPy takes for granted.
    """

    name: str
    value: Any
    is_default: bool = False


class Manners(Layout):
    """How a `SecretTensor` takes part in NumPy's functions.

    A function of NumPy that has a counterpart here returns what the counterpart returns, with
    secrets in any place where the counterpart takes them. Arguments that the counterpart lacks,
    such as ``dtype``, ``casting``, ``where`` or ``out``, are refused by name where they are not
    NumPy's defaults. A function without counterpart is refused by an error that names the nearest
    one. Nothing but `reveal` makes a public array of a secret.

    There is no ``__array_namespace__``: a namespace of the array API standard also makes arrays,
    has dtypes and serves public arrays, all of which `he_gpu` leaves to NumPy.
    """

    __slots__ = ()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Answer a ufunc; CuPy's arrays decline those that they share with a secret."""
        kind, home = type(self), _home(ufunc)
        what = f"{home or 'ufunc'}.{ufunc.__name__}"
        name = ufunc.__name__
        given = [Given("", value) for value in inputs]
        given += [Given(key, value, _is_default(key, value)) for key, value in kwargs.items()]
        if method != "__call__":
            what, name = f"{what}.{method}", REDUCTIONS.get((name, method), f"{name}.{method}")
            if "axis" not in kwargs:
                given.append(Given("axis", 0))
        if not home or not exists(kind, name):
            _refuse(kind, what, name)
        return _answer(kind, what, name, given)

    def __array_function__(
        self, function: Function, types: Iterable[type], args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        """Answer a function that is no ufunc; other libraries' arrays may answer instead."""
        if not all(issubclass(kind, Layout | np.ndarray) or _is_cupy(kind) for kind in types):
            return NotImplemented
        if function in SHAPES:
            stand_ins = (_stand_in(value) for value in args)
            return function(*stand_ins, **{key: _stand_in(value) for key, value in kwargs.items()})
        kind, name = type(self), function.__name__
        what = f"{function.__module__}.{name}"
        if not is_answered(kind, function):
            _refuse(kind, what, name)
        return _answer(kind, what, name, _given(function, args, kwargs))


def exists(kind: type, name: str) -> bool:
    """Tell whether secret tensors of that type have an operator, function or method of the name."""
    if name in UNARY:
        return hasattr(kind, UNARY[name])
    if name in BINARY:
        return hasattr(kind, BINARY[name][0])
    return _counterpart(name) is not None


def is_answered(kind: type, function: Any) -> bool:
    """Tell whether a function of NumPy's, or a ufunc, has a counterpart."""
    if isinstance(function, np.ufunc):
        return _home(function) is not None and exists(kind, function.__name__)
    name, module = function.__name__, function.__module__
    if module == "numpy.linalg":
        return name in LINALG and exists(kind, name)
    return module == "numpy" and exists(kind, name)


def _counterpart(name: str) -> Function | None:
    """Return the function of a name, or of the name that it has here."""
    return _provided.get(NAMES.get(name, name))


def _answer(kind: type, what: str, name: str, given: list[Given]) -> Any:
    """Call what answers NumPy's function, which exists."""
    for argument in given:
        if argument.name == "out" and not argument.is_default:
            raise SecretAccessError(
                f"{what}: out is not supported, because a secret cannot lie in a public array nor "
                f"be written over; use the result, as in x = x + y for x += y"
            )
    counterpart = _counterpart(name)
    if name in UNARY or name in BINARY or counterpart is None:
        return _operate(kind, what, name, given)
    positional, named = _matched(what, counterpart, given)
    try:
        inspect.signature(counterpart).bind(*positional, **named)
    except TypeError as error:
        raise ArgumentTypeError(f"{what}: {error}") from None
    return counterpart(*positional, **named)


def _operate(kind: type, what: str, name: str, given: list[Given]) -> Any:
    """Apply an operator, as its method: by its sign it would come back from NumPy's arrays."""
    for argument in given:
        if argument.name not in ("", "x1", "x2") and not argument.is_default:
            _refuse_argument(what, argument)
    operands = [argument.value for argument in given if argument.name in ("", "x1", "x2")]
    reflected = not isinstance(operands[0], kind)
    operator = UNARY[name] if name in UNARY else BINARY[name][reflected]
    first, *rest = reversed(operands) if reflected else operands
    function = getattr(kind, operator, None)
    result = NotImplemented if function is None else function(first, *rest)
    if result is NotImplemented:
        kinds = " and ".join(type(operand).__name__ for operand in operands)
        _refuse(kind, what, operator, kinds)
    return result


def _matched(
    what: str, counterpart: Function, given: list[Given]
) -> tuple[list[Any], dict[str, Any]]:
    """Return a call's arguments under the counterpart's names."""
    parameters = inspect.signature(counterpart).parameters.values()
    leading = max(1, sum(own.kind is own.POSITIONAL_ONLY for own in parameters))
    rest = next((own.name for own in parameters if own.kind is own.VAR_POSITIONAL), None)
    by_name = {
        own.name for own in parameters if own.kind in (own.POSITIONAL_OR_KEYWORD, own.KEYWORD_ONLY)
    }
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for argument in given:
        own = (
            argument.name
            if argument.name in by_name
            else ARGUMENTS.get(argument.name, argument.name)
        )
        if not argument.name or len(positional) < leading:
            positional.append(argument.value)
        elif argument.is_default:
            continue
        elif own in by_name:
            named[own] = argument.value
        elif own == rest:
            positional.append(argument.value)
        else:
            _refuse_argument(what, argument)
    return positional, named


def _given(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Given]:
    """Return a call's arguments with the names and defaults that NumPy gives them."""
    signature = _signature(function)
    if signature is None:  # some functions written in C have none before NumPy 2.4
        given = [Given("", value) for value in args]
        return given + [Given(key, value, _is_default(key, value)) for key, value in kwargs.items()]
    given = []
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            given += [Given("", part) for part in value]
        elif parameter.kind is parameter.VAR_KEYWORD:
            given += [Given(key, part, _is_default(key, part)) for key, part in value.items()]
        else:
            given.append(Given(name, value, _is(value, parameter.default)))
    return given


def _is_default(name: str, value: Any) -> bool:
    """Tell whether an argument of a ufunc says what it need not say."""
    if name == "out" and isinstance(value, tuple):
        return all(array is None for array in value)
    return name in _DEFAULTS and _is(value, _DEFAULTS[name])


def _is(value: Any, default: Any) -> bool:
    """Tell whether a value is the default, without comparing arrays or secrets."""
    if value is default:
        return True
    comparable = type(value) in (bool, int, str) and type(value) is type(default)
    return comparable and bool(value == default)


@cache
def _signature(function: Function) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _home(ufunc: Any) -> str | None:
    """Return the module that a ufunc is of, NumPy or SciPy's special functions."""
    for module in ("numpy", "scipy.special"):
        if getattr(sys.modules.get(module), ufunc.__name__, None) is ufunc:
            return module
    return None


def _is_cupy(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "cupy"


def _stand_in(value: Any) -> Any:
    """Return a public array of a secret's shape, and anything else as it is."""
    return (
        np.broadcast_to(np.empty((), np.bool_), value.shape) if isinstance(value, Layout) else value
    )


def _refuse(kind: type, what: str, name: str, operands: str = "a SecretTensor") -> NoReturn:
    """Say that NumPy's function has no counterpart, and what comes nearest to it."""
    existing = {own: f"numpy.{own}" for own in (*UNARY, *BINARY) if exists(kind, own)}
    near = nearest(name, existing | {own: f"he_gpu.{own}" for own in _provided})
    raise SecretAccessError(
        f"{what}: not defined for {operands}; {f'nearest is {near}, or ' if near else ''}"
        f"reveal() it first, which shows it to every party"
    )


def _refuse_argument(what: str, argument: Given) -> NoReturn:
    value = argument.value
    shown = repr(value) if isinstance(value, int | float | str | type) else type(value).__name__
    raise ArgumentTypeError(
        f"{what}: {argument.name} is not supported for a SecretTensor, got {shown}"
    )
