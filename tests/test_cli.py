"""The command line, in this process and as a process of its own."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import he_gpu as he
from he_gpu import cli
from tests.conftest import require_device

ROOT = Path(__file__).resolve().parents[1]
LINES = [
    r"x = 2 encrypted: \[\d+, \d+, \d+\]",
    r"y = 5 encrypted: \[\d+, \d+, \d+\]",
    r"sum of the shares: \[\d+, \d+, \d+\]",
    r"Decrypted result: 7",
    r"Decrypted from two of the three shares: \d+",
]
SHORT = ["--steps", "3", "--width", "16", "--log-every", "1"]


def run(capsys, *arguments):
    """Exit status and the two texts of a command that argparse accepts."""
    status = cli.main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def run_json(capsys, *arguments):
    status, out, err = run(capsys, *arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def check_cipher(cipher):
    """The numbers printed are shares modulo 501337 of 2, of 5 and of their sum."""
    modulus = 501337
    assert sum(cipher["x"]) % modulus == 2
    assert sum(cipher["y"]) % modulus == 5
    assert cipher["sum"] == [
        (x + y) % modulus for x, y in zip(cipher["x"], cipher["y"], strict=True)
    ]
    assert cipher["decrypted"] == 7
    assert cipher["two_of_three"] == sum(cipher["sum"][:2]) % modulus


def test_xor_prints_what_the_tutorial_prints(capsys):
    status, out, err = run(capsys, "xor", "--device", "cpu")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    for pattern, line in zip(LINES, lines[: len(LINES)], strict=True):
        assert re.fullmatch(pattern, line), line
    losses = [re.fullmatch(r"loss at step (\d+): (\d\.\d{3}e[+-]\d\d)", line) for line in lines]
    losses = {int(match[1]): match[2] for match in losses if match}
    assert list(losses) == [0, 50, 100, 150, 200]
    assert losses[0] == "2.000e+00"
    assert all(
        float(losses[step]) < limit
        for step, limit in {50: 1.2, 100: 0.7, 150: 0.4, 200: 0.25}.items()
    )
    assert lines[-2:] == ["targets: 0 1 1 0", "predictions: 0 1 1 0"]


def test_xor_shares_anew_each_time(capsys):
    first, second = (run_json(capsys, "xor", *SHORT)["cipher"] for _ in range(2))
    check_cipher(first)
    check_cipher(second)
    # 4 words below 501337 are all met again with probability 2^-75.
    assert first["x"][:2] + first["y"][:2] != second["x"][:2] + second["y"][:2]


@pytest.mark.parametrize(
    ("options", "parties", "protocol"),
    [
        ([], ["alice", "bob"], "additive"),
        (["--parties", "3"], ["party0", "party1", "party2"], "additive"),
        (["--protocol", "replicated"], ["alice", "bob", "carol"], "replicated"),
        (["--protocol", "plain"], ["party0"], "plain"),
    ],
)
def test_json_is_one_object_that_tells_the_whole_run(options, parties, protocol, capsys):
    result = run_json(capsys, "xor", "--device", "cpu", *options)
    check_cipher(result["cipher"])
    assert result["parties"] == parties
    assert result["protocol"] == protocol
    assert result["device"] == "cpu"
    assert result["loss_steps"] == [0, 50, 100, 150, 200]
    assert result["loss_curve"][0] == 2.0
    assert result["predictions"] == result["targets"] == [0, 1, 1, 0]
    assert [int(output > 0.5) for output in result["outputs"]] == [0, 1, 1, 0]
    assert result["seconds"] > 0
    # Of the additive scheme 1 round masks the features, 4 are a step's, 8 a loss's, 1 predicts and
    # 1 reveals. The replicated one shares three inputs, masks nothing, and has 4 for a step, 9 for
    # a loss, 2 for the prediction.
    rounds = {
        "plain": 0,
        "additive": 1 + 4 * 250 + 8 * 5 + 2,
        "replicated": 3 + 4 * 250 + 9 * 5 + 3,
    }
    assert result["rounds"] == rounds[protocol]
    assert (result["dealer_bytes"] > 0) == (protocol != "plain")
    assert (result["bytes_sent"] > 0) == (protocol != "plain")


def test_options_reach_the_model(capsys):
    arguments = ["--learning-rate", "2e-3", "--random-state", "4", *SHORT]
    result = run_json(capsys, "xor", "--protocol", "plain", *arguments)
    model = he.ReservoirRegressor(
        width=16, learning_rate=2e-3, n_steps=3, random_state=4, log_every=1, loss="absolute"
    )
    with he.Session("plain", device=result["device"]):
        model.fit(cli.INPUTS, cli.TARGETS)
    assert result["loss_steps"] == [0, 1, 2]
    assert result["loss_curve"] == model.loss_curve_


def test_no_losses_where_none_are_wanted(capsys):
    status, out, _ = run(capsys, "xor", "--log-every", "0")
    assert status == 0
    assert "loss at step" not in out
    assert out.endswith("targets: 0 1 1 0\npredictions: 0 1 1 0\n")


@pytest.mark.parametrize("device", ["emulator", "cuda"])
def test_xor_on_a_kernel_device(device, capsys):
    require_device(device)
    result = run_json(capsys, "xor", "--device", device, *SHORT)
    check_cipher(result["cipher"])
    assert result["device"] == device
    assert result["loss_curve"][0] == 2.0
    assert result["loss_curve"][2] < result["loss_curve"][1] < 2.0


def test_plot_is_a_png(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    picture = tmp_path / "loss.png"
    status, out, err = run(capsys, "xor", *SHORT, "--plot", str(picture))
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("predictions:")
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")


def test_plot_has_the_tutorials_title_and_the_revealed_losses(tmp_path, capsys, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    drawn = []
    monkeypatch.setattr(
        figure.Figure, "savefig", lambda self, target, **options: drawn.append(self)
    )
    result = run_json(capsys, "xor", *SHORT, "--plot", str(tmp_path / "loss.png"))
    (axes,) = drawn[0].axes
    assert axes.get_title() == "Learning XOR While Encrypted"
    assert axes.get_ylabel() == "sum of absolute errors"
    (line,) = axes.lines
    assert list(line.get_xdata()) == result["loss_steps"]
    assert list(line.get_ydata()) == result["loss_curve"]


def test_plot_without_matplotlib_names_the_extra(tmp_path, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else find_spec(name, *rest),
    )
    status, out, err = run(capsys, "xor", "--plot", str(tmp_path / "loss.png"))
    assert (status, out) == (2, "")
    assert "pip install '.[plot]'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "gpu"], "device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'emulator'"),
        (["--parties", "1"], "needs at least 2 parties, got 1"),
        (["--parties", "2", "--protocol", "plain"], "needs exactly 1 part"),
        (["--parties", "2", "--protocol", "replicated"], "needs exactly 3 parties, got 2"),
        (["--steps", "-1"], "n_steps must be at least 0, got -1"),
        (["--width", "0"], "width must be at least 1, got 0"),
        (["--log-every", "-1"], "log_every must be at least 0, got -1"),
        (["--learning-rate", "0"], "learning_rate must be > 0, got 0"),
        (["--learning-rate", "nan"], "learning_rate must be finite, got nan"),
        (["--learning-rate", "1"], "it must be below 0.00510162"),
        (["--random-state", "-1"], "random_state must be in [0, 2**32), got -1"),
    ],
)
def test_a_refused_run_exits_with_2_and_says_why(arguments, message, capsys):
    status, _, err = run(capsys, "xor", *arguments)
    assert status == 2
    assert err.startswith("he-gpu xor: error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_plot_that_cannot_be_written_is_an_error(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    missing = tmp_path / "missing" / "loss.png"
    status, _, err = run(capsys, "xor", *SHORT, "--plot", str(missing))
    assert status == 2
    assert str(missing) in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["learn"], "invalid choice: 'learn'"),
        (["xor", "--steps", "many"], "invalid int value: 'many'"),
        (["xor", "--protocol", "yao"], "invalid choice: 'yao'"),
        (["xor", "--speed", "9"], "unrecognized arguments: --speed 9"),
        (["info", "--steps", "9"], "unrecognized arguments: --steps 9"),
    ],
)
def test_an_unknown_option_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"he-gpu {he.__version__}\n"


def test_info_tells_versions_devices_and_what_is_missing(capsys):
    facts = run_json(capsys, "info")
    assert facts["versions"]["he-gpu"] == he.__version__
    assert facts["versions"]["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert "numpy" in facts["versions"]
    assert list(facts["unavailable"]) == ["cpu", "cuda", "emulator"]
    assert facts["unavailable"]["cpu"] is None
    status, out, err = run(capsys, "info")
    assert (status, err) == (0, "")
    for name, reason in facts["unavailable"].items():
        state = "works" if reason is None else f"not available: {reason}"
        assert re.search(rf"^{name} +{re.escape(state)}$", out, re.MULTILINE)
        assert reason is None or "install" in reason or "driver" in reason
    for command in facts["advice"]:
        assert command in out
    missing = importlib.util.find_spec("matplotlib") is None
    assert any("[plot]" in command for command in facts["advice"]) == missing


def check_process(command, environment=None):
    """Run the main job with no terminal attached: no progress bar, no escape codes."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert done.stdout.splitlines()[3] == "Decrypted result: 7"
    assert done.stdout.endswith("targets: 0 1 1 0\npredictions: 0 1 1 0\n")


