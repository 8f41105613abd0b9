"""What multi-layer perceptrons share: parameters, the network, and its training.

Layer: models, above estimator and nn. Reveals the losses and scores that the parameters ask for.
Sources: scikit-learn's `sklearn.neural_network` for parameters, rules and initial values; Glorot
and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
"""

from __future__ import annotations

import copy
import warnings
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np

from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConvergenceWarning,
    DivergenceError,
)
from he_gpu.models.data import shared
from he_gpu.models.estimator import Estimator
from he_gpu.models.objective import Objective
from he_gpu.models.rehearsal import check_ranges
from he_gpu.models.stopping import SCHEDULES, Stopping
from he_gpu.nn import SGD, Adam, Linear, Module, ReLU, Sequential, Sigmoid, Tanh, Trainer
from he_gpu.nn.adam import LEAST_EPS
from he_gpu.nn.arguments import positive, real
from he_gpu.nn.optimizer import Optimizer
from he_gpu.nn.values import is_secret
from he_gpu.session import Session

ACTIVATIONS: dict[str, type[Module] | None] = {
    "identity": None,
    "logistic": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
}
SOLVERS = ("adam", "sgd")
BATCH = 200
"""Rows of a batch where batch_size is "auto"."""


class Perceptron(Estimator):
    """Parameters as scikit-learn's perceptrons have them; see `MLPClassifier`."""

    _metric: ClassVar[Any] = None
    """The score of predictions on validation data."""

    network_: Sequential
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    loss_curve_: list[float]
    loss_epochs_: list[int]
    loss_: float | None
    best_loss_: float | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    n_iter_: int
    t_: int
    _optimizer: Optimizer | None
    _random: np.random.RandomState

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 1e-3,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        n_iter_no_change: int = 10,
        log_every: int = 1,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.log_every = log_every

    @property
    def coefs_(self) -> list[Any]:
        """Weights of the layers, (n_in, n_out) each, secret where the model is."""
        return [layer.weight.value.T for layer in self._layers()]

    @property
    def intercepts_(self) -> list[Any]:
        """Biases of the layers, (n_out,) each, secret where the model is."""
        return [layer.bias.value for layer in self._layers()]

    def _layers(self) -> list[Linear]:
        return [layer for layer in self.network_ if isinstance(layer, Linear)]

    # Checks

    def _settings(self, function: str, more: bool = False) -> _Settings:
        """Return the parameters that training asks for, checked; more for `partial_fit`."""
        for name, choices in (
            ("activation", tuple(ACTIVATIONS)),
            ("solver", SOLVERS),
            ("learning_rate", SCHEDULES),
        ):
            if getattr(self, name) not in choices:
                raise ArgumentValueError(
                    f"{function}: {name} must be one of {choices}, got {getattr(self, name)!r}"
                )
        for name in ("shuffle", "nesterovs_momentum", "early_stopping"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ArgumentTypeError(
                    f"{function}: {name} must be True or False, got {getattr(self, name)!r}"
                )
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if np.iterable(sizes) and not isinstance(sizes, str) else [sizes]
        hidden = [positive(function, "hidden_layer_sizes", size) for size in sizes]
        batch = None
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            batch = positive(function, "batch_size", self.batch_size)
        real(function, "learning_rate_init", self.learning_rate_init, 0.0, open_low=True)
        real(function, "alpha", self.alpha, 0.0)
        real(function, "power_t", self.power_t, 0.0)
        real(function, "tol", self.tol, 0.0)
        real(function, "momentum", self.momentum, 0.0, 1.0)
        real(function, "beta_1", self.beta_1, 0.0, 1.0)
        real(function, "beta_2", self.beta_2, 0.0, 1.0)
        real(function, "epsilon", self.epsilon, LEAST_EPS)
        real(function, "validation_fraction", self.validation_fraction, 0.0, 1.0, open_low=True)
        positive(function, "max_iter", self.max_iter)
        positive(function, "n_iter_no_change", self.n_iter_no_change)
        if not isinstance(self.log_every, bool) and self.log_every == 0:
            log_every = 0
        else:
            log_every = positive(function, "log_every", self.log_every)
        if self.early_stopping and not log_every:
            raise ArgumentValueError(
                f"{function}: early_stopping needs scores: log_every must be at least 1, got 0"
            )
        if more and self.early_stopping:
            raise ArgumentValueError(f"{function}: does not support early_stopping=True")
        random = getattr(self, "_random", None) if more else None
        if random is None:
            random = _generator(self.random_state, function)
        return _Settings(hidden, batch, log_every, copy.deepcopy(random))

    # Training

    def _train(
        self,
        session: Session,
        X: Any,
        y: Any,
        output: str,
        settings: _Settings,
        function: str = "fit",
        max_iter: int = 1,
    ) -> bool:
        """Train on checked data, y being (n, n_outputs), and return whether it converged.

        The network goes on from `network_` where there is one, and else starts anew.
        """
        if self.solver == "adam" and session.modulus != 2**64:
            raise ArgumentValueError(
                f"{function}: solver 'adam' needs a session modulo 2**64 to hold squares of "
                f"gradients, got {session.modulus}; use solver='sgd'"
            )
        if not hasattr(self, "network_"):
            self._start([X.shape[1], *settings.hidden, y.shape[1]], output, settings.random)
        validation = None
        if self.early_stopping:
            X, y, *validation = self._split(X, y, settings.random, function)
            validation = [shared(session, value) for value in validation]
        batch = min(settings.batch or BATCH, X.shape[0])
        network = _copied(self.network_)
        optimizer = self._optimizer_of(network)
        loss = self._objective(network, optimizer)
        if not any(map(is_secret, (X, y, *network.state_dict().values()))):
            check_ranges(network, loss, optimizer, X, y, batch, session, function)
        loss.watched = settings.log_every > 0
        network.share(session)
        stopping = Stopping(
            network,
            optimizer,
            schedule=self.learning_rate if self.solver == "sgd" else "constant",
            first_lr=float(self.learning_rate_init),
            power_t=float(self.power_t),
            n_samples=X.shape[0],
            n_seen=self.t_,
            score="score" if validation else None,
            tol=float(self.tol),
            n_iter_no_change=int(self.n_iter_no_change),
            log_every=settings.log_every,
        )
        trainer = Trainer(
            network,
            loss,
            optimizer,
            batch_size=batch,
            shuffle=bool(self.shuffle),
            random_state=int(settings.random.randint(2**31)),
            log_every=settings.log_every,
            metrics={"score": self._metric} if validation else None,
            callbacks=[loss.next_epoch, stopping],
        )
        try:
            trainer.fit(
                shared(session, X),
                shared(session, y),
                epochs=max_iter,
                validation=tuple(validation) if validation else None,
            )
        except DivergenceError as error:
            message = f"{error} (lr is what learning_rate_init sets)"
            raise DivergenceError(message, error.loss_curve, error.loss_steps) from None
        if stopping.best_state is not None:
            network.load_state_dict(stopping.best_state)
        self._note(trainer, stopping)
        self.network_, self._optimizer, self._random = network, optimizer, settings.random
        return stopping.converged

    def _start(self, units: list[int], output: str, random: np.random.RandomState) -> None:
        """Set what a training starts from."""
        self.n_layers_, self.n_outputs_, self.out_activation_ = len(units), units[-1], output
        self.network_ = _network(units, self.activation, random)
        self._optimizer = None
        self.n_iter_, self.t_ = 0, 0
        self.loss_curve_, self.loss_epochs_, self.loss_, self.best_loss_ = [], [], None, None
        self.validation_scores_ = self.best_validation_score_ = None

    def _note(self, trainer: Trainer, stopping: Stopping) -> None:
        """Store what a training told."""
        self.loss_curve_ = [*self.loss_curve_, *trainer.loss_curve_]
        self.loss_epochs_ = [
            *self.loss_epochs_,
            *(self.n_iter_ + epoch for epoch in trainer.loss_epochs_),
        ]
        self.n_iter_ += trainer.n_epochs_
        self.t_ = stopping.n_seen
        if self.loss_curve_:
            self.loss_ = self.loss_curve_[-1]
        if stopping.score:
            self.validation_scores_ = list(trainer.metrics_[stopping.score])
            self.best_validation_score_ = stopping.best
        elif self.loss_curve_:
            self.best_loss_ = min(self.loss_curve_)

    def _split(
        self, X: Any, y: Any, random: np.random.RandomState, function: str
    ) -> tuple[Any, Any, Any, Any]:
        """Return rows to train on and rows to validate with, by a public permutation."""
        n = X.shape[0]
        n_val = int(np.ceil(n * self.validation_fraction))
        if n_val < 2 or n_val >= n:
            raise ArgumentValueError(
                f"{function}: validation_fraction must leave 2 rows for validation and 1 for "
                f"training, got {self.validation_fraction} of {n} rows"
            )
        order = random.permutation(n)
        ours, theirs = order[n_val:], order[:n_val]
        return X[ours], y[ours], X[theirs], y[theirs]

    def _optimizer_of(self, network: Sequential) -> Optimizer:
        """Return an optimiser of a network, in the state of the last one if there was one.

        Its first group are the weights, its second one the biases.
        """
        layers = [layer for layer in network if isinstance(layer, Linear)]
        groups = [
            {"params": [layer.weight for layer in layers]},
            {"params": [layer.bias for layer in layers]},
        ]
        rate = float(self.learning_rate_init)
        optimizer: Optimizer
        if self.solver == "adam":
            optimizer = Adam(groups, rate, (self.beta_1, self.beta_2), self.epsilon)
        else:
            nesterov = bool(self.nesterovs_momentum and self.momentum > 0)
            optimizer = SGD(groups, rate, self.momentum, nesterov=nesterov)
        if self._optimizer is not None:
            if type(self._optimizer) is not type(optimizer):
                raise ArgumentValueError(
                    f"partial_fit: solver must be that of the earlier fit, got {self.solver!r}"
                )
            optimizer.load_state_dict(self._optimizer.state_dict())
        return optimizer

    def _objective(self, network: Sequential, optimizer: Optimizer) -> Objective:
        group = optimizer.param_groups[0]
        return Objective(self.out_activation_, float(self.alpha), group["params"], group)

    def _warn(self, converged: bool, settings: _Settings) -> None:
        """Say that a fit took all its epochs."""
        if settings.log_every and not converged:
            warnings.warn(
                f"{type(self).__name__}: max_iter of {self.max_iter} epochs reached, and the "
                "optimisation has not converged yet",
                ConvergenceWarning,
                stacklevel=3,
            )


class _Settings(NamedTuple):
    """Parameters that were checked."""

    hidden: list[int]
    batch: int | None
    log_every: int
    random: np.random.RandomState


def _generator(random_state: Any, function: str) -> np.random.RandomState:
    """Return NumPy's legacy generator, from which scikit-learn draws its initial values.

    Raises:
        ValueError: a seed out of range.
        TypeError: no integer, None or RandomState.
    """
    if isinstance(random_state, np.random.RandomState):
        return random_state
    if random_state is not None:
        if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
            raise ArgumentTypeError(
                f"{function}: random_state must be an integer, a RandomState or None, got "
                f"{type(random_state).__name__}"
            )
        if not 0 <= random_state < 2**32:
            raise ArgumentValueError(
                f"{function}: random_state must be in [0, 2**32), got {random_state}"
            )
    return np.random.RandomState(random_state)


def _network(units: list[int], activation: str, random: np.random.RandomState) -> Sequential:
    """Return layers of so many units, with scikit-learn's initial values, public."""
    modules: list[Module] = []
    kind = ACTIVATIONS[activation]
    for n_in, n_out in pairwise(units):
        if modules and kind is not None:
            modules.append(kind())
        bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / (n_in + n_out))
        weight = random.uniform(-bound, bound, (n_in, n_out))
        bias = random.uniform(-bound, bound, n_out)
        layer = Linear(n_in, n_out, random_state=0)
        layer.load_state_dict({"weight": np.ascontiguousarray(weight.T), "bias": bias})
        modules.append(layer)
    return Sequential(*modules)


def _copied(network: Sequential) -> Sequential:
    """Return a network of the same layers and values, which training may replace."""
    modules = [
        Linear(module.in_features, module.out_features, random_state=0)
        if isinstance(module, Linear)
        else type(module)()
        for module in network
    ]
    copied = Sequential(*modules)
    copied.load_state_dict(network.state_dict())
    return copied
