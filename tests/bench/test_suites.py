"""What the suites of comparison and truncation measure with: operands, and counts of errors."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench import bench_comparison, bench_truncation
from bench.operands import by_device
from he_gpu.session import PROTOCOLS


@pytest.mark.parametrize(
    ("name", "value"), [("cpu", 1), ("cuda", 2), ("cuda:1", 2), ("emulator", 3)]
)
def test_sizes_go_by_the_kind_of_device(name, value):
    assert by_device(SimpleNamespace(name=name), cpu=1, cuda=2, emulator=3) == value


def test_protocols_of_the_suites_exist():
    used = {arguments["protocol"] for arguments in bench_comparison.SCHEMES.values()}
    assert used == set(PROTOCOLS) - {"plain"}
    assert set(bench_comparison.PROTOCOLS) < set(bench_comparison.SCHEMES)


@pytest.mark.parametrize("ring", bench_comparison.RINGS)
def test_compared_operands_hold_ties_neighbours_and_ends(ring):
    facts = bench_comparison.RINGS[ring]
    frac_bits, bits = facts["frac_bits"], facts["modulus"].bit_length() - 1
    x, y = bench_comparison.reals(facts, 2**14, 2)
    units = np.ldexp([x, y], frac_bits)
    assert (units == np.rint(units)).all()
    end = 2 ** (bits - 2 - frac_bits) - 1
    assert np.abs(units).max() == end
    assert (units[0].min(), units[0].max()) == (-end, end)
    assert (np.diff(np.sort(units[0])) == 0).any()
    for apart in (-1, 0, 1):
        assert (units[1] - units[0] == apart).mean() > 0.2
    assert (np.abs(units[1] - units[0]) > 1).mean() > 0.2


def test_pooling_in_the_clear():
    x = bench_comparison.tied(np.random.default_rng(0), (2, 3, 4, 6))
    found = bench_comparison.pooled(np, x)
    assert found.shape == (2, 3, 2, 3)
    for i in range(2):
        for j in range(3):
            window = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            np.testing.assert_array_equal(found[:, :, i, j], window.max(axis=(2, 3)))


def truncated(exact, rng):
    """Unbiased truncation in the clear."""
    dropped = exact & (2**bench_truncation.FRAC_BITS - 1)
    up = rng.integers(0, 2**bench_truncation.FRAC_BITS, exact.size) < dropped
    return ((exact >> bench_truncation.FRAC_BITS) + up).astype(np.float64)


N = 100_000


@pytest.fixture
def values():
    """Integers, and what an unbiased truncation gives of them."""
    rng = np.random.default_rng(7)
    exact = rng.integers(-(2**51), 2**51, N)
    return exact, truncated(exact, rng)


def counted(units, exact):
    errors = bench_truncation.Errors()
    errors.add(units, exact)
    return errors


def test_an_unbiased_truncation_passes(values):
    exact, units = values
    found = counted(units, exact).checked(N)
    assert found["rounded_down"] + found["rounded_up"] == N
    assert min(found["rounded_down"], found["rounded_up"]) > 0.49 * N
    assert found["off_by_more"] == 0
    # The dropped fraction f is uniform, so the variance f (1 - f) of one rounding is 1/6.
    assert found["standard_error_units"] == pytest.approx((1 / 6 / N) ** 0.5, rel=0.01)


def test_one_value_off_by_more_is_found(values):
    exact, units = values
    for off in (-1, 2):
        wrong = units.copy()
        wrong[5] = (exact[5] >> bench_truncation.FRAC_BITS) + off
        assert counted(wrong, exact).worse == 1
        with pytest.raises(AssertionError):
            counted(wrong, exact).checked(N)


def test_an_exact_value_rounded_up_is_found(values):
    exact, units = (part.copy() for part in values)
    exact[0], units[0] = 3 << bench_truncation.FRAC_BITS, 3
    assert counted(units, exact).worse == 0
    units[0] = 4
    assert counted(units, exact).worse == 1


def test_bias_is_found(values):
    exact, _ = values
    always_down = (exact >> bench_truncation.FRAC_BITS).astype(np.float64)
    errors = counted(always_down, exact)
    assert errors.worse == 0
    assert errors.standard_errors < -100
    with pytest.raises(AssertionError):
        errors.checked(N)


def test_counts_add_up(values):
    exact, units = values
    parts = [counted(units[part], exact[part]) for part in (slice(1000), slice(1000, N))]
    both, whole = sum(parts, bench_truncation.Errors()), counted(units, exact)
    assert (both.down, both.up, both.worse) == (whole.down, whole.up, whole.worse)
    # Sums of N multiples of 2^-16 below 1 are exact in float64.
    assert both.bias == whole.bias
    assert both.variance == pytest.approx(whole.variance, rel=1e-12)


@pytest.mark.parametrize("n", [1, bench_truncation.CHUNK, bench_truncation.CHUNK + 1])
def test_chunks_cover_all(n):
    found = bench_truncation.chunks(n)
    assert sum(found) == n
    assert max(found) <= bench_truncation.CHUNK
    assert min(found) > 0
