"""The product on byte limbs equals the definition and Python's integers, at the digits' edges."""

import itertools
import os
import re

import numpy as np
import pytest

from he_gpu.backend import emulator, loader
from he_gpu.backend.definition import matmul as definition
from he_gpu.backend.definition.words import RING_32, RING_64, word_dtype
from he_gpu.backend.device import matmul as launcher
from he_gpu.backend.device import matmul_choice, matmul_limb, splits
from he_gpu.backend.device.crossovers import LIMB_CROSSOVERS
from he_gpu.errors import ArgumentValueError, RangeError
from tests.backend.ring_words import assert_same, random_words, some_words, to_host

# 32,639 = 127 * 257 fits two balanced digits, 32,640 does not; 65,279 = 2 * 32,639 + 1.
MODULI = (2, 3, 251, 65279, 2**16, 65537, 501337, 2**24 - 3, 2**24, RING_32, RING_64)
INNER = (1, 3, 31, 33, 255, 256, 1152)


def digits_of(modulus):
    """How many balanced digits the kernel cuts."""
    return matmul_limb.limb_kernel(modulus).digits[0]


def edge_words(modulus):
    """Words with extreme bytes or extreme digits."""
    n = digits_of(modulus)
    ones = (256**n - 1) // 255
    words = {0, 1, 2**63, 32639, 32640, modulus - 1, modulus // 2, modulus // 2 + 1}
    words |= {byte * ones for byte in (0x80, 0xFF, 0x7F)}
    words |= {-128 * ones % modulus, 127 * ones, 127 * ones + 1}  # digits all -128 or all 127
    return sorted(word for word in words if word < modulus)


@pytest.fixture
def limbs():
    """The launcher takes the limb kernel whatever the shape."""
    with launcher.forced("matmul_limb"):
        yield


def check(device, a, b, modulus, add=None, **options):
    xp = device.xp
    on_device = [None if x is None else xp.asarray(x) for x in (a, b, add)]
    result = launcher.matmul(device, *on_device[:2], modulus, add=on_device[2], **options)
    assert_same(result, definition.matmul(a, b, modulus, add=add))


CUT = """
#include "limbs.cuh"
extern "C" __global__ void cut_words(const PART* x, u32* limbs, u64 q) {
    const PART words[4] = {x[0], x[1], x[2], x[3]};
    u32 digits[COUNT];
    DIGITS.cut(words, digits);
    for (u32 i = 0; i < COUNT; i++) limbs[i] = digits[i];
}
"""


@pytest.mark.parametrize("modulus", MODULI)
def test_digits_stand_for_the_word(kernel_device, modulus):
    rng = np.random.default_rng(1)
    n, xp = digits_of(modulus), kernel_device.xp
    digits = {RING_64: "Digits64{}", RING_32: "Digits32{}"}.get(modulus, f"DigitsMod<{n}>(q)")
    part = np.dtype(np.uint64 if modulus == RING_64 else np.uint32)
    text = CUT.replace("DIGITS", digits).replace("COUNT", str(n))
    text = text.replace("PART", {8: "u64", 4: "u32"}[part.itemsize])
    kernel_device.add_source(loader.parse("cut", text))
    words = np.array(edge_words(modulus), np.uint64)
    words = np.append(words, random_words(rng, 8 - len(words) % 4, modulus).astype(np.uint64))
    assert len(words) % 4 == 0
    for four in words.reshape(-1, 4):
        limbs = xp.zeros(n, np.uint32)
        args = (xp.asarray(four.astype(part)), limbs, np.uint64(modulus % 2**64))
        kernel_device.launch("cut", "cut_words", (1,), (1,), args)
        # Byte w of limb i is digit i of word w.
        found = to_host(limbs).view(np.int8).reshape(n, 4).T.astype(object)
        values = found @ np.array([256**i for i in range(n)], object)
        assert [value % modulus for value in values] == [int(word) for word in four]


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("k", INNER)
def test_edge_words_everywhere(kernel_device, modulus, k):
    dtype, xp = word_dtype(modulus), kernel_device.xp
    words = edge_words(modulus)
    # Row i of a is full of word i, and so is column i of b: all pairs in one product.
    a = np.repeat(np.array(words, dtype)[:, None], k, axis=1)
    result = launcher.matmul(kernel_device, xp.asarray(a), xp.asarray(a.T.copy()), modulus)
    expected = [[k * x * y % modulus for y in words] for x in words]
    assert to_host(result).tolist() == expected


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("k", [1, 33, 256])
def test_random_words(kernel_device, modulus, k):
    rng = np.random.default_rng(k)
    a, b = random_words(rng, (7, k), modulus), random_words(rng, (k, 9), modulus)
    product = a.astype(object) @ b.astype(object) % modulus
    xp = kernel_device.xp
    result = launcher.matmul(kernel_device, xp.asarray(a), xp.asarray(b), modulus)
    assert_same(result, product.astype(word_dtype(modulus)))


# The longest sums that 32 bits hold are 32,767, 43,804, 131,071, 43,690 and 65,535 deep.
LONG = {
    "2^64": (RING_64, 40_000, None),
    "2^64, 16 bits": (RING_64, 44_000, 16),
    "2^64, 8 bits": (RING_64, 131_200, 8),
    "2^32": (RING_32, 40_000, None),
    "2^24": (2**24, 44_000, None),
    "2^16": (2**16, 65_600, None),
}


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("case", LONG)
def test_a_long_inner_dimension_is_summed_in_pieces(kernel_device, case):
    modulus, k, bits = LONG[case]
    dtype, xp = word_dtype(modulus), kernel_device.xp
    lowest = -128 * ((256 ** digits_of(modulus) - 1) // 255) % modulus  # digits all -128
    right = {None: lowest, 16: -128 * 256 + 255, 8: -128}[bits] % modulus
    a, b = xp.full((2, k), lowest, dtype), xp.full((k, 1), right, dtype)
    a[1] = 1
    add = xp.full((2, 1), 5, dtype)
    with splits.forced(1):
        result = launcher.matmul(kernel_device, a, b, modulus, add=add, b_bits=bits)
    expected = [[(k * x * right + 5) % modulus] for x in (lowest, 1)]
    assert to_host(result).tolist() == expected


PIECES = """
#include "limb_tiles.cuh"
template <class Plan, u32 BITS>
constexpr bool is(u32 steps, u64 depth, u32 bytes) {
    return Plan::piece(BITS) == steps && (depth == 0 || depth / DEPTH == steps) &&
           Plan::SHARED_BYTES == bytes;
}
ASSERTIONS
extern "C" __global__ void nothing(u32* x) { *x = 1; }
"""


@pytest.mark.usefixtures("require_emulator")
def test_plans_have_the_bounds_and_sizes_that_the_launcher_and_the_documents_state():
    cases = {
        "Digits64, Digits64, 8, 64>, 64": (32_767, RING_64, None),
        "Digits64, Bytes16, 8, 64>, 64": (43_804, RING_64, 16),
        "Digits64, Bytes8, 8, 64>, 64": (131_071, RING_64, 8),
        "Digits32, Digits32, 4, 128>, 32": (None, RING_32, None),
        "DigitsMod<3>, DigitsMod<3>, 5, 128>, ALL_EXACT": (43_690, 2**24, None),
        "DigitsMod<2>, DigitsMod<2>, 3, 128>, ALL_EXACT": (65_535, 2**16, None),
        "KeptDigits<Digits64>, Digits64, 8, 64>, 64": (32_767, RING_64, None),
        "KeptDigits<Digits32>, Digits32, 4, 128>, 32": (None, RING_32, None),
    }
    text = (loader.kernel_directory() / "matmul_limb.cu").read_text()
    plans = re.findall(r"typedef LimbPlan<(.*)> Plan;", text)
    assert {plan.rpartition(">,")[0] for plan in cases} == set(plans)
    assertions = []
    for plan, (depth, modulus, bits) in cases.items():
        steps = 2**32 - 1 if depth is None else depth // 32
        size = matmul_limb.limb_kernel(modulus, bits, plan.startswith("Kept")).shared_bytes
        assertions.append(
            f'static_assert(is<LimbPlan<{plan}>({steps}u, {depth or 0}, {size}), "{plan}");'
        )
    source = loader.parse("pieces", PIECES.replace("ASSERTIONS", "\n".join(assertions)))
    device = emulator.Emulator()
    device.add_source(source)
    done = np.zeros(1, np.uint32)
    device.launch("pieces", "nothing", (1,), (1,), (done,))
    assert done[0] == 1


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", [251, 501337, RING_32, RING_64])
@pytest.mark.parametrize("layout", ["AB", "ATB", "ABT", "ATBT"])
def test_ragged_shapes_and_layouts(kernel_device, modulus, layout):
    rng = np.random.default_rng(3)
    sides = (1, 17, 63, 65, 100)
    for i, (m, n) in enumerate(itertools.product(sides, sides)):
        k = (1, 31, 34, 64, 65)[i % 5]
        a, b = some_words(rng, (m, k), modulus), some_words(rng, (k, n), modulus)
        left = np.ascontiguousarray(a.T).T if "AT" in layout else a
        right = np.ascontiguousarray(b.T).T if "BT" in layout else b
        xp = kernel_device.xp
        x, y = xp.asarray(left), xp.asarray(right)
        x = xp.ascontiguousarray(x.T).T if "AT" in layout else x
        y = xp.ascontiguousarray(y.T).T if "BT" in layout else y
        assert_same(launcher.matmul(kernel_device, x, y, modulus), definition.matmul(a, b, modulus))


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", [251, 501337, RING_32, RING_64])
def test_slices_begin_anywhere(kernel_device, modulus):
    # Odd starts, odd widths and steps: no two words can be copied at once.
    rng = np.random.default_rng(4)
    xp = kernel_device.xp
    host = some_words(rng, (80, 81), modulus)
    whole = xp.asarray(host)
    cuts = (
        (np.s_[1:70, 1:41], np.s_[:40, 3:70]),
        (np.s_[::2, :33], np.s_[:33, ::3]),
        (np.s_[:65, 2:42], np.s_[40:, 2:80]),
        (np.s_[:65, :38:2], np.s_[60:79, ::-1]),
        (np.s_[:64, :38:2], np.s_[:76:4, :80:2]),  # steps are even, but no words are neighbours
        (np.s_[3:4, :80], np.s_[:, 5:6]),
    )
    for left, right in cuts:
        for a, b in ((left, right), (right, left)):
            x, y = (whole[a], whole[b]) if (a, b) == (left, right) else (whole[a].T, whole[b].T)
            u, v = (host[a], host[b]) if (a, b) == (left, right) else (host[a].T, host[b].T)
            result = launcher.matmul(kernel_device, x, y, modulus)
            assert_same(result, definition.matmul(u.copy(), v.copy(), modulus))


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("modulus", [65279, 501337, RING_32, RING_64])
def test_batches_broadcast_and_add(kernel_device, modulus):
    rng = np.random.default_rng(5)
    pairs = (((3, 5, 40), (40, 6)), ((5, 4), (3, 4, 70)), ((2, 1, 5, 4), (3, 4, 2)))
    for a_shape, b_shape in pairs:
        a, b = some_words(rng, a_shape, modulus), some_words(rng, b_shape, modulus)
        batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
        m, n = a_shape[-2], b_shape[-1]
        for shape in ((), (n,), (m, 1), (m, n), (*batch, m, n)):
            check(kernel_device, a, b, modulus, add=some_words(rng, shape, modulus))
    check(kernel_device, a[..., :0], b[..., :0, :], modulus, add=some_words(rng, (2,), modulus))


@pytest.mark.usefixtures("require_emulator", "limbs")
@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("modulus", [251, 501337, RING_32, RING_64])
def test_a_block_strides_over_batches_and_pieces(order, modulus, monkeypatch):
    monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 2, 1))
    rng = np.random.default_rng(6)
    device = emulator.Emulator(order=order, seed=6)
    a, b = some_words(rng, (5, 70, 100), modulus), some_words(rng, (5, 100, 65), modulus)
    check(device, a, b, modulus, add=some_words(rng, (5, 1, 65), modulus))


