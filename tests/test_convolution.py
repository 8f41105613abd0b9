"""Convolutions, their gradients and means over windows equal plain definitions, in every session.

Operands are multiples of an encoding's unit below 4, so encodings are exact, float64 sums of their
products too, and a product is off by less than the one unit of its truncation; with all fraction
bits kept it is exact.
"""

import itertools

import numpy as np
import pytest

import he_gpu as he
from he_gpu.ring.fixedpoint import FACTOR_BITS, word_bits
from tests.conftest import require_device
from tests.sessions import SESSIONS, cost_of, grid, open_session


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


@pytest.fixture
def some():
    with open_session("additive-64") as session:
        yield session


CASES = {
    # images, windows, arguments
    "plain": ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    "no batch axis": ((3, 6, 5), (4, 3, 3, 2), {}),
    "strided": ((2, 2, 8, 9), (3, 2, 3, 3), {"stride": (2, 3)}),
    "padded": ((1, 2, 4, 5), (3, 2, 3, 3), {"padding": (2, 1)}),
    "padded far": ((2, 2, 3, 3), (2, 2, 2, 2), {"padding": 3, "stride": 2}),
    "dilated": ((1, 2, 9, 8), (2, 2, 3, 3), {"dilation": (2, 3), "padding": 1}),
    "groups": ((2, 6, 5, 4), (3, 2, 2, 3), {"groups": 3, "padding": "valid"}),
    "depthwise": ((1, 4, 5, 5), (8, 1, 3, 3), {"groups": 4, "padding": "same"}),
    "same": ((1, 2, 5, 6), (2, 2, 4, 3), {"padding": "same", "dilation": (1, 2)}),
    "all": ((2, 4, 9, 8), (6, 2, 3, 2),
            {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}),
    "rows left over": ((1, 1, 8, 7), (2, 1, 2, 2), {"stride": 3}),
}  # fmt: skip
LINES = {
    "plain": ((2, 3, 9), (4, 3, 3), {}),
    "no batch axis": ((3, 9), (4, 3, 2), {"stride": 2}),
    "all": ((2, 4, 11), (4, 2, 3), {"stride": 2, "padding": (3,), "dilation": 2, "groups": 2}),
    "same": ((1, 2, 6), (2, 2, 4), {"padding": "same"}),
}


