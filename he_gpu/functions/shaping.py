"""Joining, splitting, padding, picking and turning of secret tensors, under NumPy's names.

Layer: functions, above `tensor`. All of it is local: no rounds, no bytes, no error, and nothing
leaks. Plain arrays alone are refused: NumPy serves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.functions.comparison import _first
from he_gpu.tensor import SecretTensor, joining
from he_gpu.tensor.shaping import Axes, PadMode

__all__ = [
    "broadcast_to",
    "concatenate",
    "cumsum",
    "diagonal",
    "expand_dims",
    "flip",
    "moveaxis",
    "pad",
    "ravel",
    "repeat",
    "roll",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "take",
    "tile",
    "tril",
    "triu",
]


def concatenate(tensors: Any, /, axis: int | None = 0) -> SecretTensor:
    """Return tensors joined along an axis.

    Args:
        tensors: a sequence of secret tensors of one session and public arrays, at least one of them
            secret, of equal shapes but for the axis.
        axis: along which; None joins the elements of all in one axis.

    Returns:
        SecretTensor with the largest frac_bits of the secrets, or the session's where a public
        number needs more than that. Public numbers are rounded to nearest.

    Raises:
        ValueError: nothing to join, shapes that do not fit, an axis out of range, two sessions, a
            public number out of range.
        TypeError: nothing secret.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.concatenate([s.share([1, 2]), [0.5]]).reveal().tolist()
    [1.0, 2.0, 0.5]
    """
    joined: SecretTensor = joining.concatenate(_sequence("concatenate", tensors), axis)
    return joined


def stack(tensors: Any, /, axis: int = 0) -> SecretTensor:
    """Return tensors of one shape joined along a new axis. Args, Returns, Raises: `concatenate`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.stack([s.share([1, 2]), [3, 4]], axis=1).reveal().tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    joined: SecretTensor = joining.stack(_sequence("stack", tensors), axis)
    return joined


