"""Homomorphic encryption on RLWE: one party computes alone on what another encrypted.

Layer: he, beside mpc, above ring. Neither imports the other. `Ckks` makes keys, encrypts and
decrypts; a `Ciphertext` has the operators; docs/ckks.md shows how they go together.

Example:
    >>> from he_gpu import he
    >>> context = he.Ckks(he.CkksParams(depth=1, scale_bits=30), device="cpu")
    >>> party = context.public(rotations=he.rotations_for((2, 3), context.slots))
    >>> weights = he.PlainMatrix([[1, 2, 3], [0, 0, 1]])
    >>> context.decrypt(weights @ party.encrypt([1.0, 0.0, -1.0])).round(3)
    array([-2., -1.])
"""

from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.context import Ckks
from he_gpu.he.linear import PlainMatrix, rotations_for
from he_gpu.he.parameters import CkksParams

__all__ = ["Ciphertext", "Ckks", "CkksParams", "PlainMatrix", "rotations_for"]
