"""The matrix product: the definition equals Python's integers, kernels equal the definition."""

from contextlib import nullcontext

import numpy as np
import pytest

from he_gpu.backend import Kept, emulator
from he_gpu.backend.definition import matmul as definition
from he_gpu.backend.definition.digits import cut
from he_gpu.backend.definition.protocol import reconstruct
from he_gpu.backend.definition.words import RING_32, RING_64, word_dtype, wraps
from he_gpu.backend.device import matmul as launcher
from he_gpu.backend.device.matmul_choice import RESIDUES
from he_gpu.backend.device.matmul_limb import limb_kernel
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import MODULI, assert_same, random_words, some_words, to_host

INNER = (1, 3, 255, 256, 1152, 2304)


def exact(a, b, modulus):
    """The product by Python's integers, as words."""
    product = np.asarray(a).astype(object) @ np.asarray(b).astype(object)
    return np.array(product % modulus, dtype=word_dtype(modulus))


def worst_word(modulus):
    """The word whose balanced digits are as large in magnitude as digits can be."""
    widths = definition.plan(modulus).widths
    weights = [2 ** sum(widths[:i]) for i in range(len(widths))]
    largest = [-weight * 2 ** (width - 1) for weight, width in zip(weights, widths, strict=True)]
    if wraps(modulus):
        return sum(largest) % modulus
    low = sum(largest[:-1])
    return (modulus - 1 - low) // weights[-1] * weights[-1] + low


@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("k", INNER)
def test_definition_on_the_largest_words(k, modulus):
    # 16 * 17 results put products of every k on the float64 path, and 1 * 1 on the direct one.
    for m, n in ((16, 17), (1, 1)):
        for word in (modulus - 1, modulus // 2, worst_word(modulus)):
            a = np.full((m, k), word, word_dtype(modulus))
            b = np.full((k, n), word, word_dtype(modulus))
            result = definition.matmul(a, b, modulus)
            assert result.dtype == word_dtype(modulus)
            assert result.shape == (m, n)
            assert set(result.ravel().tolist()) == {k * word**2 % modulus}


@pytest.mark.parametrize("modulus", MODULI)
def test_definition_on_random_words(modulus):
    rng = np.random.default_rng(modulus % 2**32)
    for m, k, n in ((1, 1, 1), (5, 3, 4), (3, 255, 2), (20, 700, 19), (300, 40, 23), (2, 0, 3)):
        a, b = some_words(rng, (m, k), modulus), some_words(rng, (k, n), modulus)
        assert_same(definition.matmul(a, b, modulus), exact(a, b, modulus))


@pytest.mark.parametrize("modulus", [q for q in MODULI if definition.plan(q).depth < 2**23])
@pytest.mark.parametrize("beyond", [0, 1])
def test_definition_at_the_bound_of_its_inner_dimension(modulus, beyond):
    k = definition.plan(modulus).depth + beyond
    side = definition.DIRECT_SIDE + 1  # fewer rows or columns never meet the digits
    n = max(side, definition.DIRECT_PRODUCTS // (side * k) + 1)
    for word in {modulus - 1, worst_word(modulus)}:
        a = np.full((side, k), word, word_dtype(modulus))
        b = np.full((k, n), word, word_dtype(modulus))
        assert set(definition.matmul(a, b, modulus).ravel().tolist()) == {k * word**2 % modulus}


@pytest.mark.parametrize("modulus", MODULI)
def test_digits_stay_within_the_bound_that_the_plan_assumes(modulus):
    rng = np.random.default_rng(3)
    widths = definition.plan(modulus).widths
    words = some_words(rng, (100, 9), modulus)
    words[0, :2] = modulus - 1, worst_word(modulus)
    digits = [np.empty(words.shape) for _ in widths]
    cut(words, modulus, digits)
    total = np.zeros(words.shape, object)
    for i, (digit, width) in enumerate(zip(digits, widths, strict=True)):
        assert abs(digit).max() <= 2 ** (width - 1)
        total += digit.astype(np.int64).astype(object) * 2 ** sum(widths[:i])
    assert (total % modulus == words.astype(object)).all()


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**63 - 25, 2**64])
def test_definition_adds_and_broadcasts(modulus):
    rng = np.random.default_rng(4)
    a, b = some_words(rng, (2, 1, 7, 90), modulus), some_words(rng, (3, 90, 60), modulus)
    add = some_words(rng, (3, 1, 60), modulus)
    product = np.stack([np.stack([exact(x[0], y, modulus) for y in b]) for x in a])
    assert_same(definition.matmul(a, b, modulus), product)
    expected = (product.astype(object) + add.astype(object)) % modulus
    out = np.empty(product.shape, product.dtype)
    assert definition.matmul(a, b, modulus, add=add, out=out) is out
    assert_same(out, expected.astype(product.dtype))


