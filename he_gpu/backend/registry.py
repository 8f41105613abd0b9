"""Which devices there are, and the one face that all of them show to the layers above.

Layer: backend. A device name is "cpu", "cuda", "cuda:N", "emulator" or "auto" (CUDA where it
works, else the CPU). Backends are made once per name and hold no state of a session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from he_gpu.backend import cpu, cuda, emulator
from he_gpu.backend.definition import (
    bits,
    conv,
    descent,
    elementwise,
    leaves,
    matmul,
    memory,
    ntt,
    ntt_float,
    prg,
    protocol,
    replicated,
    rns,
    rns_float,
    sharing,
    steps,
)
from he_gpu.backend.definition.words import Array
from he_gpu.backend.device import bits as device_bits
from he_gpu.backend.device import conv as device_conv
from he_gpu.backend.device import descent as device_descent
from he_gpu.backend.device import elementwise as device_elementwise
from he_gpu.backend.device import leaves as device_leaves
from he_gpu.backend.device import matmul as device_matmul
from he_gpu.backend.device import ntt as device_ntt
from he_gpu.backend.device import prg as device_prg
from he_gpu.backend.device import protocol as device_protocol
from he_gpu.backend.device import replicated as device_replicated
from he_gpu.backend.device import rns as device_rns
from he_gpu.backend.device import sharing as device_sharing
from he_gpu.backend.device import steps as device_steps
from he_gpu.backend.graph import Graph, recording
from he_gpu.backend.launch import KernelDevice
from he_gpu.errors import (
    ArgumentTypeError,
    CaptureError,
    DeviceUnavailableError,
    UnknownDeviceError,
)

MOST_JOINED = 8
"""Arrays that CuPy joins by a copy of each."""


class Backend:
    """Operations on the ring words of one device; each is defined in `backend.definition`.

    Attributes:
        name: the device's name.
        is_host: whether its arrays are NumPy arrays.
    """

    add: Callable[..., Array]
    sub: Callable[..., Array]
    neg: Callable[..., Array]
    mul: Callable[..., Array]
    weighted_sum: Callable[..., Array]
    matmul: Callable[..., Array]
    matmul_pair: Callable[..., Array]
    conv: Callable[..., Array]
    conv_pair: Callable[..., Array]
    keystream: Callable[..., Array]
    uniform: Callable[..., Array]
    reconstruct: Callable[..., Array]
    add_public: Callable[..., Array]
    open_masked: Callable[..., Array]
    open_scaled: Callable[..., Array]
    beaver_combine: Callable[..., Array]
    truncate_finish: Callable[..., Array]
    split: Callable[..., None]
    split_truncated: Callable[..., None]
    bit_planes: Callable[..., Array]
    bit_words: Callable[..., Array]
    less_pairs: Callable[..., Array]
    borrows: Callable[..., Array]
    carry_leaves: Callable[..., Array]
    equal_leaves: Callable[..., Array]
    choose_nodes: Callable[..., Array]
    carry_open: Callable[..., Array]
    carry_combine: Callable[..., Array]
    and_open: Callable[..., Array]
    and_combine: Callable[..., Array]
    xor_open: Callable[..., Array]
    split_bits: Callable[..., None]
    bit_shares: Callable[..., Array]
    bit_times_word: Callable[..., Array]
    step_shares: Callable[..., Array]
    descend: Callable[..., Array]
    descend_replicated: Callable[..., Array]
    cross_multiply: Callable[..., Array]
    deal_truncation: Callable[..., Array]
    deal_mask: Callable[..., None]
    choose_truncation: Callable[..., Array]
    ntt: Callable[..., Array]
    intt: Callable[..., Array]
    add_rns: Callable[..., Array]
    sub_rns: Callable[..., Array]
    neg_rns: Callable[..., Array]
    mul_rns: Callable[..., Array]
    sub_scale_rns: Callable[..., Array]
    dot_rns: Callable[..., Array]
    tensor_rns: Callable[..., Array]
    digits_rns: Callable[..., Array]
    automorphism_rns: Callable[..., Array]
    extend_rns: Callable[..., Array]

    def __init__(
        self,
        name: str,
        operations: Mapping[str, Callable[..., Any]],
        device: KernelDevice | None = None,
    ):
        self.name = name
        self._device = device
        self.is_host = self.xp is np
        for operation, function in operations.items():
            setattr(self, operation, function)

    @property
    def xp(self) -> Any:
        """The array module, numpy or cupy."""
        return np if self._device is None else self._device.xp

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an uninitialised array of the device, from a pool where there is one."""
        return memory.empty(shape, dtype) if self.xp is np else self.xp.empty(shape, dtype)

    def asarray(self, words: Array) -> Array:
        """Move a NumPy array to the device."""
        if self._device is None or not (type(words) is np.ndarray or isinstance(words, np.generic)):
            return self.xp.asarray(words)
        return self._device.asarray(words)

    def concatenate(self, parts: Sequence[Array], axis: int = 0) -> Array:
        """Return arrays of the device joined along an axis.

        Many of them are joined by and by within a recorded step: CuPy would look for their
        addresses in the host's memory, where others lie at the next time.
        """
        if len(parts) > MOST_JOINED and recording() is not None:
            groups = range(0, len(parts), MOST_JOINED)
            joined = [self.concatenate(parts[at : at + MOST_JOINED], axis) for at in groups]
            return self.concatenate(joined, axis)
        return self.xp.concatenate(parts, axis=axis)

    def stack(self, parts: Sequence[Array], axis: int = 0) -> Array:
        """Return arrays of the device along a new axis, as `concatenate` joins them."""
        return self.concatenate([self.xp.expand_dims(part, axis) for part in parts], axis)

    def graph(self) -> Graph | None:
        """Return an empty recording of work on the device, or None where there is no such thing."""
        return None if self._device is None else self._device.graph()

    def to_numpy(self, words: Array) -> Array:
        """Move an array of the device to NumPy.

        Raises:
            CaptureError: within a step that is recorded, which could not repeat it.
        """
        if recording() is not None:
            raise CaptureError("graph: a captured step must not reveal or read what it computes")
        return np.asarray(words) if self.is_host else words.get()

    def __repr__(self) -> str:
        return f"<he_gpu backend {self.name!r}>"


