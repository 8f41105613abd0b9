"""Training whose steps a device repeats: the same weights, losses and costs, to the last bit."""

import gc
import weakref

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.backend import emulator
from he_gpu.errors import CaptureError
from he_gpu.nn import repeated_step
from tests.backend import strict
from tests.conftest import require_device

RNG = np.random.default_rng(4)
X = RNG.uniform(-1, 1, (22, 3))
Y = X @ [[1.0], [-0.5], [0.25]]


@pytest.fixture(params=["emulator", "cuda"])
def graph_device(request):
    name = require_device(request.param)
    if name == "emulator" and isinstance(emulator.device(), strict.StrictEmulator):
        pytest.skip("graphs of the emulator are of NumPy's arrays")
    return name


class Counting(nn.Sequential):
    """A model that counts how often Python runs it in training."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.calls = []

    @property
    def n_calls(self):
        return len(self.calls)

    def forward(self, x):
        if self.training:
            self.calls.append(x)
        return super().forward(x)


def network(*between):
    return Counting(
        nn.Linear(3, 4, random_state=0), nn.ReLU(), *between, nn.Linear(4, 1, random_state=1)
    )


def halved(optimizer):
    return nn.StepLR(optimizer, 2, 0.5)


OPTIMIZERS = {
    "sgd": lambda p: nn.SGD(p, lr=0.1),
    "momentum": lambda p: nn.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: nn.SGD(p, lr=0.05, momentum=0.5, nesterov=True),
    "adam": lambda p: nn.Adam(p, lr=0.05),
}


def trained(device, optimizer, protocol="additive", model=None, schedule=None, **arguments):
    """What a training leaves: losses, weights, what the optimiser remembers, cost and calls."""
    arguments = {"batch_size": 8, "random_state": 0} | arguments
    with he.Session(protocol=protocol, device=device, seed=2, graph=True) as s:
        model = network() if model is None else model
        optimiser = OPTIMIZERS[optimizer](model.parameters())
        trainer = nn.Trainer(
            model,
            nn.MSELoss(),
            optimiser,
            schedule=None if schedule is None else schedule(optimiser),
            **arguments,
        )
        trainer.fit(s.share(X), s.share(Y), epochs=4)
        trainer.fit(s.share(X[:14]), s.share(Y[:14]), epochs=3)  # goes on with what was recorded
        remembered = {
            (index, name): value.reveal() if isinstance(value, he.SecretTensor) else value
            for index, entry in optimiser.state_dict()["state"].items()
            for name, value in entry.items()
        }
        weights = [s.backend.to_numpy(p.value.shares) for p in model.parameters()]
        return trainer.loss_curve_, weights, remembered, s.cost, model.n_calls


def assert_equal(found, expected):
    for got, wanted in zip(found[:4], expected[:4], strict=True):
        if isinstance(got, dict):
            assert got.keys() == wanted.keys()
            got, wanted = list(got.values()), list(wanted.values())
        if isinstance(got, list):
            assert len(got) == len(wanted)
            assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
        else:
            assert got == wanted


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_is_the_same_to_the_last_bit(graph_device, protocol, optimizer):
    expected = trained("cpu", optimizer, protocol)
    found = trained(graph_device, optimizer, protocol)
    assert_equal(found, expected)
    assert expected[4] == 4 * 3 + 3 * 2
    if optimizer == "adam":  # whose rate is another one in each step
        assert found[4] == expected[4]
    else:  # batches of 8 and of 6 rows, three times each, and the first step of public weights
        assert found[4] < expected[4]


def test_a_schedule_begins_a_kind_of_step_with_each_rate(graph_device):
    expected = trained("cpu", "sgd", schedule=halved)
    found = trained(graph_device, "sgd", schedule=halved)
    assert_equal(found, expected)


def test_kinds_are_forgotten_before_they_fill_the_memory(graph_device, monkeypatch):
    monkeypatch.setattr(repeated_step, "MOST_KINDS", 1)
    expected, found = (trained(d, "momentum", shuffle=False) for d in ("cpu", graph_device))
    assert_equal(found, expected)


@pytest.mark.parametrize(
    "layer", [lambda: nn.Dropout(0.5, random_state=0), lambda: nn.BatchNorm1d(4)]
)
def test_layers_that_vary_are_not_repeated(graph_device, layer):
    expected = trained("cpu", "sgd", model=network(layer()))
    found = trained(graph_device, "sgd", model=network(layer()))
    assert_equal(found, expected)
    assert found[4] == expected[4]


def test_a_layer_whose_numbers_change_is_not_repeated(graph_device):
    expected = trained("cpu", "sgd", model=network(CountingCalls()))
    found = trained(graph_device, "sgd", model=network(CountingCalls()))
    assert_equal(found, expected)
    assert found[4] == expected[4]


class Scale(nn.Module):
    """What is read by a step and not learnt: a parameter, a buffer and a number."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.array([0.5, 0.25, -0.5, 1.0]))
        self.register_buffer("offset", np.array([0.125, 0.0, 0.25, -0.125]))
        self.factor = 1.0

    def forward(self, x):
        return x * self.weight * self.factor + nn.Variable(self.offset)


