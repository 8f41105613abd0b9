"""Dropout by a public mask.

Layer: nn, above module. Which elements are dropped says nothing about the data, so the mask is
public, and all parties draw the same one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.nn.arguments import real
from he_gpu.nn.initial import generator_of
from he_gpu.nn.module import Module
from he_gpu.nn.values import product
from he_gpu.nn.variable import Variable, record


class Dropout(Module):
    """In training, elements are 0 with probability p, and the others 1 / (1 - p) times themselves.

    Args:
        p: probability, in [0, 1).
        random_state: seed or generator of the public masks; None draws others each time. Parties in
            several processes must give the same seed.

    Error: none for p = 0.5 and other p for which 1 / (1 - p) is an integer; else as a product with
        a public number.
    Cost: none for such p; else one truncation. Backward none.
    Leaks: nothing; the mask is public and independent of the data.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> layer = nn.Dropout(0.5, random_state=0)
        >>> sorted(set(layer(np.ones(100)).value.tolist())), layer.eval()(np.ones(2)).value.tolist()
        ([0.0, 2.0], [1.0, 1.0])
    """

    def __init__(self, p: float = 0.5, random_state: Any = None):
        super().__init__()
        self.p = real("Dropout", "p", p, 0.0, 1.0)
        self._generator = generator_of(random_state)

    @property
    def repeats(self) -> bool:  # type: ignore[override]
        """Whether nothing is dropped."""
        return not self.training or self.p == 0

    def forward(self, x: Variable) -> Variable:
        """Return x with elements dropped in training, and x itself otherwise."""
        if not self.training or self.p == 0:
            return x
        kept = (self._generator.random(x.shape) >= self.p).astype(np.float64)
        factor = 1 / (1 - self.p)
        value = product(x.value, kept * factor)
        return record(value, [x], lambda g: (product(g, kept),), [factor])

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"
