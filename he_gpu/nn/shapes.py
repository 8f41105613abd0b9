"""Layers that only rearrange.

Layer: nn, above module. Local, exact and free.
"""

from __future__ import annotations

from math import prod

from he_gpu.errors import ArgumentValueError
from he_gpu.nn.module import Module
from he_gpu.nn.variable import Variable


class Flatten(Module):
    """Axes start_dim to end_dim made one, as PyTorch's.

    Args:
        start_dim: the first of them; 1 leaves the batch.
        end_dim: the last of them.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> nn.Flatten()(np.ones((5, 2, 3, 4))).shape
        (5, 24)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Variable) -> Variable:
        """Return the elements in fewer axes."""
        n = x.ndim
        if not all(-n <= at < n for at in (self.start_dim, self.end_dim)):
            raise ArgumentValueError(
                f"Flatten: start_dim and end_dim must be in [{-n}, {n}), got {self.start_dim} "
                f"and {self.end_dim}"
            )
        first, last = self.start_dim % n, self.end_dim % n
        if first > last:
            raise ArgumentValueError(
                f"Flatten: start_dim must not be behind end_dim, got {first} and {last}"
            )
        shape = x.shape
        return x.reshape(*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])

    def extra_repr(self) -> str:
        """Return the axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
