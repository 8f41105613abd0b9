"""Protocols on share stacks: additive sharing with a dealer, and one party in the plain.

Layer: mpc, above ring and channel. Values here are ring words; what they encode is decided above.
"""

from he_gpu.mpc.additive import Additive
from he_gpu.mpc.masked import Masked
from he_gpu.mpc.plain import Plain
from he_gpu.mpc.scheme import Scheme

__all__ = ["Additive", "Masked", "Plain", "Scheme"]
