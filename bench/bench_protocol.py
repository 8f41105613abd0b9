"""Sharing, revealing, secret products, truncation, and each kernel that they are made of.

Rows of a replicated protocol have the same job among two additive parties as a baseline, too.
"""

import numpy as np
import pytest

import he_gpu as he
from bench import work
from bench.operands import SCHEMES, TILE, by_device, repeated, words
from he_gpu.backend import get_backend
from he_gpu.backend.definition import protocol, sharing

SIZES = {"cpu": (2**20, 2**22), "cuda": (2**20, 2**24), "emulator": (2**10,)}
KERNEL_SIZES = {"cpu": 2**21, "cuda": 2**25, "emulator": 2**12}
LARGEST = 1000
BITS = 16
CRYPTEN = {"multiply": 5.6, "share": 43, "reveal": 16}
"""Million elements per second of CrypTen 0.4.1's two processes on a 2-core CPU, kept for reference;
`bench_crypten` measures them anew where CrypTen is installed."""
ADDITIVE = "additive, 2 parties"
LARGEST_RATIO = 0.7
"""Times the additive product of the same elements, of the replicated one, on the cpu."""
WRITTEN = {"2 parties": 2, "3 parties": 3, "replicated": 4}
READ = {"2 parties": 2, "3 parties": 3, "replicated": 3}
"""Words of an element's shares that sharing writes and revealing reads in one process."""
HEADLINES = ("2 parties", "replicated")
CHECKED = 10_007
"""Elements on which a kernel is compared with its definition, bit for bit."""


def elements(n, backend):
    if n not in by_device(backend, **SIZES):
        pytest.skip(f"{n} elements are not measured on {backend.name}")


n_elements = pytest.mark.parametrize("n", sorted({n for sizes in SIZES.values() for n in sizes}))
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def beside_additive(scheme, device, x, y, job, **arguments):
    """The job on shares of two additive parties, as a baseline, where it is not on such anyway."""
    if scheme != "replicated":
        return {}
    session = he.Session(device=device, **arguments)
    left, right = session.share(x), session.share(y)
    return {ADDITIVE: lambda: job(left, right)}


def reals(n):
    """Numbers up to `LARGEST` that the encoding holds exactly, so that results can be exact."""
    rng = np.random.default_rng(0)
    most = LARGEST << BITS
    return np.ldexp(np.resize(rng.integers(-most, most, min(n, TILE)), n), -BITS)


@n_elements
@schemes
def test_share(scheme, n, device, backend, record):
    """From float64 on the host to shares on the device; bytes are the input's and the shares'."""
    elements(n, backend)
    x = reals(n)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        assert (session.share(x).reveal() == x).all()
        record.compare(
            f"share, {scheme}, {n} elements",
            lambda: session.share(x),
            {"copy on the host": lambda: x.copy()},
            rounds=21,
            n_bytes=x.nbytes * (1 + WRITTEN[scheme]),
            elements=n,
            headline=scheme in HEADLINES and n == 2**20,
            **SCHEMES[scheme],
            n=n,
            crypten_million_elements_per_second=CRYPTEN["share"],
        )


@n_elements
@schemes
def test_reveal(scheme, n, device, backend, record):
    """From shares on the device to float64 on the host."""
    elements(n, backend)
    x = reals(n)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret = session.share(x)
        assert (secret.reveal() == x).all()
        record.compare(
            f"reveal, {scheme}, {n} elements",
            secret.reveal,
            {"copy on the host": lambda: x.copy()},
            rounds=21,
            n_bytes=x.nbytes * (1 + READ[scheme]),
            elements=n,
            headline=scheme in HEADLINES and n == 2**20,
            **SCHEMES[scheme],
            n=n,
            crypten_million_elements_per_second=CRYPTEN["reveal"],
        )


@n_elements
@schemes
def test_multiply(scheme, n, device, backend, record):
    """Fresh operands, with their triple and truncation, the dealer's work included."""
    elements(n, backend)
    x, y = reals(n), reals(n)[::-1].copy()
    here_x, here_y = backend.xp.asarray(x), backend.xp.asarray(y)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        left, right = session.share(x), session.share(y)
        check_floor((left * right).reveal(), np.ldexp(x, BITS) * np.ldexp(y, BITS))
        additive = beside_additive(scheme, device, x, y, lambda a, b: a * b)
        demanded = additive and device == "cpu" and n == 2**20
        record.compare(
            f"secret multiply, {scheme}, {n} elements",
            lambda: left * right,
            {"float64 multiply": lambda: here_x * here_y, **additive},
            rounds=21,
            elements=n,
            at_most={ADDITIVE: LARGEST_RATIO} if demanded else None,
            headline=scheme in HEADLINES and n == 2**20,
            **SCHEMES[scheme],
            n=n,
            crypten_million_elements_per_second=CRYPTEN["multiply"],
        )


@n_elements
@pytest.mark.parametrize("scheme", HEADLINES)
def test_multiply_integers(scheme, n, device, backend, record):
    """Fresh operands without fraction bits, so that nothing is truncated."""
    elements(n, backend)
    x, y = np.rint(reals(n)), np.rint(reals(n)[::-1])
    here_x, here_y = backend.xp.asarray(x), backend.xp.asarray(y)
    with he.Session(device=device, frac_bits=0, **SCHEMES[scheme]) as session:
        left, right = session.share(x), session.share(y)
        assert ((left * right).reveal() == x * y).all()
        additive = beside_additive(scheme, device, x, y, lambda a, b: a * b, frac_bits=0)
        record.compare(
            f"secret multiply of integers, {scheme}, {n} elements",
            lambda: left * right,
            {"float64 multiply": lambda: here_x * here_y, **additive},
            rounds=21,
            elements=n,
            **SCHEMES[scheme],
            n=n,
        )


