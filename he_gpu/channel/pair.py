"""Two parties of a larger protocol who talk to each other alone.

Layer: channel, above any channel that can transfer messages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from he_gpu.backend import Array
from he_gpu.channel.local import LocalChannel


class PairChannel:
    """The channel of two parties, who are 0 and 1 here; rounds and bytes count in the larger one.

    Args:
        channel: of all parties.
        first: index there of the one who is 0 here; the next is 1.

    Attributes:
        n_parties: 2.
        parties: those of the two that are hosted here, a range.
    """

    n_parties = 2

    def __init__(self, channel: LocalChannel, first: int):
        self._channel = channel
        self._first = first
        hosted = [party for party in (0, 1) if first + party in channel.parties]
        self.parties = range(hosted[0], hosted[-1] + 1) if hosted else range(0)

    @property
    def rounds(self) -> int:
        """Rounds of the larger channel."""
        return self._channel.rounds

    @property
    def bytes_sent(self) -> int:
        """Bytes of the larger channel."""
        return self._channel.bytes_sent

    def spent(self) -> list[int]:
        """Return what the larger channel counts."""
        return self._channel.spent()

    def spend(self, amounts: Sequence[int]) -> None:
        """Count what a repeated step sends; see `LocalChannel.spend`."""
        self._channel.spend(amounts)

    def exchange(self, partials: Sequence[Array], modulus: int) -> Sequence[Array]:
        """Return the sums of both parties' words; see `LocalChannel.exchange`.

        Cost: 1 round; each of the two sends its words to the other.
        """
        first, second = ends = self._first, self._first + 1
        if len(self.parties) == 2:
            both = [((first, second, words), (second, first, words)) for words in partials]
            self._channel.transfer([message for pair in both for message in pair])
            return partials
        messages = [
            (source, target, partial if source in self._channel.parties else None)
            for partial in partials
            for source, target in (ends, ends[::-1])
        ]
        received = self._channel.transfer(messages)
        other = received[1 - self.parties.start :: 2]  # the first message of a pair comes from 0
        combine = np.bitwise_xor if modulus == 2 else np.add
        return [
            combine(mine, its) for mine, its in zip(partials, other, strict=True) if its is not None
        ]
