"""The README's table and the figures follow from the results and from nothing else."""

import copy
import json

import pytest

from bench import report
from bench.recorder import duration

RESULTS = report.load()


def environment(**facts):
    return {"device": "cpu", "cpu": "a processor", "cores": 2, "python": "3.11", "numpy": "2",
            "blas": "openblas 1", "commit": "abc", "date": "2026-01-02"} | facts  # fmt: skip


def row(name, ratio, **facts):
    baseline = {"median": 0.5 / ratio, "quantile_20": 0.1, "quantile_80": 0.2, "unit": "s",
                "rounds": 5, "ratio": ratio}  # fmt: skip
    return {"name": name, "median": 0.5, "quantile_20": 0.4, "quantile_80": 0.6, "unit": "s",
            "rounds": 5, "baselines": {"float64 product": baseline}} | facts  # fmt: skip


PRODUCT = {
    "tera_operations_per_second": 0.02,
    "operations_per_byte": 42.0,
    "share_of_roof": 0.8,
    "family": "square",
    "modulus": "2^64",
}
MADE = [
    {
        "suite": "matmul",
        "environment": environment(),
        "roofs": {"copy, GB/s": 20.0, "float64 GEMM, TOP/s": 0.1, "int8 GEMM, TOP/s": None},
        "rows": [
            row("large", 7.0, n=512, headline=True, **PRODUCT),
            row("small", 9.0, n=256, **PRODUCT),
            row("a peer", 3.0, n=256, family="peer", peer="a peer"),
        ],
    },
    {
        "suite": "xor",
        "environment": environment(commit="def"),
        "roofs": {},
        "rows": [row("XOR", 20.0, headline=True), {"name": "a check", "seconds": 1.0}],
    },
    {
        "suite": "xor",
        "environment": environment(
            device="cuda", gpu="a GPU", driver="580", cupy="14", cuda_runtime=13000
        ),
        "roofs": {},
        "rows": [row("XOR", 40.0, headline=True)],
    },
]


def test_the_readmes_table_is_what_the_results_give():
    readme = report.README.read_text(encoding="utf-8")
    assert RESULTS, "no results are kept"
    assert readme == report.with_table(readme, report.markdown(RESULTS)), (
        "README.md is not what the results give: make report"
    )


def test_the_tables_of_functions_are_what_the_results_give():
    document = report.FUNCTIONS.read_text(encoding="utf-8")
    assert document == report.with_table(document, report.functions(RESULTS)), (
        "docs/functions.md is not what the results give: make report"
    )


def test_the_tables_of_training_are_what_the_results_give():
    document = report.TRAINING.read_text(encoding="utf-8")
    assert document == report.with_table(document, report.training(RESULTS)), (
        "docs/training.md is not what the results give: make report"
    )


def test_the_table_of_encryption_is_what_the_results_give():
    document = report.CKKS.read_text(encoding="utf-8")
    assert document == report.with_table(document, report.ckks(RESULTS)), (
        "docs/ckks.md is not what the results give: make report"
    )


def test_every_headline_of_the_results_is_in_the_readme():
    readme = report.README.read_text(encoding="utf-8")
    found = report.rows(RESULTS, headline=True)
    assert found
    for each in found:
        assert f"| {each['name']} | {duration(each['median'])} |" in readme


def test_results_name_what_they_ran_on():
    for result in RESULTS:
        facts = result["environment"]
        for name in ("device", "cpu", "cores", "python", "numpy", "blas", "commit", "date"):
            assert facts[name], (result["suite"], name)
        for each in result["rows"]:
            assert each["name"]


