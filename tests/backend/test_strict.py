"""The whole library on arrays that refuse what CuPy's refuse, and those arrays beside CuPy's.

Each test is a short pass of one part from end to end; that results are right is for other tests.
"""

import importlib.util
import inspect
import warnings

import numpy as np
import pytest

import he_gpu as he
from he_gpu import cli, nn
from he_gpu.backend import get_backend, word_dtype
from he_gpu.backend.definition import matmul as definition
from he_gpu.backend.definition.elementwise import add as definition_add
from he_gpu.backend.device import conv, matmul
from he_gpu.backend.kept import Kept
from he_gpu.models.ckks_descent import gradient_descent, residual_descent, rotations
from he_gpu.models.ckks_reservoir import Layout
from he_gpu.ring import Ring
from tests.backend import strict
from tests.conftest import require_device
from tests.he.contexts import parameters
from tests.models.estimators import is_classifier, names, small

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def strict_arrays(monkeypatch):
    require_device("emulator")
    for place, name, value in strict.replacements():
        monkeypatch.setattr(place, name, value)


SESSIONS = {
    "plain": {"protocol": "plain"},
    "additive": {},
    "additive of 3": {"parties": 3},
    "replicated": {"protocol": "replicated"},
    "replicated modulo 2^32": {"protocol": "replicated", "modulus": 2**32, "frac_bits": 8},
    "additive modulo 2^32": {"modulus": 2**32, "frac_bits": 8},
}


@pytest.fixture(params=SESSIONS)
def session(request):
    with he.Session(device="emulator", seed=1, **SESSIONS[request.param]) as opened:
        assert opened.backend.xp is strict.module
        yield opened


def near(tensor, expected, atol=0.06):
    np.testing.assert_allclose(tensor.reveal(), expected, rtol=0, atol=atol)


# The arrays themselves


def on_device(values=((1, 2), (3, 4))):
    return strict.asarray(np.array(values, np.uint64))