_RESIDUES = (
    "add_rns",
    "sub_rns",
    "neg_rns",
    "mul_rns",
    "sub_scale_rns",
    "dot_rns",
    "tensor_rns",
    "digits_rns",
    "automorphism_rns",
    "extend_rns",
)
_DEFINITIONS: dict[str, Callable[..., Any]] = {
    name: getattr(family, name)
    for family, names in {
        elementwise: ("add", "sub", "neg", "mul", "weighted_sum"),
        matmul: ("matmul", "matmul_pair"),
        conv: ("conv", "conv_pair"),
        prg: ("keystream", "uniform"),
        protocol: (
            "reconstruct",
            "add_public",
            "open_masked",
            "open_scaled",
            "beaver_combine",
            "truncate_finish",
        ),
        sharing: ("split", "split_truncated"),
        bits: (
            "bit_planes",
            "bit_words",
            "carry_open",
            "carry_combine",
            "and_open",
            "and_combine",
            "xor_open",
            "split_bits",
            "bit_shares",
            "bit_times_word",
        ),
        leaves: ("less_pairs", "borrows", "carry_leaves", "equal_leaves", "choose_nodes"),
        steps: ("step_shares",),
        descent: ("descend", "descend_replicated"),
        replicated: ("cross_multiply", "deal_truncation", "deal_mask", "choose_truncation"),
        ntt: ("ntt", "intt"),
        rns: _RESIDUES,
    }.items()
    for name in names
}
_LAUNCHERS = (
    device_bits,
    device_conv,
    device_descent,
    device_elementwise,
    device_leaves,
    device_matmul,
    device_ntt,
    device_prg,
    device_protocol,
    device_replicated,
    device_rns,
    device_sharing,
    device_steps,
)


def get_backend(device: str = "auto") -> Backend:
    """Return the backend of a device.

    A CUDA device becomes the thread's current one, where CuPy puts new arrays; arrays of another
    one are refused at the launch.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "emulator".

    Raises:
        ArgumentTypeError: device is no string.
        UnknownDeviceError: a name that is none of these.
        DeviceUnavailableError: the device, or the software that drives it, is missing here.
    """
    if not isinstance(device, str):
        raise ArgumentTypeError(f"device must be a string, got {type(device).__name__}")
    if device == "auto":
        device = "cpu" if cuda.probe(0) else "cuda"
    reason = unavailable_reason(device)
    if reason:
        raise DeviceUnavailableError(f"device {device!r} is not available: {reason}")
    backend = _make(device)
    if device.startswith("cuda"):
        backend.xp.cuda.Device(int(device.partition(":")[2] or 0)).use()
    return backend


def unavailable_reason(device: str) -> str | None:
    """Return why a device cannot be used here, or None where it can.

    Raises:
        UnknownDeviceError: a name that means nothing.
    """
    if device == "cpu":
        return None
    if device == "emulator":
        return emulator.probe()
    kind, _, index = device.partition(":")
    if kind == "cuda" and (device == "cuda" or index.isdecimal()):
        return cuda.probe(int(index or 0))
    raise UnknownDeviceError(
        f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'emulator', got {device!r}"
    )


@cache
def _make(device: str) -> Backend:
    if device == "cpu":
        fast: dict[str, Callable[..., Any]] = {
            "keystream": cpu.keystream,
            "uniform": cpu.uniform,
            "split": partial(sharing.split, uniform=cpu.uniform),
            "split_truncated": partial(sharing.split_truncated, uniform=cpu.uniform),
            "split_bits": partial(bits.split_bits, uniform=cpu.uniform),
            "step_shares": partial(steps.step_shares, uniform=cpu.uniform),
            "ntt": ntt_float.ntt,
            "intt": ntt_float.intt,
            **{name: getattr(rns_float, name) for name in _RESIDUES},
        }
        return Backend("cpu", _DEFINITIONS | fast)
    launcher = emulator.device() if device == "emulator" else cuda.device(device)
    operations = {
        name: partial(getattr(family, name), launcher)
        for family in _LAUNCHERS
        for name in _DEFINITIONS
        if hasattr(family, name)
    }
    return Backend(device, operations, launcher)


def to_host(value: Any) -> Any:
    """Return a CuPy array as a NumPy array, and anything else as it is."""
    if type(value).__module__.partition(".")[0] == "cupy":
        return value.get()
    return value
