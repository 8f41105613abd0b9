"""A picture of trust: what each function promises, what was found, and what it costs.

Made from the rows of bench/results/*.json alone: two tables for docs/functions.md, and curves of
the error over and beyond each interval, CrypTen's beside them where it was measured.
"""

import math

from bench.recorder import duration, three_digits

ERRORS = (
    "function",
    "interval",
    "error promised",
    "largest found",
    "beyond",
    "CrypTen's, its median",
)
PEER_ERRORS = ("error_inside", "median_error_inside")
COSTS = ("function", "scheme", "rounds", "bytes sent", "dealer's bytes", "time", "times float64")
SUITE, PEER_SUITE = SUITES = "functions", "crypten"
COLUMNS = 5
TOP, BOTTOM = 10.0, 1e-8
"""Errors that a figure shows; larger and smaller ones run along its edges."""
INTERVAL, OURS, PEER = "0.93", "C0", "C1"


def functions(results):
    """By name of a function, in order: its rows and those of CrypTen's."""
    found = {}
    for suite, kind in ((SUITE, 0), (PEER_SUITE, 1)):
        for result in results:
            if result["suite"] == suite:
                for row in result["rows"]:
                    if "function" in row and (kind == 0 or row["function"] in found):
                        found.setdefault(row["function"], ([], []))[kind].append(row)
    return found


def tables(results):
    """Errors and costs of every function of one device, as Markdown."""
    found = functions(results)
    if not found:
        return ""
    errors = [error_cells(ours, peers) for ours, peers in found.values()]
    costs = [cost_cells(row) for ours, _ in found.values() for row in ours]
    return "\n\n".join([table(ERRORS, errors, "|---|---|---:|---:|---:|---:|"),
                        table(COSTS, costs, "|---|---|---:|---:|---:|---:|---:|")])  # fmt: skip


def table(titles, cells, rule):
    lines = [f"| {' | '.join(titles)} |", rule]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in cells])


def call(row):
    """A function with the arguments that it was measured with."""
    return f"`{row['function']}`" + (f", `{row['keywords']}`" if row.get("keywords") else "")


def error_cells(ours, peers):
    row = ours[0]
    kind = " relative" if row["relative"] else ""
    return [
        call(row),
        f"[{number(row['low'])}, {number(row['high'])}]",
        error(row["promised"]) + kind,
        worst(ours, "error_inside"),
        worst(ours, "error_beyond"),
        ", ".join(worst(peers, key) for key in PEER_ERRORS if peers),
    ]


def cost_cells(row):
    label, baseline = next(iter(row["baselines"].items()))
    slow = f" ({label})" if "one by one" in label else ""
    return [
        call(row),
        scheme(row),
        f"{row['communication_rounds']}",
        size(row["bytes_per_element"]),
        size(row["dealer_bytes_per_element"]),
        duration(row["median"]),
        three_digits(baseline["ratio"]) + slow,
    ]


def scheme(row):
    """What a row calls its protocol and parties."""
    return row["protocol"] + (f", {row['parties']}" if row["protocol"] == "additive" else "")


def worst(rows, key):
    """The largest error of some rows as a text; nothing where none has any."""
    found = [row[key] for row in rows if key in row]
    return error(max(found)) if found else ""


def error(value):
    """Two digits, and an exponent where the number is far from 1.

    >>> error(0.000123), error(80.0)
    ('1.2e-4', '80')
    """
    if value == 0 or 0.1 <= value < 100:
        return f"{value:.2g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def number(value):
    """An end of an interval; powers of two as such, from 64 on and below 0.1.

    >>> number(-11.25), number(4096.0), number(-(2.0**-8))
    ('-11.25', '2^12', '-2^-8')
    """
    magnitude = abs(value)
    if magnitude and not 0.1 <= magnitude < 64:
        exponent = math.log2(magnitude)
        if abs(exponent - round(exponent)) < 1e-4:
            return f"{'-' if value < 0 else ''}2^{round(exponent)}"
    return f"{value:.4g}"


def size(value):
    """Bytes per element.

    >>> size(464.0), size(37.1)
    ('464', '37.1')
    """
    return f"{value:.1f}".removesuffix(".0")


def picture(device, results):
    """Errors of every function over and beyond its interval, a panel for each."""
    found = {name: rows for name, rows in functions(results).items() if "curve" in rows[0][0]}
    if not found:
        return None
    from matplotlib.figure import Figure

    lines = math.ceil(len(found) / COLUMNS)
    figure = Figure(figsize=(2.2 * COLUMNS, 2.0 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, COLUMNS, squeeze=False, sharey=True).flatten()
    for panel, (ours, peers) in zip(panels, found.values(), strict=False):
        draw_panel(panel, ours[0], peers[0] if peers else None)
    for panel in panels[len(found) :]:
        panel.remove()
    figure.suptitle(f"Errors over and beyond the interval (grey), {device}", fontsize=10)
    handles = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


def draw_panel(panel, ours, peer):
    """One function's errors, its interval and its promise."""
    low, high = ours["low"], ours["high"]
    kind = "relative" if ours["relative"] else "absolute"
    panel.set_title(f"{ours['function']}, {kind}", fontsize=8)
    panel.axvspan(low, high, color=INTERVAL, lw=0)
    panel.axhline(ours["promised"], color="k", lw=0.8, ls="--", label="promised")
    if peer is not None:
        panel.plot(*shown(peer["curve"]), color=PEER, lw=0.9, label="CrypTen")
    panel.plot(*shown(ours["curve"]), color=OURS, lw=0.9, label="he_gpu, 2 parties")
    panel.set_yscale("log")
    panel.set_ylim(BOTTOM, TOP)
    panel.set_yticks([1e-8, 1e-6, 1e-4, 1e-2, 1.0], ["1e-8", "1e-6", "1e-4", "0.01", "1"])
    if low > 0:
        panel.set_xscale("log", base=2)
    else:
        panel.set_xscale("symlog", base=2, linthresh=max(abs(low), high), linscale=6)
    ticks = marks(low, high, [*ours["curve"]["x"], *(peer["curve"]["x"] if peer else [])])
    panel.set_xticks(ticks, [superscript(number(tick)) for tick in ticks])
    panel.minorticks_off()
    panel.tick_params(labelsize=6)


def marks(low, high, x):
    """Ticks: the interval, 0 in the middle of it, and the ends of the curves far beyond it."""
    far = {min(x), max(x)}
    ticks = {low, high} | {end for end in far if not low / 16 <= end <= 16 * high}
    if low < 0:
        ticks = {low, high} | {end for end in far if not 1024 * low <= end <= 1024 * high}
        ticks |= {0.0} if high <= -4 * low else set()
    return sorted(ticks)


def superscript(text):
    """The text of a number as a figure writes it.

    >>> superscript("-2^46"), superscript("0.5")
    ('$-2^{46}$', '0.5')
    """
    base, caret, exponent = text.partition("^")
    return f"${base}^{{{exponent}}}$" if caret else text


def shown(curve):
    """Arguments and errors of a curve, the errors within what a figure shows."""
    return curve["x"], [min(max(value, BOTTOM), TOP) for value in curve["error"]]
