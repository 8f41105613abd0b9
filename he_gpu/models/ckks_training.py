"""The process that trains on ciphertexts: ``python -m he_gpu.models.ckks_training``.

Layer: models, above he. It reads public keys and encrypted data from its standard input, refuses a
secret key, and writes encrypted weights to its standard output; nothing lies in files. What it is
told of the data stands in `Task`. It ends when the other end of its input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import IO, Any, NamedTuple

from he_gpu.errors import ArgumentValueError, HeGpuError
from he_gpu.he.context import Ckks
from he_gpu.models.ckks_descent import gradient_descent, residual_descent


class Task(NamedTuple):
    """What the training process is told; a context, features and targets follow.

    Attributes:
        n_samples: a power of two.
        columns: features, zeros behind the last included, a power of two.
        n_steps: of the residual recursion.
        device: where to compute.
    """

    n_samples: int
    columns: int
    n_steps: int
    device: str


class Report(NamedTuple):
    """What the training process tells; weights of the two descents follow where it has some.

    Attributes:
        gradient_steps: that the chain allowed.
        residual_seconds: of the residual recursion.
        gradient_seconds: of gradient descent.
        error: why there are no weights, or "".
    """

    gradient_steps: int = 0
    residual_seconds: float = 0.0
    gradient_seconds: float = 0.0
    error: str = ""


def send(stream: IO[bytes], told: Task | Report, parts: Iterable[bytes] = ()) -> None:
    """Write a line of JSON and what belongs to it.

    Raises:
        BrokenPipeError: nobody reads it.
    """
    parts = list(parts)
    header = {**told._asdict(), "lengths": [len(part) for part in parts]}
    stream.write(json.dumps(header).encode() + b"\n")
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Read what `send` wrote: the fields, and what belongs to them.

    Raises:
        EOFError: it ends too early.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    told = json.loads(line)
    lengths = told.pop("lengths")
    parts = [stream.read(length) for length in lengths]
    if [len(part) for part in parts] != lengths:
        raise EOFError
    return told, parts


def train(task: Task, parts: list[bytes]) -> tuple[Report, list[bytes]]:
    """Train, and return encrypted weights of both descents.

    Args:
        task: what to do.
        parts: a saved context, and the ciphertexts of features and targets; they are taken out.

    Raises:
        ValueError: a context with a secret key, or ciphertexts of another.
    """
    context = Ckks.load(parts.pop(0), task.device)
    if context.has_secret_key:
        raise ArgumentValueError("train: the training process must not get the secret key")
    features, targets = map(context.load_ciphertext, parts)
    shape = (task.n_samples, task.columns)
    start = time.perf_counter()
    residual = residual_descent(features, targets, *shape, task.n_steps).serialize()
    middle = time.perf_counter()
    weights, n_steps = gradient_descent(features, targets, *shape)
    gradient = weights.serialize()
    report = Report(n_steps, middle - start, time.perf_counter() - middle)
    return report, [residual, gradient]


def main() -> int:
    """Do the task on the standard input, and return the exit status."""
    try:
        told, parts = receive(sys.stdin.buffer)
    except EOFError:  # nobody is left to be told
        return 1
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        report, weights = train(Task(**told), parts)
    except (HeGpuError, MemoryError, OSError) as error:
        report, weights = Report(error=str(error) or type(error).__name__), []
    send(sys.stdout.buffer, report, weights)
    return 2 if report.error else 0


def command() -> list[str]:
    """Return the command that runs `main` in a process of its own."""
    return [sys.executable, "-m", __name__]


def _end_with(descriptor: int) -> None:
    """End this process when the one at the other end of a pipe has ended."""
    os.read(descriptor, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
