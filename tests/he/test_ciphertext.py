"""Operators of ciphertexts against NumPy within the stated bounds, and what they refuse."""

import copy
import pickle
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ExhaustedLevelError,
    KeyMismatchError,
    RangeError,
    SecretAccessError,
)
from he_gpu.he.context import Ckks
from tests.he.contexts import SLOTS, assert_within, context, parameters, reals

x, y = reals(seed=1), reals(seed=2)


@pytest.fixture(scope="module")
def holder():
    return context()


@pytest.fixture(scope="module")
def X(holder):  # noqa: N802 - as the operators are written
    return holder.encrypt(x)


@pytest.fixture(scope="module")
def Y(holder):  # noqa: N802
    return holder.encrypt(y)


# Values

OPERATIONS = {
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x * y": lambda x, y: x * y,
    "x * x": lambda x, y: x * x,
    "-x": lambda x, y: -x,
    "+x": lambda x, y: +x,
    "x + 0.5": lambda x, y: x + 0.5,
    "0.5 + x": lambda x, y: 0.5 + x,
    "x - 0.5": lambda x, y: x - 0.5,
    "0.5 - x": lambda x, y: 0.5 - x,
    "0.3 * x": lambda x, y: 0.3 * x,
    "x * -0.3": lambda x, y: x * -0.3,
    "3 * x": lambda x, y: 3 * x,
    "x * -7": lambda x, y: x * -7,
    "0 * x": lambda x, y: 0 * x,
    "x * True": lambda x, y: x * True,
    "x / 3": lambda x, y: x / 3,
    "x / y": lambda x, y: x / (2.5 + reals(seed=4)),
    "x / 2j": lambda x, y: x / 2j,
    "x**1": lambda x, y: x**1,
    "x**2": lambda x, y: x**2,
    "x**3": lambda x, y: x**3,
    "x**7": lambda x, y: x**7,
    "x**8": lambda x, y: x ** np.int8(8),
    "levels": lambda x, y: x * y + x,
    "levels of factors": lambda x, y: (x * y) * x,
    "two levels": lambda x, y: x * y * x - y,
    "all levels": lambda x, y: (x * x) * (y * y) * (x - y),
    "polynomial": lambda x, y: (0.5 * x + 1) * (x * x - 0.25) - 2 * y,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(holder, X, Y, name):
    assert_within(holder, OPERATIONS[name](X, Y), OPERATIONS[name](x, y))


@pytest.mark.parametrize("name", ["+", "-", "*", "r-", "r*"])
def test_plain_vectors(holder, X, name):
    v = reals(seed=3)
    calls = {
        "+": lambda x: x + v,
        "-": lambda x: x - v,
        "*": lambda x: x * v,
        "r-": lambda x: v - x,
        "r*": lambda x: v.tolist() * x if not isinstance(x, np.ndarray) else v * x,
    }
    assert_within(holder, calls[name](X), calls[name](x))


SMALL = [
    np.array([-128, 127, 5], np.int8),
    np.array([-(2**15), 1, 0], np.int16),
    np.array([-(2**63), 1, 0]),
    np.array([2**64 - 1, 1, 0], np.uint64),
    np.array([True, False, True]),
    np.array([1.5, -2.5, 0], np.float16),
    np.array([1.5, -2.5, 0], np.longdouble),
    np.array([1j, 2.5, 0], np.complex64),
]


@pytest.mark.parametrize("v", SMALL, ids=lambda v: v.dtype.name)
def test_bounds_hold_for_numbers_of_every_type(holder, v):
    """The least of signed integers has no absolute value of its type."""
    wide, a = v.astype(complex if v.dtype.kind == "c" else float), np.array([1.0, -2.0, 0.5])
    X = holder.encrypt(a)
    cases = [(holder.encrypt(v), wide), (X + v, a + wide), (v - X, wide - a), (X * v, a * wide)]
    cases += [(X * v[0], a * wide[0]), (X - v[0], a - wide[0])]
    for result, expected in cases:
        assert np.abs(holder.decrypt(result) - expected).max() <= result.error
        assert np.abs(expected).max() <= result.size


def test_bounds_hold_for_values_a_bit_above_a_power_of_two(holder):
    assert holder.encrypt([4.0]).size == 4.0
    assert holder.encrypt([np.nextafter(4.0, 5.0)]).size == 8.0


def test_in_place_operators_leave_other_names_alone(holder):
    X = Y = holder.encrypt(x)
    words = X.components.copy()
    Y += 1
    Y *= 2
    Y -= X
    Y /= 4
    assert X is not Y
    np.testing.assert_array_equal(X.components, words)
    assert_within(holder, X, x)
    assert_within(holder, Y, ((x + 1) * 2 - x) / 4)


def test_the_sum_of_a_list_adds_no_error(X, Y):
    assert sum([X, Y]).error == (X + Y).error
    assert sum([X, Y]).size == (X + Y).size


def test_complex_slots(holder):
    z = x + 1j * y
    Z = holder.encrypt(z)
    assert not Z.is_real
    assert_within(holder, Z, z)
    assert_within(holder, Z * Z, z * z)
    assert_within(holder, Z * (0.5 - 0.25j) + 1j, z * (0.5 - 0.25j) + 1j)
    assert_within(holder, Z.conjugate(), z.conj())
    assert_within(holder, Z.conjugate() * Z, abs(z) ** 2 + 0j)
    X = holder.encrypt(x)
    assert X.conjugate() is X
    assert not (X * 1j).is_real
    assert_within(holder, X * 1j + y, x * 1j + y)


def test_square_of_itself_equals_the_product(holder, X):
    again = X.replace()
    np.testing.assert_array_equal((X * X).components, (X * again).components)


# Levels and scales


def test_products_take_a_level_and_integers_none(X, Y):
    assert (X.level, (X * Y).level, (X * 0.5).level, (X * y).level) == (3, 2, 2, 2)
    assert ((X * 5).level, (X + Y).level, (X + 0.5).level, X.rotate(1).level) == (3, 3, 3, 3)
    assert [(X * k).level for k in (True, np.int64(5), np.array(5), np.int8(-128))] == [3] * 4
    assert [(X / 2).level, (X / y).level] == [2, 2]
    assert [(X**k).level for k in range(1, 9)] == [3, 2, 1, 1, 0, 0, 0, 0]
    assert ((X * Y) * X).level == 1
    assert ((X * Y) + X).level == 2


def test_scales_are_those_of_the_level_and_exact(holder, X, Y):
    chain = holder.params.chain
    product = X * Y
    assert product.scale == chain.scales[2]
    exact = chain.scales[3] ** 2 / Fraction(int(np.prod(chain.levels[2], dtype=object)))
    assert abs(product.scale / exact - 1) < Fraction(1, 2**70)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_lower_levels_hold_the_same_values(holder, X, level):
    lowered = X.at_level(level)
    assert lowered.level == level
    assert_within(holder, lowered, x)
    assert_within(holder, lowered + X, 2 * x)
    assert X.at_level(3) is X


def test_at_level_refuses_levels_that_are_none(X):
    for level in (-1, 4):
        with pytest.raises(ArgumentValueError, match=rf"level must be in \[0, 3\], got {level}"):
            X.at_level(level)


def test_at_level_refuses_what_is_no_integer(X):
    for level in (1.0, "1", None, X, np.array([1])):
        with pytest.raises(ArgumentTypeError, match=r"at_level: level must be an integer, got"):
            X.at_level(level)
    for level in (True, np.int64(1), np.array(1)):
        assert type(X.at_level(level).level) is int


def test_exhausted_levels_are_refused_before_anything_is_computed(X, monkeypatch):
    low = X.at_level(0)
    monkeypatch.setattr(type(X.keys.ladder), "ring", lambda self, level: pytest.fail("computed"))
    for call in (
        lambda: low * low,
        lambda: low * X,
        lambda: X * low,
        lambda: low * 0.5,
        lambda: low * x,
        lambda: low / 2,
    ):
        with pytest.raises(ExhaustedLevelError, match="level 0, and a product takes a level"):
            call()


def test_values_that_a_level_cannot_hold_are_refused(holder, X):
    most = holder.params.largest(0)
    low = X.at_level(0)
    with pytest.raises(RangeError, match="level 0 holds values below"):
        low * int(most + 1)
    with pytest.raises(RangeError, match="add: level 0 holds"):
        low + most
    with pytest.raises(RangeError, match="level 0 holds"):
        (X * 1000).at_level(0)
    assert_within(holder, X * 1000, x * 1000)
    assert_within(holder, low * int(most - 1), x * int(most - 1))


# Rotations and sums


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 100, -1, -77, SLOTS - 1, SLOTS, SLOTS + 5])
def test_rotation_is_to_the_left(holder, X, steps):
    assert_within(holder, X.rotate(steps), np.roll(x, -steps))


