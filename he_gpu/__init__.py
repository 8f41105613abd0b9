"""he_gpu: train models on secret-shared data, on NumPy or in CUDA kernels.

The public names and nothing else; README.md shows how they go together. Import it as ``he``:
`abs`, `max` and `min` are those of secret tensors, and a star import would hide Python's own.
"""

from he_gpu import errors
from he_gpu.channel import Cost
from he_gpu.cipher import Shares, add, decrypt, encrypt, matmul, product
from he_gpu.functions import (
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
from he_gpu.models import ReservoirRegressor
from he_gpu.ring import Ring
from he_gpu.session import Session, current_session
from he_gpu.tensor import SecretTensor

__version__ = "0.1.0"

__all__ = [
    "Cost",
    "ReservoirRegressor",
    "Ring",
    "SecretTensor",
    "Session",
    "Shares",
    "__version__",
    "abs",
    "add",
    "argmax",
    "argmin",
    "clip",
    "current_session",
    "decrypt",
    "encrypt",
    "errors",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "min",
    "minimum",
    "product",
    "relu",
    "sign",
    "sort",
    "where",
]
