"""Steps of replicated sharing: definitions equal Python's integers, kernels the definitions."""

import numpy as np
import pytest

from he_gpu.backend import get_backend as backend_of
from he_gpu.backend.definition import replicated as definition
from he_gpu.backend.definition.words import word_dtype
from he_gpu.backend.device import replicated as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import SIZES, WRAPPING, assert_same, edges, ints, some_words
from tests.conftest import require_device

SHAPES = ((), (1,), (4, 6), (2, 3, 5))
BLOCK = definition.BLOCK


def bits_of(modulus):
    """Numbers of dropped bits to test: the ends, and both sides of half a word."""
    k = modulus.bit_length() - 1
    return [bits for bits in (1, 15, 16, 31, 32, 40, k - 3) if bits < k - 2]


def n_choices_of(bits, modulus):
    """How many choices a truncation can have."""
    return (1, 2) if 2 * bits <= modulus.bit_length() - 1 else (2,)


TRUNCATIONS = [
    (modulus, bits, n_choices)
    for modulus in WRAPPING
    for bits in bits_of(modulus)
    for n_choices in n_choices_of(bits, modulus)
]


def replicated_words(rng, n, modulus):
    """Three words whose sum is a secret, word 0 again in a fourth row, and the secrets."""
    words = some_words(rng, (3, n), modulus)
    secrets = [sum(column) % modulus for column in zip(*map(ints, words), strict=True)]
    return words[[0, 1, 2, 0]], secrets


def window(x, y, add, modulus):
    """A single party's share, by Python's integers."""
    (x0, x1), (y0, y1), (z,) = (map(ints, rows) for rows in (x, y, add))
    return [
        (a * (c + d) + b * c + e) % modulus for a, b, c, d, e in zip(x0, x1, y0, y1, z, strict=True)
    ]


def edge_pairs(modulus):
    """Every pair of edge values, as two flat lists."""
    ends = edges(modulus)
    return [a for a in ends for _ in ends], [b for _ in ends for b in ends]


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("n", [*SIZES, BLOCK + 3])
def test_definition_of_the_product(n, modulus):
    rng = np.random.default_rng(n)
    (x, x_secrets), (y, y_secrets) = (replicated_words(rng, n, modulus) for _ in range(2))
    add = some_words(rng, (3, n), modulus)
    shares = definition.cross_multiply(x, y, add)
    assert shares.dtype == word_dtype(modulus)
    columns = zip(*map(ints, add), strict=True)
    expected = [
        (a * b + sum(c)) % modulus for a, b, c in zip(x_secrets, y_secrets, columns, strict=True)
    ]
    assert [sum(column) % modulus for column in zip(*map(ints, shares), strict=True)] == expected
    assert_same(definition.cross_multiply(x[:3], y, add), shares)
    assert_same(definition.cross_multiply(x, y[:3], add), shares)
    add[2] = -(add[0] + add[1])
    unread = add.copy()
    unread[2] = 7
    balanced = definition.cross_multiply(x, y, unread, balance=True)
    assert_same(balanced, definition.cross_multiply(x, y, add))
    assert definition.cross_multiply(x[:3], y[:3], unread, out=unread, balance=True) is unread
    assert_same(unread, balanced)
    add = some_words(rng, (3, n), modulus)
    shares = definition.cross_multiply(x, y, add)
    for p in range(3):
        own, mine = slice(p, p + 2), slice(p, p + 1)
        alone = definition.cross_multiply(x[own], y[own], add[mine])
        assert_same(alone, shares[mine])
        assert ints(alone) == window(x[own], y[own], add[mine], modulus)


@pytest.mark.parametrize("modulus", WRAPPING)
def test_definition_of_the_product_of_edge_values(modulus):
    first, second = (np.array(v, word_dtype(modulus)) for v in edge_pairs(modulus))
    x, y, add = np.stack([first, second]), np.stack([second, first[::-1]]), first[::-1][np.newaxis]
    assert ints(definition.cross_multiply(x, y, add)) == window(x, y, add, modulus)


