"""Session: its parties, arguments, life and refusals, as the public contract has them."""

import copy
import inspect
import pickle
import threading

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import cuda
from tests.conftest import require_device

# The contract


def test_defaults_of_the_contract():
    parameters = inspect.signature(he.Session).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults["protocol"] == "additive"
    assert defaults["modulus"] == 2**64
    assert defaults["frac_bits"] == 16
    assert defaults["device"] == "auto"
    assert defaults["seed"] is None
    session = he.Session(device="cpu")
    assert session.parties == ("alice", "bob")
    assert session.n_parties == 2
    assert session.device == "cpu"
    assert he.Session(protocol="plain", device="cpu").n_parties == 1


def test_the_contract_snippet(device):
    with he.Session(protocol="additive", parties=("alice", "bob"), modulus=2**64, frac_bits=16,
                    device=device, seed=None) as s:  # fmt: skip
        X = s.share(np.array([[0.0, 1.0], [1.0, 1.0]]))
        W = s.share(np.ones((2, 1)))
        Y = (X @ W - 1.5) * X.sum(axis=1, keepdims=True)
        values = Y.reveal()
        # X @ W within u, times a factor up to 2, plus the product's own u.
        assert np.abs(values - [[-0.5], [1.0]]).max() < 3 * 2.0**-16
        assert values.dtype == np.float64
        assert Y.shares.shape == (2, 2, 1)
        assert Y.shares.dtype == np.uint64
        assert s.cost.rounds == 5  # two for each product, one to reveal
        assert s.cost.bytes_sent > 0
        assert s.cost.dealer_bytes > 0
        assert s.device == device


def test_auto_is_a_device_that_works():
    session = he.Session()
    assert session.device == ("cpu" if cuda.probe(0) else "cuda")
    assert session.share(1.5).reveal() == 1.5


@pytest.mark.parametrize(
    ("parties", "names"),
    [
        (2, ("party0", "party1")),
        (np.int64(3), ("party0", "party1", "party2")),
        (("a", "b", "c"), ("a", "b", "c")),
        (["a", "b"], ("a", "b")),
        (None, ("alice", "bob")),
    ],
)
def test_parties(parties, names):
    session = he.Session(parties=parties, device="cpu")
    assert session.parties == names
    assert session.n_parties == len(names)
    assert session.share([1.0]).shares.shape == (len(names), 1)


def test_one_party_in_the_plain():
    assert he.Session(protocol="plain", parties=1, device="cpu").n_parties == 1
    assert he.Session(protocol="plain", parties=("me",), device="cpu").parties == ("me",)


@pytest.mark.parametrize(("frac_bits", "modulus"), [(0, 2**64), (30, 2**64), (14, 2**32)])
def test_frac_bits_at_both_ends(frac_bits, modulus):
    session = he.Session(frac_bits=frac_bits, modulus=modulus, device="cpu", seed=1)
    x = np.array([1.0, -1.0, 0.0])
    X = session.share(x)
    assert np.abs((X * X).reveal() - x * x).max() < 2.0**-frac_bits or frac_bits == 0
    if frac_bits == 0:  # nothing to truncate
        assert (X * X).reveal().tolist() == [1.0, 1.0, 0.0]


def test_the_seed_repeats_every_share():
    def shares(seed):
        session = he.Session(parties=3, device="cpu", seed=seed)
        X = session.share(np.arange(4.0))
        return X.shares.tolist(), (X * X).shares.tolist()

    assert shares(5) == shares(5)
    assert shares(5)[0] != shares(6)[0]
    assert shares(5)[1] != shares(6)[1]


def test_a_seed_warns():
    with pytest.warns(he.errors.InsecureSeedWarning, match="for tests and benchmarks only"):
        he.Session(seed=1, device="cpu")


def test_devices_share_alike(require_emulator):
    """The same seed gives the same words on every device."""
    stacks = []
    for device in ("cpu", "emulator"):
        session = he.Session(parties=3, device=device, seed=9)
        X = session.share(np.arange(6.0).reshape(2, 3))
        stacks.append(((X @ X.T) * 0.3 - X[:, :1]).shares.tolist())
    assert stacks[0] == stacks[1]


def test_owners():
    session = he.Session(parties=("a", "b", "c"), device="cpu", seed=1)
    x = np.zeros(50)
    for index, owner in enumerate(session.parties):
        stack = session.share(x, owner=owner).shares
        assert (stack.sum(0, dtype=np.uint64) == 0).all()
        # The others' shares come from keys, the owner's share balances them.
        others = np.delete(stack, index, axis=0).sum(0, dtype=np.uint64)
        assert ((others + stack[index]) == 0).all()
    first = he.Session(parties=("a", "b", "c"), device="cpu", seed=1).share(x).shares
    assert first.tolist() == (
        he.Session(parties=("a", "b", "c"), device="cpu", seed=1)
        .share(x, owner="a")
        .shares.tolist()
    )


def test_cost_is_a_difference_of_moments():
    session = he.Session(parties=3, device="cpu")
    X = session.share(np.ones(10))
    before = session.cost
    X.reveal()
    between = session.cost - before
    assert between == he.Cost(rounds=1, bytes_sent=10 * 8 * 2, dealer_bytes=0)
    with pytest.raises(AttributeError):
        between.rounds = 0


