"""Exact comparison, and what rests on it, beside the same work in the clear.

Every result is compared with NumPy's first, exactly, and with ties, neighbours one unit apart and
the ends of the range among the values.
"""

import numpy as np
import pytest

import he_gpu as he
from bench.operands import SCHEMES, by_device

SIZES = {"cpu": 2**20, "cuda": 10_000_000, "emulator": 2**10}
RINGS = {"2^64": {"modulus": 2**64, "frac_bits": 16}, "2^32": {"modulus": 2**32, "frac_bits": 10}}
PROTOCOLS = ("2 parties", "replicated")
LARGEST_RATIO = 1300
"""Times np.maximum, of ReLU modulo 2^64 on the CPU."""
LEAST_ON_HOPPER = 1000
"""Million elements per second, of ReLU modulo 2^64 among two parties: 10 million in 10 ms."""
POOLED = {"cpu": (128, 20, 24, 24), "cuda": (1024, 20, 24, 24), "emulator": (1, 2, 4, 4)}
"""What LeNet's first pooling layer takes."""
SCORES = {"cpu": (10_000, 10), "cuda": (10_000, 1000), "emulator": (10, 10)}
"""Of as many classes as MNIST has, or ImageNet."""
SORTED = {"cpu": 2**14, "cuda": 2**20, "emulator": 2**4}
ROUNDS = 21

protocols = pytest.mark.parametrize("scheme", PROTOCOLS)
rings = pytest.mark.parametrize("ring", RINGS)


