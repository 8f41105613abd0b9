"""Products of public matrices with encrypted vectors, and inner products.

Layer: he, beneath `ciphertext`; how diagonals lie is in `diagonals`. Rotations of the sums come
before these are rescaled, where they add hardly any error, and stay times the special primes P: of
a sum that is rotated again only the second polynomial is divided, and the last is divided by P and
rescaled at once. Products with a `PlainMatrix` leave out the divisions of the baby steps too.
Source: Halevi and Shoup, CRYPTO 2014, section 4.3; CRYPTO 2018, sections 4 and 5 (baby steps of one
decomposition); Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux, EUROCRYPT 2021, section 4 (double
hoisting).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError
from he_gpu.he import key_switch, noise
from he_gpu.he.arithmetic import check_fits, check_level, check_slots, mul, rescaled
from he_gpu.he.diagonals import Layout, Plan, best, layouts, rotations_for
from he_gpu.he.embedding import rotation_exponent
from he_gpu.he.encoding import encode
from he_gpu.he.operands import as_numbers
from he_gpu.he.rotation import rotate_many, total

if TYPE_CHECKING:
    from he_gpu.he.ciphertext import Ciphertext
    from he_gpu.he.evaluation_keys import EvaluationKeys, GaloisKeys
    from he_gpu.he.ladder import Ladder
    from he_gpu.ring import RnsRing

__all__ = ["PlainMatrix", "matmul", "product", "rotations_for"]

_OPERAND = "Ciphertext.matmul: the operand"
_EXPECTED = "a Ciphertext, a PlainMatrix or numbers"


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
        for, modulo the level's primes and the special ones: 18 MiB each for 64 diagonals at
        N = 8192 with 6 limbs and 3 special primes. Nothing is encoded anew, and baby steps are not
        divided by P: with 64 diagonals a product takes half the time of one with plain numbers.
    """

    __array_ufunc__ = None

    def __init__(self, values: Any):
        self.values = _matrix(values, "PlainMatrix: values", "numbers")
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
    check_slots(a, "matmul")
    if isinstance(other, type(a)):
        return total(mul(a, other))
    if isinstance(other, PlainMatrix):
        _check_right(a, other.shape)
        return other.T @ a
    numbers = as_numbers(other, _OPERAND, _EXPECTED)
    if numbers.ndim == 1:
        if numbers.shape != (a.n_values,):
            raise ArgumentValueError(
                f"Ciphertext.matmul: the operand must be of shape ({a.n_values},), got "
                f"{numbers.shape}"
            )
        return product(a, numbers[None])
    if not left:
        _check_right(a, numbers.shape)
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
        more rotations. A key switch for each, of which the baby steps share one decomposition. The
        holder of the secret key makes the keys that it lacks.
    """
    return _product(a, _matrix(matrix, _OPERAND, _EXPECTED), None)


def _product(a: Ciphertext, values: Array, kept: dict[Any, list[Array]] | None) -> Ciphertext:
    check_slots(a, "matmul")
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
    plan = best(layouts(rows, columns, slots, padded), values, partial(_path, keys.galois))
    if plan is None:
        raise _missing(keys.galois, values.shape, slots, padded)
    layout = plan.layout
    with np.errstate(over="ignore"):  # what is too large is refused
        sizes = np.abs(values)
        norm = float(sizes.sum(1).max()) * layout.rows_met
    size = norm * a.size
    check_fits(ladder, level - 1, size, 0.0, "Ciphertext.matmul")
    for step in plan.rotations:
        if keys.galois.has(step):
            keys.galois.of_rotation(step)

    vector = _repeated(a, layout)
    offsets = layout.offsets(values)
    if not len(offsets):  # a matrix of zeros
        offsets = np.zeros(1, np.int64)
    raised = kept is not None and len(plan.own) > 0
    ring = ladder.extended(level) if raised else ladder.ring(level)
    babies, longest = _rotated(vector, plan, raised=raised)
    words = _encoded(ladder, ring, level, plan, values, offsets, kept)
    pair, switches = _summed(keys, ring, level, plan, babies, offsets, words)

    chain, scale = ladder.chain, ladder.scale(level)
    input_error = vector.error + longest * noise.key_switching(chain, level, scale)
    switching = noise.key_switching(chain, level, scale**2)
    rounding = noise.encoding(float(sizes.max()), scale, ladder.ring_degree)
    further = len(offsets) * rounding * (a.size + input_error) + switches * switching
    for step in layout.after:
        moved, count = _turned(keys, level, pair, step)
        pair = ladder.extended(level).add(_raised(ladder, level, pair), moved)
        further = 2 * further + count * switching
    error = norm * input_error + further + 2.0**-80 * norm * (a.size + input_error)
    error += noise.rescaling(ladder.scale(level - 1), ladder.ring_degree)
    check_fits(ladder, level - 1, size, error, "Ciphertext.matmul")
    return a.replace(
        components=_lowered(ladder, level, pair),
        level=level - 1,
        n_values=rows,
        span=slots if layout.after else rows,
        is_real=a.is_real and values.dtype.kind != "c",
        size=size,
        error=error,
        leftovers=bool(layout.after) and rows < slots,
    )


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


def _rotated(vector: Ciphertext, plan: Plan, *, raised: bool) -> tuple[dict[int, Array], int]:
    """Return the pairs of all baby steps, and how many key switches the longest took.

    Args:
        vector: what is rotated.
        plan: its baby steps.
        raised: whether pairs stay times P: that saves a division for each, and takes diagonals
            modulo the special primes too.
    """
    keys, level, sign = vector.keys, vector.level, plan.layout.sign
    ladder, start = keys.ladder, vector.components
    turn = key_switch.raised_automorphism if raised else key_switch.automorphism
    found, switches = {0: _raised(ladder, level, start) if raised else start}, {0: 0}
    waiting = {0: list(plan.own)} if plan.own else {}
    for k in plan.chained:
        waiting.setdefault(k & (k - 1), []).append(k)
    for shorter in sorted(waiting):
        pair = found[shorter] if shorter else start
        digits = key_switch.decompose(ladder, level, _second(ladder, level, pair))
        for k in waiting[shorter]:
            step = sign * (k - shorter)
            key, power = keys.galois.of_rotation(step), rotation_exponent(step, ladder.ring_degree)
            found[k] = turn(ladder, level, pair, digits, key, power)
            switches[k] = switches[shorter] + 1
    return found, max(switches.values())


def _encoded(
    ladder: Ladder,
    ring: RnsRing,
    level: int,
    plan: Plan,
    values: Array,
    offsets: Array,
    kept: dict[Any, list[Array]] | None,
) -> Iterator[Array]:
    """Yield the encoded diagonals of each giant step that has any, (count, limbs, N) values."""
    split, layout = plan.split, plan.layout
    name = (ladder.chain, ring, level, layout, split)
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
    ring: RnsRing,
    level: int,
    plan: Plan,
    babies: dict[int, Array],
    offsets: Array,
    words: Iterator[Array],
) -> tuple[Array, int]:
    """Return the sum of all diagonals times rotated vectors, and how many key switches it took.

    What belongs to a giant step g is rotated by g split, from the outermost inwards on each side.
    """
    ladder, split, sign = keys.ladder, plan.split, plan.layout.sign
    xp, switches, parts = ladder.backend.xp, 0, {}
    for giant in np.unique(offsets // split).tolist():
        steps = (offsets[offsets // split == giant] % split).tolist()
        parts[giant] = ring.dot(next(words)[:, None], xp.stack([babies[k] for k in steps]))[:, 0]
    for _ in words:  # so that what is kept is complete
        pass
    result = parts.get(0)
    for outer, inward in ((plan.most, -1), (plan.least, 1)):
        side: Array | None = None
        for giant in range(outer, 0, inward):
            side = _together(ladder, level, side, parts.get(giant))
            assert side is not None  # the outermost step has diagonals
            side, count = _turned(keys, level, side, -inward * sign * split)
            switches += count
        result = _together(ladder, level, result, side)
    assert result is not None
    return result, switches


def _turned(keys: EvaluationKeys, level: int, pair: Array, steps: int) -> tuple[Array, int]:
    """Return P times a pair rotated to the left, and how many key switches that took."""
    ladder = keys.ladder
    path = _path(keys.galois, steps)
    assert path is not None
    for each in path:
        key, power = keys.galois.of_rotation(each), rotation_exponent(each, ladder.ring_degree)
        digits = key_switch.decompose(ladder, level, _second(ladder, level, pair))
        pair = key_switch.raised_automorphism(ladder, level, pair, digits, key, power)
    return pair, len(path)


# Pairs at a level's limbs, or times P with the special primes behind them


def _raised(ladder: Ladder, level: int, pair: Array) -> Array:
    """Return P times a pair, if it is not that."""
    if pair.shape[-2] > ladder.limbs(level):
        return pair
    return ladder.ring(level).mod_raise(pair, ladder.chain.special)


def _together(ladder: Ladder, level: int, a: Array | None, b: Array | None) -> Array | None:
    """Return the sum of two pairs of which either may be missing, or be times P."""
    if a is None or b is None:
        return b if a is None else a
    return ladder.extended(level).add(_raised(ladder, level, a), _raised(ladder, level, b))


def _second(ladder: Ladder, level: int, pair: Array) -> Array:
    """Return the second polynomial of a pair, (limbs, N) values."""
    if pair.shape[-2] > ladder.limbs(level):
        return key_switch.finish(ladder, level, pair[1])
    return pair[1]


def _lowered(ladder: Ladder, level: int, pair: Array) -> Array:
    """Return a pair rescaled to the next level, and divided by P where it is times that."""
    if pair.shape[-2] == ladder.limbs(level):
        return rescaled(ladder, level, pair)
    dropped = ladder.n_special + len(ladder.chain.levels[level - 1])
    return ladder.extended(level).mod_down(pair, dropped, values=True)


def _path(galois: GaloisKeys, steps: int) -> tuple[int, ...] | None:
    """Return rotations that have keys and make one, which has its own where it can."""
    slots = galois.ring_degree // 2
    if galois.has(steps):
        return (steps % slots,) if steps % slots else ()
    path = galois.path(steps)
    return path if len(path) > 1 else None


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


def _matrix(values: Any, name: str, expected: str) -> Array:
    numbers = as_numbers(values, name, expected)
    if numbers.ndim != 2 or not numbers.size:
        raise ArgumentValueError(
            f"{name} must be a matrix of one number at least, got shape {numbers.shape}"
        )
    return numbers


def _check_right(a: Ciphertext, shape: tuple[int, ...]) -> None:
    """Refuse a matrix on the right of a vector, before it is transposed."""
    slots = a.keys.ladder.ring_degree // 2
    if len(shape) == 2 and (shape[0] != a.n_values or shape[1] > slots):
        raise ArgumentValueError(
            f"Ciphertext.matmul: a matrix on the right must have {a.n_values} rows, as the vector "
            f"has values, and at most {slots} columns, got shape {shape}"
        )
