"""The tutorial's cipher: integers modulo Q as additive shares, added and multiplied in parts.

Layer: cipher, above ring. Knows neither sessions nor protocols; whoever holds all shares of a
number can decrypt it, and fewer tell nothing.
Source: additive secret sharing, Shamir's "trivial" n-out-of-n scheme over Z_Q.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from he_gpu.backend import Array, Backend, get_backend, word_dtype
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring import KeyRing, Prg
from he_gpu.ring.integers import check_modulus, reduce_integers

MODULUS = 501337
"""The tutorial's Q. It is composite; nothing here needs a prime."""


_OF_TENSORS = {
    "add": "x + y",
    "decrypt": "x.reveal()",
    "matmul": "x @ y",
    "product": "x * y",
}


class Shares(tuple[Array, ...]):
    """Shares of one array of integers: a tuple of arrays of equal shape.

    Attributes:
        modulus: the ring that the shares live in.
        device: where they lie.

    Example:
        >>> x = encrypt([2, 5], n_shares=4, device="cpu")
        >>> len(x), x[0].shape, x.modulus, x.device
        (4, (2,), 501337, 'cpu')
    """

    modulus: int
    device: str

    def __new__(cls, stack: Any, modulus: int, device: str) -> Shares:
        """Take the rows of a stack (n_shares, *shape), or a tuple of arrays, as the shares."""
        is_tuple = isinstance(stack, tuple)
        shares = super().__new__(
            cls, stack if is_tuple else (stack[i, ...] for i in range(len(stack)))
        )
        shares.modulus = modulus
        shares.device = device
        return shares

    def __getnewargs__(self) -> tuple[Any, ...]:  # for pickle and copy
        return tuple(self), self.modulus, self.device


_generators: dict[str, tuple[int, Prg]] = {}


def _generator(backend: Backend) -> Prg:
    """Return this process's generator for a device; a forked child makes its own."""
    process, prg = _generators.get(backend.name, (None, None))
    if prg is None or process != os.getpid():
        prg = KeyRing().prg("cipher/share", backend)
        _generators[backend.name] = (os.getpid(), prg)
    return prg


def encrypt(x: Any, n_shares: int = 3, modulus: int = MODULUS, device: str = "auto") -> Shares:
    """Split integers into uniform shares that sum to them modulo ``modulus``.

    Args:
        x: a Python int of any size, nested lists of them or an integer array of any shape; reduced
            modulo ``modulus``, negatives too.
        n_shares: how many shares, at least 2.
        modulus: 2 <= modulus <= 2**63, or 2**64.
        device: "auto", "cpu", "cuda", "cuda:N" or "emulator".

    Returns:
        Shares: a tuple of n_shares arrays of x's shape, each element in [0, modulus).

    Raises:
        ValueError: n_shares < 2, a modulus out of range, an unknown device.
        TypeError: floats, or arguments of other types.

    Leaks: nothing to a holder of n_shares - 1 shares.

    Example:
        >>> x, y = encrypt(2, device="cpu"), encrypt(5, device="cpu")
        >>> int(decrypt(*add(x, y)))
        7
    """
    modulus = check_modulus(modulus, "encrypt")
    if isinstance(n_shares, bool) or not isinstance(n_shares, int | np.integer):
        raise ArgumentTypeError(
            f"encrypt: n_shares must be an integer, got {type(n_shares).__name__}"
        )
    if n_shares < 2:
        raise ArgumentValueError(f"encrypt: n_shares must be at least 2, got {n_shares}")
    words = reduce_integers(x, modulus, "encrypt")
    backend = get_backend(device)
    stack = backend.xp.empty((int(n_shares), *words.shape), word_dtype(modulus))
    generator, rest = _generator(backend), backend.asarray(words)
    for i in range(int(n_shares) - 1):
        stream = generator.stream(words.shape, modulus)
        backend.split(rest, stream, stack[i, ...], stack[-1, ...], modulus)
        rest = stack[-1, ...]
    return Shares(stack, modulus, backend.name)


def decrypt(*shares: Array, modulus: int | None = None) -> Array:
    """Sum shares modulo ``modulus``.

    Args:
        *shares: at least one array; all of one shape. Without every share of a number the
            result is nonsense, by design.
        modulus: the ring; 501337 by default, or that of a `Shares` given whole.

    Returns:
        uint64 ndarray in [0, modulus), 0-d for scalars.

    Raises:
        ValueError: no shares, shapes that differ, a share not below the modulus.
        TypeError: shares that are no integer arrays.

    Example:
        >>> decrypt(*encrypt([2, -1], device="cpu")).tolist()
        [2, 501336]
    """
    whole: Any = shares[0] if len(shares) == 1 and isinstance(shares[0], Shares) else shares
    modulus = _common_modulus("decrypt", modulus, whole)
    stack, modulus, backend = _gather("decrypt", whole, modulus)
    total = backend.to_numpy(backend.reconstruct(stack, modulus))
    return np.array(total, dtype=np.uint64)


