"""Elementwise arithmetic: the definition equals Python's integers, kernels equal the definition."""

import itertools

import numpy as np
import pytest

from he_gpu.backend import emulator
from he_gpu.backend.definition import elementwise as definition
from he_gpu.backend.definition.words import RING_32, RING_64, reciprocal, word_dtype
from he_gpu.backend.device import elementwise as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import (
    MODULI,
    SIZES,
    assert_same,
    edges,
    ints,
    random_words,
    some_words,
)

PAIRS = {"add": int.__add__, "sub": int.__sub__, "mul": int.__mul__}
DEVICE_MODULI = (3, 501337, 2**32, 2**61 - 1, 2**63, 2**64)


def check_definition(a, b, modulus):
    x, y = ints(a), ints(b)
    for name, operation in PAIRS.items():
        expected = [operation(p, q) % modulus for p, q in zip(x, y, strict=True)]
        result = getattr(definition, name)(a, b, modulus)
        assert result.dtype == word_dtype(modulus)
        assert ints(result) == expected
    assert ints(definition.neg(a, modulus)) == [-p % modulus for p in x]


@pytest.mark.parametrize("modulus", MODULI)
def test_definition_on_edge_values(modulus):
    pairs = np.array(list(itertools.product(edges(modulus), repeat=2)), np.uint64)
    a, b = pairs.astype(word_dtype(modulus)).T
    check_definition(a, b, modulus)


@pytest.mark.parametrize("modulus", MODULI)
def test_definition_on_random_words(modulus):
    rng = np.random.default_rng(modulus % 2**32)
    check_definition(
        random_words(rng, 10_000, modulus), random_words(rng, 10_000, modulus), modulus
    )


@pytest.mark.parametrize("modulus", MODULI)
def test_definition_on_scalars(modulus):
    a = np.array(modulus - 1, word_dtype(modulus))
    check_definition(a, a, modulus)


def summands(modulus, shape, count=4):
    rng = np.random.default_rng(count)
    weights = [0, -1, modulus - 1, 3 * modulus + 5, 2**31 + 1][:count]
    return [
        random_words(rng, int(np.prod(shape)), modulus).reshape(shape) for _ in weights
    ], weights


@pytest.mark.parametrize("modulus", [RING_32, RING_64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 5), (2, 3, 7), (2, definition.BLOCK + 3)])
@pytest.mark.parametrize("count", [1, 4])
def test_definition_of_weighted_sums(modulus, shape, count):
    stacks, weights = summands(modulus, shape, count)
    result = definition.weighted_sum(stacks, weights, modulus)
    assert (result.shape, result.dtype) == (shape, word_dtype(modulus))
    words = zip(*(ints(stack.ravel()) for stack in stacks), strict=True)
    expected = [sum(w * x for w, x in zip(weights, each, strict=True)) % modulus for each in words]
    assert ints(result.ravel()) == expected


@pytest.mark.parametrize("modulus", [RING_32, RING_64])
@pytest.mark.parametrize("shape", [(), (2,), (2, 0), (2, 33), (3, 2, 7), (3, 1024)])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20])
def test_device_weighted_sums(kernel_device, modulus, shape, count):
    rng = np.random.default_rng(count)
    stacks = [some_words(rng, shape, modulus) for _ in range(count)]
    weights = [int(word) for word in some_words(rng, count, modulus)]
    there = [kernel_device.xp.asarray(stack) for stack in stacks]
    result = launcher.weighted_sum(kernel_device, there, weights, modulus)
    assert_same(result, definition.weighted_sum(stacks, weights, modulus))


@pytest.mark.parametrize("modulus", [RING_32, RING_64])
def test_device_weighted_sums_of_views(kernel_device, modulus):
    """Rows apart, starts that are not aligned, and layouts that differ."""
    rng = np.random.default_rng(3)
    host = some_words(rng, (4, 6, 6, 9), modulus)
    there = kernel_device.xp.asarray(host)
    views = (
        lambda x: [x[:, i] for i in range(6)],
        lambda x: [x[:, 1, 1:3], x[:, 2, 2:4]],
        lambda x: [x[:, 0, 0, 1:8], x[:, 2, 1, :7], x[:, 3, 1, 2:]],
        lambda x: [x[:, 0, 0], x[0, :4, 0], x[1, 1:5, 2]],
        lambda x: [x[0], x[1].swapaxes(0, 1)],
        lambda x: [x[0], x[1][::-1], x[:1, :1, :1].repeat(6, 1).repeat(6, 2)[0]],
        lambda x: [x[:, 0, 0, ::2], x[:, 0, 0, 4::-1]],
        lambda x: [x[:, 0, 0, 0], x[:, 1, 2, 3]],
        lambda x: [x[0, 0, 0, 0], x[1, 2, 3, 4]],
    )
    for view in views:
        stacks = view(host)
        weights = [int(word) for word in some_words(rng, len(stacks), modulus)]
        result = launcher.weighted_sum(kernel_device, view(there), weights, modulus)
        copies = [np.ascontiguousarray(stack).reshape(stack.shape) for stack in stacks]
        assert_same(result, definition.weighted_sum(copies, weights, modulus))


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize(("count", "launches"), [(1, 1), (8, 1), (9, 2), (16, 2)])
def test_eight_terms_take_one_launch(count, launches):
    before = emulator.launches.copy()
    stacks = [np.arange(6, dtype=np.uint64)] * count
    launcher.weighted_sum(emulator.device(), stacks, [1] * count, RING_64)
    assert emulator.launches - before == {"weighted_sum_ring_u64": launches}


