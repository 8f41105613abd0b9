"""Random operands, the rings that are measured, and sizes that fill a device."""

import numpy as np

MODULI = {"2^64": 2**64, "2^32": 2**32, "501337": 501337, "2^61 - 1": 2**61 - 1}
TILE = 2**20
SCHEMES = {
    "2 parties": {"protocol": "additive", "parties": 2},
    "3 parties": {"protocol": "additive", "parties": 3},
    "replicated": {"protocol": "replicated", "parties": 3},
}
"""Arguments of a session, by the name that rows have for it; parties alone means additive."""


def words(rng, modulus, shape):
    """Uniform ring elements in uint64."""
    return rng.integers(0, modulus - 1, shape, dtype=np.uint64, endpoint=True)


def size(backend, host, device):
    """How many elements fill a device, and how many the host does in reasonable time."""
    return host if backend.is_host else device


def by_device(backend, cpu, cuda, emulator):
    """One of three values, sizes say; the emulator shows that a row works, and times nothing."""
    return {"cpu": cpu, "emulator": emulator}.get(backend.name, cuda)


def repeated(backend, array, n):
    """Return a 1-d array's elements over and over, n of them, on the device.

    The host makes and sends few elements; equality is checked on the first of them.
    """
    part = backend.asarray(array)
    return part[:n] if len(array) >= n else backend.xp.tile(part, -(-n // len(array)))[:n]


def operations(m, k, n, batch=1):
    """Multiplications and additions of a product of matrices."""
    return 2 * m * k * n * batch


def product_bytes(itemsize, m, k, n, batch=1):
    """Bytes of both operands and the result."""
    return itemsize * batch * (m * k + k * n + m * n)
