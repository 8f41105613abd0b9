"""The secret array that users hold: everything that the other files of this package give it.

Layer: tensor, above mpc. Never reads a secret.
"""

from __future__ import annotations

from he_gpu.tensor.arithmetic import Arithmetic


class SecretTensor(Arithmetic):
    """An immutable array of secret reals among the parties of one session.

    Made by `Session.share` and by arithmetic. Public operands (numbers, nested lists, NumPy and
    CuPy arrays) stand on either side of an operator. Comparisons are exact and give secret 0 and 1,
    see `Ordering`; what is made of them, such as `relu`, `max` and `sort`, see `Selection`.

    Values carry ``frac_bits`` fraction bits; with k the bits of the ring's word, every value v of
    an encoding must satisfy |v| < 2**(k - 2 - frac_bits), and every product the same with both
    operands' fraction bits added. Shares cannot see an overflow; a session with protocol="plain"
    raises on one.

    Attributes:
        session: the session that holds the shares.
        frac_bits: fraction bits of the encoding.
        shape: of the secret array.
        ndim: number of its axes.
    """

    __slots__ = ()
