"""Random words made in bulk where many equal steps are announced.

Layer: mpc. Knows neither parties nor protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

BULK_BYTES = 2**20
"""Words made ahead in one go fill about this much memory."""


class Pool:
    """Items by kind; a kind that runs out is made anew, for one step or for many."""

    def __init__(self) -> None:
        self._repeats = 1
        self._items: dict[Hashable, Iterator[Any]] = {}

    def expect(self, n_repeats: int) -> None:
        """Make n_repeats items of a kind whenever none is left; 0 ends this and drops the rest."""
        self._repeats = max(1, n_repeats)
        if n_repeats == 0:
            self._items.clear()

    def ready(self, kind: Hashable) -> Any:
        """Return the fields of the next item of a kind, or None where none is left."""
        items = self._items.get(kind)
        return None if items is None else next(items, None)

    def take(
        self, kind: Hashable, make: Callable[[int], tuple[Any, ...]], n_bytes: Callable[[], int]
    ) -> Any:
        """Return the fields of the next item of a kind.

        Args:
            kind: what tells equal items from others.
            make: makes the fields of some items, each with the items along its first axis.
            n_bytes: how much memory one item takes.
        """
        fields = self.ready(kind)
        if fields is not None:
            return fields
        if self._repeats == 1:
            return tuple(field[0] for field in make(1))
        n = min(self._repeats, max(1, BULK_BYTES // max(1, n_bytes())))
        self._items[kind] = zip(*make(n), strict=True)
        return next(self._items[kind])
