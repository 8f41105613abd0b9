"""The context: encryption of either kind, decryption, publication, and what it refuses."""

import copy
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ForkedProcessError,
    HeGpuError,
    KeyMismatchError,
    NoSecretKeyError,
    RangeError,
    SecretAccessError,
)
from he_gpu.he import decryption, flooding, noise
from he_gpu.he.container import pack, unpack
from he_gpu.he.context import Ckks
from he_gpu.he.keys import SecretKey
from he_gpu.he.randomness import expand
from he_gpu.ring import Prg, prg
from tests.he.contexts import DEGREE, SLOTS, assert_within, context, parameters, reals

x = reals(seed=1)
WAYS = ["encrypt", "encrypt_with_secret_key"]


@pytest.fixture(scope="module")
def holder():
    return context()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("n", [1, 2, 7, SLOTS])
def test_encrypt_and_decrypt(holder, way, n):
    X = getattr(holder, way)(x[:n])
    assert_within(holder, X, x[:n])
    assert len(X) == n
    assert (X.level, X.size) == (3, 1.0)


@pytest.mark.parametrize("way", WAYS)
def test_kinds_of_numbers(holder, way):
    call = getattr(holder, way)
    for values in ([1, 2, -300], np.array([True, False]), np.float32([0.5, 2.5]), (1, 2.5)):
        assert_within(holder, call(values), np.asarray(values, float))
    assert_within(holder, call([1j, 2]), [1j, 2])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64])
def test_integers_without_an_absolute_value(holder, way, kind):
    """The least of a type is larger than all others, and NumPy's absolute value of it is not."""
    least = np.iinfo(kind).min
    X = getattr(holder, way)(np.array([least, 1], kind))
    assert X.size == -float(least)
    assert np.abs(holder.decrypt(X) - [float(least), 1.0]).max() <= X.error


@pytest.mark.parametrize(("largest", "size"), [(0, 1), (0.3, 1), (1, 1), (1.1, 2), (-5, 8), (8, 8)])
def test_size_is_a_power_of_two(holder, largest, size):
    assert holder.encrypt([largest, 0.25 * largest]).size == size


@pytest.mark.parametrize("way", WAYS)
def test_refused_values(holder, way):
    call = getattr(holder, way)
    with pytest.raises(ArgumentValueError, match=f"1 to {SLOTS} numbers, got shape"):
        call(np.zeros(SLOTS + 1))
    for values in ([], 3.0, np.zeros((2, 2))):
        with pytest.raises(ArgumentValueError, match="must be a vector"):
            call(values)
    for bad in (np.nan, np.inf, complex(0, np.nan)):
        with pytest.raises(ArgumentValueError, match="NaN or infinity"):
            call([1.0, bad])
    for values in (["a"], [None], [object()]):
        with pytest.raises(ArgumentTypeError, match="must be numbers"):
            call(values)
    with pytest.raises(ArgumentValueError, match="one shape"):
        call([[1.0], [1.0, 2.0]])
    with pytest.raises(ArgumentTypeError, match="MaskedArray"):
        call(np.ma.masked_array([1.0, 2.0], [True, False]))
    for huge in (1e60, 1.7e308, 1.7e308 + 1.7e308j):
        with pytest.raises(RangeError, match=rf"^Ckks.{way}: level 3 holds .* take more depth"):
            call([huge])


def test_encryptions_of_one_vector_differ(holder):
    a, b = holder.encrypt(x), holder.encrypt(x)
    assert (a.components != b.components).mean() > 0.99
    a, b = holder.encrypt_with_secret_key(x), holder.encrypt_with_secret_key(x)
    assert (a.components != b.components).mean() > 0.99
    assert a.seed != b.seed


def test_seed_stands_for_half_of_a_secret_key_encryption(holder):
    X = holder.encrypt_with_secret_key(x)
    ring = holder.keys.ladder.ring(3)
    expanded = expand(X.seed, "ckks secret-key encryption", (), ring)
    np.testing.assert_array_equal(X.components[1], expanded)
    assert (-X).seed is None
    assert (X + 1.0).seed is None
    assert holder.encrypt(x).seed is None


def test_secret_key_encryption_has_less_error(holder):
    assert holder.encrypt_with_secret_key(x).precision_bits > holder.encrypt(x).precision_bits


def test_seeded_contexts_repeat_and_others_do_not():
    first, second = (Ckks(parameters(1), "cpu", 3) for _ in range(2))
    np.testing.assert_array_equal(first.encrypt(x).components, second.encrypt(x).components)
    assert first.keys.public.key_id == second.keys.public.key_id
    free, other = (Ckks(parameters(1), "cpu") for _ in range(2))
    assert len({each.keys.public.key_id for each in (first, free, other)}) == 3
    assert_within(free, free.encrypt(x) * x, x * x)


