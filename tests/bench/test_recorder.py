"""What the recorder keeps, demands and prints."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from bench.recorder import (
    FEWEST_ROUNDS,
    HEADINGS,
    Recorder,
    ShortfallError,
    aligned,
    cells,
    check_demands,
    compact,
    duration,
    rate,
    result_path,
    significant,
    summary,
    three_digits,
    write_whole,
)
from bench.roofs import Roof


class Benchmark:
    """pytest-benchmark's fixture as far as the recorder uses it, with chosen durations."""

    def __init__(self, seconds=(0.25, 0.5, 0.75), enabled=True):
        self.seconds = seconds
        self.enabled = enabled
        self.stats = None
        self.extra_info = {}
        self.calls = []

    def pedantic(self, job, setup=None, rounds=1, warmup_rounds=0, iterations=1):
        self.calls.append((rounds, warmup_rounds))
        for _ in range(rounds + warmup_rounds):
            if setup:
                setup()
            result = job()
        if self.enabled:
            self.stats = SimpleNamespace(stats=SimpleNamespace(data=list(self.seconds)))
        return result


class Roofs:
    def copy(self):
        return Roof("copy, GB/s", 10.0)

    def gemm(self):
        return Roof("float64 GEMM, TOP/s", 0.5)

    def mix(self):
        return Roof("mixes, TOP/s", 2.0)

    def multiply(self):
        return None


def recorder(benchmark, row_seconds=2.0):
    rows = []
    backend = SimpleNamespace(xp=np, name="cpu", is_host=True)
    return Recorder(benchmark, backend, rows, Roofs(), row_seconds), rows


def test_summary_is_median_and_quantiles():
    row = summary([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])
    assert row == {
        "median": 3.5,
        "quantile_20": 2.0,
        "quantile_80": 5.0,
        "unit": "s",
        "rounds": 6,
    }


def test_a_row_holds_rates_and_shares_of_the_roof():
    benchmark = Benchmark()
    record, rows = recorder(benchmark)
    row = record.compare(
        "a product",
        lambda: None,
        {"baseline": lambda: None},
        rounds=3,
        n_bytes=10**9,
        operations=10**11,
        roof_products=2,
        elements=10**6,
        headline=True,
        n=7,
    )
    assert rows == [row]
    assert benchmark.extra_info == row
    assert (row["name"], row["n"], row["headline"]) == ("a product", 7, True)
    assert (row["median"], row["rounds"]) == (0.5, 3)
    assert row["gigabytes_per_second"] == 2.0
    assert row["tera_operations_per_second"] == 0.2
    assert row["operations_per_byte"] == 100.0
    assert row["million_elements_per_second"] == 2.0
    assert (row["roof"], row["share_of_roof"]) == ("float64 GEMM, TOP/s", 0.8)
    baseline = row["baselines"]["baseline"]
    assert baseline["rounds"] == 3
    assert baseline["ratio"] == pytest.approx(0.5 / baseline["median"], rel=1e-3)


def test_bytes_alone_are_held_against_the_copy():
    record, _ = recorder(Benchmark())
    row = record.compare("a sum", lambda: None, {}, rounds=3, n_bytes=10**9)
    assert (row["roof"], row["share_of_roof"]) == ("copy, GB/s", 0.2)


@pytest.mark.parametrize(("mixes", "roof", "share"), [(10**11, "copy", 0.2), (10**12, "mixes", 1)])
def test_the_nearer_roof_is_kept(mixes, roof, share):
    record, _ = recorder(Benchmark())
    row = record.compare(
        "a keystream", lambda: None, {}, rounds=3, n_bytes=10**9, mixes=mixes, multiplications=1
    )
    assert (row["roof"].partition(",")[0], row["share_of_roof"]) == (roof, share)
    assert row["share_of_copy"] == 0.2


def test_a_scaled_baseline_counts_as_often_as_the_job_is_larger():
    record, _ = recorder(Benchmark())
    row = record.compare(
        "a sum", lambda: None, {"cpu": lambda: None}, rounds=3, scales={"cpu": 32.0}
    )
    cpu = row["baselines"]["cpu"]
    assert cpu["scale"] == 32.0
    assert cpu["ratio"] == pytest.approx(0.5 / 32 / cpu["median"], rel=1e-3)


def test_a_baseline_measured_elsewhere_joins_the_others():
    record, _ = recorder(Benchmark())
    row = record.compare("a sum", lambda: None, {}, rounds=3, measured={"peer": [2.0, 1.0, 4.0]})
    assert row["baselines"]["peer"]["median"] == 2.0
    assert row["baselines"]["peer"]["ratio"] == 0.25


