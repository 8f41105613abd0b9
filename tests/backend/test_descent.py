"""Steps of a descent taken together: Python's integers, single operations, kernels bit for bit."""

import numpy as np
import pytest

from he_gpu.backend import CrossProducts, Products, descent_fits, get_backend
from he_gpu.backend.definition import descent as definition
from he_gpu.backend.definition.words import RING_64
from he_gpu.backend.device import descent as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import assert_same, ints, some_words
from tests.single_steps import single_replicated_steps, single_steps

SHAPES = [(4, 256, 1), (1, 1, 1), (3, 31, 2), (33, 5, 3), (9, 70, 9), (2, 1022, 1), (257, 1, 1)]
"""Rows, width and targets: less than a warp has, more residuals than a block has warps, and all
that fits with five parties."""
shapes = pytest.mark.parametrize(("rows", "width", "targets"), SHAPES)
PARTIES = pytest.mark.parametrize("n_parties", [2, 3, 5])


def products(rng, n_steps, n_parties, m, k, n, bits):
    """Any words; the tests of the protocol see to it that they are right ones."""
    shapes = (m, k), (n_parties, m, k), (n_steps, n_parties, k, n)
    results = [(n_steps, n_parties, m, n)] * 3
    return Products(*(some_words(rng, shape, RING_64) for shape in (*shapes, *results)), bits)


def operands(rng, n_steps, n_parties, rows, width, targets, bits=(24, 41)):
    w, y = (some_words(rng, (n_parties, m, targets), RING_64) for m in (width, rows))
    forward = products(rng, n_steps, n_parties, rows, width, targets, bits[0])
    return w, y, forward, products(rng, n_steps, n_parties, width, rows, targets, bits[1])


def cross_products(rng, n_steps, m, k, n, bits):
    """Likewise of replicated words."""
    counts = (3,), (4,), (2, 2)
    shapes = (4, m, k), *((n_steps, *count, m, n) for count in counts)
    stack, hiding, result, parts = (some_words(rng, shape, RING_64) for shape in shapes)
    stack[3], result[:, 3] = stack[0], result[:, 0]
    return CrossProducts(stack, hiding, result, parts, bits)


def replicated_operands(rng, n_steps, rows, width, targets, bits=(24, 41)):
    w, y = (some_words(rng, (3, m, targets), RING_64)[[0, 1, 2, 0]] for m in (width, rows))
    forward = cross_products(rng, n_steps, rows, width, targets, bits[0])
    return w, y, forward, cross_products(rng, n_steps, width, rows, targets, bits[1])


def moved(xp, arguments):
    """Operands on a device."""
    w, y, *halves = arguments
    halves = [type(half)(*map(xp.asarray, half[:-1]), half.bits) for half in halves]
    return xp.asarray(w), xp.asarray(y), *halves


@PARTIES
@shapes
def test_definition_is_the_single_operations(n_parties, rows, width, targets):
    arguments = operands(np.random.default_rng(rows), 5, n_parties, rows, width, targets)
    w = arguments[0].copy()
    expected = single_steps(*arguments)
    assert_same(definition.descend(*arguments), expected)
    assert_same(get_backend("cpu").descend(*arguments), expected)
    assert_same(arguments[0], w)  # nobody's shares are overwritten


@shapes
def test_definition_is_the_single_operations_on_replicated_words(rows, width, targets):
    arguments = replicated_operands(np.random.default_rng(rows), 5, rows, width, targets)
    w = arguments[0].copy()
    expected = single_replicated_steps(*arguments)
    assert_same(definition.descend_replicated(*arguments), expected)
    assert_same(get_backend("cpu").descend_replicated(*arguments), expected)
    assert_same(arguments[0], w)


