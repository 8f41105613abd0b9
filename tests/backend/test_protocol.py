"""Steps on share stacks: definitions equal Python's integers, kernels equal the definitions."""

import numpy as np
import pytest

from he_gpu.backend.definition import protocol as definition
from he_gpu.backend.definition.words import RING_32, RING_64, word_dtype
from he_gpu.backend.device import protocol as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import (
    MODULI,
    SIZES,
    WRAPPING,
    assert_same,
    ints,
    some_words,
    to_host,
)

PARTIES = (1, 2, 3, 5)
DEVICE_MODULI = (501337, 2**32, 2**63, 2**64)


def totals(stack, modulus):
    """The sum over the party axis by Python's integers, flat."""
    return [sum(column) % modulus for column in zip(*map(ints, stack), strict=True)]


def shares_of(rng, parties, words, modulus):
    """A stack whose sum over the party axis is the given flat list."""
    stack = some_words(rng, (parties, len(words)), modulus)
    others = [sum(column) for column in zip(*map(ints, stack[:-1]), strict=True)] or [0] * len(
        words
    )
    rest = [(word - other) % modulus for word, other in zip(words, others, strict=True)]
    stack[-1] = np.array(rest, word_dtype(modulus))
    return stack


@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("parties", PARTIES)
def test_definition_of_sums(parties, modulus):
    rng = np.random.default_rng(parties)
    stack = some_words(rng, (parties, 40, 50), modulus)
    secret = some_words(rng, (40, 50), modulus)
    opened = definition.reconstruct(stack, modulus)
    assert opened.dtype == word_dtype(modulus)
    assert ints(opened) == totals(stack, modulus)
    for lead in (0, 1):
        result = definition.add_public(stack, secret[0], lead, modulus)
        public = [lead * word for word in ints(np.broadcast_to(secret[0], (40, 50)))]
        expected = [(x + y) % modulus for x, y in zip(ints(stack[0]), public, strict=True)]
        assert ints(result[0]) == expected
        assert_same(result[1:], stack[1:])


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("parties", PARTIES)
def test_definition_of_beavers_product(parties, modulus):
    rng = np.random.default_rng(parties)
    x, y, a, b = (some_words(rng, (parties, 500), modulus) for _ in range(4))
    product = [p * q % modulus for p, q in zip(totals(a, modulus), totals(b, modulus), strict=True)]
    c = shares_of(rng, parties, product, modulus)
    d, e = definition.open_masked(x, a), definition.open_masked(y, b)
    pairs = zip(totals(x, modulus), totals(a, modulus), strict=True)
    assert ints(d) == [(p - q) % modulus for p, q in pairs]
    pairs = zip(totals(x, modulus), totals(y, modulus), strict=True)
    result = definition.beaver_combine(d, y, a, e, c)
    expected = [p * q % modulus for p, q in pairs]
    assert totals(result, modulus) == expected
    assert ints(definition.beaver_combine(d, y, a, e, c, total=True)) == expected


