"""Products by residues equal Python's integers, at the edges of every bound that is derived."""

import itertools
import os
import weakref
from functools import cache
from math import gcd, prod

import numpy as np
import pytest

from he_gpu.backend import Kept, emulator, loader
from he_gpu.backend.definition import matmul as definition
from he_gpu.backend.definition import matmul_residue as residues
from he_gpu.backend.definition.matmul_residue import (
    FRACTION,
    LARGEST_DEPTH,
    MOST_MODULI,
    deepest,
    largest_word,
    moduli,
    modulus_table,
    n_moduli,
    weights,
)
from he_gpu.backend.definition.words import RING_32, RING_64, word_dtype
from he_gpu.backend.device import matmul as launcher
from he_gpu.backend.device import matmul_choice, residue_parts
from he_gpu.backend.device import matmul_residue as kernels
from he_gpu.backend.device.crossovers import RESIDUE_CROSSOVERS
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, KernelFaultError
from tests.backend.ring_words import assert_same, edges, random_words, some_words, to_host

SMALL = (2, 3, 251, 501337, 2**24 + 1, 2**32 - 1, RING_32, 2**32 + 1, 2**63)
LARGE = (2**61 - 1, 2**63 - 25, RING_64)
MODULI = SMALL + LARGE
INNER = (1, 3, 255, 1152, 4608, 11_000, 40_000)


@pytest.fixture
def forced():
    """The launcher takes the kernels of residues whatever the shape."""
    with launcher.forced("matmul_residue"):
        yield


def signed(word, modulus):
    """A word as a number around zero; q / 2 itself is positive, but where words wrap."""
    word = int(word)
    wraps = modulus in (RING_32, RING_64)
    return word - modulus if word > modulus // 2 or (wraps and word == modulus // 2) else word


def exact(a, b, modulus):
    """The product by Python's integers, as words."""
    product = np.asarray(a).astype(object) @ np.asarray(b).astype(object) % modulus
    return product.astype(word_dtype(modulus))


def extremes(modulus):
    """The words that are largest and smallest as numbers around zero."""
    half = modulus // 2
    return half, (half + 1) % modulus if modulus % 2 else (half - 1) % modulus


@cache
def hard_problem(k, modulus):
    """Operands with their product by Python's integers.

    Rows and columns are bytes 0x80, bytes 0xFF, extremes, and random words of the full range.
    """
    rng, dtype = np.random.default_rng(k), word_dtype(modulus)
    kinds = [0x8080808080808080, 2**64 - 1, *extremes(modulus)]
    a = random_words(rng, (len(kinds) + 2, k), modulus)
    for row, word in zip(a, kinds, strict=False):
        row[:] = word % modulus
    b = np.concatenate([a[: len(kinds)], some_words(rng, (2, k), modulus)]).T
    words = a.astype(dtype), np.ascontiguousarray(b, dtype)
    return *words, exact(*words, modulus) if k else np.zeros((len(a), b.shape[1]), dtype)


# ---- the bounds ---------------------------------------------------------------


def test_small_moduli_have_no_common_divisor():
    small = moduli(MOST_MODULI)
    assert small[:6] == (256, 255, 253, 251, 247, 241)
    assert len(small) == MOST_MODULI
    assert all(gcd(p, other) == 1 for p, other in itertools.combinations(small, 2))
    assert list(small) == sorted(small, reverse=True)


def test_how_many_moduli_a_depth_needs():
    assert deepest(RING_64, 18) == 11_213
    assert [n_moduli(RING_64, k) for k in (1, 61, 62, 11_213, 11_214, LARGEST_DEPTH)] == [
        *(17, 17, 18, 18, 19, 19)
    ]
    assert n_moduli(2**61 - 1, 1000) == 17
    assert n_moduli(2**63 - 25, LARGEST_DEPTH) == 19
    assert n_moduli(2**24 + 1, LARGEST_DEPTH) == 9
    for modulus in MODULI:
        assert n_moduli(modulus, LARGEST_DEPTH) <= MOST_MODULI
        for count in range(1, MOST_MODULI + 1):
            depth = deepest(modulus, count)
            # The same bound in other words: |c| / P + (largest error) < 1 / 2.
            error = sum(p - 1 for p in moduli(count))
            for k, fits in ((depth, True), (depth + 1, False)):
                c = k * largest_word(modulus) ** 2
                assert (
                    2 * (c * FRACTION + error * prod(moduli(count)))
                    < FRACTION * prod(moduli(count))
                ) == fits
    assert 128 * 128 * LARGEST_DEPTH < 2**31 <= 128 * 128 * (LARGEST_DEPTH + 1)