class Definition:
    """A convolution of one to two axes and its gradients, place by place of the window."""

    def __init__(self, x, weight, stride=1, padding=0, dilation=1, groups=1):
        n = len(weight) - 2
        self.n, self.x, self.weight, self.groups = n, x, weight, groups
        self.stride, self.dilation = (np.broadcast_to(v, n) for v in (stride, dilation))
        if padding == "same":
            total = self.dilation * (np.array(weight[2:]) - 1)
            self.low, self.high = total // 2, total - total // 2
        else:
            self.low = self.high = np.broadcast_to(0 if padding == "valid" else padding, n)
        reach = self.dilation * (np.array(weight[2:]) - 1) + 1
        room = np.array(x[-n:]) + self.low + self.high - reach
        self.sizes = tuple(int(size) for size in room // self.stride + 1)
        self.result = (*x[: -n - 1], weight[0], *self.sizes)

    def padded(self, x):
        return np.pad(x, [(0, 0)] * (x.ndim - self.n) + list(zip(self.low, self.high, strict=True)))

    def places(self):
        """Each place of the window, with the words of padded images that it meets."""
        for place in np.ndindex(*self.weight[2:]):
            first = np.array(place) * self.dilation
            last = first + (np.array(self.sizes) - 1) * self.stride + 1
            yield place, (..., *map(slice, first, last, self.stride))

    def grouped(self, x):
        """(..., C, *sizes) -> (..., groups, C / groups, positions)."""
        return x.reshape(*x.shape[: -self.n - 1], self.groups, -1, int(np.prod(x.shape[-self.n :])))

    def windows(self, weight, place):
        return weight[(..., *place)].reshape(self.groups, -1, self.weight[1])

    def forward(self, x, weight):
        total = np.zeros(self.result)
        for place, seen in self.places():
            product = self.windows(weight, place) @ self.grouped(self.padded(x)[seen])
            total += product.reshape(self.result)
        return total

    def for_input(self, weight, gradient):
        padded = self.padded(np.zeros(self.x))
        for place, seen in self.places():
            part = self.windows(weight, place).swapaxes(1, 2) @ self.grouped(gradient)
            padded[seen] += part.reshape(padded[seen].shape)
        inner = zip(self.low, self.x[-self.n :], strict=True)
        return padded[(..., *(slice(low, low + size) for low, size in inner))]

    def for_weight(self, x, gradient):
        total = np.zeros(self.weight)
        for place, seen in self.places():
            part = self.grouped(gradient) @ self.grouped(self.padded(x)[seen]).swapaxes(-1, -2)
            part = part.reshape(-1, self.weight[0], self.weight[1]).sum(axis=0)
            total[(..., *place)] = part
        return total


def functions(case, cases):
    """Names of a convolution and its gradients, with operands and what they should give."""
    x_shape, weight_shape, arguments = cases[case]
    definition = Definition(x_shape, weight_shape, **arguments)
    x, weight = grid(SCALE, x_shape, 1), grid(SCALE, weight_shape, 2)
    gradient = grid(SCALE, definition.result, 3)
    name = f"conv{len(weight_shape) - 2}d"
    yield (
        lambda a, b, **more: getattr(he, name)(a, b, **arguments, **more),
        (x, weight),
        definition.forward(x, weight),
    )
    yield (
        lambda a, b, **more: getattr(he, f"{name}_input")(x_shape, a, b, **arguments, **more),
        (weight, gradient),
        definition.for_input(weight, gradient),
    )
    yield (
        lambda a, b, **more: getattr(he, f"{name}_weight")(a, weight_shape, b, **arguments, **more),
        (x, gradient),
        definition.for_weight(x, gradient),
    )


class SCALE:
    """Stands for a session whose unit all rings hold."""

    frac_bits = 10


def near(tensor, expected):
    """Less than one unit from what is expected."""
    assert isinstance(tensor, he.SecretTensor)
    revealed = tensor.reveal()
    assert revealed.shape == tensor.shape == expected.shape
    error = np.abs(revealed - expected).max(initial=0.0)
    assert error < 2.0**-tensor.frac_bits


def same(tensor, expected):
    revealed = tensor.reveal()
    assert revealed.shape == tensor.shape == expected.shape
    np.testing.assert_array_equal(revealed, expected)


# Against the definition


def test_the_definition_is_adjoint():
    """<conv(x, w), g> = <x, for_input(w, g)> = <w, for_weight(x, g)>, exactly."""
    for cases in (CASES, LINES):
        for case in cases:
            (_, (x, weight), result), (_, (_, gradient), dx), (_, _, dw) = functions(case, cases)
            product = (result * gradient).sum()
            assert (x * dx).sum() == product
            assert (weight * dw).sum() == product


@pytest.mark.parametrize(
    ("cases", "case"),
    [(0, case) for case in CASES] + [(1, case) for case in LINES],
    ids=[*CASES, *(f"one axis, {case}" for case in LINES)],
)
def test_convolutions_and_gradients(session, cases, case):
    for function, (a, b), expected in functions(case, (CASES, LINES)[cases]):
        A, B = session.share(a), session.share(b)
        near(function(A, B), expected)
        both = function(A, B, frac_bits=2 * session.frac_bits)
        assert both.frac_bits == 2 * session.frac_bits
        same(both, expected)
        for left, right in ((A, b), (a, B)):
            near(function(left, right), expected)


def test_methods_are_the_functions(some):
    for case, cases in (("all", CASES), ("all", LINES)):
        x_shape, weight_shape, arguments = cases[case]
        X, W = some.share(grid(some, x_shape, 1)), some.share(grid(some, weight_shape, 2))
        name = f"conv{len(weight_shape) - 2}d"
        bits = {"frac_bits": 32}
        by_method = getattr(X, name)(W, **arguments, **bits)
        same(by_method, getattr(he, name)(X, W, **arguments, **bits).reveal())
    pooled = he.avg_pool2d(X, 1, padding=0)
    same(X.avg_pool2d(1), pooled.reveal())


@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
@pytest.mark.parametrize("modulus", [2**64, 2**32])
def test_512_channels_of_random_words_are_exact(protocol, modulus):
    """Words that no real number stands for: sums wrap, and every word is right."""
    rng = np.random.default_rng(4)
    dtype = np.uint64 if modulus == 2**64 else np.uint32
    # In the plain nothing may wrap: 4608 products of +-2^24 or +-2^8 stay below 2^(k - 2).
    top = {2**64: 2**24, 2**32: 2**8}[modulus] if protocol == "plain" else modulus // 2
    x, weight = (
        rng.integers(-top, top, shape).astype(dtype) for shape in ((1, 512, 2, 3), (2, 512, 3, 3))
    )
    padded, signed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), weight
    padded, signed = (a.view(f"i{a.itemsize}").astype(object) for a in (padded, signed))
    expected = np.zeros((1, 2, 2, 3), object)
    for p, q in np.ndindex(2, 3):
        seen = padded[:, :, p : p + 3, q : q + 3].reshape(1, -1)
        expected[:, :, p, q] = seen @ signed.reshape(2, -1).T
    with he.Session(protocol=protocol, modulus=modulus, frac_bits=0, seed=5) as session:
        X, W = (
            he.SecretTensor(session, session.scheme.share(words, 0), 0) for words in (x, weight)
        )
        product = he.conv2d(X, W, padding=1)
        words = session.scheme.open(product._stack)
    np.testing.assert_array_equal(words, (expected % modulus).astype(dtype))


