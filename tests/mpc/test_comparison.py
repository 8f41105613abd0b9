"""Comparison is exact: every pair of edge values, a million random pairs, for every scheme."""

from dataclasses import replace

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.channel import LocalChannel
from he_gpu.errors import RangeError
from he_gpu.mpc import Additive, Plain, Replicated
from he_gpu.mpc.carry_plan import carry_plan
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


def near(thresholds, modulus):
    """Signed words at, below and above thresholds, and the edges."""
    _, signed = WORDS[modulus]
    around = np.asarray(thresholds).astype(signed)[:, None] + np.arange(-2, 3).astype(signed)
    return np.concatenate([around.ravel(), edges(modulus)])


def several(modulus):
    """Sets of thresholds that share much, little and nothing of their trees."""
    k = modulus.bit_length() - 1
    powers = [2 ** (4 * j) for j in range((k - 2) // 4)]
    yield from (powers, [-p for p in powers], [p - 1 for p in powers], [3 * p for p in powers[:-1]])
    yield from ([0, 0, 5, 5], [0], [1], [-1], [2 ** (k - 3) + 1], [-(2 ** (k // 2)) + 1, 77])
    rng = np.random.default_rng(12)
    for _ in range(6):
        yield [
            int(t)
            for t in rng.integers(-(2 ** (k - 2)), 2 ** (k - 2), 5) >> rng.integers(0, k - 3, 5)
        ]


@rings
@schemes
def test_thresholds_that_share_nodes(kind, modulus):
    """The host's words, shared where they can be, equal the same words for each element."""
    word, signed = WORDS[modulus]
    scheme = make(kind, modulus)
    for thresholds in several(modulus):
        ends = np.asarray(thresholds).astype(signed)[:, None]
        values = near(thresholds, modulus)
        x = scheme.share(values.view(word), 0)
        expected = values < ends
        assert (scheme.open(scheme.below(x, ends.view(word))) == expected).all()
        each = np.repeat(ends, values.size, axis=1)
        assert (scheme.open(scheme.below(x, each.view(word))) == expected).all()


def test_thresholds_that_share_nodes_on_devices(device):
    scheme = make("additive 2", 2**64, get_backend(device).name)
    for thresholds in ([2**4, 2**16, 2**40, -(2**20)], [5, -(2**60) + 3]):
        ends = np.asarray(thresholds)[:, None]
        values = near(thresholds, 2**64)
        x = scheme.share(scheme.backend.asarray(values.view(np.uint64)), 0)
        bits = scheme.open(scheme.below(x, ends.view(np.uint64)))
        assert (scheme.backend.to_numpy(bits) == (values < ends)).all()


def some_steps(modulus):
    """Thresholds, and functions whose integers are small, negative, wide, equal and many."""
    k = modulus.bit_length() - 1
    rng = np.random.default_rng(16)
    yield (0, 1), [(-1, 0, 1)]
    yield (5,), [(2 ** (k - 3), -(2 ** (k - 3))), (7, 7), (0, 0)]
    powers = [2 ** (2 * j) for j in range(k // 2 - 1)]
    both = sorted({1 - p for p in powers} | set(powers))
    for thresholds in (powers, both):
        yield thresholds, rng.integers(-(2**20), 2**20, (4, len(thresholds) + 1)).tolist()


@rings
@schemes
def test_step_functions(kind, modulus):
    """Equal to the values of the intervals, for the rounds and bytes of the comparison alone."""
    word, signed = WORDS[modulus]
    scheme = make(kind, modulus)
    plain = Plain(scheme.backend, modulus)
    for thresholds, values in some_steps(modulus):
        x = near(thresholds, modulus)
        words, count = scheme.share(x.view(word), 0), len(values)
        before = scheme.cost
        stack = scheme.steps(words, thresholds, values)
        cost = scheme.cost - before
        assert stack.shape == (len(words), count, x.size)
        where = [sum(t <= v for t in thresholds) for v in x.tolist()]
        expected = np.array([[each[i] for i in where] for each in values]).astype(signed)
        assert (scheme.open(stack).view(signed) == expected).all()
        ours = plain.steps(x.view(word)[None], thresholds, values)[0]
        assert (ours.view(signed) == expected).all()
        before = scheme.cost
        scheme.below(words, np.asarray(thresholds, signed).view(word)[:, None])
        other = scheme.cost - before
        spared = max(0, len(thresholds) - count) * x.nbytes if kind == "replicated" else 0
        assert cost == replace(other, bytes_sent=other.bytes_sent - spared)


def test_step_functions_of_more_than_a_block(device):
    thresholds, values = (-5, 0, 70), [(1, 2, 3, 4), (0, -9, 2**50, 0)]
    x = np.arange(-100, 100).repeat(83 if device == "emulator" else 831)
    for kind in ("additive 3", "replicated"):
        scheme = make(kind, 2**64, get_backend(device).name)
        words = scheme.share(scheme.backend.asarray(x.view(np.uint64)), 0)
        opened = scheme.backend.to_numpy(scheme.open(scheme.steps(words, thresholds, values)))
        expected = np.asarray(values)[:, np.searchsorted(thresholds, x, side="right")]
        assert (opened.view(np.int64) == expected).all()


@pytest.mark.parametrize("kind", ["plain", "additive 2", "replicated"])
def test_refused_step_functions(kind):
    scheme = Plain(get_backend("cpu"), 2**64) if kind == "plain" else make(kind, 2**64)
    x = scheme.share(np.zeros(3, np.uint64), 0)
    for thresholds in ((), (1, 1), (2, 1)):
        with pytest.raises(ValueError, match="steps: thresholds must rise"):
            scheme.steps(x, thresholds, [(0,) * (len(thresholds) + 1)])
    with pytest.raises(ValueError, match="steps: values must have 3 for 2 thresholds, got 2"):
        scheme.steps(x, (1, 2), [(0, 1, 2), (0, 1)])


def test_plain_refuses_steps_beyond_the_word():
    plain = Plain(get_backend("cpu"), 2**64)
    x = np.asarray([[-(2**62)]]).view(np.uint64)
    for thresholds in ((2**62 + 1,), (0, 2**62 + 1)):
        with pytest.raises(RangeError, match=r"compare: differences must stay below 2\*\*63"):
            plain.steps(x, thresholds, [range(len(thresholds) + 1)])
    assert plain.steps(x, (0, 2**62), [(7, 8, 9)]) == 7


def test_nodes_of_plans():
    """Equal thresholds cost nothing, powers of two little, and none more than a tree of its own."""
    for k in (64, 32):
        tree = k // 2 - 1
        assert carry_plan((0,), k).n_nodes == carry_plan((5, 5, 5), k).n_nodes == tree
        for thresholds in several(2**k):
            plan = carry_plan(tuple(t % 2**k for t in thresholds), k)
            assert plan.n_nodes <= tree * len(set(thresholds))
            assert len(plan.leaves[0]) <= k // 2 * len(set(thresholds))
    assert carry_plan(tuple(16**j for j in range(1, 13)), 64).n_nodes == 94


def bounds(modulus, values):
    """Lower and upper bounds, for all elements and for each, equal ones too."""
    _, signed = WORDS[modulus]
    k = modulus.bit_length() - 1
    for low, high in ((-1, 1), (0, 0), (-(2 ** (k // 2)), 2 ** (k // 2)), (5, 2 ** (k - 2) - 1)):
        yield (np.asarray(signed(end)) for end in (low, high))
    low = np.random.default_rng(13).permutation(values) // 2
    yield low, np.maximum(low, 0)
    yield low, np.asarray(signed(2 ** (k - 3)))


@rings
@schemes
def test_excesses_over_bounds(kind, modulus):
    word, signed = WORDS[modulus]
    k = modulus.bit_length() - 1
    rng = np.random.default_rng(14)
    values = rng.integers(-(2 ** (k - 2)), 2 ** (k - 2), 5000) >> rng.integers(0, k - 3, 5000)
    values = np.concatenate([values.astype(signed), edges(modulus), np.arange(-9, 10)]).astype(
        signed
    )
    scheme = make(kind, modulus)
    x = scheme.share(values.view(word), 0)
    plain = Plain(scheme.backend, modulus)
    before = scheme.cost.rounds
    scheme.positive_part(x)
    rounds = scheme.cost.rounds - before
    for low, high in bounds(modulus, values):
        ends = low.view(word), high.view(word)
        before = scheme.cost.rounds
        parts = scheme.beyond(x, *ends)
        assert scheme.cost.rounds - before == rounds
        under, over = scheme.open(parts).view(signed)
        wide = values.astype(object)
        if (wide - low).max() < 2 ** (k - 1) and (wide - high).min() >= -(2 ** (k - 1)):
            assert (under == np.maximum(low.astype(object) - wide, 0)).all()
            assert (over == np.maximum(wide - high.astype(object), 0)).all()
            assert (plain.beyond(values.view(word)[None], *ends)[0] == [*scheme.open(parts)]).all()


def test_plain_refuses_excesses_beyond_the_word():
    plain = Plain(get_backend("cpu"), 2**64)
    x = np.asarray([[-(2**62)]]).view(np.uint64)
    far, near_by = np.asarray(np.uint64(2**62 + 2**61 * 2)), np.asarray(np.uint64(0))
    with pytest.raises(RangeError, match=r"compare: differences must stay below 2\*\*63"):
        plain.beyond(x, near_by, far - np.uint64(1))
    assert (plain.beyond(x, near_by, near_by) == [[[2**62], [0]]]).all()


@rings
@pytest.mark.parametrize("shape", [(), (0,), (4, 3)])
def test_squares_take_one_mask(modulus, shape, device):
    """Equal to the product with a copy, for half the words online."""
    word, signed = WORDS[modulus]
    scheme = make("additive 3", modulus, get_backend(device).name)
    values = np.asarray(np.random.default_rng(15).integers(-(2**13), 2**13, shape)).astype(signed)
    x = scheme.share(scheme.backend.asarray(values.view(word)), 0)
    costs = []
    for factor in (x, x.copy()):
        before = scheme.cost
        product = scheme.product("mul", x, factor, 0)
        costs.append(scheme.cost - before)
        opened = np.asarray(scheme.backend.to_numpy(scheme.open(product)))
        assert (opened.view(signed) == values * values).all()
        truncated = scheme.backend.to_numpy(scheme.open(scheme.product("mul", x, factor, 7)))
        assert ((np.asarray(truncated).view(signed) - (values * values >> 7)) >> 1 == 0).all()
    assert 2 * costs[0].bytes_sent == costs[1].bytes_sent
    assert costs[0].dealer_bytes == costs[1].dealer_bytes


@rings
@schemes
@pytest.mark.parametrize("rows", [2, 3, 6])
def test_the_largest_of_edge_values(kind, modulus, rows):
    """Of rows anywhere in the word whose differences just fit it, with many equal ones."""
    word, signed = WORDS[modulus]
    values = edges(modulus)
    chosen = np.random.default_rng(18).choice(values, (rows, 1000))
    chosen[:, :200] = np.random.default_rng(19).integers(-1, 2, (rows, 200))
    end = 2 ** (modulus.bit_length() - 2) - 1  # of the whole word
    chosen[:, 200:203] = 0
    chosen[0, 200], chosen[-1, 201], chosen[0, 202] = end, end, -end
    scheme = make(kind, modulus)
    x = scheme.share(chosen.view(word), 0)
    for smallest, expected in ((False, chosen.max(0)), (True, chosen.min(0))):
        opened = np.ascontiguousarray(scheme.open(scheme.largest(x, smallest)))
        assert (opened.view(signed) == expected).all()


def steps_of(values):
    """Two step functions that tell large values from small ones."""
    small = (values >= -1) & (values < 1)
    return np.stack([np.where(small, 0, np.where(values < 0, 3, -3)), small])


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
    ends = (np.asarray(signed(end)).view(word) for end in (-1, 0))
    for stack, expected in (
        (scheme.below(x, thresholds), np.stack([values < 0] * 2)),
        (scheme.steps(x, (-1, 1), [(3, 0, -3), (0, 1, 0)]), steps_of(values)),
        (scheme.steps(x, (0,), []), np.zeros((0, *shape))),
        (scheme.is_zero(x), values == 0),
        (scheme.positive_part(x), np.maximum(values, 0)),
        (scheme.beyond(x, *ends), np.stack([values == -2, np.maximum(values, 0)])),
    ):
        assert stack.shape == (rows, *expected.shape)
        opened = np.ascontiguousarray(backend.to_numpy(scheme.open(stack)))
        assert (opened.view(signed) == expected).all()
    both = scheme.largest(backend.xp.stack([x, scheme.neg(x), x], axis=1))
    assert both.shape == (rows, *shape)
    opened = np.ascontiguousarray(backend.to_numpy(scheme.open(both)))
    assert (opened.view(signed) == np.abs(values)).all()
