"""Smooth functions of secret tensors, with NumPy's and PyTorch's names.

Layer: functions, above `tensor`. Each takes a SecretTensor and is the method of that name; see
`tensor.curves.Curves` for ranges, errors and costs.
"""

from __future__ import annotations

from he_gpu.functions.comparison import _first
from he_gpu.tensor import SecretTensor

__all__ = ["erf", "exp", "gelu", "sigmoid", "silu", "softplus", "tanh"]


def sigmoid(x: SecretTensor, /) -> SecretTensor:
    """Return 1 / (1 + exp(-x)); as `SecretTensor.sigmoid`.

    >>> import numpy as np
    >>> import he_gpu as he
    >>> with he.Session() as s:
    ...     y = he.sigmoid(s.share([-1e9, 0.0, 2.0, 1e9])).reveal()
    >>> bool(np.abs(y - [0.0, 0.5, 0.8807970779778823, 1.0]).max() < 3e-5)
    True
    """
    return _first("sigmoid", x, numpy="scipy.special.expit").sigmoid()


def tanh(x: SecretTensor, /) -> SecretTensor:
    """Return the hyperbolic tangent; as `SecretTensor.tanh`.

    >>> import numpy as np
    >>> import he_gpu as he
    >>> with he.Session() as s:
    ...     y = he.tanh(s.share([0.5, 1e9])).reveal()
    >>> bool(np.abs(y - [0.46211715726, 1.0]).max() < 3e-5)
    True
    """
    return _first("tanh", x).tanh()


def erf(x: SecretTensor, /) -> SecretTensor:
    """Return the error function; as `SecretTensor.erf`.

    >>> import numpy as np
    >>> import he_gpu as he
    >>> with he.Session() as s:
    ...     y = he.erf(s.share([0.5, -1e9])).reveal()
    >>> bool(np.abs(y - [0.52049987781, -1.0]).max() < 3e-5)
    True
    """
    return _first("erf", x, numpy="scipy.special.erf").erf()


def gelu(x: SecretTensor, /, approximate: str = "none") -> SecretTensor:
    """Return x times the normal distribution function; as `SecretTensor.gelu`.

    >>> import numpy as np
    >>> import he_gpu as he
    >>> with he.Session() as s:
    ...     y = he.gelu(s.share([0.5, 1e9])).reveal()
    >>> bool(np.abs(y - [0.34573123064, 1e9]).max() < 3e-5)
    True
    """
    return _first("gelu", x, numpy="torch.nn.functional.gelu").gelu(approximate)


def silu(x: SecretTensor, /) -> SecretTensor:
    """Return x * sigmoid(x); as `SecretTensor.silu`.

    >>> import numpy as np
    >>> import he_gpu as he
    >>> with he.Session() as s:
    ...     y = he.silu(s.share([0.5, 1e9])).reveal()
    >>> bool(np.abs(y - [0.31122966560, 1e9]).max() < 3e-5)
    True
    """
    return _first("silu", x, numpy="torch.nn.functional.silu").silu()


def softplus(x: SecretTensor, /) -> SecretTensor:
    """Return log(1 + exp(x)); as `SecretTensor.softplus`.

    >>> import numpy as np
    >>> import he_gpu as he
    >>> with he.Session() as s:
    ...     y = he.softplus(s.share([0.5, 1e9])).reveal()
    >>> bool(np.abs(y - [0.97407698418, 1e9]).max() < 3e-5)
    True
    """
    return _first("softplus", x, numpy="numpy.logaddexp(x, 0)").softplus()


def exp(x: SecretTensor, /, frac_bits: int | None = None, *, high: float = 10.0) -> SecretTensor:
    """Return e to the power of x, or of high where x is above; as `SecretTensor.exp`.

    >>> import numpy as np
    >>> import he_gpu as he
    >>> with he.Session() as s:
    ...     y = he.exp(s.share([-16.0, 0.0, 10.0]), frac_bits=36).reveal()
    >>> bool(np.abs(y / np.exp([-16.0, 0.0, 10.0]) - 1).max() < 1e-3)
    True
    """
    return _first("exp", x).exp(frac_bits, high)
