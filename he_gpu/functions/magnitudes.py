"""Logarithm, roots, inverses, quotients and powers of secret tensors, with NumPy's names.

Layer: functions, above `tensor`. Each takes a SecretTensor and is the method of that name; see
`tensor.magnitudes.Magnitudes` for ranges, errors and costs. Plain arrays are refused.
"""

from __future__ import annotations

from typing import Any

from he_gpu.functions.comparison import _first
from he_gpu.tensor import SecretTensor

__all__ = ["divide", "log", "log1p", "power", "reciprocal", "rsqrt", "sqrt"]


def log(x: SecretTensor, /, frac_bits: int | None = None) -> SecretTensor:
    """Return the natural logarithm, of one unit for x <= 0; as `SecretTensor.log`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     y = he.log(s.share([2.0**-8, 1.0, 4096.0])).reveal()
        >>> bool(np.abs(y - np.log([2.0**-8, 1.0, 4096.0])).max() < 3e-5)
        True
    """
    return _first("log", x).log(frac_bits)


def log1p(x: SecretTensor, /, frac_bits: int | None = None) -> SecretTensor:
    """Return the natural logarithm of 1 + x, of one unit for x <= -1; as `SecretTensor.log1p`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     y = he.log1p(s.share([-0.5, 0.0, 1e6])).reveal()
        >>> bool(np.abs(y - np.log1p([-0.5, 0.0, 1e6])).max() < 3e-5)
        True
    """
    return _first("log1p", x).log1p(frac_bits)


def sqrt(x: SecretTensor, /, frac_bits: int | None = None) -> SecretTensor:
    """Return the square root, 0 for x <= 0; as `SecretTensor.sqrt`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     y = he.sqrt(s.share([-1.0, 0.0, 2.0, 1e6])).reveal()
        >>> bool(y[0] == y[1] == 0), bool(np.abs(y[2:] / np.sqrt([2.0, 1e6]) - 1).max() < 3e-5)
        (True, True)
    """
    return _first("sqrt", x).sqrt(frac_bits)


def rsqrt(x: SecretTensor, /, frac_bits: int | None = None) -> SecretTensor:
    """Return 1 over the square root, of one unit for x <= 0; as `SecretTensor.rsqrt`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     y = he.rsqrt(s.share([0.01, 4.0, 4096.0]), frac_bits=28).reveal()
        >>> bool(np.abs(y / [10.0, 0.5, 1 / 64] - 1).max() < 1e-3)
        True
    """
    return _first("rsqrt", x, numpy="1 / numpy.sqrt(x)").rsqrt(frac_bits)


def reciprocal(x: SecretTensor, /, frac_bits: int | None = None) -> SecretTensor:
    """Return 1 / x, of one unit for x = 0; as `SecretTensor.reciprocal`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     y = he.reciprocal(s.share([-0.25, 3.0, 4096.0]), frac_bits=28).reveal()
        >>> bool(np.abs(y * [-0.25, 3.0, 4096.0] - 1).max() < 1e-4)
        True
    """
    return _first("reciprocal", x).reciprocal(frac_bits)


def divide(x: Any, y: Any, /, frac_bits: int | None = None) -> SecretTensor:
    """Return x / y, of which one may be public; as `SecretTensor.divide`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     x, y = s.share([1.0, -2.0, 1000.0]), s.share([3.0, 5.0, -0.125])
        ...     z = he.divide(x, y).reveal()
        ...     same = (x / y).reveal()
        >>> bool(np.abs(z * [3.0, 5.0, -0.125] - [1, -2, 1000]).max() < 0.1)
        True
        >>> bool(np.abs(z / same - 1).max() < 1e-4)
        True
    """
    first = _first("divide", x, y)
    return first.divide(y, frac_bits) if first is x else first._under(x, frac_bits)


def power(x: SecretTensor, exponent: int, /) -> SecretTensor:
    """Return x to the power of a public integer; as `SecretTensor.power`.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     x = s.share([-1.5, 2.0])
        ...     cube, inverse = (x**3).reveal(), he.power(x, -2).reveal()
        >>> bool(np.abs(cube - [-3.375, 8.0]).max() < 1e-4)
        True
        >>> bool(np.abs(inverse - [1 / 2.25, 0.25]).max() < 1e-4)
        True
    """
    return _first("power", x).power(exponent)
