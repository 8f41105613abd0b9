"""docs/performance.md is what its generator writes, of all kernels, on any devices."""

import copy
import re

import pytest

from bench import history, kernel_families, performance, report, work
from bench.kernel_families import SECTIONS
from tests.bench.test_report import environment, row

RESULTS = report.load()
ENTRIES = history.load()
KERNELS = {path.stem for path in (report.ROOT / "kernels").glob("*.cu")}


def on_gpu(**facts):
    return environment(
        device="cuda", gpu="a GPU", driver="580", cupy="14", cuda_runtime=13000, **facts
    )


MADE = [
    {
        "suite": "matmul",
        "environment": on_gpu(),
        "roofs": {"copy, GB/s": 4000.0, "int8 GEMM, TOP/s": 1500.0},
        "rows": [
            row("matmul modulo 2^64, n = 8192", 5.0, family="square", modulus="2^64", n=8192,
                tera_operations_per_second=60.0, operations_per_byte=5461.3,
                roof="int8 GEMM, TOP/s", roof_products=18, share_of_roof=0.72, headline=True),
            row("matmul by residues modulo 2^64, n = 8192", 5.0, family="residues")
            | {"baselines": {"byte limbs": {"median": 1.0, "ratio": 0.5}}},
        ],
    },
    {
        "suite": "prg",
        "environment": on_gpu(),
        "roofs": {"copy, GB/s": 4200.0, "32-bit mixes, TOP/s": None, "why not": "absent"},
        "rows": [
            row("uniform modulo 2^64, 4194304 elements", 2.0, gigabytes_per_second=600.0,
                roof="32-bit additions, exclusive ors, rotations, TOP/s", share_of_roof=0.9,
                kernel="uniform", modulus="2^64"),
            {"name": "a check", "seconds": 1.0},
        ],
    },
]  # fmt: skip


def page(results, entries=()):
    return performance.page(results, report.surroundings, entries)


def section(text, title):
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_page_is_what_the_results_give():
    document = report.PERFORMANCE.read_text(encoding="utf-8")
    assert document == report.with_table(document, report.kernels(RESULTS, ENTRIES)), (
        "docs/performance.md is not what the results give: make report"
    )


def test_every_kernel_family_has_a_section():
    named = {family for each in SECTIONS for family in each.families}
    assert named == KERNELS
    document = report.PERFORMANCE.read_text(encoding="utf-8")
    for family in KERNELS:
        assert re.search(rf"^Kernels: .*`{family}`", document, re.MULTILINE), family


def test_every_section_says_all_and_has_a_benchmark():
    for each in SECTIONS:
        assert each.work
        assert {len(line) for line in each.work} == {len(each.titles)}
        for text in (each.floor, each.cpu, each.gpu):
            assert text == text.strip()
        for suite in each.suites:
            assert (report.ROOT / "bench" / f"bench_{suite}.py").exists(), suite
        if each.suites:
            assert performance.measured(each, RESULTS), each.title
    titles = [each.title for each in SECTIONS]
    assert len(set(titles)) == len(titles)


def test_what_was_tried_is_measured_somewhere():
    """Each baseline's name stands in the source of its benchmark, or in a row that is kept."""
    for each in (tried for every in SECTIONS for tried in every.tried):
        source = (report.ROOT / "bench" / f"bench_{each.suite}.py").read_text(encoding="utf-8")
        kept = [
            found
            for found in report.rows(RESULTS, each.suite)
            if found["name"].startswith(each.name) and each.baseline in found.get("baselines", {})
        ]
        assert kept or f'"{each.baseline}"' in source, each.what


def test_followed_rows_were_measured():
    names = {entry["name"] for entry in ENTRIES}
    assert history.followed() == names


def test_no_measured_figure_is_typed():
    """The sentences hold counts of a definition at most, and no unit of time or rate."""
    for each in SECTIONS:
        texts = [each.floor, each.cpu, each.gpu]
        texts += [part for tried in each.tried for part in (tried.what, tried.outcome)]
        for text in texts:
            assert not re.search(r"\d (ms|us|s|GB|TOP|GOP|%|x)\b", text), text
            assert not re.search(r"\d\.\d", text), text


