"""Least squares under CKKS, by a party and by a process that have no secret key."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from he_gpu import cli
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, HeGpuError, NoSecretKeyError
from he_gpu.he import Ckks, CkksParams, key_switch
from he_gpu.he.parameters import INSECURE
from he_gpu.models import ckks_training
from he_gpu.models.ckks_descent import gradient_descent, residual_descent, rotations
from he_gpu.models.ckks_reservoir import Layout, learn_encrypted, learning_context
from he_gpu.models.ckks_training import Report, Task, receive, send

ROOT = Path(__file__).resolve().parents[2]
X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])
SMALL = {"width": 16, "learning_rate": 0.04, "random_state": 3}


@cache
def holder(depth):
    """Small keys of two primes a level."""
    params = CkksParams(depth, 46, security=INSECURE, ring_degree=1024)
    return Ckks(params, "cpu", seed=1)


def problem(n, width, seed=0):
    """Features whose kernel's largest eigenvalue is 1.9, and targets."""
    random = np.random.default_rng(seed)
    F, y = random.uniform(-1, 1, (n, width)), random.uniform(-1, 1, n)
    return F * np.sqrt(1.9 / np.linalg.eigvalsh(F @ F.T)[-1]), y


def encrypted(context, F, y):
    """A party's ciphertexts of features and targets, and their layout."""
    layout = Layout.of(*F.shape, context.slots)
    party = context.public(rotations(*layout), conjugation=False)

    def sent(values):
        return party.load_ciphertext(context.encrypt_with_secret_key(values).serialize())

    return layout, sent(layout.features(F)), sent(layout.targets(y))


def descended(F, y, n_steps):
    w = np.zeros(F.shape[1])
    for _ in range(n_steps):
        w -= F.T @ (F @ w - y)
    return w


