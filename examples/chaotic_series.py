"""The next value of a chaotic series from the six before it, on a random reservoir of 128 ReLUs.

Usage: python examples/chaotic_series.py [protocol [device]]

Mackey and Glass's equation (1977), a value every 6 units of time. Who has the series makes the
reservoir's features of it, whose weights are public, and shares those; the rest is on shares.
"""

import sys

import numpy as np

import he_gpu as he

LAGS, RATE, STEPS = 6, 1.5e-5, 500


def mackey_glass(n, delay=17.0, dt=0.1, every=60, skip=50):
    """Return n values of dx/dt = 0.2 x(t - delay) / (1 + x(t - delay)^10) - 0.1 x."""
    lag = round(delay / dt)
    x = np.full(lag + (n + skip) * every, 1.2)
    for t in range(lag, len(x) - 1):
        x[t + 1] = x[t] + dt * (0.2 * x[t - lag] / (1 + x[t - lag] ** 10) - 0.1 * x[t])
    return x[lag + skip * every :: every]


def embedded(series):
    """Return rows of consecutive values with a 1 at the end, and the value after each row."""
    rows = np.lib.stride_tricks.sliding_window_view(series[:-1], LAGS)
    return np.column_stack([rows, np.ones(len(rows))]), series[LAGS:]


def main(protocol="additive", device="auto"):
    """Return the coefficient of determination on shares, in the clear, and of "as before"."""
    series = mackey_glass(700)
    X, y = embedded((series - series.mean()) / series.std())
    model = he.ReservoirRegressor(width=128, learning_rate=RATE, n_steps=STEPS, log_every=100)
    F, F_test, y, y_test = *np.split(model.transform(X), [500]), *np.split(y, [500])

    with he.Session(protocol, device=device) as session:
        model.fit(session.share(F), session.share(y))
        private = model.score(session.share(F_test), session.share(y_test))

    w = np.zeros(F.shape[1])
    for _ in range(STEPS):
        w -= RATE * F.T @ (F @ w - y)
    clear = he.nn.r2_score(F_test @ w, y_test)
    before = he.nn.r2_score(X[500:, LAGS - 1], y_test)
    print("losses revealed:", " ".join(f"{loss:.2f}" for loss in model.loss_curve_))
    print(f"R^2 on shares:                  {private:.5f}")
    print(f"R^2 in the clear:               {clear:.5f}")
    print(f"R^2 of the value before itself: {before:.5f}")
    return private, clear, before


if __name__ == "__main__":
    main(*sys.argv[1:])
