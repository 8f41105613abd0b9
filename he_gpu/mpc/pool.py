"""Random words made in bulk where many equal steps are announced.

Layer: mpc. Knows neither parties nor protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

BULK_BYTES = 2**20
"""Words made ahead in one go fill about this much memory."""


class Pool:
    """Items by kind; a kind that runs out is made anew, for one step or for many.

    The first item of a kind is made alone: it may be the only one. A kind that names a mask, which
    may live for one step, is made for many only where the step before asked for it too; what is
    left of it goes, and its name with it, after a step that does not ask for it.
    """

    def __init__(self) -> None:
        self._repeats = 1
        self._items: dict[Hashable, Iterator[Any]] = {}
        self._asked: set[Hashable] = set()
        self._named: set[Hashable] = set()
        """Kinds that name a mask and that this step has asked for."""
        self._named_before: set[Hashable] = set()
        """Those of the step before."""

    def expect(self, n_repeats: int) -> None:
        """Begin a step: make n_repeats items of a kind asked for again.

        0 ends the last step and drops the rest.
        """
        self._repeats = max(1, n_repeats)
        for kind in self._named_before - self._named:
            self._items.pop(kind, None)
        self._named_before, self._named = self._named, set()
        if n_repeats == 0:
            self._items.clear()
            self._asked.clear()
            self._named_before.clear()

    def ready(self, kind: Hashable) -> Any:
        """Return the fields of the next item of a kind, or None where none is left."""
        items = self._items.get(kind)
        return None if items is None else next(items, None)

    def take(
        self,
        kind: Hashable,
        make: Callable[[int], tuple[Any, ...]],
        n_bytes: Callable[[], int],
        named: bool = False,
    ) -> Any:
        """Return the fields of the next item of a kind.

        Args:
            kind: what tells equal items from others.
            make: makes the fields of some items, each with the items along its first axis.
            n_bytes: how much memory one item takes.
            named: whether the kind names a mask.
        """
        fields = self.ready(kind)
        again = kind in (self._named_before if named else self._asked)
        if self._repeats > 1:
            (self._named if named else self._asked).add(kind)
        if fields is not None:
            return fields
        if self._repeats == 1 or not again:
            return tuple(field[0] for field in make(1))
        n = min(self._repeats, max(1, BULK_BYTES // max(1, n_bytes())))
        self._items[kind] = zip(*make(n), strict=True)
        return next(self._items[kind])
