"""Bit planes, levels of carry and equality trees, products with bits: bytes read and written."""

import numpy as np
import pytest

from bench import work
from bench.operands import TILE, by_device, repeated, words
from he_gpu.backend import get_backend
from he_gpu.backend.definition import bits, sharing

SIZES = {"cpu": 2**20, "cuda": 2**25, "emulator": 64 * 64}
CHECKED = 64 * 157
"""Elements on which a kernel is compared with its definition, bit for bit."""
K = 64


class Operands:
    """Words and planes of n elements for two parties, the same on every device."""

    def __init__(self, on, n):
        rng = np.random.default_rng(0)
        tile = words(rng, 2**64, min(n, TILE))

        def array(*shape):
            # Other words for each array, by an odd number that scrambles the tile's.
            part = tile * np.uint64(2 * int(rng.integers(2**62)) + 1)
            return repeated(on, part, int(np.prod(shape))).reshape(shape)

        width = n // 64
        self.words = array(n)
        self.public, self.mask, self.pairs = (
            array(K, width),
            array(2, K, width),
            array(2, 32, width),
        )
        self.nodes, self.masks = array(2, 2, 32, width), array(2, 3, 16, width)
        self.opened, self.products = array(3, 16, width), array(2, 2, 16, width)
        self.beta, self.product = array(2, 1, n), array(2, 1, n)
        self.a, self.b, self.c = array(2, 16, width), array(2, 16, width), array(2, 16, width)
        self.both = array(2, 16, width)
        self.share, self.rest = array(K, width), array(K, width)


def run_split_bits(on, x):
    on.split_bits(x.public, sharing.Stream(bytes(range(32)), bytes(12)), x.share, x.rest)
    return x.share, x.rest


def parts(result):
    return result if isinstance(result, tuple) else (result,)


KERNELS = {
    # name: the call on (backend, operands)
    "bit_planes": lambda on, x: on.bit_planes(x.words),
    "bit_words": lambda on, x: on.bit_words(x.public[:1], x.words.size, np.uint64),
    "split_bits": run_split_bits,
    "carry_open": lambda on, x: on.carry_open(x.nodes, x.masks),
    "carry_combine": lambda on, x: on.carry_combine(x.opened, x.nodes, x.masks, x.products),
    "and_open": lambda on, x: on.and_open(x.nodes[:, 0, 1::2], x.a, x.nodes[:, 0, ::2], x.b),
    "and_combine": lambda on, x: on.and_combine(x.both, x.nodes[:, 0, ::2], x.a, x.c),
    "xor_open": lambda on, x: on.xor_open(x.masks, x.masks),
    "bit_shares": lambda on, x: on.bit_shares(x.public[:1], x.beta, 1),
    "bit_times_word": lambda on, x: on.bit_times_word(
        x.public[:1], x.words[None], x.beta, x.product[:, 0], x.beta, 1
    ),
}
"""For two parties. carry_open and carry_combine join the 32 nodes of the first level, and_open and
and_combine as many of an equality tree. bit_times_word and xor_open get one array twice, but count
two."""
WORK = work.bits(2)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel(kernel, device, backend, record):
    call = KERNELS[kernel]
    n = by_device(backend, **SIZES)
    host = get_backend("cpu")
    expected = call(bits, Operands(host, CHECKED))
    found = call(backend, Operands(backend, CHECKED))
    for array, demanded in zip(parts(found), parts(expected), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(array), demanded)
    operands = Operands(backend, n)
    target = backend.xp.empty_like(operands.words)
    baselines = {"copy of one word each": lambda: backend.xp.copyto(target, operands.words)}
    scales = {}
    if not backend.is_host:
        host_operands = Operands(host, SIZES["cpu"])
        baselines["our cpu"] = lambda: call(host, host_operands)
        scales["our cpu"] = n / SIZES["cpu"]
    record.compare(
        f"kernel {kernel}, 2 parties, {n} elements",
        lambda: call(backend, operands),
        baselines,
        rounds=21,
        **WORK[kernel].row(n),
        scales=scales,
        kernel=kernel,
        n=n,
    )
