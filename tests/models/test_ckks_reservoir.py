"""Least squares under CKKS, by a party and by a process that have no secret key."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from he_gpu import cli
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, HeGpuError, NoSecretKeyError
from he_gpu.he import Ckks, CkksParams
from he_gpu.he.parameters import INSECURE
from he_gpu.models import ckks_training
from he_gpu.models.ckks_descent import gradient_descent, residual_descent, rotations
from he_gpu.models.ckks_reservoir import Layout, learn_encrypted, learning_context
from he_gpu.models.ckks_training import Report, Task

ROOT = Path(__file__).resolve().parents[2]
X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])


@cache
def holder(depth):
    """Small keys with room in their scale for the bounds of some steps."""
    params = CkksParams(depth, 50, security=INSECURE, ring_degree=1024)
    return Ckks(params, "cpu", seed=1)


def problem(n, width, seed=0):
    """Features whose kernel's largest eigenvalue is 1.9, and targets."""
    random = np.random.default_rng(seed)
    F, y = random.uniform(-1, 1, (n, width)), random.uniform(-1, 1, n)
    return F * np.sqrt(1.9 / np.linalg.eigvalsh(F @ F.T)[-1]), y


def encrypted(context, F, y):
    """A party's ciphertexts and their layout."""
    layout = Layout.of(*F.shape, context.slots)
    party = context.public(rotations(layout.n, layout.columns), conjugation=False)

    def sent(values):
        return party.load_ciphertext(context.encrypt_with_secret_key(values).serialize())

    samples = [sent(layout.sample(F, at)) for at in range(layout.n)]
    return layout, samples, sent(layout.targets(y))


def descended(F, y, n_steps):
    w = np.zeros(F.shape[1])
    for _ in range(n_steps):
        w -= F.T @ (F @ w - y)
    return w


def assert_weights(context, layout, ciphertext, expected):
    found = layout.weights(context.decrypt(context.load_ciphertext(ciphertext.serialize())))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= min(1e-6, ciphertext.error)
    assert np.abs(expected).max() <= ciphertext.size


@pytest.mark.parametrize(("n", "width"), [(4, 16), (4, 5), (2, 8), (1, 4), (3, 6), (8, 32), (4, 1)])
@pytest.mark.parametrize("n_steps", [1, 2, 4])
def test_residual_descent_is_gradient_descent(n, width, n_steps):
    context = holder(5)
    F, y = problem(n, width)
    layout, samples, targets = encrypted(context, F, y)
    w = residual_descent(samples, targets, layout.columns, n_steps)
    assert w.level == 5 - (n_steps + 1 if n_steps > 1 else 1)
    assert_weights(context, layout, w, descended(F, y, n_steps))


