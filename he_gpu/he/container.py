"""The bytes of a saved key or ciphertext, and files that appear whole or not at all.

Layer: he. Knows arrays and a header, and nothing of keys. The bytes are eight that name the format,
its version, the header's length, the header in JSON, the arrays one after another in little-endian
order, and the SHA-256 of all that. Nothing in them is ever run, as pickle's are.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, SavedDataError

Source: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str]"

VERSION = 1
"""Of the format: what a reader of another one must not guess at."""
_NAME = b"\x89he_gpu\n"
_HEAD = struct.Struct("<8sIQ")
_SUM_BYTES = hashlib.sha256().digest_size
_MOST_HEADER_BYTES = 2**20
"""Room for more keys than memory has; what JSON makes of so many is bounded."""
_MOST_DIGITS = 20
"""Of an integer in a header: more take time that grows with the square of their number."""
_MOST_AXES = 4
_KINDS: dict[str, np.dtype[Any]] = {"u4": np.dtype("<u4"), "i1": np.dtype("i1")}


def pack(kind: str, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Return the bytes of a header and arrays.

    Args:
        kind: what it is; `unpack` refuses any other.
        header: numbers, texts, None, and lists and dictionaries of these.
        arrays: host arrays of uint32 or int8.
    """
    listed, parts = [], []
    for name, array in arrays.items():
        code = f"{array.dtype.kind}{array.dtype.itemsize}"
        listed.append([name, code, list(array.shape)])
        parts.append(np.ascontiguousarray(array, _KINDS[code]).tobytes())
    text = json.dumps({"kind": kind, **header, "arrays": listed}, allow_nan=False).encode()
    assert len(text) <= _MOST_HEADER_BYTES
    body = b"".join((_HEAD.pack(_NAME, VERSION, len(text)), text, *parts))
    return body + hashlib.sha256(body).digest()


def unpack(
    source: Source, kinds: tuple[str, ...], function: str
) -> tuple[Header, dict[str, Array]]:
    """Return a header and arrays from bytes or a file.

    Args:
        source: the bytes that `pack` returned, or the path of a file with them.
        kinds: those that are expected.
        function: for messages.

    Raises:
        TypeError: neither bytes nor a path.
        ValueError: bytes that are none of these, of another version or kind, or damaged; a path
            that no file has.
        OSError: a file that cannot be read.

    Cost: memory of some times the size of the bytes, whatever they say.
    """
    data = _bytes(source, function)
    if len(data) < _HEAD.size + _SUM_BYTES or data[: len(_NAME)] != _NAME:
        raise SavedDataError(f"{function}: these bytes are no saved key or ciphertext of he_gpu")
    _, version, length = _HEAD.unpack_from(data)
    if version != VERSION:
        raise SavedDataError(
            f"{function}: these bytes have format version {version}, and this release reads "
            f"version {VERSION}"
        )
    body, start = memoryview(data)[:-_SUM_BYTES], _HEAD.size + length
    if hashlib.sha256(body).digest() != data[-_SUM_BYTES:] or start > len(body):
        raise SavedDataError(
            f"{function}: the checksum is wrong: these bytes are damaged or cut short"
        )
    if length > _MOST_HEADER_BYTES:
        raise SavedDataError(
            f"{function}: the header has {length} bytes, more than {_MOST_HEADER_BYTES}"
        )
    try:
        fields = json.loads(bytes(body[_HEAD.size : start]), parse_int=_integer)
    except (ValueError, RecursionError):
        raise SavedDataError(f"{function}: the header is no JSON") from None
    header = Header(fields, function)
    kind = header.text("kind")
    if kind not in kinds:
        raise SavedDataError(f"{function}: {' or '.join(kinds)} expected, got {kind[:40]!r}")
    return header, _arrays(header, body[start:])