KERNELS = ("matmul", "matmul_small", "matmul_thin", "chosen")
SHAPES = [
    (1, 1, 1),
    (1, 33, 1),
    (31, 3, 1),
    (33, 16, 5),
    (65, 17, 66),
    (64, 32, 32),
    (5, 40, 9),
    (3, 0, 4),
    (2, 20, 130),
]


@pytest.fixture(params=KERNELS)
def kernel(request):
    """Which kernel the launcher takes, whatever the shape; "chosen" leaves it the choice."""
    if request.param == "chosen":
        yield request.param
    else:
        with launcher.forced(request.param):
            yield request.param


def check(device, a, b, modulus, add=None):
    result = launcher.matmul(device, a, b, modulus, add=add)
    assert isinstance(result, device.xp.ndarray)
    hosts = [None if x is None else to_host(x) for x in (a, b, add)]
    assert_same(result, definition.matmul(hosts[0], hosts[1], modulus, add=hosts[2]))


@pytest.mark.parametrize("modulus", [3, 2**32, 2**63, 2**64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_device_on_shapes(kernel_device, kernel, shape, modulus):
    m, k, n = shape
    rng = np.random.default_rng(m + k + n)
    xp = kernel_device.xp
    a = xp.asarray(some_words(rng, (m, k), modulus))
    b = xp.asarray(some_words(rng, (k, n), modulus))
    check(kernel_device, a, b, modulus)


@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("k", [1, 3, 255, 256, 1152])
def test_device_on_the_largest_words(kernel_device, kernel, k, modulus):
    xp = kernel_device.xp
    a = xp.full((3, k), modulus - 1, word_dtype(modulus))
    b = xp.full((k, 2), modulus - 1, word_dtype(modulus))
    result = launcher.matmul(kernel_device, a, b, modulus)
    assert set(to_host(result).ravel().tolist()) == {k * (modulus - 1) ** 2 % modulus}


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**63 - 25, 2**64])
def test_device_takes_transposes_and_slices(kernel_device, kernel, modulus):
    rng = np.random.default_rng(6)
    a = kernel_device.xp.asarray(some_words(rng, (40, 37), modulus))
    b = kernel_device.xp.asarray(some_words(rng, (40, 35), modulus))
    check(kernel_device, a.T, b, modulus)
    check(kernel_device, a.T, b[:, ::-1], modulus)
    check(kernel_device, b.T[::2], a[:, 3:9], modulus)
    check(kernel_device, a.T[:, ::3], b[::3], modulus)
    check(kernel_device, a[:1], a.T[:, :11], modulus)


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**64])
def test_device_batches_broadcast(kernel_device, kernel, modulus):
    rng = np.random.default_rng(7)
    xp = kernel_device.xp
    pairs = (
        ((3, 5, 4), (4, 6)),
        ((5, 4), (3, 4, 1)),
        ((2, 1, 5, 4), (3, 4, 2)),
        ((2, 3, 1, 4), (2, 3, 4, 2)),
        ((2, 3, 2, 4), (3, 4, 2)),
        ((1, 3, 4), (1, 4, 3)),
        ((0, 3, 4), (4, 3)),
    )
    for a_shape, b_shape in pairs:
        a = xp.asarray(some_words(rng, a_shape, modulus))
        b = xp.asarray(some_words(rng, b_shape, modulus))
        check(kernel_device, a, b, modulus)
        swapped = a.swapaxes(-1, -2), b.swapaxes(-1, -2)
        check(kernel_device, swapped[1], swapped[0], modulus)


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**64])
def test_device_adds(kernel_device, kernel, modulus):
    rng = np.random.default_rng(8)
    xp = kernel_device.xp
    a = xp.asarray(some_words(rng, (3, 9, 4), modulus))
    b = xp.asarray(some_words(rng, (4, 10), modulus))
    for shape in ((), (10,), (9, 1), (9, 10), (3, 1, 1), (3, 1, 10), (3, 9, 10), (1, 9, 10)):
        check(kernel_device, a, b, modulus, add=xp.asarray(some_words(rng, shape, modulus)))
    add = xp.asarray(some_words(rng, (10, 9), modulus)).T
    check(kernel_device, a, b, modulus, add=add)
    check(kernel_device, a[:, :, :0], b[:0], modulus, add=add)