def truncation_values(rng, k):
    """Values of the whole range -2^(k-2) <= v < 2^(k-2), its ends among them."""
    bound = 2 ** (k - 2)
    ends = [-bound, 1 - bound, -65537, -65536, -1, 0, 1, 65535, 65536, bound - 2, bound - 1]
    return ends + [int(v) for v in rng.integers(-bound, bound, size=2000)]


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("parties", PARTIES)
@pytest.mark.parametrize("bits", [1, 16, 29])
def test_definition_of_truncation(parties, bits, modulus):
    rng = np.random.default_rng(parties)
    k = modulus.bit_length() - 1
    values = truncation_values(rng, k)
    shape = (parties, len(values))
    masks = some_words(rng, shape, modulus)
    parts = definition.truncation_parts(definition.reconstruct(masks, modulus), bits)
    hidden = [(-m - 2 ** (k - 2)) % modulus for m in totals(masks, modulus)]
    half = 2 ** (k - 1)
    assert ints(parts[0]) == [(r % half >> bits) + 2 ** (k - 2 - bits) for r in hidden]
    assert ints(parts[1]) == [r // half << (k - 1 - bits) for r in hidden]

    low, top = (shares_of(rng, parties, ints(part), modulus) for part in parts)
    shares = shares_of(rng, parties, [v % modulus for v in values], modulus)
    opened = definition.open_masked(shares, masks)
    assert_same(opened, definition.open_scaled(shares, np.negative(masks)))
    result = definition.truncate_finish(opened, low, top, bits, lead=1)
    for v, r, word, total in zip(
        values, hidden, ints(opened), totals(result, modulus), strict=True
    ):
        rounded_up = word % 2**bits < r % 2**bits
        assert total == ((v >> bits) + rounded_up) % modulus
    other = definition.truncate_finish(opened, low, top, bits, lead=0)
    assert_same(other[1:], result[1:])
    public = [word >> bits for word in ints(opened)]
    without = [(x - y) % modulus for x, y in zip(ints(result[0]), public, strict=True)]
    assert ints(other[0]) == without


@pytest.mark.parametrize("modulus", DEVICE_MODULI)
@pytest.mark.parametrize("parties", PARTIES)
@pytest.mark.parametrize("n", SIZES)
def test_device_sums(kernel_device, n, parties, modulus):
    rng = np.random.default_rng(n)
    xp = kernel_device.xp
    stack, secret = some_words(rng, (parties, n), modulus), some_words(rng, n, modulus)
    on_device = xp.asarray(stack)
    result = launcher.reconstruct(kernel_device, on_device, modulus)
    assert_same(result, definition.reconstruct(stack, modulus))
    out = xp.empty_like(result)
    assert launcher.reconstruct(kernel_device, on_device, modulus, out=out) is out
    assert_same(out, result if xp is np else result.get())
    for lead in (0, 1):
        for public in (secret, secret[:1]):
            result = launcher.add_public(
                kernel_device, on_device, xp.asarray(public), lead, modulus
            )
            assert_same(result, definition.add_public(stack, public, lead, modulus))


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("parties", PARTIES)
@pytest.mark.parametrize("n", SIZES)
def test_device_fused_steps(kernel_device, n, parties, modulus):
    rng = np.random.default_rng(n)
    xp = kernel_device.xp
    y, a, c, low, top = (some_words(rng, (parties, n), modulus) for _ in range(5))
    d, e = some_words(rng, n, modulus), some_words(rng, n, modulus)
    result = launcher.open_masked(kernel_device, xp.asarray(y), xp.asarray(a))
    assert_same(result, definition.open_masked(y, a))
    for factor in (None, d, d[:1]):
        on_device = None if factor is None else xp.asarray(factor)
        result = launcher.open_scaled(kernel_device, xp.asarray(y), xp.asarray(a), on_device)
        assert_same(result, definition.open_scaled(y, a, factor))
    for public in ((d, e), (d[:1], e), (d, e[:1])):
        words = (public[0], y, a, public[1], c)
        shares = definition.beaver_combine(*words)
        result = launcher.beaver_combine(kernel_device, *map(xp.asarray, words))
        assert_same(result, shares)
        opened = launcher.beaver_combine(kernel_device, *map(xp.asarray, words), total=True)
        assert_same(opened, definition.reconstruct(shares, modulus))
    for bits in (1, 16, modulus.bit_length() - 4):
        low_on_device, top_on_device = xp.asarray(low), xp.asarray(top)
        for lead in (0, 1):
            words = (xp.asarray(d), low_on_device, top_on_device, bits, lead)
            shares = definition.truncate_finish(d, low, top, bits, lead)
            assert_same(launcher.truncate_finish(kernel_device, *words), shares)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("shape", [(), (1,), (4, 6), (2, 3, 5)])
def test_device_on_shapes_broadcasts_and_strides(kernel_device, shape, modulus):
    rng = np.random.default_rng(3)
    xp = kernel_device.xp
    y, a, c = (some_words(rng, (3, *shape), modulus) for _ in range(3))
    publics = [some_words(rng, (), modulus), some_words(rng, shape[-1:], modulus)]
    if len(shape) > 1:
        publics += [some_words(rng, (*shape[:-1], 1), modulus), some_words(rng, shape, modulus)]
    for d in publics:
        words = (d, y, a, publics[-1], c)
        result = launcher.beaver_combine(kernel_device, *map(xp.asarray, words))
        assert_same(result, definition.beaver_combine(*words))
        opened = launcher.beaver_combine(kernel_device, *map(xp.asarray, words), total=True)
        assert_same(opened, definition.beaver_combine(*words, total=True))
        result = launcher.add_public(kernel_device, xp.asarray(y), xp.asarray(d), 1, modulus)
        assert_same(result, definition.add_public(y, d, 1, modulus))
    turned, axes = xp.asarray(y).T, np.transpose(y)
    if len(shape) > 1:
        assert_same(
            launcher.reconstruct(kernel_device, turned, modulus),
            definition.reconstruct(axes, modulus),
        )
        reversed_rows = launcher.open_masked(kernel_device, xp.asarray(y)[::-1], xp.asarray(a))
        assert_same(reversed_rows, definition.open_masked(y[::-1], a))
    low, top = xp.asarray(y), xp.asarray(a)
    word = some_words(rng, shape, modulus)
    result = launcher.open_scaled(kernel_device, low, top, xp.asarray(publics[0]))
    assert_same(result, definition.open_scaled(y, a, publics[0]))
    result = launcher.truncate_finish(kernel_device, xp.asarray(word), low, top, 7, 1)
    assert_same(result, definition.truncate_finish(word, y, a, 7, 1))


@pytest.mark.parametrize("modulus", DEVICE_MODULI)
def test_device_may_write_over_what_it_reads(kernel_device, modulus):
    rng = np.random.default_rng(4)
    stack = some_words(rng, (3, 1025), modulus)
    on_device = kernel_device.xp.asarray(stack.copy())
    launcher.reconstruct(kernel_device, on_device, modulus, out=on_device[1])
    assert_same(on_device[1], definition.reconstruct(stack, modulus))


def test_device_refuses(kernel_device):
    xp = kernel_device.xp
    stack = xp.zeros((3, 8), np.uint64)
    word = xp.zeros(8, np.uint64)
    with pytest.raises(ArgumentTypeError, match="reconstruct: stack must have dtype uint32, got"):
        launcher.reconstruct(kernel_device, stack, RING_32)
    with pytest.raises(ArgumentTypeError, match=r"reconstruct: stack must be an array of .*, got"):
        launcher.reconstruct(kernel_device, to_host(stack).tolist(), RING_64)
    for empty in (xp.zeros((0, 8), np.uint64), xp.zeros((), np.uint64)):
        with pytest.raises(ArgumentValueError, match=r"reconstruct: stack must have shape \(par"):
            launcher.reconstruct(kernel_device, empty, RING_64)
    with pytest.raises(ArgumentValueError, match=r"reconstruct: out must have shape \(8,\), got"):
        launcher.reconstruct(kernel_device, stack, RING_64, out=word[:7])
    with pytest.raises(ArgumentValueError, match="add_public: lead must be 0 or 1, got 2"):
        launcher.add_public(kernel_device, stack, word, 2, RING_64)
    with pytest.raises(ArgumentValueError, match=r"add_public: public must broadcast to \(8,\)"):
        launcher.add_public(kernel_device, stack, stack, 1, RING_64)
    with pytest.raises(ArgumentTypeError, match="open_masked: stack must have dtype uint64 or"):
        launcher.open_masked(kernel_device, stack.astype(np.int64), stack)
    with pytest.raises(ArgumentTypeError, match="open_masked: mask must have dtype uint64, got"):
        launcher.open_masked(kernel_device, stack, stack.astype(np.uint32))
    with pytest.raises(ArgumentTypeError, match="beaver_combine: e must have dtype uint64, got"):
        launcher.beaver_combine(kernel_device, word, stack, stack, word.astype(np.uint32), stack)
    with pytest.raises(ArgumentTypeError, match="open_scaled: factor must have dtype uint64, got"):
        launcher.open_scaled(kernel_device, stack, stack, word.astype(np.uint32))
    with pytest.raises(ArgumentValueError, match=r"open_scaled: factor must broadcast to \(8,\)"):
        launcher.open_scaled(kernel_device, stack, stack, word[:3])
    small = stack.astype(np.uint32)
    with pytest.raises(ArgumentValueError, match=r"truncate_finish: bits must be in \(0, 30\), g"):
        launcher.truncate_finish(kernel_device, small[0], small, small, 30, 1)