def test_the_table_of_made_results():
    assert report.markdown(MADE).splitlines() == [
        "**`cpu`**: a processor, 2 cores; Python 3.11; NumPy 2; openblas 1; commit abc, def; "
        "2026-01-02.",
        "",
        "| job | time | rate | of the roof | times a baseline of the same run |",
        "|---|---:|---:|---:|---|",
        "| large | 500 ms | 20.0 GOP/s | 80% | 7.00 x float64 product |",
        "| XOR | 500 ms |  |  | 20.0 x float64 product |",
        "",
        "**`cuda`**: a GPU; a processor, 2 cores; driver 580; CuPy 14; CUDA 13000; Python 3.11; "
        "NumPy 2; openblas 1; commit abc; 2026-01-02.",
        "",
        "| job | time | rate | of the roof | times a baseline of the same run |",
        "|---|---:|---:|---:|---|",
        "| XOR | 500 ms |  |  | 40.0 x float64 product |",
    ]


def test_the_table_of_a_step_taken_apart():
    parts = {"products forward": 0.3, "all else": 0.1}, {"ReLU forward": 0.25, "all else": 0.25}
    made = [
        {
            "suite": "training",
            "environment": environment(),
            "rows": [
                row(scheme, 20.0, step="a step", scheme=scheme, parts=seconds, stack={"sums": 0.2})
                for scheme, seconds in zip(("2 parties", "replicated"), parts, strict=True)
            ],
        }
    ]
    assert report.training(made).splitlines()[2:] == [
        "| a step | 2 parties | replicated |",
        "|---|---:|---:|",
        "| **whole** | 500 ms | 500 ms |",
        "| **its parts**, sum | 400 ms | 500 ms |",
        "| products forward | 300 ms, 75% |  |",
        "| ReLU forward |  | 250 ms, 50% |",
        "| all else | 100 ms, 25% | 250 ms, 50% |",
        "| **the layers beneath**, sum | 200 ms | 200 ms |",
        "| sums | 200 ms, 100% | 200 ms, 100% |",
    ]
    assert report.training(MADE) == ""


def test_the_tables_of_made_encryption():
    precision = {
        "name": "errors, N = 8192",
        "error": 1.07e-8,
        "error_rms": 1.6e-9,
        "error_bound": 1.3e-7,
    }
    circuits = {
        "name": "random circuits, N = 8192",
        "circuits": 300,
        "results": 4000,
        "beyond_bound": 0,
        "largest_share_of_bound": 0.25,
        "largest_share_at_level_0": 0.125,
    }
    suites = {
        "ckks": [
            row("multiply", 4.0, error=1.25e-8, error_bound=2e-7, seal_error=3e-8),
            row("add", 2.0),
            precision,
            precision | {"seal_error": 1e-8, "seal_error_rms": 2e-9},
        ],
        "ckks_linear": [row("matrix", 5.0)],
        "ckks_circuits": [circuits],
        "ntt": [row("ntt and intt", 3.0), row("intt", 1.0)],
        "matmul": [row("another", 3.0)],
    }
    made = [
        {"suite": suite, "environment": environment(), "rows": rows}
        for suite, rows in suites.items()
    ]
    assert report.ckks(made).splitlines()[2:] == [
        "| job | time | rate | of the roof | times a baseline of the same run | largest error | "
        "bound | SEAL's error |",
        "|---|---:|---:|---:|---|---:|---:|---:|",
        "| multiply | 500 ms |  |  | 4.00 x float64 product | 1.2e-08 | 2.0e-07 | 3.0e-08 |",
        "| add | 500 ms |  |  | 2.00 x float64 product |  |  |  |",
        "| matrix | 500 ms |  |  | 5.00 x float64 product |  |  |  |",
        "",
        "| errors after one product | largest | root mean square | bound | SEAL's largest | "
        "SEAL's root mean square |",
        "|---|---:|---:|---:|---:|---:|",
        "| errors, N = 8192 | 1.1e-08 | 1.6e-09 | 1.3e-07 |  |  |",
        "| errors, N = 8192 | 1.1e-08 | 1.6e-09 | 1.3e-07 | 1.0e-08 | 2.0e-09 |",
        "",
        "| random circuits | circuits | results | beyond their bound | "
        "largest error over its bound | the same at level 0 |",
        "|---|---:|---:|---:|---:|---:|",
        "| random circuits, N = 8192 | 300 | 4000 | 0 | 25% | 12% |",
        "",
        "| job | time | rate | of the roof | times a baseline of the same run |",
        "|---|---:|---:|---:|---|",
        "| ntt and intt | 500 ms |  |  | 3.00 x float64 product |",
    ]
    assert report.ckks(MADE) == ""


