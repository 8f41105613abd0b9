"""The training loop beside one written by hand, on every session: equal to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

import he_gpu as he
from he_gpu import nn
from he_gpu.nn import loss_curve, trainer
from he_gpu.nn.loss_curve import EpochLoss, LossCurve
from tests.sessions import SESSIONS, open_session

HOSTED = [name for name in SESSIONS if not name.startswith(("emulator", "cuda"))]
RNG = np.random.default_rng(7)
X = RNG.integers(-256, 256, (22, 3)) / 256
Y = X @ [[1.0], [-0.5], [0.25]] + 0.5
CLASSES = (X.sum(1) > 0).astype(int)


def linear(random_state=0):
    """A layer whose parameters sharing keeps exactly."""
    layer = nn.Linear(3, 1, random_state=random_state)
    state = {name: np.round(value * 256) / 256 for name, value in layer.state_dict().items()}
    layer.load_state_dict(state)
    return layer


def network():
    return nn.Sequential(
        nn.Linear(3, 4, random_state=0), nn.ReLU(), nn.Linear(4, 2, random_state=1)
    )


def trained(model=None, X=X, y=Y, loss=None, lr=0.25, epochs=3, **arguments):
    """A trainer after its fit."""
    model = linear() if model is None else model
    arguments = {"batch_size": 8, "random_state": 0} | arguments
    optimiser = nn.SGD(model.parameters(), lr=lr)
    loss = nn.MSELoss() if loss is None else loss
    return nn.Trainer(model, loss, optimiser, **arguments).fit(X, y, epochs)


def opened(session, monkeypatch):
    """The shapes of what is revealed from now on."""
    shapes, scheme = [], session.scheme
    open_ = scheme.open

    def counted(stack):
        words = open_(stack)
        shapes.append(tuple(words.shape))
        return words

    monkeypatch.setattr(scheme, "open", counted)
    return shapes


class Seen(nn.Module):
    """A model that notes the rows it was given, by their first number, and its mode."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 1, random_state=0)
        self.rows, self.modes, self.recorded = [], [], []

    def forward(self, x):
        self.rows.append(x.value[:, 0].astype(int).tolist())
        self.modes.append(self.training)
        found = self.inner(x * 0.01)
        self.recorded.append(found.requires_grad)
        return found


def numbered(n=22):
    return np.arange(n, dtype=float)[:, None]


# The loop


def by_hand(session, model, x, y, loss_of, optimiser, epochs, size=8, logged=True):
    """What the trainer is to do; returns the losses."""
    x, order, losses = x.masked(), np.random.default_rng(0), []
    n_equal = len(x) // size
    for _ in range(epochs):
        rows = order.permutation(len(x))
        made = []

        def step(index, rows=rows, made=made):
            batch = rows[index * size : (index + 1) * size]
            target = y[batch]
            optimiser.zero_grad()
            prediction = model(x[batch])
            loss_of(prediction, target).backward()
            optimiser.step()
            made.append((prediction.value, target))

        for index in session.steps(n_equal):
            step(index)
        if len(x) % size:
            step(n_equal)
        if logged:
            predictions, targets = zip(*made, strict=True)
            secret = isinstance(y, he.SecretTensor)
            targets = (he.concatenate if secret else np.concatenate)(targets)
            with nn.no_grad():
                loss = loss_of(he.concatenate(predictions), targets)
            losses.append(float(loss.reveal()))
    return losses


@pytest.mark.parametrize("kind", ["secret", "classes"])
@pytest.mark.parametrize("name", HOSTED)
def test_a_fit_equals_the_loop_by_hand(name, kind):
    found = []
    for written in (True, False):
        with open_session(name) as s:
            model = (linear() if kind == "secret" else network()).share(s)
            x, y = s.share(X), s.share(Y) if kind == "secret" else CLASSES
            loss_of = nn.MSELoss() if kind == "secret" else nn.CrossEntropyLoss()
            optimiser = nn.SGD(model.parameters(), lr=0.25, momentum=0.5)
            if written:
                losses = by_hand(s, model, x, y, loss_of, optimiser, 3)
            else:
                loop = nn.Trainer(model, loss_of, optimiser, batch_size=8, random_state=0)
                losses = loop.fit(x, y, 3).loss_curve_
            cost = s.cost
            state = [value.reveal().tolist() for value in model.state_dict().values()]
            found.append((losses, state, cost))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["additive-64", "replicated-32"])
