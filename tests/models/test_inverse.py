"""The inverse of secret positive definite matrices."""

import numpy as np
import pytest

import he_gpu as he
from he_gpu.errors import ArgumentValueError, SessionClosedError
from he_gpu.models.inverse import spd_inverse, steps
from tests.conftest import require_device

SESSIONS = {
    "plain": ("cpu", {"protocol": "plain"}),
    "additive": ("cpu", {}),
    "additive-3": ("cpu", {"parties": 3}),
    "replicated": ("cpu", {"protocol": "replicated"}),
    "emulator": ("emulator", {}),
}
CASES = [(1, 2.0**-20), (2, 2.0**-10), (12, 2.0**-20), (30, 2.0**-4)]
"""How many rows, and the least eigenvalue where the largest is 1."""


@pytest.fixture(params=SESSIONS)
def session(request):
    device, arguments = SESSIONS[request.param]
    with he.Session(device=require_device(device), seed=3, **arguments) as opened:
        yield opened


def matrix(d, least, seed=0):
    """A random matrix of eigenvalues from least to 1."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return basis @ np.diag(np.geomspace(least, 1, d)) @ basis.T


def shared(session, A, frac_bits=32):
    """A with more fraction bits than the session's, and what it then is."""
    coarse = session.share(np.ldexp(A, frac_bits - session.frac_bits))
    tensor = he.SecretTensor(session, coarse._stack, frac_bits)
    return tensor, np.ldexp(np.rint(np.ldexp(A, frac_bits)), -frac_bits)


def bound(d, low, high, error):
    """How far X A may be from 1.

    In units of A over a power of two, with all eigenvalues below 1, the last step truncates X by
    less than u = 2^-b in each of d^2 entries, and X A by 2^-e with b, e >= (55 - m) // 2 for
    low >= 2^-m. In the norm these are d 2^-b, and d 2^-e times the factor 1 and |X A| < 1.1.
    Errors of the steps before are squared but for what does not commute with A, which the next
    steps multiply by 1 - x - y for x and y the distances of eigenvalues of X A from 1: they are
    less than a tenth of the last ones. Encoding A to 2^-32 is d 2^-33 / low relative to the least
    eigenvalue, which is counted by comparing with A as encoded.
    """
    m = np.ceil(np.log2(high)) - np.floor(np.log2(low))
    return error + 1.1 * (d + 1.1 * d) * 2.0 ** -((55 - m) // 2)


@pytest.mark.parametrize(("d", "least"), CASES)
def test_it_inverts(session, d, least):
    if session.device == "emulator" and d > 2:
        pytest.skip("the emulator takes long for larger matrices")
    # Encoding moves eigenvalues by less than d 2^-33; the bounds leave room for that.
    secret, A = shared(session, matrix(d, least))
    low, high = 0.9 * least, 1.1
    X = spd_inverse(secret, low, high)
    assert X.shape == (d, d)
    away = np.linalg.norm(X.reveal() @ A - np.eye(d), 2)
    assert away < bound(d, low, high, 2.0**-8)


@pytest.mark.parametrize("scale", [2.0**-9, 3.0, 700.0])
def test_matrices_of_any_size(session, scale):
    secret, A = shared(session, matrix(2, 0.25) * scale, 30)
    X = spd_inverse(secret, 0.2 * scale, 1.2 * scale)
    assert np.linalg.norm(X.reveal() @ A - np.eye(2), 2) < bound(
        2, 0.2 * scale, 1.2 * scale, 2.0**-8
    )


@pytest.mark.parametrize("error", [2.0**-12, 2.0**-4, 0.5])
def test_as_far_as_asked(error):
    with he.Session(protocol="plain", device="cpu") as s:
        secret, A = shared(s, matrix(5, 2.0**-6))
        X = spd_inverse(secret, 2.0**-7, 1.1, error).reveal()
    away = np.linalg.norm(X @ A - np.eye(5), 2)
    assert away < bound(5, 2.0**-7, 1.1, error)
    # It stops when it may: one step less leaves more than the error.
    assert len(steps(2.0**-7, 1.1, error)[1]) <= len(steps(2.0**-7, 1.1, 2.0**-12)[1])


def test_the_identity_takes_one_step():
    with he.Session(device="cpu") as s:
        X = spd_inverse(s.share(np.eye(3)), 1.0, 1.0)
        # c = 1, so X = 2 - 1, and one truncation's unit.
        assert np.abs(X.reveal() - np.eye(3)).max() <= 2.0**-X.frac_bits
    assert steps(1.0, 1.0, 2.0**-8) == (1.0, [1.0])


@pytest.mark.parametrize("ratio", [1.0, 3.0, 2.0**10, 2.0**21, 2.0**32])
@pytest.mark.parametrize("error", [2.0**-12, 2.0**-8, 0.5])
def test_steps_bring_every_eigenvalue_near_one(ratio, error):
    start, factors = steps(1 / ratio, 1.0, error)
    x = start * np.geomspace(1 / ratio, 1.0, 4001)
    for factor in factors:
        assert factor * 16 == int(factor * 16)
        x = factor * x * (2 - x)
        assert 0 < x.min() <= x.max() < 2
    assert np.abs(x - 1).max() <= error
    # A fourfold growth in each step, and a few steps at the end that square the distance.
    assert len(factors) <= np.ceil(np.log(ratio) / np.log(4)) + 5


def test_nothing_is_opened(monkeypatch):
    with he.Session(device="cpu") as s:
        secret, _ = shared(s, matrix(3, 0.1))
        monkeypatch.setattr(s.scheme, "open", lambda stack: pytest.fail("opened"))
        spd_inverse(secret, 0.09, 1.1)


def test_refusals():
    with he.Session(device="cpu") as s:
        A = s.share(np.eye(2))
        for low, high in ((0, 1), (-1, 1), (2, 1), (2.0**-33, 1.0), (1.0, 2.0**21)):
            with pytest.raises(ArgumentValueError, match=r"0 < low <= high <= 2\*\*32 low"):
                spd_inverse(A, low, high)
        for error in (0.0, 0.6):
            with pytest.raises(ArgumentValueError, match="error must be in"):
                spd_inverse(A, 1, 1, error)
        for shape in ((2,), (2, 3), (2, 2, 2)):
            with pytest.raises(ArgumentValueError, match="square matrix, got shape"):
                spd_inverse(s.share(np.ones(shape)), 1, 2)
    with pytest.raises(SessionClosedError):
        spd_inverse(A, 1, 1)
    short = he.Session(modulus=2**32, frac_bits=10, device="cpu")
    with pytest.raises(ArgumentValueError, match=r"modulus must be 2\*\*64, got 4294967296"):
        spd_inverse(short.share(np.eye(2)), 1, 1)
