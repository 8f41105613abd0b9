"""The GPU run: kernels, tests, crossovers and benchmarks, in pieces that are kept one by one.

    python -m bench.gpu_run --out FOLDER --minutes 9     # or: make gpu-run OUT=FOLDER MINUTES=9
    python -m bench.gpu_run --take FOLDER                # results into bench/results

The pieces stand in order of importance. Each is a process of its own with a limit; one that fails
or hangs stops no other. FOLDER/run.json holds what came of each, with all rows, and is written
after each: the same command goes on where the last one ended. With `--minutes` no piece is begun
that might not end in time. Outside git HE_GPU_COMMIT names the commit that results are of.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.recorder import compact, result_path, write_whole

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
CROSSOVERS = ROOT / "he_gpu" / "backend" / "device" / "crossovers.py"
DEVICE = "cuda"
ROW_SECONDS = 0.5
LAST_SECONDS = 15
"""For a piece that is ended to write its rows."""
TAIL = 20_000
"""Characters of a piece's output that the log keeps."""
PASSED, FAILED, LATE, NOTHING = "passed", "failed", "out of time", "nothing to run"
OUTCOMES = {0: PASSED, 1: FAILED, 5: NOTHING}
"""By pytest's exit status; any other is a failure too."""
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")


class Piece(NamedTuple):
    """Something that pytest does.

    Attributes:
        name: of the piece.
        minutes: that it may take, compilations included; a guess, and a limit.
        arguments: of pytest, without the device's.
        bench: whether these are benchmarks, or else tests.
    """

    name: str
    minutes: float
    arguments: tuple[str, ...]
    bench: bool = True


def cases(job, *names):
    """Node ids of benchmarks: `job` is a file and a function, the names what is in brackets."""
    file, function = job.split(".")
    return tuple(f"bench/bench_{file}.py::test_{function}[{DEVICE}-{case}]" for case in names)


def suite(name, minutes):
    """All benchmarks of a file."""
    return Piece(name, minutes, (f"bench/bench_{name}.py",))


WARPGROUPS = tuple(
    f"tests/backend/test_{name}.py" for name in ("warpgroup_primitives", "matmul_warpgroup")
)
"""Tests of what one architecture alone runs: if a kernel hangs there, others are still tested."""
PIECES = (
    Piece("warpgroups", 3, (*WARPGROUPS, "-k", DEVICE), bench=False),
    Piece(
        "kernels",
        6,
        ("tests/backend", *(f"--ignore={path}" for path in WARPGROUPS), "-k", DEVICE),
        bench=False,
    ),
    Piece("crossovers", 5, ("bench/bench_crossover.py", "--write-crossovers")),
    Piece(
        "demands",
        6,
        (
            *cases("matmul.square", "2^64-8192", "2^32-8192", "2^64-4096", "2^32-4096"),
            *cases("matmul.residues", "2^64-8192"),
            *cases("secret_matmul.secret_matmul", "2 parties-4096", "replicated-4096"),
            *cases("xor.sharing_to_reveal", "2 parties", "3 parties", "replicated"),
        ),
    ),
    suite("xor", 3),
    suite("graph", 3),
    suite("descent", 2),
    Piece("tests", 8, ("tests", "--ignore=tests/backend", "-k", DEVICE), bench=False),
    suite("secret_matmul", 4),
    suite("matmul", 8),
    suite("prg", 2),
    suite("elementwise", 3),
    suite("protocol", 6),
    suite("comparison", 5),
    suite("ntt", 5),
    suite("conv", 6),
    suite("bits", 2),
    suite("leaves", 2),
    suite("steps", 2),
    suite("replicated", 2),
    suite("rns", 2),
    suite("training", 6),
    suite("functions", 6),
    suite("ckks", 4),
    suite("ckks_linear", 4),
    suite("truncation", 5),
)
"""The most important first; what comes later may find the dispatcher's table measured."""


def command(piece, results):
    """Pytest's command line for a piece whose results go to a folder."""
    line = [sys.executable, "-m", "pytest", "-q", *piece.arguments]
    if piece.bench:
        line += [f"--device={DEVICE}", "--benchmark-only", "--benchmark-quiet", "--save-results"]
        line += ["--save-partly", f"--row-seconds={ROW_SECONDS}", f"--results-folder={results}"]
    return line