def edges(frac_bits, bits):
    """Encodings at which comparison might go wrong, within what `share` takes."""
    one, most = 2**frac_bits, 2 ** (bits - 2 - frac_bits) - 1
    positive = np.array([1, 2, one - 1, one, one + 1, most // 2, most - 1, most])
    return np.concatenate([[0], positive, -positive])


def left_operand(rng, n, frac_bits, bits):
    """Encodings: a 16th small ones, the edges, and anything."""
    most = 2 ** (bits - 2 - frac_bits) - 1
    x = rng.integers(-most, most, n, endpoint=True)
    x[: n // 16] = rng.integers(-3, 4, n // 16)
    some = edges(frac_bits, bits)
    x[-some.size :] = some
    return x


def right_operand(rng, x, frac_bits, bits):
    """Encodings of which three quarters lie within a unit of x, and the rest anywhere."""
    most = 2 ** (bits - 2 - frac_bits) - 1
    y = np.clip(x + rng.integers(-1, 2, x.size), -most, most)
    y[::4] = rng.permutation(x)[::4]
    return y


def tied(rng, shape):
    """Small multiples of 2^-4, each of them often."""
    return np.ldexp(rng.integers(-50, 50, shape).astype(np.float64), -4)


def equal(secret, expected):
    """Demand that a secret tensor reveals just what is expected."""
    np.testing.assert_array_equal(secret.reveal(), expected)


def reals(ring, n, n_operands):
    """Operands that a ring's encoding holds exactly."""
    rng = np.random.default_rng(0)
    frac_bits, bits = ring["frac_bits"], ring["modulus"].bit_length() - 1
    words = [left_operand(rng, n, frac_bits, bits)]
    words += [right_operand(rng, words[0], frac_bits, bits) for _ in range(n_operands - 1)]
    return [np.ldexp(part.astype(np.float64), -frac_bits) for part in words]


@rings
@protocols
def test_relu(scheme, ring, device, backend, hopper, record):
    n = by_device(backend, **SIZES)
    (x,) = reals(RINGS[ring], n, 1)
    here, xp = backend.xp.asarray(x), backend.xp
    with he.Session(device=device, **SCHEMES[scheme], **RINGS[ring]) as session:
        secret = session.share(x)
        equal(secret.relu(), np.maximum(x, 0.0))
        baseline = f"{xp.__name__}.maximum"
        at_most = {baseline: LARGEST_RATIO} if device == "cpu" and ring == "2^64" else None
        fast = hopper and (scheme, ring) == ("2 parties", "2^64")
        record.compare(
            f"ReLU, {scheme}, {n} elements modulo {ring}",
            secret.relu,
            {baseline: lambda: xp.maximum(here, 0.0)},
            rounds=ROUNDS,
            elements=n,
            at_most=at_most,
            at_least={"million_elements_per_second": LEAST_ON_HOPPER} if fast else None,
            headline=ring == "2^64",
            **SCHEMES[scheme],
            modulus=ring,
            n=n,
        )


@rings
@protocols
def test_less(scheme, ring, device, backend, record):
    n = by_device(backend, **SIZES)
    x, y = reals(RINGS[ring], n, 2)
    assert (x == y).sum() > n / 8
    here_x, here_y, xp = backend.xp.asarray(x), backend.xp.asarray(y), backend.xp
    with he.Session(device=device, **SCHEMES[scheme], **RINGS[ring]) as session:
        left, right = session.share(x), session.share(y)
        equal(left < right, x < y)
        record.compare(
            f"x < y, {scheme}, {n} elements modulo {ring}",
            lambda: left < right,
            {f"{xp.__name__}.less": lambda: xp.less(here_x, here_y)},
            rounds=ROUNDS,
            elements=n,
            headline=ring == "2^64",
            **SCHEMES[scheme],
            modulus=ring,
            n=n,
            pairs_equal=n,
        )


@protocols
def test_equal(scheme, device, backend, record):
    n = by_device(backend, **SIZES)
    x, y = reals(RINGS["2^64"], n, 2)
    here_x, here_y, xp = backend.xp.asarray(x), backend.xp.asarray(y), backend.xp
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        left, right = session.share(x), session.share(y)
        equal(left == right, x == y)
        record.compare(
            f"x == y, {scheme}, {n} elements modulo 2^64",
            lambda: left == right,
            {f"{xp.__name__}.equal": lambda: xp.equal(here_x, here_y)},
            rounds=ROUNDS,
            elements=n,
            **SCHEMES[scheme],
            modulus="2^64",
            n=n,
            pairs_equal=n,
        )


@protocols
def test_clip(scheme, device, backend, record):
    n = by_device(backend, **SIZES)
    (x,) = reals(RINGS["2^64"], n, 1)
    here, xp = backend.xp.asarray(x), backend.xp
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret = session.share(x)
        equal(secret.clip(-8, 8), np.clip(x, -8, 8))
        record.compare(
            f"clip to [-8, 8], {scheme}, {n} elements modulo 2^64",
            lambda: secret.clip(-8, 8),
            {f"{xp.__name__}.clip": lambda: xp.clip(here, -8, 8)},
            rounds=ROUNDS,
            elements=n,
            **SCHEMES[scheme],
            modulus="2^64",
            n=n,
        )


@protocols
def test_many_thresholds(scheme, device, backend, record):
    """Twelve powers of 16 at once, as a function normalises its argument by them."""
    n = by_device(backend, **SIZES)
    (x,) = reals(RINGS["2^64"], n, 1)
    here, xp = backend.xp.asarray(x), backend.xp
    ends = np.ldexp(1.0, np.arange(-12, 36, 4))[:, None]
    here_ends = xp.asarray(ends)
    words = np.ldexp(ends, 16).astype(np.uint64)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        stack = session.share(x)._stack
        bits = backend.to_numpy(session.scheme.open(session.scheme.below(stack, words)))
        np.testing.assert_array_equal(bits, x < ends)
        record.compare(
            f"x < 12 powers of 16, {scheme}, {n} elements modulo 2^64",
            lambda: session.scheme.below(stack, words),
            {f"{xp.__name__}.less": lambda: xp.less(here, here_ends)},
            rounds=ROUNDS,
            elements=n,
            **SCHEMES[scheme],
            modulus="2^64",
            n=n,
        )


def pooled(xp, x):
    """The largest of each 2 x 2 window of an array of a module."""
    columns = xp.maximum(x[..., ::2], x[..., 1::2])
    return xp.maximum(columns[..., ::2, :], columns[..., 1::2, :])


@protocols
def test_max_pool2d(scheme, device, backend, record):
    shape = by_device(backend, **POOLED)
    x = tied(np.random.default_rng(0), shape)
    here = backend.xp.asarray(x)
    windows = x.reshape(*shape[:2], shape[2] // 2, 2, shape[3] // 2, 2)
    expected = windows.max(axis=(3, 5))
    np.testing.assert_array_equal(pooled(np, x), expected)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret = session.share(x)
        equal(secret.max_pool2d(2), expected)
        record.compare(
            f"max_pool2d of {shape} by 2 x 2, {scheme}",
            lambda: secret.max_pool2d(2),
            {"the same in the clear": lambda: pooled(backend.xp, here)},
            rounds=ROUNDS,
            elements=x.size,
            headline=True,
            **SCHEMES[scheme],
        )


@protocols
def test_argmax(scheme, device, backend, record):
    shape = by_device(backend, **SCORES)
    x = tied(np.random.default_rng(0), shape)
    here, xp = backend.xp.asarray(x), backend.xp
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret = session.share(x)
        equal(secret.argmax(axis=1), x.argmax(axis=1))
        record.compare(
            f"argmax of {shape} along axis 1, {scheme}",
            lambda: secret.argmax(axis=1),
            {f"{xp.__name__}.argmax": lambda: xp.argmax(here, axis=1)},
            rounds=ROUNDS,
            elements=x.size,
            **SCHEMES[scheme],
        )


@pytest.mark.parametrize("length", [8, 16])
@protocols
def test_sort(scheme, length, device, backend, record):
    shape = by_device(backend, **SORTED), length
    x = tied(np.random.default_rng(0), shape)
    here, xp = backend.xp.asarray(x), backend.xp
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret = session.share(x)
        equal(secret.sort(), np.sort(x))
        record.compare(
            f"sort of {shape} along axis 1, {scheme}",
            secret.sort,
            {f"{xp.__name__}.sort": lambda: xp.sort(here)},
            rounds=ROUNDS,
            elements=x.size,
            **SCHEMES[scheme],
        )
