"""Batch and layer normalisation.

Layer: nn, above module. With c = x - mean(x) and r = 1 / sqrt(mean(c**2) + eps), the result is
r c times a weight, and its gradient is made of the same c and r: sums of products with one
truncation each. Squares are summed before they are truncated, so that the variance has more
fraction bits than the data.
Sources: Ioffe and Szegedy 2015; Ba, Kiros, Hinton 2016; PyTorch for the names and the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from he_gpu.errors import ArgumentValueError
from he_gpu.nn.arguments import positive, real
from he_gpu.nn.combination import Combination, combined
from he_gpu.nn.module import Module, Parameter
from he_gpu.nn.precision import gradient_bits, weight_bits
from he_gpu.nn.values import Bits, Value, coarse, is_secret, masked, product, session_of
from he_gpu.nn.variable import Variable, record
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor

_VARIANCE_BITS = {64: 24, 32: 14}
"""Fraction bits of a variance, by the word's bits."""


class _BatchNorm(Module):
    """What both batch normalisations have in common; see `BatchNorm1d`."""

    _ndims: tuple[int, ...] = ()
    _shapes = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__()
        name = type(self).__name__
        self.num_features = positive(name, "num_features", num_features)
        self.eps = real(name, "eps", eps, 0.0)
        self.momentum = (
            None if momentum is None else real(name, "momentum", momentum, 0.0, 1.0, closed=True)
        )
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        weight, bias = np.ones(num_features), np.zeros(num_features)
        self.register_parameter("weight", Parameter(weight) if affine else None)
        self.register_parameter("bias", Parameter(bias) if affine else None)
        self.num_batches_tracked = 0
        if track_running_stats:
            self.register_buffer("running_mean", np.zeros(num_features))
            self.register_buffer("running_var", np.ones(num_features))

    @property
    def repeats(self) -> bool:  # type: ignore[override]
        """Whether no running statistics are made."""
        return not (self.training and self.track_running_stats)

    def forward(self, x: Variable) -> Variable:
        """Return the normalised batch, of x's shape."""
        name = type(self).__name__
        if x.ndim not in self._ndims or x.shape[1] != self.num_features:
            raise ArgumentValueError(
                f"{name}: x must have shape {self._shapes} with C = {self.num_features}, got "
                f"{x.shape}"
            )
        axes = (0, *range(2, x.ndim))
        column = (1, -1, *(1,) * (x.ndim - 2))
        weight = self.weight.reshape(*column) if self.affine else None
        bias = self.bias.reshape(*column) if self.affine else None
        if self.training or not self.track_running_stats:
            count = prod(x.shape[at] for at in axes)
            if count < 2 and self.training:
                raise ArgumentValueError(
                    f"{name}: more than 1 value per channel expected in training, got {x.shape}"
                )
            y, found = normalised(x, weight, axes, self.eps, name)
            if self.training and self.track_running_stats:
                self._track(found, count)
        else:
            y = self._by_running(x, weight, column)
        return y if bias is None else y + bias

    def _track(self, found: Statistics, count: int) -> None:
        """Move the running statistics towards those of a batch, the variance without bias."""
        self.num_batches_tracked += 1
        rate = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        session = session_of([found.mean], type(self).__name__)
        bits = weight_bits(session) if session else 0
        new = found.mean.reshape(-1), found.variance.reshape(-1)
        sums = [
            Combination(((old, 1 - rate), (value, rate * factor)), bits)
            for old, value, factor in zip(
                (self.running_mean, self.running_var), new, (1.0, count / (count - 1)), strict=True
            )
        ]
        mean, variance = combined(sums, type(self).__name__)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", variance)

    def _by_running(self, x: Variable, weight: Variable | None, column: Sequence[int]) -> Variable:
        """Return x normalised by the running statistics, which need no gradient."""
        variance = self.running_var
        if is_secret(variance):
            check_eps(variance.session, self.eps, type(self).__name__, variance.frac_bits)
            scale = (variance + self.eps).rsqrt(weight_bits(variance.session))
        else:
            scale = 1 / np.sqrt(variance + self.eps)
        centred = x - Variable(self.running_mean.reshape(*column))
        factor = Variable(scale.reshape(*column))
        return centred * (factor if weight is None else factor * weight)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Each channel of (n, C) or (n, C, L) with mean 0 and variance 1 over the rest, then affine.

    In training by the batch's mean and biased variance, in use by running ones, which move by
    momentum towards the batch's mean and unbiased variance; they are secret where the data are.

    Args:
        num_features: C.
        eps: added to the variance. A secret variance has 24 fraction bits (14 modulo 2**32); an eps
            below is refused.
        momentum: of the running statistics, in [0, 1]; None for their plain mean.
        affine: whether there are a weight and a bias for each channel.
        track_running_stats: whether there are running statistics.

    Attributes:
        weight: Parameter (C,), or None.
        bias: Parameter (C,), or None.
        running_mean: buffer (C,).
        running_var: buffer (C,).
        num_batches_tracked: batches seen in training; public.

    Range: sums of squares of x less its mean over a channel below 2**(k - 2 - 2 frac_bits), 2**30
        by default, and its variance below 2**13 (2**3 modulo 2**32).
    Error: of the result some units of 2**-frac_bits, and of c that of x's times r.
    Cost: forward a mean, where x has more fraction bits than the session one truncation, two
        products and an `rsqrt` of C elements; backward three products.
    Leaks: nothing.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> layer = nn.BatchNorm1d(2)
        >>> layer(np.array([[0.0, 1.0], [2.0, 5.0]])).value.round(3).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
        >>> layer.running_var.round(2).tolist()
        [1.1, 1.7]
    """

    _ndims, _shapes = (2, 3), "(n, C) or (n, C, L)"


class BatchNorm2d(_BatchNorm):
    """Each channel of (n, C, H, W) with mean 0 and variance 1 over the rest; see `BatchNorm1d`.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> y = nn.BatchNorm2d(3)(np.random.default_rng(0).random((4, 3, 2, 2))).value
        >>> bool(abs(y.mean((0, 2, 3))).max() < 1e-12)
        True
    """

    _ndims, _shapes = (4,), "(n, C, H, W)"


class LayerNorm(Module):
    """The last axes of each sample with mean 0 and variance 1, then affine, as PyTorch's.

    Args:
        normalized_shape: lengths of these axes, or the length of the last.
        eps: as for `BatchNorm1d`.
        elementwise_affine: whether there is a weight for each element of these axes.
        bias: whether there is a bias as well.

    Attributes:
        weight: Parameter of normalized_shape, or None.
        bias: likewise.

    Range, Error, Leaks: as `BatchNorm1d`.
    Cost: as `BatchNorm1d`, with one product more for the weight.

    Example:
        >>> import numpy as np
        >>> from he_gpu import nn
        >>> nn.LayerNorm(2)(np.array([[0.0, 2.0], [5.0, 1.0]])).value.round(3).tolist()
        [[-1.0, 1.0], [1.0, -1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ):
        super().__init__()
        lengths = (
            tuple(normalized_shape)
            if isinstance(normalized_shape, Sequence)
            else (normalized_shape,)
        )
        self.normalized_shape = tuple(positive("LayerNorm", "normalized_shape", n) for n in lengths)
        self.eps = real("LayerNorm", "eps", eps, 0.0)
        shape, affine = self.normalized_shape, bool(elementwise_affine)
        self.elementwise_affine = affine
        self.register_parameter("weight", Parameter(np.ones(shape)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(shape)) if affine and bias else None)

    def forward(self, x: Variable) -> Variable:
        """Return the normalised samples, of x's shape."""
        n = len(self.normalized_shape)
        if x.ndim < n or x.shape[x.ndim - n :] != self.normalized_shape:
            raise ArgumentValueError(
                f"LayerNorm: x must end in {self.normalized_shape}, got shape {x.shape}"
            )
        axes = tuple(range(x.ndim - n, x.ndim))
        y, _ = normalised(x, None, axes, self.eps, "LayerNorm")
        if self.weight is not None:
            y = y * self.weight
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class Statistics(NamedTuple):
    """What a batch says of itself.

    Attributes:
        mean: of each row.
        variance: of each row; biased.
    """

    mean: Value
    variance: Value


def normalised(
    x: Variable, weight: Variable | None, axes: tuple[int, ...], eps: float, function: str
) -> tuple[Variable, Statistics]:
    """Return ``weight * r * c`` and the statistics; see the module.

    Args:
        x: secret or public.
        weight: of x's shape with length 1 along the axes, or None for 1.
        axes: over which the mean is taken.
        eps: added to the variance.
        function: for messages.
    """
    rows = _Rows(x.shape, axes)
    own = rows.of(x.value)
    if is_secret(own):
        check_eps(own.session, eps, function)
        own = coarse(own)
    mean = own.mean(2, keepdims=True)
    centred = masked(own - mean)
    variance = _mean_of_products(centred, centred, _variance_bits)
    spread = variance + eps
    root: Value = (
        spread.rsqrt(weight_bits(spread.session)) if is_secret(spread) else 1 / np.sqrt(spread)
    )
    scale = root if weight is None else product(root, weight.value.reshape(-1, 1, 1))
    scale = masked(scale)
    value = rows.back(product(centred, scale))

    def backward(g: Value) -> Sequence[Value | None]:
        # With q = mean(g c): to the weight n r q, to x weight r (g - mean(g) - c r**2 q).
        g = rows.of(g)
        slope = product(root, _mean_of_products(g, centred, gradient_bits), gradient_bits)
        to_x = to_weight = None
        if weight is not None and weight.requires_grad:
            to_weight = slope.reshape(weight.shape)
        if x.requires_grad:
            away = product(centred, product(root, slope, weight_bits), gradient_bits)
            rest = g - g.mean(2, keepdims=True) - away
            to_x = rows.back(product(rest, scale, gradient_bits))
        return (to_x,) if weight is None else (to_x, to_weight)

    parents, factors = ([x], [1.0]) if weight is None else ([x, weight], [1.0, float(rows.length)])
    return record(value, parents, backward, factors), Statistics(mean, variance)


def check_eps(session: Session, eps: float, function: str, frac_bits: int | None = None) -> None:
    """Refuse an eps that a secret variance's fraction bits round to nothing."""
    bits = _variance_bits(session) if frac_bits is None else frac_bits
    if eps < 2.0**-bits:
        raise ArgumentValueError(
            f"{function}: eps must be at least 2**-{bits} ({2.0**-bits:.2g}), one unit of the "
            f"secret variance, got {eps:g}"
        )


class _Rows:
    """An array as (rows, 1, length): what is kept by what is averaged over."""

    def __init__(self, shape: tuple[int, ...], axes: tuple[int, ...]):
        kept = tuple(at for at in range(len(shape)) if at not in axes)
        self._order = (*kept, *axes)
        self._lengths = tuple(shape[at] for at in self._order)
        self.length = prod(shape[at] for at in axes)

    def of(self, x: Value) -> Value:
        """Return the rows of an array."""
        return x.transpose(*self._order).reshape(-1, 1, self.length)

    def back(self, x: Value) -> Value:
        """Return the array of rows."""
        places = (self._order.index(at) for at in range(len(self._order)))
        return x.reshape(*self._lengths).transpose(*places)


def _variance_bits(session: Session) -> int:
    return _VARIANCE_BITS[word_bits(session.modulus)]


def _mean_of_products(x: Value, y: Value, bits: Bits) -> Value:
    """Return the mean over each row of products, (rows, 1, 1).

    The sum is halved as often as it may be by its own truncation, and then multiplied by a number
    in (1/2, 1]; so no more than the sum and the mean's 24 more bits must fit the word.
    """
    if not is_secret(x) or not is_secret(y):
        return product(x, y).mean(2, keepdims=True)
    length, fine = x.shape[2], bits(x.session)
    halvings = min(length.bit_length() - 1, fine)
    total = x.matmul(y.mT, min(fine, x.frac_bits + y.frac_bits) - halvings)
    mean = SecretTensor(x.session, total._stack, total.frac_bits + halvings)
    if length == 2**halvings:
        return mean
    return mean.scaled(2.0**halvings / length, mean.frac_bits)
