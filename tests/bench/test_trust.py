"""The tables and the picture of what functions promise, cost and got wrong."""

import copy
import dataclasses
import re

import numpy as np
import pytest

import he_gpu as he
from bench import bench_functions, report, trust
from bench.operands import SCHEMES
from bench.promises import PROMISES
from bench.scores import SOFTMAX
from tests.bench.test_report import environment

RESULTS = report.load()
ROWS = [row for row in report.rows(RESULTS, trust.SUITE) if "function" in row]
EVERY = {each.name: each for each in (*PROMISES, *SOFTMAX)}
DEMANDED = {
    "sigmoid": 2e-4, "tanh": 2e-4, "exp": 1e-3, "log": 1e-3, "reciprocal": 1e-3, "rsqrt": 1e-3,
    "softmax": 1e-3,
}  # fmt: skip
"""The largest errors that are allowed at all, relative where the promise is."""


def scheme_of(row):
    facts = {"protocol": row["protocol"], "parties": row["parties"]}
    return next(name for name, arguments in SCHEMES.items() if arguments == facts)


def function_row(name="sigmoid", protocol="additive", parties=2, **facts):
    return {
        "name": f"{name}, {protocol}",
        "median": 0.5,
        "baselines": {"the same in the clear": {"median": 0.002, "ratio": 250.0}},
        "protocol": protocol,
        "parties": parties,
        "function": name,
        "low": -11.0,
        "high": 11.0,
        "promised": 3e-5,
        "relative": False,
        "keywords": "",
        "error_inside": 2.8e-5,
        "error_beyond": 1.7e-5,
        "communication_rounds": 22,
        "bytes_per_element": 204.875,
        "dealer_bytes_per_element": 516.0,
    } | facts


CURVE = {"x": [-(2.0**46), -11.0, 0.0, 11.0, 2.0**46], "error": [0.0, 1e-5, 2e-5, 1e-5, 1e-5]}
MADE = [
    {
        "suite": "functions",
        "environment": environment(),
        "rows": [
            function_row(curve=CURVE),
            function_row(protocol="replicated", parties=3, error_inside=2.9e-5),
            function_row(
                "rsqrt", low=2.0**-8, high=2.0**12, relative=True, keywords="frac_bits=36",
                curve={"x": [2.0**-16, 1.0, 2.0**46], "error": [1e-6, 2e-6, 3e-6]},
            ),
        ],
    },
    {
        "suite": "crypten",
        "environment": environment(torch="2"),
        "rows": [
            {"name": "a product", "median": 1.0, "baselines": {}},
            {
                "name": "errors of CrypTen's sigmoid", "function": "sigmoid",
                "error_inside": 0.0027, "median_error_inside": 1.8e-4,
                "curve": {"x": [-20.0, 0.0, 20.0], "error": [1e9, 1e-3, 1e-4]},
            },
        ],
    },
]  # fmt: skip


def test_the_tables_of_made_results():
    assert report.functions(MADE).splitlines()[2:] == [
        "| function | interval | error promised | largest found | beyond | CrypTen's, its median |",
        "|---|---|---:|---:|---:|---:|",
        "| `sigmoid` | [-11, 11] | 3.0e-5 | 2.9e-5 | 1.7e-5 | 2.7e-3, 1.8e-4 |",
        "| `rsqrt`, `frac_bits=36` | [2^-8, 2^12] | 3.0e-5 relative | 2.8e-5 | 1.7e-5 |  |",
        "",
        "| function | scheme | rounds | bytes sent | dealer's bytes | time | times float64 |",
        "|---|---|---:|---:|---:|---:|---:|",
        "| `sigmoid` | additive, 2 | 22 | 204.9 | 516 | 500 ms | 250 |",
        "| `sigmoid` | replicated | 22 | 204.9 | 516 | 500 ms | 250 |",
        "| `rsqrt`, `frac_bits=36` | additive, 2 | 22 | 204.9 | 516 | 500 ms | 250 |",
    ]


def test_without_functions_there_is_no_table_and_no_picture():
    assert report.functions(MADE[1:]) == ""
    assert trust.picture("cpu", MADE[1:]) is None


def test_a_changed_error_changes_the_table():
    changed = copy.deepcopy(MADE)
    changed[0]["rows"][0]["error_beyond"] = 1.0
    assert report.functions(changed) != report.functions(MADE)


@pytest.mark.parametrize(
    ("value", "text"), [(4096.0, "2^12"), (-4096.0, "-2^12"), (2.0**46 - 2.0**-16, "2^46"),
                        (0.0, "0"), (4.0, "4"), (-4.75, "-4.75"), (-0.5, "-0.5"), (100.0, "100")],
)  # fmt: skip
def test_numbers(value, text):
    assert trust.number(value) == text