@pytest.mark.parametrize("bits", [(1, 61), (30, 2)])
def test_a_step_by_python_integers(bits):
    w, y, forward, backward = operands(np.random.default_rng(4), 1, 3, 1, 1, 1, bits)

    def product(p, x):
        words = [ints(field) for field in p[:-1]]
        (opened,), mask, b, c, low, top = words
        e = sum(x) - sum(b)
        z = sum(opened * share + a * e + own for share, a, own in zip(x, mask, c, strict=True))
        z %= RING_64
        sign = -1 if z >= 2**63 else 1
        shares = [sign * own_top - own_low for own_low, own_top in zip(low, top, strict=True)]
        shares[0] += z >> p.bits
        return shares

    e = [share - own for share, own in zip(product(forward, ints(w)), ints(y), strict=True)]
    expected = [
        (share - own) % RING_64 for share, own in zip(ints(w), product(backward, e), strict=True)
    ]
    assert ints(definition.descend(w, y, forward, backward)) == expected


def truncated_by_integers(word, bits):
    """A word as a signed number, over 2^bits and rounded down."""
    return (word - RING_64 if word >= 2**63 else word) >> bits


@pytest.mark.parametrize("bits", [(1, 61), (30, 2), (32, 33)])
def test_a_replicated_step_by_python_integers(bits):
    w, y, forward, backward = replicated_operands(np.random.default_rng(4), 1, 1, 1, 1, bits)

    def product(p, x):
        stack, hiding, result, parts = (ints(field) for field in p[:-1])
        z = [stack[i] * (x[i] + x[i + 1]) + stack[i + 1] * x[i] + hiding[i] for i in range(3)]
        opened = truncated_by_integers((z[0] + z[1]) % RING_64, p.bits)
        mask = truncated_by_integers((z[2] + 2**62 - 1) % RING_64, p.bits)
        upper = RING_64 - 2 ** (64 - p.bits)
        added, taken = parts[0] + parts[1] + mask, parts[2] + parts[3] + (mask & upper)
        chosen = added + opened - (taken % RING_64 & opened)
        return [result[0], chosen % RING_64, result[2], result[0]]

    e = [word - own for word, own in zip(product(forward, ints(w)), ints(y), strict=True)]
    expected = [
        (word - own) % RING_64 for word, own in zip(ints(w), product(backward, e), strict=True)
    ]
    assert ints(definition.descend_replicated(w, y, forward, backward)) == expected


@PARTIES
@shapes
@pytest.mark.parametrize("n_steps", [0, 1, 2, 7])
def test_kernel(kernel_device, n_steps, n_parties, rows, width, targets):
    rng = np.random.default_rng(n_steps + width)
    arguments = operands(rng, n_steps, n_parties, rows, width, targets)
    result = launcher.descend(kernel_device, *moved(kernel_device.xp, arguments))
    assert_same(result, definition.descend(*arguments))


@shapes
@pytest.mark.parametrize("n_steps", [0, 1, 2, 7])
def test_kernel_on_replicated_words(kernel_device, n_steps, rows, width, targets):
    rng = np.random.default_rng(n_steps + width)
    arguments = replicated_operands(rng, n_steps, rows, width, targets)
    result = launcher.descend_replicated(kernel_device, *moved(kernel_device.xp, arguments))
    assert_same(result, definition.descend_replicated(*arguments))


@pytest.mark.parametrize("width", [1024, 1025, 1500])
def test_kernel_of_more_weights_than_threads(kernel_device, width):
    arguments = operands(np.random.default_rng(3), 2, 2, 2, width, 1)
    result = launcher.descend(kernel_device, *moved(kernel_device.xp, arguments))
    assert_same(result, definition.descend(*arguments))
    arguments = replicated_operands(np.random.default_rng(3), 2, 2, width, 1)
    result = launcher.descend_replicated(kernel_device, *moved(kernel_device.xp, arguments))
    assert_same(result, definition.descend_replicated(*arguments))


def test_kernel_of_as_many_parties_as_a_warp_has_lanes(kernel_device):
    arguments = operands(np.random.default_rng(2), 2, 32, 5, 9, 2)
    result = launcher.descend(kernel_device, *moved(kernel_device.xp, arguments))
    assert_same(result, definition.descend(*arguments))