def test_plain_sees_what_leaves_the_range():
    with he.Session(protocol="plain") as session:
        X = session.share(np.full((1, 40, 2, 2), 2.0**14))
        W = session.share(np.full((1, 40, 1, 1), 2.0**14))
        with pytest.raises(he.errors.RangeError, match=r"conv: values must stay below 2\*\*62"):
            he.conv2d(X, W)
        with pytest.raises(he.errors.RangeError, match=r"conv: values must stay below 2\*\*62"):
            he.conv2d(X, np.full((1, 40, 1, 1), 2.0**40))


def test_operands_that_are_views(session):
    """Transposed, sliced and broadcast tensors are images and windows like others."""
    x, w = grid(SCALE, (6, 5, 3, 4), 1), grid(SCALE, (2, 2, 3, 4), 2)
    X, W = session.share(x), session.share(w)
    a, A = x.transpose(3, 2, 0, 1), X.transpose(3, 2, 0, 1)
    b, B = w.transpose(3, 2, 0, 1)[1:, :, ::-1], W.transpose(3, 2, 0, 1)[1:, :, ::-1]
    definition = Definition(a.shape, b.shape, padding=1)
    gradient = grid(SCALE, definition.result, 3)
    G = session.share(gradient.swapaxes(0, 1)).transpose(1, 0, 2, 3)
    near(he.conv2d(A, B, padding=1), definition.forward(a, b))
    near(he.conv2d_input(a.shape, B, G, padding=1), definition.for_input(b, gradient))
    near(he.conv2d_weight(A, b.shape, G, padding=1), definition.for_weight(a, gradient))


def test_no_images(session):
    X, W = session.share(np.zeros((0, 2, 4, 4))), session.share(np.ones((3, 2, 3, 3)))
    same(he.conv2d(X, W), np.zeros((0, 3, 2, 2)))
    same(he.avg_pool2d(X, 2), np.zeros((0, 2, 2, 2)))
    G = session.share(np.zeros((0, 3, 2, 2)))
    same(he.conv2d_weight(X, (3, 2, 3, 3), G), np.zeros((3, 2, 3, 3)))


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_emulator_makes_the_same_shares(protocol):
    require_device("emulator")
    for case in ("all", "depthwise", "padded far"):
        results = []
        for device in ("cpu", "emulator"):
            with he.Session(protocol=protocol, device=device, seed=8) as session:
                stacks = []
                for function, (a, b), _ in functions(case, CASES):
                    A, B = session.share(a), session.share(b)
                    stacks += [function(A, B).shares, function(A, b).shares]
                    stacks.append(function(A.masked(), B.masked()).shares)
                stacks.append(he.avg_pool2d(session.share(a), 2, 1, 1).shares)
                results.append([session.backend.to_numpy(stack) for stack in stacks])
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)


# Means of windows


