"""Products of public matrices with encrypted vectors, and inner products.

Layer: he, beneath `ciphertext`. Works on a ciphertext's pair before it is rescaled, where rotations
add hardly any error; how diagonals lie is in `diagonals`.
Source: Halevi and Shoup, CRYPTO 2014, section 4.3; CRYPTO 2018, sections 4 and 5 (baby steps of one
decomposition).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from he_gpu.backend import Array, to_host
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.he import key_switch, noise
from he_gpu.he.arithmetic import check_fits, check_level, mul, rescaled
from he_gpu.he.diagonals import Layout, Plan, best, layouts, rotations_for
from he_gpu.he.embedding import rotation_exponent
from he_gpu.he.encoding import encode
from he_gpu.he.rotation import rotate_many, total

if TYPE_CHECKING:
    from he_gpu.he.ciphertext import Ciphertext
    from he_gpu.he.keys import EvaluationKeys, GaloisKeys

__all__ = ["PlainMatrix", "matmul", "product", "rotations_for"]


class PlainMatrix:
    """A public matrix that keeps its encoded diagonals, for many products at one level.

    ``matrix @ ciphertext`` and ``ciphertext @ matrix`` are those of its values.

    Args:
        values: (rows, columns) real or complex numbers; they are copied.

    Raises:
        TypeError: no numbers.
        ValueError: no matrix, an empty one, NaN or infinity.

    Attributes:
        values: as given.

    Cost: keeps a polynomial for each diagonal, and each level and kind of product that was asked
        for: 6 MiB each for 64 diagonals at N = 8192 with 3 limbs.
    """

    __array_ufunc__ = None

    def __init__(self, values: Any):
        self.values = _matrix(values).copy()
        self.values.flags.writeable = False
        self._encoded: dict[Any, list[Array]] = {}

    @cached_property
    def T(self) -> PlainMatrix:  # noqa: N802 - as in NumPy
        """The transposed matrix, which keeps its own diagonals."""
        transposed = PlainMatrix(self.values.T)
        transposed.__dict__["T"] = self
        return transposed

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.values.shape
        return rows, columns

    def __matmul__(self, other: Ciphertext) -> Ciphertext:
        if not hasattr(other, "components"):
            return NotImplemented
        return _product(other, self.values, self._encoded)

    def __repr__(self) -> str:
        return f"<PlainMatrix of shape {self.shape}>"


def matmul(a: Ciphertext, other: Any, *, left: bool) -> Ciphertext:
    """Return ``a @ other``, or ``other @ a`` where the other operand stands on the left.

    Args:
        a: of length n.
        other: a ciphertext or a vector of n numbers, for the inner product; a matrix with n rows,
            or n columns where it stands on the left.
        left: where it stands.
    """
    if isinstance(other, type(a)):
        return _inner(a, other)
    if isinstance(other, PlainMatrix):
        return other @ a if left else other.T @ a
    numbers = _numbers(other)
    if numbers.ndim == 1:
        if numbers.shape != (a.n_values,):
            raise ArgumentValueError(
                f"Ciphertext.matmul: the operand must be of shape ({a.n_values},), got "
                f"{numbers.shape}"
            )
        return product(a, numbers[None])
    return product(a, numbers if left else numbers.T)


def product(a: Ciphertext, matrix: Any) -> Ciphertext:
    """Return a matrix times an encrypted vector, a level lower.

    Args:
        a: of length n.
        matrix: (rows, n) real or complex numbers; at most N / 2 rows.

    Returns:
        Of length rows.

    Raises:
        TypeError: no numbers.
        ValueError: shapes that do not fit, no level left, values that the level cannot hold, or
            Galois keys that are missing.

    Error: the vector's times the largest sum of a row's sizes, twice for a square matrix and as
        many times as the vector is repeated for a tall one; half a unit for each coefficient of
        each diagonal; and the rescaling's.
    Cost: about 2 sqrt(d) rotations and d products with encoded numbers, d the smaller of rows and
        columns, or the diagonals that are not zero if there are few; log2 of the sides' ratio
        more rotations. The holder of the secret key makes the keys that it lacks.
    """
    return _product(a, _matrix(matrix), None)


def _product(a: Ciphertext, values: Array, kept: dict[Any, list[Array]] | None) -> Ciphertext:
    rows, columns = values.shape
    ladder, keys, level = a.keys.ladder, a.keys, a.level
    slots = ladder.ring_degree // 2
    if columns != a.n_values or rows > slots:
        raise ArgumentValueError(
            f"Ciphertext.matmul: the matrix must have at most {slots} rows and {a.n_values} "
            f"columns, as the vector has values, got shape {values.shape}"
        )
    check_level(a, "matmul")
    padded = a.span <= columns
    sizes = np.abs(values)
    plan = best(layouts(rows, columns, slots, padded), values, partial(_path, keys.galois))
    if plan is None:
        raise _missing(keys.galois, values.shape, slots, padded)
    layout = plan.layout
    norm = float(sizes.sum(1).max()) * layout.rows_met
    size = norm * a.size
    check_fits(ladder, level - 1, size, 0.0, "matmul")
    for step in plan.rotations:
        if keys.galois.has(step):
            keys.galois.of_rotation(step)

    vector = _repeated(a.replace(leftovers=False), layout)  # the diagonals are zero on those
    steps, babies, input_error = _rotated(vector, plan)
    offsets = layout.offsets(values)
    if not len(offsets):  # a matrix of zeros
        offsets = np.zeros(1, np.int64)
    words = _encoded(keys, level, plan, values, offsets, kept)
    pair, switches = _summed(keys, level, plan, (steps, babies), offsets, words)

    chain, scale = ladder.chain, ladder.scale(level)
    switching = noise.key_switching(chain, level, scale**2)
    rounding = noise.encoding(float(sizes.max()), scale, ladder.ring_degree)
    further = len(offsets) * rounding * (a.size + input_error) + switches * switching
    for step in layout.after:
        moved, count = _turned(keys, level, pair, step)
        pair = ladder.ring(level).add(pair, moved)
        further = 2 * further + count * switching
    error = norm * input_error + further + 2.0**-80 * norm * (a.size + input_error)
    error += noise.rescaling(ladder.scale(level - 1), ladder.ring_degree)
    check_fits(ladder, level - 1, size, error, "matmul")
    return a.replace(
        components=rescaled(ladder, level, pair),
        level=level - 1,
        n_values=rows,
        span=slots if layout.after else rows,
        is_real=a.is_real and values.dtype.kind != "c",
        size=size,
        error=error,
        leftovers=bool(layout.after) and rows < slots,
    )


def _inner(a: Ciphertext, b: Ciphertext) -> Ciphertext:
    """Return the sum of the products of two vectors' values, as a vector of length 1."""
    if min(a.span, b.span) > a.n_values == b.n_values:
        raise ArgumentValueError(
            "Ciphertext.matmul: slots behind both vectors hold what rotations and sums left there; "
            "multiply one by a vector of ones, which takes a level"
        )
    return total(mul(a, b))


