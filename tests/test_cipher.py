"""The tutorial's cipher, to the letter of the public contract."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import he_gpu as he

Q = 501337
MODULI = (2, 3, 97, Q, 2**31 - 1, 2**32, 2**61 - 1, 2**63 - 25, 2**63, 2**64)
moduli = pytest.mark.parametrize("modulus", MODULI)


def reduced(values, modulus):
    """Integers modulo the ring by Python's own arithmetic, as uint64."""
    if isinstance(values, np.ndarray | np.generic):
        values = np.asarray(values).astype(object)
    values = np.asarray(np.array(values, dtype=object) % modulus, dtype=object)
    return values.astype(np.uint64)


def same(result, values, modulus):
    expected = reduced(values, modulus)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.uint64
    assert result.shape == expected.shape
    assert result.tolist() == expected.tolist()


def host(share):
    return share.get() if hasattr(share, "get") else share


# The contract's own lines


def test_the_tutorial(device):
    x, y = he.encrypt(2, device=device), he.encrypt(5, device=device)
    assert isinstance(x, he.Shares)
    assert isinstance(x, tuple)
    assert len(x) == 3
    assert x.modulus == Q
    assert he.decrypt(*he.add(x, y)) == 7
    assert he.decrypt(*he.product(x, 10)) == 20
    assert he.decrypt(*x) == 2


def test_defaults_of_the_contract():
    parameters = inspect.signature(he.encrypt).parameters
    assert [parameters[name].default for name in ("n_shares", "modulus", "device")] == [
        3,
        Q,
        "auto",
    ]
    for function in (he.encrypt, he.decrypt, he.add, he.product, he.matmul):
        assert "modulus" in inspect.signature(function).parameters
    x = he.encrypt(2)
    assert len(x) == 3
    assert he.decrypt(*x).shape == ()


def test_results(device):
    x = he.encrypt([[1, -2], [3, 4]], device=device)
    same(he.decrypt(*x), [[1, -2], [3, 4]], Q)
    for share in x:
        assert share.shape == (2, 2)
        assert host(share).dtype == np.uint64
        assert int(share.max()) < Q


def test_two_of_three_shares_are_nonsense():
    """The sum of two shares of 7 is uniform: it hits 7 once in 501337."""
    partial = [int(he.decrypt(*he.add(he.encrypt(2), he.encrypt(5))[:2])) for _ in range(400)]
    # 400 uniform values: 4 times the same one has probability below 400^4 / 24 / Q^3 < 1e-8.
    assert partial.count(7) <= 2
    assert len(set(partial)) > 390  # 400^2 / 2 / Q = 0.16 coincidences are expected


def test_a_sample_of_any_two_shares_misses_the_secret(device):
    x = he.encrypt(np.full(300, 7), device=device)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        values = he.decrypt(x[i], x[j])
        assert (values == 7).sum() <= 2
        assert len(np.unique(values)) > 290


# Round trips and homomorphisms

PYTHON_INTEGERS = [0, 1, -1, 2**64, -(2**64) - 5, 10**40, -(10**40)]


@moduli
@pytest.mark.parametrize("n_shares", [2, 3, 4, 5])
def test_round_trip(device, modulus, n_shares):
    for value in (7, -7, PYTHON_INTEGERS, np.arange(-3, 3, dtype=np.int8).reshape(2, 3),
                  np.array([0, 2**64 - 1], np.uint64), [[]], np.zeros((2, 0, 3), int)):  # fmt: skip
        shares = he.encrypt(value, n_shares, modulus, device)
        assert len(shares) == n_shares
        assert shares.modulus == modulus
        same(he.decrypt(*shares, modulus=modulus), np.array(value, dtype=object), modulus)