POOLS = [
    ((2, 3, 4, 6), 2, {}),
    ((1, 1, 7, 5), 3, {"stride": 2, "padding": 1}),
    ((2, 5, 8), (2, 3), {"stride": (3, 1), "padding": (1, 0)}),
    ((1, 2, 5, 5), 5, {}),
    ((4, 6), (4, 6), {"stride": 9}),
    ((3, 3), 2, {"padding": 1}),
    ((3, 4), 1, {"stride": 2}),
]


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize(("shape", "kernel", "arguments"), POOLS)
def test_avg_pool2d(session, shape, kernel, arguments, count_include_pad):
    x = grid(SCALE, shape, 1)
    (h, w), (ph, pw) = np.broadcast_to(kernel, 2), np.broadcast_to(arguments.get("padding", 0), 2)
    sh, sw = np.broadcast_to(arguments.get("stride", kernel), 2)

    def sums(values):
        around = [(0, 0)] * (values.ndim - 2) + [(ph, ph), (pw, pw)]
        seen = np.lib.stride_tricks.sliding_window_view(np.pad(values, around), (h, w), (-2, -1))
        return seen[..., ::sh, ::sw, :, :].sum(axis=(-2, -1))

    counts = np.full_like(sums(np.ones(shape)), h * w)
    if not count_include_pad:
        counts = sums(np.ones(shape))
    pooled = he.avg_pool2d(
        session.share(x), kernel, **arguments, count_include_pad=count_include_pad
    )
    expected = sums(x) / counts
    assert pooled.shape == expected.shape
    # One unit of truncation; the largest factor has so many bits, and the others its exponent.
    relative = 2.0 ** -FACTOR_BITS[word_bits(session.modulus)]
    most = 2.0**-pooled.frac_bits + np.abs(sums(x)).max() / counts.min() * relative
    assert np.abs(pooled.reveal() - expected).max() <= most


def test_pooling_costs_one_truncation(some):
    X = some.share(grid(some, (1, 2, 6, 6)))
    assert cost_of(some, lambda: X.avg_pool2d(3)) == he.Cost(1, 8 * 8, 3 * 8 * 8)
    assert cost_of(some, lambda: X.avg_pool2d(1)) == he.Cost(0, 0, 0)


# Rounds and bytes


@pytest.mark.parametrize("n_parties", [2, 3])
@pytest.mark.parametrize("modulus", [2**64, 2**32])
def test_cost_of_additive_convolutions(n_parties, modulus):
    word = word_bits(modulus) // 8
    frac_bits = {2**64: 16, 2**32: 10}[modulus]
    with he.Session(parties=n_parties, modulus=modulus, frac_bits=frac_bits, seed=9) as session:
        for function, (a, b), expected in functions("all", CASES):
            A, B = session.share(a), session.share(b)
            each, n = word * (n_parties - 1), expected.size
            assert cost_of(session, lambda: function(A, B)) == he.Cost(  # noqa: B023
                2, each * (a.size + b.size + n), 3 * word * n
            )
            everything = {"frac_bits": 2 * frac_bits}
            assert cost_of(session, lambda: function(A, B, **everything)) == he.Cost(  # noqa: B023
                1, each * (a.size + b.size), word * n
            )
            assert cost_of(session, A.masked) == he.Cost(1, each * a.size, 0)
            M, N = A.masked(), B.masked()
            for left, right, rounds, opened in ((M, B, 2, b.size), (A, N, 2, a.size), (M, N, 1, 0)):
                run = lambda: near(function(left, right), expected)  # noqa: B023, E731
                reveal = he.Cost(1, each * n, 0)
                assert cost_of(session, run) - reveal == he.Cost(
                    rounds, each * (opened + n), 3 * word * n
                )
            truncated = he.Cost(1, each * n, 3 * word * n)
            assert cost_of(session, lambda: function(A, b)) == truncated  # noqa: B023
            integers = np.rint(b)
            assert cost_of(session, lambda: function(A, integers)) == he.Cost(0, 0, 0)  # noqa: B023


@pytest.mark.parametrize("modulus", [2**64, 2**32])
def test_cost_of_replicated_convolutions(modulus):
    word = word_bits(modulus) // 8
    frac_bits = {2**64: 16, 2**32: 10}[modulus]
    with he.Session("replicated", modulus=modulus, frac_bits=frac_bits, seed=9) as session:
        for function, (a, b), expected in functions("all", CASES):
            A, B = session.share(a), session.share(b)
            n = expected.size
            cost = cost_of(session, lambda: function(A, B))  # noqa: B023
            assert cost == he.Cost(2, 2 * word * n, 0)
            everything = {"frac_bits": 2 * frac_bits}
            cost = cost_of(session, lambda: function(A, B, **everything))  # noqa: B023
            assert cost == he.Cost(1, word * n, 0)
            cost = cost_of(session, lambda: function(a, B))  # noqa: B023
            assert cost == he.Cost(2, 2 * word * n, 0)