@pytest.mark.parametrize("modulus", WRAPPING)
def test_definition_of_a_product_that_broadcasts(modulus):
    rng = np.random.default_rng(1)
    x, y = some_words(rng, (4, 3, 1, 5), modulus), some_words(rng, (4, 1, 2, 1), modulus)
    add = some_words(rng, (3, 3, 2, 5), modulus)
    full = [np.array(np.broadcast_to(v, (4, 3, 2, 5))) for v in (x, y)]
    result = definition.cross_multiply(x, y, add)
    assert_same(result, definition.cross_multiply(*full, add))
    taken = add.copy()
    assert definition.cross_multiply(x, y, taken, out=taken) is taken
    assert_same(taken, result)
    assert ints(result[1]) == window(full[0][1:3], full[1][1:3], add[1:2], modulus)


def values_and_masks(rng, bits, k):
    """Values of -2^(k-2) <= v < 2^(k-2) and masks: edges of both in every pair, then any."""
    bound, step = 2 ** (k - 2), 2**bits
    values = {-bound, 1 - bound, -step - 1, -step, 1 - step, -1, 0, 1, step - 1, step, step + 1}
    values |= {bound - 2, bound - 1, bound - step, step - bound}
    # Masks at which r = -mask - 2^(k-2) changes its top bit, or its low bits are 0 or all ones.
    masks = {-bound - r for r in (0, 1, step - 1, step, 2 * bound - 1, 2 * bound, 4 * bound - 1)}
    masks |= {0, 1, -1, bound, -bound, 2 * bound, 2 * bound - 1}
    ends = sorted(v for v in values if -bound <= v < bound)
    pairs = [(v, m % 2**k) for v in ends for m in sorted(masks)]
    others = rng.integers(-bound, bound, 2000), some_words(rng, 2000, 2**k)
    pairs += zip(*map(ints, others), strict=True)
    return [list(column) for column in zip(*pairs, strict=True)]


def dealt(rng, shape, n_choices, modulus):
    """The words of both parties, the choices and the mask for a truncation of some shape."""
    first, last, mask = (some_words(rng, shape, modulus) for _ in range(3))
    return first, last, some_words(rng, (n_choices, *shape), modulus), mask