def test_baselines_run_before_every_round_of_the_job():
    order = []
    record, _ = recorder(Benchmark())
    record.compare("a", lambda: order.append("job"), {"b": lambda: order.append("b")}, rounds=4)
    assert order[0] == "job"  # compiles
    assert order[1] == "b"
    assert order[2:] == ["b", "job"] * (len(order[2:]) // 2)


def test_slow_jobs_get_fewer_rounds_but_never_too_few():
    for row_seconds, expected in ((1e9, 400), (0.0, FEWEST_ROUNDS)):
        benchmark = Benchmark()
        record, _ = recorder(benchmark, row_seconds)
        record.compare("a", lambda: None, {}, rounds=400)
        assert benchmark.calls[0][0] == expected
    record, _ = recorder(Benchmark(), 0.0)
    record.compare("a", lambda: None, {}, rounds=2)


def test_nothing_is_kept_where_timing_is_disabled():
    record, rows = recorder(Benchmark(enabled=False))
    assert record.compare("a", lambda: None, {}, rounds=2) is None
    assert rows == []


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        ({"at_most": {"peer": 0.2}}, "a: 0.25 peer, demanded at most 0.2"),
        ({"at_least": {"peer": 0.3}}, "a: 0.25 peer, demanded at least 0.3"),
        (
            {"at_least": {"gigabytes_per_second": 3}},
            "a: 2 gigabytes_per_second, demanded at least 3",
        ),
        ({"at_least": {"share_of_gold": 3}}, "a: nan share_of_gold, demanded at least 3"),
    ],
)
def test_a_missed_demand_is_a_shortfall_and_the_row_is_kept(demand, message):
    record, rows = recorder(Benchmark())
    with pytest.raises(ShortfallError, match=re.escape(message)):
        record.compare(
            "a", lambda: None, {}, rounds=3, n_bytes=10**9, measured={"peer": [2.0]}, **demand
        )
    (row,) = rows
    assert {key: row[key] for key in demand} == demand


def test_met_demands_pass():
    record, rows = recorder(Benchmark())
    record.compare(
        "a",
        lambda: None,
        {},
        rounds=3,
        measured={"peer": [2.0]},
        at_most={"peer": 0.25},
        at_least={"peer": 0.25},
    )
    check_demands(rows[0])
    check_demands({"name": "free", "baselines": {}})


def test_a_check_keeps_what_it_finds():
    record, rows = recorder(Benchmark())
    row = record.check("counted", lambda: {"found": 3}, n=4)
    assert rows == [row]
    assert {key: row[key] for key in ("name", "n", "found")} == {
        "name": "counted",
        "n": 4,
        "found": 3,
    }
    assert cells(row)[0] == "counted"
    assert "found 3" in cells(row)[-1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.345, "12.3 s"), (1.0, "1.00 s"), (0.9999, "1.00 s"), (0.0123, "12.3 ms"),
     (1e-3, "1.00 ms"), (4.56e-6, "4.56 us"), (123.4, "123 s")],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_digits():
    assert [three_digits(value) for value in (1234.5, 99.96, 5, 0.01234)] == [
        "1230",
        "100",
        "5.00",
        "0.0123",
    ]
    assert significant({"a": 1.23456789, "b": 3, "c": "d"}) == {"a": 1.2346, "b": 3, "c": "d"}


def test_cells_fit_the_headings_and_align():
    record, rows = recorder(Benchmark())
    record.compare("a", lambda: None, {}, rounds=3, operations=10**11, measured={"p": [2.0]},
                   at_most={"p": 1})  # fmt: skip
    texts = cells(rows[0])
    assert len(texts) == len(HEADINGS)
    assert texts == [
        "a", "500 ms", "350 ms to 650 ms", "200 GOP/s", "", "0.250 x p, at most 1 p demanded"
    ]  # fmt: skip
    lines = aligned([list(HEADINGS), texts])
    assert [line.index(word) for line, word in zip(lines, ("median", "500"), strict=True)] == [5, 5]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"tera_operations_per_second": 25.04, "gigabytes_per_second": 3.0}, "25.0 TOP/s"),
        ({"tera_operations_per_second": 0.02504}, "25.0 GOP/s"),
        ({"million_elements_per_second": 5.6, "gigabytes_per_second": 3.0}, "5.60 M/s"),
        ({"gigabytes_per_second": 3.0}, "3.00 GB/s"),
        ({}, ""),
    ],
)
def test_rate_is_the_most_telling_one(row, text):
    assert rate(row) == text


def test_files_appear_whole(tmp_path):
    path = result_path(tmp_path / "results", "matmul", "cuda:1")
    assert path == tmp_path / "results" / "matmul-cuda1.json"
    write_whole(path, "first")
    write_whole(path, "second")
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_lists_of_numbers_are_kept_on_a_line():
    content = {"rows": [{"name": "a [b]", "curve": {"x": [-1.5, 2e-16], "error": []}}, {}]}
    text = compact(json.dumps(content, indent=1))
    assert '"x": [-1.5, 2e-16]' in text
    assert json.loads(text) == content


def test_a_curve_is_not_printed():
    row = {"name": "errors", "largest": 2.0, "curve": {"x": [1.0], "error": [2.0]}}
    assert cells(row)[-1] == "largest 2.0"
