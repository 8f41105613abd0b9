"""What scikit-learn expects of every estimator, without depending on scikit-learn.

Layer: models. Parameters are the arguments of ``__init__``, stored unchanged under their names;
what a fit learns ends in an underscore. A fit belongs to a session, or to a simulated one of its
own that ends with it; a fit that fails leaves nothing behind.
Source: scikit-learn's developer guide, "Developing scikit-learn estimators".
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from he_gpu.errors import ArgumentTypeError, ArgumentValueError, NotFittedError
from he_gpu.models.data import as_inputs, names_of
from he_gpu.nn.module import Module
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

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` changes nothing here."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self: Self, **params: Any) -> Self:
        """Set parameters by name and return self.

        Raises:
            ValueError: a name that is no parameter.
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

    @contextmanager
    def _fitting(
        self, session: Session | None, *data: Any, function: str = "fit", more: bool = False
    ) -> Iterator[Session]:
        """Give a fit its session: that of secret data, the one given, the current one, or its own.

        An own session is closed at the end, and what the fit stored is revealed: SecretTensors
        and modules among the attributes. Where the body raises, the estimator is as it was before.

        Args:
            session: as given to the fit.
            data: what may be SecretTensors.
            function: for messages.
            more: whether an earlier fit goes on (`partial_fit`); otherwise it is forgotten.
        """
        before = dict(vars(self))
        chosen = _session_of(session, data, function)
        session = Session() if chosen is None else chosen
        try:
            if not more:
                for name in [name for name in before if _is_learnt(name)]:
                    del self.__dict__[name]
            yield session
            if chosen is None:
                for name, value in vars(self).items():
                    if isinstance(value, SecretTensor | Module):
                        public = value.reveal()
                        self.__dict__[name] = public
            self.session_ = chosen
        except BaseException:
            self.__dict__ = before
            raise
        finally:
            if chosen is None:
                session.close()

    def _inputs(self, X: Any, function: str, fitted: bool = True) -> Any:
        """Return inputs as a SecretTensor or a float64 ndarray (n, n_features).

        Args:
            X: as the user gave it.
            function: for messages.
            fitted: whether features must be those of the fit; else they are noted.

        Raises:
            ValueError: not fitted; what is not a finite matrix with a row and a column; other
                features than the fit's.
            TypeError: what holds no real numbers.
        """
        if fitted:
            self._check_fitted(function)
        names, X = names_of(X), as_inputs(X, function)
        if not fitted:
            self.n_features_in_ = int(X.shape[1])
            if names is not None:
                self.feature_names_in_ = names
            return X
        kind = type(self).__name__
        known = getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and list(names) != list(known):
            raise ArgumentValueError(
                f"{function}: The feature names should match those that were passed during fit: "
                f"{list(known)}, got {list(names)}"
            )
        if X.shape[1] != self.n_features_in_:
            raise ArgumentValueError(
                f"{function}: X has {X.shape[1]} features, but {kind} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return X

    def _check_fitted(self, function: str) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"{function}: {type(self).__name__} is not fitted; call fit first")

    def __sklearn_is_fitted__(self) -> bool:
        return any(map(_is_learnt, vars(self)))

    def __sklearn_tags__(self) -> Any:
        """Describe the estimator to scikit-learn, which alone calls this."""
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        kind = self._estimator_type
        return Tags(
            estimator_type=kind,
            target_tags=TargetTags(required=True, multi_output=kind == "regressor"),
            classifier_tags=ClassifierTags() if kind == "classifier" else None,
            regressor_tags=RegressorTags() if kind == "regressor" else None,
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


def _session_of(session: Session | None, data: Any, function: str) -> Session | None:
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
    session = session or current_session()
    if session is not None:
        session.check_open(function)
    return session