def squares(factor):
    return lambda prediction, target: ((prediction - target) ** 2).mean() * factor


CHANGES = {
    "a parameter": lambda trainer, scale: scale.weight.assign(scale.weight.value * 2),
    "a buffer": lambda trainer, scale: scale.register_buffer("offset", scale.offset + 0.5),
    "a number": lambda trainer, scale: setattr(scale, "factor", 0.5),
    "a flag": lambda trainer, scale: setattr(
        trainer.optimizer.parameters[0], "requires_grad", False
    ),
    "a reduction": lambda trainer, scale: setattr(trainer.loss, "reduction", "sum"),
    "the loss": lambda trainer, scale: setattr(trainer, "loss", nn.L1Loss()),
    "a function": lambda trainer, scale: setattr(trainer, "loss", squares(trainer.n_epochs_)),
    "the optimiser": lambda trainer, scale: setattr(
        trainer, "optimizer", nn.SGD(trainer.optimizer.parameters, lr=0.01, momentum=0.5)
    ),
    "the rate": lambda trainer, scale: setattr(trainer.optimizer, "lr", 0.01),
    "the decay": lambda trainer, scale: trainer.optimizer.param_groups[0].update(weight_decay=0.5),
    "all parameters": lambda trainer, scale: trainer.model.load_state_dict(
        {name: value * 0.5 for name, value in trainer.model.state_dict().items()}
    ),
}


@pytest.mark.parametrize("secret", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_what_callbacks_change_counts_from_the_next_step_on(graph_device, change, secret):
    runs = []
    for device, graph in (("cpu", True), (graph_device, True), ("cpu", False)):
        with he.Session(device=device, seed=3, graph=graph) as s:
            scale = Scale()
            model = network(scale)
            if secret:
                model.share(s)
            learnt = [p for p in model.parameters() if p is not scale.weight]

            def callback(trainer, scale=scale):
                if trainer.n_epochs_ in (4, 5):
                    CHANGES[change](trainer, scale)

            trainer = nn.Trainer(
                model,
                nn.MSELoss(),
                nn.SGD(learnt, lr=0.05),
                batch_size=None,
                callbacks=[callback],
                max_growth=None,
            )
            trainer.fit(s.share(X), s.share(Y), epochs=10)
            weights = [to_words(p.value) for p in model.parameters()]
            runs.append((trainer.loss_curve_, weights, s.cost, model.n_calls))
    assert runs[1][0] == runs[0][0]
    assert runs[1][2] == runs[0][2]
    assert all(np.array_equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))
    assert runs[1][3] < runs[0][3]
    np.testing.assert_allclose(runs[0][0], runs[2][0], rtol=1e-2, atol=1e-3)


def to_words(value):
    return value.session.backend.to_numpy(value.shares) if he_is_secret(value) else value


def he_is_secret(value):
    return isinstance(value, he.SecretTensor)


def test_an_optimiser_that_was_assigned_is_the_one_that_learns(graph_device):
    with he.Session(device=graph_device, graph=True) as s:
        model = network()
        trainer = nn.Trainer(model, nn.MSELoss(), nn.SGD(model.parameters(), lr=0.1))
        trainer.fit(s.share(X), s.share(Y), epochs=1)
        trainer.optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.5)
        trainer.fit(s.share(X), s.share(Y), epochs=1)
        assert len(trainer.optimizer.state_dict()["state"]) == 4


def test_recordings_go_with_their_trainer_and_their_kind(graph_device):
    """Without the garbage collector, which does not know how much memory they take."""
    gc.collect()
    gc.disable()
    try:
        with he.Session(device=graph_device, graph=True) as s:
            model = network().share(s)
            step = repeated_step.RepeatedStep(model, nn.SGD(model.parameters(), lr=0.1))
            x, y, loss = nn.Variable(s.share(X)), s.share(Y), nn.MSELoss()
            for _ in range(4):
                step(x, y, loss)
            step(x, y, nn.L1Loss())
            first, second = step._kinds.values()
            (repeated,) = first.captured._kinds.values()
            gone = [weakref.ref(each) for each in (first, second, repeated, repeated._graph)]
            del first, second, repeated, step
            assert [each() for each in gone] == [None] * 4
    finally:
        gc.enable()