def test_without_a_logged_loss_nothing_is_revealed_and_none_is_computed(name, monkeypatch):
    with open_session(name) as s:
        model, x, y = network().share(s), s.share(X), CLASSES
        by_hand(
            s, model, x, y, nn.CrossEntropyLoss(), nn.SGD(model.parameters(), 0.25), 2, logged=False
        )
        written = s.cost
    with open_session(name) as s:
        model, x = network().share(s), s.share(X)
        shapes = opened(s, monkeypatch)
        loop = trained(model, x, CLASSES, nn.CrossEntropyLoss(), epochs=2, log_every=0)
        assert s.cost == written
        assert (shapes, loop.loss_curve_, loop.loss_epochs_) == ([], [], [])
        assert loop.n_epochs_ == 2


@pytest.mark.parametrize("name", HOSTED)
def test_one_number_is_revealed_for_a_logged_epoch_and_for_a_metric(name, monkeypatch):
    with open_session(name) as s:
        x, y = s.share(X), s.share(np.eye(2)[CLASSES])
        model = network().share(s)
        shapes = opened(s, monkeypatch)
        loop = trained(model, x, y, nn.CrossEntropyLoss(), epochs=5, log_every=2)
        assert shapes == [()] * 3
        assert loop.loss_epochs_ == [0, 2, 4]
        shapes.clear()
        loop = trained(
            model, x, y, nn.CrossEntropyLoss(), epochs=3, log_every=2,
            metrics={"accuracy": nn.accuracy, "loss of all": nn.CrossEntropyLoss()},
        )  # fmt: skip
        assert shapes == [()] * 6
        assert loop.metric_epochs_ == loop.loss_epochs_ == [0, 2]
        assert all(0 <= value <= 1 for value in loop.metrics_["accuracy"])
        assert len(loop.metrics_["loss of all"]) == 2
        loop = trained(
            model, x, y, nn.CrossEntropyLoss(), log_every=0, metrics={"accuracy": nn.accuracy}
        )
        assert (loop.metric_epochs_, loop.loss_curve_) == ([0, 1, 2], [])


@pytest.mark.parametrize("secret", [(), "m", "x", "y", "mx", "my", "xy", "mxy"], ids="".join)
@pytest.mark.parametrize("name", HOSTED)
def test_model_inputs_and_targets_may_each_be_secret(name, secret):
    public = trained()
    with open_session(name) as s:
        model = linear()
        if "m" in secret:
            model.share(s)
        x, y = (s.share(v) if mark in secret else v for v, mark in ((X, "x"), (Y, "y")))
        loop = trained(model, x, y)
        assert all(value.is_secret for value in model.parameters()) == bool(secret)
        found = [nn.Variable(value).reveal() for value in model.state_dict().values()]
    # Per step, with u = 2^-frac_bits: residuals are off by 2 u, so that a mean of residuals times
    # numbers below 1, twice, times lr = 1/4 is off by u, the product by u / 4 and the parameter by
    # u / 4. Descent on a convex loss below 2 / curvature makes errors no larger. Modulo 2^32 lr / 6
    # of the last batch has 9 bits or more, of steps that sum to less than 1.
    limit = 1.5 * 9 * 2.0**-s.frac_bits + (2.0**-10 if "32" in name else 0)
    if not secret:
        limit = 0
    for ours, theirs in zip(found, public.model.state_dict().values(), strict=True):
        assert np.abs(ours - theirs).max() <= limit
    # A loss moves with its residuals, below 2, twice; its own roundings are 3 units.
    limit = limit and 2 * 2 * 4 * limit + 3 * 2.0**-s.frac_bits
    np.testing.assert_allclose(loop.loss_curve_, public.loss_curve_, rtol=0, atol=limit)


def test_public_numbers_learn_in_numpy():
    w, b = linear().weight.value, linear().bias.value
    order, losses = np.random.default_rng(0), []
    for _ in range(3):
        rows, total = order.permutation(22), 0.0
        for at in range(0, 22, 8):
            x, y = X[rows[at : at + 8]], Y[rows[at : at + 8]]
            e = x @ w.T + b - y
            total += (e**2).sum()
            w, b = w - 0.25 * 2 / len(x) * e.T @ x, b - 0.25 * 2 / len(x) * e.sum(0)
        losses.append(total / 22)
    found = trained()
    np.testing.assert_allclose(found.model.weight.value, w, rtol=1e-12)
    np.testing.assert_allclose(found.model.bias.value, b, rtol=1e-12)
    np.testing.assert_allclose(found.loss_curve_, losses, rtol=1e-12)
    summed = trained(loss=nn.MSELoss("sum"), lr=0.25 / 22, batch_size=None, epochs=1)
    mean = trained(batch_size=None, epochs=1)
    np.testing.assert_allclose(summed.loss_curve_, [22 * mean.loss_curve_[0]], rtol=1e-12)


