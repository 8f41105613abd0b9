"""Data as estimators take them: matrices, targets and labels, checked before anything is shared.

Layer: models. Messages have the words that scikit-learn's own checks look for. Secrets are checked
by their shapes alone; nothing is revealed.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from he_gpu.backend import Array, to_host
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
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


def as_labels(y: Any, function: str, n: int, classes: Array | None = None) -> tuple[Array, Any]:
    """Return the classes, sorted, and y as one-hot rows (n, n_classes).

    Args:
        y: plain labels of any kind, (n,); or a secret, one-hot (n, n_classes) or, for two classes,
            0 and 1, (n,), which nobody can check. The classes of a secret are 0, 1, 2, ...
        function: for messages.
        n: rows of X.
        classes: those that y may have, sorted, as `as_classes` or an earlier fit gives them; None
            for those that it has.

    Raises:
        ValueError: another shape; NaN; real numbers that are no labels; fewer than two classes; a
            label that is no class.
    """
    if isinstance(y, SecretTensor):
        k = y.shape[-1] if y.ndim > 1 else 2
        if y.shape not in ((n,), (n, k)) or k < 2 or (classes is not None and k != len(classes)):
            wanted = "n_classes" if classes is None else len(classes)
            vector = f"({n},) of 0 and 1 or " if wanted in ("n_classes", 2) else ""
            raise ArgumentValueError(
                f"{function}: secret y must have shape {vector}({n}, {wanted}), one-hot, as X has "
                f"{n} rows, got {y.shape}"
            )
        return np.arange(k) if classes is None else classes, _stacked(y) if y.ndim == 1 else y
    labels = plain_labels(y, function, n)
    if classes is None:
        classes = as_classes(labels, function, "y")
    return classes, one_hot(_indices(labels, classes, function), len(classes), function)


def as_classes(labels: Any, function: str, argument: str) -> Array:
    """Return the different labels, sorted.

    Raises:
        ValueError: fewer than two; what is no label.
    """
    labels = plain_labels(labels, function, None, argument)
    classes = np.unique(labels)
    if classes.size < 2:
        raise ArgumentValueError(
            f"{function}: {argument} must hold at least 2 classes, got 1 class: "
            f"{classes.tolist()[0]!r}"
        )
    return classes


def plain_labels(y: Any, function: str, n: int | None, argument: str = "y") -> Array:
    """Return public labels (n,); a column is a vector, with scikit-learn's warning.

    Args:
        y: integers, booleans, strings, or floats that are integers.
        function: for messages.
        n: how many there must be; None for any number above 0.
        argument: for messages.

    Raises:
        ValueError: another shape, NaN, real numbers that are no labels.
        TypeError: a SecretTensor, a masked array.
    """
    if isinstance(y, SecretTensor):
        raise ArgumentTypeError(f"{function}: {argument} must be plaintext, got a SecretTensor")
    labels = _array(_given(y, function), function, argument)
    if labels.ndim == 2 and labels.shape[1] == 1:
        _warn_of_column(function)
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.size != (n or max(labels.size, 1)):
        wanted = "(n,), n > 0" if n is None else f"({n},), as X has {n} rows"
        raise ArgumentValueError(
            f"{function}: {argument} must have shape {wanted}, got {labels.shape}"
        )
    if labels.dtype.kind == "f":
        labels = as_reals(labels, function, argument)
        if (labels != np.rint(labels)).any():
            raise ArgumentValueError(
                f"{function}: Unknown label type: {argument} must hold labels, got real numbers "
                f"such as {labels[labels != np.rint(labels)][0]:g}"
            )
    elif labels.dtype.kind == "O" and not all(isinstance(label, str) for label in labels):
        raise ArgumentValueError(
            f"{function}: Unknown label type: {argument} holds objects that are no str"
        )
    elif labels.dtype.kind not in "iubUSO":
        raise ArgumentValueError(
            f"{function}: Unknown label type: {argument} must hold integers, strings or booleans, "
            f"got dtype {labels.dtype}"
        )
    return labels


def label_indices(y: Any, classes: Array, function: str, n: int) -> Array:
    """Return public labels as indices into sorted classes.

    Raises:
        ValueError: as `plain_labels`, and a label that is no class.
    """
    return _indices(plain_labels(y, function, n), classes, function)


def check_session(value: Any, session: Session | None, function: str, argument: str) -> None:
    """Refuse a secret of another session than a model's, and sessions that are closed.

    Args:
        value: what may be a SecretTensor.
        session: that of the model, None where it is public.
        function: for messages.
        argument: for messages.

    Raises:
        ValueError: another session.
        RuntimeError: a closed one.
    """
    if session is not None:
        session.check_open(function)
    if isinstance(value, SecretTensor):
        if session is not None and value.session is not session:
            raise ArgumentValueError(
                f"{function}: {argument} and the model are of two different sessions"
            )
        value.session.check_open(function)


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


def _indices(labels: Array, classes: Array, function: str) -> Array:
    """Return where labels stand among sorted classes, or refuse one that does not."""
    # NumPy compares 0 with "0" as text; as labels they are two.
    alike = (labels.dtype.kind in "USO") == (classes.dtype.kind in "USO")
    known = np.isin(labels, classes) if alike else np.zeros(labels.shape, bool)
    if not known.all():
        raise ArgumentValueError(
            f"{function}: y holds {labels[~known].tolist()[0]!r}, which is none of the classes "
            f"{classes.tolist()}"
        )
    return np.searchsorted(classes, labels)


def _array(values: Any, function: str, argument: str) -> Array:
    """Return an ndarray of the host, of any dtype."""
    if isinstance(values, np.ma.MaskedArray):
        raise ArgumentTypeError(f"{function}: {argument} is a masked array; fill it first")
    try:
        return np.asarray(to_host(values))
    except ValueError as error:
        raise ArgumentValueError(f"{function}: {argument} is no array ({error})") from None


def _warn_of_column(function: str) -> None:
    """Warn as scikit-learn does where y is a column, in its category where it is loaded."""
    loaded = sys.modules.get("sklearn.exceptions")
    category = UserWarning if loaded is None else loaded.DataConversionWarning
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y "
        f"to (n,), for example using ravel() ({function})",
        category,
        stacklevel=2,
    )


def _reals(values: Any, function: str, argument: str) -> Array:
    """Return finite reals as a float64 ndarray."""
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise ArgumentTypeError(
            f"{function}: {argument} is a sparse matrix, which is not supported; use "
            f"{argument}.toarray()"
        )
    array = _array(values, function, argument)
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except OverflowError:
            raise RangeError(f"{function}: {argument} holds an integer beyond float64") from None
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"{function}: {argument} is not numeric: {error}") from None
    if array.dtype.kind == "c":
        raise ArgumentValueError(f"{function}: Complex data not supported, got {argument} of them")
    if array.dtype.kind == "f":
        bad = array[~np.isfinite(array)]
        if bad.size:
            what = "NaN" if np.isnan(bad.flat[0]) else "infinity"
            raise ArgumentValueError(
                f"{function}: Input {argument} contains {what}; it must be finite"
            )
    return as_reals(array, function, argument)
