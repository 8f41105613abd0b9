"""Every error and warning that he_gpu raises on purpose.

The tree::

    HeGpuError
    |-- ArgumentValueError (ValueError)      a refused value
    |   |-- RangeError                       a number outside the range that the encoding holds
    |   `-- UnknownDeviceError               a device name that means nothing
    |-- ArgumentTypeError (TypeError)        a refused type
    |   `-- SecretAccessError                a secret used where only a revealed value can stand
    |-- DeviceUnavailableError (RuntimeError)  a known device that this machine lacks
    |-- SessionClosedError (RuntimeError)    a session used after close()
    |-- ForkedProcessError (RuntimeError)    a generator used in a forked child
    |-- EmulatorError (RuntimeError)         a kernel that the emulator caught misbehaving
    `-- DivergenceError (ArithmeticError)    a training run whose revealed loss grew
    InsecureSeedWarning (UserWarning)        randomness that an outsider can repeat
"""

from __future__ import annotations


class HeGpuError(Exception):
    """Base of every error that he_gpu raises on purpose."""


class ArgumentValueError(HeGpuError, ValueError):
    """An argument has the right type and a value that the function refuses."""


class RangeError(ArgumentValueError):
    """A number lies outside the range that its encoding or operation holds."""


class UnknownDeviceError(ArgumentValueError):
    """A device name is none of auto, cpu, cuda, cuda:N, emulator."""


class ArgumentTypeError(HeGpuError, TypeError):
    """An argument has a type that the function refuses."""


class SecretAccessError(ArgumentTypeError):
    """A secret was used where only a revealed value can stand; call reveal() first."""


class DeviceUnavailableError(HeGpuError, RuntimeError):
    """The device exists in principle, but this machine lacks it or its software."""


class SessionClosedError(HeGpuError, RuntimeError):
    """The session was closed; its tensors can be neither computed with nor revealed."""


class ForkedProcessError(HeGpuError, RuntimeError):
    """A generator was used in a forked child, where it would repeat its parent's masks."""


class EmulatorError(HeGpuError, RuntimeError):
    """The emulator failed to build a kernel, or caught one breaking CUDA's rules."""


class DivergenceError(HeGpuError, ArithmeticError):
    """A revealed training loss rose above the first one."""


class InsecureSeedWarning(UserWarning):
    """Shares drawn from a fixed seed hide nothing from whoever knows the seed."""
