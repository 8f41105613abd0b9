"""Times jobs beside their baselines and keeps one row for each.

A row holds the median and the 20 % and 80 % quantiles of the job and of each baseline, which runs
before every round of the job, so that both meet the same load. Ratios are of medians.
"""

import os
import re
import statistics
import time
from pathlib import Path

import numpy as np

from bench.load import Others, wait_until_idle

ROW_SECONDS = 2.0
"""What the rounds of one row may take, its baselines included."""
FEWEST_ROUNDS = 5
WARMUP_ROUNDS = 3
WARMUP_SECONDS = 0.02

HEADINGS = ("job", "median", "20 % to 80 %", "rate", "of the roof", "against")


class ShortfallError(AssertionError):
    """A ratio or rate that misses what is demanded; the row is right all the same."""


class Recorder:
    """Keeps the rows of one suite on one device.

    Args:
        benchmark: pytest-benchmark's fixture.
        backend: the device.
        rows: the list that takes the rows.
        roofs: what the device can do, see `bench.roofs.Roofs`.
        row_seconds: see `ROW_SECONDS`.
        wait_seconds: what the rounds of a row may wait, all together, for idle cores.
    """

    def __init__(self, benchmark, backend, rows, roofs, row_seconds=ROW_SECONDS, wait_seconds=0.0):
        self._benchmark = benchmark
        self._backend = backend
        self._rows = rows
        self._roofs = roofs
        self._row_seconds = row_seconds
        self._wait_seconds = wait_seconds

    def compare(
        self,
        name,
        job,
        baselines,
        rounds,
        n_bytes=None,
        operations=None,
        roof_products=None,
        mixes=None,
        multiplications=None,
        elements=None,
        scales=None,
        measured=None,
        at_most=None,
        at_least=None,
        headline=False,
        **facts,
    ):
        """Time a job and its baselines in turn, and keep a row.

        Args:
            name: of the row.
            job: what is measured; takes nothing.
            baselines: functions by name, each run before each round of the job.
            rounds: how many at most; fewer where they would take longer than a row may.
            n_bytes: bytes that the job must read and write, for a throughput.
            operations: exact integer operations, 2 m n k for a product of matrices.
            roof_products: products of the roof's kind that one exact product takes at least.
            mixes: 32-bit additions, exclusive ors and rotations that the job must do.
            multiplications: 32-bit multiplications that it must do, high and low halves each one.
            elements: how many results, for millions of them per second.
            scales: by baseline, how many times its work the job does, where that is not 1.
            measured: seconds by name, of baselines that ran as processes of their own before.
            at_most: by baseline, the largest ratio that is allowed.
            at_least: by baseline or by rate, as the row names it, the smallest that is allowed.
            headline: whether the README's table shows the row.
            facts: more of the row.

        Returns:
            The row, or None under --benchmark-disable.

        Raises:
            ShortfallError: a demand is missed. The row is kept.
        """
        times = {label: [] for label in baselines}

        def run_baselines():
            if self._wait_seconds > 0:
                self._wait_seconds -= wait_until_idle(self._wait_seconds)
                warm_up()
            for label, baseline in baselines.items():
                times[label].append(self._time(baseline))

        def warm_up():
            """After a wait: else the baseline alone would meet cold caches and slow clocks."""
            end = time.perf_counter() + WARMUP_SECONDS
            while time.perf_counter() < end:
                for run in (job, *baselines.values()):
                    self._time(run)

        def timed():
            job()
            synchronise(self._backend)

        self._time(job)
        run_baselines()  # both have been compiled by now
        start = time.perf_counter()
        run_baselines()
        self._time(job)
        once = time.perf_counter() - start
        rounds = max(min(rounds, int(self._row_seconds / once)), min(rounds, FEWEST_ROUNDS))
        warmup = WARMUP_ROUNDS if once * WARMUP_ROUNDS < self._row_seconds else 0
        others = Others()
        self._benchmark.pedantic(timed, setup=run_baselines, rounds=rounds, warmup_rounds=warmup)
        others_share = others.share()
        if self._benchmark.stats is None:
            return None
        row = {"name": name, **summary(self._benchmark.stats.stats.data)}
        row["baselines"] = {label: summary(values[-rounds:]) for label, values in times.items()}
        row["baselines"] |= {label: summary(values) for label, values in (measured or {}).items()}
        for label, baseline in row["baselines"].items():
            scale = (scales or {}).get(label, 1)
            if scale != 1:
                baseline["scale"] = scale
            baseline["ratio"] = row["median"] / (baseline["median"] * scale)
        if others_share is not None:
            row["others_share_of_cores"] = others_share
        row |= self._rates(row["median"], n_bytes, operations, roof_products)
        for kind, count in {"mix": mixes, "multiply": multiplications}.items():
            row |= self._nearer_roof(row, count and getattr(self._roofs, kind)(), count)
        if elements is not None:
            row["million_elements_per_second"] = elements / row["median"] / 1e6
        demands = {"at_most": at_most, "at_least": at_least}
        row |= {kind: demand for kind, demand in demands.items() if demand}
        if headline:
            row["headline"] = True
        row = self.keep(row | facts)
        check_demands(row)
        return row

    def check(self, name, job, **facts):
        """Run a check once; the dictionary that it returns becomes a row."""
        start = time.perf_counter()
        found = self._benchmark.pedantic(job, rounds=1, iterations=1)
        return self.keep({"name": name, **facts, **found, "seconds": time.perf_counter() - start})

    def keep(self, row):
        """Round a row, add it to the suite's and return it."""
        row = {key: significant(value) for key, value in row.items()}
        self._rows.append(row)
        self._benchmark.extra_info.update(row)
        return row

    def _time(self, job):
        synchronise(self._backend)
        start = time.perf_counter()
        job()
        synchronise(self._backend)
        return time.perf_counter() - start

    def _rates(self, median, n_bytes, operations, roof_products):
        """Return throughputs, and their share of what the device can do at all."""
        rates = {}
        if n_bytes is not None:
            rates["gigabytes_per_second"] = n_bytes / median / 1e9
        if operations is not None:
            rates["tera_operations_per_second"] = operations / median / 1e12
            if n_bytes is not None:
                rates["operations_per_byte"] = operations / n_bytes
        if roof_products is not None and operations is not None:
            roof = self._roofs.gemm()
            if roof is not None:
                rate = rates["tera_operations_per_second"]
                rates["roof"] = roof.name
                rates["roof_products"] = roof_products
                rates["share_of_roof"] = rate * roof_products / roof.rate
        elif operations is None and n_bytes is not None:
            roof = self._roofs.copy()
            rates["roof"] = roof.name
            rates["share_of_copy"] = rates["gigabytes_per_second"] / roof.rate
            rates["share_of_roof"] = rates["share_of_copy"]
        return rates

    def _nearer_roof(self, row, roof, operations):
        """Return another roof and the share of it, where that is the larger share."""
        if roof is None or not operations:
            return {}
        share = operations / row["median"] / 1e12 / roof.rate
        return {"roof": roof.name, "share_of_roof": share} if share > row["share_of_roof"] else {}


