"""Devices, timing and the record of a run.

`--device cpu,cuda` (or the variable HE_GPU_BENCH_DEVICES) says where to measure; a device that is
asked for and missing is an error. `--save-results` writes one bench/results/<suite>-<device>.json
for each suite and device as soon as it ends, where nothing failed but a demand on a ratio, or with
`--save-partly` the rows that did not fail; without it a run leaves nothing behind. On a machine
that others use too, `--wait-idle` lets each round wait for idle cores; each row tells what share of
the cores others had meanwhile.
"""

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from bench.environment import environment
from bench.recorder import (
    HEADINGS,
    ROW_SECONDS,
    Recorder,
    ShortfallError,
    aligned,
    cells,
    compact,
    device_index,
    result_path,
    write_whole,
)
from bench.roofs import Roofs
from he_gpu.backend import cuda, get_backend, unavailable_reason

HERE = Path(__file__).resolve().parent
SUITES = pytest.StashKey()
EVENTS = pytest.StashKey()


class Suite:
    """What one file of benchmarks finds on one device."""

    def __init__(self):
        self.rows = []
        self.roofs = None
        self.broken = False
        self.saved = False


def pytest_addoption(parser):
    group = parser.getgroup("he_gpu")
    group.addoption("--device", help="devices to measure, with commas between; default: cpu")
    group.addoption("--save-results", action="store_true", help="write bench/results/*.json")
    group.addoption(
        "--save-partly", action="store_true", help="write the rows of a suite of which some fail"
    )
    group.addoption(
        "--results-folder", type=Path, default=HERE / "results", help="where results are written"
    )
    group.addoption(
        "--row-seconds", type=float, default=ROW_SECONDS, help="what the rounds of a row may take"
    )
    group.addoption(
        "--wait-idle",
        type=float,
        default=0.0,
        help="seconds that a row may wait for other processes to leave the cores idle",
    )
    group.addoption(
        "--write-crossovers", action="store_true", help="let bench_crossover rewrite its table"
    )
    group.addoption("--events-fd", type=int, help="pipe that takes a JSON line for each event")


def pytest_configure(config):
    config.stash[SUITES] = defaultdict(Suite)
    descriptor = config.getoption("--events-fd")
    config.stash[EVENTS] = None if descriptor is None else os.fdopen(descriptor, "w")


def pytest_unconfigure(config):
    pipe = config.stash.get(EVENTS, None)
    if pipe is not None:
        pipe.close()


def pytest_collection_modifyitems(items):
    """Time the main job first: what large arrays leave in the allocator would make it quicker."""
    items.sort(key=lambda item: item.path.stem != "bench_xor")


def pytest_collection_finish(session):
    tell(session.config, total=len(session.items))


def pytest_generate_tests(metafunc):
    if "device" in metafunc.fixturenames:
        names = metafunc.config.getoption("device") or os.environ.get("HE_GPU_BENCH_DEVICES", "cpu")
        metafunc.parametrize("device", names.split(","), scope="session")


@pytest.fixture(scope="session")
def backend(device):
    """The device that is measured; `device` is its name."""
    reason = unavailable_reason(device)
    if reason is not None:
        pytest.fail(f"--device {device}: {reason}", pytrace=False)
    return get_backend(device)


@pytest.fixture(scope="session")
def hopper(backend):
    """Whether the device is one of those that the demands on CUDA are written for."""
    if not hasattr(backend.xp, "cuda"):
        return False
    return backend.xp.cuda.Device(device_index(backend.name)).compute_capability == "90"


@pytest.fixture(scope="session")
def warpgroups(device, backend):
    """Whether the device multiplies by warpgroups."""
    return hasattr(backend.xp, "cuda") and cuda.device(device).has_warpgroups


@pytest.fixture
def record(request, benchmark, backend):
    """The recorder of this file's suite on this device."""
    suite = request.config.stash[SUITES][key(request.node)]
    suite.roofs = suite.roofs or Roofs(backend)
    limits = (request.config.getoption(name) for name in ("row_seconds", "wait_idle"))
    yield Recorder(benchmark, backend, suite.rows, suite.roofs, *limits)
    if hasattr(backend.xp, "cuda"):
        backend.xp.get_default_memory_pool().free_all_blocks()


def key(item):
    """Suite and device of a benchmark."""
    device = item.callspec.params.get("device") if hasattr(item, "callspec") else None
    return item.path.stem.removeprefix("bench_"), device


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.excinfo and report.failed and not isinstance(call.excinfo.value, ShortfallError):
        item.config.stash[SUITES][key(item)].broken = True
    if report.when == "call" or (report.when == "setup" and not report.passed):
        tell(item.config, test=item.name, outcome=report.outcome)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    """Write a suite's results when its last benchmark is done."""
    found = item.config.stash[SUITES][key(item)]
    try:
        return (yield)
    except BaseException:
        found.broken = True
        raise
    finally:
        last = nextitem is None or key(nextitem) != key(item)
        if last and found.rows:
            if not found.broken or item.config.getoption("save_partly"):
                save(item.config, *key(item), found)
            tell(item.config, suite=" on ".join(key(item)), rows=table(found.rows))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """Write what an interrupted suite has, where some of it is better than nothing."""
    for (suite, device), found in session.config.stash[SUITES].items():
        if session.config.getoption("save_partly") and found.rows and not found.saved:
            save(session.config, suite, device, found)


def save(config, suite, device, found):
    """Write a suite's results where `--save-results` asks for it."""
    if not config.getoption("save_results"):
        return
    found.saved = True
    content = {
        "suite": suite,
        "environment": environment(device),
        "roofs": found.roofs.measured if found.roofs else {},
        "rows": found.rows,
    }
    text = compact(json.dumps(content, indent=1)) + "\n"
    write_whole(result_path(config.getoption("results_folder"), suite, device), text)


def table(rows):
    return [list(HEADINGS), *map(cells, rows)]


def tell(config, **event):
    pipe = config.stash[EVENTS]
    if pipe is not None:
        pipe.write(json.dumps(event) + "\n")
        pipe.flush()


def pytest_terminal_summary(terminalreporter, config):
    for (suite, device), found in sorted(config.stash[SUITES].items()):
        if found.rows:
            terminalreporter.section(f"{suite} on {device}")
            for line in aligned(table(found.rows)):
                terminalreporter.write_line(line)