REFUSED = {
    "conversion": lambda x: np.asarray(x),
    "conversion of a list": lambda x: np.array([x, x]),
    "sum with a NumPy array": lambda x: x + np.ones(2, np.uint64),
    "NumPy array with it": lambda x: np.ones(2, np.uint64) + x,
    "ufunc of NumPy": lambda x: np.maximum(x, np.ones(2, np.uint64)),
    "in place": lambda x: x.__iadd__(np.ones(2, np.uint64)),
    "out of NumPy": lambda x: np.add(x, x, out=np.empty((2, 2), np.uint64)),
    "where": lambda x: np.add(x, x, where=x > 1),
    "reduction of a ufunc": lambda x: np.add.reduce(x),
    "initial": lambda x: x.max(initial=0),
    "stack of both": lambda x: strict.stack([x, np.ones((2, 2), np.uint64)]),
    "NumPy array stored": lambda x: x.__setitem__(0, np.ones(2, np.uint64)),
    "two masks": lambda x: x[np.ones(2, bool), np.ones(2, bool)],
    "place of another integer": lambda x: x[np.int64(1), [0, 1]],
    "range": lambda x: range(x[0, 0]),
    "texts": lambda x: strict.asarray(np.array(["a"])),
    "objects": lambda x: strict.asarray(np.array([2**70], object)),
    "the other byte order": lambda x: strict.asarray(np.ones(1, ">u4")),
    "flag": lambda x: x.flags.writeable,
    "interface of NumPy": lambda x: x.__array_interface__,
    "function that CuPy lacks": lambda x: np.nextafter.at(x, 0, x),
    "array as a key": lambda x: {x: 1},
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    with pytest.raises((TypeError, ValueError, AttributeError, IndexError)):
        REFUSED[what](on_device())


def test_taken():
    x = on_device()
    assert type(x[0, 0]) is type(x.sum()) is type(np.add(x, x)) is type(2 * x) is strict.StrictArray
    assert [int(word) for word in x[0]] == [1, 2]
    assert (x[:, [1, 0]] == x[:, ::-1]).all()
    assert x[np.array([True, False])].tolist() == [[1, 2]]
    one = x[1, 1]
    one[...] = np.uint64(9)
    assert x.tolist() == [[1, 2], [3, 9]]
    assert (strict.empty((2,), np.uint8).get() == strict.GARBAGE).all()
    assert x.get().flags.owndata


def test_functions_and_methods_are_those_of_cupy():
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cupy
    for function in strict.FUNCTIONS:
        theirs = inspect.signature(getattr(cupy, function.__name__)).parameters.values()
        ours = inspect.signature(function).parameters.values()
        assert [(p.name, p.kind) for p in ours] == [(p.name, p.kind) for p in theirs], function
    for name in strict.UFUNCS:
        assert isinstance(getattr(cupy, name), cupy.ufunc), name
    theirs = set(dir(cupy.ndarray))
    ours = {name for name in vars(strict.StrictArray) if name not in ("_host", "__dict__")}
    assert ours - theirs <= {"__weakref__", "__static_attributes__", "__firstlineno__"}


# Layers


@pytest.mark.parametrize("modulus", [2**64, 2**32, 1_000_003])
def test_ring(modulus):
    ring = Ring(modulus, "emulator")
    a, b = (ring.asarray(RNG.integers(0, 1000, (3, 3))) for _ in range(2))
    product = ring.matmul(ring.add(a, ring.neg(b)), ring.mul(ring.sub(a, b), 3))
    gap = ring.to_numpy(a).astype(object) - ring.to_numpy(b).astype(object)
    assert (ring.to_numpy(product) == gap @ (3 * gap) % modulus).all()


@pytest.mark.parametrize("kernel", matmul.KERNELS)
def test_matrix_products(kernel):
    backend = get_backend("emulator")
    for modulus in (2**64, 2**32, 65521):
        shapes = (2, 40, 35), (35, 33), (40, 8), (2, 8, 33)
        words = [RNG.integers(0, 65521, shape).astype(word_dtype(modulus)) for shape in shapes]
        a, b, c, d = (backend.asarray(word) for word in words)
        with matmul.forced(kernel):
            result = backend.matmul_pair(a[:, ::-1], Kept(b), c, Kept(d), modulus, add=b[0])
            other = backend.matmul_pair(Kept(a[:, ::-1]), b, Kept(c), d, modulus, out=result.copy())
        host = definition.matmul_pair(words[0][:, ::-1], *words[1:], modulus)
        assert (other.get() == host).all()
        total = definition_add(host, np.broadcast_to(words[1][0], host.shape), modulus)
        assert (result.get() == total).all()


@pytest.mark.parametrize("kernel", conv.KERNELS)
@pytest.mark.parametrize("modulus", [2**64, 2**32])
def test_convolutions(kernel, modulus):
    a, w = RNG.uniform(-1, 1, (1, 2, 5, 5)), RNG.uniform(-1, 1, (2, 2, 3, 3))
    made = []
    for device in ("emulator", "cpu"):
        with (
            he.Session(device=device, modulus=modulus, frac_bits=8, seed=1) as session,
            conv.forced(kernel),
        ):
            result = he.conv2d(session.share(a), session.share(w), padding=1, stride=2)
            made.append(session.backend.to_numpy(result.shares))
    np.testing.assert_array_equal(*made)


def test_arithmetic(session):
    a, b = RNG.uniform(-2, 2, (3, 4)), RNG.uniform(1, 2, (3, 4))
    x, y = session.share(a), session.share(b)
    near(x + y - 1.5 * x * b, a + b - 1.5 * a * b)
    near(x @ y.T + b.T[0, :3], a @ b.T + b.T[0, :3])
    near(x.masked() @ b.T, a @ b.T)
    near(x.masked().T @ y, a.T @ b)
    near((x * y).sum(axis=0) / 4 - x.mean(), (a * b).sum(axis=0) / 4 - a.mean())
    near(x.cumsum(1), a.cumsum(1))
    near(he.einsum("ij,kj->ik", x, y), a @ b.T)
    near(he.divide(x, y), a / b)
    near(he.where(a > 0, x, y), np.where(a > 0, a, b))


def test_indexing_and_shapes(session):
    a = np.arange(24.0).reshape(2, 3, 4)
    x, mask = session.share(a), a[:, :, 0] % 8 > 0
    keys = (
        *(1, np.int64(1), (..., None, 2), slice(None, None, -1), [0, 1, 0], mask, True, np.False_),
        *((0, [2, 0]), (np.int64(1), [2, 0]), (slice(None), [0, 2], [3, 1]), (1, mask[0])),
        *(([1, 0], slice(None), 2), (np.array([1, 0]), [[2], [0]]), [], (slice(1), mask[1])),
        *((mask[:, 0], [1]), (..., np.array([True, False, True, True])), (True, [1], 0)),
    )
    for key in keys:
        for tensor in (x, x.masked()):
            near(tensor[key], a[key], 0)
    for key in (5, [0, 2], ([0], [-4]), np.ones(3, bool)):
        with pytest.raises(he.errors.IndexRangeError):
            x[key]
    near(he.concatenate([x, he.flip(x, 1)], axis=2), np.concatenate([a, a[:, ::-1]], 2), 0)
    near(he.stack([x, 2 * x], 1), np.stack([a, 2 * a], 1), 0)
    near(he.pad(x, 1), np.pad(a, 1), 0)
    near(he.roll(he.tile(x, 2), 1), np.roll(np.tile(a, 2), 1), 0)
    near(he.repeat(he.moveaxis(x, 0, 2), 2, 1), np.moveaxis(a, 0, 2).repeat(2, 1), 0)
    near(he.tril(x) + he.diagonal(x, axis1=1, axis2=2)[:, :1, None], np.tril(a) + a[:, :1, :1], 0)


def test_comparison(session):
    a, b = RNG.integers(-9, 9, (3, 5)) / 4, RNG.integers(-9, 9, (3, 5)) / 4
    x, y = session.share(a), session.share(b)
    near(x < y, a < b, 0)
    near((x >= 0.5) * (x != y), (a >= 0.5) & (a != b), 0)
    near(he.relu(x), np.maximum(a, 0), 0)
    near(abs(x), abs(a), 0)
    near(he.clip(x, -1, y), np.clip(a, -1, b), 0)
    near(he.max(x, axis=1), a.max(1), 0)
    near(x.argmin(axis=0), a.argmin(0), 0)
    near(he.where(x > y, x, 1.0), np.where(a > b, a, 1.0), 0)
    near(he.sort(x, axis=1), np.sort(a, 1), 0)


def test_functions(session):
    a = np.array([[-1.5, 0.5, 2.0], [1.0, -0.25, 0.75]])
    x = session.share(a)
    near(he.sigmoid(x), 1 / (1 + np.exp(-a)))
    near(he.tanh(x), np.tanh(a))
    near(he.exp(x), np.exp(a))
    near(he.log(abs(x)), np.log(abs(a)))
    near(he.sqrt(abs(x)), np.sqrt(abs(a)))
    near(he.softmax(x, axis=1), np.exp(a) / np.exp(a).sum(1, keepdims=True))
    near(he.norm(x, axis=1), np.linalg.norm(a, axis=1))


def test_convolution(session):
    a, w = RNG.uniform(-1, 1, (1, 2, 5, 5)), RNG.uniform(-1, 1, (2, 2, 3, 3))
    x = session.share(a)
    result = he.conv2d(x, session.share(w), padding=1, stride=2)
    near(result, he.conv2d(x.masked(), w, padding=1, stride=2).reveal())
    windows = np.lib.stride_tricks.sliding_window_view(a, (2, 2), (2, 3))
    near(he.avg_pool2d(x, 2, 1), windows.mean((4, 5)))
    near(he.max_pool2d(x, 2, 1), windows.max((4, 5)))


def test_training(session):
    X, y = RNG.uniform(-1, 1, (6, 1, 4, 4)), np.arange(6) % 2
    optimizer = nn.Adam if session.modulus == 2**64 else nn.SGD
    model = nn.Sequential(
        *(nn.Conv2d(1, 2, 3, padding=1, random_state=0), nn.BatchNorm2d(2, eps=0.01), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2, random_state=0)),
        *(nn.Linear(8, 4, random_state=0), nn.LayerNorm(4, eps=0.01), nn.Tanh()),
        nn.Linear(4, 2, random_state=1),
    ).share(session)
    loop = nn.Trainer(
        model,
        nn.CrossEntropyLoss(),
        optimizer(model.parameters(), lr=0.01),
        batch_size=3,
        random_state=0,
        metrics={"accuracy": nn.accuracy},
    )
    loop.fit(session.share(X), y, epochs=1)
    assert np.isfinite(loop.loss_curve_).all()


