"""Exact convolutions: the definition equals Python's integers, and every kernel the definition."""

import itertools
import os
import re

import numpy as np
import pytest

from he_gpu.backend import Convolution, Kept, convolve_reals, emulator, loader
from he_gpu.backend.definition import conv as definition
from he_gpu.backend.definition.words import RING_32, RING_64, word_dtype
from he_gpu.backend.device import conv as launcher
from he_gpu.backend.device import splits
from he_gpu.backend.device.crossovers import LIMB_CROSSOVERS
from he_gpu.backend.emulator import Emulator
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, KernelFaultError
from tests.backend.ring_words import assert_same, random_words, some_words, to_host

RINGS = (RING_32, RING_64)
MODULI = (2, 501337, 2**61 - 1, 2**63, *RINGS)
LOWEST = {RING_32: -128 * (2**32 // 255), RING_64: -128 * (2**64 // 255)}  # digits all -128


def exact(x, weight, convolution):
    """The definition of the definition: sums over places, in Python's integers."""
    x, weight = x.astype(object), weight.astype(object)
    result = np.zeros(convolution.result_shape(x.shape, weight.shape), object)
    per_group = weight.shape[1]
    for b, o, p, q in np.ndindex(*result.shape):
        first = o // (weight.shape[0] // convolution.groups) * per_group
        for i, j in np.ndindex(*weight.shape[2:]):
            places = [
                out * stride + place * dilation - low
                for out, stride, place, dilation, (low, _) in zip(
                    (p, q), convolution.stride, (i, j), convolution.dilation, convolution.padding,
                    strict=True,
                )
            ]  # fmt: skip
            if any(n % apart for n, apart in zip(places, convolution.input_dilation, strict=True)):
                continue
            row, column = (
                n // apart for n, apart in zip(places, convolution.input_dilation, strict=True)
            )
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                seen = x[b, first : first + per_group, row, column]
                result[b, o, p, q] += (seen * weight[o, :, i, j]).sum()
    return result


def random_case(rng):
    """A convolution, and the shapes of images and windows for it."""
    groups, channels, per_group = (int(n) for n in rng.integers(1, 4, 3))
    pair = lambda low, high: tuple(int(n) for n in rng.integers(low, high, 2))  # noqa: E731
    convolution = Convolution(
        pair(1, 4), (pair(-1, 4), pair(-1, 4)), pair(1, 4), pair(1, 4), groups
    )
    x = (int(rng.integers(1, 4)), groups * channels, *pair(1, 8))
    return convolution, x, (groups * per_group, channels, *pair(1, 4))


KINDS = {
    "plain": (Convolution(), (2, 3, 6, 5), (4, 3, 3, 2)),
    "1 x 1": (Convolution(), (3, 5, 4, 4), (2, 5, 1, 1)),
    "one axis": (Convolution((1, 2), ((0, 0), (1, 2))), (2, 3, 1, 20), (4, 3, 1, 5)),
    "strided": (Convolution((2, 3)), (2, 2, 9, 11), (3, 2, 3, 3)),
    "padded": (Convolution(padding=((2, 1), (0, 3))), (1, 2, 4, 4), (3, 2, 3, 3)),
    "cropped": (Convolution(padding=((-1, -2), (-1, 0))), (1, 2, 8, 8), (3, 2, 3, 3)),
    "moved out": (Convolution(padding=((-9, 20), (15, -9))), (1, 2, 5, 5), (3, 2, 2, 2)),
    "dilated": (Convolution(dilation=(2, 3)), (1, 2, 9, 11), (3, 2, 3, 3)),
    "spread": (Convolution(padding=((2, 2), (1, 2)), input_dilation=(2, 3)), (2, 3, 4, 3),
               (5, 3, 3, 3)),
    "groups": (Convolution(groups=3), (2, 6, 5, 5), (9, 2, 2, 3)),
    "depthwise": (Convolution(groups=4, padding=((1, 1), (1, 1))), (2, 4, 5, 5), (4, 1, 3, 3)),
    "larger than the image": (Convolution(padding=((4, 4), (4, 4))), (3, 6, 4, 4), (4, 6, 5, 5)),
    "larger by dilation": (
        Convolution((1, 1), ((3, -1), (7, 4)), (2, 3), (3, 2), 2), (2, 6, 4, 3), (4, 3, 3, 2)
    ),
    "larger, moved out": (Convolution(padding=((-9, 20), (15, -9))), (1, 2, 5, 5), (3, 2, 1, 1)),
    "larger, no channels": (Convolution(padding=((2, 2), (2, 2))), (2, 0, 4, 5), (4, 0, 3, 2)),
    "larger, no windows": (Convolution(padding=((2, 2), (2, 2))), (2, 3, 4, 5), (0, 3, 3, 2)),
    "no batch": (Convolution(), (0, 3, 6, 5), (4, 3, 3, 2)),
    "no result": (Convolution(), (2, 3, 2, 5), (4, 3, 3, 2)),
    "no channels": (Convolution(), (2, 0, 6, 5), (4, 0, 3, 2)),
    "no rows": (Convolution(padding=((1, 2), (1, 1))), (2, 3, 0, 5), (4, 3, 3, 2)),
}  # fmt: skip


def kernels(modulus):
    return launcher.KERNELS if modulus in RINGS else ("conv",)


def check(device, x, weight, convolution, modulus, expected=None, **options):
    """Every kernel gives what the definition gives."""
    if expected is None:
        expected = definition.conv(x, weight, convolution, modulus, **options)
    xp = device.xp
    options = {name: xp.asarray(value) for name, value in options.items()}
    for kernel in kernels(modulus):
        with launcher.forced(kernel):
            args = xp.asarray(x), xp.asarray(weight)
            assert_same(launcher.conv(device, *args, convolution, modulus, **options), expected)


# The definition


@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("kind", KINDS)
def test_definition_equals_integers(kind, modulus):
    convolution, x_shape, weight_shape = KINDS[kind]
    rng = np.random.default_rng(1)
    x, weight = some_words(rng, x_shape, modulus), some_words(rng, weight_shape, modulus)
    expected = exact(x, weight, convolution) % modulus
    found = definition.conv(x, weight, convolution, modulus)
    assert_same(found, expected.astype(word_dtype(modulus)))
    add = some_words(rng, (weight_shape[0], 1, 1), modulus)
    found = definition.conv(x, weight, convolution, modulus, add=add)
    assert_same(found, ((expected + add) % modulus).astype(word_dtype(modulus)))


def test_definition_equals_integers_in_random_geometries():
    rng = np.random.default_rng(2)
    for _ in range(60):
        convolution, x_shape, weight_shape = random_case(rng)
        x, weight = random_words(rng, x_shape, RING_64), random_words(rng, weight_shape, RING_64)
        expected = exact(x, weight, convolution) % RING_64
        assert_same(definition.conv(x, weight, convolution, RING_64), expected.astype(np.uint64))


def test_definition_equals_integers_where_the_result_is_larger_than_the_image():
    """Every word of the image meets every window, and no zero of the padding."""
    rng = np.random.default_rng(9)
    for _ in range(60):
        convolution, x_shape, weight_shape = random_case(rng)
        ends = tuple((int(a), int(b)) for a, b in rng.integers(-2, 9, (2, 2)))
        convolution = convolution._replace(stride=(1, 1), padding=ends)
        x, weight = random_words(rng, x_shape, RING_64), random_words(rng, weight_shape, RING_64)
        expected = exact(x, weight, convolution) % RING_64
        assert_same(definition.conv(x, weight, convolution, RING_64), expected.astype(np.uint64))


@pytest.mark.parametrize("padding", [1, 2])
def test_definition_takes_some_images_at_a_time(monkeypatch, padding):
    rng = np.random.default_rng(3)
    convolution = Convolution(padding=((padding, 1), (padding, 1)), groups=2)
    shapes = ((2, 5, 4, 6, 6), (2, 6, 2, 3, 3), (5, 4, 6, 6), (1, 6, 2, 3, 3))
    words = [random_words(rng, shape, RING_64) for shape in shapes]
    add = random_words(rng, (2, 5, 6, 5 + padding, 5 + padding), RING_64)
    whole = [
        definition.conv_pair(*words, convolution, RING_64, add=add, total=total)
        for total in (False, True)
    ]
    monkeypatch.setattr(definition, "PATCH_WORDS", 1)
    for total in (False, True):
        found = definition.conv_pair(*words, convolution, RING_64, add=add, total=total)
        assert_same(found, whole[total])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(whole[0].sum(axis=0), whole[1])


def test_512_channels_are_exact():
    """Where pieces of floating point numbers fail whose count is chosen from the window alone."""
    rng = np.random.default_rng(4)
    convolution = Convolution(padding=((1, 1), (1, 1)))
    for modulus in RINGS:
        x = random_words(rng, (2, 512, 3, 4), modulus)
        weight = random_words(rng, (5, 512, 3, 3), modulus)
        rows = definition.patches(x.astype(object), convolution, (3, 3))
        assert rows.shape == (1, 2 * 3 * 4, 4608)
        product = rows[0] @ weight.reshape(5, -1).T.astype(object) % modulus
        expected = product.reshape(2, 12, 5).swapaxes(1, 2).reshape(2, 5, 3, 4)
        found = definition.conv(x, weight, convolution, modulus)
        assert_same(found, expected.astype(word_dtype(modulus)))


def test_reals():
    rng = np.random.default_rng(5)
    for _ in range(20):
        convolution, x_shape, weight_shape = random_case(rng)
        x, weight = (rng.integers(-9, 9, shape) for shape in (x_shape, weight_shape))
        expected = exact(x, weight, convolution).astype(np.float64)
        found = convolve_reals(x.astype(np.float64), weight.astype(np.float64), convolution)
        np.testing.assert_array_equal(found, expected)


# The kernels


@pytest.mark.parametrize("modulus", [501337, 2**63, *RINGS])
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_equal_the_definition(kernel_device, kind, modulus):
    convolution, x_shape, weight_shape = KINDS[kind]
    rng = np.random.default_rng(6)
    x, weight = some_words(rng, x_shape, modulus), some_words(rng, weight_shape, modulus)
    check(kernel_device, x, weight, convolution, modulus)
    for shape in ((), (weight_shape[0], 1, 1)):
        check(kernel_device, x, weight, convolution, modulus, add=some_words(rng, shape, modulus))


@pytest.mark.parametrize("modulus", RINGS)
def test_kernels_in_random_geometries(kernel_device, modulus):
    rng = np.random.default_rng(7)
    for _ in range(25):
        convolution, x_shape, weight_shape = random_case(rng)
        x, weight = some_words(rng, x_shape, modulus), some_words(rng, weight_shape, modulus)
        check(kernel_device, x, weight, convolution, modulus)


@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize(
    ("images", "channels", "n_out", "size"),
    [(1, 7, 65, 9), (3, 4, 130, 5), (5, 1, 3, 8), (1, 33, 64, 8), (65, 1, 1, 1)],
)
def test_ragged_tiles(kernel_device, modulus, images, channels, n_out, size):
    """Results beside and beyond the edges of tiles, whose columns span several images."""
    rng = np.random.default_rng(8)
    x = some_words(rng, (images, channels, size, size), modulus)
    weight = some_words(rng, (n_out, channels, 3, 3), modulus)
    convolution = Convolution(padding=((1, 1), (1, 1)))
    check(kernel_device, x, weight, convolution, modulus)


@pytest.mark.parametrize("modulus", RINGS)
def test_words_of_equal_bytes(kernel_device, modulus):
    dtype = word_dtype(modulus)
    words = [byte * ((modulus - 1) // 255) for byte in (0x80, 0xFF, 0x7F, 0x01)]
    words = np.array([*words, LOWEST[modulus] % modulus], np.uint64).astype(dtype)
    n = len(words)
    x = np.broadcast_to(words[:, None, None, None], (n, 40, 3, 3)).copy()
    weight = np.broadcast_to(words[:, None, None, None], (n, 40, 3, 3)).copy()
    expected = [[360 * int(a) * int(b) % modulus for b in words] for a in words]
    expected = np.array(expected, dtype)[:, :, None, None]
    check(kernel_device, x, weight, Convolution(), modulus, expected)


@pytest.mark.parametrize("modulus", RINGS)
def test_512_channels(kernel_device, modulus):
    rng = np.random.default_rng(9)
    x, weight = some_words(rng, (1, 512, 3, 3), modulus), some_words(rng, (3, 512, 3, 3), modulus)
    x[0, :, 0] = 0x8080808080808080 % modulus
    weight[0] = modulus - 1
    check(kernel_device, x, weight, Convolution(padding=((1, 1), (1, 1))), modulus)


@pytest.mark.parametrize("modulus", RINGS)
def test_a_long_sum_is_made_in_pieces(kernel_device, modulus):
    """32 bits hold 32,767 products of the lowest digits; here are 40,000."""
    dtype, lowest = word_dtype(modulus), LOWEST[modulus] % modulus
    x, weight = np.full((1, 4000, 2, 5), lowest, dtype), np.full((2, 4000, 2, 5), lowest, dtype)
    weight[1] = 1
    add = np.full((2, 1, 1), 5, dtype)
    expected = [[[[(40_000 * lowest * w + 5) % modulus]] for w in (lowest, 1)]]
    with splits.forced(1):
        check(kernel_device, x, weight, Convolution(), modulus, np.array(expected, dtype), add=add)


def test_plans_are_those_whose_bounds_are_known():
    texts = (
        (loader.kernel_directory() / f"{name}.cu").read_text(encoding="utf-8")
        for name in ("conv_limb", "matmul_limb")
    )
    plans, known = (set(re.findall(r"typedef LimbPlan<(.*)> Plan;", text)) for text in texts)
    assert len(plans) == 2
    assert plans < known  # of which test_matmul_limb asserts depths and sizes


@pytest.mark.parametrize("modulus", [501337, *RINGS])
@pytest.mark.parametrize("groups", [1, 3])
def test_pairs_in_one_launch(kernel_device, modulus, groups):
    rng = np.random.default_rng(10)
    xp = kernel_device.xp
    convolution = Convolution((2, 1), ((1, 0), (1, 1)), (1, 2), (1, 1), groups)
    x, weight = (2, 2 * groups, 5, 6), (2 * groups, 2, 3, 2)
    result = convolution.result_shape(x, weight)
    # As the protocols call it: d y + a e with public d and e, and x (y + y') + x' y.
    beaver = (x, (2, *weight), (2, *x), weight)
    replicated = ((3, *x), (3, *weight), (3, *x), (3, *weight))
    one = ((1, *x), (1, *weight), (1, *x), (1, *weight))
    batches = ((2, 1, *x), (3, *weight), (1, *x), (2, 3, *weight))
    for shapes, total in itertools.product((beaver, replicated, one, batches), (False, True)):
        words = [some_words(rng, shape, modulus) for shape in shapes]
        leads = np.broadcast_shapes(*(shape[:-4] for shape in shapes))
        add = some_words(rng, (*leads, *result), modulus)
        expected = add.astype(object)
        for index in np.ndindex(*leads):
            for a, b in (words[:2], words[2:]):
                own = (np.broadcast_to(v, (*leads, *v.shape[-4:]))[index] for v in (a, b))
                expected[index] += exact(*own, convolution)
        expected = (expected.sum(axis=0) if total else expected) % modulus
        expected = expected.astype(word_dtype(modulus))
        options = {"modulus": modulus, "total": total}
        found = definition.conv_pair(*words, convolution, add=add, **options)
        assert_same(found, expected)
        for kernel in kernels(modulus):
            with launcher.forced(kernel):
                args = [xp.asarray(v) for v in words]
                found = launcher.conv_pair(
                    kernel_device, *args, convolution, add=xp.asarray(add), **options
                )
                assert_same(found, expected)
                out = xp.empty_like(found)
                args[0] = Kept(args[0])
                again = launcher.conv_pair(kernel_device, *args, convolution, out=out, **options)
                assert again is out
            assert_same(out, definition.conv_pair(*words, convolution, **options))


@pytest.mark.parametrize("modulus", RINGS)
def test_images_are_read_where_they_lie(kernel_device, modulus):
    """Transposed, sliced, turned and repeated images, and windows of any layout."""
    rng = np.random.default_rng(11)
    host = some_words(rng, (8, 9, 10, 11), modulus)
    device = kernel_device.xp.asarray(host)
    weights = some_words(rng, (4, 3, 5, 4), modulus)
    views = (
        lambda a: a[:2, :4, ::2, 1:8],
        lambda a: a.transpose(1, 0, 3, 2)[:, :4],
        lambda a: a[::3, 1::2, ::-1, ::-1],
        lambda a: a.transpose(0, 3, 1, 2)[:, 1:5],
        lambda a: a[:, 0:1].repeat(4, axis=1),
    )
    turns = (
        lambda a: a.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1],
        lambda a: a.transpose(2, 1, 0, 3)[:, [0, 1, 2, 0]],
        lambda a: a[:, [0, 1, 2, 1]].transpose(0, 1, 3, 2),
    )
    convolution = Convolution(padding=((1, 2), (2, 1)))
    for view, turn in itertools.product(views, turns):
        expected = definition.conv(view(host).copy(), turn(weights).copy(), convolution, modulus)
        assert_same(definition.conv(view(host), turn(weights), convolution, modulus), expected)
        for kernel in launcher.KERNELS:
            with launcher.forced(kernel):
                args = view(device), turn(kernel_device.xp.asarray(weights))
                found = launcher.conv(kernel_device, *args, convolution, modulus)
                assert_same(found, expected)
    broadcast = kernel_device.xp.broadcast_to(device[:1], host.shape)
    weight = some_words(rng, (3, 9, 2, 2), modulus)
    expected = definition.conv(host[:1], weight, Convolution(), modulus).repeat(8, axis=0)
    args = broadcast, kernel_device.xp.asarray(weight)
    assert_same(launcher.conv(kernel_device, *args, Convolution(), modulus), expected)


@pytest.mark.parametrize("modulus", RINGS)
def test_a_result_may_take_the_place_of_an_operand(kernel_device, modulus):
    rng = np.random.default_rng(12)
    x, weight = some_words(rng, (1, 3, 5, 5), modulus), some_words(rng, (3, 3, 3, 3), modulus)
    convolution = Convolution(padding=((1, 1), (1, 1)))
    expected = definition.conv(x, weight, convolution, modulus, add=x)
    for kernel in launcher.KERNELS:
        with launcher.forced(kernel):
            out = kernel_device.xp.asarray(x.copy())
            args = out, kernel_device.xp.asarray(weight)
            launcher.conv(kernel_device, *args, convolution, modulus, add=out, out=out)
            assert_same(out, expected)


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("modulus", RINGS)
def test_any_order_of_threads_and_blocks(order, modulus, monkeypatch):
    monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 2, 1))  # a block takes several groups
    rng = np.random.default_rng(13)
    device = Emulator(order=order, seed=13)
    convolution = Convolution((1, 2), ((1, 1), (0, 2)), groups=5)
    x, weight = some_words(rng, (2, 35, 7, 9), modulus), some_words(rng, (10, 7, 3, 3), modulus)
    add = some_words(rng, (10, 1, 1), modulus)
    check(device, x, weight, convolution, modulus, add=add)


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("modulus", RINGS)
def test_tiles_of_limbs_do_not_race(modulus, monkeypatch):
    if "address" in os.environ.get("HE_GPU_EMULATOR_SANITIZERS", ""):
        pytest.skip("this process has AddressSanitizer, which does not join the race detector")
    monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 1, 1))
    rng = np.random.default_rng(14)
    device = Emulator(order="random", seed=14, sanitizers="thread")
    x, weight = some_words(rng, (2, 24, 6, 6), modulus), some_words(rng, (132, 12, 3, 3), modulus)
    with launcher.forced("conv_limb"):
        found = launcher.conv(device, x, weight, Convolution(groups=2), modulus)
    assert_same(found, definition.conv(x, weight, Convolution(groups=2), modulus))


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("is_missing", [True, False])
def test_origins_need_their_barrier(is_missing):
    """The first barrier of a tile's steps lets all threads see where windows begin."""
    if "address" in os.environ.get("HE_GPU_EMULATOR_SANITIZERS", ""):
        pytest.skip("this process has AddressSanitizer, which does not join the race detector")
    directory = loader.kernel_directory()

    def read(name):
        text = (directory / name).read_text(encoding="utf-8")
        if name == "limb_tiles.cuh" and is_missing:
            first = "    block_barrier();  // the results before are still being read\n"
            assert text.count(first) == 1
            text = text.replace(first, "")
        return text

    text = (directory / "conv_limb.cu").read_text(encoding="utf-8")
    device = Emulator(order="random", seed=15, sanitizers="thread")
    device.add_source(loader.parse("conv_limb", text, read_header=read))
    rng = np.random.default_rng(15)
    x, weight = (random_words(rng, shape, RING_64) for shape in ((1, 4, 6, 6), (3, 4, 3, 3)))
    with launcher.forced("conv_limb"):
        if is_missing:
            with pytest.raises(KernelFaultError, match="race in shared memory"):
                launcher.conv(device, x, weight, Convolution(), RING_64)
        else:
            found = launcher.conv(device, x, weight, Convolution(), RING_64)
            assert_same(found, definition.conv(x, weight, Convolution(), RING_64))


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("missing", [None, 0, 1])
def test_every_barrier_of_the_word_tiles_is_needed(missing):
    if "address" in os.environ.get("HE_GPU_EMULATOR_SANITIZERS", ""):
        pytest.skip("this process has AddressSanitizer, which does not join the race detector")
    text = (loader.kernel_directory() / "conv.cu").read_text(encoding="utf-8")
    pieces = text.split("block_barrier();")
    assert len(pieces) == 3
    if missing is not None:
        pieces[missing : missing + 2] = [pieces[missing] + pieces[missing + 1]]
    device = Emulator(order="random", seed=16, sanitizers="thread")
    device.add_source(loader.parse("conv", "block_barrier();".join(pieces)))
    rng = np.random.default_rng(16)
    x, weight = (random_words(rng, shape, RING_64) for shape in ((2, 4, 6, 6), (35, 4, 3, 3)))
    with launcher.forced("conv"):
        if missing is None:
            found = launcher.conv(device, x, weight, Convolution(), RING_64)
            assert_same(found, definition.conv(x, weight, Convolution(), RING_64))
        else:
            with pytest.raises(KernelFaultError, match="race in shared memory"):
                launcher.conv(device, x, weight, Convolution(), RING_64)