def test_depth_is_refused_beyond_what_32_bits_sum():
    with pytest.raises(ArgumentValueError, match=r"depth must be in \[0, 131071\], got 131072"):
        n_moduli(RING_64, LARGEST_DEPTH + 1)
    with pytest.raises(ArgumentValueError, match="got -1"):
        n_moduli(RING_64, -1)


@pytest.mark.parametrize(
    ("modulus", "count"),
    [(q, s) for q in MODULI for s in (1, 2, 9, 17, 18, 19, 20) if deepest(q, s)],
)
def test_join_is_exact_up_to_the_derived_bound(count, modulus):
    depth = deepest(modulus, count)
    c = depth * largest_word(modulus) ** 2
    numbers = [n for edge in (0, 1, c // 2, c - 1, c) for n in (edge, -edge)]
    products = np.array([[n % p for n in numbers] for p in moduli(count)], np.uint8)
    words = residues.join_residues(products[:, None], modulus)
    assert [int(word) for word in words[0]] == [n % modulus for n in numbers]
    # Beyond half of the product of the moduli residues stand for another number.
    whole = prod(moduli(count))
    beyond = np.array([[[3 * whole // 4 % p]] for p in moduli(count)], np.uint8)
    assert residues.join_residues(beyond, modulus) == (3 * whole // 4 - whole) % modulus


@pytest.mark.parametrize("modulus", [501337, 2**61 - 1, RING_32, RING_64])
def test_sums_of_weighed_residues_stay_in_the_words_that_hold_them(modulus):
    for count in range(1, MOST_MODULI + 1):
        *own, last = weights(modulus, count)
        most = [p - 1 for p in moduli(count)]
        times = (sum(r * w.fraction for r, w in zip(most, own, strict=True)) + FRACTION // 2) >> 32
        for part in ("low", "high"):
            total = sum(r * getattr(w, part) for r, w in zip(most, own, strict=True))
            assert total + times * getattr(last, part) < 2**46
        for row in (*own, last):
            assert max(row) < 2**32
        # What ResidueProducts.reduce takes: an upper half below q.
        whole = sum(r * (w.low + (w.high << 32)) for r, w in zip(most, own, strict=True))
        assert (whole + times * (last.low + (last.high << 32))) >> 64 < modulus


@pytest.mark.parametrize("modulus", [3, 2**61 - 1, RING_32, RING_64])
def test_weights_give_numbers_back(modulus):
    """A number c is sum_i c_i v_i - t P, and each v_i / P is rounded down."""
    for count in (1, 2, 9, MOST_MODULI):
        small, whole = moduli(count), prod(moduli(count))
        *own, last = weights(modulus, count)
        assert (last.low + (last.high << 32) + whole) % modulus == last.fraction == 0
        for i, weight in enumerate(own):
            # The multiple of the other moduli that is 1 modulo this one.
            v = next(v for v in range(0, whole, whole // small[i]) if v % small[i] == 1 % small[i])
            assert (weight.low + (weight.high << 32) - v) % modulus == 0
            assert weight.fraction == FRACTION * v // whole


def test_constants_of_the_small_moduli():
    for own in modulus_table(MOST_MODULI):
        p = own.value
        assert own.inverse == 2**32 // p
        assert (own.middle, own.high) == (2**22 % p, 2**44 % p)
        assert (own.shift + 2**63 - own.half) % p == 0
        assert own.bias % p == 0
        assert 2**31 <= own.bias < 2**31 + p
        assert own.bias + 128 * 128 * LARGEST_DEPTH < 2**32
        largest = (2**22 - 1) * (1 + own.middle) + (2**20 - 1) * own.high + own.shift
        assert largest < 2**31


# ---- the definition -----------------------------------------------------------


@pytest.mark.parametrize("modulus", MODULI)
def test_residues_stand_for_the_word(modulus):
    rng = np.random.default_rng(1)
    words = np.append(np.array(edges(modulus), np.uint64), random_words(rng, 40, modulus))
    words = words.astype(word_dtype(modulus))
    for planes in (
        residues.cut_residues(words, modulus, 3),
        residues.cut_residues(words[::-1], modulus, MOST_MODULI)[:, ::-1],
    ):
        for plane, p in zip(planes, moduli(len(planes)), strict=True):
            assert plane.min() >= -(p // 2)
            assert plane.max() <= (p - 1) // 2
            for word, residue in zip(words, plane, strict=True):
                assert (signed(word, modulus) - int(residue)) % p == 0


@pytest.mark.parametrize("modulus", LARGE)
@pytest.mark.parametrize("k", [*INNER, 11_213, 11_214])
def test_definition(k, modulus):
    a, b, expected = hard_problem(k, modulus)
    assert_same(residues.matmul_residue(a, b, modulus), expected)
    assert_same(definition.matmul(a, b, modulus), expected)


@pytest.mark.parametrize("modulus", SMALL)
@pytest.mark.parametrize("k", [0, 1, 3, 255, 4608])
def test_definition_of_other_rings(k, modulus):
    a, b, expected = hard_problem(k, modulus)
    assert_same(residues.matmul_residue(a, b, modulus), expected)


@pytest.mark.parametrize("modulus", [251, *LARGE])
def test_definition_adds_broadcasts_and_splits_the_depth(modulus, monkeypatch):
    rng = np.random.default_rng(2)
    a, b = some_words(rng, (2, 1, 3, 130), modulus), some_words(rng, (4, 130, 5), modulus)
    add = some_words(rng, (4, 1, 5), modulus)
    expected = definition.matmul(a, b, modulus, add=add)
    assert_same(residues.matmul_residue(a, b, modulus, add), expected)
    monkeypatch.setattr(residues, "LARGEST_DEPTH", 50)
    assert_same(residues.matmul_residue(a, b, modulus, add), expected)


# ---- the kernels --------------------------------------------------------------


@pytest.mark.parametrize("modulus", MODULI)
def test_cut(kernel_device, modulus):
    rng = np.random.default_rng(3)
    xp = kernel_device.xp
    host = some_words(rng, (3, 37, 70), modulus)
    words = xp.asarray(host)
    cuts = (np.s_[:], np.s_[0], np.s_[1:, ::2, 3:68:3], np.s_[:, ::-1, :64], np.s_[:, :1, :1])
    for cut in cuts:
        for turned in (False, True):
            view, own = words[cut], host[cut]
            if turned:
                view, own = view.swapaxes(-1, -2), own.swapaxes(-1, -2)
            planes = to_host(kernels.cut_residues(kernel_device, view, modulus, 5))
            assert planes.shape[-1] % kernels.STEP == 0
            assert planes.shape[-1] - own.shape[-1] < kernels.STEP
            assert_same(planes[..., : own.shape[-1]], residues.cut_residues(own, modulus, 5))
            assert not planes[..., own.shape[-1] :].any()
    repeated = xp.broadcast_to(words[0], (4, 37, 70))
    planes = to_host(kernels.cut_residues(kernel_device, repeated, modulus, 2))
    assert planes.shape == (2, 1, 37, 128)
    assert_same(planes[:, 0, :, :70], residues.cut_residues(host[0], modulus, 2))


def multiplied(device, a, b):
    """Products of planes (count, lines, depth), of a and of the transposed b."""
    xp = device.xp
    planes = [xp.asarray(x)[:, None] for x in (a, b)]
    line_steps = [(x.strides[0], 0, 0, x.strides[2]) for x in planes]
    sizes = (1, 1, a.shape[1], b.shape[1])
    piece = kernels.Piece(slice(0, a.shape[2]), slice(0, 0))
    args = [*planes, None, None], [*line_steps, (0,) * 4, (0,) * 4], sizes, piece
    products = to_host(kernels.multiply_residues(device, *args))
    assert not products[..., b.shape[1] :].any()
    return products[:, 0, :, : b.shape[1]]


@pytest.mark.parametrize("shape", [(3, 64, 2), (257, 128, 129), (64, 320, 65), (300, 64, 1)])
def test_multiply(kernel_device, shape):
    rng = np.random.default_rng(4)
    m, k, n = shape
    planes = []
    for lines in (m, n):
        drawn = [rng.integers(-(p // 2), (p + 1) // 2, (lines, k)) for p in moduli(4)]
        planes.append(np.array(drawn, np.int8))
    found = multiplied(kernel_device, *planes)
    assert_same(found, residues.multiply_residues(planes[0], planes[1].swapaxes(1, 2)))


def test_tiles_go_in_groups_of_rows(kernel_device):
    """Ten rows of tiles: eight, column by column, and then two."""
    rng = np.random.default_rng(18)
    a, b = (rng.integers(-128, 128, (1, lines, 64)).astype(np.int8) for lines in (2305, 129))
    assert_same(multiplied(kernel_device, a, b), residues.multiply_residues(a, b.swapaxes(1, 2)))


def test_sums_of_the_largest_residues_fit(kernel_device):
    """131,071 products of 2^14, and as many of -128 * 127, modulo 256, 255 and 253."""
    a = np.full((3, 2, LARGEST_DEPTH + 1), -128, np.int8)
    a[:, 1] = 127
    b = np.full((3, 1, LARGEST_DEPTH + 1), -128, np.int8)
    a[..., -1] = b[..., -1] = 0
    found = multiplied(kernel_device, a, b)
    sums = [LARGEST_DEPTH * 128 * 128, -LARGEST_DEPTH * 128 * 127]
    assert found[..., 0].tolist() == [[total % p for total in sums] for p in moduli(3)]


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", LARGE)
@pytest.mark.parametrize("k", INNER)
def test_hard_operands(kernel_device, k, modulus):
    *words, expected = hard_problem(k, modulus)
    operands = map(kernel_device.xp.asarray, words)
    assert_same(launcher.matmul(kernel_device, *operands, modulus), expected)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", SMALL)
@pytest.mark.parametrize("k", [0, 1, 3, 255, 4608])
def test_hard_operands_of_other_rings(kernel_device, k, modulus):
    *words, expected = hard_problem(k, modulus)
    operands = map(kernel_device.xp.asarray, words)
    assert_same(launcher.matmul(kernel_device, *operands, modulus), expected)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize(("modulus", "count"), [(RING_64, 17), (RING_64, 18), (2**63 - 25, 17)])
def test_true_products_as_large_as_a_count_of_moduli_bears(kernel_device, modulus, count):
    """Up to +-k 2^126: the fraction's sum is as near to a half as it can come."""
    k = deepest(modulus, count)
    assert n_moduli(modulus, k) == count
    high, low = extremes(modulus)
    a = np.array([[high] * k, [low] * k], word_dtype(modulus))
    expected = [[k * x * y % modulus for y in (high, low)] for x in (high, low)]
    xp = kernel_device.xp
    result = launcher.matmul(kernel_device, xp.asarray(a), xp.asarray(a.T.copy()), modulus)
    assert to_host(result).tolist() == expected


def test_pieces_of_the_depth():
    whole = slice(0, LARGEST_DEPTH), slice(0, 0)
    assert list(kernels.pieces(1, LARGEST_DEPTH, 0)) == [whole]
    assert len(list(kernels.pieces(1, LARGEST_DEPTH + 1, 0))) == 2
    assert len(list(kernels.pieces(1, LARGEST_DEPTH // 2, LARGEST_DEPTH // 2 + 1))) == 1
    assert len(list(kernels.pieces(1, LARGEST_DEPTH // 2 + 1, LARGEST_DEPTH // 2 + 1))) == 2
    for parties, k, k2 in ((1, 300_000, 0), (3, 50_000, 0), (3, 5, 131_072), (2, 131_072, 70_000)):
        covered = [np.zeros(k, int), np.zeros(k2, int)]
        for piece in kernels.pieces(parties, k, k2):
            parts = [part.stop - part.start for part in piece]
            assert 0 < parties * sum(parts) <= LARGEST_DEPTH
            for part, place in zip(piece, covered, strict=True):
                assert part.start % kernels.STEP == 0  # where planes may be cut
                place[part] += 1
        assert all((place == 1).all() for place in covered)
    with pytest.raises(ArgumentValueError, match="parties must be at most 2047, got 2048"):
        list(kernels.pieces(2048, 65, 0))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [251, 2**61 - 1, RING_64])
@pytest.mark.parametrize("total", [False, True])
def test_a_long_inner_dimension_is_summed_in_pieces(kernel_device, total, modulus, monkeypatch):
    monkeypatch.setattr(residue_parts, "LARGEST_DEPTH", 300)
    rng = np.random.default_rng(5)
    shapes = ((2, 5, 330), (2, 330, 3), (5, 70), (70, 3))
    words = [some_words(rng, shape, modulus) for shape in shapes]
    add = some_words(rng, (2, 5, 3), modulus)
    xp = kernel_device.xp
    args = [xp.asarray(x) for x in words]
    found = launcher.matmul_pair(kernel_device, *args, modulus, add=xp.asarray(add), total=total)
    assert_same(found, definition.matmul_pair(*words, modulus, add=add, total=total))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("word", [2**63, 2**63 - 1])
def test_parties_and_pairs_count_towards_the_depth(kernel_device, word):
    """61 products as large as they can be fit 17 moduli; twice or three times as many do not."""
    k = deepest(RING_64, 17)
    a = kernel_device.xp.full((3, 1, k), word, np.uint64)
    left, b = Kept(a), a.swapaxes(1, 2)
    none = a[..., :0], b[:, :0]
    for times, more, total in ((1, none, False), (2, (left, b), False), (3, none, True)):
        found = launcher.matmul_pair(kernel_device, left, b, *more, RING_64, total=total)
        expected = [[times * k * word**2 % 2**64]]
        assert to_host(found).tolist() == (expected if total else [expected] * 3)


@pytest.mark.usefixtures("forced")
def test_planes_that_are_kept_serve_pieces_of_the_depth(kernel_device, monkeypatch):
    monkeypatch.setattr(residue_parts, "LARGEST_DEPTH", 130)
    rng, xp, modulus = np.random.default_rng(20), kernel_device.xp, 2**61 - 1
    a, b = some_words(rng, (2, 5, 200), modulus), some_words(rng, (200, 3), modulus)
    expected = definition.matmul(a, b, modulus)
    for kept in itertools.product([False, True], repeat=2):
        operands = [
            Kept(x) if keep else x for x, keep in zip(map(xp.asarray, (a, b)), kept, strict=True)
        ]
        assert_same(launcher.matmul(kernel_device, *operands, modulus), expected)


@pytest.mark.usefixtures("require_emulator", "forced")
def test_one_product_beyond_32_bits():
    """Residues that are all -128 modulo 256: one more than can be summed at once."""
    k = LARGEST_DEPTH + 1
    a, b = np.full((1, k), 128, np.uint64), np.full((k, 1), 128, np.uint64)
    before = emulator.launches["multiply_residues_s8"]
    result = launcher.matmul(emulator.device(), a, b, 257)
    assert result == k * 128 * 128 % 257
    assert emulator.launches["multiply_residues_s8"] == before + 2


# ---- the launcher -------------------------------------------------------------


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [251, RING_32, 2**61 - 1, RING_64])
@pytest.mark.parametrize("layout", ["AB", "ATB", "ABT", "ATBT"])
def test_ragged_shapes_and_layouts(kernel_device, modulus, layout):
    rng = np.random.default_rng(6)
    xp = kernel_device.xp
    for m, k, n in ((1, 31, 1), (17, 64, 65), (63, 65, 16), (257, 5, 129), (2, 200, 300)):
        a, b = some_words(rng, (m, k), modulus), some_words(rng, (k, n), modulus)
        x, y = xp.asarray(a), xp.asarray(b)
        x = xp.ascontiguousarray(x.T).T if "AT" in layout else x
        y = xp.ascontiguousarray(y.T).T if "BT" in layout else y
        assert_same(launcher.matmul(kernel_device, x, y, modulus), definition.matmul(a, b, modulus))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [501337, 2**61 - 1, RING_64])
def test_slices_begin_anywhere(kernel_device, modulus):
    rng = np.random.default_rng(7)
    host = some_words(rng, (80, 81), modulus)
    whole = kernel_device.xp.asarray(host)
    for left, right in (
        (np.s_[1:70, 1:41], np.s_[:40, 3:70]),
        (np.s_[::2, :33], np.s_[:33, ::3]),
        (np.s_[:65, :38:2], np.s_[60:79, ::-1]),
        (np.s_[3:4, :80], np.s_[:, 5:6]),
    ):
        result = launcher.matmul(kernel_device, whole[left], whole[right], modulus)
        assert_same(result, definition.matmul(host[left].copy(), host[right].copy(), modulus))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [501337, RING_32, 2**61 - 1, RING_64])
def test_batches_broadcast_and_add(kernel_device, modulus):
    rng = np.random.default_rng(8)
    xp = kernel_device.xp
    pairs = (((3, 5, 40), (40, 6)), ((5, 4), (3, 4, 70)), ((2, 1, 5, 4), (3, 4, 2)))
    for a_shape, b_shape in pairs:
        a, b = some_words(rng, a_shape, modulus), some_words(rng, b_shape, modulus)
        batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
        m, n = a_shape[-2], b_shape[-1]
        for shape in ((), (n,), (m, 1), (*batch, m, n)):
            add = some_words(rng, shape, modulus)
            x, y, z = (xp.asarray(array) for array in (a, b, add))
            result = launcher.matmul(kernel_device, x, y, modulus, add=z)
            assert_same(result, definition.matmul(a, b, modulus, add=add))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [3, RING_32, 2**63 - 25, RING_64])
def test_pairs_of_all_parties(kernel_device, modulus):
    rng = np.random.default_rng(9)
    xp = kernel_device.xp
    for parties, m, k, n, k2 in ((2, 5, 40, 3, 70), (3, 33, 7, 35, 1), (1, 1, 0, 4, 5)):
        shapes = ((m, k), (parties, k, n), (parties, m, k2), (k2, n))
        words = [some_words(rng, shape, modulus) for shape in shapes]
        add = some_words(rng, (parties, m, n), modulus)
        args = [xp.asarray(x) for x in words]
        for total in (False, True):
            expected = definition.matmul_pair(*words, modulus, add=add, total=total)
            out = xp.empty(expected.shape, expected.dtype)
            before = emulator.launches["multiply_residues_s8"]
            found = launcher.matmul_pair(
                kernel_device, *args, modulus, add=xp.asarray(add), out=out, total=total
            )
            assert found is out
            assert_same(found, expected)
            if xp is np:  # one launch for both products of all parties
                assert emulator.launches["multiply_residues_s8"] == before + 1


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [2**61 - 1, RING_64])
def test_results_may_overlap_operands(kernel_device, modulus):
    rng = np.random.default_rng(10)
    xp = kernel_device.xp
    a, b, add = (some_words(rng, (2, 9, 9), modulus) for _ in range(3))
    expected = definition.matmul(a, b, modulus, add=add)
    for which in range(3):
        arrays = [xp.asarray(x.copy()) for x in (a, b, add)]
        out = arrays[which]
        assert launcher.matmul(kernel_device, *arrays[:2], modulus, add=arrays[2], out=out) is out
        assert_same(out, expected)
    turned = add.swapaxes(1, 2)
    expected = definition.matmul(a, b, modulus, add=turned.copy())
    x, y, out = (xp.asarray(array) for array in (a, b, add.copy()))
    launcher.matmul(kernel_device, x, y, modulus, add=out.swapaxes(1, 2), out=out)
    assert_same(out, expected)


def test_results_are_halved_between_tiles():
    assert kernels.middle((5, 3, 2, 2)) == (-4, 2)
    assert kernels.middle((1, 2, 9999, 9999)) == (-3, 1)
    assert kernels.middle((1, 1000, 900)) == (-2, 512)
    assert kernels.middle((900, 1000)) == (-1, 512)
    assert kernels.middle((257, 128)) == (-2, 256)
    assert kernels.middle((256, 129)) == (-1, 128)
    assert kernels.middle((257, 1000)) == (-1, 512)
    assert kernels.middle((1, 256, 128))[1] == 0


@pytest.fixture
def living(monkeypatch):
    """The bytes of residues that live, before each launch, and the most so far."""
    found = {"now": 0, "most": 0}

    def watched(make):
        def made(*args):
            array = make(*args)
            found["now"] += array.nbytes
            found["most"] = max(found.values())
            weakref.finalize(array, gone, array.nbytes)
            return array

        return made

    def gone(n_bytes):
        found["now"] -= n_bytes

    for name in ("cut_residues", "multiply_residues"):
        monkeypatch.setattr(kernels, name, watched(getattr(kernels, name)))
    return found


@pytest.mark.usefixtures("require_emulator", "forced")
@pytest.mark.parametrize(("modulus", "total"), [(251, False), (251, True), (RING_64, True)])
def test_memory_for_residues_is_bounded(modulus, total, living, monkeypatch):
    rng, device = np.random.default_rng(15), emulator.device()
    shapes = ((2, 2, 260, 70), (2, 1, 70, 130), (260, 130), (2, 2, 130, 130))
    words = [some_words(rng, shape, modulus) for shape in shapes]
    words[2] = np.asfortranarray(words[2])
    add = some_words(rng, (2, 2, 1, 130), modulus)
    expected = definition.matmul_pair(*words, modulus, add=add, total=total)
    words, add = [device.xp.asarray(x) for x in words], device.xp.asarray(add)
    n_planes, launches = n_moduli(modulus, 400), []
    # A single tile, and a step of the depth of both parties, is the least there is.
    least = n_planes * (2 * (256 + 128) * 64 + 256 * 128)
    for limit, depth in ((2**33, LARGEST_DEPTH), (n_planes * 250_000, LARGEST_DEPTH), (1, 130)):
        monkeypatch.setattr(kernels, "RESIDUE_BYTES", limit)
        monkeypatch.setattr(residue_parts, "LARGEST_DEPTH", depth)
        living["most"] = 0
        before = emulator.launches["multiply_residues_s8"]
        found = launcher.matmul_pair(device, *words, modulus, add=add, total=total)
        assert_same(found, expected)
        launches.append(emulator.launches["multiply_residues_s8"] - before)
        assert living["now"] == 0
        assert living["most"] <= max(limit, least)
    assert launches[0] == (1 if total else 2)
    assert launches[0] < launches[1] < launches[2]


@pytest.mark.usefixtures("require_emulator", "forced")
def test_words_that_repeat_take_memory_once(monkeypatch):
    rng, device = np.random.default_rng(21), emulator.device()
    a, b = some_words(rng, (8, 5, 64), 251), some_words(rng, (64, 5), 251)
    expected = definition.matmul(a, b, 251)
    a, b = map(device.xp.asarray, (a, b))
    n_bytes = n_moduli(251, 64) * (8 * 5 * 64 + 5 * 64 + 8 * 5 * 16)
    for limit, launches in ((n_bytes, 1), (n_bytes - 1, 2)):
        monkeypatch.setattr(kernels, "RESIDUE_BYTES", limit)
        before = emulator.launches["multiply_residues_s8"]
        assert_same(launcher.matmul(device, a, b, 251), expected)
        assert emulator.launches["multiply_residues_s8"] == before + launches


@pytest.mark.usefixtures("require_emulator", "forced")
def test_operands_larger_than_the_memory_for_residues_are_not_kept(living, monkeypatch):
    rng, device = np.random.default_rng(16), emulator.device()
    a, b = some_words(rng, (600, 64), RING_64), some_words(rng, (64, 5), RING_64)
    expected = definition.matmul(a, b, RING_64)
    left, right = (Kept(device.xp.asarray(x)) for x in (a, b))
    n_planes = n_moduli(RING_64, 64)
    monkeypatch.setattr(kernels, "RESIDUE_BYTES", n_planes * 600 * 64 - 1)
    assert_same(launcher.matmul(device, left, right, RING_64), expected)
    assert living["now"] == n_planes * 5 * 64  # of b alone
    monkeypatch.setattr(kernels, "RESIDUE_BYTES", n_planes * 600 * 64)
    assert_same(launcher.matmul(device, left, right, RING_64), expected)
    assert living["now"] == n_planes * (600 + 5) * 64


@pytest.mark.usefixtures("forced")
def test_results_in_parts_may_overlap_operands(kernel_device, monkeypatch):
    monkeypatch.setattr(kernels, "RESIDUE_BYTES", 1)
    rng, xp, modulus = np.random.default_rng(17), kernel_device.xp, 251
    a, b = (some_words(rng, (2, 140, 140), modulus) for _ in range(2))
    expected = definition.matmul(a, b, modulus)
    for which in range(2):
        arrays = [xp.asarray(x.copy()) for x in (a, b)]
        assert_same(launcher.matmul(kernel_device, *arrays, modulus, out=arrays[which]), expected)
    turned = xp.asarray(a.copy())
    found = launcher.matmul(
        kernel_device, turned.swapaxes(1, 2), xp.asarray(b), modulus, out=turned
    )
    assert_same(found, definition.matmul(a.swapaxes(1, 2).copy(), b, modulus))


@pytest.mark.usefixtures("require_emulator", "forced")
@pytest.mark.parametrize("modulus", [2**61 - 1, RING_64])
def test_kept_operands_are_cut_once(modulus):
    rng = np.random.default_rng(11)
    device, cut = emulator.device(), "cut_residues_u64"
    a, b = some_words(rng, (2, 20, 90), modulus), some_words(rng, (90, 7), modulus)
    expected = definition.matmul(a, b, modulus)
    turned_expected = definition.matmul(a.swapaxes(1, 2), a, modulus)
    gram = definition.matmul(a, a.swapaxes(1, 2), modulus)
    a, b = map(device.xp.asarray, (a, b))
    left, right = Kept(a), Kept(b)
    for operands, cuts in (
        ((left, b), 2),
        ((left, b), 1),
        ((left, right), 1),
        ((left, right), 0),
        ((a, right), 1),
    ):
        before = emulator.launches[cut]
        assert_same(launcher.matmul(device, *operands, modulus), expected)
        assert emulator.launches[cut] == before + cuts
    # Times its own transpose it needs no other planes.
    turned, before = left.transposed(), emulator.launches[cut]
    assert_same(launcher.matmul(device, left, turned, modulus), gram)
    assert emulator.launches[cut] == before
    # Its transpose is another form, and kept too.
    for cuts in (2, 1):
        before = emulator.launches[cut]
        assert_same(launcher.matmul(device, turned, a, modulus), turned_expected)
        assert emulator.launches[cut] == before + cuts


def test_cut_refuses_other_words(kernel_device):
    words = kernel_device.xp.zeros((2, 2), np.uint32)
    with pytest.raises(ArgumentTypeError, match="cut_residues: words must have dtype uint64"):
        kernels.cut_residues(kernel_device, words, RING_64, 3)


@pytest.mark.usefixtures("require_emulator")
def test_large_products_are_chosen():
    device = emulator.device()

    def serves(modulus, sizes, bits=None):
        return matmul_choice.residues_serve(device, sizes, modulus, bits)

    bound = RESIDUE_CROSSOVERS["ring_u64"]
    n = bound.results // bound.side
    least = (1, 1, bound.side, n, bound.depth, 0)
    assert serves(RING_64, least)
    assert serves(RING_64, (1, 2, bound.side, n, bound.depth // 4, bound.depth // 4))
    assert not serves(RING_64, least, bits=16)
    for i, less in ((2, bound.side - 1), (3, n - 1), (4, bound.depth - 1)):
        assert not serves(RING_64, (*least[:i], less, *least[i + 1 :]))
    assert serves(2**61 - 1, least)
    assert not serves(501337, least)
    assert not serves(RING_32, least)
    assert serves(RING_64, (1, 1, 2**16, 2**16, 2**17, 0))
    assert not serves(RING_64, (1, 1, 2**31, 2**16, 2**17, 0))
    assert serves(RING_64, (1, kernels.MOST_PARTIES, 2**16, 2**16, 2**17, 0))
    assert not serves(RING_64, (1, kernels.MOST_PARTIES + 1, 2**16, 2**16, 2**17, 0))
    with launcher.forced("matmul_limb"):
        assert not serves(RING_64, least)


@pytest.mark.usefixtures("require_emulator")
def test_a_product_past_the_crossover_goes_by_residues():
    rng = np.random.default_rng(12)
    bound = RESIDUE_CROSSOVERS["mod_u64"]
    n = bound.side
    a = random_words(rng, (bound.results // n, bound.depth), 2**61 - 1)
    b = random_words(rng, (bound.depth, n), 2**61 - 1)
    before = emulator.launches["multiply_residues_s8"]
    result = launcher.matmul(emulator.device(), a, b, 2**61 - 1)
    assert emulator.launches["multiply_residues_s8"] == before + 1
    assert_same(result, definition.matmul(a, b, 2**61 - 1))


# ---- orders and races ---------------------------------------------------------


@pytest.mark.usefixtures("require_emulator", "forced")
@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("modulus", [251, RING_64])
def test_a_block_strides_over_batches(order, modulus, monkeypatch):
    monkeypatch.setattr(kernels, "MAX_GRID", (2**31 - 1, 2, 65535))
    rng = np.random.default_rng(13)
    device = emulator.Emulator(order=order, seed=13)
    a, b = some_words(rng, (5, 70, 300), modulus), some_words(rng, (5, 300, 65), modulus)
    add = some_words(rng, (5, 1, 65), modulus)
    result = launcher.matmul(device, a, b, modulus, add=add)
    assert_same(result, definition.matmul(a, b, modulus, add=add))


BARRIERS = ("multiply_residues_s8",) * 4 + ("join_residues_mod_u64",)
"""The kernel that each barrier of byte_residues.cuh belongs to."""


@pytest.mark.usefixtures("require_emulator", "forced")
@pytest.mark.parametrize("missing", [None, *range(len(BARRIERS))])
def test_every_barrier_is_needed(missing, monkeypatch):
    if "address" in os.environ.get("HE_GPU_EMULATOR_SANITIZERS", ""):
        pytest.skip("this process has AddressSanitizer, which does not join the race detector")
    monkeypatch.setattr(kernels, "MAX_GRID", (2**31 - 1, 1, 65535))  # a block takes both batches
    folder = loader.kernel_directory()
    header = (folder / "byte_residues.cuh").read_text(encoding="utf-8")
    pieces = header.split("block_barrier();")
    assert len(pieces) == len(BARRIERS) + 1
    if missing is not None:
        pieces[missing : missing + 2] = [pieces[missing] + pieces[missing + 1]]

    def read(name):
        if name == "byte_residues.cuh":
            return "block_barrier();".join(pieces)
        return (folder / name).read_text(encoding="utf-8")

    device = emulator.Emulator(order="random", seed=14, sanitizers="thread")
    text = (folder / "matmul_residue.cu").read_text(encoding="utf-8")
    device.add_source(loader.parse("matmul_residue", text, read_header=read))
    rng = np.random.default_rng(14)
    a, b = random_words(rng, (2, 70, 70), 251), random_words(rng, (2, 70, 66), 251)
    if missing is None:
        result = launcher.matmul(device, a, b, 251)
        assert_same(result, definition.matmul(a, b, 251))
    else:
        with pytest.raises(KernelFaultError, match="race in shared memory") as caught:
            launcher.matmul(device, a, b, 251)
        assert caught.value.kernel == BARRIERS[missing]


STATED = """
#include "byte_residues.cuh"
static_assert(STAGES * STAGE_BYTES == SHARED_BYTES, "shared_bytes");
static_assert(TILE_ROWS == ROWS && TILE_COLUMNS == COLUMNS && STEP == DEPTH, "tile");
static_assert(MOST_MODULI == MOST && WORDS == CHUNK, "sizes");
extern "C" __global__ void nothing(u32* x) { *x = 1; }
"""


@pytest.mark.usefixtures("require_emulator")
def test_the_launcher_states_the_sizes_of_the_kernels():
    text = STATED.replace("SHARED_BYTES", str(kernels.SHARED_BYTES))
    for name, value in (
        ("== ROWS", kernels.ROWS),
        ("== COLUMNS", kernels.COLUMNS),
        ("== DEPTH", kernels.STEP),
        ("== MOST", MOST_MODULI),
        ("== CHUNK", kernels.CHUNK),
    ):
        text = text.replace(f"{name} ", f"== {value} ").replace(f"{name},", f"== {value},")
    device = emulator.Emulator()
    device.add_source(loader.parse("stated", text))
    done = np.zeros(1, np.uint32)
    device.launch("stated", "nothing", (1,), (1,), (done,))
    assert done[0] == 1
