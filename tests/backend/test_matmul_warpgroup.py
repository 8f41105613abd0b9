"""Products of tiles of residues and of limbs, by warpgroups: the words of the definition."""

from types import SimpleNamespace

import numpy as np
import pytest

from he_gpu.backend import Kept, emulator, loader
from he_gpu.backend.definition import matmul as definition
from he_gpu.backend.definition import matmul_residue as residues
from he_gpu.backend.definition.matmul_residue import LARGEST_DEPTH
from he_gpu.backend.definition.words import RING_32, RING_64
from he_gpu.backend.device import matmul as launcher
from he_gpu.backend.device import matmul_choice, matmul_residue, residue_parts
from he_gpu.backend.device import matmul_warpgroup as kernels
from he_gpu.backend.device.crossovers import RESIDUE_CROSSOVERS
from he_gpu.backend.device.plane_kernels import Target
from he_gpu.backend.emulator import Emulator
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, KernelFaultError
from tests.backend.ring_words import assert_same, some_words, to_host
from tests.backend.test_matmul_residue import INNER, LARGE, SMALL, hard_problem

MULTIPLY = ("multiply_tiles_s8", "multiply_limb_tiles_u32")


def launches():
    """How often the emulator has multiplied tiles."""
    return sum(emulator.launches[name] for name in MULTIPLY)


@pytest.fixture
def forced():
    """The launcher takes the kernels of warpgroups whatever the shape."""
    with launcher.forced("matmul_warpgroup"):
        yield


def product(device, a, b, modulus, **options):
    """A product of host arrays on a device."""
    asarray = device.xp.asarray
    return launcher.matmul(device, asarray(a), asarray(b), modulus, **options)


# ---- the tiles ----------------------------------------------------------------


def in_tiles(planes):
    """Residues (count, ..., lines, depth) as the kernels lay them out.

    Lines and depth are filled up to 128s. In a tile, line 64 h + 16 t + 2 i + r stands at 64 h +
    8 i + 2 t + r, and chunk c of 16 bytes at c xor (place mod 8).
    """
    *batch, lines, depth = planes.shape
    filled = np.pad(planes, [(0, 0)] * len(batch) + [(0, -lines % 128), (0, -depth % 128)])
    down, deep = filled.shape[-2] // 128, filled.shape[-1] // 128
    split = filled.reshape(*batch, down, 2, 4, 8, 2, deep, 8, 16)
    # (..., down, h, t, i, r, deep, chunk, byte) to (..., down, deep, h, i, t, r, chunk, byte)
    n = len(batch)
    order = (n, n + 5, n + 1, n + 3, n + 2, n + 4, n + 6, n + 7)
    placed = split.transpose(*range(n), *order).reshape(*batch, down, deep, 128, 8, 16)
    swizzled = np.empty_like(placed)
    for place in range(128):
        for chunk in range(8):
            swizzled[..., place, chunk ^ (place % 8), :] = placed[..., place, chunk, :]
    return swizzled.reshape(*batch, down, deep * 128 * 128)


@pytest.mark.parametrize("modulus", [3, 2**61 - 1, RING_64])
def test_tiles_hold_the_residues(warpgroup_device, modulus):
    rng = np.random.default_rng(1)
    for shape in ((1, 1), (128, 128), (3, 300), (129, 2), (2, 70, 130), (3, 1, 260, 9)):
        words = some_words(rng, shape, modulus)
        for turn in (False, True):
            on_device = warpgroup_device.xp.asarray(words)
            view = on_device.swapaxes(-1, -2) if turn else on_device
            expected = residues.cut_residues(words.swapaxes(-1, -2) if turn else words, modulus, 5)
            found = kernels.cut_tiles(warpgroup_device, view, modulus, 5)
            assert_same(found, in_tiles(expected))


def digits(words):
    """The four balanced digits of words modulo 2^32, the low one first."""
    rest, found = words.astype(np.int64), []
    for _ in range(4):
        digit = (rest + 128) % 256 - 128
        found.append(digit.astype(np.int8))
        rest = (rest - digit) // 256
    return np.stack(found)


