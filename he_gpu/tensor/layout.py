"""How a secret array is laid out: shape, axes, indexing, and what a secret refuses to be.

Layer: tensor, above mpc. Everything here is local and costs nothing; no arithmetic. Never reads a
secret.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import prod
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from he_gpu.backend import Array, Backend, found, recording, to_host
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    IndexRangeError,
    SecretAccessError,
)
from he_gpu.mpc import Masked, Reused
from he_gpu.ring.fixedpoint import word_bits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from he_gpu.session import Session

Self = TypeVar("Self", bound="Layout")


class Layout:
    """A share stack with its session, fraction bits and shape; `SecretTensor` computes on it.

    What moves, drops or repeats elements keeps a mask: nothing is opened anew, see `masked`.

    Attributes:
        session: the session that holds the shares.
        frac_bits: fraction bits of the encoding.
        shape: of the secret array.
        ndim: number of its axes.
    """

    __slots__ = ("_masked", "_shares", "frac_bits", "ndim", "session", "shape")

    def __init__(
        self,
        session: Session,
        stack: Array,
        frac_bits: int,
        masked: Masked | Reused | None = None,
    ):
        self.session = session
        self.frac_bits = frac_bits
        self.shape: tuple[int, ...] = stack.shape[1:]
        self.ndim = len(self.shape)
        self._shares = stack
        self._masked = masked

    @property
    def _stack(self) -> Array:
        """The share stack, to compute on."""
        return found(self._shares)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def shares(self) -> Array:
        """A copy of the share stack, uint64 of shape (rows, *shape), on the device."""
        self.session.check_open("shares")
        return self.session.scheme.shares(self._stack).astype(np.uint64)

    @property
    def is_masked(self) -> bool:
        """Whether products reuse a mask that was opened before; see `masked`."""
        return isinstance(self._masked, Masked)

    @property
    def T(self: Self) -> Self:  # noqa: N802 - NumPy's name
        """The tensor with its axes reversed; a masked one stays masked. Cost: none."""
        self.session.check_open("T")
        return self.transpose()

    def transpose(self: Self, *axes: int) -> Self:
        """Return the tensor with permuted axes, reversed by default; a masked one stays masked.

        Cost: none.
        """
        self.session.check_open("transpose")
        order = axes or tuple(reversed(range(self.ndim)))
        if len(axes) == 1 and axes[0] is None:
            order = tuple(reversed(range(self.ndim)))
        elif len(axes) == 1 and isinstance(axes[0], tuple | list):
            order = tuple(axes[0])
        if len(order) != self.ndim:
            raise ArgumentValueError(f"transpose: {self.ndim} axes expected, got {order}")
        normal = self._axes(order, "transpose")
        if self._masked is None:
            return self._like(self._stack.transpose(0, *(axis + 1 for axis in normal)))
        ndim = self.ndim
        if ndim > 1 and normal == (*range(ndim - 2), ndim - 1, ndim - 2):
            return self._with_mask(self._masked.transposed())

        def change(words: Array) -> Array:
            lead = words.ndim - ndim
            return words.transpose(*range(lead), *(lead + axis for axis in normal))

        return self._with_mask(self._masked.viewed(change, "transposed", normal))

    def reshape(self: Self, *shape: Any) -> Self:
        """Return the elements in another shape; one length may be -1.

        A masked tensor stays masked. Cost: none.
        """
        self.session.check_open("reshape")
        if len(shape) == 1 and isinstance(shape[0], tuple | list):
            shape = tuple(shape[0])
        try:
            view = np.broadcast_to(np.empty((), np.bool_), self.shape).reshape(shape)
        except (ValueError, TypeError) as error:
            raise ArgumentValueError(f"reshape: {error}") from None
        return self._reshaped(view.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise ArgumentTypeError("len: a 0-d tensor has no length")
        return self.shape[0]

    def __iter__(self: Self) -> Iterator[Self]:
        return (self[at] for at in range(len(self)))

    def __getitem__(self: Self, key: Any) -> Self:
        """Index with public integers, slices, ellipses, None, integer or boolean arrays.

        A masked tensor stays masked: a batch of a data matrix that was opened once, in whatever
        order, is not opened again. Cost: none.
        """
        self.session.check_open("indexing")
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, Layout) for part in parts):
            raise SecretAccessError("indexing: a secret index is not supported; reveal() it first")
        basic, ndim = all(_is_basic(part) for part in parts), self.ndim
        backend, xp = self.session.backend, self.session.backend.xp
        on_device = not basic and (not backend.is_host or recording() is not None)
        moved: list[tuple[Any, ...]] = []

        def change(words: Array) -> Array:
            lead = words.ndim - ndim
            places, shape = parts, self.shape
            if on_device:
                places, shape = _device_places(parts, shape)
                if not moved:
                    moved.append(tuple(_moved(backend, place) for place in places))
                (places,) = moved
                words = words.reshape(*words.shape[:lead], *shape)
            if basic or len(places) == 1 or not lead:
                behind_others = (*(slice(None),) * lead, *places)
                picked = words[behind_others]
                # NumPy lays what an index array picks out across the axes before it.
                return picked if basic else xp.ascontiguousarray(picked)
            # Share by share, because one index array of several may move the axes they replace.
            return backend.stack([share[places] for share in words])

        try:
            # Whoever indexes by arrays seldom does so twice; comparing them would cost more.
            return self._viewed(change, *(["indexed", *map(_named, parts)] if basic else ()))
        except IndexError as error:
            raise IndexRangeError(f"indexing: {error}") from None
        except TypeError as error:
            raise ArgumentTypeError(f"indexing: {error}") from None

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise ArgumentTypeError("a SecretTensor is immutable: its mask belongs to one value")

    def __repr__(self) -> str:
        session = self.session
        return (
            f"{type(self).__name__}(shape={self.shape}, protocol={session.protocol!r}, "
            f"modulus=2**{word_bits(session.modulus)}, frac_bits={self.frac_bits}, "
            f"device={session.device!r})"
        )

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SecretAccessError(
            "a SecretTensor has no public value; call reveal() first, which shows it to every party"
        )

    __array__ = __bool__ = __float__ = __int__ = __index__ = __complex__ = __hash__ = _refuse
    __reduce_ex__ = __contains__ = _refuse

    def _like(self: Self, stack: Array) -> Self:
        return type(self)(self.session, stack, self.frac_bits)

    def _with_mask(self: Self, masked: Masked | Reused) -> Self:
        """Return a tensor of the same fraction bits with its mask."""
        return type(self)(self.session, masked.stack.words, self.frac_bits, masked)

    def _viewed(self: Self, change: Callable[[Array], Array], *name: Hashable) -> Self:
        """Return the tensor seen through a change of its axes; a masked one stays masked.

        Args:
            change: see `Masked.viewed`.
            name: likewise.
        """
        if self._masked is None:
            return self._like(change(self._stack))
        return self._with_mask(self._masked.viewed(change, *name))

    def _reshaped(self: Self, shape: tuple[int, ...]) -> Self:
        """Return the tensor in another shape of as many elements; a masked one stays masked."""
        if shape == self.shape:
            return self
        if self._masked is None:
            return self._like(self._stack.reshape(self._stack.shape[0], *shape))
        ndim = self.ndim

        def change(words: Array) -> Array:
            return words.reshape(*words.shape[: words.ndim - ndim], *shape)

        return self._with_mask(self._masked.viewed(change, "reshaped", shape))

    def _check_partner(self, other: Layout, function: str) -> None:
        if other.session is not self.session:
            raise ArgumentValueError(f"{function}: the tensors belong to two different sessions")

    def _stack_as(self, ndim: int) -> Array:
        """Return the stack with axes of length 1 put before the secret's own, up to ndim."""
        ones = (1,) * (ndim - self.ndim)
        if not ones:
            return self._stack
        return self._stack.reshape(self._stack.shape[0], *ones, *self.shape)

    def _check_broadcast(self, shape: tuple[int, ...], function: str) -> tuple[int, ...]:
        if shape == self.shape:
            return shape
        try:
            return np.broadcast_shapes(self.shape, shape)
        except ValueError:
            raise ArgumentValueError(
                f"{function}: shapes {self.shape} and {shape} do not broadcast"
            ) from None

    def _axes(self, axes: Any, function: str) -> tuple[int, ...]:
        """Return axes as distinct non-negative numbers."""
        return check_axes(axes, self.ndim, function)


