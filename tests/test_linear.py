"""Products over any axes equal NumPy's under every protocol and ring: exactly, on integers.

A product with all fraction bits of its operands is not truncated, and so is exact. Truncation is
tested with those of `matmul`; here one unit of the result is allowed where it takes place.
"""

from string import ascii_letters

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import he_gpu as he
from tests.sessions import SESSIONS, cost_of, exact, few, grid, of_integers, open_session, total


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


@pytest.fixture
def X():  # noqa: N802 - as in the contract
    with open_session("additive-3-64") as session:
        yield session.share(np.arange(6.0).reshape(2, 3))


def close(tensor, expected, units=1.0):
    """The tensor is within so many units of its own encoding."""
    revealed = tensor.reveal()
    assert tensor.shape == revealed.shape == np.shape(expected)
    np.testing.assert_allclose(revealed, expected, rtol=0, atol=units * 2.0**-tensor.frac_bits)


def every_way(function, name, session, x, y, *arguments, **named):
    """A product of secrets, exact and truncated, and with either operand public, equals NumPy's."""
    expected = function(x, y, *arguments, **named)
    X, Y = session.share(x), session.share(y)
    product, most = getattr(he, name), 2 * session.frac_bits
    exact(product(X, Y, *arguments, **named, frac_bits=most), expected, most)
    truncated = product(X, Y, *arguments, **named)
    assert truncated.frac_bits == session.frac_bits
    close(truncated, expected)
    exact(product(x, Y, *arguments, **named), expected)
    exact(product(X, y, *arguments, **named), expected)
    exact(getattr(X, name)(Y, *arguments, **named, frac_bits=most), expected, most)
    exact(getattr(X, name)(y, *arguments, **named), expected)
    # a public real: the factor has 12 significant bits at least, and 0.25 y needs fewer
    close(product(X, y / 4, *arguments, **named), expected / 4)
    close(product(x / 4, Y, *arguments, **named), expected / 4)


