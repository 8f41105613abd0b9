"""What a protocol run has cost in rounds and bytes.

Layer: channel.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Communication of a session so far; subtract two to get what lies between.

    Attributes:
        rounds: message exchanges that had to wait for the one before.
        bytes_sent: bytes that one party sent to the others online, the one that sent most; with
            "additive" all send the same amount.
        dealer_bytes: bytes that the dealer sent to all parties together, ahead of time; with
            "replicated" what party 2 deals to party 1 for comparisons.

    Example:
        >>> Cost(rounds=5, bytes_sent=240) - Cost(rounds=3, bytes_sent=144)
        Cost(rounds=2, bytes_sent=96, dealer_bytes=0)
    """

    rounds: int = 0
    bytes_sent: int = 0
    dealer_bytes: int = 0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.rounds - other.rounds,
            self.bytes_sent - other.bytes_sent,
            self.dealer_bytes - other.dealer_bytes,
        )