def test_module_runs_as_a_process():
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    check_process([sys.executable, "-m", "he_gpu.cli", "xor"], os.environ | {"PYTHONPATH": search})


def test_console_script():
    script = Path(sysconfig.get_path("scripts")) / "he-gpu"
    if not script.exists():
        pytest.skip("he-gpu is not installed, only importable from the checkout")
    check_process([str(script), "xor"])


def test_a_refusal_ends_the_process_with_2():
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "he_gpu.cli", "xor", "--device", "abacus"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": search},
    )
    assert done.returncode == 2
    assert "got 'abacus'" in done.stderr
    assert "Traceback" not in done.stderr


def checkout(tmp_path, benchmark):
    """A directory that looks like a checkout, with one suite of its own."""
    (tmp_path / "he_gpu").mkdir()
    (tmp_path / "bench").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("conftest", "environment", "integer_roofs", "load", "recorder", "roofs"):
        shutil.copy(ROOT / "bench" / f"{name}.py", tmp_path / "bench")
    (tmp_path / "bench" / "bench_sums.py").write_text(benchmark)
    return tmp_path


SUMS = """
import numpy as np

def test_sum(device, backend, record):
    a = np.ones(1000)
    record.compare("a sum", a.sum, {"a copy": a.copy}, rounds=5, n_bytes=8000, n=1000)
"""
MISSED = SUMS.replace("n=1000)", "at_most={'a copy': 1e-9})")


