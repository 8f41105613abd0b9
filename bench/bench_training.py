"""Training by `he_gpu.nn` beside the same training in the clear.

Logistic regression, a multilayer perceptron and a small LeNet on scikit-learn's data, with the
accuracy of plaintext; and steps of larger networks on synthetic images, taken apart.
"""

import numpy as np
import pytest

import he_gpu as he
from bench import breakdown, torch_peer
from bench.operands import SCHEMES, by_device
from he_gpu import nn

LARGEST_RATIO = {"logistic regression": 350, "perceptron": 250}
"""Times the loop in the clear, on the CPU."""
EPOCHS, RATE = 20, 0.5
"""Of logistic regression, on the whole of its data."""
BATCH, MLP_RATE, MOMENTUM = 64, 0.1, 0.9
LENET_BATCH, LENET_RATE, LENET_EPOCHS = 32, 0.05, 8
"""With momentum, and a rate that falls as a cosine."""
NEAR_STARTS = 5
SHAPES = {"cpu": 128, "cuda": 128, "emulator": 2}
"""Images in a batch."""
ROUNDS, LONG_ROUNDS = 11, 5

schemes = pytest.mark.parametrize("scheme", ["2 parties", "replicated"])


def data(name, seed=0):
    """Training and test data: standardised features, or pixels in [0, 1]."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn brings the data")
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))
    X, y, n = X[order], y[order], len(X) * 4 // 5
    if name == "digits":
        return X[:n] / 16, X[n:] / 16, y[:n], y[n:]
    mean, spread = X[:n].mean(0), X[:n].std(0)
    X = (X - mean) / spread
    return X[:n], X[n:], y[:n], y[n:]


def regressed(X, y):
    """Logistic regression in float64: weights and intercept after the epochs."""
    w, b = np.zeros((1, X.shape[1])), np.zeros(1)
    for _ in range(EPOCHS):
        e = 1 / (1 + np.exp(-(X @ w.T + b))) - y
        w = w - RATE / len(X) * (e.T @ X)
        b = b - RATE / len(X) * e.sum(0)
    return w, b


def regressed_on_shares(X, y, device, scheme):
    """Everything a user waits for: session, sharing, dealer, epochs, revealed weights."""
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        model = nn.Linear(X.shape[1], 1)
        model.load_state_dict({"weight": np.zeros((1, X.shape[1])), "bias": np.zeros(1)})
        model.share(session)
        x, target = nn.Variable(session.share(X)), session.share(y)
        loss, optimiser = nn.BCEWithLogitsLoss(), nn.SGD(model.parameters(), lr=RATE)
        for _ in session.steps(EPOCHS):
            step(model, x, target, loss, optimiser)
        return model.reveal()


def step(model, x, target, loss, optimiser):
    optimiser.zero_grad()
    loss(model(x), target).backward()
    optimiser.step()


@schemes
def test_logistic_regression(scheme, device, record):
    X, X_test, y, y_test = data("breast_cancer")
    y = y[:, None] * 1.0
    w, b = regressed(X, y)
    found = regressed_on_shares(X, y, device, scheme)

    def accuracy(weight, bias):
        return float((((X_test @ weight.T + bias)[:, 0] > 0) == y_test).mean())

    expected = accuracy(w, b)
    assert accuracy(found.weight.value, found.bias.value) == expected
    demanded = LARGEST_RATIO["logistic regression"] if device == "cpu" else None
    record.compare(
        f"logistic regression, breast cancer, {EPOCHS} epochs, {scheme} in one process",
        lambda: regressed_on_shares(X, y, device, scheme),
        {"plaintext NumPy": lambda: regressed(X, y)},
        rounds=ROUNDS,
        at_most={} if demanded is None else {"plaintext NumPy": demanded},
        headline=True,
        accuracy=expected,
        **SCHEMES[scheme],
    )


def perceptron():
    return nn.Sequential(
        nn.Linear(64, 32, random_state=0), nn.ReLU(), nn.Linear(32, 10, random_state=1)
    )


def starts(n):
    return range(0, n - BATCH + 1, BATCH)


def perceived(X, hot):
    """An epoch of the perceptron in float32: weights and biases afterwards."""
    state = [np.float32(value) for value in perceptron().state_dict().values()]
    buffers = [np.zeros_like(value) for value in state]
    for at in starts(len(X)):
        x, target = X[at : at + BATCH], hot[at : at + BATCH]
        w1, b1, w2, b2 = state
        h = np.maximum(x @ w1.T + b1, 0)
        z = h @ w2.T + b2
        weights = np.exp(z - z.max(1, keepdims=True))
        g = (weights / weights.sum(1, keepdims=True) - target) / np.float32(BATCH)
        back = (g @ w2) * (h > 0)
        slopes = back.T @ x, back.sum(0), g.T @ h, g.sum(0)
        for index, slope in enumerate(slopes):
            buffers[index] = np.float32(MOMENTUM) * buffers[index] + slope
            state[index] = state[index] - np.float32(MLP_RATE) * buffers[index]
    return state


def perceived_on_shares(X, y, device, scheme):
    """An epoch on shares, from the session to the revealed weights."""
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        model, x = perceptron().share(session), session.share(X)
        loss = nn.CrossEntropyLoss()
        optimiser = nn.SGD(model.parameters(), lr=MLP_RATE, momentum=MOMENTUM)
        batches = starts(len(X))
        for at, _ in zip(batches, session.steps(len(batches)), strict=True):
            step(model, x[at : at + BATCH], y[at : at + BATCH], loss, optimiser)
        return model.reveal()


@schemes
def test_perceptron(scheme, device, record):
    X, X_test, y, y_test = data("digits")
    single, hot = np.float32(X), np.eye(10, dtype=np.float32)[y]

    def accuracy(state):
        w1, b1, w2, b2 = state
        z = np.maximum(X_test @ w1.T + b1, 0) @ w2.T + b2
        return float((z.argmax(1) == y_test).mean())

    expected = accuracy(perceived(single, hot))
    found = accuracy(perceived_on_shares(X, y, device, scheme).state_dict().values())
    assert abs(found - expected) <= 0.005
    demanded = LARGEST_RATIO["perceptron"] if device == "cpu" else None
    record.compare(
        f"perceptron 64-32-10, digits, an epoch of batches of {BATCH}, {scheme} in one process",
        lambda: perceived_on_shares(X, y, device, scheme),
        {"plaintext NumPy, float32": lambda: perceived(single, hot)},
        rounds=ROUNDS,
        at_most={} if demanded is None else {"plaintext NumPy, float32": demanded},
        headline=True,
        accuracy=found,
        plaintext_accuracy=expected,
        **SCHEMES[scheme],
    )


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, random_state=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 3, random_state=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 32, random_state=2),
        nn.ReLU(),
        nn.Linear(32, 10, random_state=3),
    )


def convolved(model, X, y, epochs):
    """Train the small LeNet on secret or public images for the first of `LENET_EPOCHS`."""
    loss = nn.CrossEntropyLoss()
    optimiser = nn.SGD(model.parameters(), lr=LENET_RATE, momentum=MOMENTUM)
    schedule = nn.CosineAnnealingLR(optimiser, LENET_EPOCHS)
    for _ in range(epochs):
        for at in range(0, len(X) - LENET_BATCH + 1, LENET_BATCH):
            batch = slice(at, at + LENET_BATCH)
            step(model, X[batch], y[batch], loss, optimiser)
        schedule.step()
    return model


def convolved_in_the_clear(X, y, X_test, y_test):
    """The mean accuracy in float64 from starts that differ by roundings of 2**-16.

    Rectified convolutions magnify such a difference to tenths of a weight within the epochs, so
    that one training in the clear is no better a reference than another.
    """
    found = []
    for seed in range(NEAR_STARTS):
        model, rng = lenet(), np.random.default_rng(seed)
        for p in model.parameters():
            p.assign(p.value + rng.uniform(-(2.0**-17), 2.0**-17, p.shape))
        convolved(model, X, y, LENET_EPOCHS)
        with nn.no_grad():
            found.append(nn.accuracy(model(X_test), y_test))
    return float(np.mean(found))


def convolved_on_shares(X, y, device, scheme, epochs):
    """Epochs on shares, from the session to the revealed weights."""
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        return convolved(lenet().share(session), session.share(X), y, epochs).reveal()


@schemes
def test_lenet(scheme, device, backend, record):
    X, X_test, y, y_test = data("digits")
    X, X_test = X.reshape(-1, 1, 8, 8), X_test.reshape(-1, 1, 8, 8)
    facts = {}
    if backend.name == "emulator":
        X, y = X[:LENET_BATCH], y[:LENET_BATCH]
    else:
        expected = convolved_in_the_clear(X, y, X_test, y_test)
        model = convolved_on_shares(X, y, device, scheme, LENET_EPOCHS)
        with nn.no_grad():
            found = nn.accuracy(model(X_test), y_test)
        assert abs(found - expected) <= 0.01
        facts = {"accuracy": found, "plaintext_accuracy": expected, "epochs": LENET_EPOCHS}
    baselines = {"he_gpu.nn on public float64": lambda: convolved(lenet(), X, y, 1)}
    if torch_peer.absent(device) is None:
        baselines["plaintext PyTorch, float32"] = peer(lenet(), X, y, device, LENET_BATCH)
    record.compare(
        f"LeNet, 8 x 8 digits, an epoch of batches of {LENET_BATCH}, {scheme} in one process",
        lambda: convolved_on_shares(X, y, device, scheme, 1),
        baselines,
        rounds=LONG_ROUNDS,
        headline=True,
        **facts,
        **SCHEMES[scheme],
    )


NETWORKS = {
    "784-128-128-10": lambda: nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 128, random_state=0),
        nn.ReLU(),
        nn.Linear(128, 128, random_state=1),
        nn.ReLU(),
        nn.Linear(128, 10, random_state=2),
    ),
    "LeNet": lambda: nn.Sequential(
        nn.Conv2d(1, 20, 5, random_state=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5, random_state=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500, random_state=2),
        nn.ReLU(),
        nn.Linear(500, 10, random_state=3),
    ),
}


@schemes
@pytest.mark.parametrize("network", NETWORKS)
def test_step(network, scheme, device, backend, record):
    n = by_device(backend, **SHAPES)
    rng = np.random.default_rng(0)
    images, classes = rng.uniform(0, 1, (n, 1, 28, 28)), rng.integers(0, 10, n)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        model, plain = NETWORKS[network]().share(session), NETWORKS[network]()
        loss, x = nn.CrossEntropyLoss(), session.share(images)
        optimiser = nn.SGD(model.parameters(), lr=MLP_RATE)
        clear = nn.SGD(plain.parameters(), lr=MLP_RATE)
        step(model, x, classes, loss, optimiser)
        step(plain, images, classes, loss, clear)
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            assert np.abs(ours.reveal() - theirs.value).max() < 2.0**-10
        before = session.cost
        step(model, x, classes, loss, optimiser)
        cost = session.cost - before
        baselines = {
            "he_gpu.nn on public float64": lambda: step(plain, images, classes, loss, clear)
        }
        if torch_peer.absent(device) is None:
            made = NETWORKS[network]()
            baselines["plaintext PyTorch, float32"] = peer(made, images, classes, device, n)
        record.compare(
            f"step of {network}, batch {n}, {scheme} in one process",
            lambda: step(model, x, classes, loss, optimiser),
            baselines,
            rounds=ROUNDS,
            protocol_rounds=cost.rounds,
            bytes_sent=cost.bytes_sent,
            dealer_bytes=cost.dealer_bytes,
            step=f"a step of {network}, batch {n}",
            scheme=scheme,
            **apart(backend, model, x, classes, loss, optimiser),
            **SCHEMES[scheme],
        )


def apart(backend, model, x, target, loss, optimiser):
    """Seconds of the parts of a step, and of the layers of the stack in it."""

    def stack(clock):
        with breakdown.by_kernel(clock, backend):
            step(model, x, target, loss, optimiser)

    def parts(clock):
        breakdown.by_part(clock, model, x, target, loss, optimiser)

    return breakdown.measured(backend, {"parts": parts, "stack": stack}, LONG_ROUNDS)


def peer(network, images, classes, device, size):
    """The same steps in PyTorch, with batches of a size."""
    torch, place = torch_peer.module(), torch_peer.place(device)
    model = nn.to_torch(network).to(place)
    x = torch.tensor(images, dtype=torch.float32, device=place)
    target = torch.tensor(classes, device=place)
    loss = torch.nn.CrossEntropyLoss()
    optimiser = torch.optim.SGD(model.parameters(), lr=MLP_RATE)

    def run():
        for at in range(0, len(x) - size + 1, size):
            optimiser.zero_grad()
            loss(model(x[at : at + size]), target[at : at + size]).backward()
            optimiser.step()
        if place != "cpu":
            torch.cuda.synchronize()

    return run