@pytest.mark.parametrize("value", [1, 2, 3, 5, 7, 9, 56, 641, 2**16 - 1, 2**30 + 1, 2**31 - 1])
def test_division_by_multiplication(value):
    divisor, multiplier, shift = (int(n) for n in launcher.divisor(value))
    assert divisor == value
    assert 2**31 <= multiplier < 2**32
    rng = np.random.default_rng(value)
    multiples = np.arange(0, 2**31, max(1, 2**31 // 50_000) // value * value + value)
    n = np.concatenate([rng.integers(0, 2**31, 50_000), multiples, multiples - 1, [2**31 - 1]])
    n = n[(n >= 0) & (n < 2**31)].astype(np.uint64)
    found = n * np.uint64(multiplier) >> np.uint64(shift)
    np.testing.assert_array_equal(found, n // np.uint64(value))


@pytest.mark.usefixtures("require_emulator")
def test_shape_ring_and_architecture_choose(monkeypatch):
    device = emulator.device()
    rng = np.random.default_rng(17)

    def ran(modulus, channels, n_out, size, groups=1):
        before = emulator.launches.copy()
        x = random_words(rng, (1, channels, size, size), modulus)
        weight = random_words(rng, (n_out, channels // groups, 3, 3), modulus)
        convolution = Convolution(padding=((1, 1), (1, 1)), groups=groups)
        found = launcher.conv(device, x, weight, convolution, modulus)
        assert_same(found, definition.conv(x, weight, convolution, modulus))
        (kernel,) = emulator.launches - before  # gathers its windows itself
        return kernel

    smaller = {name: bound._replace(results=2**11) for name, bound in LIMB_CROSSOVERS.items()}
    monkeypatch.setattr(launcher, "LIMB_CROSSOVERS", smaller)
    assert ran(RING_64, 8, 32, 8) == "conv_limb_ring_u64"
    assert ran(RING_32, 8, 32, 8) == "conv_limb_ring_u32"
    assert ran(RING_64, 16, 64, 6, groups=2) == "conv_limb_ring_u64"
    assert ran(RING_64, 8, 31, 9) == "conv_ring_u64"
    assert ran(RING_32, 7, 32, 8) == "conv_ring_u32"
    assert ran(501337, 8, 32, 8) == "conv_mod_u64"
    monkeypatch.setattr(emulator.Emulator, "compute_capability", (7, 5))
    assert ran(RING_64, 8, 32, 8) == "conv_ring_u64"


def test_refusals(kernel_device):
    xp = kernel_device.xp
    x, weight = xp.zeros((2, 4, 5, 5), np.uint64), xp.zeros((6, 4, 3, 3), np.uint64)
    message = r"conv: x .* and weight .* must fit for groups = 2, got shapes \(2, 4, 5, 5\) and"
    for family in (definition, None):
        conv = launcher.conv if family is None else family.conv
        first = (kernel_device,) if family is None else ()
        args = (to_host(x), to_host(weight)) if family else (x, weight)
        with pytest.raises(ArgumentValueError, match=message):
            conv(*first, *args, Convolution(groups=2), RING_64)
        with pytest.raises(ArgumentValueError, match="conv: x and weight must have at least 4"):
            conv(*first, args[0][0], args[1], Convolution(), RING_64)
        with pytest.raises(ArgumentValueError, match=r"conv: x .* must fit for groups = 1"):
            conv(*first, args[0], args[1][:, :, :0], Convolution(), RING_64)
        pair = launcher.conv_pair if family is None else family.conv_pair
        with pytest.raises(ArgumentValueError, match="conv_pair: x2 and weight2 must have the las"):
            pair(*first, *args, args[0][:1], args[1], Convolution(), RING_64)
    with pytest.raises(ArgumentTypeError, match="conv: weight must have dtype uint64, got uint32"):
        launcher.conv(kernel_device, x, weight.astype(np.uint32), Convolution(), RING_64)
    with pytest.raises(ArgumentValueError, match="conv_pair: total needs operands"):
        launcher.conv_pair(kernel_device, x, weight, x, weight, Convolution(), RING_64, total=True)
    with pytest.raises(ArgumentValueError, match="conv: strides and dilations must be at most"):
        launcher.conv(kernel_device, x, weight, Convolution((2**31, 1)), RING_64)
    far = Convolution((2**29, 1), padding=((2**29, 2**29), (0, 0)))
    with pytest.raises(ArgumentValueError, match="conv: lines of an image, zeros included, must"):
        launcher.conv(kernel_device, x, weight, far, RING_64)
    with (
        pytest.raises(ArgumentValueError, match=r"forced: kernel must be in .* got 'im2col'"),
        launcher.forced("im2col"),
    ):
        pass
    with (
        launcher.forced("conv_limb"),
        pytest.raises(ArgumentValueError, match=r"serves the moduli 2\^64 and 2\^32, got 501337"),
    ):
        launcher.conv(kernel_device, x, weight, Convolution(), 501337)
