"""Reads kernel sources: inlines headers, finds the kernels and their parameters.

Part of the backend layer, below both devices: they compile the same text. The
headers are inlined so that a changed header changes every key made from the
text. Knows no compiler and no array library but NumPy's dtypes.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from he_gpu.errors import KernelSourceError

Defines = tuple[tuple[str, int], ...]

# Types that may cross the kernel boundary; a pointer to a vector type takes an
# array of its component type.
_DTYPES: Mapping[str, type[np.generic]] = {
    "u8": np.uint8,
    "u16": np.uint16,
    "u32": np.uint32,
    "u64": np.uint64,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "float": np.float32,
    "double": np.float64,
}
_VECTOR_DTYPES: Mapping[str, type[np.generic]] = {
    "uint2": np.uint32,
    "uint4": np.uint32,
    "int2": np.int32,
    "int4": np.int32,
    "ulonglong2": np.uint64,
    "longlong2": np.int64,
}

_COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_DIRECTIVE = re.compile(r"^\s*#\s*(\w+)\s*(.*?)\s*$")
_QUOTED_INCLUDE = re.compile(r'^"([^"/\\]+)"$')
_BOUNDS = r"(?:__launch_bounds__\s*\(([^()]*)\)\s*)?"
_KERNEL = re.compile(
    rf'extern\s+"C"\s+__global__\s+{_BOUNDS}void\s+{_BOUNDS}(\w+)\s*\(([^()]*)\)', re.ASCII
)
_PARAMETER = re.compile(r"^(const )?(\w+) (\* )?(?:const )?(\w+)$", re.ASCII)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel.

    Attributes:
        name: its name in the source.
        declared: its type as C++ writes it, without `__restrict__`.
        dtype: dtype of the array behind a pointer, or of the scalar.
        is_pointer: whether an array stands here.
        is_const: whether the array is only read.
    """

    name: str
    declared: str
    dtype: np.dtype[Any]
    is_pointer: bool
    is_const: bool


@dataclass(frozen=True)
class Kernel:
    """One `extern "C"` kernel.

    Attributes:
        name: its symbol.
        parameters: in order.
        max_threads: the literal in its `__launch_bounds__`, or 1024.
    """

    name: str
    parameters: tuple[Parameter, ...]
    max_threads: int


@dataclass(frozen=True)
class Source:
    """The text of a family, ready for a compiler that gets no include path.

    Attributes:
        family: name of the family, the file name without `.cu`.
        text: the source with defines first and headers inlined.
        digest: SHA-256 of the text, hexadecimal.
        kernels: the kernels by name, in the order of the file.
    """

    family: str
    text: str
    digest: str
    kernels: Mapping[str, Kernel]


def kernel_directory() -> Path:
    """The folder of the `.cu` files, of the installed package or of the checkout."""
    try:
        return Path(str(importlib.resources.files("he_gpu.kernels")))
    except ModuleNotFoundError:
        checkout = Path(__file__).resolve().parents[2] / "kernels"
        if checkout.is_dir():
            return checkout
        raise KernelSourceError(
            f"kernel_directory: neither the package he_gpu.kernels nor {checkout} exists; "
            "he_gpu was installed without its kernel sources"
        ) from None


def families() -> tuple[str, ...]:
    """Names of all kernel families, sorted."""
    entries = (entry.name for entry in kernel_directory().iterdir())
    return tuple(sorted(name[:-3] for name in entries if name.endswith(".cu")))


def load(family: str, defines: Defines = ()) -> Source:
    """Read `kernels/<family>.cu` with its headers.

    Args:
        family: one of `families()`.
        defines: pairs (macro, integer), put before the source in this order.

    Returns:
        The source, ready to compile.

    Raises:
        KernelSourceError: the family or a header does not exist, or its kernels
            cannot be parsed.
    """
    path = kernel_directory() / f"{family}.cu"
    if not path.is_file():
        raise KernelSourceError(f"load: no kernel family {family!r}; there are {families()}")
    return parse(family, path.read_text(encoding="utf-8"), defines)


