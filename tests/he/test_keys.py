"""Keys: what they decrypt to, how large their errors are, and what they refuse."""

import copy
import pickle

import numpy as np
import pytest

from he_gpu.errors import ArgumentTypeError, ArgumentValueError, SecretAccessError
from he_gpu.he import keys, switch_keys
from he_gpu.he.embedding import rotation_exponent
from he_gpu.he.evaluation_keys import GaloisKeys, powers_of_two
from he_gpu.he.keys import PublicKey, SecretKey
from he_gpu.he.ladder import Ladder
from he_gpu.he.randomness import SEED_BYTES, Randomness, expand
from he_gpu.he.sampling import ERROR_BOUND, ERROR_VARIANCE
from he_gpu.he.switch_keys import GaloisKey, RelinKey
from tests.he.contexts import DEGREE, SLOTS, context, parameters
from tests.uniformity import assert_uniform

WHOLE = 5 / np.sqrt(DEGREE)
"""Relative deviation of a variance from N samples that none of these seeds passes."""


@pytest.fixture(scope="module")
def ladder():
    return Ladder(parameters(3).chain, "cpu")


@pytest.fixture(scope="module")
def secret(ladder):
    return SecretKey(ladder, Randomness(ladder.backend, 3, "test"))


def centred(ring, values):
    return ring.to_integers(ring.intt(values)).astype(object)


def is_error(coefficients):
    """Whether integers look like centred binomial errors."""
    numbers = coefficients.astype(np.int64)
    assert np.abs(numbers).max() <= ERROR_BOUND
    assert numbers.var() == pytest.approx(ERROR_VARIANCE, rel=WHOLE)
    return True


def test_secret_is_ternary_and_the_same_in_every_limb(ladder, secret):
    s = centred(ladder.whole, secret.values()).astype(np.int64)
    counts = np.bincount(s + 1, minlength=3)
    assert counts.sum() == DEGREE
    assert counts.size == 3
    assert np.abs(counts - DEGREE / 3).max() < 5 * np.sqrt(DEGREE * 2 / 9)


def test_secret_refuses_to_be_copied_or_shown(secret):
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretAccessError, match="SecretKey"):
            way(secret)
    assert repr(secret) == "<SecretKey>"


def test_public_key_encrypts_zero(ladder, secret):
    key = PublicKey.of(ladder, secret, Randomness(ladder.backend, 4, "test"))
    ring, half, uniform = ladder.fresh, *key.values
    s = np.concatenate((secret.values(len(ring.moduli) - 1), secret.values()[-1:]))
    assert is_error(centred(ring, ring.add(half, ring.mul(uniform, s))))
    again = PublicKey(ladder, key.half, key.seed)
    np.testing.assert_array_equal(again.values, key.values)
    assert again.key_id == key.key_id


def switch_error(ladder, key, source, target):
    """What is left of b_j + a_j t - P T_j s for each digit."""
    ring, special = ladder.whole, ladder.special_modulus
    for at, digit in enumerate(ladder.digits):
        half, uniform = key.values[at]
        rest = ring.add(half, ring.mul(uniform, target))
        moduli = np.array(ring.moduli)[:, None]
        factor = np.zeros((len(ring.moduli), 1), np.int64)
        factor[digit.part, 0] = [special % q for q in ring.moduli[digit.part]]
        expected = (factor * source.astype(np.int64) % moduli).astype(np.uint32)
        yield centred(ring, ring.sub(rest, expected))


def test_relinearisation_key(ladder, secret):
    key = RelinKey.of_secret(ladder, secret, Randomness(ladder.backend, 5, "test"))
    s = secret.values()
    square = ladder.whole.mul(s, s)
    errors = list(switch_error(ladder, key, square, s))
    assert len(errors) == len(ladder.digits) > 1
    assert all(is_error(error) for error in errors)
    again = RelinKey(ladder, key.half, key.seed)
    np.testing.assert_array_equal(again.values, key.values)


@pytest.mark.parametrize("power", [5, 25, 2 * DEGREE - 1])
def test_galois_key(ladder, secret, power):
    key = GaloisKey.of_secret(ladder, secret, power, Randomness(ladder.backend, 6, "test"))
    s = secret.values()
    image = ladder.whole.automorphism(s, pow(power, -1, 2 * DEGREE), values=True)
    assert all(is_error(error) for error in switch_error(ladder, key, s, image))


# Published seeds


def test_every_published_seed_is_fresh(ladder, monkeypatch):
    """Without a seed of tests they come from the operating system; no two are the same."""
    drawn = []
    real = keys.expand

    def spy(seed, label, leading, ring):
        drawn.append((seed, label))
        return real(seed, label, leading, ring)

    monkeypatch.setattr(keys, "expand", spy)
    monkeypatch.setattr(switch_keys, "expand", spy)
    randomness = Randomness(ladder.backend, None, "test")
    secret = SecretKey(ladder, randomness)
    PublicKey.of(ladder, secret, randomness)
    for power in (1, 5, 25):
        GaloisKey.of_secret(ladder, secret, power, randomness)
    seeds = {seed for seed, _ in drawn}
    assert len(seeds) == 4
    assert all(len(seed) == SEED_BYTES for seed in seeds)