def test_device_weighted_sums_refuse(kernel_device):
    a = kernel_device.xp.zeros((4, 6), np.uint64)
    message = "weighted_sum: stacks and weights must be as many, and one at least, got {} and {}"
    for n_stacks, n_weights in ((0, 0), (2, 1)):
        with pytest.raises(ArgumentValueError, match=message.format(n_stacks, n_weights)):
            launcher.weighted_sum(kernel_device, [a] * n_stacks, [1] * n_weights, RING_64)
    with pytest.raises(ArgumentValueError, match=r"stack must have shape \(4, 6\), got \(6,\)"):
        launcher.weighted_sum(kernel_device, [a, a[0]], [1, 2], RING_64)
    with pytest.raises(ArgumentTypeError, match="stack must have dtype uint32, got uint64"):
        launcher.weighted_sum(kernel_device, [a], [1], RING_32)
    with pytest.raises(ArgumentValueError, match=r"modulus must be 2\^64 or 2\^32, got 501337"):
        launcher.weighted_sum(kernel_device, [a], [1], 501337)


@pytest.mark.parametrize("modulus", [q for q in MODULI if q not in (RING_32, RING_64)])
def test_reciprocal_is_what_it_says(modulus):
    shift, divisor, inverse = reciprocal(modulus)
    assert divisor == modulus * 2**shift
    assert 2**63 <= divisor < 2**64
    assert inverse == (2**128 - 1) // divisor - 2**64
    assert 0 <= inverse < 2**64


@pytest.mark.parametrize("modulus", [2, 3, 501337, 2**61 - 1, 2**63 - 25, 2**63])
def test_wide_reduction_takes_any_high_word_below_the_modulus(modulus):
    rng = np.random.default_rng(11)
    high, low = some_words(rng, 3000, modulus), some_words(rng, 3000, RING_64)
    expected = [(h * 2**64 + w) % modulus for h, w in zip(ints(high), ints(low), strict=True)]
    assert ints(definition.reduce_wide(high, low, modulus)) == expected


def check_device(device, a, b, modulus):
    xp = device.xp
    for name in PAIRS:
        result = getattr(launcher, name)(device, xp.asarray(a), xp.asarray(b), modulus)
        assert isinstance(result, xp.ndarray)
        assert_same(result, getattr(definition, name)(a, b, modulus))
    assert_same(launcher.neg(device, xp.asarray(a), modulus), definition.neg(a, modulus))


@pytest.mark.parametrize("modulus", MODULI)
def test_device_on_edge_values(kernel_device, modulus):
    pairs = np.array(list(itertools.product(edges(modulus), repeat=2)), np.uint64)
    a, b = pairs.astype(word_dtype(modulus)).T
    check_device(kernel_device, np.ascontiguousarray(a), np.ascontiguousarray(b), modulus)


@pytest.mark.parametrize("modulus", DEVICE_MODULI)
@pytest.mark.parametrize("n", SIZES)
def test_device_on_sizes(kernel_device, n, modulus):
    rng = np.random.default_rng(n)
    check_device(kernel_device, some_words(rng, n, modulus), some_words(rng, n, modulus), modulus)


SHAPES = [
    ((), ()),
    ((7,), ()),
    ((), (3, 5)),
    ((6, 33), (33,)),
    ((33,), (6, 33)),
    ((6, 32), (6, 1)),
    ((6, 1), (1, 32)),
    ((1000, 2), (2,)),
    ((2, 5, 3, 8), (5, 1, 8)),
    ((3, 1, 4), (2, 1)),
    ((2, 0, 3), (3,)),
    ((1, 1), (1,)),
]


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**63 - 25, 2**64])
@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)
def test_device_broadcasts(kernel_device, a_shape, b_shape, modulus):
    rng = np.random.default_rng(5)
    a, b = some_words(rng, a_shape, modulus), some_words(rng, b_shape, modulus)
    check_device(kernel_device, a, b, modulus)


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**64])
def test_device_takes_strided_operands(kernel_device, modulus):
    rng = np.random.default_rng(6)
    xp = kernel_device.xp
    host = some_words(rng, (12, 10), modulus)
    words = xp.asarray(host)
    views = (
        np.s_[::2, ::3],
        np.s_[::-1, 1:],
        np.s_[3:, 1:9],
        np.s_[:, 4:5],
    )
    for view in views:
        for a, b in ((words[view], words[view].copy()), (words[view].T, words[view].copy().T)):
            expected = definition.sub(to_numpy(a), to_numpy(b), modulus)
            assert_same(launcher.sub(kernel_device, a, b, modulus), expected)
            expected = definition.mul(to_numpy(a), to_numpy(a), modulus)
            assert_same(launcher.mul(kernel_device, a, a, modulus), expected)
    mixed = launcher.add(kernel_device, words[:10].T, words[:10], modulus)
    assert_same(mixed, definition.add(host[:10].T, host[:10], modulus))


