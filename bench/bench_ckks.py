"""CKKS on vectors of N / 2 numbers: time and error of operations, and SEAL's in the same run.

SEAL runs in one thread and with two chains: "SEAL" has primes of 40 bits alone, as many as there
are levels with the special one among them, so that it computes with a limb less than the depth
wants; "SEAL to depth d" has d of 40 bits between a first and a special one of 60, and as many
products one after another as ours.
"""

from functools import cache, partial

import numpy as np
import pytest

from bench import seal_peer
from bench.operands import by_device
from bench.seal_peer import Seal
from bench.threads import one_thread
from he_gpu.he.context import Ckks
from he_gpu.he.parameters import CkksParams

DEPTHS = {16384: 7, 32768: 14}
"""Products one after another, by ring degree: about what its security table holds."""
SMALL = (8192, 1)
"""Degree and depth on the emulator."""
SCALE_BITS = 40
LEVELS = 8
"""At N = 16384."""
MOST = 10.0
"""Times SEAL's one thread, on the CPU."""
LEAST_SPEEDUP = 100.0
"""Of a product at N = 32768 on a Hopper GPU against SEAL's one thread."""
PRECISION = {8192: 1e-8, 16384: 2e-8, 32768: 5e-8}
"""SEAL's largest error after one product of numbers below 1 in size, to one digit, by degree."""
PRODUCTS = 8
"""Of which the errors are taken; the largest of each has a wide spread, and their median less."""
SPREAD = 1.1
"""Of a ratio of root mean squares, each over PRODUCTS N / 2 slots, 32768 at least. Errors are sums
of products of normal numbers, of kurtosis 6 at most; so a mean square deviates by sqrt(5 / 32768),
1.2 % of itself, and a ratio of roots by 0.9 %."""

OPERATIONS = {
    # name: ours on (context, x, X, Y), its result, and SEAL's on (peer, x, X, Y)
    "encrypt": (
        lambda c, x, X, Y: c.encrypt(x),
        lambda x, y: x,
        lambda s, x, X, Y: s.encrypt(x),
    ),
    "decrypt": (
        lambda c, x, X, Y: c.decrypt(X),
        lambda x, y: x,
        lambda s, x, X, Y: s.decrypt_real(X),
    ),
    "add": (
        lambda c, x, X, Y: X + Y,
        lambda x, y: x + y,
        lambda s, x, X, Y: s.add(X, Y),
    ),
    "multiply, relinearise, rescale": (
        lambda c, x, X, Y: X * Y,
        lambda x, y: x * y,
        lambda s, x, X, Y: s.multiply(X, Y),
    ),
    "multiply by numbers, rescale": (
        lambda c, x, X, Y: X * x,
        lambda x, y: x * x,
        lambda s, x, X, Y: s.multiply_plain(X, x),
    ),
    "rotate": (
        lambda c, x, X, Y: X.rotate(1),
        lambda x, y: np.roll(x, -1),
        lambda s, x, X, Y: s.rotate(X, 1),
    ),
}
DEMANDED = ("encrypt", "add", "multiply, relinearise, rescale", "rotate")


