"""Rings of integers, fixed-point encodings and keyed randomness.

Layer: ring, above backend. Nothing here knows a party, a session or a protocol.
"""

from he_gpu.ring.prg import KeyRing, Prg
from he_gpu.ring.primes import ntt_primes
from he_gpu.ring.ring import Ring
from he_gpu.ring.rns import RnsRing

__all__ = ["KeyRing", "Prg", "Ring", "RnsRing", "ntt_primes"]