def parse(
    family: str,
    text: str,
    defines: Defines = (),
    read_header: Callable[[str], str] | None = None,
) -> Source:
    """Make a source from text, as `load` does from a file.

    Args:
        family: the name that errors and `#line` directives show.
        text: CUDA C++; headers are included as `"name.cuh"`, outside any `#if`.
        defines: pairs (macro, integer), put before the source in this order.
        read_header: text of a header by name; by default from `kernels/`.

    Returns:
        The source, ready to compile.

    Raises:
        KernelSourceError: a header does not exist, or a kernel's head is not
            plain `extern "C" __global__ void name(type name, ...)`.
    """
    inlined = _inline(f"{family}.cu", text, set(), read_header or _read_header)
    head = [f"#define {macro} {value}" for macro, value in defines]
    full = "\n".join([*head, *inlined, ""])
    digest = hashlib.sha256(full.encode()).hexdigest()
    return Source(family, full, digest, _find_kernels(family, full))


def _read_header(name: str) -> str:
    path = kernel_directory() / name
    if not path.is_file():
        raise KernelSourceError(f"no header {name!r} in the kernel sources")
    return path.read_text(encoding="utf-8")


def _inline(name: str, text: str, seen: set[str], read_header: Callable[[str], str]) -> list[str]:
    """Lines of a file with each header inlined where it is first included."""
    seen.add(name)
    lines = [f'#line 1 "{name}"']
    depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        directive = _DIRECTIVE.match(line)
        word, rest = directive.groups() if directive else ("", "")
        if word in ("if", "ifdef", "ifndef"):
            depth += 1
        elif word == "endif":
            depth -= 1
        elif word == "pragma" and rest == "once":
            line = ""
        elif word == "include":
            quoted = _QUOTED_INCLUDE.match(rest.split("//")[0].strip())
            if quoted is None or depth:
                raise KernelSourceError(
                    f'{name}:{number}: only #include "header.cuh" outside #if can be inlined, '
                    f"got #include {rest}"
                )
            header = quoted.group(1)
            if header not in seen:
                try:
                    body = read_header(header)
                except KernelSourceError as error:
                    raise KernelSourceError(f"{name}:{number}: {error}") from None
                lines.extend(_inline(header, body, seen, read_header))
            lines.append(f'#line {number + 1} "{name}"')
            continue
        lines.append(line)
    return lines


def _find_kernels(family: str, text: str) -> Mapping[str, Kernel]:
    bare = _COMMENT.sub(lambda match: match.group(1) or " ", text)
    kernels: dict[str, Kernel] = {}
    for match in _KERNEL.finditer(bare):
        before, after, name, parameters = match.groups()
        if name in kernels:
            raise KernelSourceError(f"{family}.cu: kernel {name} is defined twice")
        bounds = (before or after or "").split(",")[0].strip()
        kernels[name] = Kernel(
            name,
            _parse_parameters(f"{family}.cu: kernel {name}", parameters),
            int(bounds) if bounds.isdigit() else 1024,
        )
    if bare.count("__global__") != len(kernels):
        raise KernelSourceError(
            f"{family}.cu: {bare.count('__global__')} uses of __global__, but {len(kernels)} heads "
            'of the plain form extern "C" __global__ void name(type name, ...)'
        )
    return kernels


def _parse_parameters(where: str, text: str) -> tuple[Parameter, ...]:
    parameters = []
    for piece in text.split(",") if text.strip() not in ("", "void") else []:
        words = piece.replace("__restrict__", " ").replace("*", " * ").split()
        match = _PARAMETER.match(" ".join(words))
        if match is None:
            raise KernelSourceError(f"{where}: cannot parse the parameter {piece.strip()!r}")
        const, base, star, name = match.groups()
        scalar = _DTYPES.get(base) or (_VECTOR_DTYPES.get(base) if star else None)
        if scalar is None:
            raise KernelSourceError(
                f"{where}: parameter {name} has type {base}, which cannot cross the kernel "
                f"boundary; use one of {', '.join(_DTYPES)}"
            )
        declared = f"{'const ' if const else ''}{base}{'*' if star else ''}"
        parameters.append(Parameter(name, declared, np.dtype(scalar), bool(star), bool(const)))
    return tuple(parameters)
