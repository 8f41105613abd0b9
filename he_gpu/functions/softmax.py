"""Softmax, its logarithm and the logarithm of a sum of exponentials, with SciPy's names.

Layer: functions, above `tensor`. Each takes a SecretTensor and is the method of that name; see
`tensor.softmax.Softmax` for ranges, errors and costs. Plain arrays are refused.
"""

from __future__ import annotations

from he_gpu.functions.comparison import _first
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.selection import Axes

__all__ = ["log_softmax", "logsumexp", "softmax"]


def softmax(x: SecretTensor, /, axis: Axes = -1, frac_bits: int | None = None) -> SecretTensor:
    """Return exp(x) over the sum of exp(x) along axes; as `SecretTensor.softmax`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     y = he.softmax(s.share([[1.0, 2.0, 3.0], [0.0, 1e9, 0.0]])).reveal()
        >>> exact = np.array([[0.09003057, 0.24472847, 0.66524096], [0.0, 1.0, 0.0]])
        >>> bool(np.abs(y - exact).max() < 6e-5)
        True
    """
    return _first("softmax", x, numpy="scipy.special.softmax").softmax(axis, frac_bits)


def log_softmax(x: SecretTensor, /, axis: Axes = -1) -> SecretTensor:
    """Return the logarithm of the softmax along axes; as `SecretTensor.log_softmax`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     y = he.log_softmax(s.share([0.0, 1e6])).reveal()
        >>> bool(np.abs(y - [-1e6, 0.0]).max() < 5e-5)
        True
    """
    return _first("log_softmax", x, numpy="scipy.special.log_softmax").log_softmax(axis)


def logsumexp(x: SecretTensor, /, axis: Axes = None, *, keepdims: bool = False) -> SecretTensor:
    """Return the logarithm of the sum of exp(x) over axes; as `SecretTensor.logsumexp`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     y = he.logsumexp(s.share([[0.0, 0.0], [1e6, 1e6]]), axis=1).reveal()
        >>> bool(np.abs(y - [np.log(2), 1e6 + np.log(2)]).max() < 5e-5)
        True
    """
    first = _first("logsumexp", x, numpy="scipy.special.logsumexp")
    return first.logsumexp(axis, keepdims)
