"""Homomorphic encryption on RLWE: one party computes alone on what another encrypted.

Layer: he, beside mpc, above ring. Neither imports the other.
"""
