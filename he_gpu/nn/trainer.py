"""The training loop: epochs of shuffled mini-batches, revealed losses and metrics, callbacks.

Layer: nn, above module, losses, optimizer and batches. It reveals one loss for each logged epoch
and what the given metrics reveal, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.nn.arguments import positive, real
from he_gpu.nn.batches import Batches
from he_gpu.nn.initial import generator_of
from he_gpu.nn.loss_curve import (
    EpochLoss,
    LossCurve,
    LossFunction,
    is_mean,
    joined,
    revealed,
)
from he_gpu.nn.module import Module
from he_gpu.nn.optimizer import Optimizer
from he_gpu.nn.repeated_step import RepeatedStep
from he_gpu.nn.tape import no_grad
from he_gpu.nn.trainer_arguments import (
    check_learning,
    checked_callbacks,
    checked_metrics,
    checked_schedule,
    count,
    flag,
)
from he_gpu.nn.values import is_secret, session_of
from he_gpu.nn.variable import Variable
from he_gpu.session import Session

Self = TypeVar("Self", bound="Trainer")
Metric = Callable[[Variable, Variable], Any]

_NAME = "Trainer"
SCORED_ROWS = 1024
"""Rows that a metric's predictions are made of at a time, or a batch where that is more."""


class Trainer:
    """Trains a model by mini-batches; model and data may each be secret or public.

    Args:
        model: what to train, with at least one parameter.
        loss: a loss such as `nn.MSELoss()`, or a function of a prediction (Variable) and a target
            (SecretTensor or ndarray) that returns a Variable of one number, the mean over the
            samples. With an attribute `reduction` of "sum" it is taken for their sum.
        optimizer: of parameters of the model, all or some of them, or of the loss.
        batch_size: samples of a step; the last one of an epoch takes what is left. None is all.
        shuffle: whether each epoch has another order of the samples.
        random_state: seed or generator of these orders, which are public; None draws others each
            time. Parties in several processes must give the same seed.
        schedule: a learning-rate schedule, stepped after each epoch, or None.
        log_every: a loss is revealed for epochs 0, log_every, 2 log_every and so on; 0 reveals none
            and computes none.
        metrics: functions by name, such as ``{"accuracy": nn.accuracy}``: of the prediction and the
            target, both Variables, to a public number, or to one in a Variable or SecretTensor,
            which is then revealed. Evaluated without gradients and in evaluation mode after each
            logged epoch, or with log_every=0 after each.
        callbacks: functions called with the trainer after each epoch; one that returns True ends
            the fit. Methods `on_fit_start` and `on_fit_end` of theirs, where there are any, are
            called with the trainer too, the latter unless an error ends the fit.
        max_growth: a revealed loss above this many times the first one ever revealed, below 0 or
            beyond the range of a loss (`Loss.limit`) ends the fit, and so does a first cross
            entropy above 100 times that of scores that are all 0; at least 1. None: no loss does.
        progress: whether to draw a bar on stderr, with the time left; None where it is a terminal.

    Attributes:
        loss_curve_: the revealed losses, each that of all samples of an epoch: the mean, or with
            ``reduction="sum"`` the sum, of what each batch had before its step.
        loss_epochs_: the epochs that they belong to, from 0.
        metrics_: a list of values for each metric.
        metric_epochs_: the epochs after which these were taken.
        n_epochs_: epochs so far, over all calls of `fit`.

    Raises:
        ValueError: numbers out of range, a parameter of the optimiser that is not the model's.
        TypeError: arguments of the wrong type.

    Cost: an epoch costs its steps. A logged one also the loss of all samples, 65536 elements of
        predictions at a time, and 1 round and one word; it keeps the epoch's predictions. Secret
        inputs are masked and opened once for all epochs of a fit, by `SecretTensor.masked`. In a
        session with graph=True steps on secrets repeat without Python, see `Session.captured`,
        where every module says that it repeats (`Module.repeats`); they leave no gradients behind.
    Leaks: the loss of each logged epoch, what metrics reveal, and how many epochs callbacks let
        pass. Which samples make a batch is public.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> X = np.random.default_rng(0).uniform(-1, 1, (100, 2))
        >>> y = (X.sum(1) > 0).astype(int)
        >>> model = he.nn.Linear(2, 2, random_state=0)
        >>> trainer = he.nn.Trainer(
        ...     model,
        ...     he.nn.CrossEntropyLoss(),
        ...     he.nn.SGD(model.parameters(), lr=1.0),
        ...     random_state=0,
        ...     metrics={"accuracy": he.nn.accuracy},
        ... )
        >>> with he.Session(device="cpu") as s:
        ...     trainer = trainer.fit(s.share(X), y, epochs=5)
        >>> trainer.n_epochs_, trainer.loss_epochs_, model.weight.is_secret
        (5, [0, 1, 2, 3, 4], True)
        >>> trainer.loss_curve_[-1] < 0.5 * trainer.loss_curve_[0]
        True
        >>> trainer.metrics_["accuracy"][-1] > 0.9
        True
    """

    def __init__(
        self,
        model: Module,
        loss: LossFunction,
        optimizer: Optimizer,
        batch_size: int | None = 32,
        shuffle: bool = True,
        random_state: Any = None,
        schedule: Any = None,
        log_every: int = 1,
        metrics: Mapping[str, Metric] | None = None,
        callbacks: Iterable[Callable[[Any], Any]] = (),
        max_growth: float | None = 10.0,
        progress: bool | None = None,
    ):
        check_learning(model, loss, optimizer)
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.batch_size = None if batch_size is None else positive(_NAME, "batch_size", batch_size)
        self.shuffle = flag("shuffle", shuffle)
        self._generator = generator_of(random_state)
        self.schedule = checked_schedule(schedule, optimizer)
        self.log_every = count(_NAME, "log_every", log_every)
        self.metrics = checked_metrics(metrics)
        self.callbacks = checked_callbacks(callbacks)
        self.max_growth = None if max_growth is None else real(_NAME, "max_growth", max_growth, 1.0)
        self.progress = None if progress is None else flag("progress", progress)
        self._losses = LossCurve(self.max_growth)
        self._take = RepeatedStep(model, optimizer)
        self.metrics_: dict[str, list[float]] = {name: [] for name in self.metrics}
        self.metric_epochs_: list[int] = []
        self.n_epochs_ = 0

    @property
    def loss_curve_(self) -> list[float]:
        """The revealed losses."""
        return self._losses.values

    @property
    def loss_epochs_(self) -> list[int]:
        """The epochs that they belong to."""
        return self._losses.epochs

    def fit(self: Self, X: Any, y: Any, epochs: int = 10, validation: Any = None) -> Self:
        """Train for some epochs, or some more, and return self.

        The model is trained in training mode. Where the whole model is in evaluation mode before,
        it is again after; a part that was set to it alone stays in it.

        Args:
            X: inputs, (n, ...), a SecretTensor or a public array.
            y: targets as the loss takes them, (n, ...), secret or public; public classes are public
                integers.
            epochs: passes over the samples, at least 0.
            validation: (X, y) for the metrics; None takes the training data.

        Raises:
            ValueError: rows that do not match, no rows, NaN or infinity, secrets of two sessions,
                numbers out of range, a metric that is not finite.
            TypeError: what holds no real numbers; a loss or a metric that returns something else.
            RuntimeError: a closed session.
            ArithmeticError: a revealed loss that no converging training has (see max_growth), with
                `loss_curve` and `loss_steps`; public numbers that overflow. A session's overflow
                makes a loss random: one that looks possible in the first epoch (up to half of
                those of `MSELoss`) can only be found by a later one. With log_every=0 nobody
                looks.

        After an error, model and optimiser are as the last step left them; `loss_curve_` has what
        was revealed. Take `model.state_dict()` before, which costs nothing, to go back.

        Range: as the model, the loss and the optimiser. Where an epoch's predictions have more than
            65536 elements, also the mean loss times the number of samples below
            2**(k - 2 - frac_bits), 2**46 by default, or 2**20 modulo 2**32 with 10.
        Cost, Leaks: see the class.
        """
        epochs = count("fit", "epochs", epochs)
        data = Batches(X, y, "fit")
        scored = self._scored(data, validation)
        session = self._session(data, scored)
        size = data.n_rows if self.batch_size is None else min(self.batch_size, data.n_rows)
        n_steps = -(-data.n_rows // size)
        for callback in self.callbacks:
            getattr(callback, "on_fit_start", _nothing)(self)
        if epochs:
            for rows in {id(rows): rows for rows in (data, scored)}.values():
                rows.mask()
        # One step an epoch: then the epochs are the equal steps that a dealer prepares for.
        counted = closing(_counted(session if n_steps == 1 else None, epochs))
        with self._training_mode(), self._bar(epochs * n_steps) as bar, counted as numbers:
            for number in numbers:
                bar.set_description(f"epoch {number + 1}/{epochs}", refresh=False)
                self._epoch(data, size, session, bar)
                if self._epoch_ends(scored):
                    break
        for callback in self.callbacks:
            getattr(callback, "on_fit_end", _nothing)(self)
        return self

    def _epoch(self, data: Batches, size: int, session: Session | None, bar: Any) -> None:
        """Take the steps of one epoch and reveal its loss where it is logged."""
        epoch, logged = self.n_epochs_, self._is_logged()
        if (self._take.model, self._take.optimizer) != (self.model, self.optimizer):
            self._take = RepeatedStep(self.model, self.optimizer)  # others were assigned
        whole = EpochLoss(self.loss)
        batches = data.split(size, self._generator if self.shuffle else None)
        n_equal = data.n_rows // size
        with closing(_counted(session, n_equal)) as equal:
            for index in _chained(equal, range(n_equal, len(batches))):
                x, target = data.take(batches[index])
                with self._finite(session):
                    loss, prediction = self._take(x, target, self.loss)
                    if logged:
                        known = loss if len(batches) == 1 else None
                        whole.add(prediction.value, target, known)
                bar.update()
        if logged:
            with self._finite(session):
                loss_of_all = whole.reveal()
            bar.set_postfix_str(f"loss={loss_of_all:.4g}")
        self.n_epochs_ += 1
        if logged:
            n = 1 if is_mean(self.loss) else int(np.prod(data.y.shape))
            rate = self.optimizer.lr
            bounds = whole.of_zero(), whole.limit(session)
            self._losses.add(epoch, loss_of_all, session, rate, n, *bounds)

    @contextmanager
    def _finite(self, session: Session | None) -> Iterator[None]:
        """Take public numbers that are no longer finite for a training that diverged."""
        if session is not None:
            yield
            return
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                yield
        except RangeError as error:
            what = f"public numbers overflow in epoch {self.n_epochs_} ({error})"
            raise self._losses.error(what, None, self.optimizer.lr) from error

    def _epoch_ends(self, scored: Batches) -> bool:
        """Take metrics, step the schedule, call the callbacks; return whether one ends the fit."""
        epoch = self.n_epochs_ - 1
        if self.metrics and (not self.log_every or epoch % self.log_every == 0):
            for name, value in self._scores(scored).items():
                self.metrics_[name].append(value)
            self.metric_epochs_.append(epoch)
        if self.schedule is not None:
            self.schedule.step()
        answers = [bool(callback(self)) for callback in self.callbacks]
        return any(answers)

    def _scores(self, data: Batches) -> dict[str, float]:
        """Return what the metrics make of the model's predictions."""
        with self._mode(False), no_grad():
            parts = []
            for rows in data.split(max(SCORED_ROWS, self.batch_size or 0)):
                x, _ = data.take(rows)
                parts.append(self.model(x).value)
            prediction, target = Variable(joined(parts)), Variable(data.y)
            return {
                name: _number(name, metric(prediction, target))
                for name, metric in self.metrics.items()
            }

    def _is_logged(self) -> bool:
        return self.log_every > 0 and self.n_epochs_ % self.log_every == 0

    def _scored(self, data: Batches, validation: Any) -> Batches:
        """Return what metrics are taken on."""
        if validation is None:
            return data
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise ArgumentTypeError(
                f"fit: validation must be a pair (X, y) or None, got {type(validation).__name__}"
            )
        if not self.metrics:
            raise ArgumentValueError("fit: validation is for metrics, and the trainer has none")
        X, y = validation
        return Batches(X, y, "fit", ("validation X", "validation y"))

    def _session(self, data: Batches, scored: Batches) -> Session | None:
        """Return the session of all that is secret, which must be open; None for public numbers."""
        state = list(self.model.state_dict().values())
        values = [data.X, data.y, scored.X, scored.y, *state]
        values += [parameter.value for parameter in self.optimizer.parameters]
        session = session_of(values, "fit")
        if session is not None:
            session.check_open("fit")
        return session

    def _bar(self, total: int) -> Any:
        hidden = None if self.progress is None else not self.progress
        return tqdm(total=total, unit="step", disable=hidden, leave=False)

    def _training_mode(self) -> AbstractContextManager[None]:
        return nullcontext() if self.model.training else self._mode(True)

    @contextmanager
    def _mode(self, training: bool) -> Iterator[None]:
        """Put the model into a mode, and each of its modules back into its own at the end."""
        before = [(module, module.training) for module in self.model.modules()]
        self.model.train(training)
        try:
            yield
        finally:
            for module, mode in before:
                module.__dict__["training"] = mode


def _counted(session: Session | None, n: int) -> Generator[int, None, None]:
    """Count to n; a session prepares for equal steps meanwhile, and stops when this is closed."""
    if session is None or n < 2:
        yield from range(n)
    else:
        yield from session.steps(n)


def _chained(*parts: Iterable[int]) -> Iterator[int]:
    for part in parts:
        yield from part


def _number(name: str, found: Any) -> float:
    """Return what a metric returned as a float, revealed if it is secret."""
    value = found.value if isinstance(found, Variable) else found
    if not is_secret(value):
        value = np.asarray(value)
        if value.dtype.kind not in "fiu":
            raise ArgumentTypeError(
                f"fit: metric {name!r} must return a number, got {type(found).__name__}"
            )
    if value.size != 1:
        raise ArgumentValueError(
            f"fit: metric {name!r} must return one number, got shape {tuple(value.shape)}"
        )
    number = revealed(value.reshape(()))
    if not np.isfinite(number):
        raise ArgumentValueError(f"fit: metric {name!r} must be finite, got {number}")
    return number


def _nothing(trainer: Trainer) -> None:
    """Stand in for a callback's missing method."""
