"""Which nodes of carry trees several public thresholds have in common.

Layer: mpc. Knows thresholds and the length of a word, and neither shares nor parties. The tree of
threshold t adds M to c - t. A node over some bits needs c - t there; where t is 0 in these bits and
below, that is c, and where t is 0 or all ones in them alone it is one of c, c - 1 and c + 1, as the
borrow that comes in, which is public, says. Such nodes are made once for all thresholds; a node is
a threshold's own only where the threshold has bits of both kinds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

Pick = tuple[int, int, int]
"""A node, another, and the flag that chooses the second where it is set, -1 for none."""
Picks = tuple[Pick, ...]
NODE_WORK = 4
"""How much more work a node is than a leaf, of which it joins two."""


class CarryPlan(NamedTuple):
    """What to compute for some thresholds, level by level.

    Attributes:
        leaves: words w and places of the leaves, which are those of c - w.
        levels: for each level above, which nodes of the level below it joins, two and two; None
            for all of them in their order.
        roots: for each threshold its node of the last level.
        flags: words w and positions of the borrows of c - w that levels and tops refer to.
        tops: for each threshold the number of the borrow into its top bit, or -1 for none.
        n_nodes: how many pairs of nodes are joined, each by two products of bits.
    """

    leaves: tuple[tuple[int, ...], tuple[int, ...]]
    levels: tuple[Picks | None, ...]
    roots: tuple[int, ...]
    flags: tuple[tuple[int, ...], tuple[int, ...]]
    tops: tuple[int, ...]
    n_nodes: int


@lru_cache(maxsize=256)
def carry_plan(thresholds: tuple[int, ...], k: int) -> CarryPlan:
    """Return the plan that takes the least work.

    Args:
        thresholds: words in [0, 2**k).
        k: bits of a word, 64 or 32.
    """
    plans = [_Planner(k, shares).plan(thresholds) for shares in (False, True)]
    return min(plans, key=lambda plan: len(plan.leaves[0]) + NODE_WORK * plan.n_nodes)


class _Planner:
    """Nodes by their bits and what is subtracted there.

    Args:
        k: bits of a word.
        shares: whether nodes are chosen by flags; without that only equal ones are shared.
    """

    def __init__(self, k: int, shares: bool):
        self._k = k
        self._shares = shares
        self._flags: dict[tuple[int, int], int] = {}

    def plan(self, thresholds: tuple[int, ...]) -> CarryPlan:
        """Return the plan for some thresholds, from the roots down to the leaves."""
        levels: list[Picks] = []
        words = [threshold % 2**self._k for threshold in thresholds]
        wanted: dict[tuple[int, int], int] = {}
        roots = tuple(self._number(wanted, 0, word) for word in words)
        size = self._k
        while size > 2:
            size //= 2
            below: dict[tuple[int, int], int] = {}
            levels.append(
                tuple(
                    self._pick(below, start + half, size, word)
                    for start, word in wanted
                    for half in (0, size)
                )
            )
            wanted = below
        tops = tuple(self._flag(word, self._k - 1) for word in words)
        leaves = tuple(word for _, word in wanted), tuple(start // 2 for start, _ in wanted)
        order = sorted(self._flags)
        numbers = {self._flags[key]: i for i, key in enumerate(order)}
        numbers[-1] = -1
        renumbered = []
        for picks in reversed(levels):
            in_order = all(pick == (i, i, -1) for i, pick in enumerate(picks))
            new = tuple((a, b, numbers[flag]) for a, b, flag in picks)
            renumbered.append(None if in_order else new)
        return CarryPlan(
            leaves,
            tuple(renumbered),
            roots,
            (tuple(word for word, _ in order), tuple(position for _, position in order)),
            tuple(numbers[flag] for flag in tops),
            sum(map(len, levels)) // 2,
        )

    def _pick(self, nodes: dict[tuple[int, int], int], start: int, size: int, word: int) -> Pick:
        """Return how to get the node of c - word over bits from start on."""
        ones = 2**size - 1
        inside = word >> start & ones
        if self._shares and word % 2**start and inside in (0, ones):
            without = self._number(nodes, start, inside << start)
            borrowed = self._number(nodes, start, (inside + 1 & ones) << start)
            return without, borrowed, self._flag(word, start)
        node = self._number(nodes, start, word % 2 ** (start + size))
        return node, node, -1

    def _number(self, nodes: dict[tuple[int, int], int], start: int, word: int) -> int:
        return nodes.setdefault((start, word), len(nodes))

    def _flag(self, word: int, position: int) -> int:
        """Return the number of the borrow into a bit of c - word, or -1 where there is none."""
        below = word % 2**position
        return self._flags.setdefault((below, position), len(self._flags)) if below else -1
