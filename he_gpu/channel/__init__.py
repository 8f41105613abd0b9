"""How parties talk, and the count of what they said.

Layer: channel, above backend. A channel moves words; it does not know what they mean.
"""

from he_gpu.channel.cost import Cost
from he_gpu.channel.local import LocalChannel
from he_gpu.channel.pair import PairChannel

__all__ = ["Cost", "LocalChannel", "PairChannel"]
