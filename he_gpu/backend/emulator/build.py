"""Compiles a kernel source with g++ into a shared library, once per machine.

Part of the emulator, below `device.py`, which runs what is built here. Libraries
are cached by a digest of everything that goes into them, and appear in the cache
by a rename, so that processes may build at the same time.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from he_gpu.backend.loader import Kernel, Source
from he_gpu.errors import ArgumentValueError, EmulatorError, KernelSourceError

#: As g++ names them. `thread` is its instrumentation with the runtime of races.h, which knows
#: CUDA's order, so it needs no library, no process of its own, and its reports are faults.
SANITIZERS = ("address", "thread", "undefined")

# In this order: each stands on those before it.
_HEADERS = (
    "machine.h",
    "races.h",
    "transfers.h",
    "warp_matrix.h",
    "warpgroup.h",
    "runtime.h",
)
_FLAGS = (
    "-std=c++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-strict-aliasing",
    "-U_FORTIFY_SOURCE",
    "-Wno-unknown-pragmas",
)


class Launch(ctypes.Structure):
    """`he_gpu_emulator::Launch` of machine.h."""

    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("order", ctypes.c_uint32),
        ("shared_bytes", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
    )


class Report(ctypes.Structure):
    """`he_gpu_emulator::Report` of machine.h."""

    _fields_ = (
        ("threads_run", ctypes.c_uint64),
        ("block", ctypes.c_uint32 * 3),
        ("thread", ctypes.c_uint32 * 3),
        ("message", ctypes.c_char * 512),
    )


@functools.cache
def probe() -> str | None:
    """None where kernels can be compiled and run, else what is missing."""
    if sys.platform != "linux":
        return f"the emulator needs Linux, and this is {sys.platform}"
    command = compiler()
    if shutil.which(command[0]) is None:
        return f"{command[0]} not found: the emulator needs a C++ compiler (package g++)"
    return None


def compiler() -> list[str]:
    """The C++ compiler's command: the variable CXX, or g++."""
    return shlex.split(os.environ.get("CXX", "")) or ["g++"]


def check_sanitizers(sanitizers: str) -> str:
    """Normalise a comma-separated list of sanitizers, in the order of `SANITIZERS`.

    Args:
        sanitizers: of `SANITIZERS`; address and thread exclude each other.

    Returns:
        The list without spaces and repetitions.

    Raises:
        ArgumentValueError: an unknown name, or address and thread together.
    """
    names = [name.strip() for name in sanitizers.split(",") if name.strip()]
    unknown = [name for name in names if name not in SANITIZERS]
    if unknown:
        raise ArgumentValueError(
            f"Emulator: sanitizers must be among {', '.join(SANITIZERS)}, got {unknown[0]!r}"
        )
    if "address" in names and "thread" in names:
        raise ArgumentValueError(
            f"Emulator: sanitizers must not join address and thread, got {sanitizers!r}"
        )
    return ",".join(name for name in SANITIZERS if name in names)


def sanitizer_environment(sanitizers: str = "address,undefined") -> dict[str, str]:
    """Environment for a new process in which the emulator runs with sanitizers.

    AddressSanitizer must be the first library of a process, so a Python that is
    already running cannot load a library built with it. `thread` needs no such
    thing: `Emulator(sanitizers="thread")` works anywhere.

    Args:
        sanitizers: comma-separated, of `SANITIZERS`.

    Returns:
        The variables to add to the environment.
    """
    chosen = check_sanitizers(sanitizers)
    environment = {
        "HE_GPU_EMULATOR_SANITIZERS": chosen,
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=0",
    }
    if "address" in chosen:
        asked = [*compiler(), "-print-file-name=libasan.so"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True)
        environment["LD_PRELOAD"] = found.stdout.strip()
    return environment


def cache_directory() -> Path:
    """Where libraries are kept: HE_GPU_CACHE_DIR, or he_gpu in the user's cache."""
    base = os.environ.get("HE_GPU_CACHE_DIR")
    try:
        root = Path(base) if base else _user_cache() / "he_gpu"
        directory = root / "emulator"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        return _private_directory()
    return directory if os.access(directory, os.W_OK) else _private_directory()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@functools.cache
def _private_directory() -> Path:
    """A folder for this process alone, where the user's cache cannot be written."""
    return Path(tempfile.mkdtemp(prefix="he_gpu-"))


def build(source: Source, sanitizers: str = "") -> ctypes.CDLL:
    """Compile a source unless its library is cached, and load it.

    Args:
        source: from `loader.load` or `loader.parse`.
        sanitizers: as `check_sanitizers` returns it.

    Returns:
        The library; it exports `he_gpu_run_<kernel>` for each kernel.

    Raises:
        KernelSourceError: the compiler refused the source; its messages follow.
        EmulatorError: no compiler, or a sanitizer that must be loaded first is not.
    """
    reason = probe()
    if reason is not None:
        raise EmulatorError(f"build: {reason}")
    if "address" in sanitizers and not hasattr(ctypes.CDLL(None), "__asan_init"):
        raise EmulatorError(
            "build: AddressSanitizer must be preloaded when Python starts; "
            "add he_gpu.backend.emulator.sanitizer_environment() to the environment"
        )
    text = _translation_unit(source)
    flags = [*_FLAGS, *_sanitizer_flags(sanitizers)]
    key = hashlib.sha256(
        "\0".join([text, *flags, _compiler_version(), platform.machine()]).encode()
    ).hexdigest()
    library = cache_directory() / f"{source.family}-{key[:32]}.so"
    if not library.exists():
        _compile(source.family, text, flags, library)
    return ctypes.CDLL(str(library))