def add(x: Any, y: Any, modulus: int | None = None) -> Shares:
    """Add two shared arrays share by share; shapes broadcast.

    Args:
        x: shares of one array.
        y: as many shares of another.
        modulus: the ring; by default that of the `Shares` given, else 501337.

    Raises:
        ValueError: unequal numbers of shares, moduli that disagree, a share not below the
            modulus, shapes that do not broadcast.
        TypeError: shares that are no integer arrays.

    Example:
        >>> x, y = encrypt([2, 3], device="cpu"), encrypt(5, device="cpu")
        >>> decrypt(*add(x, y)).tolist()
        [7, 8]
    """
    left, modulus, backend = _gather("add", x, _common_modulus("add", modulus, x, y))
    right, _, other = _gather("add", y, modulus)
    if len(left) != len(right):
        raise ArgumentValueError(
            f"add: both operands must have as many shares, got {len(left)} and {len(right)}"
        )
    if backend is not other:
        raise ArgumentValueError(f"add: shares on two devices, {backend.name} and {other.name}")
    left, right = _equal_rank(left, right)
    _check_broadcast("add", left.shape, right.shape)
    return Shares(backend.add(left, right, modulus), modulus, backend.name)


def product(x: Any, factor: Any, modulus: int | None = None) -> Shares:
    """Multiply a shared array by plaintext integers, elementwise; shapes broadcast.

    Args:
        x: shares of one array.
        factor: plaintext int or integer array, reduced modulo ``modulus``.
        modulus: the ring; by default that of the `Shares` given, else 501337.

    Raises:
        ValueError: as for `add`.
        TypeError: a factor that is no integer, such as another `Shares`.

    Example:
        >>> decrypt(*product(encrypt([2, 3], device="cpu"), 10)).tolist()
        [20, 30]
    """
    stack, modulus, backend = _gather("product", x, _common_modulus("product", modulus, x))
    words = _plaintext("product", factor, modulus)
    if words.ndim > stack.ndim - 1:
        stack = _with_axes(stack, words.ndim)
    _check_broadcast("product", stack.shape[1:], words.shape)
    result = backend.mul(stack, backend.asarray(words), modulus)
    return Shares(result, modulus, backend.name)


def matmul(x: Any, matrix: Any, modulus: int | None = None) -> Shares:
    """Multiply a shared matrix by a plaintext one, exactly.

    Args:
        x: shares of (..., m, k), or of (k,).
        matrix: plaintext integers (..., k, n), or (k,), reduced modulo ``modulus``.
        modulus: the ring; by default that of the `Shares` given, else 501337.

    Returns:
        Shares of the product, shaped as ``numpy.matmul`` does.

    Raises:
        ValueError: inner dimensions that differ, and as for `add`.
        TypeError: a matrix that holds no integers.

    Example:
        >>> x = encrypt([[1, 2], [3, 4]], modulus=2**64, device="cpu")
        >>> decrypt(matmul(x, [[1], [10]])).tolist()
        [[21], [43]]
    """
    stack, modulus, backend = _gather("matmul", x, _common_modulus("matmul", modulus, x))
    words = _plaintext("matmul", matrix, modulus)
    shape = stack.shape[1:]
    if not shape or not words.ndim:
        raise ArgumentValueError("matmul: operands must have at least one axis, got a 0-d")
    left = stack[:, None, :] if len(shape) == 1 else stack
    right = words[:, None] if words.ndim == 1 else words
    if left.shape[-1] != right.shape[-2]:
        raise ArgumentValueError(
            f"matmul: inner dimensions differ, got shapes {shape} and {words.shape}"
        )
    if right.ndim > left.ndim - 1:
        left = _with_axes(left, right.ndim)
    _check_broadcast("matmul", left.shape[1:-2], right.shape[:-2])
    result = backend.matmul(left, backend.asarray(right), modulus)
    if len(shape) == 1:
        result = result[..., 0, :]
    return Shares(result[..., 0] if words.ndim == 1 else result, modulus, backend.name)


def _plaintext(function: str, value: Any, modulus: int) -> Array:
    """Return the second operand reduced; arrays in a tuple or list are shares, not plaintext."""
    _refuse_tensors(function, value)
    if isinstance(value, tuple | list) and any(hasattr(part, "dtype") for part in value):
        raise ArgumentTypeError(
            f"{function}: the second operand must be plaintext, "
            f"got {type(value).__name__} of arrays"
        )
    return reduce_integers(value, modulus, function)


