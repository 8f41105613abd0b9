"""The command line: ``he-gpu xor`` is the main job, ``info`` tells what works, ``bench`` times.

Layer: cli, the top. Parses, calls the public interface and prints; computes nothing itself.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import he_gpu as he
from he_gpu.backend import to_host, unavailable_reason
from he_gpu.errors import ArgumentValueError, DeviceUnavailableError, HeGpuError
from he_gpu.models.ckks_reservoir import learn_encrypted, learning_context
from he_gpu.session import PROTOCOLS

INPUTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
TARGETS = np.array([0.0, 1.0, 1.0, 0.0])
SHARING = {"protocol": "additive", "parties": None, "steps": 250, "learning_rate": 1e-3}
SHARING |= {"log_every": 50, "plot": None}
CKKS = {"steps": 10, "learning_rate": 0.0041}  # few steps need a large rate, tried in plaintext


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 2 where something was refused."""
    options = _parser().parse_args(arguments)
    try:
        run: Callable[[argparse.Namespace], None] = options.run
        run(options)
    except (HeGpuError, MemoryError, OSError) as error:
        print(f"he-gpu {options.command}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="he-gpu", description="Train models on secret-shared data, on NumPy or CUDA."
    )
    parser.add_argument("--version", action="version", version=f"he-gpu {he.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    wide = argparse.ArgumentDefaultsHelpFormatter

    xor = commands.add_parser(
        "xor",
        argument_default=argparse.SUPPRESS,  # defaults depend on the scheme
        formatter_class=wide,
        help="learn XOR on secret shares or ciphertexts",
        description="Encrypt, add and decrypt two numbers; then learn XOR with a linear model on a "
        "random ReLU reservoir: on secret shares, all parties in this process, or under CKKS, in a "
        "second process that gets public keys and ciphertexts alone.",
    )
    xor.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or emulator")
    xor.add_argument(
        "--scheme",
        default="sharing",
        choices=("sharing", "ckks"),
        help="sharing: between parties that work together; ckks: homomorphic encryption, trained "
        "by a process that cannot decrypt",
    )
    xor.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help=f"of sharing (default: {SHARING['protocol']})",
    )
    xor.add_argument(
        "--parties",
        type=int,
        metavar="N",
        help="of sharing, how many (default: 2; replicated: 3; plain: 1)",
    )
    xor.add_argument(
        "--steps",
        type=int,
        help=f"gradient steps (default: {SHARING['steps']}; ckks: {CKKS['steps']}, a level each)",
    )
    xor.add_argument("--width", type=int, default=256, help="reservoir features")
    xor.add_argument(
        "--learning-rate",
        type=float,
        help=f"step size (default: {SHARING['learning_rate']}; ckks: {CKKS['learning_rate']}, "
        "which suits few steps)",
    )
    xor.add_argument(
        "--log-every",
        type=int,
        help=f"of sharing, steps between losses; 0: none (default: {SHARING['log_every']})",
    )
    xor.add_argument("--random-state", type=int, default=0, help="seed of the public reservoir")
    xor.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="of sharing, draw the loss curve",
    )
    xor.add_argument(
        "--json", action="store_true", default=False, help="print one JSON object instead"
    )
    xor.set_defaults(run=_xor)

    info = commands.add_parser(
        "info", help="versions, devices, and what is missing", formatter_class=wide
    )
    info.add_argument("--json", action="store_true", help="print one JSON object instead")
    info.set_defaults(run=_info)

    bench = commands.add_parser(
        "bench",
        formatter_class=wide,
        help="time the suites of a checkout",
        description="Run benchmarks of the checkout that he_gpu lies in, or of the current "
        "directory, beside their baselines, and print a table. Needs pytest and pytest-benchmark.",
    )
    bench.add_argument("suites", nargs="*", metavar="SUITE", help="such as matmul; none: all")
    bench.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    bench.add_argument("--save", action="store_true", help="keep results in bench/results")
    bench.set_defaults(run=_bench)
    return parser


def _xor(options: argparse.Namespace) -> None:
    """Learn XOR by the scheme that was chosen; what another scheme asks for is refused."""
    ckks = options.scheme == "ckks"
    defaults = CKKS if ckks else SHARING
    for name in SHARING:
        if name in options and name not in defaults:
            option = f"--{name.replace('_', '-')}"
            raise ArgumentValueError(f"{option} means nothing with --scheme {options.scheme}")
    for name, default in defaults.items():
        vars(options).setdefault(name, default)
    (_xor_on_ciphertexts if ckks else _xor_on_shares)(options)


