"""Arithmetic of residues modulo several primes: bytes read and written, beside a copy."""

import numpy as np
import pytest

from bench import work
from bench.operands import by_device
from bench.threads import one_thread
from he_gpu.backend import get_backend
from he_gpu.backend.definition import rns
from he_gpu.ring import ntt_primes

DEGREE = {"cpu": 8192, "cuda": 65536, "emulator": 64}
CHECKED = 64
"""The degree at which a kernel is compared with its definition, bit for bit."""
TERMS, KEYS, LIMBS, OTHERS = work.RNS_SIZES
POLYS = 4
POWER = 5


@pytest.fixture(autouse=True)
def threads():
    with one_thread() as count:
        yield count


class Operands:
    """Polynomials of a degree, the same on every device."""

    def __init__(self, on, degree):
        primes = ntt_primes(degree, 2**27, LIMBS + OTHERS)
        self.moduli, self.others = primes[:LIMBS], primes[LIMBS:]
        self.factors = [3 + limb for limb in range(LIMBS)]
        rng = np.random.default_rng(0)
        q = np.array(self.moduli)[:, None]

        def words(*shape):
            return on.asarray(rng.integers(0, q, (*shape, LIMBS, degree)).astype(np.uint32))

        self.x, self.y = words(POLYS), words(POLYS)
        self.digits, self.keys = words(TERMS, 1), words(TERMS, KEYS)
        self.left, self.right = words(TERMS, 2), words(TERMS, 2)
        index = rns.automorphism_index(degree, POWER, evaluation=True)
        self.index = on.asarray(index)


KERNELS = {
    # name: the call on (backend, operands), and the words of a result or, extended, of its columns
    "add_rns": (lambda on, x: on.add_rns(x.x, x.y, x.moduli), POLYS * LIMBS),
    "sub_rns": (lambda on, x: on.sub_rns(x.x, x.y, x.moduli), POLYS * LIMBS),
    "neg_rns": (lambda on, x: on.neg_rns(x.x, x.moduli), POLYS * LIMBS),
    "mul_rns": (lambda on, x: on.mul_rns(x.x, x.y, x.moduli), POLYS * LIMBS),
    "sub_scale_rns": (
        lambda on, x: on.sub_scale_rns(x.x, x.y, x.factors, x.moduli),
        POLYS * LIMBS,
    ),
    "dot_rns": (lambda on, x: on.dot_rns(x.digits, x.keys, x.moduli), KEYS * LIMBS),
    "tensor_rns": (lambda on, x: on.tensor_rns(x.left, x.right, x.moduli), LIMBS),
    "automorphism_rns": (
        lambda on, x: on.automorphism_rns(x.x, x.index, x.moduli),
        POLYS * LIMBS,
    ),
    "extend_rns": (lambda on, x: on.extend_rns(x.x, x.moduli, x.others), POLYS),
}
WORK = work.rns(TERMS, KEYS, LIMBS, OTHERS)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel(kernel, device, backend, record, threads):
    call, words = KERNELS[kernel]
    degree = by_device(backend, **DEGREE)
    host = get_backend("cpu")
    expected = call(rns, Operands(host, CHECKED))
    found = call(backend, Operands(backend, CHECKED))
    np.testing.assert_array_equal(backend.to_numpy(found), expected)
    operands = Operands(backend, degree)
    target = backend.xp.empty_like(operands.x)
    baselines = {"copy of as many words": lambda: backend.xp.copyto(target, operands.x)}
    scales = {}
    if not backend.is_host:
        host_operands = Operands(host, DEGREE["cpu"])
        baselines["our cpu"] = lambda: call(host, host_operands)
        scales["our cpu"] = degree / DEGREE["cpu"]
    record.compare(
        f"kernel {kernel}, N = {degree}, {LIMBS} limbs",
        lambda: call(backend, operands),
        baselines,
        rounds=21,
        **WORK[kernel].row(words * degree),
        scales=scales,
        kernel=kernel,
        n=degree,
        threads=threads,
    )
