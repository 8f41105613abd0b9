"""he.Ring against Python integers, on edge values and random cases, on every device."""

import numpy as np
import pytest

import he_gpu as he

MODULI = (2, 3, 501337, 2**31 - 1, 2**32, 2**61 - 1, 2**63 - 25, 2**63, 2**64)
N_RANDOM = {"cpu": 10_000, "emulator": 300, "cuda": 10_000}

ring_moduli = pytest.mark.parametrize("modulus", MODULI)


def edges(modulus):
    """Values at which carries, signs and reductions change, within [0, modulus)."""
    near = [0, 1, 2, 3, modulus - 1, modulus - 2, modulus // 2, modulus // 2 + 1]
    for bits in (8, 16, 21, 22, 31, 32, 33, 43, 44, 62, 63):
        near += [2**bits - 1, 2**bits, 2**bits + 1]
    near += [0x80 * 0x0101010101010101, 2**64 - 1, 2**61 - 2]
    return sorted({value for value in near if 0 <= value < modulus})


def random_integers(modulus, n, seed):
    """n uniform Python integers below the modulus."""
    high, low = np.random.default_rng(seed).integers(0, 2**63, (2, n), dtype=np.uint64).tolist()
    return [(a << 63 | b) % modulus for a, b in zip(high, low, strict=True)]


def integers(values):
    return np.array(values, dtype=object)


def equal(ring, result, expected):
    words = ring.to_numpy(result)
    assert words.dtype == np.uint64
    assert words.shape == np.shape(expected)
    assert words.tolist() == np.asarray(expected % ring.modulus, dtype=object).tolist()


@ring_moduli
def test_edge_values_equal_python_integers(device, modulus):
    ring = he.Ring(modulus, device)
    values = edges(modulus)
    a, b = integers(values)[:, None], integers(values)[None, :]
    x, y = ring.asarray(a), ring.asarray(b)
    equal(ring, ring.add(x, y), a + b)
    equal(ring, ring.sub(x, y), a - b)
    equal(ring, ring.mul(x, y), a * b)
    equal(ring, ring.neg(x), -a)


@ring_moduli
def test_random_cases_equal_python_integers(device, modulus):
    ring, n = he.Ring(modulus, device), N_RANDOM[device]
    a = integers(random_integers(modulus, n, 1))
    b = integers(random_integers(modulus, n, 2))
    x, y = ring.asarray(a), ring.asarray(b)
    equal(ring, ring.add(x, y), a + b)
    equal(ring, ring.sub(x, y), a - b)
    equal(ring, ring.mul(x, y), a * b)
    equal(ring, ring.neg(x), -a)


@ring_moduli
def test_scalars_stay_arrays_and_warn_of_nothing(device, modulus):
    ring = he.Ring(modulus, device)
    for a, b in ((modulus - 1, modulus - 1), (0, modulus - 1), (modulus // 2, modulus // 2 + 1)):
        x, y = ring.asarray(a), ring.asarray(b)
        for operation, expected in (
            (ring.add, a + b),
            (ring.sub, a - b),
            (ring.mul, a * b),
        ):
            result = operation(x, y)
            assert isinstance(result, ring.backend.xp.ndarray)
            assert result.shape == ()
            assert int(ring.to_numpy(result)) == expected % modulus
        assert int(ring.to_numpy(ring.neg(x))) == -a % modulus
        assert int(ring.to_numpy(ring.mul(x, b))) == a * b % modulus  # a Python int operand


SHAPES = [
    ((1, 1), (1, 1)),
    ((3, 5), (5, 2)),
    ((5,), (5,)),
    ((5,), (5, 2)),
    ((3, 5), (5,)),
    ((4, 3, 5), (5, 2)),
    ((3, 5), (4, 5, 2)),
    ((4, 3, 5), (4, 5, 2)),
    ((2, 1, 3, 5), (4, 5, 2)),
    ((4, 3, 5), (5,)),
    ((5,), (4, 5, 2)),
    ((3, 0), (0, 2)),
    ((0, 5), (5, 2)),
    ((3, 5), (5, 0)),
    ((0, 3, 5), (5, 2)),
]


@ring_moduli
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_matmul_equals_python_integers(device, modulus, left, right):
    ring = he.Ring(modulus, device)
    n_left, n_right = int(np.prod(left)), int(np.prod(right))
    a = integers(random_integers(modulus, n_left, 3)).reshape(left)
    b = integers(random_integers(modulus, n_right, 4)).reshape(right)
    if n_left and n_right:  # the largest magnitudes too
        a.flat[0], b.flat[0] = modulus - 1, modulus - 1
    result = ring.matmul(ring.asarray(a), ring.asarray(b))
    assert isinstance(result, ring.backend.xp.ndarray)
    # NumPy multiplies object matrices by Python's own arithmetic; empty sums are 0.
    equal(ring, result, np.asarray(np.matmul(a, b), dtype=object))


@ring_moduli
def test_matmul_of_extreme_words_is_exact(device, modulus):
    """All-equal operands at the magnitudes that a digit decomposition finds hardest."""
    ring, k = he.Ring(modulus, device), 70 if device == "emulator" else 700
    half = modulus // 2
    for x in {modulus - 1, half, min(half + 1, modulus - 1), max(half - 1, 0)}:
        a = ring.asarray(np.full((3, k), x, dtype=object))
        b = ring.asarray(np.full((k, 2), x, dtype=object))
        equal(ring, ring.matmul(a, b), np.full((3, 2), x * x * k, dtype=object))


def test_large_matmul_equals_python_integers():
    """Beyond the size at which the CPU turns to float64 digits; spot checks by row and column."""
    for modulus in MODULI:
        ring = he.Ring(modulus, "cpu")
        a = integers(random_integers(modulus, 70 * 130, 5)).reshape(70, 130)
        b = integers(random_integers(modulus, 130 * 60, 6)).reshape(130, 60)
        result = ring.to_numpy(ring.matmul(ring.asarray(a), ring.asarray(b)))
        for i, j in ((0, 0), (69, 59), (17, 41), (33, 2)):
            assert int(result[i, j]) == int(a[i] @ b[:, j]) % modulus


@ring_moduli
def test_asarray_reduces_integers_of_any_size_and_type(device, modulus):
    ring = he.Ring(modulus, device)
    huge = [0, -1, 1, 10**40, -(10**40), 2**64, -(2**64) - 1, modulus, -modulus, 2**200 + 7]
    equal(ring, ring.asarray(huge), integers(huge))
    equal(ring, ring.asarray(-(10**30)), np.array(-(10**30), dtype=object))
    for dtype in (np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64):
        info = np.iinfo(dtype)
        values = np.array([info.min, info.min // 2, 0, 1, info.max // 2, info.max], dtype=dtype)
        equal(ring, ring.asarray(values), values.astype(object))
        equal(ring, ring.asarray(values[3]), np.array(1, dtype=object))
    equal(ring, ring.asarray([[1, np.int8(-2)], [True, 3]]), integers([[1, -2], [1, 3]]))
    equal(ring, ring.asarray(np.zeros((2, 0, 3), np.int32)), np.zeros((2, 0, 3), object))
    equal(ring, ring.asarray([]), np.zeros(0, object))


def test_asarray_takes_strided_and_foreign_order():
    ring = he.Ring(501337, "cpu")
    values = np.arange(-12, 12).reshape(4, 6)
    for view in (values.T, values[::2, ::-3], values.astype(">i4"), np.asfortranarray(values)):
        equal(ring, ring.asarray(view), view.astype(object))


@ring_moduli
def test_strided_operands(device, modulus):
    ring = he.Ring(modulus, device)
    values = integers(random_integers(modulus, 24, 7)).reshape(4, 6)
    x = ring.asarray(values)
    equal(ring, ring.add(x.T, x.T), 2 * values.T)
    equal(ring, ring.mul(x[::2, ::-2], x[1::2, ::-2]), values[::2, ::-2] * values[1::2, ::-2])
    equal(ring, ring.neg(x[:, 1:3]), -values[:, 1:3])
    equal(ring, ring.matmul(x, x.T), values @ values.T)


def test_results_do_not_share_memory(device):
    for modulus in (501337, 2**32, 2**64):
        ring = he.Ring(modulus, device)
        x = ring.asarray([1, 2, 3])
        copy = ring.to_numpy(x)
        copy[:] = 0
        ring.neg(x)[:] = 0
        ring.add(x, x)[:] = 0
        assert ring.to_numpy(x).tolist() == [1, 2, 3]


def test_every_device_gives_the_same_words(require_emulator):
    for modulus in MODULI:
        cpu, emulator = he.Ring(modulus, "cpu"), he.Ring(modulus, "emulator")
        a = integers(random_integers(modulus, 40, 8)).reshape(5, 8)
        results = [
            ring.to_numpy(ring.matmul(ring.asarray(a), ring.asarray(a.T))).tolist()
            for ring in (cpu, emulator)
        ]
        assert results[0] == results[1]


# Refusals


@pytest.mark.parametrize("modulus", [1, 0, -5, 2**63 + 1, 2**64 - 1, 2**64 + 1, 2**65])
def test_modulus_out_of_range(modulus):
    with pytest.raises(he.errors.ArgumentValueError, match=r"modulus must be in .* got -?\d+"):
        he.Ring(modulus, "cpu")


@pytest.mark.parametrize("modulus", [2.0, "7", None, True, [7]])
def test_modulus_of_wrong_type(modulus):
    with pytest.raises(he.errors.ArgumentTypeError, match="modulus must be an integer"):
        he.Ring(modulus, "cpu")


@pytest.mark.parametrize(
    "value", [1.0, [1, 2.5], np.zeros(3), "7", None, 1j, np.array(["a"]), [[1], [2, 3]]]
)
def test_asarray_refuses_what_is_no_integer(device, value):
    with pytest.raises(he.errors.HeGpuError) as caught:
        he.Ring(7, device).asarray(value)
    assert isinstance(caught.value, TypeError | ValueError)
    assert "Ring.asarray" in str(caught.value)


def test_floats_are_type_errors():
    for value in (1.0, [1.5], np.zeros(2)):
        with pytest.raises(TypeError, match="integers expected"):
            he.Ring(7, "cpu").asarray(value)


def test_operands_are_checked(device):
    ring = he.Ring(7, device)
    x = ring.asarray([1, 2, 3])
    with pytest.raises(TypeError, match="b must be an array"):
        ring.add(x, [1, 2, 3])
    with pytest.raises(TypeError, match="dtype uint64"):
        ring.add(x, x.astype(np.int64))
    with pytest.raises(TypeError, match="dtype uint32"):
        he.Ring(2**32, device).neg(x)
    with pytest.raises(ValueError, match=r"below the modulus 7, got 7"):
        ring.mul(x, x.astype(np.uint64) + np.uint64(4))
    with pytest.raises(ValueError, match="do not broadcast"):
        ring.sub(x, ring.asarray([1, 2]))


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ((), (3, 2), "0-d"),
        ((2, 3), (), "0-d"),
        ((2, 3), (2, 3), "inner dimensions differ"),
        ((3,), (2, 3), "inner dimensions differ"),
        ((2, 3), (2,), "inner dimensions differ"),
        ((2, 4, 3), (3, 3, 4), "do not broadcast"),
    ],
)
def test_matmul_refuses_shapes(device, left, right, message):
    ring = he.Ring(501337, device)
    a, b = ring.asarray(np.ones(left, int)), ring.asarray(np.ones(right, int))
    with pytest.raises(he.errors.ArgumentValueError, match=message):
        ring.matmul(a, b)


@pytest.mark.parametrize("name", ["tpu", "", "cuda:", "cuda:x", "CPU", "cuda:-1", "emulator:1"])
def test_unknown_device(name):
    with pytest.raises(he.errors.UnknownDeviceError, match="device must be 'auto', 'cpu'"):
        he.Ring(7, name)


@pytest.mark.parametrize("name", [None, 0, b"cpu"])
def test_device_of_wrong_type(name):
    with pytest.raises(he.errors.ArgumentTypeError, match="device must be a string"):
        he.Ring(7, name)


def test_equality_and_repr():
    assert he.Ring(7, "cpu") == he.Ring(7, "cpu")
    assert hash(he.Ring(7, "cpu")) == hash(he.Ring(7, "cpu"))
    assert he.Ring(7, "cpu") != he.Ring(11, "cpu")
    assert he.Ring(7, "cpu") != 7
    assert repr(he.Ring(7, "cpu")) == "Ring(7, device='cpu')"
