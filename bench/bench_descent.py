"""Steps of a small descent taken together, beside the same steps by single operations."""

import numpy as np
import pytest

from bench.operands import by_device
from he_gpu.backend import Products, get_backend
from he_gpu.backend.definition import descent

ROWS, WIDTH = 4, 256
"""The main job's."""
STEPS = {"cpu": 80, "cuda": 250, "emulator": 2}


class Operands:
    """Any shares and correlations, the same on every device."""

    def __init__(self, on, n_steps, n_parties):
        rng = np.random.default_rng(0)

        def words(*shape):
            return on.asarray(rng.integers(0, 2**64, shape, dtype=np.uint64))

        def products(m, k):
            matrices = words(m, k), words(n_parties, m, k), words(n_steps, n_parties, k, 1)
            return Products(*matrices, *(words(n_steps, n_parties, m, 1) for _ in range(3)), 24)

        self.w, self.y = words(n_parties, WIDTH, 1), words(n_parties, ROWS, 1)
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


@pytest.mark.parametrize("n_parties", [2, 3])
def test_kernel(n_parties, device, backend, record):
    n_steps = by_device(backend, **STEPS)
    expected = Operands(get_backend("cpu"), n_steps, n_parties).together(descent)
    operands = Operands(backend, n_steps, n_parties)
    for found in (operands.together(backend), operands.one_by_one(backend)):
        np.testing.assert_array_equal(backend.to_numpy(found), expected)
    record.compare(
        f"descent, {ROWS} x {WIDTH}, {n_steps} steps, {n_parties} parties",
        lambda: operands.together(backend),
        {"single operations": lambda: operands.one_by_one(backend)},
        rounds=51,
        kernel="descend",
        parties=n_parties,
        steps=n_steps,
    )