def entry_point(library: ctypes.CDLL, kernel: Kernel) -> Callable[..., int]:
    """The function of a library that runs a kernel: (launch, slots, report) -> status."""
    function = getattr(library, f"he_gpu_run_{kernel.name}")
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


def name_addresses(library: ctypes.CDLL, message: str) -> str:
    """A fault's message with `@0x<offset>@` replaced by the line of the kernel behind it.

    Args:
        library: the library in which the fault happened, built with `thread`.
        message: of races.h.

    Returns:
        The message with file:line, and the kernel's line where the code is a
        header's; as it came where addr2line, of the compiler's package, is missing.
    """
    return re.sub("@(0x[0-9a-f]+)@", lambda found: _line_of(library._name, found.group(1)), message)


def _line_of(library: str, offset: str) -> str:
    if shutil.which("addr2line") is None:
        return offset
    ran = subprocess.run(
        ["addr2line", "--inlines", f"--exe={library}", offset],
        capture_output=True,
        text=True,
        env=_plain_environment(),
    )
    # Innermost first, as "<folder>/<file>:<line>" and perhaps " (discriminator 3)".
    lines = [line.rpartition("/")[2].partition(" ")[0] for line in ran.stdout.splitlines()]
    own = [line for line in lines if line.partition(":")[0] not in _HEADERS] or [offset]
    caller = next((line for line in own if ".cu:" in line), own[0])
    return own[0] if own[0] == caller else f"{own[0]} in {caller}"


def _sanitizer_flags(sanitizers: str) -> list[str]:
    if not sanitizers:
        return ["-O2"]
    flags = ["-O1", "-g", "-fno-omit-frame-pointer", f"-fsanitize={sanitizers}"]
    if "address" in sanitizers:
        # Red zones around static shared arrays, which live in a section of their own.
        flags.append("-fsanitize-sections=he_gpu_shared")
    if "undefined" in sanitizers:
        flags.append("-fno-sanitize-recover=undefined")
    return flags


def _translation_unit(source: Source) -> str:
    pieces = []
    for name in _HEADERS:
        header = Path(__file__).with_name(name).read_text(encoding="utf-8")
        pieces.extend([f'#line 1 "{name}"', header])
    pieces.extend(["namespace {", source.text, "}  // namespace"])
    pieces.extend(_trampoline(kernel) for kernel in source.kernels.values())
    return "\n".join(pieces) + "\n"


def _trampoline(kernel: Kernel) -> str:
    """C++ that unpacks 64-bit slots into a kernel's parameters, and its exported entry."""
    arguments = ", ".join(
        f"*reinterpret_cast<{parameter.declared} const*>(slots + {index})"
        for index, parameter in enumerate(kernel.parameters)
    )
    return (
        f'#line 1 "entry of {kernel.name}"\n'
        f"namespace {{ void he_gpu_call_{kernel.name}([[maybe_unused]] const uint64_t* slots)"
        f" {{ {kernel.name}({arguments}); }} }}\n"
        f'extern "C" __attribute__((visibility("default"))) int he_gpu_run_{kernel.name}('
        "const he_gpu_emulator::Launch* launch, const uint64_t* slots,"
        " he_gpu_emulator::Report* report)"
        f" {{ return he_gpu_emulator::run(he_gpu_call_{kernel.name}, launch, slots, report); }}"
    )


@functools.cache
def _compiler_version() -> str:
    ran = subprocess.run(
        [*compiler(), "--version"], capture_output=True, text=True, env=_plain_environment()
    )
    return ran.stdout


def _plain_environment() -> dict[str, str]:
    """The environment without a preloaded sanitizer, which would slow the compiler down."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def _compile(family: str, text: str, flags: list[str], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as folder:
        unit = Path(folder) / f"{family}.cpp"
        unit.write_text(text, encoding="utf-8")
        compiled, linked = unit.with_suffix(".o"), Path(folder) / library.name
        link = ["-shared", *(flag for flag in flags if flag.startswith("-fsanitize="))]
        # races.h stands in for the compiler's own runtime of this sanitizer.
        link = [flag.replace("thread,", "") for flag in link if flag != "-fsanitize=thread"]
        for step in (
            [*flags, "-c", str(unit), "-o", str(compiled)],
            [*link, str(compiled), "-o", str(linked)],
        ):
            ran = subprocess.run(
                [*compiler(), *step], capture_output=True, text=True, env=_plain_environment()
            )
            if ran.returncode != 0:
                raise KernelSourceError(f"{family}.cu does not compile:\n{ran.stderr.strip()}")
        os.replace(linked, library)
