"""What secret tensors can do as functions, under NumPy's and PyTorch's names.

Layer: functions, above `tensor`. One file for each family; all names are public as ``he_gpu.name``.
"""

from he_gpu.functions.comparison import (
    abs,
    argmax,
    argmin,
    clip,
    max,
    max_pool2d,
    maximum,
    min,
    minimum,
    relu,
    sign,
    sort,
    where,
)

__all__ = [
    "abs",
    "argmax",
    "argmin",
    "clip",
    "max",
    "max_pool2d",
    "maximum",
    "min",
    "minimum",
    "relu",
    "sign",
    "sort",
    "where",
]