SHAPES = {
    "dot": [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((2, 2, 3), (2, 3, 2)),
            ((), (2, 3)), ((2,), ()), ((), ()), ((0,), (0,)), ((2, 0), (0, 3)),
            ((2, 3), (2, 3, 1))],
    "inner": [((3,), (3,)), ((2, 3), (4, 3)), ((2, 3), (3,)), ((2, 1, 3), (2, 3)), ((), (3,)),
              ((2, 0), (3, 0))],
    "outer": [((3,), (4,)), ((2, 3), (2,)), ((), (3,)), ((), ()), ((0,), (3,))],
    "vdot": [((3,), (3,)), ((2, 3), (2, 3)), ((2, 3), (3, 2)), ((), ()), ((0,), (0,))],
    "vecdot": [((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (4, 3)), ((3,), (4, 3)), ((2, 0), (2, 0)),
               ((0, 3), (3,))],
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_products_equal_numpys(session, name):
    for left, right in SHAPES[name]:
        every_way(DEFINITIONS[name], name, session, few(left), few(right, 1))


DEFINITIONS = {name: getattr(np, name, None) for name in SHAPES}
DEFINITIONS["vecdot"] = lambda x, y, axis=-1: (
    np.moveaxis(x, axis, -1)[..., None, :] @ np.moveaxis(y, axis, -1)[..., :, None]
)[..., 0, 0]  # numpy.vecdot came with NumPy 2


def test_products_over_named_axes(session):
    x, y = few((2, 3, 4)), few((4, 3, 2), 1)
    for axes in (0, 1, ([0], [2]), ((0, 1), (2, 1)), ((1, 0, 2), (1, 2, 0)), ([-1], [0]), (2, 0)):
        every_way(np.tensordot, "tensordot", session, x, y, axes)
    every_way(np.tensordot, "tensordot", session, x, few((3, 4, 5), 2))
    every_way(np.tensordot, "tensordot", session, few((2, 0)), few((0, 3)), 1)
    for axis in (0, -1):
        every_way(DEFINITIONS["vecdot"], "vecdot", session, few((3, 3)), few((3, 3), 1), axis=axis)


EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij,kj->ki", (2, 3), (4, 3)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 4)), ("bhqd,bhkd->bhqk", (2, 2, 3, 2), (2, 2, 4, 2)),
    ("i,j->ij", (2,), (3,)), ("i,j->ji", (2,), (3,)), ("i,i->", (3,), (3,)),
    ("ij,ij->ij", (2, 3), (2, 3)), ("ij,ij->i", (2, 3), (2, 3)), ("ij,ij", (2, 3), (2, 3)),
    ("ij,ji->", (2, 3), (3, 2)), ("ii,i->i", (3, 3), (3,)), ("ii,ij->j", (3, 3), (3, 2)),
    ("iij,jk->ik", (2, 2, 3), (3, 2)), ("ij,k->k", (2, 3), (4,)), (",ij->ji", (), (2, 3)),
    (",->", (), ()), ("ijk,kl->l", (2, 3, 4), (4, 2)), ("ij,jk->ijk", (2, 3), (3, 4)),
    ("...ij,...jk->...ik", (2, 2, 3), (3, 4)), ("...i,i...->...", (2, 3), (3, 4, 1)),
    ("...ij,...jk", (2, 1, 2, 3), (5, 3, 2)), ("i...,j...->...ij", (2, 3), (4, 3)),
    ("ij,ij->ij", (1, 3), (2, 3)), ("ij,jk->ik", (2, 1), (3, 4)), ("ij,ij->j", (2, 1), (1, 3)),
    ("ij,jk->ik", (2, 0), (0, 3)), ("ij,jk->ik", (0, 2), (2, 3)), ("aA,Ab->ba", (2, 3), (3, 2)),
    (" i j , j -> i ", (2, 3), (3,)),
]  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation[0])
def test_equations_of_two_operands(session, equation):
    subscripts, left, right = equation
    x, y = few(left), few(right, 1)
    # an axis of length 1 of a repeated letter is what numpy.einsum broadcasts too
    expected = np.einsum(subscripts, x, y)
    X, Y = session.share(x), session.share(y)
    most = 2 * session.frac_bits
    exact(he.einsum(subscripts, X, Y, frac_bits=most), expected, most)
    close(he.einsum(subscripts, X, Y), expected)
    exact(he.einsum(subscripts, X, y), expected)
    exact(he.einsum(subscripts, x, Y), expected)


def test_equations_of_one_operand(session):
    for subscripts, shape in (
        ("ii", (3, 3)), ("ii->i", (3, 3)), ("ij->ji", (2, 3)), ("ba", (2, 3)), ("ij->", (2, 3)),
        ("ij->i", (2, 3)), ("iji->j", (2, 3, 2)), ("...ij->...ji", (2, 2, 3)), ("iii->", (2, 2, 2)),
        ("...", (2, 3)), ("...->...", ()), ("i...->...", (2, 3)), ("...i->i...", (2, 3, 4)),
        ("iijj", (2, 2, 3, 3)), ("", ()), ("ij->i", (0, 3)), ("ij->i", (3, 0)),
    ):  # fmt: skip
        x = grid(session, shape)
        exact(he.einsum(subscripts, session.share(x)), np.einsum(subscripts, x))


@st.composite
def equations(draw):
    """An equation of one operand or two, explicit or not, and its operands."""
    letters = draw(st.lists(st.sampled_from(ascii_letters), min_size=1, max_size=4, unique=True))
    lengths = dict(
        zip(letters, draw(st.lists(st.integers(0, 3), min_size=4, max_size=4)), strict=False)
    )
    spare = draw(st.lists(st.integers(1, 3), max_size=2))
    terms, operands = [], []
    for _ in range(draw(st.integers(1, 2))):
        term = draw(st.lists(st.sampled_from(letters), max_size=4))
        shape = [lengths[letter] for letter in term]
        dots = draw(st.booleans())
        if dots:
            at = draw(st.integers(0, len(term)))
            own = [n if draw(st.booleans()) else 1 for n in spare][
                draw(st.integers(0, len(spare))) :
            ]
            shape[at:at] = own
            term.insert(at, "...")
        terms.append("".join(term))
        operands.append(shape)
    text = ",".join(terms)
    if draw(st.booleans()):
        output = [letter for letter in letters if letter in text and draw(st.booleans())]
        output = draw(st.permutations(output))
        if "..." in text:
            output.insert(draw(st.integers(0, len(output))), "...")
        text += "->" + "".join(output)
    return text, operands