def _repeated(a: Ciphertext, layout: Layout) -> Ciphertext:
    """Return a vector that stands in its slots as often as a layout wants."""
    result = a
    ring = a.keys.ladder.ring(a.level)
    for step in layout.before:
        (moved,) = rotate_many(result, [-step])
        words = ring.add(result.components, moved.components)
        error = noise.addition(result.error, moved.error)
        result = moved.replace(components=words, error=error)
    return result


def _rotated(vector: Ciphertext, plan: Plan) -> tuple[dict[int, int], Array, float]:
    """Return the baby steps' places, their pairs (steps, 2, limbs, N), and the largest error."""
    sign, found = plan.layout.sign, {0: vector}
    found |= zip(plan.own, rotate_many(vector, [sign * k for k in plan.own]), strict=True)
    waiting: dict[int, list[int]] = {}
    for k in plan.chained:
        waiting.setdefault(k & (k - 1), []).append(k)
    for shorter in sorted(waiting):
        longer = waiting[shorter]
        found |= zip(
            longer,
            rotate_many(found[shorter], [sign * (k - shorter) for k in longer]),
            strict=True,
        )
    places = {k: at for at, k in enumerate(found)}
    pairs = vector.keys.ladder.backend.xp.stack([each.components for each in found.values()])
    return places, pairs, max(each.error for each in found.values())


