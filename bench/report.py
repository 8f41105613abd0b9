"""Draws the plots and writes the tables of the documents, from bench/results/*.json alone.

    python -m bench.report            # or: make report

Every number comes from the files; nothing here is typed. A table stands between two comments of
README.md, others likewise in docs/functions.md, docs/training.md, docs/ckks.md and
docs/performance.md; they need no matplotlib. The plots go to docs/figures as PNG and SVG. Rows that
docs/performance.md follows over time are added to bench/history.json.
"""

import argparse
import json
import math
import sys
from pathlib import Path

from bench import breakdown, encryption, history, performance, trust
from bench.recorder import duration, rate, three_digits, write_whole

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
FIGURES = ROOT / "docs" / "figures"
README = ROOT / "README.md"
FUNCTIONS = ROOT / "docs" / "functions.md"
TRAINING = ROOT / "docs" / "training.md"
CKKS = ROOT / "docs" / "ckks.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- bench/report.py writes from here -->"
END = "<!-- to here -->"
TITLES = ("job", "time", "rate", "of the roof", "times a baseline of the same run")
STYLE = {
    "svg.hashsalt": "he_gpu",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
SECRET = {"2 parties": {"parties": 2}, "replicated": {"protocol": "replicated"}}
"""Secret products that are drawn beside the public ones."""
INTEGER_PRODUCTS = ("2^64", "2^32", "501337")


def load(folder=RESULTS):
    """Return the results as they were saved, by device and suite in order of name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.json")]
    return sorted(found, key=lambda result: (result["environment"]["device"], result["suite"]))


def rows(results, suite=None, without=None, **facts):
    """The rows of a suite, or of all but one, whose facts have these values."""
    return [
        row
        for result in results
        if suite in (None, result["suite"]) and result["suite"] != without
        for row in result["rows"]
        if all(row.get(key) == value for key, value in facts.items())
    ]


def by_device(results):
    """Results in lists, by the device's name."""
    devices = {}
    for result in results:
        devices.setdefault(result["environment"]["device"], []).append(result)
    return devices


def markdown(results):
    """The README's table: the headline rows of each device, beneath what they ran on."""

    def table(found):
        headlines = rows(found, headline=True)
        if not headlines:
            return ""
        lines = [f"| {' | '.join(TITLES)} |", "|---|---:|---:|---:|---|"]
        return "\n".join(lines + [f"| {' | '.join(table_cells(row))} |" for row in headlines])

    return each_device(results, table)


def functions(results):
    """What docs/functions.md shows: errors and costs of each function on each device."""
    return each_device([r for r in results if r["suite"] in trust.SUITES], trust.tables)


def training(results):
    """What docs/training.md shows: where the time of a training step goes on each device."""
    return each_device([r for r in results if r["suite"] == "training"], breakdown.tables)


def ckks(results):
    """What docs/ckks.md shows: operations on each device, their errors, and SEAL's."""

    def tables(found):
        return encryption.tables(found, TITLES, table_cells)

    return each_device([r for r in results if r["suite"] in encryption.SUITES], tables)


def kernels(results, entries):
    """What docs/performance.md shows: the roofline of each kernel family, and what was tried."""
    return performance.page(results, surroundings, entries)


def each_device(results, table):
    """Tables made of the results of each device, beneath what they ran on."""
    parts = []
    for device, found in by_device(results).items():
        text = table(found)
        if text:
            parts.append(f"**`{device}`**: {'; '.join(surroundings(found))}.\n\n{text}")
    return "\n\n".join(parts)


def table_cells(row):
    share = f"{row['share_of_roof']:.0%}" if "share_of_roof" in row else ""
    ratios = ", ".join(
        f"{three_digits(baseline['ratio'])} x {label}"
        for label, baseline in row["baselines"].items()
    )
    return [row["name"], duration(row["median"]), rate(row), share, ratios]


def surroundings(results):
    """Machine, libraries, commits and dates of some results of one device, as texts."""

    def values(name):
        found = {result["environment"].get(name) for result in results}
        return ", ".join(sorted(str(value) for value in found if value is not None))

    gpu = values("gpu")
    texts = [gpu] if gpu else []
    texts += [f"{values('cpu')}, {values('cores')} cores"]
    if gpu:
        texts += [f"driver {values('driver')}", f"CuPy {values('cupy')}"]
        texts += [f"CUDA {values('cuda_runtime')}"]
    texts += [f"Python {values('python')}", f"NumPy {values('numpy')}", values("blas")]
    if values("seal"):
        texts += [f"SEAL {values('seal')}"]
    return [*texts, f"commit {values('commit')}", values("date")]


def with_table(document, table):
    """Return a document's text with another table between the markers.

    Raises:
        ValueError: the markers do not stand there once, in order.
    """
    if (
        document.count(BEGIN) != 1
        or document.count(END) != 1
        or document.index(END) < document.index(BEGIN)
    ):
        raise ValueError(
            f"with_table: the document must hold {BEGIN!r} and then {END!r}, once each"
        )
    before, _, rest = document.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def draw(results, folder=FIGURES):
    """Write every figure that the results have rows for, and return the paths."""
    paths = []
    with style():
        for device, found in by_device(results).items():
            name = device.replace(":", "")
            for kind, plot in PLOTS.items():
                figure = plot(device, found)
                if figure is not None:
                    paths += save(figure, Path(folder) / f"{kind}-{name}")
    return paths


def style():
    """The settings that all figures are drawn and saved with, as a context."""
    import matplotlib as mpl

    return mpl.rc_context(STYLE)


def save(figure, path):
    """Write a figure as PNG and as SVG, the same bytes for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.with_name(path.name + suffix) for suffix in (".png", ".svg")]
    figure.savefig(written[0], dpi=110, metadata={"Software": None})
    figure.savefig(written[1], metadata={"Date": None, "Creator": None})
    return written


def canvas(title, **labels):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, **labels)
    return figure, axes


def roofline(device, results):
    """Exact integer operations per second over operations per byte, beneath the roofs."""
    from matplotlib.ticker import LogLocator

    found = [row for row in rows(results) if "operations_per_byte" in row]
    roofs = {}
    for result in results:
        for name, value in result.get("roofs", {}).items():
            if isinstance(value, float):
                roofs[name] = max(value, roofs.get(name, 0.0))
    if not found or not roofs:
        return None
    figure, axes = canvas(
        f"Exact products on {device}",
        xlabel="operations per byte of operands and result",
        ylabel="10$^{12}$ operations per second",
        xscale="log",
        yscale="log",
    )
    span = [min(row["operations_per_byte"] for row in found) / 2]
    span.append(max(row["operations_per_byte"] for row in found) * 2)
    for name, value in sorted(roofs.items()):
        label = f"{name.partition(',')[0]}, {three_digits(value)} {name.rpartition(' ')[2]}"
        if "copy" in name:
            top = max((v for other, v in roofs.items() if "GEMM" in other), default=None)
            stop = span[1] if top is None else min(span[1], top * 1e3 / value)
            line = [span[0], max(stop, span[0])]
            axes.plot(line, [x * value / 1e3 for x in line], "k--", lw=1, label=label)
        else:
            axes.plot(span, [value, value], "k-", lw=1, label=label)
    for modulus in (*INTEGER_PRODUCTS, "2^61 - 1"):
        some = [row for row in found if row.get("modulus") == modulus]
        if some:
            x = [row["operations_per_byte"] for row in some]
            y = [row["tera_operations_per_second"] for row in some]
            axes.plot(x, y, "o", ms=4, label=f"modulo {modulus}")
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.legend(fontsize=8)
    return figure


def time_against_size(device, results):
    """Milliseconds of square products over n."""
    lines = {}
    for row in rows(results, "matmul", family="square"):
        lines.setdefault(f"modulo {row['modulus']}", []).append((row["n"], row["median"]))
        for label, baseline in row["baselines"].items():
            if row["modulus"] == "2^64" and "scale" not in baseline:
                lines.setdefault(label, []).append((row["n"], baseline["median"]))
    for row in rows(results, "matmul", family="peer"):
        lines.setdefault(row["peer"], []).append((row["n"], row["median"]))
    for scheme, facts in SECRET.items():
        for row in rows(results, "secret_matmul", **facts):
            lines.setdefault(f"secret, {scheme}", []).append((row["n"], row["median"]))
    if not lines:
        return None
    figure, axes = canvas(
        f"Square products on {device}", xlabel="n", ylabel="ms", xscale="log", yscale="log"
    )
    for label, points in lines.items():
        plain = "product" in label
        x, y = zip(*sorted(points), strict=True)
        style = {"linestyle": "--", "color": "0.4"} if plain else {"marker": "o", "ms": 3}
        if label == "float32 product":
            style["linestyle"] = ":"
        axes.plot(x, [value * 1e3 for value in y], lw=1.2, label=label, **style)
    ticks = sorted({n for points in lines.values() for n, _ in points})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.xaxis.minorticks_off()
    figure.legend(fontsize=8, loc="outside right upper")
    return figure


def ratio_against_plaintext(device, results):
    """How many times the plaintext job each headline row takes."""
    bars = [
        (f"{row['name']}\nagainst {label}", baseline["ratio"])
        for row in rows(results, headline=True, without="crypten")
        for label, baseline in list(row["baselines"].items())[:1]
    ]
    if not bars:
        return None
    figure, axes = canvas(
        f"Times the same work in the clear, {device}", xlabel="ratio of medians", xscale="log"
    )
    figure.set_size_inches(7.2, 0.8 + 0.36 * len(bars))
    labels, ratios = zip(*reversed(bars), strict=True)
    positions = range(len(bars))
    start = 10 ** math.floor(math.log10(min(*ratios, 1.0)))
    widths = [ratio - start for ratio in ratios]
    axes.barh(positions, widths, left=start, height=0.6)
    for position, ratio in zip(positions, ratios, strict=True):
        axes.text(ratio * 1.05, position, three_digits(ratio), va="center", fontsize=7)
    axes.set_yticks(positions, labels, fontsize=6.5)
    axes.set_xlim(start, max(ratios) * 2)
    axes.axvline(1, color="k", lw=0.8)
    axes.grid(visible=False, axis="y")
    return figure


PLOTS = {
    "roofline": roofline,
    "time-against-size": time_against_size,
    "ratio-against-plaintext": ratio_against_plaintext,
    "function-errors": trust.picture,
    "share-of-roof": performance.picture,
}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--table-only", action="store_true", help="leave the figures as they are")
    options = parser.parse_args(arguments)
    results = load()
    if not results:
        print(f"no results in {RESULTS}; make bench writes them", file=sys.stderr)
        return 2
    tables = {
        README: markdown(results),
        FUNCTIONS: functions(results),
        TRAINING: training(results),
        CKKS: ckks(results),
        PERFORMANCE: kernels(results, history.updated(results)),
    }
    for path in (FUNCTIONS, TRAINING, CKKS):
        print(tables[path])
    for path, table in tables.items():
        write_whole(path, with_table(path.read_text(encoding="utf-8"), table))
        print(path.relative_to(ROOT))
    if not options.table_only:
        for path in draw(results):
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