@pytest.mark.usefixtures("require_emulator", "limbs")
@pytest.mark.parametrize("modulus", [501337, RING_64])  # results overlap words, or only planes
def test_batches_of_a_block_do_not_race(modulus, monkeypatch):
    if "address" in os.environ.get("HE_GPU_EMULATOR_SANITIZERS", ""):
        pytest.skip("this process has AddressSanitizer, which does not join the race detector")
    monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 1, 1))
    rng = np.random.default_rng(10)
    device = emulator.Emulator(order="random", seed=10, sanitizers="thread")
    a, b = some_words(rng, (3, 130, 70), modulus), some_words(rng, (3, 70, 66), modulus)
    check(device, a, b, modulus)


@pytest.mark.usefixtures("limbs")
@pytest.mark.parametrize("bits", [16, 8])
def test_small_numbers_take_fewer_products(kernel_device, bits):
    rng = np.random.default_rng(7)
    half = 2 ** (bits - 1)
    edges = np.array([-half, half - 1, -1, 0, 1, half - 128, 127, -128], np.int64)
    b = np.concatenate([edges, rng.integers(-half, half, 70 * 66 - 8)]).astype(np.uint64)
    b = b.reshape(70, 66)
    a = some_words(rng, (2, 33, 70), RING_64)
    check(kernel_device, a, b, RING_64, b_bits=bits)
    check(kernel_device, a[0], np.asfortranarray(b), RING_64, b_bits=bits)
    # Other rings take the bits for granted, and say nothing of them.
    check(kernel_device, a[0] % 501337, b % 501337, 501337)


