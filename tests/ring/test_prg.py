"""Keys, nonces and uniform words: never the same twice, the same on every device."""

import copy
import json
import os
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import cpu, get_backend
from he_gpu.backend.definition import prg as definition
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ForkedProcessError,
    InsecureSeedWarning,
    SecretAccessError,
)
from he_gpu.ring import KeyRing, Prg
from he_gpu.ring.prg import MAX_BLOCKS, hkdf_sha256
from tests.uniformity import LIMIT, assert_uniform, chi_square_score, uniformity_scores

VECTORS = Path(__file__).parents[1] / "vectors" / "hkdf_rfc5869.json"
MODULI = (2, 3, 501337, 2**31 - 1, 2**32, 2**48 + 21, 2**61 - 1, 2**63 - 25, 2**63, 2**64)


class Recorder:
    """A backend that keeps the key, nonce and size of each call and makes no words."""

    def __init__(self):
        self.calls = []

    def uniform(self, key, nonce, n, modulus, out=None):
        self.calls.append((key, nonce, n))
        return np.zeros(n, np.uint64)


def cases():
    return json.loads(VECTORS.read_text())["cases"]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_hkdf_equals_rfc_5869(case):
    secret, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
    assert hkdf_sha256(secret, salt, info, case["n_bytes"]).hex() == case["okm"]
    assert hkdf_sha256(secret, salt, info).hex() == case["okm"][:64]


# Keys and labels


def keys_of(ring, labels):
    recorder = Recorder()
    for label in labels:
        ring.prg(label, recorder).uniform((1,), 2**64)
    return [key for key, _, _ in recorder.calls]


def test_each_label_has_its_own_key():
    labels = [f"{i},{j}/input" for i in range(10) for j in range(10)] + ["dealer/mask", "", "a"]
    keys = keys_of(KeyRing(seed=1), labels)
    assert len(set(keys)) == len(labels)
    assert {len(key) for key in keys} == {32}


def test_equal_seeds_give_equal_keys_and_others_do_not():
    assert keys_of(KeyRing(1), ["a"]) == keys_of(KeyRing(1), ["a"])
    assert keys_of(KeyRing(1), ["a"]) != keys_of(KeyRing(2), ["a"])
    assert keys_of(KeyRing(-1), ["a"]) != keys_of(KeyRing(1), ["a"])


def test_without_a_seed_the_operating_system_gives_the_key():
    keys = [keys_of(KeyRing(), ["a"])[0] for _ in range(20)]
    assert len(set(keys)) == 20


def test_a_label_is_given_out_once():
    ring = KeyRing()
    ring.prg("a", Recorder())
    with pytest.raises(ArgumentValueError, match="label 'a' already has its generator"):
        ring.prg("a", Recorder())


@pytest.mark.parametrize("seed", [1.0, "1", b"1", True, [1]])
def test_seed_of_wrong_type(seed):
    with pytest.raises(ArgumentTypeError, match="seed must be None or an int"):
        KeyRing(seed)


def test_a_seed_warns_loudly():
    with pytest.warns(InsecureSeedWarning, match="for tests and benchmarks only"):
        KeyRing(0)
    with pytest.warns(InsecureSeedWarning, match="repeatable"):
        he.Session(seed=0, device="cpu")


def test_the_warning_names_the_callers_line():
    with pytest.warns(InsecureSeedWarning) as caught:
        he.Session(seed=0, device="cpu")
    assert [warning.filename for warning in caught] == [__file__]


def test_key_length_is_checked():
    with pytest.raises(ArgumentValueError, match="key must have 32 bytes, got 31"):
        Prg(bytes(31), Recorder())


# Nonces


def test_every_call_has_its_own_nonce():
    recorder = Recorder()
    prg = Prg(bytes(32), recorder)
    for n in (1, 0, 5, 1, 7, 1):
        prg.uniform((n,), 2**64)
    nonces = [nonce for _, nonce, _ in recorder.calls]
    assert len(set(nonces)) == len(nonces)
    assert {len(nonce) for nonce in nonces} == {12}


