"""Linear regression on a fixed random ReLU reservoir, trained by gradient descent on shares.

Layer: models. Opens masked words, the losses that are asked for, and nothing else.
Source: the job that the tutorial demonstrates; random features as in Huang, Zhu, Siew, "Extreme
learning machine", Neurocomputing 2006.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from tqdm import tqdm

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.models.estimator import Estimator
from he_gpu.models.losses import LOSSES, Losses
from he_gpu.nn import r2_score
from he_gpu.ring.fixedpoint import FACTOR_BITS, as_reals
from he_gpu.session import Session, current_session
from he_gpu.tensor import SecretTensor

GUARD_BITS = 8
"""Fraction bits that the weights carry beyond the session's, against rounding in 1000s of steps."""


class ReservoirRegressor(Estimator):
    """Least squares on features relu(X @ W) with random public W, fitted on secret shares.

    Full-batch gradient descent without intercept: w starts at 0, e = F w - y, w <- w -
    learning_rate * F.T e. The loss that is revealed is that before the update; descent follows
    the squares whatever it is.

    Args:
        width: number of random features.
        learning_rate: step size, > 0; below 2 / (largest eigenvalue of F.T F).
        n_steps: number of updates.
        random_state: seed of the public reservoir; None draws another one each time fit is called.
        log_every: reveal the loss at steps 0, log_every, 2 log_every, ...; 0 reveals none.
        loss: what is revealed: "squared", sum(e**2), or "absolute", sum(|e|).

    Attributes:
        coef_: SecretTensor (n_targets, width), or (width,) for 1-d y, in fit's session.
        loss_curve_: the revealed losses.
        loss_steps_: the steps that they belong to.
        n_features_in_: number of input features; not set by a fit on secret features.
        session_: the session of the fit.

    Example:
        >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
        >>> model = ReservoirRegressor(n_steps=100, log_every=0).set_params(width=64)
        >>> model.get_params()["width"], model.transform(X).shape
        (64, (4, 64))
        >>> with Session(device="cpu") as session:
        ...     (model.fit(X, y).predict(X).reveal() > 0.5).astype(int).tolist()
        [0, 1, 1, 0]
        >>> own = ReservoirRegressor(random_state=1).fit(X, y)
        >>> own.predict(X).shape, own.score(X, y) > 0.9
        ((4,), True)
    """

    _estimator_type = "regressor"

    def __init__(
        self,
        width: int = 256,
        learning_rate: float = 1e-3,
        n_steps: int = 250,
        random_state: int | None = 0,
        log_every: int = 50,
        loss: str = "squared",
    ):
        self.width = width
        self.learning_rate = learning_rate
        self.n_steps = n_steps
        self.random_state = random_state
        self.log_every = log_every
        self.loss = loss

    def transform(self, X: Any) -> Array:
        """Return the plaintext features relu(X @ W), (n, width).

        Args:
            X: plaintext (n, n_features).

        Raises:
            ValueError: X that is not 2-d, or whose number of features is not that of fit; a
                random_state of None before fit.
        """
        X = _matrix(X, "transform")
        seed = getattr(self, "_reservoir_seed", _checked_seed(self.random_state, "transform"))
        if seed is None:
            raise ArgumentValueError(
                "transform: random_state=None has no reservoir before fit on plaintext"
            )
        expected = getattr(self, "n_features_in_", X.shape[1])
        if X.shape[1] != expected:
            raise ArgumentValueError(
                f"transform: X has {X.shape[1]} features, but {type(self).__name__} "
                f"is expecting {expected} features as input"
            )
        width = _integer("width", self.width, 1)
        W = np.random.RandomState(seed).standard_normal((X.shape[1], width))
        return np.maximum(X @ W, 0.0)

    def fit(self, X: Any, y: Any, session: Session | None = None) -> ReservoirRegressor:
        """Fit on shares.

        Args:
            X: plaintext (n, n_features), or a SecretTensor of *features*, (n, width).
            y: plaintext or SecretTensor, (n,) or (n, n_targets).
            session: where to compute; by default that of a SecretTensor given, else the current
                one, else a simulated one of the model's own.

        Returns:
            self.

        Raises:
            ValueError: shapes that do not fit, numbers out of range, a learning rate that must
                diverge (the message names the largest safe one).
            ArithmeticError: a revealed loss that no converging run has: above the first one, for
                m absolute residuals above sqrt(m) times the first. `loss_curve` and `loss_steps`
                of the error have the losses.

        A fit that raises leaves the model as it was.

        Range: plaintext that could leave the word is refused. Of secret data nobody can check
            that, with f = frac_bits, |F w - y| < 2**(54 - 2 f), that where losses are revealed the
            sum of squares of the residuals is below 2**(61 - 2 f) or that of absolute ones below
            2**(61 - f), that features are below 2**(38 - f), and learning_rate |F.T e| below
            2**(61 - f - g), where g is f plus the zeros after the point of learning_rate in
            binary; beyond, results are wrong.
        Error: features and residuals are rounded to 2**-f, weights to 2**-(f + 8) at each step, so
            predictions also to some 2**-(f + 8) times the norm of a row of F.
        Cost: once that of the scheme's `mask` of the features (where gradients are not bounded as
            below, of a `truncate` and another `mask` too); per step two of its truncated
            `product`, of the masked features and weights and of those and the residuals; for each
            revealed loss 1 round and, "squared", a `product` of n_targets * n elements without
            truncation, "absolute" a `positive_part` of as many. With "additive" 1 round (or 3), 4
            per step and 2 or 8 per loss.
        Leaks: the losses at the logged steps. For plaintext X and y also whether their norms bound
            the gradient by 2**(38 - 2 frac_bits), which chooses the way its product is scaled.
        """
        before = dict(vars(self))
        try:
            self._fit(X, y, session)
        except BaseException:
            self.__dict__ = before
            raise
        return self

    def _fit(self, X: Any, y: Any, session: Session | None) -> None:
        rate, n_steps, log_every, loss = self._checked_parameters()
        plain_X, plain_y = not isinstance(X, SecretTensor), not isinstance(y, SecretTensor)
        session, own = _choose_session(session, X, y)
        if session.modulus != 2**64:
            raise ArgumentValueError(
                f"fit: the session's modulus must be 2**64 to hold the weights' fraction bits, "
                f"got {session.modulus}"
            )
        self.__dict__.pop("n_features_in_", None)
        self._reservoir_seed = _checked_seed(self.random_state, "fit")
        if plain_X:
            X = _matrix(X, "fit")
            self.n_features_in_ = X.shape[1]
            if self._reservoir_seed is None:
                self._reservoir_seed = secrets.randbits(32)
            X = _rounded(self.transform(X), session.frac_bits)
            _check_rate(X, rate)
        if plain_y:
            y = as_reals(y, "fit", "y")
        _check_shapes(X.shape, y.shape, self.width)
        bounded = False
        if plain_X and plain_y:
            bounded = _check_ranges(X, y, rate, session.frac_bits, loss if log_every else None)
        F = session.share(X) if plain_X else X
        y = session.share(y) if plain_y else y

        self.session_, self._own_session, self._is_vector = session, own, y.ndim == 1
        if self._is_vector:
            y = y.reshape(-1, 1)
        losses = Losses(loss)
        w = self._descend(session, F, y, rate, bounded, n_steps, log_every, losses)
        self.coef_ = w.reshape(-1) if self._is_vector else w.T
        self.loss_curve_, self.loss_steps_ = losses.values, losses.steps

    def _descend(
        self,
        session: Session,
        F: SecretTensor,
        y: SecretTensor,
        rate: float,
        bounded: bool,
        n_steps: int,
        log_every: int,
        losses: Losses,
    ) -> SecretTensor:
        """Return the weights (width, n_targets) after n_steps of gradient descent."""
        F = F.masked()
        # The transposed features carry the learning rate. Where the gradient is small its
        # product with the unrounded rate fits the word, and the one mask serves; otherwise the
        # scaled features are first rounded to as many significant bits as the features have.
        if bounded:
            step_matrix = F.T.scaled(rate)
        else:
            step_matrix = F.T.scaled(rate, _step_bits(rate, session.frac_bits)).masked()
        weight_bits = min(session.frac_bits + GUARD_BITS, step_matrix.frac_bits + session.frac_bits)
        w = session.share(np.zeros((F.shape[1], y.shape[1]))).with_frac_bits(weight_bits)
        with tqdm(total=n_steps, desc="training", unit="step", disable=None, leave=False) as bar:
            for step in session.steps(n_steps):
                e = F.matmul(w) - y
                if log_every and step % log_every == 0:
                    losses.reveal(step, e)
                    bar.set_postfix(loss=f"{losses.values[-1]:.3e}")
                w = w - step_matrix.matmul(e, frac_bits=weight_bits)
                bar.update()
        return w

    def predict(self, X: Any) -> Any:
        """Return predictions F w.

        Args:
            X: plaintext (n, n_features), or a SecretTensor of features (n, width) in fit's session.

        Returns:
            SecretTensor of y's ndim in fit's session; an ndarray where fit used a session of its
            own.

        Raises:
            ValueError: not fitted, or shapes that do not fit.
            RuntimeError: fit's session is closed.

        Range: |F w| < 2**(54 - 2 frac_bits), as in training.
        Error: one unit of 2**-frac_bits, and that of features rounded to 2**-frac_bits.
        Cost: one truncation of n words for each target; for secret features a secret product.
        Leaks: nothing; the ndarray is revealed.
        """
        self._check_fitted("predict")
        w = self.coef_ if self._is_vector else self.coef_.T
        if isinstance(X, SecretTensor):
            if X.ndim != 2 or X.shape[1] != w.shape[0]:
                raise ArgumentValueError(
                    f"predict: secret features must have shape (n, {w.shape[0]}), got {X.shape}"
                )
            predicted = X @ w
        else:
            # Features as rounded as in training, so that |F w| has the range it had there.
            frac_bits = w.session.frac_bits
            whole = np.rint(np.ldexp(self.transform(X), frac_bits))
            predicted = (whole @ w) * 2.0**-frac_bits
        return predicted.reveal() if self._own_session else predicted

    def score(self, X: Any, y: Any) -> float:
        """Return the coefficient of determination of the predictions for plaintext y.

        Leaks: the predictions are revealed to compute it.
        """
        predicted = self.predict(X)
        if isinstance(predicted, SecretTensor):
            predicted = predicted.reveal()
        return r2_score(predicted, as_reals(y, "score", "y"))

    def _checked_parameters(self) -> tuple[float, int, int, str]:
        _integer("width", self.width, 1)
        rate = as_reals(self.learning_rate, "fit", "learning_rate")
        if rate.ndim or rate <= 0:
            raise ArgumentValueError(f"fit: learning_rate must be > 0, got {self.learning_rate}")
        n_steps = _integer("n_steps", self.n_steps, 0)
        if self.loss not in LOSSES:
            raise ArgumentValueError(f"fit: loss must be one of {LOSSES}, got {self.loss!r}")
        return float(rate), n_steps, _integer("log_every", self.log_every, 0), self.loss