def test_definition_checks_the_bits():
    a = np.ones((1, 2), np.uint64)
    b = np.array([[2**15 - 1], [2**64 - 2**15]], np.uint64)
    assert definition.matmul(a, b, RING_64, b_bits=16) == 2**64 - 1
    with pytest.raises(RangeError, match=r"b must lie in \[-128, 128\) for b_bits=8, got -32768"):
        definition.matmul(a, b, RING_64, b_bits=8)
    with pytest.raises(RangeError, match="got -32768 to 32768"):
        definition.matmul(a, b + np.array([[1], [0]], np.uint64), RING_64, b_bits=16)
    with pytest.raises(ArgumentValueError, match="matmul: b_bits must be 8, 16 or None, got 7"):
        definition.matmul(a, b, RING_64, b_bits=7)


@pytest.mark.parametrize("modulus", [3, 65279, 501337, 2**61 - 1, RING_32, RING_64])
@pytest.mark.parametrize("kernel", launcher.KERNELS)
def test_pairs_in_one_launch(kernel_device, kernel, modulus):
    if kernel == "matmul_limb" and matmul_limb.limb_kernel(modulus) is None:
        pytest.skip("limbs serve no such modulus")
    rng = np.random.default_rng(8)
    xp = kernel_device.xp
    # As the protocol calls it: d (m, k), y (parties, k, n), a (parties, m, k), e (k, n).
    for parties, m, k, n, k2 in ((2, 5, 40, 3, 40), (3, 33, 7, 35, 70), (1, 1, 0, 4, 5)):
        shapes = ((m, k), (parties, k, n), (parties, m, k2), (k2, n))
        words = [some_words(rng, shape, modulus) for shape in shapes]
        add = some_words(rng, (parties, m, n), modulus)
        exact = words[0].astype(object) @ words[1] + words[2].astype(object) @ words[3] + add
        expected = np.asarray(exact % modulus, dtype=object).astype(word_dtype(modulus))
        assert_same(definition.matmul_pair(*words, modulus, add=add), expected)
        with launcher.forced(kernel):
            args = [xp.asarray(x) for x in words]
            result = launcher.matmul_pair(kernel_device, *args, modulus, add=xp.asarray(add))
            assert_same(result, expected)
            out = xp.empty_like(result)
            assert launcher.matmul_pair(kernel_device, *args, modulus, out=out) is out
        assert_same(out, definition.matmul_pair(*words, modulus))


