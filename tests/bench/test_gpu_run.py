"""The GPU run keeps what it has, goes on where it ended, and lets no piece stop the others."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import gpu_run, report
from bench.gpu_run import FAILED, LATE, NOTHING, PASSED, PIECES, Piece
from tests.bench.test_report import environment, row

ROOT = gpu_run.ROOT


@pytest.fixture(autouse=True)
def crossovers(tmp_path, monkeypatch):
    """A table in the place of the dispatcher's."""
    path = tmp_path / "table" / "crossovers.py"
    path.parent.mkdir()
    path.write_text("reasoned")
    monkeypatch.setattr(gpu_run, "CROSSOVERS", path)
    return path


def suite(name, *rows, roofs=()):
    return {
        "suite": name,
        "environment": environment(device="cuda", gpu="a GPU"),
        "roofs": dict(roofs),
        "rows": list(rows),
    }


class Runner:
    """Runs nothing; gives what it is told."""

    def __init__(self, **outcomes):
        self.outcomes = outcomes
        self.calls = []

    def __call__(self, piece, seconds):
        self.calls.append((piece.name, seconds))
        outcome = self.outcomes.get(piece.name, PASSED)
        results = [suite("xor", row(piece.name, 2.0))] if outcome == PASSED else []
        found = {"outcome": outcome, "seconds": 1.0, "counts": {"passed": 3}, "results": results}
        return found, f"output of {piece.name}"


THREE = tuple(Piece(name, 2, (f"bench/bench_{name}.py",)) for name in ("one", "two", "three"))


def test_every_piece_names_what_exists():
    """One collection of all pieces' node ids: an id that is not there is an error of pytest."""
    ids = [argument for piece in PIECES for argument in piece.arguments if "::" in argument]
    assert ids
    # gpu_run asks for the device; the ids are the same for any list of devices that has it.
    line = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--device=cuda", *ids]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(set(ids))} tests collected" in done.stdout
    for piece in PIECES:
        for argument in piece.arguments:
            if argument.startswith(("tests", "bench")):
                assert (ROOT / argument.partition("::")[0]).exists(), argument


def test_pieces_fit_a_call_and_bear_their_suites_names():
    names = [piece.name for piece in PIECES]
    assert len(set(names)) == len(names)
    assert max(piece.minutes for piece in PIECES) <= 8
    for piece in PIECES:
        line = gpu_run.command(piece, "folder")
        assert ("--results-folder=folder" in line) == piece.bench
        assert ("--device=cuda" in line) == piece.bench


def test_a_failing_piece_stops_no_other(tmp_path):
    runner = Runner(one=FAILED, two=LATE)
    found = gpu_run.run(tmp_path / "out", pieces=THREE, runner=runner)
    assert [name for name, _ in runner.calls] == ["one", "two", "three"]
    assert [found[name]["outcome"] for name in ("one", "two", "three")] == [FAILED, LATE, PASSED]
    assert (tmp_path / "out" / "summary.txt").read_text().splitlines() == [
        "one: failed, 1 s, 3 passed, 0 rows",
        "two: out of time, 1 s, 3 passed, 0 rows",
        "three: passed, 1 s, 3 passed, 1 rows",
    ]
    assert "output of two" in (tmp_path / "out" / "log.txt").read_text()


def test_a_run_goes_on_where_it_ended(tmp_path):
    first, second, third = Runner(two=FAILED), Runner(), Runner()
    gpu_run.run(tmp_path, only=["one", "two"], pieces=THREE, runner=first)
    gpu_run.run(tmp_path, pieces=THREE, runner=second)
    assert [name for name, _ in second.calls] == ["three"]
    found = gpu_run.run(tmp_path, again=(FAILED, LATE), pieces=THREE, runner=third)
    assert [name for name, _ in third.calls] == ["two"]
    assert all(each["outcome"] == PASSED for each in found.values())
    assert gpu_run.load(tmp_path) == found


def test_no_piece_begins_that_might_not_end_in_time(tmp_path):
    pieces = (Piece("long", 9, ()), Piece("short", 1, ()))
    runner = Runner()
    gpu_run.run(tmp_path, minutes=2, pieces=pieces, runner=runner)
    assert runner.calls == [("short", 60)]
    assert gpu_run.summary(gpu_run.load(tmp_path), pieces).startswith("long: not run\n")


def test_a_measured_table_is_kept_and_put_back(tmp_path, crossovers):
    def measure(piece, seconds):
        crossovers.write_text("measured")
        return Runner()(piece, seconds)

    gpu_run.run(tmp_path, only=["one"], pieces=THREE, runner=measure)
    crossovers.write_text("reasoned")  # a fresh copy of the tree
    gpu_run.run(tmp_path, pieces=THREE, runner=Runner())
    assert crossovers.read_text() == "measured"