def test_threads_never_share_a_nonce(fast_thread_switches):
    recorder = Recorder()
    prg = Prg(bytes(32), recorder)

    def draw():
        for _ in range(3000):
            prg.uniform((), 2**64)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    nonces = [nonce for _, nonce, _ in recorder.calls]
    assert len(nonces) == 12_000
    assert len(set(nonces)) == len(nonces)


@pytest.fixture
def fast_thread_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize(
    ("modulus", "per_block"),
    [(2**64, 8), (2**63, 8), (2, 8), (2**32, 16), (501337, 4), (2**48, 8), (2**61 - 1, 8 / 3)],
)
def test_one_nonce_never_yields_2_to_the_32_blocks(modulus, per_block):
    """The limit raises before anything is allocated: the recorder has no memory for 256 GiB."""
    recorder = Recorder()
    prg = Prg(bytes(32), recorder)
    too_many = int(MAX_BLOCKS * per_block) + 1
    assert MAX_BLOCKS < 2**32
    for shape in ((too_many,), (2**20, 2**30), (2**200,)):
        with pytest.raises(ArgumentValueError, match=rf"at most {MAX_BLOCKS} blocks of 64 bytes"):
            prg.uniform(shape, modulus)
    assert recorder.calls == []

    class Allowed(Recorder):
        def uniform(self, key, nonce, n, modulus, out=None):
            self.calls.append((key, nonce, n))
            return np.broadcast_to(np.uint64(0), (n,))  # no memory

    allowed = Allowed()
    Prg(bytes(32), allowed).uniform((int(MAX_BLOCKS * per_block),), modulus)
    assert len(allowed.calls) == 1


@pytest.mark.parametrize("modulus", MODULI)
def test_blocks_are_counted_as_they_are_used(modulus, monkeypatch):
    """What the limit counts is what the keystream is asked for."""
    asked = []
    real = cpu.keystream

    def keystream(key, nonce, n_words, out=None, first=0):
        asked.append(n_words)
        return real(key, nonce, n_words, out, first)

    monkeypatch.setattr(cpu, "keystream", keystream)
    for n in (0, 1, 2, 3, 17):
        cpu.uniform(bytes(32), bytes(12), n, modulus)
        assert asked.pop() == definition.n_keystream_words(n, modulus)


# One process, one copy


@pytest.mark.parametrize("make", [KeyRing, lambda: Prg(bytes(32), get_backend("cpu"))])
@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_no_copies(make, duplicate):
    with pytest.raises(SecretAccessError, match=r"cannot be pickled or copied.*reveal"):
        duplicate(make())
    with pytest.raises(TypeError):
        duplicate(make())


