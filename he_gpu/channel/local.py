"""The channel of a process that hosts every party: nothing leaves it, everything is counted.

Layer: channel. Other channels keep this interface: `parties` and `n_parties`, `exchange`,
`transfer` and the counters. The protocol code serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from he_gpu.backend import Array

Message = tuple[int, int, Array | None]
"""From a party, to a party, words; None where neither is hosted here."""


class LocalChannel:
    """All parties in one process.

    Args:
        n_parties: how many there are.

    Attributes:
        n_parties: parties of the whole protocol.
        parties: indices of those hosted here, a range; the party axis of every stack.
        rounds: exchanges so far.
        sent: bytes that each party has sent so far.
    """

    def __init__(self, n_parties: int):
        self.n_parties = n_parties
        self.parties = range(n_parties)
        self.rounds = 0
        self.sent = [0] * n_parties

    @property
    def bytes_sent(self) -> int:
        """Bytes sent by the party that sent most."""
        return max(self.sent)

    def exchange(self, partials: Sequence[Array], modulus: int) -> Sequence[Array]:
        """Send this process's partial sums to all others and return the sums over all parties.

        Args:
            partials: arrays, each the sum over the local parties; all travel in one round.
            modulus: the ring that the sums live in; 2 for packed bits, whose sum is exclusive or.

        Returns:
            The sums over all parties; here the partial sums themselves.

        Cost: 1 round; each party sends its words to the n - 1 others.
        """
        n_bytes = 0
        for partial in partials:
            n_bytes += partial.nbytes * (self.n_parties - 1)
        self.count(1, n_bytes)
        return partials

    def count(self, rounds: int, n_bytes: int) -> None:
        """Count exchanges in which each party sent n_bytes in all."""
        self.rounds += rounds
        for party in self.parties:
            self.sent[party] += n_bytes

    def spent(self) -> list[int]:
        """Return all that is counted."""
        return [self.rounds, *self.sent]

    def spend(self, amounts: Sequence[int]) -> None:
        """Count what a repeated step sends; see `spent`."""
        self.rounds += amounts[0]
        for party, n_bytes in enumerate(amounts[1:]):
            self.sent[party] += n_bytes

    def transfer(self, messages: Sequence[Message]) -> list[Any]:
        """Send messages from party to party, all in one round.

        Args:
            messages: the same ones, in the same order, at all parties; the words are given where
                the sender is hosted.

        Returns:
            The words of each message whose receiver is hosted here, None for the others.

        Cost: 1 round; each party sends what it is the sender of.
        """
        self.rounds += 1
        for source, _, words in messages:
            if words is not None:
                self.sent[source] += words.nbytes
        return [words for _, _, words in messages]
