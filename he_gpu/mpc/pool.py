"""Random words made in bulk where many equal steps are announced.

Layer: mpc. Knows neither parties nor protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from he_gpu.backend import recording

BULK_BYTES = 2**22
"""Words made ahead in one go fill about this much memory."""
Wanted = tuple[Hashable, Callable[[int], tuple[Any, ...]], Callable[[], int]]
"""A kind, what makes items of it, and what tells the bytes of one."""


class _Items:
    """Some items of a kind, of which the first ones are gone.

    Args:
        fields: each with the items along its first axis.
        n: how many items there are.

    Attributes:
        left: how many are not yet taken.
    """

    __slots__ = ("_each", "_fields", "left")

    def __init__(self, fields: tuple[Any, ...], n: int):
        self._fields, self.left = fields, n
        self._each = zip(*fields, strict=True)

    def next(self) -> Any:
        """Take one: its fields."""
        self.left -= 1
        return next(self._each)

    def many(self, n: int) -> Any:
        """Take n at once: each field with the items along its first axis."""
        rest = [field[len(field) - self.left :] for field in self._fields]
        self.left -= n
        self._each = zip(*(field[n:] for field in rest), strict=True)
        return [field[:n] for field in rest]


class Pool:
    """Items by kind; a kind that runs out is made anew, for one step or for many.

    The first item of a kind is made alone, as it may be the only one, but where `take_ahead` asks
    for more. A kind that names a mask, which may live for one step, is made for many only where the
    step before asked for it too; what is left of it goes, and its name with it, after a step that
    does not ask for it.
    """

    def __init__(self) -> None:
        self._repeats = 1
        self._singly = False
        self._items: dict[Hashable, _Items] = {}
        self._asked: set[Hashable] = set()
        self._named: set[Hashable] = set()
        """Kinds that name a mask and that this step has asked for."""
        self._named_before: set[Hashable] = set()
        """Those of the step before."""

    def expect(self, n_repeats: int, singly: bool = False) -> None:
        """Begin a step: make n_repeats items of a kind asked for again.

        0 ends the last step and drops the rest.

        Args:
            n_repeats: how often this step comes, and steps like it.
            singly: whether `take` makes items one by one all the same.
        """
        self._singly = singly
        self._repeats = max(1, n_repeats)
        for kind in self._named_before - self._named:
            self._items.pop(kind, None)
        self._named_before, self._named = self._named, set()
        if n_repeats == 0:
            self._items.clear()
            self._asked.clear()
            self._named_before.clear()

    def ready(self, kind: Hashable) -> Any:
        """Return the fields of the next item of a kind, or None where none is left.

        A recorded step gets none: it would take this one again and again.
        """
        items = None if recording() else self._items.get(kind)
        return items.next() if items is not None and items.left else None

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
        if self._repeats == 1 or self._singly or not again or recording():
            return [field[0] for field in make(1)]
        return self._filled(kind, make, n_bytes).next()

    def take_ahead(
        self, wanted: Sequence[Wanted], n_steps: int, named: bool = False
    ) -> tuple[int, list[Any]]:
        """Take what this step and some after it ask for, as far as it is made in one go.

        The steps after it are to be left out: `expect` begins the one after these.

        Args:
            wanted: all that a step asks for, in its order, as `take` takes it. What is not there
                is made for many steps, be it asked for again or not.
            n_steps: the most steps; 0 takes nothing.
            named: whether each kind names a mask.

        Returns:
            How many steps, 0 where a kind is asked for twice in a step or made one by one; and the
            fields of each kind, their items along the first axis.
        """
        kinds = {kind for kind, _, _ in wanted}
        if len(kinds) < len(wanted) or recording():
            return 0, []
        found = []
        for kind, make, n_bytes in wanted:
            items = self._items.get(kind)
            if items is None or not items.left:
                if self._bulk(n_bytes) == 1:
                    return 0, []
                items = self._filled(kind, make, n_bytes)
            found.append(items)
        (self._named if named else self._asked).update(kinds)
        n = min(n_steps, self._repeats, *(items.left for items in found))
        return n, [items.many(n) for items in found] if n else []

    def _filled(
        self, kind: Hashable, make: Callable[[int], tuple[Any, ...]], n_bytes: Callable[[], int]
    ) -> _Items:
        """Make the items of a kind for the steps that are left, or as many as fit."""
        n = self._bulk(n_bytes)
        self._items[kind] = items = _Items(make(n), n)
        return items

    def _bulk(self, n_bytes: Callable[[], int]) -> int:
        """Return how many items are made in one go."""
        return min(self._repeats, max(1, BULK_BYTES // max(1, n_bytes())))