def _rounded(F: Array, frac_bits: int) -> Array:
    """Return features as sharing rounds them."""
    return np.ldexp(np.rint(np.ldexp(F, frac_bits)), -frac_bits)


def _integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(f"fit: {name} must be an integer, got {type(value).__name__}")
    if value < least:
        raise ArgumentValueError(f"fit: {name} must be at least {least}, got {value}")
    return int(value)


def _matrix(X: Any, function: str) -> Array:
    if isinstance(X, SecretTensor):
        raise ArgumentTypeError(f"{function}: X must be plaintext, got a SecretTensor")
    X = as_reals(X, function, "X")
    if X.ndim != 2:
        raise ArgumentValueError(f"{function}: X must be 2-d (n, n_features), got shape {X.shape}")
    return X


def _choose_session(session: Session | None, *data: Any) -> tuple[Session, bool]:
    """Return the session to fit in, and whether it is the model's own."""
    for value in data:
        if isinstance(value, SecretTensor):
            if session is not None and value.session is not session:
                raise ArgumentValueError("fit: data and session= are of two different sessions")
            session = value.session
    if session is not None and not isinstance(session, Session):
        raise ArgumentTypeError(f"fit: session must be a Session, got {type(session).__name__}")
    session = session or current_session()
    if session is None:
        return Session(), True
    session.check_open("fit")
    return session, False