def run_piece(piece, seconds):
    """Run a piece for so many seconds at most.

    Returns:
        Outcome, seconds taken, counts of tests, results by suite; and the output.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"HE_GPU_REQUIRE_CUDA": "1", "PYTHONPATH": path}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command(piece, folder),
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                outcome = OUTCOMES.get(process.wait(timeout=seconds), FAILED)
            except subprocess.TimeoutExpired:
                end(process)
                outcome = LATE
        text = output.read_text(encoding="utf-8", errors="replace")
        results = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    counts = {kind: int(count) for count, kind in COUNTS.findall(text[-300:])}
    taken = time.perf_counter() - start
    return {"outcome": outcome, "seconds": taken, "counts": counts, "results": results}, text


def end(process):
    """Let a piece write its rows, then end it and its children."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=LAST_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def load(folder):
    """What came of each piece so far, by name."""
    path = Path(folder) / "run.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def run(folder, minutes=None, only=None, again=(), pieces=PIECES, runner=run_piece):
    """Run what has not been run.

    Args:
        folder: takes run.json, log.txt, summary.txt and the dispatcher's table, if measured.
        minutes: in which to be done; None sets no limit.
        only: names of pieces; None means all.
        again: outcomes that are tried again.
        pieces: the pieces.
        runner: what runs one.

    Returns:
        What came of each piece.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = load(folder)
    if (folder / CROSSOVERS.name).exists():
        shutil.copyfile(folder / CROSSOVERS.name, CROSSOVERS)
    end = time.perf_counter() + (float("inf") if minutes is None else 60 * minutes)
    for piece in pieces:
        known = found.get(piece.name)
        if (only is not None and piece.name not in only) or (
            known is not None and known["outcome"] not in again
        ):
            continue
        left = end - time.perf_counter()
        if left < 60 * piece.minutes:
            continue  # a shorter one may still fit
        print(f"{piece.name}: {piece.minutes:g} minutes at most", flush=True)
        before = CROSSOVERS.read_bytes()
        found[piece.name], text = runner(piece, 60 * piece.minutes)
        if CROSSOVERS.read_bytes() != before:
            shutil.copyfile(CROSSOVERS, folder / CROSSOVERS.name)
        with (folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"==== {piece.name}\n{text[-TAIL:]}\n")
        write_whole(folder / "run.json", compact(json.dumps(found, indent=1)) + "\n")
        print(line(piece, found), flush=True)
    write_whole(folder / "summary.txt", summary(found, pieces))
    return found


def line(piece, found):
    """What came of a piece, in one line."""
    known = found.get(piece.name)
    if known is None:
        return f"{piece.name}: not run"
    counts = ", ".join(f"{count} {kind}" for kind, count in known["counts"].items())
    rows = sum(len(result["rows"]) for result in known["results"])
    facts = [known["outcome"], f"{known['seconds']:.0f} s", counts, f"{rows} rows"]
    return f"{piece.name}: {', '.join(fact for fact in facts if fact)}"


def summary(found, pieces=PIECES):
    """What came of each piece, and every demand on a rate or a ratio, met or missed."""
    lines = [line(piece, found) for piece in pieces]
    for result in merged(found, pieces):
        for row in result["rows"]:
            lines += [f"{row['name']}: {text}" for text in demands(row)]
    return "\n".join([*lines, ""])


def demands(row):
    """Texts on the demands of a row."""
    texts = []
    for word in ("most", "least"):
        for name, limit in row.get(f"at_{word}", {}).items():
            baseline = row["baselines"].get(name)
            value = baseline["ratio"] if baseline else row.get(name)
            met = value is not None and (value <= limit if word == "most" else value >= limit)
            texts.append(f"{value} {name}, at {word} {limit:g}: {'met' if met else 'MISSED'}")
    return texts


def merged(found, pieces=PIECES):
    """Results of all pieces by suite: a row that was measured twice as it was the last time."""
    suites = {}
    for piece in pieces:
        for result in found.get(piece.name, {"results": []})["results"]:
            name = result["suite"], result["environment"]["device"]
            known = suites.setdefault(name, {**result, "rows": [], "roofs": {}})
            rows = {row["name"]: row for row in known["rows"] + result["rows"]}
            roofs = known["roofs"] | result["roofs"]
            suites[name] = {**result, "rows": list(rows.values()), "roofs": roofs}
    return list(suites.values())


def take(folder, results=RESULTS, crossovers=CROSSOVERS, pieces=PIECES):
    """Write a run's results where those of the CPU are, and the table that it measured.

    Returns:
        The paths written.
    """
    paths = []
    for result in merged(load(folder), pieces):
        path = result_path(results, result["suite"], result["environment"]["device"])
        write_whole(path, compact(json.dumps(result, indent=1)) + "\n")
        paths.append(path)
    table = Path(folder) / CROSSOVERS.name
    if table.exists():
        shutil.copyfile(table, crossovers)
        paths.append(Path(crossovers))
    return paths


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_run", description=__doc__)
    parser.add_argument("--out", metavar="FOLDER", help="run, and keep what comes of it there")
    parser.add_argument("--take", metavar="FOLDER", help="put a run's results into bench/results")
    parser.add_argument("--minutes", type=float, help="in which to be done; default: no limit")
    parser.add_argument("--only", help="names of pieces, with commas between")
    parser.add_argument("--again", action="store_true", help="try failed and late pieces again")
    parser.add_argument("--list", action="store_true", help="print the pieces and their limits")
    options = parser.parse_args(arguments)
    if options.list:
        for piece in PIECES:
            print(f"{piece.name}: {piece.minutes:g} minutes, pytest {' '.join(piece.arguments)}")
    if options.only and set(options.only.split(",")) - {piece.name for piece in PIECES}:
        parser.error(f"--only: no such piece among {options.only}")
    found = {}
    if options.out:
        only = options.only and options.only.split(",")
        again = (FAILED, LATE) if options.again else ()
        found = run(options.out, options.minutes, only, again)
        print(summary(found), end="")
    if options.take:
        for path in take(options.take):
            print(path.relative_to(ROOT))
    return int(any(each["outcome"] in (FAILED, LATE) for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
