"""A circuit of SEAL word for word: encodings moved, product, rescaling, and what it decrypts to."""

import json
from pathlib import Path

import numpy as np
import pytest

from he_gpu.he import noise
from he_gpu.he.encoding import decode
from he_gpu.ring import RnsRing
from tests.backend.ring_words import assert_same
from tests.he.seal_form import our_order, seal_values

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "ckks_circuit_tenseal.json").read_text()
)
N, MODULI, GENERATOR = VECTORS["ring_degree"], VECTORS["moduli"], VECTORS["generator"]
ROTATIONS = {name: int(name.split()[-1]) for name in VECTORS["words"] if "rotated" in name}
POWERS = {name: pow(GENERATOR, step, 2 * N) for name, step in ROTATIONS.items()}
POWERS["conjugate"] = 2 * N - 1
"""Automorphisms X -> X^power that move SEAL's slots."""
SWITCHED = 4 * N * 21 * N / 2 ** VECTORS["scale_bits"]
"""What a key switch may be off: 4 digits below their prime, the special one's size, times N errors
of 21 at most each, in each of N coefficients."""


def in_ring(rows, device):
    """A polynomial of SEAL in the ring of its primes, by values."""
    moduli = MODULI[: len(rows)]
    ring = RnsRing(N, moduli, device)
    words = [seal_values(row, q, N) for row, q in zip(rows, moduli, strict=True)]
    return ring, ring.ntt(ring.backend.asarray(np.array(words, np.uint32)))


def ciphertext(name, device):
    """A ring, and a ciphertext's polynomials (2 or 3, limbs, N) by values."""
    parts = [in_ring(rows, device) for rows in VECTORS["words"][name]]
    ring = parts[0][0]
    return ring, ring.backend.xp.stack([values for _, values in parts])


def decrypted(name, device):
    """c_0 + c_1 s + c_2 s^2 as values of the ring, by the secret key of SEAL."""
    ring, words = ciphertext(name, device)
    secret = in_ring(VECTORS["secret"][: len(ring.moduli)], device)[1]
    result, power = words[0], secret
    for each in words[1:]:
        result, power = ring.add(result, ring.mul(each, power)), ring.mul(power, secret)
    return ring, result


def slots(pairs):
    """Values of SEAL's slots, in the order of ours."""
    return np.array(our_order([complex(*pair) for pair in pairs], N, GENERATOR))


@pytest.mark.parametrize("name", POWERS)
def test_automorphisms_move_the_slots_of_encodings(name, device):
    ring, x = in_ring(VECTORS["encoded"]["x"], device)
    _, expected = in_ring(VECTORS["encoded"][name], device)
    assert_same(ring.automorphism(x, POWERS[name], values=True), ring.backend.to_numpy(expected))
    moved = ring.automorphism(ring.intt(x), POWERS[name], values=False)
    assert_same(moved, ring.backend.to_numpy(ring.intt(expected)))


def test_product(device):
    ring, x = ciphertext("x", device)
    _, y = ciphertext("y", device)
    _, expected = ciphertext("product", device)
    middle = ring.add(ring.mul(x[0], y[1]), ring.mul(x[1], y[0]))
    for ours, theirs in zip(
        (ring.mul(x[0], y[0]), middle, ring.mul(x[1], y[1])), expected, strict=True
    ):
        assert_same(ours, ring.backend.to_numpy(theirs))


def test_rescaling(device):
    ring, words = ciphertext("relinearised", device)
    below, expected = ciphertext("rescaled", device)
    assert below.moduli == ring.moduli[:-1]
    assert_same(ring.mod_down(words, 1, values=True), below.backend.to_numpy(expected))


@pytest.mark.parametrize("name", VECTORS["words"])
def test_decryption(name, device):
    ring, words = decrypted(name, device)
    scale = VECTORS["scales"][name]
    values = decode(ring.intt(words), scale, ring, N // 2, 4.0)
    expected = slots(VECTORS["decrypted"][name])
    assert np.abs(values - expected).max() <= 2 * noise.transform(4.0, N)


def test_what_was_encrypted_comes_back():
    x, y = (slots(VECTORS["values"][name]) for name in "xy")
    exact = {"x": x, "y": y, "product": x * y, "relinearised": x * y, "rescaled": x * y}
    for name, values in exact.items():
        found = slots(VECTORS["decrypted"][name])
        assert 0 < np.abs(found - values).max() < 1e-4


@pytest.mark.parametrize("name", POWERS)
def test_switched_ciphertexts_hold_the_moved_polynomial(name, device):
    ring, words = decrypted("x", device)
    moved = ring.automorphism(words, POWERS[name], values=True)
    _, theirs = decrypted(name, device)
    difference = decode(
        ring.intt(ring.sub(moved, theirs)), VECTORS["scales"]["x"], ring, N // 2, 1.0
    )
    assert 0 < np.abs(difference).max() < SWITCHED