@moduli
def test_add_product_and_matmul(device, modulus):
    a = np.array([[2**63 + 5, -3, 10**30], [4, modulus - 1, -(2**64)]], dtype=object)
    b = np.array([[7, modulus // 2, -1], [0, modulus - 1, 3**50]], dtype=object)
    x = he.encrypt(a, modulus=modulus, device=device)
    y = he.encrypt(b, modulus=modulus, device=device)
    for total in (he.add(x, y), he.add(x, y, modulus=modulus)):
        same(he.decrypt(*total, modulus=modulus), a + b, modulus)
    same(he.decrypt(*he.product(x, b), modulus=modulus), a * b, modulus)
    same(he.decrypt(*he.product(x, -3), modulus=modulus), a * -3, modulus)
    same(he.decrypt(*he.matmul(x, b.T), modulus=modulus), a @ b.T, modulus)


def test_contract_line_of_matmul(device):
    X, W = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4) - 6
    shares = he.matmul(he.encrypt(X, modulus=2**64, device=device), W, modulus=2**64)
    same(he.decrypt(*shares, modulus=2**64), X @ W, 2**64)


def test_linear_combination(device):
    x, y = he.encrypt([1, 2, 3], device=device), he.encrypt(10, device=device)
    z = he.add(he.product(x, [3, -2, 1]), he.product(y, 5))
    same(he.decrypt(*z), [53, 46, 53], Q)


@st.composite
def secrets(draw):
    modulus = draw(st.one_of(st.sampled_from(MODULI), st.integers(2, 2**63)))
    n_shares = draw(st.integers(2, 5))
    values = st.integers(-(2**70), 2**70)
    x = draw(st.lists(values, max_size=6))
    y = draw(st.lists(values, min_size=len(x), max_size=len(x)))
    return modulus, n_shares, x, y, draw(values)


@given(secrets())
def test_reconstruct_of_split_is_the_identity_and_linear(case):
    modulus, n, x, y, factor = case
    a, b = (he.encrypt(v, n, modulus, "cpu") for v in (x, y))
    same(he.decrypt(*a, modulus=modulus), np.array(x, object), modulus)
    combined = he.add(he.product(a, factor), b)
    expected = np.array(x, object) * factor + np.array(y, object)
    same(he.decrypt(*combined, modulus=modulus), expected, modulus)


def test_shares_of_one_secret_differ_between_calls(device):
    x = np.arange(20)
    first, second = he.encrypt(x, device=device), he.encrypt(x, device=device)
    for a, b in zip(first, second, strict=True):
        assert (host(a) != host(b)).any()


# Shapes

BROADCASTS = [((), (3,)), ((3,), ()), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((), ())]


@pytest.mark.parametrize(("left", "right"), BROADCASTS)
def test_broadcasting(device, left, right):
    a = np.arange(int(np.prod(left))).reshape(left) + 3
    b = np.arange(int(np.prod(right))).reshape(right) - 5
    x, y = he.encrypt(a, device=device), he.encrypt(b, device=device)
    same(he.decrypt(*he.add(x, y)), np.add(a, b), Q)
    same(he.decrypt(*he.product(x, b)), np.multiply(a, b), Q)


MATRICES = [
    ((2, 3), (3, 4)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((3,), (3,)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((2, 0), (0, 4)),
]


@pytest.mark.parametrize(("left", "right"), MATRICES)
@pytest.mark.parametrize("modulus", [Q, 2**61 - 1, 2**64])
def test_matmul_shapes(device, left, right, modulus):
    a = np.arange(int(np.prod(left))).reshape(left) - 4
    b = np.arange(int(np.prod(right))).reshape(right) - 7
    x = he.encrypt(a, modulus=modulus, device=device)
    same(he.decrypt(*he.matmul(x, b), modulus=modulus), np.matmul(a, b), modulus)


def test_operands_of_many_kinds():
    x = he.encrypt([1, 2, 3], device="cpu")
    for factor in (10, np.int64(10), np.uint8(10), np.array(10), [10, 10, 10], np.full(3, 10)):
        same(he.decrypt(*he.product(x, factor)), [10, 20, 30], Q)
    # Shares as they would arrive over a wire: plain tuples and lists of arrays or numbers.
    wire = [share.tolist() for share in x]
    same(he.decrypt(*wire), [1, 2, 3], Q)
    same(he.decrypt(*he.add(tuple(x), wire)), [2, 4, 6], Q)
    same(he.decrypt(*[share.astype(np.int32) for share in x]), [1, 2, 3], Q)
    same(he.decrypt(*[int(share) for share in he.encrypt(9, device="cpu")]), 9, Q)


def test_decrypt_takes_the_shares_whole(device):
    x = he.encrypt([5, 6], modulus=2**64, device=device)
    same(he.decrypt(x), [5, 6], 2**64)
    same(he.decrypt(*x, modulus=2**64), [5, 6], 2**64)


def test_results_do_not_alias_their_operands(device):
    x = he.encrypt([1, 2], device=device)
    total, scaled = he.add(x, he.encrypt([0, 0], device=device)), he.product(x, 1)
    for share in (*total, *scaled):
        share[...] = 0
    values = he.decrypt(*x)
    values[...] = 0
    same(he.decrypt(*x), [1, 2], Q)


def test_the_emulator_really_ran(require_emulator):
    from he_gpu.backend.emulator.device import launches

    before = launches.copy()
    x = he.encrypt([[1, 2], [3, 4]], device="emulator")
    he.matmul(he.product(he.add(x, x), 3), [[1, 0], [0, 1]])
    ran = {name.partition("_")[0] for name in (launches - before)}
    assert {"split", "add", "mul", "matmul"} <= ran


# Refusals


@pytest.mark.parametrize("n_shares", [1, 0, -3])
def test_fewer_than_two_shares(n_shares):
    with pytest.raises(he.errors.ArgumentValueError, match=rf"n_shares must be .* got {n_shares}"):
        he.encrypt(2, n_shares=n_shares)


@pytest.mark.parametrize("n_shares", [2.0, "3", None, True])
def test_number_of_shares_of_wrong_type(n_shares):
    with pytest.raises(he.errors.ArgumentTypeError, match="n_shares must be an integer"):
        he.encrypt(2, n_shares=n_shares)


@pytest.mark.parametrize("modulus", [1, 0, -Q, 2**63 + 1, 2**64 - 1, 2**65])
def test_modulus_out_of_range(modulus):
    x = [np.zeros(2, np.uint64)] * 3
    for call in (
        lambda: he.encrypt(2, modulus=modulus),
        lambda: he.decrypt(*x, modulus=modulus),
        lambda: he.add(x, x, modulus=modulus),
        lambda: he.product(x, 3, modulus=modulus),
        lambda: he.matmul(x, [1, 2], modulus=modulus),
    ):
        with pytest.raises(
            he.errors.ArgumentValueError, match=r"modulus must be in \[2, 2\*\*63\]"
        ):
            call()


@pytest.mark.parametrize("modulus", [7.0, "7", True])
def test_modulus_of_wrong_type(modulus):
    with pytest.raises(he.errors.ArgumentTypeError, match="modulus must be an integer"):
        he.encrypt(2, modulus=modulus)


@pytest.mark.parametrize(
    "value", [1.0, [1, 2.5], np.zeros(2), np.float32(1), 1j, "2", None, [None]]
)
def test_encrypt_refuses_floats_and_other_types(value):
    with pytest.raises(he.errors.ArgumentTypeError, match="encrypt: integers expected"):
        he.encrypt(value)


@pytest.mark.parametrize("value", [1.0, [1, 2.5], np.zeros(2), 1j, "2", None])
def test_plaintext_operands_refuse_floats(value):
    x = he.encrypt([1, 2], device="cpu")
    with pytest.raises(he.errors.ArgumentTypeError, match="product: integers expected"):
        he.product(x, value)
    with pytest.raises(he.errors.ArgumentTypeError, match="matmul: integers expected"):
        he.matmul(x, value)


def test_shares_of_floats_are_refused():
    for bad in (np.zeros(2), [0.5, 1.5], "ab", None, 1.5):
        with pytest.raises(he.errors.ArgumentTypeError, match="share"):
            he.decrypt(bad, bad)


def test_lists_of_unequal_lengths():
    with pytest.raises(he.errors.HeGpuError):
        he.encrypt([[1, 2], [3]])


def test_unequal_numbers_of_shares():
    x, y = he.encrypt(2, n_shares=3), he.encrypt(5, n_shares=2)
    with pytest.raises(he.errors.ArgumentValueError, match="as many shares, got 3 and 2"):
        he.add(x, y)


def test_moduli_that_disagree(device):
    x, y = he.encrypt(2, modulus=7, device=device), he.encrypt(5, modulus=11, device=device)
    for call in (
        lambda: he.add(x, y),
        lambda: he.add(x, x, modulus=11),
        lambda: he.product(x, 3, modulus=11),
        lambda: he.matmul(x, [1], modulus=11),
        lambda: he.decrypt(x, modulus=11),
    ):
        with pytest.raises(he.errors.ArgumentValueError, match=r"moduli disagree, got \[7, 11\]"):
            call()


def test_a_share_not_below_the_modulus():
    good, beyond = np.array([1, 2], np.uint64), np.array([1, Q], np.uint64)
    negative = np.array([1, -1])
    for bad, value in ((beyond, Q), (negative, -1)):
        message = rf"a share must lie in \[0, {Q}\), got {value}"
        for call in (
            lambda bad=bad: he.decrypt(good, bad),
            lambda bad=bad: he.add((good, good), (good, bad)),
            lambda bad=bad: he.product((good, bad), 3),
            lambda bad=bad: he.matmul((good, bad), [1, 2]),
        ):
            with pytest.raises(he.errors.ArgumentValueError, match=message):
                call()
    with pytest.raises(he.errors.ArgumentValueError, match="a share must lie in"):
        he.decrypt(Q, 0)
    # Shares of another ring, told by their size: 2^64's words into the default modulus.
    with pytest.raises(he.errors.ArgumentValueError, match="a share must lie in"):
        he.decrypt(*he.encrypt(np.zeros(50, int), modulus=2**64))


def test_shapes_that_do_not_fit(device):
    x = he.encrypt(np.zeros((2, 3), int), device=device)
    with pytest.raises(he.errors.ArgumentValueError, match=r"add: shapes .* do not broadcast"):
        he.add(x, he.encrypt(np.zeros(2, int), device=device))
    with pytest.raises(he.errors.ArgumentValueError, match=r"product: shapes .* do not broadcast"):
        he.product(x, [1, 2])
    with pytest.raises(he.errors.ArgumentValueError, match=r"matmul: inner dimensions differ"):
        he.matmul(x, np.zeros((2, 3), int))
    with pytest.raises(he.errors.ArgumentValueError, match="0-d"):
        he.matmul(x, 3)
    with pytest.raises(he.errors.ArgumentValueError, match="0-d"):
        he.matmul(he.encrypt(3, device=device), [1, 2])
    with pytest.raises(he.errors.ArgumentValueError, match=r"matmul: .* do not broadcast"):
        he.matmul(he.encrypt(np.zeros((2, 2, 3), int), device=device), np.zeros((3, 3, 1), int))


def test_shares_of_different_shapes():
    with pytest.raises(he.errors.ArgumentValueError, match="shares must have one shape"):
        he.decrypt(np.zeros(2, np.uint64), np.zeros(3, np.uint64))


def test_no_shares():
    with pytest.raises(he.errors.ArgumentValueError, match="at least one share expected"):
        he.decrypt()
    with pytest.raises(he.errors.ArgumentValueError, match="at least one share expected"):
        he.add((), ())


def test_operands_that_are_no_shares():
    x = he.encrypt(2, device="cpu")
    for bad in (5, None, np.zeros(3, np.uint64), "abc", {1, 2}):
        with pytest.raises(he.errors.ArgumentTypeError, match="shares must be a tuple"):
            he.add(x, bad)
        with pytest.raises(he.errors.ArgumentTypeError, match="shares must be a tuple"):
            he.product(bad, 3)


def test_a_secret_second_operand_is_refused():
    x = he.encrypt([1, 2], device="cpu")
    for function in (he.product, he.matmul):
        with pytest.raises(he.errors.ArgumentTypeError, match="must be plaintext, got Shares"):
            function(x, x)


def test_devices_are_not_mixed(require_emulator):
    x, y = he.encrypt(2, device="cpu"), he.encrypt(5, device="emulator")
    with pytest.raises(he.errors.ArgumentValueError, match="two devices, cpu and emulator"):
        he.add(x, y)


def test_unknown_device():
    with pytest.raises(he.errors.UnknownDeviceError, match="got 'tpu'"):
        he.encrypt(2, device="tpu")


def test_tensors_of_a_session_have_operators_instead():
    with he.Session(device="cpu", seed=1) as s:
        x, shares = s.share([[1.0]]), he.encrypt([[1]], device="cpu")
        for call, written in (
            (lambda: he.add(x, x), r"add: .*write x \+ y"),
            (lambda: he.add(shares, x), r"add: .*write x \+ y"),
            (lambda: he.product(x, 2), r"product: .*write x \* y"),
            (lambda: he.product(shares, x), r"product: .*write x \* y"),
            (lambda: he.matmul(x, x), "matmul: .*write x @ y"),
            (lambda: he.matmul(shares, x), "matmul: .*write x @ y"),
            (lambda: he.decrypt(x), r"decrypt: .*write x\.reveal\(\)"),
            (lambda: he.decrypt(x, x), r"decrypt: .*write x\.reveal\(\)"),
        ):
            with pytest.raises(he.errors.ArgumentTypeError, match=f"^{written}"):
                call()