@pytest.mark.parametrize("modulus", [2**61 - 1, 2**64])
def test_thin_results_share_a_long_inner_dimension(kernel_device, modulus):
    rng = np.random.default_rng(9)
    xp = kernel_device.xp
    for k in (511, 2048, 4100):
        a = xp.asarray(random_words(rng, (1, k), modulus))
        b = xp.asarray(random_words(rng, (k, 3), modulus))
        check(kernel_device, a, b, modulus)
        check(kernel_device, b.T, a.T, modulus)
        check(kernel_device, xp.ascontiguousarray(b.T), a.T, modulus)


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**64])
def test_device_writes_out(kernel_device, kernel, modulus):
    rng = np.random.default_rng(10)
    host = some_words(rng, (12, 12), modulus)
    a = kernel_device.xp.asarray(host.copy())
    out = kernel_device.xp.empty_like(a)
    assert launcher.matmul(kernel_device, a, a, modulus, out=out) is out
    square = definition.matmul(host, host, modulus)
    assert_same(out, square)
    # An operand that lies where the result goes is read as it was before.
    launcher.matmul(kernel_device, out, a, modulus, add=out, out=out)
    assert_same(out, definition.matmul(square, host, modulus, add=square))


@pytest.mark.parametrize("modulus", [3, 501337, 2**32, 2**61 - 1, 2**64])
@pytest.mark.parametrize("kernel", [*launcher.KERNELS, "chosen"])
def test_totals_over_the_parties(kernel_device, kernel, modulus):
    if kernel == "matmul_limb" and limb_kernel(modulus) is None:
        pytest.skip("limbs serve no such modulus")
    rng = np.random.default_rng(12)
    xp = kernel_device.xp
    # As the protocol calls it: d (m, k), y (parties, k, n), a (parties, m, k2), e (k2, n); then
    # with batches that fold, that do not, that stack into rows, and that only one operand has.
    cases = [
        (((m, k), (parties, k, n), (parties, m, k2), (k2, n)), ((parties, m, n), (n,)))
        for parties, m, k, n, k2 in ((1, 5, 31, 3, 40), (2, 33, 40, 35, 33), (3, 4, 0, 1, 5))
    ]
    cases += [
        (((4, 5, 9), (3, 4, 9, 6), (3, 4, 5, 2), (4, 2, 6)), ((3, 4, 5, 6), (3, 1, 5, 1))),
        (((3, 2, 4, 5, 9), (9, 6), (3, 1, 4, 5, 9), (9, 6)), ((3, 2, 4, 5, 6), (2, 1, 5, 6))),
        (((3, 4, 5, 9), (3, 1, 9, 6), (3, 4, 5, 2), (3, 1, 2, 6)), ((1, 1, 5, 1),)),
        (((2, 5, 9), (9, 6), (5, 3), (3, 6)), ((5, 6),)),
    ]
    for shapes, add_shapes in cases:
        words = [some_words(rng, shape, modulus) for shape in shapes]
        on_device = [xp.asarray(x) for x in words]
        batch = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
        for shape in (None, *add_shapes):
            add = None if shape is None else some_words(rng, shape, modulus)
            apart = definition.matmul_pair(*words, modulus, add=add)
            expected = reconstruct(apart, modulus)
            assert_same(definition.matmul_pair(*words, modulus, add=add, total=True), expected)
            options = {"add": None if add is None else xp.asarray(add), "total": True}
            before = emulator.launches.total()
            with nullcontext() if kernel == "chosen" else launcher.forced(kernel):
                result = launcher.matmul_pair(kernel_device, *on_device, modulus, **options)
            assert_same(result, expected)
            # Products by residues take several launches.
            if xp is np and len(batch) < 3 and kernel not in RESIDUES:
                assert emulator.launches.total() == before + 1
    out = xp.empty_like(result)
    assert launcher.matmul_pair(kernel_device, *on_device, modulus, **options, out=out) is out
    assert_same(out, expected)


