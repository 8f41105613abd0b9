"""The same circuit in Microsoft SEAL decrypts to the same numbers, and no more precisely."""

import numpy as np
import pytest

from he_gpu.he.context import Ckks
from he_gpu.he.parameters import CkksParams

seal = pytest.importorskip("seal", reason="SEAL is not installed; pip install seal-python")

DEGREE, BITS, LIMBS = 8192, 40, 5
SPREAD = 1.15
"""Of a ratio of root mean squares over N / 2 slots, whose errors are products of normal numbers: a
mean square deviates by sqrt(3 / 4096) of itself, and the ratio's root by a seventh of 15 %."""
ROTATION = 1e-5
"""SEAL's digits are not centred: their mean, half of all powers of X, is 2 N / pi digits next to 1;
times a key's error of some 4 sqrt(10.5 N) and over 2^40 it is 2e-6 for each digit."""


def circuit_of_seal(x, y):
    """Return (x y) rotated left by 3, and the product x y."""
    parameters = seal.EncryptionParameters(seal.scheme_type.ckks)
    parameters.set_poly_modulus_degree(DEGREE)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(DEGREE, [BITS] * LIMBS))
    context = seal.SEALContext(parameters)
    keys = seal.KeyGenerator(context)
    encryptor = seal.Encryptor(context, keys.create_public_key())
    decryptor = seal.Decryptor(context, keys.secret_key())
    evaluator, encoder = seal.Evaluator(context), seal.CKKSEncoder(context)
    galois = seal.GaloisKeys()
    keys.create_galois_keys([3], galois)
    a, b = (encryptor.encrypt(encoder.encode(v, 2.0**BITS)) for v in (x, y))
    product = evaluator.multiply(a, b)
    evaluator.relinearize_inplace(product, keys.create_relin_keys())
    evaluator.rescale_to_next_inplace(product)
    rotated = evaluator.rotate_vector(product, 3, galois)
    values = np.asarray(encoder.decode(decryptor.decrypt(rotated)))
    return values, np.asarray(encoder.decode(decryptor.decrypt(product)))


def root_mean_square(x):
    return np.sqrt((x**2).mean())


def test_the_same_numbers_and_no_more_error():
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, DEGREE // 2))
    values, peer = circuit_of_seal(x, y)
    holder = Ckks(CkksParams(3, BITS, ring_degree=DEGREE), "cpu", 1)
    product = holder.encrypt(x) * holder.encrypt(y)
    rotated = product.rotate(3)
    np.testing.assert_allclose(holder.decrypt(rotated), values, rtol=0, atol=ROTATION)
    ours = root_mean_square(holder.decrypt(product) - x * y)
    assert ours < SPREAD * root_mean_square(peer - x * y)
