"""Words split by streams: definitions equal their parts, kernels equal the definitions."""

import numpy as np
import pytest

from he_gpu.backend import cpu
from he_gpu.backend.definition import elementwise, prg, protocol
from he_gpu.backend.definition import sharing as definition
from he_gpu.backend.definition.sharing import Stream
from he_gpu.backend.device import sharing as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import MODULI, SIZES, WRAPPING, assert_same, some_words

STREAMS = tuple(Stream(bytes([i]) * 32, bytes([255 - i]) * 12) for i in range(4))


def uniform(stream, n, modulus):
    words = prg.keystream(*stream, prg.n_keystream_words(n, modulus))
    return prg.uniform(words, n, modulus)


@pytest.mark.parametrize("modulus", MODULI)
def test_definition_of_split(modulus):
    total = some_words(np.random.default_rng(1), (7, 9), modulus)
    share, rest = np.empty_like(total), np.empty_like(total)
    definition.split(total, STREAMS[0], share, rest, modulus)
    assert_same(share, uniform(STREAMS[0], 63, modulus).reshape(7, 9))
    assert_same(elementwise.add(share, rest, modulus), total)
    in_place, fast = total.copy(), np.empty_like(total)
    definition.split(in_place, STREAMS[0], fast, in_place, modulus, uniform=cpu.uniform)
    assert_same(in_place, rest)
    assert_same(fast, share)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("bits", [1, 16, 29])
def test_definition_of_split_truncated(bits, modulus):
    total = some_words(np.random.default_rng(2), 101, modulus)
    c, low, top = ((np.empty_like(total), np.empty_like(total)) for _ in range(3))
    definition.split_truncated(total, STREAMS, c, low, top, bits)
    mask = uniform(STREAMS[0], 101, modulus)
    expected = (np.subtract(total, mask), *protocol.truncation_parts(mask, bits))
    for halves, words, stream in zip((c, low, top), expected, STREAMS[1:], strict=True):
        assert_same(halves[0], uniform(stream, 101, modulus))
        assert_same(np.add(*halves), words)


@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("n", SIZES)
def test_device_splits(kernel_device, n, modulus):
    xp = kernel_device.xp
    total = some_words(np.random.default_rng(n), n, modulus)
    share, rest = np.empty_like(total), np.empty_like(total)
    definition.split(total, STREAMS[1], share, rest, modulus)
    on_device, share_on_device = xp.asarray(total.copy()), xp.empty_like(xp.asarray(total))
    rest_on_device = xp.empty_like(on_device)
    arguments = (STREAMS[1], share_on_device)
    launcher.split(kernel_device, on_device, *arguments, rest_on_device, modulus)
    assert_same(share_on_device, share)
    assert_same(rest_on_device, rest)
    launcher.split(kernel_device, on_device, *arguments, on_device, modulus)  # in place
    assert_same(on_device, rest)


@pytest.mark.parametrize("modulus", WRAPPING)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (1025,)])
def test_device_splits_truncated(kernel_device, shape, modulus):
    xp = kernel_device.xp
    total = some_words(np.random.default_rng(3), shape, modulus)
    for bits in (1, 16, modulus.bit_length() - 4):
        pairs = [(np.empty_like(total), np.empty_like(total)) for _ in range(3)]
        definition.split_truncated(total, STREAMS, *pairs, bits)
        on_device = [tuple(map(xp.asarray, (x.copy() for x in pair))) for pair in pairs]
        for pair in on_device:
            for half in pair:
                half[...] = 0
        launcher.split_truncated(kernel_device, xp.asarray(total), STREAMS, *on_device, bits)
        for expected, result in zip(pairs, on_device, strict=True):
            assert_same(result[0], expected[0])
            assert_same(result[1], expected[1])


def test_device_refuses(kernel_device):
    xp = kernel_device.xp
    word, other, third = (xp.zeros(8, np.uint64) for _ in range(3))
    with pytest.raises(ArgumentValueError, match="split: share must not share memory with total"):
        launcher.split(kernel_device, word, STREAMS[0], word, other, 2**64)
    with pytest.raises(ArgumentValueError, match=r"split: rest must have shape \(8,\), got \(7,\)"):
        launcher.split(kernel_device, word, STREAMS[0], other, third[:7], 2**64)
    with pytest.raises(ArgumentTypeError, match="split: total must have dtype uint32, got uint64"):
        launcher.split(kernel_device, word, STREAMS[0], other, third, 2**32)
    with pytest.raises(ArgumentValueError, match="split: key must have 32 bytes, got 5"):
        launcher.split(kernel_device, word, Stream(b"short", bytes(12)), other, third, 2**64)
    pairs = [(xp.zeros(8, np.uint64), xp.zeros(8, np.uint64)) for _ in range(3)]
    with pytest.raises(
        ArgumentValueError, match=r"split_truncated: bits must be in \(0, 62\), got"
    ):
        launcher.split_truncated(kernel_device, word, STREAMS, *pairs, 62)
    with pytest.raises(ArgumentValueError, match="split_truncated: no two arrays may share memory"):
        launcher.split_truncated(kernel_device, word, STREAMS, pairs[0], pairs[0], pairs[2], 16)