@settings(max_examples=300, deadline=None)
@given(equation=equations(), seed=st.integers(0, 2**32 - 1))
@example(equation=("ab...,...ba->...", [[2, 3], [2, 1, 3, 2]]), seed=1)
def test_any_equation(equation, seed):
    """numpy.einsum on the same integers is the definition, and decides what is an equation."""
    subscripts, shapes = equation
    numbers = np.random.default_rng(seed)
    values = [numbers.integers(-9, 10, shape).astype(float) for shape in shapes]
    with open_session("additive-64") as s:
        secrets = [s.share(value) for value in values]
        try:
            expected = np.einsum(subscripts, *values)
        except ValueError:
            with pytest.raises(he.errors.ArgumentValueError, match=r"^einsum: "):
                he.einsum(subscripts, *secrets)
            return
        bits = 16 * len(values)
        exact(
            he.einsum(subscripts, *secrets, frac_bits=None if bits == 16 else bits), expected, bits
        )
        if len(values) == 2:
            exact(he.einsum(subscripts, values[0], secrets[1]), expected)
            exact(he.einsum(subscripts, secrets[0], values[1]), expected)


# Matrices


BATCHES = [
    ((2, 3), (3, 2)), ((4, 2, 3), (4, 3, 2)), ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)),
    ((1, 2, 3), (4, 3, 2)), ((5, 1, 2, 3), (4, 3, 2)), ((3,), (4, 3, 2)), ((4, 2, 3), (3,)),
    ((3,), (3,)), ((0, 2, 3), (3, 2)), ((4, 2, 0), (4, 0, 3)), ((2, 1, 1, 1), (1, 3, 1, 2)),
    ((4, 1, 3), (4, 3, 1)),
]  # fmt: skip


def test_batches_of_matrices(session):
    for left, right in BATCHES:
        x, y = few(left), few(right, 1)
        X, Y, most = session.share(x), session.share(y), 2 * session.frac_bits
        for a, b in ((X, Y), (X.masked(), Y), (X, Y.masked()), (X.masked(), Y.masked())):
            exact(a.matmul(b, most), x @ y, most)
            close(a @ b, x @ y)
        exact(X @ y, x @ y)
        exact(x @ Y, x @ y)
        close(X @ (y / 4), x @ y / 4)
        close((x / 4) @ Y, x @ y / 4)


def test_transposed_matrices_and_traces(session):
    x = grid(session, (2, 3, 4))
    X = session.share(x)
    exact(X.mT, x.swapaxes(-1, -2))
    exact(he.matrix_transpose(X), x.swapaxes(-1, -2))
    exact(he.trace(X), np.trace(x))
    exact(X.trace(1, 2, -2), np.trace(x, 1, 2, 1))
    exact(he.trace(X[0], offset=9), 0)
    exact(X[:0].trace(), np.trace(x[:0]))


def test_masked_matrices_stay_masked_when_transposed():
    with open_session("additive-64") as s:
        x = few((2, 3, 4))
        masked = s.share(x).masked()
        assert masked.mT.is_masked
        assert masked[0].masked().mT.is_masked
        assert cost_of(s, lambda: masked.matmul(masked.mT, 32)).rounds == 0
        exact(masked.matmul(masked.mT, 32), x @ x.swapaxes(-1, -2), 32)


# Ranges


