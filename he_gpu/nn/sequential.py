"""A chain of modules.

Layer: nn, above module.
"""

from __future__ import annotations

from collections.abc import Iterator

from he_gpu.errors import ArgumentTypeError
from he_gpu.nn.module import Module
from he_gpu.nn.variable import Variable


class Sequential(Module):
    """Modules one after another, named "0", "1" and so on, as PyTorch's.

    Example:
        >>> from he_gpu import nn
        >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        Sequential(
          (0): Linear(in_features=2, out_features=3, bias=True)
          (1): ReLU()
        )
    """

    def __init__(self, *modules: Module):
        super().__init__()
        for index, module in enumerate(modules):
            if not isinstance(module, Module):
                raise ArgumentTypeError(
                    f"Sequential: modules expected, got {type(module).__name__}"
                )
            setattr(self, str(index), module)

    def forward(self, x: Variable) -> Variable:
        """Return the last module's result."""
        for module in self:
            x = module(x)
        return x

    def __len__(self) -> int:
        return len(self.__dict__["_modules"])

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Module:
        modules = list(self)
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]