def test_no_published_seed_keys_a_stream_of_secrets(ladder, monkeypatch):
    """Keys of ChaCha20 are derived: no stream's key is a published seed, and no key serves two."""
    made = []
    real = keys.Randomness.published_seed
    published = []

    def spy(self):
        published.append(real(self))
        return published[-1]

    from he_gpu.ring.prg import Prg

    start = Prg.__init__

    def init(self, key, backend):
        made.append(key)
        start(self, key, backend)

    monkeypatch.setattr(Prg, "__init__", init)
    monkeypatch.setattr(keys.Randomness, "published_seed", spy)
    randomness = Randomness(ladder.backend, 7, "test")
    streams = len(made)
    secret = SecretKey(ladder, randomness)
    PublicKey.of(ladder, secret, randomness)
    RelinKey.of_secret(ladder, secret, randomness)
    assert len(published) == 2
    assert not set(published) & set(made)
    assert not set(made[:streams]) & set(made[streams:])


def test_expansion_is_uniform_and_differs_by_label_and_seed(ladder):
    ring = ladder.ring(0)
    seed = bytes(range(32))
    values = expand(seed, "one", (20,), ring)
    assert values.shape == (20, len(ring.moduli), DEGREE)
    for limb, q in enumerate(ring.moduli):
        assert_uniform(values[:, limb].ravel().astype(np.uint64), q)
    assert (expand(seed, "two", (20,), ring) != values).mean() > 0.99
    assert (expand(seed[::-1], "one", (20,), ring) != values).mean() > 0.99
    np.testing.assert_array_equal(expand(seed, "one", (20,), ring), values)


# Rotations


def with_keys(steps):
    """A collection that has keys of rotations, without what they are."""
    return GaloisKeys(DEGREE, {rotation_exponent(step, DEGREE): None for step in steps})


def test_powers_of_two_make_every_rotation():
    galois = with_keys(powers_of_two(DEGREE))
    steps = {k % SLOTS for k in powers_of_two(DEGREE)}
    for wanted in range(-SLOTS, SLOTS):
        path = galois.path(wanted)
        assert sum(path) % SLOTS == wanted % SLOTS
        assert set(path) <= steps
        assert len(path) <= (SLOTS.bit_length() + 1) // 2


def test_rotation_with_its_own_key_takes_one_step():
    galois = context(2, seed=9).keys.galois
    assert len(galois.path(7)) == 2
    galois.of_rotation(7)
    assert galois.path(7) == (7,)
    assert rotation_exponent(7, DEGREE) in galois.powers


def test_powers_of_two_to_one_side_make_what_they_can():
    """Of 1, 2 and 4 come 3 and 7, which take -1 where that has a key."""
    for sign in (1, -1):
        galois = with_keys([sign, 2 * sign, 4 * sign])
        for wanted in range(1, 8):
            path = galois.path(sign * wanted)
            assert sum(path) % SLOTS == sign * wanted % SLOTS
            assert {step % SLOTS for step in path} <= {sign * k % SLOTS for k in (1, 2, 4)}
        for wanted in (-sign, 8 * sign, 9 * sign):
            assert galois.path(wanted) == (wanted % SLOTS,)  # the key that is missing
    assert len(with_keys([1, 2, 4, -1]).path(7)) == 3
    assert len(with_keys([1, 2, 4, 8, -1]).path(7)) == 2


@pytest.mark.parametrize(
    ("steps", "named"), [(-1, -1), (SLOTS - 1, -1), (9, 9), (SLOTS // 2, SLOTS // 2), (-300, 212)]
)
def test_a_missing_rotation_is_named_as_it_was_asked_for(steps, named):
    party = context(1, seed=77).public(rotations=[1, 2, 4], conjugation=False)
    with pytest.raises(ArgumentValueError, match=rf"by {named} needs .*rotations=\[{named}, "):
        party.encrypt([1.0]).rotate(steps)


@pytest.mark.parametrize("rotations", [3, [1.5], ["1"], [None], [1, 2j]])
def test_rotations_of_a_public_context_are_integers(rotations):
    with pytest.raises(ArgumentTypeError, match=r"Ckks.public: rotations must be integers, got"):
        context(1, seed=77).public(rotations=rotations)


def test_missing_keys_are_named():
    shared = context(2, seed=9).public(rotations=[1, 0], conjugation=False).keys.galois
    with pytest.raises(
        ArgumentValueError, match=r"rotation by 4 needs a Galois key.*rotations=\[4"
    ):
        shared.of_rotation(4)
    with pytest.raises(ArgumentValueError, match="conjugation needs a Galois key"):
        shared.of_conjugation()
