"""Transforms of a batch of polynomials modulo several primes: time of a limb, and bytes moved."""

import numpy as np
import pytest

from bench.operands import by_device
from he_gpu.backend import get_backend
from he_gpu.backend.definition import ntt as definition
from he_gpu.ring import ntt_primes

DEGREES = (8192, 16384, 32768)
NEAR = 2**26
"""Size of the primes: three of them hold 78 bits."""
LIMBS = 6
SEAL_BITS = 40
"""Bits of SEAL's limbs; its time is scaled to the bits of ours."""
LEAST_SHARE = 0.7
"""Of the copy bandwidth, for the two passes of a transform on a Hopper GPU."""


def words(moduli, polys, degree):
    rng = np.random.default_rng(0)
    return rng.integers(0, np.array(moduli)[:, None], (polys, len(moduli), degree)).astype(
        np.uint32
    )


def seal_transforms(degree):
    """SEAL's transforms of both polynomials of a ciphertext, forward and back, and its limbs."""
    try:
        import seal
    except ImportError:
        return None
    limbs = {8192: 4, 16384: 8, 32768: 8}[degree]
    parameters = seal.EncryptionParameters(seal.scheme_type.bfv)
    parameters.set_poly_modulus_degree(degree)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(degree, [SEAL_BITS] * limbs))
    parameters.set_plain_modulus(seal.PlainModulus.Batching(degree, 20))
    context = seal.SEALContext(parameters)
    public_key = seal.KeyGenerator(context).create_public_key()
    evaluator = seal.Evaluator(context)
    plain = seal.BatchEncoder(context).encode(list(range(degree)))
    ciphertext = seal.Encryptor(context, public_key).encrypt(plain)

    def both():
        evaluator.transform_to_ntt_inplace(ciphertext)
        evaluator.transform_from_ntt_inplace(ciphertext)

    return both, 2 * (limbs - 1)


@pytest.mark.parametrize("operation", ["ntt", "intt", "ntt and intt"])
@pytest.mark.parametrize("degree", DEGREES)
def test_transform(degree, operation, backend, hopper, record):
    moduli = ntt_primes(degree, NEAR, LIMBS)
    polys = by_device(backend, cpu=4, cuda=256, emulator=1)
    host = words(moduli, polys, degree)
    x = backend.asarray(host)
    values = backend.ntt(x, moduli)
    some = slice(0, 1)
    np.testing.assert_array_equal(
        backend.to_numpy(values[some]), definition.ntt(host[some], moduli)
    )
    np.testing.assert_array_equal(backend.to_numpy(backend.intt(values, moduli)), host)
    forth, back = operation != "intt", operation != "ntt"

    def job():
        result = backend.ntt(x, moduli) if forth else values
        return backend.intt(result, moduli) if back else result

    limbs = polys * LIMBS
    baselines, scales = {"a copy": lambda: x.copy()}, {}
    if not backend.is_host:
        cpu = get_backend("cpu")
        few = host[:1]
        baselines["our cpu"] = lambda: cpu.intt(cpu.ntt(few, moduli), moduli)
        scales["our cpu"] = polys * (forth + back) / 2
    peer = seal_transforms(degree) if forth and back else None
    if peer:
        baselines["SEAL"], seal_limbs = peer
        bits = sum(q.bit_length() for q in moduli) / LIMBS
        scales["SEAL"] = limbs * bits / (seal_limbs * SEAL_BITS)
    record.compare(
        f"{operation}, N = {degree}, {polys} polynomials of {LIMBS} limbs",
        job,
        baselines,
        rounds=21,
        n_bytes=2 * 2 * x.nbytes * (forth + back),
        scales=scales,
        at_least={"share_of_roof": LEAST_SHARE} if hopper else None,
        n=degree,
        limbs=limbs,
    )
