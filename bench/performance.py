"""What docs/performance.md shows: of each kernel family its work, its floor, how near it comes.

Made from `bench.kernel_families`, bench/results/*.json and bench/history.json alone, as Markdown.
"""

import math

from bench.kernel_families import SECTIONS, WORK_TITLES
from bench.recorder import duration, rate, three_digits

ROOF_TITLES = ("device", "roof", "least found", "largest found")
TITLES = ("job", "time", "rate", "of the roof", "roof")
TRIED = ("tried", "rows of", "time against what is used", "outcome")
HISTORY = ("commit", "date", "job", "time", "times its baseline")
PRODUCT_BITS = {"2^64": 8, "2^32": 4}
"""Bytes of a word, of the rings whose products are held against memory."""


def table(titles, lines, numbers=()):
    """Markdown, or nothing of no lines; columns of these numbers are aligned to the right."""
    if not lines:
        return ""
    rule = "".join("---:|" if i in numbers else "---|" for i in range(len(titles)))
    texts = [f"| {' | '.join(titles)} |", f"|{rule}"]
    return "\n".join(texts + [f"| {' | '.join(line)} |" for line in lines])


def page(results, surroundings, history=()):
    """The whole of what is generated.

    Args:
        results: of all devices.
        surroundings: what the results of a device ran on, as a function of these.
        history: entries of `bench.history`.
    """
    devices = {}
    for result in results:
        devices.setdefault(result["environment"]["device"], []).append(result)
    parts = [roofs(devices)]
    parts += [part(section, devices, history) for section in SECTIONS]
    ran = [f"`{name}`: {'; '.join(surroundings(found))}." for name, found in devices.items()]
    return "\n\n".join(filter(None, [*parts, "## What it ran on", *ran]))


def roofs(devices):
    """Each roof of each device: suites measure it anew, on what others leave of the machine."""
    lines = []
    for device, results in devices.items():
        found = {}
        for result in results:
            for name, value in result.get("roofs", {}).items():
                if isinstance(value, float):
                    found.setdefault(name, []).append(value)
        for name, values in sorted(found.items()):
            label, _, unit = name.rpartition(", ")
            ends = (f"{three_digits(value)} {unit}" for value in (min(values), max(values)))
            lines.append([f"`{device}`", label, *ends])
    images = [image for each in devices.items() for image in figures(*each)]
    return "\n\n".join(["## Roofs", table(ROOF_TITLES, lines, (2, 3)), *images])


def figures(device, results):
    """Links to the figures that the report draws of these results."""
    name = device.replace(":", "")
    rows = [row for result in results for row in result["rows"]]
    peaks = [value for result in results for value in result.get("roofs", {}).values()]
    found = {
        f"![Exact products on {device} beneath its roofs](figures/roofline-{name}.svg)": any(
            "operations_per_byte" in row for row in rows
        )
        and any(isinstance(value, float) for value in peaks),
        f"![Share of the nearer roof of each kernel on {device}]"
        f"(figures/share-of-roof-{name}.svg)": bool(shares(results)),
    }
    return [link for link, there in found.items() if there]


def part(section, devices, history):
    """A section of the page."""
    names = ", ".join(f"`{family}`" for family in section.families)
    texts = [
        f"## {section.title}",
        f"Kernels: {names}. Floor: {section.floor}.",
        table(section.titles, section.work, aligned(section)),
        f"On the CPU: {section.cpu}",
        f"On a GPU: {section.gpu}",
    ]
    for device, results in devices.items():
        rows = measured(section, results)
        lines = [cells(row) for row in rows]
        if lines:
            texts += [f"**`{device}`**", table(TITLES, lines, (1, 2, 3))]
        texts += [ridge(rows, results)]
    texts += [table(TRIED, tried(section, devices), (2,))]
    texts += [past(section, history)]
    return "\n\n".join(filter(None, texts))


def aligned(section):
    """Columns of numbers of a section's table of work."""
    return range(1, len(section.titles)) if section.titles == WORK_TITLES else ()