@pytest.mark.parametrize("kind", ["descend", "descend_replicated"])
def test_kernel_reads_strided_operands(kernel_device, kind):
    xp, rng = kernel_device.xp, np.random.default_rng(8)
    if kind == "descend":
        arguments = operands(rng, 3, 2, 5, 7, 2)
    else:
        arguments = replicated_operands(rng, 3, 5, 7, 2)
    w, y, *halves = moved(xp, arguments)

    def strided(words):
        wide = xp.zeros((*words.shape[:-1], 2 * words.shape[-1]), words.dtype)
        wide[..., ::2] = words
        return wide[..., ::2]

    halves = [type(half)(*map(strided, half[:-1]), half.bits) for half in halves]
    result = getattr(launcher, kind)(kernel_device, strided(w), strided(y), *halves)
    assert_same(result, getattr(definition, kind)(*arguments))


def test_what_fits():
    assert descent_fits(2, 4, 256, 1)
    assert not descent_fits(2, 0, 256, 1)
    assert not descent_fits(2, 4, 0, 1)
    assert not descent_fits(2, 4, 256, 0)
    assert descent_fits(2, 32, 2016, 1)  # 3 * 2048 words: all that a block has
    assert not descent_fits(2, 32, 2017, 1)
    assert not descent_fits(3, 32, 2016, 1)
    assert descent_fits(2, 1024, 64, 1)
    assert not descent_fits(2, 1024, 65, 1)  # too many multiplications
    assert descent_fits(32, 4, 9, 1)
    assert not descent_fits(33, 4, 9, 1)  # a lane for each


def test_device_refuses(kernel_device):
    arguments = operands(np.random.default_rng(1), 2, 2, 3, 4, 1)
    w, y, forward, backward = moved(kernel_device.xp, arguments)

    def refuses(error, match, *changed):
        with pytest.raises(error, match=f"descend: {match}"):
            launcher.descend(kernel_device, *changed)

    refuses(ArgumentValueError, "w must have shape", w[0], y, forward, backward)
    refuses(ArgumentValueError, "w must have shape", w, y[:1], forward, backward)
    refuses(ArgumentValueError, "w and y must fit one block", w[:1], y[:1], forward, backward)
    refuses(ArgumentValueError, "w and y must fit one block", w[:, :0], y, forward, backward)
    refuses(ArgumentTypeError, "w must have dtype", w.view(np.int64), y, forward, backward)
    changed = forward._replace(mask=forward.mask[:, :2])
    match = r"forward.mask must have shape \(2, 3, 4\), got \(2, 2, 4\)"
    refuses(ArgumentValueError, match, w, y, changed, backward)
    changed = backward._replace(c=backward.c[:1])
    refuses(ArgumentValueError, "backward.c must have shape", w, y, forward, changed)
    changed = backward._replace(low=backward.low.view(np.int64))
    refuses(ArgumentTypeError, "backward.low must have dtype", w, y, forward, changed)
    for bits in (0, 62):
        changed = forward._replace(bits=bits)
        match = rf"forward.bits must be in \(0, 62\), got {bits}"
        refuses(ArgumentValueError, match, w, y, changed, backward)


def test_device_refuses_replicated_words(kernel_device):
    arguments = replicated_operands(np.random.default_rng(1), 2, 3, 4, 1)
    w, y, forward, backward = moved(kernel_device.xp, arguments)

    def refuses(error, match, *changed):
        with pytest.raises(error, match=f"descend_replicated: {match}"):
            launcher.descend_replicated(kernel_device, *changed)

    refuses(ArgumentValueError, "w must have shape", w, y[:3], forward, backward)
    refuses(ArgumentValueError, "w and y must have 4 words", w[:3], y[:3], forward, backward)
    refuses(ArgumentValueError, "w and y must fit one block", w, y[:, :0], forward, backward)
    refuses(ArgumentTypeError, "y must have dtype", w, y.view(np.int64), forward, backward)
    changed = forward._replace(stack=forward.stack[:3])
    match = r"forward.stack must have shape \(4, 3, 4\), got \(3, 3, 4\)"
    refuses(ArgumentValueError, match, w, y, changed, backward)
    changed = backward._replace(parts=backward.parts[:1])
    refuses(ArgumentValueError, "backward.parts must have shape", w, y, forward, changed)
    for bits in (0, 62):
        changed = backward._replace(bits=bits)
        match = rf"backward.bits must be in \(0, 62\), got {bits}"
        refuses(ArgumentValueError, match, w, y, forward, changed)