def first_partys(choices, bits, modulus):
    """The first party's words to add and to take off, by Python's integers."""
    step = 2 ** (modulus.bit_length() - 1 - bits)
    low, high = ints(choices[0]), ints(choices[-1])
    return [[word * step % modulus for word in low], [word // step * step for word in high]]


@pytest.mark.parametrize(("modulus", "bits", "n_choices"), TRUNCATIONS)
def test_definition_of_dealing(modulus, bits, n_choices):
    """The second party's words, both parties' without a mask, and that a mask may come later."""
    rng = np.random.default_rng(bits)
    k, dtype = modulus.bit_length() - 1, word_dtype(modulus)
    _, masks = values_and_masks(rng, bits, k)
    n, step = len(masks), 2 ** (k - bits)
    first, last, choices, copy = dealt(rng, (n,), n_choices, modulus)
    parts = definition.deal_truncation(first, last, choices, bits, np.array(masks, dtype), copy)
    assert parts.dtype == dtype
    assert parts.shape == (2, 1, n)
    assert_same(copy, first)
    own = first_partys(choices, bits, modulus)
    assert all(word % step == 0 for words in own for word in words)
    # What the opened word lacks, for the case that it has its top bit and that it has not.
    hidden = [(-m - 2 ** (k - 2)) % modulus for m in masks]
    for case in (0, 1):
        columns = zip(*(ints(x) for x in (first, last, *parts[:, 0])), *own, hidden, strict=True)
        for x, y, added, taken, first_added, first_taken, r in columns:
            signed = r - modulus if r >> (k - 1) and not case else r
            lacking = -(signed >> bits) - 2 ** (k - 2 - bits) + case * step - x - y
            total = added + first_added - case * (taken + first_taken)
            assert (total - lacking) % modulus == 0
            assert taken % step == 0

    later = definition.deal_truncation(first, last, choices, bits)
    assert later.shape == (2, 2, n)
    assert [ints(words) for words in later[:, 0]] == own
    assert definition.deal_mask(later[:, 1], np.array(masks, dtype), bits) is None
    assert_same(later[:, 1:], parts)


@pytest.mark.parametrize(("modulus", "bits", "n_choices"), TRUNCATIONS)
def test_definition_of_truncation(modulus, bits, n_choices):
    """The parts chosen sum to floor or floor + 1, whoever hosts which party."""
    rng = np.random.default_rng(bits)
    k, dtype = modulus.bit_length() - 1, word_dtype(modulus)
    values, masks = values_and_masks(rng, bits, k)
    first, last, choices, sent = dealt(rng, (len(values),), n_choices, modulus)
    mask = np.array(masks, dtype)
    parts = definition.deal_truncation(first, last, choices, bits, mask)
    opened = [(v - m) % modulus for v, m in zip(values, masks, strict=True)]
    words = sent, np.array(opened, dtype) - sent
    total = definition.choose_truncation(*words, parts, bits, 1, choices)
    assert total.dtype == dtype
    rounded = set()
    columns = zip(values, masks, opened, *map(ints, (total, first, last)), strict=True)
    for v, m, c, *parties in columns:
        up = c % 2**bits < (-m - 2 ** (k - 2)) % 2**bits
        rounded.add(up)
        assert sum(parties) % modulus == ((v >> bits) + up) % modulus
    assert rounded == {False, True}

    own = definition.choose_truncation(*words, None, bits, 1, choices)
    other = definition.choose_truncation(*words, parts, bits, 0)
    assert_same(own + other, total)
    cases = np.array([c >> (k - 1) for c in opened], dtype)
    assert_same(other, parts[0, 0] - cases * parts[1, 0])

    both = definition.deal_truncation(first, last, choices, bits)
    definition.deal_mask(both[:, 1], mask, bits)
    assert_same(definition.choose_truncation(*words, both, bits, 1), total)
    assert_same(definition.choose_truncation(*words, both[:, :1], bits, 1), own)
    target = np.empty_like(total)
    assert definition.choose_truncation(*words, both, bits, 1, out=target) is target
    assert_same(target, total)


@pytest.mark.parametrize(("modulus", "bits", "n_choices"), TRUNCATIONS)
def test_dealt_choices_are_independent(modulus, bits, n_choices):
    """Each bit of the first party's words comes from a bit of the choices of its own."""
    k, dtype = modulus.bit_length() - 1, word_dtype(modulus)
    zeros = np.zeros(n_choices * k, dtype)
    choices = np.zeros((n_choices, n_choices * k), dtype)
    for bit in range(n_choices * k):
        choices[bit // k, bit] = 1 << bit % k
    own = definition.deal_truncation(zeros, zeros, choices, bits)[:, 0]
    assert not np.logical_and(own[0], own[1]).any()
    for words in own:
        reached = [word for word in ints(words) if word]
        assert sorted(reached) == [1 << bit for bit in range(k - bits, k)]


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("n_choices", [1, 2])
def test_truncation_in_blocks(n_choices, modulus):
    rng = np.random.default_rng(9)
    shape = (2, BLOCK // 2 + 5)
    first, last, choices, mask = dealt(rng, shape, n_choices, modulus)
    sent, received, copy = some_words(rng, (3, *shape), modulus)
    whole = definition.deal_truncation(first, last, choices, 7, mask, copy)
    both = definition.deal_truncation(first, last, choices, 7)
    total = definition.choose_truncation(sent, received, whole, 7, 1, choices)
    totals = definition.choose_truncation(sent, received, both, 7, 0)
    assert_same(copy, first)
    for row in range(2):
        words = first[row], last[row], choices[:, row], 7
        assert_same(whole[:, :, row], definition.deal_truncation(*words, mask[row]))
        assert_same(both[:, :, row], definition.deal_truncation(*words))
        words = sent[row], received[row], whole[:, :, row], 7, 1, choices[:, row]
        assert_same(total[row], definition.choose_truncation(*words))
        alone = definition.choose_truncation(sent[row], received[row], both[:, :, row], 7, 0)
        assert_same(totals[row], alone)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("name", ["cpu", "emulator", "cuda"])
def test_dealing_refuses_bits(name, modulus):
    """One choice has two halves of k / 2 bits, and no truncation drops k - 2 bits or more."""
    require_device(name)
    on = backend_of(name)
    k = modulus.bit_length() - 1
    word = on.asarray(np.zeros(3, word_dtype(modulus)))
    for n_choices, bound in ((1, k // 2 + 1), (2, k - 2)):
        choices = on.asarray(np.zeros((n_choices, 3), word_dtype(modulus)))
        on.deal_truncation(word, word, choices, bound - 1)
        for bits in (-1, 0, bound, k):
            match = (
                rf"deal_truncation: bits must be in \(0, {bound}\) where choices has length "
                f"{n_choices}, got {bits}"
            )
            with pytest.raises(ArgumentValueError, match=match):
                on.deal_truncation(word, word, choices, bits)


def on_both(kernel_device, function, *operands):
    """A step of the launcher on device arrays, which must equal the definition's."""
    expected = getattr(definition, function)(*operands)
    words = np.ndarray | np.generic
    moved = [kernel_device.xp.asarray(x) if isinstance(x, words) else x for x in operands]
    assert_same(getattr(launcher, function)(kernel_device, *moved), expected)
    return expected


def truncates_on_both(kernel_device, words, bits, sent):
    """All steps of a truncation, with the mask at once and later, for each party and for both."""
    *public, mask = words
    first, second = sent
    parts = on_both(kernel_device, "deal_truncation", *public, bits, mask)
    later = on_both(kernel_device, "deal_truncation", *public, bits)
    xp = kernel_device.xp
    moved = xp.asarray(later.copy())
    assert launcher.deal_mask(kernel_device, moved[:, 1], xp.asarray(mask), bits) is None
    definition.deal_mask(later[:, 1], mask, bits)
    assert_same(later[:, 1:], parts)
    assert_same(moved, later)
    for lead in (0, 1):
        for kept in (later, later[:, :1], later[:, 1:]):
            on_both(kernel_device, "choose_truncation", first, second, kept, bits, lead)
        for kept in (parts, None):
            on_both(kernel_device, "choose_truncation", first, second, kept, bits, lead, public[2])


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("parties", [1, 3])
@pytest.mark.parametrize("n", SIZES)
def test_device_products(kernel_device, n, parties, modulus):
    rng = np.random.default_rng(n)
    x, y = (some_words(rng, (parties + 1, n), modulus) for _ in range(2))
    add = some_words(rng, (parties, n), modulus)
    for left, right in ((x, y), (x, x), (x[:, :1], y), (x, y[:, :1]), (x[:, :1], y[:, :1])):
        on_both(kernel_device, "cross_multiply", left, right, add)
        if parties == 3:
            for rows in ((3, 3), (3, 4), (4, 3)):
                factors = left[: rows[0]], right[: rows[1]]
                on_both(kernel_device, "cross_multiply", *factors, add, None, rows[0] == 3)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("n", [*SIZES, 1024])
def test_device_truncations(kernel_device, n, modulus):
    rng = np.random.default_rng(n)
    for bits in bits_of(modulus):
        for n_choices in n_choices_of(bits, modulus):
            words, sent = dealt(rng, (n,), n_choices, modulus), some_words(rng, (2, n), modulus)
            truncates_on_both(kernel_device, words, bits, sent)


@pytest.mark.parametrize("modulus", WRAPPING)
def test_device_on_edge_values(kernel_device, modulus):
    first, second = (np.array(v, word_dtype(modulus)) for v in edge_pairs(modulus))
    x, y = np.stack([first, second]), np.stack([second, first[::-1]])
    on_both(kernel_device, "cross_multiply", x, y, first[np.newaxis, ::-1].copy())
    for bits in bits_of(modulus):
        words = first[::-1].copy(), second, x, first
        truncates_on_both(kernel_device, words, bits, (second, first))


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("shape", SHAPES)
def test_device_on_shapes_and_broadcasts(kernel_device, shape, modulus):
    rng = np.random.default_rng(3)
    add = some_words(rng, (3, *shape), modulus)
    x = some_words(rng, (4, *shape), modulus)
    factors = [x, some_words(rng, (4, *(1 for _ in shape)), modulus)]
    if len(shape) > 1:
        factors += [some_words(rng, (4, *shape[:-1], 1), modulus)]
        factors += [some_words(rng, (4, 1, *shape[1:]), modulus)]
    for y in factors:
        on_both(kernel_device, "cross_multiply", x, y, add)
        on_both(kernel_device, "cross_multiply", y, x, add)
    taken = kernel_device.xp.asarray(add.copy())
    on_device = [kernel_device.xp.asarray(v) for v in (x, factors[-1])]
    assert launcher.cross_multiply(kernel_device, *on_device, taken, out=taken) is taken
    assert_same(taken, definition.cross_multiply(x, factors[-1], add))
    if add.size:
        with pytest.raises(ArgumentValueError, match="cross_multiply: out must not overlap x"):
            launcher.cross_multiply(kernel_device, *on_device, taken, out=on_device[0][:3])
    for n_choices in (1, 2):
        words = dealt(rng, shape, n_choices, modulus)
        truncates_on_both(kernel_device, words, 13, some_words(rng, (2, *shape), modulus))
    made = kernel_device.xp.empty((2, *shape), add.dtype)
    copy, target = made[0, ...], made[1, ...]
    moved = [kernel_device.xp.asarray(v) for v in words]
    parts = launcher.deal_truncation(kernel_device, *moved[:3], 13, moved[3], copy)
    assert_same(copy, words[0])
    chosen = moved[0], moved[1], parts, 13, 1, moved[2]
    result = launcher.choose_truncation(kernel_device, *chosen, out=target)
    expected = (*words[:2], definition.deal_truncation(*words[:3], 13, words[3]), 13, 1, words[2])
    assert_same(result, definition.choose_truncation(*expected))
    assert_same(target, result)


@pytest.mark.parametrize("modulus", WRAPPING)
def test_device_on_strides(kernel_device, modulus):
    rng = np.random.default_rng(4)
    xp = kernel_device.xp
    x, y, add = (some_words(rng, (rows, 8, 6), modulus) for rows in (4, 4, 3))
    here = [xp.asarray(v) for v in (x, y, add)]
    for view in (
        lambda v: v[:, ::2],
        lambda v: v[::-1, :, 1:],
        lambda v: v.swapaxes(1, 2),
        lambda v: v[:, 1:],
    ):
        result = launcher.cross_multiply(kernel_device, *map(view, here))
        assert_same(result, definition.cross_multiply(*map(view, (x, y, add))))
        # Both choices or one, then single words, each a row of a view.
        for n_choices in (1, 2):
            host, moved = (
                (*view(v)[:2], view(u)[:n_choices], 9, view(v)[2])
                for v, u in ((add, x), (here[2], here[0]))
            )
            result = launcher.deal_truncation(kernel_device, *moved)
            assert_same(result, definition.deal_truncation(*host))


@pytest.mark.parametrize("modulus", WRAPPING)
def test_device_on_parts_that_lie_apart(kernel_device, modulus):
    """Parts made in bulk, of one party, out of order, and with rows that start anywhere."""
    rng = np.random.default_rng(5)
    xp = kernel_device.xp
    for shape in ((3, 8), (5, 3), (1, 1)):
        bulk = some_words(rng, (2, 2, 3, *shape), modulus)
        mask, *sent = some_words(rng, (3, *shape), modulus)
        for view in (
            lambda v: v[:, :, 1],
            lambda v: v[:, :1, 2],
            lambda v: v[:, ::-1, 1],
            lambda v: v[::-1, :, 1],
            lambda v: v[:, :, 1, ::-1],
            lambda v: v[:, :, 1, :1].repeat(v.shape[3], axis=2),
        ):
            words = *map(xp.asarray, sent), view(xp.asarray(bulk)), 9, 1
            result = launcher.choose_truncation(kernel_device, *words)
            assert_same(result, definition.choose_truncation(*sent, view(bulk), 9, 1))
        on_device = xp.asarray(bulk.copy())
        launcher.deal_mask(kernel_device, on_device[:, 1, 1], xp.asarray(mask), 9)
        definition.deal_mask(bulk[:, 1, 1], mask, 9)
        assert_same(on_device, bulk)  # the words of others are as they were

    for start in (0, 1, 2):  # rows of 1024 words, whose step is odd, from any word
        base, mask = some_words(rng, (2, 1027), modulus), some_words(rng, 1024, modulus)
        part, on_device = slice(start, start + 1024), xp.asarray(base.copy())
        words = xp.asarray(mask), xp.asarray(mask), on_device[:, None, part], 9, 1
        result = launcher.choose_truncation(kernel_device, *words)
        assert_same(result, definition.choose_truncation(mask, mask, base[:, None, part], 9, 1))
        launcher.deal_mask(kernel_device, on_device[:, part], xp.asarray(mask), 9)
        definition.deal_mask(base[:, part], mask, 9)
        assert_same(on_device, base)


def test_device_refuses(kernel_device):
    xp = kernel_device.xp
    x, add = xp.zeros((4, 5), np.uint64), xp.zeros((3, 5), np.uint64)
    word, choices = xp.zeros(5, np.uint64), xp.zeros((2, 5), np.uint64)

    def refuses(error, match, function, *operands):
        with pytest.raises(error, match=match):
            getattr(launcher, function)(kernel_device, *operands)

    wrong, wrong_type = ArgumentValueError, ArgumentTypeError
    name = "cross_multiply"
    match = f"{name}: add must have dtype uint64 or uint32, got int64"
    refuses(wrong_type, match, name, x, x, add.astype(np.int64))
    match = f"{name}: y must have dtype uint64, got uint32"
    refuses(wrong_type, match, name, x, x.astype(np.uint32), add)
    refuses(wrong_type, f"{name}: x must be an array of", name, [[0]], x, add)
    match = rf"{name}: add must have shape \(parties, ...\) with a party, got \(0, 5\)"
    refuses(wrong, match, name, x[:1], x[:1], add[:0])
    match = rf"{name}: x must have 2 axes, the first of 4, got shape \(2, 5\)"
    refuses(wrong, match, name, x[:2], x, add)
    refuses(wrong, rf"{name}: y must have 2 axes, the first of 3", name, x[:3], x, add[:2])
    refuses(wrong, rf"{name}: x must have 2 axes, .* got shape \(1, 5\)", name, x[:1], x, add)
    refuses(wrong, rf"{name}: y must have 2 axes, .* got shape \(4,\)", name, x, x[:, 0], add)
    match = rf"{name}: y must broadcast to \(4, 5\), got \(4, 4\)"
    refuses(wrong, match, name, x, x[:, :4], add)

    name = "deal_truncation"
    match = f"{name}: first must have dtype uint64 or uint32, got int64"
    refuses(wrong_type, match, name, word.astype(np.int64), word, choices, 9)
    refuses(wrong_type, f"{name}: first must have dtype", name, [0], word, choices, 9)
    for label, index in (("last", 1), ("choices", 2), ("mask", 4)):
        operands = [word, word, choices, 9, word]
        whole, operands[index] = operands[index], operands[index].astype(np.uint32)
        refuses(wrong_type, f"{name}: {label} must have dtype uint64, got", name, *operands)
        operands[index] = whole[..., :4]
        match = rf"{name}: {label} must have shape \((2, )?5,?\), got \((2, )?4,?\)"
        refuses(wrong, match, name, *operands)
    match = rf"{name}: choices must have shape \(2, 5\), got \(3, 5\)"
    refuses(wrong, match, name, word, word, add, 9)
    match = rf"{name}: choices must have shape \(parties, ...\) with a party, got \(0, 5\)"
    refuses(wrong, match, name, word, word, choices[:0], 9)
    match = rf"{name}: choices must have shape \(2, 5\), got \(5,\)"
    refuses(wrong, match, name, word, word, word, 9)
    match = f"{name}: copy must not overlap last"
    refuses(wrong, match, name, word + word, word, choices, 9, word + word, word)
    match = rf"{name}: copy must have shape \(5,\), got \(4,\)"
    refuses(wrong, match, name, word, word, choices, 9, word, word[:4])


def test_device_refuses_masks_and_parts(kernel_device):
    xp = kernel_device.xp
    word, parts = xp.zeros(6, np.uint64), xp.zeros((2, 2, 6), np.uint64)
    rest = parts[:, 1]

    def refuses(error, match, function, *operands):
        with pytest.raises(error, match=match):
            getattr(launcher, function)(kernel_device, *operands)

    wrong, wrong_type = ArgumentValueError, ArgumentTypeError
    name = "deal_mask"
    match = f"{name}: mask must have dtype uint64 or uint32, got int64"
    refuses(wrong_type, match, name, rest, word.astype(np.int64), 9)
    match = f"{name}: rest must have dtype uint64, got uint32"
    refuses(wrong_type, match, name, rest.astype(np.uint32), word, 9)
    refuses(wrong_type, f"{name}: rest must be an array of", name, [[0] * 6] * 2, word, 9)
    for other in (rest[:1], rest[:, :5], parts):
        refuses(wrong, rf"{name}: rest must have shape \(2, 6\), got", name, other, word, 9)
    wide = xp.zeros((2, 12), np.uint64)
    overlapping = xp.broadcast_to(xp.zeros(6, np.uint64), (2, 6))
    for other in (wide[:, ::2], rest[::-1], rest[:, ::-1], overlapping):
        match = f"{name}: rest must be aligned, its two rows contiguous, the second after the first"
        refuses(wrong, match, name, other, word, 9)
    refuses(wrong, f"{name}: mask must not overlap rest", name, rest, rest[1], 9)
    for bits in (-1, 0, 62, 64):
        refuses(wrong, rf"{name}: bits must be in \(0, 62\), got {bits}", name, rest, word, bits)

    name = "choose_truncation"
    match = f"{name}: first must have dtype uint64 or uint32, got int64"
    refuses(wrong_type, match, name, word.astype(np.int64), word, parts, 9, 1)
    match = f"{name}: second must have dtype uint64, got uint32"
    refuses(wrong_type, match, name, word, word.astype(np.uint32), parts, 9, 1)
    match = f"{name}: parts must have dtype uint64, got uint32"
    refuses(wrong_type, match, name, word, word, parts.astype(np.uint32), 9, 1)
    for other in (parts[:1], parts[:, :0], parts[..., :5], rest, word, parts[..., None]):
        match = rf"{name}: parts must have shape \(2, parties, ...\) for words of shape \(6,\)"
        refuses(wrong, match, name, word, word, other, 9, 1)
    for bits in (-1, 0, 62, 64):
        match = rf"{name}: bits must be in \(0, 62\), got {bits}"
        refuses(wrong, match, name, word, word, parts, bits, 1)
    refuses(wrong, f"{name}: lead must be 0 or 1, got 2", name, word, word, parts, 9, 2)
    match = f"{name}: parts must be given where choices are not"
    refuses(wrong, match, name, word, word, None, 9, 1)
    match = rf"{name}: bits must be in \(0, 33\) where choices has length 1, got 33"
    refuses(wrong, match, name, word, word, rest[:, None], 33, 1, word[None])
    match = rf"{name}: choices must have shape \(2, 6\), got \(3, 6\)"
    refuses(wrong, match, name, word, word, None, 9, 1, xp.zeros((3, 6), np.uint64))
    match = f"{name}: out must not overlap parts"
    refuses(wrong, match, name, word, word, parts, 9, 1, None, parts[0, 0])
