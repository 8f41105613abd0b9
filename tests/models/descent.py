"""Float64 gradient descent, and how far a run in fixed point may stray from it.

The bound has two parts. **Encoding**: the features are rounded to f = 16 fraction bits and the
rate to 24 significant bits once, before the first step; what that does to the loss is no
estimate but the difference of two float64 runs. **Rounding**: against the encoded problem, with
K = rate F F.T, step t of the run on shares has

    e_t = F w_t - y + rho_t,      w_{t+1} = w_t - rate F.T e_t + sigma_t - Gamma e_t,

where rho is a truncation to 2^-16, sigma one to 2^-24, and Gamma, made once, is there only where
the scaled features were rounded first. The residual's deviation is therefore

    r_t = rho_t + sum_{s<t} (I - K)^(t-1-s) (F sigma_s - K rho_s - F Gamma e_s).

**On shares** every truncation is off by a random number that takes two values one unit u apart
and has mean 0 whatever came before. By Hoeffding's lemma it is subgaussian with variance proxy
u^2 / 4, and sums of such martingale differences with fixed weights g have the proxy
sum(g^2) u^2 / 4 (Azuma). So a fixed projection of r_t exceeds c sqrt(proxy) with probability
below 2 exp(-c^2 / 2), and c is chosen such that the union over every step, sample and run of the
caller stays below 2^-40. **In the plain** roundings go to nearest, are at most u / 2 and may all
conspire: the same weights, with absolute values summed. The loss is opened exactly. The sum of
squares differs by at most 2 |e.r| + |r|^2, that of m absolute residuals by at most the sum of |r|,
which is at most sqrt(m) times their 2-norm.
"""

from typing import NamedTuple

import numpy as np

RESIDUAL_UNIT = 2.0**-16
WEIGHT_UNIT = 2.0**-24
FEATURE_BITS = 16
RATE_BITS = 24
FAILURE = 2.0**-40


class Descent(NamedTuple):
    """A run: losses before each update, the residuals they come from, and the last weights."""

    losses: np.ndarray  # (n_steps,), sums of squares
    absolute: np.ndarray  # (n_steps,), sums of absolute residuals
    residuals: np.ndarray  # (n_steps, n, targets)
    weights: np.ndarray  # (width, targets)


def gradient_descent(F, y, rate, n_steps, step_matrix=None):
    """The definition of the job, in float64; step_matrix stands for rate F.T."""
    y = y.reshape(len(y), -1)
    step_matrix = rate * F.T if step_matrix is None else step_matrix
    w = np.zeros((F.shape[1], y.shape[1]))
    residuals = np.empty((n_steps, *y.shape))
    for step in range(n_steps):
        residuals[step] = F @ w - y
        w = w - step_matrix @ residuals[step]
    squares, absolute = (residuals**2).sum(axis=(1, 2)), np.abs(residuals).sum(axis=(1, 2))
    return Descent(squares, absolute, residuals, w)


def encoded(F, y, rate):
    """The problem that the shares hold: rounded features, targets and rate."""
    scale = 2.0**FEATURE_BITS
    significand, exponent = np.frexp(rate)
    rounded = np.ldexp(np.rint(np.ldexp(significand, RATE_BITS)), int(exponent) - RATE_BITS)
    return np.rint(F * scale) / scale, np.rint(y * scale) / scale, float(rounded)


def step_matrix_unit(rate):
    """The unit to which the scaled features are rounded where the gradient has no bound."""
    return 2.0 ** -min(FEATURE_BITS + max(0, -int(np.frexp(rate)[1])), 40)


def sigmas(n_events):
    """c with n_events * 2 exp(-c^2 / 2) = 2^-40."""
    return float(np.sqrt(2 * np.log(2 * n_events / FAILURE)))