def _xor_on_ciphertexts(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    context = learning_context(options.steps, options.device, width=options.width)
    x, y = context.encrypt([2.0]), context.encrypt([5.0])
    total = x + y
    cipher = {
        name: [int(word) for word in to_host(ciphertext.components[0, 0, :3])]
        for name, ciphertext in (("x", x), ("y", y), ("sum", total))
    }
    decrypted = float(context.decrypt(total)[0])
    if not options.json:
        print(f"x = 2 encrypted: {cipher['x']} and {x.components.size - 3} more words")
        print(f"y = 5 encrypted: {cipher['y']} and as many")
        print(f"sum of the ciphertexts: {cipher['sum']} and as many")
        print(f"Decrypted result: {decrypted:.6f}")
        print(
            f"learning XOR under CKKS in a process without the secret key, device "
            f"{context.device}, {context.params}",
            flush=True,
        )
    names = ("width", "learning_rate", "random_state")
    chosen = {name: getattr(options, name) for name in names}
    learned = learn_encrypted(context, INPUTS, TARGETS, **chosen)
    seconds = time.perf_counter() - start
    runs = {"residual": learned.residual, "gradient": learned.gradient}
    predictions, targets = learned.residual.predictions, TARGETS.astype(int).tolist()
    if options.json:
        result = {
            "cipher": {**cipher, "decrypted": decrypted},
            "device": context.device,
            "scheme": options.scheme,
            "ring_degree": context.ring_degree,
            "depth": context.depth,
            "modulus_bits": context.params.modulus_bits,
            "learning_rate": options.learning_rate,
            **{name: run.told() for name, run in runs.items()},
            "predictions": predictions,
            "targets": targets,
            "seconds": seconds,
            "bytes_sent": learned.bytes_sent,
        }
        print(json.dumps(result))
        return
    for name, run in runs.items():
        print(
            f"{name} descent: {run.n_steps} steps in {run.seconds:.1f} s, weights within "
            f"{run.deviation:.1e} of plaintext (bound {run.bound:.1e}), predictions",
            *run.predictions,
        )
    if predictions != targets:
        print("not learnt yet: it takes more steps, or another learning rate or reservoir")
    print(f"{seconds:.1f} s in all, {learned.bytes_sent} bytes to the training process")
    print("targets:", *targets)
    print("predictions:", *predictions)


def _xor_on_shares(options: argparse.Namespace) -> None:
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise ArgumentValueError("--plot needs matplotlib: pip install '.[plot]'")
    if options.plot and not options.plot.absolute().parent.is_dir():
        raise ArgumentValueError(f"--plot: no directory for {options.plot}")
    x, y = he.encrypt(2, device=options.device), he.encrypt(5, device=options.device)
    total = he.add(x, y)
    cipher = {
        "x": [int(share) for share in x],
        "y": [int(share) for share in y],
        "sum": [int(share) for share in total],
        "decrypted": int(he.decrypt(total)),
        "two_of_three": int(he.decrypt(*total[:2])),
    }
    if not options.json:
        print(f"x = 2 encrypted: {cipher['x']}")
        print(f"y = 5 encrypted: {cipher['y']}")
        print(f"sum of the shares: {cipher['sum']}")
        print(f"Decrypted result: {cipher['decrypted']}")
        print(f"Decrypted from two of the three shares: {cipher['two_of_three']}", flush=True)

    model = he.ReservoirRegressor(
        width=options.width,
        learning_rate=options.learning_rate,
        n_steps=options.steps,
        random_state=options.random_state,
        log_every=options.log_every,
        loss="absolute",
    )
    start = time.perf_counter()
    with he.Session(options.protocol, parties=options.parties, device=options.device) as session:
        model.fit(INPUTS, TARGETS)
        outputs = model.predict(INPUTS).reveal()
        cost, device, parties = session.cost, session.device, session.parties
    seconds = time.perf_counter() - start

    predictions = (outputs > 0.5).astype(int).tolist()
    if options.plot:
        _plot(model, options.plot)
    if options.json:
        result = {
            "cipher": cipher,
            "device": device,
            "protocol": options.protocol,
            "parties": parties,
            "loss_steps": model.loss_steps_,
            "loss_curve": model.loss_curve_,
            "outputs": outputs.tolist(),
            "predictions": predictions,
            "targets": TARGETS.astype(int).tolist(),
            "seconds": seconds,
            "rounds": cost.rounds,
            "bytes_sent": cost.bytes_sent,
            "dealer_bytes": cost.dealer_bytes,
        }
        print(json.dumps(result))
        return
    print(
        f"learning XOR on {options.protocol} shares of {len(parties)} "
        f"{'party' if len(parties) == 1 else 'parties'} in one process, device {device}"
    )
    for step, loss in zip(model.loss_steps_, model.loss_curve_, strict=True):
        print(f"loss at step {step}: {loss:.3e}")
    print(
        f"{options.steps} steps in {seconds:.3f} s, {cost.rounds} rounds, "
        f"{cost.bytes_sent} bytes sent by the busiest party, {cost.dealer_bytes} by the dealer"
    )
    print("targets:", *TARGETS.astype(int))
    print("predictions:", *predictions)


def _plot(model: he.ReservoirRegressor, path: Path) -> None:
    """Draw the revealed losses; the file appears whole or not at all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(model.loss_steps_, model.loss_curve_, marker="o")
    axes.set(title="Learning XOR While Encrypted", xlabel="step", ylabel="sum of absolute errors")
    axes.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    path.write_bytes(picture.getvalue())


def _info(options: argparse.Namespace) -> None:
    versions = {"he-gpu": he.__version__, "Python": platform.python_version()}
    advice = []
    for package, command in {
        "numpy": None,
        "cryptography": "pip install cryptography  # faster random words",
        "cupy-cuda13x": None,
        "cupy-cuda12x": None,
        "matplotlib": "pip install '.[plot]'  # loss curves",
    }.items():
        version = _version(package)
        if version:
            versions[package] = version
        elif command:
            advice.append(command)
    devices = {name: unavailable_reason(name) for name in ("cpu", "cuda", "emulator")}
    if options.json:
        print(json.dumps({"versions": versions, "unavailable": devices, "advice": advice}))
        return
    for name, version in versions.items():
        print(f"{name:14} {version}")
    print()
    for name, reason in devices.items():
        print(f"{name:14} {'works' if reason is None else 'not available: ' + reason}")
    if advice:
        print("\noptional:")
        for command in advice:
            print(f"  {command}")


def _bench(options: argparse.Namespace) -> None:
    """Run pytest on bench/ in a process of its own, which tells by a pipe what it does."""
    root = _checkout()
    suites = {path.stem.removeprefix("bench_"): path for path in root.glob("bench/bench_*.py")}
    for name in options.suites:
        if name not in suites:
            raise ArgumentValueError(
                f"suite must be one of {', '.join(sorted(suites))}, got {name!r}"
            )
    for package in ("pytest", "pytest_benchmark"):
        if importlib.util.find_spec(package) is None:
            raise HeGpuError(f"{package} is not installed: pip install '.[bench]'")
    device = options.device
    if device == "auto":
        device = "cpu" if unavailable_reason("cuda") else "cuda"
    reason = unavailable_reason(device)
    if reason:
        raise DeviceUnavailableError(f"device {device!r} is not available: {reason}")
    command = [sys.executable, "-m", "pytest", "--benchmark-only", f"--device={device}"]
    command += [str(suites[name]) for name in options.suites] or [str(root / "bench")]
    command += ["--save-results"] if options.save else []
    ends = os.pipe()
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(
            [*command, f"--events-fd={ends[1]}"],
            cwd=root,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=ends[1:],
        ) as process:
            os.close(ends[1])
            with os.fdopen(ends[0]) as events:
                failed = _follow(map(json.loads, events))
        log.seek(0)
        if process.returncode:
            sys.stderr.write(log.read())
            what = f"failed: {', '.join(failed)}" if failed else "pytest did not run them"
            raise HeGpuError(f"{what} (exit status {process.returncode})")


def _follow(events: Iterator[dict[str, Any]]) -> list[str]:
    """Draw the progress of a run on a terminal, print its tables, and return what failed."""
    failed = []
    with tqdm(disable=None, unit="job", leave=False) as bar:
        for event in events:
            if "total" in event:
                bar.reset(event["total"])
            elif "outcome" in event:
                bar.set_postfix_str(event["test"], refresh=False)
                bar.update()
                failed += [event["test"]] if event["outcome"] == "failed" else []
            else:
                widths = [max(map(len, column)) for column in zip(*event["rows"], strict=True)]
                bar.clear()
                print(f"{event['suite']}\n")
                for row in event["rows"]:
                    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                    print("  ".join(cells).rstrip())
                print(flush=True)
    return failed


def _checkout() -> Path:
    """Return the checkout that this package lies in, or else the current directory's."""
    places = (Path(he.__file__).resolve().parents[1], Path.cwd())
    for root in places:
        if (root / "bench" / "conftest.py").exists() and (root / "he_gpu").is_dir():
            return root
    raise HeGpuError(
        "the benchmarks are not part of the installed package; run this in a checkout of he_gpu"
    )


def _version(package: str) -> Any:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