@pytest.mark.parametrize("bits", [0, 3, 20, 40])
def test_a_public_factor_of_fewer_bits_gives_those_asked_for(session, bits):
    """A power of two adds no bits, or takes some; what is asked for does not change."""
    x = np.array([[1.0, -2.5], [0.25, 3.0]])
    X = session.share(x)
    small = session.modulus == 2**32
    bits = min(bits, 20 if small else 40)
    for factor in (2.0, 0.5, -8.0, 0.0, 0.75):
        found = he.einsum("ij,->ij", X, factor, frac_bits=bits)
        assert found.frac_bits == bits
        assert np.abs(found.reveal() - x * factor).max() < 2.0**-bits
    for factor in (2.0, 0.75):
        with pytest.raises(
            ValueError, match=r"einsum: frac_bits must be in \[0, (62|30)\), got 99"
        ):
            he.einsum("ij,->ij", X, factor, frac_bits=99)


def test_sums_of_one_operand_come_before_the_product():
    """Of i,j->j the sum over i may take the whole range, as no product is in it."""
    with open_session("plain-64") as s:
        big = of_integers(s, [2**61, 2**60, -(2**61)])
        exact(he.einsum("i,j->j", big, [1, 2]), np.array([2**60, 2**61]) / 2**16)
        with pytest.raises(he.errors.RangeError, match="sum: values must stay below"):
            he.einsum("i,j->j", of_integers(s, [2**61, 2**61]), [1, 2])


@pytest.mark.parametrize("name", ["plain-64", "plain-32"])
def test_products_out_of_range(name):
    with open_session(name) as s:
        x = s.share(np.full(4, 2.0 ** (28 if name == "plain-64" else 8)))
        for call in (lambda: he.dot(x, x), lambda: he.outer(x, x), lambda: he.einsum("i,i", x, x)):
            with pytest.raises(he.errors.RangeError, match="values must stay below"):
                call()


# Costs


@pytest.mark.parametrize("name", ["additive-64", "additive-3-64", "replicated-64", "additive-32"])
def test_counted_cost_equals_the_documented_one(name):
    with open_session(name) as s:
        x, y = s.share(few((2, 3))), s.share(few((3, 4)))
        cube = s.share(few((5, 2, 3)))

        def product(operation, left, right, drop=s.frac_bits):
            a, b = (s.share(np.zeros(shape))._stack for shape in (left, right))
            return cost_of(s, lambda: s.scheme.product(operation, a, b, drop))

        def truncation(*shape):
            words = s.share(np.zeros(shape))._stack
            return cost_of(s, lambda: s.scheme.truncate(words, 1))

        table = {
            "dot": (lambda: he.dot(x, y), product("matmul", (2, 3), (3, 4))),
            "inner": (lambda: he.inner(x, x), product("matmul", (2, 3), (3, 2))),
            "outer": (lambda: he.outer(x, x), product("mul", (6, 1), (1, 6))),
            "vdot": (lambda: he.vdot(x, x), product("matmul", (1, 6), (6, 1))),
            "vecdot": (lambda: he.vecdot(x, x), product("matmul", (2, 1, 3), (2, 3, 1))),
            "tensordot": (lambda: he.tensordot(x, y, 1), product("matmul", (2, 3), (3, 4))),
            "batch": (
                lambda: he.einsum("bij,bkj->bik", cube, cube),
                product("matmul", (5, 2, 3), (5, 3, 2)),
            ),
            "elementwise": (
                lambda: he.einsum("ij,jk->ijk", x, y), product("mul", (3, 2, 1), (3, 1, 4))
            ),
            "summed first": (
                lambda: he.einsum("ij,ik->i", x, x), product("mul", (2,), (2,))
            ),
            "untruncated": (
                lambda: he.dot(x, y, frac_bits=2 * s.frac_bits),
                product("matmul", (2, 3), (3, 4), 0),
            ),
            "public": (lambda: he.dot(x, np.full((3, 4), 0.5)), truncation(2, 4)),
            "public integers": (lambda: he.dot(x, np.ones((3, 4))), total()),
            "one operand": (lambda: he.einsum("ij->ji", x), total()),
            "trace": (lambda: he.trace(x), total()),
            "mT": (lambda: x.mT, total()),
        }  # fmt: skip
        counted = {name: cost_of(s, action) for name, (action, _) in table.items()}
        assert counted == {name: documented for name, (_, documented) in table.items()}
        assert counted["dot"].rounds == 2
        assert counted["elementwise"].rounds == 2
        assert counted["untruncated"].rounds == 1


