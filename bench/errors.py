"""Errors over a grid: the largest ones, and curves of a few points that keep every peak."""

import numpy as np

POINTS_INSIDE = 90
POINTS_BESIDE = 24
"""Of a curve, at most: over the interval, and on each side of it."""


def largest(errors):
    """The largest error; NaN where any is NaN, so that no demand is met by it."""
    return float(np.max(errors))


def curve(promise, x, found):
    """Arguments and errors against the exact function, the largest error of each stretch.

    Stretches are even inside the interval, or even by magnitude where the promise is logarithmic
    and beyond the interval. Arguments where the function is not defined, or where a relative error
    is not, stay out.
    """
    with np.errstate(all="ignore"):
        expected = promise.exact(x)
        errors = promise.error(found, expected)
    kept = np.isfinite(expected) & np.isfinite(errors) & ((x > 0) | (not promise.logarithmic))
    x, errors = x[kept], errors[kept]
    stretch = np.searchsorted(boundaries(promise, x), x, side="right")
    chosen = [
        np.flatnonzero(stretch == index)[np.argmax(errors[stretch == index])]
        for index in np.unique(stretch)
    ]
    places = x[chosen]
    places[[0, -1]] = x.min(), x.max()  # the outermost stretches reach to the ends
    return {"x": rounded(places, 6), "error": rounded(errors[chosen], 3)}


def boundaries(promise, x):
    """Where the stretches of a curve meet."""
    low, high = promise.low, promise.high
    spread = np.geomspace if promise.logarithmic else np.linspace
    parts = [spread(low, high, POINTS_INSIDE + 1)]
    parts[0][-1] = np.nextafter(high, np.inf)  # the end lies inside
    if x.size and x.max() > high:
        parts.append(np.geomspace(high, x.max(), POINTS_BESIDE + 1)[1:-1])
    if promise.logarithmic and x.size and x.min() < low:
        parts.insert(0, np.geomspace(x.min(), low, POINTS_BESIDE + 1)[1:-1])
    elif x.size and x.min() < low:
        parts.insert(0, -np.geomspace(-low, -x.min(), POINTS_BESIDE + 1)[-2:0:-1])
    return np.concatenate(parts)


def rounded(values, digits):
    """Numbers as a file keeps them."""
    return [float(f"{value:.{digits}g}") for value in values]
