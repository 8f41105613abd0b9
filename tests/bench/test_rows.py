"""Rows of the main benchmarks, run at their small sizes: what a GPU is asked for works at all."""

import json
import subprocess
import sys

import pytest

from bench.gpu_run import ROOT

HOST = ("bench_matmul.py::test_square[cpu-2^64-256]",)
"""Its sizes are a host's; only the CPU's product is small."""
EMULATED = (
    "bench_matmul.py::test_residues[emulator-2^64-40]",
    "bench_secret_matmul.py::test_secret_matmul[emulator-2 parties-32]",
    "bench_secret_matmul.py::test_secret_matmul[emulator-replicated-32]",
    "bench_rns.py::test_kernel[emulator-dot_rns]",
    "bench_bits.py::test_kernel[emulator-split_bits]",
    "bench_ntt.py::test_transform[emulator-4096-20 bits-ntt]",
)
XOR = tuple(
    f"bench_xor.py::test_sharing_to_reveal[cpu-{scheme}]"
    for scheme in ("2 parties", "3 parties", "replicated")
)


def run(tmp_path, ids):
    """Benchmark these, and return the rows by suite."""
    line = [sys.executable, "-m", "pytest", "-q", "--benchmark-only", "--benchmark-quiet"]
    line += ["--row-seconds=0.01", "--save-results", f"--results-folder={tmp_path}"]
    devices = sorted({each.partition("[")[2].partition("-")[0] for each in ids})
    line += [f"--device={','.join(devices)}", *(f"bench/{each}" for each in ids)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    return {result["suite"]: result["rows"] for result in results}


def test_rows_on_the_cpu(tmp_path):
    rows = run(tmp_path, HOST + XOR)
    assert len(rows["xor"]) == 3
    for row in rows["xor"]:
        assert list(row["baselines"]) == ["plaintext NumPy"]
        assert "headline" not in row
    (product,) = rows["matmul"]
    assert product["roof_products"] == 6
    counted = product["tera_operations_per_second"] * 1e12 * product["median"]
    assert counted == pytest.approx(2 * 256**3, rel=1e-4)  # two operations a product of words


@pytest.mark.usefixtures("require_emulator")
def test_rows_of_kernels(tmp_path):
    rows = run(tmp_path, EMULATED)
    assert set(rows) == {"matmul", "secret_matmul", "rns", "bits", "ntt"}
    (product,) = rows["matmul"]
    assert {"byte limbs", "one operand kept", "both operands kept"} < set(product["baselines"])
    for row in rows["secret_matmul"]:
        assert row["baselines"]["float32 product"]["ratio"] > 0
    for suite in ("rns", "bits", "ntt"):
        (row,) = rows[suite]
        assert row["share_of_roof"] == row["share_of_copy"] > 0  # a host has no other roof here
