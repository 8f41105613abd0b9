"""Steps of replicated sharing: definitions equal Python's integers, kernels the definitions."""

import numpy as np
import pytest

from he_gpu.backend import get_backend as backend_of
from he_gpu.backend.definition import protocol
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
    return (1, 2) if 2 * bits < modulus.bit_length() - 1 else (2,)


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


@pytest.mark.parametrize(("modulus", "bits", "n_choices"), TRUNCATIONS)
def test_definition_of_dealing(modulus, bits, n_choices):
    """The shares open to floor or floor + 1; the first party's are multiples of 2^(k-1-bits)."""
    rng = np.random.default_rng(bits)
    k, dtype = modulus.bit_length() - 1, word_dtype(modulus)
    values, masks = values_and_masks(rng, bits, k)
    n = len(values)
    first, last = (some_words(rng, n, modulus) for _ in range(2))
    choices = some_words(rng, (n_choices, n), modulus)
    low, top = definition.deal_truncation(np.array(masks, dtype), first, last, choices, bits)
    opened = [(v - m) % modulus for v, m in zip(values, masks, strict=True)]
    parts = protocol.truncate_finish(np.array(opened, dtype), low, top, bits, lead=1)
    assert parts.dtype == low.dtype == top.dtype == dtype
    rounded = set()
    for v, m, word, *words in zip(
        values, masks, opened, *map(ints, (*parts, first, last)), strict=True
    ):
        up = word % 2**bits < (-m - 2 ** (k - 2)) % 2**bits
        rounded.add(up)
        assert sum(words) % modulus == ((v >> bits) + up) % modulus
    assert rounded == {False, True}

    second = ints(choices[-1] if n_choices == 2 else choices[0])
    second = second if n_choices == 2 else [word >> k // 2 for word in second]
    assert ints(top[0]) == [(word << (k - 1 - bits)) % modulus for word in ints(choices[0])]
    assert ints(low[0]) == [(word << (k - 1 - bits)) % modulus for word in second]
    for word in (*ints(top[0]), *ints(low[0])):
        assert word % 2 ** (k - 1 - bits) == 0


@pytest.mark.parametrize(("modulus", "bits", "n_choices"), TRUNCATIONS)
def test_dealt_choices_are_independent(modulus, bits, n_choices):
    """The bits that hide low and those that hide top are different bits of the choices."""
    k, dtype = modulus.bit_length() - 1, word_dtype(modulus)
    zeros = np.zeros(n_choices * k, dtype)
    choices = np.zeros((n_choices, n_choices * k), dtype)
    for bit in range(n_choices * k):
        choices[bit // k, bit] = 1 << bit % k
    low, top = definition.deal_truncation(zeros, zeros, zeros, choices, bits)
    assert np.count_nonzero(low[0]) == np.count_nonzero(top[0]) == bits + 1
    assert not np.logical_and(low[0], top[0]).any()
    for part in (low, top):
        reached = [word for word in ints(part[0]) if word]
        assert sorted(reached) == [1 << bit for bit in range(k - 1 - bits, k)]


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("n_choices", [1, 2])
def test_dealing_in_blocks(n_choices, modulus):
    rng = np.random.default_rng(9)
    shape = (2, BLOCK // 2 + 5)
    mask, first, last = (some_words(rng, shape, modulus) for _ in range(3))
    choices = some_words(rng, (n_choices, *shape), modulus)
    whole = definition.deal_truncation(mask, first, last, choices, 7)
    for row in range(2):
        single = definition.deal_truncation(mask[row], first[row], last[row], choices[:, row], 7)
        for part, expected in zip(whole, single, strict=True):
            assert_same(part[:, row], expected)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("name", ["cpu", "emulator", "cuda"])
def test_dealing_refuses_bits(name, modulus):
    """One choice has two halves of k / 2 bits, and no truncation drops k - 2 bits or more."""
    require_device(name)
    on = backend_of(name)
    k = modulus.bit_length() - 1
    word = on.asarray(np.zeros(3, word_dtype(modulus)))
    for n_choices, bound in ((1, k // 2), (2, k - 2)):
        choices = on.asarray(np.zeros((n_choices, 3), word_dtype(modulus)))
        on.deal_truncation(word, word, word, choices, bound - 1)
        for bits in (-1, 0, bound, k):
            match = (
                rf"deal_truncation: bits must be in \(0, {bound}\) where choices has length "
                f"{n_choices}, got {bits}"
            )
            with pytest.raises(ArgumentValueError, match=match):
                on.deal_truncation(word, word, word, choices, bits)


def on_both(kernel_device, function, *operands):
    """A step of the launcher on device arrays, which must equal the definition's."""
    expected = getattr(definition, function)(*operands)
    moved = [kernel_device.xp.asarray(x) if isinstance(x, np.ndarray) else x for x in operands]
    result = getattr(launcher, function)(kernel_device, *moved)
    if function == "cross_multiply":
        result, expected = (result,), (expected,)
    for part, words in zip(result, expected, strict=True):
        assert_same(part, words)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("parties", [1, 3])
@pytest.mark.parametrize("n", SIZES)
def test_device_products(kernel_device, n, parties, modulus):
    rng = np.random.default_rng(n)
    x, y = (some_words(rng, (parties + 1, n), modulus) for _ in range(2))
    add = some_words(rng, (parties, n), modulus)
    for left, right in ((x, y), (x, x), (x[:, :1], y), (x, y[:, :1]), (x[:, :1], y[:, :1])):
        on_both(kernel_device, "cross_multiply", left, right, add)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("n", SIZES)
def test_device_deals(kernel_device, n, modulus):
    rng = np.random.default_rng(n)
    mask, first, last = (some_words(rng, n, modulus) for _ in range(3))
    for bits in bits_of(modulus):
        for n_choices in n_choices_of(bits, modulus):
            choices = some_words(rng, (n_choices, n), modulus)
            on_both(kernel_device, "deal_truncation", mask, first, last, choices, bits)


@pytest.mark.parametrize("modulus", WRAPPING)
def test_device_on_edge_values(kernel_device, modulus):
    first, second = (np.array(v, word_dtype(modulus)) for v in edge_pairs(modulus))
    x, y = np.stack([first, second]), np.stack([second, first[::-1]])
    on_both(kernel_device, "cross_multiply", x, y, first[np.newaxis, ::-1].copy())
    for bits in bits_of(modulus):
        on_both(kernel_device, "deal_truncation", first, second, first[::-1].copy(), x, bits)


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
    on_both(kernel_device, "deal_truncation", *add, x[:2], 13)
    on_both(kernel_device, "deal_truncation", *add, x[:1], 13)


@pytest.mark.parametrize("modulus", WRAPPING)
def test_device_on_strides(kernel_device, modulus):
    rng = np.random.default_rng(4)
    xp = kernel_device.xp
    x, y, add = (some_words(rng, (rows, 8, 6), modulus) for rows in (4, 4, 3))
    mask, first, last = add
    here = [xp.asarray(v) for v in (x, y, add)]
    for view in (
        lambda v: v[:, ::2],
        lambda v: v[::-1, :, 1:],
        lambda v: v.swapaxes(1, 2),
        lambda v: v[:, 1:],
    ):
        result = launcher.cross_multiply(kernel_device, *map(view, here))
        assert_same(result, definition.cross_multiply(*map(view, (x, y, add))))
        words = view(x[:2]), *(view(v[np.newaxis])[0] for v in (mask, first, last))
        on_device = [xp.asarray(v) for v in (x[:2], mask, first, last)]
        moved = view(on_device[0]), *(view(v[np.newaxis])[0] for v in on_device[1:])
        result = launcher.deal_truncation(kernel_device, *moved[1:], moved[0], 9)
        expected = definition.deal_truncation(*words[1:], words[0], 9)
        for part, demanded in zip(result, expected, strict=True):
            assert_same(part, demanded)


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
    match = rf"{name}: x must have 2 axes, the first of 4, got shape \(3, 5\)"
    refuses(wrong, match, name, x[:3], x, add)
    refuses(wrong, rf"{name}: x must have 2 axes, .* got shape \(1, 5\)", name, x[:1], x, add)
    refuses(wrong, rf"{name}: y must have 2 axes, .* got shape \(4,\)", name, x, x[:, 0], add)
    match = rf"{name}: y must broadcast to \(4, 5\), got \(4, 4\)"
    refuses(wrong, match, name, x, x[:, :4], add)

    name = "deal_truncation"
    operands = {"mask": word, "first": word, "last": word, "choices": choices}
    for label, value in operands.items():
        changed = operands | {label: value.astype(np.int64)}
        refuses(wrong_type, f"{name}: {label} must have dtype", name, *changed.values(), 9)
        if label != "mask":
            changed = operands | {label: value[..., :4]}
            match = rf"{name}: {label} must have shape \((2, )?5,?\), got \((2, )?4,?\)"
            refuses(wrong, match, name, *changed.values(), 9)
    match = rf"{name}: choices must have shape \(2, 5\), got \(3, 5\)"
    refuses(wrong, match, name, word, word, word, add, 9)
    match = rf"{name}: choices must have shape \(parties, ...\) with a party, got \(0, 5\)"
    refuses(wrong, match, name, word, word, word, choices[:0], 9)
    match = rf"{name}: choices must have shape \(2, 5\), got \(5,\)"
    refuses(wrong, match, name, word, word, word, word, 9)
