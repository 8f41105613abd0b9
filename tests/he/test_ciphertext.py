"""Operators of ciphertexts against NumPy within the stated bounds, and what they refuse."""

import copy
import pickle
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
    assert (X * np.int64(5)).level == 3
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


def test_exhausted_levels_are_refused_before_anything_is_computed(X, monkeypatch):
    low = X.at_level(0)
    monkeypatch.setattr(type(X.keys.ladder), "ring", lambda self, level: pytest.fail("computed"))
    for call in (
        lambda: low * low,
        lambda: low * X,
        lambda: X * low,
        lambda: low * 0.5,
        lambda: low * x,
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


def test_sum_counts_every_slot_once(holder):
    v = reals(5)
    X = holder.encrypt(v)
    assert_within(holder, (X + 1).sum(), [v.sum() + 5])  # 1 stands in five slots
    assert_within(holder, (X + X.rotate(2)).sum(), [2 * v.sum()])
    assert_within(holder, (X * X.rotate(1)).sum(), [(v[:-1] * v[1:]).sum()])
    assert_within(holder, (X * 0.5 + 1).rotate(-3).sum(), [0.5 * v.sum() + 5])
    assert_within(holder, X.sum() + 0.5, [v.sum() + 0.5])


def test_rotate_refuses_what_is_no_integer(X):
    with pytest.raises(ArgumentTypeError, match="steps must be an integer, got float"):
        X.rotate(1.5)


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


def test_a_ciphertext_is_no_number(X):
    for call in (bool, float, np.asarray, iter, pickle.dumps, copy.copy):
        with pytest.raises(SecretAccessError, match="Ciphertext"):
            call(X)
    assert len(X) == SLOTS
    assert "512 values, level 3" in repr(X)


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
