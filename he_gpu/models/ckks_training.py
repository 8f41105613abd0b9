"""The process that trains on ciphertexts: ``python -m he_gpu.models.ckks_training DIRECTORY``.

Layer: models, above he. It reads a directory that the key holder wrote, with the public keys and
the encrypted data, refuses one with a secret key, and writes encrypted weights beside them. What it
was told of the data stands in `Task`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from he_gpu.errors import ArgumentValueError, HeGpuError
from he_gpu.he.context import Ckks
from he_gpu.models.ckks_descent import gradient_descent, residual_descent

CONTEXT, TASK, REPORT, TARGETS = "context", "task.json", "report.json", "targets"
RESIDUAL, GRADIENT = "residual-weights", "gradient-weights"


class Task(NamedTuple):
    """What the training process is told.

    Attributes:
        n_samples: ciphertexts of samples, a power of two.
        columns: features, zeros behind the last included, a power of two.
        n_steps: of the residual recursion.
        device: where to compute.
    """

    n_samples: int
    columns: int
    n_steps: int
    device: str

    def save(self, directory: Path) -> None:
        """Write it where `main` looks for it."""
        (directory / TASK).write_text(json.dumps(self._asdict()))


class Report(NamedTuple):
    """What the training process tells beside the weights.

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

    @classmethod
    def load(cls, directory: Path) -> Report:
        """Read it from where `main` wrote it."""
        return cls(**json.loads((directory / REPORT).read_text()))

    def save(self, directory: Path) -> None:
        """Write it where `load` looks for it."""
        (directory / REPORT).write_text(json.dumps(self._asdict()))


def sample_name(index: int) -> str:
    """Return the name of a sample's file."""
    return f"sample-{index}"


def train(directory: Path) -> Report:
    """Train as the task in a directory says, and write encrypted weights into it.

    Raises:
        ValueError: a context with a secret key, or files that do not belong together.
        OSError: a file that is missing.
    """
    task = Task(**json.loads((directory / TASK).read_text()))
    context = Ckks.load(directory / CONTEXT, task.device)
    if context.has_secret_key:
        raise ArgumentValueError("train: the training process must not get the secret key")
    names = map(sample_name, range(task.n_samples))
    samples = [context.load_ciphertext(directory / name) for name in names]
    targets = context.load_ciphertext(directory / TARGETS)

    start = time.perf_counter()
    weights = residual_descent(samples, targets, task.columns, task.n_steps)
    weights.save(directory / RESIDUAL)
    middle = time.perf_counter()
    weights, n_steps = gradient_descent(samples, targets, task.columns)
    weights.save(directory / GRADIENT)
    return Report(n_steps, middle - start, time.perf_counter() - middle)


def main(arguments: Sequence[str]) -> int:
    """Train in the directory that is the only argument, and return the exit status."""
    directory = Path(arguments[0])
    try:
        report = train(directory)
    except (HeGpuError, MemoryError, OSError) as error:
        report = Report(error=str(error) or type(error).__name__)
    report.save(directory)
    return 2 if report.error else 0


def command(directory: str | os.PathLike[str]) -> list[str]:
    """Return the command that runs `main` in a process of its own."""
    return [sys.executable, "-m", __name__, str(directory)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