def test_totals_refuse(kernel_device):
    xp = kernel_device.xp
    a = xp.zeros((3, 4, 4), np.uint64)
    for x, batches in ((a[0], r"\(\)"), (a[:0], r"\(0,\)")):
        message = f"matmul_pair: total needs operands .* with a party, got batches {batches}"
        with pytest.raises(ArgumentValueError, match=message):
            launcher.matmul_pair(kernel_device, x, x, x, x, RING_64, total=True)
    with pytest.raises(ArgumentValueError, match=r"out must have shape \(4, 4\), got \(3, 4, 4\)"):
        launcher.matmul_pair(kernel_device, a, a, a, a, RING_64, out=a.copy(), total=True)


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_a_block_strides_over_batches(kernel, order, monkeypatch):
    monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 2, 1))
    rng = np.random.default_rng(11)
    device = emulator.Emulator(order=order, seed=11)
    for modulus in (RING_64, 501337):
        a, b = some_words(rng, (5, 9, 40), modulus), some_words(rng, (5, 40, 9), modulus)
        check(device, a, b, modulus)
        check(device, a.swapaxes(1, 2), b[:, :9], modulus)


@pytest.mark.usefixtures("require_emulator")
def test_the_choice_of_kernel_follows_the_shape():
    device = emulator.device()
    cases = {
        (4, 256, 1): "matmul_thin_ring_u64",
        (2, 3, 100): "matmul_thin_ring_u64",
        (40, 3, 40): "matmul_small_ring_u64",
        (64 * 16, 1, 64 * 8): "matmul_ring_u64",
    }
    for (m, k, n), kernel in cases.items():
        before = emulator.launches[kernel]
        launcher.matmul(device, np.ones((m, k), np.uint64), np.ones((k, n), np.uint64), RING_64)
        assert emulator.launches[kernel] == before + 1


def test_device_refuses(kernel_device):
    xp = kernel_device.xp
    a = xp.zeros((4, 6), np.uint64)
    with pytest.raises(ArgumentTypeError, match="matmul: b must have dtype uint64, got int64"):
        launcher.matmul(kernel_device, a, a.T.astype(np.int64), RING_64)
    with pytest.raises(ArgumentTypeError, match="matmul: a must have dtype uint32, got uint64"):
        launcher.matmul(kernel_device, a, a.T, RING_32)
    with pytest.raises(ArgumentTypeError, match=r"matmul: a must be an array of .*, got builtins"):
        launcher.matmul(kernel_device, [[1]], a, RING_64)
    for b in (a, a[0]):
        with pytest.raises(ArgumentValueError, match=r"matmul: a and b must have shapes .* got"):
            launcher.matmul(kernel_device, a, b, RING_64)
    with pytest.raises(ArgumentValueError, match=r"matmul: shapes \(2,\) and \(3,\) do not"):
        launcher.matmul(
            kernel_device, xp.zeros((2, 4, 6), np.uint64), xp.zeros((3, 6, 4), np.uint64), RING_64
        )
    with pytest.raises(ArgumentValueError, match=r"matmul: add must broadcast to \(4, 4\), got"):
        launcher.matmul(kernel_device, a, a.T, RING_64, add=xp.zeros((2, 4, 4), np.uint64))
    with pytest.raises(ArgumentValueError, match=r"matmul: out must have shape \(4, 4\), got"):
        launcher.matmul(kernel_device, a, a.T, RING_64, out=a)
    with pytest.raises(ArgumentValueError, match="matmul: out must be an aligned, C-contiguous"):
        launcher.matmul(kernel_device, a, a.T, RING_64, out=xp.zeros((4, 4), np.uint64).T)