def _encoded(
    keys: EvaluationKeys,
    level: int,
    plan: Plan,
    values: Array,
    offsets: Array,
    kept: dict[Any, list[Array]] | None,
) -> Iterator[Array]:
    """Yield the encoded diagonals of each giant step that has any, (count, limbs, N) values."""
    ladder, split, layout = keys.ladder, plan.split, plan.layout
    ring, name = ladder.ring(level), (ladder.chain, ladder.backend.name, level, layout, split)
    if kept is not None and name in kept:
        yield from kept[name]
        return
    made = []
    for giant in np.unique(offsets // split):
        diagonals = layout.diagonals(values, offsets[offsets // split == giant])
        diagonals = np.roll(diagonals, layout.sign * giant * split, axis=-1)
        words = ring.ntt(encode(diagonals, ladder.scale(level), ring))
        if kept is not None:
            made.append(words)
        yield words
    if kept is not None:
        kept[name] = made


def _summed(
    keys: EvaluationKeys,
    level: int,
    plan: Plan,
    babies: tuple[dict[int, int], Array],
    offsets: Array,
    words: Iterator[Array],
) -> tuple[Array, int]:
    """Return the sum of all diagonals times rotated vectors, and how many key switches it took.

    What belongs to a giant step g is rotated by g split, from the outermost inwards on each side.
    """
    ladder, split, sign = keys.ladder, plan.split, plan.layout.sign
    ring, (places, pairs), switches = ladder.ring(level), babies, 0
    parts = {}
    for giant in np.unique(offsets // split).tolist():
        at = [places[k] for k in (offsets[offsets // split == giant] % split).tolist()]
        parts[giant] = ring.dot(next(words)[:, None], pairs[at])[:, 0]
    for _ in words:  # so that what is kept is complete
        pass
    result = parts.get(0)
    for outer, inward in ((plan.most, -1), (plan.least, 1)):
        side: Array | None = None
        for giant in range(outer, 0, inward):
            part = parts.get(giant)
            if side is not None and part is not None:
                side = ring.add(side, part)
            else:
                side = part if side is None else side
            assert side is not None  # the outermost step has diagonals
            side, count = _turned(keys, level, side, -inward * sign * split)
            switches += count
        if side is not None:
            result = side if result is None else ring.add(result, side)
    assert result is not None
    return result, switches


def _turned(keys: EvaluationKeys, level: int, pair: Array, steps: int) -> tuple[Array, int]:
    """Return a pair of any scale rotated to the left, and how many key switches that took."""
    ladder = keys.ladder
    path = _path(keys.galois, steps)
    assert path is not None
    for each in path:
        key, power = keys.galois.of_rotation(each), rotation_exponent(each, ladder.ring_degree)
        digits = key_switch.decompose(ladder, level, pair[1])
        pair = key_switch.automorphism(ladder, level, pair, digits, key, power)
    return pair, len(path)


def _path(galois: GaloisKeys, steps: int) -> tuple[int, ...] | None:
    """Return rotations that have keys and make one, which has its own where it can."""
    slots = galois.ring_degree // 2
    if galois.has(steps):
        return (steps % slots,) if steps % slots else ()
    path = galois.path(steps)
    return path if all(map(galois.has, path)) else None


def _missing(
    galois: GaloisKeys, shape: tuple[int, ...], slots: int, padded: bool
) -> ArgumentValueError:
    rows, columns = shape
    wanted = rotations_for((rows, columns), slots, padded=padded)
    lacking = [step for step in wanted if not galois.has(step)]
    flag = "" if padded else ", padded=False"
    return ArgumentValueError(
        f"Ciphertext.matmul: a matrix of shape {shape} needs Galois keys that this context lacks, "
        f"of the rotations {lacking}; the holder of the secret key gives them with "
        f"public(rotations=rotations_for({shape}, {slots}{flag}))"
    )


def _matrix(values: Any) -> Array:
    numbers = _numbers(values)
    if numbers.ndim != 2 or not numbers.size:
        raise ArgumentValueError(
            f"Ciphertext.matmul: the operand must be a matrix, or a vector, got shape "
            f"{numbers.shape}"
        )
    return numbers


def _numbers(values: Any) -> Array:
    """Return finite numbers as float64 or complex128."""
    try:
        numbers = np.asarray(to_host(values))
    except ValueError as error:
        raise ArgumentValueError(f"Ciphertext.matmul: the operand is no array ({error})") from None
    if numbers.dtype.kind not in "biufc":
        raise ArgumentTypeError(
            "Ciphertext.matmul: the operand must be a Ciphertext, a PlainMatrix or numbers, got "
            f"{type(values).__name__}"
        )
    if not np.isfinite(numbers).all():
        raise RangeError("Ciphertext.matmul: the operand must be finite, got NaN or infinity")
    return numbers.astype(np.complex128 if numbers.dtype.kind == "c" else np.float64)
