"""Steps of a descent taken together: Python's integers, single operations, kernels bit for bit."""

import numpy as np
import pytest

from he_gpu.backend import Products, descent_fits, get_backend
from he_gpu.backend.definition import descent as definition
from he_gpu.backend.definition import matmul, protocol
from he_gpu.backend.definition.words import RING_64
from he_gpu.backend.device import descent as launcher
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.backend.ring_words import assert_same, ints, some_words

SHAPES = [(4, 256, 1), (1, 1, 1), (3, 31, 2), (33, 5, 3), (9, 70, 9), (2, 300, 1)]
"""Rows, width and targets: less than a warp, more than a block, and neither's multiple."""
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


def one_by_one(w, y, forward, backward):
    """The same steps by the operations of the protocol."""

    def product(p, x, step):
        e = protocol.open_masked(x, p.b[step])
        z = matmul.matmul_pair(p.opened, x, p.mask, e, RING_64, add=p.c[step], total=True)
        return protocol.truncate_finish(z, p.low[step], p.top[step], p.bits, 1)

    for step in range(len(forward.c)):
        w = w - product(backward, product(forward, w, step) - y, step)
    return w


def moved(xp, arguments):
    """Operands on a device."""
    w, y, *halves = arguments
    halves = [Products(*map(xp.asarray, half[:-1]), half.bits) for half in halves]
    return xp.asarray(w), xp.asarray(y), *halves


@PARTIES
@shapes
def test_definition_is_the_single_operations(n_parties, rows, width, targets):
    arguments = operands(np.random.default_rng(rows), 5, n_parties, rows, width, targets)
    w = arguments[0].copy()
    expected = one_by_one(*arguments)
    assert_same(definition.descend(*arguments), expected)
    assert_same(get_backend("cpu").descend(*arguments), expected)
    assert_same(arguments[0], w)  # nobody's shares are overwritten


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


@PARTIES
@shapes
@pytest.mark.parametrize("n_steps", [0, 1, 2, 7])
def test_kernel(kernel_device, n_steps, n_parties, rows, width, targets):
    rng = np.random.default_rng(n_steps + width)
    arguments = operands(rng, n_steps, n_parties, rows, width, targets)
    result = launcher.descend(kernel_device, *moved(kernel_device.xp, arguments))
    assert_same(result, definition.descend(*arguments))


def test_kernel_reads_strided_operands(kernel_device):
    xp, arguments = kernel_device.xp, operands(np.random.default_rng(8), 3, 2, 5, 7, 2)
    w, y, *halves = moved(xp, arguments)

    def strided(words):
        wide = xp.zeros((*words.shape[:-1], 2 * words.shape[-1]), words.dtype)
        wide[..., ::2] = words
        return wide[..., ::2]

    halves = [Products(*map(strided, half[:-1]), half.bits) for half in halves]
    result = launcher.descend(kernel_device, strided(w), strided(y), *halves)
    assert_same(result, definition.descend(*arguments))


def test_what_fits():
    assert descent_fits(2, 4, 256, 1)
    assert not descent_fits(2, 0, 256, 1)
    assert not descent_fits(2, 4, 0, 1)
    assert not descent_fits(2, 4, 256, 0)
    assert descent_fits(2, 32, 2016, 1)  # 3 * 2048 words: all that a block has
    assert not descent_fits(2, 32, 2017, 1)
    assert not descent_fits(3, 32, 2016, 1)
    assert not descent_fits(2, 1024, 65, 1)  # too many multiplications


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
