"""Sessions of every protocol, ring and device for the tests of comparison, and tensors in them.

Results are compared exactly everywhere: comparison is never probabilistic.
"""

import numpy as np

import he_gpu as he
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.session import PROTOCOLS
from tests.conftest import require_device

RINGS = {64: {}, 32: {"modulus": 2**32, "frac_bits": 10}}
SESSIONS = {
    f"{protocol}-{bits}": ("cpu", {"protocol": protocol, **ring})
    for protocol in PROTOCOLS
    for bits, ring in RINGS.items()
}
SESSIONS["additive-3-64"] = ("cpu", {"protocol": "additive", "parties": 3})
for kernel_device in ("emulator", "cuda"):
    SESSIONS |= {
        f"{kernel_device}-{name}": (kernel_device, SESSIONS[name][1])
        for name in ("additive-64", "replicated-64", "replicated-32")
    }


def open_session(name):
    device, arguments = SESSIONS[name]
    return he.Session(device=require_device(device), seed=30, **arguments)


def of_integers(session, integers, frac_bits=None):
    """A tensor of any words, the ends of the range too, which `share` does not take."""
    words = np.asarray(integers, np.int64).astype(f"u{word_bits(session.modulus) // 8}")
    stack = session.scheme.share(session.backend.asarray(words), 0)
    return he.SecretTensor(session, stack, session.frac_bits if frac_bits is None else frac_bits)


def end(session):
    """The largest encoding."""
    return 2 ** (word_bits(session.modulus) - 2) - 1


def edges(session):
    """Encodings at which comparison might go wrong."""
    one, most = 2**session.frac_bits, end(session)
    shared = 2 ** (word_bits(session.modulus) - 2 - session.frac_bits) - 1
    positive = {1, 2, one - 1, one, one + 1, shared // 2, most // 2, most // 2 + 1, most - 1, most}
    positive |= {min(shared, most), 2**15, 2**16 - 1, 2**16}
    return np.asarray(sorted({0, *positive, *(-value for value in positive)}), np.int64)


def grid(session, shape, seed=0, top=4, step=1):
    """Random multiples of some units in [-top, top)."""
    scale = 2**session.frac_bits
    integers = np.random.default_rng(seed).integers(-top * scale, top * scale, shape)
    return np.asarray(integers // step * step / scale)


def few(shape, seed=0, values=3):
    """Random small integers, which are often equal."""
    return np.asarray(np.random.default_rng(seed).integers(0, values, shape) - 1.0)


def exact(tensor, expected, frac_bits=None):
    """The tensor reveals just that, with those fraction bits."""
    assert isinstance(tensor, he.SecretTensor)
    assert tensor.frac_bits == (tensor.session.frac_bits if frac_bits is None else frac_bits)
    revealed = tensor.reveal()
    assert tensor.shape == revealed.shape == np.shape(expected)
    np.testing.assert_array_equal(revealed, np.asarray(expected, np.float64))


def cost_of(session, action):
    before = session.cost
    action()
    return session.cost - before


def total(*costs):
    """The sum of several costs."""
    return he.Cost(
        sum(cost.rounds for cost in costs),
        sum(cost.bytes_sent for cost in costs),
        sum(cost.dealer_bytes for cost in costs),
    )
