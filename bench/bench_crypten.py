"""CrypTen's two processes on the same work in the same run, where CrypTen is installed.

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

N, ELEMENTS, ROUNDS, SLOW_ROUNDS = 1024, 2**20, 7, 3
LABEL = "CrypTen, 2 processes on the cpu"
AT_MOST = {"multiply": 1 / 2, "share": 1 / 3, "reveal": 1 / 3, "relu": 1 / 4}
"""Times CrypTen, on the cpu."""
PLAIN = {
    "multiply": ("float64 multiply", lambda x: x * x),
    "share": ("float64 copy", np.copy),
    "reveal": ("float64 copy", np.copy),
    "relu": ("numpy.maximum", lambda x: np.maximum(x, 0.0)),
}


@pytest.fixture(scope="module")
def crypten():
    """Its seconds by job."""
    for package in ("crypten", "torch"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; see the head of bench_crypten.py")
    script = Path(__file__).with_name("crypten_parties.py")
    sizes = {"matmul": N, "elements": ELEMENTS, "rounds": ROUNDS, "slow_rounds": SLOW_ROUNDS}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", script, json.dumps(sizes)],
            capture_output=True,
            text=True,
            timeout=180,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("CrypTen did not end within 180 s")
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        pytest.skip(f"CrypTen does not run here: {lines[-1] if lines else done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


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
        jobs = {
            "multiply": lambda: secret * secret,
            "share": lambda: session.share(x),
            "reveal": secret.reveal,
            "relu": secret.relu,
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
