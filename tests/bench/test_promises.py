"""The grids that functions are tried on, and the curves that are kept of their errors."""

import math

import numpy as np
import pytest

import he_gpu as he
from bench import errors, promises, scores
from bench.promises import END, PROMISES, UNIT, Promise

LINE = Promise("line", -1.0, 2.0, 0.0, lambda x: 3.0 * x)
POSITIVE = Promise("inverse", 2.0**-8, 2.0**12, 1e-3, lambda x: 1 / x, relative=True)
named = pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.name)


@named
def test_grids_hold_the_ends_and_their_neighbours(promise):
    first, last = promises.ends(promise)
    assert promises.reals([first, last]).tolist() == [promise.low, promise.high]
    inside = promises.inside(promise, 1000)
    assert (inside[0], inside[-1]) == (first, last)
    assert inside.size > 700
    assert (np.diff(inside) > 0).all()
    beyond = promises.beyond(promise, 100)
    if promise.end is None:
        assert beyond.size == 0
        return
    assert not ((beyond >= first) & (beyond <= last)).any()
    assert {first - 1, last + 1, promise.end, -promise.end} <= set(beyond.tolist())
    assert (np.diff(beyond) > 0).all()
    assert abs(beyond).max() == promise.end <= END
    if promise.low > 0:
        assert {-1, 0, 1} <= set(beyond.tolist())


def test_small_intervals_are_tried_whole():
    assert promises.inside(LINE, 2**18).tolist() == list(range(-(2**16), 2**17 + 1))


@named
def test_promises_are_continuous_at_the_ends(promise):
    x = np.asarray([promise.low, promise.high])
    np.testing.assert_array_equal(promise.promised(x), promise.exact(x))
    words = promises.beyond(promise, 50)
    assert np.isfinite(promise.promised(promises.reals(words))).all()


def test_relative_errors_are_of_the_value_or_of_the_least_one():
    assert POSITIVE.least == 2.0**-12
    found = POSITIVE.error(np.asarray([1.5, 2.0**-12]), np.asarray([1.0, 0.0]))
    np.testing.assert_allclose(found, [0.5, 1.0], rtol=1e-12)


def test_a_step_of_float64_is_no_error():
    large = np.asarray([2.0**45])
    assert LINE.error(np.nextafter(large, np.inf), large) == 0
    assert LINE.error(large + 1, large) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("x", [-800.0, -1.0, 0.0, 1.0, 800.0])
def test_the_sigmoid_in_the_clear(x):
    expected = 1 / (1 + math.exp(-x)) if x > -700 else 0.0
    assert promises.sigmoid(np.float64(x)) == pytest.approx(expected, rel=1e-14, abs=1e-300)
    if abs(x) < 700:
        assert promises.quickly(np, np.asarray([x]))[0] == pytest.approx(expected, rel=1e-14)


@named
def test_the_quick_way_in_the_clear_is_the_function(promise):
    x = promise.typical(100)
    assert promise.low <= x.min() <= x.max() <= promise.high
    _, plain = promise.in_the_clear(np, x.copy())
    np.testing.assert_allclose(plain(), promise.exact(x), rtol=1e-12, atol=1e-15)


def test_any_encoding_becomes_a_secret():
    words = np.asarray([END, -END, 0, -1])
    with he.Session(device="cpu", seed=1) as session:
        revealed = promises.of_words(session, words).reveal()
    np.testing.assert_array_equal(revealed, promises.reals(words))


# Curves


def test_a_curve_keeps_peaks_and_few_points():
    words = np.concatenate([promises.inside(LINE, 2**12), promises.beyond(LINE, 2**9)])
    x = promises.reals(words)
    found = LINE.exact(x)
    peaks = np.flatnonzero(np.isin(words, [-(2**16), 77 * 2**8, 2**17, END, -END]))
    found[peaks] += 1000.0 + np.arange(peaks.size)
    kept = errors.curve(LINE, x, found)
    assert len(kept["x"]) == len(kept["error"]) <= errors.POINTS_INSIDE + 2 * errors.POINTS_BESIDE
    assert kept["x"] == sorted(kept["x"])
    assert sum(error > 999 for error in kept["error"]) >= peaks.size - 1
    assert kept["error"][0] > 999
    assert kept["error"][-1] > 999


def test_a_curve_leaves_out_what_has_no_value():
    x = promises.reals(promises.beyond(POSITIVE, 100))
    kept = errors.curve(POSITIVE, x, np.ones_like(x))
    assert kept["x"][0] == pytest.approx(UNIT, rel=1e-5)
    assert len(kept["x"]) <= 2 * errors.POINTS_BESIDE
    assert np.isfinite(kept["error"]).all()


def test_nan_is_the_largest_error():
    assert math.isnan(errors.largest(np.asarray([1.0, np.nan])))


# Scores


def test_scores_spread_from_nothing_to_the_ends():
    widths = scores.spreads(2)
    words = scores.scores(widths)
    assert words.shape == (widths.size, scores.CLASSES)
    assert words.max() == -words.min() == END // 2
    # Differences are numbers too: the largest is the last encoding but one.
    assert words.max() - words.min() <= END
    for width, row in zip(widths, words, strict=True):
        assert abs(row).max() <= width / UNIT


def test_softmax_in_the_clear():
    x = np.asarray([[0.0, math.log(3.0)], [1e6, 0.0]])
    np.testing.assert_allclose(scores.softmax(x), [[0.25, 0.75], [1.0, 0.0]], atol=1e-15)
    np.testing.assert_allclose(scores.logsumexp(x), [math.log(4.0), 1e6], rtol=1e-15)
    expected = [[-math.log(4.0), math.log(0.75)], [0.0, -1e6]]
    np.testing.assert_allclose(scores.log_softmax(x), expected, rtol=1e-14, atol=1e-15)


def test_a_summary_tells_inside_from_beyond():
    widths = np.asarray([scores.NARROWEST, scores.NARROWEST, scores.WIDE, scores.WIDEST])
    found = scores.summary(scores.SOFTMAX[0], widths, np.asarray([1.0, 3.0, 2.0, 9.0]))
    assert (found["error_inside"], found["error_beyond"]) == (3.0, 9.0)
    assert found["curve"]["error"] == [3.0, 2.0, 9.0]
