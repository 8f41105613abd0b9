"""Secret tensors and public arrays joined in one.

Layer: tensor, above mpc. Local and exact; what is public becomes a trivial sharing. Never reads a
secret.
"""

from __future__ import annotations

from typing import Any

from he_gpu.errors import ArgumentValueError
from he_gpu.ring.fixedpoint import as_reals
from he_gpu.tensor.layout import check_axes, check_integer
from he_gpu.tensor.shaping import Shaping


def concatenate(tensors: Any, axis: int | None = 0) -> Any:
    """Return tensors, of which one at least is secret, joined; see `he_gpu.concatenate`."""
    parts = _aligned_parts("concatenate", tensors)
    if axis is None:
        parts, axis = [part.ravel() for part in parts], 0
    first = parts[0]
    for part in parts:
        if not part.ndim:
            raise ArgumentValueError("concatenate: tensors must have at least one axis, got a 0-d")
        if part.ndim != first.ndim:
            raise ArgumentValueError(
                f"concatenate: tensors must have equally many axes, got shapes {first.shape} and "
                f"{part.shape}"
            )
    at = first._axis(axis, "concatenate")
    for part in parts:
        if any(
            a != b for i, (a, b) in enumerate(zip(first.shape, part.shape, strict=True)) if i != at
        ):
            raise ArgumentValueError(
                f"concatenate: tensors must agree in all axes but {at}, got shapes {first.shape} "
                f"and {part.shape}"
            )
    return first._like(first.session.backend.concatenate([p._stack for p in parts], at + 1))


def stack(tensors: Any, axis: int = 0) -> Any:
    """Return tensors, of which one at least is secret, along a new axis; see `he_gpu.stack`."""
    parts = _aligned_parts("stack", tensors)
    first = parts[0]
    for part in parts:
        if part.shape != first.shape:
            raise ArgumentValueError(
                f"stack: tensors must have one shape, got {first.shape} and {part.shape}"
            )
    check_integer(axis, "stack: axis")
    (at,) = check_axes(axis, first.ndim + 1, "stack")
    return first._like(first.session.backend.stack([part._stack for part in parts], at + 1))


def _aligned_parts(function: str, tensors: Any) -> list[Any]:
    """Return tensors with equal fraction bits, the public ones as trivial sharings."""
    parts = list(tensors)
    secrets = [part for part in parts if isinstance(part, Shaping)]
    finest = max(secrets, key=lambda tensor: tensor.frac_bits)
    finest.session.check_open(function)
    for tensor in secrets:
        finest._check_partner(tensor, function)
    publics = {
        i: as_reals(part, function, f"tensors[{i}]")
        for i, part in enumerate(parts)
        if not isinstance(part, Shaping)
    }
    finest = finest._refined(*publics.values())
    fine = finest.frac_bits
    for i, part in enumerate(parts):
        if i in publics:
            parts[i] = finest._constant(publics[i], fine, function)
        elif part.frac_bits < fine:
            parts[i] = part._shifted(fine)
    return parts
