"""What scikit-learn expects of every estimator, without depending on scikit-learn.

Layer: models. Parameters are the arguments of ``__init__``, stored unchanged under their names.
Source: scikit-learn's developer guide, "Developing scikit-learn estimators".
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import numpy as np

from he_gpu.errors import ArgumentValueError, NotFittedError

Self = TypeVar("Self", bound="Estimator")


class Estimator:
    """Parameters by name, their display, and clones; see the module."""

    _estimator_type = "regressor"

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

    def _check_fitted(self, function: str, attribute: str) -> None:
        if not hasattr(self, attribute):
            raise NotFittedError(f"{function}: {type(self).__name__} is not fitted; call fit first")

    def __sklearn_is_fitted__(self) -> bool:
        return any(name.endswith("_") and not name.startswith("_") for name in vars(self))

    def __sklearn_tags__(self) -> Any:
        """Describe the estimator to scikit-learn, which alone calls this."""
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True, multi_output=True),
            regressor_tags=RegressorTags(),
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


def r2_score(y: Any, predicted: Any) -> float:
    """Return the coefficient of determination, averaged over targets as scikit-learn does."""
    y, predicted = np.asarray(y, np.float64), np.asarray(predicted, np.float64)
    if y.shape != predicted.shape:
        raise ArgumentValueError(
            f"score: y must have the predictions' shape {predicted.shape}, got {y.shape}"
        )
    residual = np.asarray(((y - predicted) ** 2).sum(axis=0))
    spread = np.asarray(((y - y.mean(axis=0)) ** 2).sum(axis=0))
    exact = np.where(residual == 0, 1.0, 0.0)  # scikit-learn's value for a constant target
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(spread > 0, 1 - residual / spread, exact)
    return float(scores.mean())
