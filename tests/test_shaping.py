"""Shapes of secret tensors are NumPy's, exactly and free of cost, under every protocol and ring."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import he_gpu as he
from tests.sessions import SESSIONS, cost_of, end, exact, grid, of_integers, open_session, total


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


@pytest.fixture
def X():  # noqa: N802 - as in the contract
    with open_session("additive-3-64") as session:
        yield session.share(np.arange(6.0).reshape(2, 3))


CASES = {  # one shape each, and the same arguments for NumPy
    "broadcast_to": [
        ((2, 3), ((4, 2, 3),), {}), ((2, 1), ((2, 3),), {}), ((), (3,), {}), ((1,), ((0,),), {}),
        ((3,), ((2, 0, 3),), {}), ((), ((),), {}),
    ],
    "expand_dims": [
        ((2, 3), (0,), {}), ((2, 3), (-1,), {}), ((2, 3), ((0, 2),), {}), ((), (0,), {}),
        ((2, 3), ((-1, 1),), {}), ((0, 3), (1,), {}), ((2, 3), ((),), {}),
    ],
    "squeeze": [
        ((1, 2, 1), (), {}), ((1, 2, 1), (0,), {}), ((1, 2, 1), ((0, -1),), {}), ((2,), (), {}),
        ((1,), (), {}), ((1, 0), (), {}), ((1, 2), ((),), {}),
    ],
    "swapaxes": [
        ((2, 3, 4), (0, 2), {}), ((2, 3), (-1, 0), {}), ((2, 3), (1, 1), {}), ((0, 3), (0, 1), {}),
    ],
    "moveaxis": [
        ((2, 3, 4), (0, -1), {}), ((2, 3, 4), ([0, 1], [-1, -2]), {}), ((2, 3), (1, 0), {}),
        ((2, 3, 4), ((2, 0), (0, 1)), {}), ((), ((), ()), {}),
    ],
    "ravel": [((2, 3), (), {}), ((), (), {}), ((0, 3), (), {})],
    "flip": [
        ((2, 3), (), {}), ((2, 3), (0,), {}), ((2, 3), ((0, -1),), {}), ((), (), {}),
        ((0, 3), (1,), {}), ((2, 3), ((),), {}),
    ],
    "roll": [
        ((2, 3), (1,), {}), ((2, 3), (-7, 1), {}), ((2, 3), ((1, 2), (0, 1)), {}),
        ((2, 3), (1, (0, 1)), {}), ((4,), ((1, 2), 0), {}), ((4,), (2, (0, 0)), {}),
        ((2, 3), (0,), {}), ((0, 3), (1, 0), {}), ((), (5,), {}), ((2, 3), (6, 0), {}),
        ((3,), ((), 0), {}),
    ],
    "take": [
        ((2, 3), ([0, 5, -1],), {}), ((2, 3), ([2, 0], 1), {}), ((2, 3), (1, 0), {}),
        ((2, 3), ([[0, -2], [1, 1]], 0), {}), ((2, 3), ([], 1), {}), ((0, 3), ([], 0), {}),
        ((3, 0), ([2, 2], 0), {}), ((2, 3), (np.array([1], np.uint8),), {"axis": -1}),
    ],
    "repeat": [
        ((2, 3), (2,), {}), ((2, 3), ([1, 0, 2], 1), {}), ((2, 3), (0, 0), {}), ((), (3,), {}),
        ((2, 3), ([2], 0), {}), ((0, 3), (2, 0), {}), ((0, 3), ([], 0), {}),
    ],
    "tile": [
        ((2, 3), (2,), {}), ((2, 3), ((2, 1),), {}), ((2, 3), ((2, 1, 2),), {}), ((), (3,), {}),
        ((2, 3), ((0, 1),), {}), ((2, 3), ((),), {}), ((), ((2, 2),), {}),
    ],
    "pad": [
        ((2, 3), (1,), {}), ((2, 3), ((1, 2),), {}), ((2, 3), (((1, 0), (0, 2)),), {}),
        ((2, 3), ([[1], [2]],), {}), ((2, 3), (2,), {"constant_values": 0.5}),
        ((2, 3), (1,), {"constant_values": ((1, 2), (-3, 0.25))}), ((2, 3), (0,), {}),
        ((2, 3), (1,), {"constant_values": (1, 2)}), ((), (1,), {}), ((0,), (2,), {}),
        ((0, 3), (1,), {"constant_values": 7}),
        *((shape, (width,), {"mode": mode})
          for mode in ("edge", "reflect", "symmetric", "wrap")
          for shape, width in (((2, 3), 1), ((2, 3), ((5, 0), (1, 8))), ((1, 4), 3), ((), 1),
                               ((0, 3), ((0, 0), (1, 1))))),
    ],
    "diagonal": [
        ((3, 3), (), {}), ((2, 3), (1,), {}), ((2, 3), (-1,), {}), ((2, 3), (9,), {}),
        ((2, 3, 4), (0, 1, 2), {}), ((2, 3, 4), (1, -1, 0), {}), ((2, 3), (), {"offset": -2}),
        ((0, 3), (), {}),
    ],
    "tril": [((3, 4), (), {}), ((3, 4), (1,), {}), ((3, 4), (-9,), {}), ((2, 3, 3), (-1,), {}),
             ((4, 2), (), {"k": 9}), ((0, 2), (), {})],
    "triu": [((3, 4), (), {}), ((3, 4), (1,), {}), ((3, 4), (-9,), {}), ((2, 3, 3), (-1,), {}),
             ((4, 2), (), {"k": 9}), ((2, 0), (), {})],
    "cumsum": [((2, 3), (), {}), ((2, 3), (0,), {}), ((2, 3), (-1,), {}), ((), (), {}),
               ((0, 3), (0,), {}), ((0, 3), (), {})],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_functions_and_methods_equal_numpys(session, name):
    for shape, arguments, named in CASES[name]:
        x = grid(session, shape)
        tensor = session.share(x)
        expected = getattr(np, name)(x, *arguments, **named)
        exact(getattr(he, name)(tensor, *arguments, **named), expected)
        exact(getattr(tensor, name)(*arguments, **named), expected)


def test_results_are_operands_like_any_other(session):
    """Views in every direction pass through products and comparisons."""
    x = grid(session, (2, 3), step=2 ** (session.frac_bits - 2))
    X = session.share(x)
    for view, expected in (
        (X.flip(), np.flip(x)),
        (X.broadcast_to((2, 2, 3)), np.broadcast_to(x, (2, 2, 3))),
        (X.diagonal(), x.diagonal()),
        (X.swapaxes(0, 1).flip(0).tile(2), np.tile(x.T[::-1], 2)),
        (X.broadcast_to((2, 2, 3)).mT, np.broadcast_to(x.T, (2, 3, 2))),
    ):
        product = view._product("mul", view, 2 * session.frac_bits)
        exact(product, np.square(expected), 2 * session.frac_bits)
        exact(view.relu(), np.maximum(expected, 0))
        exact(view > 0, expected > 0, 0)
        exact(view + 0.25, expected + 0.25)
        exact(-view, -expected)
        np.testing.assert_allclose(
            (view * 0.5).reveal(), expected / 2, rtol=0, atol=2.0**-session.frac_bits
        )


def test_joining(session):
    x, y, z = grid(session, (2, 3)), grid(session, (4, 3), 1), grid(session, (2, 3), 2)
    X, Y, Z = (session.share(value) for value in (x, y, z))
    exact(he.concatenate([X, Y]), np.concatenate([x, y]))
    exact(he.concatenate((X, Z), axis=1), np.concatenate([x, z], axis=1))
    exact(he.concatenate((X, z), axis=-1), np.concatenate([x, z], axis=1))
    exact(he.concatenate((x, Y, z, X)), np.concatenate([x, y, z, x]))
    exact(he.concatenate([X, Y], axis=None), np.concatenate([x, y], axis=None))
    exact(he.concatenate([X, 1.5], axis=None), np.concatenate([x, 1.5], axis=None))
    exact(he.concatenate([X[:0], Y]), y)
    exact(he.concatenate([Y]), y)
    exact(he.concatenate(X), x.ravel())
    exact(he.concatenate(part for part in (X, Z)), np.concatenate([x, z]))
    for axis in (0, 1, 2, -1, -3):
        exact(he.stack([X, z, Z], axis=axis), np.stack([x, z, z], axis=axis))
    exact(he.stack(X), x)
    exact(he.stack([1.0, X[0, 0]]), np.stack([1.0, x[0, 0]]))
    exact(he.stack([X[:0], x[:0]]), np.stack([x[:0], x[:0]]))


def test_joining_aligns_fraction_bits(session):
    fine = session.frac_bits + 2
    x = grid(session, (3,))
    X, bits = session.share(x), session.share(x) > 0
    exact(he.concatenate([X, bits]), np.concatenate([x, x > 0]))
    exact(he.concatenate([bits, X.with_frac_bits(fine), x]),
          np.concatenate([x > 0, x, x]), fine)  # fmt: skip
    exact(he.concatenate([bits, [2.0]]), np.append(x > 0, 2), 0)
    exact(he.concatenate([bits, [0.5]]), np.append(x > 0, 0.5))
    exact(he.stack([bits, x]), np.stack([x > 0, x]))
    exact(he.pad(bits, 1, constant_values=0.5),
          np.pad((x > 0) * 1.0, 1, constant_values=0.5))  # fmt: skip
    exact(he.pad(bits, 1, constant_values=3), np.pad((x > 0) * 1.0, 1, constant_values=3), 0)


def test_splitting(session):
    x = grid(session, (6, 4))
    X = session.share(x)
    for arguments in ((3,), (2, 1), ([1, 4],), ([2, 2, 9], 1), ([-1], -1), ((),), (np.array([3]),)):
        parts, expected = he.split(X, *arguments), np.split(x, *arguments)
        assert len(parts) == len(expected)
        for part, values in zip(parts, expected, strict=True):
            exact(part, values)
    exact(X.split(2)[1], x[3:])


def test_flatten(session):
    x = grid(session, (2, 3))
    exact(session.share(x).T.flatten(), x.T.ravel())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_padding_by_any_widths(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    widths = [data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9))) for _ in shape]
    mode = data.draw(st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap"]))
    x = np.arange(np.prod(shape), dtype=float).reshape(shape)
    with open_session("additive-64") as s:
        exact(he.pad(s.share(x), widths, mode), np.pad(x, widths, mode))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_moving_any_axes(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)))
    axes = st.lists(st.integers(-len(shape), len(shape) - 1), unique_by=lambda at: at % len(shape))
    source = data.draw(axes)
    destination = data.draw(axes.filter(lambda to: len(to) == len(source)))
    x = np.arange(np.prod(shape), dtype=float).reshape(shape)
    shifts = tuple(data.draw(st.integers(-(2**70), 2**70)) for _ in source)
    small = tuple(shift % 60 for shift in shifts)  # a multiple of every length
    with open_session("plain-64") as s:
        X = s.share(x)
        exact(he.moveaxis(X, source, destination), np.moveaxis(x, source, destination))
        exact(he.flip(X, tuple(source)), np.flip(x, tuple(source)))
        if source:
            exact(he.roll(X, shifts, tuple(source)), np.roll(x, small, tuple(source)))


# Ranges


def test_sums_along_at_the_ends_of_the_range(session):
    most = end(session)
    for values in ([most, -most, -most, most], [most - 1, 1, -1], [-most, most]):
        exact(he.cumsum(of_integers(session, values, 0)), np.cumsum(values), 0)


@pytest.mark.parametrize("name", ["plain-64", "plain-32"])
def test_a_partial_sum_out_of_range(name):
    with open_session(name) as s:
        X = of_integers(s, [end(s), end(s), -end(s), -end(s)])
        with pytest.raises(he.errors.RangeError, match=r"^cumsum: values must stay below 2\*\*"):
            X.cumsum()
    with open_session(name.replace("plain", "additive")) as s:  # where no party can see it
        X = of_integers(s, [end(s), end(s), -end(s), -end(s)], 0)
        exact(X.cumsum(), [end(s), 2 * end(s), end(s), 0], 0)  # 2 end(s) still fits the word


# Costs


@pytest.mark.parametrize("name", ["additive-64", "additive-3-64", "replicated-64"])
def test_nothing_is_sent(name):
    with open_session(name) as s:
        x = s.share(np.ones((3, 4)))
        calls = [
            lambda: he.concatenate([x, x, np.ones((1, 4))]),
            lambda: he.stack([x, np.ones((3, 4))]),
            lambda: x.split(3),
            lambda: x.flatten(),
        ]
        for function in CASES:
            shape, arguments, named = CASES[function][0]
            operand = s.share(np.ones(shape))
            calls.append(
                lambda f=function, o=operand, a=arguments, n=named: getattr(he, f)(o, *a, **n)
            )
        for call in calls:
            assert cost_of(s, call) == total()


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: X.broadcast_to((2, 4)), r"^broadcast_to: shape .* \(2, 3\) .*, got \(2, 4\)"),
        (lambda X: X.broadcast_to(3), r"^broadcast_to: shape .* got \(3,\)"),
        (lambda X: X.broadcast_to((1, 3)), r"^broadcast_to: shape .* got \(1, 3\)"),
        (lambda X: X.broadcast_to((-1, 3)), r"^broadcast_to: shape .* got \(-1, 3\)"),
        (lambda X: X.expand_dims(3), r"^expand_dims: axis must be in \[-3, 3\), got 3"),
        (lambda X: X.expand_dims((0, -4)), "^expand_dims: axes must differ"),
        (lambda X: X.squeeze(0), "^squeeze: axis 0 must have length 1, got 2"),
        (lambda X: X.squeeze(2), r"^squeeze: axis must be in \[-2, 2\), got 2"),
        (lambda X: X.swapaxes(0, 2), r"^swapaxes: axis must be in \[-2, 2\), got 2"),
        (lambda X: X.moveaxis((0, 1), 0), "^moveaxis: source .* as many axes, got 2 and 1"),
        (lambda X: X.moveaxis((0, 0), (0, 1)), "^moveaxis: axes must differ"),
        (lambda X: X.flip(5), r"^flip: axis must be in \[-2, 2\), got 5"),
        (lambda X: X.roll(1, 2), r"^roll: axis must be in \[-2, 2\), got 2"),
        (lambda X: X.roll((1, 2, 3), (0, 1)), "^roll: shift and axis .* got 3 and 2"),
        (lambda X: X.take([0], 2), r"^take: axis must be in \[-2, 2\), got 2"),
        (lambda X: X.take([0, 3], 1), r"^take: indices must be in \[-3, 3\) along axis 1, got 3"),
        (lambda X: X.take(-7), r"^take: indices must be in \[-6, 6\) along axis 0, got -7"),
        (lambda X: X.take(np.uint64(2**63)), r"^take: indices must be below 2\*\*63"),
        (lambda X: X.take([[0], [0, 1]]), "^take: indices must be an array"),
        (lambda X: X[:0].take([0], 0), r"^take: indices must be in \[0, 0\) along axis 0, got 0"),
        (lambda X: X.repeat([1, 2], 1), r"^repeat: repeats must be one number or 3, got .*\(2,\)"),
        (lambda X: X.repeat(-1), "^repeat: repeats must be at least 0, got -1"),
        (lambda X: X.tile((1, -2)), "^tile: reps must be at least 0, got -2"),
        (lambda X: X.pad(-1), "^pad: pad_width must be at least 0, got -1"),
        (lambda X: X.pad((1, 2, 3)), r"^pad: pad_width must be one number, .* got shape \(3,\)"),
        (lambda X: X.pad(1, "mean"), "^pad: mode must be one of constant, edge, .* got 'mean'"),
        (lambda X: X.pad(1, constant_values=[1, 2, 3]), "^pad: constant_values must be one"),
        (lambda X: X.pad(1, constant_values=np.nan), "^pad: constant_values must be finite"),
        (lambda X: X[:0].pad(1, "edge"), "^pad: mode edge needs elements to copy, got 0 along"),
        (lambda X: X.split(4), "^split: indices_or_sections must .* divide 2, got 4"),
        (lambda X: X.split(0), "^split: indices_or_sections must be at least 1 .* got 0"),
        (lambda X: X.split(1, 2), r"^split: axis must be in \[-2, 2\), got 2"),
        (lambda X: X[0].diagonal(), r"^diagonal: x must have at least 2 axes, got shape \(3,\)"),
        (lambda X: X.diagonal(0, 0, -2), "^diagonal: axes must differ"),
        (lambda X: X[0].tril(), "^tril: x must have at least 2 axes"),
        (lambda X: X[0].triu(), "^triu: x must have at least 2 axes"),
        (lambda X: X.cumsum(2), r"^cumsum: axis must be in \[-2, 2\), got 2"),
        (lambda X: he.concatenate([]), "^concatenate: at least one tensor expected, got none"),
        (lambda X: he.stack(()), "^stack: at least one tensor expected, got none"),
        (lambda X: he.concatenate([X, X.T]), r"^concatenate: .* all axes but 0, .*\(2, 3\) and"),
        (lambda X: he.concatenate([X, X[0]]), r"^concatenate: .* equally many axes"),
        (lambda X: he.concatenate([X[0, 0], 1]), "^concatenate: .* at least one axis, got a 0-d"),
        (lambda X: he.concatenate([X, X], 2), r"^concatenate: axis must be in \[-2, 2\), got 2"),
        (lambda X: he.concatenate([X, [[1, 2, np.inf]]]), r"^concatenate: tensors\[1\] must be"),
        (lambda X: he.concatenate([X, [[2.0**46] * 3]]), r"^concatenate: operand must satisfy"),
        (lambda X: he.stack([X, X.T]), r"^stack: tensors must have one shape, got \(2, 3\) and"),
        (lambda X: he.stack([X, X], 3), r"^stack: axis must be in \[-3, 3\), got 3"),
    ],
)  # fmt: skip
def test_values_that_are_refused(X, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(X)
    assert isinstance(caught.value, he.errors.HeGpuError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: X.broadcast_to(2.0), "^broadcast_to: shape must be an integer, got float"),
        (lambda X: X.broadcast_to(X), "^broadcast_to: shape must be public"),
        (lambda X: X.expand_dims("a"), "^expand_dims: axis must be an integer, got str"),
        (lambda X: X.squeeze(True), "^squeeze: axis must be an integer, got bool"),
        (lambda X: X.swapaxes(0, (1,)), "^swapaxes: axis must be an integer, got tuple"),
        (lambda X: X.roll(1.5), "^roll: shift must be an integer, got float"),
        (lambda X: X.roll(1, X), "^roll: axis must be public"),
        (lambda X: X.take([0.5]), "^take: indices must hold integers, got dtype float64"),
        (lambda X: X.take([True]), "^take: indices must hold integers, got dtype bool"),
        (lambda X: X.take(X), r"^take: indices must be public, got a secret; reveal\(\) it first"),
        (lambda X: X.take([0], (0,)), "^take: axis must be an integer, got tuple"),
        (lambda X: X.repeat(1.0), "^repeat: repeats must hold integers"),
        (lambda X: X.repeat(X), "^repeat: repeats must be public"),
        (lambda X: X.tile("2"), "^tile: reps must be an integer, got str"),
        (lambda X: X.pad(0.5), "^pad: pad_width must hold integers"),
        (lambda X: X.pad(X), "^pad: pad_width must be public"),
        (lambda X: X.pad(1, constant_values="0"), "^pad: constant_values must hold real numbers"),
        (lambda X: X.split(1.5), "^split: indices_or_sections must be an integer, got float"),
        (lambda X: X.split(True), "^split: indices_or_sections must be an integer, got bool"),
        (lambda X: X.diagonal(0.0), "^diagonal: offset must be an integer, got float"),
        (lambda X: X.tril(None), "^tril: k must be an integer, got NoneType"),
        (lambda X: X.cumsum((0, 1)), "^cumsum: axis must be an integer, got tuple"),
        (lambda X: he.concatenate(3), "^concatenate: tensors must be a sequence, got int"),
        (lambda X: he.stack(None), "^stack: tensors must be a sequence, got NoneType"),
        (lambda X: he.stack([X, X], (0,)), "^stack: axis must be an integer, got tuple"),
        (lambda X: he.stack([X, "a"]), r"^stack: tensors\[1\] must hold real numbers"),
        (lambda X: he.concatenate([np.ones(3), [1]]), "^concatenate: a SecretTensor expected"),
    ],
)
def test_types_that_are_refused(X, call, message):
    with pytest.raises(TypeError, match=message) as caught:
        call(X)
    assert isinstance(caught.value, he.errors.HeGpuError)


@pytest.mark.parametrize("name", CASES)
def test_plain_arrays_are_numpys(name):
    _, arguments, named = CASES[name][0]
    with pytest.raises(he.errors.ArgumentTypeError, match=f"^{name}: a SecretTensor expected"):
        getattr(he, name)(np.ones((2, 3)), *arguments, **named)


@pytest.mark.parametrize("name", CASES)
def test_a_closed_session(name):
    session = he.Session(device="cpu", seed=1)
    shape, arguments, named = CASES[name][0]
    tensor = session.share(np.ones(shape))
    session.close()
    with pytest.raises(he.errors.SessionClosedError, match=rf"^{name}: the session is closed"):
        getattr(he, name)(tensor, *arguments, **named)


def test_a_closed_session_joins_and_splits_nothing():
    session = he.Session(device="cpu", seed=1)
    x = session.share(np.ones(2))
    session.close()
    for name, call in (
        ("concatenate", lambda: he.concatenate([x, x])),
        ("stack", lambda: he.stack([x, x])),
        ("split", lambda: x.split(2)),
        ("flatten", lambda: x.flatten()),
    ):
        with pytest.raises(he.errors.SessionClosedError, match=rf"^{name}: the session is closed"):
            call()


def test_two_sessions(X):
    other = he.Session(parties=3, device="cpu", seed=21).share(np.ones((2, 3)))
    for join in (he.concatenate, he.stack):
        with pytest.raises(he.errors.ArgumentValueError, match="two different sessions"):
            join([X, other])
