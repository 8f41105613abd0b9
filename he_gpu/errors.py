"""Every error and warning that he_gpu raises on purpose.

The tree::

    HeGpuError
    |-- ArgumentValueError (ValueError)      a refused value
    |   |-- RangeError                       a number outside the range that the encoding holds
    |   |-- IndexRangeError (IndexError)     an index outside its axis
    |   |-- NotFittedError (AttributeError)  an estimator used before fit
    |   |-- ExhaustedLevelError              a product where a ciphertext has no level left
    |   |-- KeyMismatchError                 ciphertexts or keys that do not belong together
    |   |-- SavedDataError                   saved bytes that are damaged, or something else
    |   `-- UnknownDeviceError               a device name that means nothing
    |-- ArgumentTypeError (TypeError)        a refused type
    |   `-- SecretAccessError                a secret used where only a value can stand
    |-- DeviceUnavailableError (RuntimeError)  a known device that this machine lacks
    |-- NoSecretKeyError (PermissionError)   decryption without the secret key
    |-- SessionClosedError (RuntimeError)    a session used after close()
    |-- ForkedProcessError (RuntimeError)    a generator used in a forked child
    |-- CaptureError (RuntimeError)          a step that no graph can repeat
    |-- KernelSourceError (RuntimeError)     a kernel source that is missing or does not compile
    |-- EmulatorError (RuntimeError)         a kernel that the emulator could not run
    |   `-- KernelFaultError                 a kernel that broke a rule of CUDA
    `-- DivergenceError (ArithmeticError)    a training run that diverged
    InsecureSeedWarning (UserWarning)        randomness that an outsider can repeat
    InsecureParametersWarning (UserWarning)  encryption that an outsider can break
    ConvergenceWarning (UserWarning)         a fit that ended before it had converged

Example:
    >>> import he_gpu as he
    >>> try:
    ...     he.Ring(1)
    ... except he.errors.HeGpuError as error:
    ...     print(type(error).__name__)
    ArgumentValueError
"""

from __future__ import annotations


class HeGpuError(Exception):
    """Base of every error that he_gpu raises on purpose."""


class ArgumentValueError(HeGpuError, ValueError):
    """An argument has the right type and a value that the function refuses."""


class RangeError(ArgumentValueError):
    """A number lies outside the range that its encoding or operation holds, or is not finite."""


class IndexRangeError(ArgumentValueError, IndexError):
    """An index lies outside its axis; Python's own protocols expect an IndexError."""


class NotFittedError(ArgumentValueError, AttributeError):
    """An estimator was used before fit."""


class ExhaustedLevelError(ArgumentValueError):
    """A ciphertext has no level left for the product; encrypt with a larger depth."""


class KeyMismatchError(ArgumentValueError):
    """Ciphertexts or keys of different parameters, secret keys or devices met."""


class SavedDataError(ArgumentValueError):
    """Saved bytes are damaged, cut short, of another version or of another kind."""


class UnknownDeviceError(ArgumentValueError):
    """A device name is none of auto, cpu, cuda, cuda:N, emulator."""


class ArgumentTypeError(HeGpuError, TypeError):
    """An argument has a type that the function refuses."""


class SecretAccessError(ArgumentTypeError):
    """A secret was used where only a value can stand; reveal or decrypt it first."""


class DeviceUnavailableError(HeGpuError, RuntimeError):
    """The device exists in principle, but this machine lacks it or its software."""


class NoSecretKeyError(HeGpuError, PermissionError):
    """A context without the secret key was asked to decrypt."""


class SessionClosedError(HeGpuError, RuntimeError):
    """The session was closed; its tensors can be neither computed with nor revealed."""


class ForkedProcessError(HeGpuError, RuntimeError):
    """A generator was used in a forked child, where it would repeat its parent's masks."""


class CaptureError(HeGpuError, RuntimeError):
    """A step cannot be recorded: it does not do the same each time, or reads from the device."""


class EmulatorError(HeGpuError, RuntimeError):
    """The emulator could not run a kernel."""


class KernelSourceError(HeGpuError, RuntimeError):
    """A kernel source is missing, cannot be parsed or does not compile."""


class KernelFaultError(EmulatorError):
    """The emulator saw a kernel break a rule of CUDA.

    Attributes:
        kernel: name of the kernel.
        block: index (x, y, z) of the block.
        thread: index (x, y, z) of the thread inside the block.
        reason: what happened, with file and line where there is one.
    """

    def __init__(
        self,
        kernel: str,
        block: tuple[int, int, int],
        thread: tuple[int, int, int],
        reason: str,
    ) -> None:
        super().__init__(f"{kernel}: block {block}, thread {thread}: {reason}")
        self.kernel = kernel
        self.block = block
        self.thread = thread
        self.reason = reason


class DivergenceError(HeGpuError, ArithmeticError):
    """A revealed training loss is one that no converging training has.

    Attributes:
        loss_curve: the losses revealed until then, with that one where it is a number.
        loss_steps: the steps, or the epochs of a `nn.Trainer`, that they belong to.
    """

    def __init__(self, message: str, loss_curve: list[float], loss_steps: list[int]):
        super().__init__(message)
        self.loss_curve = loss_curve
        self.loss_steps = loss_steps


class InsecureSeedWarning(UserWarning):
    """Shares drawn from a fixed seed hide nothing from whoever knows the seed."""


class InsecureParametersWarning(UserWarning):
    """Parameters of encryption below every level of security: for tests and benchmarks alone."""


class ConvergenceWarning(UserWarning):
    """A fit took all the steps that it was allowed before it had converged."""
