"""Products of secret tensors as functions, under NumPy's names.

Layer: functions, above `tensor`. Each is the method of that name; see `Arithmetic` for ranges and
costs. Plain arrays are refused: NumPy serves them.
"""

from __future__ import annotations

from he_gpu.functions.comparison import _first
from he_gpu.tensor import SecretTensor

__all__ = ["square"]


def square(x: SecretTensor, /) -> SecretTensor:
    """Return ``x * x``, at the price of one opening; as `SecretTensor.square`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.square(s.share([1.5, -2.0])).reveal().round(3).tolist()
    [2.25, 4.0]
    """
    return _first("square", x).square()
