"""What kernels must do, counted another way; and the kept rows' bytes, which follow from it."""

import numpy as np
import pytest

from bench import report, work
from bench.operands import MODULI
from he_gpu.backend.definition import prg

RESULTS = report.load()
TABLES = {
    "protocol": work.protocol(2) | work.SHARING,
    "bits": work.bits(2),
    "leaves": work.leaves(2, 32),
    "replicated": work.REPLICATED,
}


def test_the_operations_of_a_block_are_counted_by_running_it(monkeypatch):
    found = []

    def counted(state, a, b, d, bits):
        found.append(3)  # an addition, an exclusive or, a rotation

    monkeypatch.setattr(prg, "_mix", counted)
    prg.keystream(bytes(32), bytes(12), 8)
    assert sum(found) + 16 == work.BLOCK_MIXES


@pytest.mark.parametrize(
    ("modulus", "words"), [(2**64, 1), (2**32, 0.5), (501337, 2), (2**61 - 1, 3)]
)
def test_a_uniform_word_takes_its_keystream(modulus, words):
    found = work.uniform(modulus)
    assert found.keystream == words
    assert found.keystream * 1000 == prg.n_keystream_words(1000, modulus)
    assert found.mixes == words * work.BLOCK_MIXES / 8


def test_limb_products_hold_every_digit_that_counts():
    rng = np.random.default_rng(0)
    for bits, name in ((64, "2^64"), (32, "2^32")):
        n = bits // 8
        x, y = (int(word) for word in rng.integers(0, 2**bits, 2, dtype=np.uint64))
        digits = [(x >> 8 * i & 255, y >> 8 * i & 255) for i in range(n)]
        pairs = [(i, j) for i in range(n) for j in range(n) if i + j < n]
        total = sum(digits[i][0] * digits[j][1] << 8 * (i + j) for i, j in pairs)
        assert total % 2**bits == x * y % 2**bits
        assert len(pairs) == work.LIMB_PRODUCTS[name]
    assert work.LIMB_PRODUCTS["q <= 2^24"] == 9
    assert work.LIMB_PRODUCTS["q <= 2^16"] == 4


def test_multiplications_of_halves():
    """Schoolbook products of two halves: each gives a low and a high half."""
    halves = [(i + j, i + j + 1) for i in range(2) for j in range(2)]
    weights = [weight for pair in halves for weight in pair]
    assert len(weights) == work.FULL
    assert sum(weight < 2 for weight in weights) == work.LOW
    # The high word needs every half but the lowest, for its carry.
    assert sum(weight > 0 for weight in weights) == work.HIGH


@pytest.mark.parametrize("suite", TABLES)
def test_rows_move_the_bytes_that_are_counted(suite):
    kept = [row for row in report.rows(RESULTS, suite) if row.get("kernel") in TABLES[suite]]
    assert kept
    for row in kept:
        moved = row["gigabytes_per_second"] * 1e9 * row["median"] / row["n"]
        # Both figures of the row have five significant digits.
        assert moved == pytest.approx(TABLES[suite][row["kernel"]].n_bytes, rel=2e-4), row["name"]


def test_transforms_and_uniform_words_move_the_bytes_that_are_counted():
    for row in report.rows(RESULTS, "ntt"):
        passes = 2 if "and" in row["name"] else 1
        moved = row["gigabytes_per_second"] * 1e9 * row["median"] / (row["n"] * row["limbs"])
        assert moved == pytest.approx(passes * work.ntt(row["n"], False).n_bytes, rel=2e-4)
    for row in report.rows(RESULTS, "prg"):
        if "modulus" in row:
            moved = row["gigabytes_per_second"] * 1e9 * row["median"] / row["n"]
            expected = work.uniform(MODULI[row["modulus"]]).n_bytes
            assert moved == pytest.approx(expected, rel=2e-4)


def test_a_row_takes_counts_of_all_its_elements():
    found = work.Work(1, 2, keystream=8, multiplications=3).row(10)
    assert found == {"n_bytes": 240, "mixes": 10 * work.BLOCK_MIXES, "multiplications": 30}


def test_benches_have_a_count_for_every_kernel():
    from bench import bench_bits, bench_leaves, bench_protocol, bench_replicated, bench_rns

    assert set(bench_bits.KERNELS) == set(bench_bits.WORK)
    assert set(bench_leaves.KERNELS) == set(bench_leaves.WORK)
    assert set(bench_protocol.KERNELS) == set(bench_protocol.WORK)
    assert set(bench_replicated.STEPS) == set(work.REPLICATED)
    assert set(bench_rns.KERNELS) == set(bench_rns.WORK)