def test_rotation_moves_zeros_in_behind_a_short_vector(holder):
    short = holder.encrypt([1.0, 2.0, 3.0])
    assert_within(holder, short.rotate(1), [2.0, 3.0, 0.0])
    assert_within(holder, short.rotate(-1), [0.0, 1.0, 2.0])
    assert_within(holder, short.rotate(1).rotate(-1), [1.0, 2.0, 3.0])


@pytest.mark.parametrize("n", [1, 2, 3, 31, 64, SLOTS])
def test_sum(holder, n):
    v = reals(n, seed=n)
    total = holder.encrypt(v).sum()
    assert len(total) == 1
    assert_within(holder, total, [v.sum()])


@pytest.mark.parametrize("n", [1, 2, 5, 7, 64, 75])
def test_a_sum_is_that_of_what_decrypts(holder, n):
    v = reals(n)
    X = holder.encrypt(v)
    left, right = np.append(v[2:], [0, 0])[:n], np.append([0, 0, 0], v)[:n]
    assert_within(holder, (X + 1).sum(), [v.sum() + n])  # 1 stands in as many slots
    assert_within(holder, X.rotate(2).sum(), [left.sum()])
    assert_within(holder, X.rotate(-3).sum(), [right.sum()])
    assert_within(holder, (X + X.rotate(-3)).sum(), [(v + right).sum()])
    assert_within(holder, (X * X.rotate(2)).sum(), [v @ left])
    assert_within(holder, (X * 0.5 + 1).rotate(-3).sum(), [(right / 2 + (right != 0)).sum()])
    assert_within(holder, X.sum() + 0.5, [v.sum() + 0.5])
    assert_within(holder, (X.sum() * 2).sum().sum(), [2 * v.sum()])
    assert_within(holder, np.ones((n, 1)) @ X.sum(), np.full(n, v.sum()))