def check_floor(found, exact):
    """Demand floor or floor + 1 of exact integers / 2^BITS; both are held exactly in float64."""
    off = np.ldexp(found, BITS) - np.floor(np.ldexp(exact, -BITS))
    assert np.isin(off, (0, 1)).all()


@n_elements
@pytest.mark.parametrize("scheme", HEADLINES)
def test_multiply_by_public(scheme, n, device, backend, record):
    """A public real factor, with the truncation that it needs."""
    elements(n, backend)
    x = reals(n)
    here = backend.xp.asarray(x)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret = session.share(x)
        check_floor((secret * 0.375).reveal(), np.ldexp(x, 2 * BITS) * 0.375)
        record.compare(
            f"multiply by a public real, {scheme}, {n} elements",
            lambda: secret * 0.375,
            {"float64 multiply": lambda: here * 0.375},
            rounds=21,
            elements=n,
            **SCHEMES[scheme],
            n=n,
        )


@n_elements
@schemes
def test_truncate(scheme, n, device, backend, record):
    elements(n, backend)
    x = np.ldexp(reals(n), BITS)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret = session.share(reals(n)).with_frac_bits(2 * BITS)
        check_floor(secret.with_frac_bits(BITS).reveal(), np.ldexp(x, BITS))
        here = backend.asarray(x.astype(np.int64))
        record.compare(
            f"truncate, {scheme}, {n} elements",
            lambda: secret.with_frac_bits(BITS),
            {"int64 shift": lambda: here >> BITS},
            rounds=21,
            elements=n,
            **SCHEMES[scheme],
            n=n,
        )


def stream(number):
    return sharing.Stream(bytes(range(32)), number.to_bytes(12, "little"))


def pair(backend, n):
    return backend.xp.empty(n, np.uint64), backend.xp.empty(n, np.uint64)


def run_split(backend, x, stack, n):
    share, rest = pair(backend, n)
    backend.split(x, stream(1), share, rest, 2**64)
    return share, rest


def run_split_truncated(backend, x, stack, n):
    c, low, top = (pair(backend, n) for _ in range(3))
    backend.split_truncated(x, tuple(map(stream, range(4))), c, low, top, BITS)
    return *c, *low, *top


KERNELS = {
    # name: the call on (backend, words, stacks, n)
    "reconstruct": lambda on, x, stack, n: on.reconstruct(stack[0], 2**64),
    "add_public": lambda on, x, stack, n: on.add_public(stack[0], x, 1, 2**64),
    "open_masked": lambda on, x, stack, n: on.open_masked(*stack[:2]),
    "open_scaled": lambda on, x, stack, n: on.open_scaled(*stack[:2]),
    "open_scaled by words": lambda on, x, stack, n: on.open_scaled(*stack[:2], x),
    "beaver_combine": lambda on, x, s, n: on.beaver_combine(x, s[0], s[1], x, s[2]),
    "beaver_combine in total": (
        lambda on, x, s, n: on.beaver_combine(x, s[0], s[1], x, s[2], total=True)
    ),
    "truncate_finish": lambda on, x, s, n: on.truncate_finish(x, s[0], s[1], BITS, 1),
    "split": run_split,
    "split_truncated": run_split_truncated,
}
"""For two parties. beaver_combine gets one array as both public operands, but counts two."""
WORK = work.protocol(2) | work.SHARING


class Definition:
    """The NumPy definitions under a backend's names."""

    xp = np
    reconstruct = staticmethod(protocol.reconstruct)
    add_public = staticmethod(protocol.add_public)
    open_masked = staticmethod(protocol.open_masked)
    open_scaled = staticmethod(protocol.open_scaled)
    beaver_combine = staticmethod(protocol.beaver_combine)
    truncate_finish = staticmethod(protocol.truncate_finish)
    split = staticmethod(sharing.split)
    split_truncated = staticmethod(sharing.split_truncated)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel(kernel, device, backend, record):
    call = KERNELS[kernel]
    n = by_device(backend, **KERNEL_SIZES)

    def operands(on, n):
        rng = np.random.default_rng(0)
        arrays = [repeated(on, words(rng, 2**64, min(n, TILE)), n) for _ in range(7)]
        return arrays[0], [on.xp.stack(arrays[i : i + 2]) for i in (1, 3, 5)]

    host = get_backend("cpu")
    expected = call(Definition, *operands(host, CHECKED), CHECKED)
    found = call(backend, *operands(backend, CHECKED), CHECKED)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for array, words_expected in pairs:
        np.testing.assert_array_equal(backend.to_numpy(array), words_expected)
    x, stacks = operands(backend, n)
    target = backend.xp.empty_like(x)
    baselines, scales = {"copy of one word each": lambda: backend.xp.copyto(target, x)}, {}
    if not backend.is_host:
        host_x, host_stacks = operands(host, KERNEL_SIZES["cpu"])
        baselines["our cpu"] = lambda: call(host, host_x, host_stacks, KERNEL_SIZES["cpu"])
        scales["our cpu"] = n / KERNEL_SIZES["cpu"]
    record.compare(
        f"kernel {kernel}, 2 parties, {n} elements",
        lambda: call(backend, x, stacks, n),
        baselines,
        rounds=21,
        **WORK[kernel].row(n),
        scales=scales,
        kernel=kernel,
        n=n,
    )
