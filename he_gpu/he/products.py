"""Sums of products of ciphertexts, relinearised and rescaled once.

Layer: he, above `ciphertext`.
"""

from __future__ import annotations

from collections.abc import Sequence

from he_gpu.errors import ArgumentValueError
from he_gpu.he import noise
from he_gpu.he.arithmetic import check_fits, check_level, check_same
from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.key_switch import relinearise


def dot(left: Sequence[Ciphertext], right: Sequence[Ciphertext]) -> Ciphertext:
    """Return ``left[0] * right[0] + left[1] * right[1] + ...``, slot by slot.

    Args:
        left: one ciphertext or more, of one key and length.
        right: as many; all are brought to the lowest level.

    Returns:
        A ciphertext one level below.

    Raises:
        ValueError: none, or not as many on either side; what `Ciphertext.__mul__` refuses.

    Error: that of the products before they are relinearised, and that of one relinearisation.
    Cost: four multiplications of words for each product, and one relinearisation in all.
    """
    if not left or len(left) != len(right):
        raise ArgumentValueError(
            f"dot: left and right must have one length, 1 at least, got {len(left)} and "
            f"{len(right)}"
        )
    first, everything = left[0], (*left, *right)
    for each in everything:
        check_same(first, each, "dot")
    level = min(each.level for each in everything)
    for each in everything:
        if each.level == level:
            check_level(each, "dot")
    left = [each.at_level(level) for each in left]
    right = [each.at_level(level) for each in right]

    ladder = first.keys.ladder
    chain, ring, xp = ladder.chain, ladder.ring(level), ladder.backend.xp
    pairs = list(zip(left, right, strict=True))
    size = sum(a.size * b.size for a, b in pairs)
    error = sum(noise.product(a.size, a.error, b.size, b.error) for a, b in pairs)
    error += noise.key_switching(chain, level, chain.scales[level] ** 2)
    error += noise.rescaling(chain.scales[level - 1], chain.ring_degree)
    check_fits(ladder, level - 1, size, error, "dot")
    sums = ring.dot(xp.stack([a.components for a in left]), xp.stack([b.components for b in right]))
    middle = ring.add(sums[0, 1], sums[1, 0])
    return first.replace(
        components=relinearise(
            ladder, level, xp.stack((sums[0, 0], middle, sums[1, 1])), first.keys.relin
        ),
        level=level - 1,
        span=max(min(a.span, b.span) for a, b in pairs),
        size=size,
        error=error,
        is_real=all(each.is_real for each in everything),
        leftovers=any(
            min(a.span, b.span) > a.n_values and (a.leftovers or b.leftovers) for a, b in pairs
        ),
    )