def test_parties_of_a_seeded_holder_draw_differently():
    holder = Ckks(parameters(1), "cpu", 3)
    party = holder.public([])
    contexts = [holder, party, holder.public([]), party.public([])]
    ciphertexts = [each.encrypt(x).components[1] for each in contexts]
    for k in range(len(contexts)):
        for others in ciphertexts[:k]:
            assert (ciphertexts[k] != others).mean() > 0.99


# Without the secret key


def test_public_context_encrypts_and_does_not_decrypt(holder):
    party = holder.public([1])
    assert holder.has_secret_key
    assert not party.has_secret_key
    X = party.encrypt(x)
    assert_within(holder, X, x)
    calls = (party.decrypt, party.decrypt_public, lambda _: party.encrypt_with_secret_key(x))
    for call in calls:
        with pytest.raises(PermissionError, match="no secret key"):
            call(X)
        with pytest.raises(NoSecretKeyError):
            call(X)
    assert issubclass(NoSecretKeyError, HeGpuError)


def reached(start):
    """All that an object of this package refers to, however deep."""
    seen, todo = {}, [start]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            todo += list(value.values())
        elif isinstance(value, list | tuple):
            todo += list(value)
        elif type(value).__module__.startswith("he_gpu.") and hasattr(value, "__dict__"):
            todo += list(vars(value).values())
        for cell in getattr(value, "__closure__", None) or ():
            todo.append(cell.cell_contents)
    return seen.values()


@pytest.mark.parametrize("seed", [1, None])
def test_public_context_reaches_no_secret(seed):
    """No secret key and no array that is one, no stream of the holder's, and not its seed."""
    holder = Ckks(parameters(2), "cpu", seed)
    ours = list(reached(holder))
    secret = next(value for value in ours if isinstance(value, SecretKey))
    streams = {value._key for value in ours if isinstance(value, Prg)}
    assert len(streams) >= 3
    for party in (holder.public([1]), holder.public([1]).public([1])):
        theirs = list(reached(party))
        assert len(theirs) > 20
        for value in theirs:
            assert not isinstance(value, SecretKey)
            if isinstance(value, np.ndarray) and value.shape == secret.values().shape:
                assert not np.array_equal(value, secret.values())
        assert not streams & {value._key for value in theirs if isinstance(value, Prg)}
        assert all(value != seed for value in vars(party).values() if isinstance(value, int))
        assert secret.ternary().tobytes() not in party.serialize()


# Refusals


def test_ciphertexts_of_others_are_refused(holder):
    with pytest.raises(KeyMismatchError, match=r"Ckks\.decrypt: .* another secret key"):
        holder.decrypt(context(seed=2).encrypt(x))
    with pytest.raises(KeyMismatchError, match="other parameters"):
        holder.decrypt(context(2).encrypt(x))
    with pytest.raises(ArgumentTypeError, match="a Ciphertext expected, got list"):
        holder.decrypt([1.0])


def test_other_devices_are_refused(holder, require_emulator):
    away = Ckks(parameters(3), "emulator", 1)
    assert away.keys.public.key_id == holder.keys.public.key_id
    with pytest.raises(KeyMismatchError, match="device 'emulator'"):
        holder.decrypt(away.encrypt(x))


def test_a_context_is_not_copied(holder):
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretAccessError, match="Ckks"):
            way(holder)
    assert "with the secret key" in repr(holder)
    assert "public" in repr(holder.public([]))


def test_params_must_be_parameters():
    with pytest.raises(ArgumentTypeError, match="params must be CkksParams, got int"):
        Ckks(3)


# Publication


@pytest.fixture(scope="module")
def publisher():
    return Ckks(parameters(1, public_queries=3, scale_bits=45), "cpu", 4)


@pytest.mark.parametrize("n", [SLOTS, 8])
def test_published_results_are_flooded_and_counted(n):
    publisher = Ckks(parameters(1, public_queries=3, scale_bits=45), "cpu", 4)
    X = publisher.encrypt(x[:n]) * 0.5
    bound = flooding.flooded(X.error, 3, 2 * n)
    deviation = flooding.deviation(X.error, 3, 2 * n)
    assert bound < 0.1
    quiet = publisher.decrypt(X)
    noises = []
    for _ in range(3):
        published = publisher.decrypt_public(X)
        assert np.abs(published - 0.5 * x[:n]).max() <= bound
        noises.append(published - quiet)
    # A slot's real part has half the variance of the slot.
    spread = np.std(noises) / (deviation / np.sqrt(2))
    assert spread == pytest.approx(1, abs=5 / np.sqrt(2 * 3 * n))
    assert abs(np.corrcoef(noises[0], noises[1])[0, 1]) < 5 / np.sqrt(n)
    with pytest.raises(ArgumentValueError, match="public_queries=3, and 3 results"):
        publisher.decrypt_public(X)