def test_tiles_hold_the_digits(warpgroup_device):
    rng = np.random.default_rng(1)
    edge = np.array([[0, 1, 0x7F, 0x80, 0x80808080, 0x7F7F7F80, 2**31, 2**32 - 1]], np.uint32)
    weights = np.array([256**i for i in range(4)]).reshape(4, 1, 1)
    assert ((digits(edge) * weights).sum(axis=0) % 2**32 == edge).all()
    for shape in ((1, 1), (129, 300), (2, 70, 130)):
        words = some_words(rng, shape, RING_32)
        words[..., :1, : edge.size] = edge[:, : words.shape[-1]]
        for turn in (False, True):
            on_device = warpgroup_device.xp.asarray(words)
            view = on_device.swapaxes(-1, -2) if turn else on_device
            found = kernels.cut_limb_tiles(warpgroup_device, view)
            assert_same(found, in_tiles(digits(words.swapaxes(-1, -2) if turn else words)))
    wide = warpgroup_device.xp.broadcast_to(on_device[:1, ::2, 1:99:3], (4, 35, 33))
    found = kernels.cut_limb_tiles(warpgroup_device, wide)
    assert_same(found, in_tiles(digits(words[:1, ::2, 1:99:3])))
    assert kernels.cut_limb_tiles(warpgroup_device, wide[..., :0]).shape == (4, 1, 1, 0)


def test_repeated_and_strided_words_are_cut(warpgroup_device):
    rng, xp = np.random.default_rng(2), warpgroup_device.xp
    host = some_words(rng, (4, 140, 150), RING_64)
    words = xp.asarray(host)
    found = kernels.cut_tiles(warpgroup_device, words[::2, ::-1, 3:140:2], RING_64, 3)
    expected = residues.cut_residues(host[::2, ::-1, 3:140:2].copy(), RING_64, 3)
    assert_same(found, in_tiles(expected))
    found = kernels.cut_tiles(
        warpgroup_device, xp.broadcast_to(words[:1], (4, 140, 150)), RING_64, 3
    )
    assert_same(found, in_tiles(residues.cut_residues(host[:1], RING_64, 3)))
    assert kernels.cut_tiles(warpgroup_device, words[:, :0], RING_64, 3).shape == (3, 4, 0, 32768)
    assert kernels.cut_tiles(warpgroup_device, words[..., :0], RING_64, 3).shape == (3, 4, 2, 0)
    with pytest.raises(ArgumentTypeError, match="cut_tiles: words must have dtype uint64"):
        kernels.cut_tiles(warpgroup_device, xp.zeros((2, 2), np.uint32), RING_64, 3)


@pytest.mark.parametrize("k", [1, 500])
def test_products_of_tiles_have_the_residues_of_the_sums(warpgroup_device, k):
    rng, (m, n, count) = np.random.default_rng(k), (130, 300, 3)
    a, b = (rng.integers(-128, 128, (count, lines, k), np.int8) for lines in (m, n))
    a[:, 0], b[:, 1] = -128, -128
    tiles = [warpgroup_device.xp.asarray(in_tiles(x)) for x in (a, b)]
    steps = [(x.strides[0], 0, 0, x.strides[1]) for x in tiles]
    piece = residue_parts.Piece(slice(0, k), slice(0, 0))
    found = kernels.multiply_tiles(
        warpgroup_device, (*tiles, None, None), (*steps, (0,) * 4, (0,) * 4), (1, 1, m, n), piece
    )
    assert found.shape == (count, 1, m, 304)
    expected = residues.multiply_residues(a, b.swapaxes(1, 2))
    assert_same(found[:, 0, :, :n], expected)


@pytest.mark.usefixtures("forced")
def test_the_deepest_sums_fit(warpgroup_device):
    """Residues that are all -128 modulo 256, as many as 32 bits bear and one more."""
    for k in (LARGEST_DEPTH, LARGEST_DEPTH + 1):
        a, b = np.full((1, k), 128, np.uint64), np.full((k, 1), 128, np.uint64)
        result = to_host(product(warpgroup_device, a, b, 257))
        assert result == k * 128 * 128 % 257


# ---- whole products -----------------------------------------------------------


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", LARGE)
@pytest.mark.parametrize("k", INNER)
def test_hard_operands(warpgroup_device, k, modulus):
    *words, expected = hard_problem(k, modulus)
    assert_same(product(warpgroup_device, *words, modulus), expected)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", SMALL)
