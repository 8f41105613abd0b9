"""What docs/ckks.md shows of encryption: operations, errors, random circuits and transforms.

Made from the rows of bench/results/*.json alone, as Markdown.
"""

OPERATIONS, LINEAR, CIRCUITS, TRANSFORMS = SUITES = "ckks", "ckks_linear", "ckks_circuits", "ntt"
BOTH = "ntt and intt"
"""What SEAL does too."""
ERRORS = ("error", "error_bound", "seal_error")
ERROR_TITLES = ("largest error", "bound", "SEAL's error")
PRECISION = {
    "errors after one product": "name",
    "largest": "error",
    "root mean square": "error_rms",
    "bound": "error_bound",
    "SEAL's largest": "seal_error",
    "SEAL's root mean square": "seal_error_rms",
}
FOUND = {
    "random circuits": "name",
    "circuits": "circuits",
    "results": "results",
    "beyond their bound": "beyond_bound",
    "largest error over its bound": "largest_share_of_bound",
    "the same at level 0": "largest_share_at_level_0",
}


def tables(results, titles, cells):
    """The tables of one device.

    Args:
        results: of its suites.
        titles: of the columns that rows of times have in every document.
        cells: texts in those columns, by row.
    """

    def rows(suite, timed):
        kept = [row for result in results if result["suite"] == suite for row in result["rows"]]
        return [row for row in kept if ("median" in row) == timed]

    timed = rows(OPERATIONS, True) + rows(LINEAR, True)
    operations = [[*cells(row), *errors(row)] for row in timed]
    found = [
        table([*titles, *ERROR_TITLES], operations, len(ERROR_TITLES)),
        table(PRECISION, [texts(row, PRECISION) for row in rows(OPERATIONS, False)]),
        table(FOUND, [texts(row, FOUND) for row in rows(CIRCUITS, False)]),
        table(titles, [cells(row) for row in rows(TRANSFORMS, True) if BOTH in row["name"]], 0),
    ]
    return "\n\n".join(filter(None, found))


def table(titles, lines, numbers=None):
    """Markdown, or nothing of no lines.

    Args:
        titles: of the columns.
        lines: texts of each.
        numbers: columns of numbers after those of times; None where all but the first are.
    """
    if not lines:
        return ""
    kinds = "|---|" + (len(titles) - 1) * "---:|"
    if numbers is not None:
        kinds = "|---|---:|---:|---:|---|" + numbers * "---:|"
    every = [kinds] + [f"| {' | '.join(each)} |" for each in lines]
    return "\n".join([f"| {' | '.join(titles)} |", *every])


def errors(row):
    return ["" if name not in row else f"{row[name]:.1e}" for name in ERRORS]


def texts(row, columns):
    """A row's facts: counts in full, shares of a bound in percent, errors with two digits."""
    return [text(name, row[name]) if name in row else "" for name in columns.values()]


def text(name, value):
    if isinstance(value, float):
        return f"{value:.0%}" if "share" in name else f"{value:.1e}"
    return str(value)