def test_pairs_refuse(kernel_device):
    xp = kernel_device.xp
    a, b = xp.zeros((4, 6), np.uint64), xp.zeros((6, 5), np.uint64)
    message = r"matmul_pair: a2 and b2 must have shapes .* got \(4, 6\) and \(5, 5\)"
    with pytest.raises(ArgumentValueError, match=message):
        launcher.matmul_pair(kernel_device, a, b, a, b[:5], RING_64)
    message = r"matmul_pair: a @ b and a2 @ b2 must have the same .* got \(4, 5\) and \(3, 5\)"
    with pytest.raises(ArgumentValueError, match=message):
        launcher.matmul_pair(kernel_device, a, b, a[:3], b, RING_64)
    with pytest.raises(ArgumentValueError, match="matmul: b_bits must be 8, 16 or None, got 32"):
        launcher.matmul(kernel_device, a, b, RING_64, b_bits=32)
    with (
        pytest.raises(ArgumentValueError, match=r"forced: kernel must be in .* got 'wgmma'"),
        launcher.forced("wgmma"),
    ):
        pass
    with launcher.forced("matmul_limb"), pytest.raises(ArgumentValueError, match=r"up to 2\^24"):
        launcher.matmul(kernel_device, a, b, 2**24 + 1)


@pytest.mark.usefixtures("require_emulator")
def test_shape_ring_and_architecture_choose(monkeypatch):
    rng = np.random.default_rng(9)
    device = emulator.device()
    limb = {RING_64: "matmul_limb_ring_u64", RING_32: "matmul_limb_ring_u32"}
    limb |= {501337: "matmul_limb_mod_u64", 251: "matmul_limb_m2_mod_u64"}

    def ran(modulus, m, n, k, batches=1, **options):
        # The device's own count of launches, less what was there before.
        before = emulator.launches.copy()
        a = random_words(rng, (batches, m, k), modulus)
        b = random_words(rng, (k, n), modulus) % np.uint64(100).astype(word_dtype(modulus))
        result = launcher.matmul(device, a, b, modulus, **options)
        assert_same(result, definition.matmul(a, b, modulus))
        (kernel,) = emulator.launches - before
        return kernel

    monkeypatch.setattr(
        matmul_choice,
        "LIMB_CROSSOVERS",
        {name: bound._replace(results=2**12) for name, bound in LIMB_CROSSOVERS.items()},
    )
    for modulus, kernel in limb.items():
        assert ran(modulus, 64, 64, 64) == kernel
        assert ran(modulus, 32, 64, 64, batches=2) == kernel
        assert "limb" not in ran(modulus, 64, 8, 64, batches=8)
        assert "limb" not in ran(modulus, 64, 63, 64)
        assert "limb" not in ran(modulus, 64, 64, 31)
    assert ran(RING_64, 64, 64, 64, b_bits=16) == "matmul_limb_b2_ring_u64"
    assert ran(RING_64, 64, 64, 64, b_bits=8) == "matmul_limb_b1_ring_u64"
    assert "limb" not in ran(2**24 + 1, 64, 64, 64)
    monkeypatch.setattr(emulator.Emulator, "compute_capability", (7, 5))
    assert "limb" not in ran(RING_64, 64, 64, 64)