def check_axes(axes: Any, ndim: int, function: str) -> tuple[int, ...]:
    """Return one axis or several, of an array of ndim axes, as distinct non-negative numbers."""
    given = tuple(axes) if isinstance(axes, tuple | list | range) else (axes,)
    for axis in given:
        check_integer(axis, f"{function}: axis")
        if not -ndim <= axis < ndim:
            raise ArgumentValueError(f"{function}: axis must be in [{-ndim}, {ndim}), got {axis}")
    normal = tuple(int(axis) % ndim for axis in given)
    if len(set(normal)) != len(normal):
        raise ArgumentValueError(f"{function}: axes must differ, got {axes}")
    return normal


def check_integer(value: Any, what: str) -> None:
    """Refuse what is no integer, naming what it was meant for."""
    if type(value) is int:  # most of them
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(f"{what} must be an integer, got {type(value).__name__}")


def _is_basic(part: Any) -> bool:
    """Tell whether one part of an index is an integer, a slice, an ellipsis or a new axis."""
    if isinstance(part, bool):  # NumPy takes it for a mask
        return False
    return part is None or part is Ellipsis or isinstance(part, int | np.integer | slice)


def _device_places(
    parts: tuple[Any, ...], shape: tuple[int, ...]
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Return an index by arrays that CuPy reads as NumPy does, and the shape to take first.

    CuPy goes around where a place is out of range, and takes a mask only alone: with masks, places
    are those of the elements one after another.

    Raises:
        IndexError: what NumPy refuses.
    """
    found = []
    for part in parts:
        if _is_basic(part):
            found.append(int(part) if isinstance(part, np.integer) else part)
            continue
        places = np.asarray(to_host(part))
        found.append(places if places.size or not isinstance(part, list) else places.astype(int))
    parts = tuple(found)
    if any(isinstance(part, np.ndarray) and part.dtype == np.bool_ for part in parts):
        count = prod(shape)
        return (np.arange(count).reshape(shape)[parts],), (count,)
    _ = np.broadcast_to(np.False_, shape)[parts]
    return parts, shape


def _moved(backend: Backend, place: Any) -> Any:
    """Return a part of an index with an array of places on the device."""
    return backend.asarray(place) if isinstance(place, np.ndarray) else place


def _named(part: Any) -> Hashable:
    """Return a part of an index as what can be hashed, which no slice can before Python 3.12."""
    if not isinstance(part, slice):
        name: Hashable = part
        return name
    ends = part.start, part.stop, part.step
    return ("slice", *(None if end is None else index(end) for end in ends))


def check_matmul(
    left: tuple[int, ...], right: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    """Refuse shapes (as given, and as matrices) that have no matrix product."""
    if not left or not right:
        raise ArgumentValueError("matmul: operands must have at least one axis, got a 0-d")
    if a[-1] != b[-2]:
        raise ArgumentValueError(f"matmul: inner dimensions differ, got shapes {left} and {right}")
    if a[:-2] == b[:-2]:
        return
    try:
        np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ArgumentValueError(
            f"matmul: batch axes do not broadcast, got shapes {left} and {right}"
        ) from None


def without_vector_axes(stack: Array, left_ndim: int, right_ndim: int) -> Array:
    """Drop the axes that vectors were given to become matrices."""
    if left_ndim == 1:
        stack = stack[..., 0, :]
    return stack[..., 0] if right_ndim == 1 else stack
