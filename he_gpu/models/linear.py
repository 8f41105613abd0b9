"""Linear regression on shares, in closed form.

Layer: models, above moments and normal_equations. One product of the data with themselves, then
work on matrices of the features alone. No step depends on a secret, and nothing is revealed.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.functions import concatenate
from he_gpu.models.data import as_targets, shared
from he_gpu.models.moments import Moments
from he_gpu.models.normal_equations import solve
from he_gpu.models.regressor import Regressor
from he_gpu.nn.values import is_secret
from he_gpu.ring.fixedpoint import as_reals
from he_gpu.session import Session

Self = TypeVar("Self", bound="LeastSquares")


class LeastSquares(Regressor):
    """What `LinearRegression` and `Ridge` share; a subclass says what its penalty is."""

    fit_intercept: bool
    coef_: Any
    intercept_: Any
    moments_: Moments

    def fit(self: Self, X: Any, y: Any, session: Session | None = None) -> Self:
        """Fit to X and y, and forget what was fitted before.

        Args:
            X: plaintext or SecretTensor, (n, n_features).
            y: plaintext or SecretTensor, (n,) or (n, n_targets).
            session: where to fit; that of secret data, or the current one, by default. Without
                any, the fit has a simulated session of its own, and what it learns is public.

        Returns:
            self.

        Raises:
            ValueError: NaN, infinity, shapes that do not fit, two sessions, a session modulo 2**32,
                alpha below 0.
            RangeError: plaintext beyond the ranges of the class.
            TypeError: what holds no real numbers.

        Range, Error, Cost, Leaks: see the class.
        """
        with self._fitting(session, X, y) as chosen:
            X = self._inputs(X, "fit", fitted=False)
            self._learn(chosen, None, X, as_targets(y, "fit", X.shape[0]), "fit")
        return self._finished()

    def partial_fit(self: Self, X: Any, y: Any, session: Session | None = None) -> Self:
        """Fit to more data, as if all had come at once; the first call is a `fit`.

        The sums of products of all data so far are kept, exactly, and added to. So the result is
        that of `fit` on all of them, but for roundings of the solution, in whatever batches they
        came.

        Args:
            X: as `fit`.
            y: as `fit`, with as many targets as before.
            session: as `fit`; that of an earlier fit, where that has one.

        Returns:
            self.

        Raises:
            ValueError: as `fit`; other features, targets, fraction bits or another session than
                before; a `fit_intercept` that was changed; a model that was opened by `reveal`,
                which does not open the sums.
            RangeError, TypeError: as `fit`.

        Range, Error, Cost, Leaks: see the class; each call solves anew.
        """
        before: Moments | None = getattr(self, "moments_", None)
        fitted = self.__sklearn_is_fitted__()
        if fitted and before is None:
            raise ArgumentValueError(
                "partial_fit: the sums of the data before were forgotten by reveal(); call fit"
            )
        with self._fitting(session, X, y, function="partial_fit", more=True) as chosen:
            X = self._inputs(X, "partial_fit", fitted=fitted)
            y = as_targets(y, "partial_fit", X.shape[0])
            if before is not None:
                self._check_same(before, y)
            self._learn(chosen, before, X, y, "partial_fit")
        return self._finished()

    def reveal(self: Self) -> Self:
        """Open coefficients and intercept to every party and return self, public from now on.

        The sums of the data are forgotten, not opened, so `partial_fit` cannot go on.

        Raises:
            ValueError: not fitted.
            RuntimeError: fit's session is closed.

        Cost: 1 round for each. Leaks: them.
        """
        self._check_fitted("reveal")
        if self.session_ is not None:
            self.session_.check_open("reveal")
            self.__dict__.pop("moments_", None)
        return super().reveal()

    def _penalty(self, function: str) -> float:
        """Return what the squares of the coefficients cost, checked."""
        return 0.0

    def _learn(
        self, session: Session, before: Moments | None, X: Any, y: Any, function: str
    ) -> None:
        """Add data to the moments and solve."""
        if session.modulus != 2**64:
            raise ArgumentValueError(
                f"{function}: the session's modulus must be 2**64, because sums of products need "
                f"twice the fraction bits of the data, got {session.modulus}"
            )
        alpha, about_mean = self._penalty(function), bool(self.fit_intercept)
        room = 61 - 2 * session.frac_bits
        if alpha >= 2.0**room:
            raise RangeError(
                f"{function}: alpha must be below 2**{room} with {session.frac_bits} fraction "
                f"bits, got {alpha:g}"
            )
        d, vector = X.shape[1], y.ndim == 1
        y = y.reshape(X.shape[0], -1)
        known = before or Moments(0, session.frac_bits, about_mean, None, None, None)
        for part, name, first, lift in ((X, "X", 0, alpha), (y, "y", d, 0.0)):
            if not is_secret(part):
                known.check_room(part, first, name, lift, function)
        rows = concatenate([shared(session, X), shared(session, y)], 1)
        if before is None:
            moments = Moments.of(rows, about_mean)
        else:
            moments = before.shared(session, function).added(rows)
        if about_mean:
            products, mean, rest = moments.centred()
            coef = solve(products, d, moments.n, alpha)
            bits = coef.frac_bits
            intercept = mean[d:] - mean[:d].matmul(coef, frac_bits=bits)
            # The rest is below 2**-f and has f + 14 bits: with 16 more, products of any range fit.
            coarse = coef.with_frac_bits(min(bits, 16))
            intercept = intercept + (rest[d:] - rest[:d].matmul(coarse, frac_bits=bits))
            intercept = intercept.with_frac_bits(bits)
        else:
            coef = solve(moments.products, d, moments.n, alpha, exact=True)
            intercept = session.share(np.zeros(y.shape[1]))
        self.moments_ = moments
        self.coef_ = coef.reshape(-1) if vector else coef.T
        self.intercept_ = intercept.reshape(()) if vector else intercept

    def _open(self) -> None:
        """Reveal what was learnt; where that is all, take the intercept of it and check it."""
        super()._open()
        if "moments_" not in vars(self):
            return
        n, d, coef = self.moments_.n, self.n_features_in_, np.atleast_2d(self.coef_)
        mean, products = self.moments_.about()
        left = products[:d, :d] + self._penalty("fit") * np.eye(d)
        # Words that wrapped leave much of the normal equations, in columns scaled to norms of 1.
        used = coef.any(axis=0)
        rest = (coef @ left - products[d:, :d])[:, used] / np.sqrt(np.diagonal(left)[used])
        # Roundings of coefficients, and targets that are constant but for the last place.
        slack = 2.0**-44 * d * np.trace(left) + 2.0 ** (-2 * self.moments_.frac_bits) * (n + 16)
        slack = slack + np.diagonal(products)[d:] / 16
        if ((rest**2).sum(axis=1) > slack).any() or np.abs(coef).max() >= 2.0**26:
            raise RangeError(
                "fit: coefficients must stay below 2**26; scale columns of X to more alike "
                "deviations, or y down"
            )
        if self.moments_.about_mean:
            self.intercept_ = (mean[d:] - coef @ mean[:d]).reshape(np.shape(self.intercept_))

    def _check_same(self, before: Moments, y: Any) -> None:
        """Refuse targets or an intercept unlike those of the fit before."""
        kinds = tuple(self.coef_.shape[:-1]), tuple(y.shape[1:])
        if kinds[0] != kinds[1]:
            wanted = ", ".join(["n", *map(str, kinds[0])])
            raise ArgumentValueError(
                f"partial_fit: y must have shape ({wanted}{'' if kinds[0] else ','}), as before, "
                f"got {tuple(y.shape)}"
            )
        if before.about_mean != bool(self.fit_intercept):
            raise ArgumentValueError(
                f"partial_fit: fit_intercept must stay {before.about_mean}, as before; call fit"
            )

    def _finished(self: Self) -> Self:
        """Give a public intercept of one target as a number."""
        if not is_secret(self.intercept_) and not np.ndim(self.intercept_):
            self.intercept_ = float(self.intercept_)
        return self

    def _outputs(self, X: Any) -> Any:
        """Return X @ coef + intercept."""
        weights = self.coef_ if self.coef_.ndim == 1 else self.coef_.T
        if is_secret(weights) and not is_secret(X):
            # Rounded as secret inputs are, so that what is multiplied are integers.
            f = weights.session.frac_bits
            weights = np.rint(np.ldexp(X, f)) @ weights
            return weights * 2.0**-f + self.intercept_
        return X @ weights + self.intercept_


class LinearRegression(LeastSquares):
    """Ordinary least squares, with scikit-learn's results.

    Args:
        fit_intercept: whether there is an intercept.

    Attributes:
        coef_: (n_features,), or (n_targets, n_features) for a 2-d y.
        intercept_: a number, or (n_targets,); 0 without intercept.
        moments_: sums of products of the data, which `partial_fit` adds to. Of a fit without a
            session they are public and pickled with the model.

    They are SecretTensors in fit's session, or public.

    Range: for f fraction bits of the session, by default 16, modulo 2**64: of each column of X and
        of y, the sum of squared distances over all data below 2**(62 - 2 f) = 2**30, from the mean,
        after `partial_fit` from the first batch's, without intercept from 0; |mean| < 2**(38 - f) =
        2**22 and |sum| < 2**(62 - f). Plaintext beyond raises.
        Coefficients below 2**26; predictions, and sums of coefficients times means or inputs, below
        2**(38 - f) = 2**22. A fit without a session has no bound for the latter, and raises where
        coefficients beyond 2**26 show. Shares cannot see what is beyond; protocol="plain" raises.
    Error: data count as they are shared, rounded to 2**-f. Predictions for the n rows fitted differ
        from those of exact least squares, as root mean square over y's deviation, by 2**-17 d +
        2**-34 d / e for d features, where e is the least eigenvalue of the correlations of X, give
        or take a factor of 5, and above 2**-20; further by the rounding of each coefficient, to a
        unit of 2**-24 and 2**(-f - 5) / sqrt(n) over the deviation of its column; and by a few
        units of 2**-24, and of 2**-30 for each unit of the coefficients where they stay secret.
        With an intercept the least sum of squared distances s of a column, where it is small, adds
        2**(2 - 2 f) d / (e s). What belongs to eigenvalues below 2**-20 or that fades: of equally
        good solutions, as there are for repeated columns or fewer rows than features, it is the one
        of the least sum of squares of coefficients times about the norms of their columns, where
        scikit-learn leaves the norms out. Constant columns get 0, as do all of a deviation below a
        unit, 2**-f.
    Cost: one product of (d + t, n) by (n, d + t) for t targets, whose operand is opened once; some
        40 products of (d + t)**2 words or fewer. For d = 30 that takes 118 rounds with "additive",
        and 134 with "replicated".
    Leaks: nothing.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> X = np.array([[1.0, 1.0], [1.0, 2.0], [2.0, 2.0], [2.0, 3.0]])
        >>> y = X @ [1.0, 2.0] + 3
        >>> model = he.LinearRegression().fit(X, y)  # in a simulated session of its own
        >>> model.coef_.round(3).tolist(), round(model.intercept_, 3)
        ([1.0, 2.0], 3.0)
        >>> model.predict([[3.0, 5.0]]).round(3).tolist(), round(model.score(X, y), 6)
        ([16.0], 1.0)

        Among parties, and in batches:

        >>> with he.Session(device="cpu") as s:
        ...     secret = he.LinearRegression().partial_fit(s.share(X[:3]), s.share(y[:3]))
        ...     secret = secret.partial_fit(s.share(X[3:]), s.share(y[3:]))
        ...     predicted = secret.predict(s.share(X))
        ...     predicted.reveal().round(3).tolist(), secret.reveal().coef_.round(3).tolist()
        ([6.0, 8.0, 9.0, 11.0], [1.0, 2.0])
        >>> model.get_params(), model.set_params(fit_intercept=False)
        ({'fit_intercept': True}, LinearRegression(fit_intercept=False))
    """

    def __init__(self, fit_intercept: bool = True):
        self.fit_intercept = fit_intercept


class Ridge(LeastSquares):
    """Least squares with a penalty, |y - X w - b|**2 + alpha |w|**2, with scikit-learn's results.

    Args:
        alpha: of the penalty, which leaves the intercept b out; 0 or more, rounded to 2**(-2 f),
            and below 2**(61 - 2 f).
        fit_intercept: whether there is an intercept.

    Attributes, Error, Cost, Leaks: as `LinearRegression`.

    Range: as `LinearRegression`, where alpha counts with the sums of squares of X.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> X, y = np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, 3.0, 5.0])
        >>> model = he.Ridge(alpha=2.0).fit(X, y)  # coef = sum(x y) / (sum(x**2) + 2)
        >>> model.coef_.round(4).tolist(), round(model.intercept_, 4)
        ([1.0], 3.0)
        >>> model = model.partial_fit([[-1.0], [1.0]], [1.0, 5.0])  # another two rows
        >>> model.coef_.round(4).tolist(), model.predict([[3.0]]).round(3).tolist()
        ([1.3333], [7.0])
        >>> round(model.score(X, y), 4)
        0.8889
        >>> with he.Session(device="cpu"):
        ...     model = he.Ridge(alpha=2.0).fit(X, y).reveal()
        >>> model.coef_.round(4).tolist()
        [1.0]
        >>> model.get_params(), model.set_params(alpha=0.5)
        ({'alpha': 2.0, 'fit_intercept': True}, Ridge(alpha=0.5))
    """

    def __init__(self, alpha: float = 1.0, fit_intercept: bool = True):
        self.alpha = alpha
        self.fit_intercept = fit_intercept

    def _penalty(self, function: str) -> float:
        alpha = as_reals(self.alpha, function, "alpha")
        if alpha.ndim:
            raise ArgumentTypeError(f"{function}: alpha must be a number, got shape {alpha.shape}")
        if alpha < 0:
            raise ArgumentValueError(f"{function}: alpha must be at least 0, got {self.alpha:g}")
        return float(alpha)
