"""Comparison is exact: every pair of edge values, a million random pairs, for every scheme."""

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.channel import LocalChannel
from he_gpu.mpc import Additive, Replicated
from he_gpu.ring import KeyRing

MILLION = 10**6
WORDS = {2**64: (np.uint64, np.int64), 2**32: (np.uint32, np.int32)}
rings = pytest.mark.parametrize("modulus", [2**64, 2**32])
schemes = pytest.mark.parametrize("kind", ["additive 2", "additive 3", "replicated"])


def make(kind, modulus, device="cpu"):
    name, _, parties = kind.partition(" ")
    scheme = Replicated if name == "replicated" else Additive
    return scheme(KeyRing(3), get_backend(device), modulus, LocalChannel(int(parties or 3)))


def edges(modulus):
    """Signed words of |v| < 2^(k-2) at which a carry starts, runs through, or ends."""
    k = modulus.bit_length() - 1
    end = 2 ** (k - 2) - 1
    positive = {0, 1, 2, 3, end, end - 1, 2**16, 2**16 - 1, 2 ** (k // 2), 2 ** (k // 2) - 1}
    positive |= {2 ** (k - 3), 2 ** (k - 3) - 1, int("55" * (k // 8), 16) & end}
    return np.array(sorted({s * v for v in positive for s in (1, -1)}), WORDS[modulus][1])


def compare(scheme, a, b):
    """Return a < b and a == b, computed on shares."""
    word, _ = WORDS[scheme.modulus]
    x, y = scheme.share(a.view(word), 0), scheme.share(b.view(word), 1)
    difference = scheme.sub(x, y)
    zero = np.zeros((1,) + (1,) * a.ndim, word)
    below = scheme.open(scheme.below(difference, scheme.backend.asarray(zero)))[0]
    return (scheme.backend.to_numpy(w) for w in (below, scheme.open(scheme.is_zero(difference))))


@rings
@schemes
def test_every_pair_of_edge_values(kind, modulus):
    values = edges(modulus)
    a, b = (np.ascontiguousarray(v) for v in np.broadcast_arrays(values[:, None], values))
    below, equal = compare(make(kind, modulus), a, b)
    assert (below == (a < b)).all()
    assert (equal == (a == b)).all()


@rings
@schemes
@pytest.mark.parametrize("distance", ["any", "one unit", "few bits"])
def test_a_million_random_pairs(kind, modulus, distance):
    rng = np.random.default_rng(8)
    _, signed = WORDS[modulus]
    k = modulus.bit_length() - 1
    end = 2 ** (k - 2)
    a = rng.integers(-end + 2, end - 2, MILLION).astype(signed)
    if distance == "any":
        b = rng.integers(-end + 1, end, MILLION).astype(signed)
    elif distance == "one unit":
        b = a + rng.integers(-1, 2, MILLION).astype(signed)
    else:
        b = (a.astype(np.int64) ^ (1 << rng.integers(0, k - 3, MILLION))).astype(signed)
    below, equal = compare(make(kind, modulus), a, b)
    assert (below == (a < b)).all()
    assert (equal == (a == b)).all()
    if distance == "one unit":
        assert 0.3 < equal.mean() < 0.37  # the pairs are what they are meant to be


@rings
@schemes
def test_the_positive_part_of_a_million(kind, modulus):
    rng = np.random.default_rng(9)
    word, signed = WORDS[modulus]
    end = 2 ** (modulus.bit_length() - 3)
    values = rng.integers(-end, end, MILLION).astype(signed)
    values[: len(edges(modulus))] = edges(modulus)
    values[-1000:] = rng.integers(-1, 2, 1000)
    scheme = make(kind, modulus)
    part = scheme.open(scheme.positive_part(scheme.share(values.view(word), 0)))
    assert (part.view(signed) == np.maximum(values, 0)).all()


@rings
@schemes
def test_several_thresholds_share_one_opening(kind, modulus):
    rng = np.random.default_rng(10)
    word, signed = WORDS[modulus]
    values = np.append(rng.integers(-9, 9, (40, 5)), edges(modulus)[:5][None], 0).astype(signed)
    scheme = make(kind, modulus)
    x = scheme.share(values.view(word), 0)
    thresholds = np.array([0, 1, -1, 5, 2 ** (modulus.bit_length() - 3)], signed)
    before = scheme.cost.rounds
    bits = scheme.below(x, thresholds.view(word)[:, None])
    together = scheme.cost.rounds - before
    assert (scheme.open(bits) == (values < thresholds[:, None, None])).all()
    before = scheme.cost.rounds
    scheme.below(x, thresholds.view(word)[:1, None])
    assert scheme.cost.rounds - before == together


@rings
@schemes
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (65,), (2, 3, 5)])
def test_shapes(kind, modulus, shape, device):
    backend = get_backend(device)
    word, signed = WORDS[modulus]
    values = np.random.default_rng(11).integers(-2, 3, shape).astype(signed)
    values = np.asarray(values)
    scheme = make(kind, modulus, backend.name)
    x = scheme.share(backend.asarray(values.view(word)), 0)
    rows = len(x)
    thresholds = backend.asarray(np.zeros((2,), word))
    for stack, expected in (
        (scheme.below(x, thresholds), np.stack([values < 0] * 2)),
        (scheme.is_zero(x), values == 0),
        (scheme.positive_part(x), np.maximum(values, 0)),
    ):
        assert stack.shape == (rows, *expected.shape)
        opened = np.ascontiguousarray(backend.to_numpy(scheme.open(stack)))
        assert (opened.view(signed) == expected).all()
