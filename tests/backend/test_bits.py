"""Bit planes and boolean shares: definitions equal Python's integers, kernels the definitions."""

import numpy as np
import pytest

from he_gpu.backend import cpu
from he_gpu.backend import get_backend as backend_of
from he_gpu.backend.definition import bits as definition
from he_gpu.backend.definition import leaves
from he_gpu.backend.definition.sharing import Stream
from he_gpu.backend.definition.words import word_dtype
from he_gpu.backend.device import bits as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import WRAPPING, assert_same, edges, ints, some_words, to_host
from tests.conftest import require_device

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


def all_places(k):
    return tuple(range(k // 2))


class Definitions:
    """The definitions of both families, as a backend has them."""

    def __getattr__(self, name):
        return getattr(definition if hasattr(definition, name) else leaves, name)


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
    places = all_places(len(planes))
    public = planes.reshape(len(places), 2, planes.shape[1])

    def first_level(public, shares, pairs, lead):
        return on.carry_leaves(public, places, shares, pairs, lead)

    nodes = first_level(public, shares, pairs, 1)
    assert_same(split_lead(first_level, public, shares, pairs), nodes)
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
    rows = uint64s(rng, 3, width(n))
    expected = np.array([bits_of(plane, n) for plane in rows], words.dtype)
    assert_same(definition.bit_words(rows, n, words.dtype), expected)
    out = np.ones((3, n), words.dtype)
    assert definition.bit_words(rows, n, words.dtype, out=out) is out
    assert_same(out, expected)


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
    result = opened(carries(Definitions(), dealer, c, mask))
    low = 2 ** (k - 1) - 1
    pairs = list(zip(ints(c), ints(mask), strict=True))
    assert bits_of(result, n) == [((x & low) + (y & low)) >> (k - 1) for x, y in pairs]
    result = opened(equalities(Definitions(), dealer, c, mask))
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
        result = opened(carries(Definitions(), dealer, c, mask))
        assert bits_of(result, c.size) == [((x & low) + (y & low)) >> 63 for x, y in pairs]
        result = opened(equalities(Definitions(), dealer, c, mask))
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
    rows, dtype = 3, word_dtype(modulus)
    planes, public = uint64s(rng, rows, width(n)), some_words(rng, (rows, n), modulus)
    mask, secret = some_words(rng, n, modulus), rng.integers(0, 2, (rows, n)).astype(dtype)
    beta, masks, product = (sum_shares(rng, parties, x) for x in (secret, mask, mask * secret))
    bits = np.array([bits_of(plane, n) for plane in planes], dtype).reshape(rows, n) ^ secret
    shares = definition.bit_shares(planes, beta, 1)
    assert_same(shares.sum(axis=0, dtype=dtype), bits)
    assert_same(split_lead(definition.bit_shares, planes, beta), shares)
    in_place = beta.copy()
    assert definition.bit_shares(planes, in_place, 1, out=in_place) is in_place
    assert_same(in_place, shares)
    for negated in range(rows + 1):
        words = definition.bit_times_word(planes, public, beta, masks, product, 1, negated)
        for row in range(rows):
            sign = -1 if row < negated else 1
            expected = [
                sign * b * (c + m) % modulus
                for b, c, m in zip(ints(bits[row]), ints(public[row]), ints(mask), strict=True)
            ]
            assert_same(words[:, row].sum(axis=0, dtype=dtype), np.array(expected, dtype))

        def step(both, beta, masks, product, lead, negated=negated):
            return definition.bit_times_word(*both, beta, masks, product, lead, negated)

        assert_same(split_lead(step, (planes, public), beta, masks, product), words)


def on_both(kernel_device, function, *operands):
    """A step of the launcher on device arrays, which must equal the definition's."""
    expected = getattr(definition, function)(*operands)
    moved = [kernel_device.xp.asarray(x) if isinstance(x, np.ndarray) else x for x in operands]
    assert_same(getattr(launcher, function)(kernel_device, *moved), np.asarray(expected))


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("n", [0, *SIZES, 4096, 6000])
def test_device_planes(kernel_device, n, modulus):
    rng = np.random.default_rng(n)
    words = some_words(rng, n, modulus)
    on_both(kernel_device, "bit_planes", words)
    on_both(kernel_device, "bit_planes", some_words(rng, 2 * n, modulus)[::2])
    on_both(kernel_device, "bit_words", uint64s(rng, 3, width(n)), n, words.dtype)


@pytest.mark.parametrize("k", [64, 32])
@pytest.mark.parametrize("parties", PARTIES)
@pytest.mark.parametrize("n_words", [0, 1, 2, 17, 300])
def test_device_trees(kernel_device, n_words, parties, k):
    rng = np.random.default_rng(n_words)
    for half in {1, k // 4}:
        nodes = uint64s(rng, parties, 2, 2 * half, n_words)
        masks = uint64s(rng, parties, 3, half, n_words)
        products = uint64s(rng, parties, 2, half, n_words)
        on_both(kernel_device, "carry_open", nodes, masks)
        on_both(kernel_device, "carry_combine", masks[0], nodes, masks, products)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (130,), (3, 5), (70, 2), (2, 3, 5)])
@pytest.mark.parametrize("parties", PARTIES)
def test_device_products_of_bits(kernel_device, parties, shape):
    rng = np.random.default_rng(parties)
    x, y, a, b, c = uint64s(rng, 5, parties, *shape)
    public = definition.and_open(x, a, y, b)
    on_both(kernel_device, "and_open", x, a, y, b)
    on_both(kernel_device, "and_combine", public, y, a, c)
    on_both(kernel_device, "xor_open", x, a)
    on_both(kernel_device, "xor_open", x)


def views(stack):
    """Strided operands: two that a kernel can walk, and three that it cannot."""
    yield stack[:, 1::2]
    yield stack[:, :7]
    yield stack[:, 6::-1]
    yield stack[::-1, ::2]
    yield stack.swapaxes(1, 2)


@pytest.mark.parametrize("n_words", [7, 8])
def test_device_products_of_strided_bits(kernel_device, n_words):
    rng = np.random.default_rng(5)
    xp = kernel_device.xp
    stack = uint64s(rng, 3, 14, n_words)
    for x, here_x in zip(views(stack), views(xp.asarray(stack)), strict=True):
        y, a, b, c = uint64s(rng, 4, *x.shape)
        here = {"y": y, "a": a, "b": b, "c": c}
        here = {name: xp.asarray(value) for name, value in here.items()}
        public = definition.and_open(x, a, y, b)
        result = launcher.and_open(kernel_device, here_x, here["a"], here["y"], here["b"])
        assert_same(result, public)
        result = launcher.and_combine(
            kernel_device, xp.asarray(public), here_x, here["a"], here["c"]
        )
        assert_same(result, definition.and_combine(public, x, a, c))
        assert_same(launcher.xor_open(kernel_device, here_x, here["a"]), definition.xor_open(x, a))


@pytest.mark.parametrize("shape", [(), (0,), (63,), (4, 9), (1025,)])
def test_device_splits_bits(kernel_device, shape):
    xp = kernel_device.xp
    total = uint64s(np.random.default_rng(3), *shape)
    share, rest = np.empty_like(total), np.empty_like(total)
    definition.split_bits(total, STREAM, share, rest)
    here = xp.asarray(total.copy())
    here_share, here_rest = xp.empty_like(here), xp.empty_like(here)
    launcher.split_bits(kernel_device, here, STREAM, here_share, here_rest)
    assert_same(here_share, share)
    assert_same(here_rest, rest)
    launcher.split_bits(kernel_device, here, STREAM, here_share, here)  # in place
    assert_same(here, rest)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("parties", PARTIES)
@pytest.mark.parametrize("n", [0, *SIZES])
def test_device_bits_as_words(kernel_device, n, parties, modulus):
    rng = np.random.default_rng(n)
    for rows in (1, 3):
        planes, public = uint64s(rng, rows, width(n)), some_words(rng, (rows, n), modulus)
        mask = some_words(rng, (parties, n), modulus)
        beta, product = (some_words(rng, (parties, rows, n), modulus) for _ in range(2))
        for lead in (0, 1):
            on_both(kernel_device, "bit_shares", planes, beta, lead)
            here = kernel_device.xp.asarray(beta.copy())
            opened_here = kernel_device.xp.asarray(planes)
            launcher.bit_shares(kernel_device, opened_here, here, lead, out=here)
            assert_same(here, definition.bit_shares(planes, beta, lead))
            here = kernel_device.xp.ones((rows, n), beta.dtype)
            launcher.bit_words(kernel_device, opened_here, n, beta.dtype, out=here)
            assert_same(here, definition.bit_words(planes, n, beta.dtype))
            operands = planes, public, beta, mask, product, lead
            on_both(kernel_device, "bit_times_word", *operands)
            on_both(kernel_device, "bit_times_word", *operands, 1)


@pytest.mark.parametrize("name", ["emulator", "cuda"])
@pytest.mark.parametrize("modulus", WRAPPING)
def test_the_trees_on_a_device(name, modulus):
    """Through the backend, as a protocol calls it, with every step on the device."""
    require_device(name)
    on = backend_of(name)
    rng = np.random.default_rng(6)
    k = modulus.bit_length() - 1
    c, mask = word_pairs(rng, 1009, modulus)
    low = 2 ** (k - 1) - 1
    pairs = list(zip(ints(c), ints(mask), strict=True))
    host = {"c": c, "mask": mask}
    steps = OnDevice(on)
    result = opened(carries(steps, Dealer(rng, 2), **host))
    assert bits_of(result, c.size) == [((x & low) + (y & low)) >> (k - 1) for x, y in pairs]
    result = opened(equalities(steps, Dealer(rng, 2), **host))
    assert bits_of(result, c.size) == [int(x == y) for x, y in pairs]


class OnDevice:
    """A backend's steps on NumPy operands: to the device and back."""

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name):
        function = getattr(self.backend, name)

        def step(*operands):
            moved = (self.backend.asarray(x) if isinstance(x, np.ndarray) else x for x in operands)
            return self.backend.to_numpy(function(*moved))

        return step