@pytest.mark.parametrize("name", names())
def test_estimators(name):
    X = RNG.uniform(-1, 1, (20, 2))
    y = (X[:, 0] > 0).astype(int) if is_classifier(name) else X[:, 0]
    model = small(name)
    shorter = {"max_iter": 2, "n_steps": 3}
    model.set_params(**{k: v for k, v in shorter.items() if k in model.get_params()})
    features = model.transform(X) if hasattr(model, "transform") else X
    with he.Session(device="emulator", seed=1) as session, warnings.catch_warnings():
        warnings.simplefilter("ignore", he.errors.ConvergenceWarning)
        x = session.share(features)
        model.fit(x, y if is_classifier(name) else session.share(y))
        assert model.predict(x).reveal().shape == (20,)


@pytest.mark.parametrize("protocol", ["additive", "replicated", "plain"])
def test_the_job(protocol, capsys):
    cli.main(["xor", "--device", "emulator", "--protocol", protocol, "--steps", "20", "--json"])
    assert '"decrypted": 7' in capsys.readouterr().out


def test_shares_of_integers():
    x, y = (he.encrypt(RNG.integers(0, 9, (2, 2)), device="emulator") for _ in range(2))
    total, product = he.add(tuple(x), y), he.matmul(tuple(x), np.eye(2, dtype=int) * 3)
    assert (he.decrypt(total) == he.decrypt(*x) + he.decrypt(*y)).all()
    assert (he.decrypt(product) == he.decrypt(x) * 3).all()
    assert he.decrypt(he.product(he.encrypt(3, device="emulator"), 2)) == 6
    with pytest.raises(he.errors.ArgumentTypeError, match="got several in a list"):
        he.decrypt(list(x))
    with pytest.raises(he.errors.ArgumentTypeError, match="two devices"):
        he.decrypt(x[0], np.zeros((2, 2), np.uint64))


