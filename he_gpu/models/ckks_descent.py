"""Least squares on encrypted samples, computed by a party that has no secret key.

Layer: models, above he. Sees ciphertexts, their number and the steps; every number but these is
encrypted. Slots repeat with period n * columns: slot n k + i belongs to feature k of sample i, so
that sums over features, by rotations that are multiples of n, stand in every slot. Sums over
samples stand in the slots of sample 0 alone; what reads them reads no other slot.

Features f are those of the data times the root of the learning rate, whose kernel f f^T has its
largest eigenvalue below 2, as who encrypts them has checked; the descent has rate 1 then. So a
residual is never longer than the targets, no entry of I - f f^T is above 1 in size, and each of its
rows has length 1 at most: bounds that no operator can know.
Source: Halevi and Shoup, CRYPTO 2014, section 4.3 (a product with a matrix, by its diagonals).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tqdm import tqdm

from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.products import dot


def rotations(n: int, columns: int) -> list[int]:
    """Return the rotations that both descents make.

    Args:
        n: samples, a power of two.
        columns: features, a power of two.
    """
    sums = [n << log for log in range((columns - 1).bit_length())]
    return [*range(1, n), *range(-1, -n, -1), *sums]


def residual_descent(
    samples: Sequence[Ciphertext], targets: Ciphertext, columns: int, n_steps: int
) -> Ciphertext:
    """Return the weights f^T (e_0 + ... + e_(n_steps - 1)) of e_0 = y, e <- (I - f f^T) e.

    Args:
        samples: a ciphertext each, n of them: sample i has its features in slots n k + i and zero
            elsewhere.
        targets: in all slots, that of sample i in slots i modulo n.
        columns: features, a power of two.
        n_steps: 1 at least; the samples need a level more than steps, or one for one.

    Returns:
        A ciphertext with weight k in slot n k.

    Cost: a level for the kernel, one for each step but the first, and one for the weights; of key
        switches some 2 n + log2(columns) n / 2 once, and n for each step.
    """
    n = len(samples)
    with tqdm(
        total=n_steps, desc="residual recursion", unit="step", disable=None, leave=False
    ) as bar:
        matrix = _decay(samples, columns) if n_steps > 1 else []
        largest = math.sqrt(n) * targets.size
        e, residuals = targets, [targets]
        for _ in range(n_steps - 1):
            exact = _as_exact(e)
            found = dot(matrix, [exact, *exact.rotations(range(1, n))])
            e = found.replace(size=largest, error=found.error + math.sqrt(n) * e.error)
            residuals.append(e)
            bar.update()
        total = residuals[-1]
        for each in residuals[:-1]:
            total = total + each
        weights = _over_samples(_packed(samples) * total, n)
        bar.update()
    return weights


def gradient_descent(
    samples: Sequence[Ciphertext], targets: Ciphertext, columns: int
) -> tuple[Ciphertext, int]:
    """Return the weights of w_0 = 0, w <- w - f^T (f w - y), after as many steps as levels allow.

    Args:
        samples: as for `residual_descent`, with a level at least.
        targets: as for `residual_descent`.
        columns: features, a power of two.

    Returns:
        A ciphertext with weight k in slot n k, and the number of steps.

    Cost: a level for the first step and two for each other; of key switches 2 n + log2(columns n)
        for each.
    """
    n, packed = len(samples), _packed(samples)
    n_steps = (min(targets.level, packed.level) + 1) // 2
    largest = math.sqrt(n) * targets.size
    with tqdm(
        total=n_steps, desc="gradient descent", unit="step", disable=None, leave=False
    ) as bar:
        w = _over_samples(packed * targets, n)
        bar.update()
        for _ in range(n_steps - 1):
            # The slots of sample 0 go to each sample's, where the others of that one are zero.
            exact = _as_exact(w)
            turned = [exact, *exact.rotations(range(-1, -n, -1))]
            e = _over_features(dot(samples, turned), n, columns) - targets
            e = e.replace(size=largest + math.sqrt(2 * columns) * w.error)
            found = exact - _over_samples(packed * e, n)
            w = found.replace(
                size=w.size + n * packed.size * largest,
                error=found.error + math.sqrt(columns) * w.error,
            )
            bar.update()
    return w, n_steps


def _as_exact(a: Ciphertext) -> Ciphertext:
    """Return the same ciphertext, of which the values with their error are the ones that count.

    A step that keeps lengths takes an error on to the next as it takes a value: a row of length 1
    over m entries multiplies it by the root of m, where operators would have to say m times the
    largest entry. So the step's own error is counted for exact values, and this one added.
    """
    return a.replace(size=a.size + a.error, error=0.0)


def _decay(samples: Sequence[Ciphertext], columns: int) -> list[Ciphertext]:
    """Return the diagonals of I - f f^T: entry (i, i + d) of diagonal d in slots i modulo n."""
    n, packed = len(samples), _packed(samples)
    diagonals: list[Ciphertext] = []
    moved = [_moved(sample, at, n) for at, sample in enumerate(samples)]
    for d in range(n):
        if 2 * d > n:  # the matrix is symmetric
            diagonals.append(diagonals[n - d].rotate(d))
            continue
        others = _packed([moved[(i + d) % n][d] for i in range(n)])
        kernel = _over_features(packed * others, n, columns)
        entries = -kernel if d else 1 - kernel
        diagonals.append(entries.replace(size=1.0))
    return diagonals


def _moved(sample: Ciphertext, at: int, n: int) -> list[Ciphertext]:
    """Return a sample in its own slots, in those of the sample before it, ..., n / 2 before it."""
    steps = (at - (at - d) % n for d in range(1, n // 2 + 1))
    return [sample, *sample.rotations(steps)]


def _over_features(a: Ciphertext, n: int, columns: int) -> Ciphertext:
    """Return in each slot the sum over the features of its sample."""
    step = n
    while step < n * columns:
        a, step = a + a.rotate(step), 2 * step
    return a


def _over_samples(a: Ciphertext, n: int) -> Ciphertext:
    """Return in the slots of sample 0 the sums over all samples."""
    step = 1
    while step < n:
        a, step = a + a.rotate(step), 2 * step
    return a


def _packed(samples: Sequence[Ciphertext]) -> Ciphertext:
    """Return samples together, of which each has zeros where the others stand."""
    total = samples[0]
    for each in samples[1:]:
        total = total + each
    return total.replace(size=max(each.size for each in samples))
