"""What scikit-learn expects of every estimator, without depending on scikit-learn.

Layer: models. Parameters are the arguments of ``__init__``, stored unchanged under their names;
what a fit learns ends in an underscore. A fit belongs to a session, or to a simulated one of its
own that ends with it; a fit that fails leaves nothing behind.
Source: scikit-learn's developer guide, "Developing scikit-learn estimators".
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from he_gpu.errors import ArgumentTypeError, ArgumentValueError, NotFittedError
from he_gpu.models.data import as_inputs, check_session, names_of
from he_gpu.session import Session, current_session
from he_gpu.tensor import SecretTensor

Self = TypeVar("Self", bound="Estimator")


class Estimator:
    """Parameters by name, their display, clones, and the session of a fit; see the module.

    Attributes:
        n_features_in_: number of input features.
        feature_names_in_: names of the input's columns, where it has any.
        session_: the session of the fit, or None where it was the estimator's own.
    """

    _estimator_type: ClassVar[str] = ""
    n_features_in_: int
    session_: Session | None

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` changes nothing here.

        Example:
            >>> import he_gpu as he
            >>> he.ReservoirRegressor(width=64).get_params()["width"]
            64
        """
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self: Self, **params: Any) -> Self:
        """Set parameters by name and return self.

        Raises:
            ValueError: a name that is no parameter; then none is set.

        Example:
            >>> import he_gpu as he
            >>> he.ReservoirRegressor().set_params(width=64)
            ReservoirRegressor(width=64)
        """
        names = self._parameter_names()
        for name in params:
            if name not in names:
                raise ArgumentValueError(
                    f"set_params: {name!r} is no parameter of {type(self).__name__}; "
                    f"they are {names}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def reveal(self: Self) -> Self:
        """Open what the fit learnt to every party and return self, public from now on.

        A public estimator predicts ndarrays for plaintext and can be pickled and copied.

        Raises:
            ValueError: not fitted.
            RuntimeError: fit's session is closed.

        Cost: 1 round for each tensor learnt. Leaks: them.

        Example:
            >>> import he_gpu as he
            >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
            >>> with he.Session(device="cpu"):
            ...     model = he.ReservoirRegressor(width=8, n_steps=2).fit(X, y).reveal()
            >>> model.predict(X).shape, model.session_
            ((4,), None)
        """
        self._check_fitted("reveal")
        if self.session_ is not None:
            self.session_.check_open("reveal")
            self._open()
            self.session_ = None
        return self

    @contextmanager
    def _fitting(
        self, session: Session | None, *data: Any, function: str = "fit", more: bool = False
    ) -> Iterator[Session]:
        """Give a fit its session: that of secrets, the one given, the current one, or its own.

        An own session is closed at the end, and what the fit stored is revealed: what has a method
        `reveal` (tensors, modules, optimisers) among the attributes, and in lists and tuples there.
        Where the body raises, the estimator is as it was before.

        Args:
            session: as given to the fit.
            data: what may be SecretTensors.
            function: for messages.
            more: whether an earlier fit goes on (`partial_fit`), in its session where that is not
                the estimator's own; otherwise it is forgotten.

        Raises:
            ValueError: secrets of two sessions.
            TypeError: what is no session.
            RuntimeError: the session is closed.
        """
        held = getattr(self, "session_", None) if more else None
        chosen = _session_of(session, data, held, function)
        before = {name: _kept(value) for name, value in vars(self).items()}
        session = Session() if chosen is None else chosen
        try:
            if not more:
                for name in [name for name in before if _is_learnt(name)]:
                    del self.__dict__[name]
            yield session
            if chosen is None:
                self._open()
            self.session_ = chosen
        except BaseException:
            self.__dict__ = {name: _restored(value) for name, value in before.items()}
            raise
        finally:
            if chosen is None:
                session.close()

    def _open(self) -> None:
        """Reveal what was learnt."""
        for name, value in vars(self).items():
            self.__dict__[name] = _revealed(value)

    def _inputs(self, X: Any, function: str, fitted: bool = True) -> Any:
        """Return inputs as a SecretTensor or a float64 ndarray (n, n_features).

        Args:
            X: as the user gave it.
            function: for messages.
            fitted: whether features must be those of the fit; else they are noted.

        Raises:
            ValueError: not fitted; what is not a finite matrix with a row and a column; other
                features than the fit's; a secret of another session than the fit's.
            TypeError: what holds no real numbers.
            RuntimeError: the session of the fit or of X is closed.
        """
        if fitted:
            self._check_fitted(function)
            X = self._known_features(X, function)
            check_session(X, getattr(self, "session_", None), function, "X")
            return X
        names, X = names_of(X), as_inputs(X, function)
        self.n_features_in_ = int(X.shape[1])
        if names is not None:
            self.feature_names_in_ = names
        return X

    def _known_features(self, X: Any, function: str) -> Any:
        """Return inputs, or refuse other features, by name or number, than those of the fit."""
        names, known = names_of(X), getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and list(names) != list(known):
            raise ArgumentValueError(f"{function}: {_misfit(list(names), list(known))}")
        X = as_inputs(X, function)
        expected = getattr(self, "n_features_in_", X.shape[1])
        if X.shape[1] != expected:
            raise ArgumentValueError(
                f"{function}: X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{expected} features as input"
            )
        return X

    def _check_sessions(self, X: Any, y: Any, function: str) -> None:
        """Refuse a secret y of another session than that of the model, or else of X."""
        of_inputs = X.session if isinstance(X, SecretTensor) else None
        check_session(y, self.session_ or of_inputs, function, "y")

    def _check_fitted(self, function: str) -> None:
        if not self.__sklearn_is_fitted__():
            raise _not_fitted(f"{function}: {type(self).__name__} is not fitted; call fit first")

    def __sklearn_is_fitted__(self) -> bool:
        return any(map(_is_learnt, vars(self)))

    def __sklearn_tags__(self) -> Any:
        """Describe the estimator to scikit-learn, which alone calls this."""
        from sklearn.utils import (
            ClassifierTags,
            InputTags,
            RegressorTags,
            Tags,
            TargetTags,
            TransformerTags,
        )

        kind = self._estimator_type
        return Tags(
            estimator_type=kind,
            target_tags=TargetTags(required=True, multi_output=kind == "regressor"),
            classifier_tags=ClassifierTags() if kind == "classifier" else None,
            regressor_tags=RegressorTags() if kind == "regressor" else None,
            transformer_tags=TransformerTags() if hasattr(self, "transform") else None,
            input_tags=InputTags(),
        )

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if repr(value) != repr(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def _is_learnt(name: str) -> bool:
    """Tell whether an attribute is what a fit stored."""
    return name.endswith("_") and not name.startswith("_")


def _misfit(names: list[str], known: list[str]) -> str:
    """Say how names of columns differ from those of a fit, in scikit-learn's words."""
    lines = ["The feature names should match those that were passed during fit."]
    for what, odd in (
        ("Feature names unseen at fit time", sorted(set(names) - set(known))),
        ("Feature names seen at fit time, yet now missing", sorted(set(known) - set(names))),
    ):
        if odd:
            dots = ["- ..."] if len(odd) > 5 else []
            lines += [f"{what}:", *(f"- {name}" for name in odd[:5]), *dots]
    if len(lines) == 1:
        lines.append("Feature names must be in the same order as they were in fit.")
    return "\n".join(lines) + "\n"


def _not_fitted(message: str) -> NotFittedError:
    """Return the error, which is scikit-learn's too where that is loaded."""
    loaded = sys.modules.get("sklearn.exceptions")
    return NotFittedError(message) if loaded is None else _both(loaded.NotFittedError)(message)


@cache
def _both(other: type[Exception]) -> type[NotFittedError]:
    """Return an error of two kinds, which pickle makes again from its message."""

    def remade(self: NotFittedError) -> tuple[Any, ...]:
        return _not_fitted, self.args

    name = NotFittedError.__name__
    return type(name, (NotFittedError, other), {"__reduce__": remade, "__module__": __name__})


class _Snapshot(NamedTuple):
    """Something that a fit changes in place, and its state."""

    whole: Any
    state: Any


def _kept(value: Any) -> Any:
    """Return what `_restored` gives the value back from: modules, optimisers, lists and others."""
    if hasattr(value, "load_state_dict"):
        return _Snapshot(value, value.state_dict())
    return _Snapshot(value, list(value)) if isinstance(value, list) else value


def _restored(value: Any) -> Any:
    """Return the value as it was when `_kept` was asked."""
    if not isinstance(value, _Snapshot):
        return value
    if isinstance(value.whole, list):
        value.whole[:] = value.state
    else:
        value.whole.load_state_dict(value.state)
    return value.whole


def _revealed(value: Any) -> Any:
    """Return a tensor, module or optimiser revealed, and so what a list or tuple has of them."""
    if hasattr(value, "reveal"):
        return value.reveal()
    if isinstance(value, list | tuple) and any(hasattr(part, "reveal") for part in value):
        parts = [_revealed(part) for part in value]
        return parts if isinstance(value, list) else _like(value, parts)
    return value


def _like(parts: tuple[Any, ...], others: list[Any]) -> Any:
    """Return a tuple of the same kind, named or not."""
    make = getattr(parts, "_make", tuple)
    return make(others)


def _session_of(
    session: Session | None, data: Any, held: Session | None, function: str
) -> Session | None:
    """Return the session to fit in, or None for one of the estimator's own."""
    if session is not None and not isinstance(session, Session):
        raise ArgumentTypeError(
            f"{function}: session must be a Session, got {type(session).__name__}"
        )
    for value in data:
        if isinstance(value, SecretTensor):
            if session is not None and value.session is not session:
                raise ArgumentValueError(
                    f"{function}: data and session= are of two different sessions"
                )
            session = value.session
    if held is not None:
        if session is not None and session is not held:
            raise ArgumentValueError(
                f"{function}: the data and the earlier fit are of two different sessions"
            )
        session = held
    session = session or current_session()
    if session is not None:
        session.check_open(function)
    return session
