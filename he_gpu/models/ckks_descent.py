"""Least squares on encrypted samples, computed by a party that has no secret key.

Layer: models, above he. Sees ciphertexts, their number and the steps; every number but these is
encrypted. Feature k of sample i stands in slot i stride + k, where the n samples divide all slots
among them and stride is 4 columns at least: rotations by multiples of stride then permute samples
in every slot, and sums over features come out right in each slot that has a feature.

Features f are those of the data times the root of the learning rate, whose kernel f f^T has its
largest eigenvalue below 2, as who encrypts them has checked; the descent has rate 1 then. So
neither f nor any part of its columns makes a vector longer than by the root of 2, and I - f f^T
makes none longer. Bounds here are on lengths: that of a residual or of its error is the root of the
sum of squares over samples, in slots of one k. No operator can know that lengths do not grow, so
operators bound what they add to exact numbers (`_exact`), and the rest is counted by hand.
Source: Halevi and Shoup, CRYPTO 2014, section 4.3 (a product with a matrix, by its diagonals).
"""

from __future__ import annotations

from functools import reduce
from math import sqrt
from operator import add

from tqdm import tqdm

from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.products import dot

PADDING = 4
"""A sample has this many times more slots than features at least, so that no sum over features that
takes in some of one sample takes in some of another."""


def rotations(n: int, columns: int, slots: int) -> list[int]:
    """Return the rotations that both descents make.

    Args:
        n: samples, a power of two.
        columns: features, a power of two.
        slots: of a ciphertext.
    """
    return [*_over_features(columns), *_by_samples(range(1, n), n, slots)]


def residual_descent(
    features: Ciphertext, targets: Ciphertext, n: int, columns: int, n_steps: int
) -> Ciphertext:
    """Return the weights f^T (e_0 + ... + e_(n_steps - 1)) of e_0 = y, e <- (I - f f^T) e.

    Args:
        features: of all samples, zero in slots that have none.
        targets: that of a sample in all its slots.
        n: samples, a power of two.
        columns: features, a power of two.
        n_steps: 1 at least; the operands need a level more than steps, or one for one.

    Returns:
        A ciphertext with weight k in slot k.

    Error: bounds grow with the square of n_steps, as errors of e_t do with t.
    Cost: a level for the kernel, one for each step but the first, and one for the weights; of key
        switches (n / 2 + 1) (log2(columns) + 2) + n - 1 for the kernel, n for each step but the
        first, and log2(n) + 1 for the weights.
    """
    with tqdm(
        total=n_steps, desc="residual recursion", unit="step", disable=None, leave=False
    ) as bar:
        matrix = _decay(features, n, columns) if n_steps > 1 else []
        residuals = [_lengths(targets, n)]
        for _ in range(n_steps - 1):
            residuals.append(_decayed(matrix, residuals[-1], n))
            bar.update()
        total = reduce(add, map(_exact, reversed(residuals)))  # so that each is aligned once
        total = total.replace(
            size=sum(e.size for e in residuals),
            error=sum(e.error for e in residuals) + sqrt(n) * total.error,
        )
        features = _beside(features, total)
        w = _summed(features, total, n)
        bar.update()
    error = w.error + sqrt(2) * total.error + sqrt(n) * features.error * _length(total)
    return w.replace(size=sqrt(2) * total.size, error=error)


