"""Compiles kernel sources for any architecture by NVRTC, without a GPU or driver.

Part of the backend layer; serves tests and inspection, never a launch. Needs the
PyPI package nvidia-cuda-nvrtc alone (extra `nvrtc`).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import re
from collections.abc import Sequence
from typing import NamedTuple

from he_gpu.backend.loader import Source
from he_gpu.errors import DeviceUnavailableError, KernelSourceError

#: Every architecture that each kernel must compile for.
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")

_PACKAGE = "nvidia-cuda-nvrtc"
_REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers",
    re.DOTALL,
)


class Resources(NamedTuple):
    """What one thread of a kernel uses.

    Attributes:
        registers: 32-bit registers.
        stack_bytes: local memory.
        spill_store_bytes: instructions that store spilled registers, in bytes stored.
        spill_load_bytes: likewise loads.
    """

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int


def probe() -> str | None:
    """None where NVRTC can be loaded, else what is missing."""
    try:
        _library()
    except DeviceUnavailableError as error:
        return str(error)
    return None


def compile_source(
    source: Source, architecture: str, options: Sequence[str] = ()
) -> tuple[bytes, str]:
    """Compile a family to machine code.

    Args:
        source: from `loader.load` or `loader.parse`.
        architecture: "sm_75", "sm_90a" and so on.
        options: more options of NVRTC.

    Returns:
        The cubin, and the compiler's log: warnings, and for each kernel the
        registers, stack and spills that ptxas reports.

    Raises:
        KernelSourceError: the source does not compile; the log follows.
        DeviceUnavailableError: NVRTC is not installed.
    """
    flags = [f"--gpu-architecture={architecture}", "--ptxas-options=-v", *options]
    return _compile(source, flags, "CUBIN")


def resources(log: str) -> dict[str, Resources]:
    """Read the resources of each kernel from the log of `compile_source`."""
    return {
        name: Resources(int(registers), int(stack), int(stores), int(loads))
        for name, stack, stores, loads, registers in _REPORT.findall(log)
    }


def compile_ptx(source: Source, architecture: str, options: Sequence[str] = ()) -> str:
    """Compile a family to PTX, the assembly in which instructions can be looked for.

    Args:
        source: from `loader.load` or `loader.parse`.
        architecture: a virtual one: "compute_80", "compute_90a" and so on.
        options: more options of NVRTC.

    Returns:
        The PTX of all kernels.

    Raises:
        KernelSourceError: the source does not compile; the log follows.
        DeviceUnavailableError: NVRTC is not installed.
    """
    ptx, _ = _compile(source, [f"--gpu-architecture={architecture}", *options], "PTX")
    return ptx.rstrip(b"\0").decode()


def _compile(source: Source, options: Sequence[str], product: str) -> tuple[bytes, str]:
    """The product (CUBIN or PTX) and the compiler's log."""
    nvrtc = _library()
    program = ctypes.c_void_p()
    name = f"{source.family}.cu".encode()
    _check(
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.text.encode(), name, 0, None, None),
        "nvrtcCreateProgram",
    )
    try:
        flags = ["--std=c++17", *options]
        array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        status = nvrtc.nvrtcCompileProgram(program, len(flags), array)
        log = _fetch(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if status != 0:
            raise KernelSourceError(
                f"{source.family}.cu does not compile with {' '.join(options)}:\n{log.strip()}"
            )
        return _fetch(program, product), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _fetch(program: ctypes.c_void_p, what: str) -> bytes:
    nvrtc = _library()
    size = ctypes.c_size_t()
    _check(
        getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), f"nvrtcGet{what}Size"
    )
    buffer = ctypes.create_string_buffer(max(size.value, 1))
    _check(getattr(nvrtc, f"nvrtcGet{what}")(program, buffer), f"nvrtcGet{what}")
    return buffer.raw[: size.value]


def _check(status: int, function: str) -> None:
    if status != 0:
        raise KernelSourceError(f"{function}: NVRTC returned error {status}")


@functools.cache
def _library() -> ctypes.CDLL:
    install = "pip install '.[nvrtc]'"
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise DeviceUnavailableError(f"{_PACKAGE} is not installed; {install}") from None
    # The wheel also holds libnvrtc-builtins and a copy that needs other symbols (.alt).
    candidates = [
        file
        for file in files
        if file.name.startswith(("libnvrtc.so.", "nvrtc64_")) and ".alt" not in file.name
    ]
    if not candidates:
        raise DeviceUnavailableError(f"{_PACKAGE} holds no NVRTC for this platform; {install}")
    path = str(candidates[0].locate())
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise DeviceUnavailableError(f"{path} cannot be loaded ({error}); {install}") from None