def test_ciphertexts():
    holder = he.he.Ckks(parameters(3), "emulator", 1)
    a, matrix = RNG.uniform(-1, 1, 4), RNG.uniform(-1, 1, (4, 4))
    assert get_backend("emulator").xp is strict.module
    party = holder.public([*range(-3, 4)])
    x = party.encrypt(a)
    y = party.load_ciphertext(holder.encrypt_with_secret_key(a).serialize())
    results = {
        "sum": (x + y - 0.5 * x + a, 2.5 * a),
        "product": (x * y * a, a**3),
        "matrix": (x @ matrix, a @ matrix),
        "rotation": (x.rotate(1), [*a[1:], 0]),
        "total": (x.sum(), a.sum()),
        "polynomial": (x.polynomial([1, 2, 3]), 1 + 2 * a + 3 * a**2),
        "chebyshev": (x.chebyshev([0.5, 1, 0.25]), 0.5 + a + 0.25 * (2 * a**2 - 1)),
    }
    for name, (ciphertext, expected) in results.items():
        found = holder.decrypt(ciphertext)[: np.size(expected)]
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=name)


def test_saved_ciphertexts_and_public_decryption():
    holder = he.he.Ckks(parameters(1, public_queries=4), "emulator", 1)
    a = RNG.uniform(-1, 1, 4)
    x = holder.encrypt(a)
    assert abs(holder.decrypt_public(x * x) - a**2).max() < 1e-2
    for again in (
        he.he.Ckks.load(holder.serialize(secret_key=True), "emulator"),
        he.he.Ckks.load(holder.public([1]).serialize(), "emulator"),
    ):
        loaded = again.load_ciphertext(x.serialize())
        assert (
            abs(holder.decrypt(holder.load_ciphertext((loaded * a).serialize())) - a**2).max()
            < 1e-2
        )


def test_training_on_ciphertexts():
    layout = Layout.of(2, 4, 512)
    holder = he.he.Ckks(parameters(3), "emulator", 1)
    party = holder.public(rotations(*layout), conjugation=False)
    F, y = RNG.uniform(-0.4, 0.4, (2, 4)), np.array([1.0, -1.0])
    operands = (
        party.load_ciphertext(holder.encrypt_with_secret_key(values).serialize())
        for values in (layout.features(F), layout.targets(y))
    )
    features, targets = operands
    w = F.T @ (2 * y - F @ (F.T @ y))
    residual = residual_descent(features, targets, layout.n, layout.columns, 2)
    gradient, n_steps = gradient_descent(features, targets, layout.n, layout.columns)
    assert n_steps == 2
    for found in (residual, gradient):
        assert abs(holder.decrypt(found)[:4] - w).max() < 1e-3