def bench_process(root, *arguments):
    """`he-gpu bench` with a package that lies elsewhere, in a directory that is a checkout."""
    code = (
        "import sys, he_gpu; from pathlib import Path; from he_gpu import cli;"
        f"he_gpu.__file__ = {str(root / 'he_gpu' / '__init__.py')!r};"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", code, "bench", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": search},
    )


def test_bench_prints_a_table_and_saves_only_when_asked(tmp_path):
    pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed")
    root = checkout(tmp_path, SUMS)
    done = bench_process(root, "sums", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    title, blank, headings, row, *_ = done.stdout.splitlines()
    assert (title, blank) == ("sums on cpu", "")
    assert headings.startswith("job    median")
    assert re.fullmatch(r"a sum  .* us  .* us to .* us  .* GB/s  +.*%  +.* x a copy", row)
    assert not (root / "bench" / "results").exists()

    done = bench_process(root, "--device", "cpu", "--save")
    assert done.returncode == 0, done.stderr
    result = json.loads((root / "bench" / "results" / "sums-cpu.json").read_text())
    assert (result["suite"], result["environment"]["device"]) == ("sums", "cpu")
    assert [row["name"] for row in result["rows"]] == ["a sum"]
    assert result["rows"][0]["median"] > 0
    assert result["roofs"]["copy, GB/s"] > 0


def test_bench_tells_which_demand_was_missed_and_keeps_the_row(tmp_path):
    pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed")
    done = bench_process(checkout(tmp_path, MISSED), "--device", "cpu", "--save")
    assert done.returncode == 2
    assert "ShortfallError: a sum: " in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "he-gpu bench: error: failed: test_sum[cpu] (exit status 1)"
    )
    assert "at most 1e-09 a copy demanded" in done.stdout
    assert (tmp_path / "bench" / "results" / "sums-cpu.json").exists()


def test_bench_saves_no_suite_in_which_something_broke(tmp_path):
    pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed")
    wrong = SUMS + "\ndef test_wrong(device, backend, record, benchmark):\n    assert 1 == 2\n"
    done = bench_process(checkout(tmp_path, wrong), "--device", "cpu", "--save")
    assert done.returncode == 2
    assert "assert 1 == 2" in done.stderr
    assert "a sum" in done.stdout
    assert not (tmp_path / "bench" / "results").exists()


def test_bench_outside_a_checkout_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(he, "__file__", str(tmp_path / "site-packages" / "he_gpu" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "bench")
    assert (status, out) == (2, "")
    assert "run this in a checkout of he_gpu" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["abacus"],
            "suite must be one of bits, ckks, ckks_circuits, ckks_linear, comparison, conv, "
            "crossover, crypten, descent, elementwise, functions, graph, leaves, matmul, ",
        ),
        (["--device", "abacus"], "got 'abacus'"),
        (["--device", "cuda:99"], "device 'cuda:99' is not available: "),
    ],
)
def test_bench_refuses(arguments, message, capsys):
    pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed")
    status, out, err = run(capsys, "bench", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("he-gpu bench: error: ")
    assert message in err


def test_bench_without_pytest_names_the_extra(capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "pytest_benchmark" else find_spec(name, *rest),
    )
    status, _, err = run(capsys, "bench")
    assert status == 2
    assert "pytest_benchmark is not installed: pip install '.[bench]'" in err
