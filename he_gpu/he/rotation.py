"""Rotations of the slots, conjugation, and sums of all slots.

Layer: he, beneath `ciphertext`.
Source: Halevi and Shoup, CRYPTO 2018, section 5 (many rotations of one decomposition).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.he import key_switch, noise
from he_gpu.he.arithmetic import check_fits
from he_gpu.he.embedding import rotation_exponent

if TYPE_CHECKING:
    from he_gpu.backend import Array
    from he_gpu.he.ciphertext import Ciphertext
    from he_gpu.he.keys import GaloisKey


def rotate(a: Ciphertext, steps: int) -> Ciphertext:
    """Return the slots rotated to the left."""
    return rotate_many(a, [steps])[0]


def rotate_many(a: Ciphertext, steps: Iterable[int]) -> list[Ciphertext]:
    """Return several rotations of one ciphertext, whose digits are cut once."""
    _check_clear(a, "rotate")
    slots, galois = a.keys.ladder.ring_degree // 2, a.keys.galois
    paths = [galois.path(_steps(each)) for each in steps]
    keys = {step: galois.of_rotation(step) for path in paths for step in path}
    if not keys:
        return [a for _ in paths]
    digits, results = _digits(a), []
    for path in paths:
        result = a
        for step in path:
            cut = digits if result is a else _digits(result)
            power = rotation_exponent(step, 2 * slots)
            result = _switched(result, cut, keys[step], power).replace(span=slots)
        results.append(result)
    return results


def conjugate(a: Ciphertext) -> Ciphertext:
    """Return the complex conjugates of all slots; those of real values are these."""
    if a.is_real:
        return a
    key = a.keys.galois.of_conjugation()
    return _switched(a, _digits(a), key, 2 * a.keys.ladder.ring_degree - 1)


def total(a: Ciphertext) -> Ciphertext:
    """Return the sum of all slots in slot 0, as a vector of length 1."""
    _check_clear(a, "sum")
    ladder = a.keys.ladder
    slots = ladder.ring_degree // 2
    size = a.size * a.span
    check_fits(ladder, a.level, size, 0.0, "sum")
    step, result = 1, a
    while step < a.span:
        moved = rotate(result, step)
        words = ladder.ring(a.level).add(result.components, moved.components)
        error = noise.addition(result.error, moved.error)
        result = moved.replace(components=words, error=error)
        step *= 2
    check_fits(ladder, a.level, size, result.error, "sum")
    summed = a.span > 1
    span = slots if summed else 1
    return result.replace(size=size, n_values=1, span=span, leftovers=summed)


def _digits(a: Ciphertext) -> Array:
    return key_switch.decompose(a.keys.ladder, a.level, a.components[1])


def _switched(a: Ciphertext, digits: Array, key: GaloisKey, power: int) -> Ciphertext:
    ladder = a.keys.ladder
    error = noise.rotation(a.error, ladder.chain, a.level)
    check_fits(ladder, a.level, a.size, error, "rotate")
    words = key_switch.automorphism(ladder, a.level, a.components, digits, key, power)
    return a.replace(components=words, error=error)


def _check_clear(a: Ciphertext, function: str) -> None:
    if a.leftovers:
        raise ArgumentValueError(
            f"Ciphertext.{function}: slots behind the vector have parts of sums; multiply it by a "
            f"vector of {a.n_values} ones, which takes a level and clears them"
        )


def _steps(steps: int) -> int:
    try:
        return operator.index(steps)
    except TypeError:
        raise ArgumentTypeError(
            f"Ciphertext.rotate: steps must be an integer, got {type(steps).__name__}"
        ) from None