@pytest.mark.parametrize("name", ["additive-64", "replicated-32", "plain-64"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_of_many_predictions_are_computed_in_parts(name, reduction, monkeypatch):
    def losses():
        with open_session(name) as s:
            rate = 0.25 if reduction == "mean" else 0.25 / 8
            return trained(linear().share(s), s.share(X), s.share(Y), nn.MSELoss(reduction), rate)

    whole = losses().loss_curve_
    monkeypatch.setattr(loss_curve, "LOSS_SIZE", 16)
    unit = 2.0 ** -(16 if "64" in name else 10)
    # Three groups of 16, 6 instead of one: each is off by 3 units of a mean, and of a sum as often
    # as it has rows, once more for each way.
    np.testing.assert_allclose(
        losses().loss_curve_, whole, rtol=0, atol=6 * unit * (1 if reduction == "mean" else 22)
    )


def test_a_mean_over_many_parts_is_no_larger_than_over_one(monkeypatch):
    """Parts of equal sizes weigh 1 each: times the number of rows they would leave the word."""
    monkeypatch.setattr(loss_curve, "LOSS_SIZE", 1024)
    with he.Session(modulus=2**32, frac_bits=10, seed=1) as s:
        whole = EpochLoss(nn.MSELoss())
        for _ in range(16):
            whole.add(s.share(np.full((1024, 1), 14.0)), s.share(np.zeros((1024, 1))))
        assert abs(whole.reveal() - 196) < 0.1


def test_a_kernel_device_trains_too():
    with open_session("emulator-additive-64") as s:
        loop = trained(linear().share(s), s.share(X[:6]), s.share(Y[:6]), batch_size=4, epochs=2)
    with open_session("additive-64") as s:
        same = trained(linear().share(s), s.share(X[:6]), s.share(Y[:6]), batch_size=4, epochs=2)
    assert loop.loss_curve_ == same.loss_curve_


# Batches


def test_each_epoch_takes_all_rows_in_another_order_of_the_seed():
    def rows(**arguments):
        model = Seen()
        trained(model, numbered(), numbered() * 0, lr=0.01, epochs=2, **arguments)
        return model.rows

    found = rows()
    assert [len(batch) for batch in found] == [8, 8, 6] * 2
    epochs = [np.concatenate(found[:3]).tolist(), np.concatenate(found[3:]).tolist()]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(22))
    assert epochs[0] != epochs[1]
    assert epochs[0] != list(range(22))
    assert rows() == found
    assert rows(random_state=np.random.default_rng(0)) == found
    assert rows(random_state=1) != found
    assert rows(random_state=None) != rows(random_state=None)
    assert rows(shuffle=False) == [[*range(8)], [*range(8, 16)], [*range(16, 22)]] * 2
    for size in (None, 22, 1000):
        assert rows(batch_size=size) == [list(range(22))] * 2


def test_a_fit_may_go_on():
    once = trained(epochs=5, log_every=2)
    model = linear()
    twice = trained(model, epochs=2, log_every=2).fit(X, Y, epochs=3)
    assert (twice.n_epochs_, twice.loss_epochs_) == (5, [0, 2, 4])
    assert twice.loss_curve_ == once.loss_curve_
    assert (model.weight.value == once.model.weight.value).all()
    assert twice.fit(X, Y, epochs=0).n_epochs_ == 5


def test_a_schedule_is_stepped_after_each_epoch():
    model, rates = linear(), []
    optimiser = nn.SGD(model.parameters(), lr=0.5)
    nn.Trainer(
        model, nn.MSELoss(), optimiser, schedule=nn.ExponentialLR(optimiser, 0.5),
        callbacks=[lambda trainer: rates.append(optimiser.lr)],
    ).fit(X, Y, epochs=3)  # fmt: skip
    assert rates == [0.25, 0.125, 0.0625]


def test_parameters_that_the_optimiser_leaves_out_stay():
    def fitted(epochs):
        model = network()
        optimiser = nn.SGD(list(model.parameters())[2:], lr=0.5)
        loop = nn.Trainer(model, nn.CrossEntropyLoss(), optimiser, batch_size=None, shuffle=False)
        loop.fit(X, CLASSES, epochs)
        return model

    before, model = network().state_dict(), fitted(2)
    after = model.state_dict()
    assert [(after[name] == before[name]).all() for name in after] == [True, True, False, False]
    # Their gradient is that of the last step, not of all.
    expected = fitted(1)
    expected.zero_grad()
    nn.CrossEntropyLoss()(expected(X), CLASSES).backward()
    for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(found.grad, wanted.grad, rtol=0, atol=1e-12)


# Metrics


def test_metrics_see_predictions_in_evaluation_mode_and_nothing_is_recorded():
    model, seen = Seen(), []
    model.frozen = nn.Dropout(0.5).eval()

    def metric(prediction, target):
        assert not prediction.requires_grad
        seen.append((prediction.shape, target.shape))
        return 1

    # The validation data are taken whole, and the training data in batches.
    trained(
        model, numbered(), numbered() * 0, lr=0.01, epochs=2, metrics={"m": metric},
        callbacks=[lambda _: seen.append(model.training)],
    )  # fmt: skip
    assert seen == [((22, 1), (22, 1)), True] * 2
    assert model.modes == model.recorded == [True, True, True, False] * 2
    assert model.training
    assert not model.frozen.training
    model.eval()
    trained(model, numbered(), numbered() * 0, lr=0.01, epochs=1)
    assert model.modes[-3:] == [True] * 3
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("secret", [False, True])
def test_metrics_are_taken_on_validation_data_in_parts(secret, monkeypatch):
    monkeypatch.setattr(trainer, "SCORED_ROWS", 9)
    seen = []

    def metric(prediction, target):
        seen.append(nn.Variable(prediction.value).reveal())
        return ((prediction - target) ** 2).mean()

    with open_session("additive-64") as s:
        share = s.share if secret else lambda value: value
        model = linear() if not secret else linear().share(s)
        optimiser = nn.SGD(model.parameters(), lr=0.1)
        loop = nn.Trainer(model, nn.MSELoss(), optimiser, metrics={"error": metric})
        loop.fit(share(X[:4]), share(Y[:4]), epochs=1, validation=(share(X), share(Y)))
        w, b = (nn.Variable(v).reveal() for v in model.state_dict().values())
    assert np.abs(seen[0] - (X @ w.T + b)).max() <= 2.0**-24 if secret else 1e-15
    # A difference and its square have a unit each, and the mean has one.
    expected = ((X @ w.T + b - Y) ** 2).mean()
    assert abs(loop.metrics_["error"][0] - expected) <= (5 * 2.0**-16 if secret else 1e-15)


@pytest.mark.parametrize(
    ("returned", "number"),
    [
        (2, 2.0),
        (np.float64(0.5), 0.5),
        (np.array([0.25]), 0.25),
        (nn.Variable([0.5]), 0.5),
        (lambda s: s.share(0.5), 0.5),
        (lambda s: nn.Variable(s.share([[0.5]])), 0.5),
    ],
)
def test_a_metric_may_be_any_number(returned, number):
    with open_session("additive-64") as s:
        found = returned(s) if callable(returned) else returned
        loop = trained(linear(), s.share(X), epochs=1, metrics={"m": lambda p, y: found})
    assert loop.metrics_ == {"m": [number]}


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, "fit: metric 'm' must return a number, got NoneType"),
        ("good", TypeError, "fit: metric 'm' must return a number, got str"),
        (True, TypeError, "fit: metric 'm' must return a number, got bool"),
        ([1.0, 2.0], ValueError, r"fit: metric 'm' must return one number, got shape \(2,\)"),
        (np.nan, ValueError, "fit: metric 'm' must be finite, got nan"),
    ],
)
def test_metrics_that_return_nonsense_are_refused(returned, error, message):
    with pytest.raises(error, match=message):
        trained(epochs=1, metrics={"m": lambda p, y: returned})
    with open_session("additive-64") as s, pytest.raises(ValueError, match=r"got shape \(22, 1\)"):
        trained(linear(), s.share(X), epochs=1, metrics={"m": lambda p, y: p})