def test_the_picture_shows_the_curves():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    first, second = trust.picture("cpu", MADE).axes
    assert first.get_title() == "sigmoid, absolute"
    assert second.get_title() == "rsqrt, relative"
    lines = {line.get_label(): line for line in first.lines}
    assert list(lines["he_gpu, 2 parties"].get_xdata()) == CURVE["x"]
    assert list(lines["he_gpu, 2 parties"].get_ydata()) == [trust.BOTTOM, *CURVE["error"][1:]]
    assert list(lines["CrypTen"].get_ydata()) == [trust.TOP, 1e-3, 1e-4]
    assert list(lines["promised"].get_ydata()) == [3e-5, 3e-5]
    assert "CrypTen" not in {line.get_label() for line in second.lines}
    labels = [text.get_text() for text in second.get_xticklabels()]
    assert labels == ["$2^{-16}$", "$2^{-8}$", "$2^{12}$", "$2^{46}$"]


def test_marks_stay_apart():
    assert trust.marks(-16.0, 10.0, [-(2.0**46), 0.0, 700.0]) == [-(2.0**46), -16.0, 0.0, 10.0]
    assert trust.marks(-0.5, 4096.0, [-1.0, 2.0**46]) == [-0.5, 4096.0, 2.0**46]
    assert trust.marks(2.0**-8, 8.0, [2.0**-16, 8.0]) == [2.0**-16, 2.0**-8, 8.0]


def test_the_picture_of_the_results_is_small_and_repeats(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    found = [result for result in RESULTS if result["environment"]["device"] == "cpu"]
    figures = [trust.picture("cpu", found) for _ in range(2)]
    panels = [panel.get_title().partition(",")[0] for panel in figures[0].axes]
    assert sorted(panels) == sorted({row["function"] for row in ROWS})
    with report.style():
        paths = [report.save(figure, tmp_path / str(n))[1] for n, figure in enumerate(figures)]
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert len(first) < 300_000


# What the suite demands before it times

schemes = pytest.mark.parametrize("scheme", bench_functions.PROTOCOLS)


@schemes
@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.name)
def test_a_small_grid_meets_every_promise(promise, scheme):
    with he.Session(device="cpu", seed=5, **SCHEMES[scheme]) as session:
        found = bench_functions.checked(promise, session, 2**10, 2**6)
    assert 0 < found["error_inside"] <= promise.bound
    assert ("error_beyond" in found) == (promise.end is not None)


@schemes
@pytest.mark.parametrize("promise", SOFTMAX, ids=lambda each: each.name)
def test_few_scores_meet_every_promise(promise, scheme):
    with he.Session(device="cpu", seed=5, **SCHEMES[scheme]) as session:
        found = bench_functions.checked_scores(promise, session, 1)
    assert 0 < found["error_inside"] <= promise.bound


@pytest.mark.parametrize("name", ["sigmoid", "rsqrt"])
def test_a_promise_too_bold_fails(name):
    bold = dataclasses.replace(EVERY[name], bound=1e-6)
    with he.Session(device="cpu", seed=5) as session, pytest.raises(AssertionError):
        bench_functions.checked(bold, session, 2**8, 2**6)


def test_a_promise_too_bold_of_scores_fails():
    bold = dataclasses.replace(EVERY["softmax"], bound=1e-6)
    with he.Session(device="cpu", seed=5) as session, pytest.raises(AssertionError):
        bench_functions.checked_scores(bold, session, 1)


# The results that are kept


def test_every_function_has_its_rows():
    found = {(row["function"], scheme_of(row)) for row in ROWS}
    assert found == {(name, scheme) for name in EVERY for scheme in bench_functions.PROTOCOLS}


def test_every_promise_is_of_a_public_function():
    for name in EVERY:
        assert name == "divide" or callable(getattr(he, name))
        assert callable(getattr(he.SecretTensor, name))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['function']}-{row['protocol']}")
def test_kept_errors_meet_todays_promises(row):
    promise = EVERY[row["function"]]
    for key, value in promise.facts().items():
        assert row[key] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value)
    assert 0 < row["error_inside"] <= promise.bound
    assert row.get("error_beyond", 0) <= promise.bound
    assert promise.bound <= DEMANDED.get(promise.name, np.inf)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['function']}-{row['protocol']}")
def test_kept_costs_are_todays(row):
    found = bench_functions.cost_of(EVERY[row["function"]], scheme_of(row))
    for key, value in found.items():
        assert row[key] == pytest.approx(value, rel=1e-4), "make bench, then make report"


def test_documented_costs_are_todays():
    """Row by row of docs/functions.md, whatever the results say."""
    text = report.FUNCTIONS.read_text(encoding="utf-8")
    pattern = re.compile(
        r"^\| `(\w+)`.*? \| (additive, 2|replicated) \| (\d+) \| (\S+) \| (\S+) \|"
    )
    rows = [found.groups() for found in map(pattern.match, text.splitlines()) if found]
    assert {name for name, *_ in rows} == set(EVERY)
    for name, scheme, *stated in rows:
        kind = {"additive, 2": "2 parties"}.get(scheme, scheme)
        rounds, *sizes = bench_functions.cost_of(EVERY[name], kind).values()
        assert stated == [str(rounds), *map(trust.size, sizes)], (name, scheme)