def test_a_changed_figure_changes_the_table():
    changed = copy.deepcopy(MADE)
    changed[0]["rows"][0]["median"] = 0.25
    assert report.markdown(changed) != report.markdown(MADE)
    assert report.markdown([]) == ""


def test_the_table_replaces_what_stands_between_the_markers():
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    new = report.with_table(text, "new")
    assert new == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.with_table(new, "new") == new


@pytest.mark.parametrize(
    "text",
    ["", report.BEGIN, f"{report.END}\n{report.BEGIN}", f"{report.BEGIN * 2}{report.END}"],
)
def test_a_readme_without_markers_is_refused(text):
    with pytest.raises(ValueError, match="the document must hold"):
        report.with_table(text, "new")


def test_results_are_loaded_in_order(tmp_path):
    for result in reversed(MADE):
        path = tmp_path / f"{result['suite']}-{result['environment']['device']}.json"
        path.write_text(json.dumps(result))
    assert report.load(tmp_path) == MADE
    assert report.load(tmp_path / "missing") == []


def test_figures_are_drawn_and_repeat_byte_for_byte(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    first, second = (report.draw(MADE, tmp_path / name) for name in ("first", "second"))
    assert [path.name for path in first] == [
        "roofline-cpu.png",
        "roofline-cpu.svg",
        "time-against-size-cpu.png",
        "time-against-size-cpu.svg",
        "ratio-against-plaintext-cpu.png",
        "ratio-against-plaintext-cpu.svg",
        "ratio-against-plaintext-cuda.png",
        "ratio-against-plaintext-cuda.svg",
    ]
    for path, again in zip(first, second, strict=True):
        data = path.read_bytes()
        assert data == again.read_bytes()
        assert len(data) < 200_000
        assert data.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
    drawn = (tmp_path / "first" / "time-against-size-cpu.svg").read_text()
    for text in ("modulo 2^64", "float64 product", "a peer", "256", "512"):
        assert f">{text}<" in drawn
    assert ">float64 GEMM, 0.100 TOP/s<" in (tmp_path / "first" / "roofline-cpu.svg").read_text()


def test_every_scheme_has_its_line_and_its_bar():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    made = [
        {
            "suite": "secret_matmul",
            "environment": environment(),
            "rows": [
                row("dealt", 40.0, n=256, headline=True, protocol="additive", parties=2),
                row("more parties", 60.0, n=256, protocol="additive", parties=3),
                row("undealt", 50.0, n=512, headline=True, protocol="replicated", parties=3),
            ],
        },
        {
            "suite": "comparison",
            "environment": environment(),
            "rows": [row("ReLU", 90.0, headline=True, protocol="replicated", parties=3)],
        },
    ]
    figure = report.time_against_size("cpu", made)
    lines = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].lines}
    assert lines == {"secret, 2 parties": [256], "secret, replicated": [512]}
    figure = report.ratio_against_plaintext("cpu", made)
    assert [text.get_text() for text in figure.axes[0].texts] == ["90.0", "50.0", "40.0"]
    for name in ("dealt", "undealt", "ReLU"):
        assert f"| {name} | 500 ms |" in report.markdown(made)
    assert "more parties" not in report.markdown(made)


def test_a_figure_shows_the_results(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    figure = report.time_against_size("cpu", MADE[:1])
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["modulo 2^64"].get_xdata()) == [256, 512]
    assert list(lines["modulo 2^64"].get_ydata()) == [500.0, 500.0]
    assert list(lines["a peer"].get_xdata()) == [256]
    figure = report.ratio_against_plaintext("cpu", MADE[:2])
    assert [text.get_text() for text in figure.axes[0].texts] == ["20.0", "7.00"]