@pytest.mark.parametrize(("n", "width"), [(4, 16), (2, 8), (1, 4), (3, 6), (8, 32), (4, 1)])
@pytest.mark.parametrize(("depth", "n_steps"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_gradient_descent_takes_the_steps_that_there_are_levels_for(n, width, depth, n_steps):
    context = holder(depth)
    F, y = problem(n, width, seed=1)
    layout, samples, targets = encrypted(context, F, y)
    w, taken = gradient_descent(samples, targets, layout.columns)
    assert taken == n_steps
    assert w.level == depth - (2 * n_steps - 1)
    assert_weights(context, layout, w, descended(F, y, n_steps))


def test_the_party_makes_no_key_and_decrypts_nothing():
    context = Ckks(holder(3).params, "cpu", seed=2)
    F, y = problem(4, 8)
    layout, samples, targets = encrypted(context, F, y)
    keys = samples[0].keys
    made = keys.galois.powers
    w = residual_descent(samples, targets, layout.columns, 2)
    gradient_descent(samples, targets, layout.columns)
    assert keys.galois.powers == made
    assert len(made) == len(rotations(layout.n, layout.columns))
    party = Ckks.load(context.public([], conjugation=False).serialize(), "cpu")
    with pytest.raises(NoSecretKeyError):
        party.decrypt(party.load_ciphertext(w.serialize()))


@cache
def learned():
    """XOR with few features and steps, by a process of its own and secure parameters."""
    context = Ckks(CkksParams(4, 42), "cpu")
    return learn_encrypted(context, X, Y, width=16, learning_rate=0.04, random_state=3)


def test_a_process_without_the_secret_key_learns():
    for run, n_steps in ((learned().residual, 3), (learned().gradient, 2)):
        assert run.n_steps == n_steps
        assert run.weights.shape == (16,)
        assert run.deviation < 1e-4
        assert np.abs(run.plain).max() > 0.01
        assert np.array_equal(run.told()["outputs"], run.outputs)
    F = np.maximum(X @ np.random.RandomState(3).standard_normal((2, 16)), 0)
    expected = descended(F * 0.2, Y, 3) * 0.2
    assert np.allclose(learned().residual.plain, expected, rtol=0, atol=1e-12)
    assert np.allclose(learned().residual.outputs, F @ expected, atol=1e-3)


def written(directory, context, **changes):
    """What the training process reads, of one sample."""
    layout = Layout.of(1, 2, context.slots)
    context.save(directory / ckks_training.CONTEXT, **changes)
    for name in (ckks_training.sample_name(0), ckks_training.TARGETS):
        context.encrypt(layout.targets([0.5])).save(directory / name)
    Task(1, 2, 1, "cpu").save(directory)


def test_the_training_process_refuses_a_secret_key(tmp_path):
    written(tmp_path, holder(2), secret_key=True)
    assert ckks_training.main([str(tmp_path)]) == 2
    assert "must not get the secret key" in Report.load(tmp_path).error
    assert not (tmp_path / ckks_training.RESIDUAL).exists()


def test_the_training_process_tells_why_it_failed(tmp_path):
    written(tmp_path, holder(2))
    (tmp_path / ckks_training.TARGETS).write_bytes(b"nothing")
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        ckks_training.command(tmp_path),
        env=os.environ | {"PYTHONPATH": search},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "no saved key or ciphertext" in Report.load(tmp_path).error


def test_a_failed_training_process_is_an_error(monkeypatch):
    monkeypatch.setattr(ckks_training, "command", lambda directory: [sys.executable, "-c", "1/0"])
    with pytest.raises(HeGpuError, match="the training process ended with status 1"):
        learn_encrypted(holder(2), X, Y, width=4, learning_rate=0.01)


def test_what_is_sent_holds_no_secret_key(monkeypatch):
    """All files but the report, as the process that gets them in place of training sees them."""
    secret = holder(2)._need_secret("test").ternary().tobytes()
    code = (
        "import pathlib, sys; from he_gpu.he import Ckks; d = pathlib.Path(sys.argv[1]);"
        "c = Ckks.load(d / 'context', 'cpu'); s = bytes.fromhex(sys.argv[2]);"
        "found = c.has_secret_key or any(s in f.read_bytes() for f in d.iterdir());"
        "names = ' '.join(sorted(f.name for f in d.iterdir()));"
        "from he_gpu.models.ckks_training import Report;"
        "Report(error=f'{found}: {names}').save(d)"
    )
    monkeypatch.setattr(
        ckks_training,
        "command",
        lambda directory: [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            code,
            str(directory),
            secret.hex(),
        ],
    )
    names = "context sample-0 sample-1 sample-2 sample-3 targets task.json"
    with pytest.raises(HeGpuError, match=f"False: {names}$"):
        learn_encrypted(holder(2), X, Y, width=4, learning_rate=0.01)


def test_refused_arguments():
    context = holder(2)
    for changes, message in (
        ({"learning_rate": 1.0}, "must diverge on these data; it must be below"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"width": 0}, "width must be at least 1"),
        ({"width": 129, "learning_rate": 1e-5}, "take 1024 slots, and a ciphertext has 512"),
        ({"random_state": -1}, r"random_state must be in \[0, 2\*\*32\)"),
    ):
        with pytest.raises(ArgumentValueError, match=f"learn_encrypted: .*{message}"):
            learn_encrypted(context, X, Y, **changes)
    with pytest.raises(ArgumentTypeError, match="random_state must be an integer"):
        learn_encrypted(context, X, Y, random_state=None)
    with pytest.raises(NoSecretKeyError):
        learn_encrypted(context.public([]), X, Y, width=4, learning_rate=0.01)
    with pytest.raises(ArgumentValueError, match="n_steps must be at least 1, got 0"):
        learning_context(0)
    with pytest.raises(ArgumentValueError, match="needs a modulus of at least"):
        learning_context(30)


@pytest.mark.parametrize(
    "option",
    [["--protocol", "plain"], ["--parties", "2"], ["--log-every", "5"], ["--plot", "a.png"]],
)
def test_options_of_sharing_are_refused(option, capsys):
    assert cli.main(["xor", "--scheme", "ckks", *option]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (f"he-gpu xor: error: {option[0]} means nothing with --scheme ckks\n")


def test_xor_under_ckks_as_json(monkeypatch, capsys):
    """The command line's own part: a short training stands for the long one."""
    monkeypatch.setattr(cli, "learning_context", lambda n_steps, device: holder(2))
    monkeypatch.setattr(cli, "learn_encrypted", lambda *args, **options: learned())
    assert cli.main(["xor", "--scheme", "ckks", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["device"], result["scheme"], result["depth"]) == ("cpu", "ckks", 2)
    assert result["learning_rate"] == 0.0041
    assert abs(result["cipher"]["decrypted"] - 7) < 1e-6
    assert [len(result["cipher"][name]) for name in ("x", "y", "sum")] == [3, 3, 3]
    assert (result["residual"]["steps"], result["gradient"]["steps"]) == (3, 2)
    assert result["residual"] == learned().residual.told()
    assert result["predictions"] == learned().residual.predictions
    assert result["targets"] == [0, 1, 1, 0]


@pytest.mark.slow
def test_xor_under_ckks(capsys):
    status = cli.main(["xor", "--scheme", "ckks", "--device", "cpu"])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    lines = captured.out.splitlines()
    assert lines[3] == "Decrypted result: 7.000000"
    assert lines[-2:] == ["targets: 0 1 1 0", "predictions: 0 1 1 0"]
    pattern = r"(residual|gradient) descent: (\d+) steps in .* s, weights within (.*) of plaintext"
    found = [re.match(pattern, line) for line in lines]
    runs = {match[1]: (int(match[2]), float(match[3])) for match in found if match}
    assert {name: steps for name, (steps, _) in runs.items()} == {"residual": 10, "gradient": 6}
    assert all(deviation < 1e-4 for _, deviation in runs.values())
    assert [line[-7:] for line in lines if "descent:" in line] == ["0 1 1 0", "0 1 1 0"]
