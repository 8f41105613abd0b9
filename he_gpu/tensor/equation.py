"""Einstein's summation convention: what an equation says about the axes of one or two operands.

Layer: tensor. Knows shapes and letters, no arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from he_gpu.errors import ArgumentTypeError, ArgumentValueError

Labels = tuple[str, ...]


class Equation(NamedTuple):
    """The labels of every axis.

    An axis behind an ellipsis has the label ``.n`` where n counts from the last, so that operands
    with ellipses of several lengths broadcast as NumPy's do.

    Attributes:
        operands: of each operand, repeated for a diagonal.
        output: of the result, each once.
    """

    operands: tuple[Labels, ...]
    output: Labels


def parse(subscripts: Any, ndims: Sequence[int]) -> Equation:
    """Return what ``subscripts`` says about operands of so many axes.

    Args:
        subscripts: as `numpy.einsum` takes them; without ``->`` the result has the ellipsis' axes
            and then those whose letters occur once, in alphabetical order.
        ndims: axes of each operand.

    Raises:
        ArgumentTypeError: subscripts that are no string.
        ArgumentValueError: what is no equation, or none for these operands.
    """
    if not isinstance(subscripts, str):
        raise ArgumentTypeError(
            f"einsum: subscripts must be a string, got {type(subscripts).__name__}"
        )
    text = "".join(subscripts.split())
    inputs, arrow, result = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ndims):
        raise ArgumentValueError(
            f"einsum: subscripts must have {len(ndims)} terms, got {len(terms)} in {subscripts!r}"
        )
    operands = tuple(
        _expanded(term, ndim, subscripts) for term, ndim in zip(terms, ndims, strict=True)
    )
    given = [label for labels in operands for label in labels]
    hidden = sorted({label for label in given if label[0] == "."}, key=lambda dot: -int(dot[1:]))
    if not arrow:
        once = sorted(label for label in given if given.count(label) == 1 and label[0] != ".")
        return Equation(operands, (*hidden, *once))
    if hidden and "..." not in result:
        raise ArgumentValueError(
            f"einsum: the output must have an ellipsis for {len(hidden)} axes, got {subscripts!r}"
        )
    head, dots, tail = result.partition("...")
    _check_letters(head + tail, subscripts)
    output = (*head, *(hidden if dots else ()), *tail)
    for label in output:
        if output.count(label) > 1 or label not in given:
            raise ArgumentValueError(
                f"einsum: each letter of the output must occur there once and in an operand, got "
                f"{label!r} in {subscripts!r}"
            )
    return Equation(operands, output)


def _expanded(term: str, ndim: int, subscripts: str) -> Labels:
    """Return one operand's labels, one for each axis."""
    head, dots, tail = term.partition("...")
    _check_letters(head + tail, subscripts)
    spare = ndim - len(head) - len(tail)
    if spare < 0 or (spare and not dots):
        raise ArgumentValueError(
            f"einsum: {term!r} must name the {ndim} axes of its operand, got {subscripts!r}"
        )
    return (*head, *(f".{n}" for n in range(spare, 0, -1)), *tail)


def _check_letters(letters: str, subscripts: str) -> None:
    for letter in letters:
        if not (letter.isascii() and letter.isalpha()):
            raise ArgumentValueError(
                f"einsum: subscripts must be letters, commas, an ellipsis and ->, got {letter!r} "
                f"in {subscripts!r}"
            )