def synchronise(backend):
    """Wait until the device has done what was asked of it."""
    if hasattr(backend.xp, "cuda"):
        backend.xp.cuda.Device(device_index(backend.name)).synchronize()


def device_index(device):
    """N of "cuda:N"."""
    return int(device.partition(":")[2] or 0)


def check_demands(row):
    """Raise ShortfallError where a row misses what it says is demanded."""
    missed = [
        f"{found:.4g} {name}, demanded at {word} {limit:g}"
        for word in ("most", "least")
        for name, limit in row.get(f"at_{word}", {}).items()
        for found in [figure(row, name)]
        if not (found <= limit if word == "most" else found >= limit)
    ]
    if missed:
        raise ShortfallError(f"{row['name']}: {'; '.join(missed)}")


def figure(row, name):
    """A baseline's ratio or a rate of a row; NaN where it was not measured."""
    if name in row["baselines"]:
        return row["baselines"][name]["ratio"]
    return row.get(name, float("nan"))


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


def duration(seconds):
    """Three digits and a unit.

    >>> duration(0.0123456)
    '12.3 ms'
    """
    if seconds >= 0.9995:
        return f"{three_digits(seconds)} s"
    if seconds >= 0.9995e-3:
        return f"{three_digits(seconds * 1e3)} ms"
    return f"{three_digits(seconds * 1e6)} us"


def three_digits(value):
    """Return a positive number with three significant digits and no exponent below 10^6."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:.0f}" if rounded >= 100 else f"{rounded:#.3g}"


def cells(row):
    """A row as texts, one for each of `HEADINGS`."""
    if "median" not in row:
        shown = {key: value for key, value in row.items() if key not in ("name", "curve")}
        facts = (f"{key} {value}" for key, value in shown.items())
        return [row["name"], "", "", "", "", ", ".join(facts)]
    spread = f"{duration(row['quantile_20'])} to {duration(row['quantile_80'])}"
    share = f"{row['share_of_roof']:.1%}" if "share_of_roof" in row else ""
    ratios = [
        f"{three_digits(baseline['ratio'])} x {label}"
        for label, baseline in row["baselines"].items()
    ]
    ratios += [
        f"at {word} {limit:.3g} {name} demanded"
        for word in ("most", "least")
        for name, limit in row.get(f"at_{word}", {}).items()
    ]
    return [row["name"], duration(row["median"]), spread, rate(row), share, ", ".join(ratios)]


def rate(row):
    """The most telling throughput of a row as a text, or nothing."""
    if "tera_operations_per_second" in row:
        rate = row["tera_operations_per_second"]
        return f"{three_digits(rate)} TOP/s" if rate >= 1 else f"{three_digits(rate * 1e3)} GOP/s"
    if "million_elements_per_second" in row:
        return f"{three_digits(row['million_elements_per_second'])} M/s"
    if "gigabytes_per_second" in row:
        return f"{three_digits(row['gigabytes_per_second'])} GB/s"
    return ""


def aligned(rows):
    """Texts in columns as lines, each column as wide as its widest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def result_path(folder, suite, device):
    """Where the rows of a suite on a device are kept."""
    return Path(folder) / f"{suite}-{device.replace(':', '')}.json"


def compact(text):
    """JSON with each list of numbers on one line.

    >>> compact('{"x": [\\n  1,\\n  2.5\\n ]}')
    '{"x": [1, 2.5]}'
    """
    return re.sub(
        r"\[[\s\d.,e+-]*\]",
        lambda found: "[" + ", ".join(found[0][1:-1].replace(",", " ").split()) + "]",
        text,
    )


def write_whole(path, text):
    """Write a file that appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + f".{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