def test_a_trainer_goes_on_in_another_session(graph_device):
    model = network()
    optimiser = nn.SGD(model.parameters(), lr=0.05, momentum=0.5)
    trainer = nn.Trainer(model, nn.MSELoss(), optimiser, batch_size=None)
    for _ in range(2):
        with he.Session(device=graph_device, graph=True) as s:
            model.share(s)
            optimiser.share(s)
            trainer.fit(s.share(X), s.share(Y), epochs=5)
            model.reveal()
            optimiser.reveal()
    assert {kind.session for kind in trainer._take._kinds.values()} == {s}
    assert model.n_calls == 2 * 3 + 1  # the first step has no momentum
    assert trainer.loss_curve_[-1] < trainer.loss_curve_[4] < trainer.loss_curve_[0]


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_metrics_between_steps_may_begin_to_draw(graph_device, protocol):
    """Comparisons, and another owner, take generators that the step has not."""
    runs = []
    for device in ("cpu", graph_device):
        with he.Session(protocol=protocol, device=device, seed=3, graph=True) as s:
            model = Counting(nn.Linear(3, 1, random_state=0)).share(s)

            def callback(trainer, s=s):
                if trainer.n_epochs_ == 2:
                    (s.share(X, owner="bob") > 0).reveal()

            trainer = nn.Trainer(
                model,
                nn.MSELoss(),
                nn.SGD(model.parameters(), lr=0.1),
                batch_size=None,
                callbacks=[callback],
            )
            trainer.fit(s.share(X), s.share(Y), epochs=6)
            runs.append((trainer.loss_curve_, s.cost, model.n_calls))
    assert runs[0][:2] == runs[1][:2]
    assert (runs[0][2], runs[1][2]) == (6, 4)  # it is rehearsed twice


def test_public_targets_are_not_repeated(graph_device):
    with he.Session(device=graph_device, graph=True) as s:
        model = network()
        optimiser = nn.SGD(model.parameters(), lr=0.1)
        trainer = nn.Trainer(model, nn.MSELoss(), optimiser, batch_size=11)
        trainer.fit(s.share(X), Y, epochs=4)
        assert model.n_calls == 8
        assert trainer.loss_curve_[-1] < trainer.loss_curve_[0]


class Varying(nn.Module):
    """A user's layer that does not say that it varies."""

    def __init__(self):
        super().__init__()
        self.calls = [0]

    def forward(self, x):
        self.calls[0] += 1
        return x * (1 + self.calls[0])


class CountingCalls(nn.Module):
    """One that can be seen to vary."""

    def __init__(self):
        super().__init__()
        self.n_forward = 0

    def forward(self, x):
        self.n_forward += self.training
        return x * (1 + self.n_forward % 3)


def test_a_layer_that_varies_in_secret_is_found_and_nothing_is_lost(graph_device):
    with he.Session(device=graph_device, graph=True) as s:
        model = nn.Sequential(nn.Linear(3, 1, random_state=0), Varying())
        optimiser = nn.SGD(model.parameters(), lr=1e-3)
        before = []

        def callback(trainer):
            before[:] = [p.value for p in model.parameters()]

        trainer = nn.Trainer(
            model,
            nn.MSELoss(),
            optimiser,
            log_every=0,
            batch_size=None,
            callbacks=[callback],
        )
        trainer.fit(s.share(X), s.share(Y), epochs=2)
        with pytest.raises(CaptureError, match="the same each time"):
            trainer.fit(s.share(X), s.share(Y), epochs=3)
        after = [p.value for p in model.parameters()]
        assert all(a is b for a, b in zip(after, before, strict=True))
        assert all(np.abs(a.reveal()).max() < 2 for a in after)
        model(s.share(X))  # of values that are the model's own, and no longer a recording's


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_the_descent_of_a_wide_reservoir_is_repeated(graph_device, protocol, monkeypatch):
    """Too wide for one block: its steps are single ones, which a graph repeats."""
    from he_gpu.mpc.scheme import Scheme

    for scheme in ("additive.Additive", "replicated.Replicated"):
        monkeypatch.setattr(f"he_gpu.mpc.{scheme}.descend", Scheme.descend)
    runs = []
    for device in ("cpu", graph_device):
        with he.Session(protocol=protocol, device=device, seed=6, graph=True) as s:
            model = he.ReservoirRegressor(width=8, n_steps=20, log_every=7, learning_rate=0.02)
            model.fit(X[:5, :2], Y[:5, 0], session=s)
            weights = s.backend.to_numpy(model.coef_.shares)
            runs.append((model.loss_curve_, weights.tolist(), s.cost))
    assert runs[0] == runs[1]