# The current session


def test_with_makes_a_session_current():
    assert he.current_session() is None
    with he.Session(device="cpu") as outer:
        assert he.current_session() is outer
        with he.Session(device="cpu") as inner:
            assert he.current_session() is inner
        assert inner.closed
        assert he.current_session() is outer
    assert outer.closed
    assert he.current_session() is None


def test_an_error_inside_with_closes_too():
    session = he.Session(device="cpu")
    with pytest.raises(KeyError, match="mine"), session:
        raise KeyError("mine")
    assert session.closed
    assert he.current_session() is None


def test_threads_have_a_current_session_of_their_own():
    seen = []
    with he.Session(device="cpu"):
        thread = threading.Thread(target=lambda: seen.append(he.current_session()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_without_with():
    session = he.Session(device="cpu")
    assert he.current_session() is None
    assert session.share(2.0).reveal() == 2.0
    assert not session.closed
    session.close()
    assert session.closed
    session.close()  # twice is fine


def test_a_closed_session_is_not_used():
    session = he.Session(device="cpu")
    X = session.share(1.0)
    session.close()
    for call in (
        lambda: session.share(1.0),
        lambda: list(session.steps(2)),
        lambda: session.__enter__(),
        lambda: X + X,
        X.reveal,
        lambda: he.ReservoirRegressor(width=2).fit([[1.0]], [1.0], session=session),
    ):
        with pytest.raises(he.errors.SessionClosedError, match="the session is closed"):
            call()
        with pytest.raises(RuntimeError):
            call()
    assert "closed" in repr(session)


# Steps


def test_steps_count():
    session = he.Session(device="cpu")
    assert list(session.steps(4)) == [0, 1, 2, 3]
    assert list(session.steps(0)) == []


@pytest.mark.parametrize("n", [1.5, "3", None])
def test_steps_of_wrong_type(n):
    with pytest.raises(he.errors.ArgumentTypeError):
        list(he.Session(device="cpu").steps(n))


def test_negative_steps():
    with pytest.raises(he.errors.ArgumentValueError):
        list(he.Session(device="cpu").steps(-1))


def test_steps_may_be_left_early():
    session = he.Session(device="cpu", seed=2)
    x = np.array([1.5, -2.0])
    X = session.share(x)
    for step in session.steps(10):
        X * X
        if step == 2:
            break
    steps = session.steps(10)
    assert next(steps) == 0
    X * X
    with pytest.raises(KeyError):  # as from the body of a loop
        steps.throw(KeyError)
    assert np.abs((X * X).reveal() - x * x).max() < 2.0**-16


def test_steps_cost_what_single_calls_cost():
    costs = []
    for bulk in (False, True):
        session = he.Session(parties=3, device="cpu", seed=2)
        X = session.share(np.ones((3, 3)))
        for _ in session.steps(7) if bulk else range(7):
            X @ X * 0.3
        costs.append(session.cost)
    assert costs[0] == costs[1]


# Refusals


@pytest.mark.parametrize("protocol", ["additiv", "", None, 3, "bgw", ["additive"]])
def test_unknown_protocol(protocol):
    with pytest.raises(he.errors.ArgumentValueError, match="protocol must be one of"):
        he.Session(protocol=protocol, device="cpu")


@pytest.mark.parametrize("parties", [1, 2, 4, ("alice", "bob")])
def test_replicated_needs_three_parties(parties):
    with pytest.raises(he.errors.ArgumentValueError, match="needs exactly 3 parties, got"):
        he.Session(protocol="replicated", parties=parties, device="cpu")
    assert he.Session(protocol="replicated", device="cpu").parties == ("alice", "bob", "carol")


@pytest.mark.parametrize("parties", [1, 0, -1, (), ("alone",)])
def test_too_few_parties(parties):
    with pytest.raises(he.errors.ArgumentValueError, match="needs at least 2 parties, got"):
        he.Session(parties=parties, device="cpu")


@pytest.mark.parametrize("parties", [2, ("a", "b"), 0])
def test_plain_has_one_party(parties):
    with pytest.raises(he.errors.ArgumentValueError, match="needs exactly 1 party, got"):
        he.Session(protocol="plain", parties=parties, device="cpu")


def test_names_must_differ():
    with pytest.raises(he.errors.ArgumentValueError, match="names must differ"):
        he.Session(parties=("a", "b", "a"), device="cpu")


@pytest.mark.parametrize("parties", [2.0, True, "ab", b"ab", {"a", "b"}, ("a", 2), ("a", ""), 1j])
def test_parties_of_wrong_type(parties):
    with pytest.raises(he.errors.ArgumentTypeError, match="Session: "):
        he.Session(parties=parties, device="cpu")


@pytest.mark.parametrize("modulus", [501337, 2**63, 2, 2**16, 2**64 - 1, 2**128, 0, -(2**64)])
def test_a_modulus_that_does_not_wrap(modulus):
    with pytest.raises(he.errors.ArgumentValueError, match="modulus must be"):
        he.Session(modulus=modulus, device="cpu")


@pytest.mark.parametrize("modulus", [2.0**64, "2**64", None, True])
def test_modulus_of_wrong_type(modulus):
    with pytest.raises(he.errors.ArgumentTypeError, match="modulus must be an integer"):
        he.Session(modulus=modulus, device="cpu")


@pytest.mark.parametrize(("frac_bits", "modulus"), [(31, 2**64), (-1, 2**64), (15, 2**32)])
def test_frac_bits_out_of_range(frac_bits, modulus):
    with pytest.raises(
        he.errors.ArgumentValueError, match=rf"frac_bits must be .* got {frac_bits}"
    ):
        he.Session(frac_bits=frac_bits, modulus=modulus, device="cpu")


@pytest.mark.parametrize("frac_bits", [16.0, "16", None, True])
def test_frac_bits_of_wrong_type(frac_bits):
    with pytest.raises(he.errors.ArgumentTypeError, match="frac_bits must be an integer"):
        he.Session(frac_bits=frac_bits, device="cpu")


@pytest.mark.parametrize("seed", [1.5, "1", True, b"1"])
def test_seed_of_wrong_type(seed):
    with pytest.raises(he.errors.ArgumentTypeError, match="seed must be None or an int"):
        he.Session(seed=seed, device="cpu")


@pytest.mark.parametrize("device", ["tpu", "cpu:0", "cuda:", "cuda:one", "CUDA", ""])
def test_unknown_device(device):
    with pytest.raises(he.errors.UnknownDeviceError, match="device must be 'auto', 'cpu', 'cuda'"):
        he.Session(device=device)
    with pytest.raises(ValueError, match="got"):
        he.Session(device=device)


@pytest.mark.parametrize("device", [None, 0, b"cpu"])
def test_device_of_wrong_type(device):
    with pytest.raises(he.errors.ArgumentTypeError, match="device must be a string"):
        he.Session(device=device)


def test_cuda_without_a_gpu_says_what_is_missing():
    missing = cuda.probe(0)
    if missing is None:
        pytest.skip("this machine has a GPU")
    calls = (
        lambda: he.Session(device="cuda"),
        lambda: he.Ring(7, device="cuda"),
        lambda: he.encrypt(2, device="cuda"),
        lambda: he.Session(device="cuda:1"),
    )
    for call in calls:
        with pytest.raises(he.errors.DeviceUnavailableError, match="is not available: ") as caught:
            call()
        assert isinstance(caught.value, RuntimeError)
        assert len(str(caught.value).partition("is not available: ")[2]) > 10
    with pytest.raises(RuntimeError) as caught:
        calls[0]()
    assert missing in str(caught.value)


def test_a_gpu_that_is_not_there():
    require_device("cuda")
    with pytest.raises(he.errors.DeviceUnavailableError, match="cuda:99"):
        he.Session(device="cuda:99")


@pytest.mark.parametrize("owner", ["carol", "", 0, None.__class__, ("alice",)])
def test_unknown_owner(owner):
    with pytest.raises(he.errors.ArgumentValueError, match="owner must be one of"):
        he.Session(device="cpu").share(1.0, owner=owner)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.nan, ValueError),
        ([1.0, np.inf], ValueError),
        (-np.inf, ValueError),
        (2.0**30, ValueError),
        (-(2.0**30), ValueError),
        (10**30, ValueError),
        (np.uint64(2**63), ValueError),
        ([[1], [2, 3]], ValueError),
        (1j, TypeError),
        ("1.0", TypeError),
        (b"1", TypeError),
        (None, TypeError),
        ([None], TypeError),
        ({}, TypeError),
        (np.array(["a"]), TypeError),
        (np.array("2020-01-01", "M8[D]"), TypeError),
    ],
)
def test_what_cannot_be_shared(value, error):
    with pytest.raises(he.errors.HeGpuError, match=r"share: x ") as caught:
        he.Session(device="cpu").share(value)
    assert isinstance(caught.value, error)


def test_the_range_is_named():
    with pytest.raises(
        he.errors.RangeError, match=r"\|x\| < 2\*\*30 with 16 fraction bits.*1e\+12"
    ):
        he.Session(device="cpu").share([1.0, -1e12])


def test_a_secret_is_not_shared_again():
    session = he.Session(device="cpu")
    with pytest.raises(he.errors.ArgumentTypeError, match="SecretTensor already"):
        session.share(session.share(1.0))


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_session_is_neither_pickled_nor_copied(duplicate):
    session = he.Session(device="cpu")
    with pytest.raises(he.errors.SecretAccessError, match=r"cannot be pickled or copied.*reveal"):
        duplicate(session)
    for part in (session.scheme, [session.share(1.0)], {"s": session}):
        with pytest.raises(TypeError):
            pickle.dumps(part)


def test_repr_names_the_parameters():
    text = repr(he.Session(parties=("a", "b"), frac_bits=12, device="cpu", seed=77))
    assert text == (
        "Session(protocol='additive', parties=('a', 'b'), modulus=2**64, frac_bits=12, "
        "device='cpu')"
    )
    assert "77" not in text