@pytest.mark.parametrize("k", [0, 1, 3, 255, 4608])
def test_hard_operands_of_other_rings(warpgroup_device, k, modulus):
    *words, expected = hard_problem(k, modulus)
    assert_same(product(warpgroup_device, *words, modulus), expected)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [251, RING_32, 2**61 - 1, RING_64])
@pytest.mark.parametrize("layout", ["AB", "ATB", "ABT", "ATBT"])
def test_ragged_shapes_and_layouts(warpgroup_device, modulus, layout):
    rng, xp = np.random.default_rng(3), warpgroup_device.xp
    for m, k, n in ((1, 31, 1), (17, 128, 65), (129, 129, 16), (257, 5, 257), (2, 700, 513)):
        a, b = some_words(rng, (m, k), modulus), some_words(rng, (k, n), modulus)
        x, y = xp.asarray(a), xp.asarray(b)
        x = xp.ascontiguousarray(x.T).T if "AT" in layout else x
        y = xp.ascontiguousarray(y.T).T if "BT" in layout else y
        found = launcher.matmul(warpgroup_device, x, y, modulus)
        assert_same(found, definition.matmul(a, b, modulus))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [501337, RING_32, 2**61 - 1, RING_64])
def test_batches_broadcast_and_add(warpgroup_device, modulus):
    rng, xp = np.random.default_rng(4), warpgroup_device.xp
    pairs = (((3, 5, 40), (40, 6)), ((5, 4), (3, 4, 70)), ((2, 1, 5, 4), (3, 4, 2)))
    for a_shape, b_shape in pairs:
        a, b = some_words(rng, a_shape, modulus), some_words(rng, b_shape, modulus)
        batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
        for shape in ((), (b_shape[-1],), (*batch, a_shape[-2], b_shape[-1])):
            add = some_words(rng, shape, modulus)
            found = product(warpgroup_device, a, b, modulus, add=xp.asarray(add))
            assert_same(found, definition.matmul(a, b, modulus, add=add))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [3, RING_32, 2**63 - 25, RING_64])
def test_pairs_of_all_parties(warpgroup_device, modulus):
    rng, xp = np.random.default_rng(5), warpgroup_device.xp
    for parties, m, k, n, k2 in ((2, 5, 40, 3, 300), (3, 133, 200, 35, 1), (1, 1, 0, 4, 5)):
        shapes = ((m, k), (parties, k, n), (parties, m, k2), (k2, n))
        words = [some_words(rng, shape, modulus) for shape in shapes]
        add = some_words(rng, (parties, m, n), modulus)
        args = [xp.asarray(x) for x in words]
        for total in (False, True):
            expected = definition.matmul_pair(*words, modulus, add=add, total=total)
            before = launches()
            found = launcher.matmul_pair(
                warpgroup_device, *args, modulus, add=xp.asarray(add), total=total
            )
            assert_same(found, expected)
            if xp is np:  # one launch for both products of all parties
                assert launches() == before + 1


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [251, RING_32, RING_64])
@pytest.mark.parametrize("total", [False, True])
def test_a_long_inner_dimension_is_summed_in_pieces(warpgroup_device, total, modulus, monkeypatch):
    monkeypatch.setattr(residue_parts, "LARGEST_DEPTH", 600)
    rng, xp = np.random.default_rng(6), warpgroup_device.xp
    shapes = ((2, 5, 530), (2, 530, 3), (5, 270), (270, 3))
    words = [some_words(rng, shape, modulus) for shape in shapes]
    kept = [Kept(xp.asarray(x)) for x in words]
    add = some_words(rng, (2, 5, 3), modulus)
    expected = definition.matmul_pair(*words, modulus, add=add, total=total)
    for operands in (kept, [x.words for x in kept]):
        found = launcher.matmul_pair(
            warpgroup_device, *operands, modulus, add=xp.asarray(add), total=total
        )
        assert_same(found, expected)
    with pytest.raises(ArgumentValueError, match="parties must be at most 4, got 5"):
        list(residue_parts.pieces(5, 1000, 0, kernels.DEPTH))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("modulus", [RING_32, 2**61 - 1])