def write(path: str | os.PathLike[str], data: bytes, *, private: bool) -> None:
    """Write a file whole or not at all.

    Args:
        path: of the file; one that is there is replaced at the end, and so is a symbolic link, not
            what it leads to.
        data: its bytes.
        private: whether only its owner may read it (mode 0600), from its first byte on. Otherwise
            the mode is that of any new file.

    Raises:
        TypeError: path is none.
        ValueError: a path that no file has.
        OSError: it cannot be written; nothing is left behind then.
    """
    target = _path(path, "save", "path must be a str or os.PathLike")
    beside = target.with_name(f".{secrets.token_hex(8)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(beside, flags, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


class Header:
    """What stands before the arrays; each field is checked as it is read.

    Args:
        fields: what JSON gave.
        function: for messages.

    Raises:
        ValueError: a field is missing or of another type, here and in every method.
    """

    def __init__(self, fields: Any, function: str):
        if not isinstance(fields, dict):
            raise SavedDataError(f"{function}: the header is no JSON object")
        self._fields, self._function = fields, function

    def get(self, name: str, *kinds: type) -> Any:
        """Return a field of one of the types."""
        value = self._fields.get(name)
        if type(value) not in kinds:
            raise self.wrong(name)
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        value: str = self.get(name, str)
        return value

    def integer(self, name: str, least: int, most: float) -> int:
        """Return an integer in a range, both ends included."""
        value: int = self.get(name, int)
        if not least <= value <= most:
            raise self.wrong(name)
        return value

    def real(self, name: str) -> float:
        """Return a finite number that is not negative."""
        value: float = self.get(name, float)
        if not (math.isfinite(value) and value >= 0):
            raise self.wrong(name)
        return value

    def octets(self, name: str, count: int) -> bytes:
        """Return so many bytes, which stand in hexadecimal."""
        return self.octets_of(name, self.text(name), count)

    def octets_of(self, name: str, text: Any, count: int) -> bytes:
        """Return so many bytes from a part of a field."""
        try:
            value = bytes.fromhex(text)
        except (TypeError, ValueError):
            raise self.wrong(name) from None
        if len(value) != count:
            raise self.wrong(name)
        return value

    def too_large(self, name: str) -> SavedDataError:
        """Return the error of an array whose words leave their range."""
        return SavedDataError(
            f"{self._function}: {name!r} has words that are not below their prime"
        )

    def wrong(self, name: str) -> SavedDataError:
        """Return the error of a field."""
        return SavedDataError(f"{self._function}: the header's {name!r} is missing or wrong")


def _bytes(source: Any, function: str) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    return _path(source, function, "source must be bytes or a path").read_bytes()


def _path(value: Any, function: str, bound: str) -> Path:
    """Return the path of a file that there may be."""
    if not isinstance(value, str | os.PathLike):
        raise ArgumentTypeError(f"{function}: {bound}, got {type(value).__name__}")
    path = Path(value)
    if not path.name or "\0" in str(path):
        raise ArgumentValueError(f"{function}: no file has the path {str(path)!r}")
    return path


def _integer(digits: str) -> int | None:
    """Return an integer of JSON, and None, which no field is, for what is far out of range."""
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _arrays(header: Header, body: memoryview) -> dict[str, Array]:
    """Return the arrays that a header lists, which make up all of the body."""
    arrays: dict[str, Array] = {}
    for entry in header.get("arrays", list):
        match entry:
            case [str(name), str(code), list(shape)] if (
                name not in arrays
                and code in _KINDS
                and len(shape) <= _MOST_AXES
                and all(type(n) is int and 0 < n < 2**32 for n in shape)
            ):
                count, kind = math.prod(shape), _KINDS[code]
            case _:
                raise header.wrong("arrays")
        size = count * kind.itemsize
        if size > len(body):
            raise header.wrong("arrays")
        arrays[name] = np.frombuffer(body, kind, count).reshape(shape)
        body = body[size:]
    if len(body):
        raise header.wrong("arrays")
    return arrays
