"""What some rows came to at earlier commits: bench/history.json, which docs/performance.md shows.

`make report` adds the rows of results that it has not seen. `python -m bench.history` finds earlier
ones in the results that git has kept, and begins the file anew.
"""

import json
import subprocess
import sys
from pathlib import Path

from bench.kernel_families import SECTIONS
from bench.recorder import compact, write_whole

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "bench" / "history.json"
KEY = ("device", "name", "date", "commit")


def load(path=PATH):
    """The entries that are kept, oldest first."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def save(entries, path=PATH):
    write_whole(path, compact(json.dumps(entries, indent=1)) + "\n")


def entries(results, names):
    """An entry for each row of these names: its median, and its ratio to the first baseline."""
    found = []
    for result in results:
        environment = result["environment"]
        for row in result["rows"]:
            if row["name"] in names and row.get("baselines"):
                label, baseline = next(iter(row["baselines"].items()))
                facts = {key: environment[key] for key in ("device", "date", "commit")}
                times = {"median": row["median"], "baseline": label, "ratio": baseline["ratio"]}
                found.append({"name": row["name"], **facts, **times})
    return found


def extended(kept, results, names):
    """Entries with those of results that are not there yet, in their order."""
    known = {tuple(entry[key] for key in KEY) for entry in kept}
    new = [each for each in entries(results, names) if tuple(map(each.get, KEY)) not in known]
    return kept + new


def followed():
    """Names of the rows that the page follows."""
    return {name for section in SECTIONS for name in section.history}


def updated(results):
    """Keep what results have that is new, and return all entries."""
    found = extended(load(), results, followed())
    save(found)
    return found


def from_git(names):
    """Entries of all results that git has kept, oldest first; none without git."""

    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    found = []
    log = git("log", "--reverse", "--format=%h", "--name-only", "--", "bench/results")
    commit = ""
    for line in filter(None, log.splitlines()):
        if not line.endswith(".json"):
            commit = line
            continue
        text = git("show", f"{commit}:{line}")
        if text:
            found = extended(found, [json.loads(text)], names)
    return found


def main():
    save(from_git(followed()))
    print(PATH.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