# Callbacks


def test_a_callback_ends_the_fit_and_all_are_called():
    calls = []

    class Watch:
        def on_fit_start(self, trainer):
            calls.append(("start", trainer.n_epochs_))

        def __call__(self, trainer):
            calls.append(("epoch", trainer.n_epochs_))
            return trainer.n_epochs_ == 2

        def on_fit_end(self, trainer):
            calls.append(("end", trainer.n_epochs_))

    loop = trained(epochs=9, callbacks=[Watch(), lambda _: calls.append("after")])
    assert loop.n_epochs_ == 2
    assert calls == [("start", 0), ("epoch", 1), "after", ("epoch", 2), "after", ("end", 2)]


@pytest.mark.parametrize("size", [8, None])
@pytest.mark.parametrize("where", ["loss", "callback"])
def test_an_error_leaves_no_announced_steps_and_the_modes_as_they_were(where, size):
    calls = []

    def loss(prediction, target):
        calls.append(1)
        if where == "loss" and len(calls) == 2:
            raise KeyError("stop")
        return ((prediction - target) ** 2).mean()

    def callback(_):
        raise KeyError("stop")

    with open_session("additive-64") as s:
        model = linear().share(s).eval()
        callbacks = [callback] if where == "callback" else []
        with pytest.raises(KeyError, match="stop") as caught:
            trained(model, s.share(X), s.share(Y), loss, batch_size=size, callbacks=callbacks)
        pool = s.scheme._dealer._pool  # while the traceback, and with it all frames, is alive
        assert caught.tb is not None
        assert (pool._repeats, pool._items) == (1, {})
        assert not model.training
        assert np.isfinite(model(s.share(X)).reveal()).all()


