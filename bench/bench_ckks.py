"""CKKS on vectors of N / 2 numbers: what encrypting and computing takes, and what it takes SEAL."""

from functools import cache

import numpy as np
import pytest

from bench.operands import by_device
from he_gpu.he.context import Ckks
from he_gpu.he.parameters import CkksParams

DEGREE = 16384
DEPTH = 7
"""Products one after another, so that there are 8 levels."""
SCALE_BITS = 40
SEAL_LIMBS = 8
"""SEAL's primes of 40 bits, the special one among them."""
MOST = 10.0
"""Times SEAL's one thread, on the CPU."""


@cache
def ours(device, depth, degree):
    """A context and two ciphertexts."""
    context = Ckks(CkksParams(depth, SCALE_BITS, ring_degree=degree), device, seed=1)
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, degree // 2))
    return context, x, y, context.encrypt(x), context.encrypt(y)


@cache
def seal_jobs():
    """SEAL's operations by name and what its product decrypts to, or none where it is missing."""
    try:
        import seal
    except ImportError:
        return {}, None
    parameters = seal.EncryptionParameters(seal.scheme_type.ckks)
    parameters.set_poly_modulus_degree(DEGREE)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(DEGREE, [SCALE_BITS] * SEAL_LIMBS))
    context = seal.SEALContext(parameters)
    keys = seal.KeyGenerator(context)
    encryptor = seal.Encryptor(context, keys.create_public_key())
    evaluator, encoder = seal.Evaluator(context), seal.CKKSEncoder(context)
    decryptor = seal.Decryptor(context, keys.secret_key())
    relin, galois = keys.create_relin_keys(), seal.GaloisKeys()
    keys.create_galois_keys([1], galois)
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, DEGREE // 2))
    scale = 2.0**SCALE_BITS
    a, b = (encryptor.encrypt(encoder.encode(v, scale)) for v in (x, y))

    def multiply():
        product = evaluator.multiply(a, b)
        evaluator.relinearize_inplace(product, relin)
        evaluator.rescale_to_next_inplace(product)
        return product

    jobs = {
        "encrypt": lambda: encryptor.encrypt(encoder.encode(x, scale)),
        "decrypt": lambda: encoder.decode(decryptor.decrypt(a)),
        "add": lambda: evaluator.add(a, b),
        "multiply, relinearise, rescale": multiply,
        "rotate": lambda: evaluator.rotate_vector(a, 1, galois),
    }
    decrypted = np.asarray(encoder.decode(decryptor.decrypt(multiply())))
    return jobs, float(np.abs(decrypted - x * y).max())


OPERATIONS = {
    "encrypt": (lambda c, x, X, Y: c.encrypt(x), lambda x, y: x),
    "decrypt": (lambda c, x, X, Y: c.decrypt(X), lambda x, y: x),
    "add": (lambda c, x, X, Y: X + Y, lambda x, y: x + y),
    "multiply, relinearise, rescale": (lambda c, x, X, Y: X * Y, lambda x, y: x * y),
    "multiply by numbers, rescale": (lambda c, x, X, Y: X * x, lambda x, y: x * x),
    "rotate": (lambda c, x, X, Y: X.rotate(1), lambda x, y: np.roll(x, -1)),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_ckks(operation, backend, record):
    depth, degree = by_device(
        backend, cpu=(DEPTH, DEGREE), cuda=(DEPTH, DEGREE), emulator=(1, 8192)
    )
    context, x, y, X, Y = ours(backend.name, depth, degree)
    call, expected = OPERATIONS[operation]
    result = call(context, x, X, Y)
    values = result if isinstance(result, np.ndarray) else context.decrypt(result)
    bound = X.error if isinstance(result, np.ndarray) else result.error
    error = float(np.abs(values - expected(x, y)).max())
    assert error <= bound
    jobs, seal_error = ({}, None) if backend.name == "emulator" else seal_jobs()
    facts = {"n": degree, "levels": depth + 1, "limbs": X.components.shape[-2]}
    facts |= {"error": error, "error_bound": bound}
    if seal_error is not None and operation.startswith("multiply, "):
        facts["seal_error"] = seal_error
    peer = {"SEAL": jobs[operation]} if operation in jobs else {}
    limit = {"SEAL": MOST} if peer and backend.is_host and operation != "decrypt" else None
    record.compare(
        f"{operation}, N = {degree}",
        lambda: call(context, x, X, Y),
        peer,
        rounds=21,
        at_most=limit,
        **facts,
    )
