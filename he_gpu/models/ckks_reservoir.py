"""A linear model on a random reservoir, learnt under CKKS by a process that cannot decrypt.

Layer: models, above he. This is the side of the key holder: features, encryption, the other process
and decryption. What the other computes is in `ckks_descent`, how it runs in `ckks_training`.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, HeGpuError, NoSecretKeyError
from he_gpu.he import noise
from he_gpu.he.context import Ckks
from he_gpu.he.parameters import CkksParams
from he_gpu.he.security import DEGREES
from he_gpu.models import ckks_training
from he_gpu.models.ckks_descent import PADDING, rotations
from he_gpu.models.descent import checked_descent, integer
from he_gpu.models.reservoir_features import checked_seed, reservoir_features

_FUNCTION = "learn_encrypted"
SCALE_BITS = 46
"""With these the bound of 20 steps promises weights to 1e-4; 53 would need no more primes."""
MAX_DIGITS = 8
"""Of switching keys; beyond, they take gigabytes."""


class Descended(NamedTuple):
    """Weights that came back, and what they were compared with.

    Attributes:
        weights: (width,) decrypted.
        bound: on their error, as their ciphertext states it.
        plain: (width,) of the same steps in float64.
        outputs: (n,) of the model on the training inputs.
        n_steps: that led to them.
        seconds: of the training process, without reading its keys.
    """

    weights: Array
    bound: float
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
            "bound": self.bound,
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


def learning_context(
    n_steps: int, device: str = "auto", *, n_samples: int = 4, width: int = 256
) -> Ckks:
    """Return keys for so many steps of the residual recursion: a level for each and one more.

    Of the ring degrees with slots enough, the one whose switching keys are smallest is taken: a
    small one may need many digits, and keys are what is sent and most of what is computed with.

    Args:
        n_steps: 1 at least.
        device: "auto", "cpu", "cuda", "cuda:N" or "emulator".
        n_samples: that a ciphertext must hold.
        width: features of each.

    Raises:
        TypeError: an argument that is no integer.
        ValueError: an argument below 1; more steps than secure parameters have levels for, with
            keys that fit a machine; more numbers than slots; a device that means nothing.
        RuntimeError: a device that this machine lacks.
    """
    depth = integer(_FUNCTION, "n_steps", n_steps, 1) + 1
    n_samples = integer(_FUNCTION, "n_samples", n_samples, 1)
    width = integer(_FUNCTION, "width", width, 1)
    Layout.of(n_samples, width, DEGREES[-1] // 2)
    found: list[CkksParams] = []
    for degree in DEGREES:
        with suppress(ArgumentValueError):
            Layout.of(n_samples, width, degree // 2)
            found.append(CkksParams(depth, SCALE_BITS, ring_degree=degree))
    params = min(found, key=_key_words) if found else CkksParams(depth, SCALE_BITS)
    if params.n_digits > MAX_DIGITS:
        raise ArgumentValueError(
            f"{_FUNCTION}: n_steps {n_steps} would take switching keys of {params.n_digits} "
            f"digits, and {MAX_DIGITS} are the most; take fewer steps"
        )
    return Ckks(params, device)


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

    Features and targets are a ciphertext each, encrypted with the secret key, which halves what is
    sent. Both descents are ``w <- w - learning_rate * F.T @ (F @ w - y)`` from 0; the first follows
    the residuals instead, at one level a step in place of two. The process gets all by pipes, and
    ends with this one.

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
        RuntimeError: the training process failed, or its weights are off by more than their bound.

    Error: `Descended.bound`, some 10 to 15 bits above what it is; against the same steps in float64
        it is measured each time.
    Cost: keys of log2(width) + n rotations, each of one digit or more times 4 N bytes for each
        prime; then what `ckks_descent` has.
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
    F, y = reservoir_features(np.asarray(X, float), width, seed), np.asarray(y, float)
    if y.shape != F.shape[:1]:
        raise ArgumentValueError(
            f"{_FUNCTION}: y must be of shape ({len(F)},), as X has rows, got {y.shape}"
        )
    descent.check_rate(F)
    if not context.has_secret_key:
        raise NoSecretKeyError(f"{_FUNCTION}: the context has no secret key, and weights need it")
    layout = Layout.of(F.shape[0], width, context.slots)
    start = time.perf_counter()
    root = np.sqrt(descent.rate)
    party = context.public(rotations(*layout), conjugation=False)
    parts = [party.serialize()]
    for values in (layout.features(F * root), layout.targets(y)):
        parts.append(context.encrypt_with_secret_key(values).serialize())
    bytes_sent = sum(map(len, parts))
    task = ckks_training.Task(layout.n, layout.columns, n_steps, context.device)
    report, weights = _run(task, parts)

    runs = []
    for saved, count, spent in zip(
        weights,
        (n_steps, report.gradient_steps),
        (report.residual_seconds, report.gradient_seconds),
        strict=True,
    ):
        ciphertext = context.load_ciphertext(saved)
        reach = ciphertext.size + ciphertext.error
        bound = (ciphertext.error + noise.transform(reach, context.ring_degree)) * root
        w, plain = context.decrypt(ciphertext)[:width] * root, _plain(F, y, descent.rate, count)
        run = Descended(w, float(bound), plain, F @ w, count, spent)
        if not run.deviation <= run.bound:
            raise HeGpuError(
                f"{_FUNCTION}: weights came back that are off by {run.deviation:.3g}, and their "
                f"ciphertext states {run.bound:.3g} at most"
            )
        runs.append(run)
    residual, gradient = runs
    return Learned(residual, gradient, time.perf_counter() - start, bytes_sent)


class Layout(NamedTuple):
    """Where features stand in slots: feature k of sample i in slot i * slots / n + k.

    Attributes:
        n: samples, a power of two.
        columns: features, a power of two.
        slots: of a ciphertext.
    """

    n: int
    columns: int
    slots: int

    @classmethod
    def of(cls, n: int, width: int, slots: int) -> Layout:
        """Return the layout of so many samples and features.

        Raises:
            ValueError: there are too few slots.
        """
        layout = cls(1 << (n - 1).bit_length(), 1 << (width - 1).bit_length(), slots)
        needed = PADDING * layout.n * layout.columns
        if needed > slots:
            raise ArgumentValueError(
                f"{_FUNCTION}: {n} samples and width {width} take {needed} slots, and a ciphertext "
                f"has {slots}; use a smaller width"
            )
        return layout

    def features(self, F: Array) -> Array:
        """Return the slots of all samples' features (n, width), zeros in those that have none."""
        grid = np.zeros((self.n, self.slots // self.n))
        grid[: F.shape[0], : F.shape[1]] = F
        return grid.ravel()

    def targets(self, y: Array) -> Array:
        """Return the slots of the targets, each in all those of its sample."""
        padded = np.zeros(self.n)
        padded[: len(y)] = y
        return padded.repeat(self.slots // self.n)


def _key_words(params: CkksParams) -> int:
    """Return the words of half a switching key."""
    chain = params.chain
    return (
        params.n_digits * (len(chain.moduli(params.depth)) + len(chain.special)) * chain.ring_degree
    )


def _plain(F: Array, y: Array, rate: float, n_steps: int) -> Array:
    w = np.zeros(F.shape[1])
    for _ in range(n_steps):
        w -= rate * F.T @ (F @ w - y)
    return w


def _run(task: ckks_training.Task, parts: list[bytes]) -> tuple[ckks_training.Report, list[bytes]]:
    """Run the training process, which finds this package where it lies, to its end."""
    package = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        ckks_training.command(),
        env=os.environ | {"PYTHONPATH": search},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError):  # one that has ended sends no report either
                ckks_training.send(process.stdin, task, parts)
            told, weights = ckks_training.receive(process.stdout)
        except EOFError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
            status = process.poll()
            how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
            raise HeGpuError(f"the training process ended with {how} and no result") from None
        finally:
            process.kill()  # whatever happened here, it has nothing left to do
            with suppress(BrokenPipeError):
                process.stdin.close()
    report = ckks_training.Report(**told)
    if report.error:
        raise HeGpuError(f"the training process: {report.error}")
    return report, weights
