"""Operands that are kept: forms are made once, and parts and transposes share them."""

import numpy as np
import pytest

from he_gpu.backend import Kept, emulator
from he_gpu.backend.definition import matmul as definition
from he_gpu.backend.definition.words import RING_32, RING_64
from he_gpu.backend.device import matmul as launcher
from tests.backend.ring_words import assert_same, some_words

OWN, NEXT = slice(None, -1), slice(1, None)


def test_parts_are_views_of_the_whole_and_its_forms():
    words = np.arange(24).reshape(4, 2, 3)
    kept, made = Kept(words), []

    def make(given):
        made.append(given)
        return np.stack([given, -given])

    part = kept.part(NEXT)
    assert part.shape == (3, 2, 3)
    assert (kept.n_words, part.n_words, part.part(OWN).n_words) == (24, 24, 24)
    assert np.shares_memory(part.words, words)
    form = part.form("both signs", make, axis=1)
    np.testing.assert_array_equal(form, make(words)[:, NEXT])
    assert made[0] is words
    assert np.shares_memory(form, kept.form("both signs", make, axis=1))
    assert np.shares_memory(form, kept.part(OWN).part(NEXT).form("both signs", make, axis=1))
    turned = part.transposed()
    np.testing.assert_array_equal(turned.words, words[1:].swapaxes(1, 2))
    form = turned.form("both signs", make, axis=1)
    assert np.shares_memory(form, kept.transposed().form("both signs", make, axis=1))
    np.testing.assert_array_equal(turned.transposed().words, part.words)
    assert len(made) == 3  # one of them here
    # A form of words that repeat may hold them once.
    repeated = Kept(np.broadcast_to(words[0], (4, 2, 3)))
    assert repeated.part(NEXT).form("once", lambda given: given[:1]).shape == (1, 2, 3)


def pairs(x, y):
    """Products of rows with their neighbours, of arrays or with one side kept."""
    yield (x[OWN], y[OWN]), (x[NEXT], y[NEXT])
    kept = Kept(x)
    yield (kept.part(OWN), y[OWN]), (kept.part(NEXT), y[NEXT])
    kept = Kept(y)
    yield (x[OWN], kept.part(OWN)), (x[NEXT], kept.part(NEXT))


@pytest.mark.parametrize("modulus", [501337, RING_32, RING_64])
def test_parts_in_products_of_the_definition(modulus):
    rng = np.random.default_rng(1)
    x, y = some_words(rng, (4, 70, 40), modulus), some_words(rng, (4, 40, 130), modulus)
    first, *others = (definition.matmul_pair(*a, *b, modulus) for a, b in pairs(x, y))
    for other in others:
        assert_same(other, first)


@pytest.mark.parametrize("modulus", [501337, RING_32, RING_64])
@pytest.mark.parametrize("kernel", ["matmul_small", "matmul_limb", "matmul_residue"])
def test_parts_in_products_of_kernels(kernel_device, kernel, modulus):
    rng, xp = np.random.default_rng(2), kernel_device.xp
    a, b = some_words(rng, (4, 17, 40), modulus), some_words(rng, (4, 40, 9), modulus)
    expected = definition.matmul_pair(a[OWN], b[OWN], a[NEXT], b[NEXT], modulus)
    with launcher.forced(kernel):
        for first, second in pairs(xp.asarray(a), xp.asarray(b)):
            found = launcher.matmul_pair(kernel_device, *first, *second, modulus)
            assert_same(found, expected)


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize(
    ("kernel", "cut"),
    [("matmul_limb", "cut_planes_ring_u64"), ("matmul_residue", "cut_residues_u64")],
)
def test_parts_are_cut_once(kernel, cut):
    rng, device = np.random.default_rng(3), emulator.device()
    x, y = (
        device.xp.asarray(some_words(rng, shape, RING_64)) for shape in ((4, 17, 40), (4, 40, 9))
    )
    kept, others = Kept(x), 2 if kernel == "matmul_residue" else 0
    with launcher.forced(kernel):
        for cuts in (1 + others, others):
            before = emulator.launches[cut]
            operands = kept.part(OWN), y[OWN], kept.part(NEXT), y[NEXT]
            launcher.matmul_pair(device, *operands, RING_64)
            assert emulator.launches[cut] - before == cuts
