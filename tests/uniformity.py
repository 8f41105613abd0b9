"""Chi-square tests of uniform words, with the score expressed in standard deviations.

A chi-square statistic of df degrees of freedom is turned into a standard normal score by Wilson and
Hilferty, "The distribution of chi-square", PNAS 17 (1931): (X / df)^(1/3) is close to normal with
mean 1 - 2 / (9 df) and variance 2 / (9 df). |score| < LIMIT = 5.5 fails a uniform source with
probability 4e-8; the seeds of the tests are fixed, so a test that passes once passes always.
"""

import numpy as np

LIMIT = 5.5


def chi_square_score(counts, expected):
    """Return the normal score of counts against expected counts, each of which is 5 or more."""
    counts, expected = np.asarray(counts, np.float64), np.asarray(expected, np.float64)
    assert expected.min() >= 5, "chi-square needs 5 expected counts in every bin"
    assert np.isclose(counts.sum(), expected.sum())
    df = counts.size - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return _score(statistic, df)


def _score(statistic, df):
    variance = 2 / (9 * df)
    return ((statistic / df) ** (1 / 3) - (1 - variance)) / np.sqrt(variance)


def uniformity_scores(words, modulus, n_bins=16):
    """Return the scores of the words' high parts and of their residues modulo n_bins."""
    words = np.asarray(words).astype(np.uint64).ravel()
    assert modulus == 2**64 or int(words.max()) < modulus
    n_bins = min(n_bins, modulus)
    width = -(-modulus // n_bins)
    n_used = -(-modulus // width)
    sizes = np.array([min(width, modulus - i * width) for i in range(n_used)], np.float64)
    high = np.bincount((words // np.uint64(width)).astype(np.int64), minlength=n_used)
    residues = np.array([(modulus - 1 - r) // n_bins + 1 for r in range(n_bins)], np.float64)
    low = np.bincount((words % np.uint64(n_bins)).astype(np.int64), minlength=n_bins)
    n = words.size
    return (
        chi_square_score(high, sizes / modulus * n),
        chi_square_score(low, residues / modulus * n),
    )


def assert_uniform(words, modulus, n_bins=16):
    for part, score in zip(("high", "low"), uniformity_scores(words, modulus, n_bins), strict=True):
        assert abs(score) < LIMIT, f"{part} parts deviate by {score:.1f} standard deviations"


def two_sample_score(first, second, n_bins=16):
    """Return the score of the hypothesis that two samples of 64-bit words have one distribution."""
    shift = np.uint64(64 - (n_bins - 1).bit_length())
    counts = np.array(
        [
            np.bincount((words.ravel() >> shift).astype(np.int64), minlength=n_bins)
            for words in (first, second)
        ],
        np.float64,
    )
    expected = counts.sum(0) * counts.sum(1, keepdims=True) / counts.sum()
    assert expected.min() >= 5
    statistic = ((counts - expected) ** 2 / expected).sum()
    return _score(statistic, n_bins - 1)
