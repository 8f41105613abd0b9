"""NumPy's functions on secret tensors: what they give, what they refuse and in which words."""

import inspect
import operator
import re

import numpy as np
import pytest

import he_gpu as he
from he_gpu import functions
from he_gpu.errors import ArgumentTypeError, SecretAccessError
from he_gpu.tensor import manners
from tests.numpy_table import BEGIN, DOCUMENT, END, answered, dispatches, dispatching, table

PROTOCOLS = ("plain", "additive", "replicated")
MEANING = 1 / 64
"""Between numbers of the size used here: far above every documented error, and far below what a
wrong axis, order or argument changes."""

x = np.array([[1.5, -0.75, 3.0], [0.25, 2.0, -1.25]])
y = np.array([[0.5, -0.75, -2.0], [4.0, 1.0, 0.125]])
positive = np.abs(x) + 0.5


def session(protocol="additive"):
    return he.Session(protocol=protocol, device="cpu", seed=5)


def shares(name, call, protocol, *values):
    """Words and fraction bits of what a call gives in a fresh session, the same for equal calls."""
    with session(protocol) as s:
        result = call(*(s.share(value) for value in values))
        results = result if isinstance(result, list) else [result]
        assert all(type(part) is he.SecretTensor for part in results), name
        return [(part.frac_bits, part.shares.tolist()) for part in results]


def revealed(call, protocol, *values):
    with session(protocol) as s:
        result = call(*(s.share(value) for value in values))
        return result.reveal()


def near(result, expected):
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=0, atol=MEANING)


@pytest.fixture
def X():  # noqa: N802 - as in the contract
    with session() as s:
        yield s.share(x)


# Operators and ufuncs

OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}
BITS = {
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "logical_and": operator.and_,
    "logical_or": operator.or_,
    "logical_xor": operator.xor,
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", OPERATORS)
def test_binary_ufuncs_are_operators(name, protocol):
    ufunc, own = getattr(np, name), OPERATORS[name]
    near(revealed(ufunc, protocol, x, y), ufunc(x, y))
    assert shares(name, ufunc, protocol, x, y) == shares(name, own, protocol, x, y)
    for public in (y, y[0], y.astype(np.float32), y[0, 0], np.float32(0.5), 3, -0.75, [1.0, 2, 3]):
        for left in (False, True):
            call = (lambda f, X: f(public, X)) if left else (lambda f, X: f(X, public))  # noqa: B023
            given = shares(name, lambda X: call(ufunc, X), protocol, x)  # noqa: B023
            near(revealed(lambda X: call(ufunc, X), protocol, x), call(ufunc, x))  # noqa: B023
            assert given == shares(name, lambda X: call(own, X), protocol, x)  # noqa: B023


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", BITS)
def test_logic_on_bits(name, protocol):
    ufunc, own = getattr(np, name), BITS[name]
    for public in (y > 0, (y > 0).astype(int), True, False):
        expected = ufunc(x > 0, np.asarray(public).astype(bool))
        for call in (
            lambda X: ufunc(X > 0, public),  # noqa: B023
            lambda X: ufunc(public, X > 0),  # noqa: B023
            lambda X: own(public, X > 0),  # noqa: B023
        ):
            np.testing.assert_array_equal(revealed(call, protocol, x), expected)
    both = revealed(lambda X, Y: ufunc(X > 0, Y > 0), protocol, x, y)
    np.testing.assert_array_equal(both, ufunc(x > 0, y > 0))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_products_and_quotients(protocol):
    near(revealed(np.matmul, protocol, x, y.T), x @ y.T)
    near(revealed(lambda X: y.T @ X, protocol, x), y.T @ x)
    near(revealed(lambda X: np.matmul(y[0], X.T), protocol, x), y[0] @ x.T)
    near(revealed(lambda X: X @ y.T, protocol, x), x @ y.T)
    near(revealed(lambda X: np.linalg.matmul(X, y.T), protocol, x), x @ y.T)
    near(revealed(lambda X: np.divide(X, y), protocol, x), x / y)
    near(revealed(lambda X: np.true_divide(X, 4), protocol, x), x / 4)
    near(revealed(np.divide, protocol, x, positive), x / positive)
    near(revealed(lambda X: 3 / X, protocol, positive), 3 / positive)
    near(revealed(lambda X: y / X, protocol, positive), y / positive)
    near(revealed(lambda X: np.divide(y, X), protocol, positive), y / positive)
    near(revealed(lambda X: np.power(X, 2), protocol, x), x**2)
    near(revealed(np.negative, protocol, x), -x)
    near(revealed(np.positive, protocol, x), x)
    near(revealed(np.fabs, protocol, x), np.abs(x))
    for invert in (np.invert, np.bitwise_not, np.logical_not, operator.inv):
        near(revealed(lambda X: invert(X > 0), protocol, x), ~(x > 0))  # noqa: B023


def test_a_public_array_on_the_left_meets_the_secret_whole(X):
    """NumPy would go through its own elements where an operator did not reach the tensor."""
    for call in (
        lambda a: a + X,
        lambda a: a - X,
        lambda a: a * X,
        lambda a: a < X,
        lambda a: a == X,
        lambda a: a @ X.T,
    ):
        result = call(np.ones((2, 3)))
        assert type(result) is he.SecretTensor
        assert result.shape in {(2, 3), (2, 2)}
    assert type(np.float64(2) * X) is type(np.array(2.0) - X) is he.SecretTensor


class Foreign:
    """The operators as CuPy's ndarray has them: where the other operand does not say None for
    ``__array_ufunc__`` they ask NumPy, and decline the types that they do not know."""

    def __init__(self, array):
        self.array = array

    def get(self):
        return self.array

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return NotImplemented

    def __array_function__(self, function, types, args, kwargs):
        return NotImplemented

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


def _foreign(name):
    ufunc = getattr(np, name)

    def method(self, other):
        if getattr(other, "__array_ufunc__", 0) is None:
            return NotImplemented
        return ufunc(self, other)

    return method


for dunder, ufunc_name in {
    "__add__": "add",
    "__sub__": "subtract",
    "__mul__": "multiply",
    "__matmul__": "matmul",
    "__lt__": "less",
    "__ge__": "greater_equal",
    "__eq__": "equal",
    "__and__": "bitwise_and",
}.items():
    setattr(Foreign, dunder, _foreign(ufunc_name))
Foreign.__module__ = "cupy"


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_of_numpy_is_no_factor(X):
    """Its * is the matrix product, that of a tensor elementwise."""
    matrix = np.matrix(np.eye(X.shape[-1]))
    for call in (lambda: matrix * X, lambda: X * matrix, lambda: np.multiply(X, matrix)):
        with pytest.raises(TypeError, match=r"numpy\.matrix; use @"):
            call()
    np.testing.assert_array_equal((X @ matrix).reveal(), X.reveal())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_cupy_on_either_side(protocol):
    g = Foreign(y)
    near(revealed(lambda X: g + X, protocol, x), y + x)
    near(revealed(lambda X: X + g, protocol, x), y + x)
    near(revealed(lambda X: g - X, protocol, x), y - x)
    near(revealed(lambda X: g * X, protocol, x), y * x)
    near(revealed(lambda X: g @ X.T, protocol, x), y @ x.T)
    near(revealed(lambda X: X @ Foreign(y.T), protocol, x), x @ y.T)
    near(revealed(lambda X: g < X, protocol, x), y < x)
    near(revealed(lambda X: g >= X, protocol, x), y >= x)
    near(revealed(lambda X: g == X, protocol, x), y == x)
    near(revealed(lambda X: np.maximum(g, X), protocol, x), np.maximum(y, x))
    near(revealed(lambda X: np.where(y > 0, X, g), protocol, x), np.where(y > 0, x, y))
    near(revealed(lambda X: Foreign(y > 0) & (X > 0), protocol, x), (y > 0) & (x > 0))


def test_arrays_of_a_library_that_nobody_knows(X):
    other = type("Other", (Foreign,), {"__module__": "other"})(y)
    with pytest.raises(TypeError):
        np.where(y > 0, X, other)
    with pytest.raises(TypeError):
        np.add(other, X)


# Functions: one body for all

UNARY_ON_POSITIVE = {"log", "log1p", "reciprocal", "rsqrt", "sqrt"}


def of(*args, **kwargs):
    return args, kwargs


CLIP_BY_NAME = (
    [of(max=1), of(min=0)] if "min" in inspect.signature(np.clip).parameters else []
)  # since NumPy 2.1
CALLS = {
    "argmax": [of(), of(axis=0), of(axis=1, keepdims=True)],
    "argmin": [of(), of(axis=0), of(axis=1, keepdims=True)],
    "broadcast_to": [of((4, 2, 3))],
    "bitwise_invert": [],
    "clip": [of(-1, 1), of(y - 1, None), of(None, 0.5), *CLIP_BY_NAME],
    "concatenate": [of(), of(axis=1), of(axis=None)],
    "concat": [of(), of(axis=1), of(axis=None)],
    "cumsum": [of(), of(axis=1)],
    "cumulative_sum": [of(axis=0), of(axis=1)],
    "diagonal": [of(), of(1)],
    "divide": [of(y), of(4), of(-0.5)],
    "dot": [of(y.T)],
    "einsum": [],
    "expand_dims": [of(1), of(axis=(0, 2))],
    "flip": [of(), of(axis=1)],
    "inner": [of(y)],
    "max": [of(), of(0), of(axis=1, keepdims=True)],
    "maximum": [of(y), of(0.5)],
    "mean": [of(), of(0), of(axis=1, keepdims=True)],
    "min": [of(), of(0), of(axis=(0, 1))],
    "minimum": [of(y), of(0.5)],
    "moveaxis": [of(0, 1)],
    "norm": [of(), of(axis=1)],
    "outer": [of(y)],
    "pad": [of(1), of(((1, 0), (0, 2))), of(1, constant_values=2.5), of(1, "edge")],
    "permute_dims": [of((1, 0))],
    "pow": [of(3)],
    "power": [of(2), of(3)],
    "repeat": [of(2), of(2, axis=1)],
    "reshape": [of((3, 2)), of(-1)],
    "roll": [of(1), of(1, axis=1)],
    "sort": [of(), of(axis=0), of(axis=None)],
    "split": [of(3, 1)],
    "stack": [of(), of(axis=1), of(axis=-1)],
    "std": [of(), of(axis=0), of(axis=1, ddof=1)],
    "sum": [of(), of(0), of(axis=1, keepdims=True)],
    "swapaxes": [of(0, 1)],
    "take": [of([0, 2, 5]), of(1, axis=1), of(indices=[1, 0], axis=0)],
    "tensordot": [of(y.T, 1), of(y, axes=2)],
    "tile": [of((2, 1))],
    "trace": [of(), of(1)],
    "transpose": [of(), of((1, 0))],
    "tril": [of(), of(1)],
    "triu": [of(), of(k=1)],
    "var": [of(), of(axis=0), of(axis=1, ddof=1)],
    "vdot": [of(y)],
    "vecdot": [of(y)],
    "where": [],
}
"""Arguments behind the first; functions that are not listed take one."""
OF_SEQUENCES = {"concat", "concatenate", "stack"}
OWN_NAMES = {"norm": np.linalg.norm}
FUNCTIONS = [
    (name, index)
    for name in functions.__all__
    if hasattr(np, name) or name in OWN_NAMES
    for index in range(len(CALLS.get(name, [of()])))
]
RENAMED = {"min": "low", "max": "high"}
"""Arguments of clip."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("name", "index"), FUNCTIONS)
def test_function_method_and_numpys_function_are_one(name, index, protocol):
    args, kwargs = CALLS.get(name, [of()])[index]
    numpys = OWN_NAMES.get(name) or getattr(np, name)
    value = positive if name in UNARY_ON_POSITIVE else x
    operand = (lambda X: [X, X + 1, y]) if name in OF_SEQUENCES else (lambda X: X)

    def by_numpy(X):
        return numpys(operand(X), *args, **kwargs)

    own_kwargs = {RENAMED.get(key, key): argument for key, argument in kwargs.items()}

    def by_function(X):
        return getattr(he, name)(operand(X), *args, **own_kwargs)

    def by_method(X):
        return getattr(X, name)(*args, **own_kwargs)

    expected = by_numpy(value)
    if isinstance(expected, list):
        with session(protocol) as s:
            for part, wanted in zip(by_numpy(s.share(value)), expected, strict=True):
                near(part.reveal(), wanted)
    else:
        near(revealed(by_numpy, protocol, value), expected)
    same = shares(name, by_numpy, protocol, value)
    assert same == shares(name, by_function, protocol, value)
    if hasattr(he.SecretTensor, name):
        assert same == shares(name, by_method, protocol, value)


METHODS_ONLY = {"flatten", "masked", "matmul", "reveal", "scaled", "with_frac_bits"}
"""`he_gpu.ravel` serves for flatten, `he_gpu.matmul` is that of the cipher; the others are no
functions of values."""


def test_every_method_has_its_function():
    methods = {
        name
        for name, value in inspect.getmembers(he.SecretTensor, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods - set(functions.__all__) == METHODS_ONLY


def test_every_function_is_found_by_its_name_in_numpy():
    for name in functions.__all__:
        if hasattr(np, name):
            assert manners.is_answered(he.SecretTensor, getattr(np, name)), name


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_where(protocol):
    expected = np.where(x > y, x, y)
    for call in (
        lambda X, Y: np.where(X > Y, X, Y),
        lambda X, Y: np.where(X > Y, X, y),
        lambda X, Y: np.where(x > y, x, Y),
    ):
        near(revealed(call, protocol, x, y), expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reductions_of_ufuncs(protocol):
    for call in (
        np.add.reduce,
        np.maximum.reduce,
        np.minimum.reduce,
        lambda a: np.add.reduce(a, None),
        lambda a: np.maximum.reduce(a, axis=None),
        lambda a: np.add.reduce(a, axis=1, keepdims=True),
        lambda a: np.maximum.reduce(a, axis=(0, 1)),
    ):
        near(revealed(call, protocol, x), call(x))


def test_shapes(X):
    assert (np.shape(X), np.ndim(X), np.size(X), np.size(X, axis=1)) == ((2, 3), 2, 6, 3)
    assert np.shape(a=X) == (2, 3)


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: np.add(X, 1, dtype=np.float32), r"^numpy\.add: dtype is not supported"),
        (lambda X: np.add(X, 1, casting="unsafe"), r"^numpy\.add: casting is not .* got 'unsafe'"),
        (lambda X: np.add(X, 1, where=x > 0), r"^numpy\.add: where is not supported.* got ndarray"),
        (lambda X: np.negative(X, order="F"), r"^numpy\.negative: order is not supported"),
        (lambda X: np.maximum(X, 1, where=x > 0), r"^numpy\.maximum: where is not supported"),
        (lambda X: np.sum(X, dtype=np.float32), r"^numpy\.sum: dtype is not supported"),
        (lambda X: np.sum(X, where=x > 0), r"^numpy\.sum: where is not supported"),
        (lambda X: np.sum(X, initial=1.0), r"^numpy\.sum: initial is not supported.* got 1\.0"),
        (lambda X: np.sort(X, kind="stable"), r"^numpy\.sort: kind is not supported"),
        (lambda X: np.reshape(X, 6, order="F"), r"^numpy\.reshape: order is not supported"),
        (lambda X: np.matmul(X, y.T, dtype=float), r"^numpy\.matmul: dtype is not supported"),
        (lambda X: np.matmul(X, y.T, axes=[(0, 1)] * 3), r"^numpy\.matmul: axes is not supported"),
        (lambda X: np.add.reduce(X, dtype=float), r"^numpy\.add\.reduce: dtype is not supported"),
        (lambda X: np.where(X > 0), r"^numpy\.where: missing a required argument: 'x'"),
    ],
)
def test_arguments_that_are_refused(X, call, message):
    with pytest.raises(ArgumentTypeError, match=message):
        call(X)


def test_arguments_that_say_nothing_new(X):
    near(np.add(X, 1, where=True, casting="same_kind", dtype=None, out=None).reveal(), x + 1)
    near(np.sum(X, 0, None, None).reveal(), x.sum(0))
    near(np.sort(X, kind=None).reveal(), np.sort(x))
    near(np.reshape(X, (3, 2), order="C").reveal(), x.reshape(3, 2))
    near(np.maximum(X, 0, where=True).reveal(), np.maximum(x, 0))


@pytest.mark.parametrize(
    "call",
    [
        lambda X: np.add(x, x, out=X),
        lambda X: np.add(X, x, out=np.zeros((2, 3))),
        lambda X: np.add(X, X, np.zeros((2, 3))),
        lambda X: np.maximum(X, 0, out=(np.zeros((2, 3)),)),
        lambda X: np.sum(X, out=np.zeros(())),
        lambda X: np.sum(X, None, None, np.zeros(())),
        lambda X: np.sum(x, axis=1, out=X[:, 0]),
        lambda X: np.clip(X, 0, 1, np.zeros((2, 3))),
        lambda X: np.add.reduce(X, out=np.zeros(3)),
        lambda X: operator.iadd(np.zeros((2, 3)), X),
        lambda X: operator.imul(np.zeros((2, 3)), X),
    ],
)
def test_no_public_array_takes_a_secret_and_no_secret_is_written_to(X, call):
    with pytest.raises(SecretAccessError, match=r"^numpy\..*: out is not supported.*x = x \+ y"):
        call(X)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (np.median, "numpy.median: not defined for a SecretTensor; nearest is numpy.sort"),
        (np.prod, "nearest is x * y for each factor"),
        (np.ptp, r"nearest is x.max(axis) - x.min(axis)"),
        (np.argsort, "nearest is numpy.sort"),
        (np.floor, "nearest is x.with_frac_bits(0)"),
        (np.isnan, "nearest is False: a secret is always finite"),
        (np.nanmax, "nearest is numpy.max"),
        (np.count_nonzero, "nearest is (x != 0).sum()"),
        (
            lambda X: np.fmax(X, 0),
            "numpy.fmax: not defined for a SecretTensor; nearest is numpy.max",
        ),
        (lambda X: np.floor_divide(X, 2), "nearest is x / y"),
        (lambda X: np.allclose(X, X), "nearest is (abs(x - y) <= a bound).min()"),
        (lambda X: np.power(2, X), "numpy.power: not defined for int and SecretTensor; "),
        (np.zeros_like, "nearest is session.share(numpy.zeros(x.shape))"),
        (np.multiply.reduce, "numpy.multiply.reduce: not defined for a SecretTensor; nearest is x"),
        (lambda X: np.multiply.accumulate(X), "numpy.multiply.accumulate: not defined"),
        (lambda X: np.logical_or.reduce(X > 0), "nearest is numpy.max of 0/1"),
        (lambda X: np.add.reduceat(X, [0, 1]), "numpy.add.reduceat: not defined"),
        (lambda X: np.add.at(X, 0, 1), "numpy.add.at: not defined"),
        (lambda X: np.linalg.outer(X[0], X[0]), "nearest is he_gpu.outer"),
        (np.linalg.inv, "numpy.linalg.inv: not defined for a SecretTensor; reveal() it first"),
        (np.fft.fft, "numpy.fft.fft: not defined for a SecretTensor; reveal() it first"),
        (np.frompyfunc(abs, 1, 1), "ufunc.abs (vectorized): not defined for a SecretTensor"),
    ],
)
def test_what_is_not_there_names_the_nearest(X, call, words):
    with pytest.raises(SecretAccessError) as caught:
        call(X)
    assert words in str(caught.value)
    assert str(caught.value).endswith("reveal() it first, which shows it to every party")
    assert isinstance(caught.value, TypeError)


def test_a_hint_names_only_what_is_there():
    def hint(name, *existing):
        return manners.nearest(name, {own: f"he_gpu.{own}" for own in existing})

    assert hint("log2", "log") == "numpy.log(x) * (1 / log(2))"
    assert hint("log2", "exp") == ""
    assert hint("sin", "sign", "min") == "he_gpu.approximate"
    assert hint("squeez", "squeeze", "sum") == "he_gpu.squeeze"
    assert hint("inv", "invert") == ""


def test_operators_without_a_meaning(X):
    for call in (
        lambda: X // 2,
        lambda: 2 // X,
        lambda: np.ones(3) // X,
        lambda: np.ones(3) % X,
        lambda: divmod(np.ones(3), X),
        lambda: np.ones(3, int) << X,
    ):
        with pytest.raises(TypeError):
            call()


PUBLIC = {"shape", "ndim", "size"}


@pytest.mark.parametrize("module", ["numpy", "numpy.linalg", "numpy.fft", "numpy.strings"])
def test_nothing_of_numpy_makes_a_public_value_of_a_secret(X, module, monkeypatch):
    """Whatever a function that NumPy dispatches is given, it gives secrets or it raises."""
    monkeypatch.setattr(he.SecretTensor, "reveal", lambda self: pytest.fail("revealed"))
    given, refused = set(), set()
    for name, function in dispatching(module).items():
        calls = [(X,), (X, X), (X, 1), ([X, X],), ((X, X), 0), (x, X), (X, 1, 0), (x > 0, X, 1)]
        if isinstance(function, np.ufunc):
            calls = [(X, X, X)[: function.nin], (X > 0, X > 0, X)[: function.nin]]
        for arguments in calls:
            try:
                result = function(*arguments)
            except Exception:
                refused.add(name)
                continue
            if name in {"array_equal", "array_equiv"} and result is False:
                continue  # NumPy takes any error of nested arguments for inequality
            parts = result if isinstance(result, list | tuple) else [result]
            secret = all(type(part) is he.SecretTensor for part in parts)
            assert secret or name in PUBLIC or result is x, name
            given.add(name)
    assert refused
    assert len(given) > 40 or module != "numpy"


@pytest.mark.parametrize("module", ["numpy", "numpy.linalg", "numpy.fft"])
def test_every_function_without_counterpart_says_so(X, module):
    """All of NumPy that takes one array first, or is a ufunc."""
    asked = 0
    for name, function in dispatching(module).items():
        if name in answered(module) or name in PUBLIC or name.startswith("save"):
            continue
        count = function.nin if isinstance(function, np.ufunc) else 1
        if not isinstance(function, np.ufunc):
            try:
                inspect.signature(function).bind(X)
            except (TypeError, ValueError):
                continue
        with pytest.raises(SecretAccessError, match=r"reveal\(\) it first") as caught:
            function(*(X,) * count)
        if dispatches(function) and ": not defined" in str(caught.value):
            assert str(caught.value).startswith(f"{module.partition('.')[0]}.")
        asked += 1
    assert asked > 5


def test_scipys_special_functions():
    special = pytest.importorskip("scipy.special")
    with session() as s:
        X = s.share(x)
        for name, own in (("expit", "sigmoid"), ("erf", "erf"), ("exp2", "")):
            if hasattr(he, own):
                near(getattr(special, name)(X).reveal(), getattr(special, name)(x))
            else:
                with pytest.raises(SecretAccessError, match=rf"^scipy\.special\.{name}: not def"):
                    getattr(special, name)(X)


def test_no_namespace_of_the_standard(X):
    assert not hasattr(X, "__array_namespace__")


def test_a_closed_session_and_two_sessions(X):
    with session("replicated") as other, pytest.raises(ValueError, match="two different sessions"):
        np.add(X, other.share(x))
    X.session.close()
    for call in (np.negative, np.sum, np.abs, lambda X: np.ones(3) + X):
        with pytest.raises(he.errors.SessionClosedError):
            call(X)


# Display


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_repr_shows_everything_but_data(protocol):
    secret = 123.4375
    with he.Session(protocol=protocol, modulus=2**32, frac_bits=10, device="cpu", seed=2) as s:
        X = s.share(np.full((2, 1), secret))
        expected = (
            f"SecretTensor(shape=(2, 1), protocol='{protocol}', modulus=2**32, frac_bits=10, "
            f"device='cpu')"
        )
        assert repr(X) == str(X) == f"{X}" == expected
        shown = [
            repr([X]),
            repr({"key": (X, X.masked())}),
            str(s),
            repr(np.array([None])) + repr((X,)),
            f"{X!r} {X!s}",
        ]
        words = {str(word) for word in X.shares.ravel().tolist() if word > 99999}
        assert words or protocol == "plain"
        for text in shown:
            assert "123" not in text
            assert not any(word in text for word in words)
        assert repr([X, (X,)]) == f"[{expected}, ({expected},)]"
        with pytest.raises(TypeError):
            format(X, ".2f")


# Document


def test_the_document_lists_what_dispatches():
    """All of it, and nothing else; NumPy's names are more or fewer with its version."""
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [row for row in table().splitlines() if row not in text.splitlines()]
    assert not missing, "run python -m tests.numpy_table"
    listed = re.findall(
        r"`(numpy|numpy\.linalg)\.(\w+)`", text[text.index(BEGIN) : text.index(END)]
    )
    assert len(listed) > 50
    for module, name in listed:
        assert name in answered(module) or name not in dispatching(module)


def test_the_document_has_an_error_as_it_is(X):
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    with pytest.raises(SecretAccessError) as caught:
        np.median(X)
    assert f"`{caught.value}`" in text