def test_repeated_steps_find_their_correlations(some):
    """Correlations of many equal steps are made together, masks kept or not."""
    x_shape, weight_shape, arguments = CASES["all"]
    x, weight = grid(SCALE, x_shape, 1), grid(SCALE, weight_shape, 2)
    expected = Definition(x_shape, weight_shape, **arguments).forward(x, weight)
    some.scheme.expect(3)
    X, W = some.share(x), some.share(weight)
    for left in (X, X.masked()):
        for _ in range(4):
            near(he.conv2d(left, W, **arguments), expected)
    some.scheme.expect(0)


# Refusals


REFUSED = [
    ((2, 3), (4, 3, 3, 3), {}, ValueError, r"conv2d: x must have shape \(B, C, H, W\) or"),
    ((1, 3, 5, 5), (4, 3, 3), {}, ValueError, r"weight must have shape \(O, C / groups, h, w\)"),
    ((1, 3, 5, 5), (4, 2, 3, 3), {}, ValueError, r"weight must have 3 channels, those of x ov"),
    ((1, 4, 5, 5), (4, 4, 3, 3), {"groups": 2}, ValueError, r"weight must have 2 channels"),
    ((1, 4, 5, 5), (4, 2, 3, 3), {"groups": 3}, ValueError, r"groups must divide the 4 channels"),
    ((1, 4, 5, 5), (5, 2, 3, 3), {"groups": 2}, ValueError, r"groups must divide .* and the 5 of"),
    ((1, 4, 5, 5), (4, 4, 3, 3), {"groups": 0}, ValueError, r"groups must divide .*, got 0"),
    ((1, 4, 5, 5), (4, 4, 3, 3), {"groups": 1.0}, TypeError, r"groups must be an integer, got"),
    ((1, 3, 5, 5), (4, 3, 6, 3), {}, ValueError, r"weight's window must fit into x, dil"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"dilation": 3}, ValueError, r"weight's window must fit into x"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"stride": 0}, ValueError, r"stride must be at least 1, got 0"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"stride": (1, 2, 3)}, ValueError, r"stride must be one number"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"stride": 1.5}, TypeError, r"stride must be an integer, got"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"dilation": 0}, ValueError, r"dilation must be at least 1, got"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"padding": -1}, ValueError, r"padding must be at least 0, got"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"padding": "full"}, ValueError, r"padding must be .* got 'full'"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"padding": "same", "stride": 2}, ValueError, r"'same' needs s"),
    ((1, 0, 5, 5), (4, 0, 3, 3), {}, ValueError, r"x must have no empty axis but the batch"),
    ((1, 3, 0, 5), (4, 3, 3, 3), {"padding": 3}, ValueError, r"x must have no empty axis but the"),
    ((1, 3, 5, 5), (0, 3, 3, 3), {}, ValueError, r"weight must have no empty axis but the batch"),
    ((1, 3, 5, 5), (4, 3, 3, 0), {}, ValueError, r"weight must have no empty axis"),
    ((1, 3, 5, 5), (4, 3, 3, 3), {"frac_bits": 33}, ValueError, r"frac_bits must be in \[0, 32"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "weight", "arguments", "error", "message"), REFUSED)
def test_refused_arguments(some, x, weight, arguments, error, message):
    X, W = some.share(np.zeros(x)), some.share(np.zeros(weight))
    for left, right in itertools.product((X, np.zeros(x)), (W, np.zeros(weight))):
        if isinstance(left, he.SecretTensor) and isinstance(right, he.SecretTensor):
            with pytest.raises(error, match=message):
                he.conv2d(left, right, **arguments)
        elif isinstance(left, he.SecretTensor) and "frac_bits" not in arguments:
            with pytest.raises(error, match=message):
                left.conv2d(right, **arguments)