def assert_weights(context, layout, ciphertext, expected):
    """All slots are what they should be: bounds hold, and they are no more than 15 bits loose."""
    found = context.decrypt(context.load_ciphertext(ciphertext.serialize()))
    grid = np.zeros((layout.n, layout.slots // layout.n))
    grid[:, : len(expected)] = expected
    error = np.abs(found - grid.ravel()).max()
    assert error <= min(1e-8, ciphertext.error)
    assert ciphertext.error <= 2**15 * max(error, 1e-11)
    assert np.abs(expected).max() <= ciphertext.size


SHAPES = [(4, 16), (4, 5), (2, 8), (1, 4), (3, 6), (8, 13), (4, 1), (1, 1)]


@pytest.mark.parametrize(("n", "width"), SHAPES)
@pytest.mark.parametrize("n_steps", [1, 2, 4])
def test_residual_descent_is_gradient_descent(n, width, n_steps):
    context = holder(5)
    F, y = problem(n, width)
    layout, features, targets = encrypted(context, F, y)
    w = residual_descent(features, targets, layout.n, layout.columns, n_steps)
    assert w.level == 5 - (n_steps + 1 if n_steps > 1 else 1)
    assert_weights(context, layout, w, descended(F, y, n_steps))


@pytest.mark.parametrize(("n", "width"), SHAPES)
@pytest.mark.parametrize(("depth", "n_steps"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_gradient_descent_takes_the_steps_that_there_are_levels_for(n, width, depth, n_steps):
    context = holder(depth)
    F, y = problem(n, width, seed=1)
    layout, features, targets = encrypted(context, F, y)
    w, taken = gradient_descent(features, targets, layout.n, layout.columns)
    assert taken == n_steps
    assert w.level == depth - (2 * n_steps - 1)
    assert_weights(context, layout, w, descended(F, y, n_steps))


def directions(n, width):
    """Kernels that take all directions to one end: nothing decays, or all turns around."""
    random = np.random.default_rng(5)
    for largest in (1.999, 1.0, 1e-3):
        F, _ = np.linalg.qr(random.standard_normal((width, n)))
        yield F.T * np.sqrt(largest), np.ones(n)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_bounds_hold_where_residuals_do_not_shrink(which):
    context = holder(9)
    F, y = list(directions(4, 16))[which]
    layout, features, targets = encrypted(context, F, y)
    shape = (layout.n, layout.columns)
    assert_weights(
        context, layout, residual_descent(features, targets, *shape, 8), descended(F, y, 8)
    )
    w, n_steps = gradient_descent(features, targets, *shape)
    assert n_steps == 5
    assert_weights(context, layout, w, descended(F, y, 5))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_bounds_count_errors_of_the_operands(which):
    """Errors of 1e-4 in every slot, of signs that add up, and stated as such."""
    context, planted = holder(5), 1e-4
    F, y = list(directions(4, 16))[which]
    layout, _, _ = encrypted(context, F, y)
    shares = np.zeros(2)
    for sign in (np.sign(F), np.sign(y @ F) * np.ones(F.shape)):
        wrong = layout.features(F)
        wrong = wrong + planted * np.where(wrong, layout.features(sign), 1)
        wrong = [wrong, layout.targets(y - planted * (F @ sign[0] > 0))]
        operands = [context.encrypt(each).replace(error=2 * planted, size=1.0) for each in wrong]
        residual = residual_descent(*operands, layout.n, layout.columns, 4)
        gradient, _ = gradient_descent(*operands, layout.n, layout.columns)
        for at, (w, n_steps) in enumerate(((residual, 4), (gradient, 3))):
            found = context.decrypt(w)[: F.shape[1]]
            share = np.abs(found - descended(F, y, n_steps)).max() / w.error
            shares[at] = max(share, shares[at])
    assert shares.max() < 1
    assert shares.min() > 2**-10


@pytest.mark.parametrize("planted", [1e-3, -0.3])
def test_bounds_of_two_steps_are_nearly_met(planted):
    """One sample with one feature, whose error goes the way that the bounds expect."""
    context = holder(3)
    F, y = np.array([[np.sqrt(1.999)]]), np.ones(1)
    layout, _, targets = encrypted(context, F, y)
    wrong = context.encrypt(layout.features(F - planted))
    features = wrong.replace(error=abs(planted) + wrong.error, size=1.5)
    residual = residual_descent(features, targets, 1, 1, 2)
    gradient, _ = gradient_descent(features, targets, 1, 1)
    # For small errors p 4 p, of 6 p and of 7.7 p: each part of a bound that is left out is seen.
    for w, least, most in ((residual, 0.6, 0.7), (gradient, 0.5, 0.6)):
        share = np.abs(context.decrypt(w)[0] - descended(F, y, 2)[0]) / w.error
        assert least < share < most


def test_the_party_makes_no_key_and_decrypts_nothing():
    context = Ckks(holder(3).params, "cpu", seed=2)
    F, y = problem(4, 8)
    layout, features, targets = encrypted(context, F, y)
    keys = features.keys
    made = keys.galois.powers
    w = residual_descent(features, targets, layout.n, layout.columns, 2)
    gradient_descent(features, targets, layout.n, layout.columns)
    assert keys.galois.powers == made
    assert len(made) == len(rotations(*layout)) == 3 + 1 + 3
    party = Ckks.load(context.public([], conjugation=False).serialize(), "cpu")
    with pytest.raises(NoSecretKeyError):
        party.decrypt(party.load_ciphertext(w.serialize()))


def test_key_switches_are_as_many_as_documented(monkeypatch):
    context, calls = holder(5), []
    F, y = problem(4, 8)
    _, features, targets = encrypted(context, F, y)
    multiply = key_switch.multiply
    monkeypatch.setattr(key_switch, "multiply", lambda *args: calls.append(1) or multiply(*args))
    residual_descent(features, targets, 4, 8, 3)
    assert len(calls) == (3 * 5 + 3) + 2 * 4 + 3
    calls.clear()
    assert gradient_descent(features, targets, 4, 8)[1] == 3
    assert len(calls) == 3 + 2 * 8


def test_every_key_that_is_sent_is_used(monkeypatch):
    context = Ckks(holder(5).params, "cpu", seed=2)
    F, y = problem(4, 8)
    layout, features, targets = encrypted(context, F, y)
    galois, used = features.keys.galois, set()
    of_rotation = galois.of_rotation
    monkeypatch.setattr(galois, "of_rotation", lambda step: used.add(step) or of_rotation(step))
    residual_descent(features, targets, layout.n, layout.columns, 2)
    slots = layout.slots
    assert {step % slots for step in used} == {step % slots for step in rotations(*layout)}


@cache
def learned():
    """XOR with few features and steps, by a process of its own and secure parameters."""
    return learn_encrypted(learning_context(3, "cpu", width=16), X, Y, **SMALL)


def test_a_process_without_the_secret_key_learns():
    for run, n_steps in ((learned().residual, 3), (learned().gradient, 2)):
        assert run.n_steps == n_steps
        assert run.weights.shape == (16,)
        assert run.deviation <= run.bound < 1e-4
        assert run.deviation < 1e-8
        assert np.abs(run.plain).max() > 0.01
        assert np.array_equal(run.told()["outputs"], run.outputs)
    F = np.maximum(X @ np.random.RandomState(3).standard_normal((2, 16)), 0)
    expected = descended(F * 0.2, Y, 3) * 0.2
    assert np.allclose(learned().residual.plain, expected, rtol=0, atol=1e-12)
    assert np.allclose(learned().residual.outputs, F @ expected, atol=1e-3)


def test_the_ring_degree_with_the_smallest_keys_that_has_the_slots():
    params = learning_context(3, "cpu", width=16).params
    assert (params.ring_degree, params.security, params.scale >= 2**46) == (16384, 128, True)
    assert learning_context(1, "cpu", width=512).ring_degree == 16384
    assert learning_context(1, "cpu", width=1024, n_samples=3).ring_degree == 32768


# The other process


def written(context, secret_key=False):
    """What the training process reads, of one sample."""
    layout = Layout.of(1, 2, context.slots)
    parts = [context.serialize(secret_key=secret_key)]
    parts += [context.encrypt(layout.targets([0.5])).serialize()] * 2
    return Task(1, 2, 1, "cpu"), parts


def process(**streams):
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": search, "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(ckks_training.command(), env=environment, **streams)


def piped(data):
    """The exit status and the report of a training process that reads some bytes."""
    with process(stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        with contextlib.suppress(BrokenPipeError):
            running.stdin.write(data)
            running.stdin.flush()
        told, parts = receive(running.stdout)
        return running.wait(60), Report(**told), parts


def message(task, parts):
    stream = io.BytesIO()
    send(stream, task, parts)
    return stream.getvalue()


def test_the_training_process_refuses_a_secret_key():
    status, report, parts = piped(message(*written(holder(2), secret_key=True)))
    assert (status, parts) == (2, [])
    assert "must not get the secret key" in report.error


def test_the_training_process_tells_why_it_failed():
    task, parts = written(holder(2))
    status, report, parts = piped(message(task, [parts[0], b"nothing", parts[2]]))
    assert (status, parts) == (2, [])
    assert "no saved key or ciphertext" in report.error


def test_a_message_that_ends_early_is_noticed():
    task, parts = written(holder(1))
    data = message(task, parts)
    assert receive(io.BytesIO(data)) == (task._asdict(), parts)
    for end in (0, 10, len(data) - 1):
        with pytest.raises(EOFError):
            receive(io.BytesIO(data[:end]))


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("1/0", "status 1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("import sys; sys.stdin.buffer.read(10)", "status 0"),
        ("import sys; sys.stdout.write('{\"error\": ')", "status 0"),
        ("import os, time; os.close(0); os.close(1); time.sleep(60)", "status None"),
    ],
)
def test_a_training_process_that_dies_is_an_error_and_leaves_nothing(
    monkeypatch, tmp_path, capfd, code, how
):
    started = []
    popen = subprocess.Popen

    class Recorded(popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ckks_training, "command", lambda: [sys.executable, "-c", code])
    with pytest.raises(HeGpuError, match=f"the training process ended with {how} and no result"):
        learn_encrypted(holder(2), X, Y, width=4, learning_rate=0.01)
    (child,) = started
    assert child.returncode == (-9 if how in ("signal 9", "status None") else int(how[-1]))
    assert not list(tmp_path.iterdir())


def test_the_training_process_ends_with_the_one_that_started_it():
    """Its input's other end closes while it computes, as when the other process is killed."""
    context = learning_context(2, "cpu", width=16)
    layout = Layout.of(4, 16, context.slots)
    party = context.public(rotations(*layout), conjugation=False)
    parts = [party.serialize(), context.encrypt(layout.targets(Y)).serialize()]
    task = Task(layout.n, layout.columns, 2, "cpu")
    with process(stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        send(running.stdin, task, [*parts, parts[1]])
        time.sleep(0.1)
        running.stdin.close()
        assert running.stdout.read() == b""
        assert running.wait(60) == 1


def test_a_training_process_that_is_left_before_it_has_its_task_says_nothing():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with process(**pipes) as running:
        assert running.communicate(b'{"n_samples": 4', timeout=60) == (b"", b"")
        assert running.returncode == 1


def test_what_is_sent_holds_no_secret_key(monkeypatch):
    """All that another process gets in place of training, and what it can do with it."""
    secret = holder(2)._need_secret("test")
    needles = [secret.ternary().tobytes(), secret.values(1).astype("<u4").tobytes()[:64]]
    needles.append(np.packbits(secret.ternary() == 1).tobytes())
    code = (
        "import os, pathlib, sys; from he_gpu.he import Ckks;"
        "from he_gpu.errors import NoSecretKeyError;"
        "from he_gpu.models.ckks_training import Report, receive, send;"
        "told, parts = receive(sys.stdin.buffer); c = Ckks.load(parts[0], 'cpu');"
        "needles = [bytes.fromhex(each) for each in sys.argv[1:]];"
        "around = [' '.join(os.environ.values()).encode()];"
        "found = c.has_secret_key or any(s in p for s in needles for p in parts + around);\n"
        "try: c.decrypt(c.load_ciphertext(parts[1])); found = True\n"
        "except NoSecretKeyError: pass\n"
        "try: c.serialize(secret_key=True); found = True\n"
        "except NoSecretKeyError: pass\n"
        "fields, fds = ' '.join(sorted(told)), pathlib.Path('/proc/self/fd');"
        "few = not fds.is_dir() or len(list(fds.iterdir())) <= 4;"
        "send(sys.stdout.buffer, Report(error=f'{found} {len(parts)} {few} {fields}'))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, *(each.hex() for each in needles)]
    monkeypatch.setattr(ckks_training, "command", lambda: command)
    with pytest.raises(HeGpuError, match=r"False 3 True columns device n_samples n_steps$"):
        learn_encrypted(holder(2), X, Y, width=4, learning_rate=0.01)


def test_weights_beyond_their_bound_are_refused(monkeypatch):
    """As of a process that did something else: here it took another learning rate."""
    context = holder(2)
    F = Layout.features
    monkeypatch.setattr(Layout, "features", lambda layout, values: F(layout, values * 1.001))
    with pytest.raises(HeGpuError, match=r"off by .*, and their ciphertext states .* at most"):
        learn_encrypted(context, X, Y, width=4, learning_rate=0.01)


def test_refused_arguments():
    context = holder(2)
    for changes, message in (
        ({"learning_rate": 1.0}, "must diverge on these data; it must be below"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"width": 0}, "width must be at least 1"),
        ({"width": 129, "learning_rate": 1e-5}, "take 4096 slots, and a ciphertext has 512"),
        ({"random_state": -1}, r"random_state must be in \[0, 2\*\*32\)"),
    ):
        with pytest.raises(ArgumentValueError, match=f"learn_encrypted: .*{message}"):
            learn_encrypted(context, X, Y, **changes)
    with pytest.raises(ArgumentTypeError, match="random_state must be an integer"):
        learn_encrypted(context, X, Y, random_state=None)
    with pytest.raises(NoSecretKeyError, match="learn_encrypted: the context has no secret key"):
        learn_encrypted(context.public([]), X, Y, width=4, learning_rate=0.01)
    with pytest.raises(ArgumentValueError, match="n_steps must be at least 1, got 0"):
        learning_context(0)
    with pytest.raises(ArgumentValueError, match="n_steps 30 would take switching keys of"):
        learning_context(30)
    with pytest.raises(ArgumentValueError, match="CkksParams: depth 61 with scale_bits 46 needs"):
        learning_context(60)
    with pytest.raises(ArgumentValueError, match=r"y must be of shape \(4,\), as X has rows"):
        learn_encrypted(context, X, Y[:3], width=4, learning_rate=0.01)
    with pytest.raises(ArgumentValueError, match="width 4096 take 65536 slots, and a ciphertext"):
        learning_context(2, width=4096)


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
    monkeypatch.setattr(cli, "learning_context", lambda *args, **options: holder(2))
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
    pattern = r"(\w+) descent: (\d+) steps in .* s, weights within (.*) of plaintext \(bound (.*)\)"
    found = [re.match(pattern, line) for line in lines]
    runs = {match[1]: (int(match[2]), *map(float, match.groups()[2:])) for match in found if match}
    assert {name: run[0] for name, run in runs.items()} == {"residual": 10, "gradient": 6}
    assert all(deviation <= bound < 1e-4 for _, deviation, bound in runs.values())
    assert [line[-7:] for line in lines if "descent:" in line] == ["0 1 1 0", "0 1 1 0"]
