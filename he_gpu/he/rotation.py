"""Rotations of the slots, conjugation, and sums of all slots.

Layer: he, beneath `ciphertext`.
Source: Halevi and Shoup, CRYPTO 2018, section 5 (many rotations of one decomposition).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.he import key_switch, noise
from he_gpu.he.arithmetic import check_fits, check_slots
from he_gpu.he.embedding import rotation_exponent
from he_gpu.he.operands import as_integer, as_integers

if TYPE_CHECKING:
    from he_gpu.backend import Array
    from he_gpu.he.ciphertext import Ciphertext
    from he_gpu.he.switch_keys import GaloisKey


def rotate(a: Ciphertext, steps: int) -> Ciphertext:
    """Return the slots rotated to the left."""
    wanted = as_integer(steps)
    if wanted is None:
        raise ArgumentTypeError(
            f"Ciphertext.rotate: steps must be an integer, got {type(steps).__name__}"
        )
    return rotate_many(a, [wanted])[0]


def rotate_many(a: Ciphertext, steps: Iterable[int]) -> list[Ciphertext]:
    """Return several rotations of one ciphertext, whose digits are cut once."""
    check_slots(a, "rotate")
    if a.leftovers:
        raise ArgumentValueError(
            "Ciphertext.rotate: slots behind the vector have parts of sums; multiply it by a "
            f"vector of {a.n_values} ones, which takes a level and clears them"
        )
    slots, galois = a.keys.ladder.ring_degree // 2, a.keys.galois
    paths = [galois.path(each) for each in as_integers(steps, "Ciphertext.rotations: steps")]
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
    check_slots(a, "conjugate")
    if a.is_real:
        return a
    key = a.keys.galois.of_conjugation()
    return _switched(a, _digits(a), key, 2 * a.keys.ladder.ring_degree - 1)


def total(a: Ciphertext) -> Ciphertext:
    """Return the sum of a vector's values in slot 0, as a vector of length 1.

    Sums of 1, 2, 4, ... slots come from one another, and those that make up the length are put
    together. Where slots behind the vector are zero, the length is a power of two: then the last
    sum is all it takes.
    """
    check_slots(a, "sum")
    if a.n_values == 1:
        return a
    ladder, size = a.keys.ladder, a.size * a.n_values
    check_fits(ladder, a.level, size, 0.0, "Ciphertext.sum")
    count = a.n_values if a.span > a.n_values else 1 << (a.n_values - 1).bit_length()
    block, result = a.replace(leftovers=False), None
    for bit in range(count.bit_length()):
        width = 1 << bit
        if bit:
            block = _joined(block, rotate(block, width >> 1))
        if count & width:  # the result has the sum of so many slots as the lower bits say
            result = block if result is None else _joined(block, rotate(result, width))
    assert result is not None
    check_fits(ladder, a.level, size, result.error, "Ciphertext.sum")
    return result.replace(size=size, n_values=1, span=ladder.ring_degree // 2, leftovers=True)


def _joined(a: Ciphertext, b: Ciphertext) -> Ciphertext:
    """Return parts of a sum together; what bounds the whole is stated at its end."""
    words = a.keys.ladder.ring(a.level).add(a.components, b.components)
    return a.replace(components=words, error=noise.addition(a.error, b.error))


def _digits(a: Ciphertext) -> Array:
    return key_switch.decompose(a.keys.ladder, a.level, a.components[1])


def _switched(a: Ciphertext, digits: Array, key: GaloisKey, power: int) -> Ciphertext:
    ladder = a.keys.ladder
    error = noise.rotation(a.error, ladder.chain, a.level)
    check_fits(ladder, a.level, a.size, error, "Ciphertext.rotate")
    words = key_switch.automorphism(ladder, a.level, a.components, digits, key, power)
    return a.replace(components=words, error=error)
