"""Steps of a small descent taken together, beside the same steps by single operations."""

import numpy as np
import pytest

from bench.operands import by_device
from he_gpu.backend import CrossProducts, Products, get_backend
from he_gpu.backend.definition import descent

ROWS, WIDTH = 4, 256
"""The main job's."""
STEPS = {"cpu": 80, "cuda": 250, "emulator": 2}


def words(on, *shape):
    """Any words, the same on every device."""
    return on.asarray(np.random.default_rng(shape).integers(0, 2**64, shape, dtype=np.uint64))


class Additive:
    """Any shares and correlations.

    Args:
        on: the device.
        n_steps: how many steps.
        n_parties: of the protocol.
    """

    def __init__(self, on, n_steps, n_parties):
        def products(m, k):
            each = (words(on, n_steps, n_parties, m, 1) for _ in range(3))
            b = words(on, n_steps, n_parties, k, 1)
            return Products(words(on, m, k), words(on, n_parties, m, k), b, *each, 24)

        self.w, self.y = words(on, n_parties, WIDTH, 1), words(on, n_parties, ROWS, 1)
        self.forward, self.backward = products(ROWS, WIDTH), products(WIDTH, ROWS)

    def together(self, on):
        """The weights after all steps."""
        return on.descend(self.w, self.y, self.forward, self.backward)

    def one_by_one(self, on):
        """The same by four launches for each product, as `mpc` asks for them."""
        w = self.w
        for step in range(len(self.forward.c)):
            residual = on.sub(self._product(on, self.forward, w, step), self.y, 2**64)
            w = on.sub(w, self._product(on, self.backward, residual, step), 2**64)
        return w

    def _product(self, on, products, x, step):
        opened, mask, b, c, low, top, bits = products
        e = on.open_masked(x, b[step])
        z = on.matmul_pair(opened, x, mask, e, 2**64, add=c[step], total=True)
        return on.truncate_finish(z, low[step], top[step], bits, 1)


class Replicated:
    """Any replicated words and masks.

    Args:
        on: the device.
        n_steps: how many steps.
    """

    def __init__(self, on, n_steps):
        def again(stack):
            stack[..., 3, :, :] = stack[..., 0, :, :]
            return stack

        def products(m, k):
            masks = words(on, n_steps, 3, m, 1), again(words(on, n_steps, 4, m, 1))
            parts = words(on, n_steps, 2, 2, m, 1)
            return CrossProducts(again(words(on, 4, m, k)), *masks, parts, 24)

        self.w, self.y = again(words(on, 4, WIDTH, 1)), again(words(on, 4, ROWS, 1))
        self.forward, self.backward = products(ROWS, WIDTH), products(WIDTH, ROWS)

    def together(self, on):
        """The weights after all steps."""
        return on.descend_replicated(self.w, self.y, self.forward, self.backward)

    def one_by_one(self, on):
        """The same by four launches for each product, and copies of what these write to."""
        w = self.w
        for step in range(len(self.forward.hiding)):
            residual = on.sub(self._product(on, self.forward, w, step), self.y, 2**64)
            w = on.sub(w, self._product(on, self.backward, residual, step), 2**64)
        return w

    def _product(self, on, products, x, step):
        stack, hiding, result, parts, bits = products
        both = on.add(x[:-1], x[1:], 2**64)
        z = on.matmul_pair(stack[:-1], both, stack[1:], x[:-1], 2**64, add=hiding[step])
        parts, result = parts[step].copy(), result[step].copy()
        on.deal_mask(parts[:, 1], z[2], bits)
        on.choose_truncation(z[0], z[1], parts, bits, 1, out=result[1])
        return result


SCHEMES = {
    "2 parties": lambda on, n_steps: Additive(on, n_steps, 2),
    "3 parties": lambda on, n_steps: Additive(on, n_steps, 3),
    "replicated": Replicated,
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_kernel(scheme, device, backend, record):
    n_steps = by_device(backend, **STEPS)
    make = SCHEMES[scheme]
    expected = make(get_backend("cpu"), n_steps).together(descent)
    operands = make(backend, n_steps)
    for found in (operands.together(backend), operands.one_by_one(backend)):
        np.testing.assert_array_equal(backend.to_numpy(found), expected)
    record.compare(
        f"descent, {ROWS} x {WIDTH}, {n_steps} steps, {scheme}",
        lambda: operands.together(backend),
        {"single operations": lambda: operands.one_by_one(backend)},
        rounds=51,
        kernel="descend_replicated" if scheme == "replicated" else "descend",
        parties=2 if scheme == "2 parties" else 3,
        steps=n_steps,
    )