@pytest.mark.parametrize("name", ["additive-64", "replicated-64", "replicated-32"])
def test_kernels_compute_the_same_shares(name):
    """With one seed the shares on the emulator equal those on the CPU, bit for bit."""
    x, y = few((2, 3, 4)), few((4, 3), 1)

    def shares(name):
        with open_session(name) as s:
            X, Y = s.share(x), s.share(y)
            results = [
                he.einsum("bij,jk->bki", X, Y),
                he.einsum("bij,bkj->bik", X, X.flip(0)),
                he.outer(X[0].tril(), Y.roll(1)),
                he.concatenate([X.mT, y[None]]) * he.tile(Y, (3, 1, 1)),
                X.cumsum(1).pad(1, "reflect").var(axis=(0, 2)),
            ]
            return [result.shares for result in results]

    for expected, found in zip(shares(name), shares(f"emulator-{name}"), strict=True):
        np.testing.assert_array_equal(found, expected)


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: he.einsum("ij", X, X), "^einsum: subscripts must have 2 terms, got 1 in 'ij'"),
        (lambda X: he.einsum("ij,jk", X), "^einsum: subscripts must have 1 terms, got 2"),
        (lambda X: he.einsum("i,j,k", X, X, X), "^einsum: 1 or 2 operands expected, got 3"),
        (lambda X: he.einsum("i", X), "^einsum: 'i' must name the 2 axes of its operand"),
        (lambda X: he.einsum("ijk...", X), r"^einsum: 'ijk...' must name the 2 axes"),
        (lambda X: he.einsum("i1", X), "^einsum: subscripts must be letters, .* got '1' in 'i1'"),
        (lambda X: he.einsum("i.", X), r"^einsum: subscripts must be letters, .* got '\.'"),
        (lambda X: he.einsum("......", X), r"^einsum: subscripts must be letters, .* got '\.'"),
        (lambda X: he.einsum("iø", X), "^einsum: subscripts must be letters, .* got 'ø'"),
        (lambda X: he.einsum("ij->ij->", X), "^einsum: subscripts must be letters, .* got '-'"),
        (lambda X: he.einsum("ij->k", X), "^einsum: each letter of the output .* got 'k'"),
        (lambda X: he.einsum("ij->ii", X), "^einsum: each letter of the output .* got 'i'"),
        (lambda X: he.einsum("i...->i", X), "^einsum: the output must have an ellipsis for 1 axes"),
        (lambda X: he.einsum("ii", X), "^einsum: axes 'i' of one operand must .* got 2 and 3"),
        (lambda X: he.einsum("ij,jk", X, X), r"^einsum: axes 'j' must .* got 3 and 2 in shapes"),
        (lambda X: he.einsum("ij,jk", X, X.T, frac_bits=33), r"frac_bits must be in \[0, 32\]"),
        (lambda X: he.einsum("ij,ij->ij", X, X, frac_bits=-1), r"frac_bits must be in \[0, 32\]"),
        (lambda X: he.einsum("ij,ij->ij", X, [[0.5] * 3] * 2, frac_bits=99), "^einsum: frac_bits"),
        (lambda X: he.dot(X, X), r"^dot: axes \(1,\) and \(0,\) must have equal lengths"),
        (lambda X: he.dot(X, np.ones(2)), "^dot: axes"),
        (lambda X: he.dot(X[:, :1], np.ones((3, 2))), "^dot: axes"),
        (lambda X: he.inner(X, X.T), "^inner: axes"),
        (lambda X: he.vdot(X, X[0]), "^vdot: axes"),
        (lambda X: he.vecdot(X, X.T), r"^vecdot: axis -1 must have one length .*\(2, 3\) and"),
        (lambda X: he.vecdot(X[:, :1], X), r"^vecdot: axis -1 must have one length"),
        (lambda X: he.vecdot(X, X, axis=2), r"^vecdot: axis must be in \[-2, 2\), got 2"),
        (lambda X: he.vecdot(X, np.ones((3, 3))), r"^vecdot: axis -1 .* \(2, 3\) and \(3, 3\)"),
        (lambda X: he.tensordot(X, X.T), r"^tensordot: axes \(0, 1\) and \(0, 1\) must"),
        (lambda X: he.tensordot(X, X, 3), r"^tensordot: axes must be in \[0, 2\], got 3"),
        (lambda X: he.tensordot(X, X, -1), r"^tensordot: axes must be in \[0, 2\], got -1"),
        (lambda X: he.tensordot(X, X, ([0], [0], [0])), "^tensordot: axes must be one number or"),
        (lambda X: he.tensordot(X, X, ([0, 1], [0])), "^tensordot: axes"),
        (lambda X: he.tensordot(X, X, ([0, 0], [0, 0])), "^tensordot: axes must differ"),
        (lambda X: he.tensordot(X, X, ([2], [0])), r"^tensordot: axis must be in \[-2, 2\), got 2"),
        (lambda X: he.outer(X, np.nan), "^outer: operand must be finite, got nan"),
        (lambda X: X[0].mT, r"at least 2 axes.* got shape \(3,\)"),
        (lambda X: X[0].trace(), "^trace: x must have at least 2 axes"),
        (lambda X: X.trace(0, 1, 1), "^trace: axes must differ"),
    ],
)  # fmt: skip
def test_values_that_are_refused(X, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(X)
    assert isinstance(caught.value, he.errors.HeGpuError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: he.einsum(X, [0, 1]), "^einsum: subscripts must be a string, got SecretTensor"),
        (lambda X: he.einsum("ij"), "^einsum: a SecretTensor expected, got NoneType"),
        (lambda X: he.einsum("ij,ij", np.ones((2, 3)), np.ones((2, 3))), "use numpy.einsum"),
        (lambda X: he.einsum("ij", X, frac_bits=3), "^einsum: frac_bits is for products"),
        (lambda X: he.dot([1, 2], [3, 4]), "^dot: a SecretTensor expected, .* use numpy.dot"),
        (lambda X: he.outer(X, "a"), "^outer: operand must hold real numbers"),
        (lambda X: he.inner(X, X, frac_bits=1.0), "frac_bits must be an integer, got float"),
        (lambda X: he.tensordot(X, X, 1.5), "^tensordot: axes must be an integer, got float"),
        (lambda X: he.vecdot(X, X, axis=(0,)), "^vecdot: axis must be an integer, got tuple"),
        (lambda X: X.trace(0.5), "^trace: offset must be an integer, got float"),
        (lambda X: he.trace(np.eye(2)), "^trace: a SecretTensor expected"),
        (lambda X: he.matrix_transpose(np.eye(2)), "^matrix_transpose: a SecretTensor expected"),
    ],
)
def test_types_that_are_refused(X, call, message):
    with pytest.raises(TypeError, match=message) as caught:
        call(X)
    assert isinstance(caught.value, he.errors.HeGpuError)


def test_two_sessions(X):
    other = he.Session(parties=3, device="cpu", seed=21).share(np.ones((2, 3)))
    for call in (
        lambda: he.dot(X, other.T),
        lambda: he.inner(X, other),
        lambda: he.outer(X, other),
        lambda: he.vecdot(X, other),
        lambda: he.einsum("ij,ij->ij", X, other),
    ):
        with pytest.raises(he.errors.ArgumentValueError, match="two different sessions"):
            call()


def test_a_closed_session():
    session = he.Session(device="cpu", seed=1)
    x = session.share(np.ones((2, 2)))
    session.close()
    for name, call in {
        "dot": lambda: he.dot([1, 2], x),
        "inner": lambda: he.inner(x, x),
        "outer": lambda: he.outer(x, 1),
        "vdot": lambda: he.vdot(x, x),
        "vecdot": lambda: he.vecdot(x, x),
        "tensordot": lambda: he.tensordot(x, x),
        "einsum": lambda: he.einsum("ij", x),
        "trace": lambda: he.trace(x),
        "matrix_transpose": lambda: he.matrix_transpose(x),
    }.items():
        with pytest.raises(he.errors.SessionClosedError, match=rf"^{name}: the session is closed"):
            call()