@pytest.mark.parametrize("keeps", [False, True])
def test_large_results_are_made_in_parts(warpgroup_device, keeps, modulus, monkeypatch):
    rng, xp = np.random.default_rng(7), warpgroup_device.xp
    a, b = some_words(rng, (2, 390, 70), modulus), some_words(rng, (70, 790), modulus)
    operands = [xp.asarray(x) for x in (a, b)]
    if keeps:
        operands = [Kept(x) for x in operands]
        launcher.matmul(warpgroup_device, *operands, modulus)
        # They are not made again.
        monkeypatch.setattr(matmul_residue, "_side", keep_sides(matmul_residue._side))
    monkeypatch.setattr(matmul_residue, "RESIDUE_BYTES", 1)
    before = launches()
    found = launcher.matmul(warpgroup_device, *operands, modulus)
    assert_same(found, definition.matmul(a, b, modulus))
    if xp is np:  # batches, tiles of 128 rows and of 256 columns
        assert launches() == before + 2 * 4 * 4


def keep_sides(side):
    def kept(task, matrix, turns):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matmul_residue, "RESIDUE_BYTES", 2**40)
            return side(task, matrix, turns)

    return kept


@pytest.mark.usefixtures("require_emulator", "forced")
def test_kept_operands_are_cut_once_for_either_side():
    rng, device, cut = np.random.default_rng(8), emulator.device(), "cut_tiles_u64"
    words = [some_words(rng, shape, RING_64) for shape in ((20, 150), (150, 7), (9, 150))]
    a, b, c = map(device.xp.asarray, words)
    left, right = Kept(a), Kept(b)
    expected = definition.matmul(*words[:2], RING_64)
    for operands, cuts in (
        ((left, b), 2),
        ((left, b), 1),
        ((left, right), 1),
        ((left, right), 0),
    ):
        before = emulator.launches[cut]
        assert_same(launcher.matmul(device, *operands, RING_64), expected)
        assert emulator.launches[cut] == before + cuts
    # Lines of a are columns of its transpose: the same tiles serve on the other side.
    before = emulator.launches[cut]
    found = launcher.matmul(device, c, left.transposed(), RING_64)
    assert_same(found, definition.matmul(words[2], words[0].T.copy(), RING_64))
    assert emulator.launches[cut] == before + 1
    # Planes are another form.
    with launcher.forced("matmul_residue"):
        assert_same(launcher.matmul(device, left, right, RING_64), expected)
    assert emulator.launches[cut] == before + 1