def restored(model, state):
    """The state is the model's: the very same shares, or equal numbers."""
    return all(
        value is state[key] if isinstance(value, he.SecretTensor) else (value == state[key]).all()
        for key, value in model.state_dict().items()
    )


def scripted(*values):
    """A metric that returns one value after another."""
    rest = iter(values)
    return {"score": lambda p, y: next(rest)}


@pytest.mark.parametrize("name", [None, *HOSTED])
def test_early_stopping_restores_the_best_state(name):
    session = None if name is None else open_session(name)
    model = linear() if session is None else linear().share(session)
    states = []
    stop = nn.EarlyStopping("score", patience=2, mode="max", min_delta=0.01)
    loop = trained(
        model, epochs=9, metrics=scripted(0.5, 0.7, 0.705, 0.6, 0.9),
        callbacks=[lambda trainer: states.append(trainer.model.state_dict()), stop],
    )  # fmt: skip
    assert (loop.n_epochs_, stop.stopped_, stop.best_, stop.best_epoch_) == (4, True, 0.7, 1)
    assert restored(model, states[1])
    # An end by epochs restores too.
    loop.metrics = scripted(0.9, 0.8)
    states.clear()
    loop.fit(X, Y, epochs=2)
    assert (loop.n_epochs_, stop.stopped_, stop.best_, stop.best_epoch_) == (6, False, 0.9, 4)
    assert restored(model, states[0])
    # The best may be the last.
    loop.metrics = scripted(0.1, 0.2)
    states.clear()
    loop.fit(X, Y, epochs=2)
    assert restored(model, states[1])


def test_early_stopping_without_restoring_and_on_the_loss():
    states = []
    stop = nn.EarlyStopping("score", patience=1, mode="min", restore_best=False)
    loop = trained(
        epochs=9, metrics=scripted(1, 2),
        callbacks=[lambda trainer: states.append(trainer.model.state_dict()), stop],
    )  # fmt: skip
    assert loop.n_epochs_ == 2
    assert restored(loop.model, states[1])
    assert not restored(loop.model, states[0])
    # Only epochs whose loss is revealed count.
    stop = nn.EarlyStopping(patience=2, min_delta=1e9)
    assert trained(epochs=20, log_every=3, callbacks=[stop]).n_epochs_ == 7
    assert stop.best_epoch_ == 0
    assert repr(stop) == (
        "EarlyStopping(monitor='loss', patience=2, min_delta=1000000000.0, mode='min', "
        "restore_best=True)"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"monitor": 1}, TypeError, "EarlyStopping: monitor must be a str, got int"),
        ({"monitor": "auc"}, ValueError, "mode must be one of .* for the metric 'auc', got None"),
        ({"mode": "best"}, ValueError, r"mode must be one of \('min', 'max'\), got 'best'"),
        ({"patience": 0}, ValueError, "EarlyStopping: patience must be at least 1, got 0"),
        ({"patience": 1.5}, TypeError, "EarlyStopping: patience must be an integer, got float"),
        ({"min_delta": -1}, ValueError, r"min_delta must be in \[0, inf\), got -1"),
    ],
)
def test_early_stopping_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.EarlyStopping(**arguments)


def test_early_stopping_refuses_what_the_trainer_does_not_reveal():
    stop = nn.EarlyStopping("auc", mode="max")
    with pytest.raises(ValueError, match=r"monitor must be one of .* \['loss', 'm'\], got 'auc'"):
        trained(metrics={"m": nn.r2_score}, callbacks=[stop])
    with pytest.raises(ValueError, match=r"reveals, \[\], got 'loss'"):
        trained(log_every=0, callbacks=[nn.EarlyStopping()])


# Divergence


