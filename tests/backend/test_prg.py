"""ChaCha20 and uniform elements: RFC 8439's vectors, Python's integers, kernels."""

import json
from pathlib import Path

import numpy as np
import pytest

from he_gpu.backend import cpu
from he_gpu.backend.definition import prg as definition
from he_gpu.backend.definition.sharing import CountedNonce
from he_gpu.backend.definition.words import word_dtype
from he_gpu.backend.device import prg as launcher
from he_gpu.backend.device.sharing import split
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import MODULI, SIZES, assert_same, ints, to_host

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "chacha20_rfc8439.json").read_text(encoding="utf-8")
)["vectors"]
KEY = bytes(range(32))
NONCE = bytes(range(12))


def block_of(keystream, vector):
    """The block of a vector, from a keystream function of (key, nonce, n_words)."""
    counter = vector["counter"]
    words = keystream(bytes.fromhex(vector["key"]), bytes.fromhex(vector["nonce"]), 8 * counter + 8)
    assert words.shape == (8 * counter + 8,)
    assert words.dtype == np.uint64
    return to_host(words)[8 * counter :].astype("<u8").tobytes().hex()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["section"])
def test_definition_gives_the_vectors(vector):
    assert block_of(definition.keystream, vector) == vector["block"]
    assert block_of(cpu.keystream, vector) == vector["block"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["section"])
def test_device_gives_the_vectors(kernel_device, vector):
    def keystream(key, nonce, n_words):
        return launcher.keystream(kernel_device, key, nonce, n_words)

    assert block_of(keystream, vector) == vector["block"]


@pytest.mark.parametrize("n_words", [0, 1, 7, 8, 9, 2049])
def test_keystreams_agree(kernel_device, n_words):
    expected = definition.keystream(KEY, NONCE, n_words)
    assert_same(cpu.keystream(KEY, NONCE, n_words), expected)
    assert_same(launcher.keystream(kernel_device, KEY, NONCE, n_words), expected)


def integers(modulus, n):
    """Uniform elements by Python's integers, from the bytes of the keystream."""
    stream = definition.keystream(KEY, NONCE, 3 * n + 1).astype("<u8").tobytes()
    if modulus == 2**32:
        return [int.from_bytes(stream[4 * i : 4 * i + 4], "little") for i in range(n)]
    words = [int.from_bytes(stream[i : i + 8], "little") for i in range(0, len(stream), 8)]
    if modulus & (modulus - 1) == 0:
        return [word % modulus for word in words[:n]]
    width = 2 if modulus <= 2**48 else 3
    wide = [0] * n
    for i in range(n):
        for word in words[width * i : width * (i + 1)]:
            wide[i] = wide[i] * 2**64 + word
    return [value % modulus for value in wide]


def defined(modulus, n):
    words = definition.keystream(KEY, NONCE, definition.n_keystream_words(n, modulus))
    return definition.uniform(words, n, modulus)


@pytest.mark.parametrize("modulus", [*MODULI, 2**20, 2**48 - 59, 2**48, 2**48 + 21])
def test_definition_reduces_the_keystream(modulus):
    result = defined(modulus, 2000)
    assert result.dtype == word_dtype(modulus)
    assert ints(result) == integers(modulus, 2000)
    assert_same(cpu.uniform(KEY, NONCE, 2000, modulus), result)


@pytest.mark.parametrize("modulus", [*MODULI, 2**20, 2**48 - 59, 2**48, 2**48 + 21])
@pytest.mark.parametrize("n", SIZES)
def test_device_makes_the_same_elements(kernel_device, n, modulus):
    result = launcher.uniform(kernel_device, KEY, NONCE, n, modulus)
    assert isinstance(result, kernel_device.xp.ndarray)
    assert_same(result, defined(modulus, n))


@pytest.mark.parametrize("modulus", [501337, 2**32, 2**63, 2**63 - 25, 2**64])
def test_device_fills_out_at_any_alignment(kernel_device, modulus):
    xp = kernel_device.xp
    for start in range(4):
        space = xp.zeros(120, word_dtype(modulus))
        out = space[start : start + 105].reshape(3, 5, 7)
        assert launcher.uniform(kernel_device, KEY, NONCE, 105, modulus, out=out) is out
        assert_same(out.reshape(-1), defined(modulus, 105))
        assert not to_host(space)[:start].any()
        assert not to_host(space)[start + 105 :].any()


def test_device_refuses(kernel_device):
    xp = kernel_device.xp
    with pytest.raises(ArgumentValueError, match="keystream: key must have 32 bytes, got 31"):
        launcher.keystream(kernel_device, KEY[1:], NONCE, 8)
    with pytest.raises(ArgumentValueError, match="uniform: nonce must have 12 bytes, got 32"):
        launcher.uniform(kernel_device, KEY, KEY, 8, 2**64)
    with pytest.raises(ArgumentTypeError, match="uniform: key must be bytes, got str"):
        launcher.uniform(kernel_device, "k" * 32, NONCE, 8, 2**64)
    with pytest.raises(ArgumentTypeError, match="uniform: out must have dtype uint32, got uint64"):
        launcher.uniform(kernel_device, KEY, NONCE, 8, 2**32, out=xp.zeros(8, np.uint64))
    with pytest.raises(ArgumentValueError, match=r"uniform: out must have shape \(8,\), got \(9,"):
        launcher.uniform(kernel_device, KEY, NONCE, 8, 2**64, out=xp.zeros(9, np.uint64))
    with pytest.raises(ArgumentValueError, match="uniform: out must be an aligned, C-contiguous"):
        launcher.uniform(kernel_device, KEY, NONCE, 8, 2**64, out=xp.zeros(16, np.uint64)[::2])


@pytest.mark.parametrize("calls", [0, 1, 2**32 - 1, 2**64 - 3])
@pytest.mark.parametrize("modulus", [2**64, 2**32, 501337])
def test_device_adds_calls_to_the_nonce(kernel_device, modulus, calls):
    nonce = CountedNonce((5).to_bytes(8, "little") + b"\1\2\3\4")
    nonce.calls = kernel_device.xp.asarray(np.array([calls], np.uint64))
    sum_of_both = ((5 + calls) % 2**64).to_bytes(8, "little") + b"\1\2\3\4"
    expected = cpu.uniform(KEY, sum_of_both, 21, modulus)
    assert_same(launcher.uniform(kernel_device, KEY, nonce, 21, modulus), expected)
    share, rest, total = (kernel_device.xp.zeros(21, word_dtype(modulus)) for _ in range(3))
    split(kernel_device, total, (KEY, nonce), share, rest, modulus)
    assert_same(share, expected)


@pytest.mark.parametrize(
    ("n", "modulus"),
    [(2**35 - 7, 2**64), (2**36 - 15, 2**32), (2**34 - 7, 501337), (-1, 2**64)],
)
def test_device_never_lets_the_block_counter_wrap(kernel_device, n, modulus):
    with pytest.raises(ArgumentValueError, match=r"uniform: n must .* fewer than 2\^32 blocks"):
        launcher.uniform(kernel_device, KEY, NONCE, n, modulus)
