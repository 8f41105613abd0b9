"""Step functions of packed bits: Python's integers, and kernels the definition, bit for bit."""

import numpy as np
import pytest

from he_gpu.backend import cpu, get_backend
from he_gpu.backend.definition import sharing
from he_gpu.backend.definition import steps as definition
from he_gpu.backend.device import steps as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import SIZES, WRAPPING, assert_same, ints, some_words

rings = pytest.mark.parametrize("modulus", WRAPPING)
PARTIES = (2, 3, 4)


def uint64s(rng, *shape):
    return rng.integers(0, 2**64, size=shape, dtype=np.uint64)


def streams(n_parties):
    return [
        sharing.Stream(bytes([p + 1] * 32), bytes([p, *range(11)])) for p in range(1, n_parties)
    ]


def operands(rng, n, rows, sets, modulus, n_parties):
    """Planes, streams, and weights of which a third are 0 or another edge."""
    planes = uint64s(rng, 2, rows, -(-n // 64))
    weights = some_words(rng, (sets, rows), modulus)
    weights[rng.random((sets, rows)) < 0.3] = 0
    constants = some_words(rng, (sets,), modulus)
    return *planes, streams(n_parties), weights, constants, n


def bits_of(plane, n):
    row = ints(plane)
    return [row[e // 64] >> e % 64 & 1 for e in range(n)]


def expected_shares(opened, bits, keys, weights, constants, n, modulus):
    """Every party's shares, by Python's integers."""
    sets, rows = weights.shape
    v, m = ([bits_of(row, n) for row in planes] for planes in (opened, bits))
    per_block = 512 // (modulus.bit_length() - 1)
    per_row = -(-n // per_block) * per_block
    drawn = [ints(sharing.uniform(*key, rows * per_row, modulus)) for key in keys]
    shares = []
    for party in range(len(keys) + 1):
        share = [[0] * n for _ in range(sets)]
        for t in range(rows):
            for e in range(n):
                words = [each[t * per_row + e] for each in drawn]
                beta = words[party] if party < len(keys) else m[t][e] - sum(words)
                bit = (1 - 2 * v[t][e]) * beta + (v[t][e] if party == 0 else 0)
                for s in range(sets):
                    share[s][e] += int(weights[s, t]) * bit
        first = [int(c) if party == 0 else 0 for c in constants]
        shares.append(
            [[(w + c) % modulus for w in each] for each, c in zip(share, first, strict=True)]
        )
    return np.array(shares, weights.dtype).reshape(len(shares), sets, n)


@rings
@pytest.mark.parametrize("n_parties", PARTIES)
@pytest.mark.parametrize(("n", "rows", "sets"), [(70, 1, 1), (131, 9, 3), (65, 33, 2), (3, 5, 5)])
def test_definition(modulus, n_parties, n, rows, sets):
    rng = np.random.default_rng(n)
    arguments = operands(rng, n, rows, sets, modulus, n_parties)
    expected = expected_shares(*arguments, modulus)
    assert_same(definition.step_shares(*arguments, range(n_parties)), expected)
    assert_same(get_backend("cpu").step_shares(*arguments, range(n_parties)), expected)


@rings
@pytest.mark.parametrize("n_parties", [2, 3])
def test_blocks_add_up_to_the_sums_of_bits(modulus, n_parties):
    """More than one block, the last of them ragged."""
    n, rows, sets = 2 * definition.BLOCK + 77, 12, 2
    arguments = operands(np.random.default_rng(5), n, rows, sets, modulus, n_parties)
    opened, bits, _, weights, constants, _ = arguments
    shares = get_backend("cpu").step_shares(*arguments, range(n_parties))
    flipped = (opened ^ bits).view(np.uint8)
    secret = np.unpackbits(flipped, axis=1, count=n, bitorder="little").astype(weights.dtype)
    total = sum(weights[:, t, None] * secret[t] for t in range(rows)) + constants[:, None]
    assert_same(shares.sum(axis=0, dtype=weights.dtype), total)
    for each in shares:  # uniform, whatever the bits are
        assert len(np.unique(each)) > 0.99 * each.size


@rings
@pytest.mark.parametrize("n_parties", PARTIES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("rows", "sets"), [(1, 1), (17, 4), (2, 7)])
def test_every_process_makes_the_same_shares(kernel_device, modulus, n_parties, n, rows, sets):
    rng = np.random.default_rng(n)
    arguments = operands(rng, n, rows, sets, modulus, n_parties)
    xp = kernel_device.xp
    moved = [xp.asarray(planes) for planes in arguments[:2]]
    expected = get_backend("cpu").step_shares(*arguments, range(n_parties))
    for start in range(n_parties):
        for stop in range(start + 1, n_parties + 1):
            hosted = range(start, stop)
            found = get_backend("cpu").step_shares(*arguments, hosted)
            assert_same(found, expected[start:stop])
            result = launcher.step_shares(kernel_device, *moved, *arguments[2:], hosted)
            assert_same(result, expected[start:stop])


@rings
def test_any_block_of_a_stream(modulus):
    key, nonce = streams(2)[0]
    per_block = 2**9 // (modulus.bit_length() - 1)
    for uniform in (cpu.uniform, sharing.uniform):
        whole = uniform(key, nonce, 9 * per_block, modulus)
        for first in (0, 1, 7):
            part = uniform(key, nonce, per_block + 3, modulus, first=first)
            assert_same(part, whole[first * per_block :][: per_block + 3])


def test_device_refuses(kernel_device):
    arguments = operands(np.random.default_rng(1), 70, 3, 2, 2**64, 2)
    opened, bits, keys, weights, constants, n = arguments
    opened, bits = (kernel_device.xp.asarray(planes) for planes in (opened, bits))

    def refuses(error, match, *changed, hosted=range(2)):
        with pytest.raises(error, match=f"step_shares: {match}"):
            launcher.step_shares(kernel_device, *changed, hosted)

    match = r"opened must have shape \(3, 2\), got \(2, 2\)"
    refuses(ArgumentValueError, match, opened[:2], bits, keys, weights, constants, n)
    refuses(ArgumentValueError, "bits must have", opened, bits[:2], keys, weights, constants, n)
    match = "weights must have shape"
    refuses(ArgumentValueError, match, opened, bits, keys, weights, constants[:1], n)
    refuses(ArgumentValueError, match, opened, bits, keys, weights[0], constants, n)
    refuses(ArgumentTypeError, "weights", opened, bits, keys, weights.view(np.int64), constants, n)
    refuses(ArgumentValueError, "hosted must be", opened, bits, [], weights, constants, n)
    wrong = range(3)
    match = "hosted must be parties of 2"
    refuses(ArgumentValueError, match, opened, bits, keys, weights, constants, n, hosted=wrong)
    wrong = bits.view(np.int64)
    refuses(ArgumentTypeError, "bits must have dtype", opened, wrong, keys, weights, constants, n)