@pytest.mark.parametrize("name", [name for name in HOSTED if "plain" not in name])
def test_a_loss_that_grows_ends_the_fit_and_says_what_to_change(name):
    with open_session(name) as s:
        model = linear().share(s)
        optimiser = nn.SGD(model.parameters(), lr=1.05)  # the bias oscillates beyond 1
        loop = nn.Trainer(model, nn.MSELoss(), optimiser, batch_size=None)
        with pytest.raises(he.errors.DivergenceError) as caught:
            loop.fit(s.share(X), s.share(Y), epochs=50)
        error = caught.value
        assert error.loss_curve == loop.loss_curve_
        assert error.loss_steps == loop.loss_epochs_ == list(range(loop.n_epochs_))
        assert error.loss_curve[-1] > 10 * error.loss_curve[0] > max(error.loss_curve[:-1])
        assert isinstance(error, ArithmeticError)
        # The model is as the last step left it, and may be looked at.
        assert np.abs(model.weight.reveal() - linear().weight.value).max() > 0.1
    for words in (
        f"of epoch {loop.n_epochs_ - 1} is above 10 times the first one",
        "training diverged; lower lr, now 1.05, scale inputs and targets to about 1",
        f"fewer frac_bits than {s.frac_bits}",
    ):
        assert words in str(error)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_of_zero_scores_is_public_for_classes(reduction):
    for loss, y, shape in (
        (nn.BCEWithLogitsLoss(reduction), np.eye(6)[:5], (5, 6)),
        (nn.CrossEntropyLoss(reduction), np.arange(5), (5, 6)),
        (nn.CrossEntropyLoss(reduction), np.zeros((5, 2, 3)), (5, 6, 2, 3)),
    ):
        found = EpochLoss(loss)
        zeros = np.zeros(shape)
        for rows in (slice(0, 3), slice(3, 5)):
            found.add(zeros[rows], y[rows])
        assert found.of_zero() == pytest.approx(float(loss(zeros, y).value), rel=1e-12)
        assert found.reveal() == pytest.approx(found.of_zero(), rel=1e-12)
    for loss in (nn.MSELoss(reduction), lambda p, y: ((p - y) ** 2).mean()):
        found = EpochLoss(loss)
        found.add(zeros[:2], zeros[:2])
        assert found.of_zero() == np.inf


@pytest.mark.parametrize("name", HOSTED)
@pytest.mark.parametrize("kind", ["squares", "classes"])
def test_overflow_is_found_at_a_revealed_loss(name, kind):
    with open_session(name) as s:
        model = (linear() if kind == "squares" else network()).share(s)
        y, loss = (s.share(Y), nn.MSELoss()) if kind == "squares" else (CLASSES, None)
        error = he.errors.RangeError if "plain" in name else he.errors.DivergenceError
        with pytest.raises(error):
            trained(model, s.share(X), y, loss or nn.CrossEntropyLoss(), lr=5e3, epochs=40)