def _refuse_tensors(function: str, *values: Any) -> None:
    """Refuse a session's tensors, which have operators of their own, and name the operator."""
    if any(hasattr(type(value), "reveal") for value in values):
        raise ArgumentTypeError(
            f"{function}: shares of integers expected, got a session's tensor; of tensors, write "
            f"{_OF_TENSORS[function]}"
        )


def _common_modulus(function: str, modulus: int | None, *operands: Any) -> int | None:
    """Return the one modulus that the argument and the operands name, or None."""
    named = {operand.modulus for operand in operands if isinstance(operand, Shares)}
    if modulus is not None:
        named.add(check_modulus(modulus, function))
    if len(named) > 1:
        raise ArgumentValueError(f"{function}: moduli disagree, got {sorted(named)}")
    return named.pop() if named else None


def _gather(function: str, shares: Any, modulus: int | None) -> tuple[Array, int, Backend]:
    """Return shares as one stack, with the ring and the device that they live in."""
    _refuse_tensors(function, shares, *(shares if isinstance(shares, tuple | list) else ()))
    if isinstance(shares, Shares):
        modulus = shares.modulus if modulus is None else modulus
        device = shares.device
    else:
        if not isinstance(shares, tuple | list):
            raise ArgumentTypeError(
                f"{function}: shares must be a tuple of arrays, got {type(shares).__name__}"
            )
        device = _device_of(shares)
    modulus = check_modulus(MODULUS if modulus is None else modulus, function)
    backend = get_backend(device)
    if not shares:
        raise ArgumentValueError(f"{function}: at least one share expected, got none")
    arrays = [_check_share(function, share, modulus, backend) for share in shares]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ArgumentValueError(f"{function}: shares must have one shape, got {sorted(shapes)}")
    return backend.xp.stack(arrays), modulus, backend


def _device_of(shares: Sequence[Any]) -> str:
    """Return the device of the first array that lies on a GPU, or the CPU."""
    for share in shares:
        if type(share).__module__.partition(".")[0] == "cupy":
            return f"cuda:{share.device.id}" if share.device.id else "cuda"
    return "cpu"


def _check_share(function: str, share: Any, modulus: int, backend: Backend) -> Array:
    """Return one share as an array of ring words."""
    array = share
    if backend.is_host:
        if isinstance(share, int | np.integer | list):
            if isinstance(share, list) and (
                any(isinstance(part, np.ndarray) for part in share) or _device_of(share) != "cpu"
            ):
                raise ArgumentTypeError(
                    f"{function}: a share must be an array, got several in a list"
                )
            array = np.array(share, dtype=object)
        elif not isinstance(share, np.ndarray):
            raise ArgumentTypeError(
                f"{function}: a share must be an array, got {type(share).__name__}"
            )
        if array.dtype == object:
            if not all(isinstance(value, int | np.integer) for value in array.flat):
                raise ArgumentTypeError(f"{function}: a share must hold integers")
            if any(not 0 <= value < modulus for value in array.flat):
                raise ArgumentValueError(
                    f"{function}: a share must lie in [0, {modulus}), got one outside"
                )
    elif not isinstance(share, backend.xp.ndarray):
        raise ArgumentTypeError(
            f"{function}: shares on two devices, {backend.name} and {type(share).__name__}"
        )
    if array.dtype != object and array.dtype.kind not in "iu":
        raise ArgumentTypeError(f"{function}: a share must hold integers, got {array.dtype}")
    if array.dtype != object and array.size:
        least, largest = int(array.min()), int(array.max())
        if least < 0 or largest >= modulus:
            value = least if least < 0 else largest
            raise ArgumentValueError(f"{function}: a share must lie in [0, {modulus}), got {value}")
    return array.astype(word_dtype(modulus))


def _with_axes(stack: Array, ndim: int) -> Array:
    """Put axes of length 1 between the share axis and the shape, until it has ndim axes."""
    return stack.reshape(len(stack), *(1,) * (ndim - stack.ndim + 1), *stack.shape[1:])


def _equal_rank(left: Array, right: Array) -> tuple[Array, Array]:
    ndim = max(left.ndim, right.ndim) - 1
    return _with_axes(left, ndim), _with_axes(right, ndim)


def _check_broadcast(function: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(first, second)
    except ValueError:
        raise ArgumentValueError(
            f"{function}: shapes {first} and {second} do not broadcast"
        ) from None
