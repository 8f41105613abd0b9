"""Transforms of a batch of polynomials modulo several primes: time of a limb, and bytes moved.

On the CPU butterflies run beside the four steps as exact float64 matrix products. SEAL's limbs have
other bits than ours, so its time is scaled to transforms of as many bits.
"""

from functools import partial

import numpy as np
import pytest

from bench import ntt_products, seal_peer, work
from bench.operands import by_device
from bench.threads import one_thread
from he_gpu.backend import get_backend
from he_gpu.backend.definition import ntt as definition
from he_gpu.ring import ntt_primes

DEGREES = (4096, 8192, 16384, 32768, 65536)
NEAR = {"27 bits": 2**27, "20 bits": 2**20}
"""Sizes of the primes: the largest, and those of which two hold a scale of 40 bits."""
LIMBS = 6
SEAL_BITS, SEAL_LIMBS = 40, 8
"""Of its primes, the special one among them, which the transformed polynomials lack."""
MOST = 6.0
"""Times SEAL's one thread, on the CPU."""
LEAST_SHARE = 0.7
"""Of the copy bandwidth, for the two passes of a transform at N = 65536 on a Hopper GPU."""


@pytest.fixture(autouse=True)
def threads():
    with one_thread() as count:
        yield count


def words(moduli, polys, degree):
    rng = np.random.default_rng(0)
    return rng.integers(0, np.array(moduli)[:, None], (polys, len(moduli), degree)).astype(
        np.uint32
    )


@pytest.mark.parametrize("operation", ["ntt", "intt", "ntt and intt"])
@pytest.mark.parametrize("size", NEAR)
@pytest.mark.parametrize("degree", DEGREES)
def test_transform(degree, size, operation, backend, hopper, record, threads):
    moduli = ntt_primes(degree, NEAR[size], LIMBS)
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

    def job(on=backend, x=x, values=values):
        result = on.ntt(x, moduli) if forth else values
        return on.intt(result, moduli) if back else result

    passes = [work.ntt(degree, False)] * forth + [work.ntt(degree, True)] * back
    limbs, bits = polys * LIMBS, sum(q.bit_length() for q in moduli) / LIMBS
    baselines, scales = {"a copy": x.copy}, {}
    if backend.name == "cpu":
        np.testing.assert_array_equal(ntt_products.ntt(host, moduli), values)
        np.testing.assert_array_equal(ntt_products.intt(values, moduli), host)
        baselines["as matrix products"] = partial(job, on=ntt_products)
    if not backend.is_host:
        cpu, few = get_backend("cpu"), host[:1]
        baselines["our cpu"] = partial(job, cpu, few, backend.to_numpy(values[:1]))
        scales["our cpu"] = polys
    found = {}
    if forth and back and seal_peer.seal is not None:
        baselines["SEAL"], seal_limbs = seal_peer.transforms(degree, [SEAL_BITS] * SEAL_LIMBS)
        scales["SEAL"] = limbs * bits / (seal_limbs * SEAL_BITS)
        found["seal_limbs"] = seal_limbs
    demanded = hopper and degree == max(DEGREES) and operation in ("ntt", "intt")
    record.compare(
        f"{operation}, N = {degree}, {polys} polynomials of {LIMBS} limbs of {bits:.0f} bits",
        job,
        baselines,
        rounds=21,
        n_bytes=sum(int(each.n_bytes * x.size) for each in passes),
        multiplications=sum(int(each.multiplications * x.size) for each in passes),
        scales=scales,
        at_most={"SEAL": MOST} if "SEAL" in baselines and backend.name == "cpu" else None,
        at_least={"share_of_copy": LEAST_SHARE} if demanded else None,
        n=degree,
        limbs=limbs,
        bits=bits,
        threads=threads,
        **found,
    )