def test_a_page_of_a_gpu_alone():
    text = page(MADE)
    assert "| `cuda` | copy | 4000 GB/s | 4200 GB/s |" in section(text, "Roofs")
    assert "| `cuda` | int8 GEMM | 1500 TOP/s | 1500 TOP/s |" in text
    assert "None" not in text
    products = section(text, "Matrix products")
    line = "| matmul modulo 2^64, n = 8192 | 500 ms | 60.0 TOP/s | 72.0% | 18 x int8 GEMM |"
    assert line in products
    # 3 8 R / (2 18 B) for R = 1500e12 and the larger copy, B = 4200e9: 238.1.
    assert "from n = 239 modulo 2^64 on." in products
    assert "| byte limbs | 1, `cuda` | 2.00 x | used below the crossover |" in products
    words = section(text, "Uniform words")
    assert "| 600 GB/s | 90.0% | 32-bit additions, exclusive ors, rotations |" in words
    assert "a GPU" in section(text, "What it ran on")
    assert "figures/roofline-cuda.svg" in text
    assert "figures/share-of-roof-cuda.svg" in text
    assert "`cpu`" not in text


def test_devices_stand_beside_each_other():
    on_cpu = [result for result in RESULTS if result["environment"]["device"] == "cpu"]
    text = page(on_cpu + MADE)
    for title in ("Matrix products", "Uniform words"):
        assert section(text, title).index("**`cpu`**") < section(text, title).index("**`cuda`**")
    assert "**`cuda`**" not in section(text, "Transforms")


def test_a_page_of_nothing_has_the_work():
    text = page([])
    for each in SECTIONS:
        assert section(text, each.title).count("|") >= len(each.work)
    assert "**`" not in text


def test_a_changed_result_changes_the_page():
    changed = copy.deepcopy(MADE)
    changed[0]["rows"][0]["median"] = 0.25
    assert page(changed) != page(MADE)


def test_work_is_shown_as_it_is_counted():
    lines = {line[0]: line for line in kernel_families.counted(work.protocol(2))}
    assert lines["open_scaled by words"][1:] == ["40", "8", "", "8", "0.2"]
    assert "| open_scaled by words | 40 | 8 |  | 8 | 0.2 |" in page([])
    assert ["residues, modulo 2^64", "products of bytes: 18 for k = 1024, 18 for k = 8192, 19 for "
            "k = 40000"] in kernel_families.products()  # fmt: skip


def test_figures_that_the_page_links_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    for results in (MADE, RESULTS):
        drawn = {path.name for path in report.draw(results, tmp_path) if path.suffix == ".svg"}
        linked = set(re.findall(r"\(figures/([^)]+)\)", page(results)))
        assert linked
        assert linked <= drawn
    with report.style():
        figure = performance.picture("cuda", MADE)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [90.0]
    assert performance.picture("cuda", MADE[:1]) is None


def test_figures_that_the_document_links_exist():
    document = report.PERFORMANCE.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", document)
    for link in links:
        assert (report.PERFORMANCE.parent / link).exists(), link


# What rows came to at earlier commits


def test_new_rows_are_added_once():
    name = "uniform modulo 2^64, 4194304 elements"
    first = history.extended([], MADE, {name})
    assert first == [
        {"name": name, "device": "cuda", "date": "2026-01-02", "commit": "abc", "median": 0.5,
         "baseline": "float64 product", "ratio": 2.0}
    ]  # fmt: skip
    assert history.extended(first, MADE, {name}) == first
    later = copy.deepcopy(MADE)
    later[1]["environment"]["commit"] = "def"
    second = history.extended(first, later, {name})
    assert [entry["commit"] for entry in second] == ["abc", "def"]
    words = section(page(MADE, second), "Uniform words")
    assert f"| `def` | 2026-01-02 | {name}, `cuda` | 500 ms | 2.00 x float64 product |" in words


def test_the_history_holds_the_results_that_are_kept():
    assert history.extended(ENTRIES, RESULTS, history.followed()) == ENTRIES, (
        "bench/history.json lacks results: make report"
    )


def test_a_history_is_kept_whole(tmp_path):
    path = tmp_path / "history.json"
    assert history.load(path) == []
    history.save(ENTRIES, path)
    assert history.load(path) == ENTRIES
