"""Products with kept operands: planes are cut once, and results equal those of plain words."""

import itertools
import os

import numpy as np
import pytest

from he_gpu.backend import Kept, emulator, loader
from he_gpu.backend.definition import matmul as definition
from he_gpu.backend.definition.words import RING_32, RING_64, word_dtype
from he_gpu.backend.device import matmul as launcher
from he_gpu.backend.device import matmul_choice
from he_gpu.backend.device.crossovers import LIMB_CROSSOVERS
from he_gpu.backend.device.matmul_kept import planes
from he_gpu.backend.device.matmul_limb import DEPTH, limb_kernel
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, KernelFaultError
from tests.backend.ring_words import assert_same, some_words, to_host

RINGS = (RING_32, RING_64)
NAMES = {RING_32: "ring_u32", RING_64: "ring_u64"}


@pytest.fixture
def limbs():
    """The launcher takes the limb kernel whatever the shape."""
    with launcher.forced("matmul_limb"):
        yield


def launched(run):
    """Run a function; return its result and the launches on the emulator meanwhile."""
    before = emulator.launches.copy()
    result = run()
    return result, dict(emulator.launches - before)


def digits(words, modulus):
    """Balanced digits base 256 by Python's integers, as (digit, *words.shape) int8."""
    count = {RING_32: 4, RING_64: 8}[modulus]
    rest, cut = words.astype(object), []
    for _ in range(count):
        digit = (rest + 128) % 256 - 128
        rest = (rest - digit) // 256
        cut.append(digit)
    return np.array(cut, dtype=np.int8)