@pytest.mark.parametrize("name", [name for name in HOSTED if "plain" not in name])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lr", [100.0, 1e4])
@pytest.mark.parametrize("kind", ["l1", "bce", "cross-entropy"])
def test_overflow_from_the_first_epoch_on_is_found(name, kind, lr, seed):
    """Losses of overflowed predictions are no larger than the first, and never negative."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(60, 4))
    y = (data.sum(1, keepdims=True) > 0) * 1.0
    out, loss = 1, nn.L1Loss() if kind == "l1" else nn.BCEWithLogitsLoss()
    if kind == "cross-entropy":
        y, out, loss = y[:, 0], 3, nn.CrossEntropyLoss()
    model = nn.Sequential(
        nn.Linear(4, 8, random_state=seed), nn.ReLU(), nn.Linear(8, out, random_state=seed + 1)
    )
    with open_session(name) as s, pytest.raises(he.errors.DivergenceError):
        trained(model.share(s), s.share(data), y, loss, lr=lr, epochs=8, batch_size=20)


def test_public_numbers_that_overflow_end_the_fit_without_a_warning():
    with pytest.raises(he.errors.DivergenceError, match=r"public numbers overflow in epoch \d+ "):
        trained(lr=1e80, epochs=5, max_growth=None)
    with pytest.raises(he.errors.DivergenceError, match="lower lr, now 5, scale") as caught:
        trained(lr=5.0, epochs=50)
    assert "frac_bits" not in str(caught.value)


def test_max_growth_is_a_choice():
    with he.Session(seed=1) as s:  # a loss of a user's own is taken for a mean, or for a sum
        whole = EpochLoss(lambda p, y: p)
        whole.add(np.zeros((5, 2)), None)
        assert whole.limit(s) == 2.0**30
        whole._loss.reduction = "sum"
        assert whole.limit(s) == 10 * 2.0**30
        assert whole.limit(None) == np.inf
    assert trained(lr=1.5, epochs=4, batch_size=None, max_growth=None).loss_curve_[-1] > 10
    with pytest.raises(he.errors.DivergenceError, match=r"above 1\.5 times the first one"):
        trained(lr=1.5, epochs=4, batch_size=None, max_growth=1.5)


@pytest.mark.parametrize("name", [None, *HOSTED])
@pytest.mark.parametrize("kind", ["mse", "bce", "bce of a sum", "cross-entropy"])
def test_rounding_is_no_divergence(name, kind):
    """A loss of 0 is off by rounding, and so are those after it."""
    if name is None:
        session, share = None, lambda value: value
    else:
        session = open_session(name)
        share = session.share
    exact = {"weight": np.zeros((2, 3)), "bias": np.array([16.0, -16.0])}
    y = np.tile([1.0, 0.0], (22, 1))
    model, loss = nn.Linear(3, 2), nn.BCEWithLogitsLoss()
    if kind == "mse":
        exact["bias"], loss = np.array([1.0, 0.0]), nn.MSELoss()
    elif kind == "cross-entropy":
        loss = nn.CrossEntropyLoss()
    elif kind == "bce of a sum":
        loss = nn.BCEWithLogitsLoss("sum")
    model.load_state_dict(exact)
    if session is not None:
        model.share(session)
    loop = trained(model, share(X), share(y), loss, lr=0.01, epochs=8, max_growth=1.0)
    assert loop.n_epochs_ == 8


def test_losses_that_no_training_has():
    with he.Session(seed=1) as s:
        slack = 8 * 2.0**-16 + 2.0**-15
        for losses, reason in (
            ([1.0, -2 * slack], "negative, which only overflow makes it"),
            ([2.0**22], r"not below 4\.1943e\+06, the range of a loss"),
            ([1.0, 10 + 12 * slack], "above 10 times the first one, 1.000e"),
        ):
            curve = LossCurve(10.0)
            for epoch, loss in enumerate(losses[:-1]):
                curve.add(epoch, loss, s, 0.1)
            with pytest.raises(he.errors.DivergenceError, match=reason) as caught:
                curve.add(len(losses) - 1, losses[-1], s, 0.1, limit=2.0**22)
            assert caught.value.loss_curve == losses
        with pytest.raises(he.errors.DivergenceError, match="above 100 times that of scores that"):
            LossCurve(10.0).add(0, 70.0, s, 0.1, of_zero=0.69)
        LossCurve(10.0).add(0, 60.0, s, 0.1, of_zero=0.69)
        curve = LossCurve(10.0)
        for epoch, loss in enumerate((0.0, slack / 2, -slack / 2, 10 * slack)):
            curve.add(epoch, loss, s, 0.1)
        curve.add(4, -3 * slack, s, 0.1, 3)  # of a sum over three elements
        curve = LossCurve(None)
        curve.add(0, -5.0, s, 0.1)
        assert curve.values == [-5.0]
    for loss in (np.nan, np.inf):
        with pytest.raises(he.errors.DivergenceError, match="is not finite"):
            LossCurve(10.0).add(0, loss, None, 0.1)


# The bar


def test_a_bar_is_drawn_where_asked_for(capsys):
    trained(epochs=2)
    trained(epochs=2, progress=False)
    assert capsys.readouterr() == ("", "")
    trained(epochs=2, progress=True)
    out, drawn = capsys.readouterr()
    assert out == ""
    assert "epoch 2/2" in drawn
    assert "/6 [" in drawn
    assert "loss=" in drawn


# Refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "Trainer: batch_size must be at least 1, got 0"),
        ({"batch_size": True}, TypeError, "Trainer: batch_size must be an integer, got bool"),
        ({"batch_size": 8.0}, TypeError, "Trainer: batch_size must be an integer, got float"),
        ({"shuffle": 1}, TypeError, "Trainer: shuffle must be True or False, got int"),
        ({"random_state": "a"}, TypeError, "random_state must be an integer"),
        ({"schedule": 0.1}, TypeError, "Trainer: schedule must have a method step .* got float"),
        ({"schedule": nn.StepLR}, TypeError, "got the class StepLR"),
        (
            {"schedule": nn.StepLR(nn.SGD(linear().parameters()), 1)},
            ValueError,
            "Trainer: schedule must be one of the trainer's optimizer",
        ),
        ({"log_every": -1}, ValueError, "Trainer: log_every must be at least 0, got -1"),
        ({"log_every": 1.0}, TypeError, "Trainer: log_every must be an integer, got float"),
        ({"metrics": [nn.accuracy]}, TypeError, "Trainer: metrics must be a dict .* got list"),
        ({"metrics": {"a": 1}}, TypeError, "Trainer: metric 'a' must be a function, got int"),
        ({"metrics": {"a": nn.MSELoss}}, TypeError, "metric 'a' .* got the class MSELoss"),
        ({"metrics": {1: nn.accuracy}}, TypeError, "Trainer: a metric's name must be a str"),
        ({"metrics": {"loss": nn.accuracy}}, ValueError, "no metric may be called 'loss'"),
        ({"callbacks": nn.EarlyStopping()}, TypeError, "callbacks must be a list .* EarlyStopping"),
        ({"callbacks": [1]}, TypeError, "Trainer: callbacks must be functions, got one int"),
        ({"callbacks": [nn.EarlyStopping]}, TypeError, "got one the class EarlyStopping"),
        ({"max_growth": 0.5}, ValueError, r"Trainer: max_growth must be in \[1, inf\), got 0.5"),
        ({"max_growth": "a"}, TypeError, "Trainer: max_growth must be a number, got str"),
        ({"progress": "yes"}, TypeError, "Trainer: progress must be True or False, got str"),
        ({"loss": nn.MSELoss}, TypeError, "loss must be a loss such as .* got the class MSELoss"),
        ({"loss": 3}, TypeError, "loss must be a loss such as .* got int"),
        ({"loss": lambda p, y: 1.0}, TypeError, "fit: loss must return a Variable, got float"),
        ({"loss": lambda p, y: p - y}, ValueError, "gradient must be given for more than one"),
        ({"epochs": -1}, ValueError, "fit: epochs must be at least 0, got -1"),
        ({"epochs": 1.5}, TypeError, "fit: epochs must be an integer, got float"),
        ({"epochs": True}, TypeError, "fit: epochs must be an integer, got bool"),
        ({"y": Y[:21]}, ValueError, "fit: y must have as many rows as X, 22, got 21"),
        ({"X": X[:0], "y": Y[:0]}, ValueError, r"X must have at least 1 row, got shape \(0, 3\)"),
        ({"X": 1.0}, ValueError, "fit: X must have at least one axis, got a number"),
        ({"X": X * np.nan}, ValueError, "fit: X must be finite, got nan"),
        ({"y": Y * np.inf}, ValueError, "fit: y must be finite, got"),
        ({"y": ["a"] * 22}, TypeError, "fit: y must hold real numbers, got list"),
        ({"X": nn.Variable(X, True)}, TypeError, "fit: X is a Variable that needs a gradient"),
        ({"X": X[:, :2]}, ValueError, r"Linear: x must have shape \(..., 3\)"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        trained(**arguments)


def test_refusals_of_models_and_optimisers():
    model, loss = linear(), nn.MSELoss()
    optimiser = nn.SGD(model.parameters())
    with pytest.raises(TypeError, match="Trainer: model must be a Module, got list"):
        nn.Trainer([model], loss, optimiser)
    with pytest.raises(TypeError, match="Trainer: optimizer must be an optimiser, got the class"):
        nn.Trainer(model, loss, nn.SGD)
    with pytest.raises(ValueError, match="Trainer: model must have at least 1 parameter, got none"):
        nn.Trainer(nn.ReLU(), loss, optimiser)
    with pytest.raises(ValueError, match="of the model, got 2 of 2 that are not"):
        nn.Trainer(model, loss, nn.SGD(linear().parameters()))


def test_refusals_of_validation_data():
    loop = trained()
    with pytest.raises(ValueError, match="validation is for metrics, and the trainer has none"):
        loop.fit(X, Y, validation=(X, Y))
    loop = trained(metrics={"r2": nn.r2_score})
    for wrong in (X, (X,), (X, Y, Y)):
        with pytest.raises(TypeError, match=r"fit: validation must be a pair \(X, y\) or None"):
            loop.fit(X, Y, validation=wrong)
    with pytest.raises(ValueError, match="validation y must have as many rows as validation X, 22"):
        loop.fit(X, Y, validation=(X, Y[1:]))


def test_refusals_of_sessions():
    with he.Session(seed=1) as s, he.Session(seed=2) as other:
        x, model = s.share(X), linear().share(other)
        for arguments in ({"X": x, "y": other.share(Y)}, {"X": x, "model": model}):
            with pytest.raises(ValueError, match=r"fit: .* two different sessions"):
                trained(**arguments)
        with pytest.raises(ValueError, match="two different sessions"):
            trained(metrics={"r2": nn.r2_score}, X=x).fit(x, Y, validation=(other.share(X), Y))
    with pytest.raises(he.errors.SessionClosedError, match="fit: the session is closed"):
        trained(X=x)
    with pytest.raises(he.errors.SessionClosedError, match="fit: the session is closed"):
        trained(model)