def test_a_sum_takes_the_rotations_that_it_says():
    holder = Ckks(parameters(1), "cpu", seed=8)
    keys = {n: holder.public([1 << k for k in range(n)], conjugation=False).keys for n in range(4)}
    X = holder.encrypt(reals(8))
    assert_within(holder, X.replace(keys=keys[3]).sum(), [reals(8).sum()])
    with pytest.raises(ArgumentValueError, match="a rotation by 4 needs"):
        holder.encrypt(reals(8)).replace(keys=keys[2]).sum()
    moved = X.replace(n_values=5)  # what stands behind are no zeros
    assert_within(holder, moved.replace(keys=keys[3]).sum(), [reals(8)[:5].sum()])


def test_rotate_refuses_what_is_no_integer(X):
    for steps in (1.5, "1", None, np.array([1])):
        with pytest.raises(ArgumentTypeError, match="steps must be an integer, got"):
            X.rotate(steps)
    for steps in (3, None, X):
        with pytest.raises(ArgumentTypeError, match="steps must be integers, got"):
            X.rotations(steps)
    assert X.rotations([]) == []
    assert X.rotate(10**30 * SLOTS) is X


# Random circuits


def step(rng, a, b):
    """A random operation on two pairs (ciphertext, values) that their levels allow."""
    (A, x), (B, y) = a, b
    steps, v, factor = int(rng.integers(-SLOTS, SLOTS)), rng.uniform(-1, 1, SLOTS), rng.uniform()
    choices = [
        lambda: (A + B, x + y),
        lambda: (A - v, x - v),
        lambda: (A.rotate(steps), np.roll(x, -steps)),
        lambda: (3 - A * 2, 3 - x * 2),
        lambda: (A.conjugate() - B, x - y),
    ]
    if A.level:
        choices += [lambda: (A * v, x * v), lambda: (factor * A, factor * x)]
    if A.level and B.level:
        choices += 3 * [lambda: (A * B, x * y)]
    return choices[rng.integers(0, len(choices))]()


def circuit(rng, operands, length=12):
    """Operands, and the results of random operations on them and on each other."""
    pool = list(operands)
    for _ in range(length):
        a, b = (pool[k] for k in rng.integers(0, len(pool), 2))
        try:
            pool.append(step(rng, a, b))
        except RangeError:  # the bound, not the value, outgrew the modulus
            continue
    return pool


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits_stay_within_their_bounds(holder, X, Y, seed):
    rng = np.random.default_rng(seed)
    for result, expected in circuit(rng, [(X, x), (Y, y)]):
        values = holder.decrypt(result)
        assert np.abs(values - expected).max() <= result.error
        assert np.abs(expected).max() <= result.size


# Refusals


def test_other_keys_parameters_and_lengths_are_refused(X):
    other = context(seed=2).encrypt(x)
    deeper = context(2).encrypt(x)
    short = context().encrypt(x[:5])
    for call in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b):
        with pytest.raises(KeyMismatchError, match="another secret key"):
            call(X, other)
        with pytest.raises(KeyMismatchError, match="other parameters"):
            call(X, deeper)
        with pytest.raises(ArgumentValueError, match="one length, got 512 and 5"):
            call(X, short)
        with pytest.raises(ArgumentValueError, match=r"of shape \(512,\), got \(4,\)"):
            call(X, np.ones(4))
        with pytest.raises(RangeError, match="NaN or infinity"):
            call(X, np.nan)
        with pytest.raises(ArgumentTypeError, match="a number or numbers, got str"):
            call(X, "1")