@pytest.mark.parametrize("error", [0.0, 1e-300, 2.0**-60])
@pytest.mark.parametrize("level", [1, 0])
def test_no_stated_error_keeps_the_noise_away(publisher, error, level):
    """Neither of a file nor of `replace`: no honest ciphertext's is below `noise.least`."""
    publisher._publications.count = 0
    X = publisher.encrypt(x).at_level(level)
    header, arrays = unpack(X.serialize(), ("a ciphertext",), "test")
    fields = {name: value for name, value in header._fields.items() if name != "arrays"}
    forged = pack(fields.pop("kind"), {**fields, "error": error}, arrays)
    least = noise.least(publisher.params.chain, level)
    loaded = publisher.load_ciphertext(forged)
    assert loaded.error == least <= X.error
    deviation = flooding.deviation(least, 3, DEGREE) / np.sqrt(2)
    for stated in (loaded, X.replace(error=error)):
        noises = publisher.decrypt_public(stated) - publisher.decrypt(X)
        assert np.std(noises) == pytest.approx(deviation, rel=5 / np.sqrt(2 * SLOTS))


def test_published_results_are_counted_across_threads(monkeypatch):
    """Also where a thread stops between looking at the count and raising it."""
    publisher = Ckks(parameters(1, public_queries=5, scale_bits=45), "cpu", 4)
    X, real = publisher.encrypt(x), decryption.Publications.check
    monkeypatch.setattr(
        decryption.Publications, "check", lambda self: (real(self), time.sleep(0.005))
    )

    def ask(_):
        try:
            return publisher.decrypt_public(X)
        except ArgumentValueError:
            return None

    with ThreadPoolExecutor(8) as pool:
        results = [result for result in pool.map(ask, range(20)) if result is not None]
    assert len(results) == 5
    assert len({result.tobytes() for result in results}) == 5


def test_a_forked_child_publishes_nothing(monkeypatch):
    """It would repeat its parent's noise, and its count."""
    publisher = Ckks(parameters(1, public_queries=5, scale_bits=45), "cpu")
    X, child = publisher.encrypt(x), os.getpid() + 1
    monkeypatch.setattr(prg.os, "getpid", lambda: child)
    for call in (publisher.encrypt, publisher.encrypt_with_secret_key):
        with pytest.raises(ForkedProcessError):
            call(x)
    with pytest.raises(ForkedProcessError):
        publisher.decrypt_public(X)


def test_publication_needs_parameters_for_it(holder):
    with pytest.raises(ArgumentValueError, match=r"=0, .* CkksParams\(public_queries=\) reserves"):
        holder.decrypt_public(holder.encrypt(x))


def test_values_beyond_the_stated_size_are_neither_decrypted_nor_published():
    """Such as those of values outside an interval, which are no numbers of anything."""
    publisher = Ckks(parameters(3, public_queries=4, scale_bits=45), "cpu", 4)
    X = publisher.encrypt([0.5, 3.0])
    outside = X.chebyshev([0, 0, 0, 0, 1])
    assert np.abs(publisher.decrypt_public(X) - [0.5, 3.0]).max() < 0.1
    for wrong in (outside, X.replace(size=0.1), X.replace(size=float("nan"))):
        for call in (publisher.decrypt, publisher.decrypt_public):
            message = rf"Ckks.{call.__name__}: (a value of size .* came out|level .* may reach nan)"
            with pytest.raises(ArgumentValueError, match=message):
                call(wrong)
    assert publisher._publications.count == 3  # whether one is refused says something too


def test_noise_that_the_level_cannot_hold_is_refused():
    publisher = Ckks(parameters(1, public_queries=1, scale_bits=45), "cpu", 4)
    X = publisher.encrypt(x).at_level(0)
    spoilt = X.replace(error=1.0)
    with pytest.raises(RangeError, match="decrypt_public: level 0 holds"):
        publisher.decrypt_public(spoilt)
    with pytest.raises(RangeError, match="decrypt_public: level 0 holds"):
        publisher.decrypt_public(X.replace(error=1e308))
    publisher.decrypt_public(X)  # the refused ones were not counted


# How right it is


def test_decryption_counts_its_own_error():
    """Where numbers are precise to all bits of float64, decoding has more error than they."""
    holder = Ckks(parameters(1, scale_bits=90), "cpu", 5)
    worst = 0.0
    for number in (1 / 3, 100.0, -100.25):
        X = holder.encrypt(x) + number
        error = float(np.abs(holder.decrypt(X) - (x.astype(np.longdouble) + number)).max())
        worst = max(worst, error / X.error)
        assert error <= noise.decryption(X.error, X.size, DEGREE)
    assert worst > 1


def test_the_largest_numbers_of_a_long_chain():
    """A modulus may hold more than float64 decodes: what comes back is right, or it is refused."""
    holder = Ckks(parameters(50, scale_bits=24), "cpu", 5)
    most = holder.params.largest(50)
    assert 1e270 < most < 1e300
    X = holder.encrypt_with_secret_key([0.4 * most, 1.0])
    assert np.abs(holder.decrypt(X) - [0.4 * most, 1.0]).max() <= X.error
    for number in (1.1 * most, 1.7e308):
        with pytest.raises(RangeError, match="level 50 holds values below"):
            holder.encrypt([number])