def measured(section, results):
    """The rows of a section on one device that were timed."""
    return [
        row
        for result in results
        if result["suite"] in section.suites
        for row in result["rows"]
        if "median" in row
        and row["name"].startswith(section.names)
        and (
            not section.kinds
            or any(row.get(key) == value for kind in section.kinds for key, value in kind.items())
        )
    ]


def cells(row):
    share = f"{row['share_of_roof']:.1%}" if "share_of_roof" in row else ""
    roof = row.get("roof", "").rpartition(", ")[0]
    if "roof_products" in row:
        roof = f"{row['roof_products']} x {roof}"
    return [row["name"], duration(row["median"]), rate(row), share, roof]


def ridge(rows, results):
    """From which n on square products are bound by arithmetic, by the roofs that were found."""
    copies = [result["roofs"].get("copy, GB/s") for result in results if result.get("roofs")]
    copy = max(filter(None, copies), default=None)
    peaks = {}
    for result in results:
        for name, value in result.get("roofs", {}).items():
            if "GEMM" in name and isinstance(value, float):
                peaks[name] = max(value, peaks.get(name, 0.0))
    texts = {}
    for row in rows:
        width, roof = PRODUCT_BITS.get(row.get("modulus")), peaks.get(row.get("roof"))
        if row.get("family") == "square" and width and roof and copy:
            # 2 p n^3 / R = 3 w n^2 / B
            n = 3 * width * roof * 1e12 / (2 * row["roof_products"] * copy * 1e9)
            texts[row["modulus"]] = f"n = {max(1, math.ceil(n))} modulo {row['modulus']}"
    if not texts:
        return ""
    return (
        f"Products, not memory, are the floor of square ones from {', '.join(texts.values())} on."
    )


def tried(section, devices):
    """Lines of a table: what was measured beside what is used, over all rows that have both."""
    lines = []
    for each in section.tried:
        for device, results in devices.items():
            found = [
                baseline["ratio"] if each.peer else 1 / baseline["ratio"]
                for result in results
                if result["suite"] == each.suite
                for row in result["rows"]
                if row["name"].startswith(each.name)
                for baseline in [row.get("baselines", {}).get(each.baseline)]
                if baseline is not None
            ]
            if found:
                rows = f"{len(found)}, `{device}`"
                ends = {three_digits(value): None for value in (min(found), max(found))}
                lines.append([each.what, rows, f"{' to '.join(ends)} x", each.outcome])
    return lines


def past(section, history):
    """Lines of a table: what rows came to at earlier commits."""
    lines = [
        [
            f"`{entry['commit']}`",
            entry["date"],
            entry["name"] if entry["device"] == "cpu" else f"{entry['name']}, `{entry['device']}`",
            duration(entry["median"]),
            f"{three_digits(entry['ratio'])} x {entry['baseline']}",
        ]
        for name in section.history
        for entry in history
        if entry["name"] == name
    ]
    return f"At earlier commits:\n\n{table(HISTORY, lines, (3,))}" if lines else ""


def shares(results):
    """Name and share of the nearer roof of each kernel's row."""
    return [
        (row["name"].removeprefix("kernel "), row["share_of_roof"])
        for section in SECTIONS
        for row in measured(section, results)
        if "share_of_roof" in row and "kernel" in row
    ]


def picture(device, results):
    """Bars: the share of its roof that each timed job of the sections reaches."""
    from matplotlib.figure import Figure

    bars = shares(results)
    if not bars:
        return None
    figure = Figure(figsize=(7.2, 0.8 + 0.17 * len(bars)), layout="constrained")
    axes = figure.subplots()
    names, reached = zip(*reversed(bars), strict=True)
    axes.barh(range(len(bars)), [100 * share for share in reached], height=0.7)
    axes.set(title=f"Share of the nearer roof, {device}", xlabel="%")
    axes.set_yticks(range(len(bars)), names, fontsize=6)
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.axvline(100, color="k", lw=0.8)
    axes.grid(visible=False, axis="y")
    return figure