def gradient_descent(
    features: Ciphertext, targets: Ciphertext, n: int, columns: int
) -> tuple[Ciphertext, int]:
    """Return the weights of w_0 = 0, w <- w + f^T (y - f w), after as many steps as levels allow.

    Args:
        features: as for `residual_descent`, with a level at least.
        targets: likewise.
        n: samples, a power of two.
        columns: features, a power of two.

    Returns:
        A ciphertext with weight k in slot k, and the number of steps.

    Error: weights stand in the slots of every sample, with one error f^T (...) that all have in
        common, and one of each sample's own slots. The first is carried on by I - f^T f, which
        makes nothing longer; the second stays, and adds to the first by f^T f_i each time.
    Cost: a level for the first step and two for each other; of key switches log2(n) + 1 for the
        first and log2(columns n) + 3 for each other.
    """
    n_steps = (min(targets.level, features.level) + 1) // 2
    length = sqrt(n) * targets.size
    e, own = _lengths(targets, n), targets.error
    w, common, each = None, 0.0, 0.0
    with tqdm(
        total=n_steps, desc="gradient descent", unit="step", disable=None, leave=False
    ) as bar:
        for step in range(1, n_steps + 1):
            if w is not None:
                features = _beside(features, w)
                fitted = dot([_exact(features)], [_exact(w)], _over_features(columns))
                more = features.error * (sqrt(columns) * _length(w) + columns * w.error)
                e = targets - fitted.replace(size=sqrt(2) * w.size, error=fitted.error + more)
                own = e.error
                drift = sqrt(2) * common + sqrt(2 * n) * each + sqrt(n) * own
                e = e.replace(size=sqrt(2) * w.size + length, error=drift)
            features = _beside(features, e)
            change = _summed(features, e, n)
            w = change if w is None else _exact(w) + change
            common += 2 * sqrt(n) * each + sqrt(2) * n * own
            common += sqrt(n * columns) * features.error * _length(e)
            each += sqrt(columns) * w.error
            # (1 - (1 - x)^t) / sqrt(x), in (0, 2], is not above sqrt(t), or above 2.
            w = w.replace(size=2 * sqrt(step) * length, error=common + each)
            bar.update()
    assert w is not None
    return w, n_steps


def _exact(a: Ciphertext) -> Ciphertext:
    """Return the same ciphertext, of which the numbers with their error count as the exact ones."""
    return a.replace(size=a.size + a.error, error=0.0)


def _beside(features: Ciphertext, e: Ciphertext) -> Ciphertext:
    """Return the features at the level of what they are multiplied with."""
    return features.at_level(min(features.level, e.level))


def _length(e: Ciphertext) -> float:
    """Return a bound on the length of a vector with its error, where it states bounds on both."""
    return e.size + e.error


def _lengths(y: Ciphertext, n: int) -> Ciphertext:
    """Return n samples' numbers with bounds on their length, and on that of their error."""
    return y.replace(size=sqrt(n) * y.size, error=sqrt(n) * y.error)


def _decay(features: Ciphertext, n: int, columns: int) -> list[Ciphertext]:
    """Return the diagonals of I - f f^T: entry (i, i + d) of diagonal d in the slots of sample i.

    With errors a and b of the factors, a sum over features is wrong by f b + f a + a b.
    """
    slots = len(features)
    kernels = []
    for other in (features, *features.rotations(_by_samples(range(1, n // 2 + 1), n, slots))):
        a, b = features.error, other.error
        more = sqrt(2 * columns) * (a + b) + 2 * columns * a * b
        kernel = dot([_exact(features)], [_exact(other)], _over_features(columns), 2 + more)
        kernels.append(kernel.replace(size=2.0, error=kernel.error + more))
    diagonals = [1 - kernels[0], *(-kernel for kernel in kernels[1:])]
    for d in range(n // 2 + 1, n):  # the matrix is symmetric
        diagonals.append(diagonals[n - d].rotate(d * (slots // n)))
    return [diagonal.replace(size=1.0) for diagonal in diagonals]


def _decayed(matrix: list[Ciphertext], e: Ciphertext, n: int) -> Ciphertext:
    """Return (I - f f^T) e, with bounds on lengths as those of e."""
    exact, more = _exact(e), n * max(diagonal.error for diagonal in matrix) * _length(e)
    turned = [exact, *exact.rotations(_by_samples(range(1, n), n, len(e)))]
    found = dot([_exact(diagonal) for diagonal in matrix], turned, size=_length(e) + more)
    return found.replace(size=e.size, error=sqrt(n) * found.error + e.error + more)


def _summed(features: Ciphertext, e: Ciphertext, n: int) -> Ciphertext:
    """Return f^T e as if both were exact, in the slots of every sample; e states lengths."""
    size = (sqrt(2) + sqrt(n) * features.error) * _length(e)
    folds = _by_samples([1 << log for log in range((n - 1).bit_length())], n, len(e))
    return dot([_exact(features)], [_exact(e)], folds, size)


def _over_features(columns: int) -> list[int]:
    """Return rotations that add columns slots before each slot to those from it onwards."""
    return [*(1 << log for log in range((columns - 1).bit_length())), -columns]


def _by_samples(numbers: range | list[int], n: int, slots: int) -> list[int]:
    """Return rotations by whole samples."""
    return [number * (slots // n) for number in numbers]
