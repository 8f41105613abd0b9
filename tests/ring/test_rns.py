"""Residue arithmetic and its ring: against Python's integers, SymPy's vectors and schoolbooks."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from he_gpu.backend import get_backend
from he_gpu.backend.definition import rns
from he_gpu.backend.device import rns as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring import RnsRing, ntt_primes
from tests.backend.ring_words import assert_same
from tests.ring.polynomials import LARGE, integers, largest_sums, limb_words, negacyclic

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rns_sympy.json").read_text())
X = VECTORS["integers"]


def ring_of_vectors(device):
    ring = RnsRing(16, VECTORS["moduli"], device)
    return ring, ring.backend.asarray(np.array(VECTORS["residues"], np.uint32))


def rounded(x, divisor):
    """x / divisor to the nearest integer, halves up."""
    return (2 * x + divisor) // (2 * divisor)


# Vectors


def test_residues_and_integers(device):
    ring, a = ring_of_vectors(device)
    assert ring.to_integers(a).tolist() == X
    assert_same(ring.asarray(X), np.array(VECTORS["residues"], np.uint32))
    assert ring.asarray([X, X]).shape == (2, 3, 16)


def test_extension_of_vectors(device):
    ring, a = ring_of_vectors(device)
    extended = np.array(VECTORS["extended"], np.uint32)
    assert_same(ring.extend(a, VECTORS["others"]), extended)
    both = ring.mod_up(a, VECTORS["others"])
    assert_same(both, np.concatenate((VECTORS["residues"], extended)).astype(np.uint32))
    wide = ring.over((*VECTORS["moduli"], *VECTORS["others"]))
    assert wide.to_integers(both).tolist() == X


@pytest.mark.parametrize("power", VECTORS["automorphisms"])
def test_automorphisms_of_vectors(device, power):
    ring, a = ring_of_vectors(device)
    expected = ring.asarray(VECTORS["automorphisms"][power])
    assert_same(ring.automorphism(a, int(power), values=False), ring.backend.to_numpy(expected))
    moved = ring.automorphism(ring.ntt(a), int(power), values=True)
    assert_same(ring.intt(moved), ring.backend.to_numpy(expected))


@pytest.mark.parametrize("count", [1, 2])
def test_rounding_of_vectors(device, count):
    ring, a = ring_of_vectors(device)
    smaller = ring.over(ring.moduli[:-count])
    expected = VECTORS["rounded"][str(count)]
    result = ring.mod_down(a, count, values=False)
    assert smaller.to_integers(result).tolist() == expected
    result = ring.mod_down(ring.ntt(a), count, values=True)
    assert smaller.to_integers(smaller.intt(result)).tolist() == expected


# Definition against Python's integers

SHAPES = [((2, 3, 5, 16), (2, 3, 5, 16)), ((2, 3, 5, 16), (3, 5, 16)), ((2, 3, 5, 16), (5, 1))]
SHAPES += [((5, 16), (5, 16)), ((4, 5, 16), (4, 1, 1)), ((2, 3, 5, 16), (2, 1, 5, 16))]
SHAPES += [((0, 5, 16), (5, 16)), ((2, 3, 5, 16), ()), ((2, 3, 5, 64), (3, 5, 64))]
PAIRS = {"add": int.__add__, "sub": int.__sub__, "mul": int.__mul__}


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_pairs_equal_python_integers(device, left, right):
    rng, backend = np.random.default_rng(1), get_backend(device)
    a = limb_words(rng, left, LARGE)
    b = np.asarray(rng.integers(0, min(LARGE), right)).astype(np.uint32)
    x, y = a.astype(object), np.broadcast_to(b, left).astype(object)
    q = np.array(LARGE, object)[:, None]
    on_device = backend.asarray(a), backend.asarray(b)
    for name, operation in PAIRS.items():
        expected = np.frompyfunc(operation, 2, 1)(x, y) % q
        result = getattr(backend, f"{name}_rns")(*on_device, LARGE)
        assert_same(result, expected.astype(np.uint32))
    factors = (3, -1, 2**70, 0, 786432)
    result = backend.sub_scale_rns(*on_device, factors, LARGE)
    expected = (x - y) * np.array(factors, object)[:, None] % q
    assert_same(result, expected.astype(np.uint32))
    assert_same(backend.neg_rns(on_device[0], LARGE), (-x % q).astype(np.uint32))


def test_edges_of_pairs(device):
    backend = get_backend(device)
    for q in LARGE:
        edges = np.array([0, 1, 2, q // 2, q // 2 + 1, q - 2, q - 1, 3] * 2, np.uint32)
        a, b = np.repeat(edges, 16).reshape(-1, 1, 16), np.tile(edges, 16).reshape(-1, 1, 16)
        x, y = a.astype(object), b.astype(object)
        for name, operation in PAIRS.items():
            result = getattr(backend, f"{name}_rns")(backend.asarray(a), backend.asarray(b), (q,))
            expected = np.frompyfunc(operation, 2, 1)(x, y) % q
            assert_same(result, expected.astype(np.uint32))


@pytest.mark.parametrize(
    ("terms", "keys", "polys"), [(1, 1, 1), (3, 2, 4), (1024, 1, 2), (2, 0, 1)]
)
def test_dot_equals_python_integers(device, terms, keys, polys):
    rng, backend = np.random.default_rng(2), get_backend(device)
    a, b = (limb_words(rng, (terms, n, 5, 16), LARGE) for n in (polys, keys))
    if terms == 1024:  # the largest sum
        a[:], b[:] = (np.array(LARGE, np.uint32)[:, None] - 1,) * 2
    expected = np.einsum("dpln,dkln->kpln", a.astype(object), b.astype(object))
    expected = np.asarray(expected % np.array(LARGE, object)[:, None], np.uint32)
    assert_same(backend.dot_rns(backend.asarray(a), backend.asarray(b), LARGE), expected)


@pytest.mark.parametrize(("base_keys", "base_limbs"), [(1, 5), (2, 5), (2, 3), (1, 1), (0, 2)])
def test_dot_from_a_base_on(device, base_keys, base_limbs):
    rng, backend = np.random.default_rng(3), get_backend(device)
    a, b = (limb_words(rng, (1023, n, 5, 16), LARGE) for n in (2, 3))
    a[:], b[:] = (np.array(LARGE, np.uint32)[:, None] - 1,) * 2  # the largest sum
    base = limb_words(rng, (base_keys, 2, base_limbs, 16), LARGE[:base_limbs])
    base[:, 0] = np.array(LARGE[:base_limbs], np.uint32)[:, None] - 1
    total = np.einsum("dpln,dkln->kpln", a.astype(object), b.astype(object))
    for factor in (-1, 3**50):
        expected = total.copy()
        expected[:base_keys, :, :base_limbs] += factor * base.astype(object)
        expected = np.asarray(expected % np.array(LARGE, object)[:, None], np.uint32)
        operands = (backend.asarray(a), backend.asarray(b), LARGE, backend.asarray(base), factor)
        assert_same(backend.dot_rns(*operands), expected)


@pytest.mark.parametrize("head", [0, 2, 3])
@pytest.mark.parametrize("more", [0, 1, 4])
def test_dot_with_the_first_and_the_last_limbs(device, head, more):
    rng, backend = np.random.default_rng(5), get_backend(device)
    a = limb_words(rng, (2, 1, 3, 16), LARGE[:3])
    moduli = LARGE[:head] + (LARGE[3],) * more + LARGE[head:3]
    wide = limb_words(rng, (2, 2, 3 + more, 16), moduli)
    used = np.concatenate((wide[:, :, :head], wide[:, :, head + more :]), axis=2)
    base = limb_words(rng, (2, 1, 2, 16), LARGE[:2])
    expected = np.einsum("dpln,dkln->kpln", a.astype(object), used.astype(object))
    expected[:, :, :2] += 5 * base.astype(object)
    expected = np.asarray(expected % np.array(LARGE[:3], object)[:, None], np.uint32)
    operands = [backend.asarray(words) for words in (a, wide, base)]
    result = backend.dot_rns(*operands[:2], LARGE[:3], operands[2], 5, head)
    assert_same(result, expected)


@pytest.mark.parametrize("terms", [1, 2, 3, 512])
def test_tensor_equals_python_integers(device, terms):
    rng, backend = np.random.default_rng(4), get_backend(device)
    wide = limb_words(rng, (terms, 2, 6, 16), (*LARGE, LARGE[0]))
    a, b = wide[:, :, :5], limb_words(rng, (terms, 2, 5, 16), LARGE)
    if terms == 512:  # the largest sum
        a[:], b[:] = (np.array(LARGE, np.uint32)[:, None] - 1,) * 2
    (a0, a1), (b0, b1) = (x.swapaxes(0, 1).astype(object) for x in (a, b))
    expected = np.stack([(a0 * b0).sum(0), (a0 * b1 + a1 * b0).sum(0), (a1 * b1).sum(0)])
    expected = np.asarray(expected % np.array(LARGE, object)[:, None], np.uint32)
    result = backend.tensor_rns(backend.asarray(wide)[:, :, :5], backend.asarray(b), LARGE)
    assert_same(result, expected)
    result = backend.tensor_rns(backend.asarray(b), backend.asarray(wide)[:, :, :5], LARGE)
    assert_same(result, expected)


@pytest.mark.parametrize(
    ("limbs", "special", "digit_limbs"),
    [(1, 1, 1), (4, 1, 1), (4, 2, 2), (5, 2, 2), (5, 3, 3), (3, 1, 3), (4, 0, 2), (3, 0, 7)],
)
@pytest.mark.parametrize("n", [16, 256])
def test_digits_equal_python_integers(device, n, limbs, special, digit_limbs):
    every = ntt_primes(n, 2**27, limbs + special)
    moduli, ring = every[:limbs], RnsRing(n, every[:limbs], device)
    a = limb_words(np.random.default_rng(limbs), (limbs, n), moduli)
    values = ring.ntt(ring.backend.asarray(a))
    result = ring.digits(values, every[limbs:], digit_limbs)
    found = ring.backend.to_numpy(ring.over(every).intt(result))
    starts = range(0, limbs, digit_limbs)
    assert found.shape == (len(starts), limbs + special, n)
    for words, start in zip(found, starts, strict=True):
        own = slice(start, min(start + digit_limbs, limbs))
        product = math.prod(moduli[own])
        for i, x in enumerate(integers(a[own], moduli[own])):
            # Next to half the modulus an extension may take the other sign, in all limbs alike.
            edge = abs(x) >= product / 2 - product * digit_limbs / 2**36
            allowed = [[x % q for q in every]] + [[(x + product) % q for q in every]] * edge
            assert words[:, i].tolist() in allowed
    assert_same(values, ring.backend.to_numpy(ring.ntt(ring.backend.asarray(a))))  # unchanged


@pytest.mark.parametrize("n", [1024, 8192, 65536])
def test_digits_of_large_degrees(n):
    """More polynomials than one chunk of the CPU has, against the definition."""
    every, limbs = ntt_primes(n, 2**27, 9 if n < 65536 else 4), 7 if n < 65536 else 3
    a = limb_words(np.random.default_rng(n), (limbs, n), every[:limbs])
    expected = rns.digits_rns(a, every[:limbs], every[limbs:], 1)
    backend = get_backend("cpu")
    assert_same(backend.digits_rns(a, every[:limbs], every[limbs:], 1), expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(LARGE), min_size=1, max_size=5, unique=True),
    st.lists(st.sampled_from(LARGE), min_size=1, max_size=5, unique=True),
    st.integers(0, 2**32 - 1),
)
def test_extension_equals_python_integers(moduli, others, seed):
    a = limb_words(np.random.default_rng(seed), (len(moduli), 16), moduli)
    product = math.prod(moduli)
    result = rns.extend_rns(a, moduli, others)
    for i, x in enumerate(integers(a, moduli)):
        if abs(x) < product / 2 - product * len(moduli) / 2**36:
            assert result[:, i].tolist() == [x % p for p in others]


def test_definition_of_the_largest_sums():
    moduli = ntt_primes(16, 2**27, rns.MAX_LIMBS)
    words = largest_sums(moduli, 16)
    expected = [[x % p for x in integers(words, moduli)] for p in LARGE]
    assert rns.extend_rns(words, moduli, LARGE).tolist() == expected


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_extension_near_its_bound(device, count):
    """Exact up to the bound, and one of two neighbours beyond it."""
    moduli = ntt_primes(16, 2**27, count)
    (other,) = ntt_primes(16, 2**26, 1)
    ring = RnsRing(16, moduli, device)
    product = ring.modulus
    edge = product // 2 - product * count // 2**36 - 1
    inside = [edge, -edge, edge - 1, 1 - edge, 0, 1, -1, product // 4, -product // 4]
    beyond = [product // 2, -(product // 2), edge + 2, -edge - 2, edge + 5, -edge - 5, 2, 3]
    inside = [*inside, *beyond[-2:]] + [0] * 5
    result = ring.backend.to_numpy(ring.extend(ring.asarray(inside), (other,)))
    assert result[0].tolist() == [x % other for x in inside]
    beyond = (beyond * 2)[:16]
    result = ring.backend.to_numpy(ring.extend(ring.asarray(beyond), (other,)))
    for x, word in zip(beyond, result[0].tolist(), strict=True):
        centred = (x + product // 2) % product - product // 2
        assert word in {centred % other, (centred + product) % other}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1))
def test_mod_down_equals_python_integers(count, values, seed):
    ring = RnsRing(16, LARGE, "cpu")
    a = limb_words(np.random.default_rng(seed), (2, 5, 16), LARGE)
    divisor = math.prod(LARGE[-count:])
    smaller = ring.over(LARGE[:-count])
    if values:
        result = smaller.intt(ring.mod_down(ring.ntt(a), count, values=True))
    else:
        result = ring.mod_down(a, count, values=False)
    found = smaller.to_integers(result)
    for x, y in zip(ring.to_integers(a).ravel(), found.ravel(), strict=True):
        off = abs(2 * y * divisor - 2 * x) % (2 * ring.modulus)  # twice the distance, modulo 2 Q
        assert min(off, 2 * ring.modulus - off) <= divisor * (1 + count / 2**35)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("values", [False, True])
def test_mod_down_next_to_halves(device, count, values):
    """A remainder that is nearly half the divisor is rounded either way, and no other way."""
    ring = RnsRing(16, ntt_primes(16, 2**27, count + 2), device)
    smaller, divisor = ring.over(ring.moduli[:-count]), math.prod(ring.moduli[-count:])
    halves = [sign * (divisor // 2) + d for sign in (1, -1) for d in (-divisor // 2**40, -1, 0, 2)]
    x = [k * divisor + half for k, half in zip([0, 5, -7, 2**40] * 4, halves * 2, strict=True)]
    a = ring.asarray(x)
    down = ring.mod_down(ring.ntt(a) if values else a, count, values=values)
    found = smaller.to_integers(smaller.intt(down) if values else down)
    for before, after in zip(x, found, strict=True):
        assert abs(2 * (after * divisor - before)) <= divisor * (1 + count / 2**35)


def test_raised_polynomials_come_down_again(device):
    ring, a = ring_of_vectors(device)
    others = VECTORS["others"]
    raised = ring.mod_raise(a, others)
    wide = ring.over((*ring.moduli, *others))
    assert wide.to_integers(raised).tolist() == [x * math.prod(others) for x in X]
    assert_same(wide.mod_down(raised, 2, values=False), np.array(VECTORS["residues"], np.uint32))


# The ring


@pytest.mark.parametrize("n", [16, 64])
def test_products_equal_the_schoolbook(device, n):
    ring = RnsRing(n, LARGE[:2], device)
    rng = np.random.default_rng(n)
    a, b = ([int(v) for v in rng.integers(-(2**40), 2**40, n)] for _ in range(2))
    product = ring.mul(ring.ntt(ring.asarray(a)), ring.ntt(ring.asarray(b)))
    expected = negacyclic(a, b, ring.modulus)
    assert [x % ring.modulus for x in ring.to_integers(ring.intt(product))] == expected


def test_automorphisms_compose(device):
    ring = RnsRing(64, LARGE[:2], device)
    a = ring.backend.asarray(limb_words(np.random.default_rng(0), (3, 2, 64), LARGE[:2]))
    for values in (False, True):
        for j, k in ((5, 25), (3, -1), (-1, -1), (127, 1)):
            twice = ring.automorphism(ring.automorphism(a, j, values=values), k, values=values)
            once = ring.automorphism(a, j * k, values=values)
            assert_same(twice, ring.backend.to_numpy(once))


def test_arithmetic_of_the_ring(device):
    ring, a = ring_of_vectors(device)
    q, b = ring.modulus, ring.asarray(X[::-1])

    def same(result, expected):
        assert [x % q for x in ring.to_integers(result)] == [x % q for x in expected]

    same(ring.add(a, b), [x + y for x, y in zip(X, X[::-1], strict=True)])
    same(ring.sub(a, b), [x - y for x, y in zip(X, X[::-1], strict=True)])
    same(ring.neg(a), [-x for x in X])
    same(ring.mul_integer(a, -(3**50)), [-(3**50) * x for x in X])
    dot = ring.dot(a[None, None], b[None, None])
    assert_same(dot[0, 0], ring.backend.to_numpy(ring.mul(a, b)))


def test_kernels_equal_the_definition_at_larger_degrees(kernel_device):
    moduli, rng = LARGE[:3], np.random.default_rng(5)
    a, b = limb_words(rng, (2, 2, 3, 2**12), moduli)
    on_device = [kernel_device.xp.asarray(words) for words in (a, b)]
    for name in ("add_rns", "sub_rns", "mul_rns"):
        result = getattr(launcher, name)(kernel_device, *on_device, moduli)
        assert_same(result, getattr(rns, name)(a, b, moduli))
    result = launcher.extend_rns(kernel_device, on_device[0], moduli, LARGE)
    assert_same(result, rns.extend_rns(a, moduli, LARGE))


def test_many_limbs_extend(kernel_device):
    moduli = ntt_primes(16, 2**27, 255)  # fewer threads, so that their words fit
    for words in (
        limb_words(np.random.default_rng(6), (255, 16), moduli),
        largest_sums(moduli, 16),
    ):
        result = launcher.extend_rns(kernel_device, kernel_device.xp.asarray(words), moduli, LARGE)
        assert_same(result, rns.extend_rns(words, moduli, LARGE))


def test_equality_and_repr():
    ring = RnsRing(16, (97, 193), "cpu")
    assert ring == RnsRing(16, [97, 193], "cpu")
    assert hash(ring) == hash(RnsRing(16, (97, 193), "cpu"))
    assert ring != RnsRing(16, (193, 97), "cpu")
    assert ring != 16
    assert ring.over((97,)) == RnsRing(16, (97,), "cpu")
    assert repr(ring) == "RnsRing(16, (97, 193), device='cpu')"
    assert (ring.device, ring.modulus) == ("cpu", 97 * 193)


# Refusals


@pytest.mark.parametrize(
    ("degree", "moduli", "message"),
    [
        (16, (), "moduli must be different primes"),
        (16, (97, 97), r"moduli must be different primes, one at least, got \(97, 97\)"),
        (16, (97, 33), "moduli must be primes, got 33"),
        (16, (101,), "moduli must be 1 modulo 2 N = 32"),
        (8, (97,), "N must be a power of two"),
    ],
)
def test_refused_rings(degree, moduli, message):
    with pytest.raises(ArgumentValueError, match=message):
        RnsRing(degree, moduli, "cpu")


def test_refused_operands(device):
    ring, a = ring_of_vectors(device)
    xp = ring.backend.xp
    with pytest.raises(ArgumentTypeError, match=r"ntt: a must be a uint32 array.*got uint64"):
        ring.ntt(a.astype(np.uint64))
    with pytest.raises(ArgumentTypeError, match=r"b must be a uint32 array.*got list"):
        ring.add(a, [1])
    with pytest.raises(ArgumentValueError, match=r"a must have shape \(\.\.\., 3, 16\)"):
        ring.neg(a[:2])
    with pytest.raises(ArgumentValueError, match=r"b must broadcast to a's shape \(3, 16\)"):
        ring.add(a, xp.zeros((2, 3, 16), np.uint32))
    with pytest.raises(ArgumentValueError, match="b must broadcast"):
        ring.add(a, xp.zeros((2, 16), np.uint32))
    with pytest.raises(ArgumentValueError, match="power must be odd, got 2"):
        ring.automorphism(a, 2, values=True)
    for count in (0, 3):
        with pytest.raises(ArgumentValueError, match=rf"count must be in \[1, 3\), got {count}"):
            ring.mod_down(a, count, values=True)
    with pytest.raises(ArgumentValueError, match=r"coefficients must have shape \(\.\.\., 16\)"):
        ring.asarray([1, 2])
    with pytest.raises(ArgumentTypeError, match="integers expected"):
        ring.asarray([1.5] * 16)
    with pytest.raises(ArgumentValueError, match="dot_rns: a and b must have shapes"):
        ring.dot(a[None, None], a[None])
    for head in (None, -1, 4):
        with pytest.raises(ArgumentValueError, match=rf"with a head in .* and {head}"):
            ring.dot(a[None, None], xp.stack((a, a)).reshape(1, 1, 6, 16), head=head)
    with pytest.raises(ArgumentTypeError, match=r"dot: base must be a uint32 array.*got float64"):
        ring.dot(a[None, None], a[None, None], xp.zeros((1, 1, 3, 16)))
    for shape in (
        (2, 1, 3, 16),
        (1, 2, 3, 16),
        (1, 1, 4, 16),
        (1, 1, 0, 16),
        (1, 1, 3, 8),
        (3, 16),
    ):
        with pytest.raises(ArgumentValueError, match=r"dot_rns: base must .* K up to 1, P = 1"):
            ring.dot(a[None, None], a[None, None], xp.zeros(shape, np.uint32))
    with pytest.raises(ArgumentValueError, match=r"tensor_rns: a and b must have one shape"):
        ring.tensor(a[None, None], a[None, None])
    pair = xp.stack((a, a))
    with pytest.raises(ArgumentValueError, match=r"one shape \(D, 2, limbs, N\)"):
        ring.tensor(pair[None], xp.stack((pair, pair)))
    with pytest.raises(ArgumentValueError, match="moduli must be different primes"):
        ring.digits(a, ring.moduli[:1], 1)
    with pytest.raises(
        ArgumentValueError, match=r"digits_rns: values must have shape \(limbs, N\)"
    ):
        ring.digits(pair, (), 1)
    for count in (0, 256):
        with pytest.raises(ArgumentValueError, match=rf"digit_limbs be in \[1, 255\].* {count}"):
            ring.digits(a, (), count)


def test_refused_constants(device):
    backend = get_backend(device)
    a = backend.xp.zeros((2, 16), np.uint32)
    with pytest.raises(ArgumentValueError, match="factors must be one for each of 2 limbs, got 1"):
        backend.sub_scale_rns(a, a, (1,), LARGE[:2])
    with pytest.raises(ArgumentValueError, match="up to 255 different primes"):
        backend.extend_rns(a, LARGE[:1] * 2, LARGE)
    with pytest.raises(ArgumentValueError, match="others must be one prime at least"):
        backend.extend_rns(a, LARGE[:2], ())
    wide = backend.xp.zeros((1025, 1, 1, 16), np.uint32)
    with pytest.raises(ArgumentValueError, match=r"D in \[1, 1024\]"):
        backend.dot_rns(wide, wide, LARGE[:1])
    with pytest.raises(ArgumentValueError, match=r"D in \[1, 1023\]"):
        backend.dot_rns(wide[:1024], wide[:1024], LARGE[:1], wide[:1])
    wide = backend.xp.zeros((513, 2, 1, 16), np.uint32)
    with pytest.raises(ArgumentValueError, match=r"D in \[1, 512\]"):
        backend.tensor_rns(wide, wide, LARGE[:1])
    with pytest.raises(ArgumentValueError, match=r"digits_rns: moduli must be 1 modulo 2 N"):
        backend.digits_rns(a, LARGE[:2], (101,), 1)
