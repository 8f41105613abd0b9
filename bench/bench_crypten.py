"""CrypTen's two processes on the same work in the same run, where CrypTen is installed.

The errors of its functions, with its defaults, are found on the intervals of `bench.promises`.

`pip install crypten` fails (0.4.1, with PyTorch 2.13): it requires the package `sklearn`, which
only raises an error by now; `pip install --no-deps crypten` and its other requirements by hand
(omegaconf, onnx, pyyaml, scikit-learn, pandas) work, but `import crypten` then fails on a module
of PyTorch's ONNX exporter that is gone, for which `crypten_parties` lets an empty one stand in.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import he_gpu as he
from bench.errors import curve, largest
from bench.promises import PROMISES, beyond, inside, reals, sigmoid
from bench.scores import SOFTMAX, scores, spreads, summary

N, ELEMENTS, ROUNDS, SLOW_ROUNDS = 1024, 2**20, 7, 3
GRID, GRID_BESIDE = 2**14, 2**9
"""Arguments inside and on each side of an interval."""
MOST_SECONDS = 600
LABEL = "CrypTen, 2 processes on the cpu"
AT_MOST = {"multiply": 1 / 2, "share": 1 / 3, "reveal": 1 / 3, "relu": 1 / 4, "sigmoid": 1 / 4}
"""Times CrypTen, on the cpu."""
PLAIN = {
    "multiply": ("float64 multiply", lambda x: x * x),
    "share": ("float64 copy", np.copy),
    "reveal": ("float64 copy", np.copy),
    "relu": ("numpy.maximum", lambda x: np.maximum(x, 0.0)),
    "sigmoid": ("float64 1 / (1 + exp(-x))", sigmoid),
}
PEERS = {each.name: each for each in PROMISES if each.crypten}
SOFTMAX_PEERS = {each.name: each for each in SOFTMAX if each.crypten}
WIDTHS = spreads(1)


def grid(promise):
    """How many encodings lie inside, and the real numbers of those and of those beyond."""
    words = inside(promise, GRID)
    return words.size, reals(np.concatenate([words, beyond(promise, GRID_BESIDE)]))


@pytest.fixture(scope="module")
def crypten(tmp_path_factory):
    """Its seconds by job, and what its functions find of `arguments`."""
    for package in ("crypten", "torch"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; see the head of bench_crypten.py")
    script = Path(__file__).with_name("crypten_parties.py")
    files = [tmp_path_factory.mktemp("crypten") / name for name in ("arguments.npz", "found.npz")]
    asked = {each.crypten: grid(each)[1] for each in PEERS.values()}
    asked |= {each.crypten: reals(scores(WIDTHS)) for each in SOFTMAX_PEERS.values()}
    np.savez(files[0], **asked)
    sizes = {"matmul": N, "elements": ELEMENTS, "rounds": ROUNDS, "slow_rounds": SLOW_ROUNDS}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", script, json.dumps(sizes), *files],
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"CrypTen did not end within {MOST_SECONDS} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        pytest.skip(f"CrypTen does not run here: {lines[-1] if lines else done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    with np.load(files[1]) as arrays:
        return found | {"values": dict(arrays)}


def test_matmul(crypten, device, backend, record):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(N, N)), rng.uniform(size=(N, N))
    with he.Session(device=device) as session:
        left, right = session.share(x), session.share(y)
        # The truncation is off by a unit at most, the operands' encoding is the same for both.
        exact = left.reveal() @ right.reveal()
        error = float(np.abs((left @ right).reveal() - exact).max())
        assert error <= 2.0**-16
        record.compare(
            f"secret matmul beside CrypTen, 2 parties, n = {N}",
            lambda: left @ right,
            {"float64 product": lambda: x @ y},
            rounds=15,
            measured={LABEL: crypten["seconds"]["matmul"]},
            headline=True,
            largest_error=error,
            largest_error_of_crypten=crypten["largest_error"],
            n=N,
        )


@pytest.mark.parametrize("job", AT_MOST)
def test_elements(job, crypten, device, backend, record):
    x = np.random.default_rng(0).uniform(-1, 1, ELEMENTS)
    label, plain = PLAIN[job]
    with he.Session(device=device) as session:
        secret = session.share(x)
        revealed = secret.reveal()
        assert np.abs(revealed - x).max() <= 2.0**-17
        assert np.abs((secret * secret).reveal() - revealed**2).max() <= 2.0**-16
        np.testing.assert_array_equal(secret.relu().reveal(), np.maximum(revealed, 0.0))
        assert np.abs(secret.sigmoid().reveal() - sigmoid(revealed)).max() <= PEERS["sigmoid"].bound
        jobs = {
            "multiply": lambda: secret * secret,
            "share": lambda: session.share(x),
            "reveal": secret.reveal,
            "relu": secret.relu,
            "sigmoid": secret.sigmoid,
        }
        record.compare(
            f"{job} beside CrypTen, 2 parties, {ELEMENTS} elements",
            jobs[job],
            {label: lambda: plain(x)},
            rounds=21,
            elements=ELEMENTS,
            measured={LABEL: crypten["seconds"][job]},
            at_most={LABEL: AT_MOST[job]} if backend.is_host else None,
            headline=True,
            n=ELEMENTS,
        )


@pytest.mark.parametrize("name", PEERS)
def test_errors(name, crypten, device, backend, record):
    """CrypTen's errors on the arguments that ours are measured on, with its own defaults."""
    promise = PEERS[name]
    n, x = grid(promise)

    def errors():
        values = crypten["values"][promise.crypten]
        assert values.shape == x.shape
        with np.errstate(all="ignore"):
            found = promise.error(values, promise.exact(x))
        return {
            "error_inside": largest(found[:n]),
            "median_error_inside": float(np.median(found[:n])),
            "curve": curve(promise, x, values),
        }

    record.check(f"errors of CrypTen's {promise.crypten}", errors, function=name)


@pytest.mark.parametrize("name", SOFTMAX_PEERS)
def test_errors_of_scores(name, crypten, device, backend, record):
    promise = SOFTMAX_PEERS[name]

    def errors():
        values = crypten["values"][promise.crypten]
        found = promise.error(values, promise.exact(reals(scores(WIDTHS))))
        return summary(promise, WIDTHS, found)

    record.check(f"errors of CrypTen's {promise.crypten}", errors, function=name)
