"""The channel of a process that hosts every party: nothing leaves it, everything is counted.

Layer: channel. Other channels keep this interface: `parties` and `n_parties`, `exchange`, and the
counters. The protocol code serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence

from he_gpu.backend import Array


class LocalChannel:
    """All parties in one process.

    Args:
        n_parties: how many there are.

    Attributes:
        n_parties: parties of the whole protocol.
        parties: indices of those hosted here, a range; the party axis of every stack.
        rounds: exchanges so far.
        bytes_sent: bytes that each party has sent so far.
    """

    def __init__(self, n_parties: int):
        self.n_parties = n_parties
        self.parties = range(n_parties)
        self.rounds = 0
        self.bytes_sent = 0

    def exchange(self, partials: Sequence[Array], modulus: int) -> Sequence[Array]:
        """Send this process's partial sums to all others and return the sums over all parties.

        Args:
            partials: arrays, each the sum over the local parties; all travel in one round.
            modulus: the ring that the sums live in.

        Returns:
            The sums over all parties; here the partial sums themselves.

        Cost: 1 round; each party sends its words to the n - 1 others.
        """
        self.rounds += 1
        others = self.n_parties - 1
        for partial in partials:
            self.bytes_sent += partial.nbytes * others
        return partials