def operands(degree):
    return np.random.default_rng(0).uniform(-1, 1, (2, degree // 2))


@cache
def ours(device, depth, degree):
    """A context and two ciphertexts."""
    context = Ckks(CkksParams(depth, SCALE_BITS, ring_degree=degree), device, seed=1)
    x, y = operands(degree)
    return context, x, y, context.encrypt(x), context.encrypt(y)


@cache
def peers(degree):
    """SEAL's contexts by name, each with two ciphertexts; none where it is missing."""
    if seal_peer.seal is None:
        return {}
    depth = DEPTHS[degree]
    found = {"SEAL": Seal(degree, bits=[SCALE_BITS] * LEVELS)} if degree == 16384 else {}
    found[f"SEAL to depth {depth}"] = Seal(degree, depth)
    x, y = operands(degree)
    return {name: (peer, x, peer.encrypt(x), peer.encrypt(y)) for name, peer in found.items()}


@pytest.fixture(autouse=True)
def threads():
    with one_thread() as count:
        yield count


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("degree", DEPTHS)
def test_ckks(degree, operation, backend, hopper, record, threads):
    if backend.name == "emulator" and degree != min(DEPTHS):
        pytest.skip("the emulator takes one size, a small one")
    sizes = (degree, DEPTHS[degree])
    degree, depth = by_device(backend, cpu=sizes, cuda=sizes, emulator=SMALL)
    context, x, y, X, Y = ours(backend.name, depth, degree)
    call, expected, seals = OPERATIONS[operation]
    result = call(context, x, X, Y)
    values = result if isinstance(result, np.ndarray) else context.decrypt(result)
    bound = X.error if isinstance(result, np.ndarray) else result.error
    error = float(np.abs(values - expected(x, y)).max())
    assert error <= bound
    found = {} if backend.name == "emulator" else peers(degree)
    facts = {"n": degree, "depth": depth, "limbs": X.components.shape[-2], "threads": threads}
    facts |= {"modulus_bits": context.params.modulus_bits, "error": error, "error_bound": bound}
    for peer, *arguments in found.values():
        theirs = seals(peer, *arguments)
        theirs = theirs if isinstance(theirs, np.ndarray) else peer.decrypt_real(theirs)
        facts["seal_error"] = float(np.abs(theirs - expected(x, y)).max())
        facts["seal_modulus_bits"] = sum(peer.bits)
    limit = {}
    if backend.is_host and operation in DEMANDED:
        limit = {name: MOST for name in found if name == "SEAL"}
    if hopper and degree == 32768 and operation.startswith("multiply, "):
        limit = dict.fromkeys(found, 1 / LEAST_SPEEDUP)
    record.compare(
        f"{operation}, N = {degree}, depth {depth}",
        partial(call, context, x, X, Y),
        {name: partial(seals, *arguments) for name, arguments in found.items()},
        rounds=21,
        at_most=limit or None,
        **facts,
    )


@pytest.mark.parametrize("degree", PRECISION)
def test_precision(degree, backend, record):
    """Errors after one product at a scale of 2^40, ours and SEAL's."""
    if backend.name == "emulator" and degree != min(PRECISION):
        pytest.skip("the emulator takes one size, a small one")

    def job():
        context = Ckks(CkksParams(1, SCALE_BITS, ring_degree=degree), backend.name, seed=1)
        peer = Seal(degree, 1) if seal_peer.seal is not None else None
        errors, theirs = [], []
        rng = np.random.default_rng(0)
        for _ in range(by_device(backend, cpu=PRODUCTS, cuda=PRODUCTS, emulator=1)):
            x, y = rng.uniform(-1, 1, (2, degree // 2))
            product = context.encrypt(x) * context.encrypt(y)
            errors.append(context.decrypt(product) - x * y)
            assert np.abs(errors[-1]).max() <= product.error
            if peer is not None:
                product_of_seal = peer.multiply(peer.encrypt(x), peer.encrypt(y))
                theirs.append(peer.decrypt_real(product_of_seal) - x * y)
        found = {"scale_bits": float(np.log2(float(context.params.scale)))}
        found |= {"error": largest(errors), "error_rms": rms(errors), "error_bound": product.error}
        assert float(f"{found['error']:.0e}") <= PRECISION[degree]
        if theirs:
            found |= {"seal_error": largest(theirs), "seal_error_rms": rms(theirs)}
            assert found["error_rms"] <= SPREAD * found["seal_error_rms"]
        return found

    record.check(
        f"errors after one product, N = {degree}, scale 2^{SCALE_BITS}",
        job,
        n=degree,
        demanded=PRECISION[degree],
    )


def largest(errors):
    return float(np.median(np.abs(errors).max(axis=1)))


def rms(errors):
    return float(np.sqrt(np.square(errors).mean()))
