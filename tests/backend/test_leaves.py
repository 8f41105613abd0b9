"""Public bits of c - w, leaves and chosen nodes: Python's integers, and kernels the definitions."""

import numpy as np
import pytest

from he_gpu.backend.definition import bits
from he_gpu.backend.definition import leaves as definition
from he_gpu.backend.device import leaves as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import WRAPPING, assert_same, edges, ints, some_words

PARTIES = (1, 2, 3)
N = 64 * 3 + 5
rings = pytest.mark.parametrize("modulus", WRAPPING)


def uint64s(rng, *shape):
    return rng.integers(0, 2**64, size=shape, dtype=np.uint64)


def bits_of(plane, n):
    row = ints(plane)
    return [row[e // 64] >> e % 64 & 1 for e in range(n)]


def opened(stack):
    return np.bitwise_xor.reduce(stack, axis=0)


def items(rng, modulus):
    """Words and bit positions: edges, powers of two, words after themselves, and any."""
    k = modulus.bit_length() - 1
    words = [w for w in edges(modulus) for _ in range(3)]
    words += [2**i for i in range(k)] + [modulus - 2**i for i in range(k)]
    words += ints(some_words(rng, 20, modulus)) * 2
    positions = [int(p) for p in rng.integers(0, k // 2, len(words))]
    return words, positions


def some_c(rng, modulus):
    """Words of which many end in zeros or ones, as far as borrows care."""
    c = some_words(rng, N, modulus)
    k = modulus.bit_length() - 1
    c[: 2 * k : 2] = [2**i for i in range(k)]
    c[1 : 2 * k : 2] = [2**i - 1 for i in range(k)]
    return c


@rings
def test_definition_of_the_bits_of_a_difference(modulus):
    rng = np.random.default_rng(1)
    c = some_c(rng, modulus)
    words, places = items(rng, modulus)
    result = definition.less_pairs(bits.bit_planes(c), words, places)
    assert result.shape == (len(words), 2, -(-N // 64))
    for row, word, place in zip(result, words, places, strict=True):
        for bit in (0, 1):
            expected = [(v - word) % modulus >> 2 * place + bit & 1 for v in ints(c)]
            assert bits_of(row[bit], N) == expected


@rings
def test_definition_of_borrows(modulus):
    rng = np.random.default_rng(2)
    c = some_c(rng, modulus)
    words, positions = items(rng, modulus)
    positions = [min(2 * p + p % 2, modulus.bit_length() - 2) for p in positions]
    result = definition.borrows(bits.bit_planes(c), words, positions)
    for row, word, position in zip(result, words, positions, strict=True):
        part = 2**position
        assert bits_of(row, N) == [int(v % part < word % part) for v in ints(c)]


@rings
@pytest.mark.parametrize("parties", PARTIES)
def test_definition_of_leaves_in_any_order(modulus, parties):
    """Each node generates and propagates what two bits of a sum do."""
    rng = np.random.default_rng(3)
    k = modulus.bit_length() - 1
    total = bits.bit_planes(some_words(rng, N, modulus))
    mask = uint64s(rng, parties, *total.shape)
    mask[0] ^= opened(mask) ^ total
    pairs = uint64s(rng, parties, k // 2, total.shape[1])
    pairs[0] ^= opened(pairs) ^ (total[::2] & total[1::2])
    places = (0, 1, 2, k // 2 - 2, k // 2 - 1, 0, 5, 5, k // 2 - 1)
    public = uint64s(rng, len(places), 2, total.shape[1])
    result = definition.carry_leaves(public, places, mask, pairs, 1)
    others = definition.carry_leaves(public, places, mask[1:], pairs[1:], 0)
    assert_same(result[1:], others)
    for (generate, propagate), place, (low, high) in zip(
        opened(result).swapaxes(0, 1), places, public, strict=True
    ):
        g, p = low & total[2 * place], low ^ total[2 * place]
        if place < k // 2 - 1:
            g_high, p_high = high & total[2 * place + 1], high ^ total[2 * place + 1]
            g, p = g_high ^ (p_high & g), p_high & p
        assert_same(generate, g)
        assert_same(propagate, p)


def test_definition_of_chosen_nodes():
    rng = np.random.default_rng(4)
    nodes, flags = uint64s(rng, 3, 2, 5, 7), uint64s(rng, 2, 7)
    picks = ((4, 4, -1), (0, 3, 1), (0, 0, -1), (2, 1, 0), (0, 3, 0))
    result = definition.choose_nodes(nodes, picks, flags)
    for i, (first, second, flag) in enumerate(picks):
        where = flags[flag] if flag >= 0 else np.uint64(0)
        expected = (nodes[:, :, first] & ~where) | (nodes[:, :, second] & where)
        assert_same(result[:, :, i].copy(), expected)


def on_both(kernel_device, function, *operands):
    """A step of the launcher on device arrays, which must equal the definition's."""
    expected = getattr(definition, function)(*operands)
    moved = [kernel_device.xp.asarray(x) if isinstance(x, np.ndarray) else x for x in operands]
    assert_same(getattr(launcher, function)(kernel_device, *moved), np.asarray(expected))


@pytest.mark.parametrize("n_words", [0, 1, 2, 17, 300])
@pytest.mark.parametrize("k", [64, 32])
def test_device_public_bits(kernel_device, n_words, k):
    rng = np.random.default_rng(n_words)
    planes = uint64s(rng, k, n_words)
    words, places = items(rng, 2**k)
    words, places = words[:: 1 + n_words // 16], places[:: 1 + n_words // 16]
    on_both(kernel_device, "less_pairs", planes, words, places)
    on_both(kernel_device, "borrows", planes, words, [2 * p + 1 for p in places])
    on_both(kernel_device, "less_pairs", planes, (), ())


@pytest.mark.parametrize("n_words", [0, 1, 2, 17, 300])
@pytest.mark.parametrize("parties", PARTIES)
@pytest.mark.parametrize("k", [64, 32])
def test_device_leaves_and_nodes(kernel_device, n_words, parties, k):
    rng = np.random.default_rng(n_words)
    mask, pairs = uint64s(rng, parties, k, n_words), uint64s(rng, parties, k // 2, n_words)
    public = uint64s(rng, k, n_words)
    for places in (tuple(range(k // 2)), (3, 0, k // 2 - 1, 3), ()):
        some = uint64s(rng, len(places), 2, n_words)
        for lead in (0, 1):
            on_both(kernel_device, "carry_leaves", some, places, mask, pairs, lead)
            on_both(kernel_device, "equal_leaves", public, mask, pairs, lead)
    nodes, flags = uint64s(rng, parties, 2, 5, n_words), uint64s(rng, 2, n_words)
    for picks in (((4, 4, -1), (0, 3, 1), (2, 1, 0)), tuple((i % 5, 0, 1) for i in range(70)), ()):
        on_both(kernel_device, "choose_nodes", nodes, picks, flags)


def test_device_refuses(kernel_device):
    xp = kernel_device.xp
    public, mask = xp.zeros((64, 2), np.uint64), xp.zeros((3, 64, 2), np.uint64)
    nodes, pairs = xp.zeros((3, 2, 32, 2), np.uint64), mask[:, :32]
    bits_of_nodes, places = public.reshape(32, 2, 2), tuple(range(32))

    def refuses(error, match, function, *operands):
        with pytest.raises(error, match=match):
            getattr(launcher, function)(kernel_device, *operands)

    wrong, wrong_type = ArgumentValueError, ArgumentTypeError
    for name, lead_operands in (
        ("carry_leaves", (bits_of_nodes, places)),
        ("equal_leaves", (public,)),
    ):
        refuses(wrong, f"{name}: lead must be 0 or 1, got 2", name, *lead_operands, mask, pairs, 2)
        match = f"{name}: mask must have 64 or 32 planes, got 62"
        refuses(wrong, match, name, *lead_operands, mask[:, 2:], pairs[:, 1:], 1)
        match = rf"{name}: mask must have shape \(parties, k, W\), got \(64, 2\)"
        refuses(wrong, match, name, *lead_operands, public, pairs, 1)
        match = rf"{name}: pairs must have shape \(3, 32, 2\), got \(3, 31, 2\)"
        refuses(wrong, match, name, *lead_operands, mask, pairs[:, 1:], 1)
    match = r"equal_leaves: public must have shape \(64, 2\), got \(64, 1\)"
    refuses(wrong, match, "equal_leaves", public[:, :1], mask, pairs, 1)
    match = "equal_leaves: public must have dtype uint64, got uint32"
    refuses(wrong_type, match, "equal_leaves", public.astype(np.uint32), mask, pairs, 1)
    match = r"carry_leaves: public must have shape \(31, 2, 2\), got \(32, 2, 2\)"
    refuses(wrong, match, "carry_leaves", bits_of_nodes, places[1:], mask, pairs, 1)
    match = r"carry_leaves: places must be in \[0, 32\), got 32"
    refuses(wrong, match, "carry_leaves", bits_of_nodes[:1], (32,), mask, pairs, 1)
    match = r"less_pairs: planes must have shape \(k, W\), got \(3, 64, 2\)"
    refuses(wrong, match, "less_pairs", mask, (1,), (1,))
    refuses(
        wrong, "less_pairs: planes must have 64 or 32 planes", "less_pairs", pairs[0, :8], (), ()
    )
    refuses(wrong, r"less_pairs: places must be in \[0, 32\)", "less_pairs", public, (1,), (32,))
    refuses(wrong, "less_pairs: words must be in", "less_pairs", public, (-1,), (0,))
    refuses(wrong, "borrows: words must be as many as places", "borrows", public, (1, 2), (0,))
    refuses(wrong, r"borrows: positions must be in \[0, 64\)", "borrows", public, (1,), (64,))
    flags = public[:2]
    match = r"choose_nodes: nodes must have shape \(parties, 2, m, W\), got \(3, 64, 2\)"
    refuses(wrong, match, "choose_nodes", mask, (), flags)
    refuses(
        wrong,
        r"choose_nodes: picks must be in \[0, 32\), got 32",
        "choose_nodes",
        nodes,
        ((32, 0, -1),),
        flags,
    )
    refuses(
        wrong,
        r"choose_nodes: picks must be in \[0, 2\), got 2",
        "choose_nodes",
        nodes,
        ((0, 0, 2),),
        flags,
    )
    match = r"choose_nodes: flags must have shape \(2, 2\), got \(2, 1\)"
    refuses(wrong, match, "choose_nodes", nodes, ((0, 1, 0),), flags[:, :1])