def in_fork(function):
    """Run a function in a forked child and return the bytes that it returns."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # the child must never return into pytest
        try:
            os.close(read)
            os.write(write, function())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        result = stream.read()
    os.waitpid(child, 0)
    return result


def error_of(function):
    """Return a function that returns the name of the exception that another one raises."""

    def run():
        try:
            function()
        except BaseException as error:
            return type(error).__name__.encode()
        return b"no error"

    return run


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
# Python 3.12 warns of forks beside other threads; the children here touch none of them.
ignore_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@needs_fork
@ignore_threads
def test_a_forked_child_cannot_repeat_masks():
    prg = Prg(bytes(32), get_backend("cpu"))
    ring = KeyRing()
    name = ForkedProcessError.__name__.encode()
    assert in_fork(error_of(lambda: prg.uniform((4,), 2**64))) == name
    assert in_fork(error_of(lambda: ring.prg("a", get_backend("cpu")))) == name
    # A grandchild is no better, and the parent goes on.
    assert in_fork(lambda: in_fork(error_of(lambda: prg.uniform((4,), 2**64)))) == name
    assert prg.uniform((4,), 2**64).shape == (4,)


@needs_fork
@ignore_threads
@pytest.mark.parametrize(
    "protocol_step",
    [
        lambda s, x: s.share(1.0),
        lambda s, x: x * x,
        lambda s, x: x * 0.3,
        lambda s, x: x @ x,
        lambda s, x: x.masked(),
    ],
)
def test_a_forked_child_cannot_use_its_parents_session(protocol_step):
    session = he.Session(device="cpu")
    x = session.share([1.0, 2.0])
    x * x
    result = in_fork(error_of(lambda: protocol_step(session, x)))
    assert result == ForkedProcessError.__name__.encode()


@needs_fork
@ignore_threads
def test_correlations_made_ahead_are_not_reused_in_a_child():
    """Pools hold masks already drawn; a child that takes one would open another value under it."""
    session = he.Session(device="cpu")
    x = session.share([1.0, 2.0])
    for step in session.steps(4):
        x * x
        if step == 1:
            result = in_fork(error_of(lambda: x * x))
            assert result == ForkedProcessError.__name__.encode()


@needs_fork
@ignore_threads
def test_a_forked_child_encrypts_with_keys_of_its_own():
    def shares():
        return b"".join(share.tobytes() for share in he.encrypt([7] * 8, device="cpu"))

    shares()  # the parent's generator exists, so that the child inherits it
    children = [in_fork(shares) for _ in range(3)]
    everything = [*children, shares(), in_fork(lambda: in_fork(shares))]
    words = [w for run in everything for w in np.frombuffer(run, np.uint64)[:16].tolist()]
    assert len(run := everything[0]) == 3 * 8 * 8, run
    assert len(set(everything)) == len(everything)
    assert len(words) == 80  # two free shares of 8 words, five runs
    # 80 uniform words modulo 501337: pairs that coincide number 80^2 / 2 / 501337 < 0.01, so
    # more than three are a repetition (probability of a false alarm below 1e-9).
    assert len(words) - len(set(words)) <= 3


# Distribution


@pytest.mark.parametrize("modulus", MODULI)
def test_words_are_uniform(device, modulus):
    n = 4000 if device == "emulator" else 200_000
    backend = get_backend(device)
    prg = KeyRing(seed=42).prg(f"test {modulus}", backend)
    words = backend.to_numpy(prg.uniform((n,), modulus))
    assert_uniform(words, modulus)
    # Every word is used, and neighbours are independent: pairs of top bits are uniform too.
    if modulus >= 2**31 - 1:
        assert len(np.unique(words)) > 0.99 * n
        top = (words.astype(np.float64) / float(modulus) * 4).astype(np.int64).clip(0, 3)
        pairs = np.bincount(top[:-1:2] * 4 + top[1::2], minlength=16)
        assert abs(chi_square_score(pairs, np.full(16, pairs.sum() / 16))) < LIMIT


def test_chi_square_finds_a_bias():
    """The test can fail: words reduced without care, one value too many, a counter, constants."""
    rng = np.random.default_rng(5)
    q = 2**61 - 1
    naive = rng.integers(0, 2**62 + 2**60, 200_000, dtype=np.uint64) % np.uint64(q)
    good = rng.integers(0, q, 200_000, dtype=np.uint64)
    assert max(map(abs, uniformity_scores(good, q))) < LIMIT
    assert max(map(abs, uniformity_scores(naive, q))) > LIMIT
    sticky = np.where(rng.random(200_000) < 0.02, np.uint64(0), good)
    assert max(map(abs, uniformity_scores(sticky, q))) > LIMIT
    even = good & ~np.uint64(1)
    assert max(map(abs, uniformity_scores(even, q))) > LIMIT
    counter = np.arange(200_000, dtype=np.uint64) * np.uint64(q // 200_000)
    assert max(map(abs, uniformity_scores(counter, q))) > LIMIT  # too even to be random
    with pytest.raises(AssertionError, match="deviate by"):
        assert_uniform(naive, q)


@pytest.mark.parametrize("modulus", MODULI)
def test_reduction_takes_enough_bits(modulus):
    """The distance from uniform: q / 2^bits per element, below 2^-40 over 2^40 elements."""
    words = definition.words_per_element(modulus)
    if modulus & (modulus - 1):
        assert 2**40 * modulus / 2 ** (64 * words) <= 2.0**-40
    else:
        assert words == 1


@pytest.mark.parametrize("modulus", MODULI)
def test_words_equal_python_integers(modulus):
    """The definition once more, in Python: keystream words read as one integer and reduced."""
    n = 50
    key, nonce = bytes(range(32)), bytes(range(12))
    words = definition.keystream(key, nonce, definition.n_keystream_words(n, modulus)).tolist()
    if modulus == 2**32:
        expected = [w >> s & 0xFFFFFFFF for w in words for s in (0, 32)][:n]
    else:
        per = definition.words_per_element(modulus)
        groups = [words[i : i + per] for i in range(0, len(words), per)]
        expected = [
            sum(w << 64 * (per - 1 - i) for i, w in enumerate(group)) % modulus for group in groups
        ]
    assert cpu.uniform(key, nonce, n, modulus).tolist() == expected


# One stream on every device


@pytest.mark.parametrize("modulus", MODULI)
def test_every_device_makes_the_same_words(device, modulus):
    backend = get_backend(device)
    prg = KeyRing(seed=7).prg("same", backend)
    reference = KeyRing(seed=7).prg("same", get_backend("cpu"))
    for shape in ((), (0,), (1,), (3, 5), (2, 0, 3), (33,), (257,)):
        words = prg.uniform(shape, modulus)
        expected = reference.uniform(shape, modulus)
        assert words.shape == expected.shape == shape
        assert words.dtype == expected.dtype == (np.uint32 if modulus == 2**32 else np.uint64)
        assert backend.to_numpy(words).tolist() == expected.tolist()


@pytest.mark.skipif(not cpu.OPENSSL, reason="the package cryptography is not installed")
@pytest.mark.parametrize("n_words", [0, 1, 7, 8, 9, 1000, 100_003])
def test_openssl_equals_the_definition(n_words):
    for key, nonce in ((bytes(32), bytes(12)), (bytes(range(32)), b"\xff" * 12)):
        fast = cpu.keystream(key, nonce, n_words)
        assert fast.tolist() == definition.keystream(key, nonce, n_words).tolist()


@pytest.mark.skipif(not cpu.OPENSSL, reason="the package cryptography is not installed")
def test_another_thread_cannot_cut_a_keystream_short(monkeypatch):
    """OpenSSL writes as many bytes as it reads: what it reads must not shrink in between."""
    expected = definition.keystream(bytes(32), bytes(12), 1000).tolist()
    real = cpu.Cipher

    def cipher(*args, **kwargs):  # at this moment another thread makes its own, shorter buffer
        monkeypatch.setattr(cpu, "_zeros", np.zeros(8, np.uint8), raising=False)
        return real(*args, **kwargs)

    monkeypatch.setattr(cpu, "Cipher", cipher)
    out = np.zeros(1000, np.uint64)
    assert cpu.keystream(bytes(32), bytes(12), 1000, out).tolist() == expected


def test_everything_works_without_cryptography(monkeypatch):
    seeded = {}
    for openssl in (cpu.OPENSSL, False):
        monkeypatch.setattr(cpu, "OPENSSL", openssl)
        session = he.Session(seed=3, device="cpu")
        x = session.share([[1.0, -2.0], [0.5, 4.0]])
        y = (x @ x) * 0.3
        seeded[openssl] = x.shares.tolist(), y.shares.tolist()
        assert int(he.decrypt(*he.add(he.encrypt(2), he.encrypt(5)))) == 7
        assert np.allclose(y.reveal(), 0.3 * (x.reveal() @ x.reveal()), atol=4 * 2.0**-16)
    assert len(set(map(str, seeded.values()))) == 1
