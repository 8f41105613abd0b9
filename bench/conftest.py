"""Devices, timing and the record of a run.

`--device cpu,cuda` (or the variable HE_GPU_BENCH_DEVICES) says where to measure; a device that is
asked for and missing is an error. `--save-results` writes one bench/results/<suite>-<device>.json
for each suite and device, where all passed; without it a run leaves nothing behind.
"""

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from he_gpu.backend import get_backend, unavailable_reason

HERE = Path(__file__).resolve().parent
ROWS = pytest.StashKey()


def pytest_addoption(parser):
    group = parser.getgroup("he_gpu")
    group.addoption("--device", help="devices to measure, with commas between; default: cpu")
    group.addoption("--save-results", action="store_true", help="write bench/results/*.json")


def pytest_configure(config):
    config.stash[ROWS] = defaultdict(list)


def pytest_collection_modifyitems(items):
    """Time the main job first: what large arrays leave in the allocator would make it quicker."""
    items.sort(key=lambda item: item.path.stem != "bench_xor")


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


class Recorder:
    """Times jobs and keeps rows for one suite on one device."""

    def __init__(self, benchmark, backend, rows):
        self._benchmark = benchmark
        self._backend = backend
        self._rows = rows

    def synchronise(self):
        """Wait until the device has done what was asked of it."""
        if not self._backend.is_host:
            index = device_index(self._backend.name)
            self._backend.xp.cuda.Device(index).synchronize()

    def compare(self, name, job, baselines, rounds, n_bytes=None, **facts):
        """Time a job and its baselines in turn, and keep a row.

        Args:
            name: of the row.
            job: what is measured; takes nothing.
            baselines: functions by name, each run before each round of the job.
            rounds: how many.
            n_bytes: bytes that the job reads and writes, for a throughput.
            facts: more of the row.

        Returns:
            The row, or None under --benchmark-disable.
        """
        times = {label: [] for label in baselines}

        def run_baselines():
            for label, baseline in baselines.items():
                self.synchronise()
                start = time.perf_counter()
                baseline()
                self.synchronise()
                times[label].append(time.perf_counter() - start)

        def timed():
            job()
            self.synchronise()

        self._benchmark.pedantic(timed, setup=run_baselines, rounds=rounds, warmup_rounds=3)
        if self._benchmark.stats is None:
            return None
        row = {"name": name, **summary(self._benchmark.stats.stats.data)}
        row["baselines"] = {
            label: summary(values[-rounds:]) | {"ratio": None} for label, values in times.items()
        }
        for baseline in row["baselines"].values():
            baseline["ratio"] = row["median"] / baseline["median"]
        if n_bytes is not None:
            row["gigabytes_per_second"] = n_bytes / row["median"] / 1e9
        return self.keep(row | facts)

    def check(self, name, job, **facts):
        """Run a check once; the dictionary that it returns becomes a row."""
        start = time.perf_counter()
        found = self._benchmark.pedantic(job, rounds=1, iterations=1)
        return self.keep({"name": name, **facts, **found, "seconds": time.perf_counter() - start})

    def keep(self, row):
        row = {key: significant(value) for key, value in row.items()}
        self._rows.append(row)
        self._benchmark.extra_info.update(row)
        return row


def device_index(device):
    """N of "cuda:N"."""
    return int(device.partition(":")[2] or 0)


def summary(seconds):
    """Median and 20 % and 80 % quantiles."""
    low, high = np.quantile(seconds, [0.2, 0.8])
    return {
        "median": statistics.median(seconds),
        "quantile_20": float(low),
        "quantile_80": float(high),
        "unit": "s",
        "rounds": len(seconds),
    }


def significant(value):
    """Five significant digits are more than a clock is worth."""
    if isinstance(value, dict):
        return {key: significant(item) for key, item in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


@pytest.fixture
def record(request, benchmark, backend):
    """The recorder of this file's suite on this device."""
    suite = request.path.stem.removeprefix("bench_")
    return Recorder(benchmark, backend, request.config.stash[ROWS][suite, backend.name])


def pytest_terminal_summary(terminalreporter, config):
    for (suite, device), rows in sorted(config.stash[ROWS].items()):
        terminalreporter.section(f"{suite} on {device}")
        for row in rows:
            terminalreporter.write_line(line(row))


def line(row):
    """A row in one line: milliseconds and ratios, or what a check found."""
    if "median" not in row:
        return ", ".join(f"{key} {value}" for key, value in row.items())
    text = f"{row['name']}: {row['median'] * 1e3:.4g} ms"
    text += f" ({row['quantile_20'] * 1e3:.4g} to {row['quantile_80'] * 1e3:.4g})"
    if "gigabytes_per_second" in row:
        text += f", {row['gigabytes_per_second']:.3g} GB/s"
    for label, baseline in row["baselines"].items():
        text += f", {baseline['ratio']:.3g} x {label} ({baseline['median'] * 1e3:.4g} ms)"
    return text


def pytest_sessionfinish(session, exitstatus):
    if not session.config.getoption("save_results") or exitstatus != pytest.ExitCode.OK:
        return
    folder = HERE / "results"
    for (suite, device), rows in session.config.stash[ROWS].items():
        folder.mkdir(exist_ok=True)
        content = {"suite": suite, "environment": environment(device), "rows": rows}
        path = folder / f"{suite}-{device.replace(':', '')}.json"
        path.write_text(json.dumps(content, indent=1) + "\n")


def environment(device):
    """What a reader needs to judge the figures, and nothing that names the machine."""
    backend = get_backend(device)
    facts = {
        "device": device,
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        **openssl(),
        "commit": commit(),
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
    }
    if not backend.is_host:
        runtime = backend.xp.cuda.runtime
        facts["gpu"] = runtime.getDeviceProperties(device_index(device))["name"].decode()
        facts["cupy"] = backend.xp.__version__
        facts["cuda_driver"] = runtime.driverGetVersion()
        facts["cuda_runtime"] = runtime.runtimeGetVersion()
    return facts


def cpu_model():
    """The processor's name as the kernel has it, or what Python knows."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [
        entry.partition(":")[2] for entry in text.splitlines() if entry.startswith("model name")
    ]
    return names[0].strip() if names else platform.machine()


def openssl():
    """Versions of cryptography and of the OpenSSL in it; None where it is absent."""
    try:
        import cryptography
        from cryptography.hazmat.backends.openssl import backend
    except ImportError:
        return {"cryptography": None}
    return {"cryptography": cryptography.__version__, "openssl": backend.openssl_version_text()}


def commit():
    """The commit measured, with a plus where the tree differs from it; None outside git."""

    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        name = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "..")
    except OSError:
        return None
    return name and name + ("+" if changed else "")
