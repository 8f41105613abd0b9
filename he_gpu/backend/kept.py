"""An operand of many matrix products, with what a device has made of it once and for all.

Layer: backend, under the definitions and the launchers, which know what they keep in it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import prod
from typing import Any
from weakref import ref

from he_gpu.backend.definition.words import Array
from he_gpu.backend.graph import found, recording


class Kept:
    """Words that never change, and forms of them that products ask for again and again.

    It stands in place of an operand of `matmul` and `matmul_pair`. The forms are made by the first
    product that needs them, and live as long as this object; those that a step makes that a graph
    watches are its own, and stay with operands that are so too.

    Args:
        words: (..., rows, columns) of one ring; nobody may write them from now on.

    Attributes:
        shape: of the words.
    """

    __slots__ = ("__weakref__", "_forms", "_graph", "_origin", "_whole", "_words", "shape")

    def __init__(self, words: Array):
        self._words = words
        self.shape: tuple[int, ...] = words.shape
        graph = recording()
        self._graph = None if graph is None else ref(graph)
        self._forms: dict[Hashable, Any] = {}
        self._origin: ref[Kept] | None = None
        self._whole: tuple[Kept, slice] | None = None

    @property
    def words(self) -> Array:
        """As given, to compute on."""
        return found(self._words)

    @property
    def n_words(self) -> int:
        """How many words forms are made of: all of them, of a part too."""
        return prod(self.shape) if self._whole is None else self._whole[0].n_words

    def part(self, rows: slice) -> Kept:
        """Return some of the first axis; its forms are views of those of the whole.

        For stacks of matrices: rows are parties.
        """
        kept = Kept(self.words[rows])
        kept._whole = self, rows
        return kept

    def form(self, name: Hashable, make: Callable[[Array], Any], axis: int = 0) -> Any:
        """Return a form of the words, made by ``make(words)`` when it is first asked for.

        Args:
            name: of the form.
            make: makes it.
            axis: of the form that is the first one of the words, or of length 1 where it repeats.
        """
        if self._whole is not None:
            whole, rows = self._whole
            form = whole.form(name, make)
            index = (*(slice(None),) * axis, rows)
            return form if form.shape[axis] == 1 else form[index]
        if name in self._forms:
            return self._forms[name]
        form, graph = make(self.words), recording()
        if graph is None or (self._graph is not None and self._graph() is graph):
            self._forms[name] = form
        return form

    def transposed(self) -> Kept:
        """Return the operand with its last two axes swapped, with the same forms each time.

        It does not keep this one alive: together they would wait for the garbage collector, which
        does not know how much memory they take.
        """
        if self._whole is not None:
            whole, rows = self._whole
            return whole.transposed().part(rows)
        origin = None if self._origin is None else self._origin()
        if origin is not None:
            return origin
        kept: Kept = self.form("transposed", lambda words: Kept(words.swapaxes(-1, -2)))
        kept._origin = ref(self)
        return kept
