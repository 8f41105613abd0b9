"""Bit planes and boolean shares: definitions equal Python's integers, kernels the definitions."""

import numpy as np
import pytest

from he_gpu.backend import cpu
from he_gpu.backend import get_backend as backend_of
from he_gpu.backend.definition import bits as definition
from he_gpu.backend.definition.sharing import Stream
from he_gpu.backend.definition.words import word_dtype
from tests.backend.ring_words import WRAPPING, assert_same, edges, ints, some_words

PARTIES = (1, 2, 3)
SIZES = (1, 63, 64, 65, 1000, 1009)
STREAM = Stream(bytes(range(32)), bytes(12))


def width(n):
    return -(-n // 64)


def uint64s(rng, *shape):
    return rng.integers(0, 2**64, size=shape, dtype=np.uint64)


def words_of(planes, n):
    """Elements whose bit j is in plane j, by Python's integers."""
    rows = [ints(plane) for plane in planes]
    return [sum((row[e // 64] >> e % 64 & 1) << j for j, row in enumerate(rows)) for e in range(n)]


def bits_of(plane, n):
    return words_of(plane[np.newaxis], n)


def opened(stack):
    """The value of boolean shares."""
    return np.bitwise_xor.reduce(stack, axis=0)


def xor_shares(rng, parties, value):
    stack = uint64s(rng, parties, *value.shape)
    stack[0] ^= opened(stack) ^ value
    return stack


def sum_shares(rng, parties, value):
    stack = some_words(rng, (parties, *value.shape), 2 ** (8 * value.itemsize))
    stack[0] += value - stack.sum(axis=0, dtype=value.dtype)
    return stack


def word_pairs(rng, n, modulus):
    """Public words c and masks M: every pair of edge values first, as far as n goes, half equal."""
    k = modulus.bit_length() - 1
    ends = np.array(edges(modulus), word_dtype(modulus))
    c, m = (some_words(rng, n, modulus) for _ in range(2))
    c[n // 2 :: 2] = m[n // 2 :: 2]  # equal words, and some that differ in one bit
    c[n // 2 :: 6] ^= ends.dtype.type(1) << rng.integers(0, k, c[n // 2 :: 6].size, ends.dtype)
    firsts, seconds = (x.ravel()[:n] for x in np.meshgrid(ends, ends))
    c[: firsts.size], m[: seconds.size] = firsts, seconds
    return c, m


class Dealer:
    """Boolean shares of masks and of products of bits, in the tests' own way."""

    def __init__(self, rng, parties):
        self.rng, self.parties = rng, parties

    def share(self, value):
        return xor_shares(self.rng, self.parties, value)

    def triple(self, *shape):
        a, b = uint64s(self.rng, 2, *shape)
        return self.share(a), self.share(b), self.share(a & b)

    def level(self, half, n_words):
        a, b, c = uint64s(self.rng, 3, half, n_words)
        masks = np.stack([self.share(x) for x in (a, b, c)], axis=1)
        return masks, np.stack([self.share(a & b), self.share(a & c)], axis=1)


def split_lead(function, *operands):
    """A step as two processes take it: the first party's alone, and those of the others."""
    public, *stacks = operands
    first = function(public, *(stack[:1] for stack in stacks), 1)
    others = function(public, *(stack[1:] for stack in stacks), 0)
    return np.concatenate([first, others])


def carries(on, dealer, c, mask):
    """The bits that carry into the top bits of c + M."""
    planes, mask_planes = on.bit_planes(c), on.bit_planes(mask)
    shares = dealer.share(mask_planes)
    pairs = dealer.share(mask_planes[1::2] & mask_planes[::2])
    nodes = on.carry_leaves(planes, shares, pairs, 1)
    assert_same(split_lead(on.carry_leaves, planes, shares, pairs), nodes)
    while nodes.shape[2] > 1:
        masks, products = dealer.level(nodes.shape[2] // 2, nodes.shape[3])
        nodes = on.carry_combine(on.carry_open(nodes, masks), nodes, masks, products)
    return nodes[:, 0, 0]


def equalities(on, dealer, c, mask):
    """The bits that tell where c equals N."""
    planes, mask_planes = on.bit_planes(c), on.bit_planes(mask)
    shares = dealer.share(mask_planes)
    pairs = dealer.share(mask_planes[1::2] & mask_planes[::2])
    nodes = on.equal_leaves(planes, shares, pairs, 1)
    assert_same(split_lead(on.equal_leaves, planes, shares, pairs), nodes)
    while nodes.shape[1] > 1:
        x, y = nodes[:, 1::2], nodes[:, ::2]
        a, b, ab = dealer.triple(*x.shape[1:])
        nodes = on.and_combine(on.and_open(x, a, y, b), y, a, ab)
    return nodes[:, 0]


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("n", [0, *SIZES, 64 * 1024 + 130])
def test_definition_of_planes(n, modulus):
    rng = np.random.default_rng(n)
    k = modulus.bit_length() - 1
    words = some_words(rng, n, modulus)
    planes = definition.bit_planes(words)
    assert planes.dtype == np.uint64
    assert planes.shape == (k, width(n))
    assert planes.flags.c_contiguous
    assert_same(np.array(words_of(planes, n), words.dtype), words)
    if n % 64:
        assert (planes[:, -1] >> np.uint64(n % 64) == 0).all()
    plane = uint64s(rng, width(n))
    assert_same(
        definition.bit_words(plane, n, words.dtype), np.array(bits_of(plane, n), words.dtype)
    )


def test_definition_takes_every_other_word():
    words = some_words(np.random.default_rng(1), 300, 2**64)
    assert_same(definition.bit_planes(words[::2]), definition.bit_planes(words[::2].copy()))


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("parties", PARTIES)
@pytest.mark.parametrize("n", SIZES)
def test_definition_of_the_trees(n, parties, modulus):
    rng = np.random.default_rng(parties)
    k = modulus.bit_length() - 1
    dealer = Dealer(rng, parties)
    c, mask = word_pairs(rng, n, modulus)
    result = opened(carries(definition, dealer, c, mask))
    low = 2 ** (k - 1) - 1
    pairs = list(zip(ints(c), ints(mask), strict=True))
    assert bits_of(result, n) == [((x & low) + (y & low)) >> (k - 1) for x, y in pairs]
    result = opened(equalities(definition, dealer, c, mask))
    assert bits_of(result, n) == [int(x == y) for x, y in pairs]


def test_definition_of_the_trees_over_many_blocks(monkeypatch):
    # Blocks of part of a plane, of some planes, and of less than a plane with a rest.
    rng = np.random.default_rng(2)
    c, mask = word_pairs(rng, 64 * 40 + 5, 2**64)
    dealer = Dealer(rng, 2)
    low = 2**63 - 1
    pairs = list(zip(ints(c), ints(mask), strict=True))
    for block in (16, 128, 2**13):
        monkeypatch.setattr(definition, "BLOCK_WORDS", block)
        result = opened(carries(definition, dealer, c, mask))
        assert bits_of(result, c.size) == [((x & low) + (y & low)) >> 63 for x, y in pairs]
        result = opened(equalities(definition, dealer, c, mask))
        assert bits_of(result, c.size) == [int(x == y) for x, y in pairs]


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 5), (2, 3, 5), (3, 9000)])
@pytest.mark.parametrize("parties", PARTIES)
def test_definition_of_products_of_bits(parties, shape):
    rng = np.random.default_rng(parties)
    x, y = uint64s(rng, 2, parties, *shape)
    a, b, c = Dealer(rng, parties).triple(*shape)
    public = definition.and_open(x, a, y, b)
    assert_same(public[0], np.asarray(opened(x) ^ opened(a)))
    assert_same(public[1], np.asarray(opened(y) ^ opened(b)))
    result = definition.and_combine(public, y, a, c)
    assert result.shape == (parties, *shape)
    assert_same(opened(result), np.asarray(opened(x) & opened(y)))
    assert_same(definition.xor_open(x, a), public[0])
    assert_same(definition.xor_open(x), np.asarray(opened(x)))


@pytest.mark.parametrize("shape", [(), (0,), (63,), (4, 9)])
def test_definition_of_split_bits(shape):
    total = uint64s(np.random.default_rng(3), *shape)
    share, rest = np.empty_like(total), np.empty_like(total)
    definition.split_bits(total, STREAM, share, rest)
    assert_same(share, cpu.uniform(*STREAM, total.size, 2**64).reshape(shape))
    assert_same(np.asarray(share ^ rest), total)
    in_place = total.copy()
    backend_of("cpu").split_bits(in_place, STREAM, share, in_place)
    assert_same(in_place, rest)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("parties", PARTIES)
@pytest.mark.parametrize("n", [0, *SIZES, 2**13 + 70])
def test_definition_of_bits_as_words(n, parties, modulus):
    rng = np.random.default_rng(n)
    plane, dtype = uint64s(rng, width(n)), word_dtype(modulus)
    public, mask = some_words(rng, n, modulus), some_words(rng, n, modulus)
    secret = rng.integers(0, 2, n).astype(dtype)
    beta, masks, product = (sum_shares(rng, parties, x) for x in (secret, mask, mask * secret))
    bits = [v ^ b for v, b in zip(bits_of(plane, n), ints(secret), strict=True)]
    shares = definition.bit_shares(plane, beta, 1)
    assert_same(shares.sum(axis=0, dtype=dtype), np.array(bits, dtype))
    assert_same(split_lead(definition.bit_shares, plane, beta), shares)
    words = definition.bit_times_word(plane, public, beta, masks, product, 1)
    expected = [
        b * (c + m) % modulus for b, c, m in zip(bits, ints(public), ints(mask), strict=True)
    ]
    assert_same(words.sum(axis=0, dtype=dtype), np.array(expected, dtype))
    both = plane, public
    assert_same(
        split_lead(lambda v, *x: definition.bit_times_word(*v, *x), both, beta, masks, product),
        words,
    )