# ---- which kernel is taken ----------------------------------------------------


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)])
def test_one_architecture_takes_warpgroups(capability, monkeypatch):
    monkeypatch.setattr(Emulator, "compute_capability", capability)
    device, rng = Emulator(), np.random.default_rng(9)
    bound = RESIDUE_CROSSOVERS["mod_u64"]
    a = some_words(rng, (bound.results // bound.side, bound.depth), 2**61 - 1)
    b = some_words(rng, (bound.depth, bound.side), 2**61 - 1)
    before = emulator.launches.copy()
    result = launcher.matmul(device, a, b, 2**61 - 1)
    assert_same(result, definition.matmul(a, b, 2**61 - 1))
    ran = emulator.launches - before
    fast = capability == (9, 0)
    assert ran[MULTIPLY[0]] == fast
    assert ran["multiply_residues_s8"] == (not fast)
    # Rings with few limbs go by planes there alone, from larger sizes on.
    for modulus, name in ((RING_32, "ring_u32"), (501337, "few_limbs")):
        side, depth, results = RESIDUE_CROSSOVERS[name]
        least = (1, 1, side, results // side, depth, 0)
        assert matmul_choice.residues_serve(device, least, modulus, None) == fast
        for i, less in ((2, side - 1), (4, depth - 1)):
            sizes = (*least[:i], less, *least[i + 1 :])
            assert not matmul_choice.residues_serve(device, sizes, modulus, None)
    least = (1, 1, 4096, 4096, 4096, 0)
    assert matmul_choice.residues_serve(device, least, RING_64, None)
    assert not matmul_choice.residues_serve(device, least, RING_64, 16)
    monkeypatch.setitem(RESIDUE_CROSSOVERS, "ring_u32", bound)
    a, b = (x.astype(np.uint32) for x in (a, b))
    before = emulator.launches.copy()
    result = launcher.matmul(device, a, b, RING_32)
    assert_same(result, definition.matmul(a, b, RING_32))
    assert (emulator.launches - before)[MULTIPLY[1]] == fast


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("modulus", [RING_32, 501337, RING_64])
def test_without_their_compiler_other_kernels_serve(modulus, monkeypatch):
    device, sizes = Emulator(), (1, 1, 8192, 8192, 8192, 0)
    monkeypatch.setattr(Emulator, "compute_capability", (9, 0))
    fast = kernels.LIMB_TILES if modulus == RING_32 else kernels.RESIDUE_TILES
    assert matmul_choice.residues_serve(device, sizes, modulus, None)
    assert matmul_choice.plane_kernels(device, modulus, (8192,)) is fast
    monkeypatch.setattr(Emulator, "has_warpgroups", False)
    assert matmul_choice.residues_serve(device, sizes, modulus, None) == (modulus == RING_64)
    assert matmul_choice.plane_kernels(device, modulus, (8192,)) is matmul_residue.PLANES


def test_other_gpus_refuse():
    device = SimpleNamespace(name="cuda", compute_capability=(12, 0), has_warpgroups=False)
    piece = residue_parts.Piece(slice(0, 1), slice(0, 0))
    tiles, sizes = ((None,) * 4, ((0,) * 4,) * 4), (1, 1, 1, 1)
    target = Target(None, (0,) * 4, None, (0,) * 3, False)
    message = r"multiply_limb_tiles_u32: needs .* capability \(9, 0\) .*, got cuda of \(12, 0\)"
    with pytest.raises(ArgumentValueError, match=message):
        kernels.multiply_limb_tiles(device, *tiles, sizes, piece, target)


# ---- orders and mistakes ------------------------------------------------------


@pytest.mark.usefixtures("require_emulator", "forced")
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("blocks", [1, 3, 100])
def test_blocks_share_the_tiles_in_any_order(blocks, order, monkeypatch):
    monkeypatch.setattr(Emulator, "multiprocessors", blocks)
    rng, device = np.random.default_rng(10), Emulator(order=order, seed=10)
    # 18 rows of tiles: more than one group of 16.
    a, b = some_words(rng, (2, 2200, 30), 251), some_words(rng, (2, 30, 260), 251)
    assert_same(launcher.matmul(device, a, b, 251), definition.matmul(a, b, 251))
    for modulus in (RING_32, 2**40):
        a, b = some_words(rng, (130, 900), modulus), some_words(rng, (900, 300), modulus)
        assert_same(launcher.matmul(device, a, b, modulus), definition.matmul(a, b, modulus))


MISTAKES = {
    "the places of lines": ("swizzled(place_of_line(", "swizzled(("),
    "another swizzle": ("chunk ^ (place % 8)", "chunk ^ (place / 2 % 8)"),
    "the order of lines": ("(place & 0x06u) << 3", "(place & 0x04u) << 3 | (place & 2u) << 2"),
    "the parity of a full stage": (
        "phase_wait(full + step % STAGES, parity())",
        "phase_wait(full + step % STAGES, parity() ^ 1)",
    ),
    "the parity of an empty stage": (
        "phase_wait(empty + step % STAGES, parity() ^ 1)",
        "phase_wait(empty + step % STAGES, parity())",
    ),
    "no wait for a full stage": ("phase_wait(full + step % STAGES, parity());", ""),
    "no wait for an empty stage": ("phase_wait(empty + step % STAGES, parity() ^ 1);", ""),
    "a stage is free before it is read": ("products_wait<1>();", ""),
    "the last stage is not freed": ("products_end(sums);\n        stages.release(1);", ""),
    "too few arrivals": ("phases_begin(empty + i, WARPS)", "phases_begin(empty + i, WARPS / 2)"),
    "fewer bytes than come": ("phase_expect(came, STAGE_BYTES)", "phase_expect(came, TILE_BYTES)"),
    "the second tile of b": ("copy_bulk(tile(2), beside,", "copy_bulk(tile(2), b,"),
    "the rows of a warpgroup": ("threadIdx.x / 128 * (64 * TILE_DEPTH)", "0"),
    "a depth twice": ("deeper(b, depth)", "deeper(b, 0)"),
    "old sums are kept": ("!fresh || step + depth != 0", "1"),
    "sums are forgotten": ("!fresh || step + depth != 0", "step + depth != 0"),
    "sums are forgotten in a step": ("!fresh || step + depth != 0", "depth != 0"),
    "the sums' order": ("const i32 sum = sums[32 * quarter", "const i32 sum = sums[32 * lower"),
    "the words' order": ("sums + 32 * quarter + 2 * i", "sums + 32 * quarter + i"),
    "the sums that words are added to": ("i32& sum = sums[32 * quarter", "i32& sum = sums[32 * 0"),
    "what is added for a party": ("added += result.add.party_step;", ""),
    "no weight": ("own.weigh();", ""),
    "the digits of a diagonal": ("i, digits - 1 - i);", "i, i);"),
    "too many digits": ("digits * all.steps(), false", "(digits + 1) * all.steps(), false"),
    "the planes of digits": ("cut.place + i * units", "cut.place + (3 - i) * units"),
    "no alignment": ("(0u - window_address(shared)) % ALIGNMENT", "0"),
    "no fence": ("products_begin(sums);", ""),
    "barriers that only one thread sees": ("            phases_visible();\n", ""),
    "the layout of a tile": ("| 1ull << 62", "| 2ull << 62"),
    "the unused field": ("| 1ull << 16 |", "|"),
    "how far eight lines are apart": ("8 * SWIZZLED_LINE / 16", "8 * SWIZZLED_LINE"),
    "the unit of a depth": ("descriptor + depth / 16", "descriptor + depth"),
    "no commit": ("products_commit();", ""),
    "no barrier": ("        block_barrier();\n", ""),
}


@pytest.mark.usefixtures("require_emulator", "forced")
@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_every_mistake_is_noticed(mistake):
    folder, found = loader.kernel_directory(), 0

    def read(name):
        nonlocal found
        text = (folder / name).read_text(encoding="utf-8")
        if mistake is not None and "warpgroup" in name:
            found += text.count(MISTAKES[mistake][0])
            text = text.replace(*MISTAKES[mistake])
        return text

    device = emulator.Emulator(order="random", seed=11)
    source = loader.parse("matmul_warpgroup", read("matmul_warpgroup.cu"), read_header=read)
    assert found == (mistake is not None)
    device.add_source(source)
    rng, noticed = np.random.default_rng(11), False
    for modulus in (501337, RING_32):
        a, b = some_words(rng, (2, 130, 900), modulus), some_words(rng, (2, 900, 300), modulus)
        add = some_words(rng, (2, 130, 300), modulus)
        expected = definition.matmul_pair(a, b, a[..., :3], b[:, :3], modulus, add=add, total=True)
        try:
            result = launcher.matmul_pair(
                device, a, b, a[..., :3], b[:, :3], modulus, add=add, total=True
            )
        except KernelFaultError:
            noticed = True
            continue
        noticed = noticed or bool((result != expected).any())
    assert noticed == (mistake is not None)


STATED = """
#include "warpgroup_tiles.cuh"
static_assert(SHARED_BYTES == SHARED && STAGES == {STAGES} && THREADS == {THREADS}, "block");
static_assert(TILE_LINES == {LINES} && TILE_LINES == {ROWS} && TILE_DEPTH == {DEPTH}, "tile");
static_assert(COLUMNS == {ACROSS} && WORDS == {CHUNK} && LIMBS == {LIMBS}, "sizes");
extern "C" __global__ void places(u32* wrong) {{
    wrong[threadIdx.x] = place_of_line(line_of_place(threadIdx.x)) != threadIdx.x;
}}
"""


@pytest.mark.usefixtures("require_emulator")
def test_the_launcher_states_the_sizes_of_the_kernels():
    names = ("STAGES", "THREADS", "LINES", "ROWS", "DEPTH", "LIMBS")
    text = STATED.format(
        **{name: getattr(kernels, name) for name in names},
        ACROSS=kernels.COLUMNS,
        CHUNK=matmul_residue.CHUNK,
    )
    device = emulator.Emulator()
    device.add_source(
        loader.parse("stated", text.replace("== SHARED ", f"== {kernels.SHARED_BYTES} "))
    )
    wrong = np.ones(128, np.uint32)
    device.launch("stated", "places", (1,), (128,), (wrong,))
    assert not wrong.any()
