"""What optimisers have in common: groups of parameters, their options, and what is remembered.

Layer: nn, above module. Parameters are replaced, never written to: a mask belongs to one value.
Source: PyTorch's `torch.optim.Optimizer` for groups and state dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.arguments import real
from he_gpu.nn.module import Parameter
from he_gpu.nn.tape import Gradient
from he_gpu.nn.values import Bits, Value, as_value, is_secret
from he_gpu.ring.fixedpoint import encode, word_bits
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor

Self = TypeVar("Self", bound="Optimizer")
Options = dict[str, Any]
"""Numbers of a group by name."""
Check = Callable[[Any], float]
"""Returns a number that it does not refuse."""


class Optimizer:
    """Parameters to be learnt.

    Args:
        params: as `Module.parameters` returns them; or groups of them, each a dict of "params" and
            of options that differ from those of the optimiser, such as "lr" and "weight_decay".
        options: lr and the others that hold where a group says nothing else.

    Attributes:
        parameters: a list of all.
        param_groups: a list of dicts: "params" and every option, which may be changed.
        lr: learning rate of the first group. Setting it sets that of every group; schedules
            multiply that of each.

    Raises:
        ValueError: no parameters, one twice, an unknown option, numbers out of range.
        TypeError: what is no Parameter.

    Example:
        >>> from he_gpu import nn
        >>> layer = nn.Linear(2, 1)
        >>> optimizer = nn.SGD(
        ...     [{"params": [layer.weight], "weight_decay": 1e-3}, {"params": [layer.bias]}], lr=0.1
        ... )
        >>> [group["weight_decay"] for group in optimizer.param_groups]
        [0.001, 0.0]
        >>> optimizer.load_state_dict(optimizer.state_dict() | {"state": {}})
    """

    _tensors: ClassVar[dict[str, Bits]] = {}
    """What is remembered of a parameter in its shape, with the fraction bits."""
    _numbers: ClassVar[dict[str, Check]] = {}
    """What is remembered of it in a public number, with the check."""

    def __init__(self, params: Iterable[Any], options: Options):
        name = type(self).__name__
        if not isinstance(params, Iterable):
            raise ArgumentTypeError(
                f"{name}: params must be a list of Parameters, got {type(params).__name__}"
            )
        given = list(params)
        if not any(isinstance(each, Mapping) for each in given):
            given = [{"params": given}]
        self.param_groups: list[dict[str, Any]] = []
        for group in given:
            self.param_groups.append(self._group(group, options))
        self.parameters: list[Parameter] = [
            p for group in self.param_groups for p in group["params"]
        ]
        if not self.parameters:
            raise ArgumentValueError(f"{name}: at least 1 parameter expected, got none")
        if len({id(parameter) for parameter in self.parameters}) < len(self.parameters):
            raise ArgumentValueError(f"{name}: parameters must differ, got one twice")
        self._state: dict[int, dict[str, Any]] = {}

    def _group(self, group: Any, options: Options) -> dict[str, Any]:
        """Return one of `param_groups`."""
        name = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise ArgumentTypeError(
                f"{name}: each group must be a dict with params, got {type(group).__name__}"
            )
        own = {key: value for key, value in group.items() if key != "params"}
        unknown = sorted(set(own) - set(options))
        if unknown:
            raise ArgumentValueError(
                f"{name}: a group's options must be of {sorted(options)}, got {unknown}"
            )
        params = group["params"]
        params = [params] if isinstance(params, Parameter) else list(params)
        for parameter in params:
            if not isinstance(parameter, Parameter):
                raise ArgumentTypeError(
                    f"{name}: params must be Parameters, got {type(parameter).__name__}"
                )
        checked = self._checked(options | own)
        real(name, "lr", checked["lr"], 0.0, open_low=True)  # only schedules may go down to 0
        return {"params": params, **checked}

    def _checked(self, options: Options) -> Options:
        """Return options that were checked; subclasses check theirs too."""
        name = type(self).__name__
        rate = real(name, "lr", options["lr"], 0.0)
        decay = real(name, "weight_decay", options["weight_decay"], 0.0)
        return options | {"lr": rate, "weight_decay": decay}

    @property
    def lr(self) -> float:
        """Learning rate of the first group."""
        return float(self.param_groups[0]["lr"])

    @lr.setter
    def lr(self, rate: float) -> None:
        rate = real(type(self).__name__, "lr", rate, 0.0)
        for group in self.param_groups:
            group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.gradient = None

    def step(self) -> None:
        """Change the parameters by their gradients; subclasses define it."""
        raise ArgumentTypeError(f"{type(self).__name__}: step is not defined")

    def _learning(self) -> Iterator[tuple[int, Parameter, Gradient, Options]]:
        """Return index, parameter, gradient and group of those that have a gradient."""
        groups = [group for group in self.param_groups for _ in group["params"]]
        for index, (parameter, group) in enumerate(zip(self.parameters, groups, strict=True)):
            gradient = parameter.gradient
            if parameter.requires_grad and gradient is not None:
                if gradient.factor == 0:
                    gradient = Gradient(gradient.value * 0)
                yield index, parameter, gradient, group

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return what a run needs to go on: what is remembered, and the options.

        Returns:
            "state": by the parameter's number what is remembered of it, secret or public as it is;
            "param_groups": the options, with the numbers of the parameters as "params".
        """
        groups, start = [], 0
        for group in self.param_groups:
            stop = start + len(group["params"])
            groups.append({**group, "params": list(range(start, stop))})
            start = stop
        state = {index: dict(entry) for index, entry in self._state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; what stays public becomes secret with the first secret gradient.

        Args:
            state: as `state_dict` of an optimiser of this kind returns it, over parameters of the
                same number, groups and shapes.

        Raises:
            ValueError: names, numbers or shapes that do not fit; then nothing has changed.
            TypeError: what is no dict.
        """
        missing = {"state", "param_groups"} - set(_mapping(state, "state"))
        if missing:
            raise self._misfit(f"state must hold state and param_groups, got no {sorted(missing)}")
        _mapping(state["state"], "state['state']")
        for group in state["param_groups"]:
            _mapping(group, "a group of state['param_groups']")
        numbers = [list(group["params"]) for group in self.state_dict()["param_groups"]]
        found = [list(group.get("params", ())) for group in state["param_groups"]]
        if found != numbers:
            raise self._misfit(f"param_groups must have params {numbers}, got {found}")
        groups = []
        for own, group in zip(self.param_groups, state["param_groups"], strict=True):
            if set(group) != set(own):
                raise self._misfit(f"options must be {sorted(own)}, got {sorted(group)}")
            options = {name: value for name, value in group.items() if name != "params"}
            groups.append({"params": own["params"], **self._checked(options)})
        entries = {index: self._entry(index, entry) for index, entry in state["state"].items()}
        self.param_groups, self._state = groups, entries

    def _entry(self, index: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is remembered of a parameter, checked."""
        if index not in range(len(self.parameters)):
            raise self._misfit(f"state must be of {len(self.parameters)} parameters, got {index!r}")
        names = {*self._tensors, *self._numbers}
        if set(_mapping(entry, f"state of {index}")) != names:
            raise self._misfit(f"state of {index} must be {sorted(names)}, got {sorted(entry)}")
        checked: dict[str, Any] = {}
        for name in self._tensors:
            checked[name] = as_value(entry[name], "load_state_dict", name)
            shape, expected = tuple(checked[name].shape), self.parameters[index].shape
            if shape != expected:
                raise self._misfit(f"{name} of {index} must have shape {expected}, got {shape}")
        for name, check in self._numbers.items():
            checked[name] = check(entry[name])
        return checked

    def _misfit(self, message: str) -> ArgumentValueError:
        return ArgumentValueError(f"load_state_dict: {message}")

    def share(self: Self, session: Session, owner: str | None = None) -> Self:
        """Make public what is remembered secret, as `Module.share` does parameters; return self.

        Raises:
            ValueError: values out of range; what is secret in another session.

        Error: half a unit of the fraction bits that it is kept with.
        Cost, Leaks: as `Session.share` for each.
        """
        if not isinstance(session, Session):
            raise ArgumentTypeError(
                f"share: session must be a Session, got {type(session).__name__}"
            )

        def shared(name: str, value: Value) -> Value:
            if is_secret(value) and value.session is not session:
                raise ArgumentValueError(
                    f"share: {name} is secret in another session; reveal() it first"
                )
            return lifted(session, value, self._tensors[name](session), owner)

        self._replace(shared)
        return self

    def reveal(self: Self) -> Self:
        """Open what is remembered to every party and return self. Leaks: that."""
        self._replace(lambda _, value: value.reveal() if is_secret(value) else value)
        return self

    def _replace(self, change: Callable[[str, Value], Value]) -> None:
        """Replace each tensor that is remembered by what a function of name and value returns."""
        self._state = {
            index: entry | {name: change(name, entry[name]) for name in self._tensors}
            for index, entry in self._state.items()
        }


def _mapping(given: Any, what: str) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            f"load_state_dict: {what} must be a dict, got {type(given).__name__}"
        )
    return given


def lifted(session: Session, value: Value, frac_bits: int, owner: str | None = None) -> Value:
    """Return a secret as it is, and fresh shares of a public value with that many fraction bits.

    Range: |x| < 2**(k - 2 - frac_bits).
    Error: half a unit of 2**-frac_bits.
    Cost, Leaks: as `Session.share`.
    """
    if is_secret(value):
        return value
    session.check_open("share")
    index = 0 if owner is None else session.parties.index(owner)
    limit = word_bits(session.modulus) - 2 - frac_bits
    words = encode(value, frac_bits, limit, session.modulus, "share", "state")
    stack = session.scheme.share(session.backend.asarray(words), index)
    return SecretTensor(session, stack, frac_bits)
