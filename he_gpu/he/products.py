"""Sums of products of ciphertexts, relinearised and rescaled once.

Layer: he, above `ciphertext`. Sums over slots come before the rescaling too, where a rotation adds
hardly any error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.he import key_switch, noise
from he_gpu.he.arithmetic import check_fits, check_level, check_same, check_slots
from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.embedding import rotation_exponent
from he_gpu.he.evaluation_keys import EvaluationKeys


def dot(
    left: Sequence[Ciphertext],
    right: Sequence[Ciphertext],
    folds: Sequence[int] = (),
    size: float = math.inf,
) -> Ciphertext:
    """Return ``left[0] * right[0] + left[1] * right[1] + ...``, slot by slot, and sums over slots.

    Args:
        left: one ciphertext or more, of one key and length.
        right: as many; all are brought to the lowest level.
        folds: rotations to the left; by each in turn the sum is rotated and added to itself.
        size: of the result, from who knows better than the product of the factors' sizes says;
            nobody checks it before decryption.

    Returns:
        A ciphertext one level below.

    Raises:
        TypeError: an operand that is no ciphertext.
        ValueError: none, or not as many on either side; what `Ciphertext.__mul__` refuses.

    Error: that of the products before they are relinearised, twice for each fold; that of one
        relinearisation, which with folds is nearly that of one rescaling.
    Cost: four multiplications of words for each product, and one relinearisation in all; a key
        switch for each fold.
    """
    if not left or len(left) != len(right):
        raise ArgumentValueError(
            f"dot: left and right must have one length, 1 at least, got {len(left)} and "
            f"{len(right)}"
        )
    first, everything = left[0], (*left, *right)
    for each in everything:
        if not isinstance(each, Ciphertext):
            raise ArgumentTypeError(f"dot: Ciphertexts expected, got {type(each).__name__}")
        check_same(first, each, "dot")
        check_slots(each, "dot")
    level = min(each.level for each in everything)
    for each in everything:
        if each.level == level:
            check_level(each, "dot")
    left = [each.at_level(level) for each in left]
    right = [each.at_level(level) for each in right]

    ladder = first.keys.ladder
    chain, ring, xp = ladder.chain, ladder.ring(level), ladder.backend.xp
    pairs = list(zip(left, right, strict=True))
    span = max(min(a.span, b.span) for a, b in pairs)
    leftovers = any(
        min(a.span, b.span) > a.n_values and (a.leftovers or b.leftovers) for a, b in pairs
    )
    if folds and leftovers:
        raise ArgumentValueError("dot: slots behind the vectors have parts of sums; see Ciphertext")
    paths = [first.keys.galois.path(steps) for steps in folds]
    for step in itertools.chain.from_iterable(paths):  # before anything is computed
        first.keys.galois.of_rotation(step)
    known = sum(a.size * b.size for a, b in pairs) * 2 ** len(folds)
    switching = noise.key_switching(chain, level, chain.scales[level] ** 2)
    error = sum(noise.product(a.size, a.error, b.size, b.error) for a, b in pairs) + switching
    for path in paths:
        error = 2 * error + len(path) * switching
    error += noise.rescaling(chain.scales[level - 1], chain.ring_degree)
    size = min(size, known)
    check_fits(ladder, level - 1, size, error, "dot")
    sides = (xp.stack([each.components for each in side]) for side in (left, right))
    terms = ring.tensor(*sides)
    if folds:
        components = _folded(first.keys, level, terms, paths)
    else:
        components = key_switch.relinearise(ladder, level, terms, first.keys.relin)
    return first.replace(
        components=components,
        level=level - 1,
        span=ladder.ring_degree // 2 if folds else span,
        size=size,
        error=error,
        is_real=all(each.is_real for each in everything),
        leftovers=leftovers,
    )


def _folded(
    keys: EvaluationKeys, level: int, terms: Array, paths: Sequence[Sequence[int]]
) -> Array:
    """Return what `key_switch.relinearise` does, after sums with rotations of itself.

    Args:
        keys: of relinearisation and of the rotations.
        level: of the product.
        terms: as for `key_switch.relinearise`.
        paths: for each rotation the steps that make it.
    """
    ladder = keys.ladder
    extended = ladder.extended(level)
    digits = key_switch.decompose(ladder, level, terms[2])
    base, factor = terms[:2], ladder.special_modulus  # times P, until all is summed
    pair = key_switch.multiply(ladder, level, digits, keys.relin, base, factor)
    for path in paths:
        moved = pair
        for step in path:
            digits = key_switch.decompose(ladder, level, key_switch.finish(ladder, level, moved[1]))
            power = rotation_exponent(step, ladder.ring_degree)
            key = keys.galois.of_rotation(step)
            moved = key_switch.raised_automorphism(ladder, level, moved, digits, key, power)
        pair = extended.add(pair, moved)
    dropped = ladder.n_special + len(ladder.chain.levels[level - 1])
    return extended.mod_down(pair, dropped, values=True)
