"""Sums that blocks share equal the definition bit for bit, and are split where tiles are few."""

import os

import numpy as np
import pytest

from he_gpu.backend import Convolution, Kept, emulator
from he_gpu.backend.definition import conv as conv_definition
from he_gpu.backend.definition import matmul as matmul_definition
from he_gpu.backend.definition.words import RING_32, RING_64, word_dtype
from he_gpu.backend.device import conv, matmul
from he_gpu.backend.device.crossovers import PART_DEPTH
from he_gpu.backend.device.splits import forced, splits
from he_gpu.errors import ArgumentValueError
from tests.backend.ring_words import assert_same, random_words, some_words, to_host

RINGS = (RING_32, RING_64)
PARTS = (2, 3, 7, 40)
"""40 are more than there are steps of depth: the last blocks have nothing to add."""
KERNELS = ("matmul_small", "matmul_limb")


def on(device, *arrays):
    return [device.xp.asarray(array) for array in arrays]


@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_products(kernel_device, kernel, parts, modulus):
    rng = np.random.default_rng(parts)
    for batch, m, k, n in (((), 3, 200, 5), ((3,), 66, 130, 67), ((2, 1), 5, 31, 9)):
        a, b = some_words(rng, (*batch, m, k), modulus), some_words(rng, (k, n), modulus)
        add = some_words(rng, (m, 1), modulus)
        expected = matmul_definition.matmul(a, b, modulus, add=add)
        x, y, z = on(kernel_device, a, b, add)
        out = kernel_device.xp.full(expected.shape, 9, word_dtype(modulus))
        with matmul.forced(kernel), forced(parts):
            assert_same(matmul.matmul(kernel_device, x, y, modulus, add=z), expected)
            matmul.matmul(kernel_device, x, y, modulus, add=z, out=out)
        assert_same(out, expected)


@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("total", [False, True])
def test_pairs_of_products(kernel_device, total, kernel, modulus):
    """Parts begin within a party, a product, or between them; planes that are kept too."""
    rng = np.random.default_rng(1)
    shapes = ((3, 9, 70), (3, 70, 5), (3, 9, 40), (3, 40, 5))
    words = [some_words(rng, shape, modulus) for shape in shapes]
    add = some_words(rng, (3, 9, 5), modulus)
    expected = matmul_definition.matmul_pair(*words, modulus, add=add, total=total)
    a, b, a2, b2, c = on(kernel_device, *words, add)
    pairs = [(a, b, a2, b2)]
    if kernel == "matmul_limb":
        pairs += [(Kept(a), b, Kept(a2), b2), (a, Kept(b), a2, Kept(b2))]
    for parts in PARTS:
        for pair in pairs:
            with matmul.forced(kernel), forced(parts):
                found = matmul.matmul_pair(kernel_device, *pair, modulus, add=c, total=total)
            assert_same(found, expected)


@pytest.mark.parametrize("bits", [8, 16])
def test_small_numbers(kernel_device, bits):
    rng = np.random.default_rng(2)
    half = 2 ** (bits - 1)
    a = some_words(rng, (33, 200), RING_64)
    b = rng.integers(-half, half, (200, 40)).astype(np.uint64)
    expected = matmul_definition.matmul(a, b, RING_64)
    with matmul.forced("matmul_limb"), forced(3):
        found = matmul.matmul(kernel_device, *on(kernel_device, a, b), RING_64, b_bits=bits)
    assert_same(found, expected)