BINARY = (lambda a, b: a + b, lambda a, b: b - a, lambda a, b: a * b, lambda a, b: a / b)
MASKED = np.ma.array(x, mask=x > 0)


@pytest.mark.parametrize("call", BINARY)
@pytest.mark.parametrize("operand", [None, b"1", {1}, Fraction(1, 2), Decimal(1), [2**70] * SLOTS])
def test_operands_that_are_no_numbers_are_refused(X, call, operand):
    with pytest.raises(ArgumentTypeError, match="a number or numbers, got"):
        call(X, operand)


@pytest.mark.parametrize("call", BINARY)
def test_operands_that_cannot_be_meant_are_refused(X, call):
    with pytest.raises(ArgumentTypeError, match="got MaskedArray"):
        call(X, MASKED)
    with pytest.raises(ArgumentValueError, match=r"the operand must be .* of one shape"):
        call(X, [[1.0], [1.0, 2.0]])
    with pytest.raises(SecretAccessError, match="made an array"):
        call(X, [X, X])
    for operand in ([1.0], [], x[None], x[:, None]):
        with pytest.raises(ArgumentValueError, match="must be a number or of shape"):
            call(X, operand)


@pytest.mark.parametrize("call", BINARY[:3])
def test_numbers_beyond_every_level_are_refused(X, call):
    for operand in (10**40, 1e40, 10**400, -(10**400), 1e308 + 1e308j, np.full(SLOTS, 1e300)):
        with pytest.raises(RangeError, match=r"holds values below|finite"):
            call(X, operand)
    with pytest.raises(RangeError, match="NaN or infinity"):
        call(X, [np.inf] * SLOTS)


def test_divisors_are_refused(X):
    for divisor in (0, 0.0, np.zeros(SLOTS), 5e-324):
        with pytest.raises(RangeError, match="the divisor must not be 0"):
            X / divisor
    with pytest.raises(ArgumentTypeError, match="only numbers divide"):
        X / X
    with pytest.raises(TypeError):
        1 / X


def test_exponents_are_refused(X, Y):
    for exponent in (0.5, 2.0, "2", None, Y):
        with pytest.raises(ArgumentTypeError, match="the exponent must be an integer"):
            X**exponent
    for exponent in (0, -1):
        with pytest.raises(ArgumentValueError, match="must be at least 1"):
            X**exponent
    for exponent in (9, 10**400):
        with pytest.raises(ExhaustedLevelError, match="the operand is at level 3"):
            X**exponent
    with pytest.raises(TypeError):
        2**X


def test_a_ciphertext_is_no_number(X, Y):
    for call in (bool, float, np.asarray, iter, pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretAccessError, match="Ciphertext"):
            call(X)
    for other in (X, Y, 1.0, x, None):
        for call in (lambda a, b: a == b, lambda a, b: a != b, lambda a, b: b == a):
            with pytest.raises(SecretAccessError, match="cannot be compared"):
                call(X, other)
    with pytest.raises(TypeError, match="unhashable"):
        hash(X)
    assert len(X) == SLOTS
    assert "512 values, level 3" in repr(X)


def test_functions_of_numpy_are_refused(X):
    for call in (np.sum, np.size, np.mean, np.round, np.shape):
        with pytest.raises(SecretAccessError, match=f"numpy.{call.__name__} takes none"):
            call(X)
    for call in (np.array_equal, np.dot, np.allclose, np.roll):
        with pytest.raises(SecretAccessError, match=f"numpy.{call.__name__} takes none"):
            call(X, x)
    for call in (np.add, np.multiply, np.matmul):  # neither element by element
        with pytest.raises(TypeError, match="__array_ufunc__"):
            call(x, X)
    assert isinstance(x + X, type(X))
    assert isinstance(np.float64(2) * X, type(X))


# The public party


def test_public_party_computes_what_the_holder_decrypts():
    holder = Ckks(parameters(2), "cpu", 11)
    party = holder.public()
    X, Y = party.encrypt(x), holder.encrypt(y)
    mine = (Y * X.rotate(3)).sum() + 0.5  # keys of either side serve
    assert_within(holder, mine, [(y * np.roll(x, -3)).sum() + 0.5])
    Z = party.encrypt(1j * x)
    assert_within(holder, Z.conjugate(), -1j * x)


# Devices


def test_emulator_computes_the_same_words(require_emulator):
    depth = 1
    results = []
    for device in ("cpu", "emulator"):
        holder = Ckks(parameters(depth), device, 5)
        X, Y = holder.encrypt(x), holder.encrypt_with_secret_key(y)
        made = [X, Y, X + Y, X * Y, (X * 0.5).rotate(3), X.at_level(0) - 0.25]
        to_numpy = holder.keys.ladder.backend.to_numpy
        results.append([to_numpy(each.components) for each in made])
        results[-1].append(holder.decrypt(made[3]))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)
