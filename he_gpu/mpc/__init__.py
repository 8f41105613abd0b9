"""Protocols on share stacks: additive with a dealer, replicated without, and in the plain.

Layer: mpc, above ring and channel. Values here are ring words; what they encode is decided above.
"""

from he_gpu.mpc.additive import Additive
from he_gpu.mpc.masked import Masked, Reused
from he_gpu.mpc.plain import Plain
from he_gpu.mpc.replicated import Replicated
from he_gpu.mpc.scheme import Scheme

__all__ = ["Additive", "Masked", "Plain", "Replicated", "Reused", "Scheme"]