def test_rows_measured_again_replace_the_others():
    found = {
        "one": {"results": [suite("xor", row("a", 2.0), row("b", 3.0), roofs={"copy": 1.0})]},
        "three": {"results": [suite("xor", row("b", 4.0)), suite("prg", row("c", 1.0))]},
    }
    merged = gpu_run.merged(found, THREE)
    assert [result["suite"] for result in merged] == ["xor", "prg"]
    ratios = [each["baselines"]["float64 product"]["ratio"] for each in merged[0]["rows"]]
    assert ratios == [2.0, 4.0]
    assert merged[0]["roofs"] == {"copy": 1.0}


def test_results_are_taken_for_the_report(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "crossovers.py").write_text("measured")
    table = tmp_path / "table.py"
    taken = tmp_path / "results"
    found = {
        name: {"outcome": PASSED, "results": [suite("xor", row(name, 2.0, headline=True))]}
        for name in ("one", "two")
    }
    (tmp_path / "out" / "run.json").write_text(json.dumps(found))
    paths = gpu_run.take(tmp_path / "out", taken, table, THREE)
    assert paths == [taken / "xor-cuda.json", table]
    assert table.read_text() == "measured"
    assert "| two | 500 ms |" in report.markdown(report.load(taken))


@pytest.mark.parametrize(
    ("demand", "text"),
    [
        ({"at_most": {"float64 product": 6}}, "2.0 float64 product, at most 6: met"),
        ({"at_most": {"median": 3e-3}}, "0.5 median, at most 0.003: MISSED"),
        ({"at_least": {"tera": 50}}, "None tera, at least 50: MISSED"),
    ],
)
def test_demands_are_met_or_missed(demand, text):
    found = {"one": {"outcome": PASSED, "seconds": 1, "counts": {},
                     "results": [suite("xor", row("a", 2.0, **demand))]}}  # fmt: skip
    assert gpu_run.demands(row("a", 2.0, **demand)) == [text]
    assert f"a: {text}\n" in gpu_run.summary(found, THREE)


# Real processes


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "test_written.py"
        path.write_text(text)
        return Piece("written", 1, (str(path), "-p", "no:cacheprovider"), bench=False)

    return write


def test_outcomes_of_real_processes(written):
    text = "import pytest\n\ndef test_a(): pass\n\n\ndef test_b(): assert {ok}\n"
    found, output = gpu_run.run_piece(written(text.format(ok=True)), 60)
    assert (found["outcome"], found["counts"]) == (PASSED, {"passed": 2})
    found, output = gpu_run.run_piece(written(text.format(ok=False)), 60)
    assert (found["outcome"], found["counts"]) == (FAILED, {"failed": 1, "passed": 1})
    assert "test_b" in output
    found, _ = gpu_run.run_piece(written("x = 1\n"), 60)
    assert found["outcome"] == NOTHING


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_piece_that_hangs_is_ended_with_its_children(written, tmp_path):
    child = tmp_path / "child"
    text = (
        "import subprocess, time\n\ndef test_a():\n"
        f"    p = subprocess.Popen(['sleep', '60'])\n"
        f"    open({str(child)!r}, 'w').write(str(p.pid))\n    time.sleep(60)\n"
    )
    start = time.perf_counter()
    found, _ = gpu_run.run_piece(written(text), 3)
    assert found["outcome"] == LATE
    assert time.perf_counter() - start < 30
    while child.exists() and alive(child.read_text()):  # its own 60 s would end it, too late
        assert time.perf_counter() - start < 40
        time.sleep(0.05)


GOOD, BAD = (f"bench/bench_rns.py::test_kernel[cpu-{name}]" for name in ("neg_rns", "add_rns"))


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A real suite on the CPU, of which one benchmark does something else."""
    monkeypatch.setattr(gpu_run, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_run, "ROW_SECONDS", 0.01)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")

    def broken(does):
        (tmp_path / "broken.py").write_text(
            "import pathlib\nimport time\n\n\ndef pytest_runtest_call(item):\n"
            f"    if item.nodeid.endswith({BAD.rpartition('::')[2]!r}):\n        {does}\n"
        )
        return Piece("some", 1, (GOOD, BAD, "-p", "broken"))

    return broken


def test_rows_of_a_piece_come_back_though_one_failed(broken):
    found, output = gpu_run.run_piece(broken("raise ValueError"), 120)
    assert found["outcome"] == FAILED, output
    (result,) = found["results"]
    assert [each["kernel"] for each in result["rows"]] == ["neg_rns"]


def test_rows_of_a_piece_that_is_ended_come_back(broken, tmp_path):
    there = tmp_path / "there"
    piece = broken(f"pathlib.Path({str(there)!r}).touch(), time.sleep(60)")
    process = subprocess.Popen(
        gpu_run.command(piece, tmp_path),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not there.exists() and process.poll() is None:
        time.sleep(0.1)
    gpu_run.end(process)
    assert there.exists()
    assert process.returncode != 0
    kept = json.loads((tmp_path / "rns-cpu.json").read_text())
    assert [each["kernel"] for each in kept["rows"]] == ["neg_rns"]