KEPT_SHAPES = ((40, 30, 20), (300, 50, 24), (9, 1500, 40), (70, 10, 3))


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**63 - 25, 2**64])
@pytest.mark.parametrize(("m", "k", "n"), KEPT_SHAPES)
def test_definition_with_kept_operands(modulus, m, k, n):
    rng = np.random.default_rng(5)
    d, a = some_words(rng, (m, k), modulus), some_words(rng, (2, m, k), modulus)
    y, e = some_words(rng, (2, k, n), modulus), some_words(rng, (k, n), modulus)
    expected = definition.matmul_pair(d, y, a, e, modulus)
    for which in ("", "d", "da", "ye", "daye"):
        kept = [
            Kept(x) if name in which else x for name, x in zip("dyae", (d, y, a, e), strict=True)
        ]
        for _ in range(2):  # the second time with what the first has made
            assert_same(definition.matmul_pair(*kept, modulus), expected)
        if "d" in which:
            assert_same(
                definition.matmul(kept[0], kept[1], modulus), definition.matmul(d, y, modulus)
            )
            turned = definition.matmul(e.T.copy(), kept[0].transposed(), modulus)
            assert_same(turned, definition.matmul(e.T.copy(), d.T, modulus))
            assert kept[0].transposed() is kept[0].transposed()


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**63 - 25, 2**64])
@pytest.mark.parametrize(("m", "k", "n"), KEPT_SHAPES)
def test_definition_sums_over_the_first_axis(modulus, m, k, n):
    rng = np.random.default_rng(6)
    d, a = some_words(rng, (m, k), modulus), some_words(rng, (3, 2, m, k), modulus)
    y, e = some_words(rng, (3, 1, k, n), modulus), some_words(rng, (2, k, n), modulus)
    whole = definition.matmul_pair(d, y, a, e, modulus).astype(object)
    out = np.empty((2, m, n), word_dtype(modulus))
    for add in (None, some_words(rng, (3, 2, m, n), modulus), some_words(rng, (n,), modulus)):
        more = 0 if add is None else np.broadcast_to(add, whole.shape).astype(object)
        expected = ((whole + more).sum(axis=0) % modulus).astype(out.dtype)
        assert_same(definition.matmul_pair(d, y, a, e, modulus, add=add, total=True), expected)
        assert definition.matmul_pair(d, y, a, e, modulus, add=add, out=out, total=True) is out
        assert_same(out, expected)


@pytest.mark.parametrize("modulus", [501337, 2**61 - 1, RING_32, RING_64])
def test_empty_axes(kernel_device, modulus):
    rng, xp = np.random.default_rng(26), kernel_device.xp
    shapes = (
        ((2, 5, 4), (4, 0)),
        ((2, 0, 4), (4, 3)),
        ((0, 5, 4), (4, 3)),
        ((2, 5, 0), (0, 3)),
        ((2, 5, 0), (2, 0, 3)),
        ((0, 0), (0, 0)),
    )
    for pair in shapes:
        a, b = (some_words(rng, shape, modulus) for shape in pair)
        expected = np.zeros(np.matmul(a, b).shape, a.dtype)
        assert_same(definition.matmul(a, b, modulus), expected)
        for kernel in launcher.KERNELS:
            if kernel == "matmul_limb" and limb_kernel(modulus) is None:
                continue
            with launcher.forced(kernel):
                found = launcher.matmul(kernel_device, xp.asarray(a), xp.asarray(b), modulus)
            assert_same(found, expected)