def to_numpy(array):
    return array if isinstance(array, np.ndarray) else array.get()


@pytest.mark.parametrize("modulus", [2**32, 2**64])
def test_device_packs_words_only_where_addresses_allow(kernel_device, modulus):
    rng = np.random.default_rng(7)
    host = some_words(rng, 64, modulus)
    words = kernel_device.xp.asarray(host)
    for start, other in itertools.product(range(5), repeat=2):
        result = launcher.add(
            kernel_device, words[start:41], words[other : 41 - start + other], modulus
        )
        expected = definition.add(host[start:41], host[other : 41 - start + other], modulus)
        assert_same(result, expected)


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**64])
def test_device_writes_out(kernel_device, modulus):
    rng = np.random.default_rng(8)
    host = some_words(rng, (5, 9), modulus)
    a = kernel_device.xp.asarray(host)
    out = kernel_device.xp.empty_like(a)
    assert launcher.mul(kernel_device, a, a, modulus, out=out) is out
    assert_same(out, definition.mul(host, host, modulus))
    assert launcher.neg(kernel_device, out, modulus, out=out) is out
    assert_same(out, definition.neg(definition.mul(host, host, modulus), modulus))
    launcher.sub(kernel_device, a[0], out, modulus, out=out)
    square = definition.neg(definition.mul(host, host, modulus), modulus)
    assert_same(out, definition.sub(host[0], square, modulus))


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**64])
def test_device_reads_operands_that_overlap_out_before_it_writes(kernel_device, modulus):
    rng = np.random.default_rng(9)
    host = some_words(rng, 1026, modulus)
    words = kernel_device.xp.asarray(host.copy())
    launcher.add(kernel_device, words[:-1], words[1:], modulus, out=words[1:])
    assert_same(words[1:], definition.add(host[:-1], host[1:], modulus))
    square = kernel_device.xp.asarray(host[:1024].copy()).reshape(32, 32)
    launcher.add(kernel_device, square.T, square, modulus, out=square)
    expected = host[:1024].reshape(32, 32)
    assert_same(square, definition.add(expected.T, expected, modulus))
    row = kernel_device.xp.asarray(host[:1024].copy()).reshape(32, 32)
    launcher.sub(kernel_device, row[3], row, modulus, out=row)
    assert_same(row, definition.sub(expected[3], expected, modulus))


def test_device_refuses(kernel_device):
    xp = kernel_device.xp
    a = xp.zeros((4, 6), np.uint64)
    with pytest.raises(ArgumentTypeError, match=r"add: b must have dtype uint64, got int64"):
        launcher.add(kernel_device, a, a.astype(np.int64), RING_64)
    with pytest.raises(ArgumentTypeError, match=r"mul: a must have dtype uint32, got uint64"):
        launcher.mul(kernel_device, a, a, RING_32)
    with pytest.raises(ArgumentTypeError, match=r"neg: a must be an array of .*, got builtins.int"):
        launcher.neg(kernel_device, 5, RING_64)
    with pytest.raises(ArgumentValueError, match=r"sub: shapes \(4, 6\) and \(4,\) do not broad"):
        launcher.sub(kernel_device, a, a[:, 0], RING_64)
    with pytest.raises(ArgumentValueError, match=r"add: out must have shape \(4, 6\), got \(6, 4"):
        launcher.add(kernel_device, a, a, RING_64, out=a.T)
    with pytest.raises(ArgumentValueError, match=r"add: out must be an aligned, C-contiguous"):
        launcher.add(kernel_device, a[::2], a[::2], RING_64, out=a[::2])
    with pytest.raises(ArgumentTypeError, match=r"add: out must have dtype uint64, got uint32"):
        launcher.add(kernel_device, a, a, RING_64, out=a.astype(np.uint32))


def test_device_refuses_what_lies_elsewhere(kernel_device):
    xp = kernel_device.xp
    foreign = memoryview(np.zeros(3, np.uint64)) if xp is np else np.zeros(3, np.uint64)
    for operands in ((foreign, xp.zeros(3, np.uint64)), (xp.zeros(3, np.uint64), foreign)):
        with pytest.raises(ArgumentTypeError, match=r"add: [ab] must be an array of "):
            launcher.add(kernel_device, *operands, RING_64)
