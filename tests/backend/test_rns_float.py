"""The residue arithmetic that the CPU runs, against the definition, word for word."""

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.backend.definition import rns, rns_float
from he_gpu.errors import ArgumentValueError
from he_gpu.ring import ntt_primes
from tests.backend.ring_words import assert_same
from tests.ring.polynomials import LARGE, largest_sums, limb_words

PRIMES = {16: ntt_primes(16, 2**27, 2) + ntt_primes(16, 97, 2), 4096: LARGE}
SHAPES = [(4, 16), (2, 4, 16), (3, 2, 4, 16), (0, 4, 16), (5, 4096), (2, 5, 4096), (20, 5, 4096)]


def operands(shape, *others):
    moduli = PRIMES[shape[-1]]
    rng = np.random.default_rng(len(shape))
    return moduli, *(
        limb_words(rng, (*lead, *shape[-2:]), moduli) for lead in (shape[:-2], *others)
    )


@pytest.mark.parametrize("name", ["add_rns", "sub_rns", "mul_rns"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pairs(name, shape):
    moduli, a, b, single = operands(shape, shape[:-2], ())
    for other in (b, single, single[:, :1], b[..., ::-1], a):
        assert_same(
            getattr(rns_float, name)(a, other, moduli), getattr(rns, name)(a, other, moduli)
        )
    flipped = a[..., ::-1]
    assert_same(
        getattr(rns_float, name)(flipped, b, moduli), getattr(rns, name)(flipped, b, moduli)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_negation_and_scaling(shape):
    moduli, a, b = operands(shape, shape[:-2])
    assert_same(rns_float.neg_rns(a, moduli), rns.neg_rns(a, moduli))
    for factors in ([0] * len(moduli), [-1] * len(moduli), [q // 2 for q in moduli]):
        ours = rns_float.sub_scale_rns(a, b, factors, moduli)
        assert_same(ours, rns.sub_scale_rns(a, b, factors, moduli))


def test_every_product_of_edges():
    """Rests next to 0 and q, where the quotient's rounding matters."""
    for moduli in PRIMES.values():
        for q in moduli:
            edges = np.array([0, 1, 2, q // 2 - 1, q // 2, q // 2 + 1, q - 2, q - 1])
            rng = np.random.default_rng(q)
            x = np.concatenate((edges, rng.integers(1, q, 24)))
            inverses = [pow(int(v), -1, q) if v else 0 for v in x]
            y = np.concatenate((edges, np.array(inverses), (-np.array(inverses)) % q))[:64]
            n = 4096 if q in PRIMES[4096] else 16
            a, b = (v.astype(np.uint32).ravel() for v in np.meshgrid(x, y))
            a, b = (np.resize(v, (-(-v.size // n), 1, n)) for v in (a, b))
            expected = a.astype(np.uint64) * b % np.uint64(q)
            assert_same(rns_float.mul_rns(a, b, (q,)), expected.astype(np.uint32))


@pytest.mark.parametrize("terms", [1, 2, 7, 1024])
@pytest.mark.parametrize(("polys", "keys"), [(1, 1), (1, 2), (3, 2)])
def test_dot(terms, polys, keys):
    moduli, a, b = operands((terms, polys, 4, 16), (terms, keys))
    for x, y in ((a, b), (np.maximum(a, a) * 0 + top(moduli), b * 0 + top(moduli))):
        assert_same(rns_float.dot_rns(x, y, moduli), rns.dot_rns(x, y, moduli))


def top(moduli):
    return (np.array(moduli, np.uint32) - np.uint32(1))[:, None]


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("power", [1, 3, 5, 31, -7])
def test_automorphism(power, values):
    moduli, a = operands((2, 4, 16))
    index = rns.automorphism_index(16, power % 32, values)
    assert_same(
        rns_float.automorphism_rns(a, index, moduli), rns.automorphism_rns(a, index, moduli)
    )


@pytest.mark.parametrize("limbs", [1, 2, 4])
@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (0,)])
def test_extension(limbs, lead):
    moduli, a = operands((*lead, 5, 4096))
    others = (*ntt_primes(4096, 2**27, 3), *ntt_primes(4096, 2**20, 2), moduli[0])
    part = np.ascontiguousarray(a[..., :limbs, :])
    ours = rns_float.extend_rns(part, moduli[:limbs], others)
    assert_same(ours, rns.extend_rns(part, moduli[:limbs], others))


def test_extension_of_many_limbs():
    moduli = ntt_primes(16, 2**27, rns.MAX_LIMBS)
    others = ntt_primes(16, 2**27, 2, moduli) + ntt_primes(16, 97, 1)
    a = limb_words(np.random.default_rng(0), (rns.MAX_LIMBS, 16), moduli)
    for x in (a, a * np.uint32(0) + top(moduli), largest_sums(moduli, 16)):
        assert_same(rns_float.extend_rns(x, moduli, others), rns.extend_rns(x, moduli, others))


def test_the_cpu_runs_it():
    backend = get_backend("cpu")
    for name in ("add_rns", "mul_rns", "dot_rns", "extend_rns"):
        assert getattr(backend, name) is getattr(rns_float, name)


def test_same_refusals():
    moduli, a = operands((4, 16))
    for call in (
        lambda family: family.add_rns(a, a[None, None], moduli),
        lambda family: family.mul_rns(a, a[:3], moduli),
        lambda family: family.neg_rns(a, moduli[:2]),
        lambda family: family.dot_rns(a, a, moduli),
        lambda family: family.extend_rns(a, moduli, ()),
        lambda family: family.sub_scale_rns(a, a, [1], moduli),
    ):
        messages = []
        for family in (rns, rns_float):
            with pytest.raises(ArgumentValueError) as caught:
                call(family)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