def test_other_refusals(some):
    X, W = some.share(np.zeros((1, 3, 5, 5))), some.share(np.zeros((4, 3, 3, 3)))
    with pytest.raises(TypeError, match="conv2d: x or weight must be a SecretTensor, got ndarray"):
        he.conv2d(np.zeros((1, 3, 5, 5)), np.zeros((4, 3, 3, 3)))
    with pytest.raises(ValueError, match="conv2d: weight must be finite, got nan"):
        he.conv2d(X, np.full((4, 3, 3, 3), np.nan))
    with pytest.raises(ValueError, match=r"conv1d: x must have shape \(B, C, L\) or \(C, L\), got"):
        he.conv1d(X, W)
    with pytest.raises(ValueError, match="conv2d_input: grad_output must have the convolution's"):
        he.conv2d_input((1, 3, 5, 5), W, np.zeros((1, 4, 3, 2)))
    with pytest.raises(ValueError, match=r"conv2d_weight: .* \(1, 4, 3, 3\), got \(4, 3, 3\)"):
        he.conv2d_weight(X, (4, 3, 3, 3), np.zeros((4, 3, 3)))
    with pytest.raises(
        TypeError, match="conv2d_input: input_size must be a tuple of integers, got"
    ):
        he.conv2d_input(5, W, np.zeros((1, 4, 3, 3)))
    with pytest.raises(TypeError, match="conv1d_weight: weight_size must be a tuple of integers"):
        he.conv1d_weight(X[0, 0], (4, 3.0, 3), np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"avg_pool2d: kernel_size must be in \[1, 5\]"):
        X.avg_pool2d(6)
    with pytest.raises(ValueError, match="avg_pool2d: padding must be at most half of kernel_size"):
        X.avg_pool2d(2, padding=2)
    with pytest.raises(ValueError, match="avg_pool2d: x must have at least 2 axes"):
        X[0, 0, 0].avg_pool2d(1)
    with pytest.raises(TypeError, match="avg_pool2d: a SecretTensor expected, got ndarray"):
        he.avg_pool2d(np.zeros((2, 2)), 2)
    with open_session("additive-64") as other:
        V = other.share(np.zeros((4, 3, 3, 3)))
        with pytest.raises(ValueError, match="conv2d: the tensors belong to two different"):
            he.conv2d(X, V)
    with pytest.raises(RuntimeError, match="conv2d"):
        he.conv2d(np.zeros((1, 3, 5, 5)), V)


# Against PyTorch, where it is installed


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")


pads_a_copy = pytest.mark.filterwarnings("ignore:Using padding='same'")


@pads_a_copy
@pytest.mark.parametrize("case", CASES)
def test_pytorch_computes_the_same(torch, some, case):
    x_shape, weight_shape, arguments = CASES[case]
    theirs = [
        lambda x, weight: torch.nn.functional.conv2d(x, weight, **arguments),
        lambda weight, gradient: torch.nn.grad.conv2d_input(x_shape, weight, gradient, **arguments),
        lambda x, gradient: torch.nn.grad.conv2d_weight(x, weight_shape, gradient, **arguments),
    ]
    if isinstance(arguments.get("padding"), str) or len(x_shape) == 3:
        theirs = theirs[:1]  # the gradients of PyTorch take neither
    for (ours, (a, b), expected), their in zip(functions(case, CASES), theirs, strict=False):
        result = their(torch.from_numpy(a), torch.from_numpy(b)).numpy()
        np.testing.assert_array_equal(result, expected)
        near(ours(some.share(a), some.share(b)), result)


@pads_a_copy
@pytest.mark.parametrize("case", LINES)
def test_pytorch_computes_the_same_over_one_axis(torch, some, case):
    x_shape, weight_shape, arguments = LINES[case]
    (_, (x, weight), result), (_, (_, gradient), dx), (_, _, dw) = functions(case, LINES)
    x_leaf, weight_leaf = (torch.from_numpy(a).requires_grad_() for a in (x, weight))
    theirs = torch.nn.functional.conv1d(x_leaf, weight_leaf, **arguments)
    theirs.backward(torch.from_numpy(gradient))
    X, W, G = some.share(x), some.share(weight), some.share(gradient)
    np.testing.assert_array_equal(theirs.detach().numpy(), result)
    np.testing.assert_array_equal(x_leaf.grad.numpy(), dx)
    np.testing.assert_array_equal(weight_leaf.grad.numpy(), dw)
    near(he.conv1d(X, W, **arguments), theirs.detach().numpy())
    near(he.conv1d_input(x_shape, W, G, **arguments), x_leaf.grad.numpy())
    near(he.conv1d_weight(X, weight_shape, G, **arguments), weight_leaf.grad.numpy())


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize(("shape", "kernel", "arguments"), [p for p in POOLS if len(p[0]) > 2])
def test_pytorch_pools_the_same(torch, some, shape, kernel, arguments, count_include_pad):
    x = grid(SCALE, shape, 1)
    arguments = {**arguments, "count_include_pad": count_include_pad}
    theirs = torch.nn.functional.avg_pool2d(torch.from_numpy(x), kernel, **arguments).numpy()
    pooled = he.avg_pool2d(some.share(x), kernel, **arguments)
    assert pooled.shape == theirs.shape
    # One unit, and 2^-24 of sums below 4 x 25 over at least one element.
    assert np.abs(pooled.reveal() - theirs).max() <= 2.0**-16 + 100 * 2.0**-24
