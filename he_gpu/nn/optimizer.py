"""What optimisers have in common: parameters, their gradients, and the learning rate.

Layer: nn, above module. Parameters are replaced, never written to: a mask belongs to one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.arguments import real
from he_gpu.nn.module import Parameter
from he_gpu.nn.tape import Gradient


class Optimizer:
    """Parameters to be learnt.

    Args:
        params: as `Module.parameters` returns them.
        lr: learning rate, > 0.

    Attributes:
        parameters: a list of them.
        lr: learning rate; schedules set it.

    Raises:
        ValueError: no parameters, numbers out of range.
        TypeError: what is no Parameter.
    """

    def __init__(self, params: Iterable[Parameter], lr: float):
        name = type(self).__name__
        self.parameters = list(params)
        for parameter in self.parameters:
            if not isinstance(parameter, Parameter):
                raise ArgumentTypeError(
                    f"{name}: params must be Parameters, got {type(parameter).__name__}"
                )
        if not self.parameters:
            raise ArgumentValueError(f"{name}: at least 1 parameter expected, got none")
        if len({id(parameter) for parameter in self.parameters}) < len(self.parameters):
            raise ArgumentValueError(f"{name}: parameters must differ, got one twice")
        self.lr = real(name, "lr", lr, 0.0, open_low=True)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.gradient = None

    def step(self) -> None:
        """Change the parameters by their gradients; subclasses define it."""
        raise ArgumentTypeError(f"{type(self).__name__}: step is not defined")

    def _learning(self) -> Iterator[tuple[int, Parameter, Gradient]]:
        """Return index, parameter and gradient of those that have one."""
        for index, parameter in enumerate(self.parameters):
            gradient = parameter.gradient
            if parameter.requires_grad and gradient is not None:
                if gradient.factor == 0:
                    gradient = Gradient(gradient.value * 0)
                yield index, parameter, gradient