def test_device_refuses(kernel_device):
    xp = kernel_device.xp
    words, plane = xp.zeros(128, np.uint64), xp.zeros(2, np.uint64)
    public, mask = xp.zeros((64, 2), np.uint64), xp.zeros((3, 64, 2), np.uint64)
    nodes, masks = xp.zeros((3, 2, 32, 2), np.uint64), xp.zeros((3, 3, 16, 2), np.uint64)
    pairs, beta = mask[:, :32], xp.zeros((3, 128), np.uint64)

    def refuses(error, match, function, *operands):
        with pytest.raises(error, match=match):
            getattr(launcher, function)(kernel_device, *operands)

    wrong, wrong_type = ArgumentValueError, ArgumentTypeError
    match = "bit_planes: words must have dtype uint64 or uint32, got int64"
    refuses(wrong_type, match, "bit_planes", words.astype(np.int64))
    refuses(wrong, r"bit_planes: words must have shape \(n,\), got \(64, 2\)", "bit_planes", public)
    match = "bit_words: dtype must be uint64 or uint32, got int64"
    row = plane[None]
    refuses(wrong_type, match, "bit_words", row, 128, np.int64)
    refuses(wrong, "bit_words: n must be at least 0, got -1", "bit_words", row, -1, np.uint64)
    match = r"bit_words: planes must have shape \(1, 3\), got \(1, 2\)"
    refuses(wrong, match, "bit_words", row, 129, np.uint64)
    match = r"bit_words: planes must have shape \(rows, W\), got \(2,\)"
    refuses(wrong, match, "bit_words", plane, 128, np.uint64)
    match = r"carry_open: nodes must have shape \(parties, 2, m, W\) with an even m, got"
    refuses(wrong, match, "carry_open", nodes[:, :, 1:], masks)
    refuses(wrong, match, "carry_open", nodes[:, :1], masks)
    match = r"carry_open: masks must have shape \(3, 3, 16, 2\), got \(3, 2, 16, 2\)"
    refuses(wrong, match, "carry_open", nodes, masks[:, :2])
    match = r"carry_combine: opened must have shape \(3, 16, 2\), got \(2, 16, 2\)"
    refuses(wrong, match, "carry_combine", masks[0, :2], nodes, masks, masks[:, :2])
    match = r"carry_combine: products must have shape \(3, 2, 16, 2\), got \(3, 3, 16, 2\)"
    refuses(wrong, match, "carry_combine", masks[0], nodes, masks, masks)
    match = r"and_open: y must have shape \(3, 64, 2\), got \(3, 32, 2\)"
    refuses(wrong, match, "and_open", mask, mask, pairs, mask)
    match = r"and_combine: opened must have shape \(2, 64, 2\), got \(3, 64, 2\)"
    refuses(wrong, match, "and_combine", mask, mask, mask, mask)
    empty = xp.zeros((0, 2), np.uint64)
    refuses(wrong, r"xor_open: stack must have shape \(parties, ...\) with a", "xor_open", empty)
    match = r"xor_open: mask must have shape \(64, 2\), got \(2,\)"
    refuses(wrong, match, "xor_open", public, plane)
    refuses(wrong_type, "xor_open: stack must be an array of", "xor_open", [[1, 2]])
    match = "split_bits: share must not share memory with total or rest"
    refuses(wrong, match, "split_bits", words, STREAM, words, words)
    match = r"split_bits: rest must have shape \(128,\), got \(2,\)"
    refuses(wrong, match, "split_bits", words, STREAM, words.copy(), plane)
    stack, one = beta[:, None], words[None]
    match = r"bit_shares: opened must have shape \(1, 2\), got \(1, 128\)"
    refuses(wrong, match, "bit_shares", one, stack, 1)
    match = r"bit_shares: beta must have shape \(parties, rows, n\), got \(3, 128\)"
    refuses(wrong, match, "bit_shares", row, beta, 1)
    refuses(wrong, "bit_shares: lead must be 0 or 1, got -1", "bit_shares", row, stack, -1)
    buffer = xp.zeros(4 * beta.size, np.uint64)
    partly = buffer[: beta.size].reshape(stack.shape), buffer[16 : 16 + beta.size]
    match = "bit_shares: out must not overlap beta in part"
    refuses(wrong, match, "bit_shares", row, partly[0], 1, partly[1].reshape(stack.shape))
    match = "bit_shares: out must not overlap opened"
    within = buffer[: beta.size].reshape(stack.shape)
    refuses(wrong, match, "bit_shares", buffer[:2].reshape(1, 2), stack, 1, within)
    match = "bit_times_word: mask must have dtype uint64, got uint32"
    small = beta.astype(np.uint32)
    refuses(wrong_type, match, "bit_times_word", row, one, stack, small, stack, 1)
    match = r"bit_times_word: public must have shape \(1, 128\), got \(1, 2\)"
    refuses(wrong, match, "bit_times_word", row, row, stack, beta, stack, 1)
    match = r"bit_shares: out must have shape \(3, 1, 128\), got \(3, 128\)"
    refuses(wrong, match, "bit_shares", row, stack, 1, beta)
    match = r"bit_words: out must have dtype uint64, got uint32"
    refuses(wrong_type, match, "bit_words", row, 128, np.uint64, small[:1])
    match = r"bit_times_word: negated must be in \[0, 1\], got 2"
    refuses(wrong, match, "bit_times_word", row, one, stack, beta, stack, 1, 2)
    assert not to_host(words).any()