def _check_shapes(features: tuple[int, ...], targets: tuple[int, ...], width: int) -> None:
    if len(features) != 2 or features[1] != width:
        raise ArgumentValueError(f"fit: features must have shape (n, {width}), got {features}")
    if len(targets) not in (1, 2) or targets[0] != features[0]:
        raise ArgumentValueError(
            f"fit: y must have shape ({features[0]},) or ({features[0]}, n_targets), got {targets}"
        )
    if features[0] == 0 or 0 in targets:
        raise ArgumentValueError(f"fit: at least one sample and one target expected, got {targets}")


def _check_rate(F: Array, rate: float) -> None:
    """Refuse a learning rate under which gradient descent on F must diverge."""
    gram = F @ F.T if F.shape[0] < F.shape[1] else F.T @ F
    largest = float(np.linalg.eigvalsh(gram)[-1]) if gram.size else 0.0
    if rate * largest >= 2:
        raise ArgumentValueError(
            f"fit: learning_rate {rate:g} must diverge on these data; "
            f"it must be below {2 / largest:.6g}"
        )


def _checked_seed(seed: Any, function: str) -> int | None:
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ArgumentTypeError(
            f"{function}: random_state must be an integer or None, got {type(seed).__name__}"
        )
    if not 0 <= seed < 2**32:
        raise ArgumentValueError(f"{function}: random_state must be in [0, 2**32), got {seed}")
    return int(seed)


