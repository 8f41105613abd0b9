"""A linear model on a random reservoir, learnt under CKKS by a process that cannot decrypt.

Layer: models, above he. This is the side of the key holder: features, encryption, the other process
and decryption. What the other computes is in `ckks_descent`, how it runs in `ckks_training`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, HeGpuError
from he_gpu.he.context import Ckks
from he_gpu.he.parameters import CkksParams
from he_gpu.models import ckks_training
from he_gpu.models.ckks_descent import rotations
from he_gpu.models.descent import checked_descent, integer
from he_gpu.models.reservoir_features import checked_seed, reservoir_features

_FUNCTION = "learn_encrypted"


class Descended(NamedTuple):
    """Weights that came back, and what they were compared with.

    Attributes:
        weights: (width,) decrypted.
        plain: (width,) of the same steps in float64.
        outputs: (n,) of the model on the training inputs.
        n_steps: that led to them.
        seconds: of the training process, without reading its keys.
    """

    weights: Array
    plain: Array
    outputs: Array
    n_steps: int
    seconds: float

    @property
    def predictions(self) -> list[int]:
        """Whether each output is above 1/2."""
        return [int(output > 0.5) for output in self.outputs]

    @property
    def deviation(self) -> float:
        """The largest difference between decrypted and plaintext weights."""
        return float(np.abs(self.weights - self.plain).max())

    def told(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        return {
            "steps": self.n_steps,
            "outputs": self.outputs.tolist(),
            "predictions": self.predictions,
            "deviation": self.deviation,
            "seconds": self.seconds,
        }


class Learned(NamedTuple):
    """What a training under CKKS gave.

    Attributes:
        residual: by the residual recursion.
        gradient: by gradient descent.
        seconds: of everything, from the keys that are sent to decryption.
        bytes_sent: to the training process, public keys included.
    """

    residual: Descended
    gradient: Descended
    seconds: float
    bytes_sent: int


def learning_context(n_steps: int, device: str = "auto") -> Ckks:
    """Return keys for so many steps of the residual recursion: a level for each and one more.

    Bounds of errors grow by about a bit with each of these steps, and by four with each of gradient
    descent, of which there are half as many; the scale grows with them.

    Raises:
        TypeError: n_steps is no integer.
        ValueError: n_steps below 1, or more than any secure parameters have levels for; a device
            that means nothing.
        RuntimeError: a device that this machine lacks.
    """
    steps = integer(_FUNCTION, "n_steps", n_steps, 1)
    return Ckks(CkksParams(steps + 1, max(40, 26 + 2 * steps)), device)


def learn_encrypted(
    context: Ckks,
    X: Array,
    y: Array,
    *,
    width: int = 256,
    learning_rate: float = 0.0041,
    random_state: int = 0,
) -> Learned:
    """Learn ``relu(X @ W) @ w = y`` in a process that gets public keys and ciphertexts alone.

    Samples are encrypted one by one, with the secret key, which halves what is sent. Both descents
    are ``w <- w - learning_rate * F.T @ (F @ w - y)`` from 0; the first follows the residuals
    instead, at one level a step in place of two.

    Args:
        context: with the secret key, as `learning_context` makes it: its depth less one is the
            number of steps.
        X: (n, n_features) inputs, in plaintext here and nowhere else.
        y: (n,) targets.
        width: features of the reservoir.
        learning_rate: public, below 2 over the largest eigenvalue of F F^T, which is checked here.
        random_state: seed of the public reservoir.

    Raises:
        ValueError: a learning rate with which the descent must diverge, or more features and
            samples than a ciphertext has slots for.
        PermissionError: the context has no secret key.
        RuntimeError: the training process failed.

    Error: the bound of the ciphertexts says little after so many steps; the deviation from the
        same steps in float64 is measured each time.
    Leaks: to the training process numbers of samples and features up to the next power of two, the
        number of steps, and that the learning rate suits the data; the weights are decrypted for
        the key holder alone (`Ckks.decrypt`), so they must stay there.
    """
    n_steps = context.depth - 1
    descent = checked_descent(learning_rate, n_steps, 0, "squared", _FUNCTION)
    width = integer(_FUNCTION, "width", width, 1)
    seed = checked_seed(random_state, _FUNCTION)
    if seed is None:
        raise ArgumentTypeError(f"{_FUNCTION}: random_state must be an integer, got None")
    F = reservoir_features(np.asarray(X, float), width, seed)
    descent.check_rate(F)
    layout = Layout.of(F.shape[0], width, context.slots)
    start = time.perf_counter()
    scaled = F * np.sqrt(descent.rate)
    with tempfile.TemporaryDirectory(prefix="he-gpu-") as name:
        directory = Path(name)
        party = context.public(rotations(layout.n, layout.columns), conjugation=False)
        party.save(directory / ckks_training.CONTEXT)
        for at in range(layout.n):
            values = layout.sample(scaled, at)
            sample = context.encrypt_with_secret_key(values)
            sample.save(directory / ckks_training.sample_name(at))
        targets = context.encrypt_with_secret_key(layout.targets(y))
        targets.save(directory / ckks_training.TARGETS)
        task = ckks_training.Task(layout.n, layout.columns, n_steps, context.device)
        task.save(directory)
        bytes_sent = sum(file.stat().st_size for file in directory.iterdir())
        report = _run(directory)

        def decrypted(name: str) -> Array:
            weights = context.load_ciphertext(directory / name)
            return layout.weights(context.decrypt(weights)) * np.sqrt(descent.rate)

        found = [decrypted(name) for name in (ckks_training.RESIDUAL, ckks_training.GRADIENT)]
    seconds = time.perf_counter() - start
    steps = (n_steps, report.gradient_steps)
    times = (report.residual_seconds, report.gradient_seconds)
    residual, gradient = (
        Descended(w, _plain(F, y, descent.rate, count), F @ w, count, spent)
        for w, count, spent in zip(found, steps, times, strict=True)
    )
    return Learned(residual, gradient, seconds, bytes_sent)


class Layout(NamedTuple):
    """Where features stand in slots: feature k of sample i in slot n k + i, again and again.

    Attributes:
        n: samples, a power of two.
        columns: features, a power of two.
        width: features that are not padding.
        slots: of a ciphertext.
    """

    n: int
    columns: int
    width: int
    slots: int

    @classmethod
    def of(cls, n: int, width: int, slots: int) -> Layout:
        """Return the layout of so many samples and features.

        Raises:
            ValueError: there are too few slots.
        """
        layout = cls(_power_of_two(n), _power_of_two(width), width, slots)
        if layout.n * layout.columns > slots:
            raise ArgumentValueError(
                f"{_FUNCTION}: {n} samples and width {width} take {layout.n * layout.columns} "
                f"slots, and a ciphertext has {slots}; use a smaller width"
            )
        return layout

    def sample(self, F: Array, at: int) -> Array:
        """Return the slots of a sample's ciphertext, zeros for one behind the last."""
        grid = np.zeros((self.columns, self.n))
        if at < len(F):
            grid[: self.width, at] = F[at]
        return np.tile(grid.ravel(), self.slots // grid.size)

    def targets(self, y: Array) -> Array:
        """Return the slots of the targets' ciphertext."""
        padded = np.zeros(self.n)
        padded[: len(y)] = y
        return np.tile(padded, self.slots // self.n)

    def weights(self, values: Array) -> Array:
        """Return the weights that stand in the slots of sample 0."""
        return values[: self.n * self.width : self.n]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _plain(F: Array, y: Array, rate: float, n_steps: int) -> Array:
    w = np.zeros(F.shape[1])
    for _ in range(n_steps):
        w -= rate * F.T @ (F @ w - y)
    return w


def _run(directory: Path) -> ckks_training.Report:
    """Run the training process, which finds this package where it lies."""
    package = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        ckks_training.command(directory),
        env=os.environ | {"PYTHONPATH": search},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if not (directory / ckks_training.REPORT).exists():
        raise HeGpuError(f"the training process ended with status {done.returncode}")
    report = ckks_training.Report.load(directory)
    if report.error:
        raise HeGpuError(f"the training process: {report.error}")
    return report