def loss_bound(F, y, rate, n_steps, n_runs=1, step_unit=0.0, loss="squared"):
    """Bound on |loss on shares - float64 loss| at each step, (n_steps,).

    Args:
        F: features (n, width).
        y: targets (n,) or (n, targets).
        rate: learning rate, below 2 / (largest eigenvalue of F F.T).
        n_steps: steps.
        n_runs: how many runs are held against such bounds; their failures are united.
        step_unit: unit of Gamma's entries, 0 where there is none.
        loss: "squared" or "absolute", whose bound it is.
    """
    encoding, rate, problem, ideal = _encoding(F, y, rate, n_steps, loss=loss)
    n, targets = ideal.residuals.shape[1:]
    eigenvalues, basis = np.linalg.eigh(problem @ problem.T)  # mu_j
    decay = 1 - rate * eigenvalues
    c = sigmas(n_runs * n_steps * (1 + n * targets))
    powers = np.zeros(n)  # sum over s < t of decay^(2 (t-1-s))
    memory = np.zeros((n, n, targets))  # [j]: sum over s < t of decay_j^(t-1-s) e_s
    bound = np.empty(n_steps)
    for t, e in enumerate(ideal.residuals):
        each = RESIDUAL_UNIT**2 * (1 + (1 - decay) ** 2 * powers)
        each = (each + WEIGHT_UNIT**2 * eigenvalues * powers) / 4
        a = basis.T @ e
        along = (each[:, None] * a**2).sum()
        total = targets * each.sum()
        if step_unit:
            gamma = step_unit**2 / 4 * eigenvalues
            along += (gamma * ((a[:, None, :] * memory).sum(axis=2) ** 2).sum(axis=1)).sum()
            total += (gamma * (memory**2).sum(axis=(1, 2))).sum()
        r = c * np.sqrt(total)
        if step_unit:  # Gamma r_s, of second order: |Gamma| <= unit sqrt(n width), t terms of F
            ratio = t * np.sqrt(eigenvalues[-1] * problem.size) * step_unit
            assert ratio < 0.5
            r /= 1 - ratio
            second = ratio * r
        else:
            second = 0.0
        if loss == "squared":
            bound[t] = 2 * (c * np.sqrt(along) + np.linalg.norm(e) * second) + r**2
        else:
            bound[t] = np.sqrt(e.size) * r
        powers = decay**2 * powers + 1
        memory = decay[:, None, None] * memory + e
    return encoding + bound


def plain_loss_bound(F, y, rate, n_steps, step_unit=0.0, loss="squared"):
    """The same bound for roundings to nearest that conspire; (n_steps,).

    Where the scaled features are rounded to step_unit, so are those of the encoded problem: to
    nearest is no matter of chance, and K = F step_matrix is then not symmetric.
    """
    encoding, rate, problem, ideal = _encoding(F, y, rate, n_steps, step_unit, loss)
    n, targets = ideal.residuals.shape[1:]
    kernel = problem @ _step_matrix(problem, rate, step_unit)
    power = np.eye(n)  # (I - K)^s, whose row i says what reaches residual i
    reach = np.full(n, RESIDUAL_UNIT / 2)  # bound on |r_t| of sample i
    bound = np.empty(n_steps)
    for t, e in enumerate(ideal.residuals):
        if loss == "squared":
            bound[t] = 2 * (np.abs(e) * reach[:, None]).sum() + targets * (reach**2).sum()
        else:
            bound[t] = targets * reach.sum()
        reach = reach + RESIDUAL_UNIT / 2 * np.abs(power @ kernel).sum(axis=1)
        reach = reach + WEIGHT_UNIT / 2 * np.abs(power @ problem).sum(axis=1)
        power = power - power @ kernel
    return encoding + bound


def _step_matrix(F, rate, step_unit):
    """What the residuals are multiplied with, (width, n)."""
    return np.floor(rate * F.T / step_unit + 0.5) * step_unit if step_unit else rate * F.T


def _encoding(F, y, rate, n_steps, step_unit=0.0, loss="squared"):
    """What encoding does to each loss; and the encoded rate, features and run."""
    y = y.reshape(len(y), -1)
    features, targets, rounded = encoded(F, y, rate)
    step_matrix = _step_matrix(features, rounded, step_unit)
    ideal = gradient_descent(features, targets, rounded, n_steps, step_matrix)
    exact = gradient_descent(F, y, rate, n_steps)
    if loss == "squared":
        return np.abs(ideal.losses - exact.losses), rounded, features, ideal
    return np.abs(ideal.absolute - exact.absolute), rounded, features, ideal