def test_a_part_that_is_too_long_is_summed_in_pieces(kernel_device):
    """Digits that are all -128: 32 bits hold 32,767 products, and a part here has 40,000."""
    lowest = -128 * (2**64 // 255) % RING_64
    a, b = np.full((2, 80_000), lowest, np.uint64), np.full((80_000, 1), lowest, np.uint64)
    a[1] = 1
    expected = [[(80_000 * word * lowest + 5) % RING_64] for word in (lowest, 1)]
    x, y, add = on(kernel_device, a, b, np.full((2, 1), 5, np.uint64))
    with matmul.forced("matmul_limb"), forced(2):
        found = matmul.matmul(kernel_device, x, y, RING_64, add=add)
    assert to_host(found).tolist() == expected


@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("kernel", conv.KERNELS)
@pytest.mark.parametrize("parts", PARTS)
def test_convolutions(kernel_device, parts, kernel, modulus):
    rng = np.random.default_rng(parts)
    convolution = Convolution((1, 2), ((1, 1), (2, 0)), (1, 2), (2, 1), groups=2)
    x, weight = (3, 3, 14, 5, 6), (3, 10, 7, 3, 3)
    words = [some_words(rng, shape, modulus) for shape in (x, weight, x[1:], weight)]
    shape = convolution.result_shape(x, weight)
    add = some_words(rng, (3, *shape), modulus)
    args = on(kernel_device, *words, add)
    with conv.forced(kernel), forced(parts):
        found = conv.conv(kernel_device, *args[:2], convolution, modulus, add=args[4])
        expected = conv_definition.conv(*words[:2], convolution, modulus, add=add)
        assert_same(found, expected)
        for total in (False, True):
            found = conv.conv_pair(
                kernel_device, *args[:4], convolution, modulus, add=args[4], total=total
            )
            expected = conv_definition.conv_pair(*words, convolution, modulus, add=add, total=total)
            assert_same(found, expected)


@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("kernel", conv.KERNELS)
def test_a_weight_gradient(kernel_device, kernel, modulus):
    """Images for channels: windows as large as a result, and few results."""
    rng = np.random.default_rng(3)
    x, gradient = some_words(rng, (8, 5, 9, 9), modulus), some_words(rng, (8, 6, 7, 7), modulus)
    images, windows = x.swapaxes(0, 1), gradient.swapaxes(0, 1)
    expected = conv_definition.conv(images, windows, Convolution(), modulus)
    assert expected.shape == (5, 6, 3, 3)
    there, grad = on(kernel_device, x, gradient)
    with conv.forced(kernel), forced(5):
        args = there.swapaxes(0, 1), grad.swapaxes(0, 1), Convolution(), modulus
        assert_same(conv.conv(kernel_device, *args), expected)


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("order", ["reverse", "random"])
def test_parts_do_not_race_and_come_in_any_order(order, modulus, monkeypatch):
    if "address" in os.environ.get("HE_GPU_EMULATOR_SANITIZERS", ""):
        pytest.skip("this process has AddressSanitizer, which does not join the race detector")
    device = emulator.Emulator(order=order, seed=4, sanitizers="thread")
    for launcher in (matmul, conv):  # a block takes both batches
        monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 1, 65535))
    rng = np.random.default_rng(4)
    a, b = some_words(rng, (2, 5, 140), modulus), some_words(rng, (2, 140, 6), modulus)
    x, weight = some_words(rng, (2, 8, 6, 6), modulus), some_words(rng, (4, 4, 3, 3), modulus)
    groups = Convolution(groups=2)
    for kernel, small in (("matmul_limb", "conv_limb"), ("matmul_small", "conv")):
        with matmul.forced(kernel), conv.forced(small), forced(2):
            found = matmul.matmul(device, a, b, modulus)
            assert_same(found, matmul_definition.matmul(a, b, modulus))
            found = conv.conv(device, x, weight, groups, modulus)
            assert_same(found, conv_definition.conv(x, weight, groups, modulus))


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("multiprocessors", [1, 24, 132])
def test_parts_fill_a_device_once(multiprocessors, monkeypatch):
    monkeypatch.setattr(emulator.Emulator, "multiprocessors", multiprocessors)
    device = emulator.device()
    for blocks in (1, 9, 23, 24, 66, 67, 131, 132, 1000):
        for depth in (0, 1, PART_DEPTH, 2 * PART_DEPTH, 7 * PART_DEPTH + 1, 128 * 56 * 56):
            parts = splits(device, RING_64, blocks, depth, 1)
            assert parts == 1 or parts * blocks <= multiprocessors
            assert parts == 1 or parts * PART_DEPTH <= depth
            more = parts + 1
            assert more * blocks > multiprocessors or more * PART_DEPTH > depth
            assert splits(device, 501337, blocks, depth, 1) == 1
            assert splits(device, RING_64, blocks, depth, 4) >= parts
    # 64 channels, 3 x 3: 9 tiles of limbs on an H100.
    if multiprocessors == 132:
        assert splits(device, RING_64, 9, 128 * 56 * 56, 1) == 14


@pytest.mark.usefixtures("require_emulator")
def test_the_launchers_split_thin_products_with_long_sums(monkeypatch):
    monkeypatch.setattr(emulator.Emulator, "multiprocessors", 132)
    device = emulator.Emulator()
    rng = np.random.default_rng(5)
    grids = []
    start = device._start

    def recorded(kernel, function, grid, *rest):
        grids.append((kernel.name, grid))
        start(kernel, function, grid, *rest)

    monkeypatch.setattr(device, "_start", recorded)

    def ran(modulus, m, k, n):
        a, b = random_words(rng, (k, m), modulus).T, random_words(rng, (k, n), modulus)
        found = matmul.matmul(device, a, b, modulus)
        assert_same(found, matmul_definition.matmul(a, b, modulus))
        return grids.pop()

    assert ran(RING_64, 40, 2048, 12) == ("matmul_small_ring_u64", (2, 1, 8))
    assert ran(RING_64, 40, 511, 12) == ("matmul_small_ring_u64", (2, 1, 1))
    assert ran(501337, 12, 2048, 12) == ("matmul_small_mod_u64", (1, 1, 1))
    # A few tiles of limbs count as many as their parts, from 2^17 results on: 32 of 64 x 64.
    assert ran(RING_64, 64, 32 * PART_DEPTH, 64) == ("matmul_limb_ring_u64", (1, 1, 32))
    assert ran(RING_64, 64, 31 * PART_DEPTH, 64)[0] == "matmul_small_ring_u64"

    x, gradient = (random_words(rng, (8, n, 16, 16), RING_64) for n in (3, 20))
    args = x.swapaxes(0, 1), gradient[..., :14, :14].swapaxes(0, 1), Convolution(), RING_64
    assert_same(conv.conv(device, *args), conv_definition.conv(*args))
    assert grids.pop() == ("conv_ring_u64", (1, 1, 8 * 14 * 14 // PART_DEPTH))


def test_forced_refuses():
    for parts in (0, 65536):
        with (
            pytest.raises(ArgumentValueError, match=rf"parts must be in \[1, 65535\], got {parts}"),
            forced(parts),
        ):
            pass