def _step_bits(rate: float, frac_bits: int) -> int:
    """Return the fraction bits of rounded features times the rate: as many significant ones."""
    return min(frac_bits + max(0, -int(np.frexp(rate)[1])), 40)


def _check_ranges(F: Array, y: Array, rate: float, frac_bits: int, loss: str | None) -> bool:
    """Refuse plaintext whose training could leave the word, which no share would show.

    Over a converging run |e| never exceeds |y| in the 2-norm of a target, so |F w| stays below
    2 |y| and a gradient below |y| times the norm of a column of F. The sum of m absolute residuals
    stays below sqrt(m) |y| over all targets. Half of each range is left to rounding.

    Returns:
        Whether gradients fit the word at the scale of the unrounded rate.
    """
    size = float(np.sqrt((y**2).sum(axis=0).max(initial=0.0)))
    gradient = size * float(np.sqrt((F**2).sum(axis=0).max(initial=0.0)))
    factor_bits = FACTOR_BITS[64]
    rate_bits = factor_bits - int(np.frexp(rate)[1])
    exact = gradient < 2.0 ** (62 - 2 * frac_bits - factor_bits) and frac_bits + rate_bits < 62
    ranges = [("the norm of y", size, 60 - 2 * frac_bits - GUARD_BITS)]
    squares = float((y**2).sum())
    if loss == "squared":
        ranges.append(("the sum of squares of y", squares, 61 - 2 * frac_bits))
    elif loss == "absolute":
        most = float(np.sqrt(y.size * squares))
        ranges.append(("the norm of y times the root of its size", most, 61 - frac_bits))
    if not exact:
        ranges.append(("features", float(F.max(initial=0.0)), 62 - frac_bits - factor_bits))
        step_room = 61 - frac_bits - _step_bits(rate, frac_bits)
        ranges.append(("a gradient times learning_rate", rate * gradient, step_room))
    for name, value, room in ranges:
        if value >= 2.0**room:
            raise RangeError(
                f"fit: {name} must stay below 2**{room} with {frac_bits} fraction bits, "
                f"got {value:g}; scale the data down or use fewer fraction bits"
            )
    return exact