def split(
    x: SecretTensor, /, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[SecretTensor]:
    """Return so many equal parts along an axis, or those between places; as `SecretTensor.split`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     [part.reveal().tolist() for part in he.split(s.share([1, 2, 3]), [1])]
    [[1.0], [2.0, 3.0]]
    """
    return _first("split", x).split(indices_or_sections, axis)


def pad(
    x: SecretTensor,
    /,
    pad_width: Any,
    mode: PadMode = "constant",
    constant_values: Any = 0,
) -> SecretTensor:
    """Return x with elements before and behind those of each axis; as `SecretTensor.pad`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.pad(s.share([1, 2]), (1, 2)).reveal().tolist()
    ...     he.pad(s.share([1, 2]), 1, mode="edge").reveal().tolist()
    [0.0, 1.0, 2.0, 0.0, 0.0]
    [1.0, 1.0, 2.0, 2.0]
    """
    return _first("pad", x).pad(pad_width, mode, constant_values)


def take(x: SecretTensor, /, indices: Any, axis: int | None = None) -> SecretTensor:
    """Return the elements at public indices along an axis; as `SecretTensor.take`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.take(s.share([[1, 2], [3, 4]]), [1, -1, 0], axis=1).reveal().tolist()
    [[2.0, 2.0, 1.0], [4.0, 4.0, 3.0]]
    """
    return _first("take", x).take(indices, axis)


def flip(x: SecretTensor, /, axis: Axes = None) -> SecretTensor:
    """Return the elements in reverse order along axes, along all by default.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.flip(s.share([[1, 2], [3, 4]]), axis=1).reveal().tolist()
    [[2.0, 1.0], [4.0, 3.0]]
    """
    return _first("flip", x).flip(axis)


def roll(x: SecretTensor, /, shift: int | tuple[int, ...], axis: Axes = None) -> SecretTensor:
    """Return the elements shifted along axes, end to beginning; as `SecretTensor.roll`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.roll(s.share([1, 2, 3]), 1).reveal().tolist()
    [3.0, 1.0, 2.0]
    """
    return _first("roll", x).roll(shift, axis)


def repeat(
    x: SecretTensor, /, repeats: int | Sequence[int], axis: int | None = None
) -> SecretTensor:
    """Return the elements along an axis each repeated; as `SecretTensor.repeat`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.repeat(s.share([1, 2]), [2, 1]).reveal().tolist()
    [1.0, 1.0, 2.0]
    """
    return _first("repeat", x).repeat(repeats, axis)


def tile(x: SecretTensor, /, reps: int | Sequence[int]) -> SecretTensor:
    """Return the whole of x repeated along each axis; as `SecretTensor.tile`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.tile(s.share([1, 2]), (2, 2)).reveal().tolist()
    [[1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]]
    """
    return _first("tile", x).tile(reps)


def broadcast_to(x: SecretTensor, /, shape: int | Sequence[int]) -> SecretTensor:
    """Return x repeated along axes of length 1 and new first axes; as `SecretTensor.broadcast_to`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.broadcast_to(s.share([1, 2]), (2, 2)).reveal().tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    return _first("broadcast_to", x).broadcast_to(shape)


def expand_dims(x: SecretTensor, /, axis: int | tuple[int, ...]) -> SecretTensor:
    """Return x with new axes of length 1 where ``axis`` says, in the result.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.expand_dims(s.share([1, 2]), (0, -1)).shape
    (1, 2, 1)
    """
    return _first("expand_dims", x).expand_dims(axis)


def squeeze(x: SecretTensor, /, axis: Axes = None) -> SecretTensor:
    """Return x without axes of length 1, without all of them by default.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.squeeze(s.share([[[1], [2]]])).shape
    (2,)
    """
    return _first("squeeze", x).squeeze(axis)


def swapaxes(x: SecretTensor, /, axis1: int, axis2: int) -> SecretTensor:
    """Return x with two axes interchanged.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.swapaxes(s.share([[1, 2]]), 0, 1).reveal().tolist()
    [[1.0], [2.0]]
    """
    return _first("swapaxes", x).swapaxes(axis1, axis2)


def moveaxis(
    x: SecretTensor, /, source: int | Sequence[int], destination: int | Sequence[int]
) -> SecretTensor:
    """Return x with axes moved to new places, the others in their order.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.moveaxis(s.share([[[1, 2, 3], [4, 5, 6]]]), 0, -1).shape
    (2, 3, 1)
    """
    return _first("moveaxis", x).moveaxis(source, destination)


def ravel(x: SecretTensor, /) -> SecretTensor:
    """Return the elements in one axis.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.ravel(s.share([[1, 2], [3, 4]])).reveal().tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return _first("ravel", x).ravel()


def diagonal(x: SecretTensor, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> SecretTensor:
    """Return the diagonals of the matrices of two axes; as `SecretTensor.diagonal`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.diagonal(s.share([[1, 2], [3, 4]])).reveal().tolist()
    [1.0, 4.0]
    """
    return _first("diagonal", x).diagonal(offset, axis1, axis2)


def tril(x: SecretTensor, /, k: int = 0) -> SecretTensor:
    """Return the matrices of the last two axes with 0 above diagonal k.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.tril(s.share([[1, 2], [3, 4]])).reveal().tolist()
    [[1.0, 0.0], [3.0, 4.0]]
    """
    return _first("tril", x).tril(k)


def triu(x: SecretTensor, /, k: int = 0) -> SecretTensor:
    """Return the matrices of the last two axes with 0 below diagonal k.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.triu(s.share([[1, 2], [3, 4]])).reveal().tolist()
    [[1.0, 2.0], [0.0, 4.0]]
    """
    return _first("triu", x).triu(k)


def cumsum(x: SecretTensor, /, axis: int | None = None) -> SecretTensor:
    """Return the sums of the first 1, 2, ... elements along an axis; as `SecretTensor.cumsum`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.cumsum(s.share([1, 2, 3])).reveal().tolist()
    [1.0, 3.0, 6.0]
    """
    return _first("cumsum", x).cumsum(axis)


def _sequence(function: str, tensors: Any) -> list[Any]:
    """Return the tensors to join, at least one of them secret."""
    try:
        parts = list(tensors)
    except TypeError:
        raise ArgumentTypeError(
            f"{function}: tensors must be a sequence, got {type(tensors).__name__}"
        ) from None
    if not parts:
        raise ArgumentValueError(f"{function}: at least one tensor expected, got none")
    _first(function, *parts)
    return parts