def place_in_plane(line, depth):
    """Where a byte lies in a plane, as limb_staging.cuh says."""
    half = (line % 4 * 2 + depth // 16) ^ (line // 4 % 4)
    return line // 4 * 128 + half * 16 + depth % 16


@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("is_turned", [False, True])
def test_planes_hold_the_digits_where_the_kernel_reads_them(kernel_device, modulus, is_turned):
    rng = np.random.default_rng(1)
    m, k = 131, 70
    words = some_words(rng, (2, m, k), modulus)
    edges = [0x80, 0xFF, 0x7F]
    words[0, :3, 0] = [byte * ((modulus - 1) // 255) for byte in edges]
    on_device = kernel_device.xp.asarray(words)
    if is_turned:
        on_device = kernel_device.xp.asarray(words.swapaxes(1, 2).copy()).swapaxes(1, 2)
    kernel = limb_kernel(modulus, kept=True)
    view = planes(kernel_device, on_device, modulus)
    tiles, steps = -(-m // kernel.rows), -(-k // DEPTH)
    assert view.shape == (2, tiles, steps)
    assert view.strides == (
        tiles * steps * kernel.plane_bytes,
        *np.array([steps, 1]) * kernel.plane_bytes,
    )
    stored = to_host(view.base).reshape(2, tiles, steps, kernel.digits[0], kernel.rows * DEPTH)
    padded = np.zeros((2, tiles * kernel.rows, steps * DEPTH), words.dtype)
    padded[:, :m, :k] = words
    line, depth = np.indices((kernel.rows, DEPTH))
    place = place_in_plane(line, depth)
    assert sorted(place.ravel()) == list(range(kernel.rows * DEPTH))
    expected = digits(padded, modulus)
    for batch, tile, step in np.ndindex(2, tiles, steps):
        rows = slice(tile * kernel.rows, (tile + 1) * kernel.rows)
        part = expected[:, batch, rows, step * DEPTH : (step + 1) * DEPTH]
        found = stored[batch, tile, step][:, place].view(np.int8)
        np.testing.assert_array_equal(found, part)


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("layout", ["AB", "ATB", "ABT", "ATBT"])
def test_ragged_shapes_and_layouts(kernel_device, modulus, layout):
    rng = np.random.default_rng(3)
    sides = (1, 17, 65, 129)
    for i, (m, n) in enumerate(itertools.product(sides, sides)):
        k = (1, 31, 33, 64, 255)[i % 5]
        a, b = some_words(rng, (m, k), modulus), some_words(rng, (k, n), modulus)
        xp = kernel_device.xp
        x = xp.asarray(a.T.copy()).T if "AT" in layout else xp.asarray(a)
        y = xp.asarray(b.T.copy()).T if "BT" in layout else xp.asarray(b)
        expected = definition.matmul(a, b, modulus)
        assert_same(launcher.matmul(kernel_device, Kept(x), y, modulus), expected)
        assert_same(launcher.matmul(kernel_device, x, Kept(y), modulus), expected)
        assert_same(launcher.matmul(kernel_device, Kept(x), Kept(y), modulus), expected)


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("k", [1, 31, 33, 255, 1152])
def test_words_of_equal_bytes(kernel_device, modulus, k):
    xp, dtype = kernel_device.xp, word_dtype(modulus)
    words = [byte * ((modulus - 1) // 255) for byte in (0x80, 0xFF, 0x7F, 0x01)]
    a = xp.asarray(np.repeat(np.array(words, dtype)[:, None], k, axis=1))
    expected = [[k * x * y % modulus for y in words] for x in words]
    for left, right in ((Kept(a), a.T), (a, Kept(a.T))):
        result = launcher.matmul(kernel_device, left, right, modulus)
        assert to_host(result).tolist() == expected


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", RINGS)
def test_strided_operands_are_cut_without_a_copy(kernel_device, modulus):
    rng = np.random.default_rng(4)
    host = some_words(rng, (90, 91), modulus)
    whole = kernel_device.xp.asarray(host)
    cuts = (
        (np.s_[1:70, 1:41], np.s_[:40, 3:70]),
        (np.s_[::2, :33], np.s_[:33, ::3]),
        (np.s_[:65, :38:2], np.s_[60:79, ::-1]),
        (np.s_[3:4, :80], np.s_[:80, 5:6]),
    )
    for left, right in cuts:
        expected = definition.matmul(host[left].copy(), host[right].copy(), modulus)
        x, y = whole[left], whole[right]
        assert_same(launcher.matmul(kernel_device, Kept(x), y, modulus), expected)
        assert_same(launcher.matmul(kernel_device, x, Kept(y), modulus), expected)
        turned = launcher.matmul(kernel_device, Kept(y.T), x.T, modulus)
        assert_same(turned, expected.T)


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", RINGS)
def test_batches_broadcast_and_add(kernel_device, modulus):
    rng = np.random.default_rng(5)
    xp = kernel_device.xp
    shapes = (
        ((3, 5, 40), (40, 6)),
        ((5, 4), (3, 4, 70)),
        ((2, 1, 5, 4), (3, 4, 2)),
        ((2, 3, 5, 4), (3, 4, 2)),
    )
    for a_shape, b_shape in shapes:
        a, b = some_words(rng, a_shape, modulus), some_words(rng, b_shape, modulus)
        batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
        x, y = xp.asarray(a), xp.asarray(b)
        for shape in ((), (a_shape[-2], 1), (*batch, a_shape[-2], b_shape[-1])):
            add = some_words(rng, shape, modulus)
            expected = definition.matmul(a, b, modulus, add=add)
            for left, right in ((Kept(x), y), (x, Kept(y))):
                out = xp.empty(expected.shape, expected.dtype)
                z = xp.asarray(add)
                result = launcher.matmul(kernel_device, left, right, modulus, add=z, out=out)
                assert result is out
                assert_same(out, expected)


@pytest.mark.usefixtures("require_emulator", "limbs")
@pytest.mark.parametrize("modulus", RINGS)
def test_planes_are_cut_once_for_each_distinct_batch(modulus):
    rng, device = np.random.default_rng(6), emulator.device()
    cut, product = f"cut_planes_{NAMES[modulus]}", f"matmul_limb_kept_{NAMES[modulus]}"
    # A masked data matrix on the left: d opened, a mask of each party.
    d, a = some_words(rng, (70, 40), modulus), some_words(rng, (3, 70, 40), modulus)
    kept_d, kept_a = Kept(d), Kept(a)
    for i in range(3):
        y, e = some_words(rng, (3, 40, 5), modulus), some_words(rng, (40, 5), modulus)
        c = some_words(rng, (3, 70, 5), modulus)
        result, ran = launched(
            lambda y=y, e=e, c=c, i=i: launcher.matmul_pair(
                device, kept_d, y, kept_a, e, modulus, add=c, total=i == 2
            )
        )
        assert_same(result, definition.matmul_pair(d, y, a, e, modulus, add=c, total=i == 2))
        assert ran == ({cut: 2, product: 1} if i == 0 else {product: 1})
    rows = limb_kernel(modulus, kept=True).rows
    assert kept_d.form("planes", None).shape == (-(-70 // rows), 2)
    assert kept_a.form("planes", None).shape == (3, -(-70 // rows), 2)
    repeated = Kept(np.broadcast_to(d, (3, 70, 40)))
    y = some_words(rng, (3, 40, 5), modulus)
    assert_same(launcher.matmul(device, repeated, y, modulus), definition.matmul(d, y, modulus))
    assert repeated.form("planes", None).shape == (1, -(-70 // rows), 2)
    # The same matrix on the right: x (parties, 4, 40) times the transpose of the data.
    x, b = some_words(rng, (3, 4, 40), modulus), some_words(rng, (4, 40), modulus)
    right = (kept_d.transposed(), kept_a.transposed())
    result, ran = launched(lambda: launcher.matmul_pair(device, x, right[0], b, right[1], modulus))
    assert_same(result, definition.matmul_pair(x, d.T, b, a.swapaxes(1, 2), modulus))
    assert ran == {product: 1}  # with the planes of d and a, cut above


@pytest.mark.parametrize("modulus", [501337, RING_32, RING_64])
def test_other_mixtures_and_kernels_take_the_words(kernel_device, modulus, monkeypatch):
    rng = np.random.default_rng(7)
    xp = kernel_device.xp
    shapes = ((9, 40), (2, 40, 7), (2, 9, 33), (33, 7))
    words = [some_words(rng, shape, modulus) for shape in shapes]
    on_device = [xp.asarray(x) for x in words]
    expected = definition.matmul_pair(*words, modulus)

    def no_planes(*_):
        raise AssertionError("planes are cut")

    monkeypatch.setattr(launcher, "with_planes", no_planes)
    for kernel in (*launcher.KERNELS, None):
        for mask in itertools.product([False, True], repeat=4):
            one_side = (mask[0] and mask[2]) or (mask[1] and mask[3])
            if kernel == "matmul_limb" and one_side and modulus != 501337:
                continue
            operands = [Kept(x) if kept else x for x, kept in zip(on_device, mask, strict=True)]
            if kernel is None:
                result = launcher.matmul_pair(kernel_device, *operands, modulus)
            else:
                with launcher.forced(kernel):
                    result = launcher.matmul_pair(kernel_device, *operands, modulus)
            assert_same(result, expected)
    with launcher.forced("matmul_limb"):
        # A public factor of few bits has a kernel of its own, and without depth there is nothing.
        a, b = Kept(on_device[0]), xp.ones((40, 3), word_dtype(modulus))
        result = launcher.matmul(kernel_device, a, b, modulus, b_bits=8)
        assert_same(result, definition.matmul(words[0], np.ones_like(to_host(b)), modulus))
        empty = Kept(on_device[0][:, :0]), b[:0]
        assert not to_host(launcher.matmul(kernel_device, *empty, modulus)).any()
        result = launcher.matmul_pair(kernel_device, a, b, *empty, modulus)
        assert_same(result, definition.matmul(words[0], np.ones_like(to_host(b)), modulus))


@pytest.mark.usefixtures("require_emulator")
def test_shape_and_architecture_choose_planes(monkeypatch):
    bounds = {name: x._replace(results=2**12) for name, x in LIMB_CROSSOVERS.items()}
    monkeypatch.setattr(matmul_choice, "LIMB_CROSSOVERS", bounds)
    rng, device = np.random.default_rng(8), emulator.device()
    for modulus in RINGS:
        b = some_words(rng, (64, 64), modulus)
        for a_shape, kernels in (
            ((2, 64, 64), {"cut_planes", "matmul_limb_kept"}),
            ((4, 20, 64), {"matmul_limb"}),
            ((4, 64), {"matmul_thin"}),
        ):
            a = some_words(rng, a_shape, modulus)
            result, ran = launched(
                lambda a=a, b=b, q=modulus: launcher.matmul(device, Kept(a), b, q)
            )
            assert_same(result, definition.matmul(a, b, modulus))
            assert set(ran) == {f"{kernel}_{NAMES[modulus]}" for kernel in kernels}
    monkeypatch.setattr(emulator.Emulator, "compute_capability", (7, 5))
    _, ran = launched(lambda: launcher.matmul(device, Kept(b), b, RING_64))
    assert set(ran) == {"matmul_small_ring_u64"}


@pytest.mark.usefixtures("require_emulator", "limbs")
@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("order", ["reverse", "random"])
def test_a_block_strides_over_batches_and_tiles(order, modulus, monkeypatch):
    monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 2, 1))
    rng = np.random.default_rng(9)
    device = emulator.Emulator(order=order, seed=9)
    a, b = some_words(rng, (5, 70, 100), modulus), some_words(rng, (5, 100, 65), modulus)
    add = some_words(rng, (5, 1, 65), modulus)
    expected = definition.matmul(a, b, modulus, add=add)
    assert_same(launcher.matmul(device, Kept(a), b, modulus, add=add), expected)
    assert_same(launcher.matmul(device, a, Kept(b), modulus, add=add), expected)


@pytest.mark.usefixtures("require_emulator", "limbs")
def test_a_long_inner_dimension_is_summed_in_pieces():
    # 32,767 is the longest sum that 32 bits hold; two products of two parties go past it.
    k, lowest = 8_200, -128 * ((2**64 - 1) // 255) % 2**64
    a, b = np.full((2, 2, k), lowest, np.uint64), np.full((2, k, 1), lowest, np.uint64)
    a[:, 1] = 1
    exact = [[k * x * lowest % 2**64] for x in (lowest, 1)]
    device = emulator.device()
    for left in (a, Kept(a)):
        result = launcher.matmul_pair(device, left, b, left, b, RING_64)
        assert result.tolist() == [[[2 * x % 2**64] for (x,) in exact]] * 2
        result = launcher.matmul_pair(device, left, b, left, b, RING_64, total=True)
        assert result.tolist() == [[4 * x % 2**64] for (x,) in exact]


def test_kept_operands_are_checked(kernel_device):
    xp = kernel_device.xp
    a = Kept(xp.zeros((4, 6), np.uint64))
    with pytest.raises(ArgumentTypeError, match="matmul: a must have dtype uint32, got uint64"):
        launcher.matmul(kernel_device, a, a, RING_32)
    with pytest.raises(ArgumentValueError, match=r"got \(4, 6\) and \(4, 6\)"):
        launcher.matmul(kernel_device, a, a, RING_64)
    with pytest.raises(ArgumentValueError, match=r"planes: modulus must be 2\^64 or 2\^32, got 3"):
        planes(kernel_device, a.words, 3)


# A barrier of sum_steps or store_sums that is missing, by its comment.
BARRIERS = (
    "the results before are still being read",
    "the step before `next` is cut",
    "the planes are still being read",
)


@pytest.mark.usefixtures("require_emulator", "limbs")
@pytest.mark.parametrize("modulus", RINGS)
@pytest.mark.parametrize("missing", [None, *BARRIERS])
def test_three_sets_of_planes_need_every_barrier_and_no_more(modulus, missing, monkeypatch):
    if "address" in os.environ.get("HE_GPU_EMULATOR_SANITIZERS", ""):
        pytest.skip("this process has AddressSanitizer, which does not join the race detector")
    monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 1, 1))  # a block takes both batches
    directory = loader.kernel_directory()
    tiles = (directory / "limb_tiles.cuh").read_text(encoding="utf-8")
    if missing is not None:
        lines = [line for line in tiles.splitlines() if f"block_barrier();  // {missing}" in line]
        assert len(lines) == 1
        tiles = tiles.replace(lines[0], "")

    def read(name):
        return tiles if name == "limb_tiles.cuh" else (directory / name).read_text("utf-8")

    device = emulator.Emulator(order="random", seed=10, sanitizers="thread")
    text = (directory / "matmul_limb.cu").read_text(encoding="utf-8")
    device.add_source(loader.parse("matmul_limb", text, read_header=read))
    rng = np.random.default_rng(10)
    a, b = some_words(rng, (2, 33, 130), modulus), some_words(rng, (2, 130, 40), modulus)
    if missing is None:
        expected = definition.matmul(a, b, modulus)
        assert_same(launcher.matmul(device, Kept(a), b, modulus), expected)
    else:
        with pytest.raises(KernelFaultError, match="race in shared memory"):
            launcher.matmul(device, Kept(a), b, modulus)
