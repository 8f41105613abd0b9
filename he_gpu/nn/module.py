"""Modules and parameters, with the manners of PyTorch: the tree that a model is.

Layer: nn, above variable. A module's parameters and buffers are public or secret; `share` and
`reveal` turn one into the other. Nothing here shows data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.precision import weight_bits
from he_gpu.nn.values import Value, as_value, is_secret, secret_constant
from he_gpu.nn.variable import Variable, as_variable
from he_gpu.session import Session

Self = TypeVar("Self", bound="Module")


class Parameter(Variable):
    """A Variable that a module learns: it needs a gradient, and optimisers replace its value."""

    __slots__ = ()

    def __init__(self, value: Any, requires_grad: bool = True) -> None:
        super().__init__(value, requires_grad)

    def assign(self, value: Value) -> None:
        """Replace the value by another one of its shape.

        Raises:
            ValueError: another shape.
        """
        value = as_value(value, "assign", "value")
        if tuple(value.shape) != self.shape:
            raise ArgumentValueError(
                f"assign: value must have shape {self.shape}, got {tuple(value.shape)}"
            )
        self._value = value


class Module:
    """Base of layers and models: assign parameters and modules to attributes, define `forward`.

    Attributes:
        training: whether layers behave as in training; see `train` and `eval`.
        repeats: whether `forward` does the same each time with inputs of the same shape, while the
            numbers and words among its attributes, its parameters and buffers stay as they are.
            One that draws public numbers or changes anything else must say False: a session with
            graph=True does not call it in every step, see `Session.captured`.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> class Model(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = nn.Linear(2, 3, random_state=0)
        ...         self.out = nn.Linear(3, 1, random_state=1)
        ...     def forward(self, x):
        ...         return self.out(self.hidden(x))
        >>> model = Model()
        >>> [name for name, _ in model.named_parameters()]
        ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
        >>> model(np.ones((4, 2))).shape
        (4, 1)
    """

    training: bool
    repeats: bool = True

    def __init__(self) -> None:
        self.__dict__["training"] = True
        self.__dict__["_parameters"] = {}
        self.__dict__["_buffers"] = {}
        self.__dict__["_modules"] = {}

    def forward(self, x: Variable) -> Variable:
        """Return what the module makes of its input; subclasses define it."""
        raise ArgumentTypeError(f"{type(self).__name__}: forward is not defined")

    def __call__(self, *inputs: Any) -> Variable:
        """Return `forward` of Variables, SecretTensors or public arrays."""
        name = type(self).__name__
        return self.forward(*(as_variable(x, name) for x in inputs))

    # The tree

    def __setattr__(self, name: str, value: Any) -> None:
        if "_modules" not in self.__dict__:
            raise ArgumentTypeError(
                f"{type(self).__name__}: call super().__init__() before assigning {name}"
            )
        owner = type(self).__name__
        kind = (
            "_parameters"
            if isinstance(value, Parameter)
            else "_modules"
            if isinstance(value, Module)
            else None
        )
        if kind is None and name in self.__dict__["_buffers"]:
            self.register_buffer(name, value)
            return
        if kind is None and value is not None and name in self.__dict__["_parameters"]:
            raise ArgumentTypeError(
                f"{owner}: {name} is a parameter and must be a Parameter or None, got "
                f"{type(value).__name__}; use {name}.assign for a new value"
            )
        for members in ("_parameters", "_buffers", "_modules"):
            self.__dict__[members].pop(name, None)
        self.__dict__.pop(name, None)
        (self.__dict__ if kind is None else self.__dict__[kind])[name] = value

    def __getattr__(self, name: str) -> Any:
        for kind in ("_parameters", "_buffers", "_modules"):
            members = self.__dict__.get(kind, {})
            if name in members:
                return members[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Give the module a parameter; None for one that it does without."""
        if parameter is None:
            self.__dict__[name] = None
        else:
            setattr(self, name, parameter)

    def register_buffer(self, name: str, value: Any) -> None:
        """Give the module a value that is kept with it but not learnt."""
        self.__dict__.pop(name, None)
        self.__dict__["_buffers"][name] = as_value(value, "register_buffer", name)

    def children(self) -> Iterator[Module]:
        """Return the modules one level down."""
        yield from self.__dict__["_modules"].values()

    def modules(self) -> Iterator[Module]:
        """Return the module itself and all below, each once."""
        yield from (module for _, module in self._walk("", set()))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Return names such as "0.hidden", "" for the module itself, and modules, each once."""
        yield from ((prefix.rstrip("."), module) for prefix, module in self._walk("", set()))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Return names such as "hidden.weight" with the parameters, each once."""
        seen: set[int] = set()
        for prefix, module in self._walk("", set()):
            for name, parameter in module.__dict__["_parameters"].items():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield prefix + name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """Return the parameters, for an optimiser."""
        yield from (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Value]]:
        """Return names and buffers."""
        for prefix, module in self._walk("", set()):
            for name, value in module.__dict__["_buffers"].items():
                yield prefix + name, value

    def _walk(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, module in self.__dict__["_modules"].items():
            yield from module._walk(f"{prefix}{name}.", seen)

    # State

    def state_dict(self) -> dict[str, Value]:
        """Return the values of parameters and buffers by name, secret or public as they are."""
        values = {name: parameter.value for name, parameter in self.named_parameters()}
        return values | dict(self.named_buffers())

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Replace parameters and buffers by values of the same names and shapes.

        Args:
            state: secret or public values, as `state_dict` returns them.
            strict: whether names that are missing or superfluous are refused.

        Raises:
            ValueError: names or shapes that do not fit; then nothing has changed.
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state]
        unknown = [name for name in state if name not in own]
        if strict and (missing or unknown):
            raise ArgumentValueError(
                f"load_state_dict: state must have the module's names, got none for {missing}, "
                f"and unknown {unknown}"
            )
        given = {
            name: as_value(state[name], "load_state_dict", name) for name in own if name in state
        }
        for name, value in given.items():
            if tuple(value.shape) != tuple(own[name].shape):
                raise ArgumentValueError(
                    f"load_state_dict: {name} must have shape {tuple(own[name].shape)}, got "
                    f"{tuple(value.shape)}"
                )
        self._replace(lambda name, value: given.get(name, value))

    def _replace(self, change: Callable[[str, Value], Value]) -> None:
        """Replace each value of the state by what a function of name and value returns."""
        for name, parameter in self.named_parameters():
            parameter.assign(change(name, parameter.value))
            parameter.gradient = None
        for prefix, module in self._walk("", set()):
            buffers = module.__dict__["_buffers"]
            for name, value in buffers.items():
                buffers[name] = change(prefix + name, value)

    def share(self: Self, session: Session, owner: str | None = None) -> Self:
        """Make public parameters and buffers secret, with guard bits, and return self.

        Args:
            session: where to share them.
            owner: name of the party that inputs them; the first by default.

        Raises:
            ValueError: values out of range; parameters that are secret in another session.

        Error: half a unit of 2**-(frac_bits + 8) (2 guard bits modulo 2**32).
        Cost, Leaks: as `Session.share` for each.
        """
        if not isinstance(session, Session):
            raise ArgumentTypeError(
                f"share: session must be a Session, got {type(session).__name__}"
            )
        bits = weight_bits(session)

        def shared(name: str, value: Value) -> Value:
            if is_secret(value):
                if value.session is not session:
                    raise ArgumentValueError(
                        f"share: {name} is secret in another session; reveal() it first"
                    )
                return value
            return secret_constant(session, value, bits, owner)

        self._replace(shared)
        return self

    def reveal(self: Self) -> Self:
        """Open secret parameters and buffers to every party and return self. Leaks: them."""
        self._replace(lambda _, value: value.reveal() if is_secret(value) else value)
        return self

    # Modes

    def train(self: Self, mode: bool = True) -> Self:
        """Let all layers behave as in training, or not, and return self."""
        for module in self.modules():
            module.__dict__["training"] = bool(mode)
        return self

    def eval(self: Self) -> Self:
        """Let all layers behave as in use: `train(False)`."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.gradient = None

    def extra_repr(self) -> str:
        """Return what stands between the brackets of a layer's repr; never data."""
        return ""

    def __repr__(self) -> str:
        head, members = type(self).__name__, self.__dict__["_modules"]
        if not members:
            return f"{head}({self.extra_repr()})"
        lines = [
            f"  ({name}): " + repr(module).replace("\n", "\n  ") for name, module in members.items()
        ]
        return f"{head}(\n" + "\n".join(lines) + "\n)"
