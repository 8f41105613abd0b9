"""Transforms: the definition against schoolbook products, the rest against the definition."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from he_gpu.backend import get_backend
from he_gpu.backend.definition import four_step, ntt, ntt_float, rns
from he_gpu.backend.definition.roots import primitive_root
from he_gpu.backend.device import ntt as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring.primes import ntt_primes
from tests.backend.ring_words import assert_same
from tests.ring.polynomials import LARGE, limb_words, negacyclic

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "ntt_sympy.json").read_text())["cases"]
DEGREES = [2**log for log in range(4, 17)]


def limb(words):
    return np.array([words], np.uint32)


def bits_in_reverse(n):
    width = n.bit_length() - 1
    return [int(f"{i:0{width}b}"[::-1], 2) for i in range(n)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"N={len(case['a'])}")
@pytest.mark.parametrize("family", [ntt, ntt_float])
def test_vectors_of_sympy(family, case):
    q, n, a, b = case["modulus"], len(case["a"]), case["a"], case["b"]
    # SymPy's root is psi^j, so its value k, at root^(2 k + 1), is the one at psi^(j (2 k + 1)).
    psi = primitive_root(q, 2 * n)
    j = next(j for j in range(1, 2 * n, 2) if pow(psi, j, q) == case["root"])
    at = {j * (2 * k + 1) % (2 * n): value for k, value in enumerate(case["values"])}
    values = family.ntt(limb(a), (q,))
    assert values[0].tolist() == [at[2 * r + 1] for r in bits_in_reverse(n)]
    product = values.astype(np.uint64) * family.ntt(limb(b), (q,)) % q
    assert family.intt(product.astype(np.uint32), (q,))[0].tolist() == case["product"]


@pytest.mark.parametrize("n", DEGREES)
def test_values_are_those_of_the_polynomial(n):
    """Some of them, by Horner's rule in Python's integers."""
    for q in (*ntt_primes(n, 2**27, 1), *ntt_primes(n, 1, 1)):
        (a,), psi = limb_words(np.random.default_rng(n), (1, n), (q,)), primitive_root(q, 2 * n)
        values = ntt.ntt(a[None], (q,))[0]
        for place in (0, 1, n // 2, n - 2):
            reverse = int(f"{place:0{n.bit_length() - 1}b}"[::-1], 2)
            point, value = pow(psi, 2 * reverse + 1, q), 0
            for coefficient in a[::-1].tolist():
                value = (value * point + coefficient) % q
            assert values[place] == value


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([16, 32, 64]),
    st.sampled_from(LARGE),
    st.integers(0, 2**32 - 1),
)
def test_products_equal_the_schoolbook(n, q, seed):
    rng = np.random.default_rng(seed)
    a, b = limb_words(rng, (2, 1, n), (q,))
    values = ntt.ntt(a, (q,)).astype(np.uint64) * ntt.ntt(b, (q,)) % q
    product = ntt.intt(values.astype(np.uint32), (q,))
    assert product[0].tolist() == negacyclic(a[0], b[0], q)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(DEGREES[:9]),
    st.lists(st.sampled_from(LARGE), min_size=1, max_size=3),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_inverse_and_float64(n, moduli, polys, seed):
    words = limb_words(np.random.default_rng(seed), (polys, len(moduli), n), moduli)
    values = ntt.ntt(words, moduli)
    assert_same(ntt.intt(values, moduli), words)
    assert_same(ntt_float.ntt(words, moduli), values)
    assert_same(ntt_float.intt(values, moduli), words)
    assert_same(ntt_float.intt(words, moduli), ntt.intt(words, moduli))


def extremes(rng, n, moduli):
    """What makes the largest sums in a stage: equal words, signs that alternate, edge values."""
    q = np.array(moduli)[:, None]
    rows = [np.full((len(moduli), n), q - 1), np.broadcast_to(q // 2, (len(moduli), n))]
    signs = np.where(rng.random((2, 1, n)) < 0.5, q // 2, q // 2 + 1)
    step = np.where(np.arange(n) % 2, q - 1, 0)
    words = np.stack([*rows, *signs, step, np.zeros_like(step)])
    return np.concatenate((words.astype(np.uint32), limb_words(rng, (2, len(moduli), n), moduli)))


@pytest.mark.parametrize("n", DEGREES)
def test_float64_is_exact_at_the_largest_primes(n):
    # From primes that are reduced before every second stage to those that never are.
    moduli = (*ntt_primes(n, 2**27, 2), *ntt_primes(n, 2**26.67, 1), *LARGE[2:])
    words = extremes(np.random.default_rng(n), n, moduli)
    values = ntt.ntt(words, moduli)
    assert_same(ntt_float.ntt(words, moduli), values)
    assert_same(ntt_float.intt(values, moduli), words)
    assert_same(ntt_float.intt(words, moduli), ntt.intt(words, moduli))


def test_float64_stays_below_its_bound(monkeypatch):
    """No residue passes the size that its stage derives, and no product 2^53."""
    reduce, largest = ntt_float._reduce, []

    def checked(a, quotient, modulus):
        largest.append(np.abs(a).max())
        reduce(a, quotient, modulus)
        assert np.abs(a).max() <= (modulus + 3) // 2

    monkeypatch.setattr(ntt_float, "_reduce", checked)
    for n in (16, 2**12, 2**16):
        for q in (*ntt_primes(n, 2**27, 1), *ntt_primes(n, 2**26, 1)):
            words = extremes(np.random.default_rng(1), n, (q,))
            ntt_float.intt(ntt_float.ntt(words, (q,)), (q,))
    assert max(largest) <= ntt_float.EXACT


@pytest.mark.parametrize("n", DEGREES)
def test_kernels_equal_the_definition(kernel_device, n):
    moduli = (*ntt_primes(n, 2**27, 1), *LARGE[3:])
    words = limb_words(np.random.default_rng(n), (2, 1, len(moduli), n), moduli)
    if n > 2**13:
        words = words[0]
    on_device = kernel_device.xp.asarray(words)
    assert_same(launcher.ntt(kernel_device, on_device, moduli), ntt.ntt(words, moduli))
    assert_same(launcher.intt(kernel_device, on_device, moduli), ntt.intt(words, moduli))


def test_kernels_hold_the_largest_words(kernel_device):
    for n in (256, 2**14):
        (q,) = ntt_primes(n, 2**27, 1)
        words = extremes(np.random.default_rng(n), n, (q,))
        on_device = kernel_device.xp.asarray(words)
        assert_same(launcher.ntt(kernel_device, on_device, (q,)), ntt.ntt(words, (q,)))
        assert_same(launcher.intt(kernel_device, on_device, (q,)), ntt.intt(words, (q,)))


@pytest.mark.parametrize("shape", [(0, 2, 64), (1, 2, 64), (300, 2, 64), (3, 5, 2, 16)])
def test_batches(device, shape):
    backend, moduli = get_backend(device), LARGE[:2]
    words = limb_words(np.random.default_rng(0), shape, moduli)
    values = backend.ntt(backend.asarray(words), moduli)
    assert_same(values, ntt.ntt(words, moduli))
    assert_same(backend.intt(values, moduli), words)


def test_views_and_primes_in_any_order(device):
    backend = get_backend(device)
    words = limb_words(np.random.default_rng(0), (4, 3, 64), LARGE[:3])
    view = backend.asarray(words)[::2, ::-1]
    for moduli in (LARGE[2::-1], LARGE[:1] * 3):
        expected = ntt.ntt(np.ascontiguousarray(words[::2, ::-1]) % np.uint32(min(moduli)), moduli)
        assert_same(backend.ntt(view % np.uint32(min(moduli)), moduli), expected)


def views(words, xp=np):
    """Arrays (..., limbs, N) that lie otherwise than in one piece, from (A, B, limbs + 1, N)."""
    fixed = words[0, :, :-1].copy()
    if xp is np:  # CuPy's arrays can always be written
        fixed.flags.writeable = False
    return {
        "part of the limbs": words[:, :, 1:],
        "one polynomial": words[0, 0, :-1],
        "every second": words[:, ::2, :-1],
        "last first": words[::-1, :, :-1],
        "last of one axis first": words[0, ::-1, :-1],
        "axes swapped": words.swapaxes(0, 1)[:, :, :-1],
        "limbs outermost": xp.ascontiguousarray(words.transpose(2, 0, 1, 3)).transpose(1, 2, 0, 3)[
            :, :, :-1
        ],
        "columns outermost": words.copy(order="F")[:, :, :-1],
        "words reversed": words[:, :, :-1, ::-1],
        "repeated": xp.broadcast_to(words[0, 0, :-1], (3, *words[0, 0, :-1].shape)),
        "read-only": fixed,
        "none": words[:, :0, :-1],
    }


@pytest.mark.parametrize("n", [16, 512])
@pytest.mark.parametrize("layout", views(np.zeros((1, 1, 2, 1), np.uint32)))
def test_views_are_transformed_as_copies(device, layout, n):
    backend, moduli = get_backend(device), LARGE[:2]
    host = limb_words(np.random.default_rng(0), (2, 3, 3, n), (786433,) * 3)
    view = views(backend.asarray(host), backend.xp)[layout]
    expected = np.ascontiguousarray(views(host)[layout])
    assert_same(backend.ntt(view, moduli), ntt.ntt(expected, moduli))
    assert_same(backend.intt(view, moduli), ntt.intt(expected, moduli))
    assert_same(view, expected)  # unchanged
    for name in ("add_rns", "sub_rns", "mul_rns"):
        result = getattr(backend, name)(view, view, moduli)
        assert_same(result, getattr(rns, name)(expected, expected, moduli))


@pytest.mark.parametrize("n", DEGREES)
def test_tables_of_four_steps(n):
    n1, n2 = four_step.sides(n)
    assert n1 * n2 == n
    assert n1 <= n2 <= 2 * n1
    tables = four_step.four_step(786433, n)
    product = tables.twist * tables.twist_back % np.uint64(786433)
    assert (product == 1).all()


BAD = [
    ((64,), (97,), "x must have shape"),
    ((2, 64), LARGE[:1], r"x must have shape \(\.\.\., 1 limbs, N\), got \(2, 64\)"),
    ((0, 64), (), "x must have shape"),
    ((1, 8), LARGE[:1], r"N must be a power of two in \[16, 65536\], got 8"),
    ((1, 48), LARGE[:1], "N must be a power of two"),
    ((1, 2**17), LARGE[:1], "N must be a power of two"),
    ((1, 64), (97,), r"moduli must be 1 modulo 2 N = 128 and below 2\^27, got 97"),
    ((1, 64), (2**27 + 1,), r"below 2\^27, got 134217729"),
    ((1, 64), (1,), "got 1"),
]


@pytest.mark.parametrize(("shape", "moduli", "message"), BAD)
@pytest.mark.parametrize("name", ["ntt", "intt"])
def test_refusals(device, name, shape, moduli, message):
    backend = get_backend(device)
    with pytest.raises(ArgumentValueError, match=message):
        getattr(backend, name)(backend.xp.zeros(shape, np.uint32), moduli)
    with pytest.raises(ArgumentValueError, match=message):
        getattr(ntt, name)(np.zeros(shape, np.uint32), moduli)


def test_kernels_refuse_other_words(kernel_device):
    with pytest.raises(ArgumentTypeError, match="ntt: x must have dtype uint32"):
        launcher.ntt(kernel_device, kernel_device.xp.zeros((1, 16), np.uint64), LARGE[:1])
