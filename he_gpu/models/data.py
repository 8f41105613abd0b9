"""Data as estimators take them: matrices, targets and labels, checked before anything is shared.

Layer: models. Messages have the words that scikit-learn's own checks look for. Secrets are checked
by their shapes alone; nothing is revealed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.losses import one_hot
from he_gpu.ring.fixedpoint import as_reals
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor


def names_of(X: Any) -> Array | None:
    """Return the names of a data frame's columns, or None where not all are strings."""
    columns = getattr(X, "columns", None)
    if columns is None or not all(isinstance(name, str) for name in columns):
        return None
    return np.asarray(list(columns), object)


def as_inputs(X: Any, function: str) -> Any:
    """Return a SecretTensor, or a finite float64 ndarray, of shape (n, n_features), neither 0.

    Raises:
        ValueError: another shape, NaN, infinity, complex numbers.
        TypeError: a sparse matrix, or what holds no numbers.
    """
    if not isinstance(X, SecretTensor):
        X = _reals(X, function, "X")
    if X.ndim != 2:
        raise ArgumentValueError(
            f"{function}: X must be 2-d (n, n_features), got shape {tuple(X.shape)}. Reshape your "
            "data: X.reshape(-1, 1) for one feature, X.reshape(1, -1) for one sample"
        )
    for axis, what in enumerate(("sample", "feature")):
        if X.shape[axis] == 0:
            raise ArgumentValueError(
                f"{function}: X has 0 {what}(s) (shape={tuple(X.shape)}) while a minimum of 1 is "
                "required."
            )
    return X


def as_targets(y: Any, function: str, n: int) -> Any:
    """Return a SecretTensor, or a finite float64 ndarray, of shape (n,) or (n, n_targets).

    Raises:
        ValueError: another shape, NaN, infinity, complex numbers.
        TypeError: what holds no numbers.
    """
    if not isinstance(y, SecretTensor):
        y = _reals(_given(y, function), function, "y")
    if y.ndim not in (1, 2) or y.shape[0] != n or 0 in y.shape:
        raise ArgumentValueError(
            f"{function}: y must have shape ({n},) or ({n}, n_targets), as X has {n} rows, got "
            f"{tuple(y.shape)}"
        )
    return y


def as_labels(y: Any, function: str, n: int) -> tuple[Array, Any]:
    """Return the classes, sorted, and y as one-hot rows (n, n_classes).

    Args:
        y: plain labels of any kind, (n,); or a secret, one-hot (n, n_classes) or, for two classes,
            0 and 1, (n,), which nobody can check. The classes of a secret are 0, 1, 2, ...
        function: for messages.
        n: rows of X.

    Raises:
        ValueError: another shape; NaN; real numbers that are no labels; fewer than two classes.
    """
    if isinstance(y, SecretTensor):
        if y.shape == (n,):
            return np.arange(2), _stacked(y)
        if y.ndim != 2 or y.shape[0] != n or y.shape[1] < 2:
            raise ArgumentValueError(
                f"{function}: secret y must have shape ({n},) of 0 and 1 or ({n}, n_classes), "
                f"one-hot, got {y.shape}"
            )
        return np.arange(y.shape[1]), y
    labels = plain_labels(y, function, n)
    classes, indices = np.unique(labels, return_inverse=True)
    if classes.size < 2:
        raise ArgumentValueError(
            f"{function}: y must hold at least 2 classes, got 1 class: {classes[0]!r}"
        )
    return classes, one_hot(indices.reshape(-1), classes.size, function)


def plain_labels(y: Any, function: str, n: int) -> Array:
    """Return public labels (n,); a column is a vector.

    Raises:
        ValueError: another shape, NaN, real numbers that are no labels.
    """
    labels = np.asarray(_given(y, function))
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (n,):
        raise ArgumentValueError(
            f"{function}: y must have shape ({n},), as X has {n} rows, got {labels.shape}"
        )
    if labels.dtype.kind == "f":
        labels = as_reals(labels, function, "y")
        if (labels != np.rint(labels)).any():
            raise ArgumentValueError(
                f"{function}: Unknown label type: y must hold labels, got real numbers such as "
                f"{labels[labels != np.rint(labels)][0]:g}"
            )
    elif labels.dtype.kind == "O" and not all(isinstance(label, str) for label in labels):
        raise ArgumentValueError(f"{function}: Unknown label type: y holds objects that are no str")
    elif labels.dtype.kind not in "iubUSO":
        raise ArgumentValueError(
            f"{function}: Unknown label type: y must hold integers, strings or booleans, got dtype "
            f"{labels.dtype}"
        )
    return labels


def label_indices(y: Any, classes: Array, function: str, n: int) -> Array:
    """Return public labels as indices into sorted classes.

    Raises:
        ValueError: as `plain_labels`, and a label that is no class.
    """
    labels = plain_labels(y, function, n)
    known = np.isin(labels, classes)
    if not known.all():
        raise ArgumentValueError(
            f"{function}: y holds {labels[~known][0]!r}, which is none of the classes "
            f"{classes.tolist()}"
        )
    return np.searchsorted(classes, labels)


def shared(session: Session, value: Any) -> SecretTensor:
    """Return a secret as it is, and a public value shared."""
    return value if isinstance(value, SecretTensor) else session.share(value)


def _stacked(bit: SecretTensor) -> SecretTensor:
    """Return 0 and 1 as one-hot rows."""
    column = bit.reshape(-1, 1)
    # (1 - b, b) is a public map of b: no protocol runs.
    return column @ np.array([[-1.0, 1.0]]) + np.array([1.0, 0.0])


def _given(y: Any, function: str) -> Any:
    if y is None:
        raise ArgumentValueError(f"{function}: requires y to be passed, but the target y is None")
    return y


def _reals(values: Any, function: str, argument: str) -> Array:
    """Return finite reals as a float64 ndarray."""
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise ArgumentTypeError(
            f"{function}: {argument} is a sparse matrix, which is not supported; use "
            f"{argument}.toarray()"
        )
    array = values
    if not isinstance(values, np.ma.MaskedArray) and type(values).__module__ != "cupy":
        try:
            array = np.asarray(values)
        except ValueError:
            array = values  # as_reals says what is wrong
    if isinstance(array, np.ndarray) and array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"{function}: {argument} is not numeric: {error}") from None
    if isinstance(array, np.ndarray) and array.dtype.kind == "c":
        raise ArgumentValueError(f"{function}: Complex data not supported, got {argument} of them")
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        bad = array[~np.isfinite(array)]
        if bad.size:
            what = "NaN" if np.isnan(bad.flat[0]) else "infinity"
            raise ArgumentValueError(
                f"{function}: Input {argument} contains {what}; it must be finite"
            )
    return as_reals(array, function, argument)
